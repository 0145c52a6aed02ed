/* store.c - reading and writing `.psybuild/state`.
 *
 *   "psybuild state\n\0" (16)  version u32  0 u32  length u64
 *   XXH3-128 of the payload (16)  payload: validity | graph | files | records | past ones
 *
 * Names are wire texts that include their NUL, so that they can be borrowed in place. */
#include "engine/state/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/state/codec.h"
#include "engine/state/journal.h"

enum { STATE_VERSION = 2, HEADER_BYTES = 48 };
static const char state_magic[16] = "psybuild state\n";

/* ---- the graph's shadow ---- */

enum { NODE_FETCHED = 1, NODE_PATTERN = 2, NODE_VIEW = 4, NODE_GIVES_BACK = 8 };

static void put_graph(struct buffer *writer, const struct graph *graph)
{
    wire_put_name(writer, graph->manifest_name);
    wire_put_u32(writer, graph->default_count);
    for (uint32_t i = 0; i < graph->default_count; i++)
        wire_put_name(writer, graph->defaults[i]);
    wire_put_u32(writer, graph->disk_source_count);
    for (uint32_t i = 0; i < graph->disk_source_count; i++)
        wire_put_name(writer, graph->disk_sources[i]);
    wire_put_u32(writer, graph->source_count);
    for (uint32_t i = 0; i < graph->source_count; i++)
        wire_put_name(writer, graph->sources[i]);
    wire_put_u32(writer, graph->group_count);
    for (uint32_t i = 0; i < graph->group_count; i++)
        wire_put_name(writer, graph->groups[i].directory);
    wire_put_u32(writer, graph->node_count);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        wire_put_name(writer, node->name);
        wire_put_u8(writer,
            (uint8_t)((node->is_fetched ? NODE_FETCHED : 0) |
                      (node->is_pattern ? NODE_PATTERN : 0) | (node->is_view ? NODE_VIEW : 0) |
                      (node->gives_back ? NODE_GIVES_BACK : 0)));
        wire_put_u32(writer, node->group);
        codec_put_hash(writer, &node->key);
        wire_put_u32(writer, node->need_count);
        for (uint32_t k = 0; k < node->need_count; k++)
            wire_put_u32(writer, node->needs[k]);
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        wire_put_u32(writer, graph->order[i]);
}

static struct error *get_names(
    struct wire_reader *reader, struct arena *arena, const char ***names, uint32_t *count)
{
    *count = wire_get_count(reader, 5);
    *names = arena_array(arena, *count, sizeof **names);
    for (uint32_t i = 0; *names != NULL && i < *count; i++)
        (*names)[i] = wire_get_name(reader);
    return memory_check(*names);
}

static uint32_t get_index(struct wire_reader *reader, uint32_t count)
{
    uint32_t index = wire_get_u32(reader);
    if (index >= count)
        reader->failed = true;
    return reader->failed ? 0 : index;
}

static struct error *get_node(
    struct wire_reader *reader, struct arena *arena, const struct graph *graph, struct node *node)
{
    node->name = wire_get_name(reader);
    uint8_t flags = wire_get_u8(reader);
    node->is_fetched = (flags & NODE_FETCHED) != 0;
    node->is_pattern = (flags & NODE_PATTERN) != 0;
    node->is_view = (flags & NODE_VIEW) != 0;
    node->gives_back = (flags & NODE_GIVES_BACK) != 0;
    node->group = wire_get_u32(reader);
    if (node->group != GROUP_NONE && node->group >= graph->group_count)
        reader->failed = true;
    node->key = codec_get_hash(reader);
    node->need_count = wire_get_count(reader, 4);
    node->needs = arena_array(arena, node->need_count, sizeof *node->needs);
    TRY(memory_check(node->needs));
    for (uint32_t k = 0; k < node->need_count; k++)
        node->needs[k] = get_index(reader, graph->node_count);
    return NULL;
}

static struct error *fill_lists(struct arena *arena, struct graph *graph)
{
    graph->patterns = arena_array(arena, graph->node_count, sizeof *graph->patterns);
    TRY(memory_check(graph->patterns));
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].is_pattern)
            graph->patterns[graph->pattern_count++] = i;
    return graph_fill_groups(arena, graph);
}

