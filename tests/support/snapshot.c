/* snapshot.c - directories walked with file_list_directory, files hashed whole. */
#include "tests/support/snapshot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/directory.h"
#include "engine/state/state.h"
#include "tests/support/tree.h"

enum { BLOCK_BYTES = 1 << 18 };

struct walk {
    struct arena *arena;
    const char *top;
    struct snapshot snapshot;
    size_t capacity;
};

/* In blocks, each hashed with the hash so far before it: a test that holds whole files looks large
 * to getrusage, and so do the programs that it starts. */
static struct snapshot_file hash_file(const char *path)
{
    static unsigned char block[sizeof(struct hash128) + BLOCK_BYTES];
    struct snapshot_file result = {.size_bytes = 0};
    size_t count;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    do {
        memcpy(block, &result.hash, sizeof result.hash);
        count = fread(block + sizeof result.hash, 1, BLOCK_BYTES, file);
        result.hash = hash_bytes(block, sizeof result.hash + count);
        result.size_bytes += count;
    } while (count == BLOCK_BYTES);
    assert_int_equal(ferror(file), 0);
    assert_int_equal(fclose(file), 0);
    return result;
}

static void add_file(struct walk *walk, const char *path)
{
    struct snapshot *snapshot = &walk->snapshot;
    snapshot->files = arena_grow(
        walk->arena, snapshot->files, snapshot->count, &walk->capacity, sizeof *snapshot->files);
    assert_non_null(snapshot->files);
    snapshot->files[snapshot->count] = hash_file(path);
    snapshot->files[snapshot->count++].path = path + strlen(walk->top) + 1;
}

static void add_directory(struct walk *walk, const char *directory)
{
    struct file_entry *entries;
    size_t count;
    struct error *error = file_list_directory(walk->arena, directory, &entries, &count);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return;
    }
    tree_assert_ok(error);
    for (size_t i = 0; i < count; i++) {
        char *path = path_join(walk->arena, directory, entries[i].name);
        assert_non_null(path);
        if (entries[i].kind == FILE_DIRECTORY)
            add_directory(walk, path);
        else
            add_file(walk, path);
    }
}

static int compare_files(const void *a, const void *b)
{
    const struct snapshot_file *left = a, *right = b;
    return strcmp(left->path, right->path);
}

struct snapshot snapshot_take(struct arena *arena, const char *directory)
{
    struct walk walk = {.arena = arena, .top = directory};
    add_directory(&walk, directory);
    if (walk.snapshot.count > 1)
        qsort(walk.snapshot.files, walk.snapshot.count, sizeof *walk.snapshot.files, compare_files);
    return walk.snapshot;
}

const struct snapshot_file *snapshot_find(const struct snapshot *snapshot, const char *path)
{
    for (size_t i = 0; i < snapshot->count; i++)
        if (strcmp(snapshot->files[i].path, path) == 0)
            return &snapshot->files[i];
    return NULL;
}

static bool is_same_file(const struct snapshot_file *a, const struct snapshot_file *b)
{
    return a != NULL && b != NULL && strcmp(a->path, b->path) == 0 &&
           a->size_bytes == b->size_bytes && hash_equal(&a->hash, &b->hash);
}

bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
    bool is_equal = a->count == b->count;
    for (size_t i = 0; is_equal && i < a->count; i++)
        is_equal = is_same_file(&a->files[i], &b->files[i]);
    return is_equal;
}

void snapshot_assert_equal(
    const struct snapshot *found, const struct snapshot *wanted, const char *when)
{
    for (size_t i = 0; i < wanted->count; i++)
        if (!is_same_file(snapshot_find(found, wanted->files[i].path), &wanted->files[i]))
            fail_msg("%s: %s is %s", when, wanted->files[i].path,
                snapshot_find(found, wanted->files[i].path) == NULL ? "missing" : "not the same");
    for (size_t i = 0; i < found->count; i++)
        if (snapshot_find(wanted, found->files[i].path) == NULL)
            fail_msg("%s: %s is there, but should not be", when, found->files[i].path);
}

void snapshot_assert_no_strays(struct arena *arena, const char *when)
{
    struct snapshot snapshot = snapshot_take(arena, STATE_DIRECTORY);
    for (size_t i = 0; i < snapshot.count; i++) {
        const char *path = snapshot.files[i].path;
        bool is_log = strncmp(path, "pieces/", 7) == 0 && strlen(path) == 7 + 32;
        if (!is_log && strcmp(path, "state") != 0 && strcmp(path, "compiled") != 0 &&
            strcmp(path, "lock") != 0)
            fail_msg("%s: %s/%s is left over", when, STATE_DIRECTORY, path);
    }
}
