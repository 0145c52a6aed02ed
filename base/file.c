/* file.c - POSIX files behind file.h. Linux-only calls have a portable way beside them; the variant
 * "portable" compiles that one (PSYBUILD_PORTABLE). */
#include "base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"

#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
#define USE_LINUX 1
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#else
#define USE_LINUX 0
#endif

extern char **environ;

enum { TRANSFER_BYTES_MAX = 1 << 30, COPY_BYTES = 256 * 1024, NS_PER_SECOND = 1000000000 };

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

bool file_stamp_equal(const struct file_stamp *a, const struct file_stamp *b)
{
    return a->inode == b->inode && a->size_bytes == b->size_bytes && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

static int64_t to_ns(struct timespec time)
{
    return (int64_t)time.tv_sec * NS_PER_SECOND + time.tv_nsec;
}

static struct file_stamp to_stamp(const struct stat *status)
{
    return (struct file_stamp){.inode = fault_inode((uint64_t)status->st_ino),
        .size_bytes = (uint64_t)status->st_size,
#ifdef __APPLE__
        .mtime_ns = to_ns(status->st_mtimespec),
        .ctime_ns = to_ns(status->st_ctimespec)
#else
        .mtime_ns = to_ns(status->st_mtim),
        .ctime_ns = to_ns(status->st_ctim)
#endif
    };
}

static enum file_kind to_kind(mode_t mode)
{
    return S_ISREG(mode) ? FILE_REGULAR : S_ISDIR(mode) ? FILE_DIRECTORY : FILE_OTHER;
}

struct error *file_stat(const char *path, enum file_kind *kind, struct file_stamp *stamp)
{
    struct stat status;
    if (stat(path[0] == '\0' ? "." : path, &status) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return error_new_errno(errno, path, "stat");
        *kind = FILE_ABSENT;
        *stamp = (struct file_stamp){0};
        return NULL;
    }
    *kind = to_kind(status.st_mode);
    *stamp = to_stamp(&status);
    return NULL;
}

struct error *file_stat_itself(const char *path, enum file_kind *kind, struct file_stamp *stamp)
{
    struct stat status;
    if (lstat(path, &status) != 0) {
        if (errno != ENOENT && errno != ENOTDIR)
            return error_new_errno(errno, path, "stat");
        *kind = FILE_ABSENT;
        *stamp = (struct file_stamp){0};
        return NULL;
    }
    *kind = to_kind(status.st_mode);
    *stamp = to_stamp(&status);
    return NULL;
}

struct error *file_kind_itself(const char *path, enum file_kind *kind)
{
    struct file_stamp stamp;
    return file_stat_itself(path, kind, &stamp);
}

/* On Linux it advances once a tick (1 to 10 ms). */
int64_t file_clock_ns(void)
{
    struct timespec now;
#if USE_LINUX
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
#else
    clock_gettime(CLOCK_REALTIME, &now);
#endif
    return to_ns(now);
}

int64_t file_clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return to_ns(now);
}

enum { WAIT_STEP_NS = 1000000, WAITS_MAX = 20 };

void file_wait_tick(int64_t since_ns)
{
    for (int waits = 0; waits < WAITS_MAX && file_clock_ns() == since_ns; waits++)
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_NS}, NULL);
}

struct error *file_stat_settled(const char *path, struct file_stamp *stamp)
{
    enum file_kind kind;
    for (int waits = 0;; waits++) {
        int64_t now = file_clock_ns();
        TRY(file_stat(path, &kind, stamp));
        if (kind == FILE_ABSENT)
            return error_new_errno(ENOENT, path, "open");
        if (stamp->ctime_ns < now || waits == WAITS_MAX)
            return NULL;
        nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_NS}, NULL);
    }
}

