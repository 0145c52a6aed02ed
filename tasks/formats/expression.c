/* expression.c - recursive descent to a tree of bounded depth, and a walk over it. */
#include "tasks/formats/expression.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json_write.h"
#include "base/number.h"
#include "tasks/formats/pattern.h"

enum operation {
    OP_LITERAL,
    OP_NAME,
    OP_INDEX,
    OP_LEN,
    OP_HAS,
    OP_OR_ELSE,
    OP_NOT,
    OP_NEGATE,
    OP_MULTIPLY,
    OP_DIVIDE,
    OP_DIVIDE_DOWN,
    OP_REMAINDER,
    OP_ADD,
    OP_SUBTRACT,
    OP_EQUAL,
    OP_UNEQUAL,
    OP_LESS,
    OP_LESS_EQUAL,
    OP_GREATER,
    OP_GREATER_EQUAL,
    OP_IN,
    OP_AND,
    OP_OR,
};

struct node {
    enum operation operation;
    unsigned depth;    /* of the tree below, itself included */
    size_t begin, end; /* its span of the source */
    const struct node *left, *right;
    struct value literal;          /* OP_LITERAL */
    struct text name;              /* OP_NAME */
    const struct pattern *pattern; /* OP_HAS */
};

struct expression {
    struct text source;
    const struct json *origin;
    const struct node *root;
    struct text *names; /* every OP_NAME, in order */
    size_t name_count, name_capacity;
};

/* ---- words ---- */

static bool is_name_start(char c)
{
    return char_is_letter(c) || c == '_';
}

static const char *const words[] = {"true", "false", "null", "has", "len"};

bool name_is_identifier(struct text name)
{
    if (name.length == 0 || !is_name_start(name.bytes[0]))
        return false;
    for (size_t i = 1; i < name.length; i++)
        if (!char_is_word(name.bytes[i]))
            return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text_is(name, words[i]))
            return false;
    return true;
}

static bool is_number(const struct value *value)
{
    return value->kind == VALUE_INTEGER || value->kind == VALUE_NUMBER;
}

/* ---- parsing ---- */

struct parser {
    struct arena *arena;
    struct expression *expression;
    struct text source;
    size_t position;
    unsigned depth; /* of the recursion: parentheses, brackets and signs */
    const char *complaint;
    bool is_out_of_memory;
};

static const struct node *complain(struct parser *parser, const char *complaint)
{
    if (parser->complaint == NULL)
        parser->complaint = complaint;
    return NULL;
}

static const struct node *memory_failed(struct parser *parser)
{
    parser->is_out_of_memory = true;
    return complain(parser, "out of memory");
}

static char peek(struct parser *parser)
{
    while (
        parser->position < parser->source.length && parser->source.bytes[parser->position] == ' ')
        parser->position++;
    return parser->position < parser->source.length ? parser->source.bytes[parser->position] : '\0';
}

static bool accept(struct parser *parser, const char *symbol)
{
    size_t length = strlen(symbol);
    peek(parser);
    if (length > parser->source.length - parser->position ||
        memcmp(parser->source.bytes + parser->position, symbol, length) != 0)
        return false;
    parser->position += length;
    return true;
}

static struct node *new_node(struct parser *parser, enum operation operation, size_t begin,
    const struct node *left, const struct node *right)
{
    unsigned depth = left != NULL ? left->depth : 0;
    if (right != NULL && right->depth > depth)
        depth = right->depth;
    if (depth >= EXPRESSION_DEPTH_MAX) {
        complain(parser, "it is nested too deeply");
        return NULL;
    }
    struct node *node = arena_alloc(parser->arena, sizeof *node);
    if (node == NULL) {
        memory_failed(parser);
        return NULL;
    }
    *node = (struct node){.operation = operation,
        .depth = depth + 1,
        .begin = begin,
        .end = parser->position,
        .left = left,
        .right = right};
    return node;
}

static const struct node *new_literal(struct parser *parser, size_t begin, struct value value)
{
    struct node *node = new_node(parser, OP_LITERAL, begin, NULL, NULL);
    if (node != NULL)
        node->literal = value;
    return node;
}

