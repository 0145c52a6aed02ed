/* hub.c - names and requests. */
#include "tasks/formats/hub.h"

#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json_scan.h"
#include "tasks/formats/http_header.h"
#include "tasks/formats/hub_reply.h"
#include "tasks/formats/url.h"

enum {
    API_BODY_BYTES_MAX =
        32 * 1024 * 1024, /* of one page; 1000 entries with the longest paths: 5 MB */
    LISTING_BYTES_MAX = 256 * 1024 * 1024, /* of all pages */
    PART_BYTES_MAX = 96,                   /* of a repository's name */
    REVISION_BYTES_MAX = 255,
    FIELD_BYTES_MAX = 1024, /* more than what is shown of a header */
    SECRET_BYTES_MIN = 16,  /* a shorter token may well be a word of a name */
};

static const struct {
    const char *plural; /* in API paths */
    const char *prefix; /* of addresses for people and content */
    const char *noun;
} types[] = {
    [HUB_MODEL] = {"models", "", "model"},
    [HUB_DATASET] = {"datasets", "datasets/", "dataset"},
    [HUB_SPACE] = {"spaces", "spaces/", "space"},
};

/* --- names ----------------------------------------------------------------------------------- */

static bool is_repo_part(struct text part)
{
    if (part.length == 0 || part.length > PART_BYTES_MAX)
        return false;
    for (size_t i = 0; i < part.length; i++) {
        char c = part.bytes[i];
        bool is_inside = i > 0 && i + 1 < part.length;
        if (!char_is_word(c) && !(is_inside && (c == '-' || c == '.')))
            return false;
        if (i > 0 && c == part.bytes[i - 1] && (c == '-' || c == '.'))
            return false;
    }
    return !text_ends_with(part, ".git");
}

bool hub_repo_id_is_valid(const char *id)
{
    const char *slash = strchr(id, '/');
    if (slash == NULL)
        return is_repo_part(text_of(id));
    return is_repo_part((struct text){id, (size_t)(slash - id)}) &&
           is_repo_part(text_of(slash + 1));
}

bool hub_revision_is_valid(const char *revision)
{
    struct text text = text_of(revision);
    if (text.length == 0 || text.length > REVISION_BYTES_MAX || !text_is_utf8(text))
        return false;
    for (size_t i = 0; i < text.length; i++) /* what git forbids in the name of a ref */
        if ((unsigned char)revision[i] <= ' ' || strchr("\\^~:?*[\x7F", revision[i]) != NULL)
            return false;
    return !text_contains(text, "..") && !text_contains(text, "//") && revision[0] != '/' &&
           revision[text.length - 1] != '/';
}

bool hub_is_commit(const char *revision)
{
    return text_is_hex(text_of(revision), HUB_COMMIT_MAX - 1);
}

char *hub_file_url(struct arena *arena, const struct hub_settings *settings,
    const struct hub_repo *repo, const char *commit, const char *path)
{
    const char *encoded = url_encode(arena, path, true);
    if (encoded == NULL)
        return NULL;
    return arena_format(arena, "%s/%s%s/resolve/%s/%s", settings->endpoint,
        types[repo->type].prefix, repo->id, commit, encoded);
}

/* --- requests -------------------------------------------------------------------------------- */

/* What the hub's own answers said in their headers, the last of each. */
struct seen {
    char commit[HUB_COMMIT_MAX]; /* "" when there was none that is one */
    char hash[HUB_HASH_MAX];     /* by X-Linked-ETag or ETag; "" when that is no hash */
    uint64_t size_bytes;         /* X-Linked-Size, or HTTP_SIZE_UNKNOWN */
    char code[64];               /* X-Error-Code */
    char message[FIELD_BYTES_MAX], request_id[FIELD_BYTES_MAX]; /* fit to print */
};

struct call {
    struct arena arena; /* of this call */
    const struct hub *hub;
    const struct hub_repo *repo;
    const char *revision; /* or commit; for error texts */
    const char *path;     /* of a file, or NULL */
    struct seen seen;
    /* an API's answer */
    const char *link; /* Link headers of the page, in the arena */
    struct buffer body;
    /* a file's content */
    const struct hub_fetch *fetch;
};

static void copy_field(char *out, size_t size, struct text field)
{
    size_t length = field.length < size ? field.length : size - 1;
    memcpy(out, field.bytes, length);
    out[length] = '\0';
}

