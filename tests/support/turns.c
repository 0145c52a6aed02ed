/* turns.c - program_run with what the tests of histories have in common. */
#include "tests/support/turns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/directory.h"
#include "engine/state/state.h"

enum { ARGUMENTS_MAX = 16 };

static struct arena arena; /* of the running test */
static pid_t stopped;      /* a program that waits to go on; 0: none */

/* ---- set-up ---- */

static void copy_source(void)
{
    const char *from = turns_format("%s/tests/golden/miniature/source", tree_source());
    struct file_entry *entries;
    size_t count;
    tree_assert_ok(file_list_directory(&arena, from, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        struct text bytes = tree_read(&arena, turns_format("%s/%s", from, entries[i].name));
        tree_write_bytes(
            turns_format(TURNS_SOURCE "/%s", entries[i].name), bytes.bytes, bytes.length);
    }
}

int turns_begin(void **state)
{
    static const char *const names[] = {"PSYBUILD_CACHE", "MAKEFLAGS", "PSYBUILD_FAULT_AT",
        "PSYBUILD_FAULT_CACHE", "PSYBUILD_FAULT_INODES"};
    for (size_t i = 0; i < TURNS_COUNT(names); i++)
        unsetenv(names[i]); /* of whoever runs the tests */
    if (tree_begin(state) != 0)
        return -1;
    copy_source();
    return 0;
}

int turns_end(void **state)
{
    if (stopped != 0)
        kill(stopped, SIGKILL); /* its test has failed */
    stopped = 0;
    arena_end(&arena);
    return tree_end(state);
}

struct arena *turns_arena(void)
{
    return &arena;
}

char *turns_format(const char *words, ...)
{
    va_list list;
    va_start(list, words);
    char *text = arena_format_list(&arena, words, list);
    va_end(list);
    assert_non_null(text);
    return text;
}

void turns_need_faults(void)
{
#ifndef PSYBUILD_FAULT
    print_message("skipped: only the variant \"fault\" has points to stop at\n");
    skip();
#endif
}

/* ---- the manifest ---- */

void turns_declare(const char *members, const char *artifacts)
{
    tree_write("psybuild.json",
        turns_format("{\"psybuild\": 1, %s\"artifacts\": {%s}}\n", members, artifacts));
}

void turns_declare_model(const char *members, const char *with)
{
    turns_declare(
        turns_format(
            "%s\"sources\": {\"" TURNS_SOURCE "\": {\"dir\": \"" TURNS_SOURCE "\"}}, ", members),
        turns_format("\"" TURNS_MODEL "\": {\"recipe\": \"mlx\", \"from\": \"" TURNS_SOURCE
                     "\", \"with\": {%s}}",
            with));
}

/* ---- files ---- */

void turns_write_bytes(const char *path, size_t size, unsigned seed)
{
    unsigned char *bytes = arena_alloc(&arena, size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1103515245 + 12345;
        bytes[i] = (unsigned char)(seed >> 16);
    }
    tree_write_bytes(path, bytes, size);
}

void turns_flip(const char *path, size_t offset)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    int byte = fgetc(file);
    assert_true(byte != EOF);
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_true(fputc(byte ^ 1, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

bool turns_holds(const char *path, const char *text)
{
    struct arena work = {0};
    bool holds = tree_has(path) && text_is(tree_read(&work, path), text);
    arena_end(&work);
    return holds;
}

bool turns_is_same(const char *a, const char *b)
{
    struct arena work = {0};
    bool is_same =
        tree_has(a) && tree_has(b) && text_equal(tree_read(&work, a), tree_read(&work, b));
    arena_end(&work);
    return is_same;
}

bool turns_is_somewhere(const char *directory, struct text text)
{
    struct arena work = {0};
    struct snapshot found = snapshot_take(&work, directory);
    bool is_there = false;
    for (size_t i = 0; i < found.count && !is_there; i++) {
        if (found.files[i].size_bytes != text.length)
            continue;
        char *path = path_join(&work, directory, found.files[i].path);
        is_there = path != NULL && text_equal(tree_read(&work, path), text);
    }
    arena_end(&work);
    return is_there;
}

void turns_set_mtime(const char *path, int64_t seconds)
{
    const struct timespec times[2] = {{.tv_sec = (time_t)seconds}, {.tv_sec = (time_t)seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

int64_t turns_mtime(const char *path)
{
    struct stat status;
    assert_int_equal(lstat(path, &status), 0);
    return (int64_t)status.st_mtime;
}

/* ---- runs ---- */

struct program turns_run(const char *const *arguments)
{
    const char *words[ARGUMENTS_MAX] = {"-q"};
    for (size_t i = 0; arguments[i] != NULL; i++) {
        assert_true(i + 2 < ARGUMENTS_MAX);
        words[i + 1] = arguments[i];
    }
    return program_run(&arena, words, NULL);
}

const char *turns_build(const char *when)
{
    struct program program = TURNS_RUN(NULL);
    if (program.exit_code != 0)
        fail_msg("%s: exit code %d: %s", when, program.exit_code, program.said.bytes);
    return program.said.bytes;
}

void turns_assert_done(const char *when)
{
    static const char *const nothing[] = {NULL};
    struct program program = program_run(&arena, nothing, NULL);
    if (program.exit_code != 0 || strstr(program.said.bytes, "nothing to do") == NULL)
        fail_msg("%s, once more: exit code %d: %s", when, program.exit_code, program.said.bytes);
}

void turns_assert_ended(const struct program *program, int exit_code, const char *words)
{
    if (program->exit_code != exit_code || strstr(program->said.bytes, words) == NULL)
        fail_msg("exit code %d, not %d with \"%s\": %s", program->exit_code, exit_code, words,
            program->said.bytes);
}

void turns_assert_as_from_nothing(const char *directory, const char *when)
{
    struct snapshot found = snapshot_take(&arena, directory);
    tree_remove(STATE_DIRECTORY);
    tree_remove(directory);
    turns_build("from nothing");
    struct snapshot wanted = snapshot_take(&arena, directory);
    snapshot_assert_equal(&found, &wanted, when);
}

/* ---- points ---- */

struct program turns_run_with_fault(const char *fault)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, NULL};
    return program_run(&arena, arguments, environment);
}

bool turns_pause(const char *kind, unsigned n, struct program *program)
{
    static const char *const arguments[] = {"-q", "-j1", NULL};
    const char *const environment[] = {
        "PSYBUILD_FAULT_AT", turns_format("pause:%s:%u", kind, n), NULL};
    siginfo_t info = {.si_pid = 0};
    *program = program_start(&arena, arguments, environment);
    stopped = program->id;
    while (waitid(P_PID, (id_t)program->id, &info, WSTOPPED | WEXITED | WNOWAIT) != 0)
        assert_int_equal(errno, EINTR);
    if (info.si_code == CLD_STOPPED)
        return true;
    stopped = 0;
    program_end(program);
    return false;
}

void turns_go_on(struct program *program)
{
    stopped = 0;
    assert_int_equal(kill(program->id, SIGCONT), 0);
    program_end(program);
}
