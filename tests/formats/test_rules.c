/* test_rules.c - rule files: what is refused, what the steps do, what is expected of a checkpoint.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file_whole.h"
#include "tasks/formats/pattern.h"
#include "tasks/formats/rules.h"

enum { INPUTS_MAX = 32 };

/* One rule file applied to one model. */
struct fixture {
    struct arena arena;
    const struct json *config;
    char reads[512]; /* the fields asked for, in order, each followed by a blank */
    const struct rules *rules;
    struct rules_model *model;
    struct rules_input inputs[INPUTS_MAX];
    size_t input_count;
    struct rules_result result;
};

static const struct json *get_field(void *context, const char *path)
{
    struct fixture *fixture = context;
    strcat(strcat(fixture->reads, path), " ");
    return json_get_path(fixture->config, path);
}

/* "name:BF16:4,8 other:F32:" */
static void parse_inputs(struct fixture *fixture, const char *text)
{
    char *copy = arena_copy(&fixture->arena, text, strlen(text)), *rest = NULL;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        struct rules_input *input = &fixture->inputs[fixture->input_count++];
        uint64_t *shape = arena_array(&fixture->arena, 16, sizeof *shape);
        char *dtype = strchr(word, ':'), *axes = strchr(dtype + 1, ':');
        assert_true(fixture->input_count <= INPUTS_MAX);
        *input = (struct rules_input){.name = {word, (size_t)(dtype - word)}, .shape = shape};
        assert_true(
            dtype_parse((struct text){dtype + 1, (size_t)(axes - dtype - 1)}, &input->dtype));
        for (char *axis = axes + 1; *axis != '\0'; axis += *axis == ',')
            shape[input->rank++] = strtoull(axis, &axis, 10);
    }
}

static struct error *apply(
    struct fixture *fixture, const char *rules, const char *config, const char *inputs)
{
    const struct json_document *document = NULL;
    struct rules_config accessor = {"config.json", get_field, fixture};
    TRY(json_parse(&fixture->arena, "config.json", text_of(config), JSON_TOLERANT, &document));
    fixture->config = &document->root;
    parse_inputs(fixture, inputs);
    TRY(rules_load(&fixture->arena, "r.json", text_of(rules), &fixture->rules));
    TRY(rules_bind(&fixture->arena, fixture->rules, &accessor, &fixture->model));
    return rules_apply(fixture->model, fixture->inputs, fixture->input_count, &fixture->result);
}

/* "a.weight<0 b<2 -1": names with their inputs, then dropped inputs. */
static const char *show_result(struct fixture *fixture)
{
    struct arena *arena = &fixture->arena;
    const char *shown = "";
    for (size_t i = 0; i < fixture->result.output_count; i++)
        shown = arena_format(arena, "%s%s%s<%zu", shown, i > 0 ? " " : "",
            fixture->result.outputs[i].name.bytes, fixture->result.outputs[i].input);
    for (size_t i = 0; i < fixture->input_count; i++)
        if (fixture->result.is_dropped[i])
            shown = arena_format(arena, "%s -%zu", shown, i);
    return shown;
}

static void check_error(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    error_free(error);
}

static void no_error(struct error *error)
{
    if (error != NULL)
        fail_msg("%s", error_report(error));
}

/* A rule file of type "t" with one more member. */
static char *with_member(struct arena *arena, const char *member)
{
    return arena_format(arena, "{\"types\": [\"t\"], %s}", member);
}

