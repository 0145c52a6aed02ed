/* state.c - the tables. */
#include "engine/state/state.h"

#include <string.h>

#include "base/wire.h"

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
    TRY(memory_check(state->files));
    TRY(map_put(&state->file_by_path, path, state->file_count));
    *out = state->file_count;
    state->files[state->file_count++] = (struct state_file){
        .path = path, .location = location == NULL ? path : location, .identity = ""};
    return NULL;
}

/* ---- records ---- */

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
    TRY(memory_check(state->records));
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
    TRY(memory_check(state->past));
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
        buffer_put(&writer, record->made[i].tree.bytes, sizeof record->made[i].tree.bytes);
        wire_put_name(&writer, record->made[i].identity);
    }
    struct error *error = buffer_check(&writer);
    if (error == NULL)
        *out = hash_bytes(writer.bytes, writer.count);
    buffer_end(&writer);
    return error;
}
