/* test_fetch.c - sources that are fetched: listed, locked, downloaded, verified, refused. Whole
 * builds in a directory of their own, against the test hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/file.h"
#include "base/file_whole.h"
#include "tasks/formats/digest.h"
#include "tasks/lock.h"
#include "tests/support/fetch_fixture.h"
#include "tests/support/tree.h"

enum { LARGE_BYTES = 33 * 1024 * 1024 + 5 }; /* three ranges */

#define MODEL_SHA256 "bfca515d9211328c468d17bc2973c9367ea1f848d4364998693606e951e6975a"
#define CONFIG_SHA256 "e8c628edc9968ef0c668f54e0ba2636b35503357eb1aca0ddc828aeace432f67"
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static int begin(void **state)
{
    *state = fetch_fixture_begin(NULL, FIXTURE_LARGE_BYTES);
    return 0;
}

static int end(void **state)
{
    fetch_fixture_end(*state);
    return 0;
}

static size_t count_entries(struct fetch_fixture *fixture, const char *path)
{
    struct file_entry *entries;
    size_t count = 0;
    if (tree_has(path))
        tree_assert_ok(file_list_directory(&fixture->arena, path, &entries, &count));
    return count;
}

/* ---- hub sources ---- */

static void a_hub_source_is_listed_locked_and_fetched(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct lock lock;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\"}");
    fetch_must_build(fixture);
    assert_string_equal(fixture->notes, "listing test/model\n");
    assert_string_equal(fetch_read_file(fixture, "m/config.json"), "{\"a\": 1}\n");
    assert_string_equal(fetch_read_file(fixture, "m/" FIXTURE_ODD_NAME), "hi\n");
    assert_string_equal(fetch_read_file(fixture, "m/empty"), "");
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    const struct lock_source *source = lock_find(&lock, "m");
    assert_non_null(source);
    assert_string_equal(source->commit, hub_server_commit(fixture->hub->server));
    assert_string_equal(source->repo.id, "test/model");
    assert_string_equal(source->revision, "main");
    assert_int_equal(source->files.count, 4);
    assert_string_equal(source->files.items[0].path, "config.json");
    assert_string_equal(source->files.items[1].git, "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_int_equal(strlen(source->files.items[2].sha256), 64);
    assert_int_equal(
        fetch_count_requests(fixture, "/resolve/"), 3); /* nothing for the empty file */
}

static void what_is_locked_and_there_costs_no_request(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\"}");
    fetch_must_build(fixture);
    const char *lock = fetch_read_file(fixture, "psybuild.lock");
    hub_server_clear_log(fixture->hub->server);
    fixture->options.is_frozen = fixture->options.is_offline = true;
    fetch_must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    tree_remove(".psybuild"); /* then the files are hashed, and adopted */
    fetch_must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    assert_int_equal(fixture->stats.nodes_fresh, 4);
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
    assert_string_equal(fixture->notes, "");
    assert_string_equal(fetch_read_file(fixture, "psybuild.lock"), lock);
}

static void a_missing_file_alone_is_fetched_again(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\"}");
    fetch_must_build(fixture);
    hub_server_clear_log(fixture->hub->server);
    assert_null(file_remove("m/config.json"));
    fetch_must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 1);
    assert_string_equal(fetch_read_file(fixture, "m/config.json"), "{\"a\": 1}\n");
    assert_int_equal(
        fetch_count_requests(fixture, "home GET "), 2); /* the file, and its redirect */
}

static void changed_patterns_list_the_same_commit(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct lock lock;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.json\"]}");
    fetch_must_build(fixture);
    assert_false(tree_has("m/empty"));
    hub_server_clear_log(fixture->hub->server);
    fetch_write_manifest(fixture,
        "{\"hub\": \"test/model\", \"include\": [\"*.json\", \"e*\", \"sub/\"], \"exclude\": "
        "[\"*.txt\"]}");
    fetch_must_build(fixture);
    assert_int_equal(fetch_count_requests(fixture, "/revision/"), 0);
    assert_int_equal(fetch_count_requests(fixture, "/tree/"), 1);
    assert_true(tree_has("m/empty"));
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    assert_int_equal(lock_find(&lock, "m")->files.count, 2);
    assert_int_equal(lock_find(&lock, "m")->filter.include_count, 3);
}

