/* url.c - cutting URLs into parts; nothing is normalized but by url_join. */
#include "tasks/formats/url.h"

#include <string.h>
#include <strings.h>

enum { HTTP_PORT = 80, HTTPS_PORT = 443, HOST_BYTES_MAX = 255 };

struct parts {
    enum url_scheme scheme;
    struct text host;
    unsigned port;
    const char *rest; /* after the port */
};

static enum url_scheme cut_scheme(const char **at)
{
    static const struct {
        const char *prefix;
        enum url_scheme scheme;
    } schemes[] = {{"http://", URL_HTTP}, {"https://", URL_HTTPS}, {"file://", URL_FILE}};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t length = strlen(schemes[i].prefix);
        if (strncasecmp(*at, schemes[i].prefix, length) == 0) {
            *at += length;
            return schemes[i].scheme;
        }
    }
    return URL_NONE;
}

static bool cut_host(const char **at, struct text *host)
{
    const char *begin = *at, *end = begin;
    if (*end == '[') {
        for (end++; char_hex_value(*end) >= 0 || *end == ':' || *end == '.'; end++)
            continue;
        if (*end != ']')
            return false;
        end++;
    } else {
        while (char_is_word(*end) || *end == '.' || *end == '-')
            end++;
    }
    *host = (struct text){begin, (size_t)(end - begin)};
    *at = end;
    return host->length <= HOST_BYTES_MAX;
}

/* An empty port is the scheme's, as none is. */
static bool cut_port(const char **at, unsigned *port)
{
    if (**at != ':')
        return true;
    uint64_t value = *port;
    *at += 1;
    size_t digits = text_read_u64(text_of(*at), &value);
    if (value == 0 || value > 65535)
        return false;
    *port = (unsigned)value;
    *at += digits;
    return true;
}

static bool cut(const char *url, struct parts *out)
{
    struct parts parts = {.scheme = URL_NONE};
    const char *at = url;
    parts.scheme = cut_scheme(&at);
    parts.port = parts.scheme == URL_HTTPS ? HTTPS_PORT : HTTP_PORT;
    if (parts.scheme == URL_NONE || !cut_host(&at, &parts.host))
        return false;
    if (parts.scheme == URL_FILE) {
        if (*at != '/' || !(parts.host.length == 0 || text_is(parts.host, "localhost")))
            return false;
    } else if (parts.host.length == 0 || !cut_port(&at, &parts.port)) {
        return false;
    }
    if (*at != '\0' && *at != '/' && *at != '?' && *at != '#')
        return false;
    parts.rest = at;
    for (; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return false;
    if (at - url > URL_BYTES_MAX)
        return false;
    *out = parts;
    return true;
}

enum url_scheme url_scheme_of(const char *url)
{
    struct parts parts;
    return cut(url, &parts) ? parts.scheme : URL_NONE;
}

static bool have_same_host(const struct parts *a, const struct parts *b)
{
    return a->host.length == b->host.length &&
           strncasecmp(a->host.bytes, b->host.bytes, a->host.length) == 0;
}

bool url_same_origin(const char *a, const char *b)
{
    struct parts first, second;
    return cut(a, &first) && cut(b, &second) && first.scheme == second.scheme &&
           first.port == second.port && have_same_host(&first, &second);
}

bool url_is_upgrade(const char *from, const char *to)
{
    struct parts old, new;
    return cut(from, &old) && cut(to, &new) && old.scheme == URL_HTTP && old.port == HTTP_PORT &&
           new.scheme == URL_HTTPS &&new.port == HTTPS_PORT &&have_same_host(&old, &new);
}

const char *url_after_origin(const char *url)
{
    struct parts parts;
    return cut(url, &parts) ? parts.rest : "";
}

char *url_shown(struct arena *arena, const char *url)
{
    return arena_copy(arena, url, strcspn(url, "?#"));
}

char *url_origin(struct arena *arena, const char *url)
{
    return arena_copy(arena, url, (size_t)(url_after_origin(url) - url));
}

static char *encode(
    struct arena *arena, struct text text, bool (*is_kept)(char c, bool option), bool option)
{
    static const char digits[] = "0123456789ABCDEF";
    char *encoded = arena_array(arena, text.length + 1, 3);
    if (encoded == NULL)
        return NULL;
    char *out = encoded;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.bytes[i];
        if (is_kept((char)c, option)) {
            *out++ = (char)c;
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 0x0F];
        }
    }
    return encoded; /* the arena's bytes are zero, so it is terminated */
}

