/* signals.h - SIGINT, SIGTERM and SIGHUP as a flag that a build looks at.
 *
 * The first one asks the build to stop and keep what it has; a second one of the same kind ends the
 * program at once. */
#ifndef PSYBUILD_CLI_SIGNALS_H
#define PSYBUILD_CLI_SIGNALS_H

#include <stdatomic.h>
#include <stdbool.h>

void signals_catch(void);
/* A file beyond the limit of its size (ulimit -f) is an error of write, not the end. */
void signals_survive_limits(void);
_Atomic bool *signals_flag(void);
int signals_exit_code(void); /* 128 + the signal that came; 130 when none did */

#endif
