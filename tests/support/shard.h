/* shard.h - a small safetensors file taken apart and put together again, with faults if so wished.
 */
#ifndef PSYBUILD_TESTS_SUPPORT_SHARD_H
#define PSYBUILD_TESTS_SUPPORT_SHARD_H

#include <stdint.h>

#include "base/arena.h"

enum { SHARD_TENSORS_MAX = 64 };

struct shard_tensor {
    const char *name, *dtype, *shape; /* "[32,128]" */
    unsigned char *bytes;
    size_t size_bytes;
    bool has_offsets; /* else it follows the one before it */
    uint64_t begin, end;
};

struct shard {
    struct arena *arena;
    struct shard_tensor tensors[SHARD_TENSORS_MAX];
    size_t count;
};

struct shard shard_load(struct arena *arena, const char *path);
void shard_save(const struct shard *shard, const char *path);
struct shard_tensor *shard_find(struct shard *shard, const char *name); /* must be there */
void shard_remove(struct shard *shard, const char *name);

#endif