static const struct node *parse_binary(struct parser *parser, size_t level);

static const struct node *parse_any(struct parser *parser)
{
    if (parser->depth == EXPRESSION_DEPTH_MAX)
        return complain(parser, "it is nested too deeply");
    parser->depth++;
    const struct node *node = parse_binary(parser, 0);
    parser->depth--;
    return node;
}

/* Digits, and then perhaps a point and digits. */
static const struct node *parse_number(struct parser *parser)
{
    size_t begin = parser->position;
    struct text source = parser->source;
    int64_t integer = 0;
    bool fits = true;
    for (; parser->position < source.length && char_is_digit(source.bytes[parser->position]);
         parser->position++)
        fits = fits && !__builtin_mul_overflow(integer, 10, &integer) &&
               !__builtin_add_overflow(integer, source.bytes[parser->position] - '0', &integer);
    if (parser->position + 1 >= source.length || source.bytes[parser->position] != '.') {
        if (!fits)
            return complain(parser, "an integer past 64 bits");
        return new_literal(
            parser, begin, (struct value){.kind = VALUE_INTEGER, .integer = integer});
    }
    double number = 0, unit = 1;
    for (size_t i = begin; i < parser->position; i++)
        number = number * 10 + (source.bytes[i] - '0');
    size_t fraction = ++parser->position;
    for (; parser->position < source.length && char_is_digit(source.bytes[parser->position]);
         parser->position++) {
        number = number * 10 + (source.bytes[parser->position] - '0');
        unit *= 10;
    }
    if (parser->position == fraction)
        return complain(parser, "expected digits after the point");
    if (!isfinite(number) || !isfinite(unit))
        return complain(parser, "a number with too many digits");
    return new_literal(
        parser, begin, (struct value){.kind = VALUE_NUMBER, .number = number / unit});
}

/* After the opening quote. There are no escapes. */
static bool parse_quoted(struct parser *parser, struct text *out)
{
    const char *begin = parser->source.bytes + parser->position;
    const char *quote = memchr(begin, '"', parser->source.length - parser->position);
    if (quote == NULL) {
        complain(parser, "a string without its closing quote");
        return false;
    }
    *out = (struct text){begin, (size_t)(quote - begin)};
    parser->position += out->length + 1;
    return true;
}

static const struct node *parse_len(struct parser *parser, size_t begin)
{
    if (!accept(parser, "("))
        return complain(parser, "expected \"(\" after len");
    const struct node *list = parse_any(parser);
    if (list == NULL)
        return NULL;
    if (!accept(parser, ")"))
        return complain(parser, "expected \")\"");
    return new_node(parser, OP_LEN, begin, list, NULL);
}

static const struct node *parse_has(struct parser *parser, size_t begin)
{
    struct text text;
    if (!accept(parser, "(") || !accept(parser, "\""))
        return complain(parser, "expected (\"pattern\") after has");
    if (!parse_quoted(parser, &text))
        return NULL;
    const struct pattern *pattern = NULL;
    const char *complaint = NULL;
    struct error *error = pattern_compile(parser->arena, text, &pattern, &complaint);
    if (error != NULL) {
        error_free(error);
        return memory_failed(parser);
    }
    if (complaint != NULL)
        return complain(parser, complaint);
    if (!accept(parser, ")"))
        return complain(parser, "expected \")\"");
    struct node *node = new_node(parser, OP_HAS, begin, NULL, NULL);
    if (node != NULL)
        node->pattern = pattern;
    return node;
}

/* A name with dots: letters, digits and "_" between them. */
static struct text scan_name(struct parser *parser)
{
    struct text source = parser->source;
    size_t begin = parser->position, end = begin;
    for (;;) {
        while (end < source.length && char_is_word(source.bytes[end]))
            end++;
        if (source.length - end < 2 || source.bytes[end] != '.' ||
            !is_name_start(source.bytes[end + 1]))
            break;
        end++;
    }
    parser->position = end;
    return text_cut(source, begin, end);
}

