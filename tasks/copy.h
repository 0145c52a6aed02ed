/* copy.h - how a large file is cut into pieces that are copied one by one. */
#ifndef PSYBUILD_TASKS_COPY_H
#define PSYBUILD_TASKS_COPY_H

#include "engine/task.h"

/* What a file is hashed by, as the engine cuts it: the format's own segments where `header` (its
 * first bytes, as plan_read_header gives them) is of a known format, else blocks of 4 MiB. */
MUST_CHECK struct error *copy_segments(struct arena *arena, const char *path, struct text header,
    uint64_t file_size, struct span_run **runs, size_t *count);

/* The next piece: from the segment at `*offset` as many whole ones as fit PIECE_BYTES_MAX, but at
 * least one. `*run` is the number of the run that it lies in. False behind the last. */
bool copy_next_piece(
    const struct span_run *runs, size_t count, size_t *run, uint64_t *offset, struct span *piece);

#endif
