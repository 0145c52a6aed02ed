/* test_config.c - config.json, byte for byte as mlx_lm's save_config writes it. */
#include "base/file_whole.h"
#include "tasks/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *name;
    const char *config, *generation, *quantized; /* the last two may be NULL */
    const char *quantization;                    /* NULL: not quantized */
    bool is_dequantized;
    const char *want; /* a text, or an error */
};

static const struct json *parse(struct arena *arena, const char *name, struct text text)
{
    const struct json_document *document;
    assert_null(json_parse(arena, name, text, JSON_TOLERANT, &document));
    return &document->root;
}

static const char *render(struct arena *arena, const struct row *row)
{
    static struct layout_entry entries[] = {
        {"model.gate", {"{\"group_size\": 64, \"bits\": 8}", 29}},
        {"lm_head", {"{\"group_size\": null, \"bits\": 6}", 31}},
    };
    struct config_sources sources = {.config = parse(arena, "config.json", text_of(row->config))};
    if (row->generation != NULL)
        sources.generation = parse(arena, "generation_config.json", text_of(row->generation));
    if (row->quantized != NULL)
        sources.quantized = parse(arena, "hf_quant_config.json", text_of(row->quantized));
    struct layout layout = {.is_dequantized = row->is_dequantized, .quantization = TEXT_EMPTY};
    if (row->quantization != NULL) {
        layout.is_quantized = true;
        layout.quantization = text_of(row->quantization);
        layout.entries = entries;
        layout.entry_count = 2;
    }
    struct text text;
    struct error *error = config_render(arena, &sources, &layout, &text);
    if (error == NULL)
        return text.bytes;
    const char *message = arena_format(arena, "%s", error_text(error));
    error_free(error);
    return message;
}

