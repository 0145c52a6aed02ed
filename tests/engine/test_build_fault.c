/* test_build_fault.c - a model directory is rebuilt while the n-th thing that can fail does, or the
 * program dies there, for every n until a run meets no fault.
 *
 * Whatever n, a directory with a config.json is wholly the old one or wholly the new one, and the
 * next run makes it the new one and leaves nothing else behind. Only the variant "fault" has the
 * points (base/fault.h); elsewhere these tests are skipped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

enum { FAULTS_MAX = 100000, EXIT_FAULT = 99 };

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

static void need_faults(void)
{
#ifndef PSYBUILD_FAULT
    print_message("skipped: only the variant \"fault\" can fail on demand\n");
    skip();
#endif
}

/* Two manifests for one directory; the builds go back and forth between what they make. */
struct pair {
    const char *with[2];
    struct snapshot made[2];
    unsigned now; /* which of them lies there */
};

static void make(struct pair *pair, unsigned which, const char *when)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    struct program program = program_run(&arena, arguments, NULL);
    if (program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    pair->now = which;
}

static struct pair begin_pair(const char *first, const char *second)
{
    struct pair pair = {.with = {first, second}};
    for (unsigned which = 0; which < 2; which++) {
        if (tree_has(MODEL)) {
            tree_remove(MODEL);
            tree_remove(".psybuild");
        }
        conversion_declare(pair.with[which]);
        make(&pair, which, "undisturbed");
        pair.made[which] = snapshot_take(&arena, MODEL);
    }
    assert_false(snapshot_equal(&pair.made[0], &pair.made[1]));
    return pair;
}

/* What lies there after a build that did not end well. */
static void assert_loads_old_new_or_not(
    const struct pair *pair, struct arena *work, const char *when)
{
    struct snapshot found = snapshot_take(work, MODEL);
    if (snapshot_find(&found, "config.json") != NULL && !snapshot_equal(&found, &pair->made[0]) &&
        !snapshot_equal(&found, &pair->made[1]))
        fail_msg("%s: config.json stands beside files of another build", when);
}

/* The next run, without faults. */
static void assert_heals(struct pair *pair, unsigned which, struct arena *work, const char *when)
{
    make(pair, which, when);
    struct snapshot found = snapshot_take(work, MODEL);
    snapshot_assert_equal(&found, &pair->made[which], when);
    snapshot_assert_no_strays(work, when);
}

/* One build with a fault, from what lies there to the other; `is_deadly` says how it may end. True
 * if it met the fault and noticed. */
static bool rebuild_with_fault(struct pair *pair, const char *fault, bool is_deadly)
{
    static const char *const arguments[] = {"-j1", "--progress=none", NULL};
    const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, NULL};
    struct arena work = {0};
    char when[64];
    unsigned next = !pair->now;
    snprintf(when, sizeof when, "%s, %u -> %u", fault, pair->now, next);
    conversion_declare(pair->with[next]);
    struct program program = program_run(&work, arguments, environment);
    bool has_failed = program.exit_code == (is_deadly ? EXIT_FAULT : 1);
    if (!has_failed && program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    if (has_failed && !is_deadly && strstr(program.said.bytes, "error: ") == NULL)
        fail_msg("%s: failed without a message: %s", when, program.said.bytes);
    assert_loads_old_new_or_not(pair, &work, when);
    assert_heals(pair, next, &work, when);
    arena_end(&work);
    return has_failed;
}

/* How many points of a kind a rebuild has: the last n at which it dies. */
static unsigned die_at_each(struct pair *pair, const char *kind)
{
    char fault[32];
    for (unsigned n = 1; n < FAULTS_MAX; n++) {
        snprintf(fault, sizeof fault, "exit:%s:%u", kind, n);
        if (!rebuild_with_fault(pair, fault, true))
            return n - 1;
    }
    fail_msg("dying at %s never ended", kind);
    return 0;
}

