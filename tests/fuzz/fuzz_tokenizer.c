/* fuzz_tokenizer.c - any bytes as tokenizer.json and, behind a NUL, as tokenizer_config.json: an
 * error or two texts that are JSON and can be merged again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/tokenizer.h"

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

static void check_merge(struct arena *arena, struct text tokenizer, const struct json *decoder)
{
    struct text made, again;
    bool keeps = false, keeps_again = false, is_found[TOKENIZER_PARSER_TOKENS];
    struct error *error =
        tokenizer_merge_added(arena, "fuzz.json", tokenizer, decoder, &made, &keeps);
    if (error != NULL) {
        must(error_kind_of(error) == ERROR_FORMAT);
        error_free(error);
        return;
    }
    must(tokenizer_merge_added(arena, "made", made, decoder, &again, &keeps_again) == NULL);
    must(tokenizer_find_tokens(
             "made", made, tokenizer_parser_tokens, TOKENIZER_PARSER_TOKENS, is_found) == NULL);
}

static void check_config(struct arena *arena, const struct json *config)
{
    for (int keeps = 0; keeps < 2; keeps++) {
        struct text made;
        struct error *error = tokenizer_render_config(arena, config, keeps == 1, "x", &made);
        must(error != NULL || parse(arena, made) != NULL);
        error_free(error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    struct text all = {(const char *)bytes, size};
    const char *end = size == 0 ? NULL : memchr(bytes, '\0', size);
    size_t length = end == NULL ? size : (size_t)(end - all.bytes);
    struct text second = end == NULL ? TEXT_EMPTY : text_from(all, length + 1);
    const struct json *config = parse(&arena, second);
    check_merge(&arena, text_cut(all, 0, length), json_get(config, "added_tokens_decoder"));
    check_config(&arena, config);
    tokenizer_parser_of_template(all);
    arena_end(&arena);
    return 0;
}
