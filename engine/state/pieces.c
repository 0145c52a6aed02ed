/* pieces.c - the log's bytes:
 *
 *   "psybuild pieces4" (16)  then entries: length u32  kind u32  XXH3-128 of the payload (16)
 *   payload of the head:  inputs (name, head) | outputs (name, size, head)
 *   of a piece:           key (16)  inputs u8  outputs u8  result (text)
 *                         parts: file u32  offset u64  size u64  hashes u32 and as many hashes
 *   of an end:            generation (16)  for each input: has_tree u8  tree (16) */
#include "engine/state/pieces.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "base/wire.h"

enum { ENTRY_BYTES = 24, LOG_BYTES_MAX = 1 << 30 };
static const char magic[16] = {
    'p', 's', 'y', 'b', 'u', 'i', 'l', 'd', ' ', 'p', 'i', 'e', 'c', 'e', 's', '4'};
enum entry_kind { ENTRY_HEAD, ENTRY_PIECE, ENTRY_END };

static void put_part(struct buffer *writer, const struct piece_part *part)
{
    wire_put_u32(writer, part->file);
    wire_put_u64(writer, part->offset);
    wire_put_u64(writer, part->size_bytes);
    wire_put_u32(writer, part->hash_count);
    buffer_put(writer, part->hashes, part->hash_count * sizeof *part->hashes);
}

static void get_part(
    struct wire_reader *reader, struct arena *arena, uint32_t file_count, struct piece_part *part)
{
    part->file = wire_get_u32(reader);
    part->offset = wire_get_u64(reader);
    part->size_bytes = wire_get_u64(reader);
    part->hash_count = wire_get_count(reader, sizeof *part->hashes);
    const unsigned char *bytes = wire_get_bytes(reader, part->hash_count * sizeof *part->hashes);
    struct hash128 *hashes = arena_array(arena, part->hash_count, sizeof *hashes);
    if (bytes == NULL || hashes == NULL || part->file >= file_count) {
        reader->failed = true;
        return;
    }
    memcpy(hashes, bytes, part->hash_count * sizeof *hashes);
    part->hashes = hashes;
}

static void put_entry(struct piece_log *log, enum entry_kind kind, const struct buffer *payload)
{
    unsigned char head[ENTRY_BYTES] = {0};
    struct hash128 hash = hash_bytes(payload->bytes, payload->count);
    store_le32(head, (uint32_t)payload->count);
    store_le32(head + 4, kind);
    memcpy(head + 8, hash.bytes, sizeof hash.bytes);
    buffer_put(&log->pending, head, sizeof head);
    buffer_put(&log->pending, payload->bytes, payload->count);
    log->pending.failed |= payload->failed;
}

/* ---- reading ---- */

static void get_hash(struct wire_reader *reader, struct hash128 *out)
{
    const unsigned char *bytes = wire_get_bytes(reader, sizeof out->bytes);
    if (bytes != NULL)
        memcpy(out->bytes, bytes, sizeof out->bytes);
}

static struct error *read_files(struct wire_reader *reader, struct piece_log *log)
{
    log->input_count = wire_get_count(reader, 4 + 16);
    log->inputs = arena_array(log->arena, log->input_count, sizeof *log->inputs);
    for (uint32_t i = 0; log->inputs != NULL && i < log->input_count; i++) {
        log->inputs[i].path = wire_get_string(reader, log->arena);
        get_hash(reader, &log->inputs[i].head);
    }
    log->output_count = wire_get_count(reader, 4 + 8 + 16);
    log->outputs = arena_array(log->arena, log->output_count, sizeof *log->outputs);
    for (uint32_t i = 0; log->outputs != NULL && i < log->output_count; i++) {
        log->outputs[i].path = wire_get_string(reader, log->arena);
        log->outputs[i].size_bytes = wire_get_u64(reader);
        get_hash(reader, &log->outputs[i].head);
    }
    return log->inputs == NULL || log->outputs == NULL ? error_memory() : NULL;
}

