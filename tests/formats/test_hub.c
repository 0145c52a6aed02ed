/* test_hub.c - names, listings, content and the words for what goes wrong. */
#include "tasks/formats/hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tasks/formats/digest.h"
#include "tests/support/hub_fixture.h"

static int begin(void **state)
{
    *state = hub_fixture_begin(&(struct hub_server_options){.token = "hf_good"});
    return 0;
}

static int end(void **state)
{
    hub_fixture_end(*state);
    return 0;
}

/* --- names ----------------------------------------------------------------------------------- */

static void repository_names_follow_the_hub(void **state)
{
    static const char *const good[] = {"gpt2", "org/name", "a-b/c.d_e", "_a/b_", "O/1"};
    static const char *const bad[] = {"", "/", "a/", "/a", "a/b/c", "-a/b", "a/b-", ".a/b", "a/b.",
        "a--b/c", "a/b..c", "a/b.git", "a b/c", "a/b\n", "a/../b", "a/b?c", "a/\xC3\xA9",
        "a/"
        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
        "nnnnnnnnnnn"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!hub_repo_id_is_valid(good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (hub_repo_id_is_valid(bad[i]))
            fail_msg("%s", bad[i]);
}

static void revisions_are_names_of_refs_or_commits(void **state)
{
    static const char *const good[] = {"main", "refs/pr/1", "v1.0", "f\xC3\xBCr"};
    static const char *const bad[] = {"", "a b", "a\n", "../x", "/a", "a/", "a//b", "a?b", "\xFF"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (!hub_revision_is_valid(good[i]))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (hub_revision_is_valid(bad[i]))
            fail_msg("%s", bad[i]);
    assert_true(hub_is_commit("0123456789abcdef0123456789abcdef01234567"));
    assert_false(hub_is_commit("0123456789ABCDEF0123456789abcdef01234567"));
    assert_false(hub_is_commit("0123456789abcdef0123456789abcdef0123456"));
    assert_false(hub_is_commit("0123456789abcdef0123456789abcdef012345678"));
}

/* --- revisions and listings ------------------------------------------------------------------ */

static void a_revision_is_resolved_to_a_commit(void **state)
{
    struct hub_fixture *fixture = *state;
    char commit[HUB_COMMIT_MAX] = "";
    const char *other = "0123456789abcdef0123456789abcdef01234567";
    hub_fixture_assert(
        fixture, "main", hub_resolve(&fixture->hub, &fixture->repo, "main", commit), NULL);
    assert_string_equal(commit, hub_server_commit(fixture->server));
    hub_server_clear_log(fixture->server);
    hub_fixture_assert(
        fixture, "commit", hub_resolve(&fixture->hub, &fixture->repo, other, commit), NULL);
    assert_string_equal(commit, other);
    assert_int_equal(hub_server_log_count(fixture->server, "GET"), 0);
}

static const struct hub_file *find(const struct hub_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++)
        if (strcmp(files->items[i].path, path) == 0)
            return &files->items[i];
    fail_msg("%s is not listed", path);
    return NULL;
}

static struct error *list(struct hub_fixture *fixture, struct hub_files *files)
{
    return hub_list(
        &fixture->arena, &fixture->hub, &fixture->repo, hub_server_commit(fixture->server), files);
}

static void a_listing_gives_sizes_and_hashes(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_files files;
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    assert_int_equal(files.count, 4);
    assert_string_equal(find(&files, "empty")->git, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_int_equal(find(&files, "empty")->size_bytes, 0);
    assert_string_equal(find(&files, "empty")->sha256, "");
    assert_int_equal(find(&files, FIXTURE_ODD_NAME)->size_bytes, 3);
    assert_int_equal(find(&files, "model.safetensors")->size_bytes, FIXTURE_LARGE_BYTES);
    assert_int_equal(strlen(find(&files, "model.safetensors")->sha256), 64);
}

static void a_listing_of_many_pages_is_one(void **state)
{
    struct hub_fixture *fixture =
        hub_fixture_begin(&(struct hub_server_options){.page_size = 1, .renamed_from = "old/name"});
    struct hub_files files;
    (void)state;
    fixture->repo.id = "old/name"; /* each page through a redirect, too */
    hub_fixture_assert(fixture, "pages", list(fixture, &files), NULL);
    assert_int_equal(files.count, 4);
    assert_int_equal(hub_server_log_count(fixture->server, "cursor="), 3);
    hub_fixture_end(fixture);
}

/* Each of four files on a page of its own, and other links beside the one to the second page. */
static void a_next_page_is_found_among_other_links(void **state)
{
    static const char *const links[] = {
        "?cursor=1>; rel=\"next\"\r\nLink: </a>; rel=\"first",
        "/a>; rel=last, </b>; rel=\"prev up\"\r\nlink: <?cursor=1>; rel=\"next",
        "?cursor=1>; rel = 'next'\r\nLink:\r\nLink: </a>; rel=\"up",
    };
    (void)state;
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        struct hub_fixture *fixture =
            hub_fixture_begin(&(struct hub_server_options){.page_size = 1});
        struct hub_files files;
        hub_server_add_fault(fixture->server,
            &(struct hub_fault){
                .kind = HUB_FAULT_NEXT, .target = "/tree/", .count = 1, .text = links[i]});
        hub_fixture_assert(fixture, links[i], list(fixture, &files), NULL);
        assert_int_equal(files.count, 4);
        hub_fixture_end(fixture);
    }
}

static void hostile_listings_end(void **state)
{
    static const struct {
        const char *name;
        struct hub_fault fault;
        const char *want;
    } rows[] = {
        {"other host", {HUB_FAULT_NEXT, "/tree/", 0, 0, 0, "http://127.0.0.1:9/api/x"},
            "HOME/api/models/test/model/tree/COMMIT: the next page is said to be at "
            "http://127.0.0.1:9: refused"},
        {"no address", {HUB_FAULT_NEXT, "/tree/", 0, 0, 0, "file:///x?y"},
            "HOME/api/models/test/model/tree/COMMIT: the next page has no valid address"},
        {"itself", {HUB_FAULT_NEXT, "/tree/", 0, 0, 0, "?recursive=true&expand=false"},
            "test/model: page 2 of the listing repeats an earlier one"},
        {"the same again", {HUB_FAULT_NEXT, "/tree/", 0, 0, 0, "?cursor=0"},
            "test/model: page 2 of the listing repeats an earlier one"},
        {"empty", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[]"}, NULL},
        {"html", {HUB_FAULT_HTML, "/tree/", 0, 0, 0, NULL},
            "HOME/api/models/test/model/tree/COMMIT: not an answer of a hub: a JSON array was "
            "expected"},
        {"negative",
            {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"type\":\"file\",\"path\":\"a\",\"size\":-1}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"size\" must be a whole number of bytes"},
        {"fraction",
            {HUB_FAULT_BODY, "/tree/", 0, 0, 0,
                "[{\"type\":\"file\",\"path\":\"a\",\"size\":1.5}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"size\" must be a whole number of bytes"},
        {"overflow",
            {HUB_FAULT_BODY, "/tree/", 0, 0, 0,
                "[{\"type\":\"file\",\"path\":\"a\",\"size\":18446744073709551616}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"size\" must be a whole number of bytes"},
        {"no size", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"type\":\"file\",\"path\":\"a\"}]"},
            "HOME/api/models/test/model/tree/COMMIT: a file without \"size\""},
        {"no path", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"type\":\"file\",\"size\":1}]"},
            "HOME/api/models/test/model/tree/COMMIT: an entry without \"path\""},
        {"path", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"path\":7}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"path\" must be a string"},
        {"NUL", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"path\":\"a\\u0000b\"}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"path\" must not hold a NUL"},
        {"entry", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[1]"},
            "HOME/api/models/test/model/tree/COMMIT: an entry that is not an object"},
        {"two sizes",
            {HUB_FAULT_BODY, "/tree/", 0, 0, 0,
                "[{\"type\":\"file\",\"path\":\"a\",\"size\":1,\"lfs\":{\"size\":2,"
                "\"oid\":\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                "\"}}]"},
            "HOME/api/models/test/model/tree/COMMIT: a file with two sizes"},
        {"no lfs hash",
            {HUB_FAULT_BODY, "/tree/", 0, 0, 0,
                "[{\"type\":\"file\",\"path\":\"a\",\"size\":1,\"lfs\":{\"size\":1}}]"},
            "HOME/api/models/test/model/tree/COMMIT: \"lfs.oid\" must be 64 lower-case hex digits"},
    };
    struct hub_fixture *fixture = *state;
    fixture->settings.token = "hf_good";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_files files;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        hub_fixture_assert(fixture, rows[i].name, list(fixture, &files), rows[i].want);
        hub_server_clear_faults(fixture->server);
    }
    assert_int_equal(hub_server_log_count(fixture->server, "storage"), 0);
}

/* Wherever a server's text is shown, also where it is cut. */
static void a_token_that_is_repeated_is_not_shown(void **state)
{
#define TEN "0123456789"
#define HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN
    static const struct {
        const char *name;
        struct hub_fault fault;
        const char *want;
    } rows[] = {
        {"message", {HUB_FAULT_STATUS, "/tree/", 0, 0, 403, "X-Error-Message: no hf_good\r\n"},
            "test/model: access refused (403): no *******"},
        {"cut message",
            {HUB_FAULT_STATUS, "/tree/", 0, 0, 403,
                "X-Error-Message: " HUNDRED HUNDRED "hf_good\r\n"},
            "test/model: access refused (403): " HUNDRED HUNDRED "..."},
        {"message that is cut in it",
            {HUB_FAULT_STATUS, "/tree/", 0, 0, 403,
                "X-Error-Message: 12345" HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN "hf_good\r\n"},
            "test/model: access refused (403): 12345" HUNDRED TEN TEN TEN TEN TEN TEN TEN TEN TEN
            "*****..."},
        {"request", {HUB_FAULT_STATUS, "/tree/", 0, 0, 404, "X-Amz-Cf-Id: hf_good\r\n"},
            "HOME/api/models/test/model/tree/COMMIT: the server answered 404 (Not Found): "
            "injected"},
        {"target", {HUB_FAULT_REDIRECT, "/tree/", 0, 0, 0, "/test/model/hf_good?hf_good"},
            "HOME/test/model/*******: the server answered 404 (Not Found): Not found"},
        {"link", {HUB_FAULT_NEXT, "/tree/", 0, 0, 0, "http://hf_good.example/api/"},
            "HOME/api/models/test/model/tree/COMMIT: the next page is said to be at "
            "http://*******.example: refused"},
        {"json", {HUB_FAULT_BODY, "/tree/", 0, 0, 0, "[{\"hf_good\":}]"},
            "HOME/api/models/test/model/tree/COMMIT:1:13: expected a value, found '}'"},
    };
    struct hub_fixture *fixture = *state;
    fixture->settings.token = "hf_good";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_files files;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        struct error *error = list(fixture, &files);
        assert_non_null(error);
        if (strstr(error_report(error), "hf_g") != NULL)
            fail_msg("%s: %s", rows[i].name, error_report(error));
        hub_fixture_assert(fixture, rows[i].name, error, rows[i].want);
        hub_server_clear_faults(fixture->server);
    }
}

static void names_that_repeat_the_token_are_refused(void **state)
{
    static const char token[] = "hf_0123456789abcdef";
    static const struct {
        const char *path, *want;
    } rows[] = {
        {"hf_0123456789abcdef.txt",
            "HOME/api/models/test/model/tree/COMMIT: the answer repeats the token: refused"},
        {"hf\\u005f0123456789abcdef.txt", "test/model: the answer repeats the token: refused"},
        {"hf_0123456789abcde.txt", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_fixture *fixture =
            hub_fixture_begin(&(struct hub_server_options){.token = token});
        struct hub_files files;
        fixture->settings.token = token;
        hub_server_add_entry(
            fixture->server, arena_format(&fixture->arena,
                                 "{\"type\":\"file\",\"size\":1,\"path\":\"%s\"}", rows[i].path));
        hub_fixture_assert(fixture, rows[i].path, list(fixture, &files), rows[i].want);
        hub_fixture_end(fixture);
    }
}

static void hostile_names_reach_the_selection_only(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_files files, chosen;
    hub_server_add_entry(
        fixture->server, "{\"type\":\"file\",\"path\":\"../\\u0061\",\"size\":1,\"more\":[{}]}");
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    assert_int_equal(files.count, 5);
    hub_fixture_assert(fixture, "select", hub_select(&fixture->arena, &files, NULL, false, &chosen),
        "the hub's file name \"../a\" has a component \".\" or \"..\": refused");
}

static void an_endless_listing_is_bounded(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_files files;
    fixture->settings.page_count_max = 50;
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_ENDLESS, .target = "/tree/"});
    hub_fixture_assert(fixture, "endless", list(fixture, &files),
        "test/model: the listing has more than 50 pages");
}

/* --- content --------------------------------------------------------------------------------- */

static struct hub_fetch fetch_of(
    struct hub_fixture *fixture, const struct hub_file *file, uint64_t first, uint64_t last)
{
    fixture->body_count = 0;
    return (struct hub_fetch){.repo = &fixture->repo,
        .commit = hub_server_commit(fixture->server),
        .file = file,
        .begin = first,
        .end = last,
        .on_body = hub_fixture_take,
        .context = fixture};
}

static void each_file_arrives_with_its_hash(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_files files;
    fixture->settings.token = "hf_good";
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    for (size_t i = 0; i < files.count; i++) {
        const struct hub_file *file = &files.items[i];
        struct hub_fetch fetch = fetch_of(fixture, file, 0, file->size_bytes);
        struct http_reply reply;
        char hex[DIGEST_HEX_MAX];
        bool is_lfs = file->sha256[0] != '\0';
        hub_fixture_assert(fixture, file->path,
            hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, &reply), NULL);
        assert_null(digest_of(
            is_lfs ? DIGEST_SHA256 : DIGEST_GIT_BLOB, fixture->body, fixture->body_count, hex));
        assert_string_equal(hex, is_lfs ? file->sha256 : file->git);
        assert_int_equal(reply.size_total, file->size_bytes);
    }
    assert_int_equal(hub_server_log_count(fixture->server, "/resolve/"), 3); /* none for "empty" */
}

