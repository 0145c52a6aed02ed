/* file.c - POSIX files behind file.h. Linux-only calls have a portable way beside them; the variant
 * "portable" compiles that one (PSYBUILD_PORTABLE). */
#include "base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/fault.h"
#include "base/owner.h"
#include "base/text.h"

#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
#define USE_LINUX 1
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#else
#define USE_LINUX 0
#endif

enum { TRANSFER_BYTES_MAX = 1 << 30, COPY_BYTES = 256 * 1024 };

/* What system calls about the page cache are made for: one for a few pages costs as much as one for
 * many, and no folio, which is dropped whole or not at all, lies across its borders. */
enum { WINDOW_BYTES = 16 << 20, WINDOWS_BEHIND = 16 };

/* A range that is shorter goes through the page cache: its way to the disk would take longer. */
enum { AROUND_BYTES_MIN = 64 << 10 };
enum { AROUND_NOT_TRIED = -1, AROUND_REFUSED = -2 }; /* else a descriptor */

/* Of a file that spares the page cache. */
struct passage {
    _Atomic uint32_t written_count;          /* of windows */
    _Atomic uint32_t behind[WINDOWS_BEHIND]; /* those written last, + 1 */
    uint32_t window_count;
    _Atomic uint32_t moved[]; /* bytes of each window */
};

struct file {
    int descriptor;
    bool is_staged;
    _Atomic int around; /* the same file, opened for writes around the page cache */
    uint64_t size_bytes;
    _Atomic uint64_t final_bytes; /* what file_start_writeback was told */
    pthread_mutex_t turn;         /* of those who write */
    struct passage *passage;      /* NULL: what is moved stays in the page cache */
    char path[];
};

/* What the cache holds or drops as one. */
static uint64_t page_bytes(void)
{
    long size = sysconf(_SC_PAGESIZE);
    return size < 4096 ? 4096 : (uint64_t)size;
}

/* A size of 0 means up to the end. */
#if USE_LINUX
static void start_writing(const struct file *file, uint64_t offset, uint64_t size)
{
    sync_file_range(file->descriptor, (off_t)offset, (off_t)size, SYNC_FILE_RANGE_WRITE);
}

