/* json_scan.c - RFC 8259 one token at a time (json_scan.h).
 *
 *   VALUE ------ scalar ----------> AFTER (END at depth 0)
 *   VALUE ------ { or [ ----------> FIRST_KEY or FIRST_ITEM
 *   FIRST_KEY, KEY ---- string ---> COLON --- : ---> VALUE
 *   FIRST_ITEM ---------- as VALUE
 *   AFTER ------ , ---------------> KEY or VALUE
 *   AFTER, FIRST_KEY, FIRST_ITEM -- } or ] --------> AFTER (END at depth 0)
 *   END -------- end of text -----> END
 *   anything else ----------------> FAILED */
#include "base/json_scan.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"

enum { VALUE, FIRST_KEY, FIRST_ITEM, KEY, COLON, AFTER, END, FAILED };

void json_scan_begin(struct json_scan *scan, const char *name, struct text text)
{
    *scan = (struct json_scan){
        .name = name, .text = text, .kind = ERROR_FORMAT, .raw = TEXT_EMPTY, .state = VALUE};
}

static enum json_token fail(struct json_scan *scan, size_t position, const char *expected)
{
    scan->state = FAILED;
    scan->position = position;
    scan->complaint = expected;
    return JSON_TOKEN_ERROR;
}

/* The byte at `position`, or -1 at the end. */
static int peek(const struct json_scan *scan, size_t position)
{
    return position < scan->text.length ? (unsigned char)scan->text.bytes[position] : -1;
}

static void skip_space(struct json_scan *scan)
{
    for (;;) {
        int byte = peek(scan, scan->position);
        if (byte != ' ' && byte != '\n' && byte != '\t' && byte != '\r')
            return;
        scan->position++;
    }
}

static bool top_is_object(const struct json_scan *scan)
{
    unsigned level = scan->depth - 1;
    return scan->is_object[level / 8] >> (level % 8) & 1;
}

static void value_is_done(struct json_scan *scan)
{
    scan->state = scan->depth == 0 ? END : AFTER;
}

static enum json_token open_level(struct json_scan *scan, bool is_object)
{
    if (scan->depth == JSON_DEPTH_MAX)
        return fail(scan, scan->position, "at most 128 levels of nesting");
    unsigned char bit = (unsigned char)(1u << (scan->depth % 8));
    unsigned char *bits = &scan->is_object[scan->depth / 8];
    *bits = (unsigned char)(is_object ? *bits | bit : *bits & ~bit);
    scan->depth++;
    scan->position++;
    scan->state = is_object ? FIRST_KEY : FIRST_ITEM;
    return is_object ? JSON_TOKEN_OBJECT_BEGIN : JSON_TOKEN_ARRAY_BEGIN;
}
_Static_assert(JSON_DEPTH_MAX == 128, "the message names it");

static enum json_token close_level(struct json_scan *scan)
{
    enum json_token token = top_is_object(scan) ? JSON_TOKEN_OBJECT_END : JSON_TOKEN_ARRAY_END;
    scan->depth--;
    scan->position++;
    value_is_done(scan);
    return token;
}

/* From the backslash at `*position` to past the escape. */
static bool scan_escape(struct json_scan *scan, size_t *position)
{
    int byte = peek(scan, *position + 1);
    if (byte != 'u') {
        if (byte <= 0 || strchr("\"\\/bfnrt", byte) == NULL) {
            fail(scan, *position + 1, "one of \" \\ / b f n r t u after a backslash");
            return false;
        }
        *position += 2;
        return true;
    }
    for (size_t i = *position + 2; i < *position + 6; i++) {
        if (char_hex_value(peek(scan, i)) < 0) {
            fail(scan, i, "four hexadecimal digits after \\u");
            return false;
        }
    }
    *position += 6;
    return true;
}

/* From the opening quote to past the closing one. */
static enum json_token scan_string(struct json_scan *scan, enum json_token token)
{
    size_t i = scan->position + 1;
    scan->has_escapes = false;
    for (;;) {
        int byte = peek(scan, i);
        if (byte == '"')
            break;
        if (byte < 0x20)
            return fail(scan, i, "'\"' at the end of the string");
        if (byte == '\\') {
            scan->has_escapes = true;
            if (!scan_escape(scan, &i))
                return JSON_TOKEN_ERROR;
        } else if (byte < 0x80) {
            i++;
        } else {
            uint32_t code_point;
            struct text rest = text_from(scan->text, i);
            size_t length = text_decode(rest, &code_point);
            if (length == 0)
                return fail(scan, i, "UTF-8");
            i += length;
        }
    }
    scan->raw = text_cut(scan->text, scan->position + 1, i);
    scan->position = i + 1;
    return token;
}

static size_t skip_digits(const struct json_scan *scan, size_t position)
{
    while (char_is_digit(peek(scan, position)))
        position++;
    return position;
}

