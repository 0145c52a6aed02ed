/* pattern.c - a pattern is compiled to a row of elements and matched by bounded backtracking. */
#include "tasks/formats/pattern.h"

#include <string.h>

#include "tasks/formats/expression.h"

enum { ELEMENTS_MAX = 64, ALTERNATIVES_MAX = 64 };

/* Without a memo (see pattern_match) two choices cost at most the square of a name's length. */
enum { CHOICES_BESIDE_REPEAT_MAX = 2 };

enum element_kind {
    ELEMENT_TEXT,   /* itself */
    ELEMENT_NUMBER, /* {i} */
    ELEMENT_ANY,    /* * or {x*}: a choice */
    ELEMENT_ONE_OF, /* {p:a|b}: a choice */
    ELEMENT_REPEAT, /* {p} again */
};
enum { NO_CAPTURE = PATTERN_CAPTURES_MAX };

struct element {
    enum element_kind kind;
    struct text text; /* of ELEMENT_TEXT; of ELEMENT_ONE_OF: "a|b" */
    size_t capture;   /* index, or NO_CAPTURE */
    size_t choice;    /* index among the choices: the row of the memo */
};

struct pattern {
    struct text source;
    size_t element_count, capture_count, choice_count;
    bool has_repeat;
    struct element elements[ELEMENTS_MAX];
    struct text capture_names[PATTERN_CAPTURES_MAX];
};

struct compiler {
    struct arena *arena;
    struct pattern *pattern;
    size_t position;
    const char *complaint; /* NULL: all is well */
};

static bool complain(struct compiler *compiler, const char *complaint)
{
    compiler->complaint = complaint;
    return false;
}

static bool add_element(struct compiler *compiler, struct element element)
{
    struct pattern *pattern = compiler->pattern;
    if (pattern->element_count == ELEMENTS_MAX)
        return complain(compiler, "it has too many parts");
    if (element.kind == ELEMENT_ANY || element.kind == ELEMENT_ONE_OF) {
        if (pattern->choice_count == PATTERN_CHOICES_MAX)
            return complain(compiler, "it has more than 8 of \"*\", \"{x*}\" and \"{p:a|b}\"");
        element.choice = pattern->choice_count++;
    }
    pattern->elements[pattern->element_count++] = element;
    return true;
}

static size_t find_capture(const struct pattern *pattern, struct text name)
{
    for (size_t i = 0; i < pattern->capture_count; i++)
        if (text_equal(pattern->capture_names[i], name))
            return i;
    return NO_CAPTURE;
}

/* The alternatives of `list` one after the other; false past the last. */
static bool next_alternative(struct text list, size_t *position, struct text *out)
{
    if (*position > list.length)
        return false;
    const char *begin = list.bytes + *position;
    size_t rest = list.length - *position;
    const char *bar = memchr(begin, '|', rest);
    *out = (struct text){begin, bar == NULL ? rest : (size_t)(bar - begin)};
    *position += out->length + 1;
    return true;
}

static bool check_alternatives(struct compiler *compiler, struct text list)
{
    size_t count = 0, position = 0;
    struct text alternative;
    while (next_alternative(list, &position, &alternative))
        count++;
    for (size_t i = 0; i < list.length; i++)
        if (list.bytes[i] == '*' || list.bytes[i] == '{')
            return complain(compiler, "alternatives are plain text");
    if (count > ALTERNATIVES_MAX)
        return complain(compiler, "it has more than 64 alternatives");
    return true;
}

