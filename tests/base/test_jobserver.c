/* test_jobserver.c - a client of make's jobserver, with a pipe or a fifo in make's place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/jobserver.h"
#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define UNREACHED                                                                                  \
    "make's jobserver cannot be reached: one job at a time (is there a \"+\" before the command "  \
    "in the makefile?)"

static struct arena arena; /* of the running test */

struct make { /* what a make would hold: the pipe or fifo with its tokens */
    int in, out;
    char flags[128];
};

static struct make begin_pipe(const char *format, const char *tokens)
{
    int ends[2];
    struct make make;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], tokens, strlen(tokens)), strlen(tokens));
    make.in = ends[0];
    make.out = ends[1];
    const char *value = arena_format(&arena, "%d,%d", ends[0], ends[1]);
    const char *at = strchr(format, '@');
    snprintf(make.flags, sizeof make.flags, "%.*s%s%s", (int)(at - format), format, value, at + 1);
    return make;
}

static struct make begin_fifo(const char *tokens)
{
    struct make make = {.flags = " -j4 --jobserver-auth=fifo:fifo"};
    assert_int_equal(mkfifo("fifo", 0600), 0);
    make.in = make.out = open("fifo", O_RDWR);
    assert_true(make.in >= 0);
    assert_int_equal(write(make.out, tokens, strlen(tokens)), strlen(tokens));
    return make;
}

static int compare_bytes(const void *a, const void *b)
{
    return *(const char *)a - *(const char *)b;
}

/* The tokens that are there now, in order; they stay. */
static const char *tokens_of(const struct make *make)
{
    char *tokens = arena_alloc(&arena, 64);
    int flags = fcntl(make->in, F_GETFL);
    assert_non_null(tokens);
    assert_int_equal(flags & O_NONBLOCK, 0); /* the pipe is others', too */
    assert_int_equal(fcntl(make->in, F_SETFL, flags | O_NONBLOCK), 0);
    ssize_t count = read(make->in, tokens, 63);
    assert_int_equal(fcntl(make->in, F_SETFL, flags), 0);
    if (count <= 0)
        return "";
    assert_int_equal(write(make->out, tokens, (size_t)count), count);
    qsort(tokens, (size_t)count, 1, compare_bytes);
    return tokens;
}

static void end_make(const struct make *make)
{
    close(make->in);
    if (make->out != make->in)
        close(make->out);
}

static struct jobserver *open_jobserver(const char *flags, const char *want_warning)
{
    struct jobserver *jobserver;
    tree_assert_ok(jobserver_open(&arena, flags, &jobserver));
    const char *warning = jobserver_warning(jobserver);
    if (want_warning == NULL)
        assert_null(warning);
    else
        assert_string_equal(warning, want_warning);
    return jobserver;
}

/* ---- what make says ---- */

static void without_a_jobserver_there_is_none(void **state)
{
    static const char *const flags[] = {NULL, "", "k", " -j8", "-j1 --no-print-directory",
        "-- CFLAGS=x--jobserver-auth=3,4", "--jobserver-auth=", "--jobserver-authx=3,4",
        "-- CFLAGS=x --jobserver-auth=3,4", "-- CFLAGS=x\\ --jobserver-auth=3,4",
        "-Ix\\ --jobserver-auth=3,4", "-- --jobserver-fds=3,4"};
    (void)state;
    for (size_t i = 0; i < COUNT(flags); i++)
        if (open_jobserver(flags[i], NULL) != NULL)
            fail_msg("\"%s\" names one", flags[i]);
    jobserver_close(NULL);
}

static void every_spelling_of_make_is_understood(void **state)
{
    static const char *const formats[] = {"-j8 --jobserver-auth=@", " -j --jobserver-fds=@ -j",
        "--jobserver-auth=@", "rR -j8 --jobserver-auth=@ --no-print-directory -- V=1",
        "-j8 --jobserver-auth=98,99 --jobserver-auth=@", /* the last one counts */
        "--jobserver-fds=98,99 --jobserver-auth=@"};
    (void)state;
    for (size_t i = 0; i < COUNT(formats); i++) {
        struct make make = begin_pipe(formats[i], "+");
        struct jobserver *jobserver = open_jobserver(make.flags, NULL);
        if (jobserver == NULL || jobserver_adjust(jobserver, 2) != 2)
            fail_msg("\"%s\": no token", make.flags);
        jobserver_close(jobserver);
        assert_string_equal(tokens_of(&make), "+");
        end_make(&make);
    }
}

