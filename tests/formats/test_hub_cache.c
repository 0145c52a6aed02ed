/* test_hub_cache.c - where content of the hub's own client's cache is found, and what is passed by.
 */
#include "tasks/formats/hub_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tree.h"

#define COMMIT "0123456789abcdef0123456789abcdef01234567"
#define GIT "b45ef6fec89518d314f546fd6c3025367b721684"
#define SHA256 "dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f"

static const char content[] = "Hello, World!";

/* Looks for a file of the repository org/name; `want` NULL: there is none. */
static void find(bool is_lfs, const char *want)
{
    struct arena arena = {0};
    struct hub_repo repo = {.type = HUB_MODEL, .id = "org/name"};
    struct hub_file file = {
        .path = "sub/a.txt", .size_bytes = sizeof content - 1, .git = GIT, .sha256 = ""};
    const char *path = "unset";
    if (is_lfs)
        memcpy(file.sha256, SHA256, sizeof file.sha256);
    tree_assert_ok(hub_cache_find(&arena, "hub", &repo, COMMIT, &file, &path));
    if (want == NULL && path != NULL)
        fail_msg("found %s", path);
    if (want != NULL)
        assert_string_equal(path, want);
    arena_end(&arena);
}

static void a_cache_that_is_not_there_has_nothing(void **state)
{
    (void)state;
    find(true, NULL);
    tree_write("hub", "a file");
    find(true, NULL);
}

static void content_is_found_in_the_order_of_likelihood(void **state)
{
    (void)state;
    tree_write("hub/models--org--name/snapshots/" COMMIT "/sub/a.txt", content);
    find(true, "hub/models--org--name/snapshots/" COMMIT "/sub/a.txt");
    tree_write("hub/datasets--x--y/blobs/" SHA256, content);
    find(true, "hub/datasets--x--y/blobs/" SHA256);
    find(false, "hub/models--org--name/snapshots/" COMMIT "/sub/a.txt");
    tree_write("hub/models--org--name/blobs/" SHA256, content);
    find(true, "hub/models--org--name/blobs/" SHA256);
    tree_write("hub/models--org--name/blobs/" GIT, content);
    find(false, "hub/models--org--name/blobs/" GIT);
}

static void only_regular_files_of_the_size_count(void **state)
{
    (void)state;
    tree_write("hub/models--org--name/blobs/" SHA256, "Hello");
    find(true, NULL);
    tree_write("hub/models--org--name/blobs/" SHA256 ".0a0b0c0d.incomplete", content);
    find(true, NULL);
    tree_remove("hub/models--org--name/blobs/" SHA256);
    tree_write("hub/models--org--name/blobs/" SHA256 "/x", "a directory");
    find(true, NULL);
}

static void links_are_followed(void **state)
{
    (void)state;
    tree_write("hub/blobs/aa/" SHA256, content);
    tree_write("hub/models--org--name/blobs/other", "x");
    assert_int_equal(symlink("../../blobs/aa/" SHA256, "hub/models--org--name/blobs/" SHA256), 0);
    find(true, "hub/models--org--name/blobs/" SHA256);
    tree_remove("hub/blobs/aa/" SHA256); /* the link dangles */
    find(true, NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_begin, tree_end)
    static const struct CMUnitTest tests[] = {
        TEST(a_cache_that_is_not_there_has_nothing),
        TEST(content_is_found_in_the_order_of_likelihood),
        TEST(only_regular_files_of_the_size_count),
        TEST(links_are_followed),
    };
    return cmocka_run_group_tests_name("hub_cache", tests, NULL, NULL);
}
