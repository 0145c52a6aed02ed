/* json.c - cJSON's tree and the scanner's tokens walked in step into a tree of our own (json.h).
 *
 *   text --blank comments--> source --scan, all of it--> prepared --cJSON--> its tree -+
 *                              +------------------scan, again--------------------------+--> ours
 *
 * The first scan decides what is valid, and replaces in `prepared`, byte for byte so that nothing
 * moves, what cJSON 1.7 would refuse: NaN and Infinity, numbers of more than 63 characters, lone
 * surrogates. The walk takes structure and counts from cJSON, everything spelled from the second
 * scan, and stops where the two differ. */
#include "base/json.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/json_scan.h"
#include "base/library.h"

enum {
    CJSON_NUMBER_BYTES_MAX = 63, /* number_c_string[64] in its parse_number */
    SORTED_MEMBERS_MIN = 17,     /* smaller objects are searched member by member */
    VALUES_MAX = 600000,         /* of a TOLERANT text: a tree takes some 200 bytes for each */
    SHOWN_BYTES_MAX = 60
};
#define EXACT_INTEGER_MAX (INT64_C(1) << 53) /* in size; beyond, doubles skip integers */

struct parser {
    struct arena *arena;
    struct json_document *document;
    struct json_scan scan;
    const char *prepared; /* what cJSON saw */
};

static enum error_kind kind_of(const struct json_document *document)
{
    return document->mode == JSON_STRICT ? ERROR_USAGE : ERROR_FORMAT;
}

PRINTF_LIKE(3, 0)
static struct error *error_at(
    const struct json_document *document, size_t offset, const char *format, va_list list)
{
    struct arena arena = {0};
    const char *message = arena_format_list(&arena, format, list);
    struct error *error =
        message == NULL ? error_memory()
                        : error_new_at(kind_of(document), document->name, document->text.bytes,
                              document->text.length, offset, "%s", message);
    arena_end(&arena);
    return error;
}

struct error *json_error(const struct json *value, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    struct error *error = error_at(value->document, value->offset, format, list);
    va_end(list);
    return error;
}

struct error *json_error_key(
    const struct json *object, const struct json_member *member, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    struct error *error = error_at(object->document, member->key_offset, format, list);
    va_end(list);
    return error;
}

/* ---- before cJSON ---- */

static size_t string_end(const char *text, size_t length, size_t begin)
{
    for (size_t i = begin + 1; i < length; i++) {
        if (text[i] == '\\')
            i++;
        else if (text[i] == '"')
            return i + 1;
    }
    return length; /* the scanner will say that it has no end */
}

/* The length of the comment at `begin`, 0 when there is none, SIZE_MAX when it has no end. */
static size_t comment_length(const char *text, size_t length, size_t begin)
{
    if (length - begin < 2 || text[begin] != '/')
        return 0;
    size_t i = begin + 2;
    if (text[begin + 1] == '/') {
        while (i < length && text[i] != '\n')
            i++;
        return i - begin;
    }
    if (text[begin + 1] != '*')
        return 0;
    for (; i + 1 < length; i++)
        if (text[i] == '*' && text[i + 1] == '/')
            return i + 2 - begin;
    return SIZE_MAX;
}

static struct error *blank_comments(const struct json_document *document, char *text)
{
    size_t length = document->text.length;
    for (size_t i = 0; i < length;) {
        if (text[i] == '"') {
            i = string_end(text, length, i);
            continue;
        }
        size_t comment = comment_length(text, length, i);
        if (comment == SIZE_MAX)
            return error_new_at(kind_of(document), document->name, document->text.bytes, length, i,
                "expected \"*/\" at the end of the comment, found end of text");
        for (size_t end = i + comment; i < end; i++)
            if (text[i] != '\n')
                text[i] = ' ';
        i += comment == 0;
    }
    return NULL;
}

static bool is_high_surrogate(const char *digits)
{
    return (digits[0] | 0x20) == 'd' && strchr("89abAB", digits[1]) != NULL;
}

