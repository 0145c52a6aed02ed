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

#include "base/file.h"
#include "engine/build.h"
#include "tasks/lock.h"
#include "tasks/registry.h"
#include "tests/support/hub_fixture.h"

enum { REPORT_BYTES_MAX = 4096 };

#define MODEL_SHA256 "bfca515d9211328c468d17bc2973c9367ea1f848d4364998693606e951e6975a"
#define CONFIG_SHA256 "e8c628edc9968ef0c668f54e0ba2636b35503357eb1aca0ddc828aeace432f67"
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct fixture {
    struct hub_fixture *hub; /* its server serves the files of hub_fixture_begin */
    struct arena arena;
    char *before; /* the working directory */
    char directory[256];
    _Atomic bool cancel;
    bool cancels_at_tick;
    struct build_options options;
    /* of the last build */
    char report[REPORT_BYTES_MAX]; /* of the last error */
    char notes[REPORT_BYTES_MAX];
    uint32_t failures;
    struct build_stats stats;
    enum error_kind kind; /* when the build itself ended with an error */
};

/* ---- running ---- */

static void keep_text(char *out, const char *text)
{
    size_t used = strlen(out);
    snprintf(out + used, REPORT_BYTES_MAX - used, "%s", text);
}

static void on_event(void *context, const struct build_event *event)
{
    struct fixture *fixture = context;
    if (event->kind == EVENT_FAILED)
        keep_text(fixture->report, error_report(event->error));
    if (event->kind != EVENT_NOTE)
        return;
    keep_text(fixture->notes, event->text);
    keep_text(fixture->notes, "\n");
}

static void on_tick(void *context, const struct build_progress *progress)
{
    struct fixture *fixture = context;
    if (fixture->cancels_at_tick && progress->bytes_done > 0)
        fixture->cancel = true;
}

static struct error *run(struct fixture *fixture, struct build **build)
{
    TRY(build_open(&fixture->options, false, build));
    TRY(build_lock(*build));
    return build_run(*build, (const char *const[]){"m"}, 1, &fixture->failures);
}

/* Builds the source "m". True when all went well. */
static bool build_source(struct fixture *fixture)
{
    struct build *build = NULL;
    fixture->report[0] = fixture->notes[0] = '\0';
    fixture->failures = 0;
    fixture->cancel = false;
    struct error *error = run(fixture, &build);
    if (error != NULL) {
        keep_text(fixture->report, error_report(error));
        fixture->kind = error_kind_of(error);
    }
    if (build != NULL)
        fixture->stats = build->stats;
    build_close(build);
    bool is_good = error == NULL && fixture->failures == 0;
    error_free(error);
    return is_good;
}

static void must_build(struct fixture *fixture)
{
    if (!build_source(fixture))
        fail_msg("%s", fixture->report);
}

/* In what is wanted HOME, STORAGE and COMMIT stand for the server's. */
static void must_fail(struct fixture *fixture, const char *want)
{
    static const char *const names[] = {"HOME", "STORAGE", "COMMIT"};
    const char *values[] = {hub_server_url(fixture->hub->server),
        hub_server_storage_url(fixture->hub->server), hub_server_commit(fixture->hub->server)};
    if (build_source(fixture))
        fail_msg("it went well, instead of\n%s", want);
    char *text = arena_format(&fixture->arena, "%s", fixture->report);
    for (size_t i = 0; i < 3; i++)
        for (char *found; (found = strstr(text, values[i])) != NULL;)
            text = arena_format(&fixture->arena, "%.*s%s%s", (int)(found - text), text, names[i],
                found + strlen(values[i]));
    if (strcmp(text, want) != 0)
        fail_msg("got\n%swant\n%s", text, want);
}

static size_t count_requests(const struct fixture *fixture, const char *what)
{
    return hub_server_log_count(fixture->hub->server, what);
}

/* ---- files ---- */

static void write_manifest(struct fixture *fixture, const char *source)
{
    char *text =
        arena_format(&fixture->arena, "{\"psybuild\": 1, \"sources\": {\"m\": %s}}\n", source);
    assert_null(file_replace_whole("psybuild.json", text_of(text)));
}

static const char *read_file(struct fixture *fixture, const char *path)
{
    struct text text;
    struct error *error = file_read_whole(&fixture->arena, path, 1 << 20, &text);
    if (error != NULL)
        fail_msg("%s", error_report(error));
    return text.bytes;
}

static bool is_there(const char *path)
{
    enum file_kind kind;
    struct file_stamp stamp;
    assert_null(file_stat(path, &kind, &stamp));
    return kind != FILE_ABSENT;
}

