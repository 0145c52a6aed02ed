/* lock.h - psybuild.lock: for each hub source, the commit and every file's size and hash.
 *
 * The program writes it, people commit it, so it is as foreign as a hub's listing: names, sizes and
 * hashes are checked when it is read. It is strict JSON (docs/formats.md, "The lock"), keys and
 * files in byte order: reading and writing it again changes nothing. `include` and `exclude` are
 * kept beside the files that they chose, so that a change of them is noticed. */
#ifndef PSYBUILD_TASKS_LOCK_H
#define PSYBUILD_TASKS_LOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "tasks/formats/hub.h"

struct lock_source {
    const char *directory; /* the source's name */
    struct hub_repo repo;  /* a model or a dataset */
    const char *revision;
    struct hub_filter filter;
    char commit[HUB_COMMIT_MAX];
    struct hub_files files; /* as lock_select gives them; at least one */
};

struct lock {
    struct lock_source *items; /* in byte order of their directories */
    size_t count, capacity;
};

/* An absent file is an empty lock. Everything lives in the arena. */
MUST_CHECK struct error *lock_read(struct arena *arena, const char *path, struct lock *out);
/* NULL when it is not locked. */
const struct lock_source *lock_find(const struct lock *lock, const char *directory);
/* Adds a source, or replaces the one of that directory; what it points to is borrowed. */
MUST_CHECK struct error *lock_put(
    struct arena *arena, struct lock *lock, const struct lock_source *source);
MUST_CHECK struct error *lock_print(struct arena *arena, const struct lock *lock, struct text *out);
/* Replaces the file as a whole. */
MUST_CHECK struct error *lock_write(struct arena *arena, const struct lock *lock, const char *path);

/* The keys that a source's declaration and its lock entry share: "hub", "type" (default model),
 * "revision" (default main), "include", "exclude". The rest of `out` is left as it is. */
MUST_CHECK struct error *lock_read_declaration(
    struct arena *arena, const struct json *object, struct lock_source *out);
bool lock_same_revision(const struct lock_source *a, const struct lock_source *b);
bool lock_same_filter(const struct lock_source *a, const struct lock_source *b);

/* hub_select, and what psybuild itself asks of a file: a size of at most 2^53, a hash, and a name
 * outside psybuild's own directories. `filter` may be NULL. */
MUST_CHECK struct error *lock_select(struct arena *arena, const struct hub_files *files,
    const struct hub_filter *filter, struct hub_files *out);

#endif
