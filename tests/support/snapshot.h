/* snapshot.h - what a directory holds, byte for byte, at one moment. */
#ifndef PSYBUILD_TESTS_SUPPORT_SNAPSHOT_H
#define PSYBUILD_TESTS_SUPPORT_SNAPSHOT_H

#include "engine/content/hash.h"

struct snapshot_file {
    const char *path; /* below the directory */
    uint64_t size_bytes;
    struct hash128 hash;
};

struct snapshot { /* of all regular files, by path; an absent directory has none */
    struct snapshot_file *files;
    size_t count;
};

struct snapshot snapshot_take(struct arena *arena, const char *directory);
const struct snapshot_file *snapshot_find(const struct snapshot *snapshot, const char *path);
bool snapshot_equal(const struct snapshot *a, const struct snapshot *b);
/* Fails the test with `when` and the first file that differs. */
void snapshot_assert_equal(
    const struct snapshot *found, const struct snapshot *wanted, const char *when);

/* Fails the test unless `.psybuild` holds what a finished build leaves there, and nothing else. */
void snapshot_assert_no_strays(struct arena *arena, const char *when);

#endif
