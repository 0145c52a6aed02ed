/* test_hub_settings.c - what the environment says, in which order, and what makes no sense. */
#include "base/file_whole.h"
#include "tasks/formats/hub_settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/hub_fixture.h"

static int begin(void **state)
{
    *state = hub_fixture_begin(NULL);
    return 0;
}

static int end(void **state)
{
    hub_fixture_end(*state);
    return 0;
}

static void settings_come_from_the_environment(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_settings settings;
    hub_fixture_assert(fixture, "none", hub_settings_read(&fixture->arena, &settings), NULL);
    assert_string_equal(settings.endpoint, "https://huggingface.co");
    assert_null(settings.token);
    assert_false(settings.is_offline);
    assert_int_equal(settings.body_ms_max, 10000);
    assert_int_equal(settings.rate_bytes_min, 1024);
    setenv("HF_ENDPOINT", " https://mirror.example/hub// ", 1);
    setenv("HF_HUB_OFFLINE", "Yes", 1);
    setenv("HF_HUB_ETAG_TIMEOUT", "3", 1);
    setenv("HF_HUB_DOWNLOAD_TIMEOUT", "44", 1);
    setenv("PSYBUILD_RATE_MIN", "2M", 1);
    setenv("HF_HUB_USER_AGENT_ORIGIN", "lab\n7", 1);
    hub_fixture_assert(fixture, "all", hub_settings_read(&fixture->arena, &settings), NULL);
    assert_string_equal(settings.endpoint, "https://mirror.example/hub");
    assert_true(settings.is_offline);
    assert_int_equal(settings.header_ms_max, 3000);
    assert_int_equal(settings.body_ms_max, 44000);
    assert_int_equal(settings.rate_bytes_min, 2 << 20);
    struct http_policy policy = HTTP_POLICY_DEFAULT;
    hub_settings_apply(&settings, &policy);
    assert_int_equal(policy.header_ms_max, 3000);
    assert_int_equal(policy.body_ms_max, 44000);
    assert_int_equal(policy.rate_bytes_min, 2 << 20);
    assert_string_equal(policy.agent_more, "origin/lab\\x0A7");
    assert_string_equal(settings.agent_more, "origin/lab\\x0A7");
    setenv("HF_ENDPOINT", "  ", 1);
    setenv("HF_HUB_OFFLINE", "0", 1);
    setenv("PSYBUILD_RATE_MIN", "0", 1);
    setenv("TRANSFORMERS_OFFLINE", "TRUE", 1);
    hub_fixture_assert(fixture, "blank", hub_settings_read(&fixture->arena, &settings), NULL);
    assert_string_equal(settings.endpoint, "https://huggingface.co");
    assert_true(settings.is_offline);
}

static void the_token_is_looked_for_in_order(void **state)
{
    struct hub_fixture *fixture = *state;
    struct arena *arena = &fixture->arena;
    struct hub_settings settings;
    const char *home = arena_format(arena, "%s/token", fixture->directory);
    assert_null(file_replace_whole(home, text_of(" hf_file \n")));
    setenv("LAB", fixture->directory, 1);
    setenv("HF_HOME", "$LAB", 1);
    hub_fixture_assert(fixture, "file", hub_settings_read(arena, &settings), NULL);
    assert_string_equal(settings.token, "hf_file");
    assert_string_equal(settings.token_source, home);
    setenv("HOME", fixture->directory, 1);
    setenv("HF_TOKEN_PATH", "~/to${NO_SUCH}ken", 1); /* stays as it is: no such file */
    hub_fixture_assert(fixture, "path", hub_settings_read(arena, &settings), NULL);
    assert_null(settings.token);
    assert_null(settings.token_source);
    setenv("HUGGING_FACE_HUB_TOKEN", "hf_old", 1);
    hub_fixture_assert(fixture, "old", hub_settings_read(arena, &settings), NULL);
    assert_string_equal(settings.token, "hf_old");
    setenv("HF_TOKEN", "hf_new\n", 1);
    hub_fixture_assert(fixture, "new", hub_settings_read(arena, &settings), NULL);
    assert_string_equal(settings.token, "hf_new");
    assert_string_equal(settings.token_source, "HF_TOKEN");
    setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "on", 1);
    hub_fixture_assert(fixture, "none", hub_settings_read(arena, &settings), NULL);
    assert_null(settings.token);
}

