/* owner.h - whose a file is, where that decides whether it is obeyed. */
#ifndef PSYBUILD_BASE_OWNER_H
#define PSYBUILD_BASE_OWNER_H

#include "base/error.h"

/* ERROR_USAGE when what is there belongs neither to the caller nor, for root, to the owner of the
 * directory that holds it: others may have put there what they want us to do. Nothing there is
 * fine. A link counts itself. */
MUST_CHECK struct error *owner_check(const char *path);

/* What root has just made belongs to the owner of the directory that holds it, so that he can go
 * on; for other callers nothing is done. Never fails. */
void owner_give(int descriptor, const char *path);
void owner_give_directory(const char *path);

#endif
