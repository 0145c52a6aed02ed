/* test_options.c - words to options, and every message about wrong ones in full. */
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 8 };

static struct arena arena;

static struct error *parse(const char *const words[WORDS_MAX], struct options *out)
{
    char *arguments[WORDS_MAX + 1];
    int count = 1;
    arguments[0] = arena_format(&arena, "psybuild");
    for (; count <= WORDS_MAX && words[count - 1] != NULL; count++)
        arguments[count] = arena_format(&arena, "%s", words[count - 1]);
    return options_parse(&arena, count, arguments, out);
}

static void wrong_words_are_named_with_what_is_right(void **state)
{
    static const struct {
        const char *words[WORDS_MAX], *want;
    } cases[] = {
        {{"-x"}, "unknown option \"-x\"; see psybuild --help"},
        {{"-nx"}, "unknown option \"-x\"; see psybuild --help"},
        {{"--nothing"}, "unknown option \"--nothing\"; see psybuild --help"},
        {{"--memroy=1G"}, "unknown option \"--memroy\"; did you mean \"--memory\"?"},
        {{"--offline=yes"}, "\"--offline\" takes no value"},
        {{"-j"}, "\"-j\" needs a value: -j N"},
        {{"-vj"}, "\"-j\" needs a value: -j N"},
        {{"--set"}, "\"--set\" needs a value: --set NAME=VALUE"},
        {{"-j0"}, "\"-j\" must be a number from 1 to 1024, not \"0\""},
        {{"-j", "1025"}, "\"-j\" must be a number from 1 to 1024, not \"1025\""},
        {{"-j", "-1"}, "\"-j\" must be a number from 1 to 1024, not \"-1\""},
        {{"-j", "99999999999999999999"},
            "\"-j\" must be a number from 1 to 1024, not \"99999999999999999999\""},
        {{"-k", "many"}, "\"-k\" must be a number from 0 to 1000000, not \"many\""},
        {{"--connections=0"}, "\"--connections\" must be a number from 1 to 64, not \"0\""},
        {{"--limit-rate", "1K"}, "\"--limit-rate\" must be a size of at least 16K a second such as "
                                 "500K or 20M, not \"1K\""},
        {{"--memory", "lots"},
            "\"--memory\" must be a size of at least 1M such as 256M or 2G, not \"lots\""},
        {{"--memory=4K"},
            "\"--memory\" must be a size of at least 1M such as 256M or 2G, not \"4K\""},
        {{"--set", "bits"}, "\"--set\" must be NAME=VALUE, not \"bits\""},
        {{"--set", "=8"}, "\"--set\" must be NAME=VALUE, not \"=8\""},
        {{"-d", "all"}, "\"-d\" must be one of explain, stats, not \"all\""},
        {{"--progress=fast"},
            "\"--progress\" must be one of auto, tty, plain, json, none, not \"fast\""},
        {{"--color", "red"}, "\"--color\" must be one of auto, always, never, not \"red\""},
        {{"-C", ""}, "\"-C\" must be a directory, not \"\""},
        {{"-q", "-v"}, "\"-v\" and \"-q\" exclude each other"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct options options;
        struct error *error = parse(cases[i].words, &options);
        assert_non_null(error);
        assert_string_equal(error_text(error), cases[i].want);
        assert_int_equal(error_kind_of(error), ERROR_USAGE);
        error_free(error);
    }
}

static struct options parse_well(const char *const words[WORDS_MAX])
{
    struct options options = {0};
    struct error *error = parse(words, &options);
    if (error != NULL)
        print_error("%s\n", error_text(error));
    assert_null(error);
    return options;
}

static void nothing_given_is_a_build_with_defaults(void **state)
{
    (void)state;
    struct options options = parse_well((const char *const[WORDS_MAX]){NULL});
    assert_int_equal(options.command, COMMAND_BUILD);
    assert_int_equal(options.argument_count, 0);
    assert_int_equal(options.threads, 0);
    assert_int_equal(options.connections, 8);
    assert_int_equal(options.failures_max, 1);
    assert_int_equal(options.memory_bytes, 0);
    assert_int_equal(options.progress, PROGRESS_AUTO);
    assert_null(options.directory);
    assert_null(options.manifest);
}

static void offline_does_not_stop_at_the_first_that_is_missing(void **state)
{
    (void)state;
    struct options options = parse_well((const char *const[WORDS_MAX]){"--offline"});
    assert_int_equal(options.failures_max, 0);
    options = parse_well((const char *const[WORDS_MAX]){"--offline", "-k1"});
    assert_int_equal(options.failures_max, 1);
}

static void short_options_cluster_and_hold_their_value(void **state)
{
    (void)state;
    struct options options =
        parse_well((const char *const[WORDS_MAX]){"-Bnvj4", "-k", "0", "-fother.json"});
    assert_true(options.is_forced && options.is_dry && options.is_verbose);
    assert_int_equal(options.threads, 4);
    assert_int_equal(options.failures_max, 0);
    assert_string_equal(options.manifest, "other.json");
}

static void long_options_take_the_next_word_or_what_follows_the_equals_sign(void **state)
{
    (void)state;
    struct options options = parse_well((const char *const[WORDS_MAX]){"--memory=256M",
        "--connections", "3", "--limit-rate=20M", "--progress=json", "--color", "never"});
    assert_int_equal(options.memory_bytes, 256 << 20);
    assert_int_equal(options.rate_bytes, 20 << 20);
    assert_int_equal(options.connections, 3);
    assert_int_equal(options.progress, PROGRESS_JSON);
    assert_int_equal(options.color, COLOR_NEVER);
}

static void options_and_targets_mix_until_two_dashes(void **state)
{
    (void)state;
    struct options options =
        parse_well((const char *const[WORDS_MAX]){"a", "-n", "-", "--", "-v", "--"});
    assert_true(options.is_dry);
    assert_false(options.is_verbose);
    assert_int_equal(options.argument_count, 4);
    assert_string_equal(options.arguments[0], "a");
    assert_string_equal(options.arguments[1], "-");
    assert_string_equal(options.arguments[2], "-v");
    assert_string_equal(options.arguments[3], "--");
}

static void what_follows_a_tool_is_the_tools(void **state)
{
    (void)state;
    struct options options =
        parse_well((const char *const[WORDS_MAX]){"-n", "-t", "list", "--json", "-v", "a"});
    assert_int_equal(options.command, COMMAND_TOOL);
    assert_string_equal(options.tool, "list");
    assert_true(options.is_dry);
    assert_false(options.is_verbose);
    assert_int_equal(options.argument_count, 3);
    assert_string_equal(options.arguments[0], "--json");
}

static void settings_keep_their_order_and_may_hold_equals_signs(void **state)
{
    (void)state;
    struct options options =
        parse_well((const char *const[WORDS_MAX]){"--set", "a=b=c", "--set=d="});
    assert_int_equal(options.setting_count, 2);
    assert_string_equal(options.settings[0].name, "a");
    assert_string_equal(options.settings[0].value, "b=c");
    assert_string_equal(options.settings[1].name, "d");
    assert_string_equal(options.settings[1].value, "");
}

static void each_directory_is_seen_from_the_one_before(void **state)
{
    (void)state;
    struct options options = parse_well((const char *const[WORDS_MAX]){"-C", "a", "-Cb/c"});
    assert_string_equal(options.directory, "a/b/c");
    options = parse_well((const char *const[WORDS_MAX]){"-C", "a", "-C", "/b"});
    assert_string_equal(options.directory, "/b");
}

static void help_version_and_usage_are_commands(void **state)
{
    (void)state;
    struct options options = parse_well((const char *const[WORDS_MAX]){"help", "quantize"});
    assert_int_equal(options.command, COMMAND_HELP);
    assert_int_equal(options.argument_count, 1);
    assert_string_equal(options.arguments[0], "quantize");
    assert_int_equal(
        parse_well((const char *const[WORDS_MAX]){"--version"}).command, COMMAND_VERSION);
    assert_int_equal(parse_well((const char *const[WORDS_MAX]){"-h"}).command, COMMAND_USAGE);
}

static void the_usage_names_every_option_in_eighty_columns(void **state)
{
    static const char *const words[] = {"-B", "-C DIR", "-f FILE", "-j N", "-k N", "-n", "-v, ",
        "-q, ", "-d WHAT", "-t TOOL", "--set", "--memory SIZE", "--connections N",
        "--limit-rate SIZE", "--offline", "--frozen", "--no-wait", "--no-stats", "--progress MODE",
        "--color WHEN", "--version", "-h, --help"};
    (void)state;
    char *usage = options_usage(&arena);
    assert_non_null(usage);
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        assert_non_null(strstr(usage, words[i]));
    for (char *line = usage, *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        assert_in_range(end - line, 0, 80);
}

static int forget(void **state)
{
    (void)state;
    arena_end(&arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_words_are_named_with_what_is_right),
        cmocka_unit_test(nothing_given_is_a_build_with_defaults),
        cmocka_unit_test(offline_does_not_stop_at_the_first_that_is_missing),
        cmocka_unit_test(short_options_cluster_and_hold_their_value),
        cmocka_unit_test(long_options_take_the_next_word_or_what_follows_the_equals_sign),
        cmocka_unit_test(options_and_targets_mix_until_two_dashes),
        cmocka_unit_test(what_follows_a_tool_is_the_tools),
        cmocka_unit_test(settings_keep_their_order_and_may_hold_equals_signs),
        cmocka_unit_test(each_directory_is_seen_from_the_one_before),
        cmocka_unit_test(help_version_and_usage_are_commands),
        cmocka_unit_test(the_usage_names_every_option_in_eighty_columns),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
