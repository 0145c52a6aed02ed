/* hub_local.c - small files in the client's own form. */
#include "tasks/formats/hub_local.h"

#include <time.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "base/file_whole.h"
#include "base/json_write.h"

static const struct {
    const char *name, *text;
} marks[] = {
    {".gitignore", "*"},
    {"CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n"
                     "# This file is a cache directory tag created by huggingface_hub.\n"
                     "# For information about cache directory tags, see:\n"
                     "#\thttps://bford.info/cachedir/\n"},
};

/* Makes the directory of D's notes that holds `path`, and the marks. */
static struct error *prepare(
    struct arena *arena, const char *directory, const char *path, char **full)
{
    char *notes = path_join(arena, directory, HUB_LOCAL_DIRECTORY);
    *full = notes == NULL ? NULL : path_join(arena, notes, path);
    char *parent = *full == NULL ? NULL : path_directory(arena, *full);
    TRY(memory_check(parent));
    TRY(file_make_directories(parent));
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        enum file_kind kind;
        struct file_stamp stamp;
        char *mark = path_join(arena, notes, marks[i].name);
        TRY(memory_check(mark));
        TRY(file_stat(mark, &kind, &stamp));
        if (kind == FILE_ABSENT)
            TRY(file_replace_hint(mark, text_of(marks[i].text)));
    }
    return NULL;
}

struct error *hub_local_note(
    struct arena *arena, const char *directory, const char *commit, const struct hub_file *file)
{
    char *base = arena_format(arena, "download/%s", file->path), *full;
    struct file_lock *lock = NULL;
    TRY(memory_check(base));
    TRY(prepare(arena, directory, base, &full));
    char *lock_path = arena_format(arena, "%s.lock", full);
    char *note_path = arena_format(arena, "%s.metadata", full);
    /* Whole seconds: the client allows for one. */
    char *note = arena_format(arena, "%s\n%s\n%lld.0\n", commit,
        file->sha256[0] != '\0' ? file->sha256 : file->git, (long long)time(NULL));
    if (lock_path == NULL || note_path == NULL || note == NULL)
        return error_memory();
    TRY(file_lock_take(lock_path, false, &lock, NULL));
    if (lock == NULL)
        return NULL;
    struct error *error = file_replace_hint(note_path, text_of(note));
    file_lock_release(lock);
    return error;
}

static void write_file(struct json_writer *writer, const struct hub_file *file)
{
    json_member_object_begin(writer, file->path);
    json_member_u64(writer, "size", file->size_bytes);
    json_member_string(writer, "blob_id", file->git);
    if (file->sha256[0] != '\0') {
        json_member_string(writer, "lfs_sha256", file->sha256);
        json_member_u64(writer, "lfs_size", file->size_bytes);
    }
    json_write_object_end(writer);
}

struct error *hub_local_note_tree(
    struct arena *arena, const char *directory, const char *commit, const struct hub_files *files)
{
    static const struct json_style style = {.indent = 1, .is_ascii = true};
    struct json_writer *writer = json_writer_new(arena, &style);
    char *base = arena_format(arena, "trees/%s.json", commit), *full;
    struct text text;
    if (writer == NULL || base == NULL)
        return error_memory();
    json_write_object_begin(writer);
    json_member_u64(writer, "format_version", 1);
    json_member_object_begin(writer, "files");
    for (size_t i = 0; i < files->count; i++)
        write_file(writer, &files->items[i]);
    json_write_object_end(writer);
    json_write_object_end(writer);
    TRY(json_writer_finish(writer, &text));
    TRY(prepare(arena, directory, base, &full));
    return file_replace_hint(full, text);
}
