/* test_status.c - the forms of what a build says. */
#include "cli/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static void the_line_shows_what_is_known(void **state)
{
    static const struct build_download downloads[] = {
        {"m/model-1.safetensors", 620, 1000},
        {"m/model-2.safetensors", 419, 1000},
        {"m/page.html", 12000, 0},
    };
    static const struct {
        struct status_view view;
        const char *want;
    } cases[] = {
        {{.nodes_done = 3, .nodes_total = 9}, "[3/9]"},
        {{.nodes_done = 3, .nodes_total = 9, .node = "a/b"}, "[3/9] a/b"},
        {{.nodes_done = 3,
             .nodes_total = 9,
             .task = "quantize",
             .node = "m/model*.safetensors",
             .bytes_done = 1200000000,
             .bytes_total = 4600000000,
             .bytes_per_second = 820000000},
            "[3/9] quantize m/model*.safetensors  1.2/4.6 GB  820 MB/s  0:04 left"},
        {{.nodes_done = 2,
             .nodes_total = 9,
             .task = "fetch",
             .node = "m/model-2.safetensors",
             .bytes_done = 1200000000,
             .bytes_total = 4600000000,
             .bytes_per_second = 82000000,
             .downloads = downloads,
             .download_count = 3},
            "[2/9] fetch 3 files  1.2/4.6 GB  82 MB/s  0:41 left: model-1.safetensors 62 %, "
            "model-2.safetensors 41 %, page.html 12 kB"},
        {{.nodes_total = 9,
             .task = "fetch",
             .node = "m/model-1.safetensors",
             .bytes_done = 620,
             .bytes_total = 1000,
             .downloads = downloads,
             .download_count = 1},
            "[0/9] fetch m/model-1.safetensors  620 B/1.0 kB"},
        {{.nodes_total = 9,
             .task = "quantize",
             .node = "x/model*.safetensors",
             .downloads = downloads,
             .download_count = 1},
            "[0/9] quantize x/model*.safetensors: model-1.safetensors 62 %"},
        {{.nodes_total = 2,
             .task = "fetch",
             .node = "m/a",
             .bytes_done = 900000,
             .bytes_total = 4600000000},
            "[0/2] fetch m/a  900 kB/4.6 GB"},
        {{.nodes_total = 2,
             .node = "m/a",
             .bytes_done = 0,
             .bytes_total = UINT64_C(4600000000000),
             .bytes_per_second = 1000000},
            "[0/2] m/a  0 B/4.6 TB  1.0 MB/s  1277:46:40 left"},
        {{.nodes_done = 2,
             .nodes_total = 2,
             .node = "m/a",
             .bytes_done = 10,
             .bytes_total = 10,
             .bytes_per_second = 5},
            "[2/2] m/a  10/10 B"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *line;
        assert_null(status_format_line(&arena, &cases[i].view, &line));
        assert_string_equal(line, cases[i].want);
    }
}

static void times_are_written_for_people(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *want;
    } seconds[] = {{0, "0:00"}, {5, "0:05"}, {750, "12:30"}, {3723, "1:02:03"}};
    static const struct {
        uint64_t duration_ns;
        const char *want;
    } durations[] = {{400000, "0.4 ms"}, {999900000, "999.9 ms"}, {7100000000, "7.1 s"},
        {99900000000, "99.9 s"}, {750000000000, "12:30"}};
    (void)state;
    for (size_t i = 0; i < sizeof seconds / sizeof seconds[0]; i++)
        assert_string_equal(status_format_seconds(&arena, seconds[i].seconds), seconds[i].want);
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++)
        assert_string_equal(
            status_format_duration(&arena, durations[i].duration_ns), durations[i].want);
}

