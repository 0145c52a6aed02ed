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
#include <unistd.h>

#include <cmocka.h>

#include "engine/content/hash.h"
#include "engine/state/state.h"
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
    const char *members; /* of the manifests, besides */
    const char *with[2];
    struct snapshot made[2];
    unsigned now;         /* which of them lies there */
    struct snapshot left; /* in .psybuild, by the last build that ended badly without a model */
    bool has_left;
    bool has_users_file; /* README.md is the user's when a build begins */
    bool spares_cache;   /* what pieces make is written behind */
};

static void make(struct pair *pair, unsigned which, const char *when)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    struct program program = program_run(&arena, arguments, NULL);
    if (program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    pair->now = which;
}

static struct pair begin_pair_more(const char *members, const char *first, const char *second)
{
    struct pair pair = {.members = members, .with = {first, second}};
    for (unsigned which = 0; which < 2; which++) {
        conversion_forget();
        conversion_declare_more(members, pair.with[which]);
        make(&pair, which, "undisturbed");
        pair.made[which] = snapshot_take(&arena, MODEL);
    }
    assert_false(snapshot_equal(&pair.made[0], &pair.made[1]));
    return pair;
}

static struct pair begin_pair(const char *first, const char *second)
{
    return begin_pair_more("", first, second);
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

/* Whether no model lies there, and what does is byte for byte what the last such build left: the
 * next run, which healed that, would be the same again. */
static bool leaves_nothing_new(struct pair *pair, struct arena *work)
{
    if (tree_has(MODEL))
        return false;
    if (tree_has(STATE_DIRECTORY "/lock"))
        tree_remove(STATE_DIRECTORY "/lock"); /* the process id */
    struct snapshot left = snapshot_take(work, STATE_DIRECTORY);
    bool is_known = pair->has_left && snapshot_equal(&left, &pair->left);
    if (!is_known)
        pair->left = snapshot_take(&arena, STATE_DIRECTORY);
    pair->has_left = true;
    return is_known;
}

/* The user's file was set aside once, whole; then it goes. */
static void assert_is_aside(struct arena *work, const char *when)
{
    struct snapshot aside = snapshot_take(work, STATE_DIRECTORY "/aside");
    if (aside.count != 1 || strcmp(aside.files[0].path, MODEL "/README.md") != 0 ||
        !text_is(tree_read(work, STATE_DIRECTORY "/aside/" MODEL "/README.md"), "mine"))
        fail_msg("%s: the user's file is lost", when);
    tree_remove(STATE_DIRECTORY "/aside");
}

/* The next run, without faults. */
static void assert_heals(struct pair *pair, unsigned which, struct arena *work, const char *when)
{
    make(pair, which, when);
    struct snapshot found = snapshot_take(work, MODEL);
    snapshot_assert_equal(&found, &pair->made[which], when);
    if (pair->has_users_file)
        assert_is_aside(work, when);
    snapshot_assert_no_strays(work, when);
}

/* One build with a fault, of the manifest `next` on top of what lies there; `is_deadly` says how it
 * may end. True if it met the fault and noticed. */
static bool build_with_fault(struct pair *pair, unsigned next, const char *fault, bool is_deadly)
{
    static const char *const arguments[] = {"-j1", "--progress=none", NULL};
    const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, "PSYBUILD_FAULT_CACHE",
        pair->spares_cache ? "spare" : "", NULL};
    struct arena work = {0};
    char when[64];
    snprintf(when, sizeof when, "%s, %u -> %u", fault, pair->now, next);
    struct program program = program_run(&work, arguments, environment);
    bool has_failed = program.exit_code == (is_deadly ? EXIT_FAULT : 1);
    if (!has_failed && program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    if (has_failed && !is_deadly && strstr(program.said.bytes, "error: ") == NULL)
        fail_msg("%s: failed without a message: %s", when, program.said.bytes);
    if (!leaves_nothing_new(pair, &work)) {
        assert_loads_old_new_or_not(pair, &work, when);
        assert_heals(pair, next, &work, when);
    }
    arena_end(&work);
    return has_failed;
}

/* From one of the pair to the other. */
static bool rebuild(struct pair *pair, const char *fault, bool is_deadly)
{
    unsigned next = !pair->now;
    conversion_declare_more(pair->members, pair->with[next]);
    return build_with_fault(pair, next, fault, is_deadly);
}

/* The same where a seal that was given up has left the config.json that it had moved away. */
static bool rebuild_over_leftover(struct pair *pair, const char *fault, bool is_deadly)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 name = hash_text(TEXT_LITERAL(MODEL "/config.json"));
    char *path = arena_format(&arena, ".psybuild/partial/%s/old", hash_hex(&name, hex));
    tree_write(path, "{}");
    return rebuild(pair, fault, is_deadly);
}

