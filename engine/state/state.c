/* state.c - reading and writing `.psybuild/state` and `.psybuild/journal`.
 *
 *   state    "psybuild state\n\0" (16)  version u32  0 u32  length u64
 *            XXH3-128 of the payload (16)  payload: validity | graph | files | records | past ones
 *   journal  "psybuild journl" (15)  version u8, then entries:
 *            type u32  length u32  XXH3-128 of sequence u64, type, payload (16)  payload
 *
 * Names in either are wire texts that include their NUL, so that they can be borrowed in place. */
#include "engine/state/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "base/wire.h"

enum { STATE_VERSION = 2, HEADER_BYTES = 48, ENTRY_BYTES = 24, STATE_BYTES_MAX = 1 << 30 };
static const char state_magic[16] = "psybuild state\n";
/* The last byte is the version: journals are short-lived, but may hold an intent. */
enum { JOURNAL_VERSION = 3 };
static const char journal_magic[16] = {
    'p', 's', 'y', 'b', 'u', 'i', 'l', 'd', ' ', 'j', 'o', 'u', 'r', 'n', 'l', JOURNAL_VERSION};

enum entry_type { ENTRY_RECORD = 1, ENTRY_FILE, ENTRY_INTENT, ENTRY_SEALED };

/* ---- fields ---- */

static void put_hash(struct buffer *writer, const struct hash128 *hash)
{
    buffer_put(writer, hash->bytes, sizeof hash->bytes);
}

static struct hash128 get_hash(struct wire_reader *reader)
{
    struct hash128 hash = {{0}};
    const unsigned char *bytes = wire_get_bytes(reader, sizeof hash.bytes);
    if (bytes != NULL)
        memcpy(hash.bytes, bytes, sizeof hash.bytes);
    return hash;
}

/* ---- files ---- */

enum { FILE_HAS_TREE = 1, FILE_GIVEN_BACK = 2, FILE_DAMAGED = 4 };

static void put_file(struct buffer *writer, const struct state_file *file)
{
    wire_put_name(writer, file->path);
    wire_put_name(writer, strcmp(file->location, file->path) == 0 ? "" : file->location);
    wire_put_stamp(writer, &file->stamp);
    wire_put_u8(writer, (uint8_t)((file->has_tree ? FILE_HAS_TREE : 0) |
                                  (file->is_given_back ? FILE_GIVEN_BACK : 0) |
                                  (file->is_damaged ? FILE_DAMAGED : 0)));
    put_hash(writer, &file->tree);
    wire_put_name(writer, file->identity);
}

static struct state_file get_file(struct wire_reader *reader)
{
    struct state_file file = {.path = wire_get_name(reader)};
    file.location = wire_get_name(reader);
    if (file.location[0] == '\0')
        file.location = file.path;
    file.stamp = wire_get_stamp(reader);
    uint8_t flags = wire_get_u8(reader);
    file.has_tree = (flags & FILE_HAS_TREE) != 0;
    file.is_given_back = (flags & FILE_GIVEN_BACK) != 0;
    file.is_damaged = (flags & FILE_DAMAGED) != 0;
    file.tree = get_hash(reader);
    file.identity = wire_get_name(reader);
    return file;
}

struct error *state_add_file(
    struct state *state, const char *path, const char *location, uint32_t *out)
{
    *out = map_get(&state->file_by_path, path);
    if (*out != MAP_NONE) {
        if (location != NULL && strcmp(state->files[*out].location, location) != 0)
            state->files[*out] =
                (struct state_file){.path = path, .location = location, .identity = ""};
        return NULL;
    }
    state->files = arena_grow(
        state->arena, state->files, state->file_count, &state->file_capacity, sizeof *state->files);
    if (state->files == NULL)
        return error_memory();
    TRY(map_put(&state->file_by_path, path, state->file_count));
    *out = state->file_count;
    state->files[state->file_count++] = (struct state_file){
        .path = path, .location = location == NULL ? path : location, .identity = ""};
    return NULL;
}

/* ---- records ---- */

