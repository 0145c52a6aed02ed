/* seal.c - deciding what is moved where, and what becomes of what lies there. */
#include "engine/seal/seal.h"

#include <string.h>

#include "base/directory.h"
#include "engine/state/cache.h"
#include "engine/stale/stale.h"
#include "engine/seal/ours.h"
#include "engine/seal/carry.h"

struct sealing {
    struct build *build;
    struct intent *intent;
    size_t capacity;
    uint32_t visible; /* moves that a reader of the directory would see */
};

/* ---- partials of interrupted builds ---- */

/* Only where there is any partial at all is a path made for each node. */
static struct error *has_partials(struct build *build, const char *base, bool *out)
{
    struct file_entry *entries;
    size_t count = 0;
    char *path = path_join(&build->arena, base, "partial");
    TRY(memory_check(path));
    TRY(error_forgive(file_list_directory(&build->arena, path, &entries, &count), ERROR_MISSING));
    *out = count > 0;
    return NULL;
}

struct error *seal_remove_partials(struct build *build)
{
    bool has_any = false;
    TRY(has_partials(build, STATE_DIRECTORY, &has_any));
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        enum node_status status = build->runs[i].status;
        const struct source_file *source = build->graph->nodes[i].source;
        bool is_elsewhere = source != NULL && source->partial != NULL;
        const char *partial, *stage;
        if ((status != STATUS_FRESH && status != STATUS_SEALED) || !(has_any || is_elsewhere))
            continue;
        TRY(places_partial(&build->arena, &build->graph->nodes[i], &partial));
        TRY(places_stage(&build->arena, &build->graph->nodes[i], &stage));
        TRY(places_remove_partial(&build->arena, partial, stage));
    }
    return NULL;
}

/* ---- moves ---- */

/* False: there is none, or none that can be used, which is a warning, once. */
static bool begin_cache(struct build *build)
{
    if (build->cache.path == NULL || build->is_cache_filled)
        return build->cache.path != NULL;
    struct error *error = cache_open(&build->arena, build->cache.path);
    build->is_cache_filled = error == NULL;
    if (error == NULL)
        return true;
    run_warn(build, NULL, error_wrap(error, "the cache is not used"));
    build->cache.path = NULL;
    return false;
}

static struct error *add_move(struct sealing *sealing, const struct move *move)
{
    struct intent *intent = sealing->intent;
    intent->moves = arena_grow(&sealing->build->arena, intent->moves, intent->move_count,
        &sealing->capacity, sizeof *intent->moves);
    TRY(memory_check(intent->moves));
    intent->moves[intent->move_count] = *move;
    if (move->place == NULL)
        intent->moves[intent->move_count].place = "";
    intent->move_count++;
    return NULL;
}

/* Into the cache when it is what we made; aside when it is not ours; else nowhere (""). */
static struct error *choose_place(struct build *build, const struct node *node, const char *path,
    const struct owner *owner, struct move *move)
{
    move->place = "";
    if (owner->kind == FILE_ABSENT)
        return NULL;
    if (owner->kind == FILE_DIRECTORY)
        return error_new(ERROR_FAILED, "%s: expected a file or nothing, found a directory", path);
    move->displaced = owner->stamp;
    if (!owner->is_ours) {
        move->is_aside = true;
        TRY(places_aside(&build->arena, node, path, &move->place));
        return ours_say_kept(build, path, owner, move->place);
    }
    if (!owner->has_tree || node->is_fetched || !begin_cache(build))
        return NULL;
    move->place = cache_entry_path(&build->arena, build->cache.path, &owner->tree);
    return memory_check(move->place);
}

static struct error *add_output(
    struct sealing *sealing, const struct node *node, const struct plan_output *output)
{
    struct build *build = sealing->build;
    struct owner owner;
    struct move move = {.kind = MOVE_IN,
        .from = arena_copy(&build->arena, output->staged, strlen(output->staged)),
        .stamp = output->stamp,
        .to = output->path};
    TRY(memory_check(move.from));
    TRY(ours_look(build, node, output->path, output, &owner));
    TRY(choose_place(build, node, output->path, &owner, &move));
    if (strcmp(path_base(output->path), build->registry->seal_last) == 0)
        move.kind = MOVE_LAST;
    sealing->visible++;
    return add_move(sealing, &move);
}

