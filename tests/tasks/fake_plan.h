/* fake_plan.h - the engine's side of task.h in memory, for tests of the tasks that write weights.
 *
 * Included by one file of a test program; what it defines stands before the engine's own. A test
 * fills a struct fake, runs it, and looks at outputs, layout and reads. A run checks what the
 * engine checks: pieces inside their files, and every output byte written exactly once. */
#ifndef PSYBUILD_TESTS_TASKS_FAKE_PLAN_H
#define PSYBUILD_TESTS_TASKS_FAKE_PLAN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/task.h"
#include "tasks/formats/safetensors.h"
#include "tasks/layout.h"

enum { FAKE_FILES_MAX = 32, FAKE_PIECES_MAX = 4096, FAKE_READS_MAX = 64 };

struct fake_file {
    const char *role, *path;
    struct text bytes;
};

struct fake_output {
    const char *path;
    uint64_t size_bytes;
    unsigned char *bytes;
    unsigned char *written; /* how often each byte was */
};

struct plan {
    struct arena arena;
    const char *name;
    const struct json *with;
    struct fake_file inputs[FAKE_FILES_MAX];
    size_t input_count;
    struct fake_file data[FAKE_FILES_MAX]; /* rules */
    size_t data_count;
    /* out */
    struct fake_output outputs[FAKE_FILES_MAX];
    size_t output_count;
    struct text layout_bytes;
    struct layout layout;
    struct piece pieces[FAKE_PIECES_MAX];
    struct text results[FAKE_PIECES_MAX];
    size_t piece_count;
    bool no_stats; /* set by the test */
    struct text figures;
    const char *reads[FAKE_READS_MAX]; /* fields of JSON files, and data files */
    size_t read_count;
};

struct work {
    struct plan *plan;
    const struct piece *piece;
    struct arena arena;
    void *scratch;
};

/* ---- setting up ---- */

static inline struct plan *fake_begin(const char *name, const char *with)
{
    struct plan *plan = test_calloc(1, sizeof *plan);
    const struct json_document *document;
    plan->name = name;
    assert_null(json_parse(&plan->arena, "psybuild.json", text_of(with), JSON_STRICT, &document));
    plan->with = &document->root;
    return plan;
}

static inline void fake_end(struct plan *plan)
{
    arena_end(&plan->arena);
    test_free(plan);
}

static inline void fake_add_bytes(
    struct plan *plan, const char *role, const char *path, struct text bytes)
{
    assert_true(plan->input_count < FAKE_FILES_MAX);
    plan->inputs[plan->input_count++] = (struct fake_file){role, path, bytes};
}

static inline void fake_add_text(
    struct plan *plan, const char *role, const char *path, const char *text)
{
    fake_add_bytes(plan, role, path, text_of(text));
}

static inline void fake_add_rules(struct plan *plan, const char *path, const char *text)
{
    assert_true(plan->data_count < FAKE_FILES_MAX);
    plan->data[plan->data_count++] = (struct fake_file){"rules", path, text_of(text)};
}

/* A tensor of a shard to be made: its values come from `fill`. */
struct fake_tensor {
    const char *name; /* NULL ends a list; in byte order */
    enum dtype dtype;
    uint32_t rank;
    uint64_t shape[4];
};

/* Small numbers of both signs, exact in all float types, different for each element. */
static inline float fake_value(const char *name, uint64_t index)
{
    uint64_t hash = strlen(name) * 131 + (unsigned char)name[strlen(name) / 2];
    hash = (hash + index) * UINT64_C(0x9E3779B97F4A7C15);
    return (float)((int)(hash >> 56) - 128) / 64.0f;
}

static inline void fake_set(unsigned char *bytes, enum dtype dtype, uint64_t index, float value)
{
    if (dtype == DTYPE_F32) {
        store_le32(bytes + index * 4, float_bits(value));
    } else {
        uint16_t bits = dtype == DTYPE_F16 ? dtype_f32_to_f16(value) : dtype_f32_to_bf16(value);
        bytes[index * 2] = (unsigned char)bits;
        bytes[index * 2 + 1] = (unsigned char)(bits >> 8);
    }
}

