/* manifest.h - the manifest's text to declarations, each still tied to its place in the text.
 *
 * Loading reads the top manifest and its includes, sets the variables, expands recipes (recipe.h)
 * and checks every key against the tables of the registry. What comes out names no file on disk
 * yet: that is the graph's business. Values keep the place where the user wrote them, also through
 * variables and recipes, so that any later error can point there. */
#ifndef PSYBUILD_ENGINE_MANIFEST_MANIFEST_H
#define PSYBUILD_ENGINE_MANIFEST_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/task.h"

enum keep { KEEP_ALWAYS, KEEP_UNTIL_USED, KEEP_NEVER };

/* A path whose change makes the graph another one. The stamp was taken before it was read; it is
 * all zero for one that was not there. */
struct watch {
    const char *path;
    struct file_stamp stamp;
};

struct manifest_source {
    const char *directory;          /* its name */
    const struct source_kind *kind; /* NULL: "dir" */
    const char *path;               /* of a dir source: where its files lie */
    enum keep keep;                 /* never KEEP_NEVER */
    const struct json *declaration; /* the object */
    const struct json *place;       /* for errors */
};

struct manifest_input {
    const char *role;
    bool is_optional;                /* the role was written "name?" */
    const struct role_spec *spec;    /* NULL: the task takes any role */
    const struct json *const *paths; /* strings */
    size_t count;
};

struct manifest_node {
    const char *name;
    const struct task_type *type;
    const struct json *place;            /* the node's object */
    const struct json *with;             /* object, or NULL */
    const struct manifest_input *inputs; /* in the task's role order */
    size_t input_count;
    const char *when;  /* NULL: always */
    const char *group; /* NULL: none */
    enum keep keep;
    const char *hash; /* "sha256:HEX" expected of the output, or NULL */
    const char *pool; /* one of the manifest's, "console", or NULL */
};

struct manifest_pool {
    const char *name;
    uint32_t depth;
};

/* Where replaced outputs go. */
struct manifest_cache {
    const char *path; /* NULL: nowhere */
    uint64_t size_bytes;
};

struct manifest {
    const char *name;      /* as given: "psybuild.json" */
    const char *lock_path; /* "psybuild.lock" */
    const char *rules;     /* directory of the user's rules, or NULL */
    const struct manifest_source *sources;
    size_t source_count;
    const struct manifest_node *nodes;
    size_t node_count;
    const struct manifest_pool *pools;
    size_t pool_count;
    struct manifest_cache cache;
    const struct json *const *defaults; /* strings; none: everything */
    size_t default_count;
    struct watch *watches; /* every manifest and recipe that was read, or looked for in vain */
    size_t watch_count;
};

struct manifest_setting { /* --set name=value */
    const char *name, *value;
};

struct manifest_options {
    const char *path;           /* "psybuild.json", or a name of an installed manifest */
    const char *data_directory; /* of the installation */
    const struct manifest_setting *settings;
    size_t setting_count;
};

/* ERROR_USAGE with place for anything wrong in the texts. All of `out` lies in the arena. */
MUST_CHECK struct error *manifest_load(struct arena *arena, const struct registry *registry,
    const struct manifest_options *options, struct manifest **out);

/* The long form, itself a valid manifest: `-t expand`. With `only`, the nodes below that directory.
 */
MUST_CHECK struct error *manifest_expand(
    struct arena *arena, const struct manifest *manifest, const char *only, struct text *out);

#endif