/* What stands between the braces: `i`, `x*` or `p:a|b`. */
static bool compile_braces(struct compiler *compiler, struct text inside)
{
    struct pattern *pattern = compiler->pattern;
    size_t name_end = 0;
    while (
        name_end < inside.length && inside.bytes[name_end] != ':' && inside.bytes[name_end] != '*')
        name_end++;
    struct text name = text_cut(inside, 0, name_end);
    struct text rest = text_cut(inside, name_end, inside.length);
    if (!name_is_identifier(name))
        return complain(compiler, "a capture is \"{i}\", \"{x*}\" or \"{p:a|b}\"");
    struct element element = {.kind = ELEMENT_NUMBER, .capture = find_capture(pattern, name)};
    if (element.capture != NO_CAPTURE) {
        if (rest.length > 0)
            return complain(compiler, "a capture is described once and then repeated as \"{p}\"");
        element.kind = ELEMENT_REPEAT;
        pattern->has_repeat = true;
        return add_element(compiler, element);
    }
    if (rest.length > 0 && rest.bytes[0] == ':') {
        element.kind = ELEMENT_ONE_OF;
        element.text = text_cut(rest, 1, rest.length);
        if (!check_alternatives(compiler, element.text))
            return false;
    } else if (text_is(rest, "*")) {
        element.kind = ELEMENT_ANY;
    } else if (rest.length > 0) {
        return complain(compiler, "a capture is \"{i}\", \"{x*}\" or \"{p:a|b}\"");
    }
    if (pattern->capture_count == PATTERN_CAPTURES_MAX)
        return complain(compiler, "it has more than 8 captures");
    element.capture = pattern->capture_count;
    pattern->capture_names[pattern->capture_count++] = name;
    return add_element(compiler, element);
}

static bool compile_element(struct compiler *compiler)
{
    struct text source = compiler->pattern->source;
    size_t begin = compiler->position;
    char first = source.bytes[begin];
    if (first == '}')
        return complain(compiler, "\"}\" has no \"{\" before it");
    if (first == '*') {
        compiler->position++;
        return add_element(compiler, (struct element){.kind = ELEMENT_ANY, .capture = NO_CAPTURE});
    }
    if (first == '{') {
        const char *close = memchr(source.bytes + begin, '}', source.length - begin);
        if (close == NULL)
            return complain(compiler, "\"{\" has no \"}\" after it");
        size_t end = (size_t)(close - source.bytes);
        compiler->position = end + 1;
        return compile_braces(compiler, text_cut(source, begin + 1, end));
    }
    size_t end = begin;
    while (end < source.length && strchr("*{}", source.bytes[end]) == NULL)
        end++;
    if (end == begin) /* strchr finds NUL, too */
        return complain(compiler, "it holds a NUL character");
    compiler->position = end;
    return add_element(compiler,
        (struct element){
            .kind = ELEMENT_TEXT, .capture = NO_CAPTURE, .text = text_cut(source, begin, end)});
}

static void compile(struct compiler *compiler)
{
    struct pattern *pattern = compiler->pattern;
    if (pattern->source.length == 0 || pattern->source.length > PATTERN_NAME_MAX) {
        complain(compiler, "it must have 1 to 1024 bytes");
        return;
    }
    while (compiler->position < pattern->source.length)
        if (!compile_element(compiler))
            return;
    if (pattern->has_repeat && pattern->choice_count > CHOICES_BESIDE_REPEAT_MAX)
        complain(
            compiler, "beside a repeated capture it may have 2 of \"*\", \"{x*}\" and \"{p:a|b}\"");
}

struct error *pattern_compile(
    struct arena *arena, struct text source, const struct pattern **out, const char **complaint)
{
    struct pattern *pattern = arena_alloc(arena, sizeof *pattern);
    char *copy = arena_copy(arena, source.bytes, source.length);
    if (pattern == NULL || copy == NULL)
        return error_memory();
    pattern->source = (struct text){copy, source.length};
    struct compiler compiler = {.arena = arena, .pattern = pattern};
    compile(&compiler);
    *complaint = compiler.complaint;
    *out = compiler.complaint == NULL ? pattern : NULL;
    return NULL;
}

struct error *pattern_parse(
    struct arena *arena, const struct json *value, const struct pattern **out)
{
    if (!json_is(value, JSON_STRING))
        return json_error(value, "a pattern must be a string, not %s", json_show(arena, value));
    const struct pattern *pattern = NULL;
    const char *complaint = NULL;
    TRY(pattern_compile(arena, value->text, &pattern, &complaint));
    if (complaint != NULL)
        return json_error(value, "%s is no pattern: %s", json_show(arena, value), complaint);
    *out = pattern;
    return NULL;
}