static void a_middle_piece_arrives(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_files files;
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    struct hub_fetch fetch = fetch_of(fixture, find(&files, "model.safetensors"), 1048576, 2097152);
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_RESET, .target = "/storage/", .count = 2, .at = 200000});
    hub_fixture_assert(
        fixture, "piece", hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 1048576, 2097152));
}

/* A range of the large file with what the place knows. */
static void fetch_known(struct hub_fixture *fixture, struct hub_place *place, uint64_t begin,
    uint64_t end, const char *want)
{
    struct hub_files files;
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    hub_server_clear_log(fixture->server);
    struct hub_fetch fetch = fetch_of(fixture, find(&files, "model.safetensors"), begin, end);
    fetch.place = place;
    hub_fixture_assert(
        fixture, "range", hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL), want);
    if (want == NULL)
        assert_true(hub_fixture_body_is_range(fixture, begin, end));
}

static void the_next_range_of_a_file_needs_no_redirect(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_place place = {0};
    fetch_known(fixture, &place, 0, 1000000, NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "/resolve/"), 1);
    fetch_known(fixture, &place, 1000000, 2000000, NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "/resolve/"), 0);
    assert_int_equal(hub_server_log_count(fixture->server, "storage GET "), 1);
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){HUB_FAULT_STATUS, "/storage/", 1, 0, 403, ""}); /* it expired */
    fetch_known(fixture, &place, 2000000, FIXTURE_LARGE_BYTES, NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "/resolve/"), 1);
    hub_place_forget(&place);
}

