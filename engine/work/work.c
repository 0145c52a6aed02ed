/* work.c - what happens on a worker thread. */
#include "engine/work/work.h"

#include <string.h>

#include "engine/machine/behind.h"
#include "engine/plan/restore.h"

enum { LANE_BYTES = 64, VERIFY_BYTES = 1 << 20 };

struct work {
    struct job *job;
    const struct plan *plan;
    const struct piece *piece;
    struct pool_worker *worker;
    unsigned char *inputs[PIECE_RANGES_MAX], *outputs[PIECE_RANGES_MAX], *scratch;
    bool is_read[PIECE_RANGES_MAX];
    bool is_placed[PIECE_RANGES_MAX]; /* the output's buffer is its place in a block */
    struct hash_stream *stream;       /* of a piece that is written in order */
    uint64_t position;                /* within its output range */
    uint32_t segment;                 /* and its segments: the one that grows */
};

static uint64_t round_up(uint64_t size)
{
    return (size + LANE_BYTES - 1) / LANE_BYTES * LANE_BYTES;
}

/* Of its outputs. */
static bool has_buffers(const struct piece *piece)
{
    return !piece->is_streamed && !piece->is_in_order;
}

static uint64_t piece_memory(const struct piece *piece)
{
    uint64_t total = round_up(piece->scratch_bytes);
    for (uint32_t i = 0; i < piece->input_count; i++)
        total += round_up(piece->inputs[i].size_bytes);
    for (uint32_t i = 0; i < piece->output_count && has_buffers(piece); i++)
        total += round_up(piece->outputs[i].size_bytes);
    return total;
}

static bool is_cancelled(const struct job *job)
{
    return atomic_load_explicit(job->build->options->cancel, memory_order_relaxed);
}

/* ---- what make calls ---- */

struct arena *work_arena(struct work *work)
{
    return &work->worker->arena;
}

/* Where the hashes of input `input` begin in the job. */
static uint32_t hash_place(const struct plan *plan, const struct piece *piece, uint32_t input)
{
    uint32_t place = 0, begin, end;
    for (uint32_t i = 0; i < input && i < piece->input_count; i++)
        if (segments_range(plan->inputs[piece->inputs[i].file].segments, piece->inputs[i].offset,
                piece->inputs[i].size_bytes, &begin, &end))
            place += end - begin;
    for (uint32_t i = piece->input_count; i < input; i++) {
        const struct piece_range *range = &piece->outputs[i - piece->input_count];
        if (segments_range(plan->outputs[range->file].segments, range->offset, range->size_bytes,
                &begin, &end))
            place += end - begin;
    }
    return place;
}

static void hash_range(const struct segments *segments, const struct piece_range *range,
    const unsigned char *bytes, struct hash128 *hashes)
{
    uint32_t begin, end;
    if (!segments_range(segments, range->offset, range->size_bytes, &begin, &end))
        return;
    for (uint32_t s = begin; s < end; s++) {
        struct span span = segments_at(segments, s);
        hashes[s - begin] =
            hash_bytes(bytes + (span.offset - range->offset), (size_t)span.size_bytes);
    }
}

struct error *work_read(struct work *work, size_t input, const void **bytes)
{
    const struct piece_range *range = &work->piece->inputs[input];
    const struct plan_input *from = &work->plan->inputs[range->file];
    *bytes = work->inputs[input];
    if (work->is_read[input])
        return NULL;
    TRY(file_read_at(from->handle, range->offset, work->inputs[input], (size_t)range->size_bytes));
    hash_range(from->segments, range, work->inputs[input],
        work->job->hashes + hash_place(work->plan, work->piece, (uint32_t)input));
    work->job->bytes_read += range->size_bytes;
    work->is_read[input] = true;
    return NULL;
}

void *work_buffer(struct work *work, size_t output)
{
    return work->outputs[output];
}

void *work_scratch(struct work *work)
{
    return work->scratch;
}

const char *work_input_path(const struct work *work, size_t input)
{
    return work->plan->inputs[work->piece->inputs[input].file].path;
}

