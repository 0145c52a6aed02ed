/* files.h - what this run knows of a file: its stamp, its hashes, where its bytes lie. */
#ifndef PSYBUILD_ENGINE_RUN_FILES_H
#define PSYBUILD_ENGINE_RUN_FILES_H

#include "base/directory.h"
#include "engine/run/run.h"

enum { JSON_FILE_BYTES_MAX = 64 << 20 }; /* of a file whose fields are read */

/* Takes a file's stamp, once in a run. */
MUST_CHECK struct error *files_look(struct build *build, uint32_t file);
/* A file was hashed: its tree and stamp become the state's. */
MUST_CHECK struct error *files_set_hashed(
    struct build *build, uint32_t file, struct segments *segments);

/* The tree hash of an input as it is now, if the run knows it: of a staged file, or of the state's.
 */
bool files_find_tree(struct build *build, const char *path, struct hash128 *out);
/* What a node of this run made under that path; NULL when none has. */
const struct made_file *files_find_made(const struct build *build, const char *path);

/* The hash of a JSON field as READ_FIELD records it; all zero for NULL. */
MUST_CHECK struct error *files_hash_field(
    struct arena *arena, const struct json *value, struct hash128 *out);
/* The hash of a list of file names in a directory, and the names (sorted). */
MUST_CHECK struct error *files_hash_names(struct arena *arena, const char *directory,
    struct hash128 *out, struct file_entry **entries, size_t *count);

#endif
