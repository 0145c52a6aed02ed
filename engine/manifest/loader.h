/* loader.h - a manifest that is being loaded: of this folder only, whose files are, from low to
 * high: expand, recipe, params, texts, variables, sections, manifest, manifest_write. */
#ifndef PSYBUILD_ENGINE_MANIFEST_LOADER_H
#define PSYBUILD_ENGINE_MANIFEST_LOADER_H

#include "base/map.h"
#include "engine/manifest/manifest.h"
#include "engine/manifest/recipe.h"

enum { INCLUDES_MAX = 64, MANIFEST_BYTES_MAX = 16 << 20 };

struct variable {
    const struct json *value;
    bool is_set; /* by --set: taken as it is */
};

struct loader {
    struct arena *arena;
    const struct registry *registry;
    const struct manifest_options *options;
    struct manifest *manifest;
    const struct json *roots[INCLUDES_MAX]; /* the top manifest's first */
    size_t root_count;
    size_t watch_capacity;
    struct map variable_by_name;
    struct variable *variables;
    size_t variable_count, variable_capacity;
    size_t variables_ready; /* expanded: those that texts may use */
    struct manifest_source *sources;
    size_t source_capacity;
    struct manifest_node *nodes;
    size_t node_capacity;
    struct manifest_pool *pools;
    size_t pool_capacity;
    struct recipe *recipes[INCLUDES_MAX];
    size_t recipe_count;
};

/* ---- texts.c ---- */

/* Whether a text is there; either way its appearing, changing or vanishing is watched. */
MUST_CHECK struct error *texts_is_file(struct loader *loader, const char *path, bool *out);
MUST_CHECK struct error *texts_load(struct loader *loader);
/* The lock beside the top manifest. */
MUST_CHECK struct error *texts_name_lock(struct loader *loader);

/* ---- variables.c ---- */

MUST_CHECK struct error *variables_add(struct loader *loader, const struct json *variables);
/* Of the loader, as expand.h asks for it. */
const struct json *variables_get(const void *context, struct text name, bool *is_known);
MUST_CHECK struct error *variables_set(
    struct loader *loader, const struct manifest_setting *setting);
MUST_CHECK struct error *variables_expand(
    struct loader *loader, const struct json *value, const struct json **out);
MUST_CHECK struct error *variables_expand_all(struct loader *loader);
MUST_CHECK struct error *variables_expand_name(struct loader *loader, const struct json *object,
    const struct json_member *member, const char **out);

/* ---- sections.c ---- */

MUST_CHECK struct error *sections_add_source(
    struct loader *loader, const struct json *sources, const struct json_member *member);
MUST_CHECK struct error *sections_add_node(
    struct loader *loader, const char *name, const struct json *value, const char *group);
MUST_CHECK struct error *sections_check_outside_sources(const struct loader *loader,
    const struct json *artifacts, const struct json_member *member, const char *name);

#endif
