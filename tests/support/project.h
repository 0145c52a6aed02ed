/* project.h - the manifest in a test's directory (tree.h), read with the program's own registry.
 *
 * The manifest is psybuild.json, the installed data directory is "data", both in the test's
 * directory, so that every message is the same wherever the test runs. */
#ifndef PSYBUILD_TESTS_SUPPORT_PROJECT_H
#define PSYBUILD_TESTS_SUPPORT_PROJECT_H

#include "engine/build.h"
#include "tests/support/tree.h"

struct project {
    struct arena arena;
    const char *data_directory; /* NULL: "data" */
    const struct manifest_setting *settings;
    size_t setting_count;
    struct manifest *manifest;
    struct graph *graph;
};

/* From the manifest's text, which is written first; NULL: as it lies there. */
MUST_CHECK struct error *project_load(struct project *project, const char *text);
/* The same, and the graph. */
MUST_CHECK struct error *project_link(struct project *project, const char *text);
void project_end(struct project *project);

/* The node of that name, which must exist. */
const struct node *project_node(const struct project *project, const char *name);
/* The paths that a role resolves to, with blanks between: "a b?", '?' for one that is absent. */
const char *project_refs(struct project *project, const char *name, const char *role);

/* One whole run of psybuild, and what it said. */
struct project_run {
    struct arena arena;
    struct build_stats stats;
    uint32_t failures;
    char *said; /* a line an event: "stale out: it was never made" */
    /* Called at each event, so that a test can change files while a build runs. */
    void (*on_event)(struct project_run *run, const struct build_event *event);
    unsigned threads;       /* 0: 2 */
    uint64_t memory_bytes;  /* 0: 16 MiB */
    double load_max;        /* -l */
    bool is_dry, is_forced; /* -n, -B */
    const char *target;     /* NULL: the manifest's default */
    bool is_null;           /* nothing had to be looked at closely */
};
/* A failing node is no error: `failures` counts it, `said` has its message. */
MUST_CHECK struct error *project_run(struct project_run *run);
void project_run_end(struct project_run *run);

/* Runs, requires that nothing failed, and compares what was said. */
void project_assert_run(const char *want);

#endif
