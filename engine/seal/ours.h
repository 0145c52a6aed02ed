/* ours.h - whose is the file that lies at an output's path?
 *
 * Ours is what a record says was made there, as long as it still is that: by its stamp, else by its
 * bytes. Other bytes under the recorded stamp are ours, too: they are damage, which `-t verify`
 * found. So are the very bytes that would replace it. All else is somebody's: an edit of what we
 * made, or a file that we know nothing of. */
#ifndef PSYBUILD_ENGINE_SEAL_OURS_H
#define PSYBUILD_ENGINE_SEAL_OURS_H

#include "engine/plan/plan.h"

struct owner {
    enum file_kind kind;     /* of what has the name; FILE_ABSENT: there is none */
    struct file_stamp stamp; /* of that itself */
    bool is_ours;
    bool was_made;       /* a record says that we made a file there once */
    bool has_tree;       /* it holds what was made: */
    struct hash128 tree; /* that */
};

/* `output` is what will replace it; NULL: nothing. May hash the file. */
MUST_CHECK struct error *ours_look(struct build *build, const struct node *node, const char *path,
    const struct plan_output *output, struct owner *out);

/* Says that a file which is not ours is kept, or would be, as `place`. */
MUST_CHECK struct error *ours_say_kept(
    struct build *build, const char *path, const struct owner *owner, const char *place);

/* Of a plan's outputs that will be written and of what its node made before: says which files that
 * are not ours lie there. For a dry run. */
MUST_CHECK struct error *ours_foretell(struct build *build, uint32_t node);

#endif
