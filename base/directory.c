/* directory.c - names in directories, made, moved and removed (directory.h). */
#include "base/directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/owner.h"

#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
#define USE_LINUX 1
#include <sys/syscall.h>
#else
#define USE_LINUX 0
#endif

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

char *file_parent(struct arena *arena, const char *path)
{
    char *parent = path_directory(arena, path);
    return parent != NULL && parent[0] == '\0' && path[0] == '/' ? arena_copy(arena, "/", 1)
                                                                 : parent;
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
    owner_give_directory(path);
    if (!is_synced)
        return NULL;
    char *parent = file_parent(arena, path);
    return parent == NULL ? error_memory() : file_sync_directory(parent);
}

static struct error *make_directories(const char *path, bool is_synced)
{
    struct arena arena = {0};
    char *part = arena_copy(&arena, path, strlen(path));
    TRY(memory_check(part));
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
        entries[used++] = (struct file_entry){name, file_kind_of(status.st_mode)};
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
        TRY(memory_check(path));
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
        TRY(memory_check(path));
        if (getcwd(path, size) != NULL) {
            *out = path;
            return NULL;
        }
        if (errno != ERANGE)
            return error_new_errno(errno, ".", "find the current directory");
    }
}
