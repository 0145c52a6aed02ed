/* codec.c - hashes, files and records as both state and journal have them. */
#include "engine/state/codec.h"

#include <string.h>

void codec_put_hash(struct buffer *writer, const struct hash128 *hash)
{
    buffer_put(writer, hash->bytes, sizeof hash->bytes);
}

struct hash128 codec_get_hash(struct wire_reader *reader)
{
    struct hash128 hash = {{0}};
    const unsigned char *bytes = wire_get_bytes(reader, sizeof hash.bytes);
    if (bytes != NULL)
        memcpy(hash.bytes, bytes, sizeof hash.bytes);
    return hash;
}

enum { FILE_HAS_TREE = 1, FILE_GIVEN_BACK = 2, FILE_DAMAGED = 4 };

void codec_put_file(struct buffer *writer, const struct state_file *file)
{
    wire_put_name(writer, file->path);
    wire_put_name(writer, strcmp(file->location, file->path) == 0 ? "" : file->location);
    wire_put_stamp(writer, &file->stamp);
    wire_put_u8(writer, (uint8_t)((file->has_tree ? FILE_HAS_TREE : 0) |
                                  (file->is_given_back ? FILE_GIVEN_BACK : 0) |
                                  (file->is_damaged ? FILE_DAMAGED : 0)));
    codec_put_hash(writer, &file->tree);
    wire_put_name(writer, file->identity);
}

struct state_file codec_get_file(struct wire_reader *reader)
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
    file.tree = codec_get_hash(reader);
    file.identity = wire_get_name(reader);
    return file;
}

/* `places` maps file indices to those written; NULL: the same. */
static void put_place(struct buffer *writer, const uint32_t *places, uint32_t file)
{
    wire_put_u32(writer, places == NULL || file == FILE_NONE ? file : places[file]);
}

void codec_put_record(struct buffer *writer, const struct record *record, const uint32_t *places)
{
    wire_put_name(writer, record->name);
    wire_put_name(writer, record->manifest);
    wire_put_text(writer, record->declaration);
    codec_put_hash(writer, &record->key);
    wire_put_text(writer, record->layout);
    wire_put_text(writer, record->figures);
    wire_put_u64(writer, record->duration_ns);
    wire_put_u32(writer, record->read_count);
    for (uint32_t i = 0; i < record->read_count; i++) {
        wire_put_u8(writer, (uint8_t)record->reads[i].kind);
        put_place(writer, places, record->reads[i].file);
        wire_put_name(writer, record->reads[i].detail);
        codec_put_hash(writer, &record->reads[i].hash);
        codec_put_hash(writer, &record->reads[i].seen);
        wire_put_name(writer, record->reads[i].shown);
    }
    wire_put_u32(writer, record->made_count);
    for (uint32_t i = 0; i < record->made_count; i++) {
        put_place(writer, places, record->made[i].file);
        wire_put_u8(writer, record->made[i].has_tree);
        codec_put_hash(writer, &record->made[i].tree);
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

struct error *codec_get_record(struct wire_reader *reader, struct arena *arena,
    const uint32_t *places, uint32_t place_count, struct record *out)
{
    enum { READ_BYTES_MIN = 1 + 4 + 5 + 16 + 16 + 5, MADE_BYTES_MIN = 4 + 1 + 16 + 5 };
    struct record record = {.name = wire_get_name(reader)};
    record.manifest = wire_get_name(reader);
    record.declaration = wire_get_text(reader);
    record.key = codec_get_hash(reader);
    record.layout = wire_get_text(reader);
    record.figures = wire_get_text(reader);
    record.duration_ns = wire_get_u64(reader);
    record.read_count = wire_get_count(reader, READ_BYTES_MIN);
    record.reads = arena_array(arena, record.read_count, sizeof *record.reads);
    TRY(memory_check(record.reads));
    for (uint32_t i = 0; i < record.read_count; i++) {
        struct record_read *read = &record.reads[i];
        read->kind = wire_get_u8(reader);
        read->file = get_place(reader, places, place_count, true);
        read->detail = wire_get_name(reader);
        read->hash = codec_get_hash(reader);
        read->seen = codec_get_hash(reader);
        read->shown = wire_get_name(reader);
        bool has_file = read->kind != READ_LAYOUT;
        if (read->kind < READ_CONTENT || read->kind > READ_ABSENT ||
            has_file != (read->file != FILE_NONE))
            reader->failed = true;
    }
    record.made_count = wire_get_count(reader, MADE_BYTES_MIN);
    record.made = arena_array(arena, record.made_count, sizeof *record.made);
    TRY(memory_check(record.made));
    for (uint32_t i = 0; i < record.made_count; i++) {
        record.made[i].file = get_place(reader, places, place_count, false);
        record.made[i].has_tree = wire_get_u8(reader) != 0;
        record.made[i].tree = codec_get_hash(reader);
        record.made[i].identity = wire_get_name(reader);
    }
    *out = record;
    return NULL;
}

struct error *codec_newer(const char *path, unsigned version, unsigned known)
{
    return error_new(ERROR_USAGE,
        "%s: written by a newer psybuild (format %u, this one knows up to %u); remove it to start "
        "afresh",
        path, version, known);
}

/* ---- numbers of files ---- */

/* The i-th file that a record uses. */
uint32_t codec_used_file(const struct record *record, uint32_t i)
{
    return i < record->read_count ? record->reads[i].file
                                  : record->made[i - record->read_count].file;
}

/* Files first, by their paths, then what refers to them by the entry's own numbers. */
struct error *codec_put_used_files(struct buffer *writer, const struct state *state,
    const struct record *records, uint32_t record_count, uint32_t *places)
{
    uint32_t count = 0;
    struct buffer files = {0};
    for (uint32_t r = 0; r < record_count; r++) {
        uint32_t uses = records[r].read_count + records[r].made_count;
        for (uint32_t i = 0; i < uses; i++) {
            uint32_t file = codec_used_file(&records[r], i);
            if (file == FILE_NONE || places[file] != UINT32_MAX)
                continue;
            places[file] = count++;
            codec_put_file(&files, &state->files[file]);
        }
    }
    wire_put_u32(writer, count);
    buffer_put(writer, files.bytes, files.count);
    writer->failed |= files.failed;
    buffer_end(&files);
    return buffer_check(writer);
}
