/* test_hash.c - segments, their borders, and tree hashes that do not depend on who found what. */
#include "engine/content/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/wire.h"
#include "tasks/registry.h"
#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A file of `size` bytes that are all different from their neighbours. */
static void write_file(const char *path, size_t size)
{
    unsigned char *bytes = test_malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
    tree_write_bytes(path, bytes, size);
    test_free(bytes);
}

static struct segments *hash_file(struct arena *arena, const char *path)
{
    struct segments *segments = NULL;
    tree_assert_ok(segments_hash_file(arena, &registry, path, path, NULL, NULL, &segments));
    return segments;
}

/* header.h's layout by hand: (length, XXH3-128) of each segment. */
static struct hash128 tree_by_hand(const struct segments *segments)
{
    unsigned char bytes[24 * 64];
    assert_true(segments->count <= 64);
    for (uint32_t i = 0; i < segments->count; i++) {
        store_le64(bytes + 24 * i, segments_at(segments, i).size_bytes);
        memcpy(bytes + 24 * i + 8, segments_hash(segments, i)->bytes, 16);
    }
    return hash_bytes(bytes, 24 * segments->count);
}

/* Every other step by the baseline: the state in between is the same. Steps of more than 1 KiB are
 * another way through xxHash than shorter ones; which steps are the baseline's depends on the size.
 */
static struct hash128 hash_in_steps(
    struct hash_stream *stream, const unsigned char *bytes, size_t size, unsigned mask)
{
    for (size_t step, done = 0, i = 0; done < size; done += step, i++) {
        step = 1 + i * 397 % 4000 < size - done ? 1 + i * 397 % 4000 : size - done;
        hash_init((i + size) % 2 == 0 ? mask : 0);
        hash_stream_update(stream, bytes + done, step);
    }
    hash_init(mask);
    return hash_stream_take(stream);
}

/* Of all lengths about the borders of xxHash's ways to go, at any alignment. */
static void hashes_do_not_depend_on_the_instruction_set(void **state)
{
    enum { SIZE = 9000 };
    static unsigned char bytes[SIZE + 64];
    static struct hash128 want[SIZE];
    const unsigned masks[] = {0, CPU_AVX2, CPU_AVX2 | CPU_AVX512};
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31 + (i >> 8) * 7);
    struct arena arena = {0};
    struct hash_stream *stream = hash_stream_new(&arena);
    assert_non_null(stream);
    for (size_t m = 0; m < COUNT(masks); m++) {
        if ((masks[m] & ~cpu_features()) != 0)
            continue;
        hash_init(masks[m]);
        for (size_t size = 0; size < SIZE; size += size < 300 ? 1 : 61) {
            struct hash128 got = hash_bytes(bytes + size % 64, size);
            if (m == 0)
                want[size] = got;
            if (!hash_equal(&got, &want[size]))
                fail_msg("mask %u: the hash of %zu bytes differs", masks[m], size);
            got = hash_in_steps(stream, bytes + size % 64, size, masks[m]);
            if (!hash_equal(&got, &want[size]))
                fail_msg("mask %u: the hash of %zu bytes in steps differs", masks[m], size);
        }
    }
    hash_init(0);
    arena_end(&arena);
}

static void hashes_are_canonical_xxh3(void **state)
{
    char hex[HASH_HEX_BYTES];
    struct hash128 empty = hash_text(TEXT_EMPTY), abc = hash_bytes("abc", 3);
    (void)state;
    /* xxhsum -H128 of the same */
    assert_string_equal(hash_hex(&empty, hex), "99aa06d3014798d86001c324468d497f");
    assert_string_equal(hash_hex(&abc, hex), "06b05ab6733a618578af5f94892f3950");
    assert_false(hash_equal(&empty, &abc));
    assert_true(hash_equal(&abc, &abc));
}

