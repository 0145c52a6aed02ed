/* tree.h - a directory of its own for each test, which is the working directory while it runs.
 *
 * tree_begin and tree_end are cmocka's set-up and tear-down of a test. Paths are relative to that
 * directory; the functions fail the test when the system says no. */
#ifndef PSYBUILD_TESTS_SUPPORT_TREE_H
#define PSYBUILD_TESTS_SUPPORT_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

int tree_begin(void **state);
int tree_end(void **state);

/* The project's source directory, absolute: PSYBUILD_SOURCE as it was found from where the program
 * started. */
const char *tree_source(void);

void tree_write(const char *path, const char *text); /* makes the directories above it, too */
void tree_write_bytes(const char *path, const void *bytes, size_t size);
struct text tree_read(struct arena *arena, const char *path);
bool tree_has(const char *path);
void tree_remove(const char *path); /* a file, or a directory with all below it */

/* No error. */
void tree_assert_ok(struct error *error);
/* The whole report: place, message, excerpt, caret and what was being done; frees it. */
void tree_assert_report(struct error *error, const char *want);

#endif
