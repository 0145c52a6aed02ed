/* text.c - bytes, names, paths, globs and sizes (text.h). */
#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"

enum { PRINTABLE_BYTES_MAX = 200, SUGGEST_BYTES_MAX = 255 };

struct text text_of(const char *string)
{
    return string == NULL ? TEXT_EMPTY : (struct text){string, strlen(string)};
}

struct text text_cut(struct text text, size_t begin, size_t end)
{
    return (struct text){text.bytes + begin, end - begin};
}

struct text text_from(struct text text, size_t begin)
{
    return text_cut(text, begin, text.length);
}

struct text text_trim(struct text text, const char *blanks)
{
    size_t begin = 0, end = text.length, count = strlen(blanks);
    while (begin < end && memchr(blanks, text.bytes[begin], count) != NULL)
        begin++;
    while (end > begin && memchr(blanks, text.bytes[end - 1], count) != NULL)
        end--;
    return text_cut(text, begin, end);
}

/* memcmp must not see the NULL that an empty text may hold. */
static bool same_bytes(const char *a, const char *b, size_t length)
{
    return length == 0 || memcmp(a, b, length) == 0;
}

bool text_equal(struct text a, struct text b)
{
    return a.length == b.length && same_bytes(a.bytes, b.bytes, a.length);
}

bool text_is(struct text text, const char *string)
{
    return text_equal(text, text_of(string));
}

bool text_starts_with(struct text text, const char *prefix)
{
    size_t length = strlen(prefix);
    return length <= text.length && same_bytes(text.bytes, prefix, length);
}

bool text_ends_with(struct text text, const char *suffix)
{
    size_t length = strlen(suffix);
    return length <= text.length &&
           (length == 0 || memcmp(text.bytes + (text.length - length), suffix, length) == 0);
}

bool text_contains(struct text text, const char *needle)
{
    size_t length = strlen(needle);
    if (length == 0)
        return true;
    for (size_t i = 0; i < text.length && length <= text.length - i; i++) {
        const char *first = memchr(text.bytes + i, needle[0], text.length - length - i + 1);
        if (first == NULL)
            return false;
        if (memcmp(first, needle, length) == 0)
            return true;
        i = (size_t)(first - text.bytes);
    }
    return false;
}

int text_compare(struct text a, struct text b)
{
    size_t length = a.length < b.length ? a.length : b.length;
    int order = length == 0 ? 0 : memcmp(a.bytes, b.bytes, length);
    return order != 0 ? order : (a.length > b.length) - (a.length < b.length);
}

/* The well-formed sequences of the Unicode standard, table 3-7: only the second byte's range
 * depends on the first. */
size_t text_decode(struct text text, uint32_t *code_point)
{
    if (text.length == 0)
        return 0;
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    unsigned char first = bytes[0];
    if (first < 0x80) {
        *code_point = first;
        return 1;
    }
    if (first < 0xC2 || first > 0xF4)
        return 0;
    size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    unsigned char second_min = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    unsigned char second_max = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (text.length < length || bytes[1] < second_min || bytes[1] > second_max)
        return 0;
    uint32_t value = first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((bytes[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (bytes[i] & 0x3Fu);
    }
    *code_point = value;
    return length;
}

size_t text_decode_surrogate(struct text text, uint32_t *code_point)
{
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    if (text.length < 3 || bytes[0] != 0xED || bytes[1] < 0xA0 || bytes[1] > 0xBF ||
        (bytes[2] & 0xC0) != 0x80)
        return 0;
    *code_point = 0xD000 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
    return 3;
}

size_t text_encode(uint32_t code_point, char out[4])
{
    static const unsigned char marks[] = {0, 0, 0xC0, 0xE0, 0xF0};
    size_t length = code_point < 0x80 ? 1 : code_point < 0x800 ? 2 : code_point < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code_point & 0x3F));
        code_point >>= 6;
    }
    out[0] = (char)(marks[length] | code_point);
    return length;
}

bool char_is_digit(int c)
{
    return c >= '0' && c <= '9';
}