static void another_revision_is_resolved_and_other_sources_stay_locked(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct lock lock;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"empty\"]}");
    fetch_must_build(fixture);
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    struct lock_source other = *lock_find(&lock, "m");
    other.directory = "gone";
    assert_null(lock_put(&fixture->arena, &lock, &other));
    assert_null(lock_write(&fixture->arena, &lock, "psybuild.lock"));
    const char *commit = hub_server_commit(fixture->hub->server);
    fetch_write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"hub\": \"test/model\", \"revision\": \"%s\", \"include\": [\"empty\"]}", commit));
    fetch_must_build(fixture);
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    assert_string_equal(lock_find(&lock, "m")->revision, commit);
    assert_string_equal(lock_find(&lock, "gone")->revision, "main");
}

static void frozen_and_offline_builds_need_a_fitting_lock(void **state)
{
    static const struct {
        const char *source;
        bool is_locked, is_frozen, is_offline;
        const char *want;
    } rows[] = {
        {"{\"hub\": \"test/model\"}", false, true, false,
            "is not in psybuild.lock, which --frozen forbids changing"},
        {"{\"hub\": \"test/model\"}", false, false, true,
            "is not in psybuild.lock, and offline its files cannot be listed"},
        {"{\"hub\": \"test/model\", \"exclude\": [\"x\"]}", true, true, true,
            "has another \"include\" or \"exclude\" than in psybuild.lock, which --frozen forbids "
            "changing"},
        {"{\"hub\": \"test/model\", \"revision\": \"v1\"}", true, false, true,
            "has another \"hub\", \"type\" or \"revision\" than in psybuild.lock, and offline its "
            "files cannot be listed"},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture->options.is_frozen = fixture->options.is_offline = false;
        fetch_write_manifest(fixture, "{\"hub\": \"test/model\"}");
        if (rows[i].is_locked)
            fetch_must_build(fixture);
        hub_server_clear_log(fixture->hub->server);
        fixture->options.is_frozen = rows[i].is_frozen;
        fixture->options.is_offline = rows[i].is_offline;
        fetch_write_manifest(fixture, rows[i].source);
        fetch_must_fail(fixture, arena_format(&fixture->arena,
                                     "psybuild.json:1:42: source \"m\" %s\n"
                                     "    {\"psybuild\": 1, \"sources\": {\"m\": %s}}\n%45s^\n"
                                     "    while listing source m\n",
                                     rows[i].want, rows[i].source, ""));
        assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
    }
}

static void an_offline_build_names_the_file_it_misses(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"config.json\"]}");
    fetch_must_build(fixture);
    assert_null(file_remove("m/config.json"));
    hub_server_clear_log(fixture->hub->server);
    for (int by_variable = 0; by_variable < 2; by_variable++) {
        fixture->options.is_offline = !by_variable;
        if (by_variable)
            setenv("HF_HUB_OFFLINE", "1", 1);
        fetch_must_fail(fixture,
            "m/config.json is missing, and offline psybuild cannot download it\n"
            "    while fetching config.json of test/model at commit COMMIT\n"
            "    while planning m/config.json\n");
    }
    unsetenv("HF_HUB_OFFLINE");
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
}

/* ---- what a hub may do wrong ---- */

static void damage_is_fetched_once_more_and_then_refused(void **state)
{
    static const struct {
        const char *name, *target, *attempt;
        uint64_t at;
        const char *want;
    } rows[] = {
        {"model.safetensors", "/storage/", "storage GET ", 2000000,
            "m/model.safetensors: expected sha256:" MODEL_SHA256 ", found sha256:"
            "ad6fa73b78a7dc9639d308f93473fe7b5da969503b87f77ed95567908105bcd8\n"
            "    while fetching model.safetensors of test/model at commit COMMIT, for the second "
            "time\n    while making m/model.safetensors\n"},
        {"config.json", "config.json", "/resolve/", 4,
            "m/config.json: expected git:cb5b2f69babc53f9145b45ad20b9a075d48717ef, "
            "found git:e3be4754e7e9bc2341ae05a236f3fd0ba2651595\n"
            "    while fetching config.json of test/model at commit COMMIT, for the second time\n"
            "    while making m/config.json\n"},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = arena_format(&fixture->arena, "m/%s", rows[i].name);
        fetch_write_manifest(
            fixture, arena_format(&fixture->arena,
                         "{\"hub\": \"test/model\", \"include\": [\"%s\"]}", rows[i].name));
        hub_server_clear_log(fixture->hub->server);
        hub_server_add_fault(fixture->hub->server,
            &(struct hub_fault){
                .kind = HUB_FAULT_FLIP, .target = rows[i].target, .at = rows[i].at});
        fetch_must_fail(fixture, rows[i].want);
        assert_int_equal(fetch_count_requests(fixture, rows[i].attempt), 2);
        assert_false(tree_has(path));
        assert_int_equal(count_entries(fixture, ".psybuild/partial"), 0);
        hub_server_clear_faults(fixture->hub->server);
        fetch_must_build(fixture);
    }
}

