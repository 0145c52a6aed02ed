/* hash_avx2.c - XXH3-128 with AVX2. */
#include "engine/hash_vector.h"

#include "base/cpu.h"

#if defined(__x86_64__) && defined(__AVX2__)

static struct hash128 hash(const void *bytes, size_t size)
{
    return hash_at_once(bytes, size);
}

static void hash_update(XXH3_state_t *state, const void *bytes, size_t size)
{
    hash_more(state, bytes, size);
}

const struct hash_code hash_code_avx2 = {CPU_AVX2, hash, hash_update};

#else

const struct hash_code hash_code_avx2 = {.features = CPU_AVX2};

#endif
