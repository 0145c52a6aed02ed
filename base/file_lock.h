/* file_lock.h - a file that one process at a time may hold. */
#ifndef PSYBUILD_BASE_FILE_LOCK_H
#define PSYBUILD_BASE_FILE_LOCK_H

#include <stdbool.h>

#include "base/error.h"

/* An exclusive lock that dies with the process; its file, never reached through a link, names the
 * process while that holds it. `*out` is NULL when another holds it and `wait` is false: then
 * `*holder` (may be NULL) is the id of that process, asked for until it is one that lives, for 0.1
 * s at most; 0 when not known. With `wait`, returns ERROR_INTERRUPTED when a signal comes first. */
struct file_lock;
MUST_CHECK struct error *file_lock_take(
    const char *path, bool wait, struct file_lock **out, long *holder);
/* ERROR_FAILED unless the file that is locked is still the one at its path. Else others may hold a
 * lock there, too. One whose directory went while it was waited for is such from the beginning. */
MUST_CHECK struct error *file_lock_check(const struct file_lock *lock);
void file_lock_release(struct file_lock *lock); /* NULL is fine */

#endif
