/* test_build_cache.c - what a build replaces goes into the cache, and is had back from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/inotify.h>
#endif

#include <cmocka.h>

#include "engine/state/state.h"
#include "tests/support/conversion.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define CACHE "cache"
#define MEMBERS "\"cache\": {\"path\": \"" CACHE "\"}, "
#define FOUR "\"bits\": 4"
#define EIGHT "\"bits\": 8"

/* 4 bits after 8 bits. */
#define RESTORED                                                                                   \
    "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; restored; sealed\n"  \
    "model*.safetensors: \"bits\" changed: 8 -> 4; restored; sealed\n"                             \
    "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "   \
    "restored; sealed\n"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

static struct report make(const char *with)
{
    conversion_declare_more(MEMBERS, with);
    return conversion_make();
}

/* Converts to 4 bits, then to 8; what the first looked like. */
static struct snapshot toggle(void)
{
    make(FOUR);
    struct snapshot four = snapshot_take(&arena, MODEL);
    make(EIGHT);
    return four;
}

/* The entry with these bytes. */
static const char *find_entry(const char *directory, const struct snapshot_file *file)
{
    struct snapshot entries = snapshot_take(&arena, directory);
    for (size_t i = 0; i < entries.count; i++)
        if (entries.files[i].size_bytes == file->size_bytes &&
            hash_equal(&entries.files[i].hash, &file->hash))
            return arena_format(&arena, "%s/%s", directory, entries.files[i].path);
    fail_msg("%s is not in %s", file->path, directory);
    return NULL;
}

static const char *entry_of(const struct snapshot *model, const char *name)
{
    return find_entry(CACHE, snapshot_find(model, name));
}

static void flip_middle(const char *path)
{
    struct text text = tree_read(&arena, path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)(text.length / 2), SEEK_SET), 0);
    assert_true(fputc(text.bytes[text.length / 2] ^ 1, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

/* ---- there and back ---- */

static void toggling_back_restores_what_was_made(void **state)
{
    (void)state;
    struct snapshot four = toggle(), eight = snapshot_take(&arena, MODEL);
    struct report report = make(FOUR);
    assert_string_equal(report.lines, RESTORED);
    assert_int_equal(report.stats.bytes_read, 0);
    assert_int_equal(report.stats.files_hashed, 0);
    assert_int_equal(report.stats.pieces_made, 0);
    struct snapshot back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &four, "back at 4 bits");
    snapshot_assert_no_strays(&arena, "back at 4 bits");
    assert_true(conversion_is_null());
    make(EIGHT);
    back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &eight, "back at 8 bits");
}

/* Whoever reads a byte of a source is seen by the system. */
static void no_source_is_read_to_restore(void **state)
{
    (void)state;
#ifdef __linux__
    static union { /* the alignment of what is read */
        struct inotify_event first;
        char bytes[4096];
    } events;
    toggle();
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(watch >= 0);
    assert_true(inotify_add_watch(watch, SOURCE, IN_ACCESS | IN_MODIFY) >= 0);
    make(FOUR);
    for (ssize_t count; (count = read(watch, events.bytes, sizeof events)) > 0;)
        for (ssize_t at = 0; at < count;) {
            const struct inotify_event *event = (const void *)(events.bytes + at);
            if ((event->mask & IN_ISDIR) == 0) /* listing it is not reading it */
                fail_msg("%s was read", event->len > 0 ? event->name : SOURCE);
            at += (ssize_t)(sizeof *event + event->len);
        }
    close(watch);
#else
    print_message("skipped: needs inotify\n");
    skip();
#endif
}

static void the_program_says_that_it_is_restored(void **state)
{
    static const struct {
        const char *arguments[3], *words;
    } rows[] = {
        {{"-n", NULL}, "quantize " MODEL "/model*.safetensors  from the cache, "},
        {{"--progress=json", NULL}, "\"restored\":true"},
    };
    (void)state;
    toggle();
    conversion_declare_more(MEMBERS, FOUR);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct program program = program_run(&arena, rows[i].arguments, NULL);
        assert_int_equal(program.exit_code, 0);
        if (strstr(program.said.bytes, rows[i].words) == NULL)
            fail_msg("no \"%s\" in: %s", rows[i].words, program.said.bytes);
    }
}

