/* test_tokenizer.c - added tokens, tool parsers, tokenizer_config.json. */
#include "tasks/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct json *parse(struct arena *arena, const char *name, const char *text)
{
    const struct json_document *document;
    assert_null(json_parse(arena, name, text_of(text), JSON_TOLERANT, &document));
    return &document->root;
}

static const char *take_message(struct arena *arena, struct error *error)
{
    const char *message = arena_format(arena, "%s", error_text(error));
    error_free(error);
    return message;
}

#define TOKEN(id, content, special, normalized)                                                    \
    "    {\n      \"id\": " id ",\n      \"content\": \"" content                                  \
    "\",\n      \"single_word\": false,\n      \"lstrip\": false,\n      \"rstrip\": "             \
    "false,\n      \"normalized\": " normalized ",\n      \"special\": " special "\n    }"

static void added_tokens_of_the_config_are_written_in(void **state)
{
    static const char as_it_is[] =
        "{ \"version\":\"1.0\",\n\"added_tokens\":[{\"id\":2,\"content\":\"<b>\",\"single_word\":"
        "false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}] ,\t"
        "\"model\":{\"vocab\":{\"a\":0}}}";
    static const struct {
        const char *name, *tokenizer, *decoder, *want; /* want NULL: the text itself */
    } rows[] = {
        {"no decoder", as_it_is, NULL, NULL},
        {"nothing new", as_it_is, "{\"2\":{\"content\":\"<b>\",\"special\":true}}", NULL},
        {"an empty decoder", as_it_is, "{}", NULL},
        {"a new one, by id", as_it_is,
            "{\"10\":{\"content\":\"<c>\"},\"1\":{\"content\":\"\\u00e9\","
            "\"special\":true},\"2\":{\"content\":\"<b>\",\"special\":true}}",
            "{ \"version\":\"1.0\",\n\"added_tokens\":[\n" TOKEN("1", "\xC3\xA9", "true",
                "false") ",\n" TOKEN("2", "<b>", "true", "false") ",\n" TOKEN("10", "<c>", "false",
                "true") "\n  ] ,\t\"model\":{\"vocab\":{\"a\":0}}}"},
        {"another flag", as_it_is,
            "{\"2\":{\"content\":\"<b>\",\"special\":true,\"normalized\":true}}",
            "{ \"version\":\"1.0\",\n\"added_tokens\":[\n" TOKEN(
                "2", "<b>", "true", "true") "\n  ] ,\t\"model\":{\"vocab\":{\"a\":0}}}"},
        {"no list yet", "{\"model\":{}}", "{\"0\":{\"content\":\"x\"}}",
            "{\n  \"added_tokens\": [\n" TOKEN("0", "x", "false", "true") "\n  ],\"model\":{}}"},
        {"nothing at all", "{ }", "{\"0\":{\"content\":\"x\"}}",
            "{\n  \"added_tokens\": [\n" TOKEN("0", "x", "false", "true") "\n  ] }"},
        {"no JSON", "{\"a\":", NULL, "t.json:1:6: expected a value, found end of text"},
        {"no object", "[]", NULL, "t.json:1:1: a tokenizer must be an object"},
        {"a list that is none", "{\"added_tokens\":{}}", "{}",
            "t.json: \"added_tokens\":1:1: expected a list"},
        {"an entry without id", "{\"added_tokens\":[{\"content\":\"\"}]}", "{}",
            "t.json: \"added_tokens\":1:2: an added token must have an integer \"id\""},
        {"a decoder that is none", as_it_is, "[]",
            "c.json:1:1: \"added_tokens_decoder\" must be an object, not a list"},
        {"a decoder that is null", as_it_is, "null",
            "c.json:1:1: \"added_tokens_decoder\" must be an object, not null"},
        {"a key that is no number", as_it_is, "{\"x\":{\"content\":\"\"}}",
            "c.json:1:2: a key of \"added_tokens_decoder\" must be a token's number"},
        {"a token that is a string", as_it_is, "{\"3\":\"x\"}",
            "c.json:1:6: an added token must be an object with a \"content\""},
        {"half of a pair", as_it_is, "{\"3\":{\"content\":\"\\udc00\"}}",
            "c.json:1:17: an added token must be UTF-8, and holds a lone surrogate"},
        {"a flag that is none", as_it_is, "{\"3\":{\"content\":\"x\",\"lstrip\":0}}",
            "c.json:1:30: \"lstrip\" of an added token must be true or false"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        struct text made = TEXT_EMPTY;
        struct text tokenizer = text_of(rows[i].tokenizer);
        const struct json *decoder =
            rows[i].decoder == NULL ? NULL : parse(&arena, "c.json", rows[i].decoder);
        bool keeps_decoder;
        struct error *error =
            tokenizer_merge_added(&arena, "t.json", tokenizer, decoder, &made, &keeps_decoder);
        bool is_same = error == NULL && made.bytes == tokenizer.bytes;
        const char *got = error != NULL ? take_message(&arena, error)
                                        : arena_copy(&arena, made.bytes, made.length);
        if (rows[i].want == NULL ? !is_same : strcmp(got, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].name, got);
        arena_end(&arena);
    }
}

/* A class that builds its tokenizer anew has the decoder's tokens only, others those of the list.
 */
static void a_decoder_that_lacks_listed_tokens_stays_and_so_does_the_list(void **state)
{
    static const char list[] =
        "{\"added_tokens\":[{\"id\":2,\"content\":\"<b>\"},{\"id\":5,\"content\":\"<e>\"}]}";
    static const struct {
        const char *tokenizer, *decoder;
        bool keeps_decoder, is_as_it_was;
    } rows[] = {
        {list, NULL, false, true},
        {list, "{}", true, true},
        {"{}", "{}", true, true},
        {list, "{\"2\":{\"content\":\"<b>\"}}", true, true},
        {list, "{\"5\":{\"content\":\"<e>\"}}", true, true},
        {list, "{\"1\":{\"content\":\"<a>\"},\"5\":{\"content\":\"<e>\"}}", true, true},
        {list, "{\"2\":{\"content\":\"<x>\"},\"5\":{\"content\":\"<e>\"}}", true, true},
        {list, "{\"5\":{\"content\":\"<b>\"},\"2\":{\"content\":\"<e>\"}}", true, true},
        {list, "{\"5\":{\"content\":\"<e>\"},\"2\":{\"content\":\"<b>\"}}", false, true},
        {list,
            "{\"3\":{\"content\":\"<c>\"},\"5\":{\"content\":\"<e>\"},\"2\":{\"content\":\"<b>\"}}",
            false, false},
        {"{}", "{\"3\":{\"content\":\"<c>\"}}", false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        struct text made = TEXT_EMPTY, tokenizer = text_of(rows[i].tokenizer);
        const struct json *decoder =
            rows[i].decoder == NULL ? NULL : parse(&arena, "c.json", rows[i].decoder);
        bool keeps_decoder = !rows[i].keeps_decoder;
        assert_null(
            tokenizer_merge_added(&arena, "t.json", tokenizer, decoder, &made, &keeps_decoder));
        if (keeps_decoder != rows[i].keeps_decoder ||
            (made.bytes == tokenizer.bytes) != rows[i].is_as_it_was)
            fail_msg("row %zu: %d, %s", i, keeps_decoder, made.bytes);
        arena_end(&arena);
    }
}

static void flags_of_a_decoder_that_stays_are_taken_over(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text made, list = TEXT_LITERAL("{\"added_tokens\":[{\"id\":2,\"content\":\"<b>\"},"
                                          "{\"id\":5,\"content\":\"<e>\"}]}");
    const struct json *decoder = parse(&arena, "c.json",
        "{\"1\":{\"content\":\"<a>\"},\"2\":{\"content\":\"<b>\",\"special\":true}}");
    bool keeps_decoder = false;
    assert_null(tokenizer_merge_added(&arena, "t.json", list, decoder, &made, &keeps_decoder));
    assert_true(keeps_decoder);
    assert_string_equal(made.bytes, "{\"added_tokens\":[\n" TOKEN("2", "<b>", "true",
                                        "false") ",\n" TOKEN("5", "<e>", "false", "true") "\n  ]}");
    arena_end(&arena);
}

static void tokens_are_found_wherever_they_are(void **state)
{
    static const struct {
        const char *tokenizer;
        bool has_a, has_b;
    } rows[] = {
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<a>\":0,\"x\":1},\"merges\":[[\"<b>\",\"y\"]]}"
         "}",
            true, false},
        {"{\"model\":{\"vocab\":[[\"<a>\",-1.5],[\"<b>\",0]]}}", true, true},
        {"{\"model\":{\"vocab\":{\"\\u003ca>\":0}}}", true, false},
        {"{\"added_tokens\":[{\"id\":0,\"content\":\"<b>\"},{\"x\":[\"<a>\"],\"y\":\"<a>\"}]}",
            false, true},
        {"{\"vocab\":{\"<a>\":0},\"model\":{\"x\":{\"vocab\":{\"<b>\":0}}}}", false, false},
        {"{\"model\":null,\"added_tokens\":7}", false, false},
        {"{\"model\":{\"vocab\":{}},\"added_tokens\":[]}", false, false},
        {"{\"model\":[{\"vocab\":{\"<a>\":0}}],\"added_tokens\":{\"content\":\"<a>\"}}", false,
            false},
    };
    static const char *const tokens[] = {"<a>", "<b>"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_found[2] = {true, true};
        assert_null(
            tokenizer_find_tokens("t.json", text_of(rows[i].tokenizer), tokens, 2, is_found));
        if (is_found[0] != rows[i].has_a || is_found[1] != rows[i].has_b)
            fail_msg("%s: %d %d", rows[i].tokenizer, is_found[0], is_found[1]);
    }
}

static void broken_vocabulary_is_an_error(void **state)
{
    static const struct {
        const char *tokenizer, *want;
    } rows[] = {
        {"{\"model\":{\"vocab\":{\"a\" 0}}}", "t.json:1:24: expected ':', found '0'"},
        {"{\"added_tokens\":[{]}", "t.json:1:19: expected a key or '}', found ']'"},
    };
    static const char *const tokens[] = {"<a>"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_found[1];
        struct error *error =
            tokenizer_find_tokens("t.json", text_of(rows[i].tokenizer), tokens, 1, is_found);
        assert_non_null(error);
        assert_string_equal(error_text(error), rows[i].want);
        error_free(error);
    }
}

static void tool_parser_is_the_reference_s(void **state)
{
    static const struct {
        const char *chat_template, *want;
    } rows[] = {
        {"nothing", NULL},
        {"a <minimax:tool_call> <tool_call>tool_call.name", "minimax_m2"},
        {"<|tool_call> <tool_call|>", "gemma4"},
        {"<|tool_call> alone", NULL},
        {"<start_function_call>", "function_gemma"},
        {"<longcat_tool_call>", "longcat"},
        {"<arg_key>", "glm47"},
        {"<|tool_list_start|>", "pythonic"},
        {"<|tool_call_start|>", "pythonic"},
        {"<tool_call>\\n<function=", "qwen3_coder"},
        {"<tool_call>\n<function=", "qwen3_coder"},
        {"<|tool_calls_section_begin|>", "kimi_k2"},
        {"<function name=\" <param name=\"", "minicpm5"},
        {"<function name=\"", NULL},
        {"[TOOL_CALLS]", "mistral"},
        {"<atem:function_calls>", "muse_spark"},
        {"<tool_call> tool_call.name", "json_tools"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = tokenizer_parser_of_template(text_of(rows[i].chat_template));
        if (got != rows[i].want &&
            (got == NULL || rows[i].want == NULL || strcmp(got, rows[i].want) != 0))
            fail_msg("%s: %s", rows[i].chat_template, got == NULL ? "none" : got);
    }
}

static void tool_parser_follows_from_the_vocabulary(void **state)
{
    (void)state;
    assert_string_equal(
        tokenizer_parser_of_tokens((bool[]){true, true, true, true, true, true}), "kimi_k3");
    assert_string_equal(
        tokenizer_parser_of_tokens((bool[]){true, true, true, false, true, true}), "pythonic");
    assert_null(tokenizer_parser_of_tokens((bool[]){true, true, true, false, true, false}));
}

static void config_loses_what_lies_elsewhere(void **state)
{
    static const struct {
        const char *config, *parser, *want; /* config NULL: no such file */
    } rows[] = {
        {NULL, NULL, "{}\n"},
        {NULL, "mistral", "{\n  \"tool_parser_type\": \"mistral\"\n}\n"},
        {"{\"z\":1,\"chat_template\":\"x\",\"added_tokens_decoder\":{\"0\":{}},\"a\":{\"c\":"
         "\"\xC3\xA9\","
         "\"b\":[]},\"model_max_length\":1000000000000000019884624838656}",
            NULL,
            "{\n  \"a\": {\n    \"b\": [],\n    \"c\": \"\xC3\xA9\"\n  },\n  \"model_max_length\": "
            "1000000000000000019884624838656,\n  \"z\": 1\n}\n"},
        {"{\"legacy\":true,\"tokenizer_class\":\"LlamaTokenizerFast\"}", NULL,
            "{\n  \"tokenizer_class\": \"LlamaTokenizerFast\"\n}\n"},
        {"{\"legacy\":true,\"tokenizer_class\":\"T5Tokenizer\"}", NULL,
            "{\n  \"legacy\": true,\n  \"tokenizer_class\": \"T5Tokenizer\"\n}\n"},
        {"{\"tool_parser_type\":\"mine\"}", "mistral", "{\n  \"tool_parser_type\": \"mine\"\n}\n"},
        {"{\"tool_parser_type\":null}", "mistral", "{\n  \"tool_parser_type\": \"mistral\"\n}\n"},
        {"{\"tool_parser_type\":null}", NULL, "{\n  \"tool_parser_type\": null\n}\n"},
        {"[]", NULL, "c.json:1:1: expected an object, not a list"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        struct text text;
        const struct json *config =
            rows[i].config == NULL ? NULL : parse(&arena, "c.json", rows[i].config);
        struct error *error = tokenizer_render_config(&arena, config, false, rows[i].parser, &text);
        const char *got = error == NULL ? text.bytes : take_message(&arena, error);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        arena_end(&arena);
    }
}

static void a_decoder_that_counts_is_written(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct text text;
    const struct json *config = parse(&arena, "c.json", "{\"added_tokens_decoder\":{\"0\":7}}");
    assert_null(tokenizer_render_config(&arena, config, true, NULL, &text));
    assert_string_equal(text.bytes, "{\n  \"added_tokens_decoder\": {\n    \"0\": 7\n  }\n}\n");
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(added_tokens_of_the_config_are_written_in),
        cmocka_unit_test(a_decoder_that_lacks_listed_tokens_stays_and_so_does_the_list),
        cmocka_unit_test(flags_of_a_decoder_that_stays_are_taken_over),
        cmocka_unit_test(tokens_are_found_wherever_they_are),
        cmocka_unit_test(broken_vocabulary_is_an_error),
        cmocka_unit_test(tool_parser_is_the_reference_s),
        cmocka_unit_test(tool_parser_follows_from_the_vocabulary),
        cmocka_unit_test(config_loses_what_lies_elsewhere),
        cmocka_unit_test(a_decoder_that_counts_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