/* What the node made before and makes no longer goes, if it is what was made. */
static struct error *add_leftovers(struct sealing *sealing, const struct plan *plan)
{
    struct build *build = sealing->build;
    const struct record *record = state_find_record(build->state, plan->node->name);
    for (uint32_t i = 0; record != NULL && i < record->made_count; i++) {
        const char *path = build->state->files[record->made[i].file].path;
        struct owner owner;
        struct move move = {.kind = MOVE_AWAY, .from = path};
        if (plan_has_output(plan, path))
            continue;
        TRY(ours_look(build, plan->node, path, NULL, &owner));
        if (owner.kind == FILE_ABSENT || !owner.is_ours)
            continue;
        TRY(choose_place(build, plan->node, path, &owner, &move));
        move.stamp = owner.stamp;
        move.to = move.place;
        move.place = "";
        sealing->visible++;
        TRY(add_move(sealing, &move));
    }
    return NULL;
}

/* The log of the old outputs goes into the cache with them, or nowhere; that of the new ones, if
 * they have any, takes its place. */
static struct error *add_log(struct sealing *sealing, const struct plan *plan)
{
    struct build *build = sealing->build;
    const struct record *record = state_find_record(build->state, plan->node->name);
    const char *log, *kept = "";
    enum file_kind kind;
    struct move move = {.kind = MOVE_AWAY};
    if (plan->node->is_fetched)
        return NULL; /* what it is made of is not taken over */
    TRY(places_log(&build->arena, plan->node, &log));
    TRY(file_stat(log, &kind, &move.stamp));
    if (record != NULL && build->cache.path != NULL) {
        struct hash128 generation;
        TRY(state_generation(build->state, record, &generation));
        TRY(cache_log_path(&build->arena, build->cache.path, &generation, &kept));
    }
    move.from = log;
    move.to = kept;
    if (kind == FILE_REGULAR && plan->is_changed)
        TRY(add_move(sealing, &move));
    if (plan->log_path == NULL)
        return NULL;
    struct file_stamp displaced = plan->is_changed ? (struct file_stamp){0} : move.stamp;
    move = (struct move){.kind = MOVE_IN,
        .from = arena_copy(&build->arena, plan->log_path, strlen(plan->log_path)),
        .to = log,
        .displaced = displaced};
    TRY(memory_check(move.from));
    TRY(file_stat(move.from, &kind, &move.stamp));
    return add_move(sealing, &move);
}

static struct error *add_node(struct sealing *sealing, uint32_t index)
{
    const struct plan *plan = sealing->build->runs[index].plan;
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (!plan->outputs[i].is_unchanged)
            TRY(add_output(sealing, plan->node, &plan->outputs[i]));
    TRY(add_leftovers(sealing, plan));
    return add_log(sealing, plan);
}

/* ---- the window in which nothing loads the directory ---- */

/* What is done with the file once the others are in place: its old self comes back, a new one takes
 * its place, or none does. */
static struct error *add_end(struct sealing *sealing, const struct move *hidden)
{
    struct intent *intent = sealing->intent;
    for (uint32_t i = 0; i < intent->move_count; i++) {
        struct move *move = &intent->moves[i];
        if (move->kind == MOVE_AWAY && strcmp(move->from, hidden->from) == 0) {
            move->kind = MOVE_END;
            move->from = hidden->to;
            return NULL;
        }
        if (move->kind != MOVE_LAST || strcmp(move->to, hidden->from) != 0)
            continue;
        struct move end = {.kind = MOVE_END,
            .from = hidden->to,
            .stamp = hidden->stamp,
            .to = move->place, /* what would have been displaced is what was hidden */
            .is_aside = move->is_aside};
        move->place = "";
        move->displaced = (struct file_stamp){0};
        return add_move(sealing, &end);
    }
    return add_move(sealing,
        &(struct move){
            .kind = MOVE_LAST, .from = hidden->to, .stamp = hidden->stamp, .to = hidden->from});
}