static bool is_model(struct fixture *fixture, const char *path)
{
    struct text text;
    assert_null(file_read_whole(&fixture->arena, path, FIXTURE_LARGE_BYTES, &text));
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] != hub_fixture_byte(i))
            return false;
    return text.length == FIXTURE_LARGE_BYTES;
}

static size_t count_entries(struct fixture *fixture, const char *path)
{
    struct file_entry *entries;
    size_t count = 0;
    if (is_there(path))
        assert_null(file_list_directory(&fixture->arena, path, &entries, &count));
    return count;
}

static void remove_tree(struct arena *arena, const char *path)
{
    struct file_entry *entries;
    size_t count;
    if (file_list_directory(arena, path, &entries, &count) != NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        char *entry = path_join(arena, path, entries[i].name);
        assert_non_null(entry);
        if (entries[i].kind == FILE_DIRECTORY)
            remove_tree(arena, entry);
        else
            assert_null(file_remove(entry));
    }
    assert_null(file_remove_directory(path));
}

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    const char *top = getenv("TMPDIR");
    assert_non_null(fixture);
    fixture->hub = hub_fixture_begin(NULL);
    assert_null(file_current_directory(&fixture->arena, &fixture->before));
    snprintf(fixture->directory, sizeof fixture->directory, "%s/psybuild-fetch-XXXXXX",
        top != NULL ? top : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    assert_null(file_change_directory(fixture->directory));
    setenv("HF_ENDPOINT", hub_server_url(fixture->hub->server), 1);
    fixture->options = (struct build_options){.manifest = "psybuild.json",
        .data_directory = fixture->directory,
        .registry = &registry,
        .threads = 1,
        .connections = 2,
        .memory_bytes = 32 << 20,
        .cancel = &fixture->cancel,
        .on_event = on_event,
        .on_tick = on_tick,
        .context = fixture};
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    assert_null(file_change_directory(fixture->before));
    remove_tree(&fixture->arena, fixture->directory);
    hub_fixture_end(fixture->hub);
    arena_end(&fixture->arena);
    free(fixture);
    return 0;
}

/* ---- hub sources ---- */

static void a_hub_source_is_listed_locked_and_fetched(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    write_manifest(fixture, "{\"hub\": \"test/model\"}");
    must_build(fixture);
    assert_string_equal(fixture->notes, "listing test/model\n");
    assert_string_equal(read_file(fixture, "m/config.json"), "{\"a\": 1}\n");
    assert_string_equal(read_file(fixture, "m/" FIXTURE_ODD_NAME), "hi\n");
    assert_string_equal(read_file(fixture, "m/empty"), "");
    assert_true(is_model(fixture, "m/model.safetensors"));
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
    assert_int_equal(count_requests(fixture, "/resolve/"), 3); /* nothing for the empty file */
}

static void what_is_locked_and_there_costs_no_request(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\"}");
    must_build(fixture);
    const char *lock = read_file(fixture, "psybuild.lock");
    hub_server_clear_log(fixture->hub->server);
    fixture->options.is_frozen = fixture->options.is_offline = true;
    must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    remove_tree(&fixture->arena, ".psybuild"); /* then the files are hashed, and adopted */
    must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    assert_int_equal(fixture->stats.nodes_fresh, 4);
    assert_int_equal(count_requests(fixture, "GET "), 0);
    assert_string_equal(fixture->notes, "");
    assert_string_equal(read_file(fixture, "psybuild.lock"), lock);
}

static void a_missing_file_alone_is_fetched_again(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\"}");
    must_build(fixture);
    hub_server_clear_log(fixture->hub->server);
    assert_null(file_remove("m/config.json"));
    must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 1);
    assert_string_equal(read_file(fixture, "m/config.json"), "{\"a\": 1}\n");
    assert_int_equal(count_requests(fixture, "home GET "), 2); /* the file, and its redirect */
}

static void changed_patterns_list_the_same_commit(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.json\"]}");
    must_build(fixture);
    assert_false(is_there("m/empty"));
    hub_server_clear_log(fixture->hub->server);
    write_manifest(fixture,
        "{\"hub\": \"test/model\", \"include\": [\"*.json\", \"e*\", \"sub/\"], \"exclude\": "
        "[\"*.txt\"]}");
    must_build(fixture);
    assert_int_equal(count_requests(fixture, "/revision/"), 0);
    assert_int_equal(count_requests(fixture, "/tree/"), 1);
    assert_true(is_there("m/empty"));
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    assert_int_equal(lock_find(&lock, "m")->files.count, 2);
    assert_int_equal(lock_find(&lock, "m")->filter.include_count, 3);
}

