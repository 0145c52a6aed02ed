/* golden.c - looks tensors up in a golden file's header by text. */
#include "tests/support/golden.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"

enum { PATH_BYTES = 1024, FILE_BYTES_MAX = 1 << 20 };

struct golden golden_open(const char *name)
{
    const char *source = getenv("PSYBUILD_SOURCE");
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/tests/golden/%s", source != NULL ? source : ".", name);
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_msg("cannot open %s", path);
    struct golden golden = {.bytes = malloc(FILE_BYTES_MAX)};
    assert_non_null(golden.bytes);
    golden.size_bytes = fread(golden.bytes, 1, FILE_BYTES_MAX, file);
    fclose(file);
    assert_in_range(golden.size_bytes, 16, FILE_BYTES_MAX - 1);
    golden.data_begin = 8 + (size_t)load_le64(golden.bytes);
    assert_true(golden.data_begin <= golden.size_bytes);
    golden.bytes[golden.data_begin - 1] = '\0'; /* a space of the padding, or the last brace */
    return golden;
}

static const char *after(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    if (found == NULL)
        fail_msg("no %s in a golden header", key);
    return found + strlen(key);
}

struct golden_tensor golden_tensor(const struct golden *golden, const char *name)
{
    char key[64];
    struct golden_tensor tensor = {.rows = 1, .columns = 1};
    snprintf(key, sizeof key, "\"%s\":{\"dtype\":\"", name);
    const char *text = after(golden->bytes + 8, key);
    size_t length = strcspn(text, "\"");
    assert_true(length < sizeof tensor.dtype);
    memcpy(tensor.dtype, text, length);
    text = after(text, "\"shape\":[");
    for (char *end;; text = end + 1) {
        tensor.rows *= tensor.columns;
        tensor.columns = strtoul(text, &end, 10);
        if (*end != ',')
            break;
    }
    char *end;
    size_t begin = strtoul(after(text, "\"data_offsets\":["), &end, 10);
    tensor.size_bytes = strtoul(end + 1, NULL, 10) - begin;
    assert_true(golden->data_begin + begin + tensor.size_bytes <= golden->size_bytes);
    tensor.bytes = golden->bytes + golden->data_begin + begin;
    return tensor;
}

void golden_close(struct golden *golden)
{
    free(golden->bytes);
    golden->bytes = NULL;
}
