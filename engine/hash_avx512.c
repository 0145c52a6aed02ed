/* hash_avx512.c - XXH3-128 with AVX-512. */
#include "engine/hash_vector.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX512F__)

static struct hash128 hash(const void *bytes, size_t size)
{
    return hash_at_once(bytes, size);
}

const struct hash_code hash_code_avx512 = {CPU_AVX512, hash};

#else

const struct hash_code hash_code_avx512 = {CPU_AVX512, NULL};

#endif
