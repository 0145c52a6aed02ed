/* stamp.c - stat, and the clock that file times are taken from (stamp.h). */
#include "base/stamp.h"

#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"

enum { NS_PER_SECOND = 1000000000, WAIT_STEP_NS = 1000000, WAITS_MAX = 20 };

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

enum file_kind file_kind_of(mode_t mode)
{
    return S_ISREG(mode) ? FILE_REGULAR : S_ISDIR(mode) ? FILE_DIRECTORY : FILE_OTHER;
}

/* What stat or lstat gave; absent is no error. */
static struct error *tell(const char *path, int result, const struct stat *status,
    enum file_kind *kind, struct file_stamp *stamp)
{
    if (result != 0 && errno != ENOENT && errno != ENOTDIR)
        return error_new_errno(errno, path, "stat");
    *kind = result != 0 ? FILE_ABSENT : file_kind_of(status->st_mode);
    *stamp = result != 0 ? (struct file_stamp){0} : to_stamp(status);
    return NULL;
}

struct error *file_stat(const char *path, enum file_kind *kind, struct file_stamp *stamp)
{
    struct stat status;
    int result = stat(path[0] == '\0' ? "." : path, &status);
    return tell(path, result, &status, kind, stamp);
}

struct error *file_stat_itself(const char *path, enum file_kind *kind, struct file_stamp *stamp)
{
    struct stat status;
    int result = lstat(path, &status);
    return tell(path, result, &status, kind, stamp);
}

struct error *file_kind_itself(const char *path, enum file_kind *kind)
{
    struct file_stamp stamp;
    return file_stat_itself(path, kind, &stamp);
}

struct error *file_stat_opened(int descriptor, const char *path, struct file_stamp *stamp)
{
    struct stat status;
    if (fstat(descriptor, &status) != 0)
        return error_new_errno(errno, path, "stat");
    *stamp = to_stamp(&status);
    return NULL;
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return to_ns(now);
}

/* On Linux it advances once a tick (1 to 10 ms). */
int64_t file_clock_ns(void)
{
#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
    return read_clock(CLOCK_REALTIME_COARSE);
#else
    return read_clock(CLOCK_REALTIME);
#endif
}

int64_t file_clock_now_ns(void)
{
    return read_clock(CLOCK_REALTIME);
}

uint64_t clock_now_ns(void)
{
    return (uint64_t)read_clock(CLOCK_MONOTONIC);
}

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

int file_find_opened(int descriptor, const char *path, bool *out)
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
