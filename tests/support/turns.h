/* turns.h - a project that the program itself builds, turn after turn: each test has a directory
 * (tree.h) and the miniature checkpoint under TURNS_SOURCE, and between two builds it changes what
 * it likes.
 *
 * Only words of messages are asked for, so that wordings may change. */
#ifndef PSYBUILD_TESTS_SUPPORT_TURNS_H
#define PSYBUILD_TESTS_SUPPORT_TURNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tests/support/program.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define TURNS_SOURCE "models/PsyLLM"
#define TURNS_MODEL "models/PsyLLM-mlx"
#define TURNS_ASIDE ".psybuild/aside/"
#define TURNS_COUNT(array) (sizeof(array) / sizeof(array)[0])

enum { TURNS_EXIT_FAULT = 99, TURNS_POINTS_MAX = 1000 };

/* cmocka's set-up and tear-down; what is still running in the end is killed. */
int turns_begin(void **state);
int turns_end(void **state);

struct arena *turns_arena(void); /* until the tear-down */
char *turns_format(const char *words, ...) PRINTF_LIKE(1, 2);

/* Skips the test where the program was not built as that variant. */
void turns_need_faults(void);

/* ---- the manifest ---- */

/* {"psybuild": 1, MEMBERS"artifacts": {ARTIFACTS}}; `members` end with ", ". */
void turns_declare(const char *members, const char *artifacts);
/* TURNS_MODEL of TURNS_SOURCE by the recipe "mlx". */
void turns_declare_model(const char *members, const char *with);

/* ---- files ---- */

/* So many bytes, of a stream that the seed chooses. */
void turns_write_bytes(const char *path, size_t size, unsigned seed);
void turns_flip(const char *path, size_t offset); /* one byte, in place */
bool turns_holds(const char *path, const char *text);
bool turns_is_same(const char *a, const char *b); /* byte for byte */
/* Whether some file below `directory` is, byte for byte, what `text` says. */
bool turns_is_somewhere(const char *directory, struct text text);
void turns_set_mtime(const char *path, int64_t seconds);
int64_t turns_mtime(const char *path);

/* ---- runs: `arguments` without "-q", which each has; NULL-terminated ---- */

struct program turns_run(const char *const *arguments);
#define TURNS_RUN(...) turns_run((const char *const[]){__VA_ARGS__, NULL})
/* A run that ends well, with what it said: warnings. */
const char *turns_build(const char *when);
/* The next run has nothing to do, and says so. */
void turns_assert_done(const char *when);
/* Exit code and a word that was said. */
void turns_assert_ended(const struct program *program, int exit_code, const char *words);
/* The same bytes as a build of this manifest from nothing makes there; what is known is lost. */
void turns_assert_as_from_nothing(const char *directory, const char *when);

/* ---- variant "fault": points (base/fault.h) ---- */

/* A run with that PSYBUILD_FAULT_AT. */
struct program turns_run_with_fault(const char *fault);
/* Started with PSYBUILD_FAULT_AT="pause:KIND:N"; false when it ended without meeting the point, or
 * as soon as it has stopped there. */
bool turns_pause(const char *kind, unsigned n, struct program *program);
void turns_go_on(struct program *program); /* to its end */

#endif
