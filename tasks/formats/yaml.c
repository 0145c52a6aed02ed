/* yaml.c - a line-wise reader and PyYAML's emitter (yaml.h).
 *
 * The reader turns "- " before a nested node into two spaces and goes on at the new indentation, so
 * lists and maps need no more than a recursion over lines. The writer follows emitter.py of PyYAML
 * 6 for block style, width 80 and allow_unicode: its three scalar styles, their choice and folding.
 */
#include "tasks/formats/yaml.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json_write.h"

enum {
    WIDTH = 80,
    INDENT = 2,
    SIMPLE_KEY_BYTES = 128 - 5, /* of "!!str" */
    NUMBER_BYTES_MAX = 300,
    KEYS_MAX = 4096, /* of one map: they are searched one by one */
};

/* ---- trees ---- */

bool yaml_is_null(const struct yaml *value)
{
    return value->kind == YAML_OTHER && text_is(value->text, "null");
}

struct yaml yaml_string(const char *string)
{
    return (struct yaml){.kind = YAML_STRING, .text = text_of(string)};
}

struct yaml *yaml_get(struct yaml *map, const char *key)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->keys[i].kind == YAML_STRING && text_is(map->keys[i].text, key))
            return &map->values[i];
    return NULL;
}

static struct error *add(
    struct arena *arena, struct yaml *node, const struct yaml *key, const struct yaml *value)
{
    if (node->count == node->capacity) {
        size_t capacity = node->capacity == 0 ? 8 : 2 * node->capacity;
        struct yaml *keys = arena_array(arena, capacity, sizeof *keys);
        struct yaml *values = arena_array(arena, capacity, sizeof *values);
        if (keys == NULL || values == NULL)
            return error_memory();
        if (node->count > 0) {
            memcpy(keys, node->keys, node->count * sizeof *keys);
            memcpy(values, node->values, node->count * sizeof *values);
        }
        node->keys = keys;
        node->values = values;
        node->capacity = capacity;
    }
    if (key != NULL)
        node->keys[node->count] = *key;
    node->values[node->count++] = *value;
    return NULL;
}

/* As a Python dict is filled: the last of equal keys counts, at the first one's place. */
static struct error *put(
    struct arena *arena, struct yaml *map, const struct yaml *key, const struct yaml *value)
{
    for (size_t i = 0; i < map->count; i++) {
        if (map->keys[i].kind == key->kind && text_equal(map->keys[i].text, key->text)) {
            map->values[i] = *value;
            return NULL;
        }
    }
    return add(arena, map, key, value);
}

struct error *yaml_set(struct arena *arena, struct yaml *map, const char *key, struct yaml value)
{
    struct yaml string = yaml_string(key);
    return put(arena, map, &string, &value);
}

struct error *yaml_append(struct arena *arena, struct yaml *list, struct yaml value)
{
    return add(arena, list, NULL, &value);
}

/* ---- plain scalars ---- */

static bool is_one_of(struct text text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (text_is(text, *words))
            return true;
    return false;
}

static const char *const trues[] = {
    "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", NULL};
static const char *const falses[] = {
    "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF", NULL};
static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
static const char *const odd_words[] = {"<<", "=", ".inf", ".Inf", ".INF", "+.inf", "+.Inf",
    "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN", NULL};

static size_t skip(struct text text, size_t at, const char *set)
{
    while (at < text.length && text.bytes[at] != '\0' && strchr(set, text.bytes[at]) != NULL)
        at++;
    return at;
}

static bool at(struct text text, size_t index, char c)
{
    return index < text.length && text.bytes[index] == c;
}

/* ":[0-5]?[0-9]" once or more, from `*position`. */
static bool skip_sixties(struct text text, size_t *position)
{
    size_t i = *position, count = 0;
    while (at(text, i, ':') && i + 1 < text.length && char_is_digit(text.bytes[i + 1])) {
        bool is_pair =
            text.bytes[i + 1] <= '5' && i + 2 < text.length && char_is_digit(text.bytes[i + 2]);
        i += is_pair ? 3 : 2;
        count++;
    }
    *position = i;
    return count > 0;
}

static bool is_integer(struct text text)
{
    static const char digits[] = "0123456789_";
    size_t i = at(text, 0, '-') || at(text, 0, '+');
    if (i == text.length || !char_is_digit(text.bytes[i]))
        return false;
    if (text.bytes[i] == '0') {
        size_t next = i + 1;
        if (next == text.length)
            return true;
        if (text.bytes[next] == 'b')
            return next + 1 < text.length && skip(text, next + 1, "01_") == text.length;
        if (text.bytes[next] == 'x')
            return next + 1 < text.length &&
                   skip(text, next + 1, "0123456789abcdefABCDEF_") == text.length;
        return skip(text, next, "01234567_") == text.length;
    }
    i = skip(text, i, digits);
    return i == text.length || (skip_sixties(text, &i) && i == text.length);
}

static bool skip_exponent(struct text text, size_t *position)
{
    size_t i = *position;
    if (i == text.length)
        return true;
    if (!at(text, i, 'e') && !at(text, i, 'E'))
        return false;
    i++;
    if (!at(text, i, '-') && !at(text, i, '+'))
        return false;
    size_t end = skip(text, i + 1, "0123456789");
    *position = end;
    return end > i + 1 && end == text.length;
}

