/* fuzz_hub.c - any bytes as what a hub may send: the first byte says as what, the rest is it. No
 * parser may crash, run away, or hand on what it promises to have refused. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formats/hub.h"
#include "tasks/formats/hub_reply.h"
#include "tasks/formats/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char endpoint[] = "https://hub.example";

static void must(bool holds)
{
    if (!holds)
        abort();
}

/* True when there was one. */
static bool check_error(struct error *error)
{
    if (error == NULL)
        return false;
    must(error_kind_of(error) != ERROR_MEMORY);
    must(strlen(error_report(error)) > strlen(error_text(error)));
    must(strchr(error_text(error), '\n') == NULL);
    error_free(error);
    return true;
}

static void fuzz_page(struct arena *arena, struct text text)
{
    struct hub_listing listing = {0};
    const char *first = NULL;
    if (check_error(hub_parse_page(arena, "page", text, &listing, &first)))
        return;
    must(listing.count == 0 || first != NULL);
    struct hub_files all = {.items = listing.items, .count = listing.count}, chosen = {0};
    for (int folds_case = 0; folds_case < 2; folds_case++) {
        if (check_error(hub_select(arena, &all, NULL, folds_case == 1, &chosen)))
            continue;
        must(chosen.count > 0 && chosen.count <= all.count);
        for (size_t i = 0; i < chosen.count; i++) {
            const char *path = chosen.items[i].path;
            must(path_is_normal(path) && text_is_utf8(text_of(path)));
            must(i == 0 || strcmp(chosen.items[i - 1].path, path) < 0);
            must(i == 0 || !path_is_below(path, chosen.items[i - 1].path));
        }
    }
}

static void fuzz_commit(struct arena *arena, struct text text)
{
    char commit[HUB_COMMIT_MAX] = "";
    (void)arena;
    if (!check_error(hub_parse_commit("info", text, commit)))
        must(hub_is_commit(commit));
}

static void fuzz_link(struct arena *arena, struct text text)
{
    const char *next = NULL;
    if (!check_error(hub_parse_link(arena, endpoint, "https://hub.example/api/x?y", text, &next)))
        must(next == NULL || url_same_origin(next, endpoint));
}

static void fuzz_error_body(struct arena *arena, struct text text)
{
    const char *message = hub_parse_error_body(arena, text, "secret");
    must(message != NULL && text_is_utf8(text_of(message)));
    must(strstr(message, "secret") == NULL);
    for (; *message != '\0'; message++)
        must((unsigned char)*message >= 0x20 && *message != 0x7F);
}

static void fuzz_etag(struct arena *arena, struct text text)
{
    char hash[HUB_HASH_MAX];
    (void)arena;
    hub_parse_etag(text, hash);
    must(strlen(hash) == 0 || strlen(hash) == 40 || strlen(hash) == 64);
}

/* A pattern, a NUL, a path. */
static void fuzz_pattern(struct arena *arena, struct text text)
{
    const char *pattern = arena_copy(arena, text.bytes, text.length);
    size_t length = strlen(pattern);
    const char *path = length < text.length ? pattern + length + 1 : "";
    hub_pattern_matches(pattern, path);
    hub_pattern_matches(path, pattern);
    hub_repo_id_is_valid(path);
    hub_revision_is_valid(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static void (*const parsers[])(struct arena *, struct text) = {
        fuzz_page, fuzz_commit, fuzz_link, fuzz_error_body, fuzz_etag, fuzz_pattern};
    struct arena arena = {0};
    if (size == 0)
        return 0;
    char *copy = malloc(size - 1 > 0 ? size - 1 : 1); /* so that a read past its end shows */
    must(copy != NULL);
    memcpy(copy, bytes + 1, size - 1);
    unsigned choice = (unsigned)(bytes[0] - '0') % (sizeof parsers / sizeof parsers[0]);
    parsers[choice](&arena, (struct text){copy, size - 1});
    free(copy);
    arena_end(&arena);
    return 0;
}