static bool is_hidden(const struct intent *intent, const char *path)
{
    for (uint32_t i = 0; i < intent->move_count; i++)
        if (intent->moves[i].kind == MOVE_HIDE && strcmp(intent->moves[i].from, path) == 0)
            return true;
    return false;
}

/* Moved away first; it comes back last, or what replaces it does. */
static struct error *hide(struct sealing *sealing, const struct node *node, const char *path)
{
    struct build *build = sealing->build;
    const char *stage;
    enum file_kind kind;
    struct move hidden = {.kind = MOVE_HIDE, .from = path};
    bool is_last = strcmp(path_base(path), build->registry->seal_last) == 0;
    if (!is_last || is_hidden(sealing->intent, path))
        return NULL;
    TRY(file_kind_itself(path, &kind));
    if (kind == FILE_ABSENT)
        return NULL;
    TRY(file_stat_itself(path, &kind, &hidden.stamp));
    for (uint32_t i = 0; i < sealing->intent->move_count; i++) { /* as it was judged */
        const struct move *move = &sealing->intent->moves[i];
        if (move->kind == MOVE_LAST && strcmp(move->to, path) == 0)
            hidden.stamp = move->displaced;
        if (move->kind == MOVE_AWAY && strcmp(move->from, path) == 0)
            hidden.stamp = move->stamp;
    }
    TRY(places_stage(&build->arena, node, &stage));
    hidden.to = places_old(&build->arena, stage);
    TRY(memory_check(hidden.to));
    TRY(file_remove(hidden.to)); /* of a seal that was given up: not what is moved now */
    TRY(add_end(sealing, &hidden));
    return add_move(sealing, &hidden);
}

/* What of these nodes' files, as they are or will be, a directory does not load without. */
static struct error *hide_last(struct sealing *sealing, const uint32_t *nodes, uint32_t count)
{
    const struct build *build = sealing->build;
    for (uint32_t i = 0; i < count; i++) {
        const struct node *node = &build->graph->nodes[nodes[i]];
        const struct record *record = state_find_record(build->state, node->name);
        const struct plan *plan = build->runs[nodes[i]].plan;
        for (uint32_t k = 0; record != NULL && k < record->made_count; k++)
            TRY(hide(sealing, node, build->state->files[record->made[k].file].path));
        for (uint32_t k = 0; plan != NULL && k < plan->output_count; k++)
            TRY(hide(sealing, node, plan->outputs[k].path));
    }
    return NULL;
}

/* In the order of their kinds, else as they are. */
static struct error *sort_moves(struct sealing *sealing)
{
    struct intent *intent = sealing->intent;
    struct move *sorted = arena_array(&sealing->build->arena, intent->move_count, sizeof *sorted);
    uint32_t count = 0;
    TRY(memory_check(sorted));
    for (int kind = MOVE_HIDE; kind <= MOVE_END; kind++)
        for (uint32_t i = 0; i < intent->move_count; i++)
            if (intent->moves[i].kind == (enum move_kind)kind)
                sorted[count++] = intent->moves[i];
    intent->moves = sorted;
    return NULL;
}

/* What a plan did not have to write must still be there. */
static struct error *check_unchanged(struct build *build, const struct node_run *run)
{
    for (uint32_t i = 0; run->plan != NULL && i < run->plan->output_count; i++) {
        const struct plan_output *output = &run->plan->outputs[i];
        const struct file_run *file = &build->files[run->record.made[i].file];
        bool is_same = true;
        if (output->is_unchanged)
            TRY(file_is_still(output->path, &file->stamp, false, &is_same));
        if (!is_same)
            return error_new(ERROR_FAILED, "%s changed while the build was at work", output->path);
    }
    return NULL;
}

/* ---- the two entries ---- */