/* The same of the pair again, from nothing. */
static bool build_first(struct pair *pair, const char *fault, bool is_deadly)
{
    conversion_forget();
    return build_with_fault(pair, pair->now, fault, is_deadly);
}

/* The same where a file of the user's lies in the way. */
static bool build_over_users_file(struct pair *pair, const char *fault, bool is_deadly)
{
    conversion_forget();
    tree_write(MODEL "/README.md", "mine");
    pair->has_users_file = true;
    return build_with_fault(pair, pair->now, fault, is_deadly);
}

static bool holds(const struct snapshot *directory, const struct snapshot_file *file)
{
    for (size_t i = 0; i < directory->count; i++)
        if (directory->files[i].size_bytes == file->size_bytes &&
            hash_equal(&directory->files[i].hash, &file->hash))
            return true;
    return false;
}

#define CACHE "\"cache\": {\"path\": \"cache\"}, "

/* From one of the pair to the other, with an empty cache: whenever it dies, what was replaced is
 * all in there; a cache that fails is a warning, and loses what it could not take. */
static bool rebuild_into_cache(struct pair *pair, const char *fault, bool is_deadly)
{
    struct arena work = {0};
    const struct snapshot *old = &pair->made[pair->now], *new = &pair->made[!pair->now];
    if (tree_has("cache"))
        tree_remove("cache");
    bool is_met = rebuild(pair, fault, is_deadly);
    struct snapshot cache = snapshot_take(&work, "cache");
    for (size_t i = 0; i < old->count && is_deadly; i++)
        if (!holds(new, &old->files[i]) && !holds(&cache, &old->files[i]))
            fail_msg("%s: the old %s is not in the cache", fault, old->files[i].path);
    /* what a process that died was bringing there stays for a day: trees may share the cache */
    for (size_t i = 0; i < cache.count && !is_deadly; i++)
        if (text_ends_with(text_of(cache.files[i].path), ".tmp"))
            fail_msg("%s: cache/%s is left over", fault, cache.files[i].path);
    arena_end(&work);
    return is_met;
}

typedef bool builder(struct pair *pair, const char *fault, bool is_deadly);

static void die_at_each(struct pair *pair, builder *build, const char *kind)
{
    char fault[32];
    unsigned n = 1;
    do
        snprintf(fault, sizeof fault, "exit:%s:%u", kind, n++);
    while (n < FAULTS_MAX && build(pair, fault, true));
    print_message("died at each of %u points\n", n - 2);
    assert_in_range(n, 100, FAULTS_MAX - 1);
}

/* How many points of a kind a build has, by bisection: the last n at which it dies. */
static unsigned count_points(struct pair *pair, builder *build, const char *kind)
{
    unsigned met = 0, missed = FAULTS_MAX;
    char fault[32];
    while (missed - met > 1) {
        unsigned n = met + (missed - met) / 2;
        snprintf(fault, sizeof fault, "exit:%s:%u", kind, n);
        if (build(pair, fault, true))
            met = n;
        else
            missed = n;
    }
    return met;
}

/* Some faults nobody has to notice: a build that ends well is no sign of the last n. */
static void fail_at_each(struct pair *pair, builder *build, const char *kind)
{
    unsigned failed = 0, last = count_points(pair, build, kind);
    char fault[32];
    for (unsigned n = 1; n <= last; n++) {
        snprintf(fault, sizeof fault, "%s:%u", kind, n);
        failed += build(pair, fault, false);
    }
    print_message("failed at each of %u points, %u of them failed the build\n", last, failed);
    assert_true(failed > last / 2);
}

#define FOUR_BITS "\"bits\": 4"
#define EIGHT_BITS "\"bits\": 8"
#define SEVEN_FILES "\"bits\": 4, \"max_shard_size\": \"100K\""

static void a_first_conversion_killed_at_any_point_is_finished_by_the_next(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, EIGHT_BITS);
    die_at_each(&pair, build_first, "io");
}

static void killed_at_any_point_the_next_run_finishes(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, EIGHT_BITS);
    die_at_each(&pair, rebuild, "io");
}

/* Old files are removed while sealing. */
static void killed_while_files_come_and_go_the_next_run_finishes(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, SEVEN_FILES);
    die_at_each(&pair, rebuild, "io");
}