static void config_equals_the_reference(void **state)
{
    static const struct row rows[] = {
        {.name = "keys sorted at the top only",
            .config = "{\"b\":{\"z\":1,\"a\":2},\"B\":[],\"\\u00e9\":{},\"a\":[1,\"x\"]}",
            .want =
                "{\n    \"B\": [],\n    \"a\": [\n        1,\n        \"x\"\n    ],\n    "
                "\"b\": {\n        \"z\": 1,\n        \"a\": 2\n    },\n    \"\\u00e9\": {}\n}"},
        {.name = "numbers as Python writes them",
            .config = "{\"a\":[1e-5,1E16,10000.0,10000,-0,-0.0,1e22,0.30000000000000004,"
                      "123456789012345678901234567890]}",
            .want = "{\n    \"a\": [\n        1e-05,\n        1e+16,\n        10000.0,\n        "
                    "10000,\n        0,\n        -0.0,\n        1e+22,\n        "
                    "0.30000000000000004,\n        123456789012345678901234567890\n    ]\n}"},
        {.name = "what is not finite is tagged",
            .config = "{\"a\":NaN,\"b\":{\"__float__\":\"-Infinity\"},\"c\":1e999}",
            .want =
                "{\n    \"a\": {\n        \"__float__\": \"NaN\"\n    },\n    \"b\": {\n        "
                "\"__float__\": \"-Infinity\"\n    },\n    \"c\": {\n        \"__float__\": "
                "\"Infinity\"\n    }\n}"},
        {.name = "ASCII only",
            .config = "{\"a\":\"\xC3\xA9\xF0\x9F\x98\x80\\n\\u007f\"}",
            .want = "{\n    \"a\": \"\\u00e9\\ud83d\\ude00\\n\\u007f\"\n}"},
        {.name = "the last duplicate counts",
            .config = "{\"a\":1,\"a\":2}",
            .want = "{\n    \"a\": 2\n}"},
        {.name = "what is for others goes",
            .config = "{\"_name_or_path\":\"x\",\"vision_config\":{\"a\":1}}",
            .want = "{}"},
        {.name = "a true end token replaces",
            .config = "{\"eos_token_id\":1,\"z\":0}",
            .generation = "{\"eos_token_id\":[2,3]}",
            .want = "{\n    \"eos_token_id\": [\n        2,\n        3\n    ],\n    \"z\": 0\n}"},
        {.name = "an end token of 0 does not",
            .config = "{\"eos_token_id\":1}",
            .generation = "{\"eos_token_id\":0}",
            .want = "{\n    \"eos_token_id\": 1\n}"},
        {.name = "nor an empty list",
            .config = "{}",
            .generation = "{\"eos_token_id\":[]}",
            .want = "{}"},
        {.name = "text_config's quantization is lifted",
            .config = "{\"text_config\":{\"quantization_config\":{\"q\":1}}}",
            .quantized = "{\"p\":1}",
            .want =
                "{\n    \"quantization_config\": {\n        \"q\": 1\n    },\n    "
                "\"text_config\": {\n        \"quantization_config\": {\n            \"q\": 1\n  "
                "      }\n    }\n}"},
        {.name = "else that of its own file",
            .config = "{}",
            .quantized = "{\"p\":1.50}",
            .want = "{\n    \"quantization_config\": {\n        \"p\": 1.5\n    }\n}"},
        {.name = "quantized: head, entries, copy",
            .config = "{\"x\":0,\"quantization_config\":{\"old\":1}}",
            .quantization = "{\"group_size\": 64, \"bits\": 4, \"mode\": \"affine\"}",
            .want =
                "{\n    \"quantization\": {\n        \"group_size\": 64,\n        \"bits\": 4,\n "
                "       \"mode\": \"affine\",\n        \"model.gate\": {\n            "
                "\"group_size\": 64,\n            \"bits\": 8\n        },\n        \"lm_head\": "
                "{\n            \"group_size\": null,\n            \"bits\": 6\n        }\n    "
                "},\n    \"quantization_config\": {\n        \"group_size\": 64,\n        "
                "\"bits\": 4,\n        \"mode\": \"affine\",\n        \"model.gate\": {\n        "
                "    \"group_size\": 64,\n            \"bits\": 8\n        },\n        "
                "\"lm_head\": {\n            \"group_size\": null,\n            \"bits\": 6\n    "
                "    }\n    },\n    \"x\": 0\n}"},
        {.name = "quantized further: the old head stays, entries replace",
            .config = "{\"quantization\":{\"bits\":8,\"lm_head\":{\"bits\":2}}}",
            .quantization = "{\"bits\": 4}",
            .want =
                "{\n    \"quantization\": {\n        \"bits\": 8,\n        \"lm_head\": {\n      "
                "      \"group_size\": null,\n            \"bits\": 6\n        },\n        "
                "\"model.gate\": {\n            \"group_size\": 64,\n            \"bits\": 8\n   "
                "     }\n    },\n    \"quantization_config\": {\n        \"bits\": 8,\n        "
                "\"lm_head\": {\n            \"group_size\": null,\n            \"bits\": 6\n    "
                "    },\n        \"model.gate\": {\n            \"group_size\": 64,\n            "
                "\"bits\": 8\n        }\n    }\n}"},
        {.name = "dequantized: both go",
            .config = "{\"quantization\":{\"bits\":8},\"quantization_config\":1,\"a\":1}",
            .is_dequantized = true,
            .want = "{\n    \"a\": 1\n}"},
        {.name = "no object",
            .config = "[1]",
            .want = "config.json:1:1: expected an object, not a list"},
        {.name = "generation is no object",
            .config = "{}",
            .generation = " 7",
            .want = "generation_config.json:1:2: expected an object, not a number"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        const char *got = render(&arena, &rows[i]);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("%s:\n%s\nnot\n%s", rows[i].name, got, rows[i].want);
        arena_end(&arena);
    }
}

static struct text read_golden(struct arena *arena, const char *name)
{
    const char *source = getenv("PSYBUILD_SOURCE");
    struct text text;
    char *path =
        arena_format(arena, "%s/tests/golden/miniature/%s", source == NULL ? "." : source, name);
    assert_non_null(path);
    assert_null(file_read_whole(arena, path, 16 << 20, &text));
    return text;
}

/* The layout that the reference's own config.json speaks of. */
static struct layout layout_of(struct arena *arena, const struct json *quantization)
{
    struct layout layout = {.quantization = TEXT_EMPTY};
    if (quantization == NULL)
        return layout;
    const struct text whole = quantization->document->text;
    layout.is_quantized = true;
    layout.entries = arena_array(arena, quantization->count, sizeof *layout.entries);
    const char *head = "{";
    for (size_t i = 0; i < quantization->count; i++) {
        const struct json_member *member = &quantization->members[i];
        const char *value = whole.bytes + member->value.offset;
        if (member->value.kind == JSON_OBJECT) {
            size_t length = (size_t)(strchr(value, '}') - value) + 1;
            layout.entries[layout.entry_count++] =
                (struct layout_entry){member->key.bytes, {value, length}};
        } else {
            head = arena_format(arena, "%s%s\"%s\": %.*s", head, i > 0 ? ", " : "",
                member->key.bytes, (int)strcspn(value, ",\n}"), value);
        }
    }
    layout.quantization = text_of(arena_format(arena, "%s}", head));
    return layout;
}

static void config_of_the_miniature_is_the_reference_s(void **state)
{
    (void)state;
    struct arena arena = {0};
    const struct json *expected =
        parse(&arena, "expected.json", read_golden(&arena, "expected.json"));
    struct config_sources sources = {
        .config = parse(&arena, "config.json", read_golden(&arena, "source/config.json")),
        .generation = parse(&arena, "generation_config.json",
            read_golden(&arena, "source/generation_config.json"))};
    const struct json *conversions = json_get(expected, "conversions");
    assert_true(conversions->count >= 5);
    for (size_t i = 0; i < conversions->count; i++) {
        const struct json_member *conversion = &conversions->members[i];
        struct text want = json_get(&conversion->value, "config.json")->text, got;
        const struct json *config = parse(&arena, "want", want);
        struct layout layout = layout_of(&arena, json_get(config, "quantization"));
        assert_null(config_render(&arena, &sources, &layout, &got));
        if (!text_equal(got, want))
            fail_msg("%s:\n%s\nnot\n%s", conversion->key.bytes, got.bytes, want.bytes);
    }
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(config_equals_the_reference),
        cmocka_unit_test(config_of_the_miniature_is_the_reference_s),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