static enum json_token scan_number(struct json_scan *scan)
{
    size_t begin = scan->position, i = begin + (peek(scan, begin) == '-');
    if (!char_is_digit(peek(scan, i)))
        return fail(scan, i, "a digit");
    if (peek(scan, i) == '0' && char_is_digit(peek(scan, i + 1)))
        return fail(scan, begin, "a number without leading zeros");
    i = skip_digits(scan, i);
    if (peek(scan, i) == '.') {
        if (!char_is_digit(peek(scan, i + 1)))
            return fail(scan, i + 1, "a digit after the decimal point");
        i = skip_digits(scan, i + 1);
    }
    if (peek(scan, i) == 'e' || peek(scan, i) == 'E') {
        i++;
        if (peek(scan, i) == '+' || peek(scan, i) == '-')
            i++;
        if (!char_is_digit(peek(scan, i)))
            return fail(scan, i, "a digit of the exponent");
        i = skip_digits(scan, i);
    }
    scan->raw = text_cut(scan->text, begin, i);
    scan->position = i;
    value_is_done(scan);
    return JSON_TOKEN_NUMBER;
}

/* true, false, null and the numbers that only Python writes. */
static enum json_token scan_word(struct json_scan *scan, const char *expected)
{
    static const struct {
        const char *word;
        enum json_token token;
    } words[] = {{"true", JSON_TOKEN_TRUE}, {"false", JSON_TOKEN_FALSE}, {"null", JSON_TOKEN_NULL},
        {"NaN", JSON_TOKEN_NUMBER}, {"Infinity", JSON_TOKEN_NUMBER},
        {"-Infinity", JSON_TOKEN_NUMBER}};
    struct text rest = text_from(scan->text, scan->position);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].token == JSON_TOKEN_NUMBER && !scan->allow_nonfinite)
            break;
        if (text_starts_with(rest, words[i].word)) {
            scan->raw = (struct text){rest.bytes, strlen(words[i].word)};
            scan->position += scan->raw.length;
            value_is_done(scan);
            return words[i].token;
        }
    }
    if (rest.length > 0 && rest.bytes[0] == '-')
        return scan_number(scan);
    return fail(scan, scan->position, expected);
}

static enum json_token scan_value(struct json_scan *scan, const char *expected)
{
    int byte = peek(scan, scan->position);
    if (byte == '"') {
        enum json_token token = scan_string(scan, JSON_TOKEN_STRING);
        if (token == JSON_TOKEN_STRING)
            value_is_done(scan);
        return token;
    }
    if (byte == '{' || byte == '[')
        return open_level(scan, byte == '{');
    return char_is_digit(byte) ? scan_number(scan) : scan_word(scan, expected);
}

static enum json_token scan_key(struct json_scan *scan, const char *expected)
{
    if (peek(scan, scan->position) != '"')
        return fail(scan, scan->position, expected);
    enum json_token token = scan_string(scan, JSON_TOKEN_KEY);
    if (token == JSON_TOKEN_KEY)
        scan->state = COLON;
    return token;
}

/* Takes the colon or the comma that stands before the next token. False when it is not there. */
static bool take_separator(struct json_scan *scan)
{
    int byte = peek(scan, scan->position);
    if (scan->state == COLON) {
        if (byte != ':') {
            fail(scan, scan->position, "':'");
            return false;
        }
        scan->state = VALUE;
    } else if (scan->state == AFTER) {
        bool is_object = top_is_object(scan);
        if (byte == (is_object ? '}' : ']'))
            return true;
        if (byte != ',') {
            fail(scan, scan->position, is_object ? "',' or '}'" : "',' or ']'");
            return false;
        }
        scan->state = is_object ? KEY : VALUE;
    } else {
        return true;
    }
    scan->position++;
    skip_space(scan);
    return true;
}

enum json_token json_scan_next(struct json_scan *scan)
{
    if (scan->state == FAILED)
        return JSON_TOKEN_ERROR;
    skip_space(scan);
    if (!take_separator(scan))
        return JSON_TOKEN_ERROR;
    scan->token_begin = scan->position;
    int byte = peek(scan, scan->position);
    switch (scan->state) {
    case VALUE:
        return scan_value(scan, "a value");
    case FIRST_ITEM:
        return byte == ']' ? close_level(scan) : scan_value(scan, "a value or ']'");
    case FIRST_KEY:
        return byte == '}' ? close_level(scan) : scan_key(scan, "a key or '}'");
    case KEY:
        return scan_key(scan, "a key");
    case AFTER:
        return close_level(scan); /* take_separator has seen the bracket */
    default:
        return byte < 0 ? JSON_TOKEN_END : fail(scan, scan->position, "end of text");
    }
}

