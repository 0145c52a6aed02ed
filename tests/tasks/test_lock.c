/* test_lock.c - the lock as it is read, changed and written again. */
#include "base/directory.h"
#include "base/file_whole.h"
#include "tasks/lock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define GIT "b45ef6fec89518d314f546fd6c3025367b721684"
#define SHA "2ac3406be35ba19737603219332a1ef1c5b4a0e7980e091a609f6cceed6df9cc"

struct fixture {
    struct arena arena;
    char directory[256], path[300];
};

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *top = getenv("TMPDIR");
    assert_non_null(fixture);
    snprintf(fixture->directory, sizeof fixture->directory, "%s/psybuild-lock-XXXXXX",
        top != NULL ? top : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(fixture->path, sizeof fixture->path, "%s/psybuild.lock", fixture->directory);
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    error_free(file_remove(fixture->path));
    rmdir(fixture->directory);
    arena_end(&fixture->arena);
    free(fixture);
    return 0;
}

static struct error *read_text(struct fixture *fixture, const char *text, struct lock *lock)
{
    assert_null(file_replace_whole(fixture->path, text_of(text)));
    return lock_read(&fixture->arena, fixture->path, lock);
}

static const char *print(struct fixture *fixture, const struct lock *lock)
{
    struct text text;
    assert_null(lock_print(&fixture->arena, lock, &text));
    assert_int_equal(text.length, strlen(text.bytes));
    return text.bytes;
}

/* ---- reading and writing ---- */

static const char whole[] = "{\n"
                            "  \"psybuild-lock\": 1,\n"
                            "  \"sources\": {\n"
                            "    \"data/psy\": {\n"
                            "      \"commit\": \"" COMMIT "\",\n"
                            "      \"exclude\": [\n"
                            "        \"*.bin\"\n"
                            "      ],\n"
                            "      \"files\": {\n"
                            "        \"a b/\xC3\xA4.json\": {\n"
                            "          \"git\": \"" GIT "\",\n"
                            "          \"size\": 0\n"
                            "        }\n"
                            "      },\n"
                            "      \"hub\": \"org/psy\",\n"
                            "      \"include\": [\n"
                            "        \"*.json\",\n"
                            "        \"b/\"\n"
                            "      ],\n"
                            "      \"revision\": \"refs/pr/1\",\n"
                            "      \"type\": \"dataset\"\n"
                            "    },\n"
                            "    \"models/PsyLLM\": {\n"
                            "      \"commit\": \"" COMMIT "\",\n"
                            "      \"files\": {\n"
                            "        \"config.json\": {\n"
                            "          \"git\": \"" GIT "\",\n"
                            "          \"size\": 691\n"
                            "        },\n"
                            "        \"model.safetensors\": {\n"
                            "          \"sha256\": \"" SHA "\",\n"
                            "          \"size\": 4046591152\n"
                            "        }\n"
                            "      },\n"
                            "      \"hub\": \"GMLHUHE/PsyLLM\",\n"
                            "      \"revision\": \"main\"\n"
                            "    }\n"
                            "  }\n"
                            "}\n";

static void reading_and_writing_changes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    assert_null(read_text(fixture, whole, &lock));
    assert_string_equal(print(fixture, &lock), whole);
}

static void writing_sorts_what_people_wrote(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    assert_null(read_text(fixture,
        "{\"sources\": { // ours\n"
        "\"models/PsyLLM\": {\"revision\": \"main\", \"hub\": \"GMLHUHE/PsyLLM\", \"type\": "
        "\"model\", \"include\": [], \"files\": {\"model.safetensors\": {\"size\": 4046591152, "
        "\"sha256\": \"" SHA "\"}, \"config.json\": {\"size\": 691, \"git\": \"" GIT "\"}}, "
        "\"commit\": \"" COMMIT "\"},\n"
        "\"data/psy\": {\"type\": \"dataset\", \"revision\": \"refs/pr/1\", \"include\": "
        "[\"*.json\", \"b/\"], \"hub\": \"org/psy\", \"files\": {\"a b/\\u00e4.json\": "
        "{\"git\": \"" GIT "\", \"size\": 0}}, \"exclude\": [\"*.bin\"], \"commit\": \"" COMMIT
        "\"}}, \"psybuild-lock\": 1}",
        &lock));
    assert_string_equal(print(fixture, &lock), whole);
}

