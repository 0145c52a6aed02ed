/* chat_template.h - the chat templates of a checkpoint, wherever it keeps them.
 *
 * Strongest first: the user's own file; the .jinja files, if there is any; "chat_template" of
 * tokenizer_config.json. chat_template.json is a processor's file and counts for nothing. */
#ifndef PSYBUILD_TASKS_CHAT_TEMPLATE_H
#define PSYBUILD_TASKS_CHAT_TEMPLATE_H

#include <stdbool.h>

#include "base/json.h"
#include "engine/task.h"

enum { CHAT_TEMPLATE_BYTES_MAX = 4 << 20, CHAT_TEMPLATES_MAX = 256 };

struct chat_template {
    const char *name; /* "default": chat_template.jinja; others lie in additional_chat_templates/ */
    struct text text; /* what is written: the file's bytes */
    struct text read; /* what Python reads: in a file "\r\n" and "\r" are "\n" */
};

struct chat_templates {
    struct chat_template *items;
    size_t count;
    bool is_set; /* a named set: the reference looks for no tool calls in its templates */
};

/* From the value of "chat_template" in tokenizer_config.json (NULL: absent): a string, a list of
 * {"name", "template"}, or an object. ERROR_FORMAT for anything else, and for a name that could not
 * be a file's. */
MUST_CHECK struct error *chat_templates_from_config(
    struct arena *arena, const struct json *value, struct chat_templates *out);

/* Whether `name` can be the name of a file beside others: not empty, no slash, no control
 * characters, no leading dot, at most 100 bytes. */
bool chat_template_name_is_safe(struct text name);

/* The default template when the set is one template and no more: where tool calls are looked for.
 */
const struct chat_template *chat_templates_single(const struct chat_templates *templates);

/* From a node's roles "template", "chat_template", "additional_chat_templates", "config", which
 * chat-template and tokenizer share. */
MUST_CHECK struct error *chat_templates_read(struct plan *plan, struct chat_templates *out);

#define CHAT_TEMPLATE_ROLES                                                                        \
    {.name = "template", .help = "the user's own template, in place of all others"},               \
        {.name = "chat_template", .help = "the checkpoint's chat_template.jinja"},                 \
    {                                                                                              \
        .name = "additional_chat_templates", .is_many = true,                                      \
        .help = "the checkpoint's additional_chat_templates/*.jinja"                               \
    }

#endif
