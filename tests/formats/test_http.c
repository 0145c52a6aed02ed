/* test_http.c - one client against the test hub: what is delivered, tried again, refused and said.
 */
#include "base/stamp.h"
#include "tasks/formats/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static const char large[] = "/test/model/resolve/main/model.safetensors";
static const char small[] = "/test/model/resolve/main/config.json";

static struct http_request request_for(struct hub_fixture *fixture, const char *target)
{
    fixture->body_count = 0;
    fixture->wait_count = 0;
    return (struct http_request){
        .url = arena_format(&fixture->arena, "%s%s", hub_server_url(fixture->server), target),
        .size_total = HTTP_SIZE_UNKNOWN,
        .size_max = FIXTURE_LARGE_BYTES,
        .on_body = hub_fixture_take,
        .context = fixture};
}

static struct http_request range_for(
    struct hub_fixture *fixture, const char *target, uint64_t first, uint64_t last)
{
    struct http_request request = request_for(fixture, target);
    request.is_ranged = true;
    request.begin = first;
    request.end = last;
    return request;
}

static struct error *get(
    struct hub_fixture *fixture, const struct http_request *request, struct http_reply *reply)
{
    return http_get(fixture->client, &fixture->arena, request, reply);
}

/* A client with short time-outs, for the tests in which the server says nothing. */
static void be_impatient(struct hub_fixture *fixture)
{
    http_client_close(fixture->client);
    fixture->policy.header_ms_max = 150;
    fixture->policy.body_ms_max = 150;
    fixture->policy.retry_count_max = 1;
    assert_null(http_client_open(&fixture->policy, &fixture->client));
    fixture->hub.client = fixture->client;
}

static void a_whole_file_arrives_through_redirects(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    hub_fixture_assert(fixture, "small", get(fixture, &request, &reply), NULL);
    assert_int_equal(fixture->body_count, 9);
    assert_memory_equal(fixture->body, "{\"a\": 1}\n", 9);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.size_total, 9);
    assert_true(reply.is_home);
    assert_string_equal(reply.origin, hub_server_url(fixture->server));
    request = request_for(fixture, large);
    hub_fixture_assert(fixture, "large", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 0, FIXTURE_LARGE_BYTES));
    assert_false(reply.is_home);
    assert_string_equal(reply.origin, hub_server_storage_url(fixture->server));
    assert_null(strchr(reply.url, '?'));
}

static void ranges_arrive_exactly(void **state)
{
    static const struct {
        uint64_t begin, end;
    } rows[] = {{0, 1}, {0, 100}, {1, 2}, {1000000, 2000001},
        {FIXTURE_LARGE_BYTES - 1, FIXTURE_LARGE_BYTES}, {0, FIXTURE_LARGE_BYTES},
        {77, HTTP_SIZE_UNKNOWN}};
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = range_for(fixture, large, rows[i].begin, rows[i].end);
        struct http_reply reply;
        uint64_t stop = rows[i].end < FIXTURE_LARGE_BYTES ? rows[i].end : FIXTURE_LARGE_BYTES;
        request.size_total = FIXTURE_LARGE_BYTES;
        hub_fixture_assert(fixture, "range", get(fixture, &request, &reply), NULL);
        assert_true(hub_fixture_body_is_range(fixture, rows[i].begin, stop));
        assert_int_equal(reply.size_total, FIXTURE_LARGE_BYTES);
    }
    assert_int_equal(hub_server_log_count(fixture->server, "Range: bytes=1000000-2000000\r\n"), 2);
    assert_int_equal(hub_server_log_count(fixture->server, "Range: bytes=77-\r\n"), 2);
}

static void an_empty_file_has_an_empty_range(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request =
        range_for(fixture, "/test/model/resolve/main/empty", 0, HTTP_SIZE_UNKNOWN);
    struct http_reply reply;
    hub_fixture_assert(fixture, "empty", get(fixture, &request, &reply), NULL);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.size_total, 0);
    assert_int_equal(fixture->body_count, 0);
}

