/* history_disk.c - plain system calls, and cp where times have to be kept. */
#include "tests/support/history_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PRINTED_BYTES_MAX = 4000, BLOCK_BYTES = 1 << 16 };

static FILE *script;
static const char *script_store;
static unsigned stored_count;
static FILE *held_script;

void disk_give_up(const char *words, ...)
{
    va_list list;
    va_start(list, words);
    fprintf(stderr, "history: ");
    vfprintf(stderr, words, list);
    fprintf(stderr, "\n");
    va_end(list);
    exit(2);
}

static void must(bool is_done, const char *what, const char *path)
{
    if (!is_done)
        disk_give_up("%s: cannot %s: %s", path, what, strerror(errno));
}

/* ---- the script ---- */

void disk_write_script(FILE *file, const char *store)
{
    script = file;
    script_store = store;
    stored_count = 0;
}

void disk_hold_script(bool is_held)
{
    if (is_held) {
        held_script = script;
        script = NULL;
    } else if (script == NULL) {
        script = held_script;
    }
}

void disk_say(const char *line, ...)
{
    va_list list;
    if (script == NULL)
        return;
    va_start(list, line);
    vfprintf(script, line, list);
    va_end(list);
    fputc('\n', script);
    fflush(script);
}

static bool is_printable(const char *bytes, size_t size)
{
    bool is_plain = size <= PRINTED_BYTES_MAX;
    for (size_t i = 0; is_plain && i < size; i++)
        is_plain = (bytes[i] >= ' ' && bytes[i] <= '~') || bytes[i] == '\n';
    return is_plain;
}

static void write_whole(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    must(file != NULL, "open", path);
    must(fwrite(bytes, 1, size, file) == size, "write", path);
    must(fclose(file) == 0, "close", path);
}

/* The bytes as a word of the shell, or a file that holds them. */
static void say_put(const char *path, const char *bytes, size_t size)
{
    char stored[PATH_MAX];
    if (script == NULL)
        return;
    if (!is_printable(bytes, size)) {
        snprintf(stored, sizeof stored, "%s/%u", script_store, ++stored_count);
        write_whole(stored, bytes, size);
        disk_say("mkdir -p \"$(dirname %s)\"; cp \"$files/%u\" %s.new && mv %s.new %s", path,
            stored_count, path, path, path);
        return;
    }
    fprintf(script, "mkdir -p \"$(dirname %s)\"; printf %%s '", path);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] == '\'')
            fputs("'\\''", script);
        else
            fputc(bytes[i], script);
    disk_say("' >%s.new && mv %s.new %s", path, path, path);
}

/* ---- new files ---- */

static void make_parents(const char *path)
{
    char part[PATH_MAX];
    snprintf(part, sizeof part, "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            must(false, "make", part);
        *slash = '/';
    }
}

static void replace(const char *path, const void *bytes, size_t size)
{
    char temporary[PATH_MAX + 8];
    make_parents(path);
    snprintf(temporary, sizeof temporary, "%s.new", path);
    write_whole(temporary, bytes, size);
    must(rename(temporary, path) == 0, "replace", path);
}

void disk_put(const char *path, const void *bytes, size_t size)
{
    if (disk_is_directory(path))
        return;
    say_put(path, bytes, size);
    replace(path, bytes, size);
}

void disk_put_text(const char *path, const char *text)
{
    disk_put(path, text, strlen(text));
}

void disk_fill(const char *path, unsigned version, size_t size)
{
    char line[32];
    size_t length = (size_t)snprintf(line, sizeof line, "version %u\n", version);
    char *bytes = memory_alloc(size + length);
    must(bytes != NULL, "hold", path);
    for (size_t at = 0; at < size; at += length)
        memcpy(bytes + at, line, length);
    if (!disk_is_directory(path)) {
        disk_say("yes 'version %u' | head -c %zu >%s.new && mv %s.new %s", version, size, path,
            path, path);
        replace(path, bytes, size);
    }
    memory_free(bytes);
}

void disk_directory(const char *path)
{
    disk_say("mkdir -p %s", path);
    make_parents(path);
    must(mkdir(path, 0777) == 0 || errno == EEXIST, "make", path);
}

void disk_link(const char *path, const char *target)
{
    disk_say("mkdir -p \"$(dirname %s)\"; ln -s %s %s", path, target, path);
    make_parents(path);
    must(symlink(target, path) == 0, "link", path);
}

/* ---- files that are there ---- */

void disk_poke(const char *path, size_t offset, const void *bytes, size_t size)
{
    const unsigned char *values = bytes;
    if (!disk_is_file(path) || disk_size(path) < offset)
        return;
    if (script != NULL) {
        fputs("printf '", script);
        for (size_t i = 0; i < size; i++)
            fprintf(script, "\\%03o", (unsigned)values[i]);
        disk_say("' | dd of=%s bs=1 seek=%zu conv=notrunc status=none", path, offset);
    }
    int file = open(path, O_WRONLY | O_CLOEXEC);
    must(file >= 0, "open", path);
    must(pwrite(file, bytes, size, (off_t)offset) == (ssize_t)size, "write", path);
    must(close(file) == 0, "close", path);
}