static void a_forced_target_does_not_come_from_the_cache(void **state)
{
    (void)state;
    struct snapshot four = toggle();
    conversion_declare_more(MEMBERS, FOUR);
    struct report report = conversion_run(&(struct conversion){.is_forced = true, .target = MODEL});
    assert_string_equal(report.errors, "");
    assert_null(strstr(report.lines, "restored"));
    assert_int_equal(report.stats.pieces_made, 47);
    struct snapshot back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &four, "made by force");
}

static void a_changed_source_is_not_had_back_from_the_cache(void **state)
{
    (void)state;
    toggle();
    flip_middle(SOURCE "/model-00002-of-00004.safetensors");
    struct report report = make(FOUR);
    assert_string_equal(report.lines,
        "config.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; restored; "
        "sealed\n"
        "model*.safetensors: \"bits\" changed: 8 -> 4; 30 made, 17 kept; sealed\n"
        "model.safetensors.index.json: the layout of models/PsyLLM-mlx/model*.safetensors changed; "
        "restored; sealed\n");
}

/* ---- entries ---- */

static void an_entry_shares_no_file_with_the_tree(void **state)
{
    struct stat status;
    (void)state;
    struct snapshot four = toggle();
    make(FOUR);
    const char *entry = entry_of(&four, "model.safetensors"); /* it stays */
    assert_int_equal(stat(entry, &status), 0);
    assert_int_equal(status.st_nlink, 1);
    flip_middle(MODEL "/model.safetensors"); /* an edit in place */
    assert_string_equal(entry_of(&four, "model.safetensors"), entry);
    make(FOUR); /* mends it, and not with the edited one's bytes */
    struct snapshot mended = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&mended, &four, "after the edit");
    assert_string_equal(entry_of(&four, "model.safetensors"), entry);
}

static void after_a_restore_pieces_are_taken_over(void **state)
{
    (void)state;
    toggle();
    make(FOUR);
    struct report report =
        make("\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]");
    assert_non_null(strstr(report.lines,
        "model*.safetensors: \"overrides\" was set to a list; 7 made, 40 kept; sealed\n"));
}

static void without_its_log_an_entry_is_restored_all_the_same(void **state)
{
    (void)state;
    struct snapshot four = toggle(), entries = snapshot_take(&arena, CACHE);
    unsigned removed = 0;
    for (size_t i = 0; i < entries.count; i++) {
        if (!text_ends_with(text_of(entries.files[i].path), ".pieces"))
            continue;
        tree_remove(arena_format(&arena, CACHE "/%s", entries.files[i].path));
        removed++;
    }
    assert_true(removed > 0);
    assert_string_equal(make(FOUR).lines, RESTORED);
    struct snapshot back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &four, "without logs");
    struct report report =
        make("\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]");
    assert_non_null(strstr(report.lines, "; 47 made, 0 kept; sealed\n")); /* not by another's log */
}

static void a_damaged_entry_is_removed_and_its_node_made(void **state)
{
    (void)state;
    struct snapshot four = toggle();
    const char *entry = entry_of(&four, "model.safetensors");
    flip_middle(entry);
    struct report report = make(FOUR);
    assert_non_null(strstr(
        report.lines, "model*.safetensors: \"bits\" changed: 8 -> 4; 30 made, 17 kept; sealed\n"));
    assert_false(tree_has(entry));
    struct snapshot made = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&made, &four, "made again");
    snapshot_assert_no_strays(&arena, "made again");
    assert_true(conversion_is_null());
}

static void a_truncated_entry_counts_for_nothing(void **state)
{
    (void)state;
    struct snapshot four = toggle();
    assert_int_equal(truncate(entry_of(&four, "model.safetensors"), 4096), 0);
    make(FOUR);
    struct snapshot made = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&made, &four, "made again");
}

static void the_cache_is_marked_as_one(void **state)
{
    static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55\n";
    (void)state;
    make(FOUR);
    assert_false(tree_has(CACHE)); /* nothing was replaced */
    make(EIGHT);
    assert_true(text_starts_with(tree_read(&arena, CACHE "/CACHEDIR.TAG"), signature));
}