struct error *file_is_still(
    const char *path, const struct file_stamp *was, bool may_be_renamed, bool *out)
{
    enum { LOOKS = 2 };
    uint64_t inodes[LOOKS];
    for (int i = 0; i < LOOKS; i++) {
        enum file_kind kind;
        struct file_stamp now;
        TRY(file_stat(path, &kind, &now));
        bool is_alike = kind == FILE_REGULAR && now.size_bytes == was->size_bytes &&
                        now.mtime_ns == was->mtime_ns &&
                        (may_be_renamed || now.ctime_ns == was->ctime_ns);
        inodes[i] = now.inode;
        if (!is_alike || now.inode == was->inode) {
            *out = is_alike;
            return NULL;
        }
    }
    *out = inodes[0] != inodes[1];
    return NULL;
}

/* 0, or what errno was. The path is looked at as it was opened: not through a link. */
static int look_at_both(
    int descriptor, const char *path, struct stat *opened, struct stat *named, uint64_t inodes[2])
{
    if (fstat(descriptor, opened) != 0 || lstat(path, named) != 0)
        return errno;
    inodes[0] = fault_inode((uint64_t)opened->st_ino);
    inodes[1] = fault_inode((uint64_t)named->st_ino);
    return 0;
}

/* Whether the path names the open file. Inodes count as in file_is_still. 0, or what errno was. */
static int find_open_at(int descriptor, const char *path, bool *out)
{
    struct stat opened, named;
    uint64_t first[2] = {0}, second[2] = {0};
    *out = false;
    int code = look_at_both(descriptor, path, &opened, &named, first);
    if (code == ENOENT || code == ENOTDIR || code == ESTALE)
        return 0;
    if (code != 0 || opened.st_dev != named.st_dev || opened.st_nlink == 0)
        return code;
    *out = first[0] == first[1];
    if (*out || look_at_both(descriptor, path, &opened, &named, second) != 0)
        return 0;
    struct file_stamp a = to_stamp(&opened), b = to_stamp(&named);
    b.inode = a.inode;
    *out = first[0] != second[0] && first[1] != second[1] && file_stamp_equal(&a, &b);
    return 0;
}

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
    if (file == NULL)
        return error_memory();
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
    struct stat status;
    if (fstat(file->descriptor, &status) != 0)
        return error_new_errno(errno, file->path, "stat");
    *stamp = to_stamp(&status);
    return NULL;
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
    if (read(descriptor, text, sizeof text - 1) > 0 && text[0] >= '0' && text[0] <= '9')
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
    if (buffer == NULL)
        return error_memory();
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

/* Of its own, or an error: what another made meanwhile is not written into. */
static struct error *open_new(const char *path, mode_t mode, struct file **out)
{
    return open_path(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode, "create", out);
}

/* Some file systems know neither, or not of this user: the bytes count. */
static void set_mode_and_time(const struct file *file, const struct stat *like)
{
#ifdef __APPLE__
    struct timespec mtime = like->st_mtimespec;
#else
    struct timespec mtime = like->st_mtim;
#endif
    int mode_set = fchmod(file->descriptor, like->st_mode & 0777);
    int time_set =
        futimens(file->descriptor, (const struct timespec[2]){{.tv_nsec = UTIME_OMIT}, mtime});
    (void)mode_set, (void)time_set;
}

static struct error *copy_to_new(struct file *in, const char *to)
{
    struct stat like;
    struct file *out;
    if (fstat(in->descriptor, &like) != 0)
        return error_new_errno(errno, in->path, "stat");
    TRY(file_remove(to));
    TRY(open_new(to, like.st_mode & 0777, &out)); /* nobody may read it who may not the other */
    struct error *error = file_copy_range(in, 0, out, 0, in->size_bytes, NULL);
    if (error == NULL) {
        set_mode_and_time(out, &like);
        error = file_sync(out);
    }
    file_close(out);
    if (error != NULL)
        unlink(to);
    return error;
}

struct error *file_copy_whole(const char *from, const char *to)
{
    struct file *in;
    TRY(file_open(from, &in));
    struct error *error = copy_to_new(in, to);
    file_close(in);
    return error;
}

