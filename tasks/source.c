/* source.c - parameters of a file's node, made by hand instead of parsed. */
#include "tasks/source.h"

#include <assert.h>

const char *const source_keep_words[] = {"always", "until-used", NULL};

static void add_value(struct source_parameters *parameters, const char *key, struct json value)
{
    assert(parameters->object.count < SOURCE_PARAMETERS_MAX);
    value.document = parameters->object.document;
    value.offset = parameters->object.offset;
    parameters->members[parameters->object.count++] =
        (struct json_member){.key = text_of(key), .value = value};
}

void source_add_string(struct source_parameters *parameters, const char *key, const char *string)
{
    add_value(parameters, key, (struct json){.kind = JSON_STRING, .text = text_of(string)});
}

struct error *source_add_number(
    struct arena *arena, struct source_parameters *parameters, const char *key, uint64_t number)
{
    const char *digits = arena_format(arena, "%llu", (unsigned long long)number);
    TRY(memory_check(digits));
    add_value(parameters, key,
        (struct json){.kind = JSON_NUMBER,
            .is_integer = true,
            .number = (double)number,
            .text = text_of(digits)});
    return NULL;
}

void source_add_flag(struct source_parameters *parameters, const char *key, bool value)
{
    add_value(parameters, key, (struct json){.kind = JSON_BOOL, .boolean = value});
}

struct source_parameters *source_parameters_new(
    const struct source_context *context, const struct json *declaration)
{
    struct source_parameters *parameters = arena_alloc(context->arena, sizeof *parameters);
    uint64_t share = context->connections > 1 ? context->connections : 1;
    uint64_t rate_bytes = context->rate_bytes / share;
    if (parameters == NULL)
        return NULL;
    parameters->object = (struct json){.kind = JSON_OBJECT,
        .document = declaration->document,
        .offset = declaration->offset,
        .members = parameters->members};
    if (context->is_offline)
        source_add_flag(parameters, "offline", true);
    if (context->rate_bytes == 0)
        return parameters;
    struct error *error =
        source_add_number(context->arena, parameters, "rate", rate_bytes > 0 ? rate_bytes : 1);
    error_free(error);
    return error == NULL ? parameters : NULL;
}
