/* registry.c - the tables that the engine is handed (registry.h). */
#include "tasks/registry.h"

#include <string.h>

#include "base/wire.h"
#include "tasks/formats/digest.h"
#include "tasks/formats/safetensors.h"

static const struct task_type *const types[] = {&task_fetch, &task_copy, &task_merge,
    &task_quantize, &task_index, &task_config, &task_tokenizer, &task_chat_template, &task_card,
    &task_exec, NULL};

static const struct source_kind *const sources[] = {&source_hub, &source_files, NULL};

/* ---- safetensors ---- */

static uint64_t header_bytes(const unsigned char first[8], uint64_t file_size)
{
    uint64_t length = load_le64(first);
    if (length > SAFETENSORS_HEADER_MAX || file_size < 8 || length > file_size - 8)
        return 0;
    return 8 + length;
}

/* What is no valid file of this format is hashed in plain blocks; who reads it as one will say why.
 */
/* NULL when it is no such file, or not one that could be read. */
static struct error *parse(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct safetensors **out)
{
    *out = NULL;
    uint64_t length =
        header.length < 8 ? 0 : header_bytes((const unsigned char *)header.bytes, file_size);
    if (length == 0 || length > header.length)
        return NULL;
    struct text json = {header.bytes + 8, (size_t)length - 8};
    struct error *error = safetensors_parse(arena, path, json, file_size, out);
    if (error != NULL && error_kind_of(error) == ERROR_FORMAT) {
        error_free(error);
        *out = NULL;
        return NULL;
    }
    return error;
}

static struct error *segments(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct span_run **runs, size_t *count)
{
    struct safetensors *file;
    *count = 0;
    TRY(parse(arena, path, header, file_size, &file));
    return file == NULL ? NULL : safetensors_segments(file, arena, count, runs);
}

static struct error *older_segments(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct span_run **runs, size_t *count)
{
    struct safetensors *file;
    *count = 0;
    TRY(parse(arena, path, header, file_size, &file));
    return file == NULL ? NULL : safetensors_older_segments(file, arena, count, runs);
}

static struct error *name_part(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, uint64_t offset, const char **name)
{
    struct safetensors *file;
    *name = NULL;
    TRY(parse(arena, path, header, file_size, &file));
    for (size_t i = 0; file != NULL && i < file->count; i++) {
        const struct tensor *tensor = &file->tensors[i];
        if (offset < tensor->offset || offset - tensor->offset >= tensor->size_bytes)
            continue;
        *name = arena_format(arena, "tensor \"%s\"", tensor->name);
        return memory_check(*name);
    }
    return NULL;
}
static const struct segmenter safetensors = {.suffix = ".safetensors",
    .header_bytes = header_bytes,
    .segments = segments,
    .name_part = name_part};
static const struct segmenter older_safetensors = {.suffix = ".safetensors",
    .header_bytes = header_bytes,
    .segments = older_segments,
    .name_part = name_part};
static const struct segmenter *const segmenters[] = {&safetensors, NULL};
static const struct segmenter *const older_segmenters[] = {&older_safetensors, NULL};

/* ---- identities ---- */

/* The file's identity in the kind of `like`: "sha256:..." or "git:...". */
static struct error *identify(struct arena *arena, const char *path, const char *like, char **out)
{
    bool is_git = strncmp(like, "git:", 4) == 0;
    char hex[DIGEST_HEX_MAX];
    TRY(digest_of_file(is_git ? DIGEST_GIT_BLOB : DIGEST_SHA256, path, NULL, hex));
    char *identity = arena_format(arena, "%s:%s", is_git ? "git" : "sha256", hex);
    TRY(memory_check(identity));
    *out = identity;
    return NULL;
}

const struct registry registry = {
    .types = types,
    .sources = sources,
    .segmenters = segmenters,
    .older_segmenters = older_segmenters,
    .fetch_task = "fetch",
    .seal_last = "config.json",
    .identify = identify,
};
