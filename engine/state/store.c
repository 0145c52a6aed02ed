/* store.c - reading and writing `.psybuild/state`.
 *
 *   "psybuild state\n\0" (16)  version u32  0 u32  length u64
 *   XXH3-128 of the payload (16)  payload: files | records | past ones
 *
 * Names are wire texts that include their NUL, so that they can be borrowed in place. */
#include "engine/state/store.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/state/codec.h"
#include "engine/state/journal.h"

enum { STATE_VERSION = 3, HEADER_BYTES = 48 };
static const char state_magic[16] = "psybuild state\n";

/* ---- reading ---- */

static void skip_names(struct wire_reader *reader)
{
    uint32_t count = wire_get_count(reader, 5);
    for (uint32_t i = 0; i < count; i++)
        (void)wire_get_name(reader);
}

/* What version 2 had before the files: what the compiled file has now. */
static void skip_graph(struct wire_reader *reader)
{
    (void)wire_get_text(reader);
    if (wire_get_u8(reader) == 0)
        return;
    (void)wire_get_name(reader);
    for (int list = 0; list < 4; list++)
        skip_names(reader);
    uint32_t count = wire_get_count(reader, 5 + 1 + 4 + 16 + 4);
    for (uint32_t i = 0; i < count && wire_reader_good(reader); i++) {
        (void)wire_get_name(reader);
        (void)wire_get_bytes(reader, 1 + 4 + 16);
        (void)wire_get_bytes(reader, 4 * (size_t)wire_get_count(reader, 4));
    }
    (void)wire_get_bytes(reader, 4 * (size_t)count);
}

static struct error *parse_payload(
    struct state *state, uint32_t version, struct text payload, bool *is_good)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)payload.bytes, .length = payload.length};
    if (version == 2)
        skip_graph(&reader);
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
    state->is_older = version == 2;
    if (version >= 2 && version <= STATE_VERSION && load_le64(text.bytes + 24) == payload.length &&
        memcmp(hash.bytes, text.bytes + 32, sizeof hash.bytes) == 0)
        TRY(parse_payload(state, version, payload, &is_good));
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
static struct error *put_state(struct buffer *writer, const struct state *state, uint32_t *places)
{
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

static struct error *write_state(
    struct state *state, const char *directory, struct buffer *writer, uint32_t *places)
{
    unsigned char header[HEADER_BYTES] = {0};
    buffer_put(writer, header, sizeof header);
    TRY(put_state(writer, state, places));
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

struct error *state_save(struct state *state, const char *directory)
{
    struct buffer writer = {0};
    uint32_t *places = memory_alloc((state->file_count + 1) * sizeof *places);
    TRY(memory_check(places));
    memset(places, 0xFF, (state->file_count + 1) * sizeof *places);
    struct error *error = write_state(state, directory, &writer, places);
    memory_free(places);
    buffer_end(&writer);
    return error;
}