struct matcher {
    const struct pattern *pattern;
    struct text name;
    struct text captured[PATTERN_CAPTURES_MAX];
    /* Bit p of row c: choice c has failed at byte p. Without repeats what follows a choice depends
     * on the place alone, so it would fail again. */
    unsigned char failed[PATTERN_CHOICES_MAX][PATTERN_NAME_MAX / 8 + 1];
};

static bool match_from(struct matcher *matcher, size_t index, size_t position);

static bool text_has_at(struct text text, size_t position, struct text part)
{
    return part.length <= text.length - position &&
           memcmp(text.bytes + position, part.bytes, part.length) == 0;
}

static void capture_as(struct matcher *matcher, const struct element *element, struct text text)
{
    if (element->capture != NO_CAPTURE)
        matcher->captured[element->capture] = text;
}

static bool match_any(struct matcher *matcher, size_t index, size_t position)
{
    const struct element *element = &matcher->pattern->elements[index];
    for (size_t end = matcher->name.length + 1; end-- > position;) {
        capture_as(matcher, element, text_cut(matcher->name, position, end));
        if (match_from(matcher, index + 1, end))
            return true;
    }
    return false;
}

static bool match_one_of(struct matcher *matcher, size_t index, size_t position)
{
    const struct element *element = &matcher->pattern->elements[index];
    size_t next = 0;
    struct text alternative;
    while (next_alternative(element->text, &next, &alternative)) {
        if (!text_has_at(matcher->name, position, alternative))
            continue;
        size_t end = position + alternative.length;
        capture_as(matcher, element, text_cut(matcher->name, position, end));
        if (match_from(matcher, index + 1, end))
            return true;
    }
    return false;
}

static bool match_choice(struct matcher *matcher, size_t index, size_t position)
{
    const struct element *element = &matcher->pattern->elements[index];
    unsigned char *byte = &matcher->failed[element->choice][position / 8];
    unsigned char bit = (unsigned char)(1u << position % 8);
    if ((*byte & bit) != 0 && !matcher->pattern->has_repeat)
        return false;
    bool matches = element->kind == ELEMENT_ANY ? match_any(matcher, index, position)
                                                : match_one_of(matcher, index, position);
    if (!matches)
        *byte |= bit;
    return matches;
}

/* What one element without a choice takes at `position`; false when it does not match there. */
static bool match_fixed(
    struct matcher *matcher, const struct element *element, size_t position, struct text *taken)
{
    struct text want =
        element->kind == ELEMENT_REPEAT ? matcher->captured[element->capture] : element->text;
    if (element->kind != ELEMENT_NUMBER) {
        *taken = want;
        return text_has_at(matcher->name, position, want);
    }
    size_t end = position;
    while (end < matcher->name.length && char_is_digit(matcher->name.bytes[end]))
        end++;
    *taken = text_cut(matcher->name, position, end);
    capture_as(matcher, element, *taken);
    return end > position;
}

static bool match_from(struct matcher *matcher, size_t index, size_t position)
{
    for (; index < matcher->pattern->element_count; index++) {
        const struct element *element = &matcher->pattern->elements[index];
        if (element->kind == ELEMENT_ANY || element->kind == ELEMENT_ONE_OF)
            return match_choice(matcher, index, position);
        struct text taken;
        if (!match_fixed(matcher, element, position, &taken))
            return false;
        position += taken.length;
    }
    return position == matcher->name.length;
}

static void give_captures(const struct matcher *matcher, struct captures *captures)
{
    const struct pattern *pattern = matcher->pattern;
    *captures = (struct captures){.count = pattern->capture_count};
    for (size_t i = 0; i < pattern->element_count; i++) {
        const struct element *element = &pattern->elements[i];
        if (element->capture == NO_CAPTURE || element->kind == ELEMENT_REPEAT)
            continue;
        captures->items[element->capture] =
            (struct capture){.name = pattern->capture_names[element->capture],
                .text = matcher->captured[element->capture],
                .is_number = element->kind == ELEMENT_NUMBER};
    }
}

