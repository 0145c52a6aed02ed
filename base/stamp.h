/* stamp.h - what says that a file is still the one it was, and the clock that file times are taken
 * from. */
#ifndef PSYBUILD_BASE_STAMP_H
#define PSYBUILD_BASE_STAMP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* What says that a file is still the one it was, without reading it. Compared for equality only:
 * with file_stamp_equal, where a difference costs a look at the bytes; with file_is_still, where it
 * would be an error. */
struct file_stamp {
    uint64_t inode, size_bytes;
    int64_t mtime_ns, ctime_ns;
};
bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b);

enum file_kind { FILE_ABSENT, FILE_REGULAR, FILE_DIRECTORY, FILE_OTHER };

/* Symbolic links are followed; an absent file is no error: FILE_ABSENT and a zero stamp. */
MUST_CHECK struct error *file_stat(
    const char *path, enum file_kind *kind, struct file_stamp *stamp);
/* What has that name: a link is FILE_OTHER, wherever it leads. */
MUST_CHECK struct error *file_kind_itself(const char *path, enum file_kind *kind);
MUST_CHECK struct error *file_stat_itself(
    const char *path, enum file_kind *kind, struct file_stamp *stamp);

/* A stamp that a later change cannot share: if the file's ctime lies in the current clock tick,
 * waits that tick out (at most 20 ms) and takes the stamp again. ERROR_MISSING when there is no
 * such file. */
MUST_CHECK struct error *file_stat_settled(const char *path, struct file_stamp *stamp);

/* Whether at `path`, links followed, there is a regular file and it is the one that had the stamp
 * `was`: all fields are equal. With `may_be_renamed` the ctime does not count, which a rename
 * moves. Where only the inode differs it is asked for once more: on a file system that gives
 * another one each time it says nothing, and the other fields decide. Absent is no error: it is
 * not. */
MUST_CHECK struct error *file_is_still(
    const char *path, const struct file_stamp *was, bool may_be_renamed, bool *out);

/* The stamp of an open file; `path` is its name, for the error. */
MUST_CHECK struct error *file_stat_opened(
    int descriptor, const char *path, struct file_stamp *stamp);
/* Whether the path, itself and not what a link leads to, names the open file. Inodes count as in
 * file_is_still. 0, or what errno was. */
int file_find_opened(int descriptor, const char *path, bool *out);
enum file_kind file_kind_of(mode_t mode); /* st_mode */

/* The clock that file times are taken from, in its own steps. */
int64_t file_clock_ns(void);
/* The same without steps: no file that was changed before has a later time. */
int64_t file_clock_now_ns(void);
/* Waits until a change to a file gets another time than one made at `since_ns` of that clock. */
void file_wait_tick(int64_t since_ns);
uint64_t clock_now_ns(void); /* monotonic, for durations */

#endif