/* Each happens once or more, and then all is well. */
static void transient_faults_are_outlived(void **state)
{
    static const struct {
        const char *name;
        struct hub_fault fault;
        size_t wait_count;
        const char *why; /* of the first wait */
    } rows[] = {
        {"truncated", {HUB_FAULT_TRUNCATE, "/storage/", 2, 1000, 0, NULL}, 2,
            "HOME: the connection broke"},
        {"reset", {HUB_FAULT_RESET, "/storage/", 1, 500000, 0, NULL}, 1,
            "HOME: the connection broke"},
        {"reset at once", {HUB_FAULT_RESET, "/storage/", 1, 0, 0, NULL}, 1,
            "HOME: the connection broke"},
        {"500", {HUB_FAULT_STATUS, "/resolve/", 1, 0, 500, ""}, 1,
            "HOME: the server answered 500 (Internal Server Error)"},
        {"503 of the storage", {HUB_FAULT_STATUS, "/storage/", 5, 0, 503, ""}, 5,
            "HOME: the server answered 503 (Service Unavailable)"},
        {"expired address", {HUB_FAULT_STATUS, "/storage/", 2, 0, 403, ""}, 0, NULL},
        {"range ignored", {HUB_FAULT_RANGE_IGNORED, "/storage/", 1, 0, 0, NULL}, 0, NULL},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = range_for(fixture, large, 100, 2000000);
        struct http_reply reply;
        request.size_total = FIXTURE_LARGE_BYTES;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        hub_fixture_assert(fixture, rows[i].name, get(fixture, &request, &reply), NULL);
        if (!hub_fixture_body_is_range(fixture, 100, 2000000))
            fail_msg("%s: wrong bytes", rows[i].name);
        if (fixture->wait_count != rows[i].wait_count)
            fail_msg("%s: %zu waits", rows[i].name, fixture->wait_count);
        const char *words = rows[i].why == NULL ? NULL : strstr(rows[i].why, ": ");
        if (words != NULL && strstr(fixture->why[0], words) == NULL)
            fail_msg("%s: %s", rows[i].name, fixture->why[0]);
        hub_server_clear_faults(fixture->server);
    }
}

static void every_connection_may_break_as_long_as_there_is_progress(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = range_for(fixture, large, 0, FIXTURE_LARGE_BYTES);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_TRUNCATE, .target = "/storage/", .at = 300000});
    hub_fixture_assert(fixture, "breaks", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 0, FIXTURE_LARGE_BYTES));
    assert_int_equal(hub_server_bytes_sent(fixture->server), FIXTURE_LARGE_BYTES);
    assert_int_equal(fixture->wait_count, 10);
    assert_int_equal(hub_server_log_count(fixture->server, "Range: bytes=300000-3145732\r\n"), 2);
    assert_int_equal(hub_server_log_count(fixture->server, "If-Range: \"storage-"), 10);
}

static void back_off_doubles(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_STATUS, .target = "/resolve/", .status = 502});
    assert_null(get(fixture, &request, &reply));
    assert_int_equal(reply.status, 502);
    assert_int_equal(reply.try_count, 6);
    hub_fixture_assert(fixture, "status", http_status_error(&reply),
        "HOME/test/model/resolve/main/config.json: the server answered 502 (Bad Gateway) "
        "(tried 6 times)");
    assert_int_equal(fixture->wait_count, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_in_range(fixture->wait_ms[i], 1000u << i, (1000u << i) * 5 / 4);
}

static void a_wait_the_server_asks_for_is_kept(void **state)
{
    static const struct {
        const char *headers;
        unsigned status;
        uint64_t wait_ms; /* 0: the back-off's */
    } rows[] = {
        {"Retry-After: 7\r\n", 429, 8000},
        {"Retry-After: 7\r\n", 503, 8000},
        {"Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n", 503, 61000}, /* Date says 08:49:37 */
        {"Retry-After: Sun, 06 Nov 1994 08:00:00 GMT\r\n", 503, 0},
        {"Retry-After: soon\r\n", 503, 0},
        {"RateLimit: \"api\";r=0;t=172\r\n", 429, 173000},
        {"RateLimit: \"api\";r=3;t=172, \"resolvers\";r=0;t=20\r\nRetry-After: 1\r\n", 429, 21000},
        {"RateLimit: \"api\";r=3;t=172\r\nRetry-After: 1\r\n", 429, 2000},
        {"RateLimit: \"api\";r=0;t=172\r\n", 503, 0},
        {"", 408, 0},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = request_for(fixture, small);
        struct http_reply reply;
        hub_server_add_fault(fixture->server, &(struct hub_fault){.kind = HUB_FAULT_STATUS,
                                                  .target = "/resolve/",
                                                  .count = 1,
                                                  .status = rows[i].status,
                                                  .text = rows[i].headers});
        hub_fixture_assert(fixture, rows[i].headers, get(fixture, &request, &reply), NULL);
        assert_int_equal(fixture->wait_count, 1);
        uint64_t wait_ms = rows[i].wait_ms > 0 ? rows[i].wait_ms : 1000;
        uint64_t wait_ms_max = rows[i].wait_ms > 0 ? rows[i].wait_ms : 1250;
        if (fixture->wait_ms[0] < wait_ms || fixture->wait_ms[0] > wait_ms_max)
            fail_msg("%s: %llu ms", rows[i].headers, (unsigned long long)fixture->wait_ms[0]);
    }
}

