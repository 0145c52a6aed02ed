/* test_cpu.c - PSYBUILD_CPU and what it allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cpu.h"

static void no_variable_allows_everything(void **state)
{
    unsigned mask = ~0u;
    (void)state;
    unsetenv("PSYBUILD_CPU");
    assert_null(cpu_mask_from_environment(&mask));
    assert_int_equal(mask, cpu_features());
    mask = ~0u;
    setenv("PSYBUILD_CPU", "", 1);
    assert_null(cpu_mask_from_environment(&mask));
    assert_int_equal(mask, cpu_features());
}

static void scalar_hides_every_instruction_set(void **state)
{
    unsigned mask = ~0u;
    (void)state;
    setenv("PSYBUILD_CPU", "scalar", 1);
    assert_null(cpu_mask_from_environment(&mask));
    assert_int_equal(mask, 0);
}

static void a_set_is_allowed_alone_or_named_as_missing(void **state)
{
    static const struct {
        const char *name, *want;
        unsigned feature;
    } cases[] = {
        {"avx2", "PSYBUILD_CPU: this machine has no avx2", CPU_AVX2},
        {"avx512", "PSYBUILD_CPU: this machine has no avx512", CPU_AVX512},
        {"neon", "PSYBUILD_CPU: this machine has no neon", CPU_NEON},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned mask = ~0u;
        print_message("%s\n", cases[i].name);
        setenv("PSYBUILD_CPU", cases[i].name, 1);
        struct error *error = cpu_mask_from_environment(&mask);
        if ((cpu_features() & cases[i].feature) != 0) {
            assert_null(error);
            assert_int_equal(mask, cases[i].feature);
            continue;
        }
        assert_non_null(error);
        assert_int_equal(error_kind_of(error), ERROR_USAGE);
        assert_string_equal(error_text(error), cases[i].want);
        assert_int_equal(mask, ~0u);
        error_free(error);
    }
}

static void an_unknown_set_is_refused(void **state)
{
    unsigned mask = ~0u;
    (void)state;
    setenv("PSYBUILD_CPU", "sse9", 1);
    struct error *error = cpu_mask_from_environment(&mask);
    assert_non_null(error);
    assert_string_equal(error_text(error),
        "PSYBUILD_CPU must be \"scalar\", \"avx2\", \"avx512\" or \"neon\", not \"sse9\"");
    assert_int_equal(mask, ~0u);
    error_free(error);
}

static void x86_and_arm_do_not_mix(void **state)
{
    (void)state;
    unsigned x86 = CPU_AVX2 | CPU_AVX512;
    assert_true((cpu_features() & x86) == 0 || (cpu_features() & CPU_NEON) == 0);
    assert_true((cpu_features() & CPU_AVX512) == 0 || (cpu_features() & CPU_AVX2) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_variable_allows_everything),
        cmocka_unit_test(scalar_hides_every_instruction_set),
        cmocka_unit_test(a_set_is_allowed_alone_or_named_as_missing),
        cmocka_unit_test(an_unknown_set_is_refused),
        cmocka_unit_test(x86_and_arm_do_not_mix),
    };
    return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
