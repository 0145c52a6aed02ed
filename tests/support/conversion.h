/* conversion.h - the miniature checkpoint in a test's own directory (tree.h), converted in this
 * process, and what the engine said about it. */
#ifndef PSYBUILD_TESTS_SUPPORT_CONVERSION_H
#define PSYBUILD_TESTS_SUPPORT_CONVERSION_H

#include "engine/build.h"

#define SOURCE "models/PsyLLM"
#define MODEL "models/PsyLLM-mlx"

/* cmocka's set-up and tear-down: a directory with the checkpoint under SOURCE. */
int conversion_begin(void **state);
int conversion_end(void **state);

/* Writes the manifest: MODEL from SOURCE by the recipe "mlx", `with` its parameters as members of
 * an object ("\"bits\": 4"). */
void conversion_declare(const char *with);
/* The same with more members of the manifest before ("\"cache\": {...}, "). */
void conversion_declare_more(const char *members, const char *with);

/* Removes MODEL and all that psybuild knows, as far as they are there. */
void conversion_forget(void);

struct conversion { /* zero: what the command line would take */
    const struct registry *registry;
    unsigned threads;
    uint64_t memory_bytes;
    const char *target;
    const char *cache; /* PSYBUILD_CACHE */
    bool is_forced;
};

/* Strings live until the tear-down. */
struct report {
    /* A line for each node that was looked into, by name, without "MODEL/":
     *   "NAME: WHY; M made, K kept; sealed"     pieces only where it has any; "restored" from the
     *                                           cache; "confirmed" when nothing had to be written
     */
    const char *lines;
    const char *warnings; /* a line each */
    const char *errors;   /* the reports of all errors */
    struct build_stats stats;
};

struct report conversion_run(const struct conversion *conversion);
/* The same with everything as usual; an error fails the test. */
struct report conversion_make(void);
/* Whether the quick look finds everything fresh, without opening a file. */
bool conversion_is_null(void);

/* Replaces the one occurrence of `old` in a file by `new`, in a new file as editors do. */
void conversion_edit(const char *path, const char *old, const char *new);

#endif