static struct error *get_graph(struct wire_reader *reader, struct arena *arena, struct graph **out)
{
    enum { NODE_BYTES_MIN = 5 + 1 + 4 + 16 + 4 };
    struct graph *graph = arena_alloc(arena, sizeof *graph);
    TRY(memory_check(graph));
    const char **directories;
    graph->manifest_name = wire_get_name(reader);
    TRY(get_names(reader, arena, &graph->defaults, &graph->default_count));
    TRY(get_names(reader, arena, &graph->disk_sources, &graph->disk_source_count));
    TRY(get_names(reader, arena, &graph->sources, &graph->source_count));
    TRY(get_names(reader, arena, &directories, &graph->group_count));
    graph->groups = arena_array(arena, graph->group_count, sizeof *graph->groups);
    graph->node_count = wire_get_count(reader, NODE_BYTES_MIN);
    graph->nodes = arena_array(arena, graph->node_count, sizeof *graph->nodes);
    graph->order = arena_array(arena, graph->node_count, sizeof *graph->order);
    if (graph->groups == NULL || graph->nodes == NULL || graph->order == NULL)
        return error_memory();
    for (uint32_t i = 0; i < graph->group_count; i++)
        graph->groups[i].directory = directories[i];
    graph->node_by_name.arena = arena;
    for (uint32_t i = 0; i < graph->node_count && wire_reader_good(reader); i++) {
        TRY(get_node(reader, arena, graph, &graph->nodes[i]));
        TRY(map_put(&graph->node_by_name, graph->nodes[i].name, i));
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        graph->order[i] = get_index(reader, graph->node_count);
    if (!wire_reader_good(reader))
        return NULL;
    *out = graph;
    return fill_lists(arena, graph);
}

/* ---- the whole ---- */

static struct error *parse_payload(struct state *state, struct text payload, bool *is_good)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)payload.bytes, .length = payload.length};
    state->validity = wire_get_text(&reader);
    if (wire_get_u8(&reader) != 0)
        TRY(get_graph(&reader, state->arena, &state->graph));
    uint32_t files = wire_get_count(&reader, 5 + 5 + 32 + 1 + 16 + 5);
    for (uint32_t i = 0; i < files && wire_reader_good(&reader); i++) {
        struct state_file file = codec_get_file(&reader);
        uint32_t index;
        TRY(state_add_file(state, file.path, file.location, &index));
        if (index != i)
            reader.failed = true;
        else
            state->files[i] = file;
    }
    uint32_t records = wire_get_count(&reader, RECORD_BYTES_MIN);
    for (uint32_t i = 0; i < records && wire_reader_good(&reader); i++) {
        struct record record;
        TRY(codec_get_record(&reader, state->arena, NULL, state->file_count, &record));
        TRY(state_put_record(state, &record));
    }
    records = wire_get_count(&reader, RECORD_BYTES_MIN);
    for (uint32_t i = 0; i < records && wire_reader_good(&reader); i++) {
        struct record record;
        TRY(codec_get_record(&reader, state->arena, NULL, state->file_count, &record));
        TRY(state_keep_past(state, &record));
    }
    *is_good = wire_reader_done(&reader);
    return NULL;
}

static void forget(struct state *state, const char *warning)
{
    struct arena *arena = state->arena;
    *state = (struct state){.arena = arena,
        .file_by_path = {.arena = arena},
        .record_by_name = {.arena = arena},
        .past_by_name = {.arena = arena},
        .warning = warning};
}

