/* fuzz_corpus.c - the main program of a fuzzer where the compiler brings none: it gives it each
 * file of its corpus once, so that `ninja test` holds what was ever found in every variant. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { INPUT_BYTES_MAX = 16 << 20 };

static void must(struct error *error)
{
    if (error == NULL)
        return;
    fprintf(stderr, "%s", error_report(error));
    exit(1);
}

/* An allocation of just its size: sanitizers see the first byte that is read too far. */
static void give(struct text input)
{
    uint8_t *bytes = malloc(input.length + (input.length == 0));
    if (bytes == NULL)
        must(error_memory());
    memcpy(bytes, input.bytes, input.length);
    LLVMFuzzerTestOneInput(bytes, input.length);
    free(bytes);
}

/* All are read before the first is given: a fuzzer may change the directory. */
int main(int argument_count, char **arguments)
{
    struct arena arena = {0};
    struct file_entry *entries;
    size_t count;
    const char *source = getenv("PSYBUILD_SOURCE"), *name = strstr(arguments[0], "fuzz_");
    if (argument_count != 1 || name == NULL)
        return 2;
    const char *directory = arena_format(
        &arena, "%s/tests/fuzz/corpus/%s", source == NULL ? "." : source, name + strlen("fuzz_"));
    must(memory_check(directory));
    must(file_list_directory(&arena, directory, &entries, &count));
    struct text *inputs = arena_array(&arena, count, sizeof *inputs);
    must(memory_check(inputs));
    for (size_t i = 0; i < count; i++) {
        const char *path = arena_format(&arena, "%s/%s", directory, entries[i].name);
        must(memory_check(path));
        must(file_read_whole(&arena, path, INPUT_BYTES_MAX, &inputs[i]));
    }
    for (size_t i = 0; i < count; i++) {
        printf("%s\n", entries[i].name);
        fflush(stdout);
        give(inputs[i]);
    }
    arena_end(&arena);
    printf("%zu passed, 0 failed, 0 skipped\n", count);
    return 0;
}
