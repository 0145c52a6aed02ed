/* tokenizer.c - task "tokenizer": the file that the node's name says of tokenizer.json,
 * tokenizer_config.json, special_tokens_map.json and added_tokens.json (docs/formats.md,
 * "Tokenizer"). One output, one text, or none. */
#include "tasks/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/json_scan.h"
#include "base/json_write.h"
#include "engine/task.h"
#include "tasks/chat_template.h"

enum { SMALL_FILE_BYTES_MAX = 64 << 20 };

/* ---- added tokens ---- */

struct added_token {
    int64_t id;
    struct text content;
    bool single_word, lstrip, rstrip, normalized, special;
};

struct added_tokens {
    struct added_token *items;
    size_t count;
};

static struct error *read_flag(const struct json *token, const char *key, bool fallback, bool *out)
{
    const struct json *value = json_get(token, key);
    if (value != NULL && value->kind != JSON_BOOL)
        return json_error(value, "\"%s\" of an added token must be true or false", key);
    *out = value == NULL ? fallback : value->boolean;
    return NULL;
}

static struct error *read_token(const struct json *value, int64_t id, struct added_token *out)
{
    const struct json *content = json_get(value, "content");
    if (!json_is(content, JSON_STRING))
        return json_error(value, "an added token must be an object with a \"content\"");
    if (!text_is_utf8(content->text))
        return json_error(content, "an added token must be UTF-8, and holds a lone surrogate");
    struct added_token token = {.id = id, .content = content->text};
    TRY(read_flag(value, "single_word", false, &token.single_word));
    TRY(read_flag(value, "lstrip", false, &token.lstrip));
    TRY(read_flag(value, "rstrip", false, &token.rstrip));
    TRY(read_flag(value, "special", false, &token.special));
    TRY(read_flag(value, "normalized", !token.special, &token.normalized));
    *out = token;
    return NULL;
}

static int compare_tokens(const void *a, const void *b)
{
    int64_t left = ((const struct added_token *)a)->id, right = ((const struct added_token *)b)->id;
    return (left > right) - (left < right);
}

static bool tokens_equal(const struct added_token *a, const struct added_token *b)
{
    return a->id == b->id && text_equal(a->content, b->content) &&
           a->single_word == b->single_word && a->lstrip == b->lstrip && a->rstrip == b->rstrip &&
           a->normalized == b->normalized && a->special == b->special;
}

/* "added_tokens" of tokenizer.json: a list with ids in its entries. */
static struct error *read_list(
    struct arena *arena, const struct json *list, struct added_tokens *out)
{
    struct added_tokens tokens = {.items = arena_array(arena, list->count, sizeof *tokens.items)};
    TRY(memory_check(tokens.items));
    for (size_t i = 0; i < list->count; i++) {
        int64_t id;
        if (!json_to_i64(json_get(&list->items[i], "id"), &id) || id < 0)
            return json_error(&list->items[i], "an added token must have an integer \"id\"");
        TRY(read_token(&list->items[i], id, &tokens.items[tokens.count++]));
    }
    qsort(tokens.items, tokens.count, sizeof *tokens.items, compare_tokens);
    *out = tokens;
    return NULL;
}

static bool read_id(struct text text, int64_t *out)
{
    uint64_t id;
    if (!text_to_u64(text, &id) || id > INT64_MAX)
        return false;
    *out = (int64_t)id;
    return true;
}

/* "added_tokens_decoder" of tokenizer_config.json: an object by id. */
static struct error *read_decoder(
    struct arena *arena, const struct json *decoder, struct added_tokens *out)
{
    if (decoder->kind != JSON_OBJECT)
        return json_error(decoder, "\"added_tokens_decoder\" must be an object, not %s",
            json_kind_name(decoder->kind));
    struct added_tokens tokens = {
        .items = arena_array(arena, decoder->count, sizeof *tokens.items)};
    TRY(memory_check(tokens.items));
    for (size_t i = 0; i < decoder->count; i++) {
        const struct json_member *member = &decoder->members[i];
        int64_t id;
        if (!read_id(member->key, &id))
            return json_error_key(
                decoder, member, "a key of \"added_tokens_decoder\" must be a token's number");
        TRY(read_token(&member->value, id, &tokens.items[tokens.count++]));
    }
    qsort(tokens.items, tokens.count, sizeof *tokens.items, compare_tokens);
    *out = tokens;
    return NULL;
}

