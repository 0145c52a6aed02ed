/* lock.c - JSON to checked values and back. */
#include "tasks/lock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file_whole.h"
#include "base/json_write.h"
#include "base/stamp.h"
#include "tasks/formats/hub_reply.h"

#define SIZE_BYTES_MAX (UINT64_C(1) << 40) /* of one file: a listing's word is planned for */

/* Elsewhere names that differ in case only are two files. */
#ifdef __APPLE__
static const bool folds_case = true;
#else
static const bool folds_case = false;
#endif

/* ---- single values ---- */

static struct error *check_keys(
    const struct json *object, const char *const *known, const char *owner)
{
    size_t count = 0;
    while (known[count] != NULL)
        count++;
    for (size_t i = 0; i < object->count; i++) {
        const struct json_member *member = &object->members[i];
        size_t k = 0;
        while (k < count && !text_is(member->key, known[k]))
            k++;
        if (k < count)
            continue;
        const char *near = text_suggest(member->key.bytes, known, count);
        return json_error_key(object, member, "unknown key \"%s\" in %s%s%s%s", member->key.bytes,
            owner, near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
            near != NULL ? "\"?" : "");
    }
    return NULL;
}

/* The error for a value that is not what it must be; a missing one is placed at its object. */
static struct error *must_be(struct arena *arena, const struct json *object, const char *key,
    const struct json *value, const char *what)
{
    return json_error(value != NULL ? value : object, "\"%s\" must be %s, not %s", key, what,
        json_show(arena, value));
}

static struct error *read_string(struct arena *arena, const struct json *object, const char *key,
    const char *fallback, const char *what, const char **out)
{
    const struct json *value = json_get(object, key);
    *out = fallback;
    if (value == NULL && fallback != NULL)
        return NULL;
    if (!json_is(value, JSON_STRING) || strlen(value->text.bytes) != value->text.length)
        return must_be(arena, object, key, value, what);
    *out = arena_copy(arena, value->text.bytes, value->text.length);
    return memory_check(*out);
}

static struct error *read_patterns(struct arena *arena, const struct json *object, const char *key,
    const char *const **out, size_t *count)
{
    const struct json *list = json_get(object, key);
    *out = NULL;
    *count = 0;
    if (list == NULL)
        return NULL;
    if (list->kind != JSON_ARRAY)
        return must_be(arena, object, key, list, "a list of patterns");
    const char **patterns = arena_array(arena, list->count, sizeof *patterns);
    TRY(memory_check(patterns));
    for (size_t i = 0; i < list->count; i++) {
        const struct json *item = &list->items[i];
        if (item->kind != JSON_STRING || strlen(item->text.bytes) != item->text.length)
            return must_be(arena, object, key, item, "a list of patterns");
        patterns[i] = arena_copy(arena, item->text.bytes, item->text.length);
        TRY(memory_check(patterns[i]));
    }
    *out = patterns;
    *count = list->count;
    return NULL;
}

struct error *lock_read_declaration(
    struct arena *arena, const struct json *object, struct lock_source *out)
{
    static const char hub_words[] = "a repository's name, org/name";
    static const char type_words[] = "one of \"model\", \"dataset\"";
    static const char revision_words[] = "a branch, a tag or a commit";
    struct hub_filter filter = {0};
    const char *id, *type, *revision;
    TRY(read_string(arena, object, "hub", NULL, hub_words, &id));
    TRY(read_string(arena, object, "type", "model", type_words, &type));
    TRY(read_string(arena, object, "revision", "main", revision_words, &revision));
    TRY(read_patterns(arena, object, "include", &filter.include, &filter.include_count));
    TRY(read_patterns(arena, object, "exclude", &filter.exclude, &filter.exclude_count));
    bool is_dataset = strcmp(type, "dataset") == 0;
    if (!hub_repo_id_is_valid(id))
        return must_be(arena, object, "hub", json_get(object, "hub"), hub_words);
    if (!is_dataset && strcmp(type, "model") != 0)
        return must_be(arena, object, "type", json_get(object, "type"), type_words);
    if (!hub_revision_is_valid(revision))
        return must_be(arena, object, "revision", json_get(object, "revision"), revision_words);
    out->repo = (struct hub_repo){.type = is_dataset ? HUB_DATASET : HUB_MODEL, .id = id};
    out->revision = revision;
    out->filter = filter;
    return NULL;
}

