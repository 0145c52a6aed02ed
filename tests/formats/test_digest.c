/* test_digest.c - known hashes, by the hub's protocol and FIPS 180-4. */
#include "tasks/formats/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void digests_are_the_published_ones(void **state)
{
    static const struct {
        enum digest_kind kind;
        const char *content, *want;
    } rows[] = {
        {DIGEST_GIT_BLOB, "Hello, World!", "b45ef6fec89518d314f546fd6c3025367b721684"},
        {DIGEST_GIT_BLOB, "", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"},
        {DIGEST_SHA256, "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {DIGEST_SHA256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char hex[DIGEST_HEX_MAX];
        assert_null(digest_of(rows[i].kind, rows[i].content, strlen(rows[i].content), hex));
        assert_string_equal(hex, rows[i].want);
    }
}

static void pieces_give_the_hash_of_the_whole(void **state)
{
    unsigned char content[1000];
    char whole[DIGEST_HEX_MAX], pieces[DIGEST_HEX_MAX];
    struct digest *digest = NULL;
    (void)state;
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (unsigned char)i;
    for (int kind = DIGEST_SHA256; kind <= DIGEST_GIT_BLOB; kind++) {
        assert_null(digest_of((enum digest_kind)kind, content, sizeof content, whole));
        assert_null(digest_begin((enum digest_kind)kind, sizeof content, &digest));
        for (size_t at = 0, step = 1; at < sizeof content; at += step, step = step * 3 % 101) {
            size_t left = sizeof content - at;
            assert_null(digest_update(digest, content + at, step < left ? step : left));
        }
        assert_null(digest_hex(digest, pieces));
        digest_end(digest);
        assert_string_equal(pieces, whole);
    }
}

static void libcrypto_is_found(void **state)
{
    (void)state;
    assert_null(digest_available());
    assert_null(digest_available());
    digest_end(NULL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_the_published_ones),
        cmocka_unit_test(pieces_give_the_hash_of_the_whole),
        cmocka_unit_test(libcrypto_is_found),
    };
    return cmocka_run_group_tests_name("digest", tests, NULL, NULL);
}
