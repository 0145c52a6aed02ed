/* tool_table.h - every tool; adding one is one file, one line here and one in tools.c. */
#ifndef PSYBUILD_CLI_TOOL_TABLE_H
#define PSYBUILD_CLI_TOOL_TABLE_H

#include "cli/tools.h"

extern const struct tool tool_clean;
extern const struct tool tool_convert;
extern const struct tool tool_expand;
extern const struct tool tool_explain;
extern const struct tool tool_graph;
extern const struct tool tool_init;
extern const struct tool tool_inspect;
extern const struct tool tool_list;
extern const struct tool tool_lock;
extern const struct tool tool_schema;
extern const struct tool tool_verify;

#endif