static void a_leftover_does_not_keep_config_json_in_its_place(void **state)
{
    char fault[32];
    unsigned n = 1;
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, SEVEN_FILES); /* config.json is the same in both */
    do
        snprintf(fault, sizeof fault, "exit:rename:%u", n++);
    while (n < FAULTS_MAX && rebuild_over_leftover(&pair, fault, true));
    assert_in_range(n, 5, FAULTS_MAX - 1);
}

static void killed_at_any_point_the_cache_gets_all_that_is_replaced(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair_more(CACHE, FOUR_BITS, EIGHT_BITS);
    die_at_each(&pair, rebuild_into_cache, "io");
    pair = begin_pair_more(CACHE, FOUR_BITS, SEVEN_FILES); /* leftovers, too */
    die_at_each(&pair, rebuild_into_cache, "io");
}

static void killed_while_it_is_restored_the_next_run_finishes(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair_more(CACHE, FOUR_BITS, EIGHT_BITS);
    die_at_each(&pair, rebuild, "io");
}

static void killed_at_any_point_a_file_of_the_users_is_kept(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, EIGHT_BITS);
    die_at_each(&pair, build_over_users_file, "io");
}

static void failing_at_any_point_the_cache_harms_nothing(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair_more(CACHE, FOUR_BITS, SEVEN_FILES);
    fail_at_each(&pair, rebuild_into_cache, "io");
    fail_at_each(&pair, rebuild, "io");
}

static void failing_at_any_point_says_so_and_harms_nothing(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(EIGHT_BITS, SEVEN_FILES);
    fail_at_each(&pair, rebuild, "io");
    fail_at_each(&pair, build_first, "io");
}

static void written_behind_nothing_is_lost_at_any_point(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(EIGHT_BITS, SEVEN_FILES);
    pair.spares_cache = true;
    die_at_each(&pair, rebuild, "io");
    die_at_each(&pair, build_first, "io");
    fail_at_each(&pair, rebuild, "io");
    fail_at_each(&pair, build_first, "io");
    fail_at_each(&pair, build_first, "alloc");
}

static void without_memory_it_says_so_and_harms_nothing(void **state)
{
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, EIGHT_BITS);
    fail_at_each(&pair, rebuild, "alloc");
    fail_at_each(&pair, build_first, "alloc");
}

/* Killed while it seals; then a file that is to be sealed is lost as well. The user's may lie in
 * its place already. */
static void a_file_of_the_users_is_kept_though_a_staged_one_is_lost(void **state)
{
    unsigned n = 1;
    (void)state;
    need_faults();
    struct pair pair = begin_pair(FOUR_BITS, EIGHT_BITS);
    for (bool is_met = true; is_met; n++) {
        static const char *const arguments[] = {"-q", "-j1", NULL};
        char fault[32];
        const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, NULL};
        struct arena work = {0};
        snprintf(fault, sizeof fault, "exit:rename:%u", n);
        conversion_forget();
        tree_write(MODEL "/README.md", "mine");
        is_met = program_run(&work, arguments, environment).exit_code == EXIT_FAULT;
        struct snapshot left = snapshot_take(&work, STATE_DIRECTORY "/partial");
        for (size_t i = 0; i < left.count; i++)
            if (text_ends_with(text_of(left.files[i].path), "/config.json") ||
                text_ends_with(text_of(left.files[i].path), "/tokenizer.json"))
                tree_remove(arena_format(&work, STATE_DIRECTORY "/partial/%s", left.files[i].path));
        make(&pair, pair.now, fault);
        assert_is_aside(&work, fault);
        arena_end(&work);
    }
    assert_in_range(n, 5, FAULTS_MAX - 1);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, conversion_begin, end)
        ROW(a_first_conversion_killed_at_any_point_is_finished_by_the_next),
        ROW(killed_at_any_point_the_next_run_finishes),
        ROW(killed_while_files_come_and_go_the_next_run_finishes),
        ROW(a_leftover_does_not_keep_config_json_in_its_place),
        ROW(killed_at_any_point_the_cache_gets_all_that_is_replaced),
        ROW(killed_while_it_is_restored_the_next_run_finishes),
        ROW(killed_at_any_point_a_file_of_the_users_is_kept),
        ROW(a_file_of_the_users_is_kept_though_a_staged_one_is_lost),
        ROW(failing_at_any_point_the_cache_harms_nothing),
        ROW(failing_at_any_point_says_so_and_harms_nothing),
        ROW(written_behind_nothing_is_lost_at_any_point),
        ROW(without_memory_it_says_so_and_harms_nothing),
#undef ROW
    };
    program_find();
    /* Thousands of builds: a disk would take most of the time to sync them. */
    if (getenv("TMPDIR") == NULL && access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests_name("build, faults", tests, NULL, NULL);
}
