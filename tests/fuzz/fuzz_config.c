/* fuzz_config.c - any bytes as config.json and, behind a NUL, as generation_config.json: an error
 * or a text that is JSON, with what the weights have become. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct json *parse(struct arena *arena, struct text text)
{
    const struct json_document *document = NULL;
    struct error *error = json_parse(arena, "fuzz.json", text, JSON_TOLERANT, &document);
    error_free(error);
    return error == NULL ? &document->root : NULL;
}

static const char head[] = "{\"group_size\": 64, \"bits\": 4}";
static const struct layout layouts[] = {{.file_count = 0},
    {.is_quantized = true, .quantization = {head, sizeof head - 1}}, {.is_dequantized = true}};

static void check(struct arena *arena, const struct config_sources *sources, size_t i)
{
    struct text made;
    struct error *error = config_render(arena, sources, &layouts[i], &made);
    if (error != NULL) {
        must(error_kind_of(error) == ERROR_FORMAT);
        error_free(error);
        return;
    }
    const struct json *config = parse(arena, made);
    if (config == NULL)
        return; /* NaN, written as an object, may be one level too deep */
    must(json_is(config, JSON_OBJECT) && json_get(config, "vision_config") == NULL);
    must(i != 1 || json_get(config, "quantization_config") != NULL);
    must(i != 2 || json_get(config, "quantization") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    struct text all = {(const char *)bytes, size};
    const char *end = size == 0 ? NULL : memchr(bytes, '\0', size);
    size_t length = end == NULL ? size : (size_t)(end - all.bytes);
    struct config_sources sources = {.config = parse(&arena, text_cut(all, 0, length))};
    if (end != NULL)
        sources.generation = parse(&arena, text_from(all, length + 1));
    for (size_t i = 0; sources.config != NULL && i < sizeof layouts / sizeof layouts[0]; i++)
        check(&arena, &sources, i);
    arena_end(&arena);
    return 0;
}
