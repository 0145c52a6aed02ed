/* history_checkpoint.c - shards taken apart and put together with shard.h. */
#include "tests/support/history_checkpoint.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "tests/support/history_disk.h"
#include "tests/support/shard.h"
#include "tests/support/tree.h"

enum { SIDE = 64, FREQUENCIES = 32 };

#define LAYER "model.layers.0."
#define UNREAD LAYER "self_attn.rotary_emb.inv_freq"

const char *const checkpoint_files[] = {"model-00001-of-00003.safetensors",
    "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors", "config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    "README.md", NULL};

static const struct row {
    unsigned shard;
    const char *name;
    unsigned rows; /* none: a vector; of FREQUENCIES F32, if it is the unread one */
} rows[] = {
    {1, "model.embed_tokens.weight", SIDE},
    {1, "lm_head.weight", SIDE},
    {1, "model.norm.weight", 0},
    {1, UNREAD, 0},
    {2, LAYER "self_attn.q_proj.weight", SIDE},
    {2, LAYER "self_attn.k_proj.weight", SIDE},
    {2, LAYER "self_attn.v_proj.weight", SIDE},
    {2, LAYER "self_attn.o_proj.weight", SIDE},
    {3, LAYER "mlp.gate_proj.weight", SIDE},
    {3, LAYER "mlp.up_proj.weight", SIDE},
    {3, LAYER "mlp.down_proj.weight", SIDE},
    {3, LAYER "input_layernorm.weight", 0},
    {3, LAYER "post_attention_layernorm.weight", 0},
};

static const char *shard_path(struct arena *arena, const char *directory, unsigned shard)
{
    return arena_format(arena, "%s/%s", directory, checkpoint_files[shard - 1]);
}

/* Between 2^-7 and 2^-4, of both signs: nothing that is not finite. */
static void draw_values(unsigned char *values, size_t count, uint64_t *seed)
{
    for (size_t i = 0; i < count; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t bits = (uint32_t)(*seed >> 40);
        uint32_t value = (bits & 0x8000) | (0x3C00 + (bits & 0x1FF));
        values[2 * i] = (unsigned char)value;
        values[2 * i + 1] = (unsigned char)(value >> 8);
    }
}

static struct shard_tensor draw_tensor(struct arena *arena, const struct row *row, uint64_t *seed)
{
    bool is_unread = strcmp(row->name, UNREAD) == 0;
    size_t count = (size_t)(row->rows > 0 ? row->rows : 1) * SIDE;
    struct shard_tensor tensor = {.name = row->name,
        .dtype = is_unread ? "F32" : "BF16",
        .shape = is_unread       ? "[32]"
                 : row->rows > 0 ? "[64,64]"
                                 : "[64]",
        .bytes = arena_alloc(arena, count * 2),
        .size_bytes = count * 2};
    draw_values(tensor.bytes, count, seed);
    return tensor;
}

/* shard_save writes in place; here as a program would that replaces it. */
static void save(const struct shard *shard, const char *path)
{
    static const char draft[] = "../draft";
    shard_save(shard, draft);
    struct text text = disk_read(shard->arena, draft);
    disk_put(path, text.bytes, text.length);
}

static void put_shards(struct arena *arena, const char *directory, unsigned seed)
{
    uint64_t values = seed;
    for (unsigned number = 1; number <= CHECKPOINT_SHARDS; number++) {
        struct shard shard = {.arena = arena};
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
            if (rows[i].shard == number)
                shard.tensors[shard.count++] = draw_tensor(arena, &rows[i], &values);
        save(&shard, shard_path(arena, directory, number));
    }
}

void checkpoint_tie(const char *directory, bool is_tied)
{
    struct arena work = {0};
    disk_put_text(arena_format(&work, "%s/config.json", directory),
        arena_format(&work,
            "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
            "\"torch_dtype\": \"bfloat16\",\n \"hidden_size\": 64, \"intermediate_size\": 64, "
            "\"num_hidden_layers\": 1,\n \"num_attention_heads\": 1, \"num_key_value_heads\": 1, "
            "\"head_dim\": 64,\n \"rms_norm_eps\": 1e-05, \"vocab_size\": 64, "
            "\"tie_word_embeddings\": %s}\n",
            is_tied ? "true" : "false"));
    arena_end(&work);
}

/* The miniature's: a model directory needs one. */
static void put_tokenizer(struct arena *arena, const char *directory)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct text text = disk_read(arena,
            arena_format(arena, "%s/tests/golden/miniature/source/%s", tree_source(), names[i]));
        disk_put(arena_format(arena, "%s/%s", directory, names[i]), text.bytes, text.length);
    }
}

