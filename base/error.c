/* error.c - errors keep their parts and their two renderings in one small arena of their own. */
#include "base/error.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/arena.h"
#include "base/text.h"

enum { EXCERPT_BYTES_MAX = 160 };

struct error {
    enum error_kind kind;
    struct arena arena;  /* holds this struct's texts */
    const char *text;    /* the first line */
    const char *excerpt; /* "    line\n    ^\n" or "" */
    const char *whiles;  /* "    while ...\n" for each layer */
    const char *report;  /* all of it */
};

static struct error out_of_memory = {.kind = ERROR_MEMORY,
    .text = "out of memory",
    .excerpt = "",
    .whiles = "",
    .report = "out of memory\n"};

struct error *error_memory(void)
{
    return &out_of_memory;
}

static struct error *complete(struct error *error)
{
    error->report =
        arena_format(&error->arena, "%s\n%s%s", error->text, error->excerpt, error->whiles);
    if (error->report != NULL)
        return error;
    error_free(error);
    return &out_of_memory;
}

static struct error *new_error(enum error_kind kind)
{
    struct error *error = memory_alloc(sizeof *error);
    if (error != NULL)
        *error = (struct error){.kind = kind, .excerpt = "", .whiles = ""};
    return error;
}

/* What a message names may hold a newline; the message is one line all the same. Other control
 * characters are for who prints it to show. */
PRINTF_LIKE(2, 0)
static char *render_message(struct arena *arena, const char *format, va_list list)
{
    char *message = arena_format_list(arena, format, list);
    for (char *c = message; c != NULL && *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    return message;
}

struct error *error_new(enum error_kind kind, const char *format, ...)
{
    struct error *error = new_error(kind);
    if (error == NULL)
        return &out_of_memory;
    va_list list;
    va_start(list, format);
    error->text = render_message(&error->arena, format, list);
    va_end(list);
    if (error->text == NULL) {
        error_free(error);
        return &out_of_memory;
    }
    return complete(error);
}

/* The line around `offset`, cut to EXCERPT_BYTES_MAX around the caret, control characters blanked.
 */
static const char *render_excerpt(
    struct arena *arena, const char *text, size_t begin, size_t end, size_t offset)
{
    if (offset - begin > EXCERPT_BYTES_MAX / 2 && end - begin > EXCERPT_BYTES_MAX)
        begin = offset - EXCERPT_BYTES_MAX / 2;
    while (begin < offset && ((unsigned char)text[begin] & 0xC0) == 0x80)
        begin++; /* not in the middle of a character */
    while (begin < offset && (text[begin] == ' ' || text[begin] == '\t'))
        begin++;
    if (end - begin > EXCERPT_BYTES_MAX)
        end = begin + EXCERPT_BYTES_MAX;
    char *line = arena_copy(arena, text + begin, end - begin);
    char *caret = arena_alloc(arena, offset - begin + 1);
    if (line == NULL || caret == NULL)
        return NULL;
    for (char *c = line; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7F)
            *c = ' ';
    size_t width = 0;
    for (size_t i = begin; i < offset; i++)
        if (((unsigned char)text[i] & 0xC0) != 0x80)
            caret[width++] = ' ';
    return arena_format(arena, "    %s\n    %s^\n", line, caret);
}

struct error *error_new_at(enum error_kind kind, const char *name, const char *text,
    size_t text_length, size_t offset, const char *format, ...)
{
    struct error *error = new_error(kind);
    if (error == NULL)
        return &out_of_memory;
    if (offset > text_length)
        offset = text_length;
    size_t line = 1, begin = 0;
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            begin = i + 1;
        }
    }
    size_t end = begin;
    while (end < text_length && text[end] != '\n' && text[end] != '\0')
        end++;
    if (end < offset)
        end = offset;
    va_list list;
    va_start(list, format);
    char *message = render_message(&error->arena, format, list);
    va_end(list);
    if (message != NULL)
        error->text =
            arena_format(&error->arena, "%s:%zu:%zu: %s", name, line, offset - begin + 1, message);
    if (error->text != NULL && end > begin)
        error->excerpt = render_excerpt(&error->arena, text, begin, end, offset);
    if (error->text == NULL || error->excerpt == NULL) {
        error_free(error);
        return &out_of_memory;
    }
    return complete(error);
}

struct error *error_new_errno(int code, const char *path, const char *doing)
{
    enum error_kind kind = code == ENOENT || code == ENOTDIR ? ERROR_MISSING
                           : code == ENOMEM                  ? ERROR_MEMORY
                                                             : ERROR_IO;
    return error_new(kind, "%s: cannot %s: %s", path, doing, strerror(code));
}

struct error *error_wrap(struct error *cause, const char *format, ...)
{
    if (cause == NULL || cause == &out_of_memory)
        return cause;
    va_list list;
    va_start(list, format);
    char *message = render_message(&cause->arena, format, list);
    va_end(list);
    const char *whiles =
        message == NULL ? NULL
                        : arena_format(&cause->arena, "%s    while %s\n", cause->whiles, message);
    if (whiles == NULL)
        return cause; /* the cause alone says more than "out of memory" */
    cause->whiles = whiles;
    return complete(cause);
}

struct error *error_hide(struct error *error, const char *secret)
{
    if (error == NULL || error == &out_of_memory || secret == NULL ||
        !text_contains(text_of(error->report), secret))
        return error;
    const char **const parts[] = {&error->text, &error->excerpt, &error->whiles};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        *parts[i] = text_hide(&error->arena, text_of(*parts[i]), secret);
        if (*parts[i] == NULL) {
            error_free(error);
            return &out_of_memory;
        }
    }
    return complete(error);
}

enum error_kind error_kind_of(const struct error *error)
{
    return error->kind;
}

const char *error_text(const struct error *error)
{
    return error->text;
}

const char *error_report(const struct error *error)
{
    return error->report;
}

void error_free(struct error *error)
{
    if (error == NULL || error == &out_of_memory)
        return;
    arena_end(&error->arena);
    memory_free(error);
}

struct error *error_forgive(struct error *error, enum error_kind kind)
{
    if (error == NULL || error_kind_of(error) != kind)
        return error;
    error_free(error);
    return NULL;
}
