/* hub_reply.c - JSON, headers and the bodies of errors. */
#include "tasks/formats/hub_reply.h"

#include <string.h>
#include <strings.h>

#include "base/json_scan.h"
#include "tasks/formats/hub_settings.h"
#include "tasks/formats/url.h"

/* --- hashes ---------------------------------------------------------------------------------- */

void hub_parse_etag(struct text etag, char hash[HUB_HASH_MAX])
{
    if (text_starts_with(etag, "W/"))
        etag = text_from(etag, 2);
    if (etag.length >= 2 && etag.bytes[0] == '"')
        etag = text_cut(etag, 1, etag.length - 1);
    hash[0] = '\0';
    if (etag.length >= HUB_HASH_MAX)
        return;
    for (size_t i = 0; i < etag.length; i++) {
        char c = etag.bytes[i];
        hash[i] = c >= 'A' && c <= 'F' ? (char)(c | 0x20) : c;
    }
    hash[etag.length] = '\0';
    struct text text = {hash, etag.length};
    if (!text_is_hex(text, HUB_COMMIT_MAX - 1) && !text_is_hex(text, HUB_HASH_MAX - 1))
        hash[0] = '\0';
}

/* --- parsers --------------------------------------------------------------------------------- */

/* The error when a body is not the JSON that it must be: most often some proxy's HTML. */
static struct error *body_error(const char *name, const char *wanted)
{
    return error_new(ERROR_NETWORK, "%s: not an answer of a hub: %s was expected", name, wanted);
}

static bool key_is(const struct json_scan *scan, const char *key)
{
    return !scan->has_escapes && text_is(scan->raw, key);
}

struct error *hub_parse_commit(const char *name, struct text body, char commit[HUB_COMMIT_MAX])
{
    struct json_scan scan;
    struct text found = TEXT_EMPTY;
    json_scan_begin(&scan, name, body);
    if (json_scan_next(&scan) != JSON_TOKEN_OBJECT_BEGIN)
        return body_error(name, "a JSON object");
    enum json_token token;
    while ((token = json_scan_next(&scan)) == JSON_TOKEN_KEY) {
        if (!key_is(&scan, "sha")) {
            if (!json_scan_skip(&scan))
                return json_scan_error(&scan);
            continue;
        }
        token = json_scan_next(&scan);
        if (token != JSON_TOKEN_STRING || !text_is_hex(scan.raw, HUB_COMMIT_MAX - 1))
            return error_new(ERROR_NETWORK, "%s: \"sha\" must be 40 lower-case hex digits", name);
        found = scan.raw;
    }
    if (token != JSON_TOKEN_OBJECT_END || json_scan_next(&scan) != JSON_TOKEN_END)
        return json_scan_error(&scan);
    if (found.length == 0)
        return error_new(ERROR_NETWORK, "%s: not an answer of a hub: it has no \"sha\"", name);
    memcpy(commit, found.bytes, HUB_COMMIT_MAX - 1);
    commit[HUB_COMMIT_MAX - 1] = '\0';
    return NULL;
}

/* One entry of a page, as far as it is read. */
struct entry {
    bool is_file, has_size;
    const char *path;
    uint64_t size_bytes, lfs_size_bytes;
    char git[HUB_COMMIT_MAX], sha256[HUB_HASH_MAX];
};

/* A hash that does not look like one is left out: then the file has none. */
static void take_hash(const struct json_scan *scan, size_t length, char *out)
{
    if (!text_is_hex(scan->raw, length))
        return;
    memcpy(out, scan->raw.bytes, length);
    out[length] = '\0';
}

static struct error *parse_size(const struct json_scan *scan, enum json_token token, uint64_t *out)
{
    if (token != JSON_TOKEN_NUMBER || !text_to_u64(scan->raw, out) || *out > INT64_MAX)
        return error_new(ERROR_NETWORK, "%s: \"size\" must be a whole number of bytes", scan->name);
    return NULL;
}

