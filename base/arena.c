/* arena.c - blocks of memory, newest first; objects are cut off the newest one. */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "base/fault.h"

enum { ALIGNMENT = 16, BLOCK_BYTES = 16 * 1024, BLOCK_BYTES_MAX = 1024 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t size, used; /* of the bytes behind this header */
};
_Static_assert(sizeof(struct arena_block) <= 2 * ALIGNMENT, "the header keeps the bytes aligned");
enum { HEADER_BYTES = 2 * ALIGNMENT };

void *memory_alloc(size_t size)
{
    if (fault_here(FAULT_ALLOC))
        return NULL;
    return malloc(size > 0 ? size : 1);
}

void *memory_resize(void *memory, size_t size)
{
    if (fault_here(FAULT_ALLOC))
        return NULL;
    return realloc(memory, size > 0 ? size : 1);
}

struct error *memory_check(const void *memory)
{
    return memory == NULL ? error_memory() : NULL;
}

void memory_free(void *memory)
{
    free(memory);
}

void memory_prepare_threads(void)
{
#ifdef __GLIBC__
    enum { LARGE_BYTES = 128 * 1024, ARENAS = 2 };
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    mallopt(M_ARENA_MAX, ARENAS);
#endif
}

bool memory_budget_take(struct memory_budget *budget, size_t size)
{
    if (size > budget->bytes_max - budget->bytes) {
        budget->is_exceeded = true;
        return false;
    }
    budget->bytes += size;
    return true;
}

void memory_budget_give(struct memory_budget *budget, size_t size)
{
    budget->bytes -= size;
}

struct error *memory_budget_check(
    struct memory_budget *budget, const char *what, struct error *error)
{
    if (!budget->is_exceeded || error == NULL || error_kind_of(error) != ERROR_MEMORY)
        return error;
    char most[SIZE_TEXT_MAX];
    error_free(error);
    budget->is_exceeded = false;
    return error_new(
        ERROR_FORMAT, "%s needs more than %s of memory", what, size_print(most, budget->bytes_max));
}

static unsigned char *block_bytes(struct arena_block *block)
{
    return (unsigned char *)block + HEADER_BYTES;
}

/* Blocks double with the arena, so that a large arena has few of them. */
static struct arena_block *add_block(struct arena *arena, size_t size_min)
{
    size_t size = arena->size_bytes < BLOCK_BYTES ? BLOCK_BYTES : arena->size_bytes;
    if (size > BLOCK_BYTES_MAX)
        size = BLOCK_BYTES_MAX;
    if (size < size_min)
        size = size_min;
    if (size > SIZE_MAX - HEADER_BYTES)
        return NULL;
    if (arena->budget != NULL && !memory_budget_take(arena->budget, size))
        return NULL;
    struct arena_block *block = memory_alloc(size + HEADER_BYTES);
    if (block == NULL && arena->budget != NULL)
        memory_budget_give(arena->budget, size);
    if (block == NULL)
        return NULL;
    *block = (struct arena_block){.next = arena->blocks, .size = size};
    arena->blocks = block;
    arena->size_bytes += size;
    return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    if (size > SIZE_MAX - ALIGNMENT)
        return NULL;
    size_t rounded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct arena_block *block = arena->blocks;
    if (block == NULL || rounded > block->size - block->used)
        block = add_block(arena, rounded);
    if (block == NULL)
        return NULL;
    void *object = block_bytes(block) + block->used;
    block->used += rounded;
    return memset(object, 0, rounded);
}

void *arena_array(struct arena *arena, size_t count, size_t item_size)
{
    if (item_size > 0 && count > SIZE_MAX / item_size)
        return NULL;
    return arena_alloc(arena, count * item_size);
}

char *arena_format_list(struct arena *arena, const char *format, va_list list)
{
    va_list again;
    va_copy(again, list);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return NULL;
    char *string = arena_alloc(arena, (size_t)length + 1);
    if (string != NULL)
        vsnprintf(string, (size_t)length + 1, format, list);
    return string;
}

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *string = arena_format_list(arena, format, list);
    va_end(list);
    return string;
}

char *arena_copy(struct arena *arena, const char *bytes, size_t length)
{
    if (length == SIZE_MAX)
        return NULL;
    char *copy = arena_alloc(arena, length + 1);
    if (copy != NULL && length > 0)
        memcpy(copy, bytes, length);
    return copy;
}

/* Twice as many items as before: most lists are of one; 0: too many. */
static size_t next_capacity(size_t capacity, size_t item_size)
{
    size_t wanted = capacity == 0 ? 1 : capacity * 2;
    return wanted < capacity || wanted > SIZE_MAX / item_size ? 0 : wanted;
}

void *arena_grow(struct arena *arena, void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    size_t wanted = next_capacity(*capacity, item_size);
    void *grown = wanted == 0 ? NULL : arena_alloc(arena, wanted * item_size);
    if (grown == NULL)
        return NULL;
    if (count > 0)
        memcpy(grown, items, count * item_size);
    *capacity = wanted;
    return grown;
}

void *memory_grow(
    struct memory_budget *budget, void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    size_t wanted = next_capacity(*capacity, item_size);
    size_t more = (wanted - *capacity) * item_size;
    if (wanted == 0 || !memory_budget_take(budget, more))
        return NULL;
    void *grown = memory_resize(items, wanted * item_size);
    if (grown == NULL)
        memory_budget_give(budget, more);
    else
        *capacity = wanted;
    return grown;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *kept = arena->blocks; /* the newest is the largest */
    if (kept == NULL)
        return;
    struct arena rest = *arena;
    rest.blocks = kept->next;
    arena_end(&rest);
    kept->next = NULL;
    kept->used = 0;
    arena->size_bytes = kept->size;
}

void arena_end(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks, *next; block != NULL; block = next) {
        next = block->next;
        if (arena->budget != NULL)
            memory_budget_give(arena->budget, block->size);
        memory_free(block);
    }
    arena->blocks = NULL;
    arena->size_bytes = 0;
}
