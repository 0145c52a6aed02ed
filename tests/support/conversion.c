/* conversion.c - build_open and build_run with a receiver that writes down every event. */
#include "tests/support/conversion.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/directory.h"
#include "engine/state/state.h"
#include "tasks/formats/quant.h"
#include "tasks/registry.h"
#include "tests/support/tree.h"

enum { NODES_MAX = 256 };

struct line {
    const char *node, *reason, *end;
    uint32_t pieces_made, pieces_kept;
    bool is_restored;
};

struct recorder {
    struct line lines[NODES_MAX];
    size_t count;
    char *errors, *warnings;
};

static struct arena arena; /* of the running test */

static char *format(const char *words, ...) PRINTF_LIKE(1, 2);
static char *format(const char *words, ...)
{
    va_list list;
    va_start(list, words);
    char *text = arena_format_list(&arena, words, list);
    va_end(list);
    assert_non_null(text);
    return text;
}

/* ---- the directory ---- */

static void copy_source(void)
{
    char *from = format("%s/tests/golden/miniature/source", tree_source());
    struct file_entry *entries;
    size_t count;
    tree_assert_ok(file_list_directory(&arena, from, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        struct text bytes = tree_read(&arena, format("%s/%s", from, entries[i].name));
        tree_write_bytes(format(SOURCE "/%s", entries[i].name), bytes.bytes, bytes.length);
    }
}

int conversion_begin(void **state)
{
    unsigned mask;
    if (tree_begin(state) != 0)
        return -1;
    copy_source();
    tree_assert_ok(cpu_mask_from_environment(&mask));
    quant_init(mask);
    return 0;
}

int conversion_end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

void conversion_declare(const char *with)
{
    conversion_declare_more("", with);
}

void conversion_declare_more(const char *members, const char *with)
{
    tree_write("psybuild.json",
        format("{\n"
               "    \"psybuild\": 1, %s\n"
               "    \"sources\": {\"" SOURCE "\": {\"dir\": \"" SOURCE "\"}},\n"
               "    \"artifacts\": {\n"
               "        \"" MODEL "\": {\n"
               "            \"recipe\": \"mlx\", \"from\": \"" SOURCE "\", \"with\": {%s}\n"
               "        }\n"
               "    }\n"
               "}\n",
            members, with));
}

void conversion_forget(void)
{
    static const char *const directories[] = {MODEL, STATE_DIRECTORY};
    for (size_t i = 0; i < sizeof directories / sizeof directories[0]; i++)
        if (tree_has(directories[i]))
            tree_remove(directories[i]);
}

void conversion_edit(const char *path, const char *old, const char *new)
{
    struct text text = tree_read(&arena, path);
    const char *found = strstr(text.bytes, old);
    if (found == NULL || strstr(found + 1, old) != NULL)
        fail_msg("%s does not hold \"%s\" once", path, old);
    char *edited =
        format("%.*s%s%s", (int)(found - text.bytes), text.bytes, new, found + strlen(old));
    char *temporary = format("%s.edited", path);
    tree_write(temporary, edited);
    assert_int_equal(rename(temporary, path), 0);
}

/* ---- events ---- */

static struct line *find_line(struct recorder *recorder, const char *node)
{
    for (size_t i = 0; i < recorder->count; i++)
        if (strcmp(recorder->lines[i].node, node) == 0)
            return &recorder->lines[i];
    assert_true(recorder->count < NODES_MAX);
    recorder->lines[recorder->count] = (struct line){.node = format("%s", node)};
    return &recorder->lines[recorder->count++];
}

static void on_event(void *context, const struct build_event *event)
{
    struct recorder *recorder = context;
    switch (event->kind) {
    case EVENT_STALE:
        find_line(recorder, event->node)->reason = format("%s", event->text);
        break;
    case EVENT_DONE:
        find_line(recorder, event->node)->pieces_made = event->pieces_made;
        find_line(recorder, event->node)->pieces_kept = event->pieces_kept;
        find_line(recorder, event->node)->is_restored = event->is_restored;
        break;
    case EVENT_SEALED:
        find_line(recorder, event->node)->end = "sealed";
        break;
    case EVENT_CONFIRMED:
        find_line(recorder, event->node)->end = "confirmed";
        break;
    case EVENT_WARNING:
        recorder->warnings = format("%s%s\n", recorder->warnings, event->text);
        break;
    case EVENT_FAILED:
        recorder->errors = format("%s%s", recorder->errors, error_report(event->error));
        break;
    default:
        break;
    }
}

static int compare_lines(const void *a, const void *b)
{
    const struct line *left = a, *right = b;
    return strcmp(left->node, right->node);
}

static const char *print_lines(struct recorder *recorder)
{
    char *text = format("%s", "");
    qsort(recorder->lines, recorder->count, sizeof recorder->lines[0], compare_lines);
    for (size_t i = 0; i < recorder->count; i++) {
        const struct line *line = &recorder->lines[i];
        const char *name = line->node;
        if (path_is_below(name, MODEL))
            name += strlen(MODEL "/");
        text = format("%s%s: %s", text, name, line->reason == NULL ? "?" : line->reason);
        if (line->pieces_made + line->pieces_kept > 0)
            text = format("%s; %u made, %u kept", text, line->pieces_made, line->pieces_kept);
        if (line->is_restored)
            text = format("%s; restored", text);
        text = format("%s; %s\n", text, line->end == NULL ? "unfinished" : line->end);
    }
    return text;
}

/* ---- runs ---- */

static struct build_options options_of(
    const struct conversion *conversion, struct recorder *recorder, _Atomic bool *cancel)
{
    unsigned threads = conversion->threads > 0 ? conversion->threads : 2;
    uint64_t memory = (UINT64_C(32) + 8 * threads) << 20;
    return (struct build_options){.manifest = "psybuild.json",
        .data_directory = format("%s/manifests", tree_source()),
        .registry = conversion->registry != NULL ? conversion->registry : &registry,
        .threads = threads,
        .connections = 1,
        .memory_bytes = conversion->memory_bytes > 0 ? conversion->memory_bytes : memory,
        .page_cache_bytes = 1, /* every one as if it were too large for the page cache */
        .failures_max = 1,
        .is_forced = conversion->is_forced,
        .cache = conversion->cache,
        .cancel = cancel,
        .on_event = on_event,
        .context = recorder};
}

struct report conversion_run(const struct conversion *conversion)
{
    struct recorder recorder = {.errors = format("%s", ""), .warnings = format("%s", "")};
    _Atomic bool cancel = false;
    struct build_options options = options_of(conversion, &recorder, &cancel);
    struct report report = {.lines = "", .warnings = ""};
    struct build *build;
    struct file_lock *lock;
    uint32_t failures = 0;
    struct error *error = build_lock(&options, &lock);
    if (error == NULL)
        error = build_open(&options, lock, &build);
    if (error == NULL) {
        error = build_run(build, &conversion->target, conversion->target != NULL, &failures);
        report.stats = build->stats;
        build_close(build);
    }
    if (error != NULL)
        recorder.errors = format("%s%s", recorder.errors, error_report(error));
    error_free(error);
    report.lines = print_lines(&recorder);
    report.errors = recorder.errors;
    report.warnings = recorder.warnings;
    return report;
}

struct report conversion_make(void)
{
    struct report report = conversion_run(&(struct conversion){0});
    assert_string_equal(report.errors, "");
    return report;
}

bool conversion_is_null(void)
{
    struct recorder recorder = {.errors = format("%s", ""), .warnings = format("%s", "")};
    _Atomic bool cancel = false;
    struct build_options options = options_of(&(struct conversion){0}, &recorder, &cancel);
    bool is_null;
    tree_assert_ok(build_is_null(&options, NULL, 0, &is_null));
    return is_null;
}