/* Both by id: whether each token of `base` is in `extra`, too, under its id. */
static bool covers(const struct added_tokens *extra, const struct added_tokens *base)
{
    size_t k = 0;
    for (size_t i = 0; i < base->count; i++) {
        while (k < extra->count && extra->items[k].id < base->items[i].id)
            k++;
        if (k == extra->count || extra->items[k].id != base->items[i].id ||
            !text_equal(extra->items[k].content, base->items[i].content))
            return false;
    }
    return true;
}

/* Both by id. `*is_same`: nothing of `extra` is new. `adds` false: flags alone are taken over, of
 * tokens that `base` has under the same id. */
static struct error *unite(struct arena *arena, const struct added_tokens *base,
    const struct added_tokens *extra, bool adds, struct added_tokens *out, bool *is_same)
{
    struct added_tokens tokens = {
        .items = arena_array(arena, base->count + extra->count, sizeof *tokens.items)};
    TRY(memory_check(tokens.items));
    *is_same = true;
    for (size_t i = 0, k = 0; i < base->count || k < extra->count;) {
        const struct added_token *old = i < base->count ? &base->items[i] : NULL;
        const struct added_token *new = k < extra->count ? &extra->items[k] : NULL;
        if (new == NULL || (old != NULL && old->id < new->id)) {
            tokens.items[tokens.count++] = *old;
            i++;
            continue;
        }
        bool is_listed = old != NULL && old->id == new->id;
        bool takes_new = adds || (is_listed && text_equal(old->content, new->content));
        if (takes_new || is_listed)
            tokens.items[tokens.count++] = takes_new ? *new : *old;
        *is_same &= !takes_new || (is_listed && tokens_equal(old, new));
        i += is_listed;
        k++;
    }
    *out = tokens;
    return NULL;
}

/* The list as the tokenizers library writes it, two levels deep in its file. */
static struct error *write_list(
    struct arena *arena, const struct added_tokens *tokens, struct text *out)
{
    static const struct json_style style = {.indent = 2, .margin = 2};
    struct json_writer *writer = json_writer_new(arena, &style);
    TRY(memory_check(writer));
    json_write_array_begin(writer);
    for (size_t i = 0; i < tokens->count; i++) {
        const struct added_token *token = &tokens->items[i];
        json_write_object_begin(writer);
        json_write_key(writer, TEXT_LITERAL("id"));
        json_write_i64(writer, token->id);
        json_member_text(writer, "content", token->content);
        json_member_bool(writer, "single_word", token->single_word);
        json_member_bool(writer, "lstrip", token->lstrip);
        json_member_bool(writer, "rstrip", token->rstrip);
        json_member_bool(writer, "normalized", token->normalized);
        json_member_bool(writer, "special", token->special);
        json_write_object_end(writer);
    }
    json_write_array_end(writer);
    return json_writer_finish(writer, out);
}

/* ---- tokenizer.json ---- */

static bool key_is(const struct json_scan *scan, const char *name)
{
    return !scan->has_escapes && text_is(scan->raw, name);
}

static struct error *expect(struct json_scan *scan, enum json_token want, const char *what)
{
    enum json_token token = json_scan_next(scan);
    if (token == JSON_TOKEN_ERROR)
        return json_scan_error(scan);
    if (token == want)
        return NULL;
    return error_new_at(ERROR_FORMAT, scan->name, scan->text.bytes, scan->text.length,
        scan->token_begin, "%s", what);
}

/* The span of the value of a top-level key, the last one if there are several; empty without. */
static struct error *find_value(
    const char *path, struct text tokenizer, const char *key, struct text *value)
{
    struct json_scan scan;
    json_scan_begin(&scan, path, tokenizer);
    *value = TEXT_EMPTY;
    TRY(expect(&scan, JSON_TOKEN_OBJECT_BEGIN, "a tokenizer must be an object"));
    for (;;) {
        enum json_token token = json_scan_next(&scan);
        if (token == JSON_TOKEN_OBJECT_END)
            break;
        if (token != JSON_TOKEN_KEY)
            return json_scan_error(&scan);
        bool is_wanted = key_is(&scan, key);
        size_t after_key = scan.position;
        if (!json_scan_skip(&scan))
            return json_scan_error(&scan);
        if (is_wanted)
            *value = text_trim(text_cut(tokenizer, after_key, scan.position), ": \t\r\n");
    }
    return expect(&scan, JSON_TOKEN_END, "expected the end of the tokenizer");
}

