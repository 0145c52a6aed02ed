/* jobserver.c - tokens are bytes in a pipe that make and its clients share. */
#include "base/jobserver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

enum { TOKENS_MAX = 1024 };

struct jobserver {
    int in, out; /* -1: not to be reached */
    bool may_block;
    bool owns_in;
    unsigned jobs_max; /* make's -j, or 0 */
    unsigned count;
    char tokens[TOKENS_MAX]; /* the bytes that were taken: the same go back */
};

/* ---- what make says ---- */

/* The next word of flags, of which make escapes blanks and backslashes by a backslash, and "$" by
 * itself; NULL at the end and at "--", behind which variables stand. */
static struct error *next_word(struct arena *arena, const char **at, char **out)
{
    const char *from = *at + strspn(*at, " \t");
    char *word = arena_array(arena, strlen(from) + 1, 1);
    size_t length = 0;
    TRY(memory_check(word));
    for (; *from != '\0' && *from != ' ' && *from != '\t'; from++) {
        if ((*from == '\\' && from[1] != '\0') || (*from == '$' && from[1] == '$'))
            from++;
        word[length++] = *from;
    }
    word[length] = '\0';
    *at = from;
    *out = length == 0 || strcmp(word, "--") == 0 ? NULL : word;
    return NULL;
}

/* What follows the name in a word; NULL: the word is another. */
static const char *value_of(const char *word, const char *name)
{
    size_t length = strlen(name);
    return strncmp(word, name, length) == 0 && word[length] != '\0' ? word + length : NULL;
}

/* One letter for each flag without a value, which is how make begins. */
bool make_only_says(const char *make_flags)
{
    size_t length = make_flags == NULL ? 0 : strcspn(make_flags, " \t");
    if (length == 0 || make_flags[0] == '-' || memchr(make_flags, '=', length) != NULL)
        return false;
    return strcspn(make_flags, "nqt") < length;
}

/* ---- finding ---- */

/* Anything else must never have a byte read from it or written to it. */
static bool is_fifo(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISFIFO(status.st_mode);
}

static bool may(int descriptor, int mode)
{
    int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && ((flags & O_ACCMODE) == mode || (flags & O_ACCMODE) == O_RDWR);
}

static void open_fifo(struct jobserver *jobserver, const char *path)
{
    int descriptor;
    struct stat status;
    if (stat(path, &status) != 0 || !S_ISFIFO(status.st_mode)) /* opening a device may do things */
        return;
    struct error *error = file_open_descriptor(path, O_RDWR | O_NONBLOCK, &descriptor);
    if (error != NULL) {
        error_free(error);
        return;
    }
    if (!is_fifo(descriptor)) {
        close(descriptor);
        return;
    }
    jobserver->in = jobserver->out = descriptor;
    jobserver->owns_in = true;
}

/* "R,W" and nothing else. */
static bool read_pair(const char *value, int *in, int *out)
{
    long numbers[2];
    for (int i = 0; i < 2; i++) {
        char *end;
        if (*value < '0' || *value > '9')
            return false;
        numbers[i] = strtol(value, &end, 10);
        if (numbers[i] > 65535 || *end != (i == 0 ? ',' : '\0'))
            return false;
        value = end + 1;
    }
    *in = (int)numbers[0];
    *out = (int)numbers[1];
    return true;
}

/* Inherited ends of a pipe. Ours must not block, theirs must go on as they are: the same pipe is
 * opened once more where the system can. */
static struct error *open_pipe(struct arena *arena, struct jobserver *jobserver, const char *value)
{
    int in, out;
    if (!read_pair(value, &in, &out) || !is_fifo(in) || !is_fifo(out) || !may(in, O_RDONLY) ||
        !may(out, O_WRONLY))
        return NULL;
    char *path = arena_format(arena, "/proc/self/fd/%d", in);
    TRY(memory_check(path));
    struct error *error = file_open_descriptor(path, O_RDONLY | O_NONBLOCK, &jobserver->in);
    jobserver->owns_in = error == NULL;
    jobserver->may_block = error != NULL;
    if (error != NULL)
        jobserver->in = in;
    error_free(error);
    jobserver->out = out;
    return NULL;
}

struct error *jobserver_open(struct arena *arena, const char *make_flags, struct jobserver **out)
{
    const char *at = make_flags == NULL ? "" : make_flags, *auth = NULL, *fds = NULL, *found;
    unsigned long jobs = 0;
    *out = NULL;
    for (char *word;;) {
        TRY(next_word(arena, &at, &word));
        if (word == NULL)
            break;
        if ((found = value_of(word, "--jobserver-auth=")) != NULL)
            auth = found;
        else if ((found = value_of(word, "--jobserver-fds=")) != NULL)
            fds = found;
        else if ((found = value_of(word, "-j")) != NULL)
            jobs = strtoul(found, NULL, 10);
    }
    if (auth == NULL)
        auth = fds;
    if (auth == NULL)
        return NULL;
    struct jobserver *jobserver = arena_alloc(arena, sizeof *jobserver);
    TRY(memory_check(jobserver));
    *jobserver = (struct jobserver){
        .in = -1, .out = -1, .jobs_max = jobs > TOKENS_MAX ? TOKENS_MAX : (unsigned)jobs};
    if (strncmp(auth, "fifo:", 5) == 0)
        open_fifo(jobserver, auth + 5);
    else
        TRY(open_pipe(arena, jobserver, auth));
    *out = jobserver;
    return NULL;
}

const char *jobserver_warning(const struct jobserver *jobserver)
{
    return jobserver == NULL || jobserver->in >= 0
               ? NULL
               : "make's jobserver cannot be reached: one job at a time (is there a \"+\" before "
                 "the command in the makefile?)";
}

unsigned jobserver_jobs_max(const struct jobserver *jobserver)
{
    return jobserver == NULL || jobserver->in < 0 ? 0 : jobserver->jobs_max;
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
