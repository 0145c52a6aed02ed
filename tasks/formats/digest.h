/* digest.h - the two hashes the hub knows a file by, computed as its bytes arrive.
 *
 * Both come from libcrypto, which is loaded with the first digest: its assembly uses the
 * processor's SHA instructions. These hashes are identity against an adversary; what detects mere
 * change is XXH3, elsewhere. A digest belongs to one thread at a time. */
#ifndef PSYBUILD_TASKS_FORMATS_DIGEST_H
#define PSYBUILD_TASKS_FORMATS_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum digest_kind {
    DIGEST_SHA256,   /* of the content; 64 hex digits */
    DIGEST_GIT_BLOB, /* SHA-1 of "blob SIZE", a NUL and the content; 40 hex digits */
};
#define DIGEST_HEX_MAX 65 /* with the NUL */

struct digest;

/* `size_bytes` is the whole content's; only DIGEST_GIT_BLOB reads it. ERROR_MISSING when libcrypto
 * is not on this machine. */
MUST_CHECK struct error *digest_begin(
    enum digest_kind kind, uint64_t size_bytes, struct digest **out);
MUST_CHECK struct error *digest_update(struct digest *digest, const void *bytes, size_t length);
/* Lower-case hex of everything so far. Nothing but digest_end may follow. */
MUST_CHECK struct error *digest_hex(struct digest *digest, char hex[DIGEST_HEX_MAX]);
void digest_end(struct digest *digest); /* NULL is fine */

/* All of it for bytes at hand. */
MUST_CHECK struct error *digest_of(
    enum digest_kind kind, const void *bytes, size_t length, char hex[DIGEST_HEX_MAX]);

/* The same of a file; `cancel` (may be NULL) set: ERROR_INTERRUPTED. */
MUST_CHECK struct error *digest_of_file(
    enum digest_kind kind, const char *path, const _Atomic bool *cancel, char hex[DIGEST_HEX_MAX]);

/* NULL when digests can be computed here: to fail before a download instead of after it. */
MUST_CHECK struct error *digest_available(void);

#endif
