/* expand.h - `${name}` in strings: manifest variables and recipe parameters.
 *
 * A string that is one whole "${name}" becomes the variable's value with its type and its place;
 * inside a longer string the value must be a string, number or boolean. "$$" is a dollar sign. */
#ifndef PSYBUILD_ENGINE_MANIFEST_EXPAND_H
#define PSYBUILD_ENGINE_MANIFEST_EXPAND_H

#include <stdbool.h>

#include "base/json.h"

struct scope {
    /* The value of a variable; NULL when it has none. `*is_known` tells whether the name is
     * declared. */
    const struct json *(*get)(const void *context, struct text name, bool *is_known);
    const void *context;
    bool drops_unset; /* a member whose value names an unset variable is left out; else an error */
    bool is_exec;     /* leave ${out}, ${in.ROLE} and $$ alone: they are filled in when it runs */
    bool is_quoting;  /* no names at all: dollar signs are doubled, for a text that is filled in */
};

/* `*out` is NULL when the whole value was dropped. Lies in the arena. */
MUST_CHECK struct error *expand_value(struct arena *arena, const struct scope *scope,
    const struct json *value, const struct json **out);
/* The same for a node's object: in the parameters of the task "exec", and nowhere else, the names
 * that it fills in when it runs are left as they are. */
MUST_CHECK struct error *expand_node(struct arena *arena, const struct scope *scope,
    const struct json *node, const struct json **out);

/* A string value as if written at `place`. NULL when out of memory. */
const struct json *json_new_string(
    struct arena *arena, const struct json *place, const char *string);

#endif