/* What may be shown of a header. */
static struct error *show_field(struct call *call, char out[FIELD_BYTES_MAX], struct text field)
{
    struct arena arena = {0};
    const char *shown = hub_show(&arena, field, call->hub->settings->token);
    if (shown != NULL)
        copy_field(out, FIELD_BYTES_MAX, text_of(shown));
    arena_end(&arena);
    return memory_check(shown);
}

static struct error *see(struct call *call, const struct http_answer *answer)
{
    static const char *const ids[] = {"X-Request-Id", "X-Amzn-Trace-Id", "X-Amz-Cf-Id"};
    struct seen *seen = &call->seen;
    struct text commit = http_header(answer, "X-Repo-Commit");
    struct text linked_etag = http_header(answer, "X-Linked-ETag");
    struct text linked_size = http_header(answer, "X-Linked-Size");
    struct text id = TEXT_EMPTY;
    if (text_is_hex(commit, HUB_COMMIT_MAX - 1))
        copy_field(seen->commit, sizeof seen->commit, commit);
    hub_parse_etag(linked_etag.length > 0 ? linked_etag : http_header(answer, "ETag"), seen->hash);
    if (!text_to_u64(linked_size, &seen->size_bytes))
        seen->size_bytes = HTTP_SIZE_UNKNOWN;
    copy_field(seen->code, sizeof seen->code, http_header(answer, "X-Error-Code"));
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && id.length == 0; i++)
        id = http_header(answer, ids[i]);
    TRY(show_field(call, seen->message, http_header(answer, "X-Error-Message")));
    return show_field(call, seen->request_id, id);
}

/* "org/name" for a model, "datasets/org/name" for a dataset. */
static const char *repo_name(struct arena *arena, const struct hub_repo *repo)
{
    const char *name = arena_format(arena, "%s%s", types[repo->type].prefix, repo->id);
    return name != NULL ? name : repo->id;
}

/* What a status means, by the hub's own code; the words name the repository first. */
static struct error *explain(struct call *call, const struct http_reply *reply, const char *message)
{
    const struct hub_settings *settings = call->hub->settings;
    const char *name = repo_name(&call->arena, call->repo), *code = call->seen.code;
    const char *noun = types[call->repo->type].noun;
    const char *more = message[0] != '\0' ? ": " : "";
    unsigned status = reply->status;
    bool is_denial = status == 401 || status == 403;
    if (strcmp(message, "Access to this resource is disabled.") == 0)
        return error_new(ERROR_NETWORK, "%s: the hub has disabled this %s", name, noun);
    if (!reply->is_home && status == 403)
        return error_new(ERROR_NETWORK, "%s: %s: refused by the storage host %s (403)%s%s", name,
            call->path != NULL ? call->path : "", reply->origin, more, message);
    if (is_denial && strcmp(code, "GatedRepo") == 0)
        return error_new(ERROR_NETWORK, "%s: access must be granted first: ask for it at %s/%s%s",
            name, settings->endpoint, name,
            settings->token == NULL ? ", then set HF_TOKEN" : " with this token's account");
    if (strcmp(code, "RepoNotFound") == 0 && (status == 401 || status == 404))
        return error_new(ERROR_NETWORK, "%s: no such %s at %s, or no access to it%s", name, noun,
            settings->endpoint, settings->token == NULL ? " without a token (HF_TOKEN)" : "");
    if (status == 401 && settings->token != NULL)
        return error_new(ERROR_NETWORK, "%s: %s does not accept the token from %s", name,
            settings->endpoint, settings->token_source);
    if (status == 404 && strcmp(code, "RevisionNotFound") == 0)
        return error_new(ERROR_NETWORK, "%s: no revision \"%s\"", name, call->revision);
    if (status == 404 && strcmp(code, "EntryNotFound") == 0 && call->path != NULL)
        return error_new(
            ERROR_NETWORK, "%s: no file \"%s\" at commit %s", name, call->path, call->revision);
    if (is_denial)
        return error_new(ERROR_NETWORK, "%s: access refused (%u)%s%s", name, status, more, message);
    return NULL;
}

/* The error for a final status that is not 200. */
static struct error *status_error(struct call *call, const struct http_reply *reply)
{
    const char *id = call->seen.request_id, *message = call->seen.message;
    if (!reply->is_home || message[0] == '\0')
        message = hub_parse_error_body(&call->arena, reply->error_body, call->hub->settings->token);
    TRY(memory_check(message));
    struct error *error = explain(call, reply, message);
    if (error == NULL) {
        struct error *plain = http_status_error(reply);
        error = error_new(
            ERROR_NETWORK, "%s%s%s", error_text(plain), message[0] != '\0' ? ": " : "", message);
        error_free(plain);
    }
    return id[0] != '\0' ? error_wrap(error, "the hub handled request %s", id) : error;
}

