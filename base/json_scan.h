/* json_scan.h - a pull reader for JSON: one token at a time, nothing allocated, any size of text.
 *
 * Used where a tree would be wasteful or lossy: safetensors headers with 200 000 tensors, hub
 * listings, tokenizer.json. base/json.c walks with it beside the cJSON tree. It checks all of
 * RFC 8259 (structure, escapes, numbers, UTF-8) and nests at most JSON_DEPTH_MAX deep; the first
 * error ends it: every later token is JSON_TOKEN_ERROR. */
#ifndef PSYBUILD_BASE_JSON_SCAN_H
#define PSYBUILD_BASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct arena;

#define JSON_DEPTH_MAX 128

enum json_token {
    JSON_TOKEN_ERROR,
    JSON_TOKEN_END, /* of the text, after one whole value */
    JSON_TOKEN_OBJECT_BEGIN,
    JSON_TOKEN_OBJECT_END,
    JSON_TOKEN_ARRAY_BEGIN,
    JSON_TOKEN_ARRAY_END,
    JSON_TOKEN_KEY,    /* raw: the characters between the quotes, escapes not resolved */
    JSON_TOKEN_STRING, /* raw: likewise */
    JSON_TOKEN_NUMBER, /* raw: its spelling */
    JSON_TOKEN_TRUE,
    JSON_TOKEN_FALSE,
    JSON_TOKEN_NULL,
};

struct json_scan {
    const char *name; /* for errors */
    struct text text;
    size_t position;      /* where the next token is looked for; after an error, the fault */
    size_t token_begin;   /* of the last token, quotes included */
    struct text raw;      /* of a key, string or number */
    bool has_escapes;     /* whether raw holds a backslash */
    bool allow_nonfinite; /* accept NaN, Infinity, -Infinity as numbers, as Python writes them */
    enum error_kind kind; /* of json_scan_error; ERROR_FORMAT unless set after json_scan_begin */
    unsigned depth;
    const char *complaint; /* what was expected, after JSON_TOKEN_ERROR */
    /* private */
    unsigned char state;
    unsigned char is_object[JSON_DEPTH_MAX / 8]; /* bit d: level d is an object */
};

void json_scan_begin(struct json_scan *scan, const char *name, struct text text);
enum json_token json_scan_next(struct json_scan *scan);
/* After KEY: skips its value; after OBJECT_BEGIN or ARRAY_BEGIN: skips to past its end. False on
 * error. */
bool json_scan_skip(struct json_scan *scan);
/* The error after JSON_TOKEN_ERROR, with its place: "NAME:L:C: expected ..., found ...".
 * (For binary containers the caller words it with a byte offset, complaint and json_scan_found.) */
struct error *json_scan_error(const struct json_scan *scan);
/* What stands where it failed, for an error worded by the caller: "end of text", "'True'". */
#define JSON_FOUND_MAX 64
const char *json_scan_found(const struct json_scan *scan, char buffer[JSON_FOUND_MAX]);
/* Resolves the escapes of a raw string; lone surrogates become U+FFFD; NUL is kept. NUL-terminated
 * in the arena, or `raw` itself when there are none. bytes is NULL when out of memory. */
struct text json_unescape(struct arena *arena, struct text raw, bool has_escapes);
/* The same, but lone surrogates stay as Python has them, in three bytes that are no UTF-8. */
struct text json_unescape_python(struct arena *arena, struct text raw, bool has_escapes);

#endif
