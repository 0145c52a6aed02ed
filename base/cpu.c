/* cpu.c - asks the processor once; on ARM the architecture itself is the answer. */
#include "base/cpu.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(PSYBUILD_PORTABLE)
unsigned cpu_features(void)
{
    return 0; /* the variant that takes every way round */
}
#elif defined(__x86_64__)
#include <cpuid.h>

/* __builtin_cpu_supports knows "f16c" from gcc 11 and clang 16 on only. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

/* The builtin also asks whether the operating system saves the wide registers. */
unsigned cpu_features(void)
{
    unsigned features = 0;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        features |= CPU_AVX2;
    if (features != 0 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        features |= CPU_AVX512;
    return features;
}
#elif defined(__aarch64__)
unsigned cpu_features(void)
{
    return CPU_NEON; /* part of the architecture */
}
#else
unsigned cpu_features(void)
{
    return 0;
}
#endif

static const struct {
    const char *name;
    unsigned features;
} sets[] = {
    {"scalar", 0},
    {"avx2", CPU_AVX2},
    {"avx512", CPU_AVX512},
    {"neon", CPU_NEON},
};

struct error *cpu_mask_from_environment(unsigned *out)
{
    const char *name = getenv("PSYBUILD_CPU");
    unsigned features = cpu_features();
    if (name == NULL || name[0] == '\0') {
        *out = features;
        return NULL;
    }
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(name, sets[i].name) != 0)
            continue;
        if ((features & sets[i].features) != sets[i].features)
            return error_new(ERROR_USAGE, "PSYBUILD_CPU: this machine has no %s", name);
        *out = sets[i].features;
        return NULL;
    }
    return error_new(ERROR_USAGE,
        "PSYBUILD_CPU must be \"scalar\", \"avx2\", \"avx512\" or \"neon\", not \"%s\"", name);
}