static void damage_that_does_not_last_is_repaired(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_FLIP, .target = "/storage/", .count = 1, .at = 2000000});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 2);
}

static void hostile_listings_are_refused_before_anything_is_written(void **state)
{
#define ENTRY(path)                                                                                \
    "{\"type\":\"file\",\"path\":\"" path                                                          \
    "\",\"size\":0,\"oid\":\"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\"}"
    static const struct {
        const char *entry, *include, *want;
    } rows[] = {
        {ENTRY("../x"), "*x",
            "the hub's file name \"../x\" has a component \".\" or \"..\": refused"},
        {ENTRY("sub/.psybuild/state"), "*state",
            "the hub's file name \"sub/.psybuild/state\" has a component \".psybuild\": refused"},
        {ENTRY("empty/y"), "empty*",
            "the hub's files \"empty\" and \"empty/y\" cannot both be written: refused"},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fetch_write_manifest(
            fixture, arena_format(&fixture->arena,
                         "{\"hub\": \"test/model\", \"include\": [\"%s\"]}", rows[i].include));
        hub_server_add_entry(fixture->hub->server, rows[i].entry);
        fetch_must_fail(fixture, arena_format(&fixture->arena,
                                     "%s\n    while listing test/model at revision main\n"
                                     "    while listing source m\n",
                                     rows[i].want));
        assert_false(tree_has("psybuild.lock"));
        assert_false(tree_has("m"));
    }
}

static void a_source_without_files_is_a_mistake(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.gguf\"]}");
    fetch_must_fail(fixture,
        "no file of the repository matches \"include\" and \"exclude\"\n"
        "    while listing test/model at revision main\n    while listing source m\n");
    assert_false(tree_has("psybuild.lock"));
}

static void a_repository_that_is_not_there_is_named(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/nothing\", \"type\": \"dataset\"}");
    fetch_must_fail(fixture,
        "datasets/test/nothing: no such dataset at HOME, or no access to it without a token "
        "(HF_TOKEN)\n    while the hub handled request request-1\n"
        "    while listing test/nothing at revision main\n    while listing source m\n");
}

static void a_stopped_download_leaves_nothing_under_its_name(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){.kind = HUB_FAULT_STALL, .target = "/storage/", .at = 1000000});
    fixture->cancels_at_tick = true;
    assert_false(fetch_build(fixture));
    assert_int_equal(fixture->kind, ERROR_INTERRUPTED);
    assert_false(tree_has("m/model.safetensors"));
}

/* ---- ranges ---- */

static int begin_large(void **state)
{
    *state = fetch_fixture_begin(NULL, LARGE_BYTES);
    fetch_write_manifest(*state, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    return 0;
}

static void a_large_file_comes_in_ranges(void **state)
{
    struct fetch_fixture *fixture = *state;
    fixture->options.connections = 3;
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 3);
    assert_int_equal(fetch_count_requests(fixture, "Range: bytes=16777216-33554431\r\n"), 2);
    assert_int_equal(hub_server_bytes_sent(fixture->hub->server), LARGE_BYTES);
    assert_int_equal(count_entries(fixture, "m/.cache/huggingface/psybuild"), 0);
}

static void one_connection_asks_the_hub_once(void **state)
{
    struct fetch_fixture *fixture = *state;
    fixture->options.connections = 1;
    fetch_must_build(fixture);
    assert_int_equal(fetch_count_requests(fixture, "/resolve/"), 1);
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 3);
}

static void finished_ranges_are_taken_up(void **state)
{
    struct fetch_fixture *fixture = *state;
    fixture->options.connections = 1;
    hub_server_add_fault_after(fixture->hub->server, 2,
        &(struct hub_fault){
            .kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 404, .text = ""});
    assert_false(fetch_build(fixture));
    assert_false(tree_has("m/model.safetensors"));
    hub_server_clear_faults(fixture->hub->server);
    hub_server_clear_log(fixture->hub->server);
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 1);
    assert_int_equal(fetch_count_requests(fixture, "Range: bytes=33554432-34603012\r\n"), 2);
}