static bool is_low_surrogate(const char *digits)
{
    return (digits[0] | 0x20) == 'd' && strchr("cdefCDEF", digits[1]) != NULL;
}

/* Lone surrogates become U+FFFD, which cJSON takes; `raw` has been scanned. */
static void replace_lone_surrogates(char *raw, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (raw[i] != '\\')
            continue;
        i++; /* at the character after the backslash */
        if (raw[i] != 'u')
            continue;
        char *digits = raw + i + 1;
        bool has_pair = is_high_surrogate(digits) && length - i >= 11 && digits[4] == '\\' &&
                        digits[5] == 'u' && is_low_surrogate(digits + 6);
        if (has_pair)
            i += 10;
        else if (is_high_surrogate(digits) || is_low_surrogate(digits))
            memcpy(digits, "fffd", 4);
    }
}

/* A number that cJSON would refuse becomes 0 and spaces. */
static bool is_number_for_cjson(struct text raw)
{
    return raw.length <= CJSON_NUMBER_BYTES_MAX && char_is_digit(raw.bytes[raw.length - 1]);
}

static bool is_value(enum json_token token)
{
    return token != JSON_TOKEN_KEY && token != JSON_TOKEN_OBJECT_END &&
           token != JSON_TOKEN_ARRAY_END;
}

/* The first scan: refuses what is not JSON, and what would be too large a tree. */
static struct error *prepare(struct json_scan scan, const struct json_document *document, char *out)
{
    const char *source = scan.text.bytes;
    size_t values = 0;
    enum json_token token;
    while ((token = json_scan_next(&scan)) != JSON_TOKEN_END) {
        if (token == JSON_TOKEN_ERROR) {
            scan.text = document->text; /* the same places, with the comments for the excerpt */
            return json_scan_error(&scan);
        }
        values += is_value(token);
        if (values > VALUES_MAX && document->mode == JSON_TOLERANT)
            return error_new(ERROR_FORMAT, "%s: expected at most %d values of JSON, found more",
                document->name, VALUES_MAX);
        char *raw = out + (scan.raw.bytes - source);
        if (token == JSON_TOKEN_NUMBER && !is_number_for_cjson(scan.raw)) {
            memset(raw, ' ', scan.raw.length);
            raw[0] = '0';
        } else if ((token == JSON_TOKEN_KEY || token == JSON_TOKEN_STRING) && scan.has_escapes) {
            replace_lone_surrogates(raw, scan.raw.length);
        }
    }
    return NULL;
}

/* ---- cJSON ---- */

struct cjson_calls {
    void (*init_hooks)(cJSON_Hooks *);
    cJSON *(*parse)(const char *, size_t);
    void (*delete)(cJSON *);
};

#define SYMBOL(field, function)                                                                    \
    {                                                                                              \
        function, offsetof(struct cjson_calls, field)                                              \
    }
static const struct library_symbol cjson_symbols[] = {
    SYMBOL(init_hooks, "cJSON_InitHooks"),
    SYMBOL(parse, "cJSON_ParseWithLength"),
    SYMBOL(delete, "cJSON_Delete"),
    {NULL, 0},
};
static const char *const cjson_files[] = {LIBCJSON_SONAME,
#ifdef __APPLE__
    "/opt/homebrew/opt/cjson/lib/libcjson.1.dylib", "/usr/local/opt/cjson/lib/libcjson.1.dylib",
#endif
    NULL};
static struct cjson_calls cjson;

static struct error *start_cjson(void)
{
    cjson.init_hooks(&(cJSON_Hooks){.malloc_fn = memory_alloc, .free_fn = memory_free});
    return NULL;
}

static struct library cjson_library = {.purpose = "manifests and configs",
    .files = cjson_files,
    .symbols = cjson_symbols,
    .table = &cjson,
    .start = start_cjson,
    .mutex = PTHREAD_MUTEX_INITIALIZER};

/* One at a time: every parse writes cJSON's one static error place. */
static struct error *parse_with_cjson(const char *text, size_t length, cJSON **out)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    TRY(library_load(&cjson_library));
    pthread_mutex_lock(&mutex);
    *out = cjson.parse(text, length);
    pthread_mutex_unlock(&mutex);
    /* it would take any text that got here (fuzz_json.c checks that) */
    return memory_check(*out);
}

