/* hash_avx512.c - XXH3-128 with AVX-512. */
#include "engine/hash_vector.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX512F__)

static struct hash128 hash(const void *bytes, size_t size)
{
    return hash_at_once(bytes, size);
}

static void hash_update(XXH3_state_t *state, const void *bytes, size_t size)
{
    hash_more(state, bytes, size);
}

const struct hash_code hash_code_avx512 = {CPU_AVX512, hash, hash_update};

#else

const struct hash_code hash_code_avx512 = {.features = CPU_AVX512};

#endif
