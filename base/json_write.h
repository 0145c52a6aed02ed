/* json_write.h - writing JSON, byte for byte as other programs do.
 *
 * A writer holds its output in memory and remembers its first failure, asked for at the end. It
 * puts commas, indentation and colons by itself. */
#ifndef PSYBUILD_BASE_JSON_WRITE_H
#define PSYBUILD_BASE_JSON_WRITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"

struct json_style {
    unsigned indent;    /* spaces a level; 0: compact, one line, no spaces after ',' and ':' */
    unsigned margin;    /* spaces before every line but the first */
    bool is_ascii;      /* non-ASCII as lower-case \uXXXX with surrogate pairs; else raw UTF-8 */
    bool sort_keys;     /* json_write_value sorts the keys of every object by code point */
    bool python_floats; /* json_write_value: non-integers as Python's repr of the double
                         * (1e-05, 0.1, 10000.0); NaN, Infinity as {"__float__": "NaN"} */
};
/* Python's json.dumps(indent=4): config.json. indent 2, sorted, UTF-8: tokenizer_config.json.
 * compact sorted: the canonical form that is hashed. */
extern const struct json_style JSON_STYLE_CONFIG;    /* 4, ascii, not sorted, python floats */
extern const struct json_style JSON_STYLE_TOKENIZER; /* 2, utf-8, sorted, spellings kept */
extern const struct json_style JSON_STYLE_CANONICAL; /* 0, utf-8, sorted, spellings kept */
extern const struct json_style JSON_STYLE_PRETTY;    /* 2, utf-8, not sorted, spellings kept */
extern const struct json_style JSON_STYLE_LINE;      /* 0, utf-8, not sorted, spellings kept */

struct json_writer; /* opaque, from an arena */
struct json_writer *json_writer_new(
    struct arena *arena, const struct json_style *style); /* or NULL */

void json_write_object_begin(struct json_writer *writer);
void json_write_object_end(struct json_writer *writer); /* empty: {} */
void json_write_array_begin(struct json_writer *writer);
void json_write_array_end(struct json_writer *writer);
void json_write_key(struct json_writer *writer, struct text key);
/* Lone surrogates as \uXXXX in any style, other bad UTF-8 as U+FFFD. */
void json_write_text(struct json_writer *writer, struct text text);
void json_write_string(struct json_writer *writer, const char *string);
void json_write_u64(struct json_writer *writer, uint64_t number);
void json_write_i64(struct json_writer *writer, int64_t number);
/* Python's repr; NaN and Infinity as Python's json writes them, or as an object (python_floats). */
void json_write_double(struct json_writer *writer, double number);
void json_write_bool(struct json_writer *writer, bool value);
void json_write_null(struct json_writer *writer);
void json_write_raw(struct json_writer *writer, struct text spelling); /* a number as spelled */
void json_write_value(struct json_writer *writer, const struct json *value); /* a whole tree */

/* A member of the object that is open: its key and its value, or the value's beginning. */
void json_member_object_begin(struct json_writer *writer, const char *key);
void json_member_array_begin(struct json_writer *writer, const char *key);
void json_member_text(struct json_writer *writer, const char *key, struct text text);
void json_member_string(
    struct json_writer *writer, const char *key, const char *string); /* NULL: no member */
void json_member_u64(struct json_writer *writer, const char *key, uint64_t number);
void json_member_double(struct json_writer *writer, const char *key, double number);
void json_member_bool(struct json_writer *writer, const char *key, bool value);

/* The text so far, NUL-terminated, in the arena. */
MUST_CHECK struct error *json_writer_finish(struct json_writer *writer, struct text *out);

/* Shortest digits that read back as the same double, in Python's repr form. */
#define JSON_DOUBLE_MAX 40
const char *json_double_repr(char buffer[JSON_DOUBLE_MAX], double number);

#endif