/* The same without trying each: by bisection. */
static unsigned count_points(struct pair *pair, const char *kind)
{
    unsigned met = 0, missed = FAULTS_MAX;
    char fault[32];
    while (missed - met > 1) {
        unsigned n = met + (missed - met) / 2;
        snprintf(fault, sizeof fault, "exit:%s:%u", kind, n);
        if (rebuild_with_fault(pair, fault, true))
            met = n;
        else
            missed = n;
    }
    return met;
}

/* Some faults nobody has to notice: a build that ends well is no sign of the last n. */
static void fail_at_each(struct pair *pair, const char *kind, unsigned stride)
{
    unsigned failed = 0, tried = 0, last = count_points(pair, kind);
    char fault[32];
    for (unsigned n = 1; n <= last; n += stride, tried++) {
        snprintf(fault, sizeof fault, "%s:%u", kind, n);
        failed += rebuild_with_fault(pair, fault, false);
    }
    print_message("%u of %u points tried, %u of them failed the build\n", tried, last, failed);
    assert_true(failed > 100);
}

static void killed_at_any_point_the_next_run_finishes(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair("\"bits\": 4", "\"bits\": 8");
    unsigned count = die_at_each(&pair, "io");
    print_message("died at each of %u points\n", count);
    assert_true(count > 100);
}

/* Old files are removed while sealing: one file against five. */
static void killed_while_files_come_and_go_the_next_run_finishes(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair("\"bits\": 4", "\"bits\": 4, \"max_shard_size\": \"100K\"");
    unsigned count = die_at_each(&pair, "io");
    print_message("died at each of %u points\n", count);
    assert_true(count > 100);
}

static void failing_at_any_point_says_so_and_harms_nothing(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair("\"bits\": 4", "\"bits\": 8, \"max_shard_size\": \"400K\"");
    fail_at_each(&pair, "io", 1);
}

/* There are thousands of allocations: PSYBUILD_FAULT_STRIDE=1 tries all. */
static void without_memory_it_says_so_and_harms_nothing(void **state)
{
    const char *stride = getenv("PSYBUILD_FAULT_STRIDE");
    (void)state;
    need_faults();
    struct pair pair = begin_pair("\"bits\": 4", "\"bits\": 8");
    fail_at_each(&pair, "alloc", stride == NULL ? 17 : (unsigned)strtoul(stride, NULL, 10));
}

/* From nothing: what an earlier try left is all there is. */
static void a_first_conversion_killed_at_any_point_is_finished_by_the_next(void **state)
{
    static const char *const arguments[] = {"-j1", "--progress=none", NULL};
    char fault[32] = "";
    const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, NULL};
    int exit_code = EXIT_FAULT;
    unsigned n = 1;
    (void)state;
    need_faults();
    struct pair pair = begin_pair("\"bits\": 4", "\"bits\": 4, \"group_size\": 32");
    for (; exit_code == EXIT_FAULT; n++) {
        struct arena work = {0};
        tree_remove(MODEL);
        tree_remove(".psybuild");
        snprintf(fault, sizeof fault, "exit:io:%u", n);
        exit_code = program_run(&work, arguments, environment).exit_code;
        assert_loads_old_new_or_not(&pair, &work, fault);
        assert_heals(&pair, 1, &work, fault);
        arena_end(&work);
    }
    assert_int_equal(exit_code, 0);
    print_message("died at each of %u points\n", n - 1);
    assert_true(n > 100);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, conversion_begin, end)
        ROW(a_first_conversion_killed_at_any_point_is_finished_by_the_next),
        ROW(killed_at_any_point_the_next_run_finishes),
        ROW(killed_while_files_come_and_go_the_next_run_finishes),
        ROW(failing_at_any_point_says_so_and_harms_nothing),
        ROW(without_memory_it_says_so_and_harms_nothing),
#undef ROW
    };
    program_find();
    return cmocka_run_group_tests_name("build, faults", tests, NULL, NULL);
}
