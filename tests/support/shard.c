/* shard.c - reads with the program's own parser, writes what no parser may accept. */
#include "tests/support/shard.h"

#include <setjmp.h>
#include <stdarg.h>

#include <inttypes.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "tasks/formats/safetensors.h"
#include "tests/support/tree.h"

struct shard shard_load(struct arena *arena, const char *path)
{
    struct shard shard = {.arena = arena};
    struct text file = tree_read(arena, path);
    struct text json = {file.bytes + 8, (size_t)load_le64(file.bytes)};
    struct safetensors *header;
    tree_assert_ok(safetensors_parse(arena, path, json, file.length, &header));
    assert_true(header->count <= SHARD_TENSORS_MAX);
    for (size_t i = 0; i < header->count; i++) {
        const struct tensor *tensor = &header->tensors[i];
        shard.tensors[shard.count++] = (struct shard_tensor){.name = tensor->name,
            .dtype = dtype_name(tensor->dtype),
            .shape = safetensors_shape_text(arena, tensor->rank, tensor->shape),
            .bytes = (unsigned char *)arena_copy(
                arena, file.bytes + tensor->offset, (size_t)tensor->size_bytes),
            .size_bytes = (size_t)tensor->size_bytes};
    }
    return shard;
}

void shard_save(const struct shard *shard, const char *path)
{
    char *header = arena_format(shard->arena, "{\"__metadata__\":{\"format\":\"pt\"}");
    uint64_t offset = 0, size = 0;
    for (size_t i = 0; i < shard->count; i++) {
        const struct shard_tensor *tensor = &shard->tensors[i];
        uint64_t begin = tensor->has_offsets ? tensor->begin : offset;
        uint64_t end = tensor->has_offsets ? tensor->end : offset + tensor->size_bytes;
        header = arena_format(shard->arena,
            "%s,\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
            header, tensor->name, tensor->dtype, tensor->shape, begin, end);
        offset += tensor->size_bytes;
        size += tensor->size_bytes;
    }
    size_t length = strlen(header) + 1;
    char *file = arena_alloc(shard->arena, 8 + length + size);
    assert_non_null(file);
    store_le64(file, length);
    memcpy(file + 8, header, length - 1);
    file[8 + length - 1] = '}';
    char *at = file + 8 + length;
    for (size_t i = 0; i < shard->count; i++) {
        memcpy(at, shard->tensors[i].bytes, shard->tensors[i].size_bytes);
        at += shard->tensors[i].size_bytes;
    }
    tree_write_bytes(path, file, (size_t)(at - file));
}

struct shard_tensor *shard_find(struct shard *shard, const char *name)
{
    for (size_t i = 0; i < shard->count; i++)
        if (strcmp(shard->tensors[i].name, name) == 0)
            return &shard->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

void shard_remove(struct shard *shard, const char *name)
{
    struct shard_tensor *tensor = shard_find(shard, name);
    size_t index = (size_t)(tensor - shard->tensors);
    shard->count--;
    memmove(tensor, tensor + 1, (shard->count - index) * sizeof *tensor);
}
