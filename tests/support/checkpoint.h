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

/* The same with all in one file, which is how a header becomes long: 9 tensors a layer and 3. Its
 * values are zeros, a hole where the system has them. */
void checkpoint_write_as_one(const struct checkpoint *checkpoint, const char *directory);

#endif
