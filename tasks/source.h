/* source.h - what the kinds of sources share whose files are somewhere else.
 *
 * A source is listed without asking anybody whenever the lock or the manifest says what its files
 * are. Each file becomes a node of task "fetch"; its parameters say how to get it and are no part
 * of its key. */
#ifndef PSYBUILD_TASKS_SOURCE_H
#define PSYBUILD_TASKS_SOURCE_H

#include "engine/task.h"

enum { SOURCE_PARAMETERS_MAX = 6 };

/* An object built member by member, placed where its source is declared. */
struct source_parameters {
    struct json object;
    struct json_member members[SOURCE_PARAMETERS_MAX];
};

/* With what is the same for all files: whether to stay offline, and the rate of one connection.
 * NULL when out of memory. */
struct source_parameters *source_parameters_new(
    const struct source_context *context, const struct json *declaration);
void source_add_string(struct source_parameters *parameters, const char *key, const char *string);
MUST_CHECK struct error *source_add_number(
    struct arena *arena, struct source_parameters *parameters, const char *key, uint64_t number);
void source_add_flag(struct source_parameters *parameters, const char *key, bool value);

/* The words of "keep" and what help says of them. */
extern const char *const source_keep_words[];
#define SOURCE_KEEP_HELP                                                                           \
    "default: always; until-used gives a file back when all that read it is made"

#endif
