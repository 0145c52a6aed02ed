/* json.h - JSON documents as trees with positions and spellings. The only caller of cJSON.
 *
 * cJSON parses; then text and tree are walked once in step (json_scan.h), which gives every value
 * its byte offset and every number its spelling, and repairs what cJSON loses: 1.0 against 1,
 * integers past 2^53, strings cut at \u0000, NaN and Infinity. Look-ups are case-sensitive, and by
 * binary search where an object is large. A tree lives in the arena it was parsed into, const.
 *
 * STRICT is for the user's own texts (manifest, recipe, rules, lock): comments allowed (blanked
 * before parsing, so that offsets stay true), duplicate keys and integers past 2^53 refused,
 * ERROR_USAGE. TOLERANT is for model files as the reference reads them: no comments, the last
 * duplicate wins at the first's position, NaN and Infinity accepted, lone surrogates kept (in three
 * bytes that are no UTF-8), ERROR_FORMAT. */
#ifndef PSYBUILD_BASE_JSON_H
#define PSYBUILD_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

#define JSON_BYTES_MAX (64u << 20) /* of one document; longer ones are refused */

enum json_mode { JSON_STRICT, JSON_TOLERANT };
enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_document;
struct json_member;

struct json {
    enum json_kind kind;
    bool boolean;
    bool is_integer;                   /* a number without fraction or exponent */
    uint32_t offset;                   /* of its first byte in the document's text */
    double number;                     /* nearest double */
    struct text text;                  /* string: decoded, NUL-terminated; number: its spelling */
    size_t count;                      /* items or members */
    const struct json *items;          /* of an array */
    const struct json_member *members; /* of an object, in order of appearance */
    const struct json_document *document;
    const struct json_member *const *sorted; /* private: the members by key, of a large object */
};
struct json_member {
    struct text key; /* decoded, NUL-terminated */
    uint32_t key_offset;
    struct json value;
};
struct json_document {
    const char *name; /* the path shown in errors */
    struct text text;
    enum json_mode mode;
    struct json root;
};

/* Text and name are copied into the arena. */
MUST_CHECK struct error *json_parse(struct arena *arena, const char *name, struct text text,
    enum json_mode mode, const struct json_document **out);

/* NULL when `object` is NULL, no object, or has no such key. */
const struct json *json_get(const struct json *object, const char *key);
/* "text_config.dtype": through nested objects. */
const struct json *json_get_path(const struct json *object, const char *dotted);

bool json_is(const struct json *value, enum json_kind kind); /* false for NULL */
/* An integer -2^63..2^63-1 spelled without fraction or exponent. */
bool json_to_i64(const struct json *value, int64_t *out);
const char *json_kind_name(enum json_kind kind); /* "an object", "a number", ... */
/* How the value looks in the text, for "..., not X": shortened, safe to print, objects and arrays
 * by kind, NULL as "nothing". In the arena or constant; never NULL. */
const char *json_show(struct arena *arena, const struct json *value);

/* Errors at a value or at a member's key: place, excerpt, caret. Kind by the document's mode. */
struct error *json_error(const struct json *value, const char *format, ...) PRINTF_LIKE(2, 3);
struct error *json_error_key(const struct json *object, const struct json_member *member,
    const char *format, ...) PRINTF_LIKE(3, 4);

/* Equal as values: key order of objects ignored, numbers by spelling class (1 and 1.0 differ, 1.0
 * and 1e0 do not; integers of any length are compared exactly). */
bool json_equal(const struct json *a, const struct json *b);

#endif
