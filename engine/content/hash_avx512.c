/* hash_avx512.c - XXH3-128 with AVX-512. */
#include "engine/content/hash_vector.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX512F__)

const struct hash_code hash_code_avx512 = {CPU_AVX512, hash_at_once, hash_more};

#else

const struct hash_code hash_code_avx512 = {.features = CPU_AVX512};

#endif
