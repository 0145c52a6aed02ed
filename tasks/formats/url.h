/* url.h - URLs as downloads need them: what is valid, where it leads, and what may be shown of it.
 *
 * Only what cannot be read in two ways is valid: a scheme of http, https or file, a host of
 * at most 255 letters, digits, '.', '-', '_' or a bracketed IPv6 address, an optional port, which
 * may be empty, no user or password, and no byte outside printable ASCII. So this module and
 * libcurl cannot disagree on whose URL it is. */
#ifndef PSYBUILD_TASKS_FORMATS_URL_H
#define PSYBUILD_TASKS_FORMATS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/text.h"

enum { URL_BYTES_MAX = 16 * 1024 };

enum url_scheme { URL_NONE, URL_HTTP, URL_HTTPS, URL_FILE };
enum url_scheme url_scheme_of(const char *url); /* URL_NONE: not valid */

/* Both valid, with the same scheme, host (in any case) and port. */
bool url_same_origin(const char *a, const char *b);
/* From http://host to https://host, each at its usual port: the answers are still its own. */
bool url_is_upgrade(const char *from, const char *to);

/* What `reference` means at the valid URL `base`, without fragment: an http or https URL, or NULL
 * in
 * `*out`. Spaces and bytes above 0x7E are percent-encoded. False when out of memory. */
bool url_join(struct arena *arena, const char *base, struct text reference, char **out);

/* Of a valid URL; NULL when out of memory. */
char *url_shown(struct arena *arena, const char *url);  /* up to the query, which may be a secret */
char *url_origin(struct arena *arena, const char *url); /* "https://host:port", as written */
const char *url_after_origin(const char *url); /* path and query; "" or from '/', '?', '#' */

/* Percent-encodes every byte but A-Z a-z 0-9 _ . - ~ and, with `keeps_slash`, '/'. */
char *url_encode(struct arena *arena, const char *string, bool keeps_slash);
/* Undoes it. False in `*is_good` for a broken escape or an encoded NUL. NULL when out of memory. */
char *url_decode(struct arena *arena, struct text encoded, bool *is_good);

#endif