/* The bytes of a safetensors file of these tensors. */
static inline struct text fake_shard(
    struct plan *plan, const struct fake_tensor *tensors, const char *format)
{
    struct tensor laid_out[FAKE_FILES_MAX * 4] = {0};
    size_t count = 0;
    uint64_t size;
    struct text header;
    const struct safetensors_pair metadata = {TEXT_LITERAL("format"), text_of(format)};
    for (; tensors[count].name != NULL; count++)
        laid_out[count] = (struct tensor){.name = tensors[count].name,
            .dtype = tensors[count].dtype,
            .rank = tensors[count].rank,
            .shape = tensors[count].shape};
    assert_null(safetensors_layout(&plan->arena, "made", laid_out, count, &metadata, 1, &header));
    size = count == 0 ? header.length : laid_out[count - 1].offset + laid_out[count - 1].size_bytes;
    unsigned char *bytes = arena_alloc(&plan->arena, (size_t)size);
    assert_non_null(bytes);
    memcpy(bytes, header.bytes, header.length);
    for (size_t i = 0; i < count; i++) {
        unsigned char *data = bytes + laid_out[i].offset;
        uint64_t elements = laid_out[i].size_bytes / dtype_size_bytes(laid_out[i].dtype);
        for (uint64_t k = 0; k < elements && dtype_is_float(laid_out[i].dtype); k++)
            fake_set(data, laid_out[i].dtype, k, fake_value(laid_out[i].name, k));
        for (uint64_t k = 0; k < laid_out[i].size_bytes && !dtype_is_float(laid_out[i].dtype); k++)
            data[k] = (unsigned char)(k * 7 + i);
    }
    return (struct text){(const char *)bytes, (size_t)size};
}

static inline void fake_add_shard(
    struct plan *plan, const char *path, const struct fake_tensor *tensors)
{
    fake_add_bytes(plan, "weights", path, fake_shard(plan, tensors, "pt"));
}

/* ---- running ---- */

static inline void fake_make(struct plan *plan, const struct task_type *type,
    const struct piece *piece, struct error **error)
{
    struct work work = {.plan = plan, .piece = piece};
    work.scratch = test_malloc((size_t)piece->scratch_bytes + 1);
    *error = type->make(&work, piece);
    for (uint32_t i = 0; i < piece->output_count && *error == NULL; i++) {
        const struct piece_range *range = &piece->outputs[i];
        struct fake_output *output = &plan->outputs[range->file];
        for (uint64_t k = 0; k < range->size_bytes; k++)
            output->written[range->offset + k]++;
    }
    test_free(work.scratch);
    arena_end(&work.arena);
}

static inline void fake_check_coverage(const struct plan *plan)
{
    for (size_t i = 0; i < plan->output_count; i++)
        for (uint64_t k = 0; k < plan->outputs[i].size_bytes; k++)
            if (plan->outputs[i].written[k] != 1)
                fail_msg("byte %llu of %s was written %d times", (unsigned long long)k,
                    plan->outputs[i].path, plan->outputs[i].written[k]);
}

/* Plans and makes all pieces, the last one first: their order must not matter. */
static inline struct error *fake_run(struct plan *plan, const struct task_type *type)
{
    struct error *error = type->plan(plan, NULL);
    for (size_t i = plan->piece_count; i-- > 0 && error == NULL;)
        fake_make(plan, type, &plan->pieces[i], &error);
    if (error == NULL && type->sum != NULL)
        error = type->sum(plan, NULL);
    if (error != NULL)
        return error;
    fake_check_coverage(plan);
    return layout_decode(&plan->arena, "layout", plan->layout_bytes, &plan->layout);
}

static inline void fake_run_well(struct plan *plan, const struct task_type *type)
{
    struct error *error = fake_run(plan, type);
    if (error != NULL)
        fail_msg("%s", error_report(error));
}

/* The parsed output of that name. */
static inline struct safetensors *fake_open(struct plan *plan, const char *path)
{
    for (size_t i = 0; i < plan->output_count; i++) {
        const struct fake_output *output = &plan->outputs[i];
        struct safetensors *parsed;
        if (strcmp(output->path, path) != 0)
            continue;
        struct text json = {(const char *)output->bytes + 8, (size_t)load_le64(output->bytes)};
        assert_null(safetensors_parse(&plan->arena, path, json, output->size_bytes, &parsed));
        return parsed;
    }
    fail_msg("there is no output %s", path);
    return NULL;
}

