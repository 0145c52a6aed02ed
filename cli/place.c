/* place.c - looking upward for the manifest, and turning typed paths into its own. */
#include "cli/place.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "config.h"

static const char manifest_name[] = "psybuild.json";

static struct error *is_kind(const char *path, enum file_kind wanted, bool *out)
{
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(file_stat(path, &kind, &stamp));
    *out = kind == wanted;
    return NULL;
}

struct error *place_absolute(struct arena *arena, const char *base, const char *path, char **out)
{
    char *joined =
        path[0] == '/' ? arena_format(arena, "%s", path) : arena_format(arena, "%s/%s", base, path);
    char *result = joined == NULL ? NULL : arena_alloc(arena, strlen(joined) + 2);
    size_t used = 0;
    TRY(memory_check(result));
    for (const char *at = joined; *at != '\0';) {
        size_t length = strcspn(at, "/");
        if (length == 2 && memcmp(at, "..", 2) == 0) {
            while (used > 0 && result[--used] != '/')
                continue;
        } else if (length > 0 && !(length == 1 && *at == '.')) {
            result[used++] = '/';
            memcpy(result + used, at, length);
            used += length;
        }
        at += length;
        at += *at == '/';
    }
    memcpy(result + used, used == 0 ? "/" : "", used == 0 ? 2 : 1);
    *out = result;
    return NULL;
}

static struct error *go_to(struct arena *arena, const char *path, char **now)
{
    TRY(file_change_directory(path));
    return file_current_directory(arena, now);
}

struct error *place_open(struct arena *arena, const struct options *options, struct place *out)
{
    char *origin;
    TRY(options->directory == NULL ? file_current_directory(arena, &origin)
                                   : go_to(arena, options->directory, &origin));
    *out = (struct place){.origin = origin, .directory = origin};
    return NULL;
}

static struct error *find_upward(struct arena *arena, struct place *place)
{
    char *directory = arena_format(arena, "%s", place->origin);
    TRY(memory_check(directory));
    for (;;) {
        bool is_there;
        char *path = arena_format(arena, "%s/%s", directory, manifest_name);
        TRY(memory_check(path));
        TRY(is_kind(path, FILE_REGULAR, &is_there));
        if (is_there)
            break;
        char *slash = strrchr(directory, '/');
        if (slash == NULL || directory[0] == '\0')
            return error_new(ERROR_USAGE,
                "no %s here or in a directory above; write one with psybuild -t init, or name one "
                "with -f",
                manifest_name);
        *slash = '\0';
    }
    place->directory = directory[0] == '\0' ? "/" : directory;
    place->manifest = manifest_name;
    return NULL;
}

struct error *place_find_manifest(
    struct arena *arena, const struct options *options, struct place *place)
{
    bool is_file = false;
    if (options->manifest == NULL) {
        TRY(find_upward(arena, place));
    } else {
        TRY(is_kind(options->manifest, FILE_REGULAR, &is_file));
        place->manifest = options->manifest;
    }
    if (is_file) {
        char *path, *slash, *now;
        TRY(place_absolute(arena, place->origin, options->manifest, &path));
        slash = strrchr(path, '/');
        place->manifest = slash + 1;
        *slash = '\0';
        TRY(go_to(arena, path[0] == '\0' ? "/" : path, &now));
        place->directory = now;
    }
    place->is_elsewhere = strcmp(place->directory, place->origin) != 0;
    return place->is_elsewhere ? file_change_directory(place->directory) : NULL;
}

/* The path below the directory, or NULL. */
static const char *strip(const char *path, const char *directory)
{
    size_t length = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
    if (strncmp(path, directory, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

/* The path with the links of its existing part resolved: what was typed may name the manifest's
 * directory through one. */
static struct error *resolve_links(struct arena *arena, const char *path, char **out)
{
    char *head = arena_format(arena, "%s", path), real[PATH_MAX];
    TRY(memory_check(head));
    for (;;) {
        if (realpath(head[0] == '\0' ? "/" : head, real) != NULL)
            break;
        char *slash = strrchr(head, '/');
        if (slash == NULL)
            return error_new(ERROR_USAGE, "%s: no such path", path);
        *slash = '\0';
    }
    *out = arena_format(arena, "%s%s", strcmp(real, "/") == 0 ? "" : real, path + strlen(head));
    return memory_check(*out);
}

struct error *place_target(
    struct arena *arena, const struct place *place, const char *path, const char **out)
{
    char *absolute, *real;
    if (path[0] == '\0')
        return error_new(ERROR_USAGE, "a target must not be empty");
    TRY(place_absolute(arena, place->origin, path, &absolute));
    *out = strip(absolute, place->directory);
    if (*out != NULL)
        return NULL;
    TRY(resolve_links(arena, absolute, &real));
    *out = strip(real, place->directory);
    if (*out != NULL)
        return NULL;
    return error_new(ERROR_USAGE, "target \"%s\" lies outside of the manifest's directory %s", path,
        place->directory);
}

struct error *place_targets(struct arena *arena, const struct place *place,
    const char *const *paths, size_t count, const char *const **out)
{
    const char **targets = arena_array(arena, count + 1, sizeof *targets);
    TRY(memory_check(targets));
    for (size_t i = 0; i < count; i++)
        TRY(place_target(arena, place, paths[i], &targets[i]));
    *out = targets;
    return NULL;
}

struct error *place_data_directory(struct arena *arena, const struct place *place, const char **out)
{
    const char *given = getenv("PSYBUILD_DATA_DIR");
    bool is_installed;
    if (given != NULL && given[0] != '\0') {
        char *path;
        TRY(place_absolute(arena, place->origin, given, &path));
        *out = path;
        return NULL;
    }
    TRY(is_kind(PSYBUILD_DATA_DIR "/recipes", FILE_DIRECTORY, &is_installed));
    *out = is_installed ? PSYBUILD_DATA_DIR : PSYBUILD_SOURCE_DIR "/manifests";
    return NULL;
}