static void plain_files_are_cut_every_four_mebibytes(void **state)
{
    enum { BLOCK = SEGMENT_BYTES };
    static const struct {
        size_t size;
        uint32_t count;
        uint64_t last;
    } rows[] = {
        {0, 0, 0},
        {1, 1, 1},
        {BLOCK - 1, 1, BLOCK - 1},
        {BLOCK, 1, BLOCK},
        {BLOCK + 1, 2, 1},
        {2 * BLOCK, 2, BLOCK},
        {2 * BLOCK + 12345, 3, 12345},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        write_file("file", rows[i].size);
        struct segments *segments = hash_file(&arena, "file");
        assert_int_equal(segments->count, rows[i].count);
        assert_int_equal(segments->known_count, rows[i].count);
        uint64_t at = 0;
        for (uint32_t s = 0; s < segments->count; s++) {
            assert_int_equal(segments_at(segments, s).offset, at);
            at += segments_at(segments, s).size_bytes;
        }
        assert_int_equal(at, rows[i].size);
        if (rows[i].count > 0)
            assert_int_equal(segments_at(segments, rows[i].count - 1).size_bytes, rows[i].last);
        struct hash128 tree = segments_tree(segments), want = tree_by_hand(segments);
        assert_true(hash_equal(&tree, &want));
        arena_end(&arena);
    }
}

static void a_tree_hash_differs_by_size_and_by_every_byte(void **state)
{
    struct arena arena = {0};
    struct hash128 trees[5];
    (void)state;
    tree_write_bytes("0", "", 0);
    tree_write_bytes("1", "\0", 1);
    tree_write_bytes("2", "\0\0", 2);
    tree_write_bytes("3", "\0\1", 2);
    tree_write_bytes("4", "\1\0", 2);
    for (size_t i = 0; i < COUNT(trees); i++) {
        char name[] = {(char)('0' + i), '\0'};
        trees[i] = segments_tree(hash_file(&arena, name));
        for (size_t k = 0; k < i; k++)
            assert_false(hash_equal(&trees[i], &trees[k]));
    }
    arena_end(&arena);
}

/* ---- safetensors ---- */

/* Three tensors: 130 rows of 16 floats (three blocks), a scalar row, an empty one; and 3 x 70 rows.
 */