static void what_is_damaged_in_a_partial_file_is_fetched_again(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct file_entry *entries;
    size_t count;
    struct file *file;
    fixture->options.connections = 1;
    hub_server_add_fault_after(fixture->hub->server, 2,
        &(struct hub_fault){
            .kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 404, .text = ""});
    assert_false(fetch_build(fixture));
    hub_server_clear_faults(fixture->hub->server);
    hub_server_clear_log(fixture->hub->server);
    static const char partials[] = "m/.cache/huggingface/psybuild";
    tree_assert_ok(file_list_directory(&fixture->arena, partials, &entries, &count));
    assert_int_equal(count, 1);
    tree_assert_ok(file_open_staged(
        arena_format(&fixture->arena, "%s/%s/files/model.safetensors", partials, entries[0].name),
        &file));
    tree_assert_ok(file_write_at(file, 20000000, "damage", 6));
    file_close(file);
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 2);
    assert_int_equal(fetch_count_requests(fixture, "Range: bytes=0-"), 0);
}

static void a_server_without_ranges_serves_the_whole(void **state)
{
    struct fetch_fixture *fixture = *state;
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){.kind = HUB_FAULT_RANGE_IGNORED, .target = "/storage/"});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
}

static void a_file_that_changes_between_ranges_is_begun_afresh(void **state)
{
    struct fetch_fixture *fixture = *state;
    fixture->options.connections = 1;
    hub_server_add_fault_after(fixture->hub->server, 1,
        &(struct hub_fault){
            .kind = HUB_FAULT_HEADER, .target = "/storage/", .text = "ETag: \"other\"\r\n"});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    size_t count = fetch_count_requests(fixture, "storage GET ");
    assert_true(count == 5 || count == 6); /* 3 afresh; the third may have been under way */
}

/* ---- what is here already ---- */

/* Puts the model into the cache of the hub's own client, with one byte flipped on demand. */
static void fill_cache(struct fetch_fixture *fixture, bool is_damaged)
{
    struct text text;
    char *from = arena_format(&fixture->arena, "%s/model.safetensors", fixture->hub->directory);
    setenv("HF_HOME", "hf", 1);
    tree_assert_ok(file_read_whole(&fixture->arena, from, FIXTURE_LARGE_BYTES, &text));
    char *bytes = arena_copy(&fixture->arena, text.bytes, text.length);
    bytes[1000] = (char)(bytes[1000] ^ (is_damaged ? 1 : 0));
    tree_write_bytes("hf/hub/models--test--model/blobs/" MODEL_SHA256, bytes, text.length);
}

static void content_in_the_hub_clients_cache_is_copied(void **state)
{
    struct fetch_fixture *fixture = *state;
    fill_cache(fixture, false);
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "/resolve/"), 0);
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 0);
}

static void damage_in_the_hub_clients_cache_is_noticed(void **state)
{
    struct fetch_fixture *fixture = *state;
    fill_cache(fixture, true);
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 1);
    fixture->options.is_offline = true;
    tree_remove("m/model.safetensors");
    fetch_must_fail(fixture,
        "m/model.safetensors is missing, and offline psybuild cannot download it\n"
        "    while fetching model.safetensors of test/model at commit COMMIT\n"
        "    while planning m/model.safetensors\n");
}

static void two_files_of_one_content_are_fetched_once(void **state)
{
    struct fetch_fixture *fixture = *state;
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"sources\": {"
        "\"m/a\": {\"hub\": \"test/model\", \"include\": [\"*.safetensors\", \"*.json\"]},"
        "\"m/b\": {\"hub\": \"test/model\", \"include\": [\"*.safetensors\", \"*.json\"]}}}\n");
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/a/model.safetensors"));
    assert_true(fetch_is_model(fixture, "m/b/model.safetensors"));
    assert_string_equal(fetch_read_file(fixture, "m/b/config.json"), "{\"a\": 1}\n");
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 1);
    assert_int_equal(fetch_count_requests(fixture, "/resolve/"), 2);
}

