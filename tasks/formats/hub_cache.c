/* hub_cache.c - where a blob may lie, in the order of likelihood. */
#include "tasks/formats/hub_cache.h"

#include <string.h>

#include "base/directory.h"

/* Whether there is such a file; `*found` is its path then. */
static struct error *look(const char *path, uint64_t size_bytes, const char **found)
{
    enum file_kind kind = FILE_ABSENT;
    struct file_stamp stamp = {0};
    TRY(memory_check(path));
    error_free(file_stat(path, &kind, &stamp)); /* somebody else's: as good as absent */
    if (kind == FILE_REGULAR && stamp.size_bytes == size_bytes)
        *found = path;
    return NULL;
}

/* "models--org--name" */
static char *repo_directory(struct arena *arena, const struct hub_repo *repo)
{
    static const char *const plurals[] = {
        [HUB_MODEL] = "models", [HUB_DATASET] = "datasets", [HUB_SPACE] = "spaces"};
    const char *slash = strchr(repo->id, '/');
    if (slash == NULL)
        return arena_format(arena, "%s--%s", plurals[repo->type], repo->id);
    return arena_format(
        arena, "%s--%.*s--%s", plurals[repo->type], (int)(slash - repo->id), repo->id, slash + 1);
}

static bool is_repo_directory(const char *name)
{
    struct text text = text_of(name);
    return text_starts_with(text, "models--") || text_starts_with(text, "datasets--") ||
           text_starts_with(text, "spaces--");
}

static struct error *look_everywhere(struct arena *arena, const char *root, const char *hash,
    uint64_t size_bytes, const char **found)
{
    struct file_entry *entries;
    size_t count = 0;
    struct error *error = file_list_directory(arena, root, &entries, &count);
    if (error != NULL) {
        error_free(error);
        return NULL;
    }
    for (size_t i = 0; i < count && *found == NULL; i++)
        if (entries[i].kind == FILE_DIRECTORY && is_repo_directory(entries[i].name))
            TRY(look(arena_format(arena, "%s/%s/blobs/%s", root, entries[i].name, hash), size_bytes,
                found));
    return NULL;
}

struct error *hub_cache_find(struct arena *arena, const char *root, const struct hub_repo *repo,
    const char *commit, const struct hub_file *file, const char **path)
{
    const char *hash = file->sha256[0] != '\0' ? file->sha256 : file->git, *found = NULL;
    const char *own = repo_directory(arena, repo);
    TRY(memory_check(own));
    TRY(look(arena_format(arena, "%s/%s/blobs/%s", root, own, hash), file->size_bytes, &found));
    if (found == NULL)
        TRY(look_everywhere(arena, root, hash, file->size_bytes, &found));
    if (found == NULL)
        TRY(look(arena_format(arena, "%s/%s/snapshots/%s/%s", root, own, commit, file->path),
            file->size_bytes, &found));
    *path = found;
    return NULL;
}