static void a_place_whose_file_changed_is_damage(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_place place = {0};
    fetch_known(fixture, &place, 0, 1000000, NULL);
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_HEADER, .target = "/storage/", .text = "ETag: \"other\"\r\n"});
    struct hub_files files;
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    struct hub_fetch fetch = fetch_of(fixture, find(&files, "model.safetensors"), 1000000, 2000000);
    fetch.place = &place;
    struct error *error = hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_DAMAGE);
    assert_int_equal(fixture->body_count, 0);
    error_free(error);
    hub_place_forget(&place);
}

static void a_server_that_ignores_ranges_is_noticed(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_place place = {0};
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_RANGE_IGNORED, .target = "/storage/"});
    struct hub_files files;
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    struct hub_fetch fetch = fetch_of(fixture, find(&files, "model.safetensors"), 1000000, 2000000);
    fetch.place = &place;
    struct error *error = hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL);
    assert_non_null(error);
    assert_non_null(strstr(error_text(error), ": a part was asked for, the whole file was sent"));
    assert_true(place.ignores_ranges);
    error_free(error);
    fetch_known(fixture, &place, 0, FIXTURE_LARGE_BYTES, NULL);
    assert_false(place.ignores_ranges);
    hub_place_forget(&place);
}

static void what_the_hub_announces_must_agree_with_the_listing(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_file file = {.path = "model.safetensors", .size_bytes = FIXTURE_LARGE_BYTES};
    struct hub_fetch fetch = fetch_of(fixture, &file, 0, 10);
    struct arena *arena = &fixture->arena;
    hub_fixture_assert(
        fixture, "no hash", hub_fetch_range(arena, &fixture->hub, &fetch, NULL), NULL);
    memset(file.sha256, 'a', 64);
    struct error *error = hub_fetch_range(arena, &fixture->hub, &fetch, NULL);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_DAMAGE);
    assert_non_null(strstr(error_text(error),
        "test/model: model.safetensors: must have the hash aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaa, the hub announces "));
    error_free(error);
    file.sha256[0] = '\0';
    file.size_bytes = 11;
    hub_fixture_assert(fixture, "size", hub_fetch_range(arena, &fixture->hub, &fetch, NULL),
        "test/model: model.safetensors: must have 11 bytes, the hub announces 3145733");
    file.size_bytes = FIXTURE_LARGE_BYTES;
    fetch.commit = "main"; /* as if the hub answered for another commit */
    hub_fixture_assert(fixture, "commit", hub_fetch_range(arena, &fixture->hub, &fetch, NULL),
        "test/model: model.safetensors: commit main was asked for, the hub answers for COMMIT");
    fetch.commit = hub_server_commit(fixture->server);
    fixture->body_count = 0;
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_HTML, .target = "/resolve/"});
    hub_fixture_assert(fixture, "portal", hub_fetch_range(arena, &fixture->hub, &fetch, NULL),
        "HOME/test/model/resolve/COMMIT/model.safetensors: not an answer of a hub: it names no "
        "commit (X-Repo-Commit)");
    assert_int_equal(fixture->body_count, 0);
}

