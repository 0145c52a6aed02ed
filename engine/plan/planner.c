/* planner.c - a task's plan, checked, and held against what is there already. */
#include "engine/plan/planner.h"

#include <string.h>

#include "engine/run/files.h"
#include "engine/plan/inputs.h"
#include "engine/plan/staging.h"
#include "engine/plan/takeover.h"

/* The segments that are given as bytes. */
static struct error *set_known(struct segments *segments, const struct plan_bytes *bytes)
{
    uint64_t end = bytes->offset + bytes->bytes.length;
    for (uint32_t i = 0; i < segments->count; i++) {
        struct span span = segments_at(segments, i);
        if (span.offset < bytes->offset)
            continue;
        if (span.offset + span.size_bytes > end)
            break;
        struct hash128 hash =
            hash_bytes(bytes->bytes.bytes + (span.offset - bytes->offset), (size_t)span.size_bytes);
        TRY(segments_reserve(segments, i, i + 1));
        segments_set(segments, i, &hash);
    }
    return NULL;
}

static struct error *cut_output(struct plan *plan, struct plan_output *output)
{
    if (output->size_bytes == PLAN_SIZE_UNKNOWN || plan->is_streamed)
        return NULL;
    if (output->is_blocks)
        return segments_of_blocks(plan->arena, output->path, output->size_bytes, &output->segments);
    TRY(segments_of_plan(plan->arena, plan->build->registry, output->path, staging_head(output),
        output->size_bytes, &output->segments));
    for (uint32_t k = 0; k < output->byte_count; k++)
        TRY(set_known(output->segments, &output->bytes[k]));
    return NULL;
}

/* An own mistake of a task, not of its input: still an error with words, not an abort. */
static struct error *task_mistake(const struct plan *plan, const char *what, const char *path)
{
    return error_new(
        ERROR_FAILED, "task \"%s\" planned %s of %s", plan->node->type->name, what, path);
}

/* One bit a segment of an output: given, or a piece's. */
static bool take(unsigned char *taken, uint32_t segment)
{
    unsigned char bit = (unsigned char)(1u << segment % 8);
    bool is_free = (taken[segment / 8] & bit) == 0;
    taken[segment / 8] |= bit;
    return is_free;
}

static struct error *check_piece(
    struct plan *plan, const struct piece *piece, unsigned char *const *taken)
{
    uint32_t begin, end;
    for (uint32_t i = 0; i < piece->input_count; i++) {
        if (piece->inputs[i].file >= plan->input_count)
            return task_mistake(plan, "a piece from an unknown input", plan->node->name);
        struct plan_input *input = &plan->inputs[piece->inputs[i].file];
        TRY(inputs_need_segments(plan, input));
        if (!segments_range(input->segments, piece->inputs[i].offset, piece->inputs[i].size_bytes,
                &begin, &end))
            return task_mistake(plan, "a piece that is no run of segments", input->path);
    }
    for (uint32_t i = 0; i < piece->output_count && !piece->is_streamed; i++) {
        struct plan_output *output = &plan->outputs[piece->outputs[i].file];
        if (!segments_range(output->segments, piece->outputs[i].offset,
                piece->outputs[i].size_bytes, &begin, &end))
            return task_mistake(plan, "a piece that is no run of segments", output->path);
        for (uint32_t s = begin; s < end; s++)
            if (!take(taken[piece->outputs[i].file], s))
                return task_mistake(plan, "two pieces for one segment", output->path);
    }
    return NULL;
}

/* `taken`: bits for each output's segments. */
static struct error *check_all_pieces(struct plan *plan, unsigned char **taken)
{
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct segments *segments = plan->outputs[i].segments;
        taken[i] = segments == NULL ? NULL : memory_alloc(segments->count / 8 + 1);
        if (segments == NULL)
            continue;
        TRY(memory_check(taken[i]));
        memset(taken[i], 0, segments->count / 8 + 1);
        for (uint32_t s = 0; s < segments->count && segments->known_count > 0; s++)
            if (segments_hash(segments, s) != NULL)
                take(taken[i], s);
    }
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct piece piece = plan_piece_of(plan, i);
        TRY(check_piece(plan, &piece, taken));
    }
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct segments *segments = plan->outputs[i].segments;
        for (uint32_t s = 0; segments != NULL && s < segments->count; s++)
            if (take(taken[i], s))
                return task_mistake(plan, "no piece for some bytes", plan->outputs[i].path);
    }
    return NULL;
}

static struct error *check_pieces(struct plan *plan)
{
    unsigned char **taken = arena_array(plan->arena, plan->output_count, sizeof *taken);
    TRY(memory_check(taken));
    struct error *error = check_all_pieces(plan, taken);
    for (uint32_t i = 0; i < plan->output_count; i++)
        memory_free(taken[i]);
    return error;
}

/* What is to be read and made needs room for its hashes; what is hashed anyway, its segments. */
static struct error *reserve_hashes(struct plan *plan)
{
    bool is_dry = plan->build->options->is_dry;
    for (uint32_t i = 0; i < plan->input_count; i++) {
        struct plan_input *input = &plan->inputs[i];
        if (input->is_numbered)
            TRY(inputs_need_segments(plan, input));
        if (!is_dry && input->segments != NULL)
            TRY(segments_reserve(input->segments, 0, input->segments->count));
    }
    for (uint32_t i = 0; i < plan->output_count && !is_dry; i++)
        if (plan->outputs[i].segments != NULL)
            TRY(segments_reserve(plan->outputs[i].segments, 0, plan->outputs[i].segments->count));
    return NULL;
}