static struct error *check_online(const struct call *call, const char *doing)
{
    if (!call->hub->settings->is_offline)
        return NULL;
    return error_new(ERROR_NETWORK, "%s%s: offline, so psybuild cannot %s",
        types[call->repo->type].prefix, call->repo->id, doing);
}

/* --- API answers ----------------------------------------------------------------------------- */

static struct error *on_api_answer(void *context, const struct http_answer *answer)
{
    struct call *call = context;
    if (answer->is_home)
        TRY(see(call, answer));
    call->body.count = 0; /* a retry starts over */
    call->link = http_header_list(&call->arena, answer->header, "Link");
    return memory_check(call->link);
}

static struct error *on_api_body(void *context, const void *bytes, size_t length)
{
    struct call *call = context;
    buffer_put(&call->body, bytes, length);
    return buffer_check(&call->body);
}

static struct text api_body(const struct call *call)
{
    return (struct text){(const char *)call->body.bytes, call->body.count};
}

/* Names go into messages, locks and onto disk: none may be the token that a server repeats. */
static struct error *check_secret(const struct call *call, const char *name, struct text text)
{
    const char *token = call->hub->settings->token;
    if (token == NULL || strlen(token) < SECRET_BYTES_MIN || !text_contains(text, token))
        return NULL;
    return error_new(ERROR_NETWORK, "%s: the answer repeats the token: refused", name);
}

/* The body is in the call until the next one. */
static struct error *api_get(struct call *call, const char *url, struct http_reply *reply)
{
    struct http_request request = {.url = url,
        .token = call->hub->settings->token,
        .size_total = HTTP_SIZE_UNKNOWN,
        .size_max = API_BODY_BYTES_MAX,
        .on_answer = on_api_answer,
        .on_body = on_api_body,
        .context = call};
    TRY(memory_check(url));
    TRY(http_get(call->hub->client, &call->arena, &request, reply));
    return reply->status == 200 ? check_secret(call, reply->url, api_body(call))
                                : status_error(call, reply);
}

/* Releases what the call holds; gives its error back without the token. */
static struct error *end_call(struct call *call, struct error *error)
{
    buffer_end(&call->body);
    arena_end(&call->arena);
    return error_hide(error, call->hub->settings->token);
}

static char *api_url(struct call *call, const char *verb, const char *rest)
{
    const char *revision = url_encode(&call->arena, call->revision, false);
    if (revision == NULL)
        return NULL;
    return arena_format(&call->arena, "%s/api/%s/%s/%s/%s%s", call->hub->settings->endpoint,
        types[call->repo->type].plural, call->repo->id, verb, revision, rest);
}

static struct error *resolve(struct call *call, char commit[HUB_COMMIT_MAX])
{
    struct http_reply reply;
    TRY(check_online(call, "ask which commit its revision is"));
    TRY(api_get(call, api_url(call, "revision", ""), &reply));
    return hub_parse_commit(reply.url, api_body(call), commit);
}

static struct error *check_names(const struct hub_repo *repo, const char *revision)
{
    struct arena arena = {0};
    struct error *error = NULL;
    if (!hub_repo_id_is_valid(repo->id))
        error = error_new(ERROR_USAGE, "\"%s\": not a repository's name, which is org/name",
            text_printable(&arena, text_of(repo->id)));
    else if (!hub_revision_is_valid(revision))
        error = error_new(ERROR_USAGE, "%s: \"%s\" is not a revision's name", repo->id,
            text_printable(&arena, text_of(revision)));
    arena_end(&arena);
    return error;
}

struct error *hub_resolve(const struct hub *hub, const struct hub_repo *repo, const char *revision,
    char commit[HUB_COMMIT_MAX])
{
    TRY(check_names(repo, revision));
    if (hub_is_commit(revision)) {
        memcpy(commit, revision, HUB_COMMIT_MAX);
        return NULL;
    }
    struct call call = {.hub = hub, .repo = repo, .revision = revision};
    return end_call(&call, resolve(&call, commit));
}

/* --- listing --------------------------------------------------------------------------------- */

/* A page that was read: neither its address nor its first entry may come again. */
struct page {
    const char *url, *first;
};
struct pages {
    struct page *items;
    size_t count, capacity;
};

