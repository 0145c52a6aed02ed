/* measure.c - runs a command several times and says what each run cost.
 *
 *     measure [-n TIMES] [-o FILE] COMMAND [ARGUMENT...]
 *
 * One line a run, to FILE or standard output: seconds from start to end, user seconds, system
 * seconds, peak memory in KiB, exit status. It is a program of its own because the peak that the
 * kernel reports for a child begins at its parent's size: this one is small. */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + 1e-6 * (double)time.tv_usec;
}

static int run(char **command, FILE *out)
{
    pid_t pid;
    int status;
    struct rusage usage;
    double begin = now_seconds();
    int error = posix_spawnp(&pid, command[0], NULL, NULL, command, environ);
    if (error != 0) {
        fprintf(stderr, "measure: %s: %s\n", command[0], strerror(error));
        return 127;
    }
    if (wait4(pid, &status, 0, &usage) != pid) {
        perror("measure: wait4");
        return 127;
    }
    double end = now_seconds();
#ifdef __APPLE__
    long peak_kib = usage.ru_maxrss / 1024;
#else
    long peak_kib = usage.ru_maxrss;
#endif
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    fprintf(out, "%.6f %.6f %.6f %ld %d\n", end - begin, seconds_of(usage.ru_utime),
        seconds_of(usage.ru_stime), peak_kib, code);
    return code;
}

int main(int count, char **arguments)
{
    long times = 1;
    FILE *out = stdout;
    int at = 1;
    for (; at + 2 < count && arguments[at][0] == '-'; at += 2) {
        if (strcmp(arguments[at], "-n") == 0)
            times = strtol(arguments[at + 1], NULL, 10);
        else if (strcmp(arguments[at], "-o") == 0)
            out = fopen(arguments[at + 1], "w");
        else
            break;
    }
    if (at >= count || out == NULL || times < 1) {
        fprintf(stderr, "usage: measure [-n TIMES] [-o FILE] COMMAND [ARGUMENT...]\n");
        return 2;
    }
    int code = 0;
    for (long i = 0; i < times && code == 0; i++)
        code = run(arguments + at, out);
    return fclose(out) == 0 ? code : 1;
}