static const struct node *new_name(struct parser *parser, size_t begin, struct text name)
{
    struct expression *expression = parser->expression;
    struct node *node = new_node(parser, OP_NAME, begin, NULL, NULL);
    struct text *names = arena_grow(parser->arena, expression->names, expression->name_count,
        &expression->name_capacity, sizeof *names);
    if (node == NULL)
        return NULL;
    if (names == NULL)
        return memory_failed(parser);
    names[expression->name_count++] = node->name = name;
    expression->names = names;
    return node;
}

static const struct node *parse_word(struct parser *parser)
{
    size_t begin = parser->position;
    struct text word = scan_name(parser);
    if (text_is(word, "null"))
        return new_literal(parser, begin, (struct value){.kind = VALUE_NULL});
    if (text_is(word, "true") || text_is(word, "false"))
        return new_literal(
            parser, begin, (struct value){.kind = VALUE_BOOL, .boolean = text_is(word, "true")});
    if (text_is(word, "len"))
        return parse_len(parser, begin);
    if (text_is(word, "has"))
        return parse_has(parser, begin);
    return new_name(parser, begin, word);
}

static const struct node *parse_primary(struct parser *parser)
{
    char first = peek(parser);
    size_t begin = parser->position;
    if (char_is_digit(first))
        return parse_number(parser);
    if (is_name_start(first))
        return parse_word(parser);
    if (accept(parser, "\"")) {
        struct value value = {.kind = VALUE_TEXT};
        return parse_quoted(parser, &value.text) ? new_literal(parser, begin, value) : NULL;
    }
    if (!accept(parser, "("))
        return complain(parser, "expected a value");
    const struct node *inside = parse_any(parser);
    if (inside == NULL)
        return NULL;
    return accept(parser, ")") ? inside : complain(parser, "expected \")\"");
}

static const struct node *parse_indexed(struct parser *parser)
{
    peek(parser);
    size_t begin = parser->position;
    const struct node *node = parse_primary(parser);
    while (node != NULL && accept(parser, "[")) {
        const struct node *index = parse_any(parser);
        if (index == NULL)
            return NULL;
        if (!accept(parser, "]"))
            return complain(parser, "expected \"]\"");
        node = new_node(parser, OP_INDEX, begin, node, index);
    }
    return node;
}

static const struct node *parse_or_else(struct parser *parser)
{
    peek(parser);
    size_t begin = parser->position;
    const struct node *node = parse_indexed(parser);
    while (node != NULL && accept(parser, "??")) {
        const struct node *right = parse_indexed(parser);
        node = right == NULL ? NULL : new_node(parser, OP_OR_ELSE, begin, node, right);
    }
    return node;
}

static const struct node *parse_unary(struct parser *parser)
{
    char first = peek(parser);
    size_t begin = parser->position;
    if (first != '!' && first != '-')
        return parse_or_else(parser);
    if (parser->depth == EXPRESSION_DEPTH_MAX)
        return complain(parser, "it is nested too deeply");
    parser->position++;
    parser->depth++;
    const struct node *operand = parse_unary(parser);
    parser->depth--;
    if (operand == NULL)
        return NULL;
    return new_node(parser, first == '!' ? OP_NOT : OP_NEGATE, begin, operand, NULL);
}

enum { LEVEL_COMPARISON = 2, LEVEL_COUNT = 5 };
static const struct {
    const char *symbol; /* of two that begin alike the longer one comes first */
    size_t level;
    enum operation operation;
} symbols[] = {
    {"||", 0, OP_OR},
    {"&&", 1, OP_AND},
    {"==", 2, OP_EQUAL},
    {"!=", 2, OP_UNEQUAL},
    {"<=", 2, OP_LESS_EQUAL},
    {">=", 2, OP_GREATER_EQUAL},
    {"<", 2, OP_LESS},
    {">", 2, OP_GREATER},
    {"in ", 2, OP_IN},
    {"+", 3, OP_ADD},
    {"-", 3, OP_SUBTRACT},
    {"*", 4, OP_MULTIPLY},
    {"//", 4, OP_DIVIDE_DOWN},
    {"/", 4, OP_DIVIDE},
    {"%", 4, OP_REMAINDER},
};