static void the_hub_clients_notes_lie_beside_the_files(void **state)
{
    struct fetch_fixture *fixture = *state;
    fetch_write_manifest(fixture, "{\"hub\": \"test/model\"}");
    fetch_must_build(fixture);
    const char *commit = hub_server_commit(fixture->hub->server);
    const char *want = arena_format(&fixture->arena, "%s\n" MODEL_SHA256 "\n", commit);
    static const char note[] = "m/.cache/huggingface/download/model.safetensors.metadata";
    assert_memory_equal(fetch_read_file(fixture, note), want, strlen(want));
    assert_true(tree_has("m/.cache/huggingface/download/" FIXTURE_ODD_NAME ".metadata"));
    assert_true(
        tree_has(arena_format(&fixture->arena, "m/.cache/huggingface/trees/%s.json", commit)));
    tree_remove("m/.cache");
    tree_remove(".psybuild"); /* the files are adopted, and noted again */
    fetch_must_build(fixture);
    assert_true(tree_has(note));
}

/* ---- sources of addresses ---- */

static void addresses_are_fetched_and_verified(void **state)
{
    struct fetch_fixture *fixture = *state;
    char *model = arena_format(&fixture->arena, "%s/model.safetensors", fixture->hub->directory);
    fetch_write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"sub/config.json\": {\"url\": \"%s/test/model/resolve/main/config.json"
            "\", \"hash\": \"sha256:" CONFIG_SHA256 "\"}, \"empty\": {\"url\": \"file://%s/empty\","
            " \"hash\": \"sha256:" EMPTY_SHA256 "\"}, \"model.safetensors\": {\"url\": "
            "\"file://%s\", \"hash\": \"sha256:" MODEL_SHA256 "\"}}}",
            hub_server_url(fixture->hub->server), fixture->hub->directory, model));
    fetch_must_build(fixture);
    assert_string_equal(fetch_read_file(fixture, "m/sub/config.json"), "{\"a\": 1}\n");
    assert_string_equal(fetch_read_file(fixture, "m/empty"), "");
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_false(tree_has("psybuild.lock"));
    hub_server_clear_log(fixture->hub->server);
    fetch_must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
}

/* The file `name`, by an address of the hub's (with what follows its path). */
static void declare_address(
    struct fetch_fixture *fixture, const char *name, const char *path, const char *sha256)
{
    fetch_write_manifest(
        fixture, arena_format(&fixture->arena,
                     "{\"files\": {\"%s\": {\"url\": \"%s/test/model/resolve/main/%s\", "
                     "\"hash\": \"sha256:%s\"}}}",
                     name, hub_server_url(fixture->hub->server), path, sha256));
}

static void declare_large_address(struct fetch_fixture *fixture)
{
    char hex[DIGEST_HEX_MAX];
    char *path = arena_format(&fixture->arena, "%s/model.safetensors", fixture->hub->directory);
    tree_assert_ok(digest_of_file(DIGEST_SHA256, path, NULL, hex));
    declare_address(fixture, "model.safetensors", "model.safetensors", hex);
    fixture->options.connections = 1;
}

static void finished_ranges_of_an_address_are_taken_up(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct hub_server *server = fixture->hub->server;
    declare_large_address(fixture);
    hub_server_add_fault_after(server, 3, /* the size, and two ranges */
        &(struct hub_fault){
            .kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 404, .text = ""});
    assert_false(fetch_build(fixture));
    assert_false(tree_has("m/model.safetensors"));
    assert_true(hub_server_bytes_sent(server) > LARGE_BYTES / 2);
    hub_server_clear_faults(server);
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(hub_server_bytes_sent(server), LARGE_BYTES + 2); /* the size was asked twice */
    hub_server_clear_log(server);
    fetch_must_build(fixture);
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
}

/* The first ranges are of the file as it was: they do not make the content that is declared. */
static void an_address_whose_file_changes_between_two_runs_is_streamed(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct hub_server *server = fixture->hub->server;
    unsigned char declared, other;
    struct file *file;
    declare_large_address(fixture);
    tree_assert_ok(file_open_staged(
        arena_format(&fixture->arena, "%s/model.safetensors", fixture->hub->directory), &file));
    tree_assert_ok(file_read_at(file, 20000000, &declared, 1));
    other = declared ^ 1;
    tree_assert_ok(file_write_at(file, 20000000, &other, 1));
    hub_server_add_fault_after(server, 3,
        &(struct hub_fault){
            .kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 404, .text = ""});
    assert_false(fetch_build(fixture));
    assert_true(hub_server_bytes_sent(server) > LARGE_BYTES / 2);
    tree_assert_ok(file_write_at(file, 20000000, &declared, 1));
    file_close(file);
    hub_server_clear_faults(server);
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    /* the size again, the last range, then everything */
    assert_int_equal(hub_server_bytes_sent(server), LARGE_BYTES + 2 + LARGE_BYTES);
}

