/* yaml_write.h - a tree as PyYAML writes it (yaml.dump, in block style, keys in their order). */
#ifndef PSYBUILD_TASKS_FORMATS_YAML_WRITE_H
#define PSYBUILD_TASKS_FORMATS_YAML_WRITE_H

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "tasks/formats/yaml.h"

/* A block map without a last line break. Lists, maps and times that are there more than once get
 * anchors, for which a tree can be written only once. `line_break` is "\n", "\r\n" or "\r".
 * ERROR_FORMAT when aliases make it deeper than YAML_DEPTH_MAX. */
MUST_CHECK struct error *yaml_write_map(
    struct arena *arena, struct yaml *map, const char *line_break, struct text *out);

#endif