static bool is_of_type(const cJSON *node, int type)
{
    return (node->type & 0xFF) == type;
}

static size_t count_children(const cJSON *node)
{
    size_t count = 0;
    for (const cJSON *child = node->child; child != NULL; child = child->next)
        count++;
    return count;
}

/* ---- in step ---- */

static struct error *disagreement(const struct parser *parser)
{
    const struct json_document *document = parser->document;
    return error_new_at(kind_of(document), document->name, document->text.bytes,
        document->text.length, parser->scan.token_begin,
        "expected cJSON to read what the scanner reads here, found something else");
}

/* cJSON's string ends at the first NUL, and has U+FFFD, of three bytes, too, for a lone surrogate.
 */
static bool is_same_string(const char *theirs, struct text ours)
{
    if (theirs == NULL || strlen(theirs) != strnlen(ours.bytes, ours.length))
        return false;
    size_t length = strlen(theirs), step;
    uint32_t code_point;
    for (size_t i = 0; i < length; i += step) {
        step = text_decode_surrogate((struct text){ours.bytes + i, length - i}, &code_point);
        const char *want = step > 0 ? "\xEF\xBF\xBD" : ours.bytes + i;
        step = step > 0 ? step : 1;
        if (memcmp(theirs + i, want, step) != 0)
            return false;
    }
    return true;
}

static struct error *decode(struct parser *parser, struct text *out)
{
    const struct json_scan *scan = &parser->scan;
    struct text text = parser->document->mode == JSON_TOLERANT
                           ? json_unescape_python(parser->arena, scan->raw, scan->has_escapes)
                           : json_unescape(parser->arena, scan->raw, scan->has_escapes);
    if (text.bytes != NULL && !scan->has_escapes)
        text.bytes = arena_copy(parser->arena, text.bytes, text.length); /* NUL-terminated */
    TRY(memory_check(text.bytes));
    *out = text;
    return NULL;
}

/* The source is NUL-terminated, the first scan has refused what strtod would read on into ("0x1"),
 * and the program stays in the C locale. */
static double number_of(struct text raw)
{
    return strtod(raw.bytes, NULL);
}

static bool is_finite(double number)
{
    return number - number == 0.0;
}

static struct error *read_number(struct parser *parser, const cJSON *node, struct json *out)
{
    struct text raw = parser->scan.raw;
    out->kind = JSON_NUMBER;
    out->number = number_of(raw);
    out->is_integer = true;
    for (size_t i = 0; i < raw.length; i++)
        if (raw.bytes[i] != '-' && (raw.bytes[i] < '0' || raw.bytes[i] > '9'))
            out->is_integer = false;
    bool is_same = memcmp(&out->number, &node->valuedouble, sizeof out->number) == 0;
    if (!is_of_type(node, cJSON_Number) || (is_number_for_cjson(raw) && !is_same))
        return disagreement(parser);
    out->text.length = raw.length;
    out->text.bytes = arena_copy(parser->arena, raw.bytes, raw.length);
    TRY(memory_check(out->text.bytes));
    if (parser->document->mode == JSON_TOLERANT)
        return NULL;
    const char *shown = json_show(parser->arena, out);
    if (!is_finite(out->number))
        return json_error(out, "expected a number that a double can hold, found %s", shown);
    int64_t integer;
    bool is_exact =
        json_to_i64(out, &integer) && integer >= -EXACT_INTEGER_MAX && integer <= EXACT_INTEGER_MAX;
    if (out->is_integer && !is_exact)
        return json_error(out, "expected an integer of at most 2^53, found %s", shown);
    return NULL;
}

static struct error *read_value(
    struct parser *parser, enum json_token token, const cJSON *node, struct json *out);