/* The bytes of one tensor of an output. */
static inline const unsigned char *fake_tensor_bytes(
    struct plan *plan, const char *path, const char *name, const struct tensor **tensor)
{
    *tensor = safetensors_find(fake_open(plan, path), name);
    if (*tensor == NULL)
        fail_msg("%s has no tensor %s", path, name);
    for (size_t i = 0; i < plan->output_count; i++)
        if (strcmp(plan->outputs[i].path, path) == 0)
            return plan->outputs[i].bytes + (*tensor)->offset;
    return NULL;
}

static inline bool fake_has_read(const struct plan *plan, const char *what)
{
    for (size_t i = 0; i < plan->read_count; i++)
        if (strcmp(plan->reads[i], what) == 0)
            return true;
    return false;
}

/* ---- task.h ---- */

static inline struct fake_file *fake_input(const struct plan *plan, const char *role, size_t index)
{
    for (size_t i = 0; i < plan->input_count; i++)
        if (strcmp(plan->inputs[i].role, role) == 0 && index-- == 0)
            return (struct fake_file *)(uintptr_t)&plan->inputs[i];
    return NULL;
}

static inline void fake_read(struct plan *plan, const char *what)
{
    assert_true(plan->read_count < FAKE_READS_MAX);
    plan->reads[plan->read_count++] = arena_copy(&plan->arena, what, strlen(what));
}

struct arena *plan_arena(struct plan *plan)
{
    return &plan->arena;
}

const char *plan_name(const struct plan *plan)
{
    return plan->name;
}

const struct json *plan_param(const struct plan *plan, const char *name)
{
    return json_get(plan->with, name);
}

const char *plan_param_text(const struct plan *plan, const char *name, const char *fallback)
{
    const struct json *value = plan_param(plan, name);
    return json_is(value, JSON_STRING) ? value->text.bytes : fallback;
}

uint64_t plan_param_u64(const struct plan *plan, const char *name, uint64_t fallback)
{
    const struct json *value = plan_param(plan, name);
    int64_t number;
    uint64_t size;
    if (json_to_i64(value, &number))
        return (uint64_t)number;
    return json_is(value, JSON_STRING) && size_parse(value->text, &size) ? size : fallback;
}

bool plan_param_bool(const struct plan *plan, const char *name, bool fallback)
{
    const struct json *value = plan_param(plan, name);
    return json_is(value, JSON_BOOL) ? value->boolean : fallback;
}

struct error *plan_param_error(struct plan *plan, const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *message = arena_format_list(&plan->arena, format, list);
    va_end(list);
    return json_error(plan_param(plan, name), "%s", message);
}

size_t plan_input_count(const struct plan *plan, const char *role)
{
    size_t count = 0;
    while (fake_input(plan, role, count) != NULL)
        count++;
    return count;
}

const char *plan_input_path(const struct plan *plan, const char *role, size_t index)
{
    return fake_input(plan, role, index)->path;
}

uint32_t plan_input(struct plan *plan, const char *role, size_t index)
{
    return (uint32_t)(fake_input(plan, role, index) - plan->inputs);
}

struct plan_json {
    struct plan *plan;
    const struct json_document *document;
};

struct error *plan_read_json(
    struct plan *plan, const char *role, size_t index, struct plan_json **out)
{
    const struct fake_file *file = fake_input(plan, role, index);
    *out = arena_alloc(&plan->arena, sizeof **out);
    (*out)->plan = plan;
    return json_parse(&plan->arena, file->path, file->bytes, JSON_TOLERANT, &(*out)->document);
}

const struct json *plan_json_get(struct plan_json *json, const char *dotted)
{
    fake_read(json->plan, dotted);
    return json_get_path(&json->document->root, dotted);
}

struct error *plan_read_header(
    struct plan *plan, const char *role, size_t index, struct text *out, uint64_t *file_size)
{
    const struct fake_file *file = fake_input(plan, role, index);
    uint64_t size = file->bytes.length < 8 ? 0 : load_le64(file->bytes.bytes);
    if (file->bytes.length < 8 || size > file->bytes.length - 8)
        size = file->bytes.length; /* no safetensors file: one block */
    else
        size += 8;
    *out = (struct text){file->bytes.bytes, (size_t)size};
    *file_size = file->bytes.length;
    return NULL;
}

