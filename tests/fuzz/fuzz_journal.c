/* fuzz_journal.c - any bytes as what a build keeps on disk: state, journal, a node's pieces, and
 * the compiled graph. The first byte says which; with its high bit the rest is wrapped into
 * whole entries with right checksums, so that what lies behind them is reached, too. What was
 * believed can be gone through, written and read again. */
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/wire.h"
#include "engine/stale/compiled.h"
#include "engine/stale/shadow.h"
#include "engine/state/journal.h"
#include "engine/state/pieces.h"
#include "engine/state/store.h"
#include "tasks/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct validity validity = {
    .manifest = "m.json", .data_directory = "data", .registry = &registry};

static char directory[] = "/tmp/psybuild-fuzz.XXXXXX";

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A directory of its own, entered once: paths on the command line must be absolute. */
static void enter_directory(void)
{
    static bool is_entered;
    if (is_entered)
        return;
    must(mkdtemp(directory) != NULL && chdir(directory) == 0 && atexit(remove_directory) == 0);
    must(file_make_directories("s") == NULL);
    is_entered = true;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
    struct file *file;
    must(file_open_staged(path, &file) == NULL);
    must(file_set_size(file, 0) == NULL);
    must(file_write_at(file, 0, bytes, size) == NULL);
    file_close(file);
}

/* ---- right checksums ---- */

/* The state, of this version or the one before. */
static void wrap_state(struct buffer *out, bool is_older, const uint8_t *bytes, size_t size)
{
    struct hash128 hash = hash_bytes(bytes, size);
    buffer_put(out, "psybuild state\n", 16);
    wire_put_u32(out, is_older ? 2 : 3);
    wire_put_u32(out, 0);
    wire_put_u64(out, size);
    buffer_put(out, hash.bytes, sizeof hash.bytes);
    buffer_put(out, bytes, size);
}

/* Two parts, the length of the first in two bytes. */
static void wrap_compiled(struct buffer *out, const uint8_t *bytes, size_t size)
{
    size_t first = size < 2 ? 0 : load_le16(bytes), rest;
    bytes += size < 2 ? size : 2;
    size -= size < 2 ? size : 2;
    first = first > size ? size : first;
    rest = size - first;
    buffer_put(out, "psybuild graph\n", 16);
    wire_put_u32(out, 1);
    wire_put_u32(out, 0);
    struct hash128 hash = hash_bytes(bytes, first);
    wire_put_u64(out, first);
    buffer_put(out, hash.bytes, sizeof hash.bytes);
    hash = hash_bytes(bytes + first, rest);
    wire_put_u64(out, rest);
    buffer_put(out, hash.bytes, sizeof hash.bytes);
    buffer_put(out, bytes, size);
}

/* Entries, each from a byte (its type), two (its length) and a payload. */
static void wrap_entries(struct buffer *out, const char *magic, const uint8_t *bytes, size_t size)
{
    bool is_journal = strcmp(magic, "psybuild journl\x04") == 0;
    buffer_put(out, magic, 16);
    for (uint64_t sequence = 0; size >= 3; sequence++) {
        uint32_t type = bytes[0], length = load_le16(bytes + 1);
        if (length > size - 3)
            length = (uint32_t)size - 3;
        struct hash128 hash = hash_bytes(bytes + 3, length);
        if (is_journal) {
            unsigned char head[28];
            store_le64(head, sequence);
            store_le32(head + 8, type);
            memcpy(head + 12, hash.bytes, sizeof hash.bytes);
            hash = hash_bytes(head, sizeof head);
        }
        wire_put_u32(out, is_journal ? type : length);
        wire_put_u32(out, is_journal ? length : type);
        buffer_put(out, hash.bytes, sizeof hash.bytes);
        buffer_put(out, bytes + 3, length);
        bytes += 3 + length;
        size -= 3 + length;
    }
}

/* ---- going through what was believed ---- */

static void read_name(const char *name)
{
    must(name != NULL && strlen(name) < SIZE_MAX);
}

static void walk_record(const struct state *state, const struct record *record)
{
    read_name(record->name);
    read_name(record->manifest);
    hash_text(record->declaration);
    hash_text(record->layout);
    for (uint32_t i = 0; i < record->read_count; i++) {
        read_name(record->reads[i].detail);
        bool has_file = record->reads[i].kind != READ_LAYOUT;
        must(has_file == (record->reads[i].file != FILE_NONE));
        must(!has_file || record->reads[i].file < state->file_count);
    }
    for (uint32_t i = 0; i < record->made_count; i++) {
        must(record->made[i].file < state->file_count);
        read_name(record->made[i].identity);
    }
}

static void walk_intent(const struct state *state, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        must(move->kind >= MOVE_HIDE && move->kind <= MOVE_END);
        read_name(move->from);
        read_name(move->to);
        read_name(move->place);
    }
    for (uint32_t i = 0; i < intent->record_count; i++)
        walk_record(state, &intent->records[i]);
}

