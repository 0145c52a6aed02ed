/* pieces.h - the pieces that were made of one node, in a log.
 *
 * While a node is made its log grows beside its staged files (`partial/NODE/pieces`); sealing
 * renames it to `pieces/NODE`, where the next plan finds what it may take over. Entries are
 * checksummed; a torn tail is cut. The log claims no byte that is not hashed again before use:
 * after a crash staged bytes are verified against it. A log that was ended names the generation of
 * the outputs that it describes and the content of the inputs that they were made from: of other
 * outputs it says nothing, whatever it holds. What follows an end takes it back.
 *
 * Each attempt begins a log of its own, with the entries of what it takes over: so a log has one
 * entry for a place, or several of which all but the last were found to be wrong. */
#ifndef PSYBUILD_ENGINE_STATE_PIECES_H
#define PSYBUILD_ENGINE_STATE_PIECES_H

#include "base/map.h"
#include "base/wire.h"
#include "engine/content/hash.h"

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
    bool has_tree;       /* of an input, once the log was ended */
    struct hash128 tree;
};

struct piece_log {
    struct arena *arena;
    struct piece_file *inputs, *outputs;
    uint32_t input_count, output_count;
    struct piece_record *records;
    uint32_t count;
    size_t capacity;
    struct map by_key; /* hex of the key -> index */
    bool is_older;     /* of pieces of other segments, and hence empty */
    bool is_ended;
    struct hash128 generation; /* of the outputs, when it was ended: state_generation's */
    const char *path;          /* of one that is written */
    struct file *file;         /* open for appending */
    struct buffer pending;     /* entries that are not written yet */
    uint64_t size_bytes;
};

/* An empty log without inputs when there is none, or none that can be read or used. */
MUST_CHECK struct error *pieces_load(struct arena *arena, const char *path, struct piece_log **out);
const struct piece_record *pieces_find(const struct piece_log *log, const struct hash128 *key);

/* Whether it was ended, and describes the outputs of that generation. */
bool pieces_is_of(const struct piece_log *log, const struct hash128 *generation);

/* Begins a new log beside `path`, which pieces_publish gives its name, in place of what is there.
 */
MUST_CHECK struct error *pieces_begin(struct arena *arena, const char *path,
    const struct piece_file *inputs, uint32_t input_count, const struct piece_file *outputs,
    uint32_t output_count, struct piece_log **out);
MUST_CHECK struct error *pieces_publish(struct piece_log *log);
/* Adds a record, to be written by the next flush. */
void pieces_put(struct piece_log *log, const struct piece_record *record);
MUST_CHECK struct error *pieces_flush(struct piece_log *log);
/* Both. */
MUST_CHECK struct error *pieces_append(struct piece_log *log, const struct piece_record *record);
/* All outputs are made, from those inputs (their trees; as many as the log began with). */
MUST_CHECK struct error *pieces_end(
    struct piece_log *log, const struct hash128 *generation, const struct piece_file *inputs);
/* After it, what was appended survives whatever happens. NULL, or closed: nothing to do. */
MUST_CHECK struct error *pieces_sync(const struct piece_log *log);
void pieces_close(struct piece_log *log); /* NULL is fine */

#endif
