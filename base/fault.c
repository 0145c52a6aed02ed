/* fault.c - counting down to the failure that a test asked for (fault.h). */
#include "base/fault.h"

#ifdef PSYBUILD_FAULT

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {"alloc", "open", "read", "write", "sync", "rename", "remove"};

static bool matches(enum fault_kind kind, const char *word, size_t length)
{
    if (length == 3 && memcmp(word, "any", 3) == 0)
        return true;
    if (length == 2 && memcmp(word, "io", 2) == 0)
        return kind != FAULT_ALLOC;
    return strlen(names[kind]) == length && memcmp(word, names[kind], length) == 0;
}

bool fault_here(enum fault_kind kind)
{
    static _Atomic unsigned long count;
    const char *plan = getenv("PSYBUILD_FAULT_AT");
    if (plan == NULL)
        return false;
    bool must_exit = strncmp(plan, "exit:", 5) == 0;
    bool must_pause = strncmp(plan, "pause:", 6) == 0;
    plan += must_exit ? 5 : must_pause ? 6 : 0;
    const char *colon = strchr(plan, ':');
    if (colon == NULL || !matches(kind, plan, (size_t)(colon - plan)))
        return false;
    unsigned long wanted = strtoul(colon + 1, NULL, 10);
    if (atomic_fetch_add(&count, 1) + 1 != wanted)
        return false;
    if (must_exit)
        _exit(99);
    if (must_pause)
        raise(SIGSTOP); /* whoever started it looks around, and lets it go on */
    return !must_pause;
}

bool fault_has_no_cache(void)
{
    const char *cache = getenv("PSYBUILD_FAULT_CACHE");
    return cache != NULL && strcmp(cache, "spare") == 0;
}

uint64_t fault_inode(uint64_t inode)
{
    static _Atomic uint32_t count;
    if (getenv("PSYBUILD_FAULT_INODES") == NULL)
        return inode;
    return inode ^ ((uint64_t)getpid() << 32 | (atomic_fetch_add(&count, 1) + 1));
}

#else
typedef int fault_is_not_built_in; /* ISO C wants a declaration in every file */
#endif