/* After the key: skips a value of no interest, whose first token was just read. */
static struct error *skip_rest(struct json_scan *scan, enum json_token token)
{
    bool is_good = token != JSON_TOKEN_ERROR;
    if (token == JSON_TOKEN_OBJECT_BEGIN || token == JSON_TOKEN_ARRAY_BEGIN)
        is_good = json_scan_skip(scan);
    return is_good ? NULL : json_scan_error(scan);
}

static struct error *parse_lfs(struct json_scan *scan, enum json_token token, struct entry *entry)
{
    if (token != JSON_TOKEN_OBJECT_BEGIN)
        return skip_rest(scan, token); /* null */
    while ((token = json_scan_next(scan)) == JSON_TOKEN_KEY) {
        bool is_hash = key_is(scan, "oid"), is_size = key_is(scan, "size");
        token = json_scan_next(scan);
        if (is_hash && token == JSON_TOKEN_STRING)
            take_hash(scan, HUB_HASH_MAX - 1, entry->sha256);
        if (is_size)
            TRY(parse_size(scan, token, &entry->lfs_size_bytes));
        TRY(skip_rest(scan, token));
    }
    if (token != JSON_TOKEN_OBJECT_END)
        return json_scan_error(scan);
    if (entry->sha256[0] == '\0')
        return error_new(
            ERROR_NETWORK, "%s: \"lfs.oid\" must be 64 lower-case hex digits", scan->name);
    return NULL;
}

enum { ESCAPED_BYTES = 6 }; /* at most, of one byte in JSON: \u0041 */

static struct error *parse_path(
    struct arena *arena, const struct json_scan *scan, enum json_token token, const char **out)
{
    if (token != JSON_TOKEN_STRING)
        return error_new(ERROR_NETWORK, "%s: \"path\" must be a string", scan->name);
    if (scan->raw.length > ESCAPED_BYTES * HUB_PATH_BYTES_MAX)
        return error_new(
            ERROR_NETWORK, "%s: a \"path\" of %zu bytes", scan->name, scan->raw.length);
    struct text path = json_unescape(arena, scan->raw, scan->has_escapes);
    TRY(memory_check(path.bytes));
    if (memchr(path.bytes, '\0', path.length) != NULL)
        return error_new(ERROR_NETWORK, "%s: \"path\" must not hold a NUL", scan->name);
    *out = arena_copy(arena, path.bytes, path.length);
    return memory_check(*out);
}

static struct error *parse_member(struct arena *arena, struct json_scan *scan, struct entry *entry)
{
    bool is_type = key_is(scan, "type"), is_path = key_is(scan, "path");
    bool is_size = key_is(scan, "size"), is_git = key_is(scan, "oid"), is_lfs = key_is(scan, "lfs");
    enum json_token token = json_scan_next(scan);
    if (is_type)
        entry->is_file = token == JSON_TOKEN_STRING && text_is(scan->raw, "file");
    if (is_path)
        TRY(parse_path(arena, scan, token, &entry->path));
    if (is_size) {
        TRY(parse_size(scan, token, &entry->size_bytes));
        entry->has_size = true;
    }
    if (is_git && token == JSON_TOKEN_STRING)
        take_hash(scan, HUB_COMMIT_MAX - 1, entry->git);
    return is_lfs ? parse_lfs(scan, token, entry) : skip_rest(scan, token);
}

static struct error *add_entry(
    struct arena *arena, const char *name, const struct entry *entry, struct hub_listing *listing)
{
    if (!entry->has_size)
        return error_new(ERROR_NETWORK, "%s: a file without \"size\"", name);
    if (entry->sha256[0] != '\0' && entry->lfs_size_bytes != entry->size_bytes)
        return error_new(ERROR_NETWORK, "%s: a file with two sizes", name);
    if (listing->count >= HUB_FILES_MAX)
        return error_new(ERROR_NETWORK, "%s: more than %d files", name, HUB_FILES_MAX);
    struct hub_file *items =
        arena_grow(arena, listing->items, listing->count, &listing->capacity, sizeof *items);
    TRY(memory_check(items));
    listing->items = items;
    struct hub_file *file = &items[listing->count++];
    *file = (struct hub_file){.path = entry->path, .size_bytes = entry->size_bytes};
    memcpy(file->git, entry->git, sizeof file->git);
    memcpy(file->sha256, entry->sha256, sizeof file->sha256);
    return NULL;
}