/* `places` maps file indices to those written; NULL: the same. */
static void put_place(struct buffer *writer, const uint32_t *places, uint32_t file)
{
    wire_put_u32(writer, places == NULL || file == FILE_NONE ? file : places[file]);
}

static void put_record(
    struct buffer *writer, const struct record *record, const uint32_t *places)
{
    wire_put_name(writer, record->name);
    wire_put_name(writer, record->manifest);
    wire_put_text(writer, record->declaration);
    put_hash(writer, &record->key);
    wire_put_text(writer, record->layout);
    wire_put_text(writer, record->figures);
    wire_put_u64(writer, record->duration_ns);
    wire_put_u32(writer, record->read_count);
    for (uint32_t i = 0; i < record->read_count; i++) {
        wire_put_u8(writer, (uint8_t)record->reads[i].kind);
        put_place(writer, places, record->reads[i].file);
        wire_put_name(writer, record->reads[i].detail);
        put_hash(writer, &record->reads[i].hash);
        put_hash(writer, &record->reads[i].seen);
        wire_put_name(writer, record->reads[i].shown);
    }
    wire_put_u32(writer, record->made_count);
    for (uint32_t i = 0; i < record->made_count; i++) {
        put_place(writer, places, record->made[i].file);
        wire_put_u8(writer, record->made[i].has_tree);
        put_hash(writer, &record->made[i].tree);
        wire_put_name(writer, record->made[i].identity);
    }
}

static uint32_t get_place(
    struct wire_reader *reader, const uint32_t *places, uint32_t count, bool may_be_none)
{
    uint32_t file = wire_get_u32(reader);
    if (file == FILE_NONE && may_be_none)
        return file;
    if (file >= count) {
        reader->failed = true;
        return FILE_NONE;
    }
    return places == NULL ? file : places[file];
}

enum { RECORD_BYTES_MIN = 5 + 5 + 4 + 16 + 4 + 8 + 4 + 4 };

static struct error *get_record(struct wire_reader *reader, struct arena *arena,
    const uint32_t *places, uint32_t place_count, struct record *out)
{
    enum { READ_BYTES_MIN = 1 + 4 + 5 + 16 + 16 + 5, MADE_BYTES_MIN = 4 + 1 + 16 + 5 };
    struct record record = {.name = wire_get_name(reader)};
    record.manifest = wire_get_name(reader);
    record.declaration = wire_get_text(reader);
    record.key = get_hash(reader);
    record.layout = wire_get_text(reader);
    record.figures = wire_get_text(reader);
    record.duration_ns = wire_get_u64(reader);
    record.read_count = wire_get_count(reader, READ_BYTES_MIN);
    record.reads = arena_array(arena, record.read_count, sizeof *record.reads);
    if (record.reads == NULL)
        return error_memory();
    for (uint32_t i = 0; i < record.read_count; i++) {
        struct record_read *read = &record.reads[i];
        read->kind = wire_get_u8(reader);
        read->file = get_place(reader, places, place_count, true);
        read->detail = wire_get_name(reader);
        read->hash = get_hash(reader);
        read->seen = get_hash(reader);
        read->shown = wire_get_name(reader);
        bool has_file = read->kind != READ_LAYOUT;
        if (read->kind < READ_CONTENT || read->kind > READ_ABSENT ||
            has_file != (read->file != FILE_NONE))
            reader->failed = true;
    }
    record.made_count = wire_get_count(reader, MADE_BYTES_MIN);
    record.made = arena_array(arena, record.made_count, sizeof *record.made);
    if (record.made == NULL)
        return error_memory();
    for (uint32_t i = 0; i < record.made_count; i++) {
        record.made[i].file = get_place(reader, places, place_count, false);
        record.made[i].has_tree = wire_get_u8(reader) != 0;
        record.made[i].tree = get_hash(reader);
        record.made[i].identity = wire_get_name(reader);
    }
    *out = record;
    return NULL;
}

bool state_is_as_made(const struct state_file *file, const struct record_made *made)
{
    if (file->is_damaged)
        return false;
    if (made->has_tree && file->has_tree && hash_equal(&made->tree, &file->tree))
        return true;
    return made->identity[0] != '\0' && strcmp(made->identity, file->identity) == 0;
}

