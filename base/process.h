/* process.h - other programs. */
#ifndef PSYBUILD_BASE_PROCESS_H
#define PSYBUILD_BASE_PROCESS_H

#include "base/error.h"

/* Runs a program (arguments[0] searched in PATH), waits, gives its exit status (128 + signal). */
MUST_CHECK struct error *process_run(char *const *arguments, int *status);

#endif