static bool accept_symbol(struct parser *parser, size_t level, enum operation *out)
{
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        if (symbols[i].level != level || !accept(parser, symbols[i].symbol))
            continue;
        *out = symbols[i].operation;
        return true;
    }
    return false;
}

static const struct node *parse_binary(struct parser *parser, size_t level)
{
    if (level == LEVEL_COUNT)
        return parse_unary(parser);
    peek(parser);
    size_t begin = parser->position;
    const struct node *node = parse_binary(parser, level + 1);
    enum operation operation;
    for (bool is_first = true; node != NULL && accept_symbol(parser, level, &operation);
         is_first = false) {
        if (level == LEVEL_COMPARISON && !is_first)
            return complain(parser, "comparisons do not chain");
        const struct node *right = parse_binary(parser, level + 1);
        node = right == NULL ? NULL : new_node(parser, operation, begin, node, right);
    }
    return node;
}

static const char *check_source(struct text source)
{
    if (source.length > EXPRESSION_BYTES_MAX)
        return "it is longer than 4096 bytes";
    for (size_t i = 0; i < source.length; i++)
        if ((unsigned char)source.bytes[i] < 0x20 || source.bytes[i] == 0x7F)
            return "it holds a control character";
    return NULL;
}

static struct error *parse_source(
    struct arena *arena, const struct json *value, struct expression *expression)
{
    const char *complaint = check_source(expression->source);
    if (complaint != NULL)
        return json_error(value, "%s is no expression: %s", json_show(arena, value), complaint);
    struct parser parser = {.arena = arena, .expression = expression, .source = expression->source};
    const struct node *root = parse_any(&parser);
    if (root != NULL && peek(&parser) != '\0')
        root = complain(&parser, "expected an operator or the end");
    if (parser.is_out_of_memory)
        return error_memory();
    if (root == NULL)
        return json_error(value, "%s is no expression: %s at character %zu",
            json_show(arena, value), parser.complaint, parser.position + 1);
    expression->root = root;
    return NULL;
}

struct error *expression_parse(
    struct arena *arena, const struct json *value, const struct expression **out)
{
    struct expression *expression = arena_alloc(arena, sizeof *expression);
    struct node *root = arena_alloc(arena, sizeof *root);
    if (expression == NULL || root == NULL)
        return error_memory();
    expression->origin = value;
    expression->source = value->text;
    expression->root = root;
    root->literal = value_of_json(value);
    if (json_is(value, JSON_BOOL))
        expression->source = text_of(value->boolean ? "true" : "false");
    else if (json_is(value, JSON_STRING))
        TRY(parse_source(arena, value, expression));
    else if (is_number(&root->literal))
        expression->source.bytes = arena_copy(arena, value->text.bytes, value->text.length);
    else
        return json_error(value, "an expression must be a string, not %s", json_show(arena, value));
    TRY(memory_check(expression->source.bytes));
    *out = expression;
    return NULL;
}

/* ---- evaluation ---- */

struct value value_of_json(const struct json *json)
{
    struct value value = {.kind = VALUE_TREE, .tree = json};
    if (json == NULL || json->kind == JSON_NULL)
        value.kind = VALUE_NULL;
    else if (json->kind == JSON_BOOL)
        value = (struct value){.kind = VALUE_BOOL, .boolean = json->boolean};
    else if (json->kind == JSON_STRING)
        value = (struct value){.kind = VALUE_TEXT, .text = json->text};
    else if (json->kind == JSON_NUMBER && json_to_i64(json, &value.integer))
        value.kind = VALUE_INTEGER;
    else if (json->kind == JSON_NUMBER && !json->is_integer && isfinite(json->number))
        value = (struct value){.kind = VALUE_NUMBER, .number = json->number};
    return value;
}

bool value_is_true(const struct value *value)
{
    switch (value->kind) {
    case VALUE_NULL:
        return false;
    case VALUE_BOOL:
        return value->boolean;
    case VALUE_INTEGER:
        return value->integer != 0;
    case VALUE_NUMBER:
        return value->number != 0;
    case VALUE_TEXT:
        return value->text.length > 0;
    case VALUE_TREE:
        return value->tree->kind == JSON_NUMBER || value->tree->count > 0;
    }
    return false;
}

