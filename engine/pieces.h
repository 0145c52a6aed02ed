/* pieces.h - the pieces that were made of one node, in a log.
 *
 * While a node is made its log grows beside its staged files (`partial/NODE/pieces`); sealing
 * renames it to `pieces/NODE`, where the next plan finds what it may take over. Entries are
 * checksummed; a torn tail is cut. The log claims no byte that is not hashed again before use:
 * after a crash staged bytes are verified against it, after a seal they are covered by the outputs'
 * stamps and tree hashes. */
#ifndef PSYBUILD_ENGINE_PIECES_H
#define PSYBUILD_ENGINE_PIECES_H

#include "base/map.h"
#include "base/wire.h"
#include "engine/hash.h"

/* A range with the hashes of its segments. */
struct piece_part {
    uint32_t file; /* index into the log's inputs or outputs */
    uint64_t offset, size_bytes;
    uint32_t hash_count;
    const struct hash128 *hashes;
};

struct piece_record {
    struct hash128 key;
    uint32_t input_count, output_count;
    struct piece_part inputs[PIECE_RANGES_MAX], outputs[PIECE_RANGES_MAX];
    struct text result; /* what make found out about it */
};

struct piece_file {
    const char *path;    /* its name */
    uint64_t size_bytes; /* of an output */
    struct hash128 head; /* of an output: of the bytes the plan itself gave (its header); of an
                          * input: of what says that it is still the same (takeover.h) */
};

struct piece_log {
    struct arena *arena;
    struct piece_file *inputs, *outputs;
    uint32_t input_count, output_count;
    struct piece_record *records;
    uint32_t count;
    size_t capacity;
    struct map by_key;          /* hex of the key -> index */
    struct file *file;          /* open for appending */
    struct wire_writer pending; /* entries that are not written yet */
    uint64_t size_bytes;
};

/* An empty log without inputs when there is none, or none that can be read. */
MUST_CHECK struct error *pieces_load(struct arena *arena, const char *path, struct piece_log **out);
const struct piece_record *pieces_find(const struct piece_log *log, const struct hash128 *key);

/* Begins a new log; replaces what was at `path`. */
MUST_CHECK struct error *pieces_begin(struct arena *arena, const char *path,
    const struct piece_file *inputs, uint32_t input_count, const struct piece_file *outputs,
    uint32_t output_count, struct piece_log **out);
/* Goes on with a loaded log: cuts its torn tail and opens it. */
MUST_CHECK struct error *pieces_resume(struct piece_log *log, const char *path);
/* Adds a record, to be written by the next flush. */
void pieces_put(struct piece_log *log, const struct piece_record *record);
MUST_CHECK struct error *pieces_flush(struct piece_log *log);
/* Both. */
MUST_CHECK struct error *pieces_append(struct piece_log *log, const struct piece_record *record);
/* After it, what was appended survives whatever happens. NULL, or closed: nothing to do. */
MUST_CHECK struct error *pieces_sync(const struct piece_log *log);
void pieces_close(struct piece_log *log); /* NULL is fine */

#endif
