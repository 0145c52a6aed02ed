/* map.h - names to numbers: open addressing, in an arena, no removal. */
#ifndef PSYBUILD_BASE_MAP_H
#define PSYBUILD_BASE_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

#define MAP_NONE UINT32_MAX

struct map {
    struct arena *arena;
    struct map_slot *slots; /* capacity is a power of two, or 0 */
    uint32_t capacity, count;
    uint32_t seed; /* of the hash, another one in each run: names may be chosen to collide */
};

/* The number of a name, or MAP_NONE. */
uint32_t map_get(const struct map *map, const char *name);
/* Sets it; the name is borrowed. ERROR_MEMORY only. */
MUST_CHECK struct error *map_put(struct map *map, const char *name, uint32_t number);

#endif
