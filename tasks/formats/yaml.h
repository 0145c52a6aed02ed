/* yaml.h - the values of a YAML document, as a Python program that has read it would hold them.
 *
 * Nodes are shared as Python's objects are: an alias is the node itself, so what is written can
 * say so again. A tree may be a graph, and even hold itself: whoever walks it bounds the depth. */
#ifndef PSYBUILD_TASKS_FORMATS_YAML_H
#define PSYBUILD_TASKS_FORMATS_YAML_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/map.h"
#include "base/text.h"

enum {
    YAML_DEPTH_MAX = 64,     /* collections in collections */
    YAML_NODES_MAX = 250000, /* of a document: scalars, collections, aliases, and what is merged */
};

enum yaml_kind {
    YAML_NULL,
    YAML_BOOL,
    YAML_INTEGER,
    YAML_FLOAT,
    YAML_TIME, /* a date, or a date and a time */
    YAML_STRING,
    YAML_MERGE, /* the key "<<"; never in a tree */
    YAML_VALUE, /* the key "="; never in a tree */
    YAML_LIST,  /* values */
    YAML_MAP,   /* keys, which are scalars and differ, and values, in order of appearance */
};

struct yaml {
    enum yaml_kind kind;
    unsigned anchor;  /* the writer's own */
    size_t offset;    /* where it begins in the file that was read; else 0 */
    struct text text; /* of a scalar: as it is written, "true", "12", "1.5", ".nan", "2024-01-02" */
    struct yaml **keys, **values;
    size_t count, capacity;
    struct map *index; /* of a map: keys to places */
};

/* A new node; NULL when out of memory, which the functions below take for an error. */
struct yaml *yaml_new(struct arena *arena, enum yaml_kind kind, struct text text);
struct yaml *yaml_string(struct arena *arena, const char *string);

/* As `if value:` in Python. */
bool yaml_is_true(const struct yaml *value);
/* The member with that string as its key, or NULL: at a key that is not there, and at null. */
struct yaml *yaml_get(const struct yaml *map, const char *key);
bool yaml_has(const struct yaml *map, const char *key); /* be it null */
/* As a Python dict is filled: the last of equal keys counts, at the first one's place. */
MUST_CHECK struct error *yaml_put(
    struct arena *arena, struct yaml *map, struct yaml *key, struct yaml *value);
MUST_CHECK struct error *yaml_set(
    struct arena *arena, struct yaml *map, const char *key, struct yaml *value);
MUST_CHECK struct error *yaml_append(struct arena *arena, struct yaml *list, struct yaml *value);
/* A pair behind the others, whatever its key is: for what is no map yet. */
MUST_CHECK struct error *yaml_add_pair(
    struct arena *arena, struct yaml *pairs, struct yaml *key, struct yaml *value);

/* A text that is the same for those values that Python finds equal: 1, 1.0 and true are. It takes
 * its length from `*bytes_left`; NULL in `*out` when that does not suffice, or the value is too
 * deep. */
MUST_CHECK struct error *yaml_identity(
    struct arena *arena, const struct yaml *value, size_t *bytes_left, const char **out);

#endif
