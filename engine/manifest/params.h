/* params.h - checking values against the tables of tasks and sources (task.h). Each error stands at
 * the value's place, says what it must be before what it is, and suggests a near word. */
#ifndef PSYBUILD_ENGINE_MANIFEST_PARAMS_H
#define PSYBUILD_ENGINE_MANIFEST_PARAMS_H

#include "engine/task.h"

/* Every key of the object is one of `known`, a NULL-terminated list; `owner` is said with the
 * error. */
MUST_CHECK struct error *keys_check(
    const struct json *object, const char *const *known, const char *owner);
/* The error for a key that is none of `known`. */
struct error *key_unknown(const struct json *object, const struct json_member *member,
    const char *const *known, const char *owner);
/* A value is of a kind; NULL is fine. `name` is the key it stands under. */
MUST_CHECK struct error *kind_check(
    struct arena *arena, const struct json *value, enum json_kind kind, const char *name);
/* The values that are allowed, "\"a\", \"b\"" or "4, 8"; "" for any. */
MUST_CHECK struct error *param_list_values(
    struct arena *arena, const struct param_spec *spec, const char **out);
/* One value against its line of a table. */
MUST_CHECK struct error *param_check(
    struct arena *arena, const struct param_spec *spec, const struct json *value);
/* An object against a whole table: unknown keys, types, words, ranges, what is required. */
MUST_CHECK struct error *params_check(
    const struct param_spec *specs, const struct json *with, const char *owner);

/* The task type of that name; NULL: none. */
const struct task_type *registry_find(const struct registry *registry, const char *name);

#endif
