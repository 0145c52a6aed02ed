/* test_build_large.c - the program on a generated checkpoint: its memory, and what it keeps when it
 * is stopped in the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <signal.h>
#include <time.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/json.h"
#include "engine/state/pieces.h"
#include "engine/state/state.h"
#include "tests/support/checkpoint.h"
#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

#define WEIGHTS MODEL "/model*.safetensors"

static const uint64_t MEBIBYTE = 1 << 20;

static struct arena arena; /* of the running test */

static int end(void **state)
{
    unsetenv("PSYBUILD_FAULT_CACHE");
    arena_end(&arena);
    return tree_end(state);
}

static unsigned number_of(const char *variable, unsigned usual)
{
    const char *given = getenv(variable);
    return given == NULL ? usual : (unsigned)strtoul(given, NULL, 10);
}

static struct snapshot make_undisturbed(void)
{
    static const char *const arguments[] = {"-q", NULL};
    conversion_forget();
    struct program program = program_run(&arena, arguments, NULL);
    assert_string_equal(program.said.bytes, "");
    assert_int_equal(program.exit_code, 0);
    return snapshot_take(&arena, MODEL);
}

/* What became of the weights' pieces in a build with --progress=json. */
struct pieces {
    bool are_planned; /* the node was stale */
    int64_t made, kept;
};

static struct pieces pieces_of(const struct program *program)
{
    const char *done = strstr(program->said.bytes, "{\"event\":\"done\",\"node\":\"" WEIGHTS "\"");
    const struct json_document *event;
    struct pieces pieces = {.are_planned = done != NULL};
    if (done == NULL)
        return pieces;
    struct text line = {done, strcspn(done, "\n")};
    tree_assert_ok(json_parse(program->arena, "event", line, JSON_TOLERANT, &event));
    assert_true(json_to_i64(json_get(&event->root, "pieces_made"), &pieces.made));
    assert_true(json_to_i64(json_get(&event->root, "pieces_kept"), &pieces.kept));
    return pieces;
}

/* How many finished pieces of the weights are recorded beside the staged files. */
static uint32_t count_recorded(struct arena *work)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 name = hash_text(TEXT_LITERAL(WEIGHTS));
    struct piece_log *log;
    tree_assert_ok(pieces_load(work,
        arena_format(work, STATE_DIRECTORY "/partial/%s/pieces", hash_hex(&name, hex)), &log));
    return log->count;
}

/* From now on what is made is written behind, as if it were too large for the page cache; only the
 * variant "fault" can. */
static void spare_cache(void)
{
#ifndef PSYBUILD_FAULT
    print_message("skipped: only the variant \"fault\" writes small models behind\n");
    skip();
#endif
    setenv("PSYBUILD_FAULT_CACHE", "spare", 1);
}

/* ---- memory ---- */

static void check_memory(void)
{
    static const struct {
        const char *arguments[5];
        uint64_t budget_mebibytes;
    } rows[] = {
        {{"-q", "-j1", NULL}, 32 + 8},
        {{"-q", "-j2", NULL}, 32 + 2 * 8},
        {{"-q", "-j8", NULL}, 32 + 8 * 8},
        {{"-q", "-j8", "--memory", "16M", NULL}, 16},
        {{"-q", "-j64", "--memory", "16M", NULL}, 16},
        {{"-q", "-j64", "--memory", "1M", NULL}, 1},
    };
    if (IS_SANITIZED) {
        print_message("skipped: a sanitizer takes memory of its own\n");
        skip();
    }
    uint64_t size = checkpoint_write(&(struct checkpoint){8, 512, 2048, 16384}, SOURCE);
    assert_in_range(size, 95 * MEBIBYTE, 120 * MEBIBYTE);
    conversion_declare("\"bits\": 4");
    struct snapshot first = make_undisturbed();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        conversion_forget();
        struct program program = program_run(&arena, rows[i].arguments, NULL);
        uint64_t most = (rows[i].budget_mebibytes + 16) * MEBIBYTE;
        assert_int_equal(program.exit_code, 0);
        print_message("%s %s: %.1f MiB of at most %.1f\n", rows[i].arguments[1],
            rows[i].arguments[2] == NULL ? "" : rows[i].arguments[3],
            (double)program.memory_bytes_peak / (double)MEBIBYTE, (double)most / (double)MEBIBYTE);
        assert_in_range(program.memory_bytes_peak, MEBIBYTE, most);
        struct snapshot made = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&made, &first, rows[i].arguments[1]);
    }
}