/* Each row's fault stays. */
static void lasting_faults_are_errors(void **state)
{
    static const char address[] = "HOME/test/model/resolve/main/config.json: ";
    static const struct {
        const char *name;
        struct hub_fault fault;
        const char *want; /* behind the address */
    } rows[] = {
        {"loop", {HUB_FAULT_LOOP, "/resolve/", 0, 0, 0, NULL}, "more than 20 redirects"},
        {"to a file", {HUB_FAULT_REDIRECT, "/resolve/", 0, 0, 0, "file:///etc/passwd"},
            "a redirect to what is not an http or https address"},
        {"to a user", {HUB_FAULT_REDIRECT, "/resolve/", 0, 0, 0, "http://u:p@127.0.0.1/"},
            "a redirect to what is not an http or https address"},
        {"nowhere", {HUB_FAULT_STATUS, "/resolve/", 0, 0, 302, ""},
            "a redirect without a Location"},
        {"long header", {HUB_FAULT_HEADER_LONG, "/resolve/", 0, 0, 0, NULL},
            "the header of the answer is longer than 256 KiB"},
        {"garbage", {HUB_FAULT_GARBAGE, "/resolve/", 0, 0, 0, NULL}, "the answer is not HTTP"},
        {"closed", {HUB_FAULT_REDIRECT, "/resolve/", 0, 0, 0, "http://127.0.0.1:9/x"}, NULL},
        {"wait", {HUB_FAULT_STATUS, "/resolve/", 0, 0, 429, "Retry-After: 3600\r\n"},
            "the server asks for a wait of 3601 s, longer than the 600 s psybuild waits"},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = request_for(fixture, small);
        struct http_reply reply;
        const char *want = rows[i].want == NULL
                               ? "http://127.0.0.1:9/x: cannot connect (tried 6 times)"
                               : arena_format(&fixture->arena, "%s%s", address, rows[i].want);
        hub_server_add_fault(fixture->server, &rows[i].fault);
        hub_fixture_assert(fixture, rows[i].name, get(fixture, &request, &reply), want);
        assert_int_equal(fixture->body_count, 0);
        hub_server_clear_faults(fixture->server);
    }
}

static void wrong_content_is_refused_before_a_byte_is_delivered(void **state)
{
    static const struct {
        const char *name;
        struct hub_fault fault;
        uint64_t size_total;
        const char *want;
    } rows[] = {
        {"another range", {HUB_FAULT_RANGE_WRONG, "-cache/", 0, 0, 0, NULL}, 9,
            "bytes 2 to 9 were asked for, 1 to 8 were sent"},
        {"another size", {HUB_FAULT_HEADER, "none", 0, 0, 0, ""}, 10,
            "the file must have 10 bytes, the server's has 9"},
        {"encoded", {HUB_FAULT_ENCODED, "-cache/", 0, 0, 0, NULL}, 9,
            "the file was sent encoded, though identity was asked for"},
        {"no range said", {HUB_FAULT_STATUS, "-cache/", 0, 0, 206, ""}, 9,
            "a part was sent without saying which (Content-Range)"},
        {"odd range", {HUB_FAULT_STATUS, "-cache/", 0, 0, 206, "Content-Range: bytes 9-2/9\r\n"}, 9,
            "a part was sent without saying which (Content-Range)"},
        {"another range of who knows how much",
            {HUB_FAULT_STATUS, "-cache/", 0, 0, 206, "Content-Range: bytes 2-7/*\r\n"}, 9,
            "bytes 2 to 9 were asked for, 2 to 8 were sent"},
        {"encoded twice",
            {HUB_FAULT_HEADER, "-cache/", 0, 0, 0,
                "Content-Encoding: identity\r\nContent-Encoding: gzip\r\n"},
            9, "the file was sent encoded, though identity was asked for"},
        {"past the end", {HUB_FAULT_STATUS, "-cache/", 0, 0, 416, "Content-Range: bytes */1\r\n"},
            9, "the file must have 9 bytes, the server's has 1"},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = range_for(fixture, small, 2, HTTP_SIZE_UNKNOWN);
        struct http_reply reply;
        request.size_total = rows[i].size_total;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        struct error *error = get(fixture, &request, &reply);
        assert_non_null(error);
        if (!text_ends_with(text_of(error_text(error)), rows[i].want))
            fail_msg("%s: %s", rows[i].name, error_text(error));
        error_free(error);
        assert_int_equal(fixture->body_count, 0);
        hub_server_clear_faults(fixture->server);
    }
}

