/* yaml.h - the YAML of model cards: enough to read a front matter and to write it as PyYAML does.
 *
 * Understood are block maps and lists, flow ones, plain and quoted scalars of one line, comments.
 * What is not (anchors, tags, block scalars, scalars of several lines, exotic numbers) makes the
 * top-level member that holds it verbatim: its lines are carried over as they are. Scalars are
 * resolved as YAML 1.1 has it, so `no` is false, and written in block style with PyYAML's quoting
 * and folding, so that the text equals what the hub's own library writes. */
#ifndef PSYBUILD_TASKS_FORMATS_YAML_H
#define PSYBUILD_TASKS_FORMATS_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

#define YAML_DEPTH_MAX 64

enum yaml_kind {
    YAML_STRING,
    YAML_OTHER,    /* null, a boolean, a number or a date: `text` is how it is written */
    YAML_LIST,     /* values */
    YAML_MAP,      /* keys and values: scalars in order of appearance */
    YAML_VERBATIM, /* a member of the top-level map: `text` holds its lines, the key's included */
};

struct yaml {
    enum yaml_kind kind;
    struct text text;
    struct yaml *keys, *values;
    size_t count, capacity;
};

/* A block map; `*is_understood` is false, and the map empty, when the text is no such thing at all.
 * ERROR_MEMORY only. */
MUST_CHECK struct error *yaml_parse_map(
    struct arena *arena, struct text text, struct yaml *out, bool *is_understood);

bool yaml_is_null(const struct yaml *value);
struct yaml yaml_string(const char *string);
/* The member with that string as its key; NULL when there is none. */
struct yaml *yaml_get(struct yaml *map, const char *key);
/* A key that is there keeps its place. */
MUST_CHECK struct error *yaml_set(
    struct arena *arena, struct yaml *map, const char *key, struct yaml value);
MUST_CHECK struct error *yaml_append(struct arena *arena, struct yaml *list, struct yaml value);

/* A block map without a last line break. `line_break` is "\n", "\r\n" or "\r". */
MUST_CHECK struct error *yaml_write_map(
    struct arena *arena, const struct yaml *map, const char *line_break, struct text *out);

#endif
