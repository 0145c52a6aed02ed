/* carry.h - carrying out an intent: the moves, in order, each of which may have been done already.
 *
 * A move touches only what still has the stamp that the intent names. What else lies in its way is
 * somebody's: it is set aside, with a warning. If something staged is neither where it was nor
 * where it goes, nothing is moved any more and the intent is given up: the directory stays as it
 * is, unloadable if its config.json was hidden already, and its nodes are made again. */
#ifndef PSYBUILD_ENGINE_SEAL_CARRY_H
#define PSYBUILD_ENGINE_SEAL_CARRY_H

#include "engine/run/run.h"

/* ERROR_FORMAT unless the moves of an intent that another build left are within what psybuild has
 * to move: names within the tree that a node or a record has, places of its own, and entries of the
 * cache. A journal that somebody made up can name anything. */
MUST_CHECK struct error *carry_check(struct build *build, const struct intent *intent);

/* From the first move to the records. After an error the intent is the state's still, and the next
 * build goes on with it; unless `*is_given_up`: then the error says what is gone. */
MUST_CHECK struct error *carry_out(struct build *build, struct intent *intent, bool *is_given_up);

/* Only the records, where nothing has to be moved. */
MUST_CHECK struct error *carry_put_records(struct build *build, const struct intent *intent);
/* The partial directories of an intent, as far as nothing else is in them. */
MUST_CHECK struct error *carry_remove_partials(struct build *build, const struct intent *intent);

#endif