static struct error *splice(
    struct arena *arena, struct text whole, struct text old, struct text new, struct text *out)
{
    struct buffer spliced = {.arena = arena};
    size_t before = (size_t)(old.bytes - whole.bytes);
    buffer_put(&spliced, whole.bytes, before);
    buffer_put_text(&spliced, new);
    buffer_put_text(&spliced, text_from(whole, before + old.length));
    return buffer_text(&spliced, out);
}

/* A tokenizer without "added_tokens" gets them as its first member. */
static struct error *insert_list(
    struct arena *arena, struct text whole, struct text list, struct text *out)
{
    size_t begin = (size_t)((const char *)memchr(whole.bytes, '{', whole.length) - whole.bytes) + 1;
    size_t next = begin;
    while (next < whole.length && strchr(" \t\r\n", whole.bytes[next]) != NULL)
        next++;
    const char *comma = whole.bytes[next] == '}' ? "" : ",";
    char *member =
        arena_format(arena, "\n  \"added_tokens\": %.*s%s", (int)list.length, list.bytes, comma);
    TRY(memory_check(member));
    return splice(arena, whole, (struct text){whole.bytes + begin, 0}, text_of(member), out);
}

/* The list at "added_tokens" of tokenizer.json; `value` is its span, empty without. */
static struct error *read_base(
    struct arena *arena, const char *path, struct text value, struct added_tokens *out)
{
    const struct json_document *document;
    *out = (struct added_tokens){0};
    if (value.length == 0)
        return NULL;
    char *name = arena_format(arena, "%s: \"added_tokens\"", path);
    TRY(memory_check(name));
    TRY(json_parse(arena, name, value, JSON_TOLERANT, &document));
    if (document->root.kind != JSON_ARRAY)
        return json_error(&document->root, "expected a list");
    return read_list(arena, &document->root, out);
}

struct error *tokenizer_merge_added(struct arena *arena, const char *path, struct text tokenizer,
    const struct json *decoder, struct text *out, bool *keeps_decoder)
{
    struct text value, list_text;
    struct added_tokens base, extra = {0}, all = {0};
    bool is_same = false;
    TRY(find_value(path, tokenizer, "added_tokens", &value));
    if (decoder != NULL)
        TRY(read_decoder(arena, decoder, &extra));
    if (decoder != NULL)
        TRY(read_base(arena, path, value, &base));
    *keeps_decoder = decoder != NULL && (extra.count == 0 || !covers(&extra, &base));
    *out = tokenizer;
    if (decoder == NULL)
        return NULL;
    TRY(unite(arena, &base, &extra, !*keeps_decoder, &all, &is_same));
    if (is_same)
        return NULL;
    TRY(write_list(arena, &all, &list_text));
    if (value.length == 0)
        return insert_list(arena, tokenizer, list_text, out);
    return splice(arena, tokenizer, value, list_text, out);
}

/* ---- the tool parser ---- */

struct search {
    struct arena arena; /* for keys with escapes */
    const char *const *tokens;
    size_t count;
    bool *is_found;
};

static struct error *note_token(struct search *search, const struct json_scan *scan)
{
    struct text token = scan->raw;
    if (scan->has_escapes) {
        arena_reset(&search->arena);
        token = json_unescape(&search->arena, scan->raw, true);
        TRY(memory_check(token.bytes));
    }
    for (size_t i = 0; i < search->count; i++)
        if (text_is(token, search->tokens[i]))
            search->is_found[i] = true;
    return NULL;
}

/* Inside of "added_tokens": the "content" of each entry. */
static struct error *search_added(struct search *search, struct json_scan *scan)
{
    bool is_content = false;
    for (unsigned depth = scan->depth; scan->depth >= depth;) {
        enum json_token token = json_scan_next(scan);
        if (token == JSON_TOKEN_ERROR)
            return json_scan_error(scan);
        if (token == JSON_TOKEN_STRING && is_content)
            TRY(note_token(search, scan));
        is_content = token == JSON_TOKEN_KEY && key_is(scan, "content");
    }
    return NULL;
}

