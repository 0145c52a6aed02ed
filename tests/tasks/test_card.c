/* test_card.c - model cards as huggingface_hub's ModelCard writes them: every wanted text here was
 * made by mlx_lm's create_model_card (huggingface_hub 2.4.0, PyYAML 6). */
#include "tasks/card.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "tasks/formats/yaml.h"

struct row {
    const char *name, *source, *want;
};

static void check(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct arena arena = {0};
        struct text card;
        assert_null(card_render(&arena, "README.md", text_of(rows[i].source), "org/name", &card));
        if (strcmp(card.bytes, rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].name, card.bytes);
        arena_end(&arena);
    }
}

static void assert_refused(struct text source, const char *want)
{
    struct arena arena = {0};
    struct text card = TEXT_EMPTY;
    struct error *error = card_render(&arena, "README.md", source, "org/name", &card);
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    assert_int_equal(card.length, 0);
    error_free(error);
    arena_end(&arena);
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
    check(rows, sizeof rows / sizeof rows[0]);
}

static void what_is_rare_equals_the_reference(void **state)
{
    static const struct row rows[] = {
        {"block scalars", "---\na: >-\n  x\n  # y\n\n  z\nb: |\n  c: d\nc: |+\n  e\n\n\n---\n",
            "---\na: 'x # y\n\n  z'\nb: 'c: d\n\n  '\nc: 'e\n\n\n  '\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"aliases", "---\na: &x [1]\nb: *x\nc: &d 2024-01-02\ne: *d\nf: &s text\ng: *s\n---\n",
            "---\na: &id001\n- 1\nb: *id001\nc: &id002 2024-01-02\ne: *id002\nf: text\ng: "
            "text\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"a list in itself", "---\na: &x\n- *x\n- b\n---\n",
            "---\na: &id001\n- *id001\n- b\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"merged maps",
            "---\na: &a {xx: 1, y: 2}\nb: &b {xx: 3, y: 4}\nc:\n  z: 5\n  xx: 0\n  <<: *a\nd:\n  "
            "<<: [*a, *b]\n---\n",
            "---\na:\n  xx: 1\n  y: 2\nb:\n  xx: 3\n  y: 4\nc:\n  xx: 0\n  y: 2\n  z: 5\nd:\n  xx: "
            "3\n  y: 2\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"scalars of several lines",
            "---\na: b\n  c\n\n  d\ne: \"f\n  g \\\n  h\"\ni: 'j\n\n  k'\n---\n",
            "---\na: 'b c\n\n  d'\ne: f g h\ni: 'j\n\n  k'\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"numbers",
            "---\na: [0x1F, 0b101, 017, 1_000, 12:30, -1:30, 190:20:30.15, +5, -0, 0_, .inf, "
            "-.INF, .NaN, 1_0.5_0, 1.0e+999, 5.]\nb: 0xFFFFFFFFFFFFFFFFFFFFFFFF\n---\n",
            "---\na:\n- 31\n- 5\n- 15\n- 1000\n- 750\n- -90\n- 685230.15\n- 5\n- 0\n- 0\n- .inf\n- "
            "-.inf\n- .nan\n- 10.5\n- .inf\n- 5.0\nb: 79228162514264337593543950335\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"times",
            "---\na: [2024-02-29, 2001-12-14t21:59:43.10-05:00, 2001-12-14 1:59:43, 2001-12-14 "
            "21:59:43.1234567 Z, 2001-12-14 21:59:43 +0:99]\n---\n",
            "---\na:\n- 2024-02-29\n- 2001-12-14 21:59:43.100000-05:00\n- 2001-12-14 01:59:43\n- "
            "2001-12-14 21:59:43.123456+00:00\n- 2001-12-14 21:59:43+01:39\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"question marks", "---\n? license\n: mit\n? a\n: - b\n? ''\n: c\n---\n",
            "---\nlicense: mit\na:\n- b\n? ''\n: c\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"long keys",
            "---"
            "\nkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: "
            "a\nlllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
            "llllllllllllllllllllllllllllllllllllllll: "
            "b\nmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
            "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm:\n- c\n---\n",
            "---"
            "\nkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
            "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk: a\n? "
            "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"
            "lllllllllllllllllllllllllllllllllllll\n: b\n? "
            "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm"
            "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm\n: - c\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"indented by two", "---\n  license: mit\n  tags:\n    - a\n---\n",
            "---\nlicense: mit\ntags:\n- a\n- mlx\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\n---\n"},
        {"equal keys", "---\na: 1\nb: {1: x, 1.0: y, true: z, null: n, '1': s}\na: 2\n---\n",
            "---\na: 2\nb:\n  1: z\n  null: n\n  '1': s\nbase_model: org/name\nlibrary_name: "
            "mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"tags that are equal",
            "---\ntags: [1, 1.0, true, '1', {a: 1, b: 2}, {b: 2, a: 1}, [a], [a], no, 0]\n---\n",
            "---\ntags:\n- 1\n- '1'\n- a: 1\n  b: 2\n- - a\n- false\n- mlx\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\n---\n"},
        {"tags of a map", "---\ntags: {x: 1, mlx: 2}\n---\n",
            "---\ntags:\n- x\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"a text of tags that has mlx in it", "---\ntags: mlx-lm\n---\n",
            "---\ntags:\n- mlx-lm\n- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\n---\n"},
        {"types",
            "---\na: [!!str 12, !!int '3', !!float 2, !!bool 'yes', !!null x, ! 12]\nb: !!map {c: "
            "!!seq [d]}\n---\n",
            "---\na:\n- '12'\n- 3\n- 2.0\n- true\n- null\n- 12\nb:\n  c:\n  - d\nbase_model: "
            "org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- mlx\n---\n"},
        {"a model index",
            "---\nmodel-index:\n- results:\n  - metrics:\n    - {value: 1, type: acc, odd: 1, "
            "verified: true, name: null}\n    dataset: {type: d, name: D, args: &a {n: 1, m: ~}}\n "
            "   task: {name: T, type: t}\n    source: {name: s, url: u}\n  - task: {type: t}\n    "
            "dataset: {name: E, type: d, args: *a}\n    metrics: [{type: f1, value: [1, ~]}]\n  - "
            "task: {type: t}\n    dataset: {name: E, type: d, config: c}\n    metrics: [{type: f1, "
            "value: ~}]\n  name: m\nlicense: mit\n---\n",
            "---\nlicense: mit\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\nmodel-index:\n- name: m\n  results:\n  - task:\n      "
            "type: t\n      name: T\n    dataset:\n      name: D\n      type: d\n      args:\n     "
            "   n: 1\n    metrics:\n    - type: acc\n      value: 1\n      verified: true\n    - "
            "type: f1\n      value:\n      - 1\n    source:\n      url: u\n      name: s\n  - "
            "task:\n      type: t\n    dataset:\n      name: E\n      type: d\n      config: c\n   "
            " metrics:\n    - type: f1\n---\n"},
        {"a model index of no results", "---\neval_results: ''\nmodel_name: m\nlicense: mit\n---\n",
            "---\nlicense: mit\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\nmodel-index:\n- name: m\n  results: []\n---\n"},
        {"a model index of two",
            "---\nmodel-index: [{name: a, results: ''}, {name: ~, results: []}]\nmodel_name: "
            "x\n---\n",
            "---\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
            "mlx\nmodel-index:\n- results: []\n---\n"},
        {"nothing but a comment", "---\n# a\n---\n",
            "---\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
            "mlx\n---\n"},
        {"equals signs", "---\na: {=: 1}\nb=c: d=\n---\n",
            "---\na:\n  '=': 1\nb=c: d=\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: "
            "text-generation\ntags:\n- mlx\n---\n"},
        {"blanks of other writings at the end",
            "---\nlibrary_name: x\npipeline_tag: x\nbase_model: x\ntags: [mlx]\na: "
            "b\xE3\x80\x80\n---\n",
            "---\nlibrary_name: mlx\npipeline_tag: text-generation\nbase_model: org/name\ntags:\n- "
            "mlx\na: b\n---\n"},
    };
    (void)state;
    check(rows, sizeof rows / sizeof rows[0]);
}

