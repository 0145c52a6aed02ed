/* registry.h - every task type, source kind and segmenter that this program has.
 *
 * Adding a task is one file that exports its `task_...`, one line here and one in registry.c. */
#ifndef PSYBUILD_TASKS_REGISTRY_H
#define PSYBUILD_TASKS_REGISTRY_H

#include "engine/task.h"

extern const struct task_type task_card;
extern const struct task_type task_chat_template;
extern const struct task_type task_config;
extern const struct task_type task_copy;
extern const struct task_type task_exec;
extern const struct task_type task_fetch;
extern const struct task_type task_index;
extern const struct task_type task_merge;
extern const struct task_type task_quantize;
extern const struct task_type task_tokenizer;

extern const struct source_kind source_files;
extern const struct source_kind source_hub;

extern const struct registry registry;

#endif
