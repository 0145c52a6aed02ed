/* hub.h - the Hugging Face Hub: what a repository holds at a commit, and the bytes of its files.
 *
 * A revision is resolved to a commit once, and everything else names the commit. Whatever the hub
 * sends is hostile until checked: names by hub_select, sizes and hashes by the caller against the
 * content. The content of a file is one of two kinds: a git file is identified by its git blob id,
 * an LFS (or Xet) file by its SHA-256. */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_H
#define PSYBUILD_TASKS_FORMATS_HUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/http.h"
#include "tasks/formats/hub_files.h"
#include "tasks/formats/hub_settings.h"

/* --- names ----------------------------------------------------------------------------------- */

enum hub_type { HUB_MODEL, HUB_DATASET, HUB_SPACE };
struct hub_repo {
    enum hub_type type;
    const char *id; /* "name" or "org/name" */
};

bool hub_repo_id_is_valid(const char *id);
bool hub_revision_is_valid(const char *revision); /* a branch, tag, refs/pr/N or commit */
bool hub_is_commit(const char *revision);         /* exactly 40 lower-case hex digits */

/* The address of a file's content; NULL when out of memory. */
char *hub_file_url(struct arena *arena, const struct hub_settings *settings,
    const struct hub_repo *repo, const char *commit, const char *path);

/* --- requests -------------------------------------------------------------------------------- */

struct hub { /* borrowed by each call; of one thread, as the client is */
    struct http_client *client;
    const struct hub_settings *settings;
};

/* A revision that is a commit is returned as it is, without a request. */
MUST_CHECK struct error *hub_resolve(const struct hub *hub, const struct hub_repo *repo,
    const char *revision, char commit[HUB_COMMIT_MAX]);

/* All files of a commit, unchecked, in the hub's order. */
MUST_CHECK struct error *hub_list(struct arena *arena, const struct hub *hub,
    const struct hub_repo *repo, const char *commit, struct hub_files *out);

/* What fetching one range of a file taught, for the next one: where the bytes lie, so that the hub
 * need not be asked again, and the ETag they have there. Of one thread; zeroed it knows nothing,
 * and about another file than the last one it knows nothing, either. */
struct hub_place {
    struct arena arena; /* holds the strings */
    const char *url;    /* of the file at the hub; NULL: of none */
    const char *address, *etag;
    bool
        ignores_ranges; /* the last call failed because the whole file was sent instead of a part */
};
void hub_place_forget(struct hub_place *place); /* all of it; nothing is left to be freed */
/* For files that are asked for elsewhere: makes the place that of the request's URL and puts what
 * it knows into the request; then, what the reply taught. NULL is fine. */
MUST_CHECK struct error *hub_place_use(struct hub_place *place, struct http_request *request);
MUST_CHECK struct error *hub_place_learn(struct hub_place *place, const struct http_reply *reply);

struct hub_fetch {
    const struct hub_repo *repo;
    const char *commit;
    const struct hub_file *file; /* its size and hashes are compared with what the hub announces */
    uint64_t begin, end;         /* bytes of the content, half-open, begin <= end <= size */
    struct hub_place *place;     /* NULL: no other range will be fetched */
    struct error *(*on_body)(void *context, const void *bytes, size_t length);
    void *context;
};
/* Delivers the range, each byte once and in order, through all retries; the content's hash is the
 * caller's to check. An empty range makes no request. `*out` (may be NULL) lives in the arena.
 * ERROR_DAMAGE: the hub announces another content, or it changed since the place was learned. */
MUST_CHECK struct error *hub_fetch_range(struct arena *arena, const struct hub *hub,
    const struct hub_fetch *fetch, struct http_reply *out);

#endif