static size_t write_safetensors(const char *path, unsigned char seed)
{
    static const char json[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[130,16],\"data_offsets\":[0,8320]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[8320,8340]},"
        "\"c\":{\"dtype\":\"U8\",\"shape\":[0,4],\"data_offsets\":[8340,8340]},"
        "\"d\":{\"dtype\":\"U8\",\"shape\":[3,70,4],\"data_offsets\":[8340,9180]}}";
    enum { DATA = 9180 };
    unsigned char bytes[8 + sizeof json - 1 + DATA];
    store_le64(bytes, sizeof json - 1);
    memcpy(bytes + 8, json, sizeof json - 1);
    for (size_t i = 0; i < DATA; i++)
        bytes[8 + sizeof json - 1 + i] = (unsigned char)(i * seed + (i >> 8));
    tree_write_bytes(path, bytes, sizeof bytes);
    return 8 + sizeof json - 1;
}

static void safetensors_are_cut_at_the_header_and_within_tensors(void **state)
{
    struct arena arena = {0};
    (void)state;
    size_t header = write_safetensors("m.safetensors", 3);
    static const uint64_t sizes[] = {4096, 4096, 128, 20, 840};
    struct segments *segments = hash_file(&arena, "m.safetensors");
    assert_int_equal(segments->count, 1 + COUNT(sizes));
    assert_int_equal(segments_at(segments, 0).size_bytes, header);
    for (size_t i = 0; i < COUNT(sizes); i++)
        assert_int_equal(segments_at(segments, (uint32_t)i + 1).size_bytes, sizes[i]);
    /* The same file under a name that says nothing is one block. */
    write_safetensors("m.bin", 3);
    assert_int_equal(hash_file(&arena, "m.bin")->count, 1);
    arena_end(&arena);
}

/* However the hashes come in: at once, as they were planned, backwards, some of them beforehand. */
static void the_tree_does_not_depend_on_how_it_was_filled(void **state)
{
    struct arena arena = {0};
    struct file *file;
    (void)state;
    size_t header_bytes = write_safetensors("m.safetensors", 5);
    struct text whole = tree_read(&arena, "m.safetensors");
    struct segments *read = hash_file(&arena, "m.safetensors"), *planned, *backwards, *partly;
    struct hash128 want = segments_tree(read);
    struct text header = {whole.bytes, header_bytes};
    tree_assert_ok(
        segments_of_plan(&arena, &registry, "m.safetensors", header, whole.length, &planned));
    tree_assert_ok(
        segments_of_plan(&arena, &registry, "m.safetensors", whole, whole.length, &backwards));
    assert_int_equal(planned->count, read->count);
    assert_int_equal(backwards->count, read->count);
    assert_true(segments_have_same_cut(planned, read));
    tree_assert_ok(segments_reserve(planned, 0, planned->count));
    tree_assert_ok(segments_reserve(backwards, 0, planned->count));
    for (uint32_t i = 0; i < planned->count; i++) {
        uint32_t back = planned->count - 1 - i;
        struct span span = segments_at(planned, i);
        struct hash128 hash = hash_bytes(whole.bytes + span.offset, (size_t)span.size_bytes);
        assert_null(segments_hash(planned, i));
        segments_set(planned, i, &hash);
        segments_set(planned, i, &hash); /* twice is once */
        span = segments_at(backwards, back);
        hash = hash_bytes(whole.bytes + span.offset, (size_t)span.size_bytes);
        segments_set(backwards, back, &hash);
    }
    assert_true(segments_are_known(planned));
    struct hash128 tree = segments_tree(planned);
    assert_true(hash_equal(&tree, &want));
    tree = segments_tree(backwards);
    assert_true(hash_equal(&tree, &want));
    tree_assert_ok(file_open("m.safetensors", &file));
    tree_assert_ok(segments_of_file(&arena, &registry, file, "m.safetensors", &partly));
    tree_assert_ok(segments_reserve(partly, 0, partly->count));
    for (uint32_t i = 0; i < partly->count; i += 2)
        segments_set(partly, i, segments_hash(read, i));
    _Atomic uint64_t progress = 0;
    tree_assert_ok(segments_fill(partly, file, NULL, &progress));
    file_close(file);
    tree = segments_tree(partly);
    assert_true(hash_equal(&tree, &want));
    uint64_t rest = 0;
    for (uint32_t i = 1; i < partly->count; i += 2)
        rest += segments_at(partly, i).size_bytes;
    assert_int_equal(progress, rest); /* what was known is not read again */
    arena_end(&arena);
}

static void what_only_looks_like_safetensors_is_cut_in_blocks(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"", 0},
        {"1234567", 7},
        {"\377\377\377\377\377\377\377\377garbage", 15},
        {"\002\0\0\0\0\0\0\0[]", 10},
        {"\020\0\0\0\0\0\0\0{}", 10}, /* a header longer than the file */
        {"\005\0\0\0\0\0\0\0{\"a\":", 13},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        tree_write_bytes("m.safetensors", rows[i].bytes, rows[i].size);
        assert_int_equal(hash_file(&arena, "m.safetensors")->count, rows[i].size > 0);
        arena_end(&arena);
    }
}

/* ---- ranges ---- */

/* Spans of 10, 20 and 5 bytes, in two runs. */
static struct error *cut_thirty_five(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct span_run **runs, size_t *count)
{
    static const struct span_run cut[] = {{0, 10, 10, 10}, {10, 25, 20, 20}};
    (void)path, (void)header, (void)file_size;
    *runs = arena_array(arena, COUNT(cut), sizeof **runs);
    TRY(memory_check(*runs));
    memcpy(*runs, cut, sizeof cut);
    *count = COUNT(cut);
    return NULL;
}