/* ---- files ---- */

static bool is_in_own_directory(const char *path)
{
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncasecmp(at, ".psybuild", 9) == 0 && (at[9] == '/' || at[9] == '\0'))
            return true;
    }
    return false;
}

static struct error *check_file(const struct hub_file *file)
{
    if (is_in_own_directory(file->path))
        return error_new(ERROR_FORMAT,
            "the hub's file name \"%s\" has a component \".psybuild\": refused", file->path);
    if (file->size_bytes > SIZE_BYTES_MAX)
        return error_new(ERROR_FORMAT, "the hub's file \"%s\" is said to have %llu bytes: refused",
            file->path, (unsigned long long)file->size_bytes);
    if (file->git[0] == '\0' && file->sha256[0] == '\0')
        return error_new(ERROR_FORMAT,
            "the hub states no hash of its file \"%s\", so it cannot be verified", file->path);
    return NULL;
}

struct error *lock_select(struct arena *arena, const struct hub_files *files,
    const struct hub_filter *filter, struct hub_files *out)
{
    struct hub_files chosen;
    TRY(hub_select(arena, files, filter, folds_case, &chosen));
    for (size_t i = 0; i < chosen.count; i++)
        TRY(check_file(&chosen.items[i]));
    *out = chosen;
    return NULL;
}

static struct error *read_file(
    struct arena *arena, const struct json *files, size_t index, struct hub_file *out)
{
    static const char *const known[] = {"git", "sha256", "size", NULL};
    const struct json_member *member = &files->members[index];
    const struct json *object = &member->value;
    struct error *fault = hub_path_check(member->key);
    if (fault != NULL) {
        struct error *error = json_error_key(files, member, "%s", error_text(fault));
        error_free(fault);
        return error;
    }
    if (object->kind != JSON_OBJECT)
        return json_error(
            object, "a file's entry must be an object, not %s", json_show(arena, object));
    TRY(check_keys(object, known, "a file's entry"));
    const struct json *git = json_get(object, "git"), *sha256 = json_get(object, "sha256");
    const struct json *size = json_get(object, "size");
    int64_t size_bytes;
    if (!json_to_i64(size, &size_bytes) || size_bytes < 0)
        return must_be(arena, object, "size", size, "a number of bytes");
    if ((git == NULL) == (sha256 == NULL))
        return json_error(object, "a file's entry must have one of \"git\", \"sha256\"");
    if (git != NULL && !(git->kind == JSON_STRING && text_is_hex(git->text, HUB_COMMIT_MAX - 1)))
        return must_be(arena, object, "git", git, "40 lower-case hex digits");
    if (sha256 != NULL &&
        !(sha256->kind == JSON_STRING && text_is_hex(sha256->text, HUB_HASH_MAX - 1)))
        return must_be(arena, object, "sha256", sha256, "64 lower-case hex digits");
    const char *path = arena_copy(arena, member->key.bytes, member->key.length);
    TRY(memory_check(path));
    *out = (struct hub_file){.path = path, .size_bytes = (uint64_t)size_bytes};
    if (git != NULL)
        memcpy(out->git, git->text.bytes, sizeof out->git);
    else
        memcpy(out->sha256, sha256->text.bytes, sizeof out->sha256);
    return NULL;
}

static struct error *select_files(
    struct arena *scratch, struct arena *arena, const struct json *files, struct hub_files *out)
{
    struct hub_file *items = arena_array(scratch, files->count, sizeof *items);
    TRY(memory_check(items));
    for (size_t i = 0; i < files->count; i++)
        TRY(read_file(arena, files, i, &items[i]));
    struct error *error = lock_select(arena, &(struct hub_files){items, files->count}, NULL, out);
    return error == NULL ? NULL : error_wrap(error, "reading %s", files->document->name);
}

