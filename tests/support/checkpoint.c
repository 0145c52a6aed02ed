/* checkpoint.c - headers by snprintf, values by a small generator; a row at a time, so that the
 * test's own memory stays small. */
#include "tests/support/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "tests/support/tree.h"

enum { HEADER_BYTES = 4096, TENSORS_MAX = 16, ROW_MAX = 16384 };

struct tensor_plan {
    char name[64];
    uint64_t rows, columns; /* no rows: a vector */
};

struct shard_plan {
    struct tensor_plan tensors[TENSORS_MAX];
    size_t count;
};

static void add(struct shard_plan *plan, const char *name, uint64_t rows, uint64_t columns)
{
    struct tensor_plan *tensor = &plan->tensors[plan->count++];
    assert_true(plan->count <= TENSORS_MAX);
    assert_true(columns <= ROW_MAX);
    *tensor = (struct tensor_plan){.rows = rows, .columns = columns};
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
}

static void add_of_layer(
    struct shard_plan *plan, unsigned layer, const char *name, uint64_t rows, uint64_t columns)
{
    char whole[64];
    snprintf(whole, sizeof whole, "model.layers.%u.%s.weight", layer, name);
    add(plan, whole, rows, columns);
}

static uint64_t tensor_bytes(const struct tensor_plan *tensor)
{
    return (tensor->rows == 0 ? 1 : tensor->rows) * tensor->columns * 2;
}

static void print_header(const struct shard_plan *plan, char header[HEADER_BYTES])
{
    uint64_t offset = 0;
    int length = snprintf(header, HEADER_BYTES, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < plan->count; i++) {
        const struct tensor_plan *tensor = &plan->tensors[i];
        char shape[64];
        if (tensor->rows == 0)
            snprintf(shape, sizeof shape, "%llu", (unsigned long long)tensor->columns);
        else
            snprintf(shape, sizeof shape, "%llu,%llu", (unsigned long long)tensor->rows,
                (unsigned long long)tensor->columns);
        length += snprintf(header + length, HEADER_BYTES - (size_t)length,
            ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
            tensor->name, shape, (unsigned long long)offset,
            (unsigned long long)(offset + tensor_bytes(tensor)));
        offset += tensor_bytes(tensor);
    }
    assert_true(length + 2 < HEADER_BYTES);
    memcpy(header + length, "}", 2);
}

/* Between 2^-7 and 2^-4, of both signs: nothing that is not finite. */
static void write_values(FILE *file, uint64_t *seed, uint64_t count)
{
    static unsigned char row[ROW_MAX * 2];
    for (uint64_t i = 0; i < count; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint32_t bits = (uint32_t)(*seed >> 40);
        uint32_t value = (bits & 0x8000) | (0x3C00 + (bits & 0x1FF));
        row[2 * i] = (unsigned char)value;
        row[2 * i + 1] = (unsigned char)(value >> 8);
    }
    assert_int_equal(fwrite(row, 2, (size_t)count, file), count);
}

static uint64_t write_shard(
    const struct shard_plan *plan, const char *directory, unsigned number, unsigned of)
{
    char path[PATH_MAX], header[HEADER_BYTES];
    unsigned char length[8];
    uint64_t total = 0, seed = number;
    snprintf(path, sizeof path, "%s/model-%05u-of-%05u.safetensors", directory, number, of);
    tree_write(path, "");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    print_header(plan, header);
    store_le64(length, strlen(header));
    assert_int_equal(fwrite(length, 1, sizeof length, file), sizeof length);
    assert_true(fputs(header, file) >= 0);
    for (size_t i = 0; i < plan->count; i++) {
        const struct tensor_plan *tensor = &plan->tensors[i];
        for (uint64_t row = 0; row < (tensor->rows == 0 ? 1 : tensor->rows); row++)
            write_values(file, &seed, tensor->columns);
        total += tensor_bytes(tensor);
    }
    assert_int_equal(fclose(file), 0);
    return total;
}

static void write_config(const struct checkpoint *checkpoint, const char *directory)
{
    char path[PATH_MAX], text[1024];
    snprintf(path, sizeof path, "%s/config.json", directory);
    snprintf(text, sizeof text,
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"torch_dtype\": "
        "\"bfloat16\",\n \"hidden_size\": %u, \"intermediate_size\": %u, \"num_hidden_layers\": "
        "%u,\n \"num_attention_heads\": %u, \"num_key_value_heads\": %u, \"head_dim\": 64,\n "
        "\"rms_norm_eps\": 1e-05, \"vocab_size\": %u, \"tie_word_embeddings\": false}\n",
        checkpoint->hidden, checkpoint->intermediate, checkpoint->layers, checkpoint->hidden / 64,
        checkpoint->hidden / 64, checkpoint->vocabulary);
    tree_write(path, text);
}

/* The miniature's: a model directory needs one. */
static void copy_tokenizer(const char *directory)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct arena arena = {0};
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%s/tests/golden/miniature/source/%s", tree_source(), names[i]);
        struct text text = tree_read(&arena, path);
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        tree_write_bytes(path, text.bytes, text.length);
        arena_end(&arena);
    }
}

static void plan_layer(struct shard_plan *plan, const struct checkpoint *checkpoint, unsigned layer)
{
    uint64_t hidden = checkpoint->hidden, intermediate = checkpoint->intermediate;
    add_of_layer(plan, layer, "input_layernorm", 0, hidden);
    add_of_layer(plan, layer, "post_attention_layernorm", 0, hidden);
    add_of_layer(plan, layer, "self_attn.q_proj", hidden, hidden);
    add_of_layer(plan, layer, "self_attn.k_proj", hidden, hidden);
    add_of_layer(plan, layer, "self_attn.v_proj", hidden, hidden);
    add_of_layer(plan, layer, "self_attn.o_proj", hidden, hidden);
    add_of_layer(plan, layer, "mlp.gate_proj", intermediate, hidden);
    add_of_layer(plan, layer, "mlp.up_proj", intermediate, hidden);
    add_of_layer(plan, layer, "mlp.down_proj", hidden, intermediate);
}

uint64_t checkpoint_write(const struct checkpoint *checkpoint, const char *directory)
{
    unsigned of = checkpoint->layers + 2, number = 1;
    uint64_t total = 0;
    struct shard_plan first = {.count = 0}, last = {.count = 0};
    write_config(checkpoint, directory);
    copy_tokenizer(directory);
    add(&first, "model.embed_tokens.weight", checkpoint->vocabulary, checkpoint->hidden);
    total += write_shard(&first, directory, number++, of);
    for (unsigned layer = 0; layer < checkpoint->layers; layer++) {
        struct shard_plan plan = {.count = 0};
        plan_layer(&plan, checkpoint, layer);
        total += write_shard(&plan, directory, number++, of);
    }
    add(&last, "model.norm.weight", 0, checkpoint->hidden);
    add(&last, "lm_head.weight", checkpoint->vocabulary, checkpoint->hidden);
    return total + write_shard(&last, directory, number, of);
}
