/* http.c - one easy handle in a multi handle, so that time-outs and the cancel flag are ours.
 *
 *   get   one http_get: tries, one after the other
 *   try   one walk from the request's URL along redirects: hops
 *   hop   one request and its answer: header block, verdict, body
 *
 * The verdict falls when a header block is complete (judge_answer) and before any byte of the body,
 * so nothing is delivered from an answer that is not the one that was asked for. */
#include "tasks/formats/http.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/file.h"
#include "base/library.h"
#include "tasks/formats/http_header.h"
#include "tasks/formats/url.h"

#ifndef PSYBUILD_VERSION
#define PSYBUILD_VERSION "0"
#endif

enum {
    PROGRESS_BYTES = 1024 * 1024, /* delivering as much starts the count of retries anew */
    EXPIRED_COUNT_MAX = 2,        /* refused signed addresses in a row */
    POLL_MS_MAX = 100,            /* how late the cancel flag may be seen */
    FILE_PIECE_BYTES = 256 * 1024,
    BUFFER_BYTES = 512 * 1024, /* 128 KiB cost a fifth more system time at 1 GB/s */
    BUFFER_BYTES_MIN = 16 * 1024,
    ETAG_BYTES_MAX = 256,
    IGNORED_BYTES_MAX = 64 * 1024, /* of a redirect's body, to keep its connection */
};

/* --- libcurl, loaded once -------------------------------------------------------------------- */

struct curl_calls {
    CURLcode (*global_init)(long);
    curl_version_info_data *(*version_info)(CURLversion);
    const char *(*easy_strerror)(CURLcode);
    CURL *(*easy_init)(void);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    void (*easy_reset)(CURL *);
    void (*easy_cleanup)(CURL *);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_add_handle)(CURLM *, CURL *);
    CURLMcode (*multi_remove_handle)(CURLM *, CURL *);
    CURLMcode (*multi_perform)(CURLM *, int *);
    CURLMcode (*multi_poll)(CURLM *, struct curl_waitfd[], unsigned int, int, int *);
    CURLMsg *(*multi_info_read)(CURLM *, int *);
    CURLMcode (*multi_cleanup)(CURLM *);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

#define SYMBOL(field)                                                                              \
    {                                                                                              \
        "curl_" #field, offsetof(struct curl_calls, field)                                         \
    }
static const struct library_symbol curl_symbols[] = {
    SYMBOL(global_init),
    SYMBOL(version_info),
    SYMBOL(easy_strerror),
    SYMBOL(easy_init),
    SYMBOL(easy_setopt),
    SYMBOL(easy_getinfo),
    SYMBOL(easy_reset),
    SYMBOL(easy_cleanup),
    SYMBOL(multi_init),
    SYMBOL(multi_add_handle),
    SYMBOL(multi_remove_handle),
    SYMBOL(multi_perform),
    SYMBOL(multi_poll),
    SYMBOL(multi_info_read),
    SYMBOL(multi_cleanup),
    SYMBOL(slist_append),
    SYMBOL(slist_free_all),
    {NULL, 0},
};
static const char *const curl_files[] = {LIBCURL_SONAME,
#ifdef __APPLE__
    "/usr/lib/libcurl.4.dylib",
#else
    "libcurl-gnutls.so.4",
#endif
    NULL};
static struct curl_calls curl;

static void on_broken_pipe(int signal)
{
    (void)signal;
}

/* A TLS connection that broke must not end the program. A handler instead of SIG_IGN: the programs
 * that psybuild starts would inherit the latter. */
static void survive_broken_pipes(void)
{
    struct sigaction old, action = {.sa_handler = on_broken_pipe, .sa_flags = SA_RESTART};
    if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        sigaction(SIGPIPE, &action, NULL);
}

static struct error *start_curl(void)
{
    CURLcode code = curl.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK)
        return error_new(
            ERROR_FAILED, "%s: cannot be set up: %s", LIBCURL_SONAME, curl.easy_strerror(code));
    survive_broken_pipes();
    return NULL;
}

static struct library curl_library = {.purpose = "downloads",
    .files = curl_files,
    .symbols = curl_symbols,
    .table = &curl,
    .start = start_curl,
    .mutex = PTHREAD_MUTEX_INITIALIZER};

/* --- clients --------------------------------------------------------------------------------- */

struct http_client {
    struct http_policy policy;
    CURL *easy;   /* NULL until the first request over a network */
    CURLM *multi; /* keeps the connections */
    char *agent;
    char *header; /* HTTP_HEADER_BYTES_MAX + 1 bytes, of the present hop */
    uint64_t random;
    uint64_t paid_until_ns; /* by the rate, for the bytes so far */
    struct arena arena;     /* of this client: agent, header */
    struct arena scratch;   /* of one try: URLs, headers */
    char complaint[CURL_ERROR_SIZE];
};

struct error *http_client_open(const struct http_policy *policy, struct http_client **out)
{
    struct http_client *client = memory_alloc(sizeof *client);
    TRY(memory_check(client));
    *client = (struct http_client){.policy = *policy, .random = clock_now_ns() | 1};
    *out = client;
    return NULL;
}

void http_client_close(struct http_client *client)
{
    if (client == NULL)
        return;
    if (client->easy != NULL)
        curl.easy_cleanup(client->easy);
    if (client->multi != NULL)
        curl.multi_cleanup(client->multi);
    arena_end(&client->scratch);
    arena_end(&client->arena);
    memory_free(client);
}

