/* fuzz_http_header.c - any bytes as the header block of an answer: what is found in it lies in it,
 * and what is read from it keeps its promises. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tasks/formats/http_header.h"
#include "tasks/formats/hub_reply.h"
#include "tasks/formats/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char endpoint[] = "https://hub.example";

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* The list of all values begins with the one that counts. */
static void check_field(struct arena *arena, struct text block, const char *name)
{
    struct text value = http_header_find(block, name);
    const char *list = http_header_list(arena, block, name);
    must(list != NULL && (value.length > 0 || list[0] == '\0'));
    if (value.length == 0)
        return;
    must(value.bytes > block.bytes && value.length <= block.length);
    must(value.bytes + value.length <= block.bytes + block.length);
    must(memchr(value.bytes, '\n', value.length) == NULL);
    must(text_equal(text_trim(value, " \t\r"), value));
    must(memcmp(list, value.bytes, value.length) == 0);
}

static void check_range(struct text field)
{
    uint64_t begin = 0, end = 0, size = 0;
    if (!http_parse_content_range(field, &begin, &end, &size))
        return;
    must(begin <= end && end <= size && (begin < end || begin == 0));
    must(end > 0 || size != HTTP_SIZE_UNKNOWN);
}

static void check_date(struct text field)
{
    int64_t seconds = 0;
    if (http_parse_date(field, &seconds))
        must(seconds >= 0 && seconds < INT64_C(253402300800) + 31 * 86400);
}

static void check_waits(struct text block)
{
    static const unsigned statuses[] = {408, 429, 500, 503};
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        must(http_wait_seconds(block, statuses[i], 1000) <= UINT32_MAX);
}

static void check_links(struct arena *arena, struct text block)
{
    const char *links = http_header_list(arena, block, "Link"), *next = NULL;
    must(links != NULL);
    struct error *error =
        hub_parse_link(arena, endpoint, "https://hub.example/api/x?y", text_of(links), &next);
    must(error == NULL || error_kind_of(error) == ERROR_NETWORK);
    must(next == NULL || (error == NULL && url_same_origin(next, endpoint)));
    error_free(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const names[] = {"Location", "Link", "ETag", "x-error-message", "A", ""};
    struct arena arena = {0};
    char *copy = malloc(size > 0 ? size : 1); /* so that a read past its end shows */
    must(copy != NULL);
    if (size > 0)
        memcpy(copy, bytes, size);
    struct text block = {copy, size};
    unsigned status = http_parse_status(block);
    must(status == 0 || (status >= 100 && status <= 599));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        check_field(&arena, block, names[i]);
    check_range(block);
    check_range(http_header_find(block, "Content-Range"));
    check_date(block);
    check_date(http_header_find(block, "Date"));
    check_waits(block);
    check_links(&arena, block);
    free(copy);
    arena_end(&arena);
    return 0;
}