bool char_is_letter(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool char_is_word(int c)
{
    return char_is_letter(c) || char_is_digit(c) || c == '_';
}

bool char_is_blank(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int char_hex_value(int c)
{
    int letter = c | 0x20;
    return char_is_digit(c) ? c - '0' : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

bool text_is_hex(struct text text, size_t length)
{
    for (size_t i = 0; i < text.length; i++)
        if (!char_is_digit(text.bytes[i]) && (text.bytes[i] < 'a' || text.bytes[i] > 'f'))
            return false;
    return text.length == length;
}

const char *text_write_hex(char *out, const void *bytes, size_t length)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *from = bytes;
    for (size_t i = 0; i < length; i++) {
        out[2 * i] = digits[from[i] >> 4];
        out[2 * i + 1] = digits[from[i] & 15];
    }
    out[2 * length] = '\0';
    return out;
}

size_t text_read_u64(struct text text, uint64_t *out)
{
    uint64_t value = 0;
    size_t count = 0;
    for (; count < text.length && char_is_digit(text.bytes[count]); count++) {
        uint64_t digit = (uint64_t)(text.bytes[count] - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return 0;
        value = value * 10 + digit;
    }
    if (count > 0)
        *out = value;
    return count;
}

bool text_to_u64(struct text text, uint64_t *out)
{
    uint64_t value;
    size_t count = text_read_u64(text, &value);
    if (count == 0 || count < text.length)
        return false;
    *out = value;
    return true;
}

bool text_is_utf8(struct text text)
{
    uint32_t code_point;
    for (size_t i = 0, length; i < text.length; i += length) {
        length = text_decode(text_from(text, i), &code_point);
        if (length == 0)
            return false;
    }
    return true;
}

/* Not a control character, and nothing that turns the writing direction of what follows. */
static bool is_harmless(uint32_t code_point)
{
    bool is_control = code_point < 0x20 || (code_point >= 0x7F && code_point < 0xA0);
    bool is_turning = code_point == 0x061C || code_point == 0x200E || code_point == 0x200F ||
                      (code_point >= 0x2028 && code_point <= 0x202E) ||
                      (code_point >= 0x2066 && code_point <= 0x2069);
    return !is_control && !is_turning;
}

char *text_printable(struct arena *arena, struct text text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t kept = text.length < PRINTABLE_BYTES_MAX ? text.length : PRINTABLE_BYTES_MAX;
    char *out = arena_alloc(arena, 4 * kept + sizeof "...");
    if (out == NULL)
        return NULL;
    size_t used = 0, i = 0, length;
    for (; i < kept; i += length) {
        uint32_t code_point = 0;
        length = text_decode(text_from(text, i), &code_point);
        bool is_plain = length > 0 && is_harmless(code_point);
        if (length == 0)
            length = 1;
        if (length > kept - i)
            break; /* cut before the character, not in it */
        for (size_t k = i; k < i + length; k++) {
            unsigned char byte = (unsigned char)text.bytes[k];
            if (is_plain) {
                out[used++] = text.bytes[k];
            } else {
                out[used++] = '\\';
                out[used++] = 'x';
                out[used++] = digits[byte >> 4];
                out[used++] = digits[byte & 15];
            }
        }
    }
    if (i < text.length)
        memcpy(out + used, "...", sizeof "...");
    return out;
}

char *text_hide(struct arena *arena, struct text text, const char *secret)
{
    size_t length = secret == NULL ? 0 : strlen(secret);
    char *hidden = arena_copy(arena, text.bytes, text.length);
    char *at = hidden, *end = hidden == NULL ? NULL : hidden + text.length;
    while (
        length > 0 && at != NULL && (at = memmem(at, (size_t)(end - at), secret, length)) != NULL)
        for (size_t i = 0; i < length; i++)
            *at++ = '*';
    return hidden;
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that lead from a to b. */
static size_t edit_distance(struct text a, struct text b)
{
    size_t rows[3][SUGGEST_BYTES_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b.length; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= a.length; i++) {
        row[0] = i;
        for (size_t j = 1; j <= b.length; j++) {
            size_t cost = a.bytes[i - 1] != b.bytes[j - 1];
            row[j] = min3(last[j] + 1, row[j - 1] + 1, last[j - 1] + cost);
            bool is_swap = i > 1 && j > 1 && a.bytes[i - 1] == b.bytes[j - 2] &&
                           a.bytes[i - 2] == b.bytes[j - 1];
            if (is_swap && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b.length];
}

const char *text_suggest(const char *word, const char *const *words, size_t count)
{
    struct text wanted = text_of(word);
    if (wanted.length > SUGGEST_BYTES_MAX)
        return NULL;
    size_t limit = wanted.length / 3;
    const char *nearest = NULL;
    for (size_t i = 0; i < count; i++) {
        struct text candidate = text_of(words[i]);
        if (candidate.length > SUGGEST_BYTES_MAX)
            continue;
        size_t distance = edit_distance(wanted, candidate);
        bool is_nearer = nearest == NULL ? distance <= limit : distance < limit;
        if (is_nearer) {
            nearest = words[i];
            limit = distance;
        }
    }
    return nearest;
}

static bool is_component(const char *bytes, size_t length)
{
    return length > 0 && !(length == 1 && bytes[0] == '.') &&
           !(length == 2 && bytes[0] == '.' && bytes[1] == '.');
}

bool path_is_normal(const char *path)
{
    for (;;) {
        size_t length = strcspn(path, "/");
        if (!is_component(path, length))
            return false;
        if (path[length] == '\0')
            return true;
        path += length + 1;
    }
}

/* Appends the components of `path` to out[0..used); ".." takes the last one away. False when there
 * is none. */
static bool append_components(char *out, size_t *used, const char *path)
{
    while (*path != '\0') {
        size_t length = strcspn(path, "/");
        if (length == 2 && memcmp(path, "..", 2) == 0) {
            if (*used == 0)
                return false;
            while (*used > 0 && out[*used - 1] != '/')
                (*used)--;
            if (*used > 0)
                (*used)--; /* the slash before it */
        } else if (is_component(path, length)) {
            if (*used > 0)
                out[(*used)++] = '/';
            memcpy(out + *used, path, length);
            *used += length;
        }
        path += length;
        path += *path == '/';
    }
    out[*used] = '\0';
    return true;
}

bool path_normalize(struct arena *arena, const char *base, const char *path, char **out)
{
    if (path[0] == '/') {
        *out = NULL;
        return true;
    }
    char *joined = arena_alloc(arena, strlen(base) + strlen(path) + 2);
    if (joined == NULL)
        return false;
    size_t used = 0;
    bool is_inside =
        append_components(joined, &used, base) && append_components(joined, &used, path);
    *out = is_inside ? joined : NULL;
    return true;
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

char *path_directory(struct arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    return arena_copy(arena, path, slash == NULL ? 0 : (size_t)(slash - path));
}

char *path_join(struct arena *arena, const char *directory, const char *name)
{
    return arena_format(arena, "%s%s%s", directory, directory[0] == '\0' ? "" : "/", name);
}

bool path_is_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    if (length == 0)
        return path[0] != '\0';
    return strncmp(path, directory, length) == 0 && path[length] == '/' && path[length + 1] != '\0';
}

bool glob_is_pattern(const char *pattern)
{
    return strpbrk(pattern, "*?") != NULL;
}

/* Of the character at `path`; a byte that is not UTF-8 counts as one. */
static size_t character_length(const char *path)
{
    uint32_t code_point;
    size_t length = text_decode((struct text){path, strnlen(path, 4)}, &code_point);
    return length > 0 ? length : 1;
}

/* Only the last star is ever tried again: an earlier one that took more would leave the later one
 * less to choose from, and none may take a slash. */
bool glob_match(const char *pattern, const char *path)
{
    const char *star = NULL, *star_path = NULL;
    while (*path != '\0' || *pattern != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            star_path = path;
        } else if (*pattern == '?' && *path != '\0' && *path != '/') {
            pattern++;
            path += character_length(path);
        } else if (*pattern != '?' && *pattern != '\0' && *pattern == *path) {
            pattern++;
            path++;
        } else {
            if (star == NULL || *star_path == '\0' || *star_path == '/')
                return false;
            star_path += character_length(star_path);
            path = star_path;
            pattern = star + 1;
        }
    }
    return true;
}

const char *size_print(char buffer[SIZE_TEXT_MAX], uint64_t size_bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    if (size_bytes < 1000) {
        snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 " B", size_bytes);
        return buffer;
    }
    size_t unit = 1;
    uint64_t divisor = 1000;
    /* 999.5 of a unit is written as 1.0 of the next */
    while (unit + 1 < sizeof units / sizeof units[0] && size_bytes / divisor >= 999 &&
           size_bytes - 999 * divisor >= divisor / 2) {
        unit++;
        divisor *= 1000;
    }
    uint64_t tenth = divisor / 10, tenths = size_bytes / tenth;
    tenths += size_bytes % tenth >= tenth / 2;
    if (tenths < 100)
        snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", tenths / 10, tenths % 10,
            units[unit]);
    else
        snprintf(buffer, SIZE_TEXT_MAX, "%" PRIu64 " %s",
            size_bytes / divisor + (size_bytes % divisor >= divisor / 2), units[unit]);
    return buffer;
}

/* The power of two of a unit, or 64 when there is no such unit. */
static unsigned unit_shift(struct text unit)
{
    static const struct {
        char letter;
        unsigned shift;
    } units[] = {
        {'K', 10}, {'k', 10}, {'M', 20}, {'m', 20}, {'G', 30}, {'g', 30}, {'T', 40}, {'t', 40}};
    if (unit.length == 0 || text_is(unit, "B"))
        return 0;
    struct text rest = text_from(unit, 1);
    if (rest.length > 0 && !text_is(rest, "B") && !text_is(rest, "iB"))
        return 64;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (units[i].letter == unit.bytes[0])
            return units[i].shift;
    return 64;
}

bool size_parse(struct text text, uint64_t *out)
{
    const uint64_t size_max = UINT64_C(1) << 53;
    uint64_t value = 0;
    size_t i = text_read_u64(text, &value);
    if (i == 0)
        return false;
    bool has_space = i < text.length && text.bytes[i] == ' ';
    struct text unit = text_from(text, i + has_space);
    unsigned shift = has_space && unit.length == 0 ? 64 : unit_shift(unit);
    if (shift == 64 || value > size_max >> shift)
        return false;
    *out = value << shift;
    return true;
}
