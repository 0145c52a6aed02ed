/* stale.h - is a node fresh, and if not, why: in words that name the field, file or parameter.
 *
 * A node is fresh when its key is the recorded one, every recorded read still has its hash, and its
 * outputs still are what was made. Nothing is compared as "newer than". */
#ifndef PSYBUILD_ENGINE_STALE_STALE_H
#define PSYBUILD_ENGINE_STALE_STALE_H

#include "base/directory.h"
#include "engine/build.h"

enum verdict {
    VERDICT_FRESH,
    VERDICT_STALE,
    VERDICT_HASH_FIRST, /* files whose stamps changed must be hashed before this can be said */
};

struct staleness {
    enum verdict verdict;
    const char *reason; /* of VERDICT_STALE, in the build's arena */
    uint32_t *files;    /* of VERDICT_HASH_FIRST: indices into the state's files */
    uint32_t file_count;
};

/* Looks at a node whose needs are all at hand. */
MUST_CHECK struct error *stale_check(
    struct build *build, uint32_t node, struct arena *arena, struct staleness *out);

/* Whether all that a record read, maybe an older one, is the same now, as far as it is known
 * without hashing anything: else false. */
MUST_CHECK struct error *stale_reads_hold(
    struct build *build, const struct node *node, struct record *record, bool *out);

/* Takes a file's stamp, once in a run. */
MUST_CHECK struct error *stale_look(struct build *build, uint32_t file);
/* A file was hashed: its tree and stamp become the state's. */
MUST_CHECK struct error *stale_set_hashed(
    struct build *build, uint32_t file, struct segments *segments);

/* Why the node is stale, as far as it can be said without a look at any file; NULL: it cannot. */
MUST_CHECK struct error *stale_is_certain(struct build *build, uint32_t node, const char **reason);

/* Whether the recorded reads and outputs are on disk, by stamps: the cheap test of a null run.
 * Files that were given back count as there, but for outputs of a node that a target names itself.
 */
MUST_CHECK struct error *stale_is_fresh_by_stamps(
    struct build *build, const struct node *node, bool is_itself, bool *out);

/* The hash of a JSON field as READ_FIELD records it; all zero for NULL. */
MUST_CHECK struct error *stale_hash_field(
    struct arena *arena, const struct json *value, struct hash128 *out);
/* The hash of a list of file names in a directory, and the names (sorted). */
MUST_CHECK struct error *stale_hash_names(struct arena *arena, const char *directory,
    struct hash128 *out, struct file_entry **entries, size_t *count);

/* The tree hash of an input as it is now, if the run knows it: of a staged file, or of the state's.
 */
bool stale_find_tree(struct build *build, const char *path, struct hash128 *out);
/* Whether what a node of this run has read and made is still what it was; else the first file that
 * is not. */
MUST_CHECK struct error *stale_find_unsteady(
    struct build *build, const struct record *record, const char **out);
/* Whether the file is made in this run and has not its name yet. */
bool stale_is_staged(const struct build *build, const char *path);

#endif
