/* hub_cache.h - the cache of the hub's own client, as a place where wanted content may lie already.
 *
 *   ROOT/models--ORG--NAME/blobs/HASH               content, under its SHA-256 or git blob id
 *   ROOT/models--ORG--NAME/snapshots/COMMIT/PATH    a link to it, or a copy where links are not
 *
 * It is only ever read: nothing is written or linked into it. What lies there proves nothing about
 * its content, because the client that wrote it did not verify it; whoever takes it does. */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_CACHE_H
#define PSYBUILD_TASKS_FORMATS_HUB_CACHE_H

#include "tasks/formats/hub.h"

/* A regular file of the wanted size, through links: the repository's own blob, the same blob in any
 * other repository, or the repository's snapshot of the commit. `*path` is NULL when there is none,
 * or it cannot be looked at, which is no error. */
MUST_CHECK struct error *hub_cache_find(struct arena *arena, const char *root,
    const struct hub_repo *repo, const char *commit, const struct hub_file *file,
    const char **path);

#endif