/* --- words for what goes wrong --------------------------------------------------------------- */

static void each_refusal_has_its_words(void **state)
{
    static const struct {
        const char *name;
        struct hub_server_options options;
        const char *token, *repo, *revision, *want;
    } rows[] = {
        {"unknown", {.root = NULL}, NULL, "no/repo", "main",
            "no/repo: no such model at HOME, or no access to it without a token (HF_TOKEN)"},
        {"unknown, logged in", {.token = "hf_good"}, "hf_good", "no/repo", "main",
            "no/repo: no such model at HOME, or no access to it"},
        {"private", {.is_private = true}, NULL, "test/model", "main",
            "test/model: no such model at HOME, or no access to it without a token (HF_TOKEN)"},
        {"bad token", {.token = "hf_good"}, "hf_bad", "test/model", "main",
            "test/model: HOME does not accept the token from HF_TOKEN"},
        {"revision", {.root = NULL}, NULL, "test/model", "v2", "test/model: no revision \"v2\""},
        {"name", {.root = NULL}, NULL, "a/b/c", "main",
            "\"a/b/c\": not a repository's name, which is org/name"},
        {"revision's name", {.root = NULL}, NULL, "a/b", "x y",
            "a/b: \"x y\" is not a revision's name"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_fixture *fixture = hub_fixture_begin(&rows[i].options);
        char commit[HUB_COMMIT_MAX];
        fixture->settings.token = rows[i].token;
        fixture->settings.token_source = "HF_TOKEN";
        fixture->repo.id = rows[i].repo;
        hub_fixture_assert(fixture, rows[i].name,
            hub_resolve(&fixture->hub, &fixture->repo, rows[i].revision, commit), rows[i].want);
        hub_fixture_end(fixture);
    }
}

static void each_refused_file_has_its_words(void **state)
{
    static const struct {
        const char *name;
        struct hub_fault fault;
        const char *token, *path, *want;
    } rows[] = {
        {"gated", {HUB_FAULT_STATUS, "/resolve/", 0, 0, 401, "X-Error-Code: GatedRepo\r\n"}, NULL,
            "config.json",
            "test/model: access must be granted first: ask for it at HOME/test/model, then set "
            "HF_TOKEN"},
        {"gated, logged in",
            {HUB_FAULT_STATUS, "/resolve/", 0, 0, 403, "X-Error-Code: GatedRepo\r\n"}, "hf_good",
            "config.json",
            "test/model: access must be granted first: ask for it at HOME/test/model with this "
            "token's account"},
        {"rights",
            {HUB_FAULT_STATUS, "/resolve/", 0, 0, 403, "X-Error-Message: fine\x01grained\r\n"},
            "hf_good", "config.json", "test/model: access refused (403): fine\\x01grained"},
        {"disabled",
            {HUB_FAULT_STATUS, "/resolve/", 0, 0, 403,
                "X-Error-Message: Access to this resource is disabled.\r\n"},
            NULL, "config.json", "test/model: the hub has disabled this model"},
        {"no file", {HUB_FAULT_NEXT, "none", 0, 0, 0, NULL}, NULL, "absent.json",
            "test/model: no file \"absent.json\" at commit COMMIT"},
        {"storage",
            {HUB_FAULT_STATUS, "/storage/", 0, 0, 403, "Content-Type: application/json\r\n"}, NULL,
            "model.safetensors",
            "test/model: model.safetensors: refused by the storage host STORAGE (403): injected"},
        {"bad request", {HUB_FAULT_STATUS, "/resolve/", 0, 0, 400, ""}, NULL, "config.json",
            "HOME/test/model/resolve/COMMIT/config.json: the server answered 400 (Bad Request): "
            "injected"},
        {"down", {HUB_FAULT_STATUS, "/resolve/", 0, 0, 503, ""}, NULL, "config.json",
            "HOME/test/model/resolve/COMMIT/config.json: the server answered 503 (Service "
            "Unavailable) (tried 6 times): injected"},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_file file = {.path = rows[i].path, .size_bytes = FIXTURE_LARGE_BYTES};
        struct hub_fetch fetch = fetch_of(fixture, &file, 0, 9);
        fixture->settings.token = rows[i].token;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        hub_fixture_assert(fixture, rows[i].name,
            hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL), rows[i].want);
        hub_server_clear_faults(fixture->server);
        assert_int_equal(fixture->body_count, 0);
    }
}