/* The server sends the 21 bytes of {"error": "injected"}. */
static void a_part_of_a_file_of_unknown_size_is_taken(void **state)
{
    static const struct {
        uint64_t end, size_total, size_want;
    } rows[] = {{23, HTTP_SIZE_UNKNOWN, HTTP_SIZE_UNKNOWN}, {23, 100, 100},
        {HTTP_SIZE_UNKNOWN, 23, 23}, {HTTP_SIZE_UNKNOWN, HTTP_SIZE_UNKNOWN, HTTP_SIZE_UNKNOWN}};
    struct hub_fixture *fixture = *state;
    hub_server_add_fault(fixture->server, &(struct hub_fault){.kind = HUB_FAULT_STATUS,
                                              .target = "/resolve/",
                                              .status = 206,
                                              .text = "Content-Range: bytes 2-22/*\r\n"});
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = range_for(fixture, small, 2, rows[i].end);
        struct http_reply reply;
        request.size_total = rows[i].size_total;
        hub_fixture_assert(fixture, "part", get(fixture, &request, &reply), NULL);
        assert_int_equal(fixture->body_count, 21);
        assert_int_equal(reply.size_total, rows[i].size_want);
    }
}

static void the_first_location_counts(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_REDIRECT,
            .target = "/resolve/",
            .count = 1,
            .text = "\r\nLocation: config.json\r\nLocation: http://127.0.0.1:9/x"});
    hub_fixture_assert(fixture, "first", get(fixture, &request, &reply), NULL);
    assert_int_equal(fixture->body_count, 9);
}

/* A name that no resolver asks a network about. */
static void an_unknown_host_is_tried_again(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, "");
    struct http_reply reply;
    request.url = "http://no..such/x?Signature=SECRET";
    hub_fixture_assert(fixture, "host", get(fixture, &request, &reply),
        "http://no..such/x: the host is not known (tried 6 times)");
}

static void silence_is_noticed(void **state)
{
    static const struct {
        const char *name;
        struct hub_fault fault;
        const char *want;
    } rows[] = {
        {"silence", {HUB_FAULT_SILENCE, "/resolve/", 0, 0, 0, NULL},
            "HOME/test/model/resolve/main/model.safetensors: no answer came within 0.15 s "
            "(tried 2 times)"},
        {"dribble", {HUB_FAULT_DRIBBLE, "/resolve/", 0, 0, 0, NULL},
            "HOME/test/model/resolve/main/model.safetensors: no answer came within 0.15 s "
            "(tried 2 times)"},
    };
    struct hub_fixture *fixture = *state;
    be_impatient(fixture);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct http_request request = request_for(fixture, large);
        struct http_reply reply;
        hub_server_add_fault(fixture->server, &rows[i].fault);
        hub_fixture_assert(fixture, rows[i].name, get(fixture, &request, &reply), rows[i].want);
        hub_server_clear_faults(fixture->server);
    }
    struct http_request request = range_for(fixture, large, 0, FIXTURE_LARGE_BYTES);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_STALL, .target = "/storage/", .count = 1, .at = 1000});
    hub_fixture_assert(fixture, "stall", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 0, FIXTURE_LARGE_BYTES));
    assert_int_equal(fixture->wait_count, 1);
    assert_true(text_ends_with(text_of(fixture->why[0]), ": no byte arrived within 0.15 s"));
}