static struct error *connect_client(struct http_client *client)
{
    if (client->multi != NULL)
        return NULL;
    TRY(library_load(&curl_library));
    const char *more = client->policy.agent_more;
    client->agent = arena_format(&client->arena, "psybuild/%s; libcurl/%s%s%s", PSYBUILD_VERSION,
        curl.version_info(CURLVERSION_NOW)->version, more != NULL ? "; " : "",
        more != NULL ? more : "");
    if (client->easy == NULL)
        client->easy = curl.easy_init();
    client->header = arena_alloc(&client->arena, HTTP_HEADER_BYTES_MAX + 1);
    if (client->agent == NULL || client->easy == NULL || client->header == NULL)
        return error_memory();
    client->multi = curl.multi_init();
    return memory_check(client->multi);
}

static bool is_cancelled(const struct http_client *client)
{
    return client->policy.cancel != NULL && *client->policy.cancel;
}

static struct error *check_cancel(const struct http_client *client)
{
    return is_cancelled(client) ? error_new(ERROR_INTERRUPTED, "interrupted") : NULL;
}

/* Sleeps, looking at the cancel flag. */
static struct error *nap(const struct http_client *client, uint64_t wait_ms)
{
    uint64_t begin = clock_now_ns(), passed_ms = 0;
    while (passed_ms < wait_ms) {
        TRY(check_cancel(client));
        uint64_t left = wait_ms - passed_ms;
        long ms = (long)(left < POLL_MS_MAX ? left : POLL_MS_MAX);
        nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
        passed_ms = (clock_now_ns() - begin) / 1000000;
    }
    return check_cancel(client);
}

/* Sleeps as long as these bytes may take: what is not read, the server cannot send. (libcurl's own
 * limit lets short bodies through at once.) */
static struct error *keep_rate(struct http_client *client, size_t length)
{
    uint64_t now = clock_now_ns(), rate = client->policy.rate_bytes;
    if (rate == 0)
        return NULL;
    if (client->paid_until_ns < now)
        client->paid_until_ns = now;
    client->paid_until_ns += length * UINT64_C(1000000000) / rate;
    return nap(client, (client->paid_until_ns - now) / 1000000);
}

/* --- one get and one hop --------------------------------------------------------------------- */

struct get {
    struct http_client *client;
    struct arena *arena; /* the caller's: what the reply points to */
    const struct http_request *request;
    struct http_reply *reply;
    uint64_t position;      /* in the file, of the next byte to deliver */
    uint64_t counted_from;  /* the position when the retries were last counted from 0 */
    unsigned retry_count;   /* since then */
    unsigned expired_count; /* refused signed addresses since the last byte */
    unsigned try_count;
    bool is_direct_spent;      /* request->direct was asked, or there is none */
    bool is_complete;          /* every byte was delivered */
    uint64_t wait_ms_told;     /* by the last answer; 0: nothing */
    char etag[ETAG_BYTES_MAX]; /* of the answer that delivered bytes, "" for none */
    const char *etag_origin;   /* in the caller's arena */
    char *error_body;          /* HTTP_ERROR_BODY_BYTES_MAX bytes, or NULL */
    size_t error_body_count;
};

enum body_use { BODY_IGNORED, BODY_KEPT, BODY_DELIVERED };

struct hop {
    struct get *get;
    const char *url, *shown;
    bool is_home, is_direct;
    char *header; /* the client's */
    size_t header_count;
    size_t header_seen; /* with interim answers and trailers */
    bool has_header;    /* a final block is complete */
    unsigned status;
    enum body_use use;
    uint64_t ignored; /* bytes */
    uint64_t skip;    /* bytes of this body before the position */
    uint64_t until;   /* the position where the body ends, HTTP_SIZE_UNKNOWN if it does not say */
    bool is_cut;      /* the file goes on past `until`: stop reading there */
    bool is_enough;   /* reading was stopped on purpose */
    uint64_t size_total; /* of the file, by this answer */
    struct error *error; /* born in a callback */
    bool is_transient;
    uint64_t sent_ns, last_ns; /* when the request left; when the last byte came */
    uint64_t span_begin_ns;    /* of the time over which the rate is measured */
    uint64_t span_bytes;       /* that came in it */
};

/* What may be shown of an address that a server may have chosen: without query, and without the
 * token that it may have learnt. */
static char *show_url(struct arena *arena, const struct http_request *request, const char *url)
{
    return text_hide(arena, (struct text){url, strcspn(url, "?#")}, request->token);
}

static struct http_answer answer_of(const struct hop *hop)
{
    return (struct http_answer){.status = hop->status,
        .is_home = hop->is_home,
        .is_direct = hop->is_direct,
        .url = hop->shown,
        .header = {hop->header, hop->header_count}};
}

/* --- the verdict on a header block ----------------------------------------------------------- */

static struct error *hop_error(const struct hop *hop, const char *complaint)
{
    return error_new(ERROR_NETWORK, "%s: %s", hop->shown, complaint);
}

static struct error *size_error(const struct hop *hop, uint64_t size)
{
    return error_new(ERROR_NETWORK, "%s: the file must have %llu bytes, the server's has %llu",
        hop->shown, (unsigned long long)hop->get->request->size_total, (unsigned long long)size);
}

static struct error *past_end_error(const struct hop *hop, uint64_t size)
{
    return error_new(ERROR_NETWORK, "%s: byte %llu was asked for, the file has %llu", hop->shown,
        (unsigned long long)hop->get->position, (unsigned long long)size);
}

struct text http_header(const struct http_answer *answer, const char *name)
{
    return http_header_find(answer->header, name);
}