static void drop_range(const struct file *file, uint64_t offset, uint64_t size)
{
    posix_fadvise(file->descriptor, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

/* By a sample of its pages. Nothing is read through the mapping. */
static bool is_half_cached(const struct file *file)
{
    enum { SAMPLES = 64 };
    size_t unit = (size_t)page_bytes(), size = (size_t)file->size_bytes;
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, file->descriptor, 0);
    if (map == MAP_FAILED)
        return true;
    unsigned cached = 0;
    for (size_t i = 0; i < SAMPLES; i++) {
        unsigned char state = 1;
        size_t page = (size - 1) / unit * i / (SAMPLES - 1);
        mincore((char *)map + page * unit, unit, &state);
        cached += state & 1;
    }
    munmap(map, size);
    return cached * 2 >= SAMPLES;
}

/* A second descriptor, for the flag is that of an opened file. */
static int open_around(const struct file *file)
{
    struct stat mine, other;
    int descriptor = open(file->path, O_WRONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0)
        return AROUND_REFUSED; /* or the path is another file's by now */
    if (fstat(file->descriptor, &mine) == 0 && fstat(descriptor, &other) == 0 &&
        mine.st_dev == other.st_dev && mine.st_ino == other.st_ino)
        return descriptor;
    close(descriptor);
    return AROUND_REFUSED;
}
#else
static void start_writing(const struct file *file, uint64_t offset, uint64_t size)
{
    (void)file, (void)offset, (void)size;
}

static int open_around(const struct file *file)
{
    (void)file;
    return AROUND_REFUSED;
}

static void drop_range(const struct file *file, uint64_t offset, uint64_t size)
{
    (void)file, (void)offset, (void)size;
}

static bool is_half_cached(const struct file *file)
{
    (void)file;
    return true; /* so nothing is dropped */
}
#endif

static struct error *open_path(
    const char *path, int flags, mode_t mode, const char *doing, struct file **out)
{
    size_t length = strlen(path);
    struct file *file = memory_alloc(sizeof *file + length + 1);
    TRY(memory_check(file));
    memcpy(file->path, path, length + 1);
    atomic_init(&file->final_bytes, 0);
    file->passage = NULL;
    atomic_init(&file->around, AROUND_NOT_TRIED);
    file->is_staged = (flags & O_CREAT) != 0;
    int code = 0;
    struct stat status;
    file->descriptor = fault_here(FAULT_OPEN) ? (errno = EACCES, -1) : open(path, flags, mode);
    if (file->descriptor < 0) {
        code = errno;
    } else if (fstat(file->descriptor, &status) != 0) {
        code = errno;
        close(file->descriptor);
    }
    if (code != 0) {
        memory_free(file);
        return error_new_errno(code, path, doing);
    }
    pthread_mutex_init(&file->turn, NULL);
    file->size_bytes = (uint64_t)status.st_size;
    if (S_ISREG(status.st_mode)) {
        if (file->is_staged)
            owner_give(file->descriptor, path);
        *out = file;
        return NULL;
    }
    file_close(file);
    return error_new(ERROR_IO, "%s: cannot %s: it is %s, not a regular file", path, doing,
        S_ISDIR(status.st_mode) ? "a directory" : "a special file");
}

struct error *file_open_descriptor(const char *path, int flags, int *out)
{
    int descriptor = fault_here(FAULT_OPEN) ? (errno = EACCES, -1) : open(path, flags | O_CLOEXEC);
    if (descriptor < 0)
        return error_new_errno(errno, path, "open");
    *out = descriptor;
    return NULL;
}

struct error *file_open(const char *path, struct file **out)
{
    return open_path(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0, "open", out);
}

struct error *file_open_staged(const char *path, struct file **out)
{
    return open_path(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666, "create", out);
}

struct error *file_open_new(const char *path, unsigned mode, struct file **out)
{
    int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
    return open_path(path, flags, (mode_t)mode, "create", out);
}

void file_close(struct file *file)
{
    if (file == NULL)
        return;
    if (file->passage != NULL)
        drop_range(file, 0, 0); /* windows that were not moved whole */
    if (file->around >= 0)
        close(file->around);
    close(file->descriptor);
    pthread_mutex_destroy(&file->turn);
    memory_free(file->passage);
    memory_free(file);
}

int file_descriptor(const struct file *file)
{
    return file->descriptor;
}

const char *file_path(const struct file *file)
{
    return file->path;
}

uint64_t file_size(const struct file *file)
{
    return file->size_bytes;
}

struct error *file_stamp_now(const struct file *file, struct file_stamp *stamp)
{
    return file_stat_opened(file->descriptor, file->path, stamp);
}

/* What a container may use of the machine's memory, page cache and all; "max" is no number. */
static uint64_t group_memory_bytes(void)
{
    uint64_t bytes = UINT64_MAX;
#if USE_LINUX
    char text[32] = "";
    int descriptor = open("/sys/fs/cgroup/memory.max", O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return bytes;
    if (read(descriptor, text, sizeof text - 1) > 0 && char_is_digit(text[0]))
        bytes = strtoull(text, NULL, 10);
    close(descriptor);
#endif
    return bytes;
}

uint64_t file_page_cache_bytes(void)
{
    if (fault_has_no_cache())
        return 1;
    long pages = sysconf(_SC_PHYS_PAGES);
    uint64_t group = group_memory_bytes();
    uint64_t machine = pages < 0 ? UINT64_MAX : (uint64_t)pages * page_bytes();
    return (machine < group ? machine : group) / 2;
}

void file_spare_cache(struct file *file)
{
    if (file->passage != NULL || file->size_bytes == 0 || is_half_cached(file))
        return;
    uint32_t count = (uint32_t)((file->size_bytes - 1) / WINDOW_BYTES + 1);
    struct passage *passage = memory_alloc(sizeof *passage + count * sizeof *passage->moved);
    if (passage == NULL)
        return;
    atomic_init(&passage->written_count, 0);
    for (int i = 0; i < WINDOWS_BEHIND; i++)
        atomic_init(&passage->behind[i], 0);
    passage->window_count = count;
    for (uint32_t i = 0; i < count; i++)
        atomic_init(&passage->moved[i], 0);
    file->passage = passage;
}

bool file_spares_cache(const struct file *file)
{
    return file->passage != NULL;
}

/* Only what is on the disk can be dropped: a written window is when some others have been written
 * since. What the disk does not have by then stays until the file is closed; beginning to write
 * waits only while the disk's queue is full. */
static void end_window(const struct file *file, uint32_t window, bool is_written)
{
    struct passage *passage = file->passage;
    if (is_written) {
        start_writing(file, (uint64_t)window * WINDOW_BYTES, WINDOW_BYTES);
        uint32_t slot = atomic_fetch_add(&passage->written_count, 1) % WINDOWS_BEHIND;
        window = atomic_exchange(&passage->behind[slot], window + 1);
        if (window-- == 0)
            return;
    }
    drop_range(file, (uint64_t)window * WINDOW_BYTES, WINDOW_BYTES);
}

static void count_moved(const struct file *file, uint64_t offset, uint64_t size, bool is_written)
{
    while (file->passage != NULL && size > 0) {
        uint64_t window = offset / WINDOW_BYTES, rest = WINDOW_BYTES - offset % WINDOW_BYTES;
        uint32_t step = (uint32_t)(size < rest ? size : rest);
        if (window >= file->passage->window_count)
            return;
        uint32_t before =
            atomic_fetch_add_explicit(&file->passage->moved[window], step, memory_order_relaxed);
        if (before < WINDOW_BYTES && before + step >= WINDOW_BYTES)
            end_window(file, (uint32_t)window, is_written);
        offset += step;
        size -= step;
    }
}

struct error *file_read_at(const struct file *file, uint64_t offset, void *buffer, size_t size)
{
    unsigned char *bytes = buffer;
    for (size_t done = 0; done < size;) {
        size_t wanted = size - done < TRANSFER_BYTES_MAX ? size - done : TRANSFER_BYTES_MAX;
        ssize_t count = fault_here(FAULT_READ)
                            ? (errno = EIO, -1)
                            : pread(file->descriptor, bytes + done, wanted, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return error_new_errno(errno, file->path, "read");
        if (count == 0)
            return error_new(ERROR_FORMAT,
                "%s: truncated: expected %llu bytes at offset %llu, found %llu", file->path,
                (unsigned long long)size, (unsigned long long)offset, (unsigned long long)done);
        done += (size_t)count;
    }
    count_moved(file, offset, size, false);
    return NULL;
}

/* 0, or what errno was. */
static int write_all(int descriptor, uint64_t offset, const unsigned char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        size_t wanted = size - done < TRANSFER_BYTES_MAX ? size - done : TRANSFER_BYTES_MAX;
        ssize_t count = fault_here(FAULT_WRITE)
                            ? (errno = ENOSPC, -1)
                            : pwrite(descriptor, bytes + done, wanted, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? errno : EIO;
        done += (size_t)count;
    }
    return 0;
}

/* Where a file system lets one thread at a time write into a file, as ext4 and XFS do, the others
 * spin; here they sleep. */
struct error *file_write_at(struct file *file, uint64_t offset, const void *bytes, size_t size)
{
    pthread_mutex_lock(&file->turn);
    int code = write_all(file->descriptor, offset, bytes, size);
    pthread_mutex_unlock(&file->turn);
    if (code != 0)
        return error_new_errno(code, file->path, "write");
    count_moved(file, offset, size, true);
    return NULL;
}

/* The descriptor for writes around the cache; less than 0 where that cannot be. */
static int around_of(struct file *file)
{
    if (file->around != AROUND_NOT_TRIED)
        return file->around;
    pthread_mutex_lock(&file->turn);
    if (file->around == AROUND_NOT_TRIED)
        file->around =
            file->passage != NULL && file->is_staged ? open_around(file) : AROUND_REFUSED;
    pthread_mutex_unlock(&file->turn);
    return file->around;
}

/* A file system may take the flag and refuse the write, and a disk that fills up may end one in the
 * middle of a block: then all goes through the cache, and if there is an error it is told. */
static bool is_refusal(int code)
{
    return code == EINVAL || code == ENOTSUP || code == EOPNOTSUPP;
}

struct error *file_write_around(struct file *file, uint64_t offset, const void *bytes, size_t size)
{
    const unsigned char *from = bytes;
    const uint64_t page = page_bytes();
    assert(((uintptr_t)from - offset) % FILE_AROUND_ALIGNMENT == 0);
    size_t head = (size_t)(-offset % page);
    size_t middle = size > head ? (size_t)((size - head) / page * page) : 0;
    int around = middle < AROUND_BYTES_MIN ? AROUND_REFUSED : around_of(file);
    if (around < 0)
        return file_write_at(file, offset, bytes, size);
    int code = write_all(around, offset + head, from + head, middle);
    if (is_refusal(code))
        return file_write_at(file, offset, bytes, size);
    if (code != 0)
        return error_new_errno(code, file->path, "write");
    count_moved(file, offset + head, middle, true);
    TRY(file_write_at(file, offset, from, head));
    size_t end = head + middle;
    return file_write_at(file, offset + end, from + end, size - end);
}

struct error *file_set_size(struct file *file, uint64_t size_bytes)
{
    int result = fault_here(FAULT_WRITE) ? (errno = ENOSPC, -1)
                                         : ftruncate(file->descriptor, (off_t)size_bytes);
    if (result != 0)
        return error_new_errno(errno, file->path, "set the size");
    file->size_bytes = size_bytes;
    return NULL;
}

struct error *file_sync(const struct file *file)
{
    if (fault_here(FAULT_SYNC))
        return error_new_errno(EIO, file->path, "sync");
#ifdef F_FULLFSYNC
    if (fcntl(file->descriptor, F_FULLFSYNC) == 0)
        return NULL;
#endif
    if (fsync(file->descriptor) != 0)
        return error_new_errno(errno, file->path, "sync");
    return NULL;
}

void file_start_writeback(struct file *file, uint64_t size)
{
    uint64_t before = atomic_fetch_add_explicit(&file->final_bytes, size, memory_order_relaxed);
    if (file->passage == NULL && before / WINDOW_BYTES != (before + size) / WINDOW_BYTES)
        start_writing(file, 0, 0);
}

void file_start_writeback_of(const struct file *file, uint64_t offset, uint64_t size)
{
    if (file->passage == NULL)
        start_writing(file, offset, size);
}

static struct error *copy_through_memory(const struct file *from, uint64_t from_offset,
    struct file *to, uint64_t to_offset, uint64_t size)
{
    unsigned char *buffer = memory_alloc(COPY_BYTES);
    TRY(memory_check(buffer));
    struct error *error = NULL;
    for (uint64_t done = 0; error == NULL && done < size;) {
        size_t step = size - done < COPY_BYTES ? (size_t)(size - done) : COPY_BYTES;
        error = file_read_at(from, from_offset + done, buffer, step);
        if (error == NULL)
            error = file_write_at(to, to_offset + done, buffer, step);
        if (error == NULL)
            file_start_writeback(to, step);
        done += step;
    }
    memory_free(buffer);
    return error;
}

#if USE_LINUX
/* Shares the part of the range that is aligned alike in both files. Returns what was shared. */
static uint64_t clone_range(const struct file *from, uint64_t from_offset, struct file *to,
    uint64_t to_offset, uint64_t size)
{
    struct file_clone_range range = {.src_fd = from->descriptor,
        .src_offset = from_offset,
        .src_length = size,
        .dest_offset = to_offset};
    return ioctl(to->descriptor, FICLONERANGE, &range) == 0 ? size : 0;
}
#endif

struct error *file_copy_range(const struct file *from, uint64_t from_offset, struct file *to,
    uint64_t to_offset, uint64_t size, bool *is_shared)
{
    if (is_shared != NULL)
        *is_shared = false;
#if USE_LINUX
    enum { BLOCK = 4096 };
    if (fault_here(FAULT_WRITE))
        return error_new_errno(ENOSPC, to->path, "write");
    uint64_t head = (BLOCK - from_offset % BLOCK) % BLOCK;
    if (from_offset % BLOCK == to_offset % BLOCK && size >= head + BLOCK) {
        uint64_t middle = (size - head) / BLOCK * BLOCK;
        if (clone_range(from, from_offset + head, to, to_offset + head, middle) == middle) {
            if (is_shared != NULL)
                *is_shared = true;
            TRY(copy_through_memory(from, from_offset, to, to_offset, head));
            uint64_t rest = head + middle;
            return copy_through_memory(from, from_offset + rest, to, to_offset + rest, size - rest);
        }
    }
    while (size > 0) {
        off_t in = (off_t)from_offset, out = (off_t)to_offset;
        size_t step = size < WINDOW_BYTES ? (size_t)size : WINDOW_BYTES;
        ssize_t count = copy_file_range(from->descriptor, &in, to->descriptor, &out, step, 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0 && (errno == ENOSPC || errno == EIO || errno == EDQUOT))
            return error_new_errno(errno, to->path, "write");
        if (count <= 0)
            break; /* not between these files: the long way, which also finds a truncation */
        count_moved(from, from_offset, (uint64_t)count, false);
        count_moved(to, to_offset, (uint64_t)count, true);
        file_start_writeback(to, (uint64_t)count);
        from_offset += (uint64_t)count;
        to_offset += (uint64_t)count;
        size -= (uint64_t)count;
    }
#endif
    return copy_through_memory(from, from_offset, to, to_offset, size);
}

/* Without /dev/null it is a directory: nothing can be written there, either. Inherited by the
 * commands that are run. */
void file_open_standard(void)
{
    int descriptor;
    do {
        descriptor = open("/dev/null", O_RDWR);
        if (descriptor < 0)
            descriptor = open("/", O_RDONLY);
    } while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor > STDERR_FILENO)
        close(descriptor);
}