static struct error *load_state(struct state *state, const char *path)
{
    struct text text = {0};
    TRY(error_forgive(file_read_whole(state->arena, path, STATE_BYTES_MAX, &text), ERROR_MISSING));
    if (text.bytes == NULL)
        return NULL;
    static const char damaged[] =
        "the build state is damaged: outputs are compared by content or made again";
    if (text.length < HEADER_BYTES || memcmp(text.bytes, state_magic, sizeof state_magic) != 0) {
        forget(state, damaged);
        return NULL;
    }
    uint32_t version = load_le32(text.bytes + 16);
    if (version > STATE_VERSION && version < 0x10000)
        return codec_newer(path, version, STATE_VERSION);
    struct text payload = {text.bytes + HEADER_BYTES, text.length - HEADER_BYTES};
    struct hash128 hash = hash_text(payload);
    bool is_good = false;
    if (version == STATE_VERSION && load_le64(text.bytes + 24) == payload.length &&
        memcmp(hash.bytes, text.bytes + 32, sizeof hash.bytes) == 0)
        TRY(parse_payload(state, payload, &is_good));
    if (!is_good)
        forget(state, damaged);
    return NULL;
}

struct error *state_load(struct arena *arena, const char *directory, struct state **out)
{
    struct state *state = arena_alloc(arena, sizeof *state);
    char *path = path_join(arena, directory, "state");
    char *journal = path_join(arena, directory, "journal");
    if (state == NULL || path == NULL || journal == NULL)
        return error_memory();
    state->arena = arena;
    forget(state, NULL);
    TRY(load_state(state, path));
    TRY(journal_load(state, journal));
    *out = state;
    return NULL;
}

/* Only files that a record still uses are kept. */
static struct error *put_state(struct buffer *writer, const struct state *state,
    const struct graph *graph, const struct validity *validity, uint32_t *places)
{
    struct buffer valid = {0};
    validity_write(&valid, validity, graph);
    wire_put_text(writer, (struct text){(const char *)valid.bytes, valid.count});
    writer->failed |= valid.failed;
    buffer_end(&valid);
    wire_put_u8(writer, graph != NULL);
    if (graph != NULL)
        put_graph(writer, graph);
    uint32_t records = 0, past = 0;
    struct record *kept =
        memory_alloc((state->record_count + state->past_count + 1) * sizeof *kept);
    TRY(memory_check(kept));
    for (uint32_t i = 0; i < state->record_count; i++)
        if (!state->records[i].is_gone)
            kept[records++] = state->records[i];
    for (uint32_t i = 0; i < state->past_count; i++)
        if (!state->past[i].is_gone)
            kept[records + past++] = state->past[i];
    struct error *error = codec_put_used_files(writer, state, kept, records + past, places);
    wire_put_u32(writer, records);
    for (uint32_t i = 0; i < records; i++)
        codec_put_record(writer, &kept[i], places);
    wire_put_u32(writer, past);
    for (uint32_t i = 0; i < past; i++)
        codec_put_record(writer, &kept[records + i], places);
    memory_free(kept);
    return error != NULL ? error : buffer_check(writer);
}

static struct error *write_state(struct state *state, const char *directory,
    const struct graph *graph, const struct validity *validity, struct buffer *writer,
    uint32_t *places)
{
    unsigned char header[HEADER_BYTES] = {0};
    buffer_put(writer, header, sizeof header);
    TRY(put_state(writer, state, graph, validity, places));
    struct text payload = {
        (const char *)writer->bytes + HEADER_BYTES, writer->count - HEADER_BYTES};
    struct hash128 hash = hash_text(payload);
    memcpy(writer->bytes, state_magic, sizeof state_magic);
    store_le32(writer->bytes + 16, STATE_VERSION);
    store_le64(writer->bytes + 24, payload.length);
    memcpy(writer->bytes + 32, hash.bytes, sizeof hash.bytes);
    char *path = path_join(state->arena, directory, "state");
    TRY(memory_check(path));
    TRY(file_replace_whole(path, (struct text){(const char *)writer->bytes, writer->count}));
    return state->intent_count > 0 ? journal_renew(state, directory)
                                   : journal_remove(state, directory);
}

struct error *state_save(struct state *state, const char *directory, const struct graph *graph,
    const struct validity *validity)
{
    struct buffer writer = {0};
    uint32_t *places = memory_alloc((state->file_count + 1) * sizeof *places);
    TRY(memory_check(places));
    memset(places, 0xFF, (state->file_count + 1) * sizeof *places);
    struct error *error = write_state(state, directory, graph, validity, &writer, places);
    memory_free(places);
    buffer_end(&writer);
    return error;
}
