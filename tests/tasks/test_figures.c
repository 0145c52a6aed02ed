/* test_figures.c - what is lost in quantizing: pieces added up, written and read back, and hostile
 * bytes refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tasks/figures.h"

static struct figures_module modules[] = {
    {"embed.weight", 6400, 6400, 0.5, 50, 0.25f},
    {"gate.weight", 1000, 640, 0, 0, 0},
    {"up.weight", 3600, 3600, 0.125, 12.5, 0.5f},
};
static const struct figures example = {modules, 3};

static void what_is_encoded_is_decoded(void **state)
{
    struct arena arena = {0};
    struct text bytes;
    struct figures figures;
    (void)state;
    assert_null(figures_encode(&arena, &example, &bytes));
    assert_null(figures_decode(&arena, "model", bytes, &figures));
    assert_int_equal(figures.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_string_equal(figures.modules[i].name, modules[i].name);
        assert_int_equal(figures.modules[i].weights, modules[i].weights);
        assert_int_equal(figures.modules[i].weights_measured, modules[i].weights_measured);
        assert_true(figures.modules[i].error_squares == modules[i].error_squares);
        assert_true(figures.modules[i].weight_squares == modules[i].weight_squares);
        assert_true(figures.modules[i].error_max == modules[i].error_max);
    }
    arena_end(&arena);
}

static void assert_refused(struct arena *arena, struct text bytes)
{
    struct figures figures = {.count = 77};
    char want[128];
    struct error *error = figures_decode(arena, "dir/model", bytes, &figures);
    assert_non_null(error);
    snprintf(want, sizeof want,
        "dir/model: its figures must be figures of version 1, not %zu other bytes", bytes.length);
    assert_string_equal(error_text(error), want);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    assert_int_equal(figures.count, 77);
    error_free(error);
}

static void every_cut_is_refused(void **state)
{
    struct arena arena = {0};
    struct text bytes;
    (void)state;
    assert_null(figures_encode(&arena, &example, &bytes));
    for (size_t length = 0; length < bytes.length; length++)
        assert_refused(&arena, (struct text){bytes.bytes, length});
    char *longer = arena_copy(&arena, bytes.bytes, bytes.length + 1);
    assert_refused(&arena, (struct text){longer, bytes.length + 1});
    arena_end(&arena);
}

static void no_changed_byte_is_read_past(void **state)
{
    struct arena arena = {0};
    struct text bytes;
    (void)state;
    assert_null(figures_encode(&arena, &example, &bytes));
    for (size_t i = 0; i < bytes.length; i++) {
        struct arena scratch = {0};
        struct figures figures;
        char *copy = arena_copy(&scratch, bytes.bytes, bytes.length);
        copy[i] = (char)(copy[i] ^ 0xFF);
        error_free(figures_decode(&scratch, "model", (struct text){copy, bytes.length}, &figures));
        arena_end(&scratch);
    }
    arena_end(&arena);
}

static void sums_that_cannot_be_are_refused(void **state)
{
    static const struct figures_module cases[] = {
        {"a", 4, 5, 0, 0, 0},
        {"a", 4, 4, -1, 1, 0},
        {"a", 4, 4, 1, (double)NAN, 0},
        {"a", 4, 4, (double)INFINITY, 1, 0},
        {"a", 4, 4, 1, 1, INFINITY},
    };
    struct arena arena = {0};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct figures_module module = cases[i];
        struct text bytes;
        assert_null(figures_encode(&arena, &(struct figures){&module, 1}, &bytes));
        assert_refused(&arena, bytes);
    }
    arena_end(&arena);
}

static struct text encode_piece(
    const struct quant_error *error, unsigned char bytes[FIGURES_PIECE_BYTES])
{
    figures_encode_piece(error, bytes);
    return (struct text){(const char *)bytes, FIGURES_PIECE_BYTES};
}

static void pieces_are_added_up(void **state)
{
    unsigned char bytes[FIGURES_PIECE_BYTES];
    struct figures_module module = {.name = "a"};
    (void)state;
    figures_add_piece(
        &module, 64, 100, encode_piece(&(struct quant_error){1.5, 20, 0.5f, 0}, bytes));
    figures_add_piece(
        &module, 64, 100, encode_piece(&(struct quant_error){0.25, 10, 0.25f, 4}, bytes));
    assert_int_equal(module.weights, 12800);
    assert_int_equal(module.weights_measured, 12400);
    assert_true(module.error_squares == 1.75);
    assert_true(module.weight_squares == 30);
    assert_true(module.error_max == 0.5f);
}

static void pieces_without_a_result_are_not_measured(void **state)
{
    unsigned char bytes[FIGURES_PIECE_BYTES];
    struct figures_module module = {.name = "a"};
    (void)state;
    figures_add_piece(&module, 2, 100, TEXT_EMPTY);
    figures_add_piece(&module, 2, 100, (struct text){"longer than the result of a piece", 33});
    figures_add_piece(&module, 2, 100, encode_piece(&(struct quant_error){1, 1, 1, 3}, bytes));
    figures_add_piece(
        &module, 2, 100, encode_piece(&(struct quant_error){(double)NAN, 1, 1, 0}, bytes));
    figures_add_piece(&module, 2, 100, encode_piece(&(struct quant_error){1, -1, 1, 0}, bytes));
    assert_int_equal(module.weights, 1000);
    assert_int_equal(module.weights_measured, 0);
    assert_true(module.error_squares == 0 && module.weight_squares == 0 && module.error_max == 0);
}

static void a_total_is_of_all_modules(void **state)
{
    (void)state;
    struct figures_module total = figures_total(&example);
    assert_int_equal(total.weights, 11000);
    assert_int_equal(total.weights_measured, 10640);
    assert_true(total.error_squares == 0.625);
    assert_true(total.weight_squares == 62.5);
    assert_true(total.error_max == 0.5f);
    assert_true(figures_sqnr(&total) == 20);
    assert_true(figures_relative_rmse(&total) == 0.1);
    assert_true(isinf(figures_sqnr(&modules[1])));
    const struct figures_module out_of_zeros = {"a", 4, 4, 1, 0, 1},
                                too_good = {"a", 4, 4, 0x1p-1074, 1e300, 1};
    assert_true(figures_sqnr(&out_of_zeros) < 0 && isinf(figures_sqnr(&out_of_zeros)));
    assert_true(figures_sqnr(&too_good) > 0 && isinf(figures_sqnr(&too_good)));
    assert_true(figures_relative_rmse(&modules[1]) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(no_changed_byte_is_read_past),
        cmocka_unit_test(sums_that_cannot_be_are_refused),
        cmocka_unit_test(pieces_are_added_up),
        cmocka_unit_test(pieces_without_a_result_are_not_measured),
        cmocka_unit_test(a_total_is_of_all_modules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
