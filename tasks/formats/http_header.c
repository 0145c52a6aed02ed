/* http_header.c - lines, numbers, dates. */
#include "tasks/formats/http_header.h"

#include <string.h>
#include <strings.h>

/* The value of the next line of this name, behind which `*rest` moves; NULL bytes for none. */
static struct text next_value(struct text *rest, const char *name)
{
    size_t name_length = strlen(name);
    while (rest->length > 0) {
        const char *newline = memchr(rest->bytes, '\n', rest->length);
        size_t length = newline == NULL ? rest->length : (size_t)(newline - rest->bytes);
        struct text line = text_cut(*rest, 0, length);
        *rest = text_from(*rest, newline == NULL ? length : length + 1);
        if (length > name_length && line.bytes[name_length] == ':' &&
            strncasecmp(line.bytes, name, name_length) == 0)
            return text_trim(text_from(line, name_length + 1), " \t\r");
    }
    return (struct text){NULL, 0};
}

struct text http_header_find(struct text block, const char *name)
{
    struct text value = TEXT_EMPTY;
    while (value.length == 0 && value.bytes != NULL)
        value = next_value(&block, name);
    return value.bytes == NULL ? TEXT_EMPTY : value;
}

char *http_header_list(struct arena *arena, struct text block, const char *name)
{
    struct text rest = block, value;
    size_t size = 1;
    while ((value = next_value(&rest, name)).bytes != NULL)
        size += value.length + 1;
    char *list = arena_alloc(arena, size), *end = list;
    while (list != NULL && (value = next_value(&block, name)).bytes != NULL) {
        if (value.length == 0)
            continue;
        if (end > list)
            *end++ = ',';
        memcpy(end, value.bytes, value.length);
        end += value.length;
    }
    return list; /* the arena's bytes are zero, so it is terminated */
}

/* A number at the front of the text, which moves behind it. */
static bool read_number(struct text *text, uint64_t *out)
{
    size_t count = text_read_u64(*text, out);
    *text = text_from(*text, count);
    return count > 0;
}

/* This text at the front, which moves behind it. */
static bool read_literal(struct text *text, const char *literal)
{
    size_t length = strlen(literal);
    if (text->length < length || strncasecmp(text->bytes, literal, length) != 0)
        return false;
    *text = text_from(*text, length);
    return true;
}

bool http_parse_number(struct text field, uint64_t *out)
{
    uint64_t number = 0;
    if (!read_number(&field, &number) || field.length > 0)
        return false;
    *out = number;
    return true;
}

unsigned http_parse_status(struct text line)
{
    uint64_t status = 0;
    const char *space = memchr(line.bytes, ' ', line.length);
    if (space == NULL || !text_starts_with(line, "HTTP/"))
        return 0;
    size_t behind = (size_t)(space + 1 - line.bytes);
    struct text rest = {space + 1, line.length - behind};
    struct text after = rest;
    if (!read_number(&after, &status) || rest.length - after.length != 3)
        return 0;
    return status >= 100 && status <= 599 ? (unsigned)status : 0;
}

/* "SIZE" or "*". */
static bool parse_whole(struct text field, uint64_t *size)
{
    *size = HTTP_SIZE_UNKNOWN;
    return text_is(field, "*") || http_parse_number(field, size);
}

bool http_parse_content_range(struct text field, uint64_t *begin, uint64_t *end, uint64_t *size)
{
    uint64_t first = 0, last = 0, whole = 0, behind = 0;
    if (!read_literal(&field, "bytes "))
        return false;
    field = text_trim(field, " ");
    bool is_empty = read_literal(&field, "*");
    if (!is_empty) {
        if (!read_number(&field, &first) || !read_literal(&field, "-") ||
            !read_number(&field, &last) || last < first || last == UINT64_MAX)
            return false;
        behind = last + 1;
    }
    if (!read_literal(&field, "/") || !parse_whole(field, &whole) || behind > whole ||
        (is_empty && whole == HTTP_SIZE_UNKNOWN))
        return false;
    *begin = first;
    *end = behind;
    *size = whole;
    return true;
}

/* Days from 1970-01-01 to the first of a month, by the civil calendar. */
static int64_t days_before(int64_t year, int64_t month)
{
    static const int days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int64_t leaps_before = (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return (year - 1970) * 365 + leaps_before - 477 + days[month] + (is_leap && month > 1 ? 1 : 0);
}

static bool read_month(struct text *text, int64_t *month)
{
    static const char names[][4] = {
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (*month = 0; *month < 12; ++*month)
        if (read_literal(text, names[*month]))
            return true;
    return false;
}

bool http_parse_date(struct text field, int64_t *seconds)
{
    uint64_t day = 0, year = 0, hour = 0, minute = 0, second = 0;
    int64_t month = 0;
    if (field.length != 29)
        return false;
    struct text rest = text_from(field, 5); /* the weekday says nothing new */
    if (!read_number(&rest, &day) || !read_literal(&rest, " ") || !read_month(&rest, &month) ||
        !read_literal(&rest, " ") || !read_number(&rest, &year) || !read_literal(&rest, " ") ||
        !read_number(&rest, &hour) || !read_literal(&rest, ":") || !read_number(&rest, &minute) ||
        !read_literal(&rest, ":") || !read_number(&rest, &second) || !read_literal(&rest, " GMT"))
        return false;
    if (day < 1 || day > 31 || year < 1970 || year > 9999 || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    int64_t days = days_before((int64_t)year, month) + (int64_t)day - 1;
    *seconds = days * 86400 + (int64_t)(hour * 3600 + minute * 60 + second);
    return true;
}

/* "name";r=0;t=172, "other";r=9;t=5: the reset time of a quota that is used up. */
static uint64_t rate_limit_seconds(struct text field)
{
    uint64_t seconds = 0, left = 1, reset = 0;
    while (field.length > 0) {
        if (read_literal(&field, ";r=")) {
            read_number(&field, &left);
        } else if (read_literal(&field, ";t=")) {
            read_number(&field, &reset);
        } else {
            if (field.bytes[0] == ',') {
                left = 1;
                reset = 0;
            }
            field = text_from(field, 1);
        }
        if (left == 0 && reset < UINT32_MAX && reset + 1 > seconds)
            seconds = reset + 1;
    }
    return seconds;
}

uint64_t http_wait_seconds(struct text block, unsigned status, int64_t now)
{
    struct text field = http_header_find(block, "Retry-After");
    uint64_t seconds = 0, limit = 0;
    int64_t then = 0;
    if (status == 429)
        limit = rate_limit_seconds(http_header_find(block, "RateLimit"));
    if (limit > 0)
        return limit;
    if (http_parse_number(field, &seconds))
        return seconds < UINT32_MAX ? seconds + 1 : UINT32_MAX;
    if (!http_parse_date(field, &then))
        return 0;
    http_parse_date(http_header_find(block, "Date"), &now); /* the server's clock, if it tells it */
    if (then <= now)
        return 0;
    return then - now < UINT32_MAX ? (uint64_t)(then - now) + 1 : UINT32_MAX;
}
