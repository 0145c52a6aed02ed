/* test_limits.c - what a source may cost: each case at its limit, beyond it, and within the memory
 * that planning may hold (docs/design.md, "Limits"). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "tests/support/program.h"
#include "tests/support/tree.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

#define HEX_16 "0123456789abcdef"
#define SHA256 HEX_16 HEX_16 HEX_16 HEX_16
#define COMMIT HEX_16 HEX_16 "01234567"

enum { MEBIBYTE = 1 << 20, MEMORY_MAX = 256 };

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return tree_end(state);
}

/* Without a network, and within the memory that each case must do with. */
static struct program run(const char *const *arguments)
{
    static const char *const environment[] = {
        "TERM", "dumb", "HF_ENDPOINT", "http://127.0.0.1:9", NULL};
    struct program program = program_run(&arena, arguments, environment);
    if (!IS_SANITIZED)
        assert_in_range(program.memory_bytes_peak / MEBIBYTE, 1, MEMORY_MAX);
    return program;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void assert_says(struct program program, int exit_code, const char *part)
{
    if (strstr(program.said.bytes, part) == NULL)
        assert_string_equal(program.said.bytes, part);
    assert_int_equal(program.exit_code, exit_code);
}

static void write_buffer(const char *path, struct buffer *text)
{
    assert_null(buffer_check(text));
    tree_write_bytes(path, text->bytes, text->count);
    buffer_end(text);
}

/* ---- what a lock claims ---- */

static void write_lock(uint64_t size_bytes)
{
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"sources\": {\"s\": {\"hub\": \"a/b\"}}, \"artifacts\": "
        "{\"out\": {\"task\": \"copy\", \"in\": {\"files\": \"s/x\"}}}}");
    tree_write("psybuild.lock",
        arena_format(&arena,
            "{\"psybuild-lock\": 1, \"sources\": {\"s\": {\"commit\": \"" COMMIT
            "\", \"hub\": \"a/b\", \"revision\": \"main\", \"files\": {\"x\": {\"sha256\": "
            "\"" SHA256 "\", \"size\": %llu}}}}}",
            (unsigned long long)size_bytes));
}

static void a_file_of_a_lock_has_at_most_a_tebibyte(void **state)
{
    (void)state;
    write_lock(UINT64_C(1) << 40);
    assert_says(RUN("-n"), 0, "downloads 1.1 TB");
    write_lock((UINT64_C(1) << 40) + 1);
    assert_says(RUN("-n"), 1, "\"x\" is said to have 1099511627777 bytes: refused");
    write_lock(UINT64_C(1) << 52);
    assert_says(RUN("-n"), 1, "\"x\" is said to have 4503599627370496 bytes: refused");
}

/* ---- what files say ---- */

/* A header of blanks, in as many shards as are linked to the file. */
static void headers_beyond_what_planning_may_hold_are_refused(void **state)
{
    enum { HEADER_BYTES = 99 * 1000 * 1000, SHARDS = 12 };
    (void)state;
    unsigned char *shard = memory_alloc(HEADER_BYTES + 8);
    assert_non_null(shard);
    memset(shard, ' ', HEADER_BYTES + 8);
    for (unsigned i = 0; i < 8; i++)
        shard[i] = (unsigned char)((uint64_t)HEADER_BYTES >> 8 * i);
    memcpy(shard + 8, "{}", 2);
    tree_write_bytes("src/0.safetensors", shard, HEADER_BYTES + 8);
    memory_free(shard);
    for (unsigned i = 1; i < SHARDS; i++)
        assert_int_equal(
            symlink("0.safetensors", arena_format(&arena, "src/%u.safetensors", i)), 0);
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"sources\": {\"s\": {\"dir\": \"src\"}}, \"artifacts\": "
        "{\"out.safetensors\": {\"task\": \"merge\", \"in\": {\"weights\": "
        "\"s/*.safetensors\"}}}}");
    struct program program = RUN("-q");
    assert_says(program, 1, "the plan needs more than 269 MB of memory"); /* and a share of them */
    assert_says(program, 1, "while planning out.safetensors");
}

/* ---- what a manifest makes ---- */

static void variables_that_double_are_refused(void **state)
{
    (void)state;
    struct buffer text = {0};
    buffer_put_string(&text, "{\"psybuild\": 1, \"vars\": {\"v0\": \"0123456789abcdef\"");
    for (unsigned i = 1; i < 30; i++)
        buffer_put_string(
            &text, arena_format(&arena, ", \"v%u\": \"${v%u}${v%u}\"", i, i - 1, i - 1));
    buffer_put_string(&text, "}}");
    write_buffer("psybuild.json", &text);
    assert_says(RUN("-n"), 2, "its variables make more than 1048576 bytes of this string");
}

/* ---- what a command says ---- */

static void write_command(const char *script, unsigned argument_count)
{
    struct buffer text = {0};
    buffer_put_string(&text, "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"exec\", "
                             "\"with\": {\"depfile\": \"out.d\", \"command\": [\"sh\", \"-c\", \"");
    buffer_put_string(&text, script);
    buffer_put_string(&text, "\", \"sh\", \"${out}\"");
    for (unsigned i = 0; i < argument_count; i++)
        buffer_put_string(&text, ", \"an-argument-that-is-long\"");
    buffer_put_string(&text, "]}}}}");
    write_buffer("psybuild.json", &text);
}

static void a_long_command_that_fails_is_shown_by_its_beginning(void **state)
{
    (void)state;
    write_command("exit 3", 6000);
    assert_says(RUN("-q"), 1, "command failed with exit status 3: sh -c exit 3 sh ");
}

static void a_depfile_is_read_up_to_its_limits(void **state)
{
    (void)state;
    tree_write("x", "");
    write_command(
        "echo 1 > $$1; (printf 'a:'; yes ' x' | head -n 99999 | tr -d '\\\\n') > out.d", 0);
    assert_says(RUN("-q"), 0, "");
    write_command(
        "echo 2 > $$1; (printf 'a:'; yes ' x' | head -n 100000 | tr -d '\\\\n') > out.d", 0);
    assert_says(RUN("-q"), 1, "a depfile must name at most 100000 paths");
    write_command("echo 3 > $$1; yes 'a: x' | head -c 60000000 > out.d", 0);
    assert_says(RUN("-q"), 1, "out.d");
}

int main(void)
{
    program_find();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_of_a_lock_has_at_most_a_tebibyte, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            headers_beyond_what_planning_may_hold_are_refused, tree_begin, end),
        cmocka_unit_test_setup_teardown(variables_that_double_are_refused, tree_begin, end),
        cmocka_unit_test_setup_teardown(
            a_long_command_that_fails_is_shown_by_its_beginning, tree_begin, end),
        cmocka_unit_test_setup_teardown(a_depfile_is_read_up_to_its_limits, tree_begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