static void memory_stays_within_the_budget(void **state)
{
    (void)state;
    check_memory();
}

static void written_behind_memory_stays_within_the_budget(void **state)
{
    (void)state;
    spare_cache();
    check_memory();
}

/* ---- long headers ---- */

/* Processor time of the whole conversion; all values are zeros, and all tensors small. */
static uint64_t convert_layers(unsigned layers)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    if (tree_has(SOURCE))
        tree_remove(SOURCE);
    conversion_forget();
    checkpoint_write_as_one(&(struct checkpoint){layers, 64, 64, 64}, SOURCE);
    struct program program = program_run(&arena, arguments, NULL);
    assert_string_equal(program.said.bytes, "");
    assert_int_equal(program.exit_code, 0);
    return program.processor_us;
}

/* From header to config and index: four times the tensors take four times as long, not sixteen. */
static void twenty_thousand_tensors_take_no_quadratic_time(void **state)
{
    (void)state;
    conversion_declare("\"bits\": 4");
    uint64_t few = convert_layers(5000 / 9), many = 0;
    for (int tries = 0; tries < 3 && (many == 0 || many > 8 * few); tries++) {
        many = convert_layers(20000 / 9); /* a busy machine adds to it, but not each time */
        print_message(
            "5 000 tensors: %.2f s, 20 000: %.2f s\n", (double)few / 1e6, (double)many / 1e6);
    }
    assert_in_range(many, 1, 8 * few);
}

/* ---- stopping ---- */

