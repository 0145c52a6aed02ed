/* process.c - posix_spawn (process.h). */
#include "base/process.h"

#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

struct error *process_run(char *const *arguments, int *status)
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