/* An output whose tree hash is known before anything is made, and is what lies on disk. */
static struct error *find_unchanged(struct plan *plan)
{
    struct build *build = plan->build;
    for (uint32_t i = 0; i < plan->output_count; i++) {
        struct plan_output *output = &plan->outputs[i];
        if (output->segments == NULL || output->is_blocks || !segments_are_known(output->segments))
            continue;
        uint32_t file;
        struct hash128 tree = segments_tree(output->segments), now;
        TRY(run_add_file(build, output->path, NULL, &file));
        TRY(files_look(build, file));
        if (build->runs[plan->index].is_forced || plan->is_resumed ||
            build->files[file].look == LOOK_ABSENT || build->files[file].look == LOOK_GIVEN_BACK)
            continue;
        if (output->is_text && build->files[file].look == LOOK_CHANGED &&
            build->files[file].stamp.size_bytes == output->size_bytes) {
            struct segments *found; /* such as made by hand, or before the state was lost */
            TRY(file_stat_settled(output->path, &build->files[file].stamp));
            TRY(segments_hash_file(
                &build->arena, build->registry, output->path, output->path, NULL, NULL, &found));
            TRY(files_set_hashed(build, file, found));
        }
        output->is_unchanged =
            files_find_tree(build, output->path, &now) && hash_equal(&tree, &now);
    }
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        if (planned->action != PIECE_COPY)
            continue;
        struct piece piece = plan_piece_of(plan, i);
        uint32_t unchanged = 0;
        for (uint32_t k = 0; k < piece.output_count; k++)
            unchanged += plan->outputs[piece.outputs[k].file].is_unchanged;
        if (unchanged == piece.output_count)
            planned->action = PIECE_KEEP;
    }
    return NULL;
}

static void count_bytes(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct piece piece = plan_piece_of(plan, i);
        uint64_t in = piece.is_streamed ? piece.weight_bytes : 0, out = 0;
        for (uint32_t k = 0; k < piece.input_count; k++)
            in += piece.inputs[k].size_bytes;
        for (uint32_t k = 0; k < piece.output_count && !piece.is_streamed; k++)
            out += piece.outputs[k].size_bytes;
        if (piece.is_in_order && piece.input_count == 0)
            in = out;
        if (plan->pieces[i].action == PIECE_MAKE) {
            plan->bytes_to_read += in;
            plan->bytes_to_download += plan->node->type->is_network ? in : 0;
            plan->bytes_to_write += out;
            plan->pieces_to_make++;
        } else {
            plan->bytes_kept += out;
        }
    }
    for (uint32_t i = 0; i < plan->output_count; i++) {
        const struct plan_output *output = &plan->outputs[i];
        plan->is_changed |= !output->is_unchanged;
        if (!output->is_unchanged && output->is_text)
            plan->bytes_to_write += output->size_bytes;
    }
}

/* Which inputs each piece reads that has to be made, or may have to be. */
static void count_readers(struct plan *plan)
{
    for (uint32_t i = 0; i < plan->piece_count; i++) {
        struct planned_piece *planned = &plan->pieces[i];
        struct piece piece = plan_piece_of(plan, i);
        bool may_read = planned->action == PIECE_MAKE || planned->action == PIECE_VERIFY;
        for (uint32_t k = 0; may_read && k < piece.input_count; k++) {
            struct plan_input *input = &plan->inputs[piece.inputs[k].file];
            bool is_again = false;
            for (uint32_t m = 0; m < k; m++)
                is_again |= piece.inputs[m].file == piece.inputs[k].file;
            input->pieces_left += !is_again;
            if (!is_again && input->is_awaited)
                planned->awaited++;
        }
    }
}

/* Files of the previous plan that this one no longer has: the node changes by losing them. */
static void find_leftovers(struct plan *plan)
{
    const struct record *record = state_find_record(plan->build->state, plan->node->name);
    for (uint32_t i = 0; record != NULL && i < record->made_count; i++) {
        const char *path = plan->build->state->files[record->made[i].file].path;
        plan->is_changed |= !plan_has_output(plan, path);
    }
}

static struct error *run_task(struct plan *plan)
{
    struct error *error = plan->node->type->plan(plan, plan->node);
    if (error == NULL) {
        error = plan->failure;
        plan->failure = NULL;
    }
    error_free(plan->failure);
    plan->failure = NULL;
    return error;
}

static struct error *plan_whole(struct build *build, uint32_t index, struct plan **out)
{
    struct node_run *run = &build->runs[index];
    struct plan *plan = arena_alloc(&run->arena, sizeof *plan);
    TRY(memory_check(plan));
    *plan = (struct plan){
        .build = build, .index = index, .node = &build->graph->nodes[index], .arena = &run->arena};
    run->plan = plan; /* its files are closed with the run, whatever happens here */
    TRY(places_partial(plan->arena, plan->node, &plan->directory));
    TRY(places_stage(plan->arena, plan->node, &plan->stage));
    TRY(inputs_resolve(plan));
    TRY(run_task(plan));
    for (uint32_t i = 0; i < plan->output_count; i++)
        TRY(cut_output(plan, &plan->outputs[i]));
    TRY(check_pieces(plan));
    TRY(reserve_hashes(plan));
    if (!plan->is_streamed && plan->piece_count > 0)
        TRY(takeover_find(plan));
    TRY(find_unchanged(plan));
    find_leftovers(plan);
    count_bytes(plan);
    count_readers(plan);
    *out = plan;
    return NULL;
}

struct error *plan_node(struct build *build, uint32_t index, struct plan **out)
{
    struct error *error = plan_whole(build, index, out);
    return memory_budget_check(&build->planning, "the plan", error);
}
