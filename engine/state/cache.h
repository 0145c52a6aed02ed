/* cache.h - the store of replaced outputs by their content.
 *
 * A directory of whole files, each named by its tree hash, and beside them the logs of their
 * pieces. An entry came by a rename and is given out as a copy (by reference where the file system
 * can), never as a hard link: it must not change through the tree. It is hashed before it counts
 * (plan/restore.h). Bounded in size: what was longest unused goes first. Several trees may share
 * one. */
#ifndef PSYBUILD_ENGINE_STATE_CACHE_H
#define PSYBUILD_ENGINE_STATE_CACHE_H

#include "engine/content/hash.h"

/* Where a file of that content belongs; NULL: out of memory. */
char *cache_entry_path(struct arena *arena, const char *cache, const struct hash128 *tree);
/* Where the log of the pieces in outputs of that generation belongs. */
MUST_CHECK struct error *cache_log_path(
    struct arena *arena, const char *cache, const struct hash128 *generation, const char **out);
/* Before something is put there: makes the directory and marks it as a cache. */
MUST_CHECK struct error *cache_open(struct arena *arena, const char *cache);
/* The longest unused entries go until the others fit, and what killed processes left. */
MUST_CHECK struct error *cache_trim(struct arena *arena, const char *cache, uint64_t size_bytes);

#endif
