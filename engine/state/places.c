/* places.c - paths below `.psybuild`, put together. */
#include "engine/state/places.h"

#include <string.h>

#include "base/directory.h"
#include "base/owner.h"

static struct error *find_base(struct arena *arena, const struct node *node, const char **out)
{
    bool is_same;
    TRY(file_same_device(STATE_DIRECTORY, node->directory, &is_same));
    *out = is_same ? STATE_DIRECTORY : path_join(arena, node->directory, STATE_DIRECTORY);
    TRY(memory_check(*out));
    return is_same ? NULL : owner_check(*out);
}

static const char *name_of(const struct node *node, char hex[HASH_HEX_BYTES])
{
    struct hash128 hash = hash_text(text_of(node->name));
    return hash_hex(&hash, hex);
}

static struct error *find_partial(
    struct arena *arena, const struct node *node, const char *base, const char **out)
{
    char hex[HASH_HEX_BYTES];
    *out = node->source != NULL && node->source->partial != NULL
               ? arena_format(arena, "%s/%s/%s", node->source_directory, node->source->partial,
                     name_of(node, hex))
               : arena_format(arena, "%s/partial/%s", base, name_of(node, hex));
    return memory_check(*out);
}

struct error *places_partial(struct arena *arena, const struct node *node, const char **out)
{
    return find_partial(arena, node, STATE_DIRECTORY, out);
}

struct error *places_stage(struct arena *arena, const struct node *node, const char **out)
{
    const char *base;
    TRY(find_base(arena, node, &base));
    return find_partial(arena, node, base, out);
}

/* With as many directories above, as long as nothing else is unfinished. */
static struct error *remove_directory(struct arena *arena, const char *directory, int levels)
{
    TRY(file_remove_tree(directory));
    for (int level = 0; level < levels; level++) {
        directory = path_directory(arena, directory);
        TRY(memory_check(directory));
        TRY(file_remove_directory(directory));
    }
    return NULL;
}

struct error *places_remove_partial(struct arena *arena, const char *partial, const char *stage)
{
    TRY(remove_directory(arena, partial, 1));
    /* a .psybuild of the target's own goes, too */
    return strcmp(partial, stage) == 0 ? NULL : remove_directory(arena, stage, 2);
}

struct error *places_log(struct arena *arena, const struct node *node, const char **out)
{
    char hex[HASH_HEX_BYTES];
    *out = arena_format(arena, "%s/pieces/%s", STATE_DIRECTORY, name_of(node, hex));
    return memory_check(*out);
}

/* Whether a directory that the name needs is a file, such as one set aside before. */
static struct error *is_blocked(struct arena *arena, const char *name, bool *out)
{
    *out = false;
    for (const char *at = path_directory(arena, name); !*out; at = path_directory(arena, at)) {
        enum file_kind kind;
        TRY(memory_check(at));
        if (at[0] == '\0')
            break;
        TRY(file_kind_itself(at, &kind));
        *out = kind == FILE_REGULAR;
        if (kind == FILE_DIRECTORY)
            break;
    }
    return NULL;
}

struct error *places_free_name(struct arena *arena, const char *name, const char **out)
{
    enum { TRIES_MAX = 1000 };
    enum file_kind kind;
    *out = name;
    for (unsigned i = 1; i <= TRIES_MAX; i++) {
        TRY(file_kind_itself(*out, &kind));
        if (kind == FILE_ABSENT)
            return NULL;
        *out = arena_format(arena, "%s.%u", name, i);
        TRY(memory_check(*out));
    }
    return error_new(ERROR_FAILED, "%s: its directory is full of files set aside", name);
}

struct error *places_aside(
    struct arena *arena, const struct node *node, const char *path, const char **out)
{
    const char *base;
    char hex[HASH_HEX_BYTES];
    bool is_taken;
    TRY(find_base(arena, node, &base));
    bool is_here = strcmp(base, STATE_DIRECTORY) == 0;
    char *first = arena_format(arena, "%s/aside/%s", base, is_here ? path : path_base(path));
    TRY(memory_check(first));
    TRY(is_blocked(arena, first, &is_taken));
    if (is_taken)
        first = arena_format(arena, "%s/aside/%s.%s", base, path_base(path), name_of(node, hex));
    return first == NULL ? error_memory() : places_free_name(arena, first, out);
}

const char *places_partial_log(struct arena *arena, const char *partial)
{
    return path_join(arena, partial, "pieces");
}

const char *places_old(struct arena *arena, const char *stage)
{
    return path_join(arena, stage, "old");
}

const char *places_files(struct arena *arena, const char *stage)
{
    return path_join(arena, stage, "files");
}

const char *places_staged(struct arena *arena, const char *stage, const char *path)
{
    return arena_format(arena, "%s/files/%s", stage, path_base(path));
}