static void want_rate(struct hub_fixture *fixture, uint64_t bytes, uint64_t span_ms)
{
    http_client_close(fixture->client);
    fixture->policy.rate_bytes_min = bytes;
    fixture->policy.rate_span_ms = span_ms;
    assert_null(http_client_open(&fixture->policy, &fixture->client));
}

static void a_trickle_is_no_life(void **state)
{
    static const struct hub_fault trickle = {
        .kind = HUB_FAULT_TRICKLE, .target = "/storage/", .count = 1};
    struct hub_fixture *fixture = *state;
    want_rate(fixture, 10000, 100);
    struct http_request request = range_for(fixture, large, 0, FIXTURE_LARGE_BYTES);
    struct http_reply reply;
    hub_server_add_fault(fixture->server, &trickle);
    hub_fixture_assert(fixture, "floor", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 0, FIXTURE_LARGE_BYTES));
    assert_int_equal(fixture->wait_count, 1);
    assert_true(text_ends_with(
        text_of(fixture->why[0]), ": less than 10000 bytes a second arrived in 0.1 s"));
    assert_int_equal(hub_server_log_count(fixture->server, "Range: bytes=0-"), 2);
}

static void without_a_floor_a_trickle_is_life(void **state)
{
    struct hub_fixture *fixture = *state;
    want_rate(fixture, 0, 1);
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_TRICKLE, .target = "-cache/"});
    hub_fixture_assert(fixture, "any", get(fixture, &request, &reply), NULL);
    assert_int_equal(fixture->body_count, 9);
    assert_int_equal(fixture->wait_count, 0);
}

static void a_file_that_changes_between_two_tries_is_an_error(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = range_for(fixture, large, 0, FIXTURE_LARGE_BYTES);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_TRUNCATE, .target = "/storage/", .count = 1, .at = 1000});
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_HEADER, .target = "/storage/", .text = "ETag: \"other\"\r\n"});
    struct error *error = get(fixture, &request, &reply);
    assert_non_null(error);
    assert_non_null(
        strstr(error_text(error), ": the file changed on the server during the download"));
    assert_int_equal(error_kind_of(error), ERROR_DAMAGE);
    error_free(error);
}

static void a_direct_address_is_asked_first_and_left_when_it_refuses(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = range_for(fixture, large, 0, 1000);
    struct http_reply reply;
    request.token = "hf_good";
    hub_fixture_assert(fixture, "learned", get(fixture, &request, &reply), NULL);
    const char *address = reply.address, *etag = reply.etag;
    hub_server_clear_log(fixture->server);
    request = range_for(fixture, large, 1000, 3000);
    request.token = "hf_good";
    request.direct = address;
    request.etag = etag;
    hub_fixture_assert(fixture, "used", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 1000, 3000));
    assert_int_equal(hub_server_log_count(fixture->server, "home GET "), 0);
    assert_int_equal(hub_server_log_count(fixture->server, "If-Range: "), 1);
    hub_server_add_fault(fixture->server, &(struct hub_fault){.kind = HUB_FAULT_STATUS,
                                              .target = "/storage/",
                                              .count = 1,
                                              .status = 403,
                                              .text = ""});
    fixture->body_count = 0;
    hub_fixture_assert(fixture, "refused", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 1000, 3000));
    assert_int_equal(hub_server_log_count(fixture->server, "home GET "), 1);
    assert_int_equal(hub_server_log_count(fixture->server, "Authorization: "), 1);
    assert_int_equal(fixture->wait_count, 0);
}

static void a_rate_is_kept(void **state)
{
    struct hub_fixture *fixture = *state;
    http_client_close(fixture->client);
    fixture->policy.rate_bytes = 10 * 1000 * 1000;
    fixture->policy.rate_bytes_min = 20 * 1000 * 1000; /* our own slowness is not the server's */
    fixture->policy.rate_span_ms = 250;
    assert_null(http_client_open(&fixture->policy, &fixture->client));
    struct http_request request = range_for(fixture, large, 0, FIXTURE_LARGE_BYTES);
    struct http_reply reply;
    uint64_t begin_ns = clock_now_ns();
    hub_fixture_assert(fixture, "slow", get(fixture, &request, &reply), NULL);
    uint64_t passed_ms = (clock_now_ns() - begin_ns) / 1000000;
    assert_true(hub_fixture_body_is_range(fixture, 0, FIXTURE_LARGE_BYTES));
    assert_true(passed_ms > 250); /* without it, 5 */
    assert_int_equal(fixture->wait_count, 0);
}

