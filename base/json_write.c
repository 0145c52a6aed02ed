/* json_write.c - JSON text, built front to back in one growing buffer (json_write.h). */
#include "base/json_write.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

const struct json_style JSON_STYLE_CONFIG = {.indent = 4, .is_ascii = true, .python_floats = true};
const struct json_style JSON_STYLE_TOKENIZER = {.indent = 2, .sort_keys = true};
const struct json_style JSON_STYLE_CANONICAL = {.sort_keys = true};
const struct json_style JSON_STYLE_PRETTY = {.indent = 2};
const struct json_style JSON_STYLE_LINE = {0};

struct json_writer {
    struct arena *arena;
    struct json_style style;
    struct buffer out;
    unsigned char *has_items; /* for each open level: whether something stands in it */
    size_t depth, depth_capacity;
    bool is_after_key;
};

struct json_writer *json_writer_new(struct arena *arena, const struct json_style *style)
{
    struct json_writer *writer = arena_alloc(arena, sizeof *writer);
    if (writer != NULL)
        *writer = (struct json_writer){.arena = arena, .style = *style, .out = {.arena = arena}};
    return writer;
}

static void put(struct json_writer *writer, const char *bytes, size_t length)
{
    buffer_put(&writer->out, bytes, length);
}

static void put_string(struct json_writer *writer, const char *string)
{
    put(writer, string, strlen(string));
}

static void put_new_line(struct json_writer *writer)
{
    if (writer->style.indent == 0)
        return;
    put(writer, "\n", 1);
    for (size_t i = 0; i < writer->style.margin + writer->depth * writer->style.indent; i++)
        put(writer, " ", 1);
}

/* What stands before a value or a key. */
static void begin_item(struct json_writer *writer)
{
    if (writer->is_after_key) {
        writer->is_after_key = false;
        return;
    }
    if (writer->depth == 0 || writer->out.failed)
        return;
    unsigned char *has_items = &writer->has_items[writer->depth - 1];
    if (*has_items)
        put(writer, ",", 1);
    *has_items = 1;
    put_new_line(writer);
}

static void open_level(struct json_writer *writer, const char *bracket)
{
    begin_item(writer);
    put(writer, bracket, 1);
    unsigned char *levels =
        arena_grow(writer->arena, writer->has_items, writer->depth, &writer->depth_capacity, 1);
    writer->out.failed |= levels == NULL;
    if (writer->out.failed)
        return;
    writer->has_items = levels;
    writer->has_items[writer->depth++] = 0;
}

static void close_level(struct json_writer *writer, const char *bracket)
{
    if (writer->out.failed)
        return;
    assert(writer->depth > 0 && !writer->is_after_key);
    if (writer->has_items[--writer->depth])
        put_new_line(writer);
    put(writer, bracket, 1);
}

void json_write_object_begin(struct json_writer *writer)
{
    open_level(writer, "{");
}

void json_write_object_end(struct json_writer *writer)
{
    close_level(writer, "}");
}

void json_write_array_begin(struct json_writer *writer)
{
    open_level(writer, "[");
}

void json_write_array_end(struct json_writer *writer)
{
    close_level(writer, "]");
}

static void put_unit(struct json_writer *writer, uint32_t unit)
{
    char buffer[16];
    snprintf(buffer, sizeof buffer, "\\u%04" PRIx32, unit);
    put(writer, buffer, 6);
}

