/* hash.h - XXH3-128 of bytes, of segments, and of whole files as trees of segments.
 *
 * A file's tree hash is XXH3-128 over the list of its segments in file order, each as its length
 * (u64, little-endian) and its XXH3-128 (16 bytes, canonical big-endian order). XXH3 detects
 * change; against an adversary only SHA-256 counts. */
#ifndef PSYBUILD_ENGINE_CONTENT_HASH_H
#define PSYBUILD_ENGINE_CONTENT_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "engine/task.h"

struct hash128 {
    unsigned char bytes[16];
};
_Static_assert(sizeof(struct hash128) == 16, "hashes lie in state and pieces as 16 bytes");

#define HASH_HEX_BYTES 33
enum {
    SEGMENT_BYTES = 4 << 20,      /* of files without a segmenter */
    HEADER_BYTES_MAX = 100 << 20, /* of those with one: a longer header is none */
};

/* Picks the fastest code that `cpu_mask` (base/cpu.h) allows; the hashes do not depend on it. Once,
 * before there are threads; until then the baseline's serves. */
void hash_init(unsigned cpu_mask);

struct hash128 hash_bytes(const void *bytes, size_t size);
struct hash128 hash_text(struct text text);
bool hash_equal(const struct hash128 *a, const struct hash128 *b);
const char *hash_hex(const struct hash128 *hash, char buffer[HASH_HEX_BYTES]);

/* A hash of bytes that come in parts. */
struct hash_stream;
struct hash_stream *hash_stream_new(struct arena *arena); /* NULL: no memory */
void hash_stream_update(struct hash_stream *stream, const void *bytes, size_t size);
struct hash128 hash_stream_take(struct hash_stream *stream); /* and begins anew */

/* The segments of a file and, once they are known, their hashes. */
struct segments {
    uint32_t count;       /* of segments */
    uint32_t known_count; /* of those, how many hashes are set */
    uint32_t run_count;
    struct segment_run *runs; /* in file order, without gaps, the whole file */
    struct arena *arena;      /* for the hashes */
};

/* Finds the segments of an open file through the registry's segmenters, or in SEGMENT_BYTES blocks.
 */
MUST_CHECK struct error *segments_of_file(struct arena *arena, const struct registry *registry,
    const struct file *file, const char *path, struct segments **out);
/* The same for a file that is only planned; `header` are its first bytes, maybe empty. */
MUST_CHECK struct error *segments_of_plan(struct arena *arena, const struct registry *registry,
    const char *path, struct text header, uint64_t size_bytes, struct segments **out);
/* Blocks of SEGMENT_BYTES, whatever the file's name. */
MUST_CHECK struct error *segments_of_blocks(
    struct arena *arena, const char *path, uint64_t size_bytes, struct segments **out);
/* Whether a file of that name has a format that is cut by its header. */
bool segments_has_format(const struct registry *registry, const char *path);

/* What the file's format calls the part at an offset, such as a tensor; NULL: nothing. */
MUST_CHECK struct error *segments_name_part(struct arena *arena, const struct registry *registry,
    const struct file *file, const char *path, uint64_t offset, const char **out);

bool segments_have_same_cut(const struct segments *a, const struct segments *b);
struct span segments_at(const struct segments *segments, uint32_t index);
/* The half-open run of segments that a range of bytes is made of; false if its ends are no borders.
 */
bool segments_range(const struct segments *segments, uint64_t offset, uint64_t size_bytes,
    uint32_t *begin, uint32_t *end);
/* Room for hashes, before any is set in the range; not while other threads use the arena. */
MUST_CHECK struct error *segments_reserve(struct segments *segments, uint32_t begin, uint32_t end);
void segments_set(struct segments *segments, uint32_t index, const struct hash128 *hash);
/* NULL: not known. */
const struct hash128 *segments_hash(const struct segments *segments, uint32_t index);
bool segments_are_known(const struct segments *segments);
/* The tree hash; all segments must be known. */
struct hash128 segments_tree(const struct segments *segments);

/* Reads what is not known yet of an open file and hashes it; all of it is reserved. `cancel` may be
 * NULL. `progress` counts bytes, may be NULL. */
MUST_CHECK struct error *segments_fill(struct segments *segments, const struct file *file,
    const _Atomic bool *cancel, _Atomic uint64_t *progress);
/* All of it: opens, segments, fills. `out` lies in the arena. */
MUST_CHECK struct error *segments_hash_file(struct arena *arena, const struct registry *registry,
    const char *path, const char *location, const _Atomic bool *cancel, _Atomic uint64_t *progress,
    struct segments **out);

#endif