static void ranges_are_runs_of_whole_segments(void **state)
{
    static const struct {
        uint64_t offset, size;
        bool want;
        uint32_t begin, end;
    } rows[] = {
        {0, 10, true, 0, 1},
        {0, 30, true, 0, 2},
        {10, 20, true, 1, 2},
        {10, 25, true, 1, 3},
        {0, 35, true, 0, 3},
        {30, 5, true, 2, 3},
        {0, 0, false, 0, 0},
        {35, 0, false, 0, 0},
        {0, 9, false, 0, 0},
        {0, 36, false, 0, 0},
        {1, 9, false, 0, 0},
        {30, 6, false, 0, 0},
        {35, 1, false, 0, 0},
        {10, UINT64_MAX - 9, false, 0, 0}, /* wraps round to 0, which is a border */
        {30, UINT64_MAX - 19, false, 0, 0},
    };
    static const struct segmenter segmenter = {.suffix = ".cut", .segments = cut_thirty_five};
    static const struct segmenter *const segmenters[] = {&segmenter, NULL};
    static const struct registry cutting = {.segmenters = segmenters};
    struct arena arena = {0};
    struct segments *segments, *none;
    uint32_t begin, end;
    (void)state;
    tree_assert_ok(
        segments_of_plan(&arena, &cutting, "a.cut", TEXT_LITERAL("12345678"), 35, &segments));
    tree_assert_ok(segments_of_plan(&arena, &cutting, "a", TEXT_EMPTY, 0, &none));
    assert_int_equal(segments->count, 3);
    assert_int_equal(none->count, 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        begin = end = 77;
        bool found = segments_range(segments, rows[i].offset, rows[i].size, &begin, &end);
        if (found != rows[i].want)
            print_error("row %zu\n", i);
        assert_int_equal(found, rows[i].want);
        assert_int_equal(begin, found ? rows[i].begin : 77);
        assert_int_equal(end, found ? rows[i].end : 77);
    }
    assert_false(segments_range(none, 0, 0, &begin, &end));
    assert_false(segments_range(none, 0, 1, &begin, &end));
    assert_false(segments_have_same_cut(none, segments));
    arena_end(&arena);
}

/* ---- errors ---- */

static void hashing_stops_when_cancelled_and_says_what_is_missing(void **state)
{
    struct arena arena = {0};
    struct segments *segments = NULL;
    _Atomic bool cancel = true;
    (void)state;
    write_file("file", 10);
    struct error *error =
        segments_hash_file(&arena, &registry, "file", "file", &cancel, NULL, &segments);
    assert_int_equal(error_kind_of(error), ERROR_INTERRUPTED);
    tree_assert_report(error, "interrupted\n");
    error = segments_hash_file(&arena, &registry, "name", "nosuch", NULL, NULL, &segments);
    assert_int_equal(error_kind_of(error), ERROR_MISSING);
    tree_assert_report(error, "nosuch: cannot open: No such file or directory\n");
    assert_null(segments);
    arena_end(&arena);
}

static void a_file_that_shrinks_while_it_is_hashed_is_an_error(void **state)
{
    struct arena arena = {0};
    struct file *file;
    struct segments *segments;
    (void)state;
    write_file("file", 100);
    tree_assert_ok(file_open("file", &file));
    tree_assert_ok(segments_of_file(&arena, &registry, file, "file", &segments));
    write_file("file", 40);
    tree_assert_ok(segments_reserve(segments, 0, 1));
    tree_assert_report(segments_fill(segments, file, NULL, NULL),
        "file: truncated: expected 100 bytes at offset 0, found 40\n");
    assert_int_equal(segments->known_count, 0);
    file_close(file);
    arena_end(&arena);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_canonical_xxh3),
        cmocka_unit_test(hashes_do_not_depend_on_the_instruction_set),
        TREE_TEST(plain_files_are_cut_every_four_mebibytes),
        TREE_TEST(a_tree_hash_differs_by_size_and_by_every_byte),
        TREE_TEST(safetensors_are_cut_at_the_header_and_within_tensors),
        TREE_TEST(the_tree_does_not_depend_on_how_it_was_filled),
        TREE_TEST(what_only_looks_like_safetensors_is_cut_in_blocks),
        cmocka_unit_test(ranges_are_runs_of_whole_segments),
        TREE_TEST(hashing_stops_when_cancelled_and_says_what_is_missing),
        TREE_TEST(a_file_that_shrinks_while_it_is_hashed_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
