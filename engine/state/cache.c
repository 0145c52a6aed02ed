/* cache.c - a directory of whole files by their content. */
#include "engine/state/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"

static const char tag[] = "Signature: 8a477f597d28d172789f06886806bc55\n"
                          "# Outputs that psybuild replaced; they may be removed at any time.\n";
#define TAG_NAME "CACHEDIR.TAG"
#define LOG_SUFFIX ".pieces"
#define ABANDONED_NS (INT64_C(24) * 3600 * 1000000000)

char *cache_entry_path(struct arena *arena, const char *cache, const struct hash128 *tree)
{
    char hex[HASH_HEX_BYTES];
    return path_join(arena, cache, hash_hex(tree, hex));
}

struct error *cache_log_path(
    struct arena *arena, const char *cache, const struct hash128 *generation, const char **out)
{
    char hex[HASH_HEX_BYTES];
    *out = arena_format(arena, "%s/%s" LOG_SUFFIX, cache, hash_hex(generation, hex));
    return memory_check(*out);
}

struct error *cache_open(struct arena *arena, const char *cache)
{
    char *path = path_join(arena, cache, TAG_NAME);
    TRY(memory_check(path));
    TRY(file_make_directories(cache));
    return file_create_whole(path, text_of(tag));
}

/* ---- bounds ---- */

struct entry {
    const char *path;
    struct file_stamp stamp;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->stamp.mtime_ns < y->stamp.mtime_ns ? -1 : x->stamp.mtime_ns > y->stamp.mtime_ns;
}

/* Nothing else in the directory is ours. */
static bool is_entry(const char *name)
{
    size_t length = strspn(name, "0123456789abcdef");
    return length == HASH_HEX_BYTES - 1 &&
           (name[length] == '\0' || strcmp(name + length, LOG_SUFFIX) == 0);
}

/* What was on its way here when its process died; another may be on its way now. */
static bool is_abandoned(const char *name, const struct file_stamp *stamp)
{
    size_t length = strspn(name, "0123456789abcdef"), tag_length = sizeof TAG_NAME - 1;
    bool is_ours = (length == HASH_HEX_BYTES - 1 && name[length] == '.') ||
                   strncmp(name, TAG_NAME ".", tag_length + 1) == 0;
    return is_ours && text_ends_with(text_of(name), ".tmp") &&
           file_clock_ns() - stamp->mtime_ns > ABANDONED_NS;
}

static struct error *list_entries(
    struct arena *arena, const char *cache, struct entry **out, size_t *count, uint64_t *size_bytes)
{
    struct file_entry *files;
    size_t file_count = 0;
    *count = 0;
    TRY(error_forgive(file_list_directory(arena, cache, &files, &file_count), ERROR_MISSING));
    *out = arena_array(arena, file_count, sizeof **out);
    TRY(memory_check(*out));
    for (size_t i = 0; i < file_count; i++) {
        enum file_kind kind;
        struct entry entry = {.path = path_join(arena, cache, files[i].name)};
        TRY(memory_check(entry.path));
        TRY(file_stat(entry.path, &kind, &entry.stamp));
        if (kind == FILE_REGULAR && is_abandoned(files[i].name, &entry.stamp))
            TRY(file_remove(entry.path));
        if (kind != FILE_REGULAR || !is_entry(files[i].name))
            continue;
        *size_bytes += entry.stamp.size_bytes;
        (*out)[(*count)++] = entry;
    }
    return NULL;
}

struct error *cache_trim(struct arena *arena, const char *cache, uint64_t size_bytes)
{
    struct entry *entries = NULL;
    size_t count;
    uint64_t total = 0;
    TRY(list_entries(arena, cache, &entries, &count, &total));
    if (count > 1)
        qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 0; i < count && total > size_bytes; i++) {
        TRY(file_remove(entries[i].path));
        total -= entries[i].stamp.size_bytes;
    }
    return NULL;
}
