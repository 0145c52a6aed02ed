/* behind.h - writing behind: what is made is gathered into blocks, which threads of their own
 * write.
 *
 * For outputs that spare the page cache (file_spare_cache). A piece's ranges are too short and lie
 * too oddly to be written around the cache; a whole block can be (file_write_around), and who makes
 * the next piece need not wait for it. A block begins at a multiple of its size; it is written when
 * all of it was handed over, when its room is wanted for another, when what was handed over is in
 * too many parts, or with behind_flush.
 *
 * Memory is fixed: when all blocks are full, behind_write waits for the disk. Each byte of a file
 * is to be written once; what is read of a file may be older than what was written until
 * behind_flush. All may be called from any thread but behind_open, behind_add, behind_remove
 * and behind_close, which are the main thread's. */
#ifndef PSYBUILD_ENGINE_MACHINE_BEHIND_H
#define PSYBUILD_ENGINE_MACHINE_BEHIND_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/file.h"

struct behind;
struct behind_file;

/* How much of a budget of `memory_bytes` the blocks take. */
uint64_t behind_memory(uint64_t memory_bytes);
/* Threads and blocks come with the first write. */
MUST_CHECK struct error *behind_open(uint64_t memory_bytes, struct behind **out);
void behind_close(struct behind *behind); /* after behind_remove of each file; NULL is fine */

/* The file has its final size and stays open until behind_remove. */
MUST_CHECK struct error *behind_add(
    struct behind *behind, struct file *file, struct behind_file **out);
/* The error may be that of a write before: once one failed, all that follow fail with its words. */
MUST_CHECK struct error *behind_write(
    struct behind_file *file, uint64_t offset, const void *bytes, size_t size);
/* Where these bytes may be made, so that they need not be copied; behind_placed hands them over,
 * and must be called even if they could not be made: then who records what was made leaves them
 * out. NULL: not now, or not there, so make them elsewhere and call behind_write. Never waits; who
 * has places must not wait for other blocks, that is call behind_write or behind_flush. */
MUST_CHECK void *behind_place(struct behind_file *file, uint64_t offset, size_t size);
void behind_placed(struct behind_file *file, uint64_t offset);
/* All that was handed over before the call is in the file; file_sync brings it to the disk. */
MUST_CHECK struct error *behind_flush(struct behind_file *file);
void behind_remove(struct behind_file *file); /* flushes, with no word of errors; NULL is fine */

#endif