static void the_token_stays_at_home(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, large);
    struct http_reply reply;
    request.token = "hf_good";
    hub_fixture_assert(fixture, "token", get(fixture, &request, &reply), NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "Authorization: Bearer hf_good\r\n"), 1);
    assert_int_equal(hub_server_log_count(fixture->server, "storage GET "), 1);
    request = request_for(fixture, small); /* two hops, both at home */
    request.token = "hf_good";
    hub_fixture_assert(fixture, "token", get(fixture, &request, &reply), NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "Authorization: Bearer hf_good\r\n"), 3);
}

static void the_token_does_not_come_back(void **state)
{
    struct hub_fixture *fixture = *state;
    const char *home = hub_server_url(fixture->server);
    const char *storage = hub_server_storage_url(fixture->server);
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    request.token = "hf_good";
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_REDIRECT,
                             .target = "/resolve/",
                             .count = 1,
                             .text = arena_format(&fixture->arena, "%s/there", storage)});
    hub_server_add_fault(
        fixture->server, &(struct hub_fault){.kind = HUB_FAULT_REDIRECT,
                             .target = "/there",
                             .text = arena_format(&fixture->arena, "%s%s", home, small)});
    hub_fixture_assert(fixture, "token", get(fixture, &request, &reply), NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "Authorization: "), 1);
    assert_int_equal(hub_server_log_count(fixture->server, "home GET "), 3);
    assert_false(reply.is_home);
}

/* A server has it, and may put it into an address. */
static void the_token_is_not_shown(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    request.token = "hf_good";
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){
            .kind = HUB_FAULT_REDIRECT, .target = "/resolve/", .text = "/a-hf_good/b?hf_good"});
    hub_server_add_fault(fixture->server, &(struct hub_fault){.kind = HUB_FAULT_STATUS,
                                              .target = "/a-hf_good",
                                              .count = 1,
                                              .status = 503,
                                              .text = ""});
    hub_fixture_assert(fixture, "shown", get(fixture, &request, &reply), NULL);
    hub_fixture_assert(fixture, "status", http_status_error(&reply),
        "HOME/a-*******/b: the server answered 404 (Not Found) (tried 2 times)");
    assert_null(strstr(fixture->why[0], "hf_good"));
    hub_server_clear_faults(fixture->server);
    hub_server_add_fault(fixture->server, &(struct hub_fault){.kind = HUB_FAULT_REDIRECT,
                                              .target = "/resolve/",
                                              .text = "http://hf_good..such/hf_good"});
    hub_fixture_assert(fixture, "host", get(fixture, &request, &reply),
        "http://*******..such/*******: the host is not known (tried 6 times)");
    assert_null(strstr(fixture->why[0], "hf_good"));
}

static void each_request_names_psybuild_and_wants_identity(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, large);
    struct http_reply reply;
    hub_fixture_assert(fixture, "headers", get(fixture, &request, &reply), NULL);
    assert_int_equal(hub_server_log_count(fixture->server, "User-Agent: psybuild/"), 2);
    assert_int_equal(hub_server_log_count(fixture->server, "; libcurl/"), 2);
    assert_int_equal(hub_server_log_count(fixture->server, "Accept-Encoding: identity\r\n"), 2);
    assert_int_equal(hub_server_log_count(fixture->server, "Range:"), 0);
}

static void a_final_status_is_a_reply(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, "/test/model/nothing");
    struct http_reply reply;
    hub_fixture_assert(fixture, "404", get(fixture, &request, &reply), NULL);
    assert_int_equal(reply.status, 404);
    assert_true(text_is(reply.error_body, "{\"error\": \"Not found\"}"));
    assert_int_equal(reply.try_count, 1);
    hub_fixture_assert(fixture, "404", http_status_error(&reply),
        "HOME/test/model/nothing: the server answered 404 (Not Found)");
}

static void a_refused_signed_address_is_asked_for_anew_twice(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, large);
    struct http_reply reply;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_STATUS, .target = "/storage/", .status = 403});
    hub_fixture_assert(fixture, "403", get(fixture, &request, &reply), NULL);
    assert_int_equal(reply.status, 403);
    assert_false(reply.is_home);
    assert_int_equal(hub_server_log_count(fixture->server, "storage GET "), 3);
    assert_int_equal(fixture->wait_count, 0);
}

