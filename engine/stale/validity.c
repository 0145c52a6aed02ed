/* validity.c - options first, as they are; then what is watched: paths with stamps, variables. */
#include "engine/stale/validity.h"

#include <stdlib.h>
#include <string.h>

void validity_write(
    struct buffer *writer, const struct validity *validity, const struct graph *graph)
{
    wire_put_name(writer, validity->manifest);
    wire_put_name(writer, validity->data_directory);
    wire_put_u32(writer, (uint32_t)validity->setting_count);
    for (size_t i = 0; i < validity->setting_count; i++) {
        wire_put_name(writer, validity->settings[i].name);
        wire_put_name(writer, validity->settings[i].value);
    }
    for (const struct task_type *const *type = validity->registry->types; *type != NULL; type++) {
        wire_put_name(writer, (*type)->name);
        wire_put_u32(writer, (*type)->version);
    }
    wire_put_u32(writer, UINT32_MAX); /* ends the options; the watches follow */
    if (graph == NULL)
        return;
    wire_put_u32(writer, graph->watch_count);
    for (uint32_t i = 0; i < graph->watch_count; i++) {
        wire_put_name(writer, graph->watches[i].path);
        wire_put_stamp(writer, &graph->watches[i].stamp);
    }
    wire_put_u32(writer, graph->environment_count);
    for (uint32_t i = 0; i < graph->environment_count; i++) {
        wire_put_name(writer, graph->environment[i].name);
        wire_put_u8(writer, graph->environment[i].value != NULL);
        wire_put_name(writer, graph->environment[i].value);
    }
}

static struct error *check_watches(struct text bytes, size_t begin, bool *out)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)bytes.bytes, .length = bytes.length, .position = begin};
    uint32_t count = wire_get_count(&reader, 5 + 32);
    for (uint32_t i = 0; i < count; i++) {
        const char *path = wire_get_name(&reader);
        struct file_stamp stamp = wire_get_stamp(&reader), now;
        enum file_kind kind;
        if (!wire_reader_good(&reader))
            return NULL;
        TRY(file_stat(path, &kind, &now));
        if (!file_stamp_equal(&stamp, &now))
            return NULL;
    }
    count = wire_get_count(&reader, 5 + 1 + 5);
    for (uint32_t i = 0; i < count; i++) {
        const char *now = getenv(wire_get_name(&reader));
        bool was_set = wire_get_u8(&reader) != 0;
        const char *was = wire_get_name(&reader);
        if (was_set != (now != NULL) || (now != NULL && strcmp(was, now) != 0))
            return NULL;
    }
    *out = wire_reader_done(&reader);
    return NULL;
}

struct error *validity_is_current(const struct validity *validity, struct text recorded, bool *out)
{
    struct buffer wanted = {0};
    *out = false;
    validity_write(&wanted, validity, NULL);
    struct error *error = buffer_check(&wanted);
    if (error == NULL && recorded.length > wanted.count &&
        memcmp(recorded.bytes, wanted.bytes, wanted.count) == 0)
        error = check_watches(recorded, wanted.count, out);
    buffer_end(&wanted);
    return error;
}
