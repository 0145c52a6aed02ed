/* test_arena.c - memory by lifetime: zeroed, aligned, kept until the arena ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void memory_is_zeroed_and_aligned(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 1000, 40000, 3000000};
    (void)state;
    struct arena arena = {0};
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *bytes = arena_alloc(&arena, sizes[i]);
            assert_non_null(bytes);
            assert_int_equal((uintptr_t)bytes % _Alignof(max_align_t), 0);
            for (size_t k = 0; k < sizes[i]; k++)
                assert_int_equal(bytes[k], 0);
            memset(bytes, 0xAA, sizes[i]);
        }
        arena_reset(&arena); /* what is reused is zeroed again */
    }
    arena_end(&arena);
}

static void objects_stay_where_they_are(void **state)
{
    enum { OBJECTS = 5000 };
    static uint32_t *objects[OBJECTS];
    (void)state;
    struct arena arena = {0};
    for (uint32_t i = 0; i < OBJECTS; i++) {
        objects[i] = arena_array(&arena, i % 50 + 1, sizeof(uint32_t));
        assert_non_null(objects[i]);
        objects[i][0] = objects[i][i % 50] = i;
    }
    for (uint32_t i = 0; i < OBJECTS; i++)
        assert_true(objects[i][0] == i && objects[i][i % 50] == i);
    arena_end(&arena);
}

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 20));
    assert_null(arena_array(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_copy(&arena, "", SIZE_MAX));
    assert_non_null(arena_array(&arena, 0, 8));
    arena_end(&arena);
}

static void texts_are_copied_and_formatted(void **state)
{
    (void)state;
    struct arena arena = {0};
    char *copy = arena_copy(&arena, "abc\0def", 7);
    assert_memory_equal(copy, "abc\0def", 8); /* with a NUL behind */
    assert_string_equal(arena_copy(&arena, NULL, 0), "");
    assert_string_equal(arena_format(&arena, "%s-%05d", "model", 7), "model-00007");
    char *wide = arena_format(&arena, "%100000d", 1);
    assert_int_equal(strlen(wide), 100000);
    arena_end(&arena);
}

static void arrays_grow_by_doubling(void **state)
{
    (void)state;
    struct arena arena = {0};
    uint32_t *items = NULL;
    size_t capacity = 0, moves = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t *grown = arena_grow(&arena, items, i, &capacity, sizeof *items);
        assert_non_null(grown);
        assert_true(capacity > i);
        moves += grown != items;
        items = grown;
        items[i] = i;
    }
    assert_in_range(moves, 1, 11);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    arena_end(&arena);
}

static void memory_grows_by_doubling(void **state)
{
    (void)state;
    struct memory_budget budget = {.bytes_max = SIZE_MAX};
    uint32_t *items = NULL;
    size_t capacity = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        items = memory_grow(&budget, items, i, &capacity, sizeof *items);
        assert_non_null(items);
        assert_true(capacity > i);
        items[i] = i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(items[i], i);
    assert_int_equal(capacity, 1024);
    size_t most = SIZE_MAX / 4;
    assert_null(memory_grow(&budget, items, most, &most, sizeof *items)); /* and stays as it is */
    assert_int_equal(most, SIZE_MAX / 4);
    assert_int_equal(items[999], 999);
    memory_free(items);
}

static void reset_keeps_one_block(void **state)
{
    (void)state;
    struct arena arena = {0};
    arena_reset(&arena);
    for (size_t i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&arena, 10000));
    size_t before = arena.size_bytes;
    arena_reset(&arena);
    assert_in_range(arena.size_bytes, 1, before - 1);
    size_t kept = arena.size_bytes;
    assert_non_null(arena_alloc(&arena, 10000));
    assert_int_equal(arena.size_bytes, kept);
    arena_end(&arena);
    assert_int_equal(arena.size_bytes, 0);
    assert_non_null(arena_alloc(&arena, 1)); /* usable again */
    arena_end(&arena);
}

/* The budget of two arenas and a list: whichever comes last is refused, and what ends makes room.
 */
static void a_budget_holds_for_all_that_share_it(void **state)
{
    (void)state;
    struct memory_budget budget = {.bytes_max = 3 << 20};
    struct arena one = {.budget = &budget}, other = {.budget = &budget};
    size_t capacity = 0;
    assert_non_null(arena_alloc(&one, 1 << 20));
    assert_non_null(arena_alloc(&other, 1 << 20));
    uint64_t *list = memory_grow(&budget, NULL, 0, &capacity, 1 << 10);
    assert_non_null(list);
    assert_null(arena_alloc(&other, 1 << 20));
    struct error *error = memory_budget_check(&budget, "it", error_memory());
    assert_string_equal(error_report(error), "it needs more than 3.1 MB of memory\n");
    error_free(error);
    error = memory_budget_check(&budget, "it", error_memory()); /* said once */
    assert_string_equal(error_report(error), "out of memory\n");
    assert_null(memory_budget_check(&budget, "it", NULL));
    arena_end(&one);
    assert_non_null(arena_alloc(&other, 1 << 20));
    arena_reset(&other);
    assert_in_range(budget.bytes, 1 << 20, 2 << 20);
    arena_end(&other);
    memory_free(list);
    memory_budget_give(&budget, capacity << 10);
    assert_int_equal(budget.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_budget_holds_for_all_that_share_it),
        cmocka_unit_test(memory_is_zeroed_and_aligned),
        cmocka_unit_test(objects_stay_where_they_are),
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(texts_are_copied_and_formatted),
        cmocka_unit_test(arrays_grow_by_doubling),
        cmocka_unit_test(memory_grows_by_doubling),
        cmocka_unit_test(reset_keeps_one_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