enum { SHOWN_MAX = 64 };

/* What a value is, for "X is ..., not ...". */
static const char *show(char buffer[SHOWN_MAX], const struct value *value)
{
    switch (value->kind) {
    case VALUE_NULL:
        return "null";
    case VALUE_BOOL:
        return value->boolean ? "true" : "false";
    case VALUE_INTEGER:
        snprintf(buffer, SHOWN_MAX, "%" PRId64, value->integer);
        return buffer;
    case VALUE_NUMBER:
        return json_double_repr(buffer, value->number);
    case VALUE_TEXT:
        return "a string";
    case VALUE_TREE:
        if (value->tree->kind == JSON_NUMBER)
            return value->tree->is_integer ? "an integer past 64 bits" : "not finite";
        return json_kind_name(value->tree->kind);
    }
    return "";
}
_Static_assert(SHOWN_MAX >= JSON_DOUBLE_MAX, "a shown value may be a double");

struct evaluation {
    const struct expression *expression;
    const struct scope *scope;
};

/* "node" is "value", not "wanted". */
static struct error *wrong_kind(const struct evaluation *evaluation, const struct node *node,
    const struct value *value, const char *wanted)
{
    char buffer[SHOWN_MAX];
    const struct expression *expression = evaluation->expression;
    const char *shown = show(buffer, value);
    const char *source = expression->source.bytes;
    size_t end = node->end;
    while (end > node->begin && source[end - 1] == ' ')
        end--;
    return json_error(expression->origin, "\"%.*s\" is %s, not %s, in \"%s\"",
        (int)(end - node->begin), source + node->begin, shown, wanted, source);
}

static struct error *fail(const struct evaluation *evaluation, const char *what)
{
    return json_error(
        evaluation->expression->origin, "%s in \"%s\"", what, evaluation->expression->source.bytes);
}

static double to_double(const struct value *value)
{
    return value->kind == VALUE_INTEGER ? (double)value->integer : value->number;
}

static struct value boolean_value(bool boolean)
{
    return (struct value){.kind = VALUE_BOOL, .boolean = boolean};
}

/* Division that rounds down; false when the result does not fit. */
static bool divide_down(int64_t a, int64_t b, int64_t *quotient, int64_t *remainder)
{
    *remainder = b == -1 ? 0 : a % b; /* INT64_MIN % -1 traps */
    if (b == -1)
        return !__builtin_sub_overflow((int64_t)0, a, quotient);
    *quotient = a / b;
    if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
        *remainder += b;
        *quotient -= 1;
    }
    return true;
}

static bool compute_integers(enum operation operation, int64_t a, int64_t b, int64_t *out)
{
    int64_t quotient, remainder;
    bool fits;
    switch (operation) {
    case OP_ADD:
        return !__builtin_add_overflow(a, b, out);
    case OP_SUBTRACT:
        return !__builtin_sub_overflow(a, b, out);
    case OP_MULTIPLY:
        return !__builtin_mul_overflow(a, b, out);
    default:
        fits = divide_down(a, b, &quotient, &remainder);
        *out = operation == OP_DIVIDE_DOWN ? quotient : remainder;
        return fits || operation == OP_REMAINDER;
    }
}

/* As CPython's float_floor_div: from the exact remainder, then snapped to the nearest integer. */
static double divide_doubles_down(double a, double b)
{
    double remainder = number_remainder(a, b);
    double quotient = (a - remainder) / b;
    if (remainder != 0 && (b < 0) != (remainder < 0))
        quotient -= 1;
    double down = number_floor(quotient);
    return quotient - down > 0.5 ? down + 1 : down;
}

static double remainder_of_doubles(double a, double b)
{
    double remainder = number_remainder(a, b);
    return remainder != 0 && (b < 0) != (remainder < 0) ? remainder + b : remainder;
}