struct record *state_find_record(const struct state *state, const char *name)
{
    uint32_t index = map_get(&state->record_by_name, name);
    return index == MAP_NONE || state->records[index].is_gone ? NULL : &state->records[index];
}

struct error *state_put_record(struct state *state, const struct record *record)
{
    uint32_t index = map_get(&state->record_by_name, record->name);
    if (index != MAP_NONE) {
        state->records[index] = *record;
        return NULL;
    }
    state->records = arena_grow(state->arena, state->records, state->record_count,
        &state->record_capacity, sizeof *state->records);
    if (state->records == NULL)
        return error_memory();
    TRY(map_put(&state->record_by_name, record->name, state->record_count));
    state->records[state->record_count++] = *record;
    return NULL;
}

struct error *state_keep_past(struct state *state, const struct record *record)
{
    enum { PAST_MAX = 8 }; /* of one node */
    uint32_t newest = map_get(&state->past_by_name, record->name), count = 1;
    newest = newest == MAP_NONE ? RECORD_NONE : newest;
    for (uint32_t at = newest; at != RECORD_NONE; at = state->past[at].older) {
        struct record *past = &state->past[at];
        past->is_gone |= hash_equal(&past->key, &record->key) || count == PAST_MAX;
        count += !past->is_gone;
    }
    state->past = arena_grow(
        state->arena, state->past, state->past_count, &state->past_capacity, sizeof *state->past);
    if (state->past == NULL)
        return error_memory();
    TRY(map_put(&state->past_by_name, record->name, state->past_count));
    state->past[state->past_count] = *record;
    state->past[state->past_count].older = newest;
    state->past[state->past_count++].is_gone = false;
    return NULL;
}

void state_drop_record(struct state *state, const char *name)
{
    struct record *record = state_find_record(state, name);
    if (record != NULL)
        record->is_gone = true;
}

struct error *state_generation(
    const struct state *state, const struct record *record, struct hash128 *out)
{
    struct buffer writer = {0};
    wire_put_name(&writer, record->name);
    for (uint32_t i = 0; i < record->made_count; i++) {
        wire_put_name(&writer, state->files[record->made[i].file].path);
        wire_put_u8(&writer, record->made[i].has_tree);
        put_hash(&writer, &record->made[i].tree);
        wire_put_name(&writer, record->made[i].identity);
    }
    struct error *error = buffer_check(&writer);
    if (error == NULL)
        *out = hash_bytes(writer.bytes, writer.count);
    buffer_end(&writer);
    return error;
}

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
        put_hash(writer, &node->key);
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
    return *names == NULL ? error_memory() : NULL;
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
    node->key = get_hash(reader);
    node->need_count = wire_get_count(reader, 4);
    node->needs = arena_array(arena, node->need_count, sizeof *node->needs);
    if (node->needs == NULL)
        return error_memory();
    for (uint32_t k = 0; k < node->need_count; k++)
        node->needs[k] = get_index(reader, graph->node_count);
    return NULL;
}

static struct error *fill_lists(struct arena *arena, struct graph *graph)
{
    graph->patterns = arena_array(arena, graph->node_count, sizeof *graph->patterns);
    if (graph->patterns == NULL)
        return error_memory();
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].is_pattern)
            graph->patterns[graph->pattern_count++] = i;
    return graph_fill_groups(arena, graph);
}

