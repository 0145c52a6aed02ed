/* history_world.h - what a history has put on disk, and what must be remembered about it.
 *
 *   RUN/              the history's own directory
 *     treeN/          the working directory: psybuild.json, src/, raw/, rules/ and what is made
 *     other/          a second tree, which shares the sources and the cache
 *     store/N/        files for the source "far" in version N; elsewhere/N/ is the same, untouched
 *     hub/N/          the repository of the source "hub" in version N
 *     saved/          what steps keep: files, the manifest, .psybuild
 */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_WORLD_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_WORLD_H

#include "tests/support/history_disk.h"
#include "tests/support/history_manifest.h"

struct path_set {
    const char **paths;
    size_t count, capacity;
};

/* What a user wrote into an output. */
struct mark {
    const char *path; /* where it was last seen */
    char words[24];
};

enum { MARKS_MAX = 256, HUB_VERSIONS_MAX = 16 };

struct world {
    struct arena *arena; /* of the history */
    const char *tree;    /* the name of the tree's directory */
    const char *device;  /* absolute: a directory on another device; NULL: none */
    const char *linked;  /* the root that leads to it; NULL: none */
    struct declaration now, saved;
    bool has_saved;
    struct mark marks[MARKS_MAX];
    size_t mark_count;
    unsigned marks_made, trees_made, versions_made;
    struct path_set known;  /* what may lie where outputs do */
    struct path_set edited; /* what a user wrote, removed or cut there */
    bool has_forgotten;     /* psybuild lost a part of what it knew: leftovers may stay */
    bool is_far_broken;     /* the addresses of "far" do not answer */
    bool is_hub_broken;     /* the hub answers 500 */
    struct hub_server *hub; /* NULL: none yet */
    const char *commits[HUB_VERSIONS_MAX];
    unsigned hub_version; /* that it serves; 0: none */
};

/* Where outputs and fetched sources lie; NULL ends them. */
extern const char *const world_roots[];

/* In an empty directory `run`: makes the tree and goes there. */
void world_begin(struct world *world, struct arena *arena, const char *run, const char *device);
void world_end(struct world *world);

void world_write_manifest(struct world *world);
/* The repository in its next version, which from now on is served. */
void world_move_hub(struct world *world);
void world_break_hub(struct world *world, bool is_broken);
/* The hub's version that psybuild.lock names; 0: none. */
unsigned world_locked_version(struct world *world);
/* A root becomes a link to the other device; only before something was made there. */
void world_link_root(struct world *world, const char *root);

/* The tree goes on in another place, copied without its times. */
void world_move_tree(struct world *world);

void path_set_add(struct arena *arena, struct path_set *set, const char *path);
bool path_set_has(const struct path_set *set, const char *path);

/* Words that no other step writes, now at `path`. */
const char *world_mark(struct world *world, const char *path);
/* Whether they are in place or set aside, or, if a build was interrupted, anywhere in .psybuild;
 * follows them there. */
bool world_has_mark(struct world *world, struct mark *mark, bool is_interrupted);
/* Forgets those that a user's own step removed. */
void world_check_marks(struct world *world);

#endif