static struct error *parse_entry(
    struct arena *arena, struct json_scan *scan, struct hub_listing *listing, const char **first)
{
    struct entry entry = {.path = NULL};
    enum json_token token;
    while ((token = json_scan_next(scan)) == JSON_TOKEN_KEY)
        TRY(parse_member(arena, scan, &entry));
    if (token != JSON_TOKEN_OBJECT_END)
        return json_scan_error(scan);
    if (entry.path == NULL)
        return error_new(ERROR_NETWORK, "%s: an entry without \"path\"", scan->name);
    if (*first == NULL)
        *first = entry.path;
    return entry.is_file ? add_entry(arena, scan->name, &entry, listing) : NULL;
}

struct error *hub_parse_page(struct arena *arena, const char *name, struct text body,
    struct hub_listing *listing, const char **first)
{
    struct json_scan scan;
    json_scan_begin(&scan, name, body);
    *first = NULL;
    if (json_scan_next(&scan) != JSON_TOKEN_ARRAY_BEGIN)
        return body_error(name, "a JSON array");
    enum json_token token;
    while ((token = json_scan_next(&scan)) == JSON_TOKEN_OBJECT_BEGIN)
        TRY(parse_entry(arena, &scan, listing, first));
    if (token != JSON_TOKEN_ARRAY_END && token != JSON_TOKEN_ERROR)
        return error_new(ERROR_NETWORK, "%s: an entry that is not an object", name);
    if (token == JSON_TOKEN_ERROR || json_scan_next(&scan) != JSON_TOKEN_END)
        return json_scan_error(&scan);
    return NULL;
}

/* --- Link: <URL>; rel="next", <URL>; rel="other" --------------------------------------------- */

static bool holds_next(struct text text, const char *separators)
{
    while (text.length > 0) {
        size_t length = 0;
        while (length < text.length && strchr(separators, text.bytes[length]) == NULL)
            length++;
        if (length == 4 && strncasecmp(text.bytes, "next", 4) == 0)
            return true;
        text = text_from(text, length < text.length ? length + 1 : length);
    }
    return false;
}

/* What comes before the next `separator` outside <...> and "..."; `*rest` goes on behind it. */
static struct text cut_before(struct text *rest, char separator, bool *is_broken)
{
    char close = '\0'; /* what ends the <...> or "..." */
    size_t length = 0;
    for (; length < rest->length && (close != '\0' || rest->bytes[length] != separator); length++) {
        char c = rest->bytes[length];
        if (c == '\\' && close == '"' && length + 1 < rest->length)
            length++;
        else if (c == close)
            close = '\0';
        else if (close == '\0' && (c == '<' || c == '"'))
            close = c == '<' ? '>' : '"';
    }
    struct text part = text_trim(text_cut(*rest, 0, length), TEXT_BLANKS);
    *is_broken = *is_broken || close != '\0';
    *rest = text_from(*rest, length < rest->length ? length + 1 : length);
    return part;
}

static bool is_rel_next(struct text parameters, bool *is_broken)
{
    bool is_next = false;
    while (parameters.length > 0) {
        struct text value = cut_before(&parameters, ';', is_broken);
        struct text name = cut_before(&value, '=', is_broken);
        if (name.length == 3 && strncasecmp(name.bytes, "rel", 3) == 0)
            is_next = is_next || holds_next(value, TEXT_BLANKS "\"'");
    }
    return is_next;
}

/* False when there is none. What cannot be read but speaks of a next page gives an empty target:
 * a listing must not end there. */
