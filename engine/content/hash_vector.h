/* hash_vector.h - XXH3-128 with the widest registers that the file including it is compiled for.
 *
 * For hash.c and its companions alone: they compile the same functions, xxHash's own, with SSE2 or
 * what else is the baseline, AVX2 and AVX-512. All give the same hashes. */
#ifndef PSYBUILD_ENGINE_CONTENT_HASH_VECTOR_H
#define PSYBUILD_ENGINE_CONTENT_HASH_VECTOR_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <string.h>

#include "engine/content/hash.h"

struct hash_code {
    unsigned features; /* enum cpu_feature: what must be at hand */
    struct hash128 (*of)(const void *bytes, size_t size); /* NULL: not compiled for this machine */
    void (*more)(XXH3_state_t *state, const void *bytes, size_t size); /* of a stream; as `of` */
};
extern const struct hash_code hash_code_avx2, hash_code_avx512;

static inline struct hash128 hash_canonical(XXH128_hash_t hash)
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    struct hash128 out;
    _Static_assert(sizeof canonical.digest == sizeof out.bytes, "128 bits");
    memcpy(out.bytes, canonical.digest, sizeof out.bytes);
    return out;
}

static inline struct hash128 hash_at_once(const void *bytes, size_t size)
{
    return hash_canonical(XXH3_128bits(bytes, size));
}

/* A state is the same for all of them. */
static inline void hash_more(XXH3_state_t *state, const void *bytes, size_t size)
{
    XXH3_128bits_update(state, bytes, size);
}

#endif