static bool is_float(struct text text)
{
    static const char digits[] = "0123456789_";
    size_t sign = at(text, 0, '-') || at(text, 0, '+'), i = sign;
    if (at(text, 0, '.') && text.length > 1 && char_is_digit(text.bytes[1])) {
        i = skip(text, 1, digits);
        return skip_exponent(text, &i);
    }
    if (i == text.length || !char_is_digit(text.bytes[i]))
        return false;
    i = skip(text, i, digits);
    if (at(text, i, ':'))
        return skip_sixties(text, &i) && at(text, i, '.') &&
               skip(text, i + 1, digits) == text.length;
    if (!at(text, i, '.'))
        return false;
    i = skip(text, i + 1, digits);
    return skip_exponent(text, &i);
}

/* "dddd-dd-dd" against a shape where 0 stands for a digit. */
static bool has_shape(struct text text, const char *shape)
{
    for (size_t i = 0; shape[i] != '\0'; i++) {
        if (i == text.length ||
            (shape[i] == '0' ? !char_is_digit(text.bytes[i]) : text.bytes[i] != shape[i]))
            return false;
    }
    return true;
}

static bool is_date(struct text text)
{
    return text.length == 10 && has_shape(text, "0000-00-00");
}

/* "2001-12-14t21:59:43.10-05:00" and its kin. */
static bool is_time(struct text text)
{
    if (!has_shape(text, "0000-"))
        return false;
    size_t i = 5, end;
    for (int part = 0; part < 2; part++) { /* -month-day */
        end = skip(text, i, "0123456789");
        if (end == i || end > i + 2 || (part == 0 && !at(text, end, '-')))
            return false;
        i = end + (part == 0);
    }
    size_t gap = skip(text, i, " \t");
    if (gap == i && (at(text, i, 'T') || at(text, i, 't')))
        gap++;
    end = skip(text, gap, "0123456789");
    if (gap == i || end == gap || end > gap + 2 || !has_shape(text_from(text, end), ":00:00"))
        return false;
    i = end + 6;
    if (at(text, i, '.'))
        i = skip(text, i + 1, "0123456789");
    i = skip(text, i, " \t");
    if (i == text.length)
        return true;
    if (at(text, i, 'Z'))
        return i + 1 == text.length;
    if (!at(text, i, '+') && !at(text, i, '-'))
        return false;
    end = skip(text, i + 1, "0123456789");
    if (end == i + 1 || end > i + 3)
        return false;
    return end == text.length || (text.length == end + 3 && has_shape(text_from(text, end), ":00"));
}

/* Whether a plain scalar with this text would be no string. */
static bool is_special(struct text text)
{
    return is_one_of(text, nulls) || is_one_of(text, trues) || is_one_of(text, falses) ||
           is_one_of(text, odd_words) || is_integer(text) || is_float(text) || is_date(text) ||
           is_time(text);
}

/* Only integers that are spelled as they would be written. */
static bool is_canonical_integer(struct text text)
{
    size_t i = at(text, 0, '-');
    bool is_zero = at(text, i, '0');
    return skip(text, i, "0123456789") == text.length && (!is_zero || text.length == 1);
}

static struct error *spell_float(struct arena *arena, struct text text, struct yaml *out)
{
    char digits[NUMBER_BYTES_MAX + 1], spelled[JSON_DOUBLE_MAX];
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++)
        if (text.bytes[i] != '_')
            digits[length++] = text.bytes[i];
    digits[length] = '\0';
    double number = strtod(digits, NULL);
    if (!isfinite(number)) {
        out->text = text_of(number > 0 ? ".inf" : "-.inf");
        return NULL;
    }
    json_double_repr(spelled, number);
    const char *exponent = strchr(spelled, 'e');
    bool needs_point = exponent != NULL && strchr(spelled, '.') == NULL;
    char *made = needs_point
                     ? arena_format(arena, "%.*s.0%s", (int)(exponent - spelled), spelled, exponent)
                     : arena_format(arena, "%s", spelled);
    TRY(memory_check(made));
    out->text = text_of(made);
    return NULL;
}

/* False in `*is_understood` for what is neither a string nor has one obvious spelling. */
static struct error *resolve(
    struct arena *arena, struct text text, struct yaml *out, bool *is_understood)
{
    *is_understood = true;
    *out = (struct yaml){.kind = YAML_OTHER, .text = text};
    if (is_one_of(text, nulls)) {
        out->text = text_of("null");
    } else if (is_one_of(text, trues)) {
        out->text = text_of("true");
    } else if (is_one_of(text, falses)) {
        out->text = text_of("false");
    } else if (is_date(text) || (is_integer(text) && is_canonical_integer(text))) {
        return NULL;
    } else if (is_float(text) && !text_contains(text, ":") && text.length <= NUMBER_BYTES_MAX) {
        return spell_float(arena, text, out);
    } else if (is_special(text)) {
        *is_understood = false;
    } else {
        out->kind = YAML_STRING;
    }
    return NULL;
}

/* ---- reading ---- */

struct line {
    size_t indent;
    struct text content; /* without indentation and trailing blanks */
    struct text whole;
};

struct reader {
    struct arena *arena;
    struct line *lines;
    size_t count, position;
    unsigned depth;
    bool is_odd;        /* met something that is not understood: stop */
    bool is_open_quote; /* namely a quoted scalar of several lines */
};

static bool is_blank(const struct line *line)
{
    return line->content.length == 0 || line->content.bytes[0] == '#';
}