static void one_that_cannot_be_reached_is_a_warning_and_one_job(void **state)
{
    static const char *const flags[] = {"-j8 --jobserver-auth=98,99", "--jobserver-auth=-2,-2",
        "--jobserver-auth=3", "--jobserver-auth=x,y", "--jobserver-auth=99999999999999999999,4",
        "--jobserver-auth=fifo:nowhere", "--jobserver-auth=fifo:", "--jobserver-auth=98,99 -j8",
        "--jobserver-auth=3,4,5", "--jobserver-auth= 3,4 --jobserver-auth=+3,+4"};
    (void)state;
    for (size_t i = 0; i < COUNT(flags); i++) {
        struct jobserver *jobserver = open_jobserver(flags[i], UNREACHED);
        assert_non_null(jobserver);
        assert_int_equal(jobserver_adjust(jobserver, 8), 1);
        jobserver_close(jobserver);
    }
}

/* A file gets neither read nor written, whatever make's flags say of it. */
static void only_pipes_and_fifos_are_taken(void **state)
{
    static const char content[] = "not a jobserver";
    int pipe_ends[2], file = open("file", O_RDWR | O_CREAT, 0600);
    (void)state;
    assert_true(file >= 0);
    assert_int_equal(write(file, content, sizeof content), sizeof content);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(pipe(pipe_ends), 0);
    assert_int_equal(write(pipe_ends[1], "t", 1), 1);
    const char *const flags[] = {"--jobserver-auth=fifo:file", "--jobserver-auth=fifo:.",
        "--jobserver-auth=fifo:/dev/zero",
        arena_format(&arena, "--jobserver-auth=%d,%d", file, file),
        arena_format(&arena, "--jobserver-auth=%d,%d", pipe_ends[0], file),
        arena_format(&arena, "--jobserver-auth=%d,%d", file, pipe_ends[1]),
        arena_format(&arena, "--jobserver-auth=%d,%d", pipe_ends[1], pipe_ends[0])};
    for (size_t i = 0; i < COUNT(flags); i++) {
        struct jobserver *jobserver = open_jobserver(flags[i], UNREACHED);
        assert_int_equal(jobserver_adjust(jobserver, 8), 1);
        jobserver_close(jobserver);
        assert_int_equal(lseek(file, 0, SEEK_CUR), 0);
        assert_int_equal(lseek(file, 0, SEEK_END), sizeof content);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    }
    const struct make make = {.in = pipe_ends[0], .out = pipe_ends[1]};
    assert_string_equal(tokens_of(&make), "t");
    end_make(&make);
    close(file);
}

static void blanks_in_the_path_of_a_fifo_are_escaped(void **state)
{
    (void)state;
    assert_int_equal(mkfifo("a $b\\c", 0600), 0);
    int fifo = open("a $b\\c", O_RDWR);
    assert_int_equal(write(fifo, "t", 1), 1);
    struct jobserver *jobserver =
        open_jobserver(" -j2 --jobserver-auth=fifo:a\\ $$b\\\\c -- X=1", NULL);
    assert_int_equal(jobserver_adjust(jobserver, 8), 2);
    jobserver_close(jobserver);
    close(fifo);
}

static void makes_own_number_of_jobs_is_known(void **state)
{
    static const struct {
        const char *format;
        unsigned jobs_max;
    } rows[] = {{" -j8 --jobserver-auth=@", 8}, {"kn --jobserver-auth=@ -j3", 3},
        {"-j --jobserver-auth=@", 0}, {"-jx --jobserver-auth=@", 0},
        {"-j99999999999999999999 --jobserver-auth=@", 1024}, {"--jobserver-auth=@ -- -j4", 0}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct make make = begin_pipe(rows[i].format, "");
        struct jobserver *jobserver = open_jobserver(make.flags, NULL);
        assert_int_equal(jobserver_jobs_max(jobserver), rows[i].jobs_max);
        jobserver_close(jobserver);
        end_make(&make);
    }
    assert_int_equal(jobserver_jobs_max(NULL), 0);
}

