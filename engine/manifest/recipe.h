/* recipe.h - a manifest fragment with parameters that expands to nodes.
 *
 * A recipe is `recipes/NAME.json` beside the top manifest, else in the installed data directory:
 * {"params": {name: {"type", "default"?, "help"}}, "artifacts": {...}}. Its text sees its
 * parameters and dir, from and from.hub; what names an unset one is left out. */
#ifndef PSYBUILD_ENGINE_MANIFEST_RECIPE_H
#define PSYBUILD_ENGINE_MANIFEST_RECIPE_H

#include "base/json.h"

struct recipe {
    const char *name; /* "mlx" */
    const char *path;
    const struct json *params;    /* object, checked */
    const struct json *artifacts; /* object */
};

/* Checks the recipe's own text. */
MUST_CHECK struct error *recipe_parse(
    struct arena *arena, const char *name, const char *path, struct text text, struct recipe **out);

struct recipe_use {
    const char *directory;       /* of the artifact: ${dir} */
    const struct json *place;    /* the use's object */
    const struct json *from;     /* string: ${from} */
    const struct json *from_hub; /* string: ${from.hub}; NULL: unset */
    const struct json *with;     /* object, or NULL */
};

/* The recipe's artifacts with everything filled in: an object path -> node object. */
MUST_CHECK struct error *recipe_expand(struct arena *arena, const struct recipe *recipe,
    const struct recipe_use *use, const struct json **artifacts);

#endif
