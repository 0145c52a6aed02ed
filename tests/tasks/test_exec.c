/* test_exec.c - names in commands, and depfiles. */
#include "tasks/exec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"

static const char *join(struct arena *arena, const char *const *items, size_t count)
{
    const char *joined = "";
    for (size_t i = 0; i < count; i++)
        joined = arena_format(arena, "%s[%s]", joined, items[i]);
    return joined;
}

static const char *take_message(struct arena *arena, struct error *error)
{
    const char *message = arena_format(arena, "%s", error_text(error));
    error_free(error);
    return message;
}

static void names_of_a_command_are_filled_in(void **state)
{
    static const char *const one[] = {"m/a b"}, *const two[] = {"x", "y"};
    static const struct exec_role roles[] = {{"one", one, 1}, {"two", two, 2}, {"none", NULL, 0}};
    static const struct exec_files files = {"p/out", roles, 3};
    static const struct {
        const char *arguments[4];
        size_t count;
        const char *want;
    } rows[] = {
        {{"run", "-o", "${out}"}, 3, "[run][-o][p/out]"},
        {{"--in=${in.one}:${out}.d"}, 1, "[--in=m/a b:p/out.d]"},
        {{"a", "${in.two}", "b"}, 3, "[a][x][y][b]"},
        {{"a", "${in.none}", "b"}, 3, "[a][b]"},
        {{"$$HOME", "100$$"}, 2, "[$HOME][100$]"},
        {{""}, 1, "[]"},
        {{"x${in.two}"}, 1, "\"${in.two}\" stands for 2 files and must be an argument of its own"},
        {{"x${in.none}"}, 1, "\"${in.none}\" names a role without files"},
        {{"${in.other}"}, 1, "\"${in.other}\" names a role without files"},
        {{"$HOME"}, 1, "expected \"${out}\", \"${in.ROLE}\" or \"$$\" after '$' in \"$HOME\""},
        {{"${outer}"}, 1,
            "expected \"${out}\", \"${in.ROLE}\" or \"$$\" after '$' in \"${outer}\""},
        {{"${out"}, 1, "expected \"${out}\", \"${in.ROLE}\" or \"$$\" after '$' in \"${out\""},
        {{"a$"}, 1, "expected \"${out}\", \"${in.ROLE}\" or \"$$\" after '$' in \"a$\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        char **made = NULL;
        struct error *error = exec_fill(&arena, &files, rows[i].arguments, rows[i].count, &made);
        size_t count = 0;
        while (made != NULL && made[count] != NULL)
            count++;
        const char *got = error != NULL ? take_message(&arena, error)
                                        : join(&arena, (const char *const *)made, count);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        arena_end(&arena);
    }
}

static void depfiles_are_read_as_gcc_writes_them(void **state)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"\n\n", ""},
        {"a.o: b.c b.h\n", "[b.c][b.h]"},
        {"a.o : b.c", "[b.c]"},
        {"a.o b.o: c", "[c]"},
        {"a.o: b.c \\\n  b.h \\\r\n c.h\r\nd: e\n", "[b.c][b.h][c.h][e]"},
        {"a.o: b.c\nb.c:\n", "[b.c]"},
        {"a.o: my\\ file.c\\\\\\ x a\\b c:d \\#e $$f $g\n",
            "[my file.c\\ x][a\\b][c:d][#e][$f][$g]"},
        {"a\\ b: c\n", "[c]"},
        {"a.o: b\tc", "[b][c]"},
        {"a.o: b\\", "[b\\]"},
        {"a b\n", "d:1:4: expected ':' after the targets of a depfile's rule"},
        {"x: y\nabc", "d:2:4: expected ':' after the targets of a depfile's rule"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct arena arena = {0};
        const char **paths = NULL;
        size_t count = 0;
        struct error *error =
            exec_parse_depfile(&arena, "d", text_of(rows[i].text), &paths, &count);
        const char *got = error != NULL ? take_message(&arena, error) : join(&arena, paths, count);
        if (strcmp(got, rows[i].want) != 0)
            fail_msg("row %zu: %s", i, got);
        arena_end(&arena);
    }
}

static void depfile_paths_hold_no_nul(void **state)
{
    struct arena arena = {0};
    const char **paths;
    size_t count;
    (void)state;
    struct error *error =
        exec_parse_depfile(&arena, "d", (struct text){"a: b\0c\n", 7}, &paths, &count);
    assert_non_null(error);
    assert_string_equal(error_text(error), "d:1:5: expected a path in a depfile");
    error_free(error);
    arena_end(&arena);
}

/* Targets count, too. */
static void a_depfile_names_at_most_100_000_paths(void **state)
{
    enum { PATHS_MAX = 100 * 1000 };
    (void)state;
    for (size_t beyond = 0; beyond < 2; beyond++) {
        struct arena arena = {0};
        struct buffer text = {.arena = &arena};
        const char **paths;
        size_t count;
        buffer_put_string(&text, "a:");
        for (size_t i = 1; i < PATHS_MAX + beyond; i++)
            buffer_put_string(&text, " b");
        struct error *error = exec_parse_depfile(
            &arena, "d", (struct text){(const char *)text.bytes, text.count}, &paths, &count);
        if (beyond == 0) {
            assert_null(error);
            assert_int_equal(count, PATHS_MAX - 1);
        } else {
            assert_string_equal(
                error_text(error), "d:1:200002: a depfile must name at most 100000 paths");
        }
        error_free(error);
        arena_end(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_a_command_are_filled_in),
        cmocka_unit_test(depfiles_are_read_as_gcc_writes_them),
        cmocka_unit_test(depfile_paths_hold_no_nul),
        cmocka_unit_test(a_depfile_names_at_most_100_000_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
