/* history.c - a process for each history, which says its verdict through a pipe. */
#include "tests/support/history.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/history_run.h"
#include "tests/support/history_step.h"

enum { VERDICT_BYTES_MAX = 1 << 16 };

static char base[PATH_MAX], device[PATH_MAX];

/* ---- places ---- */

static void find_device(void)
{
    static const char *const places[] = {"/dev/shm", "/tmp", "/var/tmp"};
    struct stat here, there;
    if (stat(".", &here) != 0)
        disk_give_up("no working directory");
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (stat(places[i], &there) == 0 && there.st_dev != here.st_dev &&
            access(places[i], W_OK) == 0) {
            snprintf(device, sizeof device, "%s/psybuild-device.XXXXXX", places[i]);
            if (mkdtemp(device) != NULL)
                return;
        }
    device[0] = '\0';
}

/* Of whoever runs the tests. */
static void clear_environment(void)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
        "PSYBUILD_CACHE", "MAKEFLAGS", "http_proxy", "all_proxy", "ALL_PROXY", "HF_ENDPOINT"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("HF_HOME", "/nonexistent", 1);
}

void history_begin(void)
{
    if (getcwd(base, sizeof base) == NULL)
        disk_give_up("no working directory");
    clear_environment();
    find_device();
    disk_directory("references");
}

void history_end(void)
{
    if (device[0] != '\0')
        disk_remove(device);
}

/* ---- in the history's process ---- */

static void begin_world(struct world *world, struct arena *arena)
{
    const char *elsewhere =
        device[0] == '\0' ? NULL : arena_format(arena, "%s/%d", device, (int)getpid());
    const char *run = arena_format(arena, "%s/%d", base, (int)getpid());
    disk_directory(run);
    world_begin(world, arena, run, elsewhere);
}

static void apply(struct referee *referee, const char *step)
{
    if (referee->is_loud) {
        printf("%s\n", step);
        fflush(stdout);
    }
    disk_say("# %s", step);
    if (!run_apply(referee, step) && !step_apply(referee->world, step))
        disk_give_up("%s: no such step", step);
}

/* All steps, or those up to the first finding; its index, or their count. */
static size_t play(struct referee *referee, const struct history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        apply(referee, history->steps[i]);
        if (referee->finding.kind != NULL)
            return i;
    }
    run_heal(referee);
    return history->count;
}

static void play_here(
    const struct history *history, const struct history_options *options, FILE *out)
{
    static struct arena arena;
    static struct world world;
    struct referee referee = {.world = &world,
        .shared = arena_format(&arena, "%s/references", base),
        .tolerated = options->tolerated == NULL ? "" : options->tolerated,
        .is_loud = options->is_loud};
    begin_world(&world, &arena);
    disk_say(HISTORY_SCRIPT_BEGIN);
    size_t step = play(&referee, history);
    world_end(&world);
    if (referee.finding.kind != NULL)
        fprintf(out, "%zu %s %s", step, referee.finding.kind, referee.finding.text);
    fclose(out);
    fflush(NULL);
}

/* ---- outside of it ---- */

static struct text read_all(struct arena *arena, int from)
{
    char *bytes = arena_alloc(arena, VERDICT_BYTES_MAX + 1);
    size_t length = 0;
    ssize_t count;
    if (bytes == NULL)
        disk_give_up("out of memory");
    while ((count = read(from, bytes + length, VERDICT_BYTES_MAX - length)) != 0)
        if (count > 0)
            length += (size_t)count;
        else if (errno != EINTR)
            break;
    return (struct text){bytes, length};
}

static struct history_verdict read_verdict(struct arena *arena, struct text said, int status)
{
    struct history_verdict verdict = {.kind = "", .text = ""};
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return (struct history_verdict){
            .is_failure = true, .kind = "endless", .text = "psybuild does not end"};
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return (struct history_verdict){
            .is_failure = true, .kind = "driver", .text = "the driver itself gave up"};
    if (said.length == 0)
        return verdict;
    char *rest = arena_copy(arena, said.bytes, said.length);
    verdict.is_failure = true;
    verdict.step = strtoul(strtok_r(rest, " ", &rest), NULL, 10);
    verdict.kind = strtok_r(rest, " ", &rest);
    verdict.text = rest;
    return verdict;
}

static void remove_places(struct arena *arena, pid_t child)
{
    disk_remove(arena_format(arena, "%s/%d", base, (int)child));
    if (device[0] != '\0')
        disk_remove(arena_format(arena, "%s/%d", device, (int)child));
}

static struct history_verdict play_in_child(struct arena *arena, const struct history *history,
    const struct history_options *options, FILE *script, const char *store)
{
    int ends[2], status;
    if (pipe(ends) != 0)
        disk_give_up("no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        disk_give_up("no process");
    if (child == 0) {
        setpgid(0, 0); /* so that nothing that it starts outlives it */
        close(ends[0]);
        FILE *out = fdopen(ends[1], "w");
        disk_write_script(script, store);
        play_here(history, options, out);
        _exit(0);
    }
    close(ends[1]);
    struct text said = read_all(arena, ends[0]);
    close(ends[0]);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            disk_give_up("cannot wait");
    kill(-child, SIGKILL);
    remove_places(arena, child);
    return read_verdict(arena, said, status);
}

struct history_verdict history_play(
    struct arena *arena, const struct history *history, const struct history_options *options)
{
    return play_in_child(arena, history, options, NULL, NULL);
}

void history_write_script(
    const struct history *history, const struct history_options *options, const char *store)
{
    struct arena work = {0};
    mkdir(store, 0777);
    FILE *script = fopen(arena_format(&work, "%s/script.sh", store), "w");
    if (script == NULL)
        disk_give_up("%s: cannot write there", store);
    fprintf(script, "#!/bin/sh\n# What a history did; psybuild is the one in the PATH.\nfiles=%s\n",
        store);
    play_in_child(&work, history, options, script, store);
    fclose(script);
    arena_end(&work);
}