static double compute_doubles(enum operation operation, double a, double b)
{
    switch (operation) {
    case OP_ADD:
        return a + b;
    case OP_SUBTRACT:
        return a - b;
    case OP_MULTIPLY:
        return a * b;
    case OP_DIVIDE:
        return a / b;
    case OP_DIVIDE_DOWN:
        return divide_doubles_down(a, b);
    default:
        return remainder_of_doubles(a, b);
    }
}

static struct error *compute(const struct evaluation *evaluation, enum operation operation,
    const struct value *left, const struct value *right, struct value *out)
{
    bool divides =
        operation == OP_DIVIDE || operation == OP_DIVIDE_DOWN || operation == OP_REMAINDER;
    if (divides && to_double(right) == 0)
        return fail(evaluation, "division by zero");
    struct value result = {.kind = VALUE_NUMBER};
    bool fits;
    if (left->kind == VALUE_INTEGER && right->kind == VALUE_INTEGER && operation != OP_DIVIDE) {
        result.kind = VALUE_INTEGER;
        fits = compute_integers(operation, left->integer, right->integer, &result.integer);
    } else {
        result.number = compute_doubles(operation, to_double(left), to_double(right));
        fits = isfinite(result.number);
    }
    if (!fits)
        return fail(evaluation, "a number that is too large");
    *out = result;
    return NULL;
}

static bool compare(enum operation operation, const struct value *left, const struct value *right)
{
    int order;
    if (left->kind == VALUE_INTEGER && right->kind == VALUE_INTEGER) {
        order = (left->integer > right->integer) - (left->integer < right->integer);
    } else {
        double a = to_double(left), b = to_double(right);
        order = (a > b) - (a < b);
    }
    switch (operation) {
    case OP_LESS:
        return order < 0;
    case OP_LESS_EQUAL:
        return order <= 0;
    case OP_GREATER:
        return order > 0;
    case OP_GREATER_EQUAL:
        return order >= 0;
    default:
        return order == 0;
    }
}

static bool are_equal(const struct value *left, const struct value *right)
{
    if (is_number(left) && is_number(right))
        return compare(OP_EQUAL, left, right);
    if (left->kind != right->kind)
        return false;
    switch (left->kind) {
    case VALUE_BOOL:
        return left->boolean == right->boolean;
    case VALUE_TEXT:
        return text_equal(left->text, right->text);
    case VALUE_TREE:
        return json_equal(left->tree, right->tree);
    default:
        return true;
    }
}

static struct error *evaluate(
    const struct evaluation *evaluation, const struct node *node, struct value *out);

static bool is_list(const struct value *value)
{
    return value->kind == VALUE_TREE && value->tree->kind == JSON_ARRAY;
}

static struct error *evaluate_index(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    struct value list, index;
    TRY(evaluate(evaluation, node->left, &list));
    TRY(evaluate(evaluation, node->right, &index));
    if (!is_list(&list))
        return wrong_kind(evaluation, node->left, &list, "a list");
    if (index.kind != VALUE_INTEGER || index.integer < 0 ||
        (uint64_t)index.integer >= list.tree->count)
        return wrong_kind(evaluation, node->right, &index, "an index of the list");
    *out = value_of_json(&list.tree->items[index.integer]);
    return NULL;
}

static struct error *evaluate_len(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    struct value list;
    TRY(evaluate(evaluation, node->left, &list));
    if (list.kind == VALUE_NULL) {
        *out = list;
        return NULL;
    }
    if (list.kind != VALUE_TREE || list.tree->kind == JSON_NUMBER)
        return wrong_kind(evaluation, node->left, &list, "a list");
    *out = (struct value){.kind = VALUE_INTEGER, .integer = (int64_t)list.tree->count};
    return NULL;
}

/* ??, && and ||: the right side is evaluated, and so read, only if it counts. */
static struct error *evaluate_lazily(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    struct value left;
    TRY(evaluate(evaluation, node->left, &left));
    bool is_decided = node->operation == OP_OR_ELSE
                          ? left.kind != VALUE_NULL
                          : value_is_true(&left) == (node->operation == OP_OR);
    if (!is_decided)
        return evaluate(evaluation, node->right, out);
    *out = left;
    return NULL;
}