static bool is_kept_in_name(char c, bool keeps_slash)
{
    return char_is_word(c) || c == '.' || c == '-' || c == '~' || (keeps_slash && c == '/');
}

char *url_encode(struct arena *arena, const char *string, bool keeps_slash)
{
    return encode(arena, text_of(string), is_kept_in_name, keeps_slash);
}

/* Control characters stay as they are, so that the result is not valid. */
static bool is_kept_in_reference(char c, bool option)
{
    (void)option;
    return c != ' ' && (unsigned char)c <= 0x7F;
}

char *url_decode(struct arena *arena, struct text encoded, bool *is_good)
{
    char *decoded = arena_alloc(arena, encoded.length + 1);
    if (decoded == NULL)
        return NULL;
    *is_good = true;
    size_t count = 0;
    for (size_t i = 0; i < encoded.length; i++) {
        char c = encoded.bytes[i];
        if (c == '%') {
            bool has_two = encoded.length - i > 2;
            int high = has_two ? char_hex_value(encoded.bytes[i + 1]) : -1;
            int low = has_two ? char_hex_value(encoded.bytes[i + 2]) : -1;
            *is_good = high >= 0 && low >= 0;
            if (!*is_good)
                break;
            c = (char)(high * 16 + low);
            i += 2;
        }
        *is_good = *is_good && c != '\0';
        decoded[count++] = c;
    }
    return decoded;
}

/* "scheme:" at the front, by the rule of RFC 3986. */
static bool has_scheme(const char *reference)
{
    size_t length = 0;
    while (char_is_letter(reference[length]) || char_is_digit(reference[length]) ||
           (reference[length] != '\0' && strchr("+-.", reference[length]) != NULL))
        length++;
    return length > 0 && reference[length] == ':';
}

static char *place_reference(
    struct arena *arena, const char *base, const struct parts *parts, const char *reference)
{
    if (has_scheme(reference))
        return arena_copy(arena, reference, strlen(reference));
    if (strncmp(reference, "//", 2) == 0)
        return arena_format(
            arena, "%s:%s", parts->scheme == URL_HTTPS ? "https" : "http", reference);
    size_t origin = (size_t)(parts->rest - base);
    size_t path = strcspn(parts->rest, "?#");
    size_t kept;
    if (reference[0] == '/')
        kept = 0;
    else if (reference[0] == '\0')
        kept = strcspn(parts->rest, "#");
    else if (reference[0] == '?')
        kept = path;
    else
        for (kept = path; kept > 0 && parts->rest[kept - 1] != '/';)
            kept--;
    const char *slash = kept == 0 && reference[0] != '/' && reference[0] != '\0' ? "/" : "";
    return arena_format(
        arena, "%.*s%.*s%s%s", (int)origin, base, (int)kept, parts->rest, slash, reference);
}

bool url_join(struct arena *arena, const char *base, struct text reference, char **out)
{
    *out = NULL;
    struct parts parts;
    if (!cut(base, &parts) || parts.scheme == URL_FILE || reference.length > URL_BYTES_MAX ||
        memchr(reference.bytes, '\0', reference.length) != NULL)
        return true;
    char *encoded = encode(arena, reference, is_kept_in_reference, false);
    if (encoded == NULL)
        return false;
    encoded[strcspn(encoded, "#")] = '\0';
    char *joined = place_reference(arena, base, &parts, encoded);
    if (joined == NULL)
        return false;
    enum url_scheme scheme = url_scheme_of(joined);
    if (scheme == URL_HTTP || scheme == URL_HTTPS)
        *out = joined;
    return true;
}
