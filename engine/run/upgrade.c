/* upgrade.c - trees by the older rule to trees by the new one. */
#include "engine/run/upgrade.h"

struct renewal {
    uint32_t file;
    struct hash128 older, newer;
};

static void renew_hash(const struct renewal *renewal, uint32_t file, struct hash128 *hash)
{
    if (file == renewal->file && hash_equal(hash, &renewal->older))
        *hash = renewal->newer;
}

static void renew_records(const struct renewal *renewal, struct record *records, uint32_t count)
{
    for (struct record *record = records; record < records + count; record++) {
        for (uint32_t i = 0; i < record->read_count; i++) {
            renew_hash(renewal, record->reads[i].file, &record->reads[i].hash);
            renew_hash(renewal, record->reads[i].file, &record->reads[i].seen);
        }
        for (uint32_t i = 0; i < record->made_count; i++)
            renew_hash(renewal, record->made[i].file, &record->made[i].tree);
    }
}

static void renew(struct state *state, const struct renewal *renewal)
{
    state->files[renewal->file].tree = renewal->newer;
    renew_records(renewal, state->records, state->record_count);
    renew_records(renewal, state->past, state->past_count);
    for (uint32_t i = 0; i < state->intent_count; i++)
        renew_records(renewal, state->intents[i]->records, state->intents[i]->record_count);
}

static struct error *hash_by(struct build *build, const struct registry *registry,
    const struct state_file *known, struct hash128 *out)
{
    struct arena arena = {0};
    struct segments *segments;
    struct error *error = segments_hash_file(
        &arena, registry, known->path, known->location, build->options->cancel, NULL, &segments);
    if (error == NULL)
        *out = segments_tree(segments);
    arena_end(&arena);
    return error;
}

static struct error *upgrade_file(struct build *build, uint32_t file)
{
    struct registry older = *build->registry;
    older.segmenters = older.older_segmenters;
    struct state_file *known = &build->state->files[file];
    struct renewal renewal = {.file = file, .older = known->tree};
    struct hash128 by_older;
    struct file_stamp stamp;
    enum file_kind kind;
    TRY(file_stat(known->location, &kind, &stamp));
    if (kind != FILE_REGULAR || !file_stamp_equal(&stamp, &known->stamp))
        return NULL;
    TRY(hash_by(build, &older, known, &by_older));
    TRY(hash_by(build, build->registry, known, &renewal.newer));
    if (hash_equal(&by_older, &known->tree))
        renew(build->state, &renewal);
    else if (!hash_equal(&renewal.newer, &known->tree))
        known->has_tree = false; /* other bytes under the same stamp */
    return NULL;
}

struct error *upgrade_trees(struct build *build)
{
    const struct state *state = build->state;
    bool is_told = false;
    for (uint32_t i = 0; state->is_older && i < state->file_count; i++) {
        if (!state->files[i].has_tree || state->files[i].is_given_back ||
            !segments_has_format(build->registry, state->files[i].path))
            continue;
        if (!is_told)
            run_say(build, EVENT_NOTE, NULL,
                "the state is of an older psybuild: weights are hashed once by the new rule");
        is_told = true;
        TRY(upgrade_file(build, i));
    }
    build->is_state_changed |= state->is_older;
    return NULL;
}
