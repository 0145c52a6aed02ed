/* copy.c - task "copy": a file as it is (docs/formats.md, "Copies").
 *
 * A node that is a pattern makes one file for each input, under the input's own name; a plain node
 * makes the file its name says: of several inputs the one of that name. A small file is one text, a
 * larger one is copied in pieces. */
#include "tasks/copy.h"

#include <string.h>

#include "tasks/registry.h"

enum { BLOCK_BYTES = 4 << 20 };

static const struct segmenter *find_segmenter(const char *path)
{
    for (const struct segmenter *const *s = registry.segmenters; *s != NULL; s++)
        if (text_ends_with(text_of(path), (*s)->suffix))
            return *s;
    return NULL;
}

struct error *copy_segments(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct span_run **runs, size_t *count)
{
    const struct segmenter *segmenter = find_segmenter(path);
    *count = 0;
    if (segmenter != NULL && header.length >= 8)
        TRY(segmenter->segments(arena, path, header, file_size, runs, count));
    if (*count > 0)
        return NULL;
    *runs = arena_array(arena, 1, sizeof **runs);
    TRY(memory_check(*runs));
    (*runs)[0] = (struct span_run){0, file_size, BLOCK_BYTES, BLOCK_BYTES};
    *count = file_size > 0;
    return NULL;
}

bool copy_next_piece(
    const struct span_run *runs, size_t count, size_t *run, uint64_t *offset, struct span *piece)
{
    *piece = (struct span){.offset = *offset};
    for (; *run < count; ++*run) {
        const struct span_run *at = &runs[*run];
        while (*offset < at->offset + at->size_bytes) {
            uint64_t more = span_run_at(at, span_run_find(at, *offset)).size_bytes;
            if (piece->size_bytes > 0 &&
                (piece->size_bytes > PIECE_BYTES_MAX || more > PIECE_BYTES_MAX - piece->size_bytes))
                return true;
            piece->size_bytes += more;
            *offset += more;
        }
    }
    return piece->size_bytes > 0;
}

static struct error *plan_pieces(struct plan *plan, const char *path, uint32_t input,
    uint32_t output, const struct span_run *runs, size_t count, uint64_t offset)
{
    struct span span;
    for (size_t run = 0; copy_next_piece(runs, count, &run, &offset, &span);) {
        char *key = arena_format(plan_arena(plan), "%s %llu %llu", path,
            (unsigned long long)span.offset, (unsigned long long)span.size_bytes);
        TRY(memory_check(key));
        struct piece piece = {.key = text_of(key), .input_count = 1, .output_count = 1};
        piece.inputs[0] = (struct piece_range){input, span.offset, span.size_bytes};
        piece.outputs[0] = (struct piece_range){output, span.offset, span.size_bytes};
        TRY(plan_piece(plan, &piece));
    }
    return NULL;
}

static struct error *plan_file(struct plan *plan, size_t index, const char *path)
{
    const char *from = plan_input_path(plan, "files", index);
    struct text text;
    uint64_t size_bytes;
    TRY(plan_read_header(plan, "files", index, &text, &size_bytes));
    if (size_bytes <= BLOCK_BYTES) {
        TRY(plan_read_text(plan, "files", index, BLOCK_BYTES, &text));
        return plan_output_text(plan, path, text);
    }
    if (find_segmenter(from) != find_segmenter(path)) /* pieces must be segments of both */
        return error_new(ERROR_USAGE,
            "%s: a file of more than %d bytes must keep its suffix when it is copied, not become "
            "%s",
            from, BLOCK_BYTES, path);
    struct span_run *runs = NULL;
    size_t count;
    uint32_t output;
    TRY(copy_segments(plan_arena(plan), from, text, size_bytes, &runs, &count));
    TRY(plan_output(plan, path, size_bytes, &output));
    bool is_known = find_segmenter(path) != NULL; /* its header decides where the copy is cut */
    if (is_known)
        TRY(plan_output_bytes(plan, output, 0, text));
    return plan_pieces(plan, path, plan_input(plan, "files", index), output, runs, count,
        is_known ? text.length : 0);
}

static struct error *plan_pattern(struct plan *plan)
{
    char *directory = path_directory(plan_arena(plan), plan_name(plan));
    TRY(memory_check(directory));
    size_t count = plan_input_count(plan, "files");
    for (size_t i = 0; i < count; i++) {
        const char *from = plan_input_path(plan, "files", i);
        char *path = path_join(plan_arena(plan), directory, path_base(from));
        TRY(memory_check(path));
        if (!glob_match(plan_name(plan), path))
            return error_new(ERROR_USAGE, "%s: cannot be copied to %s: the name does not match",
                from, plan_name(plan));
        TRY(plan_file(plan, i, path));
    }
    return NULL;
}

static struct error *copy_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    const char *name = plan_name(plan);
    if (glob_is_pattern(name))
        return plan_pattern(plan);
    size_t count = plan_input_count(plan, "files");
    if (count <= 1)
        return count == 0 ? NULL : plan_file(plan, 0, name);
    for (size_t i = 0; i < count; i++)
        if (strcmp(path_base(plan_input_path(plan, "files", i)), path_base(name)) == 0)
            return plan_file(plan, i, name);
    return error_new(ERROR_USAGE, "%s: none of the %zu files to copy has this name", name, count);
}

static struct error *copy_make(struct work *work, const struct piece *piece)
{
    const void *bytes;
    TRY(work_read(work, 0, &bytes));
    memcpy(work_buffer(work, 0), bytes, (size_t)piece->inputs[0].size_bytes);
    return NULL;
}

static const struct role_spec copy_roles[] = {
    {.name = "files", .is_many = true, .is_required = true, .help = "what is copied"},
    {.name = NULL},
};

static const struct param_spec copy_params[] = {{.name = NULL}};

const struct task_type task_copy = {
    .name = "copy",
    .help = "a file as it is or, for a pattern, several under their own names",
    .version = 1,
    .roles = copy_roles,
    .params = copy_params,
    .plan = copy_plan,
    .make = copy_make,
};
