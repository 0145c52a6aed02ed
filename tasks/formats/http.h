/* http.h - GET over http, https and file, as downloads need it: redirects by hand, byte ranges that
 * are checked, retries that continue where the bytes stopped, and a token that stays at home.
 *
 *  - A token goes to the origin (scheme, host, port) of the request's URL only: the request's home.
 *    After the first redirect elsewhere it is not sent again. No .netrc, no cookies.
 *  - https never leads to http. At most HTTP_HOPS_MAX redirects.
 *  - Every request says Accept-Encoding: identity; an encoded body is an error.
 *  - A 206 must be the range that was asked for; a 200 to a range is read from the start and cut.
 *  - What is transient (no connection, a stall, a trickle, a break, 408 429 500 502 503 504, a
 * refused signed address) is tried again from the request's URL, going on at the first byte not yet
 * delivered.
 *  - Bytes of a file that changed meanwhile are never joined: ETags of one host must agree.
 *  - No error text and no `url` of an answer holds the token or a query string, and all remote text
 *    in it is printable.
 * Proxies and their exceptions come from the environment, as curl reads it. libcurl is loaded by
 * the first request over a network. A client, its arena and its requests belong to one thread. */
#ifndef PSYBUILD_TASKS_FORMATS_HTTP_H
#define PSYBUILD_TASKS_FORMATS_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/http_header.h"

enum {
    HTTP_HOPS_MAX = 20,
    HTTP_HEADER_BYTES_MAX = 256 * 1024,    /* of all header lines of one answer */
    HTTP_ERROR_BODY_BYTES_MAX = 64 * 1024, /* what is kept of the body of an error */
};

struct http_policy {
    unsigned retry_count_max; /* in a row; delivering 1 MiB starts the count anew */
    uint64_t wait_ms_first;   /* before the first retry; doubles, plus up to a quarter at random */
    uint64_t wait_ms_cap;     /* what the doubling ends at */
    uint64_t wait_ms_refused; /* a server that asks for a longer wait than this is an error */
    uint64_t header_ms_max;   /* for a connection, and again for a whole header block */
    uint64_t body_ms_max;     /* without a single byte of the body */
    uint64_t rate_bytes_min;  /* a second, of each body over `rate_span_ms` of waiting; 0: any */
    uint64_t rate_span_ms;
    /* Waits instead of sleeping; `why` is one line. NULL: sleeps, looking at `cancel`. */
    void (*wait)(void *context, uint64_t wait_ms, const char *why);
    void *context;
    uint64_t range_bytes;   /* what one request of several for a large file asks for */
    uint64_t rate_bytes;    /* a second, of bodies; 0: no limit */
    const char *agent_more; /* appended to the User-Agent; NULL: nothing */
    const char *ca_file;    /* certificates to trust instead of the system's; NULL: the system's */
    const _Atomic bool *cancel; /* set: every request ends with ERROR_INTERRUPTED; NULL: never */
};
extern const struct http_policy HTTP_POLICY_DEFAULT;

struct http_client; /* one connection cache, one thread */
MUST_CHECK struct error *http_client_open(
    const struct http_policy *policy, struct http_client **out);
void http_client_close(struct http_client *client); /* NULL is fine */

/* The header block of one answer, redirects included; valid during the call. */
struct http_answer {
    unsigned status;
    bool is_home;       /* from the origin of the request's URL */
    bool is_direct;     /* from the request's direct address, or where that led */
    const char *url;    /* without query */
    struct text header; /* raw lines */
};
/* The value of the first such header, trimmed; length 0 when there is none. Names in any case. */
struct text http_header(const struct http_answer *answer, const char *name);

struct http_request {
    const char *url;   /* http://, https:// or file:// */
    const char *token; /* NULL: none */
    /* What the reply to an earlier range of the same file said: where the bytes came from, which is
     * asked first and, should it refuse, not again; and the ETag that this place gave. "" or NULL:
     * nothing. Another ETag from there is ERROR_DAMAGE. */
    const char *direct, *etag;
    bool is_ranged;      /* false: the whole body, without a Range header */
    uint64_t begin, end; /* half-open; `end` HTTP_SIZE_UNKNOWN: to the end of the file */
    uint64_t size_total; /* that the file must have; HTTP_SIZE_UNKNOWN: whatever it has */
    uint64_t size_max;   /* of what is delivered; more is an error */
    /* Called for each answer before a byte of its body; may be NULL; an error ends the request.
     * Not called for file:// URLs. */
    struct error *(*on_answer)(void *context, const struct http_answer *answer);
    /* Called with the bytes in order, each once. Unless the request is ranged, a retry starts over:
     * then on_answer comes again first. */
    struct error *(*on_body)(void *context, const void *bytes, size_t length);
    void *context;
};

struct http_reply {
    unsigned status; /* 200: delivered. All else is the server's last word: see error_body */
    unsigned try_count;
    bool is_home;        /* whether the last answer came from the request's home */
    const char *url;     /* that answered last, without query */
    const char *origin;  /* of it: "https://host:port" */
    const char *address; /* of it, with its query: a secret, good for `direct` and nothing else */
    const char *etag;    /* as sent; "" when there was none. Means something at this origin only */
    uint64_t size_total; /* of the whole file, HTTP_SIZE_UNKNOWN when the server did not say */
    struct text error_body; /* its beginning, when status is not 200; not yet fit to print */
};

/* Delivers the body. `*out` lives in the arena, and is also set for a final status that is not 2xx,
 * which is no error here: http_status_error makes one. */
MUST_CHECK struct error *http_get(struct http_client *client, struct arena *arena,
    const struct http_request *request, struct http_reply *out);

/* "URL: the server answered 404 (Not Found)". */
MUST_CHECK struct error *http_status_error(const struct http_reply *reply);
const char *http_status_name(unsigned status); /* "Not Found"; "" when unknown */

#endif