static struct error *read_files(
    struct arena *arena, const struct json *object, struct hub_files *out)
{
    const struct json *files = json_get(object, "files");
    if (!json_is(files, JSON_OBJECT))
        return must_be(arena, object, "files", files, "an object");
    if (files->count == 0)
        return json_error(files, "\"files\" must hold at least one file");
    struct arena scratch = {0};
    struct error *error = select_files(&scratch, arena, files, out);
    arena_end(&scratch);
    return error;
}

/* ---- the whole ---- */

static struct error *read_source(struct arena *arena, const struct json *sources,
    const struct json_member *member, struct lock_source *out)
{
    static const char *const known[] = {
        "commit", "exclude", "files", "hub", "include", "revision", "type", NULL};
    const struct json *object = &member->value;
    struct lock_source source = {
        .directory = arena_copy(arena, member->key.bytes, member->key.length)};
    const char *commit, *revision;
    TRY(memory_check(source.directory));
    if (strlen(source.directory) != member->key.length || !path_is_normal(source.directory))
        return json_error_key(
            sources, member, "a source's name must be a path, not \"%s\"", source.directory);
    if (object->kind != JSON_OBJECT)
        return json_error(
            object, "a source's entry must be an object, not %s", json_show(arena, object));
    TRY(check_keys(object, known, "a source's entry"));
    TRY(read_string(arena, object, "commit", NULL, "40 lower-case hex digits", &commit));
    TRY(read_string(arena, object, "revision", NULL, "a branch, a tag or a commit", &revision));
    if (!hub_is_commit(commit))
        return must_be(
            arena, object, "commit", json_get(object, "commit"), "40 lower-case hex digits");
    memcpy(source.commit, commit, sizeof source.commit);
    TRY(lock_read_declaration(arena, object, &source));
    TRY(read_files(arena, object, &source.files));
    *out = source;
    return NULL;
}

static struct error *read_sources(struct arena *arena, const struct json *root, struct lock *out)
{
    static const char *const known[] = {"psybuild-lock", "sources", NULL};
    const struct json *version = json_get(root, "psybuild-lock");
    const struct json *sources = json_get(root, "sources");
    int64_t number;
    if (root->kind != JSON_OBJECT)
        return json_error(root, "a lock must be an object, not %s", json_show(arena, root));
    if (!json_to_i64(version, &number) || number != 1)
        return must_be(arena, root, "psybuild-lock", version, "1");
    TRY(check_keys(root, known, "the lock"));
    if (!json_is(sources, JSON_OBJECT))
        return must_be(arena, root, "sources", sources, "an object");
    for (size_t i = 0; i < sources->count; i++) {
        struct lock_source source;
        TRY(read_source(arena, sources, &sources->members[i], &source));
        TRY(lock_put(arena, out, &source));
    }
    return NULL;
}

/* The text, in memory of its own, is several times as long as what is taken from it. */
static struct error *read_lock(
    struct arena *scratch, struct arena *arena, const char *path, struct lock *out)
{
    struct text text;
    const struct json_document *document;
    struct lock lock = {0};
    TRY(file_read_whole(scratch, path, JSON_BYTES_MAX, &text));
    TRY(json_parse(scratch, path, text, JSON_STRICT, &document));
    TRY(read_sources(arena, &document->root, &lock));
    *out = lock;
    return NULL;
}

struct error *lock_read(struct arena *arena, const char *path, struct lock *out)
{
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(file_stat(path, &kind, &stamp));
    if (kind == FILE_ABSENT) {
        *out = (struct lock){0};
        return NULL;
    }
    struct arena scratch = {.budget = arena->budget};
    struct error *error = read_lock(&scratch, arena, path, out);
    arena_end(&scratch);
    return error;
}

