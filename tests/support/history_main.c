/* history_main.c - random histories for as long as one wants, and failed ones again.
 *
 *   history [--seconds N] [--histories N] [--steps N] [--seed N] [--jobs N] [--failures N]
 *           [--shrink N] [--tolerate KIND]... [--avoid WORDS]... [--loud]
 *   history --replay FILE [--times N] [--tolerate KIND]...     a file's, with all that is said
 *   history --draw N                                           prints history N of the seed
 *
 * Closes with a line of totals as tests do. docs/testing.md, "Histories". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/history_disk.h"
#include "tests/support/history_search.h"
#include "tests/support/program.h"
#include "tests/support/tree.h"

enum { AVOIDED_MAX = 16 };

struct plan {
    struct history_options options;
    const char *replay;
    uint64_t times;
    uint64_t drawn; /* and one, so that 0 is none */
    char tolerated[256];
};

static bool read_number(struct plan *plan, const char *name, uint64_t value)
{
    struct history_options *options = &plan->options;
    if (strcmp(name, "--seconds") == 0)
        options->seconds = (unsigned)value;
    else if (strcmp(name, "--histories") == 0)
        options->histories = value;
    else if (strcmp(name, "--steps") == 0)
        options->steps = (unsigned)value;
    else if (strcmp(name, "--seed") == 0)
        options->seed = value;
    else if (strcmp(name, "--jobs") == 0)
        options->jobs = (unsigned)value;
    else if (strcmp(name, "--failures") == 0)
        options->failures = (unsigned)value;
    else if (strcmp(name, "--shrink") == 0)
        options->shrink_seconds = (unsigned)value;
    else if (strcmp(name, "--times") == 0)
        plan->times = value;
    else if (strcmp(name, "--draw") == 0)
        plan->drawn = value + 1;
    else
        return false;
    return true;
}

static void read_option(struct plan *plan, const char *name, const char *value)
{
    if (value == NULL)
        disk_give_up("%s needs a value", name);
    else if (strcmp(name, "--replay") == 0)
        plan->replay = value;
    else if (strcmp(name, "--tolerate") == 0)
        snprintf(plan->tolerated + strlen(plan->tolerated),
            sizeof plan->tolerated - strlen(plan->tolerated), " %s ", value);
    else if (strcmp(name, "--avoid") == 0 && plan->options.avoided_count < AVOIDED_MAX)
        plan->options.avoided[plan->options.avoided_count++] = value;
    else if (!read_number(plan, name, strtoull(value, NULL, 10)))
        disk_give_up("%s: no such option", name);
}

static struct plan read_options(int argc, char **argv)
{
    struct plan plan = {.times = 1,
        .options = {.seed = 1, .steps = 20, .jobs = 2, .failures = 1, .shrink_seconds = 60}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--loud") == 0) {
            plan.options.is_loud = true;
            continue;
        }
        read_option(&plan, argv[i], argv[i + 1]);
        i++;
    }
    if (plan.options.histories == 0 && plan.options.seconds == 0)
        plan.options.seconds = 60;
    return plan;
}

static unsigned replay(const struct plan *plan, struct text text)
{
    struct arena arena = {0};
    struct history history = history_parse(&arena, text.bytes);
    unsigned failed = 0;
    for (uint64_t i = 0; i < plan->times; i++) {
        struct history_verdict verdict = history_play(&arena, &history, &plan->options);
        failed += verdict.is_failure;
        if (verdict.is_failure && failed == 1)
            printf("%s, at step %zu: %s\n", verdict.kind, verdict.step + 1, verdict.text);
    }
    arena_end(&arena);
    return failed;
}

int main(int argc, char **argv)
{
    struct arena arena = {0};
    struct plan plan = read_options(argc, argv);
    unsigned failed = 0;
    plan.options.tolerated = plan.tolerated;
    program_find();
    struct text text = {"", 0};
    if (plan.replay != NULL)
        text = disk_read(&arena, plan.replay);
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    if (tree_begin(NULL) != 0)
        disk_give_up("no directory");
    history_begin();
    if (plan.drawn > 0) {
        struct history drawn = history_draw(
            &arena, plan.options.seed * UINT64_C(1000003) + plan.drawn - 1, plan.options.steps);
        printf("%s", history_text(&arena, &drawn));
    } else if (plan.replay != NULL) {
        plan.options.is_loud = plan.options.is_loud || plan.times == 1;
        failed = replay(&plan, text);
    } else {
        failed = history_search(&plan.options);
    }
    history_end();
    tree_end(NULL);
    arena_end(&arena);
    printf("%d passed, %u failed, 0 skipped\n", failed == 0, failed);
    return failed > 0;
}