static struct error *get_graph(struct wire_reader *reader, struct arena *arena, struct graph **out)
{
    enum { NODE_BYTES_MIN = 5 + 1 + 4 + 16 + 4 };
    struct graph *graph = arena_alloc(arena, sizeof *graph);
    if (graph == NULL)
        return error_memory();
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

/* ---- loading ---- */

static struct error *parse_payload(struct state *state, struct text payload, bool *is_good)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)payload.bytes, .length = payload.length};
    state->validity = wire_get_text(&reader);
    if (wire_get_u8(&reader) != 0)
        TRY(get_graph(&reader, state->arena, &state->graph));
    uint32_t files = wire_get_count(&reader, 5 + 5 + 32 + 1 + 16 + 5);
    for (uint32_t i = 0; i < files && wire_reader_good(&reader); i++) {
        struct state_file file = get_file(&reader);
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
        TRY(get_record(&reader, state->arena, NULL, state->file_count, &record));
        TRY(state_put_record(state, &record));
    }
    records = wire_get_count(&reader, RECORD_BYTES_MIN);
    for (uint32_t i = 0; i < records && wire_reader_good(&reader); i++) {
        struct record record;
        TRY(get_record(&reader, state->arena, NULL, state->file_count, &record));
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

static struct error *newer(const char *path, unsigned version, unsigned known)
{
    return error_new(ERROR_USAGE,
        "%s: written by a newer psybuild (format %u, this one knows up to %u); remove it to start "
        "afresh",
        path, version, known);
}

static struct error *load_state(struct state *state, const char *path)
{
    struct text text;
    struct error *error = file_read_whole(state->arena, path, STATE_BYTES_MAX, &text);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    static const char damaged[] =
        "the build state is damaged: outputs are compared by content or made again";
    if (text.length < HEADER_BYTES || memcmp(text.bytes, state_magic, sizeof state_magic) != 0) {
        forget(state, damaged);
        return NULL;
    }
    uint32_t version = load_le32(text.bytes + 16);
    if (version > STATE_VERSION && version < 0x10000)
        return newer(path, version, STATE_VERSION);
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

/* ---- journal entries ---- */

/* The i-th file that a record uses. */
static uint32_t used_file(const struct record *record, uint32_t i)
{
    return i < record->read_count ? record->reads[i].file
                                  : record->made[i - record->read_count].file;
}

/* Room in `places` for all files; what is new there is UINT32_MAX. */
static struct error *grow_places(struct state *state)
{
    if (state->place_count >= state->file_count)
        return NULL;
    uint32_t *grown = arena_array(state->arena, state->file_capacity, sizeof *grown);
    if (grown == NULL)
        return error_memory();
    memset(grown, 0xFF, state->file_capacity * sizeof *grown);
    state->places = grown;
    state->place_count = state->file_capacity;
    return NULL;
}

static void clear_places(struct state *state, const struct record *records, uint32_t record_count)
{
    for (uint32_t r = 0; r < record_count; r++)
        for (uint32_t i = 0; i < records[r].read_count + records[r].made_count; i++)
            if (used_file(&records[r], i) != FILE_NONE)
                state->places[used_file(&records[r], i)] = UINT32_MAX;
}

/* Files first, by their paths, then what refers to them by the entry's own numbers. */
static struct error *put_used_files(struct buffer *writer, const struct state *state,
    const struct record *records, uint32_t record_count, uint32_t *places)
{
    uint32_t count = 0;
    struct buffer files = {0};
    for (uint32_t r = 0; r < record_count; r++) {
        uint32_t uses = records[r].read_count + records[r].made_count;
        for (uint32_t i = 0; i < uses; i++) {
            uint32_t file = used_file(&records[r], i);
            if (file == FILE_NONE || places[file] != UINT32_MAX)
                continue;
            places[file] = count++;
            put_file(&files, &state->files[file]);
        }
    }
    wire_put_u32(writer, count);
    buffer_put(writer, files.bytes, files.count);
    writer->failed |= files.failed;
    buffer_end(&files);
    return buffer_check(writer);
}

static struct error *get_used_files(
    struct wire_reader *reader, struct state *state, uint32_t **places, uint32_t *count)
{
    *count = wire_get_count(reader, 5 + 5 + 32 + 1 + 16 + 5);
    *places = arena_array(state->arena, *count, sizeof **places);
    if (*places == NULL)
        return error_memory();
    for (uint32_t i = 0; i < *count && wire_reader_good(reader); i++) {
        struct state_file file = get_file(reader);
        if (!wire_reader_good(reader))
            break;
        TRY(state_add_file(state, file.path, file.location, &(*places)[i]));
        state->files[(*places)[i]] = file;
    }
    return NULL;
}

static void put_intent(
    struct buffer *writer, const struct intent *intent, const uint32_t *places)
{
    wire_put_u32(writer, intent->move_count);
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        wire_put_u8(writer, (uint8_t)move->kind);
        wire_put_name(writer, move->from);
        wire_put_stamp(writer, &move->stamp);
        wire_put_name(writer, move->to);
        wire_put_stamp(writer, &move->displaced);
        wire_put_name(writer, move->place);
        wire_put_u8(writer, move->is_aside);
    }
    wire_put_u32(writer, intent->record_count);
    for (uint32_t i = 0; i < intent->record_count; i++)
        put_record(writer, &intent->records[i], places);
}

static struct error *add_intent(struct state *state, struct intent *intent, uint64_t number)
{
    intent->number = number;
    state->intents = arena_grow(state->arena, state->intents, state->intent_count,
        &state->intent_capacity, sizeof(struct intent *));
    if (state->intents == NULL)
        return error_memory();
    state->intents[state->intent_count++] = intent;
    return NULL;
}

static void remove_intent(struct state *state, uint64_t number)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < state->intent_count; i++)
        if (state->intents[i]->number != number)
            state->intents[kept++] = state->intents[i];
    state->intent_count = kept;
}

