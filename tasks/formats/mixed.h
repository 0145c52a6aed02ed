/* mixed.h - the mixed recipes of the reference: most modules at few bits, the sensitive ones at
 * more.
 *
 * The bits of a module follow from its path and from the number of layers alone (docs/formats.md,
 * "Mixed recipes"). A recipe replaces the architecture's own predicate and is always affine. */
#ifndef PSYBUILD_TASKS_FORMATS_MIXED_H
#define PSYBUILD_TASKS_FORMATS_MIXED_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

enum { MIXED_RECIPE_COUNT = 4 };
extern const char *const mixed_recipes[MIXED_RECIPE_COUNT + 1]; /* "mixed_2_6", ..., NULL */

struct mixed {
    uint32_t bits_low, bits_high;
    uint64_t layer_count;
    size_t layer_component; /* which component of a path is the layer's number, from 0 */
};

/* `modules` are the paths of all modules; the first one with "down_proj" shows where the layer's
 * number stands. ERROR_FORMAT when there is none. The recipe is one of mixed_recipes. */
MUST_CHECK struct error *mixed_begin(struct text recipe, const struct text *modules, size_t count,
    uint64_t layer_count, struct mixed *out);

/* ERROR_FORMAT when the path has no number where the layer's number should be; a path too short
 * for one counts as layer 0. */
MUST_CHECK struct error *mixed_bits(const struct mixed *mixed, struct text module, uint32_t *bits);

#endif