static struct error *finish(struct build *build, struct intent *intent)
{
    bool is_given_up;
    TRY(carry_check(build, intent));
    run_say(build, EVENT_NOTE, NULL, "finishing what an interrupted build had begun to rename");
    struct error *error = carry_out(build, intent, &is_given_up);
    if (error != NULL && !is_given_up)
        return error;
    if (error == NULL)
        error = carry_remove_partials(build, intent); /* there is no plan that would */
    if (error == NULL)
        return NULL;
    run_warn(build, NULL, error_wrap(error, "finishing what an interrupted build had begun"));
    return NULL;
}

void seal_recover(struct build *build,
    void (*unfinished)(void *context, const struct intent *intent, struct error *error),
    void *context)
{
    const struct state *state = build->state;
    for (uint32_t at = 0; at < state->intent_count;) {
        struct intent *intent = state->intents[at];
        struct error *error = finish(build, intent);
        at += at < state->intent_count && state->intents[at] == intent; /* it is there still */
        if (error != NULL)
            unfinished(context, intent, error);
    }
}

static void mark_sealing(
    struct build *build, const uint32_t *nodes, uint32_t count, bool is_sealing)
{
    for (uint32_t i = 0; i < count; i++)
        build->runs[nodes[i]].is_sealing = is_sealing;
}

/* What the cache will hold can be found by its record. */
static struct error *keep_past(struct build *build, uint32_t index)
{
    const struct record *record = state_find_record(build->state, build->graph->nodes[index].name);
    if (record == NULL || build->cache.path == NULL || build->graph->nodes[index].is_fetched)
        return NULL;
    return state_keep_past(build->state, record);
}

/* What one node moves, or all of a group. */
static struct error *add_unit(struct sealing *sealing, const uint32_t *nodes, uint32_t count,
    const uint32_t *members, uint32_t member_count)
{
    struct build *build = sealing->build;
    struct intent *intent = sealing->intent;
    uint32_t visible = sealing->visible;
    for (uint32_t i = 0; i < count; i++) {
        TRY(keep_past(build, nodes[i]));
        intent->records[intent->record_count++] = build->runs[nodes[i]].record;
        if (build->runs[nodes[i]].plan != NULL)
            TRY(add_node(sealing, nodes[i]));
    }
    return sealing->visible - visible > 1 ? hide_last(sealing, members, member_count) : NULL;
}

static struct error *decide(struct sealing *sealing, const uint32_t *nodes, uint32_t count)
{
    const struct graph *graph = sealing->build->graph;
    uint32_t index = graph->nodes[nodes[0]].group;
    const struct group *group = index == GROUP_NONE ? NULL : &graph->groups[index];
    const uint32_t *members = group == NULL ? nodes : group->nodes;
    uint32_t member_count = group == NULL ? count : group->node_count;
    sealing->intent->records =
        arena_array(&sealing->build->arena, count, sizeof *sealing->intent->records);
    TRY(memory_check(sealing->intent->records));
    if (group != NULL)
        TRY(add_unit(sealing, nodes, count, members, member_count));
    for (uint32_t i = 0; i < count && group == NULL; i++)
        TRY(add_unit(sealing, &nodes[i], 1, &nodes[i], 1));
    for (uint32_t i = 0; i < count; i++) /* after all looks at what lies there */
        TRY(check_unchanged(sealing->build, &sealing->build->runs[nodes[i]]));
    return sort_moves(sealing);
}

struct error *seal_nodes(struct build *build, const uint32_t *nodes, uint32_t count)
{
    struct sealing sealing = {.build = build};
    bool is_given_up;
    TRY(run_check_lock(build));
    sealing.intent = arena_alloc(&build->arena, sizeof *sealing.intent);
    TRY(memory_check(sealing.intent));
    TRY(decide(&sealing, nodes, count));
    if (sealing.intent->move_count == 0)
        return carry_put_records(build, sealing.intent);
    mark_sealing(build, nodes, count, true);
    struct error *error = journal_put_intent(build->state, STATE_DIRECTORY, sealing.intent);
    /* From here on it must be carried out, now or by the next build. */
    bool is_pending = error == NULL;
    if (error == NULL) {
        error = carry_out(build, sealing.intent, &is_given_up);
        is_pending = error != NULL && !is_given_up;
    }
    mark_sealing(build, nodes, count, is_pending);
    return error;
}