/* ---- bounds: one file, copied from one or the other ---- */

static void write_inputs(void)
{
    static char bytes[100000];
    for (char name = 'a'; name <= 'd'; name++) {
        memset(bytes, name, sizeof bytes);
        tree_write_bytes((const char[]){name, '\0'}, bytes, sizeof bytes);
    }
}

/* Whether making "out" of that file needed no more than the cache. */
static bool copy_is_restored(const char *from, const char *size)
{
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"cache\": {\"path\": \"" CACHE "\", \"size\": \"%s\"}, "
            "\"artifacts\": {\"out\": {\"task\": \"copy\", \"in\": {\"files\": \"%s\"}}}}",
            size, from));
    struct report report = conversion_make();
    assert_true(text_equal(tree_read(&arena, "out"), tree_read(&arena, from)));
    return strstr(report.lines, "restored") != NULL;
}

static void what_was_longest_unused_goes_first(void **state)
{
    static const struct {
        const char *from;
        bool is_restored;
    } rows[] = {
        {"a", false},
        {"b", false},
        {"c", false}, /* the cache holds a, b */
        {"a", true},  /* used last: b goes, for c */
        {"b", false},
        {"a", true},
        {"d", false}, /* b, a: c went */
        {"c", false},
    };
    (void)state;
    write_inputs();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_restored = copy_is_restored(rows[i].from, "250K");
        if (is_restored != rows[i].is_restored)
            fail_msg("row %zu: %s was %srestored", i, rows[i].from, is_restored ? "" : "not ");
        struct snapshot entries = snapshot_take(&arena, CACHE);
        uint64_t total = 0;
        for (size_t k = 0; k < entries.count; k++)
            total += strcmp(entries.files[k].path, "CACHEDIR.TAG") == 0
                         ? 0
                         : entries.files[k].size_bytes;
        assert_in_range(total, 0, 250 << 10);
    }
}

static void other_files_in_its_directory_stay(void **state)
{
    static const char *const names[] = {"notes.txt", "0123456789abcdef", "x.pieces",
        "0123456789ABCDEF0123456789ABCDEF", "0123456789abcdef0123456789abcdef.txt",
        "0123456789abcdef0123456789abcdef.d/file"};
    (void)state;
    write_inputs();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        tree_write(arena_format(&arena, CACHE "/%s", names[i]), names[i]);
    assert_int_equal(mkdir(CACHE "/fedcba9876543210fedcba9876543210", 0777), 0);
    for (const char *from = "abcd"; *from != '\0'; from++)
        assert_false(copy_is_restored((const char[]){*from, '\0'}, "1K"));
    struct snapshot left = snapshot_take(&arena, CACHE);
    assert_int_equal(left.count, sizeof names / sizeof names[0] + 1); /* CACHEDIR.TAG */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(snapshot_find(&left, names[i]));
    assert_true(tree_has(CACHE "/fedcba9876543210fedcba9876543210"));
}

/* ---- commands and places that fail ---- */

/* "out" is made by a command, which fails when "fails" is there. */
static struct report run_command(const char *word)
{
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, " MEMBERS
            "\"artifacts\": {\"out\": {\"task\": \"exec\", \"in\": {\"x\": \"in\"}, \"with\": "
            "{\"command\": [\"sh\", \"-c\", \"test ! -e fails && { echo %s; cat $$0; } >$$1\", "
            "\"${in.x}\", \"${out}\"]}}}}",
            word));
    return conversion_run(&(struct conversion){0});
}

static void what_was_made_of_another_input_is_not_restored_after_a_failure(void **state)
{
    (void)state;
    tree_write("in", "A");
    assert_string_equal(run_command("one").errors, "");
    assert_string_equal(run_command("two").errors, ""); /* the first is a past record now */
    tree_write("in", "B");
    tree_write("fails", "");
    assert_non_null(strstr(run_command("one").errors, "command failed with exit status 1"));
    tree_remove("fails");
    struct report report = run_command("one");
    assert_string_equal(report.errors, "");
    assert_null(strstr(report.lines, "restored"));
    assert_string_equal(tree_read(&arena, "out").bytes, "one\nB");
}