struct error *plan_list_data(
    struct plan *plan, const char *directory, const char *const **paths, size_t *count)
{
    const char **list = arena_array(&plan->arena, plan->data_count, sizeof *list);
    assert_string_equal(directory, "rules");
    for (size_t i = 0; i < plan->data_count; i++)
        list[i] = plan->data[i].path;
    *paths = list;
    *count = plan->data_count;
    return NULL;
}

struct error *plan_peek_data(struct plan *plan, const char *path, struct text *out)
{
    for (size_t i = 0; i < plan->data_count; i++)
        if (strcmp(plan->data[i].path, path) == 0)
            *out = plan->data[i].bytes;
    return NULL;
}

struct error *plan_read_data(struct plan *plan, const char *path, struct text *out)
{
    fake_read(plan, path);
    return plan_peek_data(plan, path, out);
}

struct error *plan_output(struct plan *plan, const char *path, uint64_t size_bytes, uint32_t *out)
{
    assert_true(plan->output_count < FAKE_FILES_MAX);
    *out = (uint32_t)plan->output_count;
    plan->outputs[plan->output_count++] = (struct fake_output){.path = path,
        .size_bytes = size_bytes,
        .bytes = arena_alloc(&plan->arena, (size_t)size_bytes),
        .written = arena_alloc(&plan->arena, (size_t)size_bytes)};
    return NULL;
}

struct error *plan_output_bytes(
    struct plan *plan, uint32_t output, uint64_t offset, struct text bytes)
{
    assert_true(bytes.length <= plan->outputs[output].size_bytes - offset);
    memcpy(plan->outputs[output].bytes + offset, bytes.bytes, bytes.length);
    memset(plan->outputs[output].written + offset, 1, bytes.length);
    return NULL;
}

struct error *plan_layout(struct plan *plan, struct text layout)
{
    plan->layout_bytes = layout;
    return NULL;
}

struct error *plan_piece(struct plan *plan, const struct piece *piece)
{
    assert_true(plan->piece_count < FAKE_PIECES_MAX);
    for (uint32_t i = 0; i < piece->input_count; i++)
        assert_true(piece->inputs[i].size_bytes <=
                    plan->inputs[piece->inputs[i].file].bytes.length - piece->inputs[i].offset);
    for (uint32_t i = 0; i < piece->output_count; i++)
        assert_true(piece->outputs[i].size_bytes <=
                    plan->outputs[piece->outputs[i].file].size_bytes - piece->outputs[i].offset);
    for (size_t i = 0; i < plan->piece_count; i++)
        assert_false(text_equal(plan->pieces[i].key, piece->key));
    plan->pieces[plan->piece_count] = *piece;
    char *key = arena_copy(&plan->arena, piece->key.bytes, piece->key.length);
    assert_non_null(key); /* the caller's buffer may go */
    plan->pieces[plan->piece_count++].key = (struct text){key, piece->key.length};
    return NULL;
}

size_t plan_piece_count(const struct plan *plan)
{
    return plan->piece_count;
}

struct piece plan_piece_at(const struct plan *plan, size_t index, struct text *result)
{
    assert_true(index < plan->piece_count);
    *result = plan->results[index];
    return plan->pieces[index];
}

struct error *plan_figures(struct plan *plan, struct text figures)
{
    plan->figures = figures;
    return NULL;
}

void work_result(struct work *work, const void *bytes, size_t size)
{
    assert_true(size <= PIECE_RESULT_BYTES);
    struct text *result = &work->plan->results[work->piece - work->plan->pieces];
    result->bytes = arena_copy(&work->plan->arena, bytes, size);
    assert_non_null(result->bytes);
    result->length = size;
}

bool work_wants_figures(const struct work *work)
{
    return !work->plan->no_stats;
}

struct arena *work_arena(struct work *work)
{
    return &work->arena;
}

struct error *work_read(struct work *work, size_t input, const void **bytes)
{
    const struct piece_range *range = &work->piece->inputs[input];
    *bytes = work->plan->inputs[range->file].bytes.bytes + range->offset;
    return NULL;
}

void *work_buffer(struct work *work, size_t output)
{
    const struct piece_range *range = &work->piece->outputs[output];
    assert_true(output < work->piece->output_count);
    return work->plan->outputs[range->file].bytes + range->offset;
}

void *work_scratch(struct work *work)
{
    return work->scratch;
}

const char *work_input_path(const struct work *work, size_t input)
{
    return work->plan->inputs[work->piece->inputs[input].file].path;
}

#endif