static void values_arrive_as_they_stand(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    assert_null(read_text(fixture, whole, &lock));
    assert_int_equal(lock.count, 2);
    assert_null(lock_find(&lock, "models"));
    const struct lock_source *source = lock_find(&lock, "data/psy");
    assert_int_equal(source->repo.type, HUB_DATASET);
    assert_string_equal(source->repo.id, "org/psy");
    assert_string_equal(source->revision, "refs/pr/1");
    assert_string_equal(source->commit, COMMIT);
    assert_int_equal(source->filter.include_count, 2);
    assert_string_equal(source->filter.include[1], "b/");
    assert_string_equal(source->filter.exclude[0], "*.bin");
    source = lock_find(&lock, "models/PsyLLM");
    assert_int_equal(source->repo.type, HUB_MODEL);
    assert_int_equal(source->files.count, 2);
    assert_string_equal(source->files.items[0].path, "config.json");
    assert_string_equal(source->files.items[0].git, GIT);
    assert_string_equal(source->files.items[0].sha256, "");
    assert_string_equal(source->files.items[1].sha256, SHA);
    assert_true(source->files.items[1].size_bytes == 4046591152u);
}

static void an_absent_lock_is_empty(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    assert_null(lock_read(&fixture->arena, fixture->path, &lock));
    assert_int_equal(lock.count, 0);
    assert_string_equal(
        print(fixture, &lock), "{\n  \"psybuild-lock\": 1,\n  \"sources\": {}\n}\n");
}

static void putting_keeps_the_others_and_the_order(void **state)
{
    static const char *const names[] = {"b", "models/x", "a", "models/PsyLLM", "b"};
    struct fixture *fixture = *state;
    struct lock lock;
    assert_null(read_text(fixture, whole, &lock));
    struct lock_source source = *lock_find(&lock, "models/PsyLLM");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        source.directory = names[i];
        source.revision = "v2";
        assert_null(lock_put(&fixture->arena, &lock, &source));
    }
    assert_null(lock_write(&fixture->arena, &lock, fixture->path));
    assert_null(lock_read(&fixture->arena, fixture->path, &lock));
    static const char *const want[] = {"a", "b", "data/psy", "models/PsyLLM", "models/x"};
    assert_int_equal(lock.count, 5);
    for (size_t i = 0; i < lock.count; i++) {
        assert_string_equal(lock.items[i].directory, want[i]);
        assert_string_equal(lock.items[i].revision, i == 2 ? "refs/pr/1" : "v2");
    }
}

/* ---- comparing ---- */

