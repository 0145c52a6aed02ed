/* yaml_scalar.h - what a plain scalar is, and how PyYAML writes it again. */
#ifndef PSYBUILD_TASKS_FORMATS_YAML_SCALAR_H
#define PSYBUILD_TASKS_FORMATS_YAML_SCALAR_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/yaml.h"

enum { YAML_DIGITS_MAX = 4300 }; /* of an integer: more Python does not write */

/* By YAML 1.1, in which `no` is false and 12:30 is 750: never a collection. */
enum yaml_kind yaml_scalar_kind(struct text text);
/* The one spelling of a scalar that is of this kind: 0x1F is 31. `*problem` says what it is when
 * Python could not hold it, else it is NULL. ERROR_MEMORY only. */
MUST_CHECK struct error *yaml_scalar_spell(struct arena *arena, enum yaml_kind kind,
    struct text text, struct text *out, const char **problem);

#endif
