/* expression.h - the small language of the rule files: "num_attention_heads * head_dim".
 *
 *   primary     12  1.5  "text"  true  false  null  name  a.b  (x)  list[0]  len(list)
 *               has("pattern")
 *   ??          the left side if it is not null, else the right side
 *   ! -         not; minus
 *   * / // %    / gives a fraction, // rounds down, % has the divisor's sign, as in Python
 *   + -
 *   == != < <= > >= in   these do not chain; `in`: some item of the list is equal
 *   &&          then ||: as Python's `and` and `or` they give the side that decides, and the right
 *               one is evaluated only if it does
 *
 * from the tightest to the loosest. Integers have 64 bits; leaving them, dividing by zero and
 * arithmetic with anything but numbers are errors. As a condition null, false, 0, "" and [] are
 * false and the rest is true. Values of different kinds are unequal, but numbers compare as
 * numbers.
 *
 * What a name stands for is the caller's business. Parsing checks everything that needs no values.
 */
#ifndef PSYBUILD_TASKS_FORMATS_EXPRESSION_H
#define PSYBUILD_TASKS_FORMATS_EXPRESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

struct pattern;

enum {
    EXPRESSION_BYTES_MAX = 4096,
    EXPRESSION_DEPTH_MAX = 64, /* of the tree: parentheses, and chains of operators */
};

enum value_kind {
    VALUE_NULL,
    VALUE_BOOL,
    VALUE_INTEGER,
    VALUE_NUMBER, /* a double, always finite */
    VALUE_TEXT,
    VALUE_TREE, /* a list or an object of a JSON document, or a number that is none of the above */
};
struct value {
    enum value_kind kind;
    bool boolean;
    int64_t integer;
    double number;
    struct text text;
    const struct json *tree;
};

/* What names and has() mean where an expression is evaluated. */
struct scope {
    void *context;
    /* `*out` is VALUE_NULL when nothing has that name (dotted, if it was written so), no default
     * either: to the language a null that is there and nothing are the same. */
    struct error *(*find)(void *context, struct text name, struct value *out);
    bool (*has)(void *context, const struct pattern *pattern);
};

struct expression;

/* From a JSON string, or a number or boolean standing for itself; kept with its document. */
MUST_CHECK struct error *expression_parse(
    struct arena *arena, const struct json *value, const struct expression **out);
/* Errors name the expression's place and text. */
MUST_CHECK struct error *expression_evaluate(
    const struct expression *expression, const struct scope *scope, struct value *out);
MUST_CHECK struct error *expression_condition(
    const struct expression *expression, const struct scope *scope, bool *out);
/* An integer within min..INT64_MAX, for a length or a count. */
MUST_CHECK struct error *expression_integer(
    const struct expression *expression, const struct scope *scope, int64_t min, int64_t *out);

struct text expression_source(const struct expression *expression);
const struct json *expression_origin(const struct expression *expression); /* its place */
/* The index-th name that it mentions; past the last: an empty text. */
struct text expression_name(const struct expression *expression, size_t index);

struct value value_of_json(const struct json *json); /* a field of a configuration; NULL is null */
bool value_is_true(const struct value *value);
/* Letters, digits and "_", not a digit first, and no word of the language. */
bool name_is_identifier(struct text name);

#endif
