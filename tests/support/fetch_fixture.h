/* fetch_fixture.h - for tests of whole builds against the test hub: a directory (tree.h) with a
 * manifest of one source, "m", built in this process. */
#ifndef PSYBUILD_TESTS_SUPPORT_FETCH_FIXTURE_H
#define PSYBUILD_TESTS_SUPPORT_FETCH_FIXTURE_H

#include "engine/build.h"
#include "tests/support/hub_fixture.h"

enum { FETCH_REPORT_MAX = 8192 };

struct fetch_fixture {
    struct hub_fixture *hub; /* its server serves the files of hub_fixture_begin */
    struct arena arena;
    size_t model_bytes;
    _Atomic bool cancel;
    bool cancels_at_tick;
    struct build_options options;
    /* of the last build */
    char report[FETCH_REPORT_MAX]; /* of the last error */
    char notes[FETCH_REPORT_MAX];
    uint32_t failures;
    struct build_stats stats;
    enum error_kind kind; /* when the build itself ended with an error */
};

/* Enters a directory of its own; HF_ENDPOINT is the hub's. */
struct fetch_fixture *fetch_fixture_begin(
    const struct hub_server_options *options, size_t model_bytes);
void fetch_fixture_end(struct fetch_fixture *fixture);

void fetch_write_manifest(struct fetch_fixture *fixture, const char *source);
/* Builds the source "m". True when all went well. */
bool fetch_build(struct fetch_fixture *fixture);
void fetch_must_build(struct fetch_fixture *fixture);
/* The report of the last build, in which HOME, STORAGE and COMMIT stand for the server's. */
const char *fetch_report(struct fetch_fixture *fixture);
/* It fails, and its report is this. */
void fetch_must_fail(struct fetch_fixture *fixture, const char *want);

size_t fetch_count_requests(const struct fetch_fixture *fixture, const char *what);
const char *fetch_read_file(struct fetch_fixture *fixture, const char *path);
/* Whether this is the hub's model, byte for byte. */
bool fetch_is_model(const struct fetch_fixture *fixture, const char *path);

#endif
