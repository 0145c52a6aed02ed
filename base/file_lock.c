/* file_lock.c - flock, and the process that its file names (file_lock.h). */
#include "base/file_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/owner.h"
#include "base/stamp.h"

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
        owner_give(descriptor, path);
        *doing = "lock";
        code = lock_open_file(descriptor, wait, holder);
        if (code == 0)
            code = file_find_opened(descriptor, path, &is_there);
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
    TRY(memory_check(lock));
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
    int code = file_find_opened(lock->descriptor, lock->path, &is_there);
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
