/* hub_settings.c - variables, defaults, and the file with the token. */
#include "tasks/formats/hub_settings.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file_whole.h"
#include "base/stamp.h"
#include "base/text.h"
#include "tasks/formats/url.h"

enum {
    TOKEN_BYTES_MAX = 16 * 1024,
    SECONDS_MAX = 24 * 60 * 60, /* of a time-out */
};

/* Without blanks around it; NULL when nothing is left. False when out of memory. */
static bool strip(struct arena *arena, struct text text, const char **out)
{
    text = text_trim(text, TEXT_BLANKS);
    *out = text.length == 0 ? NULL : arena_copy(arena, text.bytes, text.length);
    return text.length == 0 || *out != NULL;
}

static struct error *read_variable(struct arena *arena, const char *name, const char **out)
{
    return strip(arena, text_of(getenv(name)), out) ? NULL : error_memory();
}

static struct error *read_flag(struct arena *arena, const char *name, bool *out)
{
    static const char *const words[] = {"1", "on", "yes", "true"};
    const char *value = NULL;
    TRY(read_variable(arena, name, &value));
    *out = false;
    for (size_t i = 0; value != NULL && i < sizeof words / sizeof words[0]; i++)
        *out = *out || strcasecmp(value, words[i]) == 0;
    return NULL;
}

static struct error *read_seconds(struct arena *arena, const char *name, uint64_t *ms)
{
    const char *value = NULL;
    TRY(read_variable(arena, name, &value));
    if (value == NULL)
        return NULL;
    uint64_t seconds = 0;
    if (!text_to_u64(text_of(value), &seconds) || seconds == 0 || seconds > SECONDS_MAX)
        return error_new(
            ERROR_USAGE, "%s: must be a number of seconds, 1 to %d", name, SECONDS_MAX);
    *ms = seconds * 1000;
    return NULL;
}

static struct error *read_size(struct arena *arena, const char *name, uint64_t *bytes)
{
    const char *value = NULL;
    TRY(read_variable(arena, name, &value));
    if (value != NULL && !size_parse(text_of(value), bytes))
        return error_new(ERROR_USAGE, "%s: must be a size such as 4K, or 0", name);
    return NULL;
}

/* The variable's name behind a "$", in `$NAME` or `${NAME}`; returns how long the whole is, or 0.
 */
static size_t cut_variable(const char *text, struct text *name)
{
    bool is_braced = text[1] == '{';
    const char *begin = text + (is_braced ? 2 : 1), *end = begin;
    while (char_is_word(*end))
        end++;
    *name = (struct text){begin, (size_t)(end - begin)};
    if (end == begin || (is_braced && *end != '}'))
        return 0;
    return (size_t)(end - text) + (is_braced ? 1 : 0);
}

/* A leading "~" and variables that are set are replaced, as the hub's own client does. */
static struct error *expand(struct arena *arena, const char *path, const char **out)
{
    const char *home = getenv("HOME");
    const char *expanded = "";
    if (path[0] == '~' && (path[1] == '/' || path[1] == '\0') && home != NULL) {
        expanded = home;
        path++;
    }
    while (*path != '\0' && expanded != NULL) {
        struct text name = TEXT_EMPTY;
        size_t length = *path == '$' ? cut_variable(path, &name) : 0;
        char *key = length > 0 ? arena_copy(arena, name.bytes, name.length) : NULL;
        const char *value = key != NULL ? getenv(key) : NULL;
        if (value == NULL) { /* text up to the next "$" */
            length = 1 + strcspn(path + 1, "$");
            expanded = arena_format(arena, "%s%.*s", expanded, (int)length, path);
        } else {
            expanded = arena_format(arena, "%s%s", expanded, value);
        }
        path += length;
    }
    *out = expanded;
    return memory_check(expanded);
}

/* The path in the variable, else NAME in $HF_HOME, else in ${XDG_CACHE_HOME:-~/.cache}/huggingface.
 */
static struct error *find_path(
    struct arena *arena, const char *variable, const char *name, const char **out)
{
    const char *path = NULL, *home = NULL, *cache = NULL;
    TRY(read_variable(arena, variable, &path));
    TRY(read_variable(arena, "HF_HOME", &home));
    TRY(read_variable(arena, "XDG_CACHE_HOME", &cache));
    if (path == NULL && home != NULL)
        path = arena_format(arena, "%s/%s", home, name);
    else if (path == NULL)
        path = arena_format(arena, "%s/huggingface/%s", cache != NULL ? cache : "~/.cache", name);
    TRY(memory_check(path));
    return expand(arena, path, out);
}

static struct error *find_cache(struct arena *arena, const char **out)
{
    const char *value = NULL;
    TRY(read_variable(arena, "HF_HUB_CACHE", &value));
    return find_path(arena, value != NULL ? "HF_HUB_CACHE" : "HUGGINGFACE_HUB_CACHE", "hub", out);
}

