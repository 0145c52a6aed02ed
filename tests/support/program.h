/* program.h - runs psybuild itself: its output, how it ended, what memory it took. */
#ifndef PSYBUILD_TESTS_SUPPORT_PROGRAM_H
#define PSYBUILD_TESTS_SUPPORT_PROGRAM_H

#include <sys/types.h>

#include "base/arena.h"

/* First of all in main(), before the working directory changes: finds the program by
 * PSYBUILD_BUILD. */
void program_find(void);
const char *program_path(void); /* absolute */

struct program {
    pid_t id;
    int output; /* both streams */
    struct text said;
    size_t capacity;
    struct arena *arena;
    int exit_code;              /* 128 + the signal that ended it */
    uint64_t memory_bytes_peak; /* resident */
    uint64_t processor_us;      /* of all its threads, system calls among it */
};

/* `arguments` is NULL-terminated, without argv[0]. `environment`: NULL, or NULL-terminated pairs of
 * name and value on top of the test's own. */
struct program program_start(
    struct arena *arena, const char *const *arguments, const char *const *environment);
/* Without some of its standard descriptors: bit n of `closed` stands for descriptor n. */
struct program program_start_closed(
    struct arena *arena, const char *const *arguments, unsigned closed);
/* Reads until it has said `words`; false if it ended before. */
bool program_wait_for(struct program *program, const char *words);
bool program_is_running(const struct program *program);
void program_end(struct program *program); /* reads the rest, waits */
/* All of it. */
struct program program_run(
    struct arena *arena, const char *const *arguments, const char *const *environment);

#endif
