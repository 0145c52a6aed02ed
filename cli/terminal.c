/* terminal.c - checked text to stdio streams. */
#include "cli/terminal.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { WIDTH_DEFAULT = 80, WIDTH_MIN = 20 };

static const char *const tone_codes[] = {[TONE_PLAIN] = "",
    [TONE_BOLD] = "\033[1m",
    [TONE_DIM] = "\033[2m",
    [TONE_GOOD] = "\033[32m",
    [TONE_WARN] = "\033[35m",
    [TONE_BAD] = "\033[1;31m"};
static const char tone_end[] = "\033[0m";

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

void terminal_open(struct terminal *terminal, enum color color)
{
    const char *type = getenv("TERM");
    bool is_dumb = type == NULL || strcmp(type, "dumb") == 0;
    bool may_color = !is_dumb && !is_set("NO_COLOR");
    *terminal = (struct terminal){.out = stdout, .err = stderr};
    terminal->is_terminal = !is_dumb && isatty(STDOUT_FILENO) != 0;
    terminal->has_color =
        color == COLOR_ALWAYS || (color == COLOR_AUTO && may_color && terminal->is_terminal);
    terminal->has_error_color =
        color == COLOR_ALWAYS || (color == COLOR_AUTO && may_color && isatty(STDERR_FILENO) != 0);
}

unsigned terminal_width(const struct terminal *terminal)
{
    struct winsize size = {0};
    unsigned width = WIDTH_DEFAULT;
    if (ioctl(fileno(terminal->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        width = size.ws_col;
    return width < WIDTH_MIN ? WIDTH_MIN : width;
}

/* ---- clean text ---- */

/* A character of one column that needs no look. */
static bool is_plain(char c)
{
    return c >= 0x20 && c < 0x7F;
}

struct error *terminal_clean(
    struct arena *arena, struct text text, bool keeps_lines, struct text *out)
{
    char *clean = arena_array(arena, text.length + 1, 4); /* "\xNN" for each byte */
    size_t used = 0, length;
    TRY(memory_check(clean));
    for (size_t i = 0; i < text.length; i += length) {
        length = 1;
        if (is_plain(text.bytes[i]) || (keeps_lines && text.bytes[i] == '\n')) {
            clean[used++] = text.bytes[i];
            continue;
        }
        uint32_t code_point;
        struct text rest = {text.bytes + i, text.length - i};
        size_t decoded = text_decode(rest, &code_point);
        if (decoded > 0)
            length = decoded;
        const char *shown = text_printable(arena, (struct text){rest.bytes, length});
        TRY(memory_check(shown));
        memcpy(clean + used, shown, strlen(shown));
        used += strlen(shown);
    }
    *out = (struct text){clean, used};
    return NULL;
}

size_t terminal_cut(struct text text, unsigned columns)
{
    size_t at = 0;
    for (unsigned used = 0; at < text.length && used < columns; used++) {
        at++;
        while (at < text.length && ((unsigned char)text.bytes[at] & 0xC0) == 0x80)
            at++;
    }
    return at;
}

/* ---- printing ---- */

static void put_bytes(FILE *stream, const char *bytes, size_t length)
{
    fwrite(bytes, 1, length, stream); /* the stream keeps in mind that it failed */
}

static void put_string(FILE *stream, const char *string)
{
    put_bytes(stream, string, strlen(string));
}

void terminal_wipe(struct terminal *terminal)
{
    if (!terminal->is_drawn)
        return;
    put_string(terminal->out, "\r\033[K");
    terminal->is_drawn = false;
    fflush(terminal->out);
}

/* Checked text in its tone; without memory nothing of it is said. */
static void put_clean(
    struct terminal *terminal, FILE *stream, enum tone tone, struct text text, bool keeps_lines)
{
    struct arena arena = {0};
    struct text clean;
    bool has_color = stream == terminal->err ? terminal->has_error_color : terminal->has_color;
    struct error *error = terminal_clean(&arena, text, keeps_lines, &clean);
    if (error == NULL) {
        bool is_colored = has_color && tone != TONE_PLAIN && clean.length > 0;
        put_string(stream, is_colored ? tone_codes[tone] : "");
        put_bytes(stream, clean.bytes, clean.length);
        put_string(stream, is_colored ? tone_end : "");
    }
    error_free(error);
    arena_end(&arena);
}

static void put_list(struct terminal *terminal, FILE *stream, enum tone tone, const char *format,
    va_list list) PRINTF_LIKE(4, 0);
static void put_list(
    struct terminal *terminal, FILE *stream, enum tone tone, const char *format, va_list list)
{
    struct arena arena = {0};
    terminal_wipe(terminal);
    char *text = arena_format_list(&arena, format, list);
    if (text != NULL)
        put_clean(terminal, stream, tone, text_of(text), false);
    arena_end(&arena);
}

void terminal_put(struct terminal *terminal, enum tone tone, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put_list(terminal, terminal->out, tone, format, list);
    va_end(list);
}

void terminal_say(struct terminal *terminal, enum tone tone, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put_list(terminal, terminal->out, tone, format, list);
    va_end(list);
    put_string(terminal->out, "\n");
}

void terminal_put_text(struct terminal *terminal, struct text text)
{
    terminal_wipe(terminal);
    put_clean(terminal, terminal->out, TONE_PLAIN, text, true);
}

static void begin_error(struct terminal *terminal, enum tone tone, const char *word)
{
    terminal_wipe(terminal);
    fflush(terminal->out); /* both streams in the order of events */
    put_string(terminal->err, "psybuild: ");
    put_clean(terminal, terminal->err, tone, text_of(word), false);
}

void terminal_note(struct terminal *terminal, const char *format, ...)
{
    begin_error(terminal, TONE_PLAIN, "");
    va_list list;
    va_start(list, format);
    put_list(terminal, terminal->err, TONE_PLAIN, format, list);
    va_end(list);
    put_string(terminal->err, "\n");
}

void terminal_warn(struct terminal *terminal, const char *format, ...)
{
    begin_error(terminal, TONE_WARN, "warning: ");
    va_list list;
    va_start(list, format);
    put_list(terminal, terminal->err, TONE_PLAIN, format, list);
    va_end(list);
    put_string(terminal->err, "\n");
}

void terminal_report(struct terminal *terminal, const struct error *error)
{
    begin_error(terminal, TONE_BAD, "error: ");
    put_clean(terminal, terminal->err, TONE_PLAIN, text_of(error_report(error)), true);
}

void terminal_draw(struct terminal *terminal, const char *line)
{
    struct arena arena = {0};
    struct text clean;
    struct error *error = terminal_clean(&arena, text_of(line), false, &clean);
    if (error == NULL) {
        put_string(terminal->out, "\r");
        put_bytes(terminal->out, clean.bytes, terminal_cut(clean, terminal_width(terminal) - 1));
        put_string(terminal->out, "\033[K");
        terminal->is_drawn = true;
        fflush(terminal->out);
    }
    error_free(error);
    arena_end(&arena);
}

struct error *terminal_finish(struct terminal *terminal)
{
    terminal_wipe(terminal);
    if (fflush(terminal->out) == 0 && !ferror(terminal->out))
        return NULL;
    return error_new(ERROR_IO, "standard output: not everything could be written");
}

bool terminal_has_no_reader(const struct terminal *terminal)
{
    struct pollfd end = {.fd = fileno(terminal->out)};
    return poll(&end, 1, 0) == 1 && (end.revents & POLLERR) != 0;
}
