/* owner.c - stat, chown, and root. */
#include "base/owner.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"

/* What errno was, or 0. */
static int find_holder(const char *path, struct stat *out)
{
    struct arena arena = {0};
    const char *holder = file_parent(&arena, path);
    int code = holder == NULL ? ENOMEM : 0;
    if (code == 0 && stat(holder[0] == '\0' ? "." : holder, out) != 0)
        code = errno;
    arena_end(&arena);
    return code;
}

struct error *owner_check(const char *path)
{
    struct stat own, holder;
    uid_t caller = geteuid();
    if (lstat(path, &own) != 0)
        return errno == ENOENT || errno == ENOTDIR ? NULL : error_new_errno(errno, path, "stat");
    if (own.st_uid == caller)
        return NULL;
    int code = find_holder(path, &holder);
    if (code != 0)
        return error_new_errno(code, path, "find the directory of");
    if (caller == 0 && own.st_uid == holder.st_uid)
        return NULL;
    return error_new(ERROR_USAGE,
        "%s belongs to another user (%lu, you are %lu): what it says is not obeyed; remove it, or "
        "run psybuild as that user",
        path, (unsigned long)own.st_uid, (unsigned long)caller);
}

/* Not what was there before: others may have given a name here to a file of root's. */
void owner_give(int descriptor, const char *path)
{
    struct stat own, holder;
    if (geteuid() != 0 || fstat(descriptor, &own) != 0 || own.st_uid != 0 || own.st_nlink != 1 ||
        find_holder(path, &holder) != 0 || holder.st_uid == 0)
        return;
    int given = fchown(descriptor, holder.st_uid, holder.st_gid);
    (void)given;
}

void owner_give_directory(const char *path)
{
    struct stat holder;
    if (geteuid() != 0 || find_holder(path, &holder) != 0 || holder.st_uid == 0)
        return;
    int given = lchown(path, holder.st_uid, holder.st_gid);
    (void)given;
}
