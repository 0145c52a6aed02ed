/* graph.h - nodes, the files between them, cycles and order.
 *
 * Built once from a manifest and the listings of its sources; const afterwards. Nodes are never
 * removed, so indices stay valid; edges are indices. A node that fetches a source's file is a node
 * like any other. Nodes of one group are sealed together; the unit of a node is its group or
 * itself. */
#ifndef PSYBUILD_ENGINE_GRAPH_GRAPH_H
#define PSYBUILD_ENGINE_GRAPH_GRAPH_H

#include "base/map.h"
#include "engine/task.h"
#include "engine/content/hash.h"
#include "engine/manifest/manifest.h"

#define NODE_NONE UINT32_MAX
#define GROUP_NONE UINT32_MAX

/* One path that a role resolves to. */
struct node_ref {
    const char *path;     /* of a file, or a producer's pattern */
    uint32_t producer;    /* NODE_NONE: a file of a source on disk or of the user */
    const char *location; /* without producer: where the file lies */
    bool is_absent;       /* an optional file of the user's that is not there */
    const struct json *place;
};

struct node_input {
    const char *role;
    enum role_reads reads;
    struct node_ref *refs; /* views are seen through: their inputs stand here */
    uint32_t ref_count;
};

struct node {
    const char *name;
    const char *directory; /* of its outputs */
    bool is_pattern;
    bool is_view;
    bool gives_back; /* "keep": "until-used" */
    uint32_t pool;   /* index, or POOL_NONE */
    const struct task_type *type;
    const struct json *with;  /* or NULL */
    const struct json *place; /* NULL for fetched files */
    struct node_input *inputs;
    uint32_t input_count;
    uint32_t group;                   /* index, or GROUP_NONE */
    const char *expected_hash;        /* or NULL */
    bool is_fetched;                  /* a source's file */
    const char *source_directory;     /* of its source; NULL: not fetched */
    const struct source_file *source; /* how to fetch it */
    struct text declaration;          /* canonical JSON of what the key covers */
    struct hash128 key;
    uint32_t *needs;     /* producers, each once */
    bool *needs_content; /* false: only its layout */
    uint32_t need_count;
};

/* At most `depth` of its nodes are at work at a time. */
struct graph_pool {
    const char *name;
    uint32_t depth;
};
enum { POOL_CONSOLE = 0 };
#define POOL_NONE UINT32_MAX

struct group {
    const char *directory;
    uint32_t *nodes;
    uint32_t node_count;
};

/* A graph read back from the state (state.h) is a shadow: names, flags, groups, needs, order, keys,
 * defaults and source directories are there, what only planning needs is not. */
struct graph {
    const struct manifest *manifest; /* NULL in a shadow */
    const struct registry *registry;
    const char *manifest_name;
    const char **defaults;
    uint32_t default_count;
    const char **disk_sources; /* directories of the sources that are on disk already */
    uint32_t disk_source_count;
    const char **sources; /* directories of those that are fetched */
    uint32_t source_count;
    struct graph_pool *pools; /* "console" the first */
    uint32_t pool_count;
    struct node *nodes;
    uint32_t node_count;
    struct group *groups;
    uint32_t group_count;
    struct map node_by_name;
    uint32_t *patterns; /* nodes whose name is one */
    uint32_t pattern_count;
    uint32_t *order;       /* all nodes, producers first */
    struct watch *watches; /* manifests, recipes, the lock, directories of sources on disk, and
                            * optional files that were not there */
    uint32_t watch_count;
    struct setting *environment; /* variables that count for some key, with their values */
    uint32_t environment_count;
    const char *data_directory;
};

/* An environment variable as it was; value NULL: not set. */
struct setting {
    const char *name, *value;
};

/* Lists the sources, resolves every role, finds cycles, computes keys. */
MUST_CHECK struct error *graph_build(struct arena *arena, const struct manifest *manifest,
    const struct registry *registry, const char *data_directory, struct source_context *context,
    struct graph **out);

/* Lists the nodes of each group, from what each node says of its own; once, when all are there. */
MUST_CHECK struct error *graph_fill_groups(struct arena *arena, struct graph *graph);

/* The nodes that the targets name, with everything they need and their whole groups: `is_wanted`
 * has one entry a node. No targets: the manifest's defaults, else every artifact. `is_named`, one
 * entry a node, tells those that the targets themselves name. ERROR_USAGE for a target that names
 * nothing. */
MUST_CHECK struct error *graph_select(const struct graph *graph, const char *const *targets,
    size_t target_count, bool *is_wanted, bool *is_named);

/* The nodes that a target names itself, not through a directory above: by their own names, or all
 * of a source by the source's. `is_itself` has one entry a node. */
void graph_find_itself(
    const struct graph *graph, const char *const *targets, size_t target_count, bool *is_itself);

/* The producer of a path: its node, a pattern equal to it, or one that it matches. NODE_NONE if
 * none. */
uint32_t graph_find_producer(const struct graph *graph, const char *path);

#endif
