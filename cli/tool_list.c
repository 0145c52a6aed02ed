/* tool_list.c - `-t list`: the artifacts, their state, size, quality and making time. */
#include <inttypes.h>
#include <string.h>

#include "base/json_write.h"
#include "cli/quality.h"
#include "cli/survey.h"
#include "cli/tool_table.h"
#include "tasks/layout.h"

struct row {
    const struct node *node;
    enum survey_state state;
    const char *reason;
    const struct record *record;   /* NULL: never made */
    uint64_t size_bytes;           /* of what it made, as last seen */
    double bits_per_weight;        /* 0: it makes no weights */
    struct figures_module quality; /* of all that it quantized */
};

double tool_bits_per_weight(struct arena *arena, const struct record *record)
{
    struct layout layout;
    uint64_t size_bytes = 0;
    if (record->layout.length == 0)
        return 0;
    struct error *error = layout_decode(arena, record->name, record->layout, &layout);
    if (error != NULL) {
        error_free(error); /* another task's layout */
        return 0;
    }
    for (uint32_t i = 0; i < layout.tensor_count; i++)
        size_bytes += layout.tensors[i].size_bytes;
    return layout.total_parameters == 0 ? 0
                                        : (double)size_bytes * 8 / (double)layout.total_parameters;
}

static struct error *make_row(const struct survey *survey, uint32_t index, struct row *out)
{
    const struct state *state = survey->build->state;
    const struct node *node = &survey->build->graph->nodes[index];
    struct row row = {.node = node,
        .state = survey_state_of(survey, index),
        .reason = survey->reasons[index],
        .record = state_find_record(state, node->name)};
    for (uint32_t i = 0; row.record != NULL && i < row.record->made_count; i++)
        row.size_bytes += state->files[row.record->made[i].file].stamp.size_bytes;
    if (row.record != NULL) {
        struct figures figures;
        row.bits_per_weight = tool_bits_per_weight(survey->cli->arena, row.record);
        TRY(quality_of_record(survey->cli->arena, row.record, &figures));
        row.quality = figures_total(&figures);
    }
    *out = row;
    return NULL;
}

static const char *const state_words[] = {[SURVEY_UNASKED] = "",
    [SURVEY_FRESH] = "fresh",
    [SURVEY_STALE] = "stale",
    [SURVEY_NEVER_MADE] = "never made"};
static const enum tone state_tones[] = {[SURVEY_UNASKED] = TONE_PLAIN,
    [SURVEY_FRESH] = TONE_GOOD,
    [SURVEY_STALE] = TONE_WARN,
    [SURVEY_NEVER_MADE] = TONE_DIM};

static struct error *say_row(struct cli *cli, const struct row *row)
{
    char size[SIZE_TEXT_MAX] = "";
    const char *bits = "", *time = "", *quality = quality_short(cli->arena, &row->quality);
    if (row->record != NULL) {
        size_print(size, row->size_bytes);
        time = status_format_duration(cli->arena, row->record->duration_ns);
    }
    if (row->bits_per_weight > 0)
        bits = arena_format(cli->arena, "%.3f", row->bits_per_weight);
    if (bits == NULL || time == NULL || quality == NULL)
        return error_memory();
    terminal_put(cli->terminal, state_tones[row->state], "%-10s", state_words[row->state]);
    terminal_say(cli->terminal, TONE_PLAIN, "  %8s  %11s  %8s  %9s  %s", size, bits, quality, time,
        row->node->name);
    return NULL;
}

static struct error *write_row(
    struct json_writer *writer, const struct survey *survey, const struct row *row)
{
    json_write_object_begin(writer);
    json_member_string(writer, "name", row->node->name);
    json_member_string(writer, "task", row->node->type->name);
    json_member_string(writer, "state", state_words[row->state]);
    if (row->reason != NULL) {
        json_member_string(writer, "reason", row->reason);
    }
    if (row->record != NULL) {
        json_member_u64(writer, "size_bytes", row->size_bytes);
        json_member_u64(writer, "duration_ns", row->record->duration_ns);
        json_member_array_begin(writer, "files");
        for (uint32_t i = 0; i < row->record->made_count; i++)
            json_write_string(writer, survey->build->state->files[row->record->made[i].file].path);
        json_write_array_end(writer);
    }
    if (row->bits_per_weight > 0) {
        json_member_double(writer, "bits_per_weight", row->bits_per_weight);
    }
    quality_write(writer, &row->quality);
    json_write_object_end(writer);
    return NULL;
}

/* Fetched files are many: they are shown when they are asked for. */
static bool is_shown(const struct survey *survey, uint32_t index, bool has_targets)
{
    const struct node *node = &survey->build->graph->nodes[index];
    bool shows_fetched = has_targets || survey->cli->options->is_verbose;
    return survey->is_named[index] && !node->is_view && (shows_fetched || !node->is_fetched);
}

static struct error *say_all(const struct survey *survey, bool has_targets, bool as_json)
{
    struct cli *cli = survey->cli;
    struct json_writer *writer = json_writer_new(cli->arena, &JSON_STYLE_PRETTY);
    TRY(memory_check(writer));
    if (!as_json)
        terminal_say(cli->terminal, TONE_DIM, "%-10s  %8s  %11s  %8s  %9s  %s", "STATE", "SIZE",
            "BITS/WEIGHT", "SQNR", "MADE IN", "NAME");
    json_write_array_begin(writer);
    for (uint32_t i = 0; i < survey->build->graph->node_count; i++) {
        if (!is_shown(survey, i, has_targets))
            continue;
        struct row row;
        TRY(make_row(survey, i, &row));
        TRY(as_json ? write_row(writer, survey, &row) : say_row(cli, &row));
    }
    json_write_array_end(writer);
    struct text text;
    TRY(json_writer_finish(writer, &text));
    if (as_json) {
        terminal_put_text(cli->terminal, text);
        terminal_say(cli->terminal, TONE_PLAIN, "%s", "");
    }
    return NULL;
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    const char *const *targets;
    struct survey survey;
    TRY(tool_words(cli, "json", &words));
    TRY(tool_targets(cli, &words, &targets));
    TRY(survey_take(cli, targets, words.count, &survey));
    struct error *error = say_all(&survey, words.count > 0, words.has_flag);
    survey_end(&survey);
    return error;
}

const struct tool tool_list = {.name = "list",
    .usage = "[--json] [TARGET...]",
    .help = "state, size and time of the artifacts",
    .needs_manifest = true,
    .run = run};