static struct error *note_page(struct call *call, struct pages *pages, struct page page)
{
    for (size_t i = 0; i < pages->count; i++) {
        const struct page *old = &pages->items[i];
        if (strcmp(old->url, page.url) == 0 ||
            (page.first != NULL && old->first != NULL && strcmp(old->first, page.first) == 0))
            return error_new(ERROR_NETWORK, "%s%s: page %zu of the listing repeats an earlier one",
                types[call->repo->type].prefix, call->repo->id, pages->count + 1);
    }
    size_t count_max = call->hub->settings->page_count_max;
    if (pages->count >= count_max)
        return error_new(ERROR_NETWORK, "%s%s: the listing has more than %zu pages",
            types[call->repo->type].prefix, call->repo->id, count_max);
    struct page *items =
        arena_grow(&call->arena, pages->items, pages->count, &pages->capacity, sizeof *items);
    TRY(memory_check(items));
    pages->items = items;
    items[pages->count++] = page;
    return NULL;
}

static struct error *list(struct arena *arena, struct call *call, struct hub_listing *listing)
{
    struct pages pages = {0};
    size_t listed_bytes = 0;
    const char *url = api_url(call, "tree", "?recursive=true&expand=false");
    TRY(check_online(call, "list its files"));
    while (url != NULL || pages.count == 0) {
        struct page page = {.url = url};
        const char *next = NULL;
        struct http_reply reply;
        TRY(api_get(call, url, &reply));
        listed_bytes += api_body(call).length;
        if (listed_bytes > LISTING_BYTES_MAX)
            return error_new(ERROR_NETWORK, "%s: the listing has more than %d bytes", reply.url,
                LISTING_BYTES_MAX);
        TRY(hub_parse_page(arena, reply.url, api_body(call), listing, &page.first));
        TRY(hub_parse_link(
            &call->arena, call->hub->settings->endpoint, url, text_of(call->link), &next));
        if (page.first == NULL && next != NULL)
            return error_new(ERROR_NETWORK, "%s: an empty page, but not the last", reply.url);
        TRY(note_page(call, &pages, page));
        url = next;
    }
    const char *name = repo_name(&call->arena, call->repo);
    for (size_t i = 0; i < listing->count; i++) /* escapes may have spelled it */
        TRY(check_secret(call, name, text_of(listing->items[i].path)));
    return NULL;
}

struct error *hub_list(struct arena *arena, const struct hub *hub, const struct hub_repo *repo,
    const char *commit, struct hub_files *out)
{
    TRY(check_names(repo, commit));
    struct call call = {.hub = hub, .repo = repo, .revision = commit};
    struct hub_listing listing = {0};
    TRY(end_call(&call, list(arena, &call, &listing)));
    *out = (struct hub_files){.items = listing.items, .count = listing.count};
    return NULL;
}

/* --- content --------------------------------------------------------------------------------- */

/* Two hashes of one kind that differ; one of another kind, or none, says nothing. */
static bool disagree(const char *announced, const char *expected)
{
    return expected[0] != '\0' && strlen(announced) == strlen(expected) &&
           strcmp(announced, expected) != 0;
}

/* Before the first byte: it must be the hub that answers, for this commit, about this content. */
static struct error *check_announced(struct call *call, const struct http_answer *answer)
{
    const struct hub_file *file = call->fetch->file;
    const struct seen *seen = &call->seen;
    const char *name = repo_name(&call->arena, call->repo);
    const char *expected = file->sha256[0] != '\0' ? file->sha256 : file->git;
    if (seen->commit[0] == '\0')
        return error_new(ERROR_NETWORK,
            "%s: not an answer of a hub: it names no commit (X-Repo-Commit)", answer->url);
    if (strcmp(seen->commit, call->fetch->commit) != 0)
        return error_new(ERROR_NETWORK, "%s: %s: commit %s was asked for, the hub answers for %s",
            name, file->path, call->fetch->commit, seen->commit);
    if (seen->size_bytes != HTTP_SIZE_UNKNOWN && seen->size_bytes != file->size_bytes)
        return error_new(ERROR_DAMAGE, "%s: %s: must have %llu bytes, the hub announces %llu", name,
            file->path, (unsigned long long)file->size_bytes, (unsigned long long)seen->size_bytes);
    if (disagree(seen->hash, expected))
        return error_new(ERROR_DAMAGE, "%s: %s: must have the hash %s, the hub announces %s", name,
            file->path, expected, seen->hash);
    return NULL;
}

