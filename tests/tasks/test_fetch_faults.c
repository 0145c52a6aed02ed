/* test_fetch_faults.c - the matrix: what a hub or its storage host may do wrong, at each point of a
 * transfer. Every row must end in the right bytes or in its own clear error; never in a wrong file,
 * a hang, or a token at a host that is not the hub. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/fetch_fixture.h"
#include "tests/support/tree.h"

enum { MODEL_BYTES = 5 * 1024 * 1024 + 5, RANGE_BYTES = 4 * 1024 * 1024 };
#define TOKEN "hf_secret"

/* Stands before the program's own, which waits a hundred times as long for larger ranges. */
const struct http_policy HTTP_POLICY_DEFAULT = {.retry_count_max = 5,
    .wait_ms_first = 10,
    .wait_ms_cap = 300,
    .wait_ms_refused = 10 * 60 * 1000,
    .header_ms_max = 150,
    .body_ms_max = 150,
    .range_bytes = RANGE_BYTES};

static int begin(void **state)
{
    struct fetch_fixture *fixture =
        fetch_fixture_begin(&(struct hub_server_options){.token = TOKEN}, MODEL_BYTES);
    fixture->options.connections = 1;
    setenv("HF_TOKEN", TOKEN, 1);
    fetch_write_manifest(
        fixture, "{\"hub\": \"test/model\", \"include\": [\"config.json\", \"*.safetensors\"]}");
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    unsetenv("HF_TOKEN");
    fetch_fixture_end(*state);
    return 0;
}

/* No request of the storage host holds the token, nor does anything that was said or written. */
static void assert_token_stayed(struct fetch_fixture *fixture, const char *row)
{
    char *log = hub_server_log(fixture->hub->server);
    for (const char *at = log; (at = strstr(at, "storage GET ")) != NULL; at++) {
        const char *stop = strstr(at, "\r\n\r\n"), *token = strstr(at, TOKEN);
        if (token != NULL && token < stop)
            fail_msg("%s: the token went to the storage host", row);
    }
    free(log);
    if (strstr(fixture->report, TOKEN) != NULL || strstr(fixture->notes, TOKEN) != NULL ||
        strstr(fixture->report, "SECRET") != NULL || strstr(fixture->notes, "SECRET") != NULL)
        fail_msg("%s: a secret was said: %s", row, fixture->report);
    if (tree_has("psybuild.lock") &&
        strstr(tree_read(&fixture->arena, "psybuild.lock").bytes, TOKEN) != NULL)
        fail_msg("%s: the token is in the lock", row);
}

/* Either the whole file or none. */
static void assert_no_wrong_file(struct fetch_fixture *fixture, const char *row)
{
    if (tree_has("m/model.safetensors") && !fetch_is_model(fixture, "m/model.safetensors"))
        fail_msg("%s: a wrong file got its name", row);
    if (tree_has("m/config.json") &&
        strcmp(tree_read(&fixture->arena, "m/config.json").bytes, "{\"a\": 1}\n") != 0)
        fail_msg("%s: a wrong config.json got its name", row);
}

#define ENTRY(path, size)                                                                          \
    "[{\"type\":\"file\",\"path\":\"" path "\",\"size\":" size                                     \
    ",\"oid\":\"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\"}]"

struct row {
    const char *name;
    enum hub_fault_kind kind;
    unsigned count; /* of requests, from the point on; 0: all */
    uint64_t at;
    unsigned status;
    const char *text;
    const char *want; /* in the report; NULL: it ends well */
};