/* The bytes that come next are hashed into the segments they belong to. */
static struct error *hash_next(struct work *work, uint64_t offset, const char *bytes, size_t size)
{
    const struct piece_range *range = &work->piece->outputs[0];
    const struct segments *segments = work->plan->outputs[range->file].segments;
    uint32_t begin, end;
    if (work->stream == NULL)
        work->stream = hash_stream_new(&work->worker->arena);
    TRY(memory_check(work->stream));
    if (offset != range->offset + work->position || size > range->size_bytes - work->position ||
        !segments_range(segments, range->offset, range->size_bytes, &begin, &end))
        return error_new(ERROR_FAILED, "task \"%s\" wrote a piece of %s out of order",
            work->plan->node->type->name, work->plan->node->name);
    while (size > 0) {
        struct span span = segments_at(segments, begin + work->segment);
        uint64_t rest = span.offset + span.size_bytes - (range->offset + work->position);
        size_t step = size < rest ? size : (size_t)rest;
        hash_stream_update(work->stream, bytes, step);
        work->position += step;
        bytes += step;
        size -= step;
        if (step == rest)
            work->job->hashes[work->segment++] = hash_stream_take(work->stream);
    }
    return NULL;
}

struct error *work_write(
    struct work *work, size_t output, uint64_t offset, const void *bytes, size_t size)
{
    const struct plan_output *to = &work->plan->outputs[work->piece->outputs[output].file];
    if (work->piece->is_in_order)
        TRY(hash_next(work, offset, bytes, size));
    work->job->bytes_written += size;
    TRY(file_write_at(to->handle, offset, bytes, size));
    uint64_t begin = offset / SEGMENT_BYTES * SEGMENT_BYTES;
    uint64_t end = (offset + size) / SEGMENT_BYTES * SEGMENT_BYTES;
    if (begin != end)
        file_start_writeback_of(to->handle, begin, end - begin);
    return NULL;
}

const char *work_staged_path(const struct work *work, size_t output)
{
    /* follow and seal have no piece: output 0 is theirs */
    return work->plan->outputs[work->piece == NULL ? 0 : work->piece->outputs[output].file].staged;
}

const char *work_file(const struct work *work, uint32_t input)
{
    return work->plan->inputs[input].location;
}

static char *copy_string(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = memory_alloc(size);
    return copy == NULL ? NULL : memcpy(copy, string, size);
}

void work_set_identity(struct work *work, const char *identity)
{
    work->job->identity = copy_string(identity); /* without memory the file is hashed instead */
}

struct error *work_add_read(struct work *work, const char *path)
{
    struct job *job = work->job;
    char **reads = memory_resize(job->reads, (job->read_count + 1) * sizeof *reads);
    TRY(memory_check(reads));
    job->reads = reads;
    reads[job->read_count] = copy_string(path);
    TRY(memory_check(reads[job->read_count]));
    job->read_count++;
    return NULL;
}

void work_result(struct work *work, const void *bytes, size_t size)
{
    if (size > PIECE_RESULT_BYTES)
        return;
    memcpy(work->job->result, bytes, size);
    work->job->result_bytes = (uint32_t)size;
}

bool work_wants_figures(const struct work *work)
{
    return !work->job->build->options->no_stats;
}

static void count_progress(const struct job *job, uint64_t size_bytes)
{
    struct build *build = job->build;
    atomic_fetch_add_explicit(&build->bytes_done, size_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&build->runs[job->node].bytes_done, size_bytes, memory_order_relaxed);
}

void work_progress(struct work *work, uint64_t size_bytes)
{
    count_progress(work->job, size_bytes);
}

void *work_context(struct work *work)
{
    return work->plan->context;
}

void **work_kept(struct work *work, void (*end)(void *kept))
{
    work->worker->end_kept = end;
    return &work->worker->kept;
}

struct error *work_hint(struct work *work, const void *bytes, size_t size)
{
    struct job *job = work->job;
    memory_free(job->hint);
    job->hint = memory_alloc(size + 1);
    TRY(memory_check(job->hint));
    memcpy(job->hint, bytes, size);
    job->hint_bytes = size;
    return NULL;
}

