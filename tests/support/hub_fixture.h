/* hub_fixture.h - for the tests of downloads: a directory of known files, a test hub that serves
 * it, and a client that does not sleep between retries but notes how long it would. */
#ifndef PSYBUILD_TESTS_SUPPORT_HUB_FIXTURE_H
#define PSYBUILD_TESTS_SUPPORT_HUB_FIXTURE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tasks/formats/hub.h"
#include "tests/support/hub_server.h"

enum { FIXTURE_LARGE_BYTES = 3 * 1024 * 1024 + 5, FIXTURE_WAITS_MAX = 64 };
#define FIXTURE_ODD_NAME "sub/a b+c#%.txt" /* needs encoding */

struct hub_fixture {
    char directory[256];
    struct hub_server *server;
    struct http_policy policy;
    struct http_client *client;
    struct hub_settings settings;
    struct hub hub;
    struct hub_repo repo;
    struct arena arena;
    uint64_t wait_ms[FIXTURE_WAITS_MAX];
    size_t wait_count;
    char why[FIXTURE_WAITS_MAX][256];
    _Atomic bool cancel;
    unsigned char *body; /* what was delivered */
    size_t body_count;
    size_t cancel_after;  /* bytes; 0: never */
    struct error *refuse; /* what the body's receiver answers; NULL: takes all */
};

/* Files: config.json, FIXTURE_ODD_NAME, empty, model.safetensors (large, LFS). `options` may be
 * NULL; its root is set here. Also clears the variables that would change the client's behaviour.
 */
struct hub_fixture *hub_fixture_begin(const struct hub_server_options *options);
/* The same with a model of that size; what is delivered by the client must fit the usual one. */
struct hub_fixture *hub_fixture_begin_sized(
    const struct hub_server_options *options, size_t model_bytes);
void hub_fixture_end(struct hub_fixture *fixture);

unsigned char hub_fixture_byte(uint64_t offset); /* of model.safetensors */
/* Whether what was delivered is that file's range. */
bool hub_fixture_body_is_range(const struct hub_fixture *fixture, uint64_t begin, uint64_t end);

/* For a request's on_body, with the fixture as context. */
struct error *hub_fixture_take(void *context, const void *bytes, size_t length);

/* Compares an error's first line, in which the servers' addresses read HOME and STORAGE and the
 * commit reads COMMIT; frees it. `want` NULL: no error. */
void hub_fixture_assert(
    struct hub_fixture *fixture, const char *row, struct error *error, const char *want);

#endif