static void walk_graph(struct arena *arena, const struct graph *graph)
{
    bool *is_wanted = arena_array(arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(arena, graph->node_count, sizeof *is_named);
    error_free(graph_select(graph, NULL, 0, is_wanted, is_named));
    const char *target = "a";
    error_free(graph_select(graph, &target, 1, is_wanted, is_named));
    for (uint32_t i = 0; i < graph->node_count; i++)
        must(graph_find_producer(graph, graph->nodes[i].name) < graph->node_count);
}

static void walk_state(const struct state *state)
{
    for (uint32_t i = 0; i < state->file_count; i++) {
        read_name(state->files[i].path);
        read_name(state->files[i].location);
        read_name(state->files[i].identity);
    }
    for (uint32_t i = 0; i < state->record_count; i++)
        walk_record(state, &state->records[i]);
    for (uint32_t i = 0; i < state->intent_count; i++)
        walk_intent(state, state->intents[i]);
}

static struct state *load_state(struct arena *arena)
{
    struct state *state = NULL;
    struct error *error = state_load(arena, "s", &state);
    must((error == NULL) == (state != NULL));
    if (error != NULL) {
        must(error_kind_of(error) == ERROR_USAGE);
        error_free(error);
    }
    return state;
}

/* What was believed is believed again, from the journal gone on with and from a state of it. */
static void check_state(void)
{
    struct arena arena = {0};
    struct state *state = load_state(&arena);
    if (state != NULL) {
        walk_state(state);
        uint32_t records = state->record_count;
        must(journal_open(state, "s") == NULL);
        if (records > 0)
            must(journal_put_record(state, &state->records[0]) == NULL);
        uint32_t intents = state->intent_count;
        if (intents > 0)
            must(journal_put_intent(state, "s", state->intents[0]) == NULL);
        file_close(state->journal);
        state->journal = NULL;
        struct state *again = load_state(&arena);
        must(again != NULL && again->record_count == records);
        must(again->intent_count == intents + (intents > 0));
        walk_state(again);
        must(state_save(again, "s") == NULL);
        struct state *saved = load_state(&arena);
        must(saved != NULL && saved->record_count == records && saved->warning == NULL);
        walk_state(saved);
    }
    arena_end(&arena);
}

static void check_pieces(void)
{
    struct arena arena = {0};
    struct piece_log *log = NULL, *again = NULL;
    must(pieces_load(&arena, "log", &log) == NULL);
    for (uint32_t i = 0; i < log->count; i++) {
        const struct piece_record *record = &log->records[i];
        must(pieces_find(log, &record->key) != NULL);
        for (uint32_t k = 0; k < record->input_count; k++)
            must(record->inputs[k].file < log->input_count);
        for (uint32_t k = 0; k < record->output_count; k++)
            must(record->outputs[k].file < log->output_count);
    }
    if (log->count > 0) {
        struct piece_log *copy;
        must(pieces_begin(&arena, "log", log->inputs, log->input_count, log->outputs,
                 log->output_count, &copy) == NULL);
        for (uint32_t i = 0; i < log->count; i++)
            pieces_put(copy, &log->records[i]);
        must(pieces_publish(copy) == NULL);
        must(pieces_end(copy, &log->generation, log->inputs) == NULL);
        pieces_close(copy);
        must(pieces_load(&arena, "log", &again) == NULL);
        must(again->count == log->count && pieces_is_of(again, &log->generation));
    }
    arena_end(&arena);
}

static void check_compiled(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    struct graph *graph = NULL;
    const char *target = "a";
    bool is_null;
    must(compiled_is_null(&validity, "s", NULL, 0, &is_null) == NULL);
    must(compiled_is_null(&validity, "s", &target, 1, &is_null) == NULL);
    struct wire_reader reader = {.bytes = bytes, .length = size};
    must(shadow_get(&reader, &arena, &graph) == NULL);
    if (graph != NULL)
        walk_graph(&arena, graph);
    arena_end(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const magics[] = {
        "psybuild state\n\0", "psybuild journl\x04", "psybuild pieces4", "psybuild graph\n\0"};
    static const char *const paths[] = {"s/state", "s/journal", "log", "s/compiled"};
    struct buffer out = {0};
    if (size == 0)
        return 0;
    unsigned which = bytes[0] & 3;
    enter_directory();
    for (unsigned i = 0; i < 4; i++)
        must(file_remove(paths[i]) == NULL);
    if ((bytes[0] & 0x80) == 0)
        buffer_put(&out, bytes + 1, size - 1);
    else if (which == 0)
        wrap_state(&out, (bytes[0] & 0x40) != 0, bytes + 1, size - 1);
    else if (which == 3)
        wrap_compiled(&out, bytes + 1, size - 1);
    else
        wrap_entries(&out, magics[which], bytes + 1, size - 1);
    write_file(paths[which], out.bytes, out.count);
    buffer_end(&out);
    if (which < 2)
        check_state();
    else if (which == 2)
        check_pieces();
    else
        check_compiled(bytes + 1, size - 1);
    return 0;
}
