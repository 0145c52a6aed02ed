/* map.c - linear probing at no more than half full. */
#include "base/map.h"

#include <string.h>

struct map_slot {
    const char *name; /* NULL: free */
    uint32_t hash, number;
};

static uint32_t hash_name(const struct map *map, const char *name)
{
    uint32_t hash = 2166136261u ^ map->seed; /* FNV-1a, 32 bits */
    for (const unsigned char *c = (const unsigned char *)name; *c != '\0'; c++)
        hash = (hash ^ *c) * 16777619u;
    return hash ^ hash >> 15;
}

static struct map_slot *find_slot(const struct map *map, const char *name, uint32_t hash)
{
    for (uint32_t i = hash & (map->capacity - 1);; i = (i + 1) & (map->capacity - 1)) {
        struct map_slot *slot = &map->slots[i];
        if (slot->name == NULL || (slot->hash == hash && strcmp(slot->name, name) == 0))
            return slot;
    }
}

static struct error *grow(struct map *map)
{
    struct map larger = {.arena = map->arena, .count = map->count, .seed = map->seed};
    larger.capacity = map->capacity == 0 ? 16 : map->capacity * 2;
    larger.slots = arena_array(map->arena, larger.capacity, sizeof *larger.slots);
    TRY(memory_check(larger.slots));
    if (map->capacity == 0) /* where memory lies is different in each run */
        larger.seed = (uint32_t)((uintptr_t)larger.slots >> 4);
    for (uint32_t i = 0; i < map->capacity; i++)
        if (map->slots[i].name != NULL)
            *find_slot(&larger, map->slots[i].name, map->slots[i].hash) = map->slots[i];
    *map = larger;
    return NULL;
}

uint32_t map_get(const struct map *map, const char *name)
{
    if (map->capacity == 0)
        return MAP_NONE;
    const struct map_slot *slot = find_slot(map, name, hash_name(map, name));
    return slot->name == NULL ? MAP_NONE : slot->number;
}

struct error *map_put(struct map *map, const char *name, uint32_t number)
{
    if (map->count >= map->capacity / 2)
        TRY(grow(map));
    uint32_t hash = hash_name(map, name);
    struct map_slot *slot = find_slot(map, name, hash);
    if (slot->name == NULL)
        map->count++;
    *slot = (struct map_slot){name, hash, number};
    return NULL;
}
