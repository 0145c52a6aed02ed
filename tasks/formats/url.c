/* url.c - cutting URLs into parts; nothing is normalized but by url_join. */
#include "tasks/formats/url.h"

#include <string.h>
#include <strings.h>

struct parts {
    enum url_scheme scheme;
    struct text host;
    unsigned port;
    const char *rest; /* after the port */
};

static bool is_letter_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_hex_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

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
        for (end++; is_hex_digit(*end) || *end == ':' || *end == '.'; end++)
            continue;
        if (*end != ']')
            return false;
        end++;
    } else {
        while (is_letter_or_digit(*end) || *end == '.' || *end == '-' || *end == '_')
            end++;
    }
    *host = (struct text){begin, (size_t)(end - begin)};
    *at = end;
    return host->length <= 255;
}

static bool cut_port(const char **at, unsigned *port)
{
    if (**at != ':')
        return true;
    const char *digit = *at + 1;
    unsigned value = 0;
    for (; *digit >= '0' && *digit <= '9' && value <= 65535; digit++)
        value = value * 10 + (unsigned)(*digit - '0');
    if (value == 0 || value > 65535)
        return false;
    *port = value;
    *at = digit;
    return true;
}

static bool cut(const char *url, struct parts *out)
{
    struct parts parts = {.scheme = URL_NONE};
    const char *at = url;
    parts.scheme = cut_scheme(&at);
    parts.port = parts.scheme == URL_HTTPS ? 443 : parts.scheme == URL_HTTP ? 80 : 0;
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

bool url_same_origin(const char *a, const char *b)
{
    struct parts first, second;
    return cut(a, &first) && cut(b, &second) && first.scheme == second.scheme &&
           first.port == second.port && first.host.length == second.host.length &&
           strncasecmp(first.host.bytes, second.host.bytes, first.host.length) == 0;
}

const char *url_after_origin(const char *url)
{
    struct parts parts;
    return cut(url, &parts) ? parts.rest : "";
}

struct text url_host(const char *url)
{
    struct parts parts;
    return cut(url, &parts) ? parts.host : TEXT_EMPTY;
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
    return is_letter_or_digit(c) || c == '_' || c == '.' || c == '-' || c == '~' ||
           (keeps_slash && c == '/');
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

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
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
            if (encoded.length - i < 3 || !is_hex_digit(encoded.bytes[i + 1]) ||
                !is_hex_digit(encoded.bytes[i + 2])) {
                *is_good = false;
                break;
            }
            c = (char)(hex_value(encoded.bytes[i + 1]) * 16 + hex_value(encoded.bytes[i + 2]));
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
    while (is_letter_or_digit(reference[length]) || strchr("+-.", reference[length]) != NULL) {
        if (reference[length] == '\0')
            return false;
        length++;
    }
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
