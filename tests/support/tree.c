/* tree.c - directories made by mkdtemp under TMPDIR, removed by nftw. */
#include "tests/support/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char start_directory[PATH_MAX], source_directory[PATH_MAX], test_directory[PATH_MAX];

/* Once, before the working directory changes for the first time. */
static int find_source(void)
{
    const char *source = getenv("PSYBUILD_SOURCE");
    if (source_directory[0] != '\0')
        return 0;
    if (getcwd(start_directory, sizeof start_directory) == NULL)
        return -1;
    return realpath(source == NULL ? "." : source, source_directory) == NULL ? -1 : 0;
}

const char *tree_source(void)
{
    return source_directory;
}

int tree_begin(void **state)
{
    const char *temporary = getenv("TMPDIR");
    (void)state;
    if (find_source() != 0)
        return -1;
    snprintf(test_directory, sizeof test_directory, "%s/psybuild-test.XXXXXX",
        temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(test_directory) == NULL)
        return -1;
    return chdir(test_directory);
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

int tree_end(void **state)
{
    (void)state;
    if (chdir(start_directory) != 0)
        return -1;
    return nftw(test_directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_parents(const char *path)
{
    char part[PATH_MAX];
    assert_true(strlen(path) < sizeof part);
    strcpy(part, path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(part, 0777); /* or it is there; else the file cannot be made, which is seen */
        *slash = '/';
    }
}

void tree_write_bytes(const char *path, const void *bytes, size_t size)
{
    make_parents(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void tree_write(const char *path, const char *text)
{
    tree_write_bytes(path, text, strlen(text));
}

struct text tree_read(struct arena *arena, const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    size_t length = (size_t)ftell(file);
    rewind(file);
    char *bytes = arena_alloc(arena, length + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
    return (struct text){bytes, length};
}

bool tree_has(const char *path)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

void tree_remove(const char *path)
{
    assert_int_equal(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void tree_assert_ok(struct error *error)
{
    if (error != NULL)
        print_error("%s", error_report(error));
    assert_null(error);
}

void tree_assert_report(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_report(error), want);
    error_free(error);
}