static struct error *read_array(struct parser *parser, const cJSON *node, struct json *out)
{
    if (!is_of_type(node, cJSON_Array))
        return disagreement(parser);
    size_t count = count_children(node);
    struct json *items = arena_array(parser->arena, count, sizeof *items);
    TRY(memory_check(items));
    const cJSON *child = node->child;
    for (size_t i = 0; i < count; i++, child = child->next)
        TRY(read_value(parser, json_scan_next(&parser->scan), child, &items[i]));
    if (json_scan_next(&parser->scan) != JSON_TOKEN_ARRAY_END)
        return disagreement(parser);
    out->kind = JSON_ARRAY;
    out->items = items;
    out->count = count;
    return NULL;
}

/* By key; equal ones in order of appearance. */
static int compare_members(const void *a, const void *b)
{
    const struct json_member *left = *(const struct json_member *const *)a;
    const struct json_member *right = *(const struct json_member *const *)b;
    int order = text_compare(left->key, right->key);
    return order != 0 ? order : (left > right) - (left < right);
}

/* The second member of the first pair of equal keys in the text, or NULL. */
static const struct json_member *find_duplicate(struct json_member **sorted, size_t count)
{
    const struct json_member *first = NULL;
    for (size_t i = 1; i < count; i++)
        if (text_equal(sorted[i - 1]->key, sorted[i]->key) && (first == NULL || sorted[i] < first))
            first = sorted[i];
    return first;
}

/* The last of equal keys gives its value to the first; the others go. Returns how many stay. */
static size_t merge_duplicates(
    struct json_member *members, struct json_member **sorted, size_t count)
{
    struct json_member *kept = sorted[0];
    for (size_t i = 1; i < count; i++) {
        if (text_equal(kept->key, sorted[i]->key)) {
            kept->value = sorted[i]->value;
            sorted[i]->key.bytes = NULL;
        } else {
            kept = sorted[i];
        }
    }
    size_t used = 0;
    for (size_t i = 0; i < count; i++)
        if (members[i].key.bytes != NULL)
            members[used++] = members[i];
    return used;
}

static void sort_members(struct json_member *members, struct json_member **sorted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sorted[i] = &members[i];
    qsort(sorted, count, sizeof sorted[0], compare_members);
}

/* Sorted, not hashed: the keys are foreign, and nobody can choose them so that this gets slow. */
static struct error *finish_object(
    struct parser *parser, struct json *out, struct json_member *members, size_t count)
{
    out->kind = JSON_OBJECT;
    out->members = members;
    out->count = count;
    if (count < 2)
        return NULL;
    struct json_member **sorted = arena_array(parser->arena, count, sizeof(struct json_member *));
    TRY(memory_check(sorted));
    sort_members(members, sorted, count);
    const struct json_member *duplicate = find_duplicate(sorted, count);
    if (duplicate != NULL && parser->document->mode == JSON_STRICT) {
        const char *shown = text_printable(parser->arena, duplicate->key);
        return shown == NULL ? error_memory()
                             : json_error_key(out, duplicate, "duplicate key \"%s\"", shown);
    }
    if (duplicate != NULL) {
        out->count = merge_duplicates(members, sorted, count);
        sort_members(members, sorted, out->count);
    }
    if (out->count >= SORTED_MEMBERS_MIN)
        out->sorted = (const struct json_member *const *)sorted;
    return NULL;
}

static struct error *read_object(struct parser *parser, const cJSON *node, struct json *out)
{
    if (!is_of_type(node, cJSON_Object))
        return disagreement(parser);
    size_t count = count_children(node);
    struct json_member *members = arena_array(parser->arena, count, sizeof *members);
    TRY(memory_check(members));
    const cJSON *child = node->child;
    for (size_t i = 0; i < count; i++, child = child->next) {
        if (json_scan_next(&parser->scan) != JSON_TOKEN_KEY)
            return disagreement(parser);
        members[i].key_offset = (uint32_t)parser->scan.token_begin;
        TRY(decode(parser, &members[i].key));
        if (!is_same_string(child->string, members[i].key))
            return disagreement(parser);
        TRY(read_value(parser, json_scan_next(&parser->scan), child, &members[i].value));
    }
    if (json_scan_next(&parser->scan) != JSON_TOKEN_OBJECT_END)
        return disagreement(parser);
    return finish_object(parser, out, members, count);
}