static void another_revision_is_resolved_and_other_sources_stay_locked(void **state)
{
    struct fixture *fixture = *state;
    struct lock lock;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"empty\"]}");
    must_build(fixture);
    assert_null(lock_read(&fixture->arena, "psybuild.lock", &lock));
    struct lock_source other = *lock_find(&lock, "m");
    other.directory = "gone";
    assert_null(lock_put(&fixture->arena, &lock, &other));
    assert_null(lock_write(&fixture->arena, &lock, "psybuild.lock"));
    const char *commit = hub_server_commit(fixture->hub->server);
    write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"hub\": \"test/model\", \"revision\": \"%s\", \"include\": [\"empty\"]}", commit));
    must_build(fixture);
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
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture->options.is_frozen = fixture->options.is_offline = false;
        write_manifest(fixture, "{\"hub\": \"test/model\"}");
        if (rows[i].is_locked)
            must_build(fixture);
        hub_server_clear_log(fixture->hub->server);
        fixture->options.is_frozen = rows[i].is_frozen;
        fixture->options.is_offline = rows[i].is_offline;
        write_manifest(fixture, rows[i].source);
        must_fail(fixture, arena_format(&fixture->arena,
                               "psybuild.json:1:42: source \"m\" %s\n"
                               "    {\"psybuild\": 1, \"sources\": {\"m\": %s}}\n%45s^\n"
                               "    while listing source m\n",
                               rows[i].want, rows[i].source, ""));
        assert_int_equal(count_requests(fixture, "GET "), 0);
    }
}

static void an_offline_build_names_the_file_it_misses(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"config.json\"]}");
    must_build(fixture);
    assert_null(file_remove("m/config.json"));
    hub_server_clear_log(fixture->hub->server);
    for (int by_variable = 0; by_variable < 2; by_variable++) {
        fixture->options.is_offline = !by_variable;
        if (by_variable)
            setenv("HF_HUB_OFFLINE", "1", 1);
        must_fail(fixture, "test/model: offline, so psybuild cannot download its files\n"
                           "    while fetching config.json of test/model at commit COMMIT\n"
                           "    while making m/config.json\n");
    }
    unsetenv("HF_HUB_OFFLINE");
    assert_int_equal(count_requests(fixture, "GET "), 0);
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
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *path = arena_format(&fixture->arena, "m/%s", rows[i].name);
        write_manifest(
            fixture, arena_format(&fixture->arena,
                         "{\"hub\": \"test/model\", \"include\": [\"%s\"]}", rows[i].name));
        hub_server_clear_log(fixture->hub->server);
        hub_server_add_fault(fixture->hub->server,
            &(struct hub_fault){
                .kind = HUB_FAULT_FLIP, .target = rows[i].target, .at = rows[i].at});
        must_fail(fixture, rows[i].want);
        assert_int_equal(count_requests(fixture, rows[i].attempt), 2);
        assert_false(is_there(path));
        assert_int_equal(count_entries(fixture, ".psybuild/partial"), 0);
        hub_server_clear_faults(fixture->hub->server);
        must_build(fixture);
    }
}

static void damage_that_does_not_last_is_repaired(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_FLIP, .target = "/storage/", .count = 1, .at = 2000000});
    must_build(fixture);
    assert_true(is_model(fixture, "m/model.safetensors"));
    assert_int_equal(count_requests(fixture, "storage GET "), 2);
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
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_manifest(
            fixture, arena_format(&fixture->arena,
                         "{\"hub\": \"test/model\", \"include\": [\"%s\"]}", rows[i].include));
        hub_server_add_entry(fixture->hub->server, rows[i].entry);
        must_fail(fixture, arena_format(&fixture->arena,
                               "%s\n    while listing test/model at revision main\n"
                               "    while listing source m\n",
                               rows[i].want));
        assert_false(is_there("psybuild.lock"));
        assert_false(is_there("m"));
    }
}

static void a_source_without_files_is_a_mistake(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.gguf\"]}");
    must_fail(fixture,
        "no file of the repository matches \"include\" and \"exclude\"\n"
        "    while listing test/model at revision main\n    while listing source m\n");
    assert_false(is_there("psybuild.lock"));
}

static void a_repository_that_is_not_there_is_named(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/nothing\", \"type\": \"dataset\"}");
    must_fail(fixture,
        "datasets/test/nothing: no such dataset at HOME, or no access to it without a token "
        "(HF_TOKEN)\n    while the hub handled request request-1\n"
        "    while listing test/nothing at revision main\n    while listing source m\n");
}

