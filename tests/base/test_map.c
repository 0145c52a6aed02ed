/* test_map.c - names to numbers, in any number. */
#include "base/map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void an_empty_map_holds_nothing(void **state)
{
    struct arena arena = {0};
    struct map map = {.arena = &arena};
    (void)state;
    assert_int_equal(map_get(&map, ""), MAP_NONE);
    assert_int_equal(map_get(&map, "a"), MAP_NONE);
    assert_int_equal(arena.size_bytes, 0);
}

static void names_are_compared_whole(void **state)
{
    static const char *const names[] = {"", "a", "A", "aa", "a/b", "a/", "\xFF\xFE", "\303\244"};
    enum { COUNT = sizeof names / sizeof names[0] };
    struct arena arena = {0};
    struct map map = {.arena = &arena};
    (void)state;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_null(map_put(&map, names[i], i));
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(map_get(&map, names[i]), i);
    assert_int_equal(map_get(&map, "b"), MAP_NONE);
    assert_int_equal(map.count, COUNT);
    arena_end(&arena);
}

static void a_name_put_again_has_the_new_number(void **state)
{
    struct arena arena = {0};
    struct map map = {.arena = &arena};
    char other[] = "name";
    (void)state;
    assert_null(map_put(&map, "name", 1));
    assert_null(map_put(&map, other, 2));
    assert_int_equal(map_get(&map, "name"), 2);
    assert_int_equal(map.count, 1);
    arena_end(&arena);
}

static void many_names_are_all_found_while_it_grows(void **state)
{
    enum { MANY = 20000 };
    struct arena arena = {0};
    struct map map = {.arena = &arena};
    (void)state;
    for (uint32_t i = 0; i < MANY; i++) {
        char *name = arena_format(&arena, "layers.%u.weight", i);
        assert_non_null(name);
        assert_null(map_put(&map, name, i));
        assert_true(map.count <= map.capacity / 2); /* so that a look-up always ends */
    }
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(map_get(&map, arena_format(&arena, "layers.%u.weight", i)), i);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(map_get(&map, arena_format(&arena, "layers.%u.bias", i)), MAP_NONE);
    assert_int_equal(map.count, MANY);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_holds_nothing),
        cmocka_unit_test(names_are_compared_whole),
        cmocka_unit_test(a_name_put_again_has_the_new_number),
        cmocka_unit_test(many_names_are_all_found_while_it_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