static void the_cache_is_where_the_hubs_own_client_has_it(void **state)
{
    static const struct {
        const char *name, *value, *want; /* on top of the rows before */
    } rows[] = {
        {"HOME", "/home/x", "/home/x/.cache/huggingface/hub"},
        {"XDG_CACHE_HOME", "/cache", "/cache/huggingface/hub"},
        {"HF_HOME", "~/hf", "/home/x/hf/hub"},
        {"HUGGINGFACE_HUB_CACHE", "/old", "/old"},
        {"HF_HUB_CACHE", "$HF_HOME/../new", "~/hf/../new"},
    };
    struct hub_fixture *fixture = *state;
    unsetenv("HF_HOME");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_settings settings;
        setenv(rows[i].name, rows[i].value, 1);
        struct error *error = hub_settings_read(&fixture->arena, &settings);
        hub_fixture_assert(fixture, rows[i].name, error, NULL);
        assert_string_equal(settings.cache, rows[i].want);
    }
    for (size_t i = 1; i < sizeof rows / sizeof rows[0]; i++)
        unsetenv(rows[i].name);
}

static void certificates_are_named_as_for_curl(void **state)
{
    struct hub_fixture *fixture = *state;
    struct hub_settings settings;
    setenv("SSL_CERT_FILE", "/etc/ours.pem", 1);
    hub_fixture_assert(fixture, "one", hub_settings_read(&fixture->arena, &settings), NULL);
    assert_string_equal(settings.ca_file, "/etc/ours.pem");
    setenv("CURL_CA_BUNDLE", "/etc/first.pem", 1);
    hub_fixture_assert(fixture, "both", hub_settings_read(&fixture->arena, &settings), NULL);
    assert_string_equal(settings.ca_file, "/etc/first.pem");
    unsetenv("CURL_CA_BUNDLE");
    unsetenv("SSL_CERT_FILE");
}

static void senseless_settings_are_named_but_not_shown(void **state)
{
    static const struct {
        const char *name, *value, *want;
    } rows[] = {
        {"HF_ENDPOINT", "huggingface.co",
            "HF_ENDPOINT: must be an http:// or https:// address without user, password and query"},
        {"HF_ENDPOINT", "https://user:secret@host",
            "HF_ENDPOINT: must be an http:// or https:// address without user, password and query"},
        {"HF_ENDPOINT", "https://host/?a",
            "HF_ENDPOINT: must be an http:// or https:// address without user, password and query"},
        {"HF_TOKEN", "hf_a\r\nX: y",
            "HF_TOKEN: not a token: it holds a character other than printable ASCII"},
        {"HF_HUB_ETAG_TIMEOUT", "soon",
            "HF_HUB_ETAG_TIMEOUT: must be a number of seconds, 1 to 86400"},
        {"HF_HUB_DOWNLOAD_TIMEOUT", "0",
            "HF_HUB_DOWNLOAD_TIMEOUT: must be a number of seconds, 1 to 86400"},
        {"PSYBUILD_RATE_MIN", "-1", "PSYBUILD_RATE_MIN: must be a size such as 4K, or 0"},
    };
    struct hub_fixture *fixture = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct hub_settings settings;
        setenv(rows[i].name, rows[i].value, 1);
        struct error *error = hub_settings_read(&fixture->arena, &settings);
        hub_fixture_assert(fixture, rows[i].value, error, rows[i].want);
        unsetenv(rows[i].name);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(settings_come_from_the_environment, begin, end),
        cmocka_unit_test_setup_teardown(the_token_is_looked_for_in_order, begin, end),
        cmocka_unit_test_setup_teardown(the_cache_is_where_the_hubs_own_client_has_it, begin, end),
        cmocka_unit_test_setup_teardown(certificates_are_named_as_for_curl, begin, end),
        cmocka_unit_test_setup_teardown(senseless_settings_are_named_but_not_shown, begin, end),
    };
    return cmocka_run_group_tests_name("hub_settings", tests, NULL, NULL);
}