static void each_event_is_one_json_object(void **state)
{
    struct error *failure = error_new(ERROR_FAILED, "it \"broke\"");
    const struct {
        struct build_event event;
        const char *task, *want;
    } cases[] = {
        {{.kind = EVENT_STALE, .node = "a", .text = "it was never made"}, "copy",
            "{\"event\":\"stale\",\"node\":\"a\",\"task\":\"copy\",\"reason\":\"it was never "
            "made\"}"},
        {{.kind = EVENT_STARTED, .node = "a", .size_bytes = 7, .pieces_made = 2, .pieces_kept = 1},
            "copy",
            "{\"event\":\"started\",\"node\":\"a\",\"task\":\"copy\",\"pieces_made\":2,"
            "\"pieces_kept\":1,\"bytes\":7}"},
        {{.kind = EVENT_STARTED, .node = "a", .size_bytes = UINT64_MAX}, "copy",
            "{\"event\":\"started\",\"node\":\"a\",\"task\":\"copy\",\"pieces_made\":0,"
            "\"pieces_kept\":0}"},
        {{.kind = EVENT_DONE,
             .node = "a",
             .size_bytes = 7,
             .pieces_made = 2,
             .pieces_kept = 1,
             .duration_ns = 9},
            NULL,
            "{\"event\":\"done\",\"node\":\"a\",\"pieces_made\":2,\"pieces_kept\":1,\"bytes\":7,"
            "\"duration_ns\":9}"},
        {{.kind = EVENT_SEALED, .node = "a"}, "copy",
            "{\"event\":\"sealed\",\"node\":\"a\",\"task\":\"copy\"}"},
        {{.kind = EVENT_CONFIRMED, .node = "a"}, "copy",
            "{\"event\":\"confirmed\",\"node\":\"a\",\"task\":\"copy\"}"},
        {{.kind = EVENT_NOTE, .text = "listing a/b"}, NULL,
            "{\"event\":\"note\",\"text\":\"listing a/b\"}"},
        {{.kind = EVENT_WARNING, .text = "odd\nnews"}, NULL,
            "{\"event\":\"warning\",\"text\":\"odd\\nnews\"}"},
        {{.kind = EVENT_FAILED, .node = "a", .error = failure}, "copy",
            "{\"event\":\"failed\",\"node\":\"a\",\"task\":\"copy\",\"error\":\"it "
            "\\\"broke\\\"\\n\"}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text text;
        assert_null(status_format_event(&arena, &cases[i].event, cases[i].task, &text));
        assert_string_equal(text.bytes, cases[i].want);
    }
    error_free(failure);
}

static void a_tick_says_how_far_it_is(void **state)
{
    const struct build_progress progress = {
        .nodes_done = 1, .nodes_total = 9, .bytes_done = 10, .bytes_total = 30, .node = "a"};
    struct text text;
    (void)state;
    assert_null(status_format_tick(&arena, &progress, NULL, 0, &text));
    assert_string_equal(text.bytes,
        "{\"event\":\"tick\",\"node\":\"a\",\"nodes_done\":1,\"nodes_total\":9,\"bytes_done\":10,"
        "\"bytes_total\":30}");
    const struct build_download downloads[] = {{"m/a", 10, 20}, {"m/b", 3, 0}};
    assert_null(status_format_tick(&arena, &progress, downloads, 2, &text));
    assert_string_equal(text.bytes,
        "{\"event\":\"tick\",\"node\":\"a\",\"nodes_done\":1,\"nodes_total\":9,\"bytes_done\":10,"
        "\"bytes_total\":30,\"downloads\":[{\"node\":\"m/a\",\"bytes_done\":10,\"bytes_total\":20},"
        "{\"node\":\"m/b\",\"bytes_done\":3}]}");
}

static void the_last_line_counts_only_what_there_was(void **state)
{
    static const struct {
        struct status_summary summary;
        const char *want;
    } cases[] = {
        {{.nodes_made = 9, .bytes_written = 4600000000, .duration_ns = 7100000000},
            "psybuild: 9 nodes made, 4.6 GB written in 7.1 s"},
        {{.nodes_made = 1, .bytes_written = 81, .duration_ns = 400000},
            "psybuild: 1 node made, 81 B written in 0.4 ms"},
        {{.nodes_made = 3,
             .nodes_unchanged = 2,
             .nodes_failed = 1,
             .bytes_written = 512000000,
             .bytes_taken_over = 4100000000,
             .duration_ns = 750000000000},
            "psybuild: 3 nodes made, 512 MB written, 4.1 GB taken over, 2 unchanged, 1 failed in "
            "12:30"},
    };
    struct text text;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *line;
        assert_null(status_format_summary(&arena, &cases[i].summary, &line));
        assert_string_equal(line, cases[i].want);
    }
    assert_null(status_format_end(&arena, &cases[2].summary, &text));
    assert_string_equal(text.bytes,
        "{\"event\":\"end\",\"nodes_made\":3,\"nodes_unchanged\":2,\"nodes_failed\":1,"
        "\"bytes_written\":512000000,\"bytes_taken_over\":4100000000,\"duration_ns\":"
        "750000000000}");
}

static int forget(void **state)
{
    (void)state;
    arena_end(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_shows_what_is_known),
        cmocka_unit_test(times_are_written_for_people),
        cmocka_unit_test(each_event_is_one_json_object),
        cmocka_unit_test(a_tick_says_how_far_it_is),
        cmocka_unit_test(the_last_line_counts_only_what_there_was),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