bool pattern_match(const struct pattern *pattern, struct text name, struct captures *captures)
{
    if (name.length > PATTERN_NAME_MAX)
        return false;
    struct matcher matcher;
    matcher.pattern = pattern;
    matcher.name = name;
    for (size_t i = 0; i < pattern->choice_count; i++)
        memset(matcher.failed[i], 0, name.length / 8 + 1);
    if (!match_from(&matcher, 0, 0))
        return false;
    if (captures != NULL)
        give_captures(&matcher, captures);
    return true;
}

bool pattern_has_capture(const struct pattern *pattern, struct text name)
{
    return find_capture(pattern, name) != NO_CAPTURE;
}

struct text pattern_source(const struct pattern *pattern)
{
    return pattern->source;
}

/* A target is a row of parts: a variable, or literal text. */
enum { PARTS_MAX = 2 * PATTERN_CAPTURES_MAX + 1 };
struct target {
    struct text source;
    size_t part_count;
    struct {
        struct text text;
        bool is_variable;
    } parts[PARTS_MAX];
};

static const char *target_add(struct target *target, struct text text, bool is_variable)
{
    if (target->part_count == PARTS_MAX)
        return "it has too many parts";
    if (is_variable && !name_is_identifier(text))
        return "a variable is a name in braces, such as \"{i}\"";
    target->parts[target->part_count].text = text;
    target->parts[target->part_count].is_variable = is_variable;
    target->part_count++;
    return NULL;
}

/* NULL, or why the source is no target. */
static const char *target_compile(struct target *target)
{
    struct text source = target->source;
    if (source.length == 0 || source.length > PATTERN_NAME_MAX)
        return "it must have 1 to 1024 bytes";
    const char *complaint = NULL;
    for (size_t begin = 0, end; begin < source.length && complaint == NULL; begin = end) {
        bool is_variable = source.bytes[begin] == '{';
        end = begin + 1;
        while (end < source.length && strchr(is_variable ? "}{" : "{}*", source.bytes[end]) == NULL)
            end++;
        if (is_variable) {
            if (end == source.length || source.bytes[end] != '}')
                return "\"{\" has no \"}\" after it";
            complaint = target_add(target, text_cut(source, begin + 1, end), true);
            end++;
        } else if (strchr("}*", source.bytes[begin]) != NULL) {
            return "it may not hold \"*\", \"}\" or NUL";
        } else {
            complaint = target_add(target, text_cut(source, begin, end), false);
        }
    }
    return complaint;
}

struct error *target_parse(struct arena *arena, const struct json *value, const struct target **out)
{
    if (!json_is(value, JSON_STRING))
        return json_error(value, "a name must be a string, not %s", json_show(arena, value));
    struct target *target = arena_alloc(arena, sizeof *target);
    TRY(memory_check(target));
    target->source = value->text;
    const char *complaint = target_compile(target);
    if (complaint != NULL)
        return json_error(value, "%s is no name: %s", json_show(arena, value), complaint);
    *out = target;
    return NULL;
}

struct text target_source(const struct target *target)
{
    return target->source;
}

struct text target_variable(const struct target *target, size_t index)
{
    for (size_t i = 0; i < target->part_count; i++)
        if (target->parts[i].is_variable && index-- == 0)
            return target->parts[i].text;
    return TEXT_EMPTY;
}

static struct text part_text(
    const struct target *target, size_t part, const struct captures *captures)
{
    if (!target->parts[part].is_variable)
        return target->parts[part].text;
    for (size_t i = 0; i < captures->count; i++)
        if (text_equal(captures->items[i].name, target->parts[part].text))
            return captures->items[i].text;
    return TEXT_EMPTY;
}

struct text target_expand(
    struct arena *arena, const struct target *target, const struct captures *captures)
{
    size_t length = 0;
    for (size_t i = 0; i < target->part_count; i++)
        length += part_text(target, i, captures).length;
    char *bytes = arena_alloc(arena, length + 1);
    if (bytes == NULL)
        return (struct text){NULL, 0};
    size_t position = 0;
    for (size_t i = 0; i < target->part_count; i++) {
        struct text text = part_text(target, i, captures);
        if (text.length > 0)
            memcpy(bytes + position, text.bytes, text.length);
        position += text.length;
    }
    return (struct text){bytes, length};
}