static void what_the_reference_cannot_read_is_refused(void **state)
{
    static const struct row rows[] = {
        {"a card", "---\na: b: c\n---\n",
            "README.md:2:5: must be YAML: mapping values are not allowed in this context"},
        {"a card", "---\na: 'b\n---\n",
            "README.md:2:6: must be YAML: found unexpected end of stream"},
        {"a card", "---\na:\tb\n---\n",
            "README.md:2:3: expected spaces between values, found a tab"},
        {"a card", "---\na: b\tc\n---\n",
            "README.md:2:5: expected spaces between values, found a tab"},
        {"a card", "---\na: \"it\\'s\"\n---\n",
            "README.md:2:7: must be YAML: found unknown escape character"},
        {"a card", "---\ntags: [what?]\n---\n",
            "README.md:2:12: expected quotes around a text with \"?\" in it"},
        {"a card", "---\n- a\n---\n", "README.md:2:1: a front matter must be a map"},
        {"a card", "---\ntext\n---\n", "README.md:2:1: a front matter must be a map"},
        {"a card", "---\na: *x\n---\n",
            "README.md:2:4: expected an anchor that is defined, found \"x\""},
        {"a card", "---\na: &x 1\nb: &x 2\n---\n",
            "README.md:3:4: expected a new anchor, found \"x\" again"},
        {"a card", "---\na: !foo b\n---\n",
            "README.md:2:4: expected a value without a type of its own, found one of type !foo"},
        {"a card", "---\na: !!binary aGk=\n---\n",
            "README.md:2:4: expected a value without a type of its own, found one of type "
            "tag:yaml.org,2002:binary"},
        {"a card", "---\na: !!int x\n---\n",
            "README.md:2:4: expected a value without a type of its own, found one of type "
            "tag:yaml.org,2002:int"},
        {"a card", "---\na: <<\n---\n", "README.md:2:4: expected a value, found a key alone"},
        {"a card", "---\na: =\n---\n", "README.md:2:4: expected a value, found a key alone"},
        {"a card", "---\n<<: 1\n---\n",
            "README.md:2:5: expected a map, or a list of maps, to merge"},
        {"a card", "---\na: &a {b: {<<: *a}}\n---\n",
            "README.md:2:16: expected a map to merge, found what holds this one"},
        {"a card", "---\n[a]: b\n---\n",
            "README.md:2:1: expected a key that is no list and no map"},
        {"a card", "---\n1: a\n---\n", "README.md:2:1: the keys of a front matter must be texts"},
        {"a card", "---\nself: a\n---\n", "README.md:2:1: a front matter must not have this key"},
        {"a card", "---\nto_yaml: a\n---\n",
            "README.md:2:1: a front matter must not have this key"},
        {"a card", "---\ntags: 5\n---\n", "README.md:2:7: \"tags\" must be a list"},
        {"a card", "---\na: 2024-13-45\n---\n",
            "README.md:2:4: expected a value that can be held, found a date or time that does not "
            "exist"},
        {"a card", "---\na: 0x_\n---\n",
            "README.md:2:4: expected a value that can be held, found a number without digits"},
        {"a card", "---\na: 1\n...\nb: 2\n---\n",
            "README.md:4:1: must be YAML: did not find expected <document start>"},
        {"a card", "---\na: \"\\ud800\"\n---\n",
            "README.md:2:7: must be YAML: found invalid Unicode character escape code"},
        {"a card", "---\nmodel-index: 5\n---\n", "README.md:2:14: \"model-index\": must be a list"},
        {"a card", "---\nmodel-index: [a]\n---\n",
            "README.md:2:14: \"model-index\": expected a map with \"name\""},
        {"a card", "---\nmodel-index: [{name: a}]\n---\n",
            "README.md:2:14: \"model-index\": expected \"results\", found none"},
        {"a card",
            "---\nmodel-index: [{name: ~, results: [{task: {type: t}, dataset: {type: d, name: D}, "
            "metrics: [{type: a, value: 1}]}]}]\n---\n",
            "README.md:2:14: \"model-index\": \"name\" must not be null"},
        {"a card", "---\nmodel-index: [{name: a, results: [{task: t}]}]\n---\n",
            "README.md:2:14: \"model-index\": expected a map with \"type\""},
        {"a card",
            "---\nmodel-index: [{name: a, results: [{task: {type: [t]}, dataset: {type: d, name: "
            "D}, metrics: [{type: a, value: 1}]}]}]\n---\n",
            "README.md:2:14: \"model-index\": types, \"config\", \"split\" and \"revision\" must "
            "be no lists and no maps"},
        {"a card", "---\neval_results: [1]\n---\n",
            "README.md:2:15: \"eval_results\" must be empty"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_refused(text_of(rows[i].source), rows[i].want);
}

static void without_a_repository_the_source_counts_for_nothing(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    assert_null(card_render(&arena, "README.md", text_of("---\n\t\n---\n"), NULL, &card));
    assert_string_equal(card.bytes,
        "---\nlanguage: en\nlibrary_name: mlx\npipeline_tag: text-generation\ntags:\n- "
        "mlx\n---\n");
    arena_end(&arena);
}

static void what_is_no_utf8_is_refused(void **state)
{
    (void)state;
    assert_refused(text_of("---\na: b\n---\n\xE9t\xE9\n"), "README.md: must be UTF-8");
}

/* ---- limits ---- */

/* `head`, `count` times `item` with its number in it, `tail`. */
static struct text repeat(
    struct arena *arena, const char *head, const char *item, size_t count, const char *tail)
{
    struct buffer buffer = {.arena = arena};
    struct text text;
    buffer_put_string(&buffer, head);
    for (size_t i = 0; i < count; i++) {
        char number[24];
        const char *place = strchr(item, '#');
        size_t length = place == NULL ? strlen(item) : (size_t)(place - item);
        snprintf(number, sizeof number, "%zu", i);
        buffer_put(&buffer, item, length);
        if (place != NULL) {
            buffer_put_string(&buffer, number);
            buffer_put_string(&buffer, place + 1);
        }
    }
    buffer_put_string(&buffer, tail);
    assert_null(buffer_text(&buffer, &text));
    return text;
}

static void assert_read(struct arena *arena, struct text source, struct text *card)
{
    struct error *error = card_render(arena, "README.md", source, "org/name", card);
    if (error != NULL)
        fail_msg("%s", error_text(error));
}

/* Each is compared with all others at once: one by one, these take minutes. */
static void as_many_tags_and_keys_as_a_card_can_hold(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    struct text source = repeat(&arena, "---\ntags:\n", "- t#\n- t0\n", 100000, "---\n");
    struct text want = repeat(&arena, "---\ntags:\n", "- t#\n", 100000,
        "- mlx\nbase_model: org/name\nlibrary_name: mlx\npipeline_tag: text-generation\n---\n");
    assert_read(&arena, source, &card);
    assert_int_equal(card.length, want.length);
    assert_memory_equal(card.bytes, want.bytes, want.length);
    source = repeat(&arena, "---\n", "k#: v\n", 100000, "---\n");
    assert_read(&arena, source, &card);
    arena_end(&arena);
}

static void nesting_has_a_limit(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    for (size_t depth = YAML_DEPTH_MAX - 1; depth <= YAML_DEPTH_MAX; depth++) {
        struct text open = repeat(&arena, "---\na: ", "[", depth, "");
        struct text source = repeat(&arena, open.bytes, "]", depth, "\n---\n");
        if (depth < YAML_DEPTH_MAX)
            assert_read(&arena, source, &card);
        else
            assert_refused(
                source, "README.md:2:67: must hold no more than 64 values in each other");
    }
    arena_end(&arena);
}

static void aliases_in_aliases_are_as_deep(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    for (size_t depth = YAML_DEPTH_MAX - 1; depth <= YAML_DEPTH_MAX; depth++) {
        struct buffer buffer = {.arena = &arena};
        struct text source;
        buffer_put_string(&buffer, "---\nlibrary_name: [&a0 []]\nbase_model:\n");
        for (size_t i = 1; i < depth; i++) {
            char item[80];
            snprintf(item, sizeof item, "- &a%zu [*a%zu]\n", i, i - 1);
            buffer_put_string(&buffer, item);
        }
        char last[80];
        snprintf(last, sizeof last, "x: *a%zu\n---\n", depth - 1);
        buffer_put_string(&buffer, last);
        assert_null(buffer_text(&buffer, &source));
        if (depth < YAML_DEPTH_MAX)
            assert_read(&arena, source, &card);
        else
            assert_refused(source, "README.md:2:1: must hold no more than 64 values in each other");
    }
    arena_end(&arena);
}

static void values_have_a_limit(void **state)
{
    struct arena arena = {0};
    struct text card;
    const size_t beside = 3; /* the map, its key and the list */
    (void)state;
    assert_read(
        &arena, repeat(&arena, "---\na: [", "1,", YAML_NODES_MAX - beside, "]\n---\n"), &card);
    assert_refused(repeat(&arena, "---\na: [", "1,", YAML_NODES_MAX - 2, "]\n---\n"),
        "README.md:2:1: must hold at most 250000 values");
    arena_end(&arena);
}

/* Nine lists of ten aliases each, one in the other. */
static const char laughs[] =
    "---\na: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, "
    "*c]\n"
    "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e, "
    "*e]\n"
    "g: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f, *f]\nh: &h [*g, *g, *g, *g, *g, *g, *g, *g, *g, "
    "*g]\n";

static void aliases_stay_aliases(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    assert_read(&arena, repeat(&arena, laughs, "", 0, "---\n"), &card);
    assert_true(card.length < 1000);
    arena_end(&arena);
}

static void aliases_that_are_written_out_have_a_limit(void **state)
{
    struct arena arena = {0};
    (void)state;
    assert_refused(repeat(&arena, laughs, "", 0, "tags: *h\n---\n"),
        "README.md:8:4: \"tags\" must hold less in each other");
    assert_refused(repeat(&arena, laughs, "", 0, "model-index: [{name: *h, results: []}]\n---\n"),
        "README.md:10:14: \"model-index\": must hold at most 250000 values, and 64 in each other");
    struct text merges = repeat(&arena, "---\nm0: &m0 {", "key#: 1, ", 1000, "}\n");
    assert_refused(repeat(&arena, merges.bytes, "n#: {<<: *m0}\n", 1000, "---\n"),
        "README.md:249:12: must hold at most 250000 values");
    arena_end(&arena);
}

static void bytes_have_a_limit(void **state)
{
    struct arena arena = {0};
    struct text card;
    const size_t bytes_max = 4 << 20;
    (void)state;
    assert_read(&arena, repeat(&arena, "---\na: b #", "x", bytes_max - 6, "\n---\n"), &card);
    assert_refused(repeat(&arena, "---\na: b #", "x", bytes_max - 5, "\n---\n"),
        "README.md: its front matter must have at most 4194304 bytes, not 4194305");
    arena_end(&arena);
}

static void integers_have_a_limit(void **state)
{
    struct arena arena = {0};
    struct text card;
    (void)state;
    assert_read(&arena, repeat(&arena, "---\na: -", "9", 4300, "\n---\n"), &card);
    static const char want[] = "README.md:2:4: expected a value that can be held, found an integer "
                               "of more than 4300 digits";
    assert_refused(repeat(&arena, "---\na: -", "9", 4301, "\n---\n"), want);
    assert_refused(repeat(&arena, "---\na: 0x", "F", 4000, "\n---\n"), want);
    assert_refused(repeat(&arena, "---\na: 1", ":59", 100000, "\n---\n"), want);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(card_equals_the_reference),
        cmocka_unit_test(what_is_rare_equals_the_reference),
        cmocka_unit_test(what_the_reference_cannot_read_is_refused),
        cmocka_unit_test(without_a_repository_the_source_counts_for_nothing),
        cmocka_unit_test(what_is_no_utf8_is_refused),
        cmocka_unit_test(as_many_tags_and_keys_as_a_card_can_hold),
        cmocka_unit_test(nesting_has_a_limit),
        cmocka_unit_test(aliases_in_aliases_are_as_deep),
        cmocka_unit_test(values_have_a_limit),
        cmocka_unit_test(aliases_stay_aliases),
        cmocka_unit_test(aliases_that_are_written_out_have_a_limit),
        cmocka_unit_test(bytes_have_a_limit),
        cmocka_unit_test(integers_have_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