/* The partial says how long the file is when the server does not. */
static void an_address_that_is_not_there_for_a_while_loses_nothing(void **state)
{
    struct fetch_fixture *fixture = *state;
    struct hub_server *server = fixture->hub->server;
    declare_large_address(fixture);
    hub_server_add_fault_after(server, 3,
        &(struct hub_fault){
            .kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 404, .text = ""});
    assert_false(fetch_build(fixture));
    assert_false(fetch_build(fixture)); /* as long as it is away */
    hub_server_clear_faults(server);
    hub_server_add_fault(server, &(struct hub_fault){.kind = HUB_FAULT_STATUS,
                                     .target = "/storage/",
                                     .count = 1, /* of the size */
                                     .status = 503,
                                     .text = ""});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(hub_server_bytes_sent(server), LARGE_BYTES + 1);
}

/* What is said of the size is nobody's word: at the end the hash decides. */
static void an_address_that_lies_about_its_size_is_streamed(void **state)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"too much for anybody", "Content-Range: bytes 0-0/9000000000000000000\r\n"},
        {"half", "Content-Range: bytes 0-0/17301506\r\n"},
        {"more", "Content-Range: bytes 0-0/50000000\r\n"},
        {"nothing", "Content-Range: bytes 0-0/0\r\n"},
        {"who knows", "Content-Range: bytes 0-0/*\r\n"},
    };
    struct fetch_fixture *fixture = *state;
    declare_large_address(fixture);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        print_message("%s\n", rows[i].name);
        hub_server_add_fault(fixture->hub->server,
            &(struct hub_fault){
                .kind = HUB_FAULT_HEADER, .target = "/storage/", .count = 1, .text = rows[i].text});
        fetch_must_build(fixture);
        assert_true(fetch_is_model(fixture, "m/model.safetensors"));
        tree_remove("m");
        tree_remove(".psybuild");
        hub_server_clear_faults(fixture->hub->server);
    }
}

/* Of a file that comes in one range. */
static void a_small_address_that_lies_about_its_size_is_streamed(void **state)
{
    static const char *const lies[] = {
        "Content-Range: bytes 0-0/5\r\n", "Content-Range: bytes 0-0/1000\r\n"};
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "a.json", "config.json", CONFIG_SHA256);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) { /* a redirect's, and the file's */
        hub_server_add_fault(fixture->hub->server,
            &(struct hub_fault){
                .kind = HUB_FAULT_HEADER, .target = "config.json", .count = 2, .text = lies[i]});
        fetch_must_build(fixture);
        assert_string_equal(fetch_read_file(fixture, "m/a.json"), "{\"a\": 1}\n");
        tree_remove("m");
        tree_remove(".psybuild");
    }
}

static void an_address_that_forgets_its_size_is_no_other_file(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "a.json", "config.json", CONFIG_SHA256);
    hub_server_add_fault_after(fixture->hub->server, 2, /* a redirect and the byte that is asked */
        &(struct hub_fault){.kind = HUB_FAULT_HEADER,
            .target = "config.json",
            .text = "Content-Range: bytes 0-8/*\r\n"});
    fetch_must_build(fixture);
    assert_string_equal(fetch_read_file(fixture, "m/a.json"), "{\"a\": 1}\n");
    assert_int_equal(hub_server_log_count(fixture->hub->server, "Range: bytes=0-8\r\n"), 2);
}

static void an_address_that_forgets_ranges_is_fetched_whole_once(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_large_address(fixture);
    hub_server_add_fault_after(fixture->hub->server, 2,
        &(struct hub_fault){.kind = HUB_FAULT_RANGE_IGNORED, .target = "/storage/"});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_true(hub_server_bytes_sent(fixture->hub->server) < 3 * (uint64_t)LARGE_BYTES);
}

static void an_empty_address_is_an_empty_file(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "empty", "empty", EMPTY_SHA256);
    fetch_must_build(fixture);
    assert_string_equal(fetch_read_file(fixture, "m/empty"), "");
}