static struct error *read_token_file(struct arena *arena, struct hub_settings *settings)
{
    const char *path = NULL;
    enum file_kind kind = FILE_ABSENT;
    struct file_stamp stamp;
    struct text text = TEXT_EMPTY;
    TRY(find_path(arena, "HF_TOKEN_PATH", "token", &path));
    TRY(file_stat(path, &kind, &stamp));
    if (kind != FILE_REGULAR)
        return NULL;
    TRY(file_read_whole(arena, path, TOKEN_BYTES_MAX, &text));
    settings->token_source = path;
    return strip(arena, text, &settings->token) ? NULL : error_memory();
}

/* It becomes part of a header line. */
static bool is_token(const char *token)
{
    for (; *token != '\0'; token++)
        if (*token <= ' ' || *token > '~')
            return false;
    return true;
}

static struct error *find_token(struct arena *arena, struct hub_settings *settings)
{
    static const char *const variables[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"};
    for (size_t i = 0; i < 2 && settings->token == NULL; i++) {
        settings->token_source = variables[i];
        TRY(read_variable(arena, variables[i], &settings->token));
    }
    if (settings->token == NULL)
        TRY(read_token_file(arena, settings));
    if (settings->token == NULL)
        settings->token_source = NULL;
    else if (!is_token(settings->token))
        return error_new(ERROR_USAGE,
            "%s: not a token: it holds a character other than printable ASCII",
            settings->token_source);
    return NULL;
}

static struct error *find_endpoint(struct arena *arena, const char **out)
{
    const char *value = NULL;
    TRY(read_variable(arena, "HF_ENDPOINT", &value));
    if (value == NULL)
        value = HUB_PUBLIC_ENDPOINT;
    size_t length = strlen(value);
    while (length > 0 && value[length - 1] == '/')
        length--;
    char *endpoint = arena_copy(arena, value, length);
    TRY(memory_check(endpoint));
    enum url_scheme scheme = url_scheme_of(endpoint);
    if ((scheme != URL_HTTP && scheme != URL_HTTPS) || strpbrk(endpoint, "?#") != NULL)
        return error_new(ERROR_USAGE,
            "HF_ENDPOINT: must be an http:// or https:// address without user, password and query");
    *out = endpoint;
    return NULL;
}

struct error *hub_settings_read_offline(struct arena *arena, bool *out)
{
    bool is_hub, is_transformers;
    TRY(read_flag(arena, "HF_HUB_OFFLINE", &is_hub));
    TRY(read_flag(arena, "TRANSFORMERS_OFFLINE", &is_transformers));
    *out = is_hub || is_transformers;
    return NULL;
}

struct error *hub_settings_read(struct arena *arena, struct hub_settings *out)
{
    struct hub_settings settings = {.header_ms_max = HTTP_POLICY_DEFAULT.header_ms_max,
        .body_ms_max = HTTP_POLICY_DEFAULT.body_ms_max,
        .rate_bytes_min = HTTP_POLICY_DEFAULT.rate_bytes_min,
        .page_count_max = HUB_PAGES_MAX};
    bool is_tokenless = false;
    TRY(find_endpoint(arena, &settings.endpoint));
    TRY(find_cache(arena, &settings.cache));
    TRY(hub_settings_read_offline(arena, &settings.is_offline));
    TRY(read_flag(arena, "HF_HUB_DISABLE_IMPLICIT_TOKEN", &is_tokenless));
    if (!is_tokenless)
        TRY(find_token(arena, &settings));
    TRY(read_seconds(arena, "HF_HUB_ETAG_TIMEOUT", &settings.header_ms_max));
    TRY(read_seconds(arena, "HF_HUB_DOWNLOAD_TIMEOUT", &settings.body_ms_max));
    TRY(read_size(arena, "PSYBUILD_RATE_MIN", &settings.rate_bytes_min));
    TRY(read_variable(arena, "CURL_CA_BUNDLE", &settings.ca_file));
    if (settings.ca_file == NULL)
        TRY(read_variable(arena, "SSL_CERT_FILE", &settings.ca_file));
    const char *origin = NULL;
    TRY(read_variable(arena, "HF_HUB_USER_AGENT_ORIGIN", &origin));
    if (origin != NULL) {
        const char *printable = text_printable(arena, text_of(origin)); /* a header line, too */
        settings.agent_more =
            printable != NULL ? arena_format(arena, "origin/%s", printable) : NULL;
        TRY(memory_check(settings.agent_more));
    }
    *out = settings;
    return NULL;
}

void hub_settings_apply(const struct hub_settings *settings, struct http_policy *policy)
{
    policy->header_ms_max = settings->header_ms_max;
    policy->body_ms_max = settings->body_ms_max;
    policy->rate_bytes_min = settings->rate_bytes_min;
    policy->agent_more = settings->agent_more;
    policy->ca_file = settings->ca_file;
}