static void skip_blank(struct reader *reader)
{
    while (reader->position < reader->count && is_blank(&reader->lines[reader->position]))
        reader->position++;
}

/* The line at hand, or NULL at the end. */
static struct line *current(struct reader *reader)
{
    skip_blank(reader);
    return reader->position < reader->count ? &reader->lines[reader->position] : NULL;
}

static bool is_item(struct text content)
{
    return at(content, 0, '-') && (content.length == 1 || content.bytes[1] == ' ');
}

/* A plain scalar may begin here (in block context). */
static bool begins_plain(struct text text)
{
    if (text.length == 0 || strchr(",[]{}#&*!|>'\"%@`", text.bytes[0]) != NULL)
        return false;
    return strchr("-?:", text.bytes[0]) == NULL || (text.length > 1 && text.bytes[1] != ' ');
}

/* Where a plain scalar ends: before ": ", ":" at the end, or " #". */
static size_t plain_end(struct text text)
{
    for (size_t i = 0; i < text.length; i++) {
        bool is_last = i + 1 == text.length;
        if (text.bytes[i] == ':' &&
            (is_last || text.bytes[i + 1] == ' ' || text.bytes[i + 1] == '\t'))
            return i;
        if (text.bytes[i] == '#' && i > 0 && text.bytes[i - 1] == ' ')
            return i;
    }
    return text.length;
}

/* Nothing but a comment may follow a value. */
static bool is_rest(struct text rest)
{
    struct text trimmed = text_trim(rest, " ");
    return trimmed.length == 0 || (trimmed.bytes[0] == '#' && rest.bytes[0] == ' ');
}

static bool read_hex(struct text text, size_t begin, size_t digits, uint32_t *out)
{
    uint32_t code = 0;
    if (digits > text.length - begin)
        return false;
    for (size_t i = begin; i < begin + digits; i++) {
        int value = char_hex_value(text.bytes[i]);
        if (value < 0)
            return false;
        code = code << 4 | (uint32_t)value;
    }
    *out = code;
    return code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
}

/* After a backslash: the escape's character; `*position` goes past it. */
static bool read_escape(struct text text, size_t *position, uint32_t *code)
{
    static const char letters[] = "0abt\tnvfre \"/\\N_LP";
    static const uint32_t codes[] = {
        0, 7, 8, 9, 9, 10, 11, 12, 13, 27, ' ', '"', '/', '\\', 0x85, 0xA0, 0x2028, 0x2029};
    if (*position == text.length)
        return false;
    char letter = text.bytes[(*position)++];
    size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    if (digits > 0) {
        if (!read_hex(text, *position, digits, code))
            return false;
        *position += digits;
        return true;
    }
    const char *place = letter == '\0' ? NULL : strchr(letters, letter);
    if (place == NULL)
        return false;
    *code = codes[place - letters];
    return true;
}

/* A quoted scalar at the text's beginning; `*end` is behind its closing quote. */
static struct error *read_quoted(
    struct reader *reader, struct text text, struct yaml *out, size_t *end)
{
    struct buffer buffer = {.arena = reader->arena};
    char quote = text.bytes[0];
    size_t i = 1;
    for (;;) {
        if (i == text.length) { /* goes on in the next line */
            reader->is_odd = reader->is_open_quote = true;
            return NULL;
        }
        if (text.bytes[i] == quote) {
            if (quote == '"' || !at(text, i + 1, quote))
                break;
            buffer_put(&buffer, "'", 1);
            i += 2;
        } else if (text.bytes[i] == '\\' && quote == '"') {
            uint32_t code = 0;
            i++;
            if (!read_escape(text, &i, &code)) { /* perhaps the line break's */
                reader->is_odd = reader->is_open_quote = true;
                return NULL;
            }
            buffer_put_code_point(&buffer, code);
        } else {
            buffer_put(&buffer, text.bytes + i++, 1);
        }
    }
    *out = (struct yaml){.kind = YAML_STRING};
    TRY(buffer_text(&buffer, &out->text));
    *end = i + 1;
    return NULL;
}

/* ---- flow collections ---- */

/* A key that is written in front of its colon, without "? ". */
static bool is_simple_key(const struct yaml *key)
{
    return key->text.length > 0 && key->text.length < SIMPLE_KEY_BYTES &&
           memchr(key->text.bytes, '\n', key->text.length) == NULL;
}

struct flow {
    struct reader *reader;
    struct text text;
    size_t position;
};

static void skip_spaces(struct flow *flow)
{
    while (at(flow->text, flow->position, ' '))
        flow->position++;
}

static bool take(struct flow *flow, char c)
{
    skip_spaces(flow);
    if (!at(flow->text, flow->position, c))
        return false;
    flow->position++;
    return true;
}

static struct error *read_flow_scalar(struct flow *flow, struct yaml *out)
{
    struct text rest = text_cut(flow->text, flow->position, flow->text.length);
    size_t end = 0;
    if (at(rest, 0, '"') || at(rest, 0, '\'')) {
        TRY(read_quoted(flow->reader, rest, out, &end));
        flow->position += end;
        return NULL;
    }
    bool is_understood = begins_plain(rest);
    while (is_understood && end < rest.length && strchr(",?[]{}", rest.bytes[end]) == NULL) {
        bool is_colon = rest.bytes[end] == ':';
        if (is_colon && (end + 1 == rest.length || strchr(" ,[]{}", rest.bytes[end + 1]) != NULL))
            break;
        if (rest.bytes[end] == '#' && end > 0 && rest.bytes[end - 1] == ' ')
            is_understood = false;
        end++;
    }
    flow->position += end;
    is_understood &= end > 0 && !at(rest, end, '?');
    if (is_understood)
        TRY(resolve(
            flow->reader->arena, text_trim(text_cut(rest, 0, end), " "), out, &is_understood));
    flow->reader->is_odd |= !is_understood;
    return NULL;
}