static bool is_redirect(unsigned status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static bool is_transient_status(unsigned status)
{
    return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

static struct error *judge_partial(struct hop *hop, const struct http_answer *answer)
{
    const struct http_request *request = hop->get->request;
    struct text field = http_header(answer, "Content-Range");
    uint64_t begin = 0, end = 0, size = 0;
    if (!request->is_ranged)
        return hop_error(hop, "part of the file was sent, but all of it was asked for");
    if (!http_parse_content_range(field, &begin, &end, &size))
        return hop_error(hop, "a part was sent without saying which (Content-Range)");
    if (size == HTTP_SIZE_UNKNOWN)
        size = request->size_total;
    else if (request->size_total != HTTP_SIZE_UNKNOWN && size != request->size_total)
        return size_error(hop, size);
    uint64_t end_wanted = request->end < size ? request->end : size;
    if (end_wanted == HTTP_SIZE_UNKNOWN)
        end_wanted = end; /* up to an end that nobody knows */
    if (begin != hop->get->position || end != end_wanted)
        return error_new(ERROR_NETWORK,
            "%s: bytes %llu to %llu were asked for, %llu to %llu were sent", hop->shown,
            (unsigned long long)hop->get->position, (unsigned long long)end_wanted,
            (unsigned long long)begin, (unsigned long long)end);
    hop->until = end;
    hop->size_total = size;
    return NULL;
}

static struct error *judge_whole(struct hop *hop, const struct http_answer *answer)
{
    struct get *get = hop->get;
    const struct http_request *request = get->request;
    uint64_t size = HTTP_SIZE_UNKNOWN;
    if (http_header(answer, "Transfer-Encoding").length == 0 &&
        !http_parse_number(http_header(answer, "Content-Length"), &size))
        size = HTTP_SIZE_UNKNOWN;
    if (size == HTTP_SIZE_UNKNOWN)
        size = request->size_total; /* checked at the end */
    else if (request->size_total != HTTP_SIZE_UNKNOWN && size != request->size_total)
        return size_error(hop, size);
    hop->size_total = size;
    if (!request->is_ranged) {
        get->position = 0; /* a retry starts over */
        hop->until = size;
        return NULL;
    }
    hop->skip = get->position;
    hop->until = request->end < size ? request->end : size;
    hop->is_cut = request->end < size;
    return size < get->position ? past_end_error(hop, size) : NULL;
}

/* Whether bytes of the file are here already that this ETag vouched for at this host. */
static bool is_bound(const struct hop *hop)
{
    const struct get *get = hop->get;
    bool has_begun = get->request->etag != NULL || get->position > get->request->begin;
    return get->request->is_ranged && has_begun && get->etag[0] != '\0' &&
           url_same_origin(get->etag_origin, hop->url);
}

/* Between two tries, or two ranges, the file may have been replaced: then their bytes must not be
 * joined. */
static struct error *check_unchanged(struct hop *hop, const struct http_answer *answer)
{
    struct get *get = hop->get;
    struct text etag = http_header(answer, "ETag");
    bool is_same_host = get->etag_origin != NULL && url_same_origin(get->etag_origin, hop->url);
    if (is_bound(hop) && !text_is(etag, get->etag))
        return error_new(
            ERROR_DAMAGE, "%s: the file changed on the server during the download", hop->shown);
    get->etag[0] = '\0';
    if (etag.length < sizeof get->etag)
        snprintf(get->etag, sizeof get->etag, "%.*s", (int)etag.length, etag.bytes);
    if (!is_same_host)
        get->etag_origin = url_origin(get->arena, hop->url);
    return memory_check(get->etag_origin);
}

static struct error *judge_content(struct hop *hop, const struct http_answer *answer)
{
    const char *encoding =
        http_header_list(&hop->get->client->scratch, answer->header, "Content-Encoding");
    TRY(memory_check(encoding));
    if (encoding[0] != '\0' && strcasecmp(encoding, "identity") != 0)
        return hop_error(hop, "the file was sent encoded, though identity was asked for");
    TRY(answer->status == 206 ? judge_partial(hop, answer) : judge_whole(hop, answer));
    TRY(check_unchanged(hop, answer));
    hop->use = BODY_DELIVERED;
    hop->get->reply->size_total = hop->size_total;
    return NULL;
}

/* "Not satisfiable" means that everything is here when the file ends where the next byte would be.
 */
static struct error *judge_unsatisfiable(struct hop *hop, const struct http_answer *answer)
{
    const struct http_request *request = hop->get->request;
    uint64_t begin = 0, end = 0, size = 0;
    if (!request->is_ranged ||
        !http_parse_content_range(http_header(answer, "Content-Range"), &begin, &end, &size) ||
        end > 0)
        return NULL; /* a plain 416 */
    if (request->size_total != HTTP_SIZE_UNKNOWN && size != request->size_total)
        return size_error(hop, size);
    if (request->end != HTTP_SIZE_UNKNOWN || size != hop->get->position)
        return past_end_error(hop, size);
    hop->get->is_complete = true;
    hop->get->reply->size_total = size;
    return NULL;
}

static struct error *judge_answer(struct hop *hop)
{
    struct http_answer answer = answer_of(hop);
    const struct http_request *request = hop->get->request;
    hop->get->error_body_count = 0;
    if (request->on_answer != NULL)
        TRY(request->on_answer(request->context, &answer));
    if (answer.status == 200 || answer.status == 206)
        return judge_content(hop, &answer);
    hop->use = is_redirect(answer.status) ? BODY_IGNORED : BODY_KEPT;
    if (answer.status == 416)
        return judge_unsatisfiable(hop, &answer);
    if (is_transient_status(answer.status))
        hop->get->wait_ms_told = 1000 * http_wait_seconds(answer.header, answer.status, time(NULL));
    return NULL;
}

/* --- libcurl's callbacks --------------------------------------------------------------------- */

static struct error *take_header_line(struct hop *hop, const char *line, size_t length)
{
    hop->header_seen += length;
    if (hop->header_seen > HTTP_HEADER_BYTES_MAX)
        return hop_error(hop, "the header of the answer is longer than 256 KiB");
    if (hop->has_header)
        return NULL; /* a trailer */
    if (length >= 5 && strncmp(line, "HTTP/", 5) == 0) {
        hop->header_count = 0;
        hop->status = http_parse_status((struct text){line, length});
        return hop->status == 0 ? hop_error(hop, "the answer is not HTTP") : NULL;
    }
    bool is_end = length == 0 || line[0] == '\r' || line[0] == '\n';
    if (is_end && hop->status >= 200) {
        hop->has_header = true;
        hop->last_ns = hop->span_begin_ns = clock_now_ns();
        return judge_answer(hop);
    }
    if (memchr(line, '\0', length) != NULL)
        return hop_error(hop, "the header of the answer holds a NUL byte");
    memcpy(hop->header + hop->header_count, line, length);
    hop->header_count += length;
    hop->header[hop->header_count] = '\0';
    return NULL;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
    struct hop *hop = context;
    if (hop->error == NULL)
        hop->error = take_header_line(hop, bytes, size * count);
    return hop->error == NULL ? size * count : 0;
}

static struct error *deliver(struct hop *hop, const char *bytes, size_t length)
{
    struct get *get = hop->get;
    if (hop->skip > 0) {
        size_t skipped = hop->skip < length ? (size_t)hop->skip : length;
        hop->skip -= skipped;
        bytes += skipped;
        length -= skipped;
    }
    uint64_t room = hop->until - get->position;
    if (hop->until != HTTP_SIZE_UNKNOWN && length > room) {
        if (!hop->is_cut)
            return hop_error(hop, "more bytes were sent than announced");
        hop->is_enough = true;
        length = (size_t)room;
    }
    uint64_t taken = get->position - (get->request->is_ranged ? get->request->begin : 0);
    if (length > get->request->size_max - taken)
        return error_new(ERROR_NETWORK, "%s: the answer is longer than %llu bytes", hop->shown,
            (unsigned long long)get->request->size_max);
    if (length == 0)
        return NULL;
    TRY(get->request->on_body(get->request->context, bytes, length));
    get->position += length;
    get->expired_count = 0;
    return NULL;
}

static struct error *keep_error_body(struct hop *hop, const char *bytes, size_t length)
{
    struct get *get = hop->get;
    if (get->error_body == NULL)
        get->error_body = arena_alloc(get->arena, HTTP_ERROR_BODY_BYTES_MAX);
    TRY(memory_check(get->error_body));
    size_t room = HTTP_ERROR_BODY_BYTES_MAX - get->error_body_count;
    hop->is_enough = length > room;
    if (length > room)
        length = room;
    memcpy(get->error_body + get->error_body_count, bytes, length);
    get->error_body_count += length;
    return NULL;
}

static struct error *take_body(struct hop *hop, const char *bytes, size_t length)
{
    if (!hop->has_header)
        return hop_error(hop, "the answer is not HTTP");
    if (hop->use == BODY_DELIVERED)
        return deliver(hop, bytes, length);
    if (hop->use == BODY_KEPT)
        return keep_error_body(hop, bytes, length);
    hop->ignored += length;
    hop->is_enough = hop->ignored > IGNORED_BYTES_MAX;
    return NULL;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct hop *hop = context;
    uint64_t begin_ns = clock_now_ns();
    if (hop->error == NULL)
        hop->error = take_body(hop, bytes, size * count);
    if (hop->error == NULL)
        hop->error = keep_rate(hop->get->client, size * count);
    hop->last_ns = clock_now_ns(); /* after the callback: its time is not the server's */
    hop->span_begin_ns += hop->last_ns - begin_ns;
    hop->span_bytes += size * count;
    return hop->error == NULL && !hop->is_enough ? size * count : 0;
}

/* --- one hop --------------------------------------------------------------------------------- */

static void clear_bytes(char *bytes, size_t length)
{
    volatile char *byte = bytes; /* a plain memset of what is freed next is optimized away */
    while (length-- > 0)
        *byte++ = 0;
}

static struct error *add_line(struct curl_slist **lines, const char *line)
{
    struct curl_slist *grown = line == NULL ? NULL : curl.slist_append(*lines, line);
    TRY(memory_check(grown));
    *lines = grown;
    return NULL;
}

static struct error *make_lines(struct hop *hop, const char *token, struct curl_slist **lines)
{
    struct get *get = hop->get;
    struct arena *arena = &get->client->scratch;
    TRY(add_line(lines, "Accept-Encoding: identity"));
    if (token != NULL) {
        char *line = arena_format(arena, "Authorization: Bearer %s", token);
        TRY(add_line(lines, line));
        clear_bytes(line, strlen(line));
    }
    if (!get->request->is_ranged)
        return NULL;
    char end[24] = "";
    if (get->request->end != HTTP_SIZE_UNKNOWN)
        snprintf(end, sizeof end, "%llu", (unsigned long long)(get->request->end - 1));
    TRY(add_line(lines,
        arena_format(arena, "Range: bytes=%llu-%s", (unsigned long long)get->position, end)));
    if (is_bound(hop) && get->etag[0] == '"')
        TRY(add_line(lines, arena_format(arena, "If-Range: %s", get->etag)));
    return NULL;
}

struct setting {
    CURLcode code; /* the first that was refused */
    CURL *easy;
};

static void set_long(struct setting *setting, CURLoption option, long value)
{
    if (setting->code == CURLE_OK)
        setting->code = curl.easy_setopt(setting->easy, option, value);
}

static void set_pointer(struct setting *setting, CURLoption option, const void *value)
{
    if (setting->code == CURLE_OK)
        setting->code = curl.easy_setopt(setting->easy, option, value);
}

typedef size_t curl_callback(char *, size_t, size_t, void *);

static void set_callback(struct setting *setting, CURLoption option, curl_callback *callback)
{
    if (setting->code == CURLE_OK)
        setting->code = curl.easy_setopt(setting->easy, option, callback);
}

/* A slow client reads little at a time, so that its bytes come evenly. */
static uint64_t buffer_bytes(const struct http_policy *policy)
{
    uint64_t quarter = policy->rate_bytes / 4;
    if (policy->rate_bytes == 0 || quarter > BUFFER_BYTES)
        return BUFFER_BYTES;
    return quarter < BUFFER_BYTES_MIN ? BUFFER_BYTES_MIN : quarter;
}

static CURLcode set_options(struct hop *hop, const struct curl_slist *lines)
{
    struct http_client *client = hop->get->client;
    struct setting setting = {CURLE_OK, client->easy};
    curl.easy_reset(client->easy);
    /* Refused after a host that was not found, while the old buffer is still there: no harm. */
    curl.easy_setopt(client->easy, CURLOPT_BUFFERSIZE, (long)buffer_bytes(&client->policy));
    set_pointer(&setting, CURLOPT_URL, hop->url);
#if LIBCURL_VERSION_NUM >= 0x075500
    set_pointer(&setting, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    set_long(&setting, CURLOPT_PROTOCOLS, CURLPROTO_HTTP | CURLPROTO_HTTPS);
#endif
    set_long(&setting, CURLOPT_FOLLOWLOCATION, 0);
    set_long(&setting, CURLOPT_NETRC, CURL_NETRC_IGNORED);
    set_long(&setting, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS); /* where it is offered */
    set_long(&setting, CURLOPT_HEADEROPT, CURLHEADER_SEPARATE);
    set_long(&setting, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1);
    set_long(&setting, CURLOPT_NOSIGNAL, 1);
    set_long(&setting, CURLOPT_TCP_KEEPALIVE, 1);
    set_long(&setting, CURLOPT_CONNECTTIMEOUT_MS, (long)client->policy.header_ms_max);
    set_long(&setting, CURLOPT_FRESH_CONNECT, hop->get->try_count > 1); /* the old one broke */
    set_pointer(&setting, CURLOPT_USERAGENT, client->agent);
    if (client->policy.ca_file != NULL)
        set_pointer(&setting, CURLOPT_CAINFO, client->policy.ca_file);
    set_pointer(&setting, CURLOPT_HTTPHEADER, lines);
    client->complaint[0] = '\0';
    set_pointer(&setting, CURLOPT_ERRORBUFFER, client->complaint);
    set_callback(&setting, CURLOPT_HEADERFUNCTION, on_header);
    set_pointer(&setting, CURLOPT_HEADERDATA, hop);
    set_callback(&setting, CURLOPT_WRITEFUNCTION, on_body);
    set_pointer(&setting, CURLOPT_WRITEDATA, hop);
    return setting.code;
}

static struct error *stall_error(struct hop *hop, const char *what, uint64_t ms)
{
    hop->is_transient = true;
    return error_new(ERROR_NETWORK, "%s: %s within %g s", hop->shown, what, (double)ms / 1000);
}

/* A byte now and then is no life. */
static struct error *check_rate(struct hop *hop, uint64_t now)
{
    const struct http_policy *policy = &hop->get->client->policy;
    uint64_t span_ms = now > hop->span_begin_ns ? (now - hop->span_begin_ns) / 1000000 : 0;
    if (span_ms < policy->rate_span_ms)
        return NULL;
    if ((double)hop->span_bytes * 1000 < (double)policy->rate_bytes_min * (double)span_ms) {
        hop->is_transient = true;
        return error_new(ERROR_NETWORK, "%s: less than %llu bytes a second arrived in %g s",
            hop->shown, (unsigned long long)policy->rate_bytes_min,
            (double)policy->rate_span_ms / 1000);
    }
    hop->span_begin_ns = now;
    hop->span_bytes = 0;
    return NULL;
}

/* A byte of the header does not start its time anew: a server that dribbles must not hold us. */
static struct error *check_time(struct hop *hop)
{
    const struct http_policy *policy = &hop->get->client->policy;
    uint64_t now = clock_now_ns();
    if (hop->has_header) {
        if (now > hop->last_ns && (now - hop->last_ns) / 1000000 >= policy->body_ms_max)
            return stall_error(hop, "no byte arrived", policy->body_ms_max);
        return check_rate(hop, now);
    }
    if (hop->sent_ns == 0) {
        double seconds = 0; /* until the request was about to leave; 0: not yet connected */
        curl.easy_getinfo(hop->get->client->easy, CURLINFO_PRETRANSFER_TIME, &seconds);
        hop->sent_ns = seconds > 0 ? now : 0;
    } else if ((now - hop->sent_ns) / 1000000 >= policy->header_ms_max) {
        return stall_error(hop, "no answer came", policy->header_ms_max);
    }
    return NULL;
}

static int poll_ms(const struct http_policy *policy)
{
    uint64_t shortest =
        policy->header_ms_max < policy->body_ms_max ? policy->header_ms_max : policy->body_ms_max;
    return (int)(shortest / 4 + 1 < POLL_MS_MAX ? shortest / 4 + 1 : POLL_MS_MAX);
}

static struct error *drive(struct hop *hop, CURLcode *code)
{
    struct http_client *client = hop->get->client;
    int running = 1;
    for (;;) {
        CURLMcode failed = curl.multi_perform(client->multi, &running);
        if (failed != CURLM_OK)
            return error_new(ERROR_NETWORK, "%s: libcurl failed (%d)", hop->shown, (int)failed);
        if (running == 0)
            break;
        TRY(check_cancel(client));
        TRY(check_time(hop));
        curl.multi_poll(client->multi, NULL, 0, poll_ms(&client->policy), NULL);
    }
    int left = 0;
    const CURLMsg *message = curl.multi_info_read(client->multi, &left);
    *code = message == NULL ? CURLE_FAILED_INIT : message->data.result;
    return NULL;
}

/* What libcurl's codes mean to a user, and whether trying again may help: always when it was the
 * connection, whatever spoke over it. */
static struct error *transport_error(struct hop *hop, CURLcode code)
{
    static const struct {
        CURLcode code;
        bool is_transient, has_detail;
        const char *words;
    } rows[] = {
        {CURLE_COULDNT_RESOLVE_PROXY, true, false, "the proxy's host is not known"},
        {CURLE_COULDNT_RESOLVE_HOST, true, false, "the host is not known"},
        {CURLE_COULDNT_CONNECT, true, false, "cannot connect"},
        {CURLE_OPERATION_TIMEDOUT, true, false, "no connection in time"},
        {CURLE_PARTIAL_FILE, true, false, "the connection broke"},
        {CURLE_GOT_NOTHING, true, false, "the server closed the connection without an answer"},
        {CURLE_SEND_ERROR, true, false, "the connection broke"},
        {CURLE_RECV_ERROR, true, true, "the connection broke"},
        {CURLE_AGAIN, true, false, "the connection broke"},
        {CURLE_HTTP2, true, true, "the connection broke"},
        {CURLE_HTTP2_STREAM, true, true, "the connection broke"},
        {CURLE_HTTP3, true, true, "the connection broke"},
        {CURLE_QUIC_CONNECT_ERROR, true, true, "cannot connect"},
        {CURLE_PROXY, true, true, "cannot connect through the proxy"},
        {CURLE_SSL_CONNECT_ERROR, true, true, "no secure connection"},
        {CURLE_PEER_FAILED_VERIFICATION, false, true, "no secure connection"},
        {CURLE_SSL_CACERT_BADFILE, false, true, "no secure connection"},
        {CURLE_UNSUPPORTED_PROTOCOL, false, false, "the answer is not HTTP"}, /* HTTP/0.9 */
        {CURLE_WEIRD_SERVER_REPLY, false, false, "the answer is not HTTP"},
    };
    struct http_client *client = hop->get->client;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code != code)
            continue;
        hop->is_transient = rows[i].is_transient;
        if (!rows[i].has_detail)
            return hop_error(hop, rows[i].words);
        const char *hidden =
            text_hide(&client->scratch, text_of(client->complaint), hop->get->request->token);
        const char *detail = text_printable(&client->scratch, text_of(hidden));
        return error_new(ERROR_NETWORK, "%s: %s: %s", hop->shown, rows[i].words,
            detail != NULL && detail[0] != '\0' ? detail : curl.easy_strerror(code));
    }
    return hop_error(hop, curl.easy_strerror(code));
}

/* The end of a body that was delivered: all of it must have come. */
static struct error *check_end(struct hop *hop)
{
    struct get *get = hop->get;
    if (hop->until != HTTP_SIZE_UNKNOWN && get->position < hop->until) {
        hop->is_transient = true;
        return error_new(ERROR_NETWORK, "%s: the connection ended at byte %llu of %llu", hop->shown,
            (unsigned long long)get->position, (unsigned long long)hop->until);
    }
    if (hop->until == HTTP_SIZE_UNKNOWN && get->reply->size_total == HTTP_SIZE_UNKNOWN)
        get->reply->size_total = get->position;
    get->is_complete = true;
    return NULL;
}

static struct error *run_hop(struct hop *hop, const char *token)
{
    struct http_client *client = hop->get->client;
    struct curl_slist *lines = NULL;
    struct error *error = make_lines(hop, token, &lines);
    CURLcode code = CURLE_OK;
    if (error == NULL) {
        code = set_options(hop, lines);
        if (code != CURLE_OK)
            error = error_new(ERROR_FAILED, "%s: too old for psybuild: %s", LIBCURL_SONAME,
                curl.easy_strerror(code));
    }
    if (error == NULL && curl.multi_add_handle(client->multi, client->easy) != CURLM_OK)
        error = error_memory();
    else if (error == NULL)
        error = drive(hop, &code);
    curl.multi_remove_handle(client->multi, client->easy); /* harmless when it was not added */
    for (struct curl_slist *line = lines; line != NULL; line = line->next)
        clear_bytes(line->data, strlen(line->data)); /* one of them may hold the token */
    curl.slist_free_all(lines);
    if (hop->error != NULL) {
        error_free(error);
        return hop->error;
    }
    if (error != NULL)
        return error;
    bool is_judged =
        hop->has_header && hop->use != BODY_DELIVERED; /* a broken error text is fine */
    if (code != CURLE_OK && !hop->is_enough && !is_judged)
        return transport_error(hop, code);
    return hop->use == BODY_DELIVERED ? check_end(hop) : NULL;
}

/* --- one try --------------------------------------------------------------------------------- */

static struct error *begin_hop(
    struct get *get, const char *url, bool is_home, bool is_direct, struct hop *hop)
{
    struct arena *arena = &get->client->scratch;
    *hop = (struct hop){.get = get,
        .url = url,
        .shown = show_url(arena, get->request, url),
        .is_home = is_home,
        .is_direct = is_direct,
        .header = get->client->header,
        .until = HTTP_SIZE_UNKNOWN,
        .size_total = HTTP_SIZE_UNKNOWN};
    hop->header[0] = '\0';
    return memory_check(hop->shown);
}

static struct error *follow(struct hop *hop, const char **url)
{
    struct arena *arena = &hop->get->client->scratch;
    struct http_answer answer = answer_of(hop);
    struct text location = http_header(&answer, "Location");
    char *target = NULL;
    if (location.length == 0)
        return hop_error(hop, "a redirect without a Location");
    if (!url_join(arena, hop->url, location, &target))
        return error_memory();
    if (target == NULL)
        return hop_error(hop, "a redirect to what is not an http or https address");
    if (url_scheme_of(hop->url) == URL_HTTPS && url_scheme_of(target) == URL_HTTP)
        return hop_error(hop, "a redirect from https to http");
    *url = target;
    return NULL;
}

static struct error *note_reply(struct hop *hop)
{
    struct get *get = hop->get;
    struct arena *arena = get->arena;
    struct http_answer answer = answer_of(hop);
    struct text etag = http_header(&answer, "ETag");
    get->reply->status = get->is_complete ? 200 : hop->status;
    get->reply->is_home = hop->is_home;
    get->reply->url = show_url(arena, get->request, hop->url);
    get->reply->origin = url_origin(arena, hop->url);
    get->reply->etag = arena_copy(arena, etag.bytes, etag.length);
    get->reply->address = arena_copy(arena, hop->url, strlen(hop->url));
    bool has_all = get->reply->url != NULL && get->reply->origin != NULL &&
                   get->reply->etag != NULL && get->reply->address != NULL;
    return has_all ? NULL : error_memory();
}

/* `*is_transient` means something together with an error only. */
static struct error *try_once(struct get *get, bool *is_transient)
{
    struct arena *arena = &get->client->scratch;
    bool is_direct = !get->is_direct_spent;
    const char *url = is_direct ? get->request->direct : get->request->url, *home = url;
    const char *token = is_direct ? NULL : get->request->token;
    bool is_home = !is_direct;
    get->is_direct_spent = true;
    arena_reset(arena);
    for (unsigned count = 0;; count++) {
        struct hop hop;
        TRY(begin_hop(get, url, is_home, is_direct, &hop));
        if (count > HTTP_HOPS_MAX)
            return hop_error(&hop, "more than 20 redirects");
        struct error *error = run_hop(&hop, token);
        *is_transient = hop.is_transient;
        if (error != NULL)
            return error;
        if (!is_redirect(hop.status))
            return note_reply(&hop);
        TRY(follow(&hop, &url));
        if (url_same_origin(url, home))
            continue;
        token = NULL; /* for this hop and all later ones */
        is_home = is_home && url_is_upgrade(hop.url, url);
        if (is_home)
            home = url;
    }
}

/* --- retries --------------------------------------------------------------------------------- */

static uint64_t back_off_ms(struct get *get)
{
    const struct http_policy *policy = &get->client->policy;
    uint64_t wait_ms = policy->wait_ms_first;
    for (unsigned i = 1; i < get->retry_count && wait_ms < policy->wait_ms_cap; i++)
        wait_ms *= 2;
    if (wait_ms > policy->wait_ms_cap)
        wait_ms = policy->wait_ms_cap;
    uint64_t random = get->client->random; /* xorshift64: threads must not retry in step */
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    get->client->random = random;
    return wait_ms + random % (wait_ms / 4 + 1);
}

static struct error *wait_for(struct http_client *client, uint64_t wait_ms, const char *why)
{
    if (client->policy.wait != NULL) {
        client->policy.wait(client->policy.context, wait_ms, why);
        return check_cancel(client);
    }
    return nap(client, wait_ms);
}

/* True when one more try is due; counts it. */
static bool count_retry(struct get *get)
{
    if (get->position - get->counted_from >= PROGRESS_BYTES && get->position > get->counted_from) {
        get->counted_from = get->position;
        get->retry_count = 0;
    }
    if (get->retry_count >= get->client->policy.retry_count_max)
        return false;
    get->retry_count++;
    return true;
}

static struct error *wait_to_retry(struct get *get, const char *why)
{
    uint64_t wait_ms = back_off_ms(get);
    if (get->wait_ms_told > get->client->policy.wait_ms_refused)
        return error_new(ERROR_NETWORK,
            "%s: the server asks for a wait of %llu s, longer than the %llu s psybuild waits",
            get->reply->url, (unsigned long long)(get->wait_ms_told / 1000),
            (unsigned long long)(get->client->policy.wait_ms_refused / 1000));
    if (get->wait_ms_told > 0)
        wait_ms = get->wait_ms_told;
    return wait_for(get->client, wait_ms, why);
}

static struct error *add_try_count(const struct get *get, struct error *error)
{
    if (get->try_count < 2 || error_kind_of(error) != ERROR_NETWORK)
        return error;
    struct error *counted =
        error_new(ERROR_NETWORK, "%s (tried %u times)", error_text(error), get->try_count);
    error_free(error);
    return counted;
}

/* A signed address refused by a storage host has expired: a new one comes from the home. */
static bool is_expired(struct get *get)
{
    return get->reply->status == 403 && !get->reply->is_home &&
           get->expired_count++ < EXPIRED_COUNT_MAX;
}

static struct error *get_network(struct get *get)
{
    TRY(connect_client(get->client));
    for (;;) {
        bool is_transient = false, is_direct = !get->is_direct_spent;
        get->try_count++;
        get->wait_ms_told = 0;
        TRY(check_cancel(get->client));
        struct error *error = try_once(get, &is_transient);
        if (error != NULL) {
            if (!is_transient || !count_retry(get))
                return add_try_count(get, error);
            struct error *stop = wait_to_retry(get, error_text(error));
            error_free(error);
            TRY(stop);
            continue;
        }
        if (get->is_complete)
            return NULL;
        if (is_direct || is_expired(get))
            continue;
        if (!is_transient_status(get->reply->status) || !count_retry(get))
            return NULL;
        struct error *why = http_status_error(get->reply);
        struct error *stop = wait_to_retry(get, error_text(why));
        error_free(why);
        TRY(stop);
    }
}

/* --- file:// --------------------------------------------------------------------------------- */

static struct error *deliver_file(struct get *get, const struct file *file, uint64_t end)
{
    struct error *error = NULL;
    char *buffer = memory_alloc(FILE_PIECE_BYTES);
    TRY(memory_check(buffer));
    while (get->position < end && error == NULL) {
        uint64_t left = end - get->position;
        size_t size = left < FILE_PIECE_BYTES ? (size_t)left : FILE_PIECE_BYTES;
        error = check_cancel(get->client);
        if (error == NULL)
            error = file_read_at(file, get->position, buffer, size);
        if (error == NULL)
            error = get->request->on_body(get->request->context, buffer, size);
        get->position += size;
    }
    memory_free(buffer);
    return error;
}

static struct error *get_open_file(struct get *get, const struct file *file)
{
    const struct http_request *request = get->request;
    uint64_t size = file_size(file);
    uint64_t end = request->is_ranged && request->end < size ? request->end : size;
    if (request->size_total != HTTP_SIZE_UNKNOWN && size != request->size_total)
        return error_new(ERROR_NETWORK, "%s: the file must have %llu bytes, it has %llu",
            request->url, (unsigned long long)request->size_total, (unsigned long long)size);
    if (get->position > end)
        return error_new(ERROR_NETWORK, "%s: byte %llu was asked for, the file has %llu",
            request->url, (unsigned long long)get->position, (unsigned long long)size);
    if (end - get->position > request->size_max)
        return error_new(ERROR_NETWORK, "%s: the answer is longer than %llu bytes", request->url,
            (unsigned long long)request->size_max);
    TRY(deliver_file(get, file, end));
    get->reply->status = 200;
    get->reply->size_total = size;
    get->reply->url = arena_copy(get->arena, request->url, strlen(request->url));
    return memory_check(get->reply->url);
}

static struct error *get_file(struct get *get)
{
    bool is_good = false;
    struct file *file = NULL;
    char *path = url_decode(get->arena, text_of(url_after_origin(get->request->url)), &is_good);
    TRY(memory_check(path));
    if (!is_good)
        return error_new(ERROR_USAGE, "%s: not the address of a file", get->request->url);
    TRY(file_open(path, &file));
    struct error *error = get_open_file(get, file);
    file_close(file);
    return error;
}

/* --- the interface --------------------------------------------------------------------------- */

struct error *http_get(struct http_client *client, struct arena *arena,
    const struct http_request *request, struct http_reply *out)
{
    enum url_scheme scheme = url_scheme_of(request->url);
    struct http_reply reply = {
        .origin = "", .address = "", .etag = "", .size_total = HTTP_SIZE_UNKNOWN};
    uint64_t begin = request->is_ranged ? request->begin : 0;
    struct get get = {.client = client,
        .arena = arena,
        .request = request,
        .reply = &reply,
        .position = begin,
        .counted_from = begin,
        .is_direct_spent = request->direct == NULL || request->direct[0] == '\0'};
    if (scheme == URL_NONE)
        return error_new(ERROR_USAGE, "not an http, https or file address without user and spaces");
    reply.url = show_url(arena, request, request->url);
    TRY(memory_check(reply.url));
    if (request->is_ranged && request->begin >= request->end)
        return error_new(ERROR_USAGE, "%s: an empty range was asked for", reply.url);
    if (!get.is_direct_spent && request->etag != NULL) {
        snprintf(get.etag, sizeof get.etag, "%s", request->etag);
        get.etag_origin = url_origin(arena, request->direct);
        TRY(memory_check(get.etag_origin));
    }
    TRY(scheme == URL_FILE ? get_file(&get) : get_network(&get));
    reply.try_count = get.try_count;
    if (reply.status != 200)
        reply.error_body = (struct text){get.error_body, get.error_body_count};
    *out = reply;
    return NULL;
}

const char *http_status_name(unsigned status)
{
    static const struct {
        unsigned status;
        const char *name;
    } rows[] = {{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
        {407, "Proxy Authentication Required"}, {408, "Request Timeout"}, {410, "Gone"},
        {412, "Precondition Failed"}, {416, "Range Not Satisfiable"}, {429, "Too Many Requests"},
        {451, "Unavailable For Legal Reasons"}, {500, "Internal Server Error"},
        {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
        {504, "Gateway Timeout"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].name;
    return "";
}

struct error *http_status_error(const struct http_reply *reply)
{
    const char *name = http_status_name(reply->status);
    char tries[40] = "";
    if (reply->try_count > 1)
        snprintf(tries, sizeof tries, " (tried %u times)", reply->try_count);
    return error_new(ERROR_NETWORK, "%s: the server answered %u%s%s%s%s", reply->url, reply->status,
        name[0] != '\0' ? " (" : "", name, name[0] != '\0' ? ")" : "", tries);
}
