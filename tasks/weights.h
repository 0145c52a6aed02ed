/* weights.h - what the tasks that write weights share: `quantize` and `merge`.
 *
 *   the shards' headers --weights_read--> their tensors, checked together
 *   the tensors to write --weights_arrange--> files with headers, every tensor at its offset
 *                        --weights_publish--> outputs and layout of the plan
 *   one tensor --weights_next_run--> runs of whole segments, each of them a piece
 *
 * All of it happens while planning, on headers alone, and everything lives in the plan's arena. */
#ifndef PSYBUILD_TASKS_WEIGHTS_H
#define PSYBUILD_TASKS_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/map.h"
#include "base/wire.h"
#include "engine/task.h"
#include "tasks/formats/safetensors.h"
#include "tasks/layout.h"

#define WEIGHTS_TENSORS_MAX (1u << 22)                  /* of all shards together */
#define WEIGHTS_SHARD_BYTES_DEFAULT (UINT64_C(5) << 30) /* the reference's 5 GiB of tensor data */
#define WEIGHTS_SHARD_BYTES_NONE UINT64_MAX             /* all in one file */
enum { WEIGHTS_RUN_BYTES = 512 << 10 }; /* what a piece aims at: in and out fit a core's cache */

/* ---- what is read ---- */

struct weights_shard {
    const char *path;
    const char *name; /* its last component */
    const struct safetensors *header;
    uint32_t input; /* as pieces name it */
};
struct weights_tensor {
    const struct tensor *tensor;
    uint32_t shard;
};
struct weights {
    struct weights_shard *shards;
    uint32_t shard_count;
    struct weights_tensor *tensors; /* shard after shard, by offset */
    uint32_t tensor_count;
    struct map by_name; /* to the index in `tensors` */
};

/* The headers of the role "weights", joined, and checked against the role "index" where it is
 * there. */
MUST_CHECK struct error *weights_read(struct plan *plan, struct weights *out);

/* Joins shards whose headers are parsed. ERROR_FORMAT for a tensor in two of them, and for names
 * that count themselves ("model-00002-of-00004.safetensors") when one of the count is missing. */
MUST_CHECK struct error *weights_join(
    struct arena *arena, struct weights_shard *shards, uint32_t shard_count, struct weights *out);

/* Whether a "weight_map" lists exactly the tensors of the shards, each in its file. `path` is the
 * document's, for the error when `weight_map` is NULL. */
MUST_CHECK struct error *weights_check_map(struct arena *arena, const struct weights *weights,
    const struct json *weight_map, const char *path);

/* ---- what is written ---- */

struct weights_output {
    struct tensor tensor; /* name, dtype, rank, shape, size_bytes in; offset out */
    uint32_t file;        /* out: index into weights_files */
};
struct weights_file {
    const char *path;
    struct text header;
    uint64_t size_bytes;
    uint32_t output; /* as pieces name it, once published */
};
struct weights_files {
    struct weights_file *items;
    uint32_t count;
    struct weights_output **by_name; /* all outputs in byte order of their names */
};

/* Fills `out` but for its place. ERROR_FORMAT when the shape takes more than 2^64-1 bytes. */
MUST_CHECK struct error *weights_output_make(const char *name, enum dtype dtype, uint32_t rank,
    const uint64_t *shape, struct weights_output *out);

/* The parameter "max_shard_size"; unset, the default, or one file where the node's name is one. */
MUST_CHECK struct error *weights_shard_limit(
    struct plan *plan, uint64_t fallback, uint64_t *size_bytes_max);

/* Splits `outputs`, which come in the order in which shards are filled, into files of at most
 * `size_bytes_max` of tensor data; one larger tensor is alone in its file. `name` is the node's:
 * a file, or a pattern whose `*` becomes "" or "-00001-of-00002". */
MUST_CHECK struct error *weights_arrange(struct arena *arena, const char *name,
    struct weights_output *outputs, uint32_t count, uint64_t size_bytes_max, const char *format,
    struct weights_files *out);

/* Declares the files with their headers, and the layout, whose files and tensors it fills in. */
MUST_CHECK struct error *weights_publish(
    struct plan *plan, struct weights_files *files, uint32_t output_count, struct layout *layout);

/* ---- pieces ---- */

/* Rows of one tensor and of what is made of it: about WEIGHTS_RUN_BYTES of them, whole segments in
 * each of the tensors. Where an element is a row in some of them but not in all, the run is all
 * there is. */
struct weights_run {
    struct tensor_rows rows; /* the largest tensor's, cut as the coarsest is */
    uint64_t rows_max;
    uint64_t row_begin, row_end;
};
struct weights_run weights_begin_run(const struct tensor *largest);
void weights_fit_run(struct weights_run *run, const struct tensor *tensor); /* before the first */
/* The first run, then the next; false behind the last. An empty tensor has none. */
bool weights_next_run(struct weights_run *run);
/* The bytes of the run's rows in one of its tensors. */
struct piece_range weights_range(
    const struct tensor *tensor, uint32_t file, const struct weights_run *run);
/* Plans the piece under the key, whose buffer ends. */
MUST_CHECK struct error *weights_plan_piece(
    struct plan *plan, struct buffer *key, struct piece *piece);
/* The part of a piece's key that says which rows of which tensor it reads. */
void weights_put_rows(
    struct buffer *key, const struct tensor *tensor, const struct weights_run *run);

#endif
