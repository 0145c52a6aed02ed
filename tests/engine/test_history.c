/* test_history.c - histories: known ones that went wrong once, then random ones for ten seconds
 * (HISTORY_SECONDS, HISTORY_SEED). What they are made of is in tests/support/history_step.h and
 * history_run.h; docs/testing.md says how to add one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/history_search.h"
#include "tests/support/program.h"
#include "tests/support/tree.h"

static const struct known {
    const char *name, *steps;
} known[] = {
    {"a log does not outlive the outputs it describes", "set data 1\n"
                                                        "fill raw/a.bin 1 9000000\n"
                                                        "run\n"
                                                        "set task-data 1\n"
                                                        "run\n"
                                                        "set task-data 0\n"
                                                        "fill raw/a.bin 2 9000000\n"
                                                        "run\n"
                                                        "run\n"},
};

static int begin(void **state)
{
    int result = tree_begin(state);
    if (result == 0)
        history_begin();
    return result;
}

static int end(void **state)
{
    history_end();
    return tree_end(state);
}

static void what_went_wrong_once_goes_well(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct arena arena = {0};
        struct history history = history_parse(&arena, known[i].steps);
        struct history_verdict verdict =
            history_play(&arena, &history, &(struct history_options){.steps = 0});
        if (verdict.is_failure)
            fail_msg("%s: %s at step %zu: %s", known[i].name, verdict.kind, verdict.step + 1,
                verdict.text);
        arena_end(&arena);
    }
}

static unsigned number_of(const char *variable, unsigned usual)
{
    const char *given = getenv(variable);
    return given == NULL ? usual : (unsigned)strtoul(given, NULL, 10);
}

static void random_histories_go_well(void **state)
{
    (void)state;
    struct history_options options = {.seed = number_of("HISTORY_SEED", (unsigned)time(NULL)),
        .seconds = number_of("HISTORY_SECONDS", 10),
        .steps = 20,
        .jobs = 1,
        .failures = 1,
        .shrink_seconds = 60};
    assert_int_equal(history_search(&options), 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
        ROW(what_went_wrong_once_goes_well),
        ROW(random_histories_go_well),
#undef ROW
    };
    program_find();
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests_name("histories", tests, NULL, NULL);
}