/* Recursion is bounded by JSON_DEPTH_MAX. */
static struct error *read_value(
    struct parser *parser, enum json_token token, const cJSON *node, struct json *out)
{
    out->document = parser->document;
    out->offset = (uint32_t)parser->scan.token_begin;
    out->text = TEXT_EMPTY;
    switch (token) {
    case JSON_TOKEN_OBJECT_BEGIN:
        return read_object(parser, node, out);
    case JSON_TOKEN_ARRAY_BEGIN:
        return read_array(parser, node, out);
    case JSON_TOKEN_NUMBER:
        return read_number(parser, node, out);
    case JSON_TOKEN_STRING:
        out->kind = JSON_STRING;
        TRY(decode(parser, &out->text));
        return is_of_type(node, cJSON_String) && is_same_string(node->valuestring, out->text)
                   ? NULL
                   : disagreement(parser);
    case JSON_TOKEN_TRUE:
    case JSON_TOKEN_FALSE:
        out->kind = JSON_BOOL;
        out->boolean = token == JSON_TOKEN_TRUE;
        return is_of_type(node, out->boolean ? cJSON_True : cJSON_False) ? NULL
                                                                         : disagreement(parser);
    case JSON_TOKEN_NULL:
        out->kind = JSON_NULL;
        return is_of_type(node, cJSON_NULL) ? NULL : disagreement(parser);
    default:
        return disagreement(parser);
    }
}

/* `source` and `prepared` are two copies of the document's text. */
static struct error *parse_copies(struct parser *parser, char *source, char *prepared)
{
    struct json_document *document = parser->document;
    size_t length = document->text.length;
    if (document->mode == JSON_STRICT) {
        TRY(blank_comments(document, source));
        memcpy(prepared, source, length);
    }
    struct json_scan *scan = &parser->scan;
    json_scan_begin(scan, document->name, (struct text){source, length});
    scan->kind = kind_of(document);
    scan->allow_nonfinite = document->mode == JSON_TOLERANT;
    TRY(prepare(*scan, document, prepared));
    cJSON *tree;
    TRY(parse_with_cjson(prepared, length, &tree));
    struct error *error = read_value(parser, json_scan_next(scan), tree, &document->root);
    cjson.delete(tree);
    return error;
}

struct error *json_parse(struct arena *arena, const char *name, struct text text,
    enum json_mode mode, const struct json_document **out)
{
    enum error_kind kind = mode == JSON_STRICT ? ERROR_USAGE : ERROR_FORMAT;
    if (text.length > JSON_BYTES_MAX)
        return error_new(kind, "%s: expected at most %u bytes of JSON, found %zu", name,
            JSON_BYTES_MAX, text.length);
    struct json_document *document = arena_alloc(arena, sizeof *document);
    TRY(memory_check(document));
    document->name = arena_copy(arena, name, strlen(name));
    document->text = (struct text){arena_copy(arena, text.bytes, text.length), text.length};
    document->mode = mode;
    if (document->name == NULL || document->text.bytes == NULL)
        return error_memory();
    struct arena scratch = {0};
    char *source = arena_copy(&scratch, text.bytes, text.length);
    char *prepared = arena_copy(&scratch, text.bytes, text.length);
    struct parser parser = {.arena = arena, .document = document};
    struct error *error = source == NULL || prepared == NULL
                              ? error_memory()
                              : parse_copies(&parser, source, prepared);
    arena_end(&scratch);
    if (error == NULL)
        *out = document;
    return error;
}

/* ---- reading a tree ---- */

