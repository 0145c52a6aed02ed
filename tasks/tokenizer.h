/* tokenizer.h - the tokenizer files of a model directory (docs/formats.md, "Tokenizer").
 *
 * What the reference does by loading and saving is done here to the texts: loading the result
 * gives the same tokenizer. tokenizer.json may be tens of megabytes and is only ever scanned. */
#ifndef PSYBUILD_TASKS_TOKENIZER_H
#define PSYBUILD_TASKS_TOKENIZER_H

#include <stdbool.h>

#include "base/json.h"

enum { TOKENIZER_BYTES_MAX = 256 << 20 };

/* tokenizer.json with the entries of `decoder` ("added_tokens_decoder" of tokenizer_config.json;
 * NULL: none) in its "added_tokens". The text itself when they are there already, and when the
 * decoder lacks a token of the list, or is empty: what such a token means depends on the
 * tokenizer's class, so both stay (`*keeps_decoder`). ERROR_FORMAT when either is malformed. */
MUST_CHECK struct error *tokenizer_merge_added(struct arena *arena, const char *path,
    struct text tokenizer, const struct json *decoder, struct text *out, bool *keeps_decoder);

/* Whether each of `count` tokens is in the vocabulary or among the added tokens. */
MUST_CHECK struct error *tokenizer_find_tokens(const char *path, struct text tokenizer,
    const char *const *tokens, size_t count, bool *is_found);

/* The tool parser that the reference takes from the only template, or NULL. */
const char *tokenizer_parser_of_template(struct text chat_template);

/* ... and from a vocabulary: asks for TOKENIZER_PARSER_TOKENS in the order of the array. */
#define TOKENIZER_PARSER_TOKENS 6
extern const char *const tokenizer_parser_tokens[TOKENIZER_PARSER_TOKENS];
const char *tokenizer_parser_of_tokens(const bool is_found[TOKENIZER_PARSER_TOKENS]);

/* tokenizer_config.json. `config` may be NULL (no such file); `tool_parser` NULL adds none. */
MUST_CHECK struct error *tokenizer_render_config(struct arena *arena, const struct json *config,
    bool keeps_decoder, const char *tool_parser, struct text *out);

#endif
