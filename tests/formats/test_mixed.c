/* test_mixed.c - the bits that mixed recipes give; test vectors follow from the reference's
 * formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tasks/formats/mixed.h"

static const char *const paths[] = {
    "model.embed_tokens", "model.layers.3.mlp.down_proj", "lm_head"};

static uint32_t bits_of(const struct mixed *mixed, const char *module)
{
    uint32_t bits = 0;
    assert_null(mixed_bits(mixed, text_of(module), &bits));
    return bits;
}

static struct mixed begin(const char *recipe, uint64_t layer_count)
{
    struct mixed mixed;
    struct text modules[3];
    for (size_t i = 0; i < 3; i++)
        modules[i] = text_of(paths[i]);
    assert_null(mixed_begin(text_of(recipe), modules, 3, layer_count, &mixed));
    return mixed;
}

static void recipes_have_these_bits(void **state)
{
    static const uint32_t bits[MIXED_RECIPE_COUNT][2] = {{2, 6}, {3, 4}, {3, 6}, {4, 6}};
    (void)state;
    for (size_t i = 0; i < MIXED_RECIPE_COUNT; i++) {
        struct mixed mixed = begin(mixed_recipes[i], 32);
        print_message("%s\n", mixed_recipes[i]);
        assert_int_equal(bits_of(&mixed, "model.embed_tokens"), bits[i][0]);
        assert_int_equal(bits_of(&mixed, "lm_head"), bits[i][1]);
        assert_int_equal(bits_of(&mixed, "model.layers.0.mlp.down_proj"), bits[i][1]);
    }
    assert_null(mixed_recipes[MIXED_RECIPE_COUNT]);
}

/* The list for 30 layers is in docs/formats.md; 7n/8 multiplies first: 26, not 21. */
static void sensitive_layers_of_30(void **state)
{
    static const unsigned high[] = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 26, 27, 28, 29};
    struct mixed mixed = begin("mixed_3_6", 30);
    size_t next = 0;
    (void)state;
    for (unsigned layer = 0; layer < 30; layer++) {
        char module[64];
        snprintf(module, sizeof module, "model.layers.%u.mlp.down_proj", layer);
        print_message("%s\n", module);
        bool is_high = next < sizeof high / sizeof high[0] && high[next] == layer;
        next += is_high;
        assert_int_equal(bits_of(&mixed, module), is_high ? 6 : 3);
    }
}

static void module_names_decide(void **state)
{
    static const struct {
        const char *module;
        uint32_t bits;
    } cases[] = {
        {"model.layers.0.self_attn.v_proj", 6}, {"model.layers.0.self_attn.v_a_proj", 6},
        {"model.layers.0.self_attn.v_b_proj", 6},
        {"model.layers.0.self_attn.qkv_proj", 6}, /* contains v_proj */
        {"model.layers.0.self_attn.q_proj", 4}, {"model.layers.0.mlp.up_proj", 4},
        {"model.layers.4.self_attn.v_proj", 4}, {"model.layers.6.self_attn.v_proj", 6},
        {"model.layers.4.lm_head", 6}, {"down_proj", 6}, /* too short: layer 0 */
        {"model.layers.18446744073709551616.v_proj", 6}, /* past every layer */
    };
    struct mixed mixed = begin("mixed_4_6", 32);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].module);
        assert_int_equal(bits_of(&mixed, cases[i].module), cases[i].bits);
    }
}

static void few_layers_are_all_sensitive_at_the_end(void **state)
{
    static const struct {
        uint64_t layer_count;
        const char *module;
        uint32_t bits;
    } cases[] = {
        {0, "a.b.0.down_proj", 6},
        {1, "a.b.0.down_proj", 6}, /* 7/8 = 0: layer 0 is past it */
        {2, "a.b.0.down_proj", 4}, /* 14/8 = 1 */
        {2, "a.b.1.down_proj", 6},
        {4, "a.b.2.down_proj", 6},
        {UINT64_MAX, "a.b.0.down_proj", 6},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mixed mixed = begin("mixed_4_6", cases[i].layer_count);
        print_message("%zu: %s\n", i, cases[i].module);
        assert_int_equal(bits_of(&mixed, cases[i].module), cases[i].bits);
    }
}

static void check_error(struct error *error, const char *want)
{
    assert_non_null(error);
    assert_string_equal(error_text(error), want);
    error_free(error);
}

static void mixed_refuses_what_the_reference_refuses(void **state)
{
    const struct text none[] = {TEXT_LITERAL("model.layers.0.mlp.up_proj")};
    const struct text unnumbered[] = {TEXT_LITERAL("x.down_proj"), TEXT_LITERAL("a.b.c")};
    struct mixed mixed;
    uint32_t bits = 77;
    (void)state;
    check_error(mixed_begin(TEXT_LITERAL("mixed_2_4"), unnumbered, 2, 8, &mixed),
        "the mixed recipes are mixed_2_6, mixed_3_4, mixed_3_6 and mixed_4_6");
    check_error(mixed_begin(TEXT_LITERAL("mixed_2_6"), none, 1, 8, &mixed),
        "mixed_2_6 needs a module with \"down_proj\" in its path, and the model has none");
    mixed = begin("mixed_2_6", 8);
    check_error(mixed_bits(&mixed, TEXT_LITERAL("model.ngram.words.weight"), &bits),
        "a mixed recipe needs the layer's number in the path of module model.ngram.words.weight, "
        "where it has \"words\"");
    assert_null(mixed_begin(TEXT_LITERAL("mixed_2_6"), unnumbered, 2, 8, &mixed));
    assert_int_equal(mixed.layer_component, 1);
    check_error(mixed_bits(&mixed, unnumbered[0], &bits),
        "a mixed recipe needs the layer's number in the path of module x.down_proj, where it has "
        "\"down_proj\"");
    assert_int_equal(bits, 77);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipes_have_these_bits),
        cmocka_unit_test(sensitive_layers_of_30),
        cmocka_unit_test(module_names_decide),
        cmocka_unit_test(few_layers_are_all_sensitive_at_the_end),
        cmocka_unit_test(mixed_refuses_what_the_reference_refuses),
    };
    return cmocka_run_group_tests_name("mixed", tests, NULL, NULL);
}