void checkpoint_put(const char *directory, unsigned seed)
{
    struct arena work = {0};
    put_shards(&work, directory, seed);
    checkpoint_tie(directory, true);
    put_tokenizer(&work, directory);
    disk_put_text(arena_format(&work, "%s/generation_config.json", directory),
        arena_format(&work, "{\"do_sample\": true, \"temperature\": 0.%u}\n", seed % 10));
    disk_put_text(arena_format(&work, "%s/chat_template.jinja", directory),
        arena_format(
            &work, "{%% for message in messages %%}{{ message }}{%% endfor %%} %u\n", seed));
    disk_put_text(arena_format(&work, "%s/README.md", directory),
        arena_format(&work, "---\nlicense: mit\n---\nModel %u\n", seed));
    arena_end(&work);
}

/* ---- deeds ---- */

/* Whether it can be taken apart: it may have been cut by a step before. */
static bool is_whole(struct arena *arena, const char *path)
{
    struct text text = disk_read(arena, path);
    if (text.length < 16)
        return false;
    uint64_t header = load_le64(text.bytes);
    const char *last = header < text.length - 8 ? text.bytes + 8 : NULL;
    unsigned long long end = 0;
    for (const char *at = last; at != NULL && at < text.bytes + 8 + header; at++)
        if (strncmp(at, "offsets\":[", 10) == 0) {
            unsigned long long found = strtoull(strchr(at, ',') + 1, NULL, 10);
            end = found > end ? found : end;
        }
    return last != NULL && 8 + header + end == text.length;
}

void checkpoint_flip(const char *directory, unsigned shard, unsigned permille)
{
    struct arena work = {0};
    const char *path = shard_path(&work, directory, shard);
    if (is_whole(&work, path)) {
        struct text text = disk_read(&work, path);
        size_t begin = 8 + (size_t)load_le64(text.bytes);
        size_t at = begin + (text.length - begin) * permille / 1000 / 2 * 2;
        unsigned char value = (unsigned char)(text.bytes[at] ^ 1);
        disk_poke(path, at, &value, 1);
    }
    arena_end(&work);
}

static bool load(struct arena *arena, const char *path, struct shard *out)
{
    if (!is_whole(arena, path))
        return false;
    *out = shard_load(arena, path);
    return true;
}

void checkpoint_swap(const char *directory, unsigned number)
{
    struct arena work = {0};
    struct shard shard;
    const char *path = shard_path(&work, directory, number);
    if (load(&work, path, &shard) && shard.count >= 2 &&
        shard.tensors[0].size_bytes == shard.tensors[1].size_bytes) {
        unsigned char *bytes = shard.tensors[0].bytes;
        shard.tensors[0].bytes = shard.tensors[1].bytes;
        shard.tensors[1].bytes = bytes;
        save(&shard, path);
    }
    arena_end(&work);
}

void checkpoint_rename(const char *directory)
{
    struct arena work = {0};
    struct shard shard;
    const char *path = shard_path(&work, directory, 1);
    bool is_there = load(&work, path, &shard);
    for (size_t i = 0; is_there && i < shard.count; i++)
        if (strncmp(shard.tensors[i].name, UNREAD, strlen(UNREAD)) == 0) {
            bool is_renamed = strcmp(shard.tensors[i].name, UNREAD) != 0;
            shard.tensors[i].name = is_renamed ? UNREAD : UNREAD "_b";
            save(&shard, path);
            break;
        }
    arena_end(&work);
}

void checkpoint_take_out(const char *directory, unsigned number)
{
    struct arena work = {0};
    struct shard shard;
    const char *path = shard_path(&work, directory, number);
    if (load(&work, path, &shard) && shard.count > 1) {
        shard_remove(&shard, shard.tensors[number == 1 ? shard.count - 1 : 0].name);
        save(&shard, path);
    }
    arena_end(&work);
}