static struct error *get_intent(
    struct wire_reader *reader, struct state *state, const uint32_t *places, uint32_t place_count)
{
    struct arena *arena = state->arena;
    struct intent *intent = arena_alloc(arena, sizeof *intent);
    if (intent == NULL)
        return error_memory();
    intent->is_recovered = true;
    intent->move_count = wire_get_count(reader, 1 + 5 + 32 + 5 + 32 + 5 + 1);
    intent->moves = arena_array(arena, intent->move_count, sizeof *intent->moves);
    if (intent->moves == NULL)
        return error_memory();
    for (uint32_t i = 0; i < intent->move_count; i++) {
        struct move *move = &intent->moves[i];
        move->kind = wire_get_u8(reader);
        move->from = wire_get_name(reader);
        move->stamp = wire_get_stamp(reader);
        move->to = wire_get_name(reader);
        move->displaced = wire_get_stamp(reader);
        move->place = wire_get_name(reader);
        move->is_aside = wire_get_u8(reader) != 0;
        if (move->kind < MOVE_HIDE || move->kind > MOVE_END)
            reader->failed = true;
    }
    intent->record_count = wire_get_count(reader, RECORD_BYTES_MIN);
    intent->records = arena_array(arena, intent->record_count, sizeof *intent->records);
    if (intent->records == NULL)
        return error_memory();
    for (uint32_t i = 0; i < intent->record_count && wire_reader_good(reader); i++)
        TRY(get_record(reader, arena, places, place_count, &intent->records[i]));
    return wire_reader_done(reader) ? add_intent(state, intent, state->journal_sequence) : NULL;
}

static struct error *replay_entry(
    struct state *state, uint32_t type, struct text payload, bool *is_good)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)payload.bytes, .length = payload.length};
    uint32_t *places, count;
    uint64_t number;
    TRY(get_used_files(&reader, state, &places, &count));
    struct record record;
    switch (type) {
    case ENTRY_RECORD:
        TRY(get_record(&reader, state->arena, places, count, &record));
        if (wire_reader_done(&reader))
            TRY(state_put_record(state, &record));
        break;
    case ENTRY_INTENT:
        TRY(get_intent(&reader, state, places, count));
        break;
    case ENTRY_SEALED:
        number = wire_get_u64(&reader);
        if (wire_reader_done(&reader))
            remove_intent(state, number);
        break;
    default:
        break; /* ENTRY_FILE: the files are all of it */
    }
    *is_good = wire_reader_done(&reader) && type >= ENTRY_RECORD && type <= ENTRY_SEALED;
    return NULL;
}

static struct hash128 hash_entry(uint64_t sequence, uint32_t type, struct text payload)
{
    struct hash128 inner = hash_text(payload);
    unsigned char bytes[8 + 4 + 16];
    store_le64(bytes, sequence);
    store_le32(bytes + 8, type);
    memcpy(bytes + 12, inner.bytes, sizeof inner.bytes);
    return hash_bytes(bytes, sizeof bytes);
}