static struct error *read_flow(struct flow *flow, struct yaml *out);

static struct error *read_flow_list(struct flow *flow, struct yaml *out)
{
    *out = (struct yaml){.kind = YAML_LIST};
    while (!take(flow, ']')) {
        struct yaml item;
        TRY(read_flow(flow, &item));
        if (flow->reader->is_odd)
            return NULL;
        TRY(add(flow->reader->arena, out, NULL, &item));
        if (!take(flow, ',')) {
            flow->reader->is_odd |= !take(flow, ']');
            return NULL;
        }
    }
    return NULL;
}

static struct error *read_flow_map(struct flow *flow, struct yaml *out)
{
    *out = (struct yaml){.kind = YAML_MAP};
    while (!take(flow, '}')) {
        struct yaml key, value;
        TRY(read_flow_scalar(flow, &key));
        flow->reader->is_odd |= !flow->reader->is_odd && !is_simple_key(&key);
        if (flow->reader->is_odd || out->count == KEYS_MAX || !take(flow, ':') ||
            !at(flow->text, flow->position, ' ')) {
            flow->reader->is_odd = true;
            return NULL;
        }
        TRY(read_flow(flow, &value));
        if (flow->reader->is_odd)
            return NULL;
        TRY(put(flow->reader->arena, out, &key, &value));
        if (!take(flow, ',')) {
            flow->reader->is_odd |= !take(flow, '}');
            return NULL;
        }
    }
    return NULL;
}

static struct error *read_flow(struct flow *flow, struct yaml *out)
{
    struct reader *reader = flow->reader;
    skip_spaces(flow);
    if (reader->depth == YAML_DEPTH_MAX) {
        reader->is_odd = true;
        return NULL;
    }
    reader->depth++;
    struct error *error = take(flow, '[')   ? read_flow_list(flow, out)
                          : take(flow, '{') ? read_flow_map(flow, out)
                                            : read_flow_scalar(flow, out);
    reader->depth--;
    return error;
}

/* A flow collection at the text's beginning; the lines it runs over are joined by spaces. */
static struct error *read_flow_value(struct reader *reader, struct text text, struct yaml *out)
{
    struct buffer buffer = {.arena = reader->arena};
    buffer_put(&buffer, text.bytes, text.length);
    size_t ahead = reader->position;
    for (;;) {
        struct flow flow = {.reader = reader};
        TRY(buffer_text(&buffer, &flow.text));
        reader->is_odd = false;
        TRY(read_flow(&flow, out));
        if (!reader->is_odd) {
            reader->is_odd = !is_rest(text_cut(flow.text, flow.position, flow.text.length));
            reader->position = ahead;
            return NULL;
        }
        if (reader->is_open_quote || ahead == reader->count || is_blank(&reader->lines[ahead]) ||
            text_contains(text, " #") || ahead - reader->position > 200)
            return NULL; /* odd */
        text = reader->lines[ahead++].content;
        buffer_put(&buffer, " ", 1);
        buffer_put(&buffer, text.bytes, text.length);
    }
}

/* ---- block collections ---- */

static struct error *read_block(struct reader *reader, size_t indent_min, struct yaml *out);

/* What stands in one line behind "key: ", or alone; the reader is at the next line already. */
static struct error *read_inline(struct reader *reader, struct text text, struct yaml *out)
{
    if (at(text, 0, '[') || at(text, 0, '{'))
        return read_flow_value(reader, text, out);
    if (at(text, 0, '"') || at(text, 0, '\'')) {
        size_t end = 0;
        TRY(read_quoted(reader, text, out, &end));
        reader->is_odd |= !reader->is_odd && !is_rest(text_cut(text, end, text.length));
        return NULL;
    }
    size_t end = plain_end(text);
    bool is_understood = begins_plain(text) && !at(text, end, ':');
    if (is_understood)
        TRY(resolve(reader->arena, text_trim(text_cut(text, 0, end), " "), out, &is_understood));
    reader->is_odd |= !is_understood;
    return NULL;
}

/* Cuts "key: rest" apart. False when the content does not begin with a key. */
static struct error *read_key(
    struct reader *reader, struct text content, struct yaml *key, struct text *rest, bool *is_key)
{
    size_t end = 0;
    *is_key = false;
    if (at(content, 0, '"') || at(content, 0, '\'')) {
        bool was_odd = reader->is_odd;
        TRY(read_quoted(reader, content, key, &end));
        if (reader->is_odd) {
            reader->is_odd = was_odd; /* no key, then; what else it is shows later */
            reader->is_open_quote = false;
            return NULL;
        }
        end = skip(content, end, " ");
        if (!at(content, end, ':') || (end + 1 < content.length && content.bytes[end + 1] != ' '))
            return NULL;
    } else {
        end = plain_end(content);
        if (!begins_plain(content) || !at(content, end, ':'))
            return NULL;
        bool is_understood;
        TRY(resolve(reader->arena, text_trim(text_cut(content, 0, end), " "), key, &is_understood));
        reader->is_odd |= !is_understood;
    }
    reader->is_odd |= !is_simple_key(key);
    *is_key = true;
    *rest = text_trim(text_cut(content, end + 1, content.length), " ");
    return NULL;
}

