/* quality.h - how good quantized tensors are, by the figures of their node's record, as -t list and
 * -t inspect show it. */
#ifndef PSYBUILD_CLI_QUALITY_H
#define PSYBUILD_CLI_QUALITY_H

#include "base/json_write.h"
#include "base/map.h"
#include "cli/tools.h"
#include "tasks/figures.h"

/* The figures that the record keeps; none when it keeps no such. */
MUST_CHECK struct error *quality_of_record(
    struct arena *arena, const struct record *record, struct figures *out);

/* "36.2 dB", "~36.2 dB" when not all weights were measured, "exact"; "" when none was. NULL when
 * out of memory. */
const char *quality_short(struct arena *arena, const struct figures_module *module);
/* "36.2 dB, relative RMSE 0.0155, max error 0.0127" */
const char *quality_long(struct arena *arena, const struct figures_module *module);
/* As members of the object that is being written; none when nothing was measured. */
void quality_write(struct json_writer *writer, const struct figures_module *module);

/* What is known about the tensors of files, wherever they lie. */
struct quality {
    struct cli *cli;
    struct state *state;   /* of the file before; NULL: none */
    const char *directory; /* absolute: the one that holds that state */
    struct map by_name;    /* of tensors -> modules */
    struct figures_module *modules;
    size_t count, capacity;
};
/* Adds what is known about the file: there is a .psybuild in a directory above it, which says that
 * it made just this file, by its stamp. What cannot be read there is passed over. */
MUST_CHECK struct error *quality_add_file(struct quality *quality, const char *path);
const struct figures_module *quality_find(
    const struct quality *quality, const char *tensor); /* or NULL */

#endif
