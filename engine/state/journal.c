/* journal.c - what changed since the state was written, entry by entry.
 *
 *   "psybuild journl" (15)  version u8, then entries:
 *   type u32  length u32  XXH3-128 of sequence u64, type, payload (16)  payload */
#include "engine/state/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/state/codec.h"

enum { ENTRY_BYTES = 24 };
/* The last byte is the version: journals are short-lived, but may hold an intent. */
enum { JOURNAL_VERSION = 4 };
static const char journal_magic[16] = {
    'p', 's', 'y', 'b', 'u', 'i', 'l', 'd', ' ', 'j', 'o', 'u', 'r', 'n', 'l', JOURNAL_VERSION};

enum entry_type { ENTRY_RECORD = 1, ENTRY_FILE, ENTRY_INTENT, ENTRY_SEALED };

/* Room in `places` for all files; what is new there is UINT32_MAX. */
static struct error *grow_places(struct state *state)
{
    if (state->place_count >= state->file_count)
        return NULL;
    uint32_t *grown = arena_array(state->arena, state->file_capacity, sizeof *grown);
    TRY(memory_check(grown));
    memset(grown, 0xFF, state->file_capacity * sizeof *grown);
    state->places = grown;
    state->place_count = state->file_capacity;
    return NULL;
}

static void clear_places(struct state *state, const struct record *records, uint32_t record_count)
{
    for (uint32_t r = 0; r < record_count; r++)
        for (uint32_t i = 0; i < records[r].read_count + records[r].made_count; i++)
            if (codec_used_file(&records[r], i) != FILE_NONE)
                state->places[codec_used_file(&records[r], i)] = UINT32_MAX;
}

static struct error *get_used_files(
    struct wire_reader *reader, struct state *state, uint32_t **places, uint32_t *count)
{
    *count = wire_get_count(reader, 5 + 5 + 32 + 1 + 16 + 5);
    *places = arena_array(state->arena, *count, sizeof **places);
    TRY(memory_check(*places));
    for (uint32_t i = 0; i < *count && wire_reader_good(reader); i++) {
        struct state_file file = codec_get_file(reader);
        if (!wire_reader_good(reader))
            break;
        TRY(state_add_file(state, file.path, file.location, &(*places)[i]));
        state->files[(*places)[i]] = file;
    }
    return NULL;
}

static void put_intent(struct buffer *writer, const struct intent *intent, const uint32_t *places)
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
        codec_put_record(writer, &intent->records[i], places);
}

static struct error *add_intent(struct state *state, struct intent *intent, uint64_t number)
{
    intent->number = number;
    state->intents = arena_grow(state->arena, state->intents, state->intent_count,
        &state->intent_capacity, sizeof(struct intent *));
    TRY(memory_check(state->intents));
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
    TRY(memory_check(intent));
    intent->is_recovered = true;
    intent->move_count = wire_get_count(reader, 1 + 5 + 32 + 5 + 32 + 5 + 1);
    intent->moves = arena_array(arena, intent->move_count, sizeof *intent->moves);
    TRY(memory_check(intent->moves));
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
    TRY(memory_check(intent->records));
    for (uint32_t i = 0; i < intent->record_count && wire_reader_good(reader); i++)
        TRY(codec_get_record(reader, arena, places, place_count, &intent->records[i]));
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
        TRY(codec_get_record(&reader, state->arena, places, count, &record));
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
struct error *journal_load(struct state *state, const char *path)
{
    struct text text = {0};
    TRY(error_forgive(file_read_whole(state->arena, path, STATE_BYTES_MAX, &text), ERROR_MISSING));
    if (text.bytes == NULL)
        return NULL;
    state->has_journal = true;
    size_t name_length = sizeof journal_magic - 1;
    unsigned version = text.length > name_length ? (unsigned char)text.bytes[name_length] : 0;
    if (version > JOURNAL_VERSION && version < 'a' &&
        memcmp(text.bytes, journal_magic, name_length) == 0)
        return codec_newer(path, version, JOURNAL_VERSION);
    bool is_older = version == JOURNAL_VERSION - 1; /* of other hashes alone */
    bool is_ours = memcmp(text.bytes, journal_magic,
                       text.length < name_length ? text.length : name_length) == 0 &&
                   (text.length <= name_length || version == JOURNAL_VERSION || is_older);
    if (!is_ours && state->warning == NULL)
        state->warning = "the journal of the last build is damaged: what it had made is compared "
                         "by content or made again";
    if (!is_ours || text.length < sizeof journal_magic)
        return NULL; /* or torn at its very first write */
    state->is_older |= is_older;
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
    TRY(memory_check(path));
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
    struct error *error =
        codec_put_used_files(&payload, state, records, record_count, state->places);
    if (error == NULL) {
        if (intent != NULL)
            put_intent(&payload, intent, state->places);
        for (uint32_t i = 0; intent == NULL && i < record_count; i++)
            codec_put_record(&payload, &records[i], state->places);
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
    codec_put_file(&payload, &state->files[file]);
    struct error *error = buffer_check(&payload);
    if (error == NULL)
        error = append_entry(state, ENTRY_FILE, &payload);
    buffer_end(&payload);
    return error;
}

struct error *journal_remove(struct state *state, const char *directory)
{
    char *path = path_join(state->arena, directory, "journal");
    TRY(memory_check(path));
    file_close(state->journal);
    state->journal = NULL;
    state->journal_size = state->journal_sequence = 0;
    state->is_journal_named = false;
    return file_remove(path);
}

/* What was not finished goes on in a journal that holds nothing else, and is closed. */
struct error *journal_renew(struct state *state, const char *directory)
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
