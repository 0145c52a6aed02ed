/* hub_files.c - names checked, patterns matched, the wanted files sorted. */
#include "tasks/formats/hub_files.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    NAME_BYTES_MAX = 255,
    SUFFIX_BYTES = 9, /* of ".metadata", with which hub tools keep notes on a file */
};

/* --- names ----------------------------------------------------------------------------------- */

/* Says what is wrong with one component, or NULL. */
static const char *component_fault(struct text name, bool is_last)
{
    size_t length_max = is_last ? NAME_BYTES_MAX - SUFFIX_BYTES : NAME_BYTES_MAX;
    if (name.length == 0)
        return "has an empty component";
    if (text_is(name, ".") || text_is(name, ".."))
        return "has a component \".\" or \"..\"";
    if (name.length == 4 && strncasecmp(name.bytes, ".git", 4) == 0)
        return "lies in a \".git\" directory";
    if (name.length > length_max)
        return "has a component that is too long";
    return NULL;
}

/* Below .cache/huggingface lie the notes of hub tools, and psybuild's own partial files. */
static bool is_in_bookkeeping(struct text path)
{
    static const char directory[] = ".cache/huggingface";
    size_t length = sizeof directory - 1;
    return path.length >= length && strncasecmp(path.bytes, directory, length) == 0 &&
           (path.length == length || path.bytes[length] == '/');
}

static const char *bytes_fault(struct text path)
{
    for (size_t i = 0; i < path.length; i++) {
        unsigned char c = (unsigned char)path.bytes[i];
        if (c < 0x20 || c == 0x7F)
            return "holds a control character";
        if (c == '\\')
            return "holds a backslash";
    }
    if (!text_is_utf8(path))
        return "is not UTF-8";
    return NULL;
}

static const char *path_fault(struct text path)
{
    if (path.length == 0)
        return "is empty";
    if (path.length > HUB_PATH_BYTES_MAX - SUFFIX_BYTES)
        return "is too long";
    const char *fault = bytes_fault(path);
    if (fault != NULL)
        return fault;
    if (path.bytes[0] == '/')
        return "is absolute";
    if (path.length >= 2 && path.bytes[1] == ':' &&
        ((path.bytes[0] | 0x20) >= 'a' && (path.bytes[0] | 0x20) <= 'z'))
        return "begins with a drive letter";
    for (size_t begin = 0; begin <= path.length && fault == NULL;) {
        size_t end = begin;
        while (end < path.length && path.bytes[end] != '/')
            end++;
        struct text name = {path.bytes + begin, end - begin};
        fault = component_fault(name, end == path.length);
        begin = end + 1;
    }
    if (fault == NULL && is_in_bookkeeping(path))
        fault = "lies in \".cache/huggingface\"";
    return fault;
}

struct error *hub_path_check(struct text path)
{
    const char *fault = path_fault(path);
    if (fault == NULL)
        return NULL;
    struct arena arena = {0};
    const char *shown = text_printable(&arena, path);
    struct error *error =
        shown == NULL
            ? error_memory()
            : error_new(ERROR_FORMAT, "the hub's file name \"%s\" %s: refused", shown, fault);
    arena_end(&arena);
    return error;
}

/* --- patterns -------------------------------------------------------------------------------- */

/* The code point at `*at`, which moves past it; a stray byte counts as one. "\" reads as "/". */
static uint32_t next_point(const char **at)
{
    const unsigned char *byte = (const unsigned char *)*at;
    unsigned more = byte[0] >= 0xF0 ? 3 : byte[0] >= 0xE0 ? 2 : byte[0] >= 0xC0 ? 1 : 0;
    uint32_t point = more == 0 ? byte[0] : byte[0] & (0x3Fu >> more);
    for (unsigned i = 1; i <= more; i++) {
        if ((byte[i] & 0xC0) != 0x80) {
            *at += 1;
            return byte[0];
        }
        point = point << 6 | (byte[i] & 0x3Fu);
    }
    *at += more + 1;
    return point == '\\' ? '/' : point;
}

/* `set` is behind the "[": finds the "]" that ends it, NULL when there is none. */
static const char *set_end(const char *set)
{
    if (*set == '!')
        set++;
    if (*set == ']')
        set++;
    return strchr(set, ']');
}

static bool set_holds(const char *set, const char *end, uint32_t point)
{
    bool is_negated = *set == '!';
    bool is_held = false;
    if (is_negated)
        set++;
    while (set < end) {
        uint32_t low = next_point(&set), high = low;
        if (end - set >= 2 && *set == '-') {
            set++;
            high = next_point(&set);
        }
        is_held = is_held || (low <= point && point <= high);
    }
    return is_held != is_negated;
}

/* Whether the one-character item at `*pattern` matches; moves past it. */
static bool match_item(const char **pattern, uint32_t point)
{
    const char *end = **pattern == '[' ? set_end(*pattern + 1) : NULL;
    if (end != NULL) {
        const char *set = *pattern + 1;
        *pattern = end + 1;
        return set_holds(set, end, point);
    }
    uint32_t item = next_point(pattern);
    return item == '?' || item == point;
}

