/* history_step.h - what a user does between two runs, and within one.
 *
 * A step is a line of words; what it cannot be done to is left alone. `PATH` is one in the tree.
 *
 *   set FIELD VALUE        the manifest (history_manifest.h)
 *   manifest keep|back     it and the lock are kept, and set back
 *   flip N PERMILLE        a bit of shard N of src/, in place
 *   swap N, take-out N     two of its tensors change places; one is taken out
 *   rename                 the unread tensor gets another name
 *   tie 0|1                config.json: tied embeddings
 *   checkpoint SEED        all of src/
 *   text PATH N            a short source file, new
 *   fill PATH N BYTES      lines "version N", a new file
 *   pad PATH BYTES         with blanks, to that size, in place
 *   poke PATH OFFSET       a byte, in place
 *   shrink PATH BYTES      cut, in place
 *   touch PATH, drop PATH  another time; removed
 *   back PATH              the version before, with its time
 *   edit PATH HOW          an output: append, same PERMILLE, write, cut, remove, directory, link,
 *                          touch
 *   forget WHAT            a part of .psybuild; "all": all of it
 *   state keep|WHAT        it is kept; that part of it, or "all", is put back, with its times
 *   staged HOW N           a staged file: remove, touch, damage
 *   trim N                 every N-th entry of the cache; 0: its directory
 *   far break|mend         the addresses of the source "far"
 *   hub move|break|mend    the branch, the server
 *   relocate               the tree is copied without its times, and goes on there
 *   device ROOT            a root is a link to another device
 */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_STEP_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_STEP_H

#include "tests/support/history_world.h"

/* False: no such step. */
bool step_apply(struct world *world, const char *line);

/* Removes what stands in the way of any build: directories in outputs' places, sources that do not
 * answer. */
void step_clear_obstacles(struct world *world, const char *const *paths, size_t count);

#endif