void work_hint_size(struct work *work, uint64_t size_bytes)
{
    work->job->hint_size = size_bytes;
}

void work_plan_again(struct work *work, unsigned flags)
{
    work->job->again |= flags;
}

const _Atomic bool *work_cancel_flag(const struct work *work)
{
    return work->job->build->options->cancel;
}

/* ---- the jobs ---- */

static void lay_out_buffers(struct work *work)
{
    unsigned char *at = work->worker->buffer;
    const struct piece *piece = work->piece;
    for (uint32_t i = 0; i < piece->input_count; i++) {
        work->inputs[i] = at;
        at += round_up(piece->inputs[i].size_bytes);
    }
    for (uint32_t i = 0; i < piece->output_count && has_buffers(piece); i++) {
        const struct piece_range *range = &piece->outputs[i];
        struct behind_file *behind = work->plan->outputs[range->file].behind;
        if (behind != NULL)
            work->outputs[i] = behind_place(behind, range->offset, (size_t)range->size_bytes);
        work->is_placed[i] = work->outputs[i] != NULL;
        if (work->is_placed[i])
            continue;
        work->outputs[i] = at;
        at += round_up(range->size_bytes);
    }
    work->scratch = at;
}

static void leave_places(struct work *work)
{
    const struct piece *piece = work->piece;
    for (uint32_t i = 0; i < piece->output_count; i++)
        if (work->is_placed[i])
            behind_placed(
                work->plan->outputs[piece->outputs[i].file].behind, piece->outputs[i].offset);
}

static void hash_outputs(struct work *work)
{
    const struct piece *piece = work->piece;
    for (uint32_t i = 0; i < piece->output_count; i++) {
        const struct piece_range *range = &piece->outputs[i];
        hash_range(work->plan->outputs[range->file].segments, range, work->outputs[i],
            work->job->hashes + hash_place(work->plan, piece, piece->input_count + i));
    }
}

/* What is not in its place already. */
static struct error *write_outputs(struct work *work)
{
    const struct piece *piece = work->piece;
    for (uint32_t i = 0; i < piece->output_count; i++) {
        const struct piece_range *range = &piece->outputs[i];
        const struct plan_output *to = &work->plan->outputs[range->file];
        size_t size = (size_t)range->size_bytes;
        if (to->behind != NULL && !work->is_placed[i])
            TRY(behind_write(to->behind, range->offset, work->outputs[i], size));
        if (to->behind == NULL) {
            TRY(file_write_at(to->handle, range->offset, work->outputs[i], size));
            file_start_writeback(to->handle, size);
        }
        work->job->bytes_written += size;
    }
    return NULL;
}

/* In memory, with all hashes. */
static struct error *make_bytes(struct work *work)
{
    const struct plan *plan = work->plan;
    const struct piece *piece = work->piece;
    TRY(plan->node->type->make(work, piece));
    if (piece->is_streamed)
        return NULL;
    for (uint32_t i = 0; i < piece->input_count; i++) {
        const void *bytes;
        TRY(work_read(work, i, &bytes)); /* its hashes are wanted in any case */
        count_progress(work->job, piece->inputs[i].size_bytes);
    }
    if (!piece->is_in_order)
        hash_outputs(work);
    else if (work->position != piece->outputs[0].size_bytes)
        return error_new(ERROR_FAILED, "task \"%s\" wrote %llu of %llu bytes of a piece of %s",
            plan->node->type->name, (unsigned long long)work->position,
            (unsigned long long)piece->outputs[0].size_bytes, plan->node->name);
    return NULL;
}

static struct error *make_piece(struct job *job, struct pool_worker *worker)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    const struct piece piece = plan_piece_of(plan, job->index);
    struct work work = {.job = job, .plan = plan, .piece = &piece, .worker = worker};
    lay_out_buffers(&work);
    job->started_ns = file_clock_now_ns();
    struct error *error = make_bytes(&work);
    leave_places(&work); /* before it waits for other blocks */
    return error == NULL && has_buffers(&piece) ? write_outputs(&work) : error;
}