/* Replays up to the first entry that is not whole; what follows is cut when the journal is opened.
 */
static struct error *load_journal(struct state *state, const char *path)
{
    struct text text;
    struct error *error = file_read_whole(state->arena, path, STATE_BYTES_MAX, &text);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    state->has_journal = true;
    size_t name_length = sizeof journal_magic - 1;
    unsigned version = text.length > name_length ? (unsigned char)text.bytes[name_length] : 0;
    if (version > JOURNAL_VERSION && version < 'a' &&
        memcmp(text.bytes, journal_magic, name_length) == 0)
        return newer(path, version, JOURNAL_VERSION);
    size_t compared = text.length < sizeof journal_magic ? text.length : sizeof journal_magic;
    if (memcmp(text.bytes, journal_magic, compared) != 0 && state->warning == NULL)
        state->warning = "the journal of the last build is damaged: what it had made is compared "
                         "by content or made again";
    if (memcmp(text.bytes, journal_magic, compared) != 0 || compared < sizeof journal_magic)
        return NULL; /* or torn at its very first write */
    uint64_t at = sizeof journal_magic;
    while (text.length - at >= ENTRY_BYTES) {
        const char *entry = text.bytes + at;
        uint32_t type = load_le32(entry), length = load_le32(entry + 4);
        if (length > text.length - at - ENTRY_BYTES)
            break;
        struct text payload = {entry + ENTRY_BYTES, length};
        struct hash128 hash = hash_entry(state->journal_sequence, type, payload);
        bool is_good = false;
        if (memcmp(hash.bytes, entry + 8, sizeof hash.bytes) != 0)
            break;
        TRY(replay_entry(state, type, payload, &is_good));
        if (!is_good)
            break;
        state->journal_sequence++;
        at += ENTRY_BYTES + length;
    }
    state->journal_size = at;
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
    TRY(load_journal(state, journal));
    *out = state;
    return NULL;
}

/* ---- writing the journal ---- */

static struct error *begin_journal(struct state *state, const char *path)
{
    TRY(file_open_staged(path, &state->journal));
    TRY(file_set_size(state->journal, 0));
    TRY(file_write_at(state->journal, 0, journal_magic, sizeof journal_magic));
    state->journal_size = sizeof journal_magic;
    state->journal_sequence = 0;
    return NULL;
}

struct error *journal_open(struct state *state, const char *directory)
{
    char *path = path_join(state->arena, directory, "journal");
    if (path == NULL)
        return error_memory();
    if (state->journal_size < sizeof journal_magic)
        return begin_journal(state, path);
    TRY(file_open_staged(path, &state->journal));
    return file_set_size(state->journal, state->journal_size);
}

static struct error *append_entry(
    struct state *state, enum entry_type type, const struct buffer *payload)
{
    struct text bytes = {(const char *)payload->bytes, payload->count};
    unsigned char head[ENTRY_BYTES];
    store_le32(head, type);
    store_le32(head + 4, (uint32_t)payload->count);
    struct hash128 hash = hash_entry(state->journal_sequence, type, bytes);
    memcpy(head + 8, hash.bytes, sizeof hash.bytes);
    TRY(file_write_at(state->journal, state->journal_size, head, sizeof head));
    TRY(file_write_at(
        state->journal, state->journal_size + sizeof head, payload->bytes, payload->count));
    state->journal_size += sizeof head + payload->count;
    state->journal_sequence++;
    return NULL;
}

static struct error *append_records(struct state *state, enum entry_type type,
    const struct record *records, uint32_t record_count, const struct intent *intent)
{
    struct buffer payload = {0};
    TRY(grow_places(state));
    struct error *error = put_used_files(&payload, state, records, record_count, state->places);
    if (error == NULL) {
        if (intent != NULL)
            put_intent(&payload, intent, state->places);
        for (uint32_t i = 0; intent == NULL && i < record_count; i++)
            put_record(&payload, &records[i], state->places);
        error = buffer_check(&payload);
    }
    if (error == NULL)
        error = append_entry(state, type, &payload);
    clear_places(state, records, record_count);
    buffer_end(&payload);
    return error;
}

