/* file.h - open files: whole positional reads and writes, and what goes through the page cache.
 *
 * With its neighbours stamp, file_whole, directory and file_lock the only caller of open, pread,
 * pwrite, fsync, rename and their kin, hence where errno becomes an error that names the path.
 * Reads and writes are whole or an error: EINTR and short counts are retried. There is no shared
 * position, so threads may use one struct file at once. Nothing is read through a mapping: a
 * truncated file must be an error, not a signal. */
#ifndef PSYBUILD_BASE_FILE_H
#define PSYBUILD_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/span.h"
#include "base/stamp.h"

struct file; /* an open regular file */

/* Something that is no regular file, such as a named pipe; the caller closes the descriptor. */
MUST_CHECK struct error *file_open_descriptor(const char *path, int flags, int *out);
MUST_CHECK struct error *file_open(const char *path, struct file **out); /* to read */
/* To read and write; makes it when absent (mode 0666 minus umask), keeps what it holds. */
MUST_CHECK struct error *file_open_staged(const char *path, struct file **out);
/* The same for a name that nothing has: what another made meanwhile is not written into. */
MUST_CHECK struct error *file_open_new(const char *path, unsigned mode, struct file **out);
void file_close(struct file *file); /* after the last write use file_sync first; NULL is fine */
int file_descriptor(const struct file *file); /* for flock and its like, never closed */
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

/* First of all in main(): whichever of the descriptors 0, 1 and 2 are closed become /dev/null, so
 * that no file of ours gets such a number, and with it what is meant for the terminal. */
void file_open_standard(void);

#endif
