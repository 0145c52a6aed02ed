/* hub_settings.h - which hub, with which token: what the environment says, as the hub's own client
 * reads it. */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_SETTINGS_H
#define PSYBUILD_TASKS_FORMATS_HUB_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "tasks/formats/http.h"

enum { HUB_PAGES_MAX = 10 * 1000 }; /* of a listing, by default */
#define HUB_PUBLIC_ENDPOINT "https://huggingface.co"

struct hub_settings {
    const char *endpoint;     /* without trailing slash */
    const char *token;        /* NULL: none */
    const char *token_source; /* where it was found: "HF_TOKEN" or a path; NULL without a token */
    const char *cache;        /* root of the client's cache, which may be absent */
    bool is_offline;          /* no request is made; each needed one is an error */
    uint64_t header_ms_max, body_ms_max, rate_bytes_min;
    const char *agent_more; /* for the User-Agent; NULL: nothing */
    const char *ca_file;    /* NULL: the system's certificates */
    size_t page_count_max;  /* of a listing */
};
/* From the environment: HF_ENDPOINT, HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH, HF_HOME,
 * XDG_CACHE_HOME, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HUB_DISABLE_IMPLICIT_TOKEN,
 * HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, HF_HUB_ETAG_TIMEOUT, HF_HUB_DOWNLOAD_TIMEOUT,
 * HF_HUB_USER_AGENT_ORIGIN, CURL_CA_BUNDLE, SSL_CERT_FILE; and PSYBUILD_RATE_MIN. Strings live in
 * the arena. ERROR_USAGE names a variable that makes no sense, but never its value. */
MUST_CHECK struct error *hub_settings_read(struct arena *arena, struct hub_settings *out);
/* Only whether no request is to be made. */
MUST_CHECK struct error *hub_settings_read_offline(struct arena *arena, bool *out);
/* Puts what the settings say about time, name and certificates into a policy. */
void hub_settings_apply(const struct hub_settings *settings, struct http_policy *policy);

#endif
