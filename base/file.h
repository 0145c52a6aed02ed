/* file.h - files and directories: whole positional reads and writes, stamps, staged files.
 *
 * The only caller of open, pread, pwrite, fsync, rename and their kin, hence the one place where
 * errno becomes an error that names the path. Reads and writes are whole or an error: EINTR and
 * short counts are retried. There is no shared position, so threads may use one struct file at
 * once. Nothing is read through a mapping: a truncated file must be an error, not a signal. */
#ifndef PSYBUILD_BASE_FILE_H
#define PSYBUILD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

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

struct span { /* of a file */
    uint64_t offset, size_bytes;
};

/* The clock that file times are taken from, in its own steps. */
int64_t file_clock_ns(void);
/* The same without steps: no file that was changed before has a later time. */
int64_t file_clock_now_ns(void);
/* Waits until a change to a file gets another time than one made at `since_ns` of that clock. */
void file_wait_tick(int64_t since_ns);

struct file; /* an open regular file */

/* Something that is no regular file, such as a named pipe; the caller closes the descriptor. */
MUST_CHECK struct error *file_open_descriptor(const char *path, int flags, int *out);
MUST_CHECK struct error *file_open(const char *path, struct file **out); /* to read */
/* To read and write; makes it when absent (mode 0666 minus umask), keeps what it holds. */
MUST_CHECK struct error *file_open_staged(const char *path, struct file **out);
void file_close(struct file *file); /* after the last write use file_sync first; NULL is fine */
const char *file_path(const struct file *file);
uint64_t file_size(const struct file *file); /* when it was opened or last set */
MUST_CHECK struct error *file_stamp_now(const struct file *file, struct file_stamp *stamp);

MUST_CHECK struct error *file_read_at(
    const struct file *file, uint64_t offset, void *buffer, size_t size);
MUST_CHECK struct error *file_write_at(
    struct file *file, uint64_t offset, const void *bytes, size_t size);
MUST_CHECK struct error *file_set_size(struct file *file, uint64_t size_bytes);
MUST_CHECK struct error *file_sync(const struct file *file); /* data and size reach the disk */
/* Says that `size` bytes were written that will not be written again. For every 16 MiB of them,
 * from whatever thread, all that is dirty begins its way to the disk, where the system can, so that
 * file_sync finds little left. Not needed by a file that spares the cache. Never fails. */
void file_start_writeback(struct file *file, uint64_t size);
/* The same for one range, at once and uncounted: where the rest of the file is being written. */
void file_start_writeback_of(const struct file *file, uint64_t offset, uint64_t size);
/* From now on what is read of it or written goes out of the page cache again, 16 MiB at a time,
 * where the system can: for files that are too large to be found there by the next who reads them.
 * What the disk has not taken when its turn comes goes out when the file is closed. One of which
 * half is there already stays there, and so does one that belongs to another user and may not be
 * written: of such the system does not say. Call it before threads share the file. Never fails. */
void file_spare_cache(struct file *file);
/* Whether it does: whether file_spare_cache found reason to. */
bool file_spares_cache(const struct file *file);
/* Writes what a file that spares the cache is to hold, around the cache where the system can.
 * `bytes` lie in memory as they do in the file, at the same distance from a multiple of the
 * alignment, which no page is larger than. Unlike file_write_at it waits for the disk, and threads
 * need not take turns. Short ranges and ragged ends go through the cache. */
enum { FILE_AROUND_ALIGNMENT = 64 << 10 };
MUST_CHECK struct error *file_write_around(
    struct file *file, uint64_t offset, const void *bytes, size_t size);
/* Half of the memory of the machine, or of the container: files that are larger together push each
 * other, or what else is there, out of the page cache. */
uint64_t file_page_cache_bytes(void);
/* Copies a range between files: by reference where the file system can, else in the kernel, else
 * through memory; what was not shared begins its way to the disk (file_start_writeback).
 * `*is_shared` (may be NULL) tells whether any part was shared by reference. */
MUST_CHECK struct error *file_copy_range(const struct file *from, uint64_t from_offset,
    struct file *to, uint64_t to_offset, uint64_t size, bool *is_shared);

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

/* First of all in main(): whichever of the descriptors 0, 1 and 2 are closed become /dev/null, so
 * that no file of ours gets such a number, and with it what is meant for the terminal. */
void file_open_standard(void);

MUST_CHECK struct error *file_change_directory(const char *path);
MUST_CHECK struct error *file_current_directory(struct arena *arena, char **out);

/* Runs a program (argv[0] searched in PATH), waits, gives its exit status (128 + signal). */
MUST_CHECK struct error *file_run_program(char *const *arguments, int *status);

uint64_t clock_now_ns(void); /* monotonic */

#endif
