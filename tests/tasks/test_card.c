/* test_card.c - model cards as huggingface_hub's ModelCard writes them: every wanted text here was
 * made by mlx_lm's create_model_card (huggingface_hub 2.4.0, PyYAML 6). */
#include "tasks/card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct row {
    const char *name, *source, *want;
};

static void check(const struct row *rows, size_t count, bool want_understood)
{
    for (size_t i = 0; i < count; i++) {
        struct arena arena = {0};
        struct text card;
        bool is_understood;
        assert_null(
            card_render(&arena, text_of(rows[i].source), "org/name", &card, &is_understood));
        if (strcmp(card.bytes, rows[i].want) != 0 || is_understood != want_understood)
            fail_msg("%s: %s", rows[i].name, card.bytes);
        arena_end(&arena);
    }
}

static void card_equals_the_reference(void **state)
{
    static const struct row rows[] = {
        {"nothing", "",
            "---\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
            "mlx\n---\n"},
        {"no front matter", "# Title\n",
            "---\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
            "mlx\n---\n"},
        {"keys keep their place",
            "---\npipeline_tag: x\nbase_model: a/b\nlicense: mit\nlibrary_name: "
            "transformers\n---\n# Text\n",
            "---\npipeline_tag: text-generation\nbase_model: org/name\nlicense: mit\nlibrary_name: "
            "mlx\ntags:\n- mlx\n---\n"},
        {"flow becomes block",
            "---\ntags: [a/b, 'c', \"d\"]\nx: {a: 1, b: [2, {c: 3}], e: [], f: {}}\n---\n",
            "---\ntags:\n- a/b\n- c\n- d\n- mlx\nx:\n  a: 1\n  b:\n  - 2\n  - c: 3\n  e: []\n  f: "
            "{}\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\n---\n"},
        {"tags once, mlx last", "---\ntags:\n- a\n- b\n- a\n---\n",
            "---\ntags:\n- a\n- b\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"mlx is there", "---\ntags:\n- mlx\n- b\n---\n",
            "---\ntags:\n- mlx\n- b\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"a string of tags", "---\ntags: one\n---\n",
            "---\ntags:\n- one\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"no tags", "---\ntags:\n---\n",
            "---\ntags:\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"null goes", "---\na: null\nb: ~\nc:\n  d: null\n---\n",
            "---\nc:\n  d: null\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"scalars of YAML 1.1",
            "---\na: [no, Yes, off, 1, -2, 0, 1.50, 1.0e+5, 1e5, .5, 12345678901234567890]\nb: "
            "2024-01-02\n---\n",
            "---\na:\n- false\n- true\n- false\n- 1\n- -2\n- 0\n- 1.5\n- 100000.0\n- 1e5\n- 0.5\n- "
            "12345678901234567890\nb: 2024-01-02\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"quotes where needed",
            "---\na: \"1.0\"\nb: 'yes'\nc: '2024-01-02'\nd: ''\ne: '# x'\nf: 'a: b'\ng: "
            "'it''s'\nh: \"x\\ty\"\ni: \"a\\nb\"\nj: \"\xC3\xA9\\U0001F600\"\nk: '- a'\nl: "
            "'12:30'\nm: '='\nn: \" a\"\n---\n",
            "---\na: '1.0'\nb: 'yes'\nc: '2024-01-02'\nd: ''\ne: '# x'\nf: 'a: b'\ng: it's\nh: "
            "\"x\\ty\"\ni: 'a\n\n  b'\nj: \xC3\xA9\xF0\x9F\x98\x80\nk: '- a'\nl: '12:30'\nm: "
            "'='\nn: ' a'\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"lists in lists",
            "---\na:\n  - b: 1\n    c:\n      - d\n      -   - e\n          - f\n  -\n    g: "
            "2\n---\n",
            "---\na:\n- b: 1\n  c:\n  - d\n  - - e\n    - f\n- g: 2\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"comments go", "---\n# one\na: b # two\nc: d#e\n\n---\n",
            "---\na: b\nc: d#e\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"long scalars fold",
            "---\na: word word word word word word word word word word word word word word word "
            "word word word word word word word word word word word word word word word\nb: 'wo: d "
            "wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d "
            "wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d "
            "wo: d'\nc: \"word word word word word word word word word word word word word word "
            "word word word word word word word word word word word word word word word "
            "word\\tword word word word word word word word word word word word word word word "
            "word word word word word word word word word word word word word word word\"\nd:\n- "
            "word word word word word word word word word word word word word word word word word "
            "word word word word word word word word word word word word word\n---\n",
            "---\na: word word word word word word word word word word word word word word word "
            "word\n  word word word word word word word word word word word word word word\nb: "
            "'wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d\n  wo: "
            "d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo: d wo:\n  d "
            "wo: d wo: d wo: d'\nc: \"word word word word word word word word word word word word "
            "word word word word\\\n  \\ word word word word word word word word word word word "
            "word word word\\tword word\\\n  \\ word word word word word word word word word word "
            "word word word word word word\\\n  \\ word word word word word word word word word "
            "word word word\"\nd:\n- word word word word word word word word word word word word "
            "word word word word\n  word word word word word word word word word word word word "
            "word word\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"CRLF stays", "---\r\na: b\r\ntags: [x]\r\n---\r\nText\r\n",
            "---\r\na: b\r\ntags:\r\n- x\r\n- mlx\r\nbase_model: org/name\r\nlibrary_name: "
            "mlx\r\npipeline_tag: text-generation\r\n---\r\n"},
        {"flow over lines", "---\ntags: [a,\n  b\n]\n---\n",
            "---\ntags:\n- a\n- b\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"BOM, blanks around", "\xEF\xBB\xBF\n ---\na: b\n---  \nText",
            "---\na: b\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"unclosed", "---\na: b\n",
            "---\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
            "mlx\n---\n"},
    };
    (void)state;
    check(rows, sizeof rows / sizeof rows[0], true);
}