bool json_scan_skip(struct json_scan *scan)
{
    unsigned depth = scan->depth;
    enum json_token token = JSON_TOKEN_NULL;
    if (scan->state == COLON)
        token = json_scan_next(scan);
    else if (scan->state == FIRST_KEY || scan->state == FIRST_ITEM)
        depth--;
    while (token != JSON_TOKEN_ERROR && scan->depth > depth)
        token = json_scan_next(scan);
    return token != JSON_TOKEN_ERROR && scan->state != FAILED;
}

static bool is_word_byte(int byte)
{
    return char_is_digit(byte) || char_is_letter(byte) || byte == '_' || byte == '.' ||
           byte == '+' || byte == '-';
}

/* A word, a character, or what cannot be shown by its number. */
const char *json_scan_found(const struct json_scan *scan, char buffer[JSON_FOUND_MAX])
{
    enum { WORD_BYTES_MAX = 24 };
    size_t begin = scan->position, end = begin;
    int byte = peek(scan, begin);
    while (end - begin < WORD_BYTES_MAX && is_word_byte(peek(scan, end)))
        end++;
    uint32_t code_point = 0;
    struct text rest = text_from(scan->text, begin);
    if (byte < 0)
        snprintf(buffer, JSON_FOUND_MAX, "end of text");
    else if (byte == '\n' || byte == '\r')
        snprintf(buffer, JSON_FOUND_MAX, "end of line");
    else if (end > begin)
        snprintf(buffer, JSON_FOUND_MAX, "'%.*s'", (int)(end - begin), rest.bytes);
    else if (byte >= 0x20 && byte < 0x7F)
        snprintf(buffer, JSON_FOUND_MAX, "'%c'", byte);
    else if (byte >= 0x80 && text_decode(rest, &code_point) > 0)
        snprintf(buffer, JSON_FOUND_MAX, "U+%04" PRIX32, code_point);
    else
        snprintf(buffer, JSON_FOUND_MAX, "byte 0x%02X", (unsigned)byte);
    return buffer;
}

struct error *json_scan_error(const struct json_scan *scan)
{
    assert(scan->state == FAILED && scan->complaint != NULL);
    char found[JSON_FOUND_MAX];
    return error_new_at(scan->kind, scan->name, scan->text.bytes, scan->text.length, scan->position,
        "expected %s, found %s", scan->complaint, json_scan_found(scan, found));
}

/* The four hexadecimal digits of a checked \u escape at `bytes`, the backslash. */
static uint32_t escaped_unit(const char *bytes)
{
    uint32_t value = 0;
    for (size_t i = 2; i < 6; i++)
        value = value << 4 | (uint32_t)char_hex_value(bytes[i]);
    return value;
}

/* The code point of a checked \u escape at the start of `raw`, a pair taken together; of half a
 * pair its own number. */
static uint32_t escaped_code_point(struct text raw, size_t *length)
{
    uint32_t unit = escaped_unit(raw.bytes);
    *length = 6;
    if (unit < 0xD800 || unit > 0xDFFF)
        return unit;
    if (unit < 0xDC00 && raw.length >= 12 && raw.bytes[6] == '\\' && raw.bytes[7] == 'u') {
        uint32_t second = escaped_unit(raw.bytes + 6);
        if (second >= 0xDC00 && second <= 0xDFFF) {
            *length = 12;
            return 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
        }
    }
    return unit;
}

static struct text unescape(
    struct arena *arena, struct text raw, bool has_escapes, bool keeps_surrogates)
{
    if (!has_escapes)
        return raw;
    char *out = arena_alloc(arena, raw.length + 1); /* no escape is shorter than what it means */
    if (out == NULL)
        return (struct text){NULL, 0};
    static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
    size_t used = 0;
    for (size_t i = 0; i < raw.length;) {
        if (raw.bytes[i] != '\\') {
            out[used++] = raw.bytes[i++];
        } else if (raw.bytes[i + 1] == 'u') {
            size_t length;
            struct text rest = text_from(raw, i);
            uint32_t code_point = escaped_code_point(rest, &length);
            bool is_lone = code_point >= 0xD800 && code_point <= 0xDFFF;
            used += text_encode(is_lone && !keeps_surrogates ? 0xFFFD : code_point, out + used);
            i += length;
        } else {
            const char *letter = strchr(letters, raw.bytes[i + 1]);
            out[used++] = letter == NULL ? raw.bytes[i + 1] : meanings[letter - letters];
            i += 2;
        }
    }
    return (struct text){out, used};
}

struct text json_unescape(struct arena *arena, struct text raw, bool has_escapes)
{
    return unescape(arena, raw, has_escapes, false);
}

struct text json_unescape_python(struct arena *arena, struct text raw, bool has_escapes)
{
    return unescape(arena, raw, has_escapes, true);
}