/* One character that may not stand for itself: as Python's json escapes it. */
static void put_escaped(struct json_writer *writer, uint32_t code_point)
{
    static const char characters[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    const char *place =
        code_point == 0 || code_point > 0x7F ? NULL : strchr(characters, (int)code_point);
    if (place != NULL) {
        put(writer, (char[]){'\\', letters[place - characters]}, 2);
    } else if (code_point < 0x10000) {
        put_unit(writer, code_point);
    } else {
        put_unit(writer, 0xD800 + ((code_point - 0x10000) >> 10));
        put_unit(writer, 0xDC00 + ((code_point - 0x10000) & 0x3FF));
    }
}

static bool must_escape(const struct json_writer *writer, uint32_t code_point)
{
    return code_point < 0x20 || code_point == '"' || code_point == '\\' ||
           (writer->style.is_ascii && code_point >= 0x7F);
}

static void put_quoted(struct json_writer *writer, struct text text)
{
    put(writer, "\"", 1);
    size_t plain = 0; /* where the run of characters that stand for themselves begins */
    for (size_t i = 0, length; i < text.length; i += length) {
        uint32_t code_point = 0xFFFD;
        length = text_decode(text_from(text, i), &code_point);
        bool is_surrogate = false;
        if (length == 0) {
            length = text_decode_surrogate(text_from(text, i), &code_point);
            is_surrogate = length > 0;
        }
        bool is_invalid = length == 0;
        if (!is_invalid && !is_surrogate && !must_escape(writer, code_point))
            continue;
        put(writer, text.bytes + plain, i - plain);
        length = is_invalid ? 1 : length;
        plain = i + length;
        if (is_invalid && !writer->style.is_ascii)
            put(writer, "\xEF\xBF\xBD", 3);
        else
            put_escaped(writer, code_point);
    }
    put(writer, text.bytes + plain, text.length - plain);
    put(writer, "\"", 1);
}

void json_write_key(struct json_writer *writer, struct text key)
{
    assert(writer->out.failed || !writer->is_after_key);
    begin_item(writer);
    put_quoted(writer, key);
    put_string(writer, writer->style.indent == 0 ? ":" : ": ");
    writer->is_after_key = true;
}

void json_write_text(struct json_writer *writer, struct text text)
{
    begin_item(writer);
    put_quoted(writer, text);
}

void json_write_string(struct json_writer *writer, const char *string)
{
    json_write_text(writer, text_of(string));
}

void json_write_raw(struct json_writer *writer, struct text spelling)
{
    begin_item(writer);
    put(writer, spelling.bytes, spelling.length);
}

void json_write_u64(struct json_writer *writer, uint64_t number)
{
    char buffer[32];
    snprintf(buffer, sizeof buffer, "%" PRIu64, number);
    json_write_raw(writer, text_of(buffer));
}

void json_write_i64(struct json_writer *writer, int64_t number)
{
    char buffer[32];
    snprintf(buffer, sizeof buffer, "%" PRId64, number);
    json_write_raw(writer, text_of(buffer));
}

void json_write_bool(struct json_writer *writer, bool value)
{
    json_write_raw(writer, text_of(value ? "true" : "false"));
}

void json_write_null(struct json_writer *writer)
{
    json_write_raw(writer, TEXT_LITERAL("null"));
}

void json_write_double(struct json_writer *writer, double number)
{
    char buffer[JSON_DOUBLE_MAX];
    const char *spelled = json_double_repr(buffer, number);
    if (isfinite(number) || !writer->style.python_floats) {
        json_write_raw(writer, text_of(spelled));
        return;
    }
    json_write_object_begin(writer);
    json_write_key(writer, TEXT_LITERAL("__float__"));
    json_write_string(writer, spelled);
    json_write_object_end(writer);
}

static void write_number(struct json_writer *writer, const struct json *value)
{
    if (!writer->style.python_floats)
        json_write_raw(writer, value->text);
    else if (!value->is_integer)
        json_write_double(writer, value->number);
    else if (text_is(value->text, "-0"))
        json_write_raw(writer, TEXT_LITERAL("0")); /* Python's integers have one zero */
    else
        json_write_raw(writer, value->text);
}

static int compare_members(const void *a, const void *b)
{
    const struct json_member *left = *(const struct json_member *const *)a;
    const struct json_member *right = *(const struct json_member *const *)b;
    return text_compare(left->key, right->key); /* UTF-8 sorts by bytes as by code points */
}

/* The members in the order of their keys, or NULL when out of memory. */
static const struct json_member *const *sort_members(
    struct json_writer *writer, const struct json *object)
{
    if (object->sorted != NULL)
        return object->sorted;
    const struct json_member **sorted =
        arena_array(writer->arena, object->count, sizeof(const struct json_member *));
    if (sorted == NULL)
        return NULL;
    for (size_t i = 0; i < object->count; i++)
        sorted[i] = &object->members[i];
    qsort(sorted, object->count, sizeof sorted[0], compare_members);
    return sorted;
}

static void write_object(struct json_writer *writer, const struct json *value)
{
    const struct json_member *const *sorted = NULL;
    if (writer->style.sort_keys) {
        sorted = sort_members(writer, value);
        writer->out.failed |= sorted == NULL;
        if (sorted == NULL)
            return;
    }
    json_write_object_begin(writer);
    for (size_t i = 0; i < value->count; i++) {
        const struct json_member *member = sorted == NULL ? &value->members[i] : sorted[i];
        json_write_key(writer, member->key);
        json_write_value(writer, &member->value);
    }
    json_write_object_end(writer);
}

void json_write_value(struct json_writer *writer, const struct json *value)
{
    switch (value->kind) {
    case JSON_NULL:
        json_write_null(writer);
        break;
    case JSON_BOOL:
        json_write_bool(writer, value->boolean);
        break;
    case JSON_NUMBER:
        write_number(writer, value);
        break;
    case JSON_STRING:
        json_write_text(writer, value->text);
        break;
    case JSON_ARRAY:
        json_write_array_begin(writer);
        for (size_t i = 0; i < value->count; i++)
            json_write_value(writer, &value->items[i]);
        json_write_array_end(writer);
        break;
    case JSON_OBJECT:
        write_object(writer, value);
        break;
    }
}

void json_member_object_begin(struct json_writer *writer, const char *key)
{
    json_write_key(writer, text_of(key));
    json_write_object_begin(writer);
}

void json_member_array_begin(struct json_writer *writer, const char *key)
{
    json_write_key(writer, text_of(key));
    json_write_array_begin(writer);
}

void json_member_text(struct json_writer *writer, const char *key, struct text text)
{
    json_write_key(writer, text_of(key));
    json_write_text(writer, text);
}

void json_member_string(struct json_writer *writer, const char *key, const char *string)
{
    if (string == NULL)
        return;
    json_write_key(writer, text_of(key));
    json_write_string(writer, string);
}

void json_member_u64(struct json_writer *writer, const char *key, uint64_t number)
{
    json_write_key(writer, text_of(key));
    json_write_u64(writer, number);
}

void json_member_double(struct json_writer *writer, const char *key, double number)
{
    json_write_key(writer, text_of(key));
    json_write_double(writer, number);
}

void json_member_bool(struct json_writer *writer, const char *key, bool value)
{
    json_write_key(writer, text_of(key));
    json_write_bool(writer, value);
}

struct error *json_writer_finish(struct json_writer *writer, struct text *out)
{
    assert(writer->out.failed || (writer->depth == 0 && !writer->is_after_key));
    return buffer_text(&writer->out, out);
}

/* ---- doubles ---- */

static bool reads_back(const char *spelling, double number)
{
    double again = strtod(spelling, NULL);
    return memcmp(&again, &number, sizeof number) == 0;
}

/* Adds one unit in the last of the digits "d.ddde-xx", in place. False when all of them are 9. */
static bool next_digits(char *spelling)
{
    for (char *c = strchr(spelling, 'e') - 1; c >= spelling; c--) {
        if (*c == '.')
            continue;
        if (*c != '9') {
            (*c)++;
            return true;
        }
        *c = '0';
    }
    return false;
}

/* The shortest "d.ddde-xx" of a positive number that reads back. The nearest spelling of a length
 * is the one to try; only at a power of two, where doubles lie wider above than below, the one
 * above it may read back when the nearest does not (2^-44 is 5.684341886080802e-14). */
static void shortest_digits(char buffer[JSON_DOUBLE_MAX], double number)
{
    for (int digits = 0; digits < 17; digits++) {
        snprintf(buffer, JSON_DOUBLE_MAX, "%.*e", digits, number);
        if (reads_back(buffer, number) || (next_digits(buffer) && reads_back(buffer, number)))
            return;
    }
}

/* CPython's float_repr_style 'r': fixed for exponents -4 to 15, else with at least two of them. */
const char *json_double_repr(char buffer[JSON_DOUBLE_MAX], double number)
{
    if (isnan(number) || isinf(number)) {
        snprintf(buffer, JSON_DOUBLE_MAX, "%s",
            isnan(number) ? "NaN"
            : number > 0  ? "Infinity"
                          : "-Infinity");
        return buffer;
    }
    char scientific[JSON_DOUBLE_MAX], digits[JSON_DOUBLE_MAX];
    const char *sign = signbit(number) ? "-" : "";
    shortest_digits(scientific, fabs(number));
    char *mark = strchr(scientific, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);
    *mark = '\0';
    int count = 0;
    for (const char *c = scientific; *c != '\0'; c++)
        if (*c != '.')
            digits[count++] = *c;
    digits[count] = '\0';
    if (exponent < -4 || exponent >= 16)
        snprintf(buffer, JSON_DOUBLE_MAX, "%s%c%s%.16se%+03d", sign, digits[0],
            count > 1 ? "." : "", digits + 1, exponent);
    else if (exponent < 0)
        snprintf(buffer, JSON_DOUBLE_MAX, "%s0.%.*s%.17s", sign, -exponent - 1, "000", digits);
    else if (exponent + 1 >= count)
        snprintf(buffer, JSON_DOUBLE_MAX, "%s%.17s%.*s.0", sign, digits, exponent + 1 - count,
            "0000000000000000");
    else
        snprintf(buffer, JSON_DOUBLE_MAX, "%s%.*s.%.16s", sign, exponent + 1, digits,
            digits + exponent + 1);
    return buffer;
}
