/* test_history.c - histories: known ones that went wrong once, then random ones for ten seconds
 * (HISTORY_SECONDS, HISTORY_SEED). What they are made of is in tests/support/history_step.h and
 * history_run.h; docs/testing.md says how to add one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/history_search.h"
#include "tests/support/program.h"
#include "tests/support/tree.h"

#ifdef PSYBUILD_FAULT
#define HAS_POINTS true
#else
#define HAS_POINTS false
#endif

/* "{2..8..3}" stands for 2, 5 and 8, one after the other: points that only variant fault has;
 * elsewhere such a run is like any other. */
static const struct known {
    const char *name, *steps;
} known[] = {
    {"a log does not outlive the outputs it describes", "set data 1\n"
                                                        "fill raw/a.bin 1 9000000\n"
                                                        "run\n"
                                                        "set task-data 1\n"
                                                        "run\n"
                                                        "set task-data 0\n"
                                                        "run\n"
                                                        "run\n"},
    {"a file that shrinks to a text and grows again is whole", "set data 1\n"
                                                               "fill raw/a.bin 1 9000000\n"
                                                               "run\n"
                                                               "fill raw/a.bin 2 6\n"
                                                               "run\n"
                                                               "fill raw/a.bin 1 9000000\n"
                                                               "run\n"},
    {"a copied file may pass 4 MiB, and come back", "set model 1\n"
                                                    "pad src/generation_config.json 4200000\n"
                                                    "run\n"
                                                    "back src/generation_config.json\n"
                                                    "run\n"
                                                    "back src/generation_config.json\n"
                                                    "run\n"},
    {"a node is not sealed with the past record of another", "set data 1\n"
                                                             "set log 1\n"
                                                             "fill raw/a.bin 1 9000000\n"
                                                             "set cache 1\n"
                                                             "set task-log 1\n"
                                                             "run\n"
                                                             "set task-data 1\n"
                                                             "set task-log 2\n"
                                                             "run\n"
                                                             "set task-data 0\n"
                                                             "set task-log 1\n"
                                                             "run\n"
                                                             "set task-data 1\n"
                                                             "set task-log 2\n"
                                                             "run\n"
                                                             "fill raw/a.bin 3 20\n"
                                                             "run\n"},
    {"two models that go back and forth keep their records apart",
        "set model 1\n"
        "set second 1\n"
        "set cache 1\n"
        "set bits-second 4\n"
        "run\n"
        "set bits 8\n"
        "set bits-second 8\n"
        "run\n"
        "set bits 4\n"
        "set bits-second 4\n"
        "run\n"
        "set bits 8\n"
        "set bits-second 8\n"
        "run\n"
        "text src/generation_config.json 5\n"
        "run\n"},
    {"a place of a partial that was written again has one entry", "set model 1\n"
                                                                  "set rules 1\n"
                                                                  "run -j1 @exit:io:{150..240..3}\n"
                                                                  "set rules 2\n"
                                                                  "run\n"
                                                                  "set rules 1\n"
                                                                  "run\n"
                                                                  "run\n"},
    {"an output may be called pieces", "set pieces 1\n"
                                       "fill raw/a.bin 1 9000000\n"
                                       "run\n"},
    {"an output may be called pieces, old or log", "set pieces 1\n"
                                                   "set old 1\n"
                                                   "set log 1\n"
                                                   "fill raw/a.bin 1 9000000\n"
                                                   "fill raw/b.bin 2 9000000\n"
                                                   "run\n"
                                                   "set task-pieces 1\n"
                                                   "set task-old 1\n"
                                                   "set task-log 1\n"
                                                   "run\n"},
    {"two readers of a file that goes both have what no piece reads", "set second 1\n"
                                                                      "set from 1\n"
                                                                      "set keep-far 1\n"
                                                                      "run -j4\n"
                                                                      "set far 2\n"
                                                                      "run -j4\n"
                                                                      "set far 1\n"
                                                                      "run -j4\n"},
    {"an output that is edited while it is copied from is not copied",
        "set data 1\n"
        "fill raw/a.bin 1 9000000\n"
        "run\n"
        "poke raw/a.bin 100\n"
        "run -j1 @pause:io:{32..76..4} edit out/data same 500\n"
        "run\n"},
    {"a pattern that makes config.json opens a window", "set many 1\n"
                                                        "run\n"
                                                        "text raw/many/config.json 2\n"
                                                        "text raw/many/x.bin 2\n"
                                                        "run @exit:rename:{1..9..1}\n"
                                                        "run\n"},
    {"a staged file that is taken away fails the seal",
        "set model 1\n"
        "run @pause:rename:{1..16..1} staged remove 2\n"
        "run\n"},
    {"a build that lost .psybuild does not say that all is well",
        "set model 1\n"
        "run @pause:io:{60..260..8} forget all ; second\n"
        "run\n"},
    {"edits by hand are set aside", "set model 1\n"
                                    "set second 1\n"
                                    "set from 1\n"
                                    "set data 1\n"
                                    "run\n"
                                    "edit models/M/chat_template.jinja append\n"
                                    "edit models/M/config.json same 300\n"
                                    "edit models/N/model.safetensors same 900\n"
                                    "edit far/tokenizer.json append\n"
                                    "edit out/data write\n"
                                    "tool -n\n"
                                    "run\n"},
    {"the target directory may be on another device", "device models\n"
                                                      "set model 1\n"
                                                      "run\n"
                                                      "set bits 8\n"
                                                      "run\n"
                                                      "edit models/M/README.md append\n"
                                                      "run\n"
                                                      "tool -t clean\n"
                                                      "run\n"},
    {"rules of one's own are seen when they come", "set model 1\n"
                                                   "run\n"
                                                   "set rules 2\n"
                                                   "run\n"
                                                   "set rules 0\n"
                                                   "run\n"},
    {"what was given back comes when it is to be kept", "set data 1\n"
                                                        "set sum 1\n"
                                                        "set keep-data 1\n"
                                                        "run\n"
                                                        "set keep-data 0\n"
                                                        "run\n"},
    {"a dry run leaves what a killed build left", "set model 1\n"
                                                  "set data 1\n"
                                                  "run @exit:io:{20..200..20}\n"
                                                  "tool -n\n"
                                                  "run\n"},
    {"a log that came back from the cache is of the outputs beside it",
        "set second 1\n"
        "set cache 1\n"
        "run\n"
        "flip 3 135\n"
        "run\n"
        "back src/model-00003-of-00003.safetensors\n"
        "run\n"
        "flip 1 34\n"
        "run\n"},
    {"an output that is edited after its rename is not taken for ours",
        "set model 1\n"
        "run @pause:rename:{1..14..1} edit models/M/model.safetensors same 500\n"
        "run\n"},
    {"an output that is removed after its rename is missed",
        "set model 1\n"
        "run @pause:rename:{1..14..1} edit models/M/model.safetensors remove\n"
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

struct range {
    unsigned begin, last, step;
};

static struct range range_of(const char *steps)
{
    struct range range = {0, 0, 1};
    const char *at = strchr(steps, '{');
    if (at != NULL && sscanf(at, "{%u..%u..%u}", &range.begin, &range.last, &range.step) != 3)
        fail_msg("no range: %s", at);
    return range;
}

static const char *with_number(struct arena *arena, const char *steps, unsigned number)
{
    const char *at = strchr(steps, '{');
    return at == NULL ? steps
                      : arena_format(arena, "%.*s%u%s", (int)(at - steps), steps, number,
                            strchr(at, '}') + 1);
}

static bool play_known(const struct known *row, unsigned number)
{
    struct arena arena = {0};
    struct history history = history_parse(&arena, with_number(&arena, row->steps, number));
    struct history_verdict verdict =
        history_play(&arena, &history, &(struct history_options){.steps = 0});
    if (verdict.is_failure)
        print_error("%s (%u): %s at step %zu: %s\n", row->name, number, verdict.kind,
            verdict.step + 1, verdict.text);
    arena_end(&arena);
    return verdict.is_failure;
}

/* All that fail are named, each at its first number. */
static void what_went_wrong_once_goes_well(void **state)
{
    unsigned failures = 0;
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct range range = range_of(known[i].steps);
        bool has_failed = play_known(&known[i], range.begin);
        for (unsigned n = range.begin;
             HAS_POINTS && !has_failed && (n += range.step) <= range.last;)
            has_failed = play_known(&known[i], n);
        failures += has_failed;
    }
    assert_int_equal(failures, 0);
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