static void load_refuses_what_it_does_not_know(void **state)
{
    static const struct {
        const char *member, *want;
    } cases[] = {
        {"\"tpyes\": 1", "18: unknown key \"tpyes\", did you mean \"types\"?"},
        {"\"zzz\": 1", "18: unknown key \"zzz\""},
        {"\"architectures\": []", "35: \"architectures\" must not be empty"},
        {"\"architectures\": [1]", "36: \"architectures\" must hold strings, not 1"},
        {"\"required\": \"a\"", "30: \"required\" must be a list, not \"a\""},
        {"\"required\": [1]", "31: \"required\" must hold strings, not 1"},
        {"\"required\": [\"a-b\"]", "31: \"a-b\" is no name of a field"},
        {"\"required\": [\"a..b\"]", "31: \"a..b\" is no name of a field"},
        {"\"defaults\": []", "30: \"defaults\" must be an object, not a list"},
        {"\"defaults\": {\"a.\": 1}", "31: \"a.\" is no name of a field"},
        {"\"required\": [\"b.c\"], \"defaults\": {\"a\": 1, \"b.c\": 1}",
            "60: \"b.c\" is required, so it has no default"},
        {"\"refuse\": \"a\"", "28: \"refuse\" must be a list, not \"a\""},
        {"\"refuse\": [[]]", "29: an expression must be a string, not a list"},
        {"\"let\": []", "25: \"let\" must be an object, not a list"},
        {"\"let\": {\"len\": \"1\"}", "26: \"len\" cannot be a name in \"let\""},
        {"\"let\": {\"a\": \"1 +\"}",
            "31: \"1 +\" is no expression: expected a value at character 4"},
        {"\"layers\": [1]", "28: an expression must be a string, not a list"},
        {"\"keep_dtype\": 5", "32: a pattern must be a string, not 5"},
        {"\"keep_dtype\": [\"a}\"]", "33: \"a}\" is no pattern: \"}\" has no \"{\" before it"},
        {"\"steps\": {}", "27: \"steps\" must be a list, not an object"},
        {"\"steps\": [5]", "28: a step must be an object, not 5"},
        {"\"steps\": [{}]", "28: a step needs an operation: drop, rename or replace"},
        {"\"steps\": [{\"to\": \"x\"}]", "28: a step needs an operation: drop, rename or replace"},
        {"\"steps\": [{\"stack\": \"a.{e}\", \"to\": \"a\", \"count\": 3}]",
            "29: operation \"stack\" is not known to this version"},
        {"\"steps\": [{\"axis\": 1, \"split\": \"a\"}]",
            "40: operation \"split\" is not known to this version"},
        {"\"steps\": [{\"drop\": \"a\", \"transpose\": \"a\"}]",
            "42: operation \"transpose\" is not known to this version"},
        {"\"steps\": [{\"melt\": \"a\"}]", "29: operation \"melt\" is not known to this version"},
        {"\"steps\": [{\"drop\": \"a\", \"rename\": []}]",
            "42: a step has one operation, not \"drop\" and \"rename\""},
        {"\"steps\": [{\"drop\": \"a\", \"to\": \"b\"}]", "42: unknown key \"to\""},
        {"\"steps\": [{\"drop\": \"a\", \"wher\": \"b\"}]",
            "42: unknown key \"wher\", did you mean \"where\"?"},
        {"\"steps\": [{\"drop\": \"{i}\", \"if\": \"i > 2\"}]",
            "50: \"if\" is evaluated once and sees no capture \"i\"; \"where\" does"},
        {"\"steps\": [{\"rename\": \"a\"}]",
            "39: \"rename\" takes a pattern and \"to\", or a list of [pattern, name] without it"},
        {"\"steps\": [{\"rename\": [], \"to\": \"b\"}]",
            "49: \"rename\" takes a pattern and \"to\", or a list of [pattern, name] without it"},
        {"\"steps\": [{\"rename\": [\"a\"]}]",
            "40: a pair of \"rename\" must be a list of two, not \"a\""},
        {"\"steps\": [{\"rename\": \"a.{i}\", \"to\": \"{x}\"}]",
            "54: the pattern \"a.{i}\" captures no \"x\""},
        {"\"steps\": [{\"replace\": \"a\"}]", "40: \"replace\" must be a list, not \"a\""},
        {"\"steps\": [{\"replace\": [[\"a\"]]}]",
            "41: a pair of \"replace\" must be a list of two, not a list"},
        {"\"steps\": [{\"replace\": [[\"\", \"b\"]]}]",
            "42: \"replace\" cannot replace the empty text"},
        {"\"steps\": [{\"replace\": [[\"a\", 1]]}]",
            "47: \"replace\" takes strings of at most 1024 bytes, not 1"},
        {"\"quant\": []", "27: \"quant\" must be an object, not a list"},
        {"\"quant\": {\"sepcial\": []}", "28: unknown key \"sepcial\", did you mean \"special\"?"},
        {"\"quant\": {\"special\": [{\"bits\": 8}]}", "40: \"match\" is missing"},
        {"\"quant\": {\"special\": [{\"match\": \"a\", \"bits\": 7}]}",
            "63: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7"},
        {"\"quant\": {\"special\": [{\"match\": \"a\", \"group_size\": 16}]}",
            "69: \"group_size\" must be 32, 64 or 128, not 16"},
        {"\"quant\": {\"only\": [{\"match\": \"a\", \"bits\": 8}]}", "52: unknown key \"bits\""},
        {"\"quant\": {\"raw\": [\"a\"]}, \"tensors\": []",
            "28: \"raw\" has no meaning beside \"tensors\", where each tensor has a \"kind\""},
        {"\"tensors\": {}", "29: a list of tensors must be a list, not an object"},
        {"\"tensors\": [{\"name\": \"a\"}]", "30: \"shape\" is missing"},
        {"\"tensors\": [{\"shape\": []}]", "30: \"name\" is missing"},
        {"\"tensors\": [{\"name\": \"a\", \"shape\": [], \"knid\": 1}]",
            "57: unknown key \"knid\", did you mean \"kind\"?"},
        {"\"tensors\": [{\"name\": \"a.{i}\", \"shape\": []}]",
            "39: there is no variable \"i\" here"},
        {"\"tensors\": [{\"name\": \"a\", \"shape\": [1,1,1,1,1,1,1,1,1]}]",
            "53: \"shape\" has more than 8 axes"},
        {"\"tensors\": [{\"name\": \"a.weight\", \"shape\": [], \"kind\": \"conv\"}]",
            "72: \"kind\" must be \"linear\", \"embedding\" or \"other\", not \"conv\""},
        {"\"tensors\": [{\"name\": \"a.bias\", \"shape\": [], \"kind\": \"linear\"}]",
            "70: a linear tensor is named \"....weight\""},
        {"\"tensors\": [{\"for\": {\"i\": 2}}]", "30: \"each\" is missing"},
        {"\"tensors\": [{\"for\": {\"i\": 2, \"j\": 2}, \"each\": []}]",
            "38: \"for\" must be an object with one variable, not an object"},
        {"\"tensors\": [{\"for\": {\"1\": 2}, \"each\": []}]",
            "39: \"1\" cannot be a variable here"},
        {"\"tensors\": [{\"for\": {\"i\": 2}, \"each\": [{\"for\": {\"i\": 2}, \"each\": []}]}]",
            "66: \"i\" cannot be a variable here"},
        {"\"tensors\": [{\"each\": [], \"name\": \"a\"}]", "43: unknown key \"name\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        const struct rules *rules = NULL;
        print_message("%s\n", cases[i].member);
        check_error(
            rules_load(&arena, "r.json", text_of(with_member(&arena, cases[i].member)), &rules),
            arena_format(&arena, "r.json:1:%s", cases[i].want));
        assert_null(rules);
        arena_end(&arena);
    }
}

static void load_refuses_files_without_types(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"", "r.json:1:1: expected a value, found end of text"},
        {"[]", "r.json:1:1: a rule file must be an object, not a list"},
        {"{}", "r.json:1:1: \"types\" is missing"},
        {"{\"types\": []}", "r.json:1:11: \"types\" must not be empty"},
        {"{\"types\": [\"a\"], \"types\": [\"a\"]}", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        const struct rules *rules = NULL;
        print_message("%s\n", cases[i].text);
        struct error *error = rules_load(&arena, "r.json", text_of(cases[i].text), &rules);
        assert_non_null(error);
        if (cases[i].want != NULL)
            assert_string_equal(error_text(error), cases[i].want);
        error_free(error);
        arena_end(&arena);
    }
}

static void groups_do_not_nest_without_end(void **state)
{
    struct arena arena = {0};
    const struct rules *rules = NULL;
    char text[1024] = "{\"types\": [\"t\"], \"tensors\": [";
    (void)state;
    for (int i = 0; i < 17; i++)
        strcat(text, "{\"each\": [");
    for (int i = 0; i < 17; i++)
        strcat(text, "]}");
    check_error(rules_load(&arena, "r.json", text_of(strcat(text, "]}")), &rules),
        "r.json:1:190: groups are nested too deeply");
    strcpy(text, "{\"types\": [\"t\"], \"tensors\": [");
    for (int i = 0; i < 9; i++)
        snprintf(text + strlen(text), 40, "{\"for\": {\"v%d\": 1}, \"each\": [", i);
    for (int i = 0; i < 9; i++)
        strcat(text, "]}");
    check_error(rules_load(&arena, "r.json", text_of(strcat(text, "]}")), &rules),
        "r.json:1:263: there are more than 8 variables");
    arena_end(&arena);
}