static void an_error_names_the_request_but_no_secret(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_file file = {.path = "model.safetensors", .size_bytes = FIXTURE_LARGE_BYTES};
    struct hub_fetch fetch = fetch_of(fixture, &file, 0, 9);
    fixture->settings.token = "hf_good";
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 403});
    struct error *error = hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL);
    assert_non_null(error);
    assert_non_null(strstr(error_report(error), "    while the hub handled request request-1\n"));
    assert_null(strstr(error_report(error), "SECRET"));
    assert_null(strstr(error_report(error), "hf_good"));
    error_free(error);
    hub_server_clear_faults(fixture->server);
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_RESET, .target = "/storage/"});
    error = hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL);
    assert_non_null(error);
    assert_null(strstr(error_report(error), "SECRET"));
    error_free(error);
    for (size_t i = 0; i < fixture->wait_count; i++)
        assert_null(strstr(fixture->why[i], "SECRET"));
}

static void offline_makes_no_request(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_file file = {.path = "config.json", .size_bytes = 9};
    struct hub_fetch fetch = fetch_of(fixture, &file, 0, 9);
    struct hub_files files;
    char commit[HUB_COMMIT_MAX];
    fixture->settings.is_offline = true;
    hub_fixture_assert(fixture, "resolve",
        hub_resolve(&fixture->hub, &fixture->repo, "main", commit),
        "test/model: offline, so psybuild cannot ask which commit its revision is");
    hub_fixture_assert(fixture, "list", list(fixture, &files),
        "test/model: offline, so psybuild cannot list its files");
    hub_fixture_assert(fixture, "fetch",
        hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL),
        "test/model: offline, so psybuild cannot download its files");
    assert_int_equal(hub_server_log_count(fixture->server, "GET"), 0);
}

