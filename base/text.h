/* text.h - bytes with a length, and what is done with names and paths.
 *
 * A struct text borrows its bytes; they may hold NUL. Paths in psybuild are `const char *`,
 * relative to the working directory (which is the top manifest's), "/"-separated and normal: no
 * empty, "." or ".." component, no trailing slash. path_normalize makes them so and refuses the
 * rest. */
#ifndef PSYBUILD_BASE_TEXT_H
#define PSYBUILD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

struct text {
    const char *bytes;
    size_t length;
};
#define TEXT_EMPTY ((struct text){"", 0})
#define TEXT_LITERAL(literal) ((struct text){"" literal, sizeof(literal) - 1})

struct text text_of(const char *string);                          /* NULL gives the empty text */
struct text text_cut(struct text text, size_t begin, size_t end); /* bytes [begin, end) of it */
struct text text_from(struct text text, size_t begin);            /* and all behind */
#define TEXT_BLANKS " \t\n\v\f\r"
struct text text_trim(struct text text, const char *blanks); /* without these at both ends */
bool text_equal(struct text a, struct text b);
bool text_is(struct text text, const char *string);
bool text_starts_with(struct text text, const char *prefix);
bool text_ends_with(struct text text, const char *suffix);
bool text_contains(struct text text, const char *needle);
int text_compare(struct text a, struct text b); /* by bytes, shorter first: <0, 0, >0 */
bool text_is_utf8(struct text text);            /* strict: no surrogates, no overlong forms */
/* The first character: its length in bytes and its code point; 0 when empty or not UTF-8. */
size_t text_decode(struct text text, uint32_t *code_point);
size_t text_encode(uint32_t code_point, char out[4]); /* how many bytes of UTF-8 it is */
/* Half of a pair in three bytes, as Python's "surrogatepass" has it: 3, or 0 if there is none. */
size_t text_decode_surrogate(struct text text, uint32_t *code_point);

/* Of ASCII alone, and of any int: end of text may be -1. */
bool char_is_digit(int c);
bool char_is_letter(int c);
bool char_is_word(int c);                          /* a letter, a digit or "_" */
bool char_is_blank(int c);                         /* one of TEXT_BLANKS */
int char_hex_value(int c);                         /* of a digit in any case; -1 when it is none */
bool text_is_hex(struct text text, size_t length); /* lower-case digits of exactly this count */
/* Two lower-case digits for each byte, and a NUL. Returns `out`. */
const char *text_write_hex(char *out, const void *bytes, size_t length);

/* The decimal number at the beginning: how many digits it has; 0 when there is none, or one past 64
 * bits. */
size_t text_read_u64(struct text text, uint64_t *out);
bool text_to_u64(struct text text, uint64_t *out); /* the whole text is such a number */

/* The bytes with control characters (DEL, C1 and those that turn the writing direction included)
 * and invalid UTF-8 as \xNN, cut after 200 bytes with "...": safe to print, whoever sent them. NULL
 * when out of memory. */
char *text_printable(struct arena *arena, struct text text);

/* A copy in which asterisks stand for each `secret`; NULL or "" hides nothing. Before anything is
 * cut, so that no beginning of it is left. NULL when out of memory. */
char *text_hide(struct arena *arena, struct text text, const char *secret);

/* The nearest of `count` words within a third of its length (edit distance), or NULL: "did you
 * mean". */
const char *text_suggest(const char *word, const char *const *words, size_t count);

bool path_is_normal(const char *path);
/* Joins `base` (normal, "" for the top) and `path`, removes "." and resolves ".." by text; the top
 * itself is "". NULL in `*out` when the result would leave the top, or `path` is absolute. False
 * when out of memory. */
bool path_normalize(struct arena *arena, const char *base, const char *path, char **out);
const char *path_base(const char *path);                     /* after the last slash */
char *path_directory(struct arena *arena, const char *path); /* before it; "" for a bare name */
char *path_join(
    struct arena *arena, const char *directory, const char *name); /* "" + name = name */
bool path_is_below(const char *path, const char *directory); /* strictly; "" holds everything */

/* Manifest globs: `*` any run and `?` any one character, neither of them "/"; all else literal. */
bool glob_is_pattern(const char *pattern);
bool glob_match(const char *pattern, const char *path);

/* "1.5 GB", "312 kB", "17 B": powers of 1000 with two to three digits, for people. */
#define SIZE_TEXT_MAX 32
const char *size_print(char buffer[SIZE_TEXT_MAX], uint64_t size_bytes);
/* "4096", "32M", "5GiB", "20 GB": powers of 1024 (manual, "Sizes"). False when malformed or over
 * 2^53. */
bool size_parse(struct text text, uint64_t *out);

#endif
