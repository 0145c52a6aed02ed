/* texts.c - reading the top manifest and what it includes. */
#include "engine/manifest/loader.h"

#include <string.h>

#include "base/file_whole.h"
#include "engine/manifest/params.h"

static const char *const top_keys[] = {"psybuild", "vars", "include", "sources", "artifacts",
    "default", "rules", "cache", "pools", "$schema", NULL};

/* Whether a text is there; either way its appearing, changing or vanishing is watched. */
struct error *texts_is_file(struct loader *loader, const char *path, bool *out)
{
    struct manifest *manifest = loader->manifest;
    struct watch watch = {.path = path};
    enum file_kind kind;
    TRY(file_stat(path, &kind, &watch.stamp));
    if (kind == FILE_REGULAR)
        TRY(file_stat_settled(path, &watch.stamp));
    *out = kind == FILE_REGULAR;
    for (size_t i = 0; i < manifest->watch_count; i++)
        if (strcmp(manifest->watches[i].path, path) == 0)
            return NULL;
    manifest->watches = arena_grow(loader->arena, manifest->watches, manifest->watch_count,
        &loader->watch_capacity, sizeof *manifest->watches);
    TRY(memory_check(manifest->watches));
    manifest->watches[manifest->watch_count++] = watch;
    return NULL;
}

static struct error *load_root(struct loader *loader, const char *path, const struct json *place);

/* Where an included manifest may lie: beside the one that includes it, within the top manifest's
 * directory, and among the installed ones. Both are normal, so that no file has two names. */
static struct error *place_include(struct loader *loader, const char *path, const struct json *item,
    char **beside, char **installed)
{
    struct arena *arena = loader->arena;
    const char *data = loader->options->data_directory;
    char *directory = path_directory(arena, path), *local, *below;
    TRY(memory_check(directory));
    bool is_top = directory[0] == '\0' || (path_is_normal(directory) && !path_is_below(path, data));
    if (!path_normalize(arena, is_top ? directory : "", item->text.bytes, &local) ||
        !path_normalize(arena, "", item->text.bytes, &below))
        return error_memory();
    if (strlen(item->text.bytes) != item->text.length || local == NULL || local[0] == '\0')
        return json_error(
            item, "\"%s\" must be a path inside the manifest's directory", item->text.bytes);
    *beside = is_top ? local : path_join(arena, directory, local);
    *installed = path_join(arena, data, below == NULL ? local : below);
    return *beside == NULL || *installed == NULL ? error_memory() : NULL;
}

static struct error *load_includes(
    struct loader *loader, const char *path, const struct json *includes)
{
    if (includes == NULL)
        return NULL;
    TRY(kind_check(loader->arena, includes, JSON_ARRAY, "include"));
    for (size_t i = 0; i < includes->count; i++) {
        const struct json *item = &includes->items[i];
        TRY(kind_check(loader->arena, item, JSON_STRING, "include"));
        char *beside = NULL, *installed = NULL;
        TRY(place_include(loader, path, item, &beside, &installed));
        bool is_beside, is_installed;
        TRY(texts_is_file(loader, beside, &is_beside));
        TRY(texts_is_file(loader, installed, &is_installed));
        if (!is_beside && !is_installed)
            return json_error(item, "no such manifest: neither %s nor %s", beside, installed);
        TRY(load_root(loader, is_beside ? beside : installed, item));
    }
    return NULL;
}

static struct error *load_root(struct loader *loader, const char *path, const struct json *place)
{
    for (size_t i = 0; i < loader->root_count; i++)
        if (strcmp(loader->roots[i]->document->name, path) == 0)
            return json_error(place, "%s is included twice", path);
    if (loader->root_count == INCLUDES_MAX)
        return json_error(place, "more than %d manifests", INCLUDES_MAX);
    struct text text;
    const struct json_document *document;
    TRY(file_read_whole(loader->arena, path, MANIFEST_BYTES_MAX, &text));
    TRY(json_parse(loader->arena, path, text, JSON_STRICT, &document));
    const struct json *root = &document->root, *version = json_get(root, "psybuild");
    if (root->kind != JSON_OBJECT)
        return json_error(root, "a manifest must be an object, not %s", json_kind_name(root->kind));
    TRY(keys_check(root, top_keys, "a manifest"));
    if (version == NULL)
        return json_error(root, "a manifest needs \"psybuild\": 1");
    int64_t number;
    if (!json_to_i64(version, &number) || number != 1)
        return json_error(
            version, "\"psybuild\" must be 1, not %s", json_show(loader->arena, version));
    loader->roots[loader->root_count++] = root;
    return load_includes(loader, path, json_get(root, "include"));
}

/* The top manifest: a file, or the name of an installed one. */
struct error *texts_load(struct loader *loader)
{
    const char *path = loader->options->path;
    bool is_there;
    TRY(texts_is_file(loader, path, &is_there));
    if (is_there)
        return load_root(loader, path, NULL);
    if (strchr(path, '/') == NULL) {
        char *installed =
            arena_format(loader->arena, "%s/%s.json", loader->options->data_directory, path);
        TRY(memory_check(installed));
        TRY(texts_is_file(loader, installed, &is_there));
        if (is_there)
            return load_root(loader, installed, NULL);
    }
    return error_new(ERROR_USAGE, "%s: no such manifest", path);
}

struct error *texts_name_lock(struct loader *loader)
{
    const char *path = loader->options->path;
    bool is_there;
    TRY(texts_is_file(loader, path, &is_there));
    if (!is_there)
        path = "psybuild.json";
    size_t length = strlen(path);
    if (text_ends_with(text_of(path), ".json"))
        length -= 5;
    loader->manifest->lock_path = arena_format(loader->arena, "%.*s.lock", (int)length, path);
    return memory_check(loader->manifest->lock_path);
}
