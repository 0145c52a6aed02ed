/* terminal.h - where the program prints: two streams, colours, and one line that is redrawn.
 *
 * All that is said comes from manifests, model files, servers or the file system: whatever is
 * printed here has its control characters and invalid UTF-8 shown as \xNN, so no name can move the
 * cursor. Lines go to `out`, warnings and errors to `err`; a drawn status line is wiped before
 * either. */
#ifndef PSYBUILD_CLI_TERMINAL_H
#define PSYBUILD_CLI_TERMINAL_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "cli/options.h"

struct terminal {
    FILE *out, *err;
    bool is_terminal; /* out can redraw a line */
    bool has_color, has_error_color;
    bool is_drawn; /* the cursor stands behind a status line */
};

enum tone { TONE_PLAIN, TONE_BOLD, TONE_DIM, TONE_GOOD, TONE_WARN, TONE_BAD };

void terminal_open(struct terminal *terminal, enum color color);
unsigned terminal_width(const struct terminal *terminal); /* in columns; at least 20 */

/* Text without a line end; `tone` colours all of it. */
void terminal_put(struct terminal *terminal, enum tone tone, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* A whole line. */
void terminal_say(struct terminal *terminal, enum tone tone, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Text that may have several lines and is our own but for its names: as it is, checked. */
void terminal_put_text(struct terminal *terminal, struct text text);

/* "psybuild: ..." on err: neither a warning nor an error. */
void terminal_note(struct terminal *terminal, const char *format, ...) PRINTF_LIKE(2, 3);
/* "psybuild: warning: ..." */
void terminal_warn(struct terminal *terminal, const char *format, ...) PRINTF_LIKE(2, 3);
/* "psybuild: error: ", then all of the report. */
void terminal_report(struct terminal *terminal, const struct error *error);

/* Redraws the status line, cut to the terminal's width. */
void terminal_draw(struct terminal *terminal, const char *line);
void terminal_wipe(struct terminal *terminal);

/* Everything written reached its stream. */
MUST_CHECK struct error *terminal_finish(struct terminal *terminal);
/* Who was at the other end of the pipe has gone: "| head" has seen enough. */
bool terminal_has_no_reader(const struct terminal *terminal);

/* A copy with control characters and invalid UTF-8 as \xNN; newlines stay if `keeps_lines`. */
MUST_CHECK struct error *terminal_clean(
    struct arena *arena, struct text text, bool keeps_lines, struct text *out);
/* The bytes of the longest beginning of clean text that takes at most `columns`. */
size_t terminal_cut(struct text text, unsigned columns);

#endif