bool hub_pattern_matches(const char *pattern, const char *path)
{
    size_t length = strlen(pattern);
    bool is_directory = length > 0 && (pattern[length - 1] == '/' || pattern[length - 1] == '\\');
    const char *star = NULL, *star_path = NULL; /* where to go on when the rest does not match */
    while (*path != '\0') {
        if (*pattern == '*') {
            star = ++pattern;
            star_path = path;
            continue;
        }
        const char *item = pattern, *character = path;
        if (*item != '\0' && match_item(&item, next_point(&character))) {
            pattern = item;
            path = character;
            continue;
        }
        if (*pattern == '\0' && is_directory)
            return true; /* as if a "*" followed */
        if (star == NULL)
            return false;
        next_point(&star_path);
        pattern = star;
        path = star_path;
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool any_matches(const char *const *patterns, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (hub_pattern_matches(patterns[i], path))
            return true;
    return false;
}

bool hub_filter_keeps(const struct hub_filter *filter, const char *path)
{
    if (filter->include_count > 0 && !any_matches(filter->include, filter->include_count, path))
        return false;
    return !any_matches(filter->exclude, filter->exclude_count, path);
}

/* --- selection ------------------------------------------------------------------------------- */

struct entry {
    const char *key; /* the path, or its folded form */
    struct hub_file file;
};

static int compare_entries(const void *a, const void *b)
{
    const struct entry *first = a, *second = b;
    return strcmp(first->key, second->key);
}

static int compare_paths(const void *a, const void *b)
{
    const struct hub_file *first = a, *second = b;
    return strcmp(first->path, second->path);
}

static const char *fold(struct arena *arena, const char *path)
{
    char *folded = arena_copy(arena, path, strlen(path));
    for (char *c = folded; c != NULL && *c != '\0'; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c | 0x20);
    return folded;
}

static struct error *clash(const char *first, const char *second)
{
    return error_new(ERROR_FORMAT,
        "the hub's files \"%s\" and \"%s\" cannot both be written: refused", first, second);
}

/* Looks for each directory of each path among the files. */
static struct error *check_directories(
    struct arena *arena, const struct entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *directory = arena_copy(arena, entries[i].key, strlen(entries[i].key));
        TRY(memory_check(directory));
        for (char *slash; (slash = strrchr(directory, '/')) != NULL;) {
            *slash = '\0';
            struct entry wanted = {.key = directory};
            const struct entry *found =
                bsearch(&wanted, entries, count, sizeof *entries, compare_entries);
            if (found != NULL)
                return clash(found->file.path, entries[i].file.path);
        }
    }
    return NULL;
}

static struct error *collect(struct arena *arena, const struct hub_files *files,
    const struct hub_filter *filter, bool folds_case, struct entry *entries, size_t *count)
{
    for (size_t i = 0; i < files->count; i++) {
        const struct hub_file *file = &files->items[i];
        if (filter != NULL && !hub_filter_keeps(filter, file->path))
            continue;
        TRY(hub_path_check(text_of(file->path)));
        const char *key = folds_case ? fold(arena, file->path) : file->path;
        TRY(memory_check(key));
        entries[(*count)++] = (struct entry){.key = key, .file = *file};
    }
    return NULL;
}

static struct error *select_entries(struct arena *scratch, struct arena *arena,
    const struct hub_files *files, const struct hub_filter *filter, bool folds_case,
    struct hub_files *out)
{
    size_t count = 0;
    struct entry *entries = arena_array(scratch, files->count, sizeof *entries);
    TRY(memory_check(entries));
    TRY(collect(scratch, files, filter, folds_case, entries, &count));
    if (count == 0)
        return error_new(ERROR_MISSING,
            files->count == 0 ? "the repository holds no file"
                              : "no file of the repository matches \"include\" and \"exclude\"");
    qsort(entries, count, sizeof *entries, compare_entries);
    for (size_t i = 1; i < count; i++)
        if (strcmp(entries[i - 1].key, entries[i].key) == 0)
            return clash(entries[i - 1].file.path, entries[i].file.path);
    TRY(check_directories(scratch, entries, count));
    struct hub_file *items = arena_array(arena, count, sizeof *items);
    TRY(memory_check(items));
    for (size_t i = 0; i < count; i++)
        items[i] = entries[i].file;
    qsort(items, count, sizeof *items, compare_paths); /* folded keys have another order */
    *out = (struct hub_files){.items = items, .count = count};
    return NULL;
}

struct error *hub_select(struct arena *arena, const struct hub_files *files,
    const struct hub_filter *filter, bool folds_case, struct hub_files *out)
{
    struct arena scratch = {0};
    struct error *error = select_entries(&scratch, arena, files, filter, folds_case, out);
    arena_end(&scratch);
    return error;
}