static void a_make_that_only_says_is_known_by_its_letters(void **state)
{
    static const char *const yes[] = {"n", "kn -j8", "q", "t", "nw -- A=b"};
    static const char *const no[] = {
        NULL, "", "k", " -j8 -n", "-n", "name=value", " -- n=1", "w --no-print-directory"};
    (void)state;
    for (size_t i = 0; i < COUNT(yes); i++)
        assert_true(make_only_says(yes[i]));
    for (size_t i = 0; i < COUNT(no); i++)
        assert_false(make_only_says(no[i]));
}

/* ---- tokens, of either form ---- */

static struct make begin_form(bool is_fifo, const char *tokens)
{
    return is_fifo ? begin_fifo(tokens) : begin_pipe("-j4 --jobserver-auth=@", tokens);
}

static void end_form(const struct make *make)
{
    end_make(make);
    unlink("fifo");
}

static void tokens_are_taken_as_wanted_and_the_same_go_back(void **state)
{
    static const struct {
        unsigned wanted, may_run;
        const char *left; /* NULL: which are left depends on the order */
        size_t left_count;
    } rows[] = {
        {1, 1, "abc", 3},
        {2, 2, NULL, 2},
        {2, 2, NULL, 2},
        {3, 3, NULL, 1},
        {9, 4, "", 0}, /* there are no more */
        {2, 2, NULL, 2},
        {4, 4, "", 0},
        {0, 1, "abc", 3},
    };
    (void)state;
    for (int is_fifo = 0; is_fifo < 2; is_fifo++) {
        struct make make = begin_form(is_fifo, "abc");
        struct jobserver *jobserver = open_jobserver(make.flags, NULL);
        assert_non_null(jobserver);
        assert_string_equal(tokens_of(&make), "abc"); /* none before there is a job for it */
        for (size_t i = 0; i < COUNT(rows); i++) {
            assert_int_equal(jobserver_adjust(jobserver, rows[i].wanted), rows[i].may_run);
            const char *left = tokens_of(&make);
            if (strlen(left) != rows[i].left_count ||
                (rows[i].left != NULL && strcmp(left, rows[i].left) != 0))
                fail_msg("row %zu: \"%s\" is left", i, left);
        }
        jobserver_close(jobserver);
        assert_string_equal(tokens_of(&make), "abc");
        end_form(&make);
    }
}

static void closing_gives_all_back(void **state)
{
    (void)state;
    for (int is_fifo = 0; is_fifo < 2; is_fifo++) {
        struct make make = begin_form(is_fifo, "xyz");
        struct jobserver *jobserver = open_jobserver(make.flags, NULL);
        assert_int_equal(jobserver_adjust(jobserver, 4), 4);
        assert_string_equal(tokens_of(&make), "");
        jobserver_close(jobserver);
        assert_string_equal(tokens_of(&make), "xyz");
        end_form(&make);
    }
}

static void tokens_that_others_give_back_are_taken_later(void **state)
{
    (void)state;
    for (int is_fifo = 0; is_fifo < 2; is_fifo++) {
        struct make make = begin_form(is_fifo, "");
        struct jobserver *jobserver = open_jobserver(make.flags, NULL);
        assert_int_equal(jobserver_adjust(jobserver, 4), 1); /* and it does not wait */
        assert_int_equal(write(make.out, "q", 1), 1);
        assert_int_equal(jobserver_adjust(jobserver, 4), 2);
        jobserver_close(jobserver);
        assert_string_equal(tokens_of(&make), "q");
        end_form(&make);
    }
}

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, tree_begin, end)
        ROW(without_a_jobserver_there_is_none),
        ROW(every_spelling_of_make_is_understood),
        ROW(one_that_cannot_be_reached_is_a_warning_and_one_job),
        ROW(only_pipes_and_fifos_are_taken),
        ROW(blanks_in_the_path_of_a_fifo_are_escaped),
        ROW(makes_own_number_of_jobs_is_known),
        ROW(a_make_that_only_says_is_known_by_its_letters),
        ROW(tokens_are_taken_as_wanted_and_the_same_go_back),
        ROW(closing_gives_all_back),
        ROW(tokens_that_others_give_back_are_taken_later),
#undef ROW
    };
    return cmocka_run_group_tests_name("jobserver", tests, NULL, NULL);
}
