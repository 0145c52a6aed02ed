/* ours.c - the file on disk against what records say. */
#include "engine/seal/ours.h"

#include <string.h>

/* ---- which records name a file ---- */

/* As they were when the index was made: of what was sealed since, the node's own record tells. */
struct ours_index {
    uint32_t file_count;
    uint32_t *first; /* entry of a file, or NO_ENTRY */
    struct entry {
        uint32_t record, place, next;
    } * entries;
};
#define NO_ENTRY UINT32_MAX

static struct error *make_index(struct build *build)
{
    const struct state *state = build->state;
    struct ours_index *index = arena_alloc(&build->arena, sizeof *index);
    size_t count = 0;
    for (uint32_t r = 0; r < state->record_count; r++)
        count += state->records[r].made_count;
    TRY(memory_check(index));
    index->file_count = state->file_count;
    index->first = arena_array(&build->arena, state->file_count, sizeof *index->first);
    index->entries = arena_array(&build->arena, count, sizeof *index->entries);
    if (index->first == NULL || index->entries == NULL)
        return error_memory();
    for (uint32_t i = 0; i < state->file_count; i++)
        index->first[i] = NO_ENTRY;
    count = 0;
    for (uint32_t r = 0; r < state->record_count; r++)
        for (uint32_t k = 0; k < state->records[r].made_count; k++) {
            uint32_t *first = &index->first[state->records[r].made[k].file];
            index->entries[count] = (struct entry){r, k, *first};
            *first = (uint32_t)count++;
        }
    build->ours = index;
    return NULL;
}

static struct error *hash_tree(struct build *build, const char *path, struct hash128 *out)
{
    struct arena arena = {0};
    struct segments *found;
    struct error *error = segments_hash_file(
        &arena, build->registry, path, path, build->options->cancel, NULL, &found);
    if (error == NULL)
        *out = segments_tree(found);
    arena_end(&arena);
    return error;
}

static struct error *has_identity(
    struct build *build, const char *path, const char *identity, bool *out)
{
    struct arena arena = {0};
    char *found;
    struct error *error = build->registry->identify(&arena, path, identity, &found);
    if (error == NULL)
        *out = strcmp(found, identity) == 0;
    arena_end(&arena);
    return error;
}

/* Another stamp than the recorded one: the bytes tell. */
static struct error *compare_bytes(
    struct build *build, const char *path, const struct record_made *made, bool *out)
{
    struct hash128 tree;
    *out = false;
    if (!made->has_tree)
        return made->identity[0] == '\0' ? NULL : has_identity(build, path, made->identity, out);
    TRY(hash_tree(build, path, &tree));
    *out = hash_equal(&tree, &made->tree);
    return NULL;
}

static struct error *look_at_made(
    struct build *build, const char *path, const struct record_made *made, struct owner *owner)
{
    const struct state_file *known = &build->state->files[made->file];
    bool is_as_made = state_is_as_made(known, made);
    bool is_known = file_stamp_equal(&owner->stamp, &known->stamp) &&
                    (known->has_tree || known->identity[0] != '\0');
    owner->was_made = true;
    if (!is_known)
        TRY(compare_bytes(build, path, made, &is_as_made));
    owner->is_ours |= is_as_made || (is_known && known->is_damaged);
    if (is_as_made && made->has_tree) {
        owner->has_tree = true;
        owner->tree = made->tree;
    }
    return NULL;
}

/* By the node's own record, else by any other: of a node that had another name, or is gone. */
static struct error *look_at_records(struct build *build, const struct node *node, const char *path,
    uint32_t file, struct owner *owner)
{
    const struct record *own = state_find_record(build->state, node->name);
    for (uint32_t k = 0; own != NULL && k < own->made_count && !owner->is_ours; k++)
        if (own->made[k].file == file)
            TRY(look_at_made(build, path, &own->made[k], owner));
    if (owner->is_ours)
        return NULL;
    if (build->ours == NULL)
        TRY(make_index(build));
    uint32_t at = file < build->ours->file_count ? build->ours->first[file] : NO_ENTRY;
    while (at != NO_ENTRY && !owner->is_ours) {
        const struct entry *entry = &build->ours->entries[at];
        const struct record *record = &build->state->records[entry->record];
        bool names_it = !record->is_gone && entry->place < record->made_count &&
                        record->made[entry->place].file == file;
        if (names_it && record != own)
            TRY(look_at_made(build, path, &record->made[entry->place], owner));
        at = entry->next;
    }
    return NULL;
}

/* Not ours, but the very bytes that will be there: nothing is lost with it. */
static struct error *is_the_same(
    struct build *build, const struct plan_output *output, uint64_t size_bytes, bool *out)
{
    const struct segments *segments = output->segments;
    bool is_known = segments != NULL && segments_are_known(segments);
    bool may_be = output->size_bytes == size_bytes || output->size_bytes == PLAN_SIZE_UNKNOWN;
    struct hash128 wanted = output->tree, tree;
    *out = false;
    if (!(output->has_tree || is_known) || output->is_blocks || !may_be)
        return NULL;
    if (!output->has_tree)
        wanted = segments_tree(segments);
    TRY(hash_tree(build, output->path, &tree));
    *out = hash_equal(&tree, &wanted);
    return NULL;
}

struct error *ours_look(struct build *build, const struct node *node, const char *path,
    const struct plan_output *output, struct owner *out)
{
    *out = (struct owner){.kind = FILE_ABSENT};
    TRY(file_stat_itself(path, &out->kind, &out->stamp));
    if (out->kind == FILE_ABSENT)
        return NULL;
    uint32_t file = map_get(&build->state->file_by_path, path);
    if (file != MAP_NONE && out->kind == FILE_REGULAR)
        TRY(look_at_records(build, node, path, file, out));
    if (!out->is_ours && output != NULL && out->kind == FILE_REGULAR)
        TRY(is_the_same(build, output, out->stamp.size_bytes, &out->is_ours));
    return NULL;
}

struct error *ours_say_kept(
    struct build *build, const char *path, const struct owner *owner, const char *place)
{
    const char *what = owner->was_made ? "was edited since it was made"
                                       : "was there, and is not known to be psybuild's";
    const char *how = build->options->is_dry ? "would be kept" : "kept";
    char *note = arena_format(&build->arena, "%s %s: %s as %s", path, what, how, place);
    TRY(memory_check(note));
    run_say(build, EVENT_WARNING, NULL, note);
    return NULL;
}

static struct error *foretell(struct build *build, const struct node *node, const char *path,
    const struct plan_output *output)
{
    struct owner owner;
    const char *place;
    TRY(ours_look(build, node, path, output, &owner));
    /* What we know nothing of may be the very bytes that would be made. */
    bool is_certain = owner.was_made || (output != NULL && output->is_text);
    if (owner.kind == FILE_ABSENT || owner.kind == FILE_DIRECTORY || owner.is_ours || !is_certain)
        return NULL;
    TRY(places_aside(&build->arena, node, path, &place));
    return ours_say_kept(build, path, &owner, place);
}

struct error *ours_foretell(struct build *build, uint32_t index)
{
    const struct node *node = &build->graph->nodes[index];
    const struct plan *plan = build->runs[index].plan;
    const struct record *record = state_find_record(build->state, node->name);
    for (uint32_t i = 0; plan != NULL && i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged)
            TRY(foretell(build, node, plan->outputs[i].path, &plan->outputs[i]));
    for (uint32_t i = 0; plan == NULL && record != NULL && i < record->made_count; i++)
        TRY(foretell(build, node, build->state->files[record->made[i].file].path, NULL));
    return NULL;
}
