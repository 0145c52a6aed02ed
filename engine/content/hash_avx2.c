/* hash_avx2.c - XXH3-128 with AVX2. */
#include "engine/content/hash_vector.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX2__)

const struct hash_code hash_code_avx2 = {CPU_AVX2, hash_at_once, hash_more};

#else

const struct hash_code hash_code_avx2 = {.features = CPU_AVX2};

#endif