struct error *file_read_whole(
    struct arena *arena, const char *path, size_t size_max, struct text *out)
{
    struct file *file;
    TRY(file_open(path, &file));
    struct error *error = NULL;
    if (file->size_bytes > size_max) {
        error = error_new(ERROR_FORMAT, "%s: expected at most %zu bytes, found %llu", path,
            size_max, (unsigned long long)file->size_bytes);
    } else {
        size_t length = (size_t)file->size_bytes;
        char *bytes = arena_alloc(arena, length + 1);
        error = bytes == NULL ? error_memory() : file_read_at(file, 0, bytes, length);
        if (error == NULL)
            *out = (struct text){bytes, length};
    }
    file_close(file);
    return error;
}

/* Where the name of `path` stands; the root for what lies in it. */
static char *parent_of(struct arena *arena, const char *path)
{
    char *parent = path_directory(arena, path);
    return parent != NULL && parent[0] == '\0' && path[0] == '/' ? arena_copy(arena, "/", 1)
                                                                 : parent;
}

/* Locks an open file, so that those who write to it take turns. `*is_there` is false when it is not
 * at the path any more. Where there are no locks, each goes on as if alone; one that stands still
 * in the middle of a small file is not waited for. */
static struct error *wait_for_turn(int descriptor, const char *path, bool *is_there)
{
    enum { WAITS = 5000 }; /* of a millisecond and more */
    bool is_locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    for (int waits = 0; !is_locked && errno == EWOULDBLOCK; waits++) {
        if (waits == WAITS)
            return error_new(
                ERROR_BUSY, "%s: another process is writing it, and does not end", path);
        if (nanosleep(&(struct timespec){.tv_nsec = WAIT_STEP_NS}, NULL) != 0 && errno == EINTR)
            return error_new(ERROR_INTERRUPTED, "interrupted while waiting for %s", path);
        is_locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    }
    if (!is_locked || find_open_at(descriptor, path, is_there) != 0)
        *is_there = true;
    return NULL;
}

/* What a killed process left goes, never written through: it may be a link, or have other names. */
static struct error *remove_leftover(const char *path)
{
    struct error *error = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool is_there = descriptor >= 0 || errno != ENOENT; /* what is made from now on is another's */
    if (descriptor >= 0)
        error = wait_for_turn(descriptor, path, &is_there);
    if (error == NULL && is_there)
        error = file_remove(path);
    if (descriptor >= 0)
        close(descriptor);
    return error;
}

/* The name is fixed, so that whatever is left there by a killed process goes with the next. Who has
 * the lock on the file at the path writes; between making it and locking it, another may take it
 * for a leftover. */
static struct error *open_temporary(const char *path, struct file **out)
{
    enum { TURNS_MAX = 1000 };
    for (int turns = 1;; turns++) {
        bool is_there;
        struct file *file;
        TRY(remove_leftover(path));
        TRY(file_open_staged(path, &file));
        struct error *error = wait_for_turn(file->descriptor, path, &is_there);
        if (error == NULL && (is_there || turns == TURNS_MAX)) {
            *out = file;
            return NULL;
        }
        file_close(file);
        TRY(error);
    }
}

static struct error *write_whole(struct file *file, struct text text, bool is_synced)
{
    TRY(file_set_size(file, 0));
    TRY(file_write_at(file, 0, text.bytes, text.length));
    return is_synced ? file_sync(file) : NULL;
}

static struct error *replace_whole(const char *path, struct text text, bool is_synced)
{
    struct arena arena = {0};
    struct file *file = NULL;
    char *temporary = arena_format(&arena, "%s.tmp", path);
    char *directory = parent_of(&arena, path);
    struct error *error =
        temporary == NULL || directory == NULL ? error_memory() : open_temporary(temporary, &file);
    if (error == NULL) {
        error = write_whole(file, text, is_synced);
        if (error == NULL)
            error = file_rename(temporary, path);
        if (error != NULL)
            unlink(temporary);
        else if (is_synced)
            error = file_sync_directory(directory);
    }
    file_close(file);
    arena_end(&arena);
    return error;
}