static void entries_are_compared_by_what_they_ask_for(void **state)
{
    static const char *const one[] = {"*.json"}, *const other[] = {"*.bin"};
    static const struct lock_source base = {
        .repo = {HUB_MODEL, "o/n"}, .revision = "main", .filter = {one, one, 1, 1}};
    static const struct {
        const char *row;
        struct lock_source source;
        bool is_same_revision, is_same_filter;
    } rows[] = {
        {"same", {.repo = {HUB_MODEL, "o/n"}, .revision = "main", .filter = {one, one, 1, 1}}, true,
            true},
        {"type", {.repo = {HUB_DATASET, "o/n"}, .revision = "main", .filter = {one, one, 1, 1}},
            false, true},
        {"hub", {.repo = {HUB_MODEL, "o/N"}, .revision = "main", .filter = {one, one, 1, 1}}, false,
            true},
        {"revision", {.repo = {HUB_MODEL, "o/n"}, .revision = "v1", .filter = {one, one, 1, 1}},
            false, true},
        {"include", {.repo = {HUB_MODEL, "o/n"}, .revision = "main", .filter = {other, one, 1, 1}},
            true, false},
        {"exclude", {.repo = {HUB_MODEL, "o/n"}, .revision = "main", .filter = {one, NULL, 1, 0}},
            true, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (lock_same_revision(&base, &rows[i].source) != rows[i].is_same_revision ||
            lock_same_filter(&base, &rows[i].source) != rows[i].is_same_filter)
            fail_msg("%s", rows[i].row);
}

/* ---- what is refused ---- */

#define SOURCE(body) "{\"psybuild-lock\": 1, \"sources\": {\"m\": " body "}}"
#define ENTRY(more)                                                                                \
    SOURCE("{\"hub\": \"o/n\", \"revision\": \"main\", \"commit\": \"" COMMIT "\", " more "}")
#define FILES(body) ENTRY("\"files\": {" body "}")

static void a_wrong_lock_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"[]", "1:1: a lock must be an object, not a list"},
        {"{", "1:2: expected a key or '}', found end of text"},
        {"{\"sources\": {}}", "1:1: \"psybuild-lock\" must be 1, not nothing"},
        {"{\"psybuild-lock\": 2}", "1:19: \"psybuild-lock\" must be 1, not 2"},
        {"{\"psybuild-lock\": 1}", "1:1: \"sources\" must be an object, not nothing"},
        {"{\"psybuild-lock\": 1, \"source\": {}}",
            "1:22: unknown key \"source\" in the lock; did you mean \"sources\"?"},
        {"{\"psybuild-lock\": 1, \"sources\": {\"../m\": {}}}",
            "1:34: a source's name must be a path, not \"../m\""},
        {SOURCE("7"), "1:39: a source's entry must be an object, not 7"},
        {SOURCE("{}"), "1:39: \"commit\" must be 40 lower-case hex digits, not nothing"},
        {SOURCE("{\"commit\": \"main\", \"revision\": \"main\"}"),
            "1:50: \"commit\" must be 40 lower-case hex digits, not \"main\""},
        {SOURCE("{\"commit\": \"" COMMIT "\"}"),
            "1:39: \"revision\" must be a branch, a tag or a commit, not nothing"},
        {SOURCE("{\"commit\": \"" COMMIT "\", \"revision\": \"a b\", \"hub\": \"o/n\"}"),
            "1:106: \"revision\" must be a branch, a tag or a commit, not \"a b\""},
        {SOURCE("{\"commit\": \"" COMMIT "\", \"revision\": \"main\", \"hub\": \"../n\"}"),
            "1:121: \"hub\" must be a repository's name, org/name, not \"../n\""},
        {ENTRY("\"type\": \"space\""), "1:136: \"type\" must be one of \"model\", \"dataset\", "
                                       "not \"space\""},
        {ENTRY("\"include\": \"*\""), "1:139: \"include\" must be a list of patterns, not \"*\""},
        {ENTRY("\"exclude\": [1]"), "1:140: \"exclude\" must be a list of patterns, not 1"},
        {ENTRY("\"token\": \"hf_x\""), "1:128: unknown key \"token\" in a source's entry"},
        {ENTRY("\"files\": {}"), "1:137: \"files\" must hold at least one file"},
        {FILES("\"../x\": {}"), "1:138: the hub's file name \"../x\" has a component \".\" or "
                                "\"..\": refused"},
        {FILES("\"a\\u0000\": {}"),
            "1:138: the hub's file name \"a\\x00\" holds a control character: refused"},
        {FILES("\"a\": []"), "1:143: a file's entry must be an object, not a list"},
        {FILES("\"a\": {\"sha1\": \"\"}"), "1:144: unknown key \"sha1\" in a file's entry"},
        {FILES("\"a\": {}"), "1:143: \"size\" must be a number of bytes, not nothing"},
        {FILES("\"a\": {\"size\": -1}"), "1:152: \"size\" must be a number of bytes, not -1"},
        {FILES("\"a\": {\"size\": 1.0}"), "1:152: \"size\" must be a number of bytes, not 1.0"},
        {FILES("\"a\": {\"size\": 1}"),
            "1:143: a file's entry must have one of \"git\", \"sha256\""},
        {FILES("\"a\": {\"size\": 1, \"git\": \"" GIT "\", \"sha256\": \"" SHA "\"}"),
            "1:143: a file's entry must have one of \"git\", \"sha256\""},
        {FILES("\"a\": {\"size\": 1, \"git\": \"B45EF6\"}"),
            "1:162: \"git\" must be 40 lower-case hex digits, not \"B45EF6\""},
        {FILES("\"a\": {\"size\": 1, \"sha256\": \"" GIT "\"}"),
            "1:165: \"sha256\" must be 64 lower-case hex digits, not \"" GIT "\""},
        {FILES("\"a\": {\"size\": 1, \"git\": \"" GIT "\"}, \"a\": {}"), "1:207: duplicate key "
                                                                         "\"a\""},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lock lock = {.count = 99};
        struct error *error = read_text(fixture, rows[i].text, &lock);
        if (error == NULL)
            fail_msg("accepted: %s", rows[i].text);
        const char *want = arena_format(&fixture->arena, "%s:%s", fixture->path, rows[i].want);
        if (strcmp(error_text(error), want) != 0)
            fail_msg("%s:\n  got  %s\n  want %s", rows[i].text, error_text(error), want);
        assert_int_equal(error_kind_of(error), ERROR_USAGE);
        assert_int_equal(lock.count, 99);
        error_free(error);
    }
}