static void rules_serve_types_and_architectures(void **state)
{
    static const struct {
        const char *member, *type, *architectures;
        enum rules_service want;
    } cases[] = {
        {"\"steps\": []", "t", "[\"A\"]", RULES_SERVE_TYPE},
        {"\"steps\": []", "t", NULL, RULES_SERVE_TYPE},
        {"\"steps\": []", "T", "[\"A\"]", RULES_SERVE_NOT},
        {"\"architectures\": [\"A\", \"B\"]", "t", "[\"X\", \"B\"]", RULES_SERVE_ARCHITECTURE},
        {"\"architectures\": [\"A\", \"B\"]", "t", "\"A\"", RULES_SERVE_ARCHITECTURE},
        {"\"architectures\": [\"A\"]", "t", "[\"X\", 1, null]", RULES_SERVE_NOT},
        {"\"architectures\": [\"A\"]", "t", "{\"A\": 1}", RULES_SERVE_NOT},
        {"\"architectures\": [\"A\"]", "t", NULL, RULES_SERVE_NOT},
        {"\"architectures\": [\"A\"]", "u", "[\"A\"]", RULES_SERVE_NOT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        const struct rules *rules = NULL;
        const struct json_document *list = NULL;
        print_message("%zu\n", i);
        no_error(
            rules_load(&arena, "r.json", text_of(with_member(&arena, cases[i].member)), &rules));
        if (cases[i].architectures != NULL)
            no_error(
                json_parse(&arena, "c", text_of(cases[i].architectures), JSON_TOLERANT, &list));
        assert_int_equal(
            rules_serves(rules, text_of(cases[i].type), list == NULL ? NULL : &list->root),
            cases[i].want);
        assert_string_equal(rules_name(rules), "r.json");
        arena_end(&arena);
    }
}

static void steps_drop_and_rename(void **state)
{
    static const struct {
        const char *steps, *inputs, *want;
    } cases[] = {
        {"", "b:F32:1 a:F32:1", "b<0 a<1"},
        {"{\"drop\": \"*.inv_freq*\"}", "a.inv_freq:F32:1 b:F32:1 c.inv_freqs:F32:1", "b<1 -0 -2"},
        {"{\"drop\": [\"a\", \"b\"]}", "a:F32:1 b:F32:1 c:F32:1", "c<2 -0 -1"},
        {"{\"drop\": \"*\", \"except\": \"a\"}", "a:F32:1 b:F32:1", "a<0 -1"},
        {"{\"drop\": \"*\", \"except\": [\"b\", \"a{i}\"]}", "a1:F32:1 b:F32:1", "a1<0 b<1"},
        {"{\"drop\": \"a\", \"if\": \"yes\"}", "a:F32:1 b:F32:1", "b<1 -0"},
        {"{\"drop\": \"a\", \"if\": \"no\"}", "a:F32:1 b:F32:1", "a<0 b<1"},
        {"{\"drop\": \"a\", \"if\": \"missing ?? true\"}", "a:F32:1 b:F32:1", "b<1 -0"},
        {"{\"drop\": \"l.{i}.*\", \"where\": \"i >= layers\"}",
            "l.1.w:F32:1 l.2.w:F32:1 l.10.w:F32:1", "l.1.w<0 -1 -2"},
        {"{\"drop\": \"*\", \"where\": \"ndim == 2 && e0 != 3 && d0 == 2\"}",
            "a:F32:2,4 b:F32:2,3 c:F32:2 d:F32:1,4", "b<1 c<2 d<3 -0"},
        {"{\"drop\": \"*\", \"where\": \"d3 == null && e1 == 2\"}", "a:F32:2,4 b:F32:1,2,1,1",
            "b<1 -0"},
        {"{\"drop\": \"*\", \"where\": \"e0 == null && d0 == 0\"}",
            "a:U8:0,9223372036854775813 b:U8:9223372036854775813,0", "b<1 -0"},
        {"{\"drop\": \"{p:a|b}{x*}\", \"where\": \"p == \\\"b\\\" && x == \\\"c\\\"\"}",
            "ac:F32:1 bc:F32:1 bd:F32:1", "ac<0 bd<2 -1"},
        {"{\"drop\": \"a\", \"if\": \"has(\\\"b*\\\")\"}", "a:F32:1 bc:F32:1", "bc<1 -0"},
        {"{\"drop\": \"b*\"}, {\"drop\": \"a\", \"if\": \"has(\\\"b*\\\")\"}", "a:F32:1 bc:F32:1",
            "a<0 -1"},
        /* has() is about the names as they were when the step began */
        {"{\"drop\": \"*\", \"where\": \"has(\\\"a\\\")\"}", "a:F32:1 b:F32:1", " -0 -1"},
        {"{\"rename\": \"{x*}.weight\", \"to\": \"m.{x}.w\"}", "a.weight:F32:1 b.bias:F32:1",
            "m.a.w<0 b.bias<1"},
        {"{\"rename\": [[\"model.{x*}\", \"model.{x}\"], [\"{x*}\", \"model.{x}\"]]}",
            "model.a:F32:1 b:F32:1", "model.a<0 model.b<1"},
        {"{\"rename\": [[\"a\", \"b\"], [\"b\", \"a\"]]}", "a:F32:1 b:F32:1", "b<0 a<1"},
        {"{\"rename\": [[\"a\", \"b\"], [\"*\", \"c\"]], \"where\": \"ndim > 1\"}", "a:F32:1",
            "a<0"},
        {"{\"rename\": \"a\", \"to\": \"b\"}, {\"rename\": \"b\", \"to\": \"c\"}", "a:F32:1",
            "c<0"},
        {"{\"drop\": \"a\"}, {\"rename\": \"b\", \"to\": \"a\"}", "a:F32:1 b:F32:1", "a<1 -0"},
        {"{\"replace\": [[\".gpt.layers.\", \".h.\"], [\".gpt.\", \".\"]]}",
            "m.gpt.layers.0.w:F32:1 m.gpt.w:F32:1", "m.h.0.w<0 m.w<1"},
        {"{\"replace\": [[\"aa\", \"a\"], [\"b\", \"\"], [\"c\", \"cc\"]]}", "aaabbcc:F32:1",
            "aacccc<0"},
        {"{\"replace\": [[\"a\", \"b\"]], \"except\": \"*.a\", \"where\": \"ndim == 1\"}",
            "x.a:F32:1 a:F32:1 a2:F32:1,1", "x.a<0 b<1 a2<2"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s on %s\n", cases[i].steps, cases[i].inputs);
        no_error(apply(&fixture,
            with_member(
                &fixture.arena, arena_format(&fixture.arena, "\"steps\": [%s]", cases[i].steps)),
            "{\"yes\": true, \"no\": false, \"layers\": 2}", cases[i].inputs));
        assert_string_equal(show_result(&fixture), cases[i].want);
        arena_end(&fixture.arena);
    }
}

static void apply_refuses_bad_names(void **state)
{
    static const struct {
        const char *steps, *inputs, *want;
    } cases[] = {
        {"", "a:F32:1 b:F32:1 a:F32:2", "there are two tensors \"a\""},
        {"{\"drop\": \"x\"}, {\"rename\": \"*\", \"to\": \"c\"}", "a:F32:1 b:F32:1",
            "two tensors, \"a\" and \"b\", become \"c\" (r.json:1:54)"},
        {"{\"replace\": [[\"b\", \"a\"]]}", "a:F32:1 b:F32:1",
            "two tensors, \"a\" and \"b\", become \"a\" (r.json:1:40)"},
        {"", ":F32:1", "a tensor's name is empty or holds control characters"},
        {"", "a\x01:F32:1", "a tensor's name is empty or holds control characters"},
        {"", "a\xff:F32:1", "a tensor's name is empty or holds control characters"},
        {"{\"rename\": \"a\", \"to\": \"b\\u0001\"}", "a:F32:1",
            "a tensor's name is empty or holds control characters"},
        {"{\"replace\": [[\"a\", \"\"]]}", "a:F32:1",
            "a tensor's name is empty or holds control characters"},
        {"{\"drop\": \"{i}\", \"where\": \"i > 1\"}", "99999999999999999999:F32:1",
            "the number 99999999999999999999 in a tensor's name is too large"},
        {"{\"drop\": \"*\", \"where\": \"d2 > 1\"}", "a:F32:1",
            "r.json:1:51: \"d2\" is null, not a number, in \"d2 > 1\""},
        {"{\"drop\": \"*\", \"if\": \"hidden / 2 > 3\"}", "a:F32:1",
            "r.json:1:48: \"hidden\" is null, not a number, in \"hidden / 2 > 3\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s on %s\n", cases[i].steps, cases[i].inputs);
        check_error(apply(&fixture,
                        with_member(&fixture.arena,
                            arena_format(&fixture.arena, "\"steps\": [%s]", cases[i].steps)),
                        "{}", cases[i].inputs),
            cases[i].want);
        assert_null(fixture.result.outputs);
        arena_end(&fixture.arena);
    }
}

static void names_that_grow_too_long_are_refused(void **state)
{
    struct fixture fixture = {.input_count = 0};
    char name[16 + PATTERN_NAME_MAX];
    (void)state;
    memset(name, 'a', PATTERN_NAME_MAX);
    strcpy(name + PATTERN_NAME_MAX, ":F32:1");
    struct error *error = apply(&fixture,
        with_member(&fixture.arena, "\"steps\": [{\"replace\": [[\"a\", \"bb\"]]}]"), "{}", name);
    assert_non_null(error);
    assert_non_null(strstr(error_text(error), "a tensor's name is longer than 1024 bytes: \"aaa"));
    error_free(error);
    fixture.input_count = 0;
    strcpy(name + PATTERN_NAME_MAX, "a:F32:1");
    error = apply(&fixture, with_member(&fixture.arena, "\"steps\": []"), "{}", name);
    assert_non_null(error);
    assert_non_null(strstr(error_text(error), "a tensor's name is longer than 1024 bytes: \"aaa"));
    error_free(error);
    arena_end(&fixture.arena);
}

static const char small_rules[] =
    "{\"types\": [\"t\"],\n"
    "\"let\": {\"head\": \"head ?? (hidden // heads)\", \"twice\": \"2 * head\"},\n"
    "\"steps\": [{\"drop\": \"lm_head.weight\", \"if\": \"tied ?? true\"}],\n"
    "\"keep_dtype\": [\"*.norm.*\"],\n"
    "\"tensors\": [\n"
    "  {\"name\": \"embed.weight\", \"shape\": [\"vocab\", \"hidden\"], \"kind\": \"embedding\"},\n"
    "  {\"for\": {\"i\": \"layers\"}, \"each\": [\n"
    "    {\"name\": \"l.{i}.q.weight\", \"shape\": [\"twice\", \"hidden\"], \"kind\": "
    "\"linear\"},\n"
    "    {\"name\": \"l.{i}.q.bias\", \"shape\": [\"twice\"], \"if\": \"bias && i != 1\"},\n"
    "    {\"if\": \"i % 2 == 1\", \"for\": {\"h\": \"i + 1\"}, \"each\": [\n"
    "      {\"name\": \"l.{i}.n.{h}.{i}\", \"shape\": [4, \"h + 1\"]}]}]},\n"
    "  {\"if\": \"norm ?? true\", \"each\": [{\"name\": \"x.norm.weight\", \"shape\": "
    "[\"hidden\"]}]},\n"
    "  {\"name\": \"lm_head.weight\", \"shape\": [\"vocab\", \"hidden\"], \"kind\": \"linear\","
    " \"if\": \"!(tied ?? true)\"},\n"
    "  {\"name\": \"scale\", \"shape\": [], \"if\": \"has(\\\"scale\\\")\"}]}";
static const char small_config[] =
    "{\"hidden\": 8, \"heads\": 2, \"vocab\": 10, \"layers\": 2, \"bias\": true}";
#define SMALL_LAYERS                                                                               \
    "l.0.q.weight:F32:8,8 l.0.q.bias:F32:8 l.1.q.weight:F32:8,8 l.1.n.0.1:F32:4,1 "                \
    "l.1.n.1.1:F32:4,2"

static void expected_tensors_come_in_the_order_of_the_file(void **state)
{
    struct fixture fixture = {.input_count = 0};
    (void)state;
    no_error(apply(&fixture, small_rules, small_config,
        "lm_head.weight:F32:10,8 x.norm.weight:F32:8 " SMALL_LAYERS
        " embed.weight:BF16:10,8 scale:F32:"));
    assert_string_equal(show_result(&fixture),
        "embed.weight<7 l.0.q.weight<2 l.0.q.bias<3 l.1.q.weight<4 l.1.n.0.1<5 l.1.n.1.1<6 "
        "x.norm.weight<1 scale<8 -0");
    const struct rules_output *outputs = fixture.result.outputs;
    assert_int_equal(outputs[0].kind, RULES_KIND_EMBEDDING);
    assert_int_equal(outputs[1].kind, RULES_KIND_LINEAR);
    assert_int_equal(outputs[2].kind, RULES_KIND_OTHER);
    assert_true(text_is(outputs[1].module, "l.0.q"));
    assert_true(text_is(outputs[7].module, ""));
    assert_int_equal(outputs[1].rank, 2);
    assert_ptr_equal(outputs[1].shape, fixture.inputs[2].shape);
    assert_true(outputs[6].keeps_dtype);
    assert_false(outputs[5].keeps_dtype);
    arena_end(&fixture.arena);
}

/* 18446744073709551615 is RULES_AXIS_ANY. */
static void an_axis_of_any_length_gets_the_rules_own(void **state)
{
    struct fixture fixture = {.input_count = 0};
    (void)state;
    no_error(apply(&fixture, small_rules, small_config,
        "embed.weight:F32:10,18446744073709551615 " SMALL_LAYERS " x.norm.weight:F32:8"));
    const struct rules_output *output = &fixture.result.outputs[0];
    assert_int_equal(output->input, 0);
    assert_int_equal(output->shape[0], 10);
    assert_int_equal(output->shape[1], 8);
    arena_end(&fixture.arena);
}

static void fields_are_read_once_and_only_when_needed(void **state)
{
    struct fixture fixture = {.input_count = 0};
    (void)state;
    no_error(apply(&fixture, small_rules, small_config,
        "embed.weight:F32:10,8 " SMALL_LAYERS " x.norm.weight:F32:8"));
    assert_string_equal(fixture.reads, "head hidden heads tied vocab layers bias norm ");
    arena_end(&fixture.arena);
    fixture = (struct fixture){.input_count = 0};
    no_error(apply(&fixture, small_rules,
        "{\"hidden\": 8, \"head\": 4, \"vocab\": 10, \"layers\": 0, \"tied\": false}",
        "embed.weight:F32:10,8 x.norm.weight:F32:8 lm_head.weight:F32:10,8"));
    assert_string_equal(fixture.reads, "head tied vocab hidden layers norm ");
    arena_end(&fixture.arena);
}

static void a_default_is_for_a_field_that_is_absent(void **state)
{
    static const char text[] =
        "{\"types\": [\"t\"], \"defaults\": {\"tied\": true, \"heads\": null, \"text.n\": 3},"
        " \"let\": {\"heads\": \"heads ?? 2\"}, \"steps\": [{\"drop\": \"head\", \"if\": \"tied\"},"
        " {\"rename\": \"a.{i}\", \"to\": \"b.{i}\", \"where\": \"i < heads\"},"
        " {\"drop\": \"c\", \"if\": \"text.n == null\"}]}";
    static const struct {
        const char *config, *want;
    } cases[] = {
        {"{}", "b.1<1 a.2<2 c<3 -0"},
        {"{\"tied\": null}", "head<0 b.1<1 a.2<2 c<3"},
        {"{\"tied\": false, \"heads\": 1}", "head<0 a.1<1 a.2<2 c<3"},
        {"{\"tied\": true, \"heads\": null}", "b.1<1 a.2<2 c<3 -0"},
        {"{\"tied\": 0, \"text\": {\"n\": null}}", "head<0 b.1<1 a.2<2 -3"},
        {"{\"tied\": \"\", \"text\": {}}", "head<0 b.1<1 a.2<2 c<3"},
        {"{\"tied\": [], \"text\": null}", "head<0 b.1<1 a.2<2 c<3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s\n", cases[i].config);
        no_error(apply(&fixture, text, cases[i].config, "head:F32:1 a.1:F32:1 a.2:F32:1 c:F32:1"));
        assert_string_equal(show_result(&fixture), cases[i].want);
        arena_end(&fixture.arena);
    }
}

/* Absent is what is refused; null is for expressions. */
static void required_fields_are_named_when_they_are_missing(void **state)
{
    static const struct {
        const char *config, *want; /* or no error */
    } cases[] = {
        {"{}", "config.json: \"hidden\", \"text.n\" are missing: without them MLX cannot load the "
               "model"},
        {"{\"hidden\": 8, \"text\": {}}",
            "config.json: \"text.n\" is missing: without it MLX cannot load the model"},
        {"{\"hidden\": null, \"text\": {\"n\": null}}", NULL},
        {"{\"hidden\": 8, \"text\": {\"n\": false}}", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s\n", cases[i].config);
        struct error *error =
            apply(&fixture, with_member(&fixture.arena, "\"required\": [\"hidden\", \"text.n\"]"),
                cases[i].config, "a:F32:1");
        if (cases[i].want == NULL)
            no_error(error);
        else
            check_error(error, cases[i].want);
        assert_string_equal(fixture.reads, "hidden text.n ");
        arena_end(&fixture.arena);
    }
}

static void configurations_are_refused_with_their_reason(void **state)
{
    static const struct {
        const char *config, *want; /* or no error */
    } cases[] = {
        {"{\"eps\": 1e-05}", NULL},
        {"{\"eps\": 0}", "MLX cannot load a model with eps <= 0"},
        {"{\"eps\": null}", "r.json:1:59: \"eps\" is null, not a number, in \"eps <= 0\""},
        {"{\"eps\": \"1e-05\"}", "r.json:1:59: \"eps\" is a string, not a number, in \"eps <= 0\""},
        {"{\"eps\": 1, \"kinds\": [\"a\", \"full\"]}", NULL},
        {"{\"eps\": 1, \"kinds\": [\"a\", \"b\"]}",
            "MLX cannot load a model with kinds != null && !(\"full\" in kinds)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        const char *rules = with_member(&fixture.arena,
            "\"let\": {\"eps\": \"eps\"}, \"refuse\": [false, \"eps <= 0\","
            " \"kinds != null && !(\\\"full\\\" in kinds)\"]");
        print_message("%s\n", cases[i].config);
        struct error *error = apply(&fixture, rules, cases[i].config, "a:F32:1");
        if (cases[i].want == NULL)
            no_error(error);
        else
            check_error(error, cases[i].want);
        arena_end(&fixture.arena);
    }
}

static void apply_names_what_is_wrong_with_a_checkpoint(void **state)
{
    static const struct {
        const char *config, *inputs, *want;
    } cases[] = {
        {small_config, "embed.weight:F32:10,8 " SMALL_LAYERS,
            "tensor \"x.norm.weight\" is missing: expected [hidden] = [8] (r.json:12:35)"},
        {small_config, "x.norm.weight:F32:8 " SMALL_LAYERS,
            "tensor \"embed.weight\" is missing: expected [vocab, hidden] = [10, 8] (r.json:6:3)"},
        {small_config, "x.norm.weight:F32:8 embed.weight:F32:8,10 " SMALL_LAYERS,
            "tensor \"embed.weight\" has shape [8, 10], expected [vocab, hidden] = [10, 8] "
            "(r.json:6:3)"},
        {small_config, "x.norm.weight:F32: embed.weight:F32:10,8 " SMALL_LAYERS,
            "tensor \"x.norm.weight\" has shape [], expected [hidden] = [8] (r.json:12:35)"},
        {small_config,
            "x.norm.weight:F32:8,1 embed.weight:F32:10,8 l.0.q.weight:F32:8,8 "
            "l.1.q.weight:F32:8,8 l.1.n.0.1:F32:4,1 l.1.n.1.1:F32:4,2",
            "tensor \"l.0.q.bias\" is missing: expected [twice] = [8] (r.json:9:5), and 1 more "
            "are missing or of another shape"},
        {small_config, "x.norm.weight:F32:8 embed.weight:F32:10,8 y:F32:1 " SMALL_LAYERS,
            "unexpected tensor \"y\""},
        {small_config, "x.norm.weight:F32:8 embed.weight:F32:10,8 y:F32:1 z:F32:1 " SMALL_LAYERS,
            "unexpected tensors \"y\", \"z\""},
        {small_config,
            "x.norm.weight:F32:8 a:F32:1 embed.weight:F32:10,8 y:F32:1 z:F32:1 b:F32:1 "
            "c:F32:1 " SMALL_LAYERS,
            "unexpected tensors \"a\", \"y\", \"z\" and 2 more"},
        {small_config, "x.norm.weights:F32:8 embed.weight:F32:10,8 " SMALL_LAYERS,
            "tensor \"x.norm.weight\" is missing: expected [hidden] = [8] (r.json:12:35); "
            "unexpected tensor \"x.norm.weights\""},
        {"{\"hidden\": 8, \"heads\": 2, \"vocab\": 10.0}", "a:F32:1",
            "r.json:6:38: \"vocab\" must be an integer of at least 0, not 10.0"},
        {"{\"hidden\": 8, \"heads\": 2, \"vocab\": -1}", "a:F32:1",
            "r.json:6:38: \"vocab\" must be an integer of at least 0, not -1"},
        {"{\"hidden\": 8, \"vocab\": 10}", "a:F32:1",
            "r.json:2:17: \"heads\" is null, not a number, in \"head ?? (hidden // heads)\""},
        {"{\"hidden\": 8, \"heads\": 2, \"vocab\": 10, \"layers\": 100000000000}", "a:F32:1",
            "r.json:7:17: \"layers\" is 100000000000, and a model has at most 1048576 tensors"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s\n", cases[i].inputs);
        check_error(apply(&fixture, small_rules, cases[i].config, cases[i].inputs), cases[i].want);
        assert_null(fixture.result.outputs);
        arena_end(&fixture.arena);
    }
}

static void a_tensor_listed_twice_is_the_files_fault(void **state)
{
    struct fixture fixture = {.input_count = 0};
    (void)state;
    check_error(apply(&fixture,
                    with_member(&fixture.arena, "\"tensors\": [{\"name\": \"a\", \"shape\": []}, "
                                                "{\"name\": \"a\", \"shape\": []}]"),
                    "{}", "a:F32:"),
        "r.json:1:58: tensor \"a\" is listed twice");
    arena_end(&fixture.arena);
}

static void loops_within_loops_are_bounded(void **state)
{
    struct fixture fixture = {.input_count = 0};
    (void)state;
    check_error(
        apply(&fixture,
            with_member(&fixture.arena, "\"tensors\": [{\"for\": {\"i\": 1000000}, \"each\": ["
                                        "{\"for\": {\"j\": 1000000}, \"each\": []}]}]"),
            "{}", "a:F32:"),
        "r.json:1:63: more than 1048576 tensors are expected");
    arena_end(&fixture.arena);
}

static void without_tensors_layers_are_told_by_name_and_type(void **state)
{
    static const struct {
        const char *input;
        enum rules_kind kind;
    } cases[] = {
        {"a.weight:BF16:4,8", RULES_KIND_LINEAR},
        {"a.weight:F16:2,4,8", RULES_KIND_LINEAR},
        {"weight:F32:4,8", RULES_KIND_OTHER},
        {"a.weight:BF16:8", RULES_KIND_OTHER},
        {"a.weight:BF16:1,2,4,8", RULES_KIND_OTHER},
        {"a.weight:U32:4,8", RULES_KIND_OTHER},
        {"a.bias:BF16:4,8", RULES_KIND_OTHER},
        {"a.q_norm.weight:BF16:4,8", RULES_KIND_OTHER},
        {"conv1d.weight:BF16:4,8,1", RULES_KIND_OTHER},
        {"norm_attn_norm.q.weight:BF16:4,8", RULES_KIND_LINEAR},
        {"conv.in_proj.weight:BF16:4,8", RULES_KIND_LINEAR},
        {"x.mlp.gate.weight:BF16:4,8", RULES_KIND_OTHER}, /* raw */
        {"head_norm.weight:BF16:4,8", RULES_KIND_LINEAR}, /* linear */
        {"p.weight:BF16:4,8 p.scales:BF16:4,1", RULES_KIND_OTHER},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s\n", cases[i].input);
        no_error(apply(&fixture,
            with_member(&fixture.arena,
                "\"quant\": {\"raw\": [\"*.mlp.gate\"], \"linear\": [\"head_norm\"]}"),
            "{}", cases[i].input));
        assert_int_equal(fixture.result.outputs[0].kind, cases[i].kind);
        arena_end(&fixture.arena);
    }
}

static void without_tensors_numbers_have_no_gaps(void **state)
{
    static const struct {
        const char *inputs, *want; /* NULL: fine */
    } cases[] = {
        {"m.layers.1.a:F32:1 m.layers.0.b:F32:1 m.layers.1.b:F32:1", NULL},
        {"m.layers.0.experts.1.w:F32:1 m.layers.0.experts.0.w:F32:1", NULL},
        {"m.lora.0.w:F32:1 m.lora.2.w:F32:1", NULL}, /* no list of layers or experts */
        {"h.0:F32:1 h.2:F32:1", "no tensor of h.1 is there, but there is one of h.2"},
        {"m.layers.1.a:F32:1 m.layers.2.a:F32:1",
            "no tensor of m.layers.0 is there, but there is one of m.layers.2"},
        {"m.layers.0.experts.3.w:F32:1 m.layers.0.experts.0.w:F32:1",
            "no tensor of m.layers.0.experts.1 is there, but there is one of "
            "m.layers.0.experts.3"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s\n", cases[i].inputs);
        struct error *error =
            apply(&fixture, with_member(&fixture.arena, "\"steps\": []"), "{}", cases[i].inputs);
        if (cases[i].want == NULL)
            no_error(error);
        else
            check_error(error, cases[i].want);
        arena_end(&fixture.arena);
    }
}

/* "quantize", "leave", or "8/64", with "-" for what is not given. */
static const char *decide(struct fixture *fixture)
{
    struct rules_decision decision;
    no_error(rules_decide(fixture->model, &fixture->result.outputs[0], &decision));
    if (decision.choice != RULES_OVERRIDE)
        return decision.choice == RULES_LEAVE ? "leave" : "quantize";
    return arena_format(&fixture->arena, "%s%u/%s%u", decision.has_bits ? "" : "-", decision.bits,
        decision.has_group_size ? "" : "-", decision.group_size);
}

static void special_modules_are_decided_by_the_first_match(void **state)
{
    static const struct {
        const char *quant, *module, *want;
    } cases[] = {
        {"", "a", "quantize"},
        {"\"special\": [{\"match\": \"a\", \"bits\": 8, \"group_size\": 32}]", "a", "8/32"},
        {"\"special\": [{\"match\": \"a\", \"bits\": 8}]", "b", "quantize"},
        {"\"special\": [{\"match\": [\"x\", \"*.a\"], \"bits\": 8}]", "m.a", "8/-64"},
        {"\"special\": [{\"match\": \"a\", \"group_size\": 128}]", "a", "-4/128"},
        {"\"special\": [{\"match\": \"a\"}, {\"match\": \"a\", \"bits\": 8}]", "a", "leave"},
        {"\"special\": [{\"match\": \"a\", \"if\": \"experts\"}, {\"match\": \"a\", \"bits\": 8}]",
            "a", "8/-64"},
        {"\"special\": [{\"match\": \"a\", \"if\": \"layers\", \"bits\": 6}]", "a", "6/-64"},
        {"\"special\": [{\"match\": \"l.{i}\", \"where\": \"i % 4 == 3 || i >= layers\"}]", "l.3",
            "leave"},
        {"\"special\": [{\"match\": \"l.{i}\", \"where\": \"i % 4 == 3 || i >= layers\"}]", "l.2",
            "quantize"},
        {"\"special\": [{\"match\": \"*\", \"where\": \"e0 == 8 && d0 == 4\", \"bits\": 3}]", "a",
            "3/-64"},
        {"\"only\": [{\"match\": \"a\"}]", "a", "quantize"},
        {"\"only\": [{\"match\": \"a\"}]", "b", "leave"},
        {"\"only\": []", "b", "leave"},
        {"\"only\": [{\"match\": \"l.{i}\", \"where\": \"i > 0 && i < layers - 1\"}]", "l.1",
            "quantize"},
        {"\"only\": [{\"match\": \"l.{i}\", \"where\": \"i > 0 && i < layers - 1\"}]", "l.0",
            "leave"},
        {"\"only\": [{\"match\": \"a\"}], \"special\": [{\"match\": \"*\", \"bits\": 8}]", "a",
            "8/-64"},
        {"\"only\": [{\"match\": \"a\"}], \"special\": [{\"match\": \"*\", \"bits\": 8}]", "b",
            "leave"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        print_message("%s on %s\n", cases[i].quant, cases[i].module);
        no_error(apply(&fixture,
            with_member(
                &fixture.arena, arena_format(&fixture.arena, "\"quant\": {%s}", cases[i].quant)),
            "{\"layers\": 16}",
            arena_format(&fixture.arena, "%s.weight:F32:4,8", cases[i].module)));
        assert_string_equal(decide(&fixture), cases[i].want);
        arena_end(&fixture.arena);
    }
}

static void layers_are_counted_by_the_file_or_by_the_config(void **state)
{
    static const struct {
        const char *member, *config, *want; /* a number or an error */
    } cases[] = {
        {"\"steps\": []", "{\"num_hidden_layers\": 28}", "28"},
        {"\"layers\": \"text_config.n_layer\"", "{\"text_config\": {\"n_layer\": 3}}", "3"},
        {"\"let\": {\"n\": \"len(kinds) ?? 5\"}, \"layers\": \"n\"", "{}", "5"},
        {"\"let\": {\"n\": \"len(kinds) ?? 5\"}, \"layers\": \"n\"", "{\"kinds\": [1, 2]}", "2"},
        {"\"steps\": []", "{\"num_hidden_layers\": null}",
            "config.json: \"num_hidden_layers\" must be an integer of at least 0"},
        {"\"layers\": \"n_layer\"", "{}",
            "r.json:1:28: \"n_layer\" must be an integer of at least 0, not null"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        uint64_t count = 0;
        print_message("%s\n", cases[i].member);
        no_error(apply(
            &fixture, with_member(&fixture.arena, cases[i].member), cases[i].config, "a:F32:1"));
        struct error *error = rules_layer_count(fixture.model, &count);
        if (error != NULL)
            check_error(error, cases[i].want);
        else
            assert_int_equal(count, strtoull(cases[i].want, NULL, 10));
        arena_end(&fixture.arena);
    }
}

static void parameters_are_counted_in_leaf_modules_only(void **state)
{
    static const struct {
        const char *names; /* each name counts ten times what the one before does, from 1 */
        uint64_t want;
    } cases[] = {
        {"", 0},
        {"a.weight a.bias b.weight", 111},
        {"attn.q.weight attn.sinks attn.q.bias", 101},
        {"attn.sinks attn.q.weight", 10},
        {"attn.sinks attnx.q.weight attn2.weight", 111},
        {"m.A_log m.D m.in.weight n.A_log", 1100},
        {"top a.weight", 10}, /* the model itself is no leaf */
        {"top", 1},
        {"a.b.c.weight a.x a.b.y a.b.c.bias", 1001},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct arena arena = {0};
        struct rules_parameter parameters[8];
        size_t count = 0;
        uint64_t elements = 1, total = 0;
        char *rest = NULL, *names = arena_copy(&arena, cases[i].names, strlen(cases[i].names));
        for (char *name = strtok_r(names, " ", &rest); name != NULL;
             name = strtok_r(NULL, " ", &rest), elements *= 10)
            parameters[count++] = (struct rules_parameter){text_of(name), elements};
        print_message("%s\n", cases[i].names);
        no_error(rules_count_parameters(&arena, parameters, count, &total));
        assert_int_equal(total, cases[i].want);
        arena_end(&arena);
    }
}

static void too_many_parameters_are_an_error(void **state)
{
    struct arena arena = {0};
    const struct rules_parameter parameters[] = {
        {TEXT_LITERAL("a.weight"), UINT64_MAX}, {TEXT_LITERAL("b.weight"), 1}};
    uint64_t total = 77;
    (void)state;
    check_error(rules_count_parameters(&arena, parameters, 2, &total),
        "the model has more than 2^64 parameters");
    assert_int_equal(total, 77);
    arena_end(&arena);
}

/* ---- the shipped files ---- */

static const char *source_path(struct arena *arena, const char *path)
{
    const char *source = getenv("PSYBUILD_SOURCE");
    return arena_format(arena, "%s/%s", source == NULL ? "." : source, path);
}

static const struct json_document *read_json(struct arena *arena, const char *path)
{
    struct text text;
    const struct json_document *document = NULL;
    no_error(file_read_whole(arena, path, JSON_BYTES_MAX, &text));
    no_error(json_parse(arena, path, text, JSON_TOLERANT, &document));
    return document;
}

static void add_skeleton_tensor(
    struct arena *arena, const struct json *item, struct rules_input *input)
{
    const struct json *axes = &item->items[2];
    uint64_t *shape = arena_array(arena, axes->count, sizeof *shape);
    for (size_t i = 0; i < axes->count; i++) {
        int64_t length = 0;
        assert_true(json_to_i64(&axes->items[i], &length));
        shape[i] = (uint64_t)length;
    }
    *input = (struct rules_input){
        .name = item->items[0].text, .rank = (uint32_t)axes->count, .shape = shape};
    assert_true(dtype_parse(item->items[1].text, &input->dtype));
}

static struct rules_input *skeleton_inputs(
    struct arena *arena, const struct json *files, size_t *count)
{
    struct rules_input *inputs = NULL;
    size_t capacity = 0;
    *count = 0;
    for (size_t f = 0; f < files->count; f++)
        for (size_t i = 0; i < files->members[f].value.count; i++) {
            inputs = arena_grow(arena, inputs, *count, &capacity, sizeof *inputs);
            add_skeleton_tensor(arena, &files->members[f].value.items[i], &inputs[(*count)++]);
        }
    return inputs;
}

/* What the reference makes of these is compared in full by tests/conformance/check_rules.py. */
static void shipped_rules_take_real_checkpoints(void **state)
{
    static const struct {
        const char *skeleton, *rules;
        size_t outputs, dropped;
        uint64_t layers;
    } cases[] = {
        {"llama", "llama", 39, 0, 4},
        {"llama-tied", "llama", 38, 0, 4},
        {"llama-fp32", "llama", 39, 0, 4},
        {"llama-legacy", "llama", 38, 5, 4},
        {"mistral", "llama", 39, 0, 4},
        {"smollm3", "smollm3", 38, 0, 4},
        {"qwen2", "qwen2", 51, 0, 4},
        {"qwen3", "qwen3", 47, 0, 4},
        {"qwen3-odd", "qwen3", 47, 0, 4},
        {"gemma", "gemma", 38, 0, 4},
        {"gemma2", "gemma2", 46, 0, 4},
        {"gemma3_text", "gemma3_text", 54, 0, 4},
        {"phi3", "phi3", 27, 0, 4},
        {"olmo2", "olmo2", 47, 0, 4},
        {"granite", "granite", 39, 0, 4},
        {"starcoder2", "starcoder2", 67, 0, 4},
        {"stablelm", "stablelm", 48, 0, 4},
        {"cohere", "cohere", 34, 0, 4},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture = {.input_count = 0};
        struct arena *arena = &fixture.arena;
        struct text text;
        print_message("%s\n", cases[i].skeleton);
        const struct json *skeleton = &read_json(
            arena, source_path(arena,
                       arena_format(arena, "tests/golden/skeletons/%s.json", cases[i].skeleton)))
                                           ->root;
        const char *path =
            source_path(arena, arena_format(arena, "manifests/rules/%s.json", cases[i].rules));
        size_t count = 0, dropped = 0;
        uint64_t layers = 0;
        struct rules_config accessor = {"config.json", get_field, &fixture};
        fixture.config = json_get(skeleton, "config");
        struct rules_input *inputs = skeleton_inputs(arena, json_get(skeleton, "files"), &count);
        no_error(file_read_whole(arena, path, JSON_BYTES_MAX, &text));
        no_error(rules_load(arena, path, text, &fixture.rules));
        assert_int_equal(rules_serves(fixture.rules, json_get(fixture.config, "model_type")->text,
                             json_get(fixture.config, "architectures")),
            RULES_SERVE_TYPE);
        no_error(rules_bind(arena, fixture.rules, &accessor, &fixture.model));
        no_error(rules_apply(fixture.model, inputs, count, &fixture.result));
        for (size_t t = 0; t < count; t++)
            dropped += fixture.result.is_dropped[t];
        no_error(rules_layer_count(fixture.model, &layers));
        assert_int_equal(fixture.result.output_count, cases[i].outputs);
        assert_int_equal(dropped, cases[i].dropped);
        assert_int_equal(layers, cases[i].layers);
        arena_end(arena);
    }
}

/* Comparing each name with each would be 40 billion comparisons. */
static void work_is_in_proportion_to_the_tensors(void **state)
{
    enum { LAYERS = 40, EXPERTS = 5000, COUNT = LAYERS * EXPERTS };
    static const char rules[] =
        "{\"types\": [\"t\"], \"steps\": [{\"drop\": \"*inv_freq*\"},"
        " {\"rename\": \"{x*}.w1\", \"to\": \"{x}.gate.weight\", \"where\": "
        "\"has(\\\"*.w1\\\")\"}],"
        " \"quant\": {\"special\": [{\"match\": \"*.gate\", \"bits\": 8}]},"
        " \"tensors\": [{\"for\": {\"i\": \"layers\"}, \"each\": [{\"for\": {\"e\": \"experts\"},"
        " \"each\": [{\"name\": \"model.layers.{i}.mlp.experts.{e}.gate.weight\","
        " \"shape\": [\"hidden\", \"2 * hidden\"], \"kind\": \"linear\"}]}]}]}";
    static const uint64_t shape[] = {8, 16};
    struct fixture fixture = {.input_count = 0};
    struct arena *arena = &fixture.arena;
    struct rules_input *inputs = arena_array(arena, COUNT, sizeof *inputs);
    struct rules_parameter *parameters = arena_array(arena, COUNT, sizeof *parameters);
    const struct json_document *config = NULL;
    struct rules_config accessor = {"config.json", get_field, &fixture};
    uint64_t total = 0;
    (void)state;
    for (unsigned i = 0; i < COUNT; i++)
        inputs[i] = (struct rules_input){
            .name = text_of(
                arena_format(arena, "model.layers.%u.mlp.experts.%u.w1", i % LAYERS, i / LAYERS)),
            .dtype = DTYPE_BF16,
            .rank = 2,
            .shape = shape};
    no_error(json_parse(arena, "config.json",
        TEXT_LITERAL("{\"layers\": 40, \"experts\": 5000, \"hidden\": 8}"), JSON_TOLERANT,
        &config));
    fixture.config = &config->root;
    no_error(rules_load(arena, "r.json", text_of(rules), &fixture.rules));
    no_error(rules_bind(arena, fixture.rules, &accessor, &fixture.model));
    no_error(rules_apply(fixture.model, inputs, COUNT, &fixture.result));
    assert_int_equal(fixture.result.output_count, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        struct rules_decision decision;
        no_error(rules_decide(fixture.model, &fixture.result.outputs[i], &decision));
        assert_int_equal(decision.bits, 8);
        parameters[i] = (struct rules_parameter){fixture.result.outputs[i].name, 128};
    }
    no_error(rules_count_parameters(arena, parameters, COUNT, &total));
    assert_int_equal(total, 128u * COUNT);
    assert_string_equal(fixture.reads, "layers experts hidden ");
    arena_end(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_refuses_what_it_does_not_know),
        cmocka_unit_test(load_refuses_files_without_types),
        cmocka_unit_test(groups_do_not_nest_without_end),
        cmocka_unit_test(rules_serve_types_and_architectures),
        cmocka_unit_test(steps_drop_and_rename),
        cmocka_unit_test(apply_refuses_bad_names),
        cmocka_unit_test(names_that_grow_too_long_are_refused),
        cmocka_unit_test(expected_tensors_come_in_the_order_of_the_file),
        cmocka_unit_test(an_axis_of_any_length_gets_the_rules_own),
        cmocka_unit_test(fields_are_read_once_and_only_when_needed),
        cmocka_unit_test(a_default_is_for_a_field_that_is_absent),
        cmocka_unit_test(required_fields_are_named_when_they_are_missing),
        cmocka_unit_test(configurations_are_refused_with_their_reason),
        cmocka_unit_test(apply_names_what_is_wrong_with_a_checkpoint),
        cmocka_unit_test(a_tensor_listed_twice_is_the_files_fault),
        cmocka_unit_test(loops_within_loops_are_bounded),
        cmocka_unit_test(without_tensors_layers_are_told_by_name_and_type),
        cmocka_unit_test(without_tensors_numbers_have_no_gaps),
        cmocka_unit_test(special_modules_are_decided_by_the_first_match),
        cmocka_unit_test(layers_are_counted_by_the_file_or_by_the_config),
        cmocka_unit_test(parameters_are_counted_in_leaf_modules_only),
        cmocka_unit_test(too_many_parameters_are_an_error),
        cmocka_unit_test(shipped_rules_take_real_checkpoints),
        cmocka_unit_test(work_is_in_proportion_to_the_tensors),
    };
    return cmocka_run_group_tests_name("rules", tests, NULL, NULL);
}