/* The value of a key whose line says nothing more. */
static struct error *read_below(struct reader *reader, size_t indent, struct yaml *out)
{
    const struct line *line = current(reader);
    bool is_list_beside = line != NULL && line->indent == indent && is_item(line->content);
    return read_block(reader, is_list_beside ? indent : indent + 1, out);
}

static struct error *read_map(struct reader *reader, size_t indent, struct yaml *out)
{
    *out = (struct yaml){.kind = YAML_MAP};
    for (const struct line *line = current(reader); line != NULL && !reader->is_odd;
         line = current(reader)) {
        if (line->indent < indent)
            break;
        struct yaml key, value;
        struct text rest;
        bool is_key = false;
        if (line->indent == indent)
            TRY(read_key(reader, line->content, &key, &rest, &is_key));
        if (!is_key || reader->is_odd || out->count == KEYS_MAX) {
            reader->is_odd = true;
            return NULL;
        }
        reader->position++;
        if (rest.length == 0 || rest.bytes[0] == '#')
            TRY(read_below(reader, indent, &value));
        else
            TRY(read_inline(reader, rest, &value));
        if (!reader->is_odd)
            TRY(put(reader->arena, out, &key, &value));
    }
    return NULL;
}

static struct error *read_list(struct reader *reader, size_t indent, struct yaml *out)
{
    *out = (struct yaml){.kind = YAML_LIST};
    for (struct line *line = current(reader); line != NULL && !reader->is_odd;
         line = current(reader)) {
        if (line->indent < indent || (line->indent == indent && !is_item(line->content)))
            break; /* a list may lie in its map's own column */
        if (line->indent > indent) {
            reader->is_odd = true;
            return NULL;
        }
        struct yaml item;
        size_t after = skip(line->content, 1, " ");
        line->indent += after;
        line->content = text_cut(line->content, after, line->content.length);
        if (is_blank(line))
            reader->position++;
        TRY(read_block(reader, indent + 1, &item));
        if (!reader->is_odd)
            TRY(add(reader->arena, out, NULL, &item));
    }
    return NULL;
}

static struct error *read_nested(struct reader *reader, struct line *line, struct yaml *out)
{
    struct yaml key;
    struct text rest;
    bool is_key;
    if (is_item(line->content))
        return read_list(reader, line->indent, out);
    TRY(read_key(reader, line->content, &key, &rest, &is_key));
    if (reader->is_odd)
        return NULL;
    if (is_key)
        return read_map(reader, line->indent, out);
    reader->position++;
    return read_inline(reader, line->content, out);
}

/* The node of the next lines that are indented so far at least; null when there are none. */
static struct error *read_block(struct reader *reader, size_t indent_min, struct yaml *out)
{
    struct line *line = current(reader);
    if (line == NULL || line->indent < indent_min) {
        *out = (struct yaml){.kind = YAML_OTHER, .text = text_of("null")};
        return NULL;
    }
    if (reader->depth == YAML_DEPTH_MAX) {
        reader->is_odd = true;
        return NULL;
    }
    reader->depth++;
    struct error *error = read_nested(reader, line, out);
    reader->depth--;
    return error;
}

/* ---- the top ---- */

/* Tabs, control characters and the rarer line breaks are left to those who know them. */
static bool is_ordinary(struct text text)
{
    for (size_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] < 0x20 || text.bytes[i] == 0x7F)
            return false;
    return text_is_utf8(text) && !text_contains(text, "\xC2\x85") &&
           !text_contains(text, "\xE2\x80\xA8") && !text_contains(text, "\xE2\x80\xA9") &&
           !text_contains(text, "\xEF\xBB\xBF");
}

static struct line make_line(struct text whole)
{
    size_t indent = skip(whole, 0, " "), end = whole.length;
    while (end > indent && (whole.bytes[end - 1] == ' ' || whole.bytes[end - 1] == '\t'))
        end--;
    return (struct line){indent, text_cut(whole, indent, end), whole};
}

static struct error *split_lines(struct arena *arena, struct text text, struct reader *out)
{
    size_t count = 1;
    for (size_t i = 0; i < text.length; i++)
        count += text.bytes[i] == '\n' || text.bytes[i] == '\r';
    struct line *lines = arena_array(arena, count, sizeof *lines);
    TRY(memory_check(lines));
    *out = (struct reader){.arena = arena, .lines = lines};
    for (size_t begin = 0; begin <= text.length;) {
        size_t end = begin;
        while (end < text.length && text.bytes[end] != '\n' && text.bytes[end] != '\r')
            end++;
        lines[out->count++] = make_line(text_cut(text, begin, end));
        bool is_pair = at(text, end, '\r') && at(text, end + 1, '\n');
        begin = end + (is_pair ? 2 : 1);
    }
    return NULL;
}

/* A member's lines as they are, the blank ones at its end left out. */
static struct error *keep_lines(struct reader *reader, size_t begin, size_t end, struct yaml *out)
{
    struct buffer buffer = {.arena = reader->arena};
    while (end > begin && reader->lines[end - 1].content.length == 0)
        end--;
    for (size_t i = begin; i < end; i++) {
        if (i > begin)
            buffer_put(&buffer, "\n", 1);
        buffer_put(&buffer, reader->lines[i].whole.bytes, reader->lines[i].whole.length);
    }
    *out = (struct yaml){.kind = YAML_VERBATIM};
    return buffer_text(&buffer, &out->text);
}

