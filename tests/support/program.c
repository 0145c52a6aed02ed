/* program.c - fork and exec, with a pipe for what the program says. */
#include "tests/support/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tree.h"

enum { ARGUMENTS_MAX = 32, READ_BYTES = 4096 };
static char path_found[PATH_MAX];

void program_find(void)
{
    const char *build = getenv("PSYBUILD_BUILD");
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/psybuild", build == NULL ? "." : build);
    if (realpath(path, path_found) == NULL) {
        fprintf(stderr, "%s: no program here; build it, or say where with PSYBUILD_BUILD\n", path);
        exit(1);
    }
}

const char *program_path(void)
{
    return path_found;
}

/* In the child; does not return. */
static void run(
    const char *const *arguments, const char *const *environment, int output, unsigned closed)
{
    char *words[ARGUMENTS_MAX] = {path_found};
    char data[PATH_MAX + 16];
    size_t count = 1;
    for (size_t i = 0; arguments[i] != NULL && count + 1 < ARGUMENTS_MAX; i++)
        words[count++] = strdup(arguments[i]);
    snprintf(data, sizeof data, "%s/manifests", tree_source());
    setenv("PSYBUILD_DATA_DIR", data, 1);
    for (size_t i = 0; environment != NULL && environment[i] != NULL; i += 2)
        setenv(environment[i], environment[i + 1], 1);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(output, STDERR_FILENO) < 0)
        _exit(127);
    for (int descriptor = 0; descriptor <= STDERR_FILENO; descriptor++)
        if (closed >> descriptor & 1)
            close(descriptor);
    execv(path_found, words);
    _exit(127);
}

static struct program start(struct arena *arena, const char *const *arguments,
    const char *const *environment, unsigned closed)
{
    struct program program = {.arena = arena, .said = TEXT_EMPTY};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[0], F_SETFD, FD_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETFD, FD_CLOEXEC), 0);
    fflush(NULL);
    program.id = fork();
    assert_true(program.id >= 0);
    if (program.id == 0)
        run(arguments, environment, ends[1], closed);
    close(ends[1]);
    program.output = ends[0];
    return program;
}

struct program program_start(
    struct arena *arena, const char *const *arguments, const char *const *environment)
{
    return start(arena, arguments, environment, 0);
}

struct program program_start_closed(
    struct arena *arena, const char *const *arguments, unsigned closed)
{
    return start(arena, arguments, NULL, closed);
}

/* False at the end. */
static bool read_more(struct program *program)
{
    char *said = arena_alloc(program->arena, program->said.length + READ_BYTES + 1);
    assert_non_null(said);
    memcpy(said, program->said.bytes, program->said.length);
    ssize_t count;
    do
        count = read(program->output, said + program->said.length, READ_BYTES);
    while (count < 0 && errno == EINTR);
    assert_true(count >= 0);
    program->said = (struct text){said, program->said.length + (size_t)count};
    return count > 0;
}

bool program_wait_for(struct program *program, const char *words)
{
    while (strstr(program->said.bytes, words) == NULL)
        if (!read_more(program))
            return false;
    return true;
}

bool program_is_running(const struct program *program)
{
    siginfo_t info = {.si_pid = 0};
    assert_int_equal(waitid(P_PID, (id_t)program->id, &info, WEXITED | WNOHANG | WNOWAIT), 0);
    return info.si_pid == 0;
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

void program_end(struct program *program)
{
    struct rusage usage;
    int status;
    while (read_more(program))
        continue;
    close(program->output);
    while (wait4(program->id, &status, 0, &usage) < 0)
        assert_int_equal(errno, EINTR);
    program->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    program->processor_us = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
#ifdef __APPLE__
    program->memory_bytes_peak = (uint64_t)usage.ru_maxrss;
#else
    program->memory_bytes_peak = (uint64_t)usage.ru_maxrss * 1024;
#endif
}

struct program program_run(
    struct arena *arena, const char *const *arguments, const char *const *environment)
{
    struct program program = program_start(arena, arguments, environment);
    program_end(&program);
    return program;
}