static void datasets_have_their_own_addresses(void **state)
{
    struct hub_fixture *fixture =
        hub_fixture_begin(&(struct hub_server_options){.type = "datasets", .is_direct = true});
    struct hub_files files;
    char commit[HUB_COMMIT_MAX];
    (void)state;
    fixture->repo.type = HUB_DATASET;
    hub_fixture_assert(
        fixture, "resolve", hub_resolve(&fixture->hub, &fixture->repo, "main", commit), NULL);
    hub_fixture_assert(fixture, "list", list(fixture, &files), NULL);
    const struct hub_file *file = find(&files, FIXTURE_ODD_NAME);
    struct hub_fetch fetch = fetch_of(fixture, file, 0, file->size_bytes);
    hub_fixture_assert(
        fixture, "fetch", hub_fetch_range(&fixture->arena, &fixture->hub, &fetch, NULL), NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "GET /datasets/test/model/resolve/"), 1);
    assert_int_equal(hub_server_log_count(fixture->server, "sub/a%20b%2Bc%23%25.txt"), 1);
    hub_fixture_end(fixture);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(repository_names_follow_the_hub),
        cmocka_unit_test(revisions_are_names_of_refs_or_commits),
        TEST(a_revision_is_resolved_to_a_commit),
        TEST(a_listing_gives_sizes_and_hashes),
        cmocka_unit_test(a_listing_of_many_pages_is_one),
        TEST(a_next_page_is_found_among_other_links),
        TEST(hostile_listings_end),
        TEST(a_token_that_is_repeated_is_not_shown),
        TEST(names_that_repeat_the_token_are_refused),
        TEST(hostile_names_reach_the_selection_only),
        TEST(an_endless_listing_is_bounded),
        TEST(each_file_arrives_with_its_hash),
        TEST(a_middle_piece_arrives),
        TEST(the_next_range_of_a_file_needs_no_redirect),
        TEST(a_place_whose_file_changed_is_damage),
        TEST(a_server_that_ignores_ranges_is_noticed),
        TEST(what_the_hub_announces_must_agree_with_the_listing),
        cmocka_unit_test(each_refusal_has_its_words),
        TEST(each_refused_file_has_its_words),
        TEST(an_error_names_the_request_but_no_secret),
        TEST(offline_makes_no_request),
        cmocka_unit_test(datasets_have_their_own_addresses),
    };
    return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}