/* The staged bytes of a recorded piece against its hashes, a segment at a time. */
static struct error *verify_piece(struct job *job, struct pool_worker *worker)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    const struct planned_piece *planned = &plan->pieces[job->index];
    const struct piece piece = plan_piece_of(plan, job->index);
    for (uint32_t i = 0; i < piece.output_count; i++) {
        const struct piece_range *range = &piece.outputs[i];
        const struct piece_part *part = &planned->record->outputs[i];
        const struct plan_output *output = &plan->outputs[range->file];
        uint32_t begin, end;
        if (!segments_range(output->segments, range->offset, range->size_bytes, &begin, &end) ||
            end - begin != part->hash_count) {
            job->is_wrong = true;
            return NULL;
        }
        for (uint32_t s = begin; s < end; s++) {
            struct span span = segments_at(output->segments, s);
            TRY(file_read_at(output->handle, span.offset, worker->buffer, (size_t)span.size_bytes));
            struct hash128 hash = hash_bytes(worker->buffer, (size_t)span.size_bytes);
            job->is_wrong |= !hash_equal(&hash, &part->hashes[s - begin]);
        }
    }
    return NULL;
}

static struct error *copy_range(struct job *job)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    struct file *from;
    TRY(file_open(job->copy->from_path, &from));
    if (plan->spares_cache)
        file_spare_cache(from);
    struct error *error = file_copy_range(from, job->copy->from_offset,
        plan->outputs[job->copy->output].handle, job->copy->offset, job->copy->size_bytes, NULL);
    file_close(from);
    return error;
}

static struct error *hash_whole(struct job *job)
{
    struct file *file;
    TRY(file_open(job->location, &file));
    struct error *error =
        segments_fill(job->segments, file, job->build->options->cancel, &job->build->bytes_done);
    file_close(file);
    return error;
}

static struct error *fill_input(struct job *job)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    const struct plan_input *input = &plan->inputs[job->index];
    return segments_fill(input->segments, input->handle, job->build->options->cancel, NULL);
}

static struct error *identify_file(struct job *job, struct pool_worker *worker)
{
    const struct node *node = &job->build->graph->nodes[job->node];
    char *found;
    TRY(job->build->registry->identify(&worker->arena, node->name, node->source->identity, &found));
    job->is_wrong = strcmp(found, node->source->identity) != 0;
    return NULL;
}

/* What the manifest says the output's hash must be, before it gets its name. */
static struct error *check_expected(const struct job *job, struct pool_worker *worker,
    const struct node *node, const struct plan_output *output)
{
    if (node->expected_hash == NULL)
        return NULL;
    char *found;
    TRY(job->build->registry->identify(
        &worker->arena, output->staged, node->expected_hash, &found));
    if (strcmp(found, node->expected_hash) == 0)
        return NULL;
    return error_new(
        ERROR_DAMAGE, "%s: expected %s, found %s", output->path, node->expected_hash, found);
}

static struct error *take_hint(struct job *job, struct pool_worker *worker)
{
    const struct node *node = &job->build->graph->nodes[job->node];
    struct work work = {.job = job, .worker = worker};
    return node->type->hint(&work, node);
}

static struct error *follow_output(struct job *job, struct pool_worker *worker)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    struct work work = {.job = job, .plan = plan, .worker = worker};
    uint64_t end = job->span.offset + job->span.size_bytes;
    return plan->node->type->follow(&work, plan->node, job->span.offset, end);
}

static struct error *flush_staged(struct job *job)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (plan->outputs[i].behind != NULL)
            TRY(behind_flush(plan->outputs[i].behind));
    for (uint32_t i = 0; i < plan->output_count; i++)
        if (plan->outputs[i].handle != NULL)
            TRY(file_sync(plan->outputs[i].handle));
    return pieces_sync(plan->log);
}

