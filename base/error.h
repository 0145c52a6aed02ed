/* error.h - what went wrong, where, and while doing what.
 *
 * Whatever can fail returns `struct error *`: NULL is success. The caller owns the error and wraps,
 * reports or frees it. An error is born once, with what was expected before what was found; each
 * layer that knows more wraps it. Only cli/ prints one. */
#ifndef PSYBUILD_BASE_ERROR_H
#define PSYBUILD_BASE_ERROR_H

#include <stdarg.h>
#include <stddef.h>

#if defined(__GNUC__)
#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#else
#define MUST_CHECK
#define PRINTF_LIKE(text, first)
#endif

/* Returns an error at once; only in functions that hold nothing. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        struct error *try_error = (call);                                                          \
        if (try_error != NULL)                                                                     \
            return try_error;                                                                      \
    } while (0)

enum error_kind {
    ERROR_MEMORY,      /* out of memory */
    ERROR_USAGE,       /* wrong command line, manifest, lock or recipe: the user's text */
    ERROR_FORMAT,      /* foreign bytes that are not what they must be */
    ERROR_IO,          /* the operating system said no */
    ERROR_MISSING,     /* a file that must be there is not */
    ERROR_NETWORK,     /* a hub or server said no, or nothing */
    ERROR_DAMAGE,      /* content that does not have the hash it must have */
    ERROR_FAILED,      /* a task ran and failed (a command's exit status, a non-finite weight) */
    ERROR_BUSY,        /* another build holds the lock */
    ERROR_INTERRUPTED, /* cancelled by a signal */
};

struct error;

/* One line, no full stop; a newline becomes a space. Never NULL: without memory it is the static
 * ERROR_MEMORY. */
struct error *error_new(enum error_kind kind, const char *format, ...) PRINTF_LIKE(2, 3);

/* An error at byte `offset` of a text: its message starts with `name:line:column: ` and it carries
 * the line as excerpt with a caret below. An offset past the end means the end. `text` need not
 * outlive the call. A column counts bytes from 1; a tab counts as one. */
struct error *error_new_at(enum error_kind kind, const char *name, const char *text,
    size_t text_length, size_t offset, const char *format, ...) PRINTF_LIKE(6, 7);

/* "PATH: cannot DOING: strerror(code)"; ENOENT is of kind ERROR_MISSING, ENOMEM of ERROR_MEMORY,
 * all else ERROR_IO. `code` is errno, read in the line after the call. */
struct error *error_new_errno(int code, const char *path, const char *doing);

/* The one error that needs no memory. */
struct error *error_memory(void);

/* Adds "    while ..." below the cause and returns it; takes over the cause. */
struct error *error_wrap(struct error *cause, const char *format, ...) PRINTF_LIKE(2, 3);

/* Puts asterisks for each `secret`, NULL for none, in all that the error says; takes it over. */
struct error *error_hide(struct error *error, const char *secret);

enum error_kind error_kind_of(const struct error *error);

/* The first line: place and message. Lives as long as the error. */
const char *error_text(const struct error *error);

/* Everything: first line, excerpt and caret, a "    while ..." line for each layer; ends with a
 * newline. Lives as long as the error. */
const char *error_report(const struct error *error);

void error_free(struct error *error); /* NULL is fine */
/* NULL for one of that kind, which is freed; any other is given back. */
MUST_CHECK struct error *error_forgive(struct error *error, enum error_kind kind);

#endif