void disk_pad(const char *path, size_t size)
{
    size_t old = disk_size(path);
    if (!disk_is_file(path) || old >= size)
        return;
    disk_say("printf '%%*s' %zu '' >>%s", size - old, path);
    FILE *file = fopen(path, "ab");
    must(file != NULL, "open", path);
    must(fprintf(file, "%*s", (int)(size - old), "") >= 0, "write", path);
    must(fclose(file) == 0, "close", path);
}

void disk_truncate(const char *path, size_t size)
{
    if (!disk_is_file(path))
        return;
    disk_say("truncate -s %zu %s", size, path);
    must(truncate(path, (off_t)size) == 0, "truncate", path);
}

void disk_touch(const char *path)
{
    if (!disk_has(path))
        return;
    disk_say("touch -h %s", path);
    must(utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW) == 0, "touch", path);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

void disk_remove(const char *path)
{
    if (!disk_has(path))
        return;
    disk_say("rm -rf %s", path);
    must(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0, "remove", path);
}

void disk_move(const char *from, const char *to)
{
    if (!disk_has(from))
        return;
    disk_say("mv %s %s", from, to);
    make_parents(to);
    must(rename(from, to) == 0, "rename", from);
}

static void copy(const char *flags, const char *from, const char *to)
{
    int status;
    disk_remove(to);
    make_parents(to);
    disk_say("mkdir -p \"$(dirname %s)\"; cp %s %s %s", to, flags, from, to);
    pid_t child = fork();
    must(child >= 0, "copy", from);
    if (child == 0) {
        execlp("cp", "cp", flags, from, to, (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0)
        must(errno == EINTR, "wait for a copy of", from);
    must(status == 0, "copy", from);
}

void disk_copy(const char *from, const char *to)
{
    if (disk_has(from))
        copy("-pPR", from, to);
}

void disk_copy_fresh(const char *from, const char *to)
{
    if (disk_has(from))
        copy("-PR", from, to);
}

/* ---- looking ---- */

bool disk_has(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

bool disk_is_file(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode);
}

bool disk_is_directory(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

size_t disk_size(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0 && S_ISREG(status.st_mode) ? (size_t)status.st_size : 0;
}

struct text disk_read(struct arena *arena, const char *path)
{
    size_t size = disk_size(path);
    FILE *file = size == 0 ? NULL : fopen(path, "rb");
    if (file == NULL)
        return (struct text){"", 0};
    char *bytes = arena_alloc(arena, size + 1);
    must(bytes != NULL, "hold", path);
    size_t length = fread(bytes, 1, size, file);
    must(fclose(file) == 0, "close", path);
    return (struct text){bytes, length};
}

bool disk_holds(const char *path, const char *words)
{
    struct arena work = {0};
    struct text text = disk_is_file(path) ? disk_read(&work, path) : (struct text){"", 0};
    bool is_there = memmem(text.bytes, text.length, words, strlen(words)) != NULL;
    arena_end(&work);
    return is_there;
}

struct hash128 disk_hash(const char *path)
{
    struct arena work = {0};
    struct hash_stream *stream = hash_stream_new(&work);
    char *block = arena_alloc(&work, BLOCK_BYTES);
    FILE *file = fopen(path, "rb");
    must(stream != NULL && block != NULL, "hold", path);
    for (size_t count = 1; file != NULL && count > 0;) {
        count = fread(block, 1, BLOCK_BYTES, file);
        hash_stream_update(stream, block, count);
    }
    if (file != NULL)
        fclose(file);
    struct hash128 hash = hash_stream_take(stream);
    arena_end(&work);
    return hash;
}

static void walk(struct arena *arena, const char *top, const char *skip, struct disk_list *list)
{
    DIR *directory = opendir(top);
    struct dirent *found;
    while (directory != NULL && (found = readdir(directory)) != NULL) {
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0 ||
            (skip != NULL && strcmp(found->d_name, skip) == 0))
            continue;
        struct disk_entry entry = {.path = arena_format(arena, "%s/%s", top, found->d_name)};
        if (lstat(entry.path, &entry.status) != 0)
            continue;
        list->entries =
            arena_grow(arena, list->entries, list->count, &list->capacity, sizeof *list->entries);
        must(list->entries != NULL, "list", top);
        list->entries[list->count++] = entry;
        if (S_ISDIR(entry.status.st_mode))
            walk(arena, entry.path, skip, list);
    }
    if (directory != NULL)
        closedir(directory);
}

static int compare_entries(const void *a, const void *b)
{
    const struct disk_entry *left = a, *right = b;
    return strcmp(left->path, right->path);
}

struct disk_list disk_walk(struct arena *arena, const char *top, const char *skip)
{
    struct disk_list list = {.count = 0};
    walk(arena, top, skip, &list);
    if (list.count > 1)
        qsort(list.entries, list.count, sizeof *list.entries, compare_entries);
    return list;
}
