/* fuzz_url.c - any bytes as an address and, behind a NUL, a reference that is taken at it: parts
 * put together are the whole, and nothing leads where the rules forbid. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formats/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool is_web(const char *url)
{
    enum url_scheme scheme = url_scheme_of(url);
    return scheme == URL_HTTP || scheme == URL_HTTPS;
}

static void check_parts(struct arena *arena, const char *url)
{
    const char *origin = url_origin(arena, url), *rest = url_after_origin(url);
    must(strlen(url) <= URL_BYTES_MAX);
    must(origin != NULL && strlen(origin) + strlen(rest) == strlen(url));
    must(strncmp(url, origin, strlen(origin)) == 0 && strchr(origin, '@') == NULL);
    must(rest[0] == '\0' || strchr("/?#", rest[0]) != NULL);
    must(url_same_origin(url, url) && !url_is_upgrade(url, url));
    must(!is_web(url) || url_same_origin(url, origin));
    const char *shown = url_shown(arena, url);
    must(shown != NULL && strpbrk(shown, "?#") == NULL);
    for (const char *at = url; *at != '\0'; at++)
        must(*at > ' ' && *at <= '~');
}

static void check_join(struct arena *arena, const char *base, struct text reference)
{
    char *url = NULL, *again = NULL;
    must(url_join(arena, base, reference, &url));
    if (url == NULL)
        return;
    must(is_web(base) && is_web(url) && strchr(url, '#') == NULL);
    check_parts(arena, url);
    must(url_same_origin(url, base) == url_same_origin(base, url));
    must(!url_is_upgrade(base, url) ||
         (url_scheme_of(base) == URL_HTTP && !url_is_upgrade(url, base)));
    must(url_join(arena, url, TEXT_EMPTY, &again) && again != NULL && strcmp(again, url) == 0);
}

static void check_coding(struct arena *arena, struct text text)
{
    bool is_good = false;
    const char *string = arena_copy(arena, text.bytes, text.length);
    must(string != NULL && url_decode(arena, text, &is_good) != NULL);
    for (int keeps_slash = 0; keeps_slash < 2; keeps_slash++) {
        const char *encoded = url_encode(arena, string, keeps_slash == 1);
        must(encoded != NULL);
        const char *decoded = url_decode(arena, text_of(encoded), &is_good);
        must(decoded != NULL && is_good && strcmp(decoded, string) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    char *copy = malloc(size + 1);
    must(copy != NULL);
    if (size > 0)
        memcpy(copy, bytes, size);
    copy[size] = '\0';
    size_t length = strlen(copy), behind = length < size ? length + 1 : size;
    struct text reference = {copy + behind, size - behind};
    if (url_scheme_of(copy) != URL_NONE)
        check_parts(&arena, copy);
    check_join(&arena, copy, reference);
    check_join(&arena, "https://hub.example/a/b?c", (struct text){copy, size});
    check_coding(&arena, (struct text){copy, size});
    free(copy);
    arena_end(&arena);
    return 0;
}
