/* file_whole.h - whole files: read, copied, replaced at once. */
#ifndef PSYBUILD_BASE_FILE_WHOLE_H
#define PSYBUILD_BASE_FILE_WHOLE_H

#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

/* A whole file to a new one, by reference where the file system can; synced. It has the permission
 * bits and the mtime of the other, as far as the file system takes them. What was at `to` is
 * removed first; on failure nothing is there. */
MUST_CHECK struct error *file_copy_whole(const char *from, const char *to);

/* A whole small file; NUL-terminated in the arena. Longer than `size_max` is ERROR_FORMAT. */
MUST_CHECK struct error *file_read_whole(
    struct arena *arena, const char *path, size_t size_max, struct text *out);
/* Replaces a small file atomically: temporary beside it, sync, rename, sync of the directory. The
 * temporary is PATH.tmp: one that a killed process left is taken away by the next, one that another
 * is at work on is waited for (ERROR_INTERRUPTED when a signal comes first). */
MUST_CHECK struct error *file_replace_whole(const char *path, struct text text);
/* The same for what its readers can do without: not synced, so after a crash of the system it may
 * be cut, empty or the old one. */
MUST_CHECK struct error *file_replace_hint(const char *path, struct text text);

/* PATH.PID.COUNTER.tmp, which no other live process gives, nor this one again. NULL without memory.
 */
char *file_temporary_name(struct arena *arena, const char *path);
/* Makes a small file unless it is there: whole, synced, and without a lock in a directory that
 * several processes share. That another was first is fine, whatever that wrote. */
MUST_CHECK struct error *file_create_whole(const char *path, struct text text);

#endif
