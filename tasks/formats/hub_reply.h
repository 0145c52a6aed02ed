/* hub_reply.h - the reading of a hub's answers: foreign bytes in, checked values out.
 *
 * `name` is what errors call the answer: its address without query. */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_REPLY_H
#define PSYBUILD_TASKS_FORMATS_HUB_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/hub_files.h"

enum { HUB_FILES_MAX = 500 * 1000 }; /* of a repository; more are refused */

/* The hash an ETag states, without W/ and quotes, in lower case; "" when it is no hash. */
void hub_parse_etag(struct text etag, char hash[HUB_HASH_MAX]);

/* The "sha" of a repository's or revision's description. */
MUST_CHECK struct error *hub_parse_commit(
    const char *name, struct text body, char commit[HUB_COMMIT_MAX]);
/* Appends one page's files; `*first` is the path of its first entry of any kind, or NULL. */
struct hub_listing {
    struct hub_file *items;
    size_t count, capacity;
};
MUST_CHECK struct error *hub_parse_page(struct arena *arena, const char *name, struct text body,
    struct hub_listing *listing, const char **first);
/* The address of the next page by the Link headers, as a list with commas; NULL in `*next` on the
 * last page, which is one that names no next. Only the endpoint's own origin is accepted; the
 * public hub's is replaced by the endpoint. */
MUST_CHECK struct error *hub_parse_link(struct arena *arena, const char *endpoint,
    const char *page_url, struct text link, const char **next);
/* Text of a server, fit to print: printable, cut, and without the `secret` (NULL: none) that it may
 * repeat. NULL when out of memory. */
const char *hub_show(struct arena *arena, struct text text, const char *secret);
/* The same of what the body of an error says; "" when it says nothing readable. */
const char *hub_parse_error_body(struct arena *arena, struct text body, const char *secret);

#endif