static void a_stopped_download_leaves_nothing_under_its_name(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture, "{\"hub\": \"test/model\", \"include\": [\"*.safetensors\"]}");
    hub_server_add_fault(fixture->hub->server,
        &(struct hub_fault){.kind = HUB_FAULT_STALL, .target = "/storage/", .at = 1000000});
    fixture->cancels_at_tick = true;
    assert_false(build_source(fixture));
    assert_int_equal(fixture->kind, ERROR_INTERRUPTED);
    assert_false(is_there("m/model.safetensors"));
}

/* ---- sources of addresses ---- */

static void addresses_are_fetched_and_verified(void **state)
{
    struct fixture *fixture = *state;
    char *model = arena_format(&fixture->arena, "%s/model.safetensors", fixture->hub->directory);
    write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"sub/config.json\": {\"url\": \"%s/test/model/resolve/main/config.json"
            "\", \"hash\": \"sha256:" CONFIG_SHA256 "\"}, \"empty\": {\"url\": \"file://%s/empty\","
            " \"hash\": \"sha256:" EMPTY_SHA256 "\"}, \"model.safetensors\": {\"url\": "
            "\"file://%s\", \"hash\": \"sha256:" MODEL_SHA256 "\"}}}",
            hub_server_url(fixture->hub->server), fixture->hub->directory, model));
    must_build(fixture);
    assert_string_equal(read_file(fixture, "m/sub/config.json"), "{\"a\": 1}\n");
    assert_string_equal(read_file(fixture, "m/empty"), "");
    assert_true(is_model(fixture, "m/model.safetensors"));
    assert_false(is_there("psybuild.lock"));
    hub_server_clear_log(fixture->hub->server);
    must_build(fixture);
    assert_int_equal(fixture->stats.nodes_made, 0);
    assert_int_equal(count_requests(fixture, "GET "), 0);
}

static void an_address_with_other_content_is_refused(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"a.json\": {\"url\": \"%s/test/model/resolve/main/config.json?key=secret"
            "\", \"hash\": \"sha256:" EMPTY_SHA256 "\"}}}",
            hub_server_url(fixture->hub->server)));
    must_fail(fixture,
        "m/a.json: expected sha256:" EMPTY_SHA256 ", found sha256:" CONFIG_SHA256 "\n"
        "    while fetching HOME/test/model/resolve/main/config.json, for the second time\n"
        "    while making m/a.json\n");
    assert_false(is_there("m/a.json"));
    fixture->options.is_offline = true;
    must_fail(fixture, "m/a.json: offline, so psybuild cannot download it\n"
                       "    while fetching HOME/test/model/resolve/main/config.json\n"
                       "    while making m/a.json\n");
}

static void nothing_of_a_longer_first_answer_remains(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"a.json\": {\"url\": \"%s/test/model/resolve/main/config.json\", "
            "\"hash\": \"sha256:" CONFIG_SHA256 "\"}}}",
            hub_server_url(fixture->hub->server)));
    hub_server_add_fault(fixture->hub->server, &(struct hub_fault){.kind = HUB_FAULT_BODY,
                                                   .target = "config.json",
                                                   .count = 1,
                                                   .text = "a text that is longer than the file"});
    must_build(fixture);
    assert_string_equal(read_file(fixture, "m/a.json"), "{\"a\": 1}\n");
}

static void an_address_that_is_not_there_is_named(void **state)
{
    struct fixture *fixture = *state;
    write_manifest(fixture,
        arena_format(&fixture->arena,
            "{\"files\": {\"a\": {\"url\": \"%s/test/model/resolve/main/none?key=secret\", "
            "\"hash\": \"sha256:" EMPTY_SHA256 "\"}}}",
            hub_server_url(fixture->hub->server)));
    must_fail(fixture,
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
        {"{\"hub\": \"o/n\", \"keep\": \"sometimes\"}",
            "1:57: \"keep\" must be one of \"always\", \"until-used\", not \"sometimes\""},
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
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *want = arena_format(&fixture->arena, "psybuild.json:%s", rows[i].want);
        write_manifest(fixture, rows[i].source);
        assert_false(build_source(fixture));
        fixture->report[strcspn(fixture->report, "\n")] = '\0';
        assert_string_equal(fixture->report, want);
        assert_int_equal(fixture->kind, ERROR_USAGE);
    }
    assert_int_equal(count_requests(fixture, "GET "), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
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
        TEST(addresses_are_fetched_and_verified),
        TEST(an_address_with_other_content_is_refused),
        TEST(nothing_of_a_longer_first_answer_remains),
        TEST(an_address_that_is_not_there_is_named),
        TEST(a_wrong_declaration_is_refused_with_its_place),
    };
    return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
