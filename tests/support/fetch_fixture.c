/* fetch_fixture.c - a hub, a directory, and what a build of it said. */
#include "tests/support/fetch_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file_whole.h"
#include "tasks/registry.h"
#include "tests/support/tree.h"

/* ---- running ---- */

static void keep_text(char *out, const char *text)
{
    size_t used = strlen(out);
    snprintf(out + used, FETCH_REPORT_MAX - used, "%s", text);
}

static void on_event(void *context, const struct build_event *event)
{
    struct fetch_fixture *fixture = context;
    if (event->kind == EVENT_FAILED)
        keep_text(fixture->report, error_report(event->error));
    if (event->kind != EVENT_NOTE)
        return;
    keep_text(fixture->notes, event->text);
    keep_text(fixture->notes, "\n");
}

static void on_tick(void *context, const struct build_progress *progress)
{
    struct fetch_fixture *fixture = context;
    if (fixture->cancels_at_tick && progress->bytes_done > 0)
        fixture->cancel = true;
}

static struct error *run(struct fetch_fixture *fixture, struct build **build)
{
    struct file_lock *lock;
    TRY(build_lock(&fixture->options, &lock));
    TRY(build_open(&fixture->options, lock, build));
    return build_run(*build, (const char *const[]){"m"}, 1, &fixture->failures);
}

/* Builds the source "m". True when all went well. */
bool fetch_build(struct fetch_fixture *fixture)
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

void fetch_must_build(struct fetch_fixture *fixture)
{
    if (!fetch_build(fixture))
        fail_msg("%s", fixture->report);
}

const char *fetch_report(struct fetch_fixture *fixture)
{
    static const char *const names[] = {"HOME", "STORAGE", "COMMIT"};
    const char *values[] = {hub_server_url(fixture->hub->server),
        hub_server_storage_url(fixture->hub->server), hub_server_commit(fixture->hub->server)};
    char *text = arena_format(&fixture->arena, "%s", fixture->report);
    for (size_t i = 0; i < 3; i++)
        for (char *found; (found = strstr(text, values[i])) != NULL;)
            text = arena_format(&fixture->arena, "%.*s%s%s", (int)(found - text), text, names[i],
                found + strlen(values[i]));
    return text;
}

void fetch_must_fail(struct fetch_fixture *fixture, const char *want)
{
    if (fetch_build(fixture))
        fail_msg("it went well, instead of\n%s", want);
    const char *text = fetch_report(fixture);
    if (strcmp(text, want) != 0)
        fail_msg("got\n%swant\n%s", text, want);
}

size_t fetch_count_requests(const struct fetch_fixture *fixture, const char *what)
{
    return hub_server_log_count(fixture->hub->server, what);
}

/* ---- files ---- */

void fetch_write_manifest(struct fetch_fixture *fixture, const char *source)
{
    char *text =
        arena_format(&fixture->arena, "{\"psybuild\": 1, \"sources\": {\"m\": %s}}\n", source);
    assert_null(file_replace_whole("psybuild.json", text_of(text)));
}

const char *fetch_read_file(struct fetch_fixture *fixture, const char *path)
{
    struct text text;
    struct error *error = file_read_whole(&fixture->arena, path, 1 << 20, &text);
    if (error != NULL)
        fail_msg("%s", error_report(error));
    return text.bytes;
}

bool fetch_is_model(const struct fetch_fixture *fixture, const char *path)
{
    struct text text;
    struct arena arena = {0};
    struct error *error = file_read_whole(&arena, path, fixture->model_bytes, &text);
    bool is_same = error == NULL && text.length == fixture->model_bytes;
    for (size_t i = 0; is_same && i < text.length; i++)
        is_same = (unsigned char)text.bytes[i] == hub_fixture_byte(i);
    arena_end(&arena);
    error_free(error);
    return is_same;
}

struct fetch_fixture *fetch_fixture_begin(
    const struct hub_server_options *options, size_t model_bytes)
{
    struct fetch_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    assert_int_equal(tree_begin(NULL), 0);
    fixture->model_bytes = model_bytes;
    fixture->hub = hub_fixture_begin_sized(options, model_bytes);
    setenv("HF_ENDPOINT", hub_server_url(fixture->hub->server), 1);
    fixture->options = (struct build_options){.manifest = "psybuild.json",
        .data_directory = "data",
        .registry = &registry,
        .threads = 1,
        .connections = 2,
        .memory_bytes = 32 << 20,
        .cancel = &fixture->cancel,
        .on_event = on_event,
        .on_tick = on_tick,
        .context = fixture};
    return fixture;
}

void fetch_fixture_end(struct fetch_fixture *fixture)
{
    hub_fixture_end(fixture->hub);
    arena_end(&fixture->arena);
    free(fixture);
    assert_int_equal(tree_end(NULL), 0);
}
