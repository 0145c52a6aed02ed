/* checkpoint.c - headers by fprintf, values by a small generator; a row at a time, so that the
 * test's own memory stays small. */
#include "tests/support/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/wire.h"
#include "tests/support/tree.h"

enum { TENSORS_MAX = 16, ROW_MAX = 16384 };

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

/* ---- a header, before its length is known ---- */

static FILE *begin_file(const char *path)
{
    static const unsigned char no_length[8];
    tree_write(path, "");
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(no_length, 1, sizeof no_length, file), sizeof no_length);
    assert_true(fputs("{\"__metadata__\":{\"format\":\"pt\"}", file) >= 0);
    return file;
}

static void put_tensor(FILE *file, const struct tensor_plan *tensor, uint64_t *offset)
{
    uint64_t end = *offset + tensor_bytes(tensor);
    char rows[32] = "";
    if (tensor->rows > 0)
        snprintf(rows, sizeof rows, "%llu,", (unsigned long long)tensor->rows);
    int length = fprintf(file,
        ",\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s%llu],\"data_offsets\":[%llu,%llu]}",
        tensor->name, rows, (unsigned long long)tensor->columns, (unsigned long long)*offset,
        (unsigned long long)end);
    assert_true(length > 0);
    *offset = end;
}

static void end_header(FILE *file)
{
    unsigned char length[8];
    assert_true(fputs("}", file) >= 0);
    long end = ftell(file);
    store_le64(length, (uint64_t)end - sizeof length);
    assert_int_equal(fseek(file, 0, SEEK_SET), 0);
    assert_int_equal(fwrite(length, 1, sizeof length, file), sizeof length);
    assert_int_equal(fseek(file, end, SEEK_SET), 0);
}

/* ---- shards ---- */

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
    char path[PATH_MAX];
    uint64_t total = 0, seed = number;
    snprintf(path, sizeof path, "%s/model-%05u-of-%05u.safetensors", directory, number, of);
    FILE *file = begin_file(path);
    for (size_t i = 0; i < plan->count; i++)
        put_tensor(file, &plan->tensors[i], &total);
    end_header(file);
    for (size_t i = 0; i < plan->count; i++) {
        const struct tensor_plan *tensor = &plan->tensors[i];
        for (uint64_t row = 0; row < (tensor->rows == 0 ? 1 : tensor->rows); row++)
            write_values(file, &seed, tensor->columns);
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

void checkpoint_write_as_one(const struct checkpoint *checkpoint, const char *directory)
{
    char path[PATH_MAX];
    struct shard_plan ends = {.count = 0};
    uint64_t total = 0;
    write_config(checkpoint, directory);
    copy_tokenizer(directory);
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    FILE *file = begin_file(path);
    add(&ends, "model.embed_tokens.weight", checkpoint->vocabulary, checkpoint->hidden);
    add(&ends, "model.norm.weight", 0, checkpoint->hidden);
    add(&ends, "lm_head.weight", checkpoint->vocabulary, checkpoint->hidden);
    for (size_t i = 0; i < ends.count; i++)
        put_tensor(file, &ends.tensors[i], &total);
    for (unsigned layer = 0; layer < checkpoint->layers; layer++) {
        struct shard_plan plan = {.count = 0};
        plan_layer(&plan, checkpoint, layer);
        for (size_t i = 0; i < plan.count; i++)
            put_tensor(file, &plan.tensors[i], &total);
    }
    end_header(file);
    assert_int_equal(fflush(file), 0);
    assert_int_equal(ftruncate(fileno(file), (off_t)((uint64_t)ftell(file) + total)), 0);
    assert_int_equal(fclose(file), 0);
}
