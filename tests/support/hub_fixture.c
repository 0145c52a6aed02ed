/* hub_fixture.c - files, server and client of the download tests. */
#include "tests/support/hub_fixture.h"

#include <ftw.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

unsigned char hub_fixture_byte(uint64_t offset)
{
    return (unsigned char)((offset * 2654435761u) >> 11);
}

static void write_file(
    const struct hub_fixture *fixture, const char *name, const void *bytes, size_t length)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", fixture->directory, name);
    FILE *stream = fopen(path, "wb");
    assert_non_null(stream);
    assert_int_equal(fwrite(bytes, 1, length, stream), length);
    assert_int_equal(fclose(stream), 0);
}

static void make_files(struct hub_fixture *fixture, size_t model_bytes)
{
    const char *top = getenv("TMPDIR");
    char path[512];
    snprintf(fixture->directory, sizeof fixture->directory, "%s/psybuild-hub-XXXXXX",
        top != NULL ? top : "/tmp");
    assert_non_null(mkdtemp(fixture->directory));
    snprintf(path, sizeof path, "%s/sub", fixture->directory);
    assert_int_equal(mkdir(path, 0777), 0);
    write_file(fixture, "config.json", "{\"a\": 1}\n", 9);
    write_file(fixture, FIXTURE_ODD_NAME, "hi\n", 3);
    write_file(fixture, "empty", "", 0);
    unsigned char *large = malloc(model_bytes);
    assert_non_null(large);
    for (size_t i = 0; i < model_bytes; i++)
        large[i] = hub_fixture_byte(i);
    write_file(fixture, "model.safetensors", large, model_bytes);
    free(large);
}

static void note_wait(void *context, uint64_t wait_ms, const char *why)
{
    struct hub_fixture *fixture = context;
    assert_true(fixture->wait_count < FIXTURE_WAITS_MAX);
    snprintf(fixture->why[fixture->wait_count], sizeof fixture->why[0], "%s", why);
    fixture->wait_ms[fixture->wait_count++] = wait_ms;
}

static void clear_environment(void)
{
    static const char *const names[] = {"HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN",
        "HF_HUB_ETAG_TIMEOUT", "PSYBUILD_RATE_MIN", "HF_HUB_DOWNLOAD_TIMEOUT",
        "HF_HUB_USER_AGENT_ORIGIN", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
        "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("HF_HOME", "/nonexistent", 1);
    setenv("no_proxy", "*", 1);
}

struct hub_fixture *hub_fixture_begin(const struct hub_server_options *options)
{
    return hub_fixture_begin_sized(options, FIXTURE_LARGE_BYTES);
}

struct hub_fixture *hub_fixture_begin_sized(
    const struct hub_server_options *options, size_t model_bytes)
{
    struct hub_fixture *fixture = calloc(1, sizeof *fixture);
    assert_non_null(fixture);
    struct hub_server_options served = {0};
    if (options != NULL)
        served = *options;
    clear_environment();
    make_files(fixture, model_bytes);
    served.root = fixture->directory;
    fixture->server = hub_server_start(&served);
    fixture->policy = HTTP_POLICY_DEFAULT;
    fixture->policy.wait = note_wait;
    fixture->policy.context = fixture;
    fixture->policy.cancel = &fixture->cancel;
    assert_null(http_client_open(&fixture->policy, &fixture->client));
    fixture->settings = (struct hub_settings){
        .endpoint = hub_server_url(fixture->server), .page_count_max = HUB_PAGES_MAX};
    fixture->hub = (struct hub){.client = fixture->client, .settings = &fixture->settings};
    fixture->repo = (struct hub_repo){.type = HUB_MODEL, .id = "test/model"};
    fixture->body = malloc(FIXTURE_LARGE_BYTES + 1);
    assert_non_null(fixture->body);
    return fixture;
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

void hub_fixture_end(struct hub_fixture *fixture)
{
    http_client_close(fixture->client);
    hub_server_stop(fixture->server);
    arena_end(&fixture->arena);
    nftw(fixture->directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(fixture->body);
    free(fixture);
}

struct error *hub_fixture_take(void *context, const void *bytes, size_t length)
{
    struct hub_fixture *fixture = context;
    if (fixture->refuse != NULL)
        return fixture->refuse;
    assert_true(length <= FIXTURE_LARGE_BYTES - fixture->body_count);
    memcpy(fixture->body + fixture->body_count, bytes, length);
    fixture->body_count += length;
    if (fixture->cancel_after > 0 && fixture->body_count >= fixture->cancel_after)
        fixture->cancel = true;
    return NULL;
}

bool hub_fixture_body_is_range(const struct hub_fixture *fixture, uint64_t begin, uint64_t end)
{
    if (fixture->body_count != end - begin)
        return false;
    for (uint64_t i = begin; i < end; i++)
        if (fixture->body[i - begin] != hub_fixture_byte(i))
            return false;
    return true;
}

static char *replace(struct arena *arena, char *text, const char *old, const char *name)
{
    for (char *found; (found = strstr(text, old)) != NULL;)
        text =
            arena_format(arena, "%.*s%s%s", (int)(found - text), text, name, found + strlen(old));
    return text;
}

void hub_fixture_assert(
    struct hub_fixture *fixture, const char *row, struct error *error, const char *want)
{
    struct arena *arena = &fixture->arena;
    char *text = arena_format(arena, "%s", error == NULL ? "no error" : error_text(error));
    text = replace(arena, text, hub_server_url(fixture->server), "HOME");
    text = replace(arena, text, hub_server_storage_url(fixture->server), "STORAGE");
    text = replace(arena, text, hub_server_commit(fixture->server), "COMMIT");
    error_free(error);
    if (strcmp(text, want == NULL ? "no error" : want) != 0)
        fail_msg("%s:\n  got  %s\n  want %s", row, text, want == NULL ? "no error" : want);
}
