/* option.h - words to the fields of a struct, by a table of options: psybuild's own, and each
 * tool's.
 *
 * As getopt does it: letters may be clustered (-nv) and hold their value (-j4), words take it after
 * "=" or as what comes next, options and other words mix, and "--" ends the options. */
#ifndef PSYBUILD_CLI_OPTION_H
#define PSYBUILD_CLI_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

enum option_kind {   /* what stands at `offset`, and what is put there */
    OPTION_FLAG,     /* bool: true */
    OPTION_CONSTANT, /* unsigned: `least` */
    OPTION_TEXT,     /* const char *: the value; one of `choices`, if there are any */
    OPTION_INDEX,    /* unsigned: the value's place in `choices` */
    OPTION_NUMBER,   /* unsigned: from `least` to `most` */
    OPTION_SIZE,     /* uint64_t: at least `least`; else it must be `wanted`, says the error */
    OPTION_CALL,     /* nothing: `call` is given the value */
    OPTION_REFUSED,  /* nothing: an error, which says `wanted` */
};

struct option_reader;
struct option {
    char letter;              /* or 0 */
    const char *word, *other; /* without "--"; or NULL */
    const char *value;        /* what its value is called; NULL: it takes none */
    const char *help;         /* NULL: it is not listed */
    enum option_kind kind;
    size_t offset;
    unsigned least, most;
    const char *const *choices; /* ends with NULL */
    const char *wanted;
    struct error *(*call)(struct option_reader *reader, const char *value);
};

struct option_table {
    const struct option *options;
    size_t count;
    const char *whose;   /* in errors: " of the tool \"list\"", or "" */
    const char *advice;  /* what an error about an unknown option ends with */
    bool is_value_plain; /* a value that is a word of its own does not begin with "-" */
};

struct option_reader {
    struct arena *arena;
    const struct option_table *table;
    const char *const *words;
    size_t count, at;  /* the word to be read next */
    void *target;      /* the struct that is filled */
    const char **rest; /* the words that are no options */
    size_t rest_count;
    bool is_literal; /* no more options */
};

/* Reads all words of a reader that has its first six fields; ERROR_USAGE says what is wrong with
 * which word. Strings are borrowed from them. */
MUST_CHECK struct error *option_read(struct option_reader *reader);

/* A line for each option that has a help, its names `width` wide; without a letter it begins with
 * `indent`. NULL when out of memory. */
char *option_list(
    struct arena *arena, const struct option_table *table, int width, const char *indent);

#endif