static struct error *add_record(struct piece_log *log, const struct piece_record *record)
{
    log->records =
        arena_grow(log->arena, log->records, log->count, &log->capacity, sizeof *log->records);
    char *hex = arena_alloc(log->arena, HASH_HEX_BYTES);
    if (log->records == NULL || hex == NULL)
        return error_memory();
    hash_hex(&record->key, hex);
    TRY(map_put(&log->by_key, hex, log->count));
    log->records[log->count++] = *record;
    return NULL;
}

static struct error *read_record(struct wire_reader *reader, struct piece_log *log, bool *is_good)
{
    struct piece_record record = {0};
    const unsigned char *key = wire_get_bytes(reader, sizeof record.key);
    record.input_count = wire_get_u8(reader);
    record.output_count = wire_get_u8(reader);
    record.result = wire_get_text(reader); /* lies in the arena, as the log's text does */
    if (key == NULL || record.input_count > PIECE_RANGES_MAX ||
        record.output_count > PIECE_RANGES_MAX)
        return NULL;
    memcpy(record.key.bytes, key, sizeof record.key);
    for (uint32_t i = 0; i < record.input_count; i++)
        get_part(reader, log->arena, log->input_count, &record.inputs[i]);
    for (uint32_t i = 0; i < record.output_count; i++)
        get_part(reader, log->arena, log->output_count, &record.outputs[i]);
    *is_good = wire_reader_done(reader);
    return *is_good ? add_record(log, &record) : NULL;
}

static bool read_end(struct wire_reader *reader, struct piece_log *log)
{
    get_hash(reader, &log->generation);
    for (uint32_t i = 0; i < log->input_count; i++) {
        log->inputs[i].has_tree = wire_get_u8(reader) != 0;
        get_hash(reader, &log->inputs[i].tree);
    }
    return wire_reader_done(reader);
}

static struct error *read_entry(
    struct wire_reader *reader, struct piece_log *log, uint32_t kind, bool *is_good)
{
    *is_good = false;
    log->is_ended = false;
    if (kind == ENTRY_PIECE)
        return read_record(reader, log, is_good);
    if (kind == ENTRY_END)
        log->is_ended = *is_good = read_end(reader, log);
    return NULL;
}

static struct error *replay(struct piece_log *log, struct text text)
{
    uint64_t at = sizeof magic;
    for (bool is_first = true; text.length - at >= ENTRY_BYTES; is_first = false) {
        const char *entry = text.bytes + at;
        uint32_t length = load_le32(entry), kind = load_le32(entry + 4);
        if (length > text.length - at - ENTRY_BYTES)
            break;
        struct wire_reader reader = {
            .bytes = (const unsigned char *)entry + ENTRY_BYTES, .length = length};
        struct hash128 hash = hash_bytes(reader.bytes, length);
        if (memcmp(hash.bytes, entry + 8, sizeof hash.bytes) != 0)
            break;
        bool is_good = false;
        if (is_first) {
            TRY(read_files(&reader, log));
            is_good = wire_reader_done(&reader) && kind == ENTRY_HEAD;
            if (!is_good)
                log->input_count = log->output_count = 0;
        } else {
            TRY(read_entry(&reader, log, kind, &is_good));
        }
        if (!is_good)
            break;
        at += ENTRY_BYTES + length;
    }
    return NULL;
}

static struct error *new_log(struct arena *arena, struct piece_log **out)
{
    *out = arena_alloc(arena, sizeof **out);
    TRY(memory_check(*out));
    **out = (struct piece_log){.arena = arena, .by_key = {.arena = arena}};
    return NULL;
}

struct error *pieces_load(struct arena *arena, const char *path, struct piece_log **out)
{
    struct text text = {0};
    TRY(new_log(arena, out));
    TRY(error_forgive(file_read_whole(arena, path, LOG_BYTES_MAX, &text), ERROR_MISSING));
    if (text.bytes == NULL)
        return NULL;
    bool is_older = text.length >= sizeof magic && text.bytes[sizeof magic - 1] == '3';
    if (text.length < sizeof magic || memcmp(text.bytes, magic, sizeof magic - 1) != 0 ||
        (text.bytes[sizeof magic - 1] != magic[sizeof magic - 1] && !is_older))
        return NULL;
    TRY(replay(*out, text));
    if (!is_older || (*out)->input_count == 0)
        return NULL; /* a download is in blocks, then as now */
    TRY(new_log(arena, out));
    (*out)->is_older = true;
    return NULL;
}

