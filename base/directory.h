/* directory.h - what stands in directories: names moved, removed, made durable and listed. */
#ifndef PSYBUILD_BASE_DIRECTORY_H
#define PSYBUILD_BASE_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/stamp.h"

MUST_CHECK struct error *file_rename(const char *from, const char *to);
/* Gives `from` the name `to`, and what has that name, if anything has, the name `from`, without a
 * moment in which either is lost. `*done` is false where the system cannot: nothing was done. */
MUST_CHECK struct error *file_exchange(const char *from, const char *to, bool *done);
/* Its mtime is now; a link's own. Absent is fine: another process may have removed it. */
MUST_CHECK struct error *file_touch(const char *path);
MUST_CHECK struct error *file_remove(const char *path);           /* absent is fine */
MUST_CHECK struct error *file_remove_directory(const char *path); /* absent or not empty is fine */
/* A directory with all below it, or a file; links are removed, never followed. Absent is fine. */
MUST_CHECK struct error *file_remove_tree(const char *path);
MUST_CHECK struct error *file_make_directories(const char *path); /* with parents; "" is fine */
/* The same; what it had to make survives a power failure. */
MUST_CHECK struct error *file_make_directories_synced(const char *path);
/* Makes renames and removals in a directory durable. */
MUST_CHECK struct error *file_sync_directory(const char *path);

struct file_entry {
    const char *name;
    enum file_kind kind; /* of what a link points to */
};
/* Names in byte order, without "." and "..". An absent directory is ERROR_MISSING. */
MUST_CHECK struct error *file_list_directory(
    struct arena *arena, const char *path, struct file_entry **out, size_t *count);

MUST_CHECK struct error *file_space_free(const char *path, uint64_t *size_bytes);
/* Whether both paths (or their nearest existing parents) lie on one file system. */
MUST_CHECK struct error *file_same_device(const char *a, const char *b, bool *out);
/* The directory that the name `path` stands in; "/" for what lies in the root. NULL without memory.
 */
char *file_parent(struct arena *arena, const char *path);

MUST_CHECK struct error *file_change_directory(const char *path);
MUST_CHECK struct error *file_current_directory(struct arena *arena, char **out);

#endif
