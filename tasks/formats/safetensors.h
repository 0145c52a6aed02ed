/* safetensors.h - the container of model weights: reading, laying out and cutting into segments.
 *
 *   0        8           8 + N = data_start                                      file_size
 *   | N, u64 | JSON header | tensor | tensor | ...                               |
 *
 * A header is hostile until safetensors_parse has returned: then names are unique and hold no
 * control character, every shape's byte size is exact and fits the file, and the tensors cover the
 * data without hole or overlap, as the safetensors library demands. All of it is near linear in the
 * header's length, for hundreds of thousands of tensors. Errors name the file and the tensor. */
#ifndef PSYBUILD_TASKS_FORMATS_SAFETENSORS_H
#define PSYBUILD_TASKS_FORMATS_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "tasks/formats/dtype.h"

struct file;

#define SAFETENSORS_HEADER_MAX UINT64_C(100000000) /* bytes of JSON, the library's own limit */
#define SAFETENSORS_RANK_MAX 32
#define SAFETENSORS_ALIGNMENT 4096u /* of data_start in what we write: file systems clone pages */
#define SAFETENSORS_SEGMENTS_MAX (1u << 24)

struct tensor {
    const char *name;
    enum dtype dtype;
    uint32_t rank;
    const uint64_t *shape; /* [rank]; the product of the axes that are not 0 fits 64 bits */
    uint64_t offset;       /* of its first byte, from the start of the file */
    uint64_t size_bytes;
};

struct safetensors_pair {
    struct text key, value; /* NUL-terminated */
};

struct safetensors {
    const char *path; /* for errors */
    uint64_t data_start, file_size;
    size_t count;
    const struct tensor *tensors; /* by offset; empty tensors before the one that begins there */
    size_t metadata_count;
    const struct safetensors_pair *metadata;     /* of "__metadata__", in order of appearance */
    const struct tensor *const *tensors_by_name; /* [count] in byte order of the names */
};

/* The header's length from the first eight bytes; within the limit and the file. */
MUST_CHECK struct error *safetensors_header_size(
    const unsigned char first8[8], uint64_t file_size, const char *path, uint64_t *header_bytes);

/* `header_json` is the whole header without the eight bytes; nothing of it is kept. */
MUST_CHECK struct error *safetensors_parse(struct arena *arena, const char *path,
    struct text header_json, uint64_t file_size, struct safetensors **out);

/* Reads and parses the header of an open file. */
MUST_CHECK struct error *safetensors_read(
    struct arena *arena, const struct file *file, struct safetensors **out);

const struct tensor *safetensors_find(
    const struct safetensors *file, const char *name); /* or NULL */

/* The bytes that a shape takes. False when the product of its axes (zeros left out) overflows. */
bool safetensors_shape_size(
    enum dtype dtype, uint32_t rank, const uint64_t *shape, uint64_t *size_bytes);
/* "[2, 3]", in the arena; NULL when out of memory. */
char *safetensors_shape_text(struct arena *arena, uint32_t rank, const uint64_t *shape);

/* Lays `count` tensors out one after the other, in the order given: byte order of their names, no
 * name twice. In: name, dtype, rank, shape. Out: offset and size_bytes, and the header with its
 * eight bytes of length, padded with spaces to a multiple of SAFETENSORS_ALIGNMENT; offsets count
 * from its first byte. "__metadata__" comes first with the pairs given, and is left out for none.
 */
MUST_CHECK struct error *safetensors_layout(struct arena *arena, const char *path,
    struct tensor *tensors, size_t count, const struct safetensors_pair *metadata,
    size_t metadata_count, struct text *header);

/* ---- rows and segments ----
 * Axes from the third on are joined: a tensor is a list of matrices, and what follows the second
 * axis is a row. A segment is a power of two of rows: 64, doubled until it has 4 KiB, halved while
 * it passes 4 MiB. Each matrix is cut on its own; matrices smaller than a segment are taken
 * together, a power of two of them. So weights and what is made of them, codes, scales and biases,
 * which have the same matrices and rows, have borders that nest: those of the coarsest are borders
 * of all. A tensor of fewer than two axes, or with rows of more than 2^20 elements, is one matrix
 * with an element as a row, in segments of 4 MiB. The rule is part of every stored hash. */
struct tensor_rows {
    uint64_t row_bytes;
    uint64_t count;   /* of all matrices; 0 with the others when the tensor is empty */
    uint64_t period;  /* rows after which the cut begins anew */
    uint64_t segment; /* rows of one */
};

struct tensor_rows safetensors_rows(const struct tensor *tensor);
/* The row at which the segment ends that begins at `row`. */
uint64_t safetensors_next_border(const struct tensor_rows *rows, uint64_t row);

/* The segments of a file, which have a hash of their own: the header up to data_start, then those
 * of each tensor, a run each; together the whole file. ERROR_FORMAT above SAFETENSORS_SEGMENTS_MAX.
 */
MUST_CHECK struct error *safetensors_segments(
    const struct safetensors *file, struct arena *arena, size_t *count, struct span_run **out);
/* As up to version 2 of the state: 64 rows of the last axis within a matrix of the last two; a
 * tensor of fewer than two axes is one. */
MUST_CHECK struct error *safetensors_older_segments(
    const struct safetensors *file, struct arena *arena, size_t *count, struct span_run **out);

#endif