static bool find_next(struct text links, struct text *target)
{
    bool is_broken = false;
    struct text rest = links;
    while (rest.length > 0) {
        struct text parameters = cut_before(&rest, ',', &is_broken);
        *target = cut_before(&parameters, ';', &is_broken);
        bool is_bracketed = text_starts_with(*target, "<") && text_ends_with(*target, ">");
        is_broken = is_broken || !is_bracketed;
        if (!is_rel_next(parameters, &is_broken) || !is_bracketed)
            continue;
        *target = text_cut(*target, 1, target->length - 1);
        return true;
    }
    *target = TEXT_EMPTY;
    return is_broken && holds_next(links, TEXT_BLANKS "\"'=;,<>");
}

struct error *hub_parse_link(struct arena *arena, const char *endpoint, const char *page_url,
    struct text link, const char **next)
{
    struct text target;
    char *url = NULL;
    *next = NULL;
    if (!find_next(link, &target))
        return NULL;
    if (target.length > 0 && !url_join(arena, page_url, target, &url))
        return error_memory();
    char *page_shown = url_shown(arena, page_url);
    TRY(memory_check(page_shown));
    if (url == NULL)
        return error_new(ERROR_NETWORK, "%s: the next page has no valid address", page_shown);
    const char *rest = url_after_origin(url);
    if (!url_same_origin(url, endpoint)) {
        bool is_public =
            url_same_origin(url, HUB_PUBLIC_ENDPOINT) || url_same_origin(url, "https://hf.co");
        if (!is_public || strncmp(rest, "/api/", 5) != 0)
            return error_new(ERROR_NETWORK, "%s: the next page is said to be at %.*s: refused",
                page_shown, (int)(rest - url), url);
        url = arena_format(arena, "%s%s", endpoint, rest);
        TRY(memory_check(url));
    }
    *next = url;
    return NULL;
}

/* --- what errors say ------------------------------------------------------------------------- */

/* {"error": "..."}, {"error": ["..."]} or {"errors": [{"message": "..."}]}: the first such string.
 */
static struct text find_json_message(struct arena *arena, struct text body)
{
    struct json_scan scan;
    json_scan_begin(&scan, "error", body);
    bool is_message = false;
    for (;;) {
        enum json_token token = json_scan_next(&scan);
        if (token == JSON_TOKEN_ERROR || token == JSON_TOKEN_END)
            return TEXT_EMPTY;
        if (token == JSON_TOKEN_KEY)
            is_message = key_is(&scan, "error") || key_is(&scan, "message");
        else if (token == JSON_TOKEN_STRING && is_message)
            return json_unescape(arena, scan.raw, scan.has_escapes);
        else if (token != JSON_TOKEN_ARRAY_BEGIN)
            is_message = false;
    }
}

/* <Message>...</Message> of a storage host. */
static struct text find_xml_message(struct text body)
{
    static const char open[] = "<Message>";
    const char *begin = memmem(body.bytes, body.length, open, sizeof open - 1);
    if (begin == NULL)
        return TEXT_EMPTY;
    begin += sizeof open - 1;
    const char *end = memchr(begin, '<', (size_t)(body.bytes + body.length - begin));
    return end == NULL ? TEXT_EMPTY : (struct text){begin, (size_t)(end - begin)};
}

const char *hub_show(struct arena *arena, struct text text, const char *secret)
{
    const char *hidden = text_hide(arena, text, secret);
    return hidden == NULL ? NULL : text_printable(arena, (struct text){hidden, text.length});
}

const char *hub_parse_error_body(struct arena *arena, struct text body, const char *secret)
{
    size_t blanks = 0;
    while (blanks < body.length && char_is_blank(body.bytes[blanks]))
        blanks++;
    if (blanks == body.length)
        return "";
    char first = body.bytes[blanks];
    struct text message = first == '{'   ? find_json_message(arena, body)
                          : first == '<' ? find_xml_message(body)
                                         : TEXT_EMPTY;
    return message.bytes == NULL ? NULL : hub_show(arena, message, secret);
}