static struct error *sync_output(struct job *job, struct pool_worker *worker)
{
    const struct plan *plan = job->build->runs[job->node].plan;
    const struct plan_output *output = &plan->outputs[job->index];
    struct work work = {.job = job, .plan = plan, .worker = worker};
    if (output->behind != NULL)
        TRY(behind_flush(output->behind)); /* before anybody reads it */
    if (job->index == 0 && plan->node->type->seal != NULL)
        TRY(plan->node->type->seal(&work, plan->node));
    TRY(check_expected(job, worker, plan->node, output));
    return file_sync(output->handle);
}

static void run_job(struct pool_job *pool_job, struct pool_worker *worker)
{
    struct job *job = (struct job *)pool_job;
    if (is_cancelled(job)) {
        pool_job->error = error_new(ERROR_INTERRUPTED, "interrupted");
        return;
    }
    switch (job->kind) {
    case JOB_HINT:
        pool_job->error = take_hint(job, worker);
        break;
    case JOB_MAKE:
        pool_job->error = make_piece(job, worker);
        break;
    case JOB_RESTORE:
        pool_job->error = restore_output(job->build->runs[job->node].plan, job->index,
            job->build->options->cancel, &job->is_wrong);
        break;
    case JOB_VERIFY:
        pool_job->error = verify_piece(job, worker);
        break;
    case JOB_COPY:
        pool_job->error = copy_range(job);
        break;
    case JOB_HASH:
        pool_job->error = hash_whole(job);
        break;
    case JOB_FILL:
        pool_job->error = fill_input(job);
        break;
    case JOB_IDENTIFY:
        pool_job->error = identify_file(job, worker);
        break;
    case JOB_FOLLOW:
        pool_job->error = follow_output(job, worker);
        break;
    case JOB_FLUSH:
        pool_job->error = flush_staged(job);
        break;
    case JOB_SYNC:
        pool_job->error = sync_output(job, worker);
        break;
    }
}

/* ---- making jobs ---- */

static uint64_t largest_segment(const struct plan *plan, const struct piece *piece)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < piece->output_count; i++) {
        const struct segments *segments = plan->outputs[piece->outputs[i].file].segments;
        uint32_t begin, end;
        if (segments_range(
                segments, piece->outputs[i].offset, piece->outputs[i].size_bytes, &begin, &end))
            for (uint32_t s = begin; s < end; s++) {
                uint64_t size = segments_at(segments, s).size_bytes;
                most = size > most ? size : most;
            }
    }
    return most;
}

struct error *job_new(
    struct build *build, uint32_t node, enum job_kind kind, uint32_t index, struct job **out)
{
    const struct plan *plan = node == NODE_NONE ? NULL : build->runs[node].plan;
    uint32_t hashes = 0;
    uint64_t memory = 0;
    if (kind == JOB_MAKE || kind == JOB_VERIFY) {
        struct piece piece = plan_piece_of(plan, index);
        if (kind == JOB_MAKE && !piece.is_streamed)
            hashes = hash_place(plan, &piece, piece.input_count + piece.output_count);
        memory = kind == JOB_MAKE ? piece_memory(&piece) : largest_segment(plan, &piece);
    } else if (kind == JOB_HASH || kind == JOB_FILL) {
        memory = 512 * 1024; /* its own buffer */
    }
    struct job *job = memory_alloc(sizeof *job + hashes * sizeof job->hashes[0]);
    TRY(memory_check(job));
    *job = (struct job){.pool = {.run = run_job, .memory_bytes = memory},
        .build = build,
        .node = node,
        .kind = kind,
        .index = index,
        .hash_count = hashes};
    memset(job->hashes, 0, hashes * sizeof job->hashes[0]);
    job->pool.is_network = kind == JOB_HINT || (kind == JOB_MAKE && plan->node->type->is_network);
    *out = job;
    return NULL;
}

void job_free(struct job *job)
{
    memory_free(job->identity);
    memory_free(job->hint);
    for (uint32_t i = 0; i < job->read_count; i++)
        memory_free(job->reads[i]);
    memory_free(job->reads);
    memory_free(job);
}
