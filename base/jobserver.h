/* jobserver.h - how many jobs may run at once: as a client of make's jobserver, and by the load.
 *
 * Within a make (GNU make's `--jobserver-auth=fifo:PATH` or `=R,W`, in MAKEFLAGS) every job but the
 * first needs a token. Tokens are taken only when there are jobs for them, without waiting, and
 * given back as soon as there are not, and at the end in any case. The main thread's alone. */
#ifndef PSYBUILD_BASE_JOBSERVER_H
#define PSYBUILD_BASE_JOBSERVER_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"

struct jobserver;

/* Is this a make that only says what it would do, or asks, or touches (-n, -q, -t)? `make_flags` is
 * MAKEFLAGS; NULL: none. */
bool make_only_says(const char *make_flags);

/* What `make_flags` says of one; `*out` is NULL without one. To be called before anything is
 * opened: descriptors that make closed are anybody's afterwards. Only pipes and fifos are taken.
 * One that cannot be reached is no error: jobserver_warning says so, and one job at a time runs. */
MUST_CHECK struct error *jobserver_open(
    struct arena *arena, const char *make_flags, struct jobserver **out);
const char *jobserver_warning(const struct jobserver *jobserver); /* or NULL */
/* The jobs that make runs at most; 0: it does not say, or there is none to be reached. */
unsigned jobserver_jobs_max(const struct jobserver *jobserver);
/* Takes or gives back tokens so that `wanted` jobs may run, as far as there are any; the number of
 * jobs that may run now: at least 1. */
unsigned jobserver_adjust(struct jobserver *jobserver, unsigned wanted);
void jobserver_close(struct jobserver *jobserver); /* all tokens go back; NULL is fine */

/* The load average of the last minute, or 0 when it is not known. */
double load_average(void);

#endif