struct error *file_replace_whole(const char *path, struct text text)
{
    return replace_whole(path, text, true);
}

struct error *file_replace_hint(const char *path, struct text text)
{
    return replace_whole(path, text, false);
}

/* The counter begins with the time: in another container, or on another machine that shares the
 * directory, there may be a process of the same number. */
char *file_temporary_name(struct arena *arena, const char *path)
{
    static _Atomic uint64_t counter;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t none = 0;
    atomic_compare_exchange_strong(&counter, &none, (uint64_t)to_ns(now) / 1000);
    return arena_format(arena, "%s.%ld.%llu.tmp", path, (long)getpid(),
        (unsigned long long)atomic_fetch_add(&counter, 1));
}

/* Not over what is there; but where a file system has no such links, what is there is what another
 * process has just made. */
static struct error *link_new(const char *from, const char *to)
{
    int result = fault_here(FAULT_RENAME) ? (errno = EIO, -1) : link(from, to);
    if (result == 0 || errno == EEXIST)
        return NULL;
    if (errno == EIO || errno == ENOSPC || errno == EDQUOT || errno == EROFS)
        return error_new_errno(errno, to, "create");
    return file_rename(from, to);
}

struct error *file_create_whole(const char *path, struct text text)
{
    struct arena arena = {0};
    struct file *file = NULL;
    enum file_kind kind;
    char *temporary = file_temporary_name(&arena, path);
    struct error *error = temporary == NULL ? error_memory() : file_kind_itself(path, &kind);
    if (error == NULL && kind == FILE_ABSENT) {
        error = open_new(temporary, 0666, &file);
        if (error == NULL) {
            error = write_whole(file, text, true);
            if (error == NULL)
                error = link_new(temporary, path);
            unlink(temporary);
        }
    }
    file_close(file);
    arena_end(&arena);
    return error;
}

struct error *file_rename(const char *from, const char *to)
{
    int result = fault_here(FAULT_RENAME) ? (errno = EIO, -1) : rename(from, to);
    if (result == 0)
        return NULL;
    int code = errno;
    struct error *error = error_new_errno(code, to, "replace");
    return error_wrap(error, "renaming %s", from);
}

enum exchange {
    EXCHANGE_NOTHING,
    EXCHANGE_BOTH
}; /* there must be nothing at `to`; there must be */

static int rename_exchanging(const char *from, const char *to, enum exchange how)
{
#if USE_LINUX
    enum { NOREPLACE = 1, EXCHANGE = 2 }; /* RENAME_NOREPLACE, RENAME_EXCHANGE */
    unsigned flag = how == EXCHANGE_BOTH ? EXCHANGE : NOREPLACE;
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flag);
#elif defined(RENAME_SWAP) && defined(RENAME_EXCL)
    return renamex_np(from, to, how == EXCHANGE_BOTH ? RENAME_SWAP : RENAME_EXCL);
#else
    (void)from, (void)to, (void)how;
    errno = ENOSYS;
    return -1;
#endif
}

struct error *file_exchange(const char *from, const char *to, bool *done)
{
    enum { TRIES_MAX = 100 }; /* against somebody who makes and removes `to` all the time */
    int code = EEXIST;
    *done = false;
    if (fault_here(FAULT_RENAME))
        code = EIO;
    for (int tries = 0; code == EEXIST && tries < TRIES_MAX; tries++) {
        code = rename_exchanging(from, to, EXCHANGE_NOTHING) == 0 ? 0 : errno;
        if (code == EEXIST)
            code = rename_exchanging(from, to, EXCHANGE_BOTH) == 0 ? 0 : errno;
        if (code == ENOENT && access(from, F_OK) == 0)
            code = EEXIST; /* it went between the two: once more */
    }
    *done = code == 0;
    if (code == 0 || code == ENOSYS || code == EINVAL || code == ENOTSUP)
        return NULL;
    return error_wrap(error_new_errno(code, to, "replace"), "renaming %s", from);
}

