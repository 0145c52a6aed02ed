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

/* What lies under the recorded stamp, by both rules. */
static struct error *hash_by_both(struct build *build, const struct state_file *known,
    struct hash128 *by_older, struct hash128 *by_newer, bool *is_same)
{
    struct registry older = *build->registry;
    older.segmenters = older.older_segmenters;
    TRY(file_is_still(known->location, &known->stamp, false, is_same));
    if (!*is_same)
        return NULL;
    TRY(hash_by(build, &older, known, by_older));
    TRY(hash_by(build, build->registry, known, by_newer));
    return file_is_still(known->location, &known->stamp, false, is_same); /* both read that file */
}

/* What cannot be read is left to who needs it. */
static struct error *upgrade_file(struct build *build, uint32_t file)
{
    struct state_file *known = &build->state->files[file];
    struct renewal renewal = {.file = file, .older = known->tree};
    struct hash128 by_older;
    bool is_same = false;
    struct error *error = hash_by_both(build, known, &by_older, &renewal.newer, &is_same);
    if (error != NULL && error_kind_of(error) != ERROR_INTERRUPTED &&
        error_kind_of(error) != ERROR_MEMORY) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    if (!is_same)
        return NULL;
    if (hash_equal(&by_older, &known->tree))
        renew(build->state, &renewal);
    else if (!hash_equal(&renewal.newer, &known->tree))
        known->is_damaged = true; /* other bytes under the same stamp */
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
