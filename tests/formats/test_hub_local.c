/* test_hub_local.c - the notes beside downloaded files, byte for byte as the hub's own client reads
 * them. That it does read them is for the conformance suite. */
#include "base/file_lock.h"
#include "tasks/formats/hub_local.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "tests/support/tree.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define GIT "b45ef6fec89518d314f546fd6c3025367b721684"
#define SHA256 "dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f"
#define NOTES "m/.cache/huggingface/"

static const struct hub_file large = {
    .path = "sub/model.safetensors", .size_bytes = 13, .git = GIT, .sha256 = SHA256};
static const struct hub_file small = {.path = "a.txt", .size_bytes = 13, .git = GIT};

static void assert_text(struct arena *arena, const char *path, const char *want)
{
    assert_string_equal(tree_read(arena, path).bytes, want);
}

/* Commit, hash, and a time from `since` on. */
static void assert_note(struct arena *arena, const char *path, const char *want, long long since)
{
    struct text note = tree_read(arena, path);
    size_t length = strlen(want);
    char *end = NULL;
    assert_memory_equal(note.bytes, want, length);
    long long seconds = strtoll(note.bytes + length, &end, 10);
    assert_true(seconds >= since && seconds <= (long long)time(NULL));
    assert_string_equal(end, ".0\n");
}

static void a_note_names_commit_hash_and_time(void **state)
{
    struct arena arena = {0};
    long long since = (long long)time(NULL);
    (void)state;
    tree_assert_ok(hub_local_note(&arena, "m", COMMIT, &large));
    tree_assert_ok(hub_local_note(&arena, "m", COMMIT, &small));
    assert_note(
        &arena, NOTES "download/sub/model.safetensors.metadata", COMMIT "\n" SHA256 "\n", since);
    assert_note(&arena, NOTES "download/a.txt.metadata", COMMIT "\n" GIT "\n", since);
    assert_text(&arena, NOTES "download/a.txt.lock", "");
    assert_text(&arena, NOTES ".gitignore", "*");
    assert_memory_equal(tree_read(&arena, NOTES "CACHEDIR.TAG").bytes,
        "Signature: 8a477f597d28d172789f06886806bc55\n", 44);
    arena_end(&arena);
}

static void what_another_process_is_at_work_on_is_left_alone(void **state)
{
    struct arena arena = {0};
    struct file_lock *lock = NULL;
    (void)state;
    tree_write(NOTES "download/a.txt.lock", "");
    tree_write(NOTES ".gitignore", "mine\n");
    tree_assert_ok(file_lock_take(NOTES "download/a.txt.lock", false, &lock, NULL));
    tree_assert_ok(hub_local_note(&arena, "m", COMMIT, &small));
    assert_false(tree_has(NOTES "download/a.txt.metadata"));
    file_lock_release(lock);
    tree_assert_ok(hub_local_note(&arena, "m", COMMIT, &small));
    assert_true(tree_has(NOTES "download/a.txt.metadata"));
    assert_text(&arena, NOTES ".gitignore", "mine\n");
    arena_end(&arena);
}

static void a_tree_lists_all_files(void **state)
{
    struct arena arena = {0};
    struct hub_file items[] = {small, large};
    struct hub_files files = {items, 2};
    (void)state;
    tree_assert_ok(hub_local_note_tree(&arena, "m", COMMIT, &files));
    assert_text(&arena, NOTES "trees/" COMMIT ".json",
        "{\n"
        " \"format_version\": 1,\n"
        " \"files\": {\n"
        "  \"a.txt\": {\n"
        "   \"size\": 13,\n"
        "   \"blob_id\": \"" GIT "\"\n"
        "  },\n"
        "  \"sub/model.safetensors\": {\n"
        "   \"size\": 13,\n"
        "   \"blob_id\": \"" GIT "\",\n"
        "   \"lfs_sha256\": \"" SHA256 "\",\n"
        "   \"lfs_size\": 13\n"
        "  }\n"
        " }\n"
        "}");
    arena_end(&arena);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_begin, tree_end)
    static const struct CMUnitTest tests[] = {
        TEST(a_note_names_commit_hash_and_time),
        TEST(what_another_process_is_at_work_on_is_left_alone),
        TEST(a_tree_lists_all_files),
    };
    return cmocka_run_group_tests_name("hub_local", tests, NULL, NULL);
}
