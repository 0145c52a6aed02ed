/* golden.h - the files of tests/golden: vectors from the real mlx, read without the code under
 * test.
 *
 * Their headers are compact JSON in a known order, so looking for text is enough. Any failure fails
 * the running test. */
#ifndef PSYBUILD_TESTS_SUPPORT_GOLDEN_H
#define PSYBUILD_TESTS_SUPPORT_GOLDEN_H

#include <stddef.h>

struct golden {
    char *bytes;
    size_t size_bytes, data_begin;
};

struct golden_tensor {
    const void *bytes; /* at any alignment */
    size_t size_bytes;
    char dtype[8];               /* "BF16" */
    unsigned long rows, columns; /* the last axis, and all before it */
};

struct golden golden_open(const char *name); /* "cast-f32.safetensors"; end with golden_close */
struct golden_tensor golden_tensor(const struct golden *golden, const char *name);
void golden_close(struct golden *golden);

#endif
