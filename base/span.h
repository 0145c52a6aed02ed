/* span.h - ranges of bytes of a file, and regular runs of them that take no memory each. */
#ifndef PSYBUILD_BASE_SPAN_H
#define PSYBUILD_BASE_SPAN_H

#include <stdint.h>

struct span {
    uint64_t offset, size_bytes;
};

/* Spans one after the other that cover `size_bytes` from `offset`: each of `span_bytes`, begun anew
 * every `period_bytes`; the last of a period and of the whole may be shorter. */
struct span_run {
    uint64_t offset, size_bytes;
    uint64_t period_bytes, span_bytes; /* at least 1 */
};

uint64_t span_run_count(const struct span_run *run);
struct span span_run_at(const struct span_run *run, uint64_t index); /* below the count */
/* The number of the span that begins at `offset`, and the count at the end of the run; UINT64_MAX
 * where none begins. */
uint64_t span_run_find(const struct span_run *run, uint64_t offset);

#endif