/* Whether a member begins here: what is no key goes on with the one before. */
static struct error *is_member(struct reader *reader, const struct line *line, bool *out)
{
    struct yaml key;
    struct text rest;
    *out = false;
    if (line->indent > 0 || is_blank(line) || is_item(line->content))
        return NULL;
    struct error *error = read_key(reader, line->content, &key, &rest, out);
    reader->is_odd = false; /* that is the member's own affair */
    return error;
}

/* One member of the top-level map, whose lines are `begin` to `end`. */
static struct error *read_member(
    struct reader *whole, size_t begin, size_t end, struct yaml *map, bool *is_understood)
{
    struct yaml key, value;
    struct text rest;
    bool is_key = false;
    struct reader reader = {.arena = whole->arena, .count = end - begin};
    reader.lines = arena_array(whole->arena, reader.count, sizeof *reader.lines);
    TRY(memory_check(reader.lines));
    memcpy(reader.lines, whole->lines + begin, reader.count * sizeof *reader.lines);
    for (size_t i = 0; i < reader.count; i++)
        reader.is_odd |= !is_ordinary(reader.lines[i].whole);
    bool is_ordinary_member = !reader.is_odd;
    reader.is_odd = false;
    TRY(read_key(&reader, reader.lines[0].content, &key, &rest, &is_key));
    *is_understood = is_key && !reader.is_odd && key.kind == YAML_STRING;
    if (!*is_understood)
        return NULL;
    reader.is_odd = !is_ordinary_member;
    struct yaml parsed = {.kind = YAML_MAP};
    if (is_ordinary_member)
        TRY(read_map(&reader, 0, &parsed));
    if (!reader.is_odd && parsed.count == 1)
        value = parsed.values[0];
    else
        TRY(keep_lines(whole, begin, end, &value));
    return put(whole->arena, map, &key, &value);
}

struct error *yaml_parse_map(
    struct arena *arena, struct text text, struct yaml *out, bool *is_understood)
{
    struct reader reader = {.arena = arena};
    struct yaml map = {.kind = YAML_MAP};
    TRY(split_lines(arena, text, &reader));
    *is_understood = true;
    *out = map;
    skip_blank(&reader);
    size_t begin = reader.position;
    if (begin < reader.count)
        TRY(is_member(&reader, &reader.lines[begin], is_understood));
    while (begin < reader.count && *is_understood) {
        size_t end = begin + 1;
        bool is_next = false;
        for (; end < reader.count; end++) {
            TRY(is_member(&reader, &reader.lines[end], &is_next));
            if (is_next)
                break;
        }
        TRY(read_member(&reader, begin, end, &map, is_understood));
        *is_understood &= map.count <= KEYS_MAX;
        begin = end;
    }
    if (*is_understood)
        *out = map;
    return NULL;
}

/* ---- writing ---- */

struct writer {
    struct buffer out;
    const char *line_break;
    size_t column;
    bool is_after_space, is_after_indent; /* PyYAML's whitespace and indention */
};

struct scalar {
    const uint32_t *codes;
    size_t count;
    bool is_plain_allowed, is_single_allowed, is_multiline;
};

static bool is_break(uint32_t code)
{
    return code == '\n' || code == 0x85 || code == 0x2028 || code == 0x2029;
}

static bool is_gap(uint32_t code)
{
    return code == 0 || code == ' ' || code == '\t' || code == '\r' || is_break(code);
}

static bool is_ascii_in(uint32_t code, const char *set)
{
    return code > 0 && code < 0x80 && strchr(set, (int)code) != NULL;
}

static bool is_printable(uint32_t code)
{
    if (code == '\n' || (code >= 0x20 && code <= 0x7E) || code == 0x85)
        return true;
    return ((code >= 0xA0 && code <= 0xD7FF) || (code >= 0xE000 && code <= 0xFFFD) ||
               (code >= 0x10000 && code < 0x10FFFF)) &&
           code != 0xFEFF;
}

/* Indicators that a plain scalar must not have at this place. */
static bool is_indicator(const struct scalar *scalar, size_t i)
{
    uint32_t code = scalar->codes[i];
    bool before_gap = i + 1 >= scalar->count || is_gap(scalar->codes[i + 1]);
    if (i == 0)
        return is_ascii_in(code, "#,[]{}&*!|>'\"%@`") || (is_ascii_in(code, "?:-") && before_gap);
    return (code == ':' && before_gap) || (code == '#' && is_gap(scalar->codes[i - 1]));
}

/* analyze_scalar of emitter.py, for block context. */
static void analyze(struct scalar *scalar)
{
    const uint32_t *codes = scalar->codes;
    size_t count = scalar->count;
    scalar->is_plain_allowed = scalar->is_single_allowed = true;
    if (count == 0)
        return;
    bool starts_document = count >= 3 && codes[0] == codes[1] && codes[1] == codes[2] &&
                           (codes[0] == '-' || codes[0] == '.');
    bool has_indicator = starts_document, has_special = false;
    bool break_space = false, space_break = false;
    for (size_t i = 0; i < count; i++) {
        has_indicator |= is_indicator(scalar, i);
        has_special |= !is_printable(codes[i]);
        scalar->is_multiline |= is_break(codes[i]);
        break_space |= i > 0 && codes[i] == ' ' && is_break(codes[i - 1]);
        space_break |= i > 0 && is_break(codes[i]) && codes[i - 1] == ' ';
    }
    bool has_gap_outside = codes[0] == ' ' || is_break(codes[0]) || codes[count - 1] == ' ' ||
                           is_break(codes[count - 1]);
    scalar->is_single_allowed = !break_space && !space_break && !has_special;
    scalar->is_plain_allowed =
        scalar->is_single_allowed && !has_gap_outside && !scalar->is_multiline && !has_indicator;
}