#define KEYS "base_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\n"
#define TAGS "tags:\n- mlx\n"

static void what_is_not_understood_stays_as_it_is(void **state)
{
    static const struct row rows[] = {
        {"block scalars", "---\na: >-\n  x\n  # y\n\n  z\nb: |\n  c: d\n---\n",
            "---\na: >-\n  x\n  # y\n\n  z\nb: |\n  c: d\n" KEYS TAGS "---\n"},
        {"anchors", "---\na: &x [1]\nb: *x\nc: [ 2 ]\n---\n",
            "---\na: &x [1]\nb: *x\nc:\n- 2\n" KEYS TAGS "---\n"},
        {"scalars of several lines", "---\na: b\n  c\nd: \"e\n  f\"\n---\n",
            "---\na: b\n  c\nd: \"e\n  f\"\n" KEYS TAGS "---\n"},
        {"exotic numbers", "---\na: 0x1F\nb: 1_000\nc: 12:30\n---\n",
            "---\na: 0x1F\nb: 1_000\nc: 12:30\n" KEYS TAGS "---\n"},
        {"tabs", "---\na:\tb\nc: d\n---\n", "---\na:\tb\nc: d\n" KEYS TAGS "---\n"},
        {"a model index", "---\nmodel-index: [ { name: x, results: [] } ]\nz: 1\n---\n",
            "---\nmodel-index:\n- name: x\n  results: []\nz: 1\n" KEYS TAGS "---\n"},
    };
    (void)state;
    check(rows, sizeof rows / sizeof rows[0], true);
}

static void what_cannot_be_read_is_said(void **state)
{
    static const struct row rows[] = {
        {"a list", "---\n- a\n---\n", "---\n" KEYS TAGS "---\n"},
        {"a flow map", "---\n{a: b}\n---\n", "---\n" KEYS TAGS "---\n"},
        {"odd tags", "---\ntags: &t [a]\n---\n", "---\ntags: &t [a]\n" KEYS "---\n"},
    };
    (void)state;
    check(rows, sizeof rows / sizeof rows[0], false);
}

static void without_a_repository_the_source_counts_for_nothing(void **state)
{
    struct arena arena = {0};
    struct text card;
    bool is_understood;
    (void)state;
    assert_null(
        card_render(&arena, text_of("---\nlicense: mit\n---\n"), NULL, &card, &is_understood));
    assert_true(is_understood);
    assert_string_equal(card.bytes,
        "---\nlanguage: en\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
        "mlx\n---\n");
    arena_end(&arena);
}

static void deep_nesting_is_left_alone(void **state)
{
    enum { DEPTH = 3000 };
    struct arena arena = {0};
    struct text card;
    bool is_understood;
    char *source = arena_alloc(&arena, 2 * DEPTH + 32);
    (void)state;
    strcpy(source, "---\na: ");
    memset(source + 7, '[', DEPTH);
    memset(source + 7 + DEPTH, ']', DEPTH);
    strcpy(source + 7 + 2 * DEPTH, "\n---\n");
    assert_null(card_render(&arena, text_of(source), "org/name", &card, &is_understood));
    assert_true(is_understood);
    assert_memory_equal(card.bytes, source, 7 + 2 * DEPTH);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(card_equals_the_reference),
        cmocka_unit_test(what_is_not_understood_stays_as_it_is),
        cmocka_unit_test(what_cannot_be_read_is_said),
        cmocka_unit_test(without_a_repository_the_source_counts_for_nothing),
        cmocka_unit_test(deep_nesting_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