const struct piece_record *pieces_find(const struct piece_log *log, const struct hash128 *key)
{
    char hex[HASH_HEX_BYTES];
    uint32_t index = map_get(&log->by_key, hash_hex(key, hex));
    return index == MAP_NONE ? NULL : &log->records[index];
}

bool pieces_is_of(const struct piece_log *log, const struct hash128 *generation)
{
    return log->is_ended && hash_equal(&log->generation, generation);
}

/* ---- writing ---- */

struct error *pieces_begin(struct arena *arena, const char *path, const struct piece_file *inputs,
    uint32_t input_count, const struct piece_file *outputs, uint32_t output_count,
    struct piece_log **out)
{
    struct buffer payload = {0};
    char *beside = arena_format(arena, "%s.new", path);
    TRY(memory_check(beside));
    TRY(new_log(arena, out));
    (*out)->path = path;
    (*out)->input_count = input_count;
    TRY(file_remove(beside)); /* left by a killed build: never written through */
    TRY(file_open_staged(beside, &(*out)->file));
    struct error *error = file_write_at((*out)->file, 0, magic, sizeof magic);
    (*out)->size_bytes = sizeof magic;
    wire_put_u32(&payload, input_count);
    for (uint32_t i = 0; i < input_count; i++) {
        wire_put_string(&payload, inputs[i].path);
        buffer_put(&payload, inputs[i].head.bytes, sizeof inputs[i].head.bytes);
    }
    wire_put_u32(&payload, output_count);
    for (uint32_t i = 0; i < output_count; i++) {
        wire_put_string(&payload, outputs[i].path);
        wire_put_u64(&payload, outputs[i].size_bytes);
        buffer_put(&payload, outputs[i].head.bytes, sizeof outputs[i].head.bytes);
    }
    if (error == NULL) {
        put_entry(*out, ENTRY_HEAD, &payload);
        error = pieces_flush(*out);
    }
    buffer_end(&payload);
    if (error != NULL)
        pieces_close(*out);
    return error;
}

struct error *pieces_publish(struct piece_log *log)
{
    TRY(pieces_flush(log));
    return file_rename(file_path(log->file), log->path);
}

void pieces_put(struct piece_log *log, const struct piece_record *record)
{
    struct buffer payload = {0};
    buffer_put(&payload, record->key.bytes, sizeof record->key.bytes);
    wire_put_u8(&payload, (uint8_t)record->input_count);
    wire_put_u8(&payload, (uint8_t)record->output_count);
    wire_put_text(&payload, record->result);
    for (uint32_t i = 0; i < record->input_count; i++)
        put_part(&payload, &record->inputs[i]);
    for (uint32_t i = 0; i < record->output_count; i++)
        put_part(&payload, &record->outputs[i]);
    put_entry(log, ENTRY_PIECE, &payload);
    buffer_end(&payload);
}

struct error *pieces_end(
    struct piece_log *log, const struct hash128 *generation, const struct piece_file *inputs)
{
    struct buffer payload = {0};
    buffer_put(&payload, generation->bytes, sizeof generation->bytes);
    for (uint32_t i = 0; i < log->input_count; i++) {
        wire_put_u8(&payload, inputs[i].has_tree);
        buffer_put(&payload, inputs[i].tree.bytes, sizeof inputs[i].tree.bytes);
    }
    put_entry(log, ENTRY_END, &payload);
    buffer_end(&payload);
    return pieces_flush(log);
}

struct error *pieces_flush(struct piece_log *log)
{
    TRY(buffer_check(&log->pending));
    TRY(file_write_at(log->file, log->size_bytes, log->pending.bytes, log->pending.count));
    log->size_bytes += log->pending.count;
    log->pending.count = 0;
    return NULL;
}

struct error *pieces_append(struct piece_log *log, const struct piece_record *record)
{
    pieces_put(log, record);
    return pieces_flush(log);
}

struct error *pieces_sync(const struct piece_log *log)
{
    return log == NULL || log->file == NULL ? NULL : file_sync(log->file);
}

void pieces_close(struct piece_log *log)
{
    if (log == NULL)
        return;
    buffer_end(&log->pending);
    file_close(log->file);
    log->file = NULL;
}
