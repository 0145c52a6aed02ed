/* fuzz_safetensors.c - any bytes as a safetensors header: an error or tensors that cover the file.
 *
 *   0         8                        The size of the file is part of the input, so that large
 *   | size    | header's JSON ... |    tensors need no data behind them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/wire.h"
#include "tasks/formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void check_error(struct error *error)
{
    must(error_kind_of(error) == ERROR_FORMAT);
    must(strstr(error_text(error), "\n") == NULL);
    error_free(error);
}

static void check_segments(struct arena *arena, const struct safetensors *file)
{
    struct span_run *runs = NULL;
    size_t count = 0;
    uint64_t end = 0;
    struct error *error = safetensors_segments(file, arena, &count, &runs);
    if (error != NULL) {
        check_error(error);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        must(runs[i].offset == end && runs[i].size_bytes > 0);
        uint64_t spans = span_run_count(&runs[i]);
        must(spans > 0 && spans <= SAFETENSORS_SEGMENTS_MAX);
        for (uint64_t k = 0; k < spans && k < 1000; k++) {
            struct span span = span_run_at(&runs[i], k), last = span_run_at(&runs[i], spans - 1);
            must(span.size_bytes > 0 && span_run_find(&runs[i], span.offset) == k);
            must(k > 0 || span.offset == end);
            must(last.offset + last.size_bytes == end + runs[i].size_bytes);
        }
        end += runs[i].size_bytes;
    }
    must(end == file->file_size);
}

/* What was read is laid out anew, in the order of names, and read again. */
static void check_layout(struct arena *arena, const struct safetensors *file)
{
    struct tensor *tensors = arena_array(arena, file->count, sizeof *tensors);
    for (size_t i = 0; i < file->count; i++)
        tensors[i] = *file->tensors_by_name[i];
    struct text header = TEXT_EMPTY;
    struct error *error = safetensors_layout(
        arena, "again", tensors, file->count, file->metadata, file->metadata_count, &header);
    if (error != NULL) {
        check_error(error);
        return;
    }
    must(header.length % SAFETENSORS_ALIGNMENT == 0);
    struct safetensors *again = NULL;
    struct text json = {header.bytes + 8, header.length - 8};
    uint64_t data_bytes = file->file_size - file->data_start;
    must(safetensors_parse(arena, "again", json, header.length + data_bytes, &again) == NULL);
    must(again->count == file->count && again->metadata_count == file->metadata_count);
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *tensor = safetensors_find(again, tensors[i].name);
        must(tensor != NULL && tensor->offset == tensors[i].offset);
        must(tensor->size_bytes == tensors[i].size_bytes);
        must(tensor->dtype == tensors[i].dtype && tensor->rank == tensors[i].rank);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 8)
        return 0;
    uint64_t file_size = load_le64(bytes), header_bytes = 0;
    struct error *error = safetensors_header_size(bytes, size, "fuzz", &header_bytes);
    if (error == NULL)
        must(header_bytes <= size - 8);
    else
        check_error(error);
    if (file_size < size)
        return 0;
    struct arena arena = {0};
    struct safetensors *file = NULL;
    struct text json = {(const char *)bytes + 8, size - 8};
    error = safetensors_parse(&arena, "fuzz", json, file_size, &file);
    if (error != NULL) {
        check_error(error);
    } else {
        check_segments(&arena, file);
        check_layout(&arena, file);
    }
    arena_end(&arena);
    return 0;
}