/* Inside of "model"."vocab": {"token": 0, ...} or, of Unigram, [["token", 0.0], ...]. */
static struct error *search_vocabulary(struct search *search, struct json_scan *scan)
{
    bool is_first = false;
    for (unsigned depth = scan->depth; scan->depth >= depth;) {
        enum json_token token = json_scan_next(scan);
        if (token == JSON_TOKEN_ERROR)
            return json_scan_error(scan);
        if (token == JSON_TOKEN_KEY || (token == JSON_TOKEN_STRING && is_first))
            TRY(note_token(search, scan));
        is_first = token == JSON_TOKEN_ARRAY_BEGIN;
    }
    return NULL;
}

static struct error *search_model(struct search *search, struct json_scan *scan)
{
    for (;;) {
        enum json_token token = json_scan_next(scan);
        if (token == JSON_TOKEN_OBJECT_END)
            return NULL;
        if (token != JSON_TOKEN_KEY)
            return json_scan_error(scan);
        if (!key_is(scan, "vocab")) {
            if (!json_scan_skip(scan))
                return json_scan_error(scan);
            continue;
        }
        token = json_scan_next(scan);
        if (token == JSON_TOKEN_OBJECT_BEGIN || token == JSON_TOKEN_ARRAY_BEGIN)
            TRY(search_vocabulary(search, scan));
        else if (token == JSON_TOKEN_ERROR)
            return json_scan_error(scan);
    }
}

static struct error *search_tokenizer(struct search *search, struct json_scan *scan)
{
    TRY(expect(scan, JSON_TOKEN_OBJECT_BEGIN, "a tokenizer must be an object"));
    for (;;) {
        enum json_token token = json_scan_next(scan);
        if (token == JSON_TOKEN_OBJECT_END)
            return expect(scan, JSON_TOKEN_END, "expected the end of the tokenizer");
        if (token != JSON_TOKEN_KEY)
            return json_scan_error(scan);
        bool is_added = key_is(scan, "added_tokens"), is_model = key_is(scan, "model");
        if (!is_added && !is_model) {
            if (!json_scan_skip(scan))
                return json_scan_error(scan);
            continue;
        }
        token = json_scan_next(scan);
        if (token == JSON_TOKEN_ARRAY_BEGIN && is_added)
            TRY(search_added(search, scan));
        else if (token == JSON_TOKEN_OBJECT_BEGIN && is_model)
            TRY(search_model(search, scan));
        else if (token == JSON_TOKEN_OBJECT_BEGIN || token == JSON_TOKEN_ARRAY_BEGIN) {
            if (!json_scan_skip(scan))
                return json_scan_error(scan);
        } else if (token == JSON_TOKEN_ERROR) {
            return json_scan_error(scan);
        }
    }
}

struct error *tokenizer_find_tokens(const char *path, struct text tokenizer,
    const char *const *tokens, size_t count, bool *is_found)
{
    struct search search = {.tokens = tokens, .count = count, .is_found = is_found};
    for (size_t i = 0; i < count; i++)
        is_found[i] = false;
    struct json_scan scan;
    json_scan_begin(&scan, path, tokenizer);
    struct error *error = search_tokenizer(&search, &scan);
    arena_end(&search.arena);
    return error;
}