static void put_bytes(struct writer *writer, const char *bytes)
{
    buffer_put(&writer->out, bytes, strlen(bytes));
    writer->column += strlen(bytes);
}

static void put_codes(struct writer *writer, const struct scalar *scalar, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++)
        buffer_put_code_point(&writer->out, scalar->codes[i]);
    writer->column += end - begin;
}

static void write_indicator(
    struct writer *writer, const char *indicator, bool needs_space, bool keeps_indent)
{
    if (needs_space && !writer->is_after_space)
        put_bytes(writer, " ");
    put_bytes(writer, indicator);
    writer->is_after_space = false;
    writer->is_after_indent &= keeps_indent;
}

static void write_break(struct writer *writer)
{
    buffer_put(&writer->out, writer->line_break, strlen(writer->line_break));
    writer->is_after_space = writer->is_after_indent = true;
    writer->column = 0;
}

static void write_indent(struct writer *writer, size_t indent)
{
    if (!writer->is_after_indent || writer->column > indent ||
        (writer->column == indent && !writer->is_after_space))
        write_break(writer);
    if (writer->column < indent)
        writer->is_after_space = true;
    while (writer->column < indent)
        put_bytes(writer, " ");
}

static void write_plain(
    struct writer *writer, const struct scalar *scalar, size_t indent, bool may_fold)
{
    if (scalar->count == 0)
        return;
    if (!writer->is_after_space)
        put_bytes(writer, " ");
    writer->is_after_space = writer->is_after_indent = false;
    for (size_t i = 0; i < scalar->count;) {
        size_t begin = i;
        bool is_space = scalar->codes[i] == ' ';
        while (i < scalar->count && (scalar->codes[i] == ' ') == is_space)
            i++;
        if (is_space && i == begin + 1 && writer->column > WIDTH && may_fold) {
            write_indent(writer, indent);
            writer->is_after_space = writer->is_after_indent = false;
        } else {
            put_codes(writer, scalar, begin, i);
        }
    }
}

static void write_single(
    struct writer *writer, const struct scalar *scalar, size_t indent, bool may_fold)
{
    const uint32_t *codes = scalar->codes;
    write_indicator(writer, "'", true, false);
    for (size_t i = 0; i < scalar->count;) {
        size_t begin = i;
        if (codes[i] == ' ') {
            while (i < scalar->count && codes[i] == ' ')
                i++;
            if (i == begin + 1 && writer->column > WIDTH && may_fold && begin != 0 &&
                i != scalar->count)
                write_indent(writer, indent);
            else
                put_codes(writer, scalar, begin, i);
        } else if (is_break(codes[i])) {
            if (codes[i] == '\n')
                write_break(writer);
            for (; i < scalar->count && is_break(codes[i]); i++) {
                if (codes[i] != '\n')
                    buffer_put_code_point(&writer->out, codes[i]);
                else
                    buffer_put(&writer->out, writer->line_break, strlen(writer->line_break));
                writer->is_after_space = writer->is_after_indent = true;
                writer->column = 0;
            }
            write_indent(writer, indent);
        } else if (codes[i] == '\'') {
            put_bytes(writer, "''");
            i++;
        } else {
            while (i < scalar->count && codes[i] != ' ' && codes[i] != '\'' && !is_break(codes[i]))
                i++;
            put_codes(writer, scalar, begin, i);
        }
    }
    write_indicator(writer, "'", false, false);
}

static void write_escape(struct writer *writer, uint32_t code)
{
    static const uint32_t codes[] = {
        0, 7, 8, 9, 10, 11, 12, 13, 27, '"', '\\', 0x85, 0xA0, 0x2028, 0x2029};
    static const char letters[] = "0abtnvfre\"\\N_LP";
    static const char digits[] = "0123456789ABCDEF";
    char text[12] = "\\";
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i] == code) {
            text[1] = letters[i];
            put_bytes(writer, text);
            return;
        }
    }
    size_t count = code <= 0xFF ? 2 : code <= 0xFFFF ? 4 : 8;
    text[1] = code <= 0xFF ? 'x' : code <= 0xFFFF ? 'u' : 'U';
    for (size_t i = 0; i < count; i++)
        text[2 + i] = digits[code >> (4 * (count - 1 - i)) & 0xF];
    put_bytes(writer, text);
}

static bool is_raw_in_double(uint32_t code)
{
    if (code == '"' || code == '\\' || code == 0x85 || code == 0x2028 || code == 0x2029 ||
        code == 0xFEFF)
        return false;
    return (code >= 0x20 && code <= 0x7E) || (code >= 0xA0 && code <= 0xD7FF) ||
           (code >= 0xE000 && code <= 0xFFFD);
}

