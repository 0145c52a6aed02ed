/* inputs.h - the files that a plan reads: where their bytes lie now, their segments, and what was
 * read.
 */
#ifndef PSYBUILD_ENGINE_PLAN_INPUTS_H
#define PSYBUILD_ENGINE_PLAN_INPUTS_H

#include "engine/plan/plan.h"

/* Finds where the inputs' bytes lie now. */
MUST_CHECK struct error *inputs_resolve(struct plan *plan);
/* The role's file, or NULL. */
struct plan_input *inputs_find(const struct plan *plan, const char *role, size_t index);
/* The same, or ERROR_MISSING. */
MUST_CHECK struct error *inputs_need(
    const struct plan *plan, const char *role, size_t index, struct plan_input **out);
/* Opened for reading, with a stamp that no later change can share; nothing for an awaited one. */
MUST_CHECK struct error *inputs_open(struct plan *plan, struct plan_input *input);
void inputs_close(struct plan_input *input);
/* Its segments are known, with the hashes that this run knows: of an awaited one from what was
 * heard of it. */
MUST_CHECK struct error *inputs_need_segments(struct plan *plan, struct plan_input *input);
/* An awaited input is here now; false: it is another file than was planned with. */
MUST_CHECK struct error *inputs_arrive(struct plan *plan, struct plan_input *input, bool *is_same);
bool inputs_are_awaited(const struct plan *plan); /* some input */
/* The whole text of a file, an input or one that the plan looks up; its tree hash is known
 * afterwards. */
MUST_CHECK struct error *inputs_read_file(struct plan *plan, uint32_t file, const char *location,
    bool is_staged, size_t size_max, struct text *out);
/* Records one more read, such as a depfile's. */
MUST_CHECK struct error *inputs_add_read(struct plan *plan, enum read_kind kind, uint32_t file,
    const char *detail, const struct hash128 *hash);

#endif
