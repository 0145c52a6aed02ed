/* cache.h - replaced outputs by their content, to be had back: 4 bits, 8 bits, 4 bits again.
 *
 * A directory of whole files, each named by its tree hash, and beside them the logs of their
 * pieces. An entry came by a rename and is given out as a copy (by reference where the file system
 * can), never as a hard link: it must not change through the tree. It is hashed before it counts.
 * The state keeps the last records of a node (state_keep_past), by which entries are found. Bounded
 * in size: what was longest unused goes first. Several trees may share one. */
#ifndef PSYBUILD_ENGINE_PLAN_CACHE_H
#define PSYBUILD_ENGINE_PLAN_CACHE_H

#include "engine/plan/plan.h"

/* Where a file of that content belongs; NULL: out of memory. */
char *cache_entry_path(struct arena *arena, const char *cache, const struct hash128 *tree);
/* Where the log of the pieces in a record's outputs belongs: by their generation. */
MUST_CHECK struct error *cache_log_path(
    struct build *build, const struct record *record, const char **out);
/* Before something is put there: makes the directory and marks it as a cache. False: there is none,
 * or none that can be used, which is a warning, once. */
bool cache_begin(struct build *build);

/* The last record under the node's key whose reads still hold and whose outputs are in the cache,
 * in the build's arena; NULL: none. */
MUST_CHECK struct error *cache_find(struct build *build, uint32_t node, const struct record **out);
/* A plan without pieces: its outputs come from the cache. */
MUST_CHECK struct error *cache_plan(
    struct build *build, uint32_t node, const struct record *record, struct plan **out);
/* Once staged: the log of those outputs' pieces, if the cache has it. */
MUST_CHECK struct error *cache_stage_log(struct plan *plan);
/* On a worker: an output's bytes from its entry into the staged file. `*is_wrong`: the entry is
 * damaged, and removed. */
MUST_CHECK struct error *cache_restore(
    struct plan *plan, uint32_t output, const _Atomic bool *cancel, bool *is_wrong);
/* The longest unused entries go until the others fit, and what killed processes left. */
MUST_CHECK struct error *cache_trim(struct arena *arena, const char *cache, uint64_t size_bytes);

#endif