struct error *journal_put_record(struct state *state, const struct record *record)
{
    return append_records(state, ENTRY_RECORD, record, 1, NULL);
}

struct error *journal_put_intent(struct state *state, const char *directory, struct intent *intent)
{
    uint64_t number = state->journal_sequence;
    TRY(append_records(state, ENTRY_INTENT, intent->records, intent->record_count, intent));
    TRY(file_sync(state->journal));
    if (!state->is_journal_named)
        TRY(file_sync_directory(directory));
    state->is_journal_named = true;
    return add_intent(state, intent, number);
}

struct error *journal_put_sealed(struct state *state, const struct intent *intent)
{
    struct buffer payload = {0};
    uint64_t number = intent->number;
    wire_put_u32(&payload, 0); /* it names no files */
    wire_put_u64(&payload, number);
    struct error *error = buffer_check(&payload);
    if (error == NULL)
        error = append_entry(state, ENTRY_SEALED, &payload);
    buffer_end(&payload);
    if (error == NULL)
        remove_intent(state, number);
    return error;
}

struct error *journal_put_file(struct state *state, uint32_t file)
{
    struct buffer payload = {0};
    wire_put_u32(&payload, 1);
    put_file(&payload, &state->files[file]);
    struct error *error = buffer_check(&payload);
    if (error == NULL)
        error = append_entry(state, ENTRY_FILE, &payload);
    buffer_end(&payload);
    return error;
}

struct error *journal_remove(struct state *state, const char *directory)
{
    char *path = path_join(state->arena, directory, "journal");
    if (path == NULL)
        return error_memory();
    file_close(state->journal);
    state->journal = NULL;
    state->journal_size = state->journal_sequence = 0;
    state->is_journal_named = false;
    return file_remove(path);
}

/* What was not finished goes on in a journal that holds nothing else, and is closed. */
static struct error *renew_journal(struct state *state, const char *directory)
{
    struct intent **intents = state->intents;
    uint32_t count = state->intent_count;
    char *path = path_join(state->arena, directory, "journal");
    char *beside = path_join(state->arena, directory, "journal.new");
    if (path == NULL || beside == NULL)
        return error_memory();
    file_close(state->journal);
    state->journal = NULL;
    state->intents = NULL;
    state->intent_count = 0;
    state->intent_capacity = 0;
    TRY(begin_journal(state, beside));
    for (uint32_t i = 0; i < count; i++)
        TRY(journal_put_intent(state, directory, intents[i]));
    file_close(state->journal);
    state->journal = NULL;
    TRY(file_rename(beside, path));
    return file_sync_directory(directory);
}

/* ---- saving ---- */

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
    if (kept == NULL)
        return error_memory();
    for (uint32_t i = 0; i < state->record_count; i++)
        if (!state->records[i].is_gone)
            kept[records++] = state->records[i];
    for (uint32_t i = 0; i < state->past_count; i++)
        if (!state->past[i].is_gone)
            kept[records + past++] = state->past[i];
    struct error *error = put_used_files(writer, state, kept, records + past, places);
    wire_put_u32(writer, records);
    for (uint32_t i = 0; i < records; i++)
        put_record(writer, &kept[i], places);
    wire_put_u32(writer, past);
    for (uint32_t i = 0; i < past; i++)
        put_record(writer, &kept[records + i], places);
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
    if (path == NULL)
        return error_memory();
    TRY(file_replace_whole(path, (struct text){(const char *)writer->bytes, writer->count}));
    return state->intent_count > 0 ? renew_journal(state, directory)
                                   : journal_remove(state, directory);
}

struct error *state_save(struct state *state, const char *directory, const struct graph *graph,
    const struct validity *validity)
{
    struct buffer writer = {0};
    uint32_t *places = memory_alloc((state->file_count + 1) * sizeof *places);
    if (places == NULL)
        return error_memory();
    memset(places, 0xFF, (state->file_count + 1) * sizeof *places);
    struct error *error = write_state(state, directory, graph, validity, &writer, places);
    memory_free(places);
    buffer_end(&writer);
    return error;
}
