/* http_header.h - the fields of an HTTP answer that downloads read. Foreign bytes: whatever does
 * not parse counts as not sent. */
#ifndef PSYBUILD_TASKS_FORMATS_HTTP_HEADER_H
#define PSYBUILD_TASKS_FORMATS_HTTP_HEADER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/text.h"

#define HTTP_SIZE_UNKNOWN UINT64_MAX

/* The value of the first line of this name in a block of lines that has one, trimmed, as curl takes
 * it; length 0 when there is none. Names in any case. */
struct text http_header_find(struct text block, const char *name);

/* The values of all lines of this name with commas between them, which means the same as a list on
 * one line; NULL when out of memory. */
char *http_header_list(struct arena *arena, struct text block, const char *name);

/* The status of "HTTP/1.1 200 OK" or "HTTP/2 200"; 0 when it is not a status line. */
unsigned http_parse_status(struct text line);

/* A plain decimal number. */
bool http_parse_number(struct text field, uint64_t *out);

/* "bytes a-b/SIZE", half-open in `*begin` and `*end`; a SIZE of "*" is HTTP_SIZE_UNKNOWN. Or the
 * form with an asterisk for the range, which gives an empty range at 0, of a SIZE that is known. */
bool http_parse_content_range(struct text field, uint64_t *begin, uint64_t *end, uint64_t *size);

/* "Sun, 06 Nov 1994 08:49:37 GMT" in seconds since 1970. */
bool http_parse_date(struct text field, int64_t *seconds);

/* How long a header block of this status asks to wait before the next request, by Retry-After and,
 * for 429, by RateLimit, which knows better; 0 when it does not say, at most 2^32 - 1. `now` counts
 * when there is no Date. */
uint64_t http_wait_seconds(struct text block, unsigned status, int64_t now);

#endif