struct error *file_touch(const char *path)
{
    int result = fault_here(FAULT_WRITE) ? (errno = EIO, -1)
                                         : utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW);
    if (result == 0 || errno == ENOENT || errno == ENOTDIR)
        return NULL;
    return error_new_errno(errno, path, "touch");
}

struct error *file_remove(const char *path)
{
    int result = fault_here(FAULT_REMOVE) ? (errno = EIO, -1) : unlink(path);
    if (result == 0 || errno == ENOENT || errno == ENOTDIR)
        return NULL;
    return error_new_errno(errno, path, "remove");
}

struct error *file_remove_directory(const char *path)
{
    if (rmdir(path) == 0 || errno == ENOENT || errno == ENOTEMPTY || errno == EEXIST ||
        errno == ENOTDIR || errno == EBUSY || errno == EINVAL)
        return NULL;
    return error_new_errno(errno, path, "remove");
}

static int remove_visited(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    int result = fault_here(FAULT_REMOVE) ? (errno = EIO, -1) : remove(path);
    return result == 0 || errno == ENOENT ? 0 : -1;
}

struct error *file_remove_tree(const char *path)
{
    enum { DESCRIPTORS_MAX = 16 };
    if (nftw(path, remove_visited, DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return NULL;
    return error_new_errno(errno, path, "remove");
}

static bool is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static struct error *make_directory(
    struct arena *arena, const char *path, bool is_last, bool is_synced)
{
    int result = fault_here(FAULT_OPEN) ? (errno = EACCES, -1) : mkdir(path, 0777);
    int code = result == 0 ? 0 : errno;
    if (code == EEXIST && (!is_last || is_directory(path)))
        return NULL;
    if (code != 0)
        return error_new_errno(code, path, "make the directory");
    if (!is_synced)
        return NULL;
    char *parent = parent_of(arena, path);
    return parent == NULL ? error_memory() : file_sync_directory(parent);
}

static struct error *make_directories(const char *path, bool is_synced)
{
    struct arena arena = {0};
    char *part = arena_copy(&arena, path, strlen(path));
    if (part == NULL)
        return error_memory();
    struct error *error = NULL;
    for (char *slash = part; error == NULL && *part != '\0' && slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL)
            *slash = '\0';
        error = make_directory(&arena, part, slash == NULL, is_synced);
        if (slash != NULL)
            *slash = '/';
    }
    arena_end(&arena);
    return error;
}

struct error *file_make_directories(const char *path)
{
    return make_directories(path, false);
}

struct error *file_make_directories_synced(const char *path)
{
    return make_directories(path, true);
}

struct error *file_sync_directory(const char *path)
{
    if (fault_here(FAULT_SYNC))
        return error_new_errno(EIO, path, "sync");
    int descriptor = open(path[0] == '\0' ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0)
        return error_new_errno(errno, path, "open");
    int code = fsync(descriptor) == 0 || errno == EINVAL ? 0 : errno;
    close(descriptor);
    return code == 0 ? NULL : error_new_errno(code, path, "sync");
}

static int compare_entries(const void *a, const void *b)
{
    const struct file_entry *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static struct error *read_entries(
    struct arena *arena, DIR *directory, const char *path, struct file_entry **out, size_t *count)
{
    struct file_entry *entries = NULL;
    size_t used = 0, capacity = 0;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(directory);
        if (entry == NULL && errno != 0)
            return error_new_errno(errno, path, "list");
        if (entry == NULL)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        entries = arena_grow(arena, entries, used, &capacity, sizeof *entries);
        char *name = arena_copy(arena, entry->d_name, strlen(entry->d_name));
        if (entries == NULL || name == NULL)
            return error_memory();
        struct stat status;
        if (fstatat(dirfd(directory), name, &status, 0) != 0)
            continue; /* a dangling link, or gone meanwhile */
        entries[used++] = (struct file_entry){name, to_kind(status.st_mode)};
    }
    if (used > 0)
        qsort(entries, used, sizeof *entries, compare_entries);
    *out = entries;
    *count = used;
    return NULL;
}

struct error *file_list_directory(
    struct arena *arena, const char *path, struct file_entry **out, size_t *count)
{
    DIR *directory = opendir(path[0] == '\0' ? "." : path);
    if (directory == NULL)
        return error_new_errno(errno, path, "list");
    struct error *error = read_entries(arena, directory, path, out, count);
    closedir(directory);
    return error;
}

/* Calls statvfs or stat on the path or, while absent, on its parents. */
static struct error *nearest_existing(struct arena *arena, const char *path, const char **out)
{
    enum file_kind kind;
    struct file_stamp stamp;
    while (path[0] != '\0') {
        TRY(file_stat(path, &kind, &stamp));
        if (kind != FILE_ABSENT || strcmp(path, "/") == 0)
            break;
        path = path_directory(arena, path);
        if (path == NULL)
            return error_memory();
    }
    *out = path[0] == '\0' ? "." : path;
    return NULL;
}

struct error *file_space_free(const char *path, uint64_t *size_bytes)
{
    struct arena arena = {0};
    const char *existing = NULL;
    struct statvfs status;
    struct error *error = nearest_existing(&arena, path, &existing);
    if (error == NULL && statvfs(existing, &status) != 0)
        error = error_new_errno(errno, existing, "ask for the free space");
    if (error == NULL)
        *size_bytes = (uint64_t)status.f_bavail * (uint64_t)status.f_frsize;
    arena_end(&arena);
    return error;
}

struct error *file_same_device(const char *a, const char *b, bool *out)
{
    struct arena arena = {0};
    const char *paths[] = {a, b};
    struct stat status[2] = {0};
    struct error *error = NULL;
    for (size_t i = 0; error == NULL && i < 2; i++) {
        error = nearest_existing(&arena, paths[i], &paths[i]);
        if (error == NULL && stat(paths[i], &status[i]) != 0)
            error = error_new_errno(errno, paths[i], "stat");
    }
    if (error == NULL)
        *out = status[0].st_dev == status[1].st_dev;
    arena_end(&arena);
    return error;
}

struct file_lock {
    int descriptor;
    char path[];
};

/* 0 unless the file names a process that lives. */
static long read_holder(int descriptor)
{
    char text[24] = "", *end;
    if (pread(descriptor, text, sizeof text - 1, 0) <= 0 || text[0] < '1' || text[0] > '9')
        return 0;
    long id = strtol(text, &end, 10);
    if ((*end != '\n' && *end != '\0') || (long)(pid_t)id != id)
        return 0;
    return kill((pid_t)id, 0) == 0 || errno == EPERM ? id : 0;
}

/* Over what stands there, which is cut afterwards: the line ends where the id does, so there is no
 * moment in which it names nobody. A disk that is full takes no name; the lock is held all the
 * same, for what makes room needs it, too. */
static void name_holder(int descriptor)
{
    char line[24];
    int length = snprintf(line, sizeof line, "%ld\n", (long)getpid());
    bool is_named = pwrite(descriptor, line, (size_t)length, 0) == length;
    int cut = ftruncate(descriptor, is_named ? length : 0);
    (void)cut;
}

/* 0, or what errno was; EWOULDBLOCK when another holds it. One that has just begun or is about to
 * end is given the time to. */
static int lock_open_file(int descriptor, bool wait, long *holder)
{
    enum { LOOK_NS = 5000000, LOOKS_MAX = 20 };
    for (int looks = 0;; looks++) {
        if (flock(descriptor, wait ? LOCK_EX : LOCK_EX | LOCK_NB) == 0)
            return 0;
        if (errno != EWOULDBLOCK || holder == NULL)
            return errno;
        *holder = read_holder(descriptor);
        if (*holder != 0 || looks == LOOKS_MAX)
            return EWOULDBLOCK;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
}

/* Opens and locks what is at the path, again while that is another file than the locked one: who
 * held it may have removed it. 0, or what errno was; `*out` is less than 0 unless it is locked. */
static int lock_path(const char *path, bool wait, int *out, long *holder, const char **doing)
{
    enum { FILES_MAX = 100 };
    for (int files = 0; files < FILES_MAX; files++) {
        bool is_there = false;
        int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (descriptor < 0 && *out >= 0 && (errno == ENOENT || errno == ENOTDIR))
            return 0; /* its directory is gone: the lock on what was there will do */
        *doing = "open";
        int code = descriptor < 0 ? errno : 0;
        if (*out >= 0)
            close(*out);
        *out = descriptor;
        if (code != 0)
            return code;
        *doing = "lock";
        code = lock_open_file(descriptor, wait, holder);
        if (code == 0)
            code = find_open_at(descriptor, path, &is_there);
        if (code != 0) {
            close(descriptor);
            *out = -1;
        }
        if (code != 0 || is_there)
            return code;
    }
    return 0; /* some file system's whim */
}

struct error *file_lock_take(const char *path, bool wait, struct file_lock **out, long *holder)
{
    size_t length = strlen(path);
    struct file_lock *lock = memory_alloc(sizeof *lock + length + 1);
    if (lock == NULL)
        return error_memory();
    memcpy(lock->path, path, length + 1);
    lock->descriptor = -1;
    const char *doing = "";
    int code = lock_path(path, wait, &lock->descriptor, holder, &doing);
    if (code == 0) {
        name_holder(lock->descriptor);
        *out = lock;
        return NULL;
    }
    memory_free(lock);
    if (code == EWOULDBLOCK) {
        *out = NULL;
        return NULL;
    }
    if (code == EINTR)
        return error_new(ERROR_INTERRUPTED, "interrupted while waiting for %s", path);
    return error_new_errno(code, path, doing);
}

struct error *file_lock_check(const struct file_lock *lock)
{
    bool is_there;
    int code = find_open_at(lock->descriptor, lock->path, &is_there);
    if (code != 0)
        return error_new_errno(code, lock->path, "stat");
    if (!is_there)
        return error_new(ERROR_FAILED, "%s was removed while psybuild was at work", lock->path);
    return NULL;
}

/* Unlocked by name: a child that has not come to its exec yet still has the descriptor. */
void file_lock_release(struct file_lock *lock)
{
    if (lock == NULL)
        return;
    int cut = ftruncate(lock->descriptor, 0);
    (void)cut; /* else it names one who has ended */
    flock(lock->descriptor, LOCK_UN);
    close(lock->descriptor);
    memory_free(lock);
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

struct error *file_change_directory(const char *path)
{
    if (path[0] != '\0' && chdir(path) != 0)
        return error_new_errno(errno, path, "enter");
    return NULL;
}

struct error *file_current_directory(struct arena *arena, char **out)
{
    for (size_t size = 256;; size *= 2) {
        char *path = arena_alloc(arena, size);
        if (path == NULL)
            return error_memory();
        if (getcwd(path, size) != NULL) {
            *out = path;
            return NULL;
        }
        if (errno != ERANGE)
            return error_new_errno(errno, ".", "find the current directory");
    }
}

struct error *file_run_program(char *const *arguments, int *status)
{
    pid_t child;
    int code = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);
    if (code != 0)
        return error_new_errno(code, arguments[0], "run");
    int result;
    while (waitpid(child, &result, 0) < 0)
        if (errno != EINTR)
            return error_new_errno(errno, arguments[0], "wait for");
    *status = WIFSIGNALED(result) ? 128 + WTERMSIG(result) : WEXITSTATUS(result);
    return NULL;
}

uint64_t clock_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)to_ns(now);
}
