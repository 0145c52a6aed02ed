/* history_manifest.h - all that a history can declare, as numbers, and the manifest that says it.
 */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_MANIFEST_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

enum field {
    /* what there is: 0 or 1 */
    FIELD_MODEL,  /* models/M by the recipe "mlx" from src/ */
    FIELD_SECOND, /* models/N by the same from "from" */
    FIELD_DATA,   /* out/data from raw/a.bin */
    FIELD_SUM,    /* out/sum: a command that reads out/data */
    FIELD_PIECES, /* out/pieces, out/old and out/log: names that psybuild's own files have */
    FIELD_OLD,
    FIELD_LOG,
    FIELD_MANY, /* many/: a pattern that makes several files, config.json among them */
    FIELD_VIEW, /* merged/w.safetensors, and quant/w.safetensors which reads it */
    /* how it is declared */
    FIELD_BITS,
    FIELD_GROUP_SIZE,
    FIELD_OVERRIDES, /* 0 none, 1 and 2 */
    FIELD_DTYPE,     /* 0 none, 1 float16, 2 float32 */
    FIELD_SHARDS,    /* 1: the model in several files */
    FIELD_TEMPLATE,  /* 1: another chat template */
    FIELD_BITS_SECOND,
    FIELD_BITS_QUANT,
    FIELD_FROM,      /* of models/N: 0 src, 1 far, 2 hub */
    FIELD_TASK_DATA, /* 0 copy, 1 to 4 commands */
    FIELD_TASK_PIECES,
    FIELD_TASK_OLD,
    FIELD_TASK_LOG,
    FIELD_ROLE,       /* 1: raw/b.bin in the place of raw/a.bin */
    FIELD_NAME,       /* 1: out/data2 instead of out/data */
    FIELD_NAME_MODEL, /* 1: models/O instead of models/M */
    FIELD_KEEP_VIEW,  /* 1: merged/w.safetensors is written out */
    FIELD_KEEP_DATA,  /* 1: out/data until it is used */
    FIELD_KEEP_FAR,   /* 1: far/ and hub/ until they are used */
    FIELD_CACHE,      /* 1 on, 2 small */
    FIELD_RULES,      /* 0 the installed ones, 1 a copy, 2 with two tensors swapped */
    FIELD_INCLUDE,    /* 1: a part of the manifest is included */
    FIELD_DEFAULT,    /* 1: only models and out by default */
    FIELD_FAR,        /* the version of the source "far" */
    FIELD_COUNT,
    FIELD_NONE = FIELD_COUNT
};

extern const struct field_row {
    const char *name;
    int first;         /* before any step */
    const char *usual; /* digits: what steps set it to */
} field_rows[FIELD_COUNT];

enum field field_find(const char *name); /* FIELD_NONE: no such */

struct declaration {
    int fields[FIELD_COUNT];
    const char *run; /* the history's directory, absolute: store/ and elsewhere/ are in it */
};

/* The manifest; *included is the text of more.json, NULL when nothing is included. A reference's
 * caches nothing, keeps all, includes nothing, and its addresses always answer. */
const char *declaration_print(struct arena *arena, const struct declaration *declaration,
    bool is_reference, const char **included);

bool declaration_reads_far(const struct declaration *declaration);
bool declaration_reads_hub(const struct declaration *declaration);

/* A part of the outputs that is made as one: a directory, or a file. */
struct unit {
    const char *path;
    bool is_directory;
    bool may_go;    /* "keep": "until-used" */
    bool is_chosen; /* made when no target is named */
};
enum { UNITS_MAX = 16 };

size_t declaration_units(const struct declaration *declaration, struct unit units[UNITS_MAX]);

#endif