static void sleep_us(uint64_t time_us)
{
    struct timespec time = {(time_t)(time_us / 1000000), (long)(time_us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

/* Until some pieces are recorded, or it has ended. */
static void wait_for_pieces(const struct program *program)
{
    struct file_stamp log = {0};
    while (log.size_bytes < 4096 && program_is_running(program)) {
        struct arena work = {0};
        struct file_entry *entries;
        size_t count = 0;
        enum file_kind kind;
        error_free(file_list_directory(&work, ".psybuild/partial", &entries, &count));
        for (size_t i = 0; i < count && log.size_bytes < 4096; i++)
            tree_assert_ok(file_stat(
                arena_format(&work, ".psybuild/partial/%s/pieces", entries[i].name), &kind, &log));
        arena_end(&work);
        sleep_us(1000);
    }
}

/* Builds again until it is done; the result must be the undisturbed one. */
static struct pieces finish(const struct snapshot *wanted, struct arena *work, const char *when)
{
    static const char *const arguments[] = {"--progress=json", NULL};
    struct program program = program_run(work, arguments, NULL);
    if (program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    struct snapshot made = snapshot_take(work, MODEL);
    snapshot_assert_equal(&made, wanted, when);
    snapshot_assert_no_strays(work, when);
    return pieces_of(&program);
}

/* PSYBUILD_TEST_KILLS=400, as the last word before a change lands, takes its time. What was written
 * behind is lost in part, and those pieces are made again. */
static void kill_at_random(bool is_behind)
{
    static const char *const arguments[] = {"-q", "-j2", NULL};
    unsigned seed = number_of("PSYBUILD_TEST_SEED", (unsigned)time(NULL));
    unsigned kills = number_of("PSYBUILD_TEST_KILLS", 40);
    unsigned killed = 0, resumed = 0, lost = 0;
    print_message("PSYBUILD_TEST_SEED=%u\n", seed);
    unsigned factor = is_behind ? 2 : 1; /* more blocks than wait to be full */
    checkpoint_write(&(struct checkpoint){4, 256 * factor, 512 * factor, 2048 * factor}, SOURCE);
    conversion_declare("\"bits\": 4");
    make_undisturbed();
    conversion_forget();
    uint64_t begin = clock_now_ns();
    struct snapshot wanted = make_undisturbed();
    uint64_t whole_us = (clock_now_ns() - begin) / 1000;
    for (unsigned i = 0; i < kills; i++) {
        struct arena work = {0};
        char when[64];
        seed = seed * 1103515245 + 12345;
        uint64_t wait_us = (seed >> 8) % whole_us;
        snprintf(when, sizeof when, "kill %u, after %llu us", i, (unsigned long long)wait_us);
        conversion_forget();
        struct program program = program_start(&work, arguments, NULL);
        if (i % 4 == 0)
            wait_for_pieces(&program); /* lest none is resumed by chance */
        else
            sleep_us(wait_us);
        kill(program.id, SIGKILL);
        program_end(&program);
        killed += program.exit_code == 128 + SIGKILL;
        if (tree_has(MODEL "/config.json")) {
            struct snapshot made = snapshot_take(&work, MODEL);
            snapshot_assert_equal(&made, &wanted, when);
        }
        uint32_t recorded = count_recorded(&work);
        struct pieces pieces = finish(&wanted, &work, when);
        bool is_right = is_behind ? pieces.kept <= recorded : pieces.kept == recorded;
        if (pieces.are_planned && !is_right)
            fail_msg("%s: %u pieces were finished, %lld were kept and %lld made again", when,
                recorded, (long long)pieces.kept, (long long)pieces.made);
        resumed += pieces.kept > 0;
        lost += pieces.are_planned && pieces.kept < recorded;
        arena_end(&work);
    }
    print_message("%u of %u were killed in time, %u resumed\n", killed, kills, resumed);
    assert_true(resumed > 0);
    assert_true(!is_behind || lost > 0);
}

static void killed_at_random_it_goes_on_where_it_was(void **state)
{
    (void)state;
    kill_at_random(false);
}

static void killed_while_it_writes_behind_it_goes_on(void **state)
{
    (void)state;
    spare_cache();
    kill_at_random(true);
}

/* Starts over and sends a signal once there are pieces; again if it was quicker. */
static struct program stop_in_the_middle(int number)
{
    static const char *const arguments[] = {"--progress=none", "-j1", NULL};
    struct program program = {.exit_code = 0};
    for (unsigned tries = 0; tries < 10 && program.exit_code == 0; tries++) {
        conversion_forget();
        program = program_start(&arena, arguments, NULL);
        wait_for_pieces(&program);
        kill(program.id, number);
        program_end(&program);
    }
    assert_int_equal(program.exit_code, 128 + number);
    assert_false(tree_has(MODEL "/config.json"));
    return program;
}

static void interrupted_it_keeps_its_pieces(void **state)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    (void)state;
    checkpoint_write(&(struct checkpoint){4, 512, 2048, 8192}, SOURCE);
    conversion_declare("\"bits\": 4");
    struct snapshot wanted = make_undisturbed();
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct program program = stop_in_the_middle(numbers[i]);
        assert_string_equal(program.said.bytes, "psybuild: interrupted\n");
        assert_true(finish(&wanted, &arena, "after the signal").kept > 0);
    }
}

/* A byte in each page. */
static void damage_everywhere(const char *path)
{
    struct text text = tree_read(&arena, path);
    char *bytes = arena_copy(&arena, text.bytes, text.length);
    for (size_t at = 0; at < text.length; at += 4096)
        bytes[at] ^= 1;
    tree_write_bytes(path, bytes, text.length);
}

static void what_was_kept_is_verified(void **state)
{
    (void)state;
    checkpoint_write(&(struct checkpoint){4, 512, 2048, 8192}, SOURCE);
    conversion_declare("\"bits\": 4");
    struct snapshot wanted = make_undisturbed();
    stop_in_the_middle(SIGKILL);
    struct snapshot partial = snapshot_take(&arena, ".psybuild/partial");
    unsigned damaged = 0;
    for (size_t i = 0; i < partial.count; i++) {
        const char *path = partial.files[i].path;
        if (!text_ends_with(text_of(path), ".safetensors"))
            continue;
        damage_everywhere(arena_format(&arena, ".psybuild/partial/%s", path));
        damaged++;
    }
    assert_int_equal(damaged, 1);
    assert_int_equal(finish(&wanted, &arena, "after the damage").kept, 0);
}

static void a_source_that_changed_meanwhile_is_read_again(void **state)
{
    static const char shard[] = SOURCE "/model-00001-of-00006.safetensors";
    (void)state;
    checkpoint_write(&(struct checkpoint){4, 512, 2048, 8192}, SOURCE);
    conversion_declare("\"bits\": 4");
    struct text old = tree_read(&arena, shard);
    char *new = arena_copy(&arena, old.bytes, old.length);
    new[old.length - 1] ^= 1; /* the sign of a weight */
    tree_write_bytes(shard, new, old.length);
    struct snapshot wanted = make_undisturbed();
    tree_write_bytes(shard, old.bytes, old.length);
    struct snapshot before = make_undisturbed();
    assert_false(snapshot_equal(&before, &wanted));
    stop_in_the_middle(SIGKILL);
    tree_write_bytes(shard, new, old.length);
    finish(&wanted, &arena, "after the change");
}

/* ---- sources that do not stay as they are ---- */

#define FIRST_SHARD SOURCE "/model-00001-of-00006.safetensors"

/* In place, by one bit in the middle of the data. */
static void change_shard(void)
{
    FILE *file = fopen(FIRST_SHARD, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 1 << 20, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, 1 << 20, SEEK_SET), 0);
    assert_true(fputc(byte ^ 1, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

static void replace_shard(void)
{
    struct text old = tree_read(&arena, FIRST_SHARD);
    tree_write_bytes("new", old.bytes, old.length);
    assert_int_equal(rename("new", FIRST_SHARD), 0);
}

static void remove_shard(void)
{
    assert_int_equal(rename(FIRST_SHARD, "removed"), 0);
}

static void bring_shard_back(void)
{
    if (tree_has("removed"))
        assert_int_equal(rename("removed", FIRST_SHARD), 0);
}

/* Builds with other bits than before, but stops the program once it has finished pieces, lets
 * `disturb` happen, and lets it go on; again if it was quicker. `*before`: the model at that time.
 */
static struct program disturb_in_the_middle(void (*disturb)(void), struct snapshot *before)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    static bool is_at_8;
    struct program program = {.exit_code = 0};
    for (unsigned tries = 0; tries < 10 && program.exit_code == 0; tries++) {
        is_at_8 = !is_at_8;
        conversion_declare(is_at_8 ? "\"bits\": 8" : "\"bits\": 4");
        bring_shard_back();
        *before = snapshot_take(&arena, MODEL);
        program = program_start(&arena, arguments, NULL);
        wait_for_pieces(&program);
        kill(program.id, SIGSTOP);
        disturb();
        kill(program.id, SIGCONT);
        program_end(&program);
    }
    return program;
}

/* Not made of two versions: the build fails, the model that is there stays, the next run is right.
 */
static void a_source_that_changes_meanwhile_stops_the_build(void **state)
{
    static const struct {
        const char *name;
        void (*disturb)(void);
    } rows[] = {{"changed", change_shard}, {"replaced", replace_shard}, {"removed", remove_shard}};
    static const char *const arguments[] = {"-q", NULL};
    (void)state;
    checkpoint_write(&(struct checkpoint){4, 512, 2048, 8192}, SOURCE);
    conversion_declare("\"bits\": 4");
    make_undisturbed();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct snapshot before;
        struct program program = disturb_in_the_middle(rows[i].disturb, &before);
        assert_string_equal(program.said.bytes,
            "psybuild: error: " FIRST_SHARD " changed while it was read\n"
            "    while making " WEIGHTS "\n");
        assert_int_equal(program.exit_code, 1);
        struct snapshot after = snapshot_take(&arena, MODEL);
        snapshot_assert_equal(&after, &before, rows[i].name);
        bring_shard_back();
        assert_int_equal(program_run(&arena, arguments, NULL).exit_code, 0);
        snapshot_assert_no_strays(&arena, rows[i].name);
        struct snapshot healed = snapshot_take(&arena, MODEL);
        struct snapshot wanted = make_undisturbed();
        snapshot_assert_equal(&healed, &wanted, rows[i].name);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_stays_within_the_budget, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            written_behind_memory_stays_within_the_budget, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            twenty_thousand_tensors_take_no_quadratic_time, tree_begin, end),
        cmocka_unit_test_setup_teardown(killed_at_random_it_goes_on_where_it_was, tree_begin, end),
        cmocka_unit_test_setup_teardown(killed_while_it_writes_behind_it_goes_on, tree_begin, end),
        cmocka_unit_test_setup_teardown(interrupted_it_keeps_its_pieces, tree_begin, end),
        cmocka_unit_test_setup_teardown(what_was_kept_is_verified, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            a_source_that_changed_meanwhile_is_read_again, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            a_source_that_changes_meanwhile_stops_the_build, tree_begin, end),
    };
    program_find();
    return cmocka_run_group_tests_name("build, large", tests, NULL, NULL);
}