/* `begin` to `end` is what is read but not yet written, as in emitter.py. */
static void write_double(
    struct writer *writer, const struct scalar *scalar, size_t indent, bool may_fold)
{
    const uint32_t *codes = scalar->codes;
    size_t begin = 0, count = scalar->count;
    write_indicator(writer, "\"", true, false);
    for (size_t end = 0; end <= count; end++) {
        if (end == count || !is_raw_in_double(codes[end])) {
            if (begin < end)
                put_codes(writer, scalar, begin, end);
            begin = end;
            if (end < count) {
                write_escape(writer, codes[end]);
                begin = end + 1;
            }
        }
        bool is_inside = end > 0 && end + 1 < count;
        size_t pending = end > begin ? end - begin : 0;
        /* PyYAML adds end - start, which is -1 after an escape */
        size_t column = begin > end ? writer->column - 1 : writer->column + pending;
        if (is_inside && (codes[end] == ' ' || begin >= end) && column > WIDTH && may_fold) {
            put_codes(writer, scalar, begin, begin + pending);
            put_bytes(writer, "\\");
            if (begin < end)
                begin = end;
            write_indent(writer, indent);
            writer->is_after_space = writer->is_after_indent = false;
            if (codes[begin] == ' ')
                put_bytes(writer, "\\");
        }
    }
    write_indicator(writer, "\"", false, false);
}

static struct error *decode(struct arena *arena, struct text text, struct scalar *out)
{
    uint32_t *codes = arena_array(arena, text.length + 1, sizeof *codes);
    TRY(memory_check(codes));
    *out = (struct scalar){.codes = codes};
    for (size_t i = 0, length; i < text.length; i += length) {
        length = text_decode(text_cut(text, i, text.length), &codes[out->count]);
        if (length == 0) { /* never of a text that was parsed */
            codes[out->count] = 0xFFFD;
            length = 1;
        }
        out->count++;
    }
    return NULL;
}

static struct error *write_scalar(
    struct writer *writer, const struct yaml *value, size_t indent, bool is_key)
{
    struct scalar scalar = {0};
    TRY(decode(writer->out.arena, value->text, &scalar));
    analyze(&scalar);
    bool is_implicit = value->kind == YAML_OTHER || !is_special(value->text);
    if (is_implicit && scalar.is_plain_allowed &&
        !(is_key && (scalar.count == 0 || scalar.is_multiline)))
        write_plain(writer, &scalar, indent, !is_key);
    else if (scalar.is_single_allowed && !(is_key && scalar.is_multiline))
        write_single(writer, &scalar, indent, !is_key);
    else
        write_double(writer, &scalar, indent, !is_key);
    return NULL;
}

/* Where a nested node stands decides how far it is indented. */
enum context { IN_NOTHING, IN_LIST, IN_MAP };

static struct error *write_node(
    struct writer *writer, const struct yaml *value, size_t indent, enum context context);

static struct error *write_list(
    struct writer *writer, const struct yaml *list, size_t indent, enum context context)
{
    bool is_beside = context == IN_MAP && !writer->is_after_indent; /* in its key's column */
    size_t inner = is_beside ? indent : indent + INDENT;
    for (size_t i = 0; i < list->count; i++) {
        write_indent(writer, inner);
        write_indicator(writer, "-", true, true);
        TRY(write_node(writer, &list->values[i], inner, IN_LIST));
    }
    return NULL;
}

static struct error *write_members(struct writer *writer, const struct yaml *map, size_t indent)
{
    for (size_t i = 0; i < map->count; i++) {
        write_indent(writer, indent);
        TRY(write_scalar(writer, &map->keys[i], indent + INDENT, true));
        write_indicator(writer, ":", false, false);
        TRY(write_node(writer, &map->values[i], indent, IN_MAP));
    }
    return NULL;
}

static struct error *write_node(
    struct writer *writer, const struct yaml *value, size_t indent, enum context context)
{
    switch (value->kind) {
    case YAML_STRING:
    case YAML_OTHER:
    case YAML_VERBATIM:
        return write_scalar(writer, value, indent + INDENT, false);
    case YAML_LIST:
        if (value->count > 0)
            return write_list(writer, value, indent, context);
        write_indicator(writer, "[", true, false);
        write_indicator(writer, "]", false, false);
        return NULL;
    case YAML_MAP:
        if (value->count > 0)
            return write_members(writer, value, indent + INDENT);
        write_indicator(writer, "{", true, false);
        write_indicator(writer, "}", false, false);
        return NULL;
    }
    return NULL;
}

static void write_verbatim(struct writer *writer, struct text lines)
{
    for (size_t begin = 0; begin < lines.length;) {
        size_t end = begin;
        while (end < lines.length && lines.bytes[end] != '\n')
            end++;
        if (begin > 0)
            write_break(writer);
        buffer_put(&writer->out, lines.bytes + begin, end - begin);
        writer->column = end - begin;
        begin = end + 1;
    }
    writer->is_after_space = writer->is_after_indent = false;
}

struct error *yaml_write_map(
    struct arena *arena, const struct yaml *map, const char *line_break, struct text *out)
{
    struct writer writer = {.out = {.arena = arena},
        .line_break = line_break,
        .is_after_space = true,
        .is_after_indent = true};
    for (size_t i = 0; i < map->count; i++) {
        struct yaml member = {
            .kind = YAML_MAP, .keys = &map->keys[i], .values = &map->values[i], .count = 1};
        if (map->values[i].kind != YAML_VERBATIM) {
            TRY(write_members(&writer, &member, 0));
            continue;
        }
        write_indent(&writer, 0);
        write_verbatim(&writer, map->values[i].text);
    }
    return buffer_text(&writer.out, out);
}