static const struct json *search_sorted(const struct json *object, struct text key)
{
    size_t begin = 0, end = object->count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        int order = text_compare(object->sorted[middle]->key, key);
        if (order == 0)
            return &object->sorted[middle]->value;
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

static const struct json *get(const struct json *object, struct text key)
{
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    if (object->sorted != NULL)
        return search_sorted(object, key);
    for (size_t i = 0; i < object->count; i++)
        if (text_equal(object->members[i].key, key))
            return &object->members[i].value;
    return NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
    return get(object, text_of(key));
}

const struct json *json_get_path(const struct json *object, const char *dotted)
{
    for (;;) {
        size_t length = strcspn(dotted, ".");
        object = get(object, (struct text){dotted, length});
        if (object == NULL || dotted[length] == '\0')
            return object;
        dotted += length + 1;
    }
}

bool json_is(const struct json *value, enum json_kind kind)
{
    return value != NULL && value->kind == kind;
}

bool json_to_i64(const struct json *value, int64_t *out)
{
    if (!json_is(value, JSON_NUMBER) || !value->is_integer)
        return false;
    struct text digits = value->text;
    bool is_negative = digits.bytes[0] == '-';
    digits.bytes += is_negative;
    digits.length -= is_negative;
    uint64_t magnitude;
    if (!text_to_u64(digits, &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + is_negative)
        return false;
    if (is_negative && magnitude > 0)
        *out = -(int64_t)(magnitude - 1) - 1;
    else
        *out = (int64_t)magnitude;
    return true;
}

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",
        [JSON_BOOL] = "a boolean",
        [JSON_NUMBER] = "a number",
        [JSON_STRING] = "a string",
        [JSON_ARRAY] = "a list",
        [JSON_OBJECT] = "an object",
    };
    return names[kind];
}

/* Cut before a character, not in it. */
static struct text shorten(struct text text)
{
    if (text.length <= SHOWN_BYTES_MAX)
        return text;
    text.length = SHOWN_BYTES_MAX;
    while (text.length > 0 && ((unsigned char)text.bytes[text.length] & 0xC0) == 0x80)
        text.length--;
    return text;
}

const char *json_show(struct arena *arena, const struct json *value)
{
    if (value == NULL)
        return "nothing";
    if (value->kind == JSON_BOOL)
        return value->boolean ? "true" : "false";
    if (value->kind != JSON_STRING && value->kind != JSON_NUMBER)
        return json_kind_name(value->kind);
    struct text whole = value->text;
    if (value->kind == JSON_STRING) { /* as it is spelled, escapes and all */
        struct text text = value->document->text;
        struct json_scan scan;
        json_scan_begin(&scan, value->document->name, text_from(text, value->offset));
        if (json_scan_next(&scan) == JSON_TOKEN_STRING)
            whole = scan.raw;
    }
    struct text cut = shorten(whole);
    const char *quote = value->kind == JSON_STRING ? "\"" : "";
    const char *shown = text_printable(arena, cut);
    if (shown != NULL)
        shown = arena_format(
            arena, "%s%s%s%s", quote, shown, cut.length < whole.length ? "..." : "", quote);
    return shown != NULL ? shown : json_kind_name(value->kind);
}

static bool equal_numbers(const struct json *a, const struct json *b)
{
    if (a->is_integer != b->is_integer)
        return false;
    if (!a->is_integer)
        return memcmp(&a->number, &b->number, sizeof a->number) == 0;
    bool is_zero = a->number >= 0.0 && a->number <= 0.0 && b->number >= 0.0 && b->number <= 0.0;
    return is_zero || text_equal(a->text, b->text); /* 0 and -0 are one integer */
}

static bool equal_arrays(const struct json *a, const struct json *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (!json_equal(&a->items[i], &b->items[i]))
            return false;
    return true;
}

static bool equal_objects(const struct json *a, const struct json *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct json *other = get(b, a->members[i].key);
        if (other == NULL || !json_equal(&a->members[i].value, other))
            return false;
    }
    return true;
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case JSON_NULL:
        return true;
    case JSON_BOOL:
        return a->boolean == b->boolean;
    case JSON_NUMBER:
        return equal_numbers(a, b);
    case JSON_STRING:
        return text_equal(a->text, b->text);
    case JSON_ARRAY:
        return equal_arrays(a, b);
    case JSON_OBJECT:
        return equal_objects(a, b);
    }
    assert(false);
    return false;
}
