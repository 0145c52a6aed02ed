/* yaml_read.h - a YAML document as PyYAML's safe_load reads it.
 *
 * The grammar is libyaml's; what libyaml takes and PyYAML does not (a tab between values, "?" in
 * a plain scalar of a flow collection) is refused here. Not taken, where PyYAML takes it:
 * values of the types !!binary, !!set, !!omap and !!pairs, a map merged into what it holds, and
 * what libyaml cannot read (a byte order mark inside, half a surrogate pair, "{a:, b}"). */
#ifndef PSYBUILD_TASKS_FORMATS_YAML_READ_H
#define PSYBUILD_TASKS_FORMATS_YAML_READ_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/yaml.h"

/* The document in [begin, end) of a file's `text`, which is UTF-8; NULL in `*out` when there is
 * none. ERROR_FORMAT, with `name` and the place, for what cannot be read and beyond YAML_DEPTH_MAX
 * and YAML_NODES_MAX; ERROR_MISSING without libyaml. */
MUST_CHECK struct error *yaml_read(struct arena *arena, const char *name, struct text text,
    size_t begin, size_t end, struct yaml **out);

#endif