static void an_address_of_content_that_another_file_has_is_not_asked(void **state)
{
    struct fetch_fixture *fixture = *state;
    char *config = arena_format(&fixture->arena, "%s/config.json", fixture->hub->directory);
    fetch_write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"a.json\": {\"url\": \"file://%s\", \"hash\": \"sha256:" CONFIG_SHA256
            "\"}, \"b.json\": {\"url\": \"%s/test/model/resolve/main/config.json\", \"hash\": "
            "\"sha256:" CONFIG_SHA256 "\"}}}",
            config, hub_server_url(fixture->hub->server)));
    fetch_must_build(fixture);
    assert_string_equal(fetch_read_file(fixture, "m/b.json"), "{\"a\": 1}\n");
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
}

static void an_address_without_ranges_is_fetched_at_once(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_large_address(fixture);
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){.kind = HUB_FAULT_RANGE_IGNORED, .target = "/storage/"});
    fetch_must_build(fixture);
    assert_true(fetch_is_model(fixture, "m/model.safetensors"));
    assert_int_equal(fetch_count_requests(fixture, "storage GET "), 2);
}

static void an_address_with_other_content_is_refused(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "a.json", "config.json?key=secret", EMPTY_SHA256);
    fetch_must_fail(fixture,
        "m/a.json: expected sha256:" EMPTY_SHA256 ", found sha256:" CONFIG_SHA256 "\n"
        "    while fetching HOME/test/model/resolve/main/config.json, for the second time\n"
        "    while making m/a.json\n");
    assert_false(tree_has("m/a.json"));
    fixture->options.is_offline = true;
    fetch_must_fail(fixture, "m/a.json is missing, and offline psybuild cannot download it\n"
                             "    while fetching HOME/test/model/resolve/main/config.json\n"
                             "    while planning m/a.json\n");
}

static void nothing_of_a_longer_first_answer_remains(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "a.json", "config.json", CONFIG_SHA256);
    hub_server_add_fault(fixture->hub->server, &(struct hub_fault){.kind = HUB_FAULT_BODY,
                                                   .target = "config.json",
                                                   .count = 2, /* of the size, and of all */
                                                   .text = "a text that is longer than the file"});
    fetch_must_build(fixture);
    assert_string_equal(fetch_read_file(fixture, "m/a.json"), "{\"a\": 1}\n");
}

static void an_address_that_is_not_there_is_named(void **state)
{
    struct fetch_fixture *fixture = *state;
    declare_address(fixture, "a", "none?key=secret", EMPTY_SHA256);
    fetch_must_fail(fixture,
        "HOME/test/model/resolve/main/none: the server answered 404 (Not Found)\n"
        "    while fetching HOME/test/model/resolve/main/none\n    while making m/a\n");
}

