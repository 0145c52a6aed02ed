/* buffer.h - bytes that are appended to, however many they become.
 *
 * A buffer remembers its first failure (out of memory), asked for once, at the end; what is put
 * into it afterwards is dropped. It grows in its arena, or, without one, in memory of its own that
 * buffer_end frees. `{0}` and `{.arena = ...}` are empty buffers. */
#ifndef PSYBUILD_BASE_BUFFER_H
#define PSYBUILD_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

struct buffer {
    struct arena *arena;
    unsigned char *bytes; /* count of them; moves when it grows */
    size_t count, capacity;
    bool failed;
};

/* Room for `length` more bytes, which count from now on and which the caller fills; NULL when there
 * is none. */
unsigned char *buffer_extend(struct buffer *buffer, size_t length);
void buffer_put(struct buffer *buffer, const void *bytes, size_t length);
void buffer_put_text(struct buffer *buffer, struct text text);
void buffer_put_string(struct buffer *buffer, const char *string);
void buffer_put_code_point(struct buffer *buffer, uint32_t code_point); /* as UTF-8 */

MUST_CHECK struct error *buffer_check(const struct buffer *buffer);
/* The check, and what the buffer holds: borrowed until it grows, NUL-terminated. */
MUST_CHECK struct error *buffer_text(struct buffer *buffer, struct text *out);
/* The check, what it holds copied into the arena, and the end, whatever comes of it. */
MUST_CHECK struct error *buffer_take(struct buffer *buffer, struct arena *arena, struct text *out);
void buffer_end(struct buffer *buffer);

#endif