/* Bytes of several ranges would each cost the whole file from a server that knows no ranges: then
 * the caller does better to fetch it as one. */
static struct error *check_ranged(struct call *call, const struct http_answer *answer)
{
    const struct hub_fetch *fetch = call->fetch;
    uint64_t length = fetch->file->size_bytes;
    bool is_part = fetch->begin > 0 || fetch->end < fetch->file->size_bytes;
    http_parse_number(http_header(answer, "Content-Length"), &length);
    if (answer->status != 200 || !is_part || fetch->place == NULL ||
        length != fetch->file->size_bytes)
        return NULL;
    fetch->place->ignores_ranges = true;
    return error_new(
        ERROR_NETWORK, "%s: a part was asked for, the whole file was sent", answer->url);
}

/* The storage host itself says nothing of the hub's: what it sends is judged by size and ETag. */
static struct error *on_file_answer(void *context, const struct http_answer *answer)
{
    struct call *call = context;
    if (answer->is_home)
        TRY(see(call, answer));
    if (answer->status != 200 && answer->status != 206)
        return NULL;
    if (!answer->is_direct)
        TRY(check_announced(call, answer));
    return check_ranged(call, answer);
}

static struct error *on_file_body(void *context, const void *bytes, size_t length)
{
    struct call *call = context;
    return call->fetch->on_body(call->fetch->context, bytes, length);
}

void hub_place_forget(struct hub_place *place)
{
    arena_end(&place->arena);
    *place = (struct hub_place){0};
}

struct error *hub_place_use(struct hub_place *place, struct http_request *request)
{
    if (place == NULL)
        return NULL;
    place->ignores_ranges = false;
    if (place->url == NULL || strcmp(place->url, request->url) != 0) {
        hub_place_forget(place);
        place->url = arena_copy(&place->arena, request->url, strlen(request->url));
        return memory_check(place->url);
    }
    request->direct = place->address;
    request->etag = place->etag;
    return NULL;
}

/* Only another host's address is worth keeping: the hub's own are where one asks anyway. */
struct error *hub_place_learn(struct hub_place *place, const struct http_reply *reply)
{
    if (place == NULL || reply->is_home || reply->status != 200)
        return NULL;
    bool is_known = place->address != NULL && strcmp(place->address, reply->address) == 0 &&
                    strcmp(place->etag, reply->etag) == 0;
    if (is_known)
        return NULL;
    place->address = arena_copy(&place->arena, reply->address, strlen(reply->address));
    place->etag = arena_copy(&place->arena, reply->etag, strlen(reply->etag));
    return place->address == NULL || place->etag == NULL ? error_memory() : NULL;
}

static struct error *fetch_range(struct arena *arena, struct call *call, struct http_reply *reply)
{
    const struct hub_fetch *fetch = call->fetch;
    const struct hub_settings *settings = call->hub->settings;
    struct http_request request = {
        .url = hub_file_url(&call->arena, settings, fetch->repo, fetch->commit, fetch->file->path),
        .token = settings->token,
        .is_ranged = true,
        .begin = fetch->begin,
        .end = fetch->end,
        .size_total = fetch->file->size_bytes,
        .size_max = fetch->end - fetch->begin,
        .on_answer = on_file_answer,
        .on_body = on_file_body,
        .context = call};
    TRY(check_online(call, "download its files"));
    TRY(memory_check(request.url));
    TRY(hub_place_use(fetch->place, &request));
    TRY(http_get(call->hub->client, arena, &request, reply));
    TRY(hub_place_learn(fetch->place, reply));
    return reply->status == 200 ? NULL : status_error(call, reply);
}

struct error *hub_fetch_range(struct arena *arena, const struct hub *hub,
    const struct hub_fetch *fetch, struct http_reply *out)
{
    struct http_reply reply = {.status = 200,
        .is_home = true,
        .url = "",
        .origin = "",
        .etag = "",
        .size_total = fetch->file->size_bytes};
    if (fetch->begin < fetch->end) {
        TRY(check_names(fetch->repo, fetch->commit));
        struct call call = {.hub = hub,
            .repo = fetch->repo,
            .revision = fetch->commit,
            .path = fetch->file->path,
            .fetch = fetch};
        TRY(end_call(&call, fetch_range(arena, &call, &reply)));
    }
    if (out != NULL)
        *out = reply;
    return NULL;
}
