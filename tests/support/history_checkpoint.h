/* history_checkpoint.h - the checkpoint of a history: three shards of a Llama with one layer, about
 * 100 kB, nine of its tensors of one shape so that they can take each other's place.
 *
 * Its embeddings are tied: `lm_head.weight` and an `inv_freq` are there, and no piece reads them.
 */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_CHECKPOINT_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_CHECKPOINT_H

#include <stdbool.h>

enum { CHECKPOINT_SHARDS = 3 };

extern const char *const checkpoint_files[]; /* their names; NULL ends them */

void checkpoint_put(const char *directory, unsigned seed);

/* Deeds on one shard, counted from 1; a shard that is not there, or not whole, is left alone. */
void checkpoint_flip(
    const char *directory, unsigned shard, unsigned permille); /* one bit, in place */
void checkpoint_swap(const char *directory, unsigned shard);   /* two tensors of one shape */
/* The unread tensor of the first shard gets another name, and its own back the next time. */
void checkpoint_rename(const char *directory);
/* The first shard loses its unread tensor; others one that is needed. */
void checkpoint_take_out(const char *directory, unsigned shard);
/* config.json: embeddings are tied, or not. */
void checkpoint_tie(const char *directory, bool is_tied);

#endif
