/* codec.h - how hashes, files and records are written, in the state and in the journal: of the
 * folder's own. The layouts are drawn in docs/design.md. */
#ifndef PSYBUILD_ENGINE_STATE_CODEC_H
#define PSYBUILD_ENGINE_STATE_CODEC_H

#include "base/wire.h"
#include "engine/state/state.h"

enum { RECORD_BYTES_MIN = 5 + 5 + 4 + 16 + 4 + 8 + 4 + 4, STATE_BYTES_MAX = 1 << 30 };

void codec_put_hash(struct buffer *writer, const struct hash128 *hash);
struct hash128 codec_get_hash(struct wire_reader *reader);
void codec_put_file(struct buffer *writer, const struct state_file *file);
struct state_file codec_get_file(struct wire_reader *reader);

/* Files have numbers: `places` has that of each file of the state, NULL when they are the state's
 * own. */
void codec_put_record(struct buffer *writer, const struct record *record, const uint32_t *places);
MUST_CHECK struct error *codec_get_record(struct wire_reader *reader, struct arena *arena,
    const uint32_t *places, uint32_t place_count, struct record *out);

/* The files that a record uses, its reads first; FILE_NONE for a read of none. */
uint32_t codec_used_file(const struct record *record, uint32_t i);
/* The files that these records use, each once, and their numbers into `places`. */
MUST_CHECK struct error *codec_put_used_files(struct buffer *writer, const struct state *state,
    const struct record *records, uint32_t record_count, uint32_t *places);

/* What a newer psybuild wrote is left alone: ERROR_USAGE. */
MUST_CHECK struct error *codec_newer(const char *path, unsigned version, unsigned known);

#endif