static void an_answer_longer_than_allowed_is_cut_off(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, small);
    struct http_reply reply;
    request.size_max = 8;
    struct error *error = get(fixture, &request, &reply);
    assert_non_null(error);
    assert_true(text_ends_with(text_of(error_text(error)), ": the answer is longer than 8 bytes"));
    error_free(error);
}

static void the_cancel_flag_ends_a_request(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, large);
    struct http_reply reply;
    fixture->cancel_after = 1000;
    hub_server_add_fault(fixture->server,
        &(struct hub_fault){.kind = HUB_FAULT_STALL, .target = "/storage/", .at = 100000});
    struct error *error = get(fixture, &request, &reply);
    assert_non_null(error);
    assert_string_equal(error_text(error), "interrupted");
    assert_int_equal(error_kind_of(error), ERROR_INTERRUPTED);
    error_free(error);
    fixture->cancel = false;
}

static void an_error_of_the_receiver_ends_the_request(void **state)
{
    struct hub_fixture *fixture = *state;
    struct http_request request = request_for(fixture, large);
    struct http_reply reply;
    fixture->refuse = error_new(ERROR_IO, "disk full");
    hub_fixture_assert(fixture, "refused", get(fixture, &request, &reply), "disk full");
    assert_int_equal(fixture->wait_count, 0);
    fixture->refuse = NULL;
}

static void files_on_disk_are_read(void **state)
{
    struct hub_fixture *fixture = *state;
    struct arena *arena = &fixture->arena;
    struct http_request request = range_for(fixture, "", 5, 3000000);
    struct http_reply reply;
    request.url = arena_format(arena, "file://%s/model.safetensors", fixture->directory);
    hub_fixture_assert(fixture, "file", get(fixture, &request, &reply), NULL);
    assert_true(hub_fixture_body_is_range(fixture, 5, 3000000));
    assert_int_equal(reply.size_total, FIXTURE_LARGE_BYTES);
    request = request_for(fixture, "");
    request.url =
        arena_format(arena, "file://localhost%s/sub/a%%20b+c%%23%%25.txt", fixture->directory);
    hub_fixture_assert(fixture, "odd name", get(fixture, &request, &reply), NULL);
    assert_memory_equal(fixture->body, "hi\n", 3);
    request.url = "file:///nonexistent/x";
    hub_fixture_assert(fixture, "missing", get(fixture, &request, &reply),
        "/nonexistent/x: cannot open: No such file or directory");
    request.url = "file:///a%zz";
    hub_fixture_assert(fixture, "broken", get(fixture, &request, &reply),
        "file:///a%zz: not the address of a file");
    request.url = "ftp://a/b";
    hub_fixture_assert(fixture, "ftp", get(fixture, &request, &reply),
        "not an http, https or file address without user and spaces");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(a_whole_file_arrives_through_redirects),
        TEST(ranges_arrive_exactly),
        TEST(an_empty_file_has_an_empty_range),
        TEST(transient_faults_are_outlived),
        TEST(every_connection_may_break_as_long_as_there_is_progress),
        TEST(back_off_doubles),
        TEST(a_wait_the_server_asks_for_is_kept),
        TEST(lasting_faults_are_errors),
        TEST(wrong_content_is_refused_before_a_byte_is_delivered),
        TEST(a_part_of_a_file_of_unknown_size_is_taken),
        TEST(the_first_location_counts),
        TEST(an_unknown_host_is_tried_again),
        TEST(silence_is_noticed),
        TEST(a_trickle_is_no_life),
        TEST(without_a_floor_a_trickle_is_life),
        TEST(a_file_that_changes_between_two_tries_is_an_error),
        TEST(a_direct_address_is_asked_first_and_left_when_it_refuses),
        TEST(a_rate_is_kept),
        TEST(the_token_stays_at_home),
        TEST(the_token_does_not_come_back),
        TEST(the_token_is_not_shown),
        TEST(each_request_names_psybuild_and_wants_identity),
        TEST(a_final_status_is_a_reply),
        TEST(a_refused_signed_address_is_asked_for_anew_twice),
        TEST(an_answer_longer_than_allowed_is_cut_off),
        TEST(the_cancel_flag_ends_a_request),
        TEST(an_error_of_the_receiver_ends_the_request),
        TEST(files_on_disk_are_read),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