const char *tokenizer_parser_of_template(struct text chat_template)
{
    /* Both of a row must occur; the first row counts (mlx_lm's _infer_tool_parser). */
    static const struct {
        const char *first, *second, *parser;
    } rows[] = {
        {"<minimax:tool_call>", "", "minimax_m2"},
        {"<|tool_call>", "<tool_call|>", "gemma4"},
        {"<start_function_call>", "", "function_gemma"},
        {"<longcat_tool_call>", "", "longcat"},
        {"<arg_key>", "", "glm47"},
        {"<|tool_list_start|>", "", "pythonic"},
        {"<|tool_call_start|>", "", "pythonic"},
        {"<tool_call>\\n<function=", "", "qwen3_coder"},
        {"<tool_call>\n<function=", "", "qwen3_coder"},
        {"<|tool_calls_section_begin|>", "", "kimi_k2"},
        {"<function name=\"", "<param name=\"", "minicpm5"},
        {"[TOOL_CALLS]", "", "mistral"},
        {"<atem:function_calls>", "", "muse_spark"},
        {"<tool_call>", "tool_call.name", "json_tools"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (text_contains(chat_template, rows[i].first) &&
            text_contains(chat_template, rows[i].second))
            return rows[i].parser;
    return NULL;
}

const char *const tokenizer_parser_tokens[TOKENIZER_PARSER_TOKENS] = {"<|open|>", "<|close|>",
    "<|sep|>", "<|end_of_msg|>", "<|tool_call_start|>", "<|tool_call_end|>"};

const char *tokenizer_parser_of_tokens(const bool is_found[TOKENIZER_PARSER_TOKENS])
{
    if (is_found[0] && is_found[1] && is_found[2] && is_found[3])
        return "kimi_k3";
    return is_found[4] && is_found[5] ? "pythonic" : NULL;
}

/* ---- tokenizer_config.json ---- */

static bool is_dropped(const struct json *config, struct text key, bool keeps_decoder)
{
    if (text_is(key, "chat_template"))
        return true;
    if (text_is(key, "added_tokens_decoder"))
        return !keeps_decoder;
    const struct json *class = json_get(config, "tokenizer_class");
    return text_is(key, "legacy") && json_is(class, JSON_STRING) &&
           (text_is(class->text, "LlamaTokenizer") || text_is(class->text, "LlamaTokenizerFast"));
}

struct error *tokenizer_render_config(struct arena *arena, const struct json *config,
    bool keeps_decoder, const char *tool_parser, struct text *out)
{
    if (config != NULL && config->kind != JSON_OBJECT)
        return json_error(config, "expected an object, not %s", json_kind_name(config->kind));
    size_t count = config == NULL ? 0 : config->count;
    struct json_member *members = arena_array(arena, count + 1, sizeof *members);
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_TOKENIZER);
    if (members == NULL || writer == NULL)
        return error_memory();
    struct json made = {.kind = JSON_OBJECT, .members = members};
    bool is_unset = true;
    for (size_t i = 0; i < count; i++) {
        const struct json_member *member = &config->members[i];
        bool is_parser = text_is(member->key, "tool_parser_type");
        if (is_dropped(config, member->key, keeps_decoder) ||
            (is_parser && member->value.kind == JSON_NULL && tool_parser != NULL))
            continue;
        is_unset &= !is_parser;
        members[made.count++] = *member;
    }
    if (tool_parser != NULL && is_unset)
        members[made.count++] = (struct json_member){.key = TEXT_LITERAL("tool_parser_type"),
            .value = {.kind = JSON_STRING, .text = text_of(tool_parser)}};
    json_write_value(writer, &made);
    struct text text;
    TRY(json_writer_finish(writer, &text));
    char *ended = arena_format(arena, "%s\n", text.bytes);
    TRY(memory_check(ended));
    *out = (struct text){ended, text.length + 1};
    return NULL;
}

/* ---- the node ---- */

static struct error *missing_tokenizer(struct plan *plan)
{
    char *directory = path_directory(plan_arena(plan), plan_name(plan));
    TRY(memory_check(directory));
    if (plan_input_count(plan, "sentencepiece") > 0)
        return error_new(ERROR_MISSING,
            "%s: the checkpoint has no tokenizer.json beside it: write one with transformers' "
            "AutoTokenizer.from_pretrained(...).save_pretrained(...) and declare the result as the "
            "source",
            plan_input_path(plan, "sentencepiece", 0));
    return error_new(ERROR_MISSING,
        "%s: the checkpoint has no tokenizer.json: write one with transformers' "
        "AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        directory);
}

static struct error *read_config(struct plan *plan, struct plan_json **out)
{
    *out = NULL;
    return plan_input_count(plan, "config") > 0 ? plan_read_json(plan, "config", 0, out) : NULL;
}

/* tokenizer.json as it will be, NULL bytes without one; the decoder is tokenizer_config.json's. */
static struct error *read_merged(
    struct plan *plan, const struct json *decoder, struct text *out, bool *keeps_decoder)
{
    struct text text;
    *out = (struct text){NULL, 0};
    *keeps_decoder = true;
    if (plan_input_count(plan, "tokenizer") == 0)
        return NULL;
    TRY(plan_read_text(plan, "tokenizer", 0, TOKENIZER_BYTES_MAX, &text));
    return tokenizer_merge_added(
        plan_arena(plan), plan_input_path(plan, "tokenizer", 0), text, decoder, out, keeps_decoder);
}

static struct error *plan_tokenizer(struct plan *plan)
{
    if (plan_input_count(plan, "tokenizer") == 0)
        return missing_tokenizer(plan);
    struct plan_json *config;
    struct text merged;
    bool keeps_decoder;
    TRY(read_config(plan, &config));
    TRY(read_merged(plan, config == NULL ? NULL : plan_json_get(config, "added_tokens_decoder"),
        &merged, &keeps_decoder));
    return plan_output_text(plan, plan_name(plan), merged);
}

static struct error *parser_of_chat_template(struct plan *plan, const char **parser)
{
    struct chat_templates templates;
    TRY(chat_templates_read(plan, &templates));
    const struct chat_template *single = chat_templates_single(&templates);
    *parser = single == NULL ? NULL : tokenizer_parser_of_template(single->read);
    return NULL;
}

static struct error *parser_of_vocabulary(
    struct plan *plan, struct text merged, const char **parser)
{
    bool is_found[TOKENIZER_PARSER_TOKENS];
    TRY(tokenizer_find_tokens(plan_input_path(plan, "tokenizer", 0), merged,
        tokenizer_parser_tokens, TOKENIZER_PARSER_TOKENS, is_found));
    *parser = tokenizer_parser_of_tokens(is_found);
    return NULL;
}

static struct error *plan_config(struct plan *plan)
{
    struct plan_json *json;
    TRY(read_config(plan, &json));
    const struct json *config = json == NULL ? NULL : plan_json_get(json, "");
    const struct json *given = json_get(config, "tool_parser_type");
    const struct json *decoder = json_get(config, "added_tokens_decoder");
    bool infers = !(given != NULL && given->kind != JSON_NULL), keeps_decoder = false;
    const char *parser = NULL;
    struct text text, merged = {NULL, 0};
    if (infers)
        TRY(parser_of_chat_template(plan, &parser));
    if (decoder != NULL || (infers && parser == NULL))
        TRY(read_merged(plan, decoder, &merged, &keeps_decoder));
    if (infers && parser == NULL && merged.bytes != NULL)
        TRY(parser_of_vocabulary(plan, merged, &parser));
    TRY(tokenizer_render_config(plan_arena(plan), config, keeps_decoder, parser, &text));
    return plan_output_text(plan, plan_name(plan), text);
}

/* These two count only while tokenizer_config.json has no added_tokens_decoder. */
static struct error *plan_legacy(struct plan *plan, const char *role)
{
    if (plan_input_count(plan, role) == 0)
        return NULL;
    struct plan_json *config;
    TRY(read_config(plan, &config));
    if (config != NULL && plan_json_get(config, "added_tokens_decoder") != NULL)
        return NULL;
    struct text text;
    TRY(plan_read_text(plan, role, 0, SMALL_FILE_BYTES_MAX, &text));
    return plan_output_text(plan, plan_name(plan), text);
}

static struct error *tokenizer_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    const char *base = path_base(plan_name(plan));
    if (strcmp(base, "tokenizer.json") == 0)
        return plan_tokenizer(plan);
    if (strcmp(base, "tokenizer_config.json") == 0)
        return plan_config(plan);
    if (strcmp(base, "special_tokens_map.json") == 0)
        return plan_legacy(plan, "special_tokens_map");
    if (strcmp(base, "added_tokens.json") == 0)
        return plan_legacy(plan, "added_tokens");
    return error_new(ERROR_USAGE,
        "%s: task \"tokenizer\" makes tokenizer.json, tokenizer_config.json, "
        "special_tokens_map.json and added_tokens.json, not this file",
        plan_name(plan));
}

static const struct role_spec tokenizer_roles[] = {
    {.name = "tokenizer", .help = "the checkpoint's tokenizer.json"},
    {.name = "config", .help = "the checkpoint's tokenizer_config.json"},
    {.name = "special_tokens_map", .help = "the checkpoint's special_tokens_map.json"},
    {.name = "added_tokens", .help = "the checkpoint's added_tokens.json"},
    {.name = "sentencepiece", .help = "tokenizer.model: only to say that it is not enough"},
    CHAT_TEMPLATE_ROLES,
    {.name = NULL},
};

const struct task_type task_tokenizer = {
    .name = "tokenizer",
    .help = "one of the tokenizer's files, as the node's name says",
    .version = 2,
    .roles = tokenizer_roles,
    .plan = tokenizer_plan,
};
