/* exec.h - the texts of a command: "${out}", "${in.ROLE}", and the depfile it may write. */
#ifndef PSYBUILD_TASKS_EXEC_H
#define PSYBUILD_TASKS_EXEC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

struct exec_role {
    const char *name;
    const char *const *paths;
    size_t count;
};

struct exec_files {
    const char *out;
    const struct exec_role *roles;
    size_t role_count;
};

/* The command with its names filled in, NULL-terminated. An argument that is "${in.ROLE}" alone
 * becomes one for each file of the role (none, when the role is absent); within a longer argument
 * the role must have exactly one. "$$" is a dollar sign. ERROR_USAGE for a name that is unknown. */
MUST_CHECK struct error *exec_fill(struct arena *arena, const struct exec_files *files,
    const char *const *command, size_t count, char ***arguments);

/* The prerequisites of all rules of a depfile as `gcc -M` writes it, in order. `name` is for
 * errors: ERROR_FORMAT when it is no depfile. */
MUST_CHECK struct error *exec_parse_depfile(
    struct arena *arena, const char *name, struct text text, const char ***paths, size_t *count);

#endif