#define GOOD "{\"size\": 1, \"git\": \"" GIT "\"}"

static void files_that_cannot_all_be_written_are_refused(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {FILES("\"a/b\": " GOOD ", \"a\": " GOOD),
            "the hub's files \"a\" and \"a/b\" cannot both be written: refused"},
        {FILES("\"x/.PsyBuild/state\": " GOOD),
            "the hub's file name \"x/.PsyBuild/state\" has a component \".psybuild\": refused"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct lock lock;
        struct error *error = read_text(fixture, rows[i].text, &lock);
        assert_non_null(error);
        assert_string_equal(error_text(error), rows[i].want);
        assert_non_null(strstr(error_report(error), "while reading "));
        error_free(error);
    }
}

static void what_a_hub_lists_must_be_lockable(void **state)
{
    static const struct {
        struct hub_file file;
        const char *want;
    } rows[] = {
        {{.path = "a", .size_bytes = UINT64_C(1) << 40, .git = GIT}, NULL},
        {{.path = "a", .size_bytes = (UINT64_C(1) << 40) + 1, .git = GIT},
            "the hub's file \"a\" is said to have 1099511627777 bytes: refused"},
        {{.path = "a", .size_bytes = 1},
            "the hub states no hash of its file \"a\", so it cannot be verified"},
        {{.path = ".psybuild/x", .git = GIT},
            "the hub's file name \".psybuild/x\" has a component \".psybuild\": refused"},
        {{.path = "a.psybuild/.psybuilds", .git = GIT}, NULL},
        {{.path = "a/.git/x", .git = GIT},
            "the hub's file name \"a/.git/x\" lies in a \".git\" directory: refused"},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_file file = rows[i].file;
        struct hub_files out;
        struct error *error =
            lock_select(&fixture->arena, &(struct hub_files){&file, 1}, NULL, &out);
        if (rows[i].want == NULL)
            assert_null(error);
        else
            assert_string_equal(error_text(error), rows[i].want);
        error_free(error);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    static const struct CMUnitTest tests[] = {
        TEST(reading_and_writing_changes_nothing),
        TEST(writing_sorts_what_people_wrote),
        TEST(values_arrive_as_they_stand),
        TEST(an_absent_lock_is_empty),
        TEST(putting_keeps_the_others_and_the_order),
        TEST(entries_are_compared_by_what_they_ask_for),
        TEST(a_wrong_lock_is_refused_with_its_place),
        TEST(files_that_cannot_all_be_written_are_refused),
        TEST(what_a_hub_lists_must_be_lockable),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
