/* fuzz_json.c - any bytes as JSON, in both modes: an error or a tree; a tree survives being written
 * and read again. Memory never "runs out": that is what json.c says when cJSON refuses what the
 * scanner has accepted, and neither may the two read anything differently. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static struct text write_value(
    struct arena *arena, const struct json *value, const struct json_style *style)
{
    struct text text = TEXT_EMPTY;
    struct json_writer *writer = json_writer_new(arena, style);
    must(writer != NULL);
    json_write_value(writer, value);
    must(json_writer_finish(writer, &text) == NULL);
    must(text_is_utf8(text));
    return text;
}

/* At the end: a key that an error of another kind names has a quote behind it. */
static bool is_disagreement(const char *text)
{
    static const char words[] =
        "expected cJSON to read what the scanner reads here, found something else";
    size_t length = strlen(text), size = sizeof words - 1;
    return length >= size && strcmp(text + length - size, words) == 0;
}

static void check_error(struct error *error)
{
    must(error_kind_of(error) != ERROR_MEMORY);
    must(!is_disagreement(error_text(error)));
    must(strlen(error_report(error)) > strlen(error_text(error)));
    error_free(error);
}

static void check_tree(
    struct arena *arena, const struct json_document *document, enum json_mode mode)
{
    const struct json_document *again = NULL;
    struct text text = write_value(arena, &document->root, &JSON_STYLE_CANONICAL);
    must(json_parse(arena, "again", text, mode, &again) == NULL);
    must(json_equal(&document->root, &again->root));
    must(text_equal(write_value(arena, &again->root, &JSON_STYLE_CANONICAL), text));
    write_value(arena, &document->root, &JSON_STYLE_CONFIG);
    write_value(arena, &document->root, &JSON_STYLE_TOKENIZER);
    must(json_show(arena, &document->root) != NULL);
    for (size_t i = 0; json_is(&document->root, JSON_OBJECT) && i < document->root.count; i++) {
        const struct json_member *member = &document->root.members[i];
        if (strlen(member->key.bytes) == member->key.length)
            must(json_get(&document->root, member->key.bytes) == &member->value);
    }
}

static void parse(const uint8_t *bytes, size_t size, enum json_mode mode)
{
    struct arena arena = {0};
    const struct json_document *document = NULL;
    struct text text = {(const char *)bytes, size};
    struct error *error = json_parse(&arena, "fuzz.json", text, mode, &document);
    if (error != NULL)
        check_error(error);
    else
        check_tree(&arena, document, mode);
    arena_end(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    parse(bytes, size, JSON_STRICT);
    parse(bytes, size, JSON_TOLERANT);
    return 0;
}
