/* content.c - hashing one recorded output again. */
#include "cli/content.h"

#include <string.h>

struct error *content_check(struct arena *arena, const struct registry *registry,
    const struct state *state, const struct record_made *made, const _Atomic bool *cancel,
    _Atomic uint64_t *bytes_read, enum content *out, const char **found)
{
    const struct state_file *file = &state->files[made->file];
    enum file_kind kind;
    struct file_stamp stamp;
    char hex[HASH_HEX_BYTES], *identity;
    TRY(file_stat(file->location, &kind, &stamp));
    if (kind != FILE_REGULAR) {
        *out = CONTENT_ABSENT;
        return NULL;
    }
    if (made->identity[0] != '\0' || !made->has_tree) {
        TRY(registry->identify(arena, file->location, made->identity, &identity));
        *out = strcmp(identity, made->identity) == 0 ? CONTENT_SAME : CONTENT_OTHER;
        *found = arena_format(arena, "%s, not %s", identity, made->identity);
        return memory_check(*found);
    }
    struct segments *segments;
    TRY(segments_hash_file(
        arena, registry, file->path, file->location, cancel, bytes_read, &segments));
    struct hash128 tree = segments_tree(segments);
    *out = hash_equal(&tree, &made->tree) ? CONTENT_SAME : CONTENT_OTHER;
    char wanted[HASH_HEX_BYTES];
    *found = arena_format(
        arena, "tree hash %s, not %s", hash_hex(&tree, hex), hash_hex(&made->tree, wanted));
    return memory_check(*found);
}
