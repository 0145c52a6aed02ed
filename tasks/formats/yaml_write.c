/* yaml_write.c - PyYAML's emitter (yaml_write.h): emitter.py of PyYAML 6 for block style, width 80
 * and allow_unicode, its three scalar styles, their choice and folding. */
#include "tasks/formats/yaml_write.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "tasks/formats/yaml_scalar.h"

enum {
    WIDTH = 80,
    INDENT = 2,
    SIMPLE_KEY_LENGTH =
        128, /* of a key, its tag and its anchor: a longer one is written as "? key" */
};

/* Values of a node's `anchor`: how often it was seen, then its number, then that and a bit. */
#define NEVER 0u
#define ONCE 1u
#define FIRST_ANCHOR 2u
#define WRITTEN (1u << 31)

struct writer {
    struct buffer out;
    const char *line_break;
    size_t column;
    uint32_t *codes; /* of the scalar at hand */
    size_t codes_capacity;
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

/* The text's characters, until the next call. */
static struct error *decode(struct writer *writer, struct text text, struct scalar *out)
{
    while (writer->codes_capacity < text.length) {
        uint32_t *codes = arena_grow(writer->out.arena, writer->codes, writer->codes_capacity,
            &writer->codes_capacity, sizeof *codes);
        TRY(memory_check(codes));
        writer->codes = codes;
    }
    *out = (struct scalar){.codes = writer->codes};
    for (size_t i = 0, length; i < text.length; i += length) {
        length = text_decode(text_from(text, i), &writer->codes[out->count]);
        if (length == 0) { /* never of a text that was parsed */
            writer->codes[out->count] = 0xFFFD;
            length = 1;
        }
        out->count++;
    }
    return NULL;
}

/* "&id001 " before a node that comes again; true where it did come before: "*id001" is all then. */
static bool write_anchor(struct writer *writer, struct yaml *node)
{
    char text[32];
    if (node->anchor < FIRST_ANCHOR)
        return false;
    bool is_again = node->anchor >= WRITTEN;
    snprintf(text, sizeof text, "%cid%03u", is_again ? '*' : '&',
        (node->anchor & ~WRITTEN) - FIRST_ANCHOR + 1);
    write_indicator(writer, text, true, false);
    node->anchor |= WRITTEN;
    return is_again;
}

static size_t tag_length(enum yaml_kind kind)
{
    switch (kind) {
    case YAML_FLOAT:
        return strlen("!!float");
    case YAML_TIME:
        return strlen("!!timestamp");
    case YAML_NULL:
    case YAML_BOOL:
        return strlen("!!null");
    default:
        return strlen("!!str");
    }
}

static bool is_simple_key(const struct yaml *key, const struct scalar *scalar)
{
    size_t anchor_length = key->anchor < FIRST_ANCHOR ? 0 : strlen("id001");
    return scalar->count > 0 && !scalar->is_multiline &&
           scalar->count + tag_length(key->kind) + anchor_length < SIMPLE_KEY_LENGTH;
}

static void write_scalar(struct writer *writer, const struct yaml *value,
    const struct scalar *scalar, size_t indent, bool is_key)
{
    bool is_implicit = yaml_scalar_kind(value->text) == value->kind;
    if (is_implicit && scalar->is_plain_allowed)
        write_plain(writer, scalar, indent, !is_key);
    else if (scalar->is_single_allowed)
        write_single(writer, scalar, indent, !is_key);
    else
        write_double(writer, scalar, indent, !is_key);
}

/* Where a nested node stands decides how far it is indented. */
enum context { IN_NOTHING, IN_LIST, IN_MAP };

static struct error *write_node(
    struct writer *writer, struct yaml *value, size_t indent, enum context context);

static struct error *write_list(
    struct writer *writer, const struct yaml *list, size_t indent, enum context context)
{
    bool is_beside = context == IN_MAP && !writer->is_after_indent; /* in its key's column */
    size_t inner = is_beside ? indent : indent + INDENT;
    for (size_t i = 0; i < list->count; i++) {
        write_indent(writer, inner);
        write_indicator(writer, "-", true, true);
        TRY(write_node(writer, list->values[i], inner, IN_LIST));
    }
    return NULL;
}

static struct error *write_members(struct writer *writer, const struct yaml *map, size_t indent)
{
    for (size_t i = 0; i < map->count; i++) {
        struct yaml *key = map->keys[i];
        struct scalar scalar = {0};
        TRY(decode(writer, key->text, &scalar));
        analyze(&scalar);
        bool is_simple = key->anchor >= WRITTEN || is_simple_key(key, &scalar);
        write_indent(writer, indent);
        if (!is_simple)
            write_indicator(writer, "?", true, true);
        if (!write_anchor(writer, key))
            write_scalar(writer, key, &scalar, indent + INDENT, is_simple);
        if (!is_simple)
            write_indent(writer, indent);
        write_indicator(writer, ":", !is_simple, !is_simple);
        TRY(write_node(writer, map->values[i], indent, IN_MAP));
    }
    return NULL;
}

static struct error *write_collection(
    struct writer *writer, const struct yaml *value, size_t indent, enum context context)
{
    bool is_list = value->kind == YAML_LIST;
    if (value->count > 0)
        return is_list ? write_list(writer, value, indent, context)
                       : write_members(writer, value, indent + INDENT);
    write_indicator(writer, is_list ? "[" : "{", true, false);
    write_indicator(writer, is_list ? "]" : "}", false, false);
    return NULL;
}

static struct error *write_node(
    struct writer *writer, struct yaml *value, size_t indent, enum context context)
{
    if (write_anchor(writer, value))
        return NULL;
    if (value->kind >= YAML_LIST)
        return write_collection(writer, value, indent, context);
    struct scalar scalar = {0};
    TRY(decode(writer, value->text, &scalar));
    analyze(&scalar);
    write_scalar(writer, value, &scalar, indent + INDENT, false);
    return NULL;
}

/* Numbers those nodes that are there more than once, in the order in which that is seen. Strings,
 * numbers, booleans and null are written again each time. Writing goes the same way, so no deeper.
 */
static struct error *find_anchors(struct yaml *node, unsigned depth, unsigned *next)
{
    if (node->kind != YAML_TIME && node->kind < YAML_LIST)
        return NULL;
    if (node->anchor != NEVER) {
        if (node->anchor == ONCE)
            node->anchor = (*next)++;
        return NULL;
    }
    if (depth >= YAML_DEPTH_MAX && node->kind >= YAML_LIST)
        return error_new(
            ERROR_FORMAT, "must hold no more than %d values in each other", YAML_DEPTH_MAX);
    node->anchor = ONCE;
    for (size_t i = 0; i < node->count; i++) {
        if (node->kind == YAML_MAP)
            TRY(find_anchors(node->keys[i], depth + 1, next));
        TRY(find_anchors(node->values[i], depth + 1, next));
    }
    return NULL;
}

struct error *yaml_write_map(
    struct arena *arena, struct yaml *map, const char *line_break, struct text *out)
{
    struct writer writer = {.out = {.arena = arena},
        .line_break = line_break,
        .is_after_space = true,
        .is_after_indent = true};
    unsigned next = FIRST_ANCHOR;
    TRY(find_anchors(map, 0, &next));
    TRY(write_members(&writer, map, 0));
    return buffer_text(&writer.out, out);
}
