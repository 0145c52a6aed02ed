/* file_whole.c - files read, copied and written as a whole (file_whole.h). */
#include "base/file_whole.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/stamp.h"

/* Some file systems know neither, or not of this user: the bytes count. */
static void set_mode_and_time(const struct file *file, const struct stat *like)
{
#ifdef __APPLE__
    struct timespec mtime = like->st_mtimespec;
#else
    struct timespec mtime = like->st_mtim;
#endif
    int mode_set = fchmod(file_descriptor(file), like->st_mode & 0777);
    int time_set =
        futimens(file_descriptor(file), (const struct timespec[2]){{.tv_nsec = UTIME_OMIT}, mtime});
    (void)mode_set, (void)time_set;
}

static struct error *copy_to_new(struct file *in, const char *to)
{
    struct stat like;
    struct file *out;
    if (fstat(file_descriptor(in), &like) != 0)
        return error_new_errno(errno, file_path(in), "stat");
    TRY(file_remove(to));
    TRY(file_open_new(
        to, like.st_mode & 0777, &out)); /* nobody may read it who may not the other */
    struct error *error = file_copy_range(in, 0, out, 0, file_size(in), NULL);
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
    if (file_size(file) > size_max) {
        error = error_new(ERROR_FORMAT, "%s: expected at most %zu bytes, found %llu", path,
            size_max, (unsigned long long)file_size(file));
    } else {
        size_t length = (size_t)file_size(file);
        char *bytes = arena_alloc(arena, length + 1);
        error = bytes == NULL ? error_memory() : file_read_at(file, 0, bytes, length);
        if (error == NULL)
            *out = (struct text){bytes, length};
    }
    file_close(file);
    return error;
}

/* Locks an open file, so that those who write to it take turns. `*is_there` is false when it is not
 * at the path any more. Where there are no locks, each goes on as if alone; one that stands still
 * in the middle of a small file is not waited for. */
static struct error *wait_for_turn(int descriptor, const char *path, bool *is_there)
{
    enum { WAIT_NS = 1000000, WAITS = 5000 }; /* of a millisecond and more */
    bool is_locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    for (int waits = 0; !is_locked && errno == EWOULDBLOCK; waits++) {
        if (waits == WAITS)
            return error_new(
                ERROR_BUSY, "%s: another process is writing it, and does not end", path);
        if (nanosleep(&(struct timespec){.tv_nsec = WAIT_NS}, NULL) != 0 && errno == EINTR)
            return error_new(ERROR_INTERRUPTED, "interrupted while waiting for %s", path);
        is_locked = flock(descriptor, LOCK_EX | LOCK_NB) == 0;
    }
    if (!is_locked || file_find_opened(descriptor, path, is_there) != 0)
        *is_there = true;
    return NULL;
}

/* What a killed process left goes, never written through: it may be a link, or have other names. */
static struct error *remove_leftover(const char *path)
{
    int descriptor = -1;
    struct error *error =
        file_open_descriptor(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, &descriptor);
    /* missing now: what is made from now on is another's */
    bool is_there = error == NULL || error_kind_of(error) != ERROR_MISSING;
    error_free(error);
    error = descriptor < 0 ? NULL : wait_for_turn(descriptor, path, &is_there);
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
        struct error *error = wait_for_turn(file_descriptor(file), path, &is_there);
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
    char *directory = file_parent(&arena, path);
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
    uint64_t none = 0;
    atomic_compare_exchange_strong(&counter, &none, (uint64_t)file_clock_now_ns() / 1000);
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
        error = file_open_new(temporary, 0666, &file);
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
