/* checkpoint.h - a checkpoint of any size, made on the spot: a Llama with random bfloat16 weights.
 */
#ifndef PSYBUILD_TESTS_SUPPORT_CHECKPOINT_H
#define PSYBUILD_TESTS_SUPPORT_CHECKPOINT_H

#include <stdint.h>

struct checkpoint {
    unsigned layers, hidden, intermediate, vocabulary; /* multiples of 64 */
};

/* Writes config.json, a tokenizer, and one shard a layer, the embeddings in shards of their own.
 * Returns the bytes of all tensors. */
uint64_t checkpoint_write(const struct checkpoint *checkpoint, const char *directory);

#endif
