/* jobserver.c - tokens are bytes in a pipe that make and its clients share. */
#include "base/jobserver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

enum { TOKENS_MAX = 1024 };

struct jobserver {
    int in, out; /* -1: not to be reached */
    bool may_block;
    bool owns_in;
    unsigned count;
    char tokens[TOKENS_MAX]; /* the bytes that were taken: the same go back */
};

/* ---- finding ---- */

/* The value of the last such word, up to the next space. */
static struct text find_value(const char *flags, const char *name)
{
    struct text value = TEXT_EMPTY;
    size_t length = strlen(name);
    for (const char *at = flags; (at = strstr(at, name)) != NULL; at += length)
        if (at == flags || at[-1] == ' ')
            value = (struct text){at + length, strcspn(at + length, " ")};
    return value;
}

static bool is_open(int descriptor)
{
    return fcntl(descriptor, F_GETFD) >= 0;
}

static struct error *open_fifo(struct jobserver *jobserver, const char *path)
{
    struct error *error = file_open_descriptor(path, O_RDWR | O_NONBLOCK, &jobserver->in);
    if (error != NULL) {
        error_free(error);
        return NULL;
    }
    jobserver->out = jobserver->in;
    jobserver->owns_in = true;
    return NULL;
}

/* Inherited ends of a pipe. Ours must not block, theirs must go on as they are: the same pipe is
 * opened once more where the system can. */
static struct error *open_pipe(struct arena *arena, struct jobserver *jobserver, struct text value)
{
    char *end = NULL;
    long in = strtol(value.bytes, &end, 10);
    long out = *end == ',' ? strtol(end + 1, NULL, 10) : -1;
    if (in < 0 || out < 0 || in > 65535 || out > 65535 || !is_open((int)in) || !is_open((int)out))
        return NULL;
    char *path = arena_format(arena, "/proc/self/fd/%ld", in);
    TRY(memory_check(path));
    struct error *error = file_open_descriptor(path, O_RDONLY | O_NONBLOCK, &jobserver->in);
    jobserver->owns_in = error == NULL;
    jobserver->may_block = error != NULL;
    if (error != NULL)
        jobserver->in = (int)in;
    error_free(error);
    jobserver->out = (int)out;
    return NULL;
}

struct error *jobserver_open(
    struct arena *arena, const char *make_flags, struct jobserver **out, const char **warning)
{
    *out = NULL;
    *warning = NULL;
    if (make_flags == NULL)
        return NULL;
    struct text value = find_value(make_flags, "--jobserver-auth=");
    if (value.length == 0)
        value = find_value(make_flags, "--jobserver-fds=");
    if (value.length == 0)
        return NULL;
    struct jobserver *jobserver = arena_alloc(arena, sizeof *jobserver);
    TRY(memory_check(jobserver));
    *jobserver = (struct jobserver){.in = -1, .out = -1};
    if (text_starts_with(value, "fifo:")) {
        char *path = arena_copy(arena, value.bytes + 5, value.length - 5);
        TRY(memory_check(path));
        TRY(open_fifo(jobserver, path));
    } else {
        TRY(open_pipe(arena, jobserver, value));
    }
    if (jobserver->in < 0)
        *warning = "make's jobserver cannot be reached: one job at a time (is there a \"+\" before "
                   "the command in the makefile?)";
    *out = jobserver;
    return NULL;
}

/* ---- tokens ---- */

static bool take(struct jobserver *jobserver)
{
    struct pollfd ready = {.fd = jobserver->in, .events = POLLIN};
    if (jobserver->count == TOKENS_MAX ||
        (jobserver->may_block && (poll(&ready, 1, 0) != 1 || (ready.revents & POLLIN) == 0)))
        return false;
    ssize_t count = read(jobserver->in, &jobserver->tokens[jobserver->count], 1);
    jobserver->count += count == 1;
    return count == 1;
}

static void give_back(struct jobserver *jobserver)
{
    ssize_t count;
    do
        count = write(jobserver->out, &jobserver->tokens[jobserver->count - 1], 1);
    while (count < 0 && errno == EINTR);
    jobserver->count--;
}

unsigned jobserver_adjust(struct jobserver *jobserver, unsigned wanted)
{
    if (jobserver->in < 0)
        return 1;
    while (jobserver->count > 0 && jobserver->count + 1 > wanted)
        give_back(jobserver);
    while (jobserver->count + 1 < wanted && take(jobserver))
        continue;
    return jobserver->count + 1;
}

void jobserver_close(struct jobserver *jobserver)
{
    if (jobserver == NULL)
        return;
    while (jobserver->count > 0)
        give_back(jobserver);
    if (jobserver->owns_in)
        close(jobserver->in);
    jobserver->in = jobserver->out = -1;
}

double load_average(void)
{
    double load[1];
    return getloadavg(load, 1) == 1 ? load[0] : 0;
}