/* One row at one point: the fault meets the requests of `target` after `skip` of them. */
static void run_row(struct fetch_fixture *fixture, const struct row *row, const char *target,
    unsigned skip, const char *point)
{
    char name[128];
    snprintf(name, sizeof name, "%s, %s", row->name, point);
    hub_server_clear_faults(fixture->hub->server);
    hub_server_clear_log(fixture->hub->server);
    static const char *const left[] = {"m", ".psybuild", "psybuild.lock"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        if (tree_has(left[i]))
            tree_remove(left[i]);
    hub_server_add_fault_after(fixture->hub->server, skip,
        &(struct hub_fault){.kind = row->kind,
            .target = target,
            .count = row->count,
            .at = row->at,
            .status = row->status,
            .text = row->text});
    bool is_good = fetch_build(fixture);
    assert_no_wrong_file(fixture, name);
    assert_token_stayed(fixture, name);
    if (row->want == NULL && !is_good)
        fail_msg("%s: %s", name, fixture->report);
    if (row->want != NULL && is_good)
        fail_msg("%s: it went well", name);
    const char *report = fetch_report(fixture);
    if (row->want != NULL && strstr(report, row->want) == NULL)
        fail_msg("%s: said %s", name, report);
    if (is_good && !fetch_is_model(fixture, "m/model.safetensors"))
        fail_msg("%s: there is no model", name);
    hub_server_clear_faults(fixture->hub->server);
    if (is_good)
        return;
    fetch_must_build(fixture); /* whatever it was, it is not in the next run's way */
    if (!fetch_is_model(fixture, "m/model.safetensors"))
        fail_msg("%s: the next run did not make the model", name);
}

/* What the storage host does wrong, to the first range, to the second, and where in their bodies.
 */
static void faults_of_the_storage_host(void **state)
{
    static const struct row rows[] = {
        {"closed at the start", HUB_FAULT_TRUNCATE, 1, 0, 0, NULL, NULL},
        {"closed in the middle", HUB_FAULT_TRUNCATE, 1, 500000, 0, NULL, NULL},
        {"closed before the end", HUB_FAULT_TRUNCATE, 1, 1024 * 1024 + 4, 0, NULL, NULL},
        {"reset at the start", HUB_FAULT_RESET, 1, 0, 0, NULL, NULL},
        {"reset in the middle", HUB_FAULT_RESET, 1, 500000, 0, NULL, NULL},
        {"reset before the end", HUB_FAULT_RESET, 1, 1024 * 1024 + 4, 0, NULL, NULL},
        {"expired", HUB_FAULT_STATUS, 1, 0, 403, "", NULL},
        {"429 with a wait", HUB_FAULT_STATUS, 1, 0, 429, "Retry-After: 0\r\n", NULL},
        {"500", HUB_FAULT_STATUS, 1, 0, 500, "", NULL},
        {"503", HUB_FAULT_STATUS, 1, 0, 503, "", NULL},
        {"503 for good", HUB_FAULT_STATUS, 0, 0, 503, "",
            "the server answered 503 (Service Unavailable) (tried"},
        {"404", HUB_FAULT_STATUS, 0, 0, 404, "", "/storage/"},
        {"416", HUB_FAULT_STATUS, 0, 0, 416, "", "416 (Range Not Satisfiable)"},
        {"refused for good", HUB_FAULT_STATUS, 0, 0, 403, "",
            "refused by the storage host STORAGE (403): injected"},
        {"a wait of an hour", HUB_FAULT_STATUS, 0, 0, 429, "Retry-After: 3600\r\n",
            "the server asks for a wait of 3601 s, longer than the 600 s psybuild waits"},
        {"a range ignored", HUB_FAULT_RANGE_IGNORED, 0, 0, 0, NULL, NULL},
        {"a range ignored once", HUB_FAULT_RANGE_IGNORED, 1, 0, 0, NULL, NULL},
        {"gzip", HUB_FAULT_ENCODED, 0, 0, 0, NULL,
            "the file was sent encoded, though identity was asked for"},
        {"a web page", HUB_FAULT_HTML, 0, 0, 0, NULL,
            "the file must have 5242885 bytes, the server's has 26"},
        {"not HTTP", HUB_FAULT_GARBAGE, 0, 0, 0, NULL, "the answer is not HTTP"},
        {"a long header", HUB_FAULT_HEADER_LONG, 0, 0, 0, NULL,
            "the header of the answer is longer than 256 KiB"},
        {"a redirect to itself", HUB_FAULT_LOOP, 0, 0, 0, NULL, "more than 20 redirects"},
        {"a redirect to a file", HUB_FAULT_REDIRECT, 0, 0, 0, "file:///etc/passwd",
            "a redirect to what is not an http or https address"},
        {"another file's size", HUB_FAULT_HEADER, 0, 0, 0, "Content-Range: bytes 0-9/10\r\n",
            "the file must have 5242885 bytes, the server's has 10"},
        {"another range", HUB_FAULT_HEADER, 0, 0, 0, "Content-Range: bytes 5-9/5242885\r\n",
            "were asked for, 5 to 10 were sent"},
        {"another ETag later", HUB_FAULT_HEADER, 1, 0, 0, "ETag: \"other\"\r\n", NULL},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run_row(fixture, &rows[i], "/storage/", 0, "first range");
        run_row(fixture, &rows[i], "/storage/", 1, "second range");
    }
}

/* The bytes of a range, one of them another: once, and always. */
static void flipped_bytes_are_found_wherever_they_lie(void **state)
{
    static const uint64_t places[] = {0, RANGE_BYTES - 1, RANGE_BYTES, MODEL_BYTES - 1, 3000000};
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        /* The first plan makes two requests; the fault that lasts meets both plans. */
        struct row once = {"flipped once", HUB_FAULT_FLIP, 2, places[i], 0, NULL, NULL};
        struct row always = {
            "flipped", HUB_FAULT_FLIP, 0, places[i], 0, NULL, ", for the second time\n"};
        run_row(fixture, &once, "/storage/", 0, "all");
        run_row(fixture, &always, "/storage/", 0, "all");
    }
}

