/* rules_file.h - a loaded rule file, for rules.c alone.
 *
 * Lists are `items, count`; everything lives in the arena of rules_load and is never changed. */
#ifndef PSYBUILD_TASKS_FORMATS_RULES_FILE_H
#define PSYBUILD_TASKS_FORMATS_RULES_FILE_H

#include "tasks/formats/expression.h"
#include "tasks/formats/pattern.h"
#include "tasks/formats/rules.h"

enum { RULES_RANK_MAX = 8 }; /* of an expected tensor */

struct pattern_list {
    const struct pattern **items;
    size_t count;
};

struct let {
    struct text name;
    const struct expression *expression;
};

enum step_kind { STEP_DROP, STEP_RENAME, STEP_REPLACE };
struct step {
    enum step_kind kind;
    const struct json *origin;      /* of its operation's value */
    struct pattern_list patterns;   /* drop, rename */
    const struct target **targets;  /* rename: one for each pattern */
    struct text (*replacements)[2]; /* replace: text, text */
    size_t replacement_count;
    const struct expression *condition, *where; /* or NULL */
    struct pattern_list except;
};

struct special {
    struct pattern_list match;
    const struct expression *condition, *where; /* or NULL */
    struct rules_decision decision;
};

/* A tensor, or a group: the entries below it, repeated for each value of a variable. */
struct entry {
    const struct json *origin;
    const struct expression *condition; /* or NULL */
    /* a tensor */
    const struct target *name; /* NULL: this is a group */
    const struct expression **shape;
    uint32_t rank;
    enum rules_kind kind;
    /* a group */
    struct text variable;           /* empty: once */
    const struct expression *count; /* the variable runs from 0 to below it */
    struct entry *entries;
    size_t entry_count;
};

struct rules {
    const struct json_document *document;
    const struct json *types, *architectures; /* lists of strings; architectures may be NULL */
    const struct json *required;              /* a list of strings, or NULL */
    const struct json *defaults;              /* an object, or NULL */
    struct let *lets;
    size_t let_count;
    const struct expression **refusals;
    size_t refusal_count;
    struct step *steps;
    size_t step_count;
    struct pattern_list keep_dtype;
    struct pattern_list raw, linear; /* modules */
    struct special *specials;
    size_t special_count;
    bool has_only;
    struct special *only; /* match and where alone count */
    size_t only_count;
    const struct expression *layers; /* or NULL */
    bool has_tensors;
    struct entry *entries;
    size_t entry_count;
};

#endif