/* The place of a directory: of its entry, or of where it would stand. */
static size_t find_place(const struct lock *lock, const char *directory)
{
    size_t begin = 0, end = lock->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (strcmp(lock->items[middle].directory, directory) < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

const struct lock_source *lock_find(const struct lock *lock, const char *directory)
{
    size_t place = find_place(lock, directory);
    bool is_there = place < lock->count && strcmp(lock->items[place].directory, directory) == 0;
    return is_there ? &lock->items[place] : NULL;
}

struct error *lock_put(struct arena *arena, struct lock *lock, const struct lock_source *source)
{
    size_t place = find_place(lock, source->directory);
    if (lock_find(lock, source->directory) == NULL) {
        struct lock_source *items =
            arena_grow(arena, lock->items, lock->count, &lock->capacity, sizeof *items);
        TRY(memory_check(items));
        memmove(items + place + 1, items + place, (lock->count - place) * sizeof *items);
        lock->items = items;
        lock->count++;
    }
    lock->items[place] = *source;
    return NULL;
}

bool lock_same_revision(const struct lock_source *a, const struct lock_source *b)
{
    return a->repo.type == b->repo.type && strcmp(a->repo.id, b->repo.id) == 0 &&
           strcmp(a->revision, b->revision) == 0;
}

static bool same_patterns(
    const char *const *a, size_t a_count, const char *const *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (strcmp(a[i], b[i]) != 0)
            return false;
    return true;
}

bool lock_same_filter(const struct lock_source *a, const struct lock_source *b)
{
    const struct hub_filter *x = &a->filter, *y = &b->filter;
    return same_patterns(x->include, x->include_count, y->include, y->include_count) &&
           same_patterns(x->exclude, x->exclude_count, y->exclude, y->exclude_count);
}

/* ---- writing ---- */

static void write_patterns(
    struct json_writer *writer, const char *key, const char *const *patterns, size_t count)
{
    if (count == 0)
        return;
    json_member_array_begin(writer, key);
    for (size_t i = 0; i < count; i++)
        json_write_string(writer, patterns[i]);
    json_write_array_end(writer);
}

static void write_file(struct json_writer *writer, const struct hub_file *file)
{
    bool is_git = file->sha256[0] == '\0';
    json_member_object_begin(writer, file->path);
    json_member_string(writer, is_git ? "git" : "sha256", is_git ? file->git : file->sha256);
    json_member_u64(writer, "size", file->size_bytes);
    json_write_object_end(writer);
}

/* Its keys in byte order. */
static void write_source(struct json_writer *writer, const struct lock_source *source)
{
    const struct hub_filter *filter = &source->filter;
    json_member_object_begin(writer, source->directory);
    json_member_string(writer, "commit", source->commit);
    write_patterns(writer, "exclude", filter->exclude, filter->exclude_count);
    json_member_object_begin(writer, "files");
    for (size_t i = 0; i < source->files.count; i++)
        write_file(writer, &source->files.items[i]);
    json_write_object_end(writer);
    json_member_string(writer, "hub", source->repo.id);
    write_patterns(writer, "include", filter->include, filter->include_count);
    json_member_string(writer, "revision", source->revision);
    if (source->repo.type == HUB_DATASET)
        json_member_string(writer, "type", "dataset");
    json_write_object_end(writer);
}

struct error *lock_print(struct arena *arena, const struct lock *lock, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_PRETTY);
    struct text text;
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_u64(writer, "psybuild-lock", 1);
    json_member_object_begin(writer, "sources");
    for (size_t i = 0; i < lock->count; i++)
        write_source(writer, &lock->items[i]);
    json_write_object_end(writer);
    json_write_object_end(writer);
    TRY(json_writer_finish(writer, &text));
    char *line = arena_format(arena, "%s\n", text.bytes);
    TRY(memory_check(line));
    *out = (struct text){line, text.length + 1};
    return NULL;
}

struct error *lock_write(struct arena *arena, const struct lock *lock, const char *path)
{
    struct text text;
    TRY(lock_print(arena, lock, &text));
    return file_replace_whole(path, text);
}
