/* arena.h - memory by lifetime.
 *
 * Nobody frees a single object: whoever made an arena ends it. Returned memory is zeroed and
 * aligned for any type. NULL means out of memory, which TRY(memory_check(it)) returns. memory_alloc
 * and its companions are the program's only callers of malloc, so they are the one place where a
 * test makes an allocation fail (fault.h). A size that comes from a file is checked against a limit
 * before it gets here. An arena belongs to one thread at a time. */
#ifndef PSYBUILD_BASE_ARENA_H
#define PSYBUILD_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

void *memory_alloc(size_t size);                           /* not zeroed; NULL when out of memory */
void *memory_resize(void *memory, size_t size);            /* realloc */
MUST_CHECK struct error *memory_check(const void *memory); /* error_memory() for NULL */
void memory_free(void *memory);
/* Before threads start: large blocks go back to the system when freed, and threads share what is
 * kept of small ones, so that memory is bounded by what is in use. Where malloc can be told. */
void memory_prepare_threads(void);

/* What some arenas and lists may hold at most between them. Beyond it an allocation fails as if
 * memory were out; memory_budget_check tells that it was this. Of one thread, like they. */
struct memory_budget {
    size_t bytes, bytes_max;
    bool is_exceeded;
};

bool memory_budget_take(struct memory_budget *budget, size_t size); /* false: it is exceeded */
void memory_budget_give(struct memory_budget *budget, size_t size);
/* In place of "out of memory", when the budget was the reason: that `what` needs more than it. Any
 * other error, or none, is given back. */
MUST_CHECK struct error *memory_budget_check(
    struct memory_budget *budget, const char *what, struct error *error);

struct arena_block;
struct arena {
    struct arena_block *blocks;   /* newest first */
    size_t size_bytes;            /* of all blocks */
    struct memory_budget *budget; /* that they count against; NULL: none */
};

void *arena_alloc(struct arena *arena, size_t size);
void *arena_array(struct arena *arena, size_t count, size_t item_size); /* NULL on overflow, too */
char *arena_format(struct arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
char *arena_format_list(struct arena *arena, const char *format, va_list list) PRINTF_LIKE(2, 0);
char *arena_copy(struct arena *arena, const char *bytes, size_t length); /* NUL-terminated */

/* Room for one more item: returns `items`, or a copy of its `count` items with twice the capacity
 * (the old array stays in the arena). `*capacity` is updated. */
void *arena_grow(
    struct arena *arena, void *items, size_t count, size_t *capacity, size_t item_size);

/* The same of memory of its own, which memory_free frees and which counts against the budget until
 * `*capacity` items are given back; NULL leaves `items` and `*capacity` as they are. */
void *memory_grow(
    struct memory_budget *budget, void *items, size_t count, size_t *capacity, size_t item_size);

void arena_reset(struct arena *arena); /* forgets all objects, keeps one block for reuse */
void arena_end(struct arena *arena);   /* gives everything back; the arena is empty and usable */

#endif