static struct error *evaluate_unary(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    struct value operand;
    TRY(evaluate(evaluation, node->left, &operand));
    if (node->operation == OP_NOT) {
        *out = boolean_value(!value_is_true(&operand));
        return NULL;
    }
    if (!is_number(&operand))
        return wrong_kind(evaluation, node->left, &operand, "a number");
    if (operand.kind == VALUE_NUMBER)
        operand.number = -operand.number;
    else if (__builtin_sub_overflow((int64_t)0, operand.integer, &operand.integer))
        return fail(evaluation, "a number that is too large");
    *out = operand;
    return NULL;
}

static bool holds_value(const struct json *list, const struct value *value)
{
    for (size_t i = 0; i < list->count; i++) {
        struct value item = value_of_json(&list->items[i]);
        if (are_equal(&item, value))
            return true;
    }
    return false;
}

static struct error *evaluate_binary(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    struct value left, right;
    TRY(evaluate(evaluation, node->left, &left));
    TRY(evaluate(evaluation, node->right, &right));
    if (node->operation == OP_EQUAL || node->operation == OP_UNEQUAL) {
        *out = boolean_value(are_equal(&left, &right) == (node->operation == OP_EQUAL));
        return NULL;
    }
    if (node->operation == OP_IN && !is_list(&right))
        return wrong_kind(evaluation, node->right, &right, "a list");
    if (node->operation == OP_IN) {
        *out = boolean_value(holds_value(right.tree, &left));
        return NULL;
    }
    if (!is_number(&left))
        return wrong_kind(evaluation, node->left, &left, "a number");
    if (!is_number(&right))
        return wrong_kind(evaluation, node->right, &right, "a number");
    if (node->operation < OP_EQUAL)
        return compute(evaluation, node->operation, &left, &right, out);
    *out = boolean_value(compare(node->operation, &left, &right));
    return NULL;
}

static struct error *evaluate(
    const struct evaluation *evaluation, const struct node *node, struct value *out)
{
    switch (node->operation) {
    case OP_LITERAL:
        *out = node->literal;
        return NULL;
    case OP_NAME:
        return evaluation->scope->find(evaluation->scope->context, node->name, out);
    case OP_INDEX:
        return evaluate_index(evaluation, node, out);
    case OP_LEN:
        return evaluate_len(evaluation, node, out);
    case OP_HAS:
        *out = boolean_value(evaluation->scope->has(evaluation->scope->context, node->pattern));
        return NULL;
    case OP_OR_ELSE:
    case OP_AND:
    case OP_OR:
        return evaluate_lazily(evaluation, node, out);
    case OP_NOT:
    case OP_NEGATE:
        return evaluate_unary(evaluation, node, out);
    default:
        return evaluate_binary(evaluation, node, out);
    }
}

struct error *expression_evaluate(
    const struct expression *expression, const struct scope *scope, struct value *out)
{
    struct evaluation evaluation = {.expression = expression, .scope = scope};
    struct value value;
    TRY(evaluate(&evaluation, expression->root, &value));
    *out = value;
    return NULL;
}

struct error *expression_condition(
    const struct expression *expression, const struct scope *scope, bool *out)
{
    struct value value;
    TRY(expression_evaluate(expression, scope, &value));
    *out = value_is_true(&value);
    return NULL;
}

struct error *expression_integer(
    const struct expression *expression, const struct scope *scope, int64_t min, int64_t *out)
{
    char shown[SHOWN_MAX];
    struct value value;
    TRY(expression_evaluate(expression, scope, &value));
    if (value.kind != VALUE_INTEGER || value.integer < min)
        return json_error(expression->origin,
            "\"%s\" must be an integer of at least %" PRId64 ", not %s", expression->source.bytes,
            min, show(shown, &value));
    *out = value.integer;
    return NULL;
}

struct text expression_source(const struct expression *expression)
{
    return expression->source;
}

const struct json *expression_origin(const struct expression *expression)
{
    return expression->origin;
}

struct text expression_name(const struct expression *expression, size_t index)
{
    return index < expression->name_count ? expression->names[index] : TEXT_EMPTY;
}