static void what_cannot_be_kept_is_warned_of_and_replaced_all_the_same(void **state)
{
    (void)state;
    write_inputs();
    copy_is_restored("a", "1M");
    copy_is_restored("b", "1M");
    struct snapshot entries = snapshot_take(&arena, CACHE);
    for (size_t i = 0; i < entries.count; i++) {
        const char *path = arena_format(&arena, CACHE "/%s", entries.files[i].path);
        if (entries.files[i].size_bytes != 100000)
            continue;
        tree_remove(path); /* a, whose place is taken by a directory */
        tree_write(arena_format(&arena, "%s/file", path), "");
        copy_is_restored("a", "1M");
        tree_write("psybuild.json",
            "{\"psybuild\": 1, " MEMBERS
            "\"artifacts\": {\"out\": {\"task\": \"copy\", \"in\": {\"files\": \"c\"}}}}");
        struct report report = conversion_make();
        const char *was = "keeping what out was in the cache\n";
        assert_true(text_starts_with(
            text_of(report.warnings), arena_format(&arena, "%s: cannot replace: ", path)));
        assert_non_null(strstr(report.warnings, was));
        assert_true(text_equal(tree_read(&arena, "out"), tree_read(&arena, "c")));
        snapshot_assert_no_strays(&arena, "without a place in the cache");
        assert_true(conversion_is_null());
        return;
    }
    fail_msg("nothing was kept");
}

/* ---- where it is ---- */

/* 4, 8 and 4 bits, with PSYBUILD_CACHE set to that directory. */
static void toggle_with(const char *cache)
{
    struct conversion conversion = {.cache = cache};
    const char *const with[] = {FOUR, EIGHT, FOUR};
    struct snapshot four = {.count = 0};
    for (size_t i = 0; i < 3; i++) {
        conversion_declare_more(MEMBERS, with[i]);
        struct report report = conversion_run(&conversion);
        assert_string_equal(report.errors, "");
        if (i == 0)
            four = snapshot_take(&arena, MODEL);
        if (i == 2)
            assert_string_equal(report.lines, RESTORED);
    }
    struct snapshot back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &four, "back at 4 bits");
    snapshot_assert_no_strays(&arena, "back at 4 bits");
    find_entry(cache, snapshot_find(&four, "model.safetensors"));
    assert_false(tree_has(CACHE));
}

static void the_variable_counts_before_the_manifest(void **state)
{
    (void)state;
    toggle_with("elsewhere/cache");
}

static void it_may_be_on_another_file_system(void **state)
{
    char directory[] = "/dev/shm/psybuild-cache.XXXXXX";
    struct stat here, there;
    (void)state;
    assert_int_equal(stat(".", &here), 0);
    bool is_another = stat("/dev/shm", &there) == 0 && there.st_dev != here.st_dev;
    if (!is_another || mkdtemp(directory) == NULL) {
        print_message("skipped: /dev/shm is not another file system\n");
        skip();
    }
    toggle_with(directory);
    tree_remove(directory);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, conversion_begin, end)
        ROW(toggling_back_restores_what_was_made),
        ROW(no_source_is_read_to_restore),
        ROW(the_program_says_that_it_is_restored),
        ROW(a_forced_target_does_not_come_from_the_cache),
        ROW(a_changed_source_is_not_had_back_from_the_cache),
        ROW(an_entry_shares_no_file_with_the_tree),
        ROW(after_a_restore_pieces_are_taken_over),
        ROW(without_its_log_an_entry_is_restored_all_the_same),
        ROW(a_damaged_entry_is_removed_and_its_node_made),
        ROW(a_truncated_entry_counts_for_nothing),
        ROW(the_cache_is_marked_as_one),
        ROW(what_was_longest_unused_goes_first),
        ROW(other_files_in_its_directory_stay),
        ROW(what_was_made_of_another_input_is_not_restored_after_a_failure),
        ROW(what_cannot_be_kept_is_warned_of_and_replaced_all_the_same),
        ROW(the_variable_counts_before_the_manifest),
        ROW(it_may_be_on_another_file_system),
#undef ROW
    };
    program_find();
    return cmocka_run_group_tests_name("build, cache", tests, NULL, NULL);
}