static void silence_of_the_storage_host(void **state)
{
    static const struct row rows[] = {
        {"a stall", HUB_FAULT_STALL, 1, 500000, 0, NULL, NULL},
        {"silence", HUB_FAULT_SILENCE, 1, 0, 0, NULL, NULL},
        {"a header without end", HUB_FAULT_DRIBBLE, 1, 0, 0, NULL, NULL},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        run_row(fixture, &rows[i], "/storage/", 0, "first range");
        run_row(fixture, &rows[i], "/storage/", 1, "second range");
    }
}

/* What the hub does wrong when it is asked for a file. */
static void faults_of_the_hub(void **state)
{
    static const struct row rows[] = {
        {"closed", HUB_FAULT_TRUNCATE, 1, 0, 0, NULL, NULL},
        {"a web page", HUB_FAULT_HTML, 0, 0, 0, NULL,
            "not an answer of a hub: it names no commit (X-Repo-Commit)"},
        {"401", HUB_FAULT_STATUS, 0, 0, 401, "X-Error-Message: Invalid credentials\r\n",
            "does not accept the token from HF_TOKEN"},
        {"gated", HUB_FAULT_STATUS, 0, 0, 403, "X-Error-Code: GatedRepo\r\n",
            "access must be granted first: ask for it at HOME/test/model with this token's "
            "account"},
        {"a missing file", HUB_FAULT_STATUS, 0, 0, 404, "X-Error-Code: EntryNotFound\r\n",
            "at commit COMMIT"},
        {"a lost repository", HUB_FAULT_STATUS, 0, 0, 404, "X-Error-Code: RepoNotFound\r\n",
            "no such model at HOME, or no access to it"},
        {"a redirect loop", HUB_FAULT_LOOP, 0, 0, 0, NULL, "more than 20 redirects"},
        {"a redirect to a file", HUB_FAULT_REDIRECT, 0, 0, 0, "file:///etc/passwd",
            "a redirect to what is not an http or https address"},
        {"a redirect elsewhere", HUB_FAULT_REDIRECT, 0, 0, 0, "http://127.0.0.1:1/x",
            "http://127.0.0.1:1/x: cannot connect (tried 6 times)"},
        {"another size", HUB_FAULT_HEADER, 0, 0, 0, "X-Linked-Size: 77\r\n",
            "the hub announces 77"},
        {"another hash", HUB_FAULT_HEADER, 0, 0, 0,
            "X-Linked-ETag: "
            "\"0000000000000000000000000000000000000000000000000000000000000000\"\r\n",
            "the hub announces 0000"},
        {"another commit", HUB_FAULT_HEADER, 0, 0, 0,
            "X-Repo-Commit: 0123456789012345678901234567890123456789\r\n",
            "the hub answers for 0123456789012345678901234567890123456789"},
        {"gzip", HUB_FAULT_ENCODED, 1, 0, 0, NULL, NULL}, /* of a redirect: nobody reads it */
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        run_row(fixture, &rows[i], "/resolve/", i % 2, "a file");
}

/* What it does wrong when it is asked what there is: nothing may be written then. */
static void faults_of_the_listing(void **state)
{
    static const struct row rows[] = {
        {"a web page", HUB_FAULT_HTML, 0, 0, 0, NULL, "/tree/"},
        {"a next page elsewhere", HUB_FAULT_NEXT, 0, 0, 0, "http://127.0.0.1:1/api/x",
            "127.0.0.1:1"},
        {"itself as next page", HUB_FAULT_LOOP, 0, 0, 0, NULL, "more than 20 redirects"},
        {"half a page", HUB_FAULT_BODY, 0, 0, 0, "[{\"type\":\"file\",", "/tree/"},
        {"no list", HUB_FAULT_BODY, 0, 0, 0, "{}", "/tree/"},
        {"a name with dots", HUB_FAULT_BODY, 0, 0, 0, ENTRY("../x.safetensors", "1"),
            "has a component \".\" or \"..\": refused"},
        {"an absolute name", HUB_FAULT_BODY, 0, 0, 0, ENTRY("/config.json", "1"),
            "no file of the repository matches"},
        {"an absolute shard", HUB_FAULT_BODY, 0, 0, 0, ENTRY("/x.safetensors", "1"), "is absolute"},
        {"a name with NUL", HUB_FAULT_BODY, 0, 0, 0, ENTRY("a\\u0000.safetensors", "1"),
            "\"path\" must not hold a NUL"},
        {"a negative size", HUB_FAULT_BODY, 0, 0, 0, ENTRY("config.json", "-1"), "\"size\""},
        {"a size past 2^53", HUB_FAULT_BODY, 0, 0, 0,
            "[{\"type\":\"file\",\"path\":\"config.json\",\"size\":9007199254740993,\"oid\":"
            "\"e69de2"
            "9bb2d1d6434b8b29ae775ad8c2e48c5391\"}]",
            "is said to have 9007199254740993 bytes: refused"},
    };
    struct fetch_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        run_row(fixture, &rows[i], "/tree/", 0, "the listing");
}

static void a_name_of_300_bytes_is_refused(void **state)
{
    struct fetch_fixture *fixture = *state;
    char text[512], name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    snprintf(text, sizeof text,
        "[{\"type\":\"file\",\"path\":\"%s.safetensors\",\"size\":1,\"oid\":"
        "\"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\"}]",
        name);
    struct row row = {
        "over-long", HUB_FAULT_BODY, 0, 0, 0, text, "has a component that is too long: refused"};
    run_row(fixture, &row, "/tree/", 0, "the listing");
}

/* A symbolic link where a file goes is replaced, what it points to is not written. */
static void a_link_in_the_way_is_replaced_not_followed(void **state)
{
    struct fetch_fixture *fixture = *state;
    tree_write("victim", "mine");
    tree_write("m/other", "");
    assert_int_equal(symlink("../victim", "m/config.json"), 0);
    fetch_must_build(fixture);
    assert_string_equal(tree_read(&fixture->arena, "victim").bytes, "mine");
    assert_string_equal(tree_read(&fixture->arena, "m/config.json").bytes, "{\"a\": 1}\n");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    static const struct CMUnitTest tests[] = {
        TEST(faults_of_the_storage_host),
        TEST(flipped_bytes_are_found_wherever_they_lie),
        TEST(silence_of_the_storage_host),
        TEST(faults_of_the_hub),
        TEST(faults_of_the_listing),
        TEST(a_name_of_300_bytes_is_refused),
        TEST(a_link_in_the_way_is_replaced_not_followed),
    };
    return cmocka_run_group_tests_name("fetch_faults", tests, NULL, NULL);
}
