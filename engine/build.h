/* build.h - a run of psybuild from outside: open, lock, run, close.
 *
 * What it knows of files and nodes while it lasts is in run/run.h. */
#ifndef PSYBUILD_ENGINE_BUILD_H
#define PSYBUILD_ENGINE_BUILD_H

#include "engine/run/run.h"

struct file_lock;

/* Whether everything that the targets need is fresh, by stamps alone: nothing is loaded, no data
 * file opened, no JSON parsed. False means only that a closer look is needed. */
MUST_CHECK struct error *build_is_null(const struct build_options *options,
    const char *const *targets, size_t target_count, bool *out);

/* Takes the build lock; ERROR_BUSY with `no_wait` when another holds it. */
MUST_CHECK struct error *build_lock(const struct build_options *options, struct file_lock **out);

/* Loads the state, and the graph from the manifest. Takes over the lock, whatever happens; NULL for
 * who only looks. Nothing is written but, for a source that has no lock entry yet and unless
 * is_dry, psybuild.lock. */
MUST_CHECK struct error *build_open(
    const struct build_options *options, struct file_lock *lock, struct build **out);
void build_close(struct build *build);

/* Makes the targets. `*failures` counts failed nodes; their errors went to on_event.
 * ERROR_INTERRUPTED when cancelled. With is_dry only events tell what would be done. */
MUST_CHECK struct error *build_run(
    struct build *build, const char *const *targets, size_t target_count, uint32_t *failures);

/* A file on its way. */
struct build_download {
    const char *node;
    uint64_t bytes_done, bytes_total; /* total 0: not known */
};
/* Those of which bytes have come in this run, at most `count_max`. What lay in a partial file
 * counts as done. */
size_t build_list_downloads(
    const struct build *build, struct build_download *downloads, size_t count_max);

/* For who changes the records without a run, such as by removing files: opens the journal and
 * finishes what an interrupted build had begun to rename. What cannot be finished is an error when
 * a node with `is_wanted` is in it, else a warning. */
MUST_CHECK struct error *build_recover(struct build *build, const bool *is_wanted);
/* And saves them. */
MUST_CHECK struct error *build_save(struct build *build);

#endif
