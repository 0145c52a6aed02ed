/* test_hub_reply.c - what a hub says, well and badly. Pages are tested in test_hub.c, as they
 * arrive. */
#include "tasks/formats/hub_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void next_links_are_parsed(void **state)
{
    static const char page[] = "https://hub.example/api/models/a/tree/c?x";
    static const struct {
        const char *link, *want;
    } rows[] = {
        {"", NULL},
        {"<https://hub.example/api/n?cursor=a%3D>; rel=\"next\"",
            "https://hub.example/api/n?cursor=a%3D"},
        {"<https://hub.example/a,b;c>; rel=prev, </api/n>; title=\"x, y; z\"; REL=\"last Next\"",
            "https://hub.example/api/n"},
        {"</api/n>;rel=next", "https://hub.example/api/n"},
        {"</api/n>; rel=\"nextish\"", NULL},
        {"</api/n>", NULL},
        {"</api/n>; rel='next'", "https://hub.example/api/n"},
        {"</api/n> ; rel = \"next\" ; type=a", "https://hub.example/api/n"},
        {"</api/n>; rel=\"first\tNEXT last\"", "https://hub.example/api/n"},
        {"</api/p>; rel=prev,, </api/n>; ReL=Next, </api/l>; rel=last",
            "https://hub.example/api/n"},
        {"</api/x>; title=\"a\\\", </api/y>; rel=next; b\"; rel=last, </api/n>; rel=next",
            "https://hub.example/api/n"},
        {"</api/n>; title=don't; rel=next", "https://hub.example/api/n"},
        {"</api/next>; rel=prev", NULL},
        {"</api/n>; title=\"rel=next\"", NULL},
        {"</api/n>; xrel=next; relx=next", NULL},
        {"</api/n; rel=\"next\"", "refused"},
        {"/api/n; rel=\"next\"", "refused"},
        {"</api/n>; title=\"a; rel=next", "refused"},
        {"<>; rel=next", "refused"},
        {"garbage", NULL},
        {"</api/n", NULL},
        {"<https://huggingface.co/api/n?c>; rel=\"next\"", "https://hub.example/api/n?c"},
        {"<https://huggingface.co/login>; rel=\"next\"", "refused"},
        {"<http://hub.example/api/n>; rel=\"next\"", "refused"},
        {"<//evil.example/api/n>; rel=\"next\"", "refused"},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *next = NULL;
        struct error *error =
            hub_parse_link(&arena, "https://hub.example", page, text_of(rows[i].link), &next);
        const char *got = error != NULL ? "refused" : next != NULL ? next : "none";
        if (strcmp(got, rows[i].want != NULL ? rows[i].want : "none") != 0)
            fail_msg("%s: %s", rows[i].link, got);
        error_free(error);
    }
    arena_end(&arena);
}

static void bodies_of_errors_are_read_with_care(void **state)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"{\"error\": \"no \\u001b[31m\"}", "no \\x1B[31m"},
        {"{\"error\": [\"first\", \"second\"]}", "first"},
        {"{\"error\": \"not hf_token, hf\\u005ftokens\"}", "not ********, ********s"},
        {"<Message>Bearer hf_token</Message>", "Bearer ********"},
        {"{\"errors\": [{\"message\": \"m\"}]}", "m"},
        {"{\"other\": \"x\"}", ""},
        {"{\"error\": {\"deep\": \"x\"}}", ""},
        {"{broken", ""},
        {"<html><body>Not shown</body></html>", ""},
        {"<Error><Message>Request has expired</Message></Error>", "Request has expired"},
        {"  plain", ""},
        {"", ""},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_string_equal(
            hub_parse_error_body(&arena, text_of(rows[i].body), "hf_token"), rows[i].want);
    arena_end(&arena);
}

static void descriptions_without_a_commit_are_refused(void **state)
{
    static const struct {
        const char *body, *want;
    } rows[] = {
        {"{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"x\":[1,{}]}", NULL},
        {"{}", "u: not an answer of a hub: it has no \"sha\""},
        {"[]", "u: not an answer of a hub: a JSON object was expected"},
        {"", "u: not an answer of a hub: a JSON object was expected"},
        {"{\"sha\":\"main\"}", "u: \"sha\" must be 40 lower-case hex digits"},
        {"{\"sha\":null}", "u: \"sha\" must be 40 lower-case hex digits"},
        {"{\"x\":{\"sha\":\"0123456789abcdef0123456789abcdef01234567\"}}",
            "u: not an answer of a hub: it has no \"sha\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char commit[HUB_COMMIT_MAX];
        struct error *error = hub_parse_commit("u", text_of(rows[i].body), commit);
        const char *got = error == NULL ? "taken" : error_text(error);
        if (strcmp(got, rows[i].want == NULL ? "taken" : rows[i].want) != 0)
            fail_msg("%s: %s", rows[i].body, got);
        error_free(error);
    }
}

static void an_etag_may_be_a_hash(void **state)
{
    static const struct {
        const char *etag, *want;
    } rows[] = {
        {"\"b45ef6fec89518d314f546fd6c3025367b721684\"",
            "b45ef6fec89518d314f546fd6c3025367b721684"},
        {"W/\"B45EF6FEC89518D314F546FD6C3025367B721684\"",
            "b45ef6fec89518d314f546fd6c3025367b721684"},
        {"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"\"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad-2\"", ""},
        {"\"900150983cd24fb0d6963f7d28e17f72\"", ""}, /* an md5 */
        {"\"g45ef6fec89518d314f546fd6c3025367b721684\"", ""},
        {"\"", ""},
        {"W/", ""},
        {"", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char hash[HUB_HASH_MAX];
        hub_parse_etag(text_of(rows[i].etag), hash);
        assert_string_equal(hash, rows[i].want);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(next_links_are_parsed),
        cmocka_unit_test(bodies_of_errors_are_read_with_care),
        cmocka_unit_test(descriptions_without_a_commit_are_refused),
        cmocka_unit_test(an_etag_may_be_a_hash),
    };
    return cmocka_run_group_tests_name("hub_reply", tests, NULL, NULL);
}