static void a_wrong_declaration_is_refused_with_its_place(void **state)
{
#define GOOD "{\"url\": \"https://h/a\", \"hash\": \"sha256:" EMPTY_SHA256 "\"}"
    static const struct {
        const char *source, *want;
    } rows[] = {
        {"{\"hub\": \"a/b/c\"}",
            "1:42: \"hub\" must be a repository's name, org/name, not \"a/b/c\""},
        {"{\"hub\": 7}", "1:42: \"hub\" must be a repository's name, org/name, not 7"},
        {"{\"hub\": \"o/n\", \"revision\": \"a..b\"}",
            "1:61: \"revision\" must be a branch, a tag or a commit, not \"a..b\""},
        {"{\"hub\": \"o/n\", \"type\": \"space\"}",
            "1:57: \"type\" must be one of \"model\", \"dataset\", not \"space\""},
        {"{\"hub\": \"o/n\", \"keep\": \"never\"}",
            "1:57: \"keep\" must be one of \"always\", \"until-used\", not \"never\""},
        {"{\"files\": []}", "1:44: \"files\" must be an object, not a list"},
        {"{\"files\": {}}", "1:44: \"files\" must hold at least one file"},
        {"{\"files\": {\"../a\": " GOOD "}}",
            "1:45: a file's name must be a path inside the source's directory, not \"../a\""},
        {"{\"files\": {\".psybuild/a\": " GOOD "}}",
            "1:45: a file's name must be a path inside the source's directory, not "
            "\".psybuild/a\""},
        {"{\"files\": {\"a\": " GOOD ", \"a/b/c\": " GOOD "}}",
            "1:157: \"a\" cannot be both a file and a directory"},
        {"{\"files\": {\"a\": 7}}",
            "1:50: a file must be an object with \"url\" and \"hash\", not 7"},
        {"{\"files\": {\"a\": {\"sha\": 7}}}",
            "1:51: unknown key \"sha\" in a file: it has \"url\" and \"hash\""},
        {"{\"files\": {\"a\": {}}}",
            "1:50: \"url\" must be an http://, https:// or file:// address without user and "
            "spaces, not nothing"},
        {"{\"files\": {\"a\": {\"url\": \"ftp://h/a\"}}}",
            "1:58: \"url\" must be an http://, https:// or file:// address without user and "
            "spaces, not \"ftp://h/a\""},
        {"{\"files\": {\"a\": {\"url\": \"https://h/a\"}}}",
            "1:50: \"hash\" must be \"sha256:\" and 64 lower-case hex digits, not nothing"},
        {"{\"files\": {\"a\": {\"url\": \"https://h/a\", \"hash\": \"md5:00\"}}}",
            "1:81: \"hash\" must be \"sha256:\" and 64 lower-case hex digits, not \"md5:00\""},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *want = arena_format(&fixture->arena, "psybuild.json:%s", rows[i].want);
        fetch_write_manifest(fixture, rows[i].source);
        assert_false(fetch_build(fixture));
        fixture->report[strcspn(fixture->report, "\n")] = '\0';
        assert_string_equal(fixture->report, want);
        assert_int_equal(fixture->kind, ERROR_USAGE);
    }
    assert_int_equal(fetch_count_requests(fixture, "GET "), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
#define LARGE_TEST(name) cmocka_unit_test_setup_teardown(name, begin_large, end)
    static const struct CMUnitTest tests[] = {
        TEST(a_hub_source_is_listed_locked_and_fetched),
        TEST(what_is_locked_and_there_costs_no_request),
        TEST(a_missing_file_alone_is_fetched_again),
        TEST(changed_patterns_list_the_same_commit),
        TEST(another_revision_is_resolved_and_other_sources_stay_locked),
        TEST(frozen_and_offline_builds_need_a_fitting_lock),
        TEST(an_offline_build_names_the_file_it_misses),
        TEST(damage_is_fetched_once_more_and_then_refused),
        TEST(damage_that_does_not_last_is_repaired),
        TEST(hostile_listings_are_refused_before_anything_is_written),
        TEST(a_source_without_files_is_a_mistake),
        TEST(a_repository_that_is_not_there_is_named),
        TEST(a_stopped_download_leaves_nothing_under_its_name),
        LARGE_TEST(a_large_file_comes_in_ranges),
        LARGE_TEST(one_connection_asks_the_hub_once),
        LARGE_TEST(finished_ranges_are_taken_up),
        LARGE_TEST(what_is_damaged_in_a_partial_file_is_fetched_again),
        LARGE_TEST(a_server_without_ranges_serves_the_whole),
        LARGE_TEST(a_file_that_changes_between_ranges_is_begun_afresh),
        TEST(content_in_the_hub_clients_cache_is_copied),
        TEST(damage_in_the_hub_clients_cache_is_noticed),
        TEST(two_files_of_one_content_are_fetched_once),
        TEST(the_hub_clients_notes_lie_beside_the_files),
        TEST(addresses_are_fetched_and_verified),
        LARGE_TEST(finished_ranges_of_an_address_are_taken_up),
        LARGE_TEST(an_address_whose_file_changes_between_two_runs_is_streamed),
        LARGE_TEST(an_address_that_is_not_there_for_a_while_loses_nothing),
        LARGE_TEST(an_address_that_lies_about_its_size_is_streamed),
        TEST(a_small_address_that_lies_about_its_size_is_streamed),
        TEST(an_address_that_forgets_its_size_is_no_other_file),
        LARGE_TEST(an_address_that_forgets_ranges_is_fetched_whole_once),
        TEST(an_empty_address_is_an_empty_file),
        TEST(an_address_of_content_that_another_file_has_is_not_asked),
        LARGE_TEST(an_address_without_ranges_is_fetched_at_once),
        TEST(an_address_with_other_content_is_refused),
        TEST(nothing_of_a_longer_first_answer_remains),
        TEST(an_address_that_is_not_there_is_named),
        TEST(a_wrong_declaration_is_refused_with_its_place),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
