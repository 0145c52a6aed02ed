/* pattern.h - patterns over tensor and module names, and the names made from what they captured.
 *
 * A pattern matches a whole name. `*` is any text, also empty, also with dots; `{i}` a decimal
 * number, captured; `{p:a|b|c}` one of the alternatives, captured (one may be empty); `{x*}` any
 * text, captured; `{p}` again the same text as before; all else is itself. A number takes every
 * digit at its place, `*` and `{x*}` take as much as they can, alternatives are tried in order.
 *
 * A target is a name with `{i}`, `{p}`, `{x}` where captures are put in.
 *
 * Matching is bounded whatever the pattern: what failed once at one place is not tried again. */
#ifndef PSYBUILD_TASKS_FORMATS_PATTERN_H
#define PSYBUILD_TASKS_FORMATS_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

enum {
    PATTERN_CAPTURES_MAX = 8, /* of one pattern, and variables of one target */
    PATTERN_CHOICES_MAX = 8,  /* `*`, `{x*}` and `{p:...}` of one pattern */
    PATTERN_NAME_MAX = 1024,  /* bytes; a longer name matches nothing */
};

struct pattern;
struct target;

struct capture {
    struct text name; /* "i" */
    struct text text; /* what it stands for, within the matched name */
    bool is_number;   /* captured by `{i}`: all decimal digits */
};
struct captures {
    size_t count;
    struct capture items[PATTERN_CAPTURES_MAX];
};

/* When the text is no pattern, `*complaint` says why (in the arena) and `*out` is NULL; the error
 * is for memory alone. */
MUST_CHECK struct error *pattern_compile(
    struct arena *arena, struct text source, const struct pattern **out, const char **complaint);
/* From a JSON string; the error names its place. */
MUST_CHECK struct error *pattern_parse(
    struct arena *arena, const struct json *value, const struct pattern **out);

/* `captures` (NULL: not wanted) is written on a match only and borrows from pattern and name. */
bool pattern_match(const struct pattern *pattern, struct text name, struct captures *captures);
bool pattern_has_capture(const struct pattern *pattern, struct text name);
struct text pattern_source(const struct pattern *pattern);

/* From a JSON string; the error names its place. */
MUST_CHECK struct error *target_parse(
    struct arena *arena, const struct json *value, const struct target **out);
struct text target_source(const struct target *target);
/* The variables in order of appearance, repeated ones repeatedly; past the last: an empty text. */
struct text target_variable(const struct target *target, size_t index);
/* The name, NUL-terminated in the arena; a variable without a capture stands for nothing. bytes is
 * NULL when out of memory. */
struct text target_expand(
    struct arena *arena, const struct target *target, const struct captures *captures);

#endif
