/* yaml_read.c - libyaml's events to a tree, by the rules of PyYAML's composer and constructor
 * (yaml_read.h). */
#include "tasks/formats/yaml_read.h"

#include <stdint.h>
#include <string.h>
#include <yaml.h>

#include "base/library.h"
#include "tasks/formats/yaml_scalar.h"

/* ---- the library ---- */

struct libyaml_calls {
    int (*initialize)(yaml_parser_t *);
    void (*set_encoding)(yaml_parser_t *, yaml_encoding_t);
    void (*set_input)(yaml_parser_t *, const unsigned char *, size_t);
    int (*parse)(yaml_parser_t *, yaml_event_t *);
    void (*end_event)(yaml_event_t *);
    void (*end)(yaml_parser_t *);
};

#define SYMBOL(field, function)                                                                    \
    {                                                                                              \
        function, offsetof(struct libyaml_calls, field)                                            \
    }
static const struct library_symbol libyaml_symbols[] = {
    SYMBOL(initialize, "yaml_parser_initialize"),
    SYMBOL(set_encoding, "yaml_parser_set_encoding"),
    SYMBOL(set_input, "yaml_parser_set_input_string"),
    SYMBOL(parse, "yaml_parser_parse"),
    SYMBOL(end_event, "yaml_event_delete"),
    SYMBOL(end, "yaml_parser_delete"),
    {NULL, 0},
};
static const char *const libyaml_files[] = {LIBYAML_SONAME,
#ifdef __APPLE__
    "/opt/homebrew/opt/libyaml/lib/libyaml-0.2.dylib",
    "/usr/local/opt/libyaml/lib/libyaml-0.2.dylib",
#endif
    NULL};
static struct libyaml_calls libyaml;

static struct library libyaml_library = {
    .purpose = "model cards (Debian's package libyaml-0-2, brew's libyaml)",
    .files = libyaml_files,
    .symbols = libyaml_symbols,
    .table = &libyaml,
    .mutex = PTHREAD_MUTEX_INITIALIZER};

/* ---- the reader ---- */

/* A collection whose end is still to come. */
struct frame {
    struct yaml *node, *key;   /* the key that waits for its value */
    struct yaml pairs, merged; /* of a map: its own, and those that "<<" brings */
    struct map merged_keys;
};

struct reader {
    struct arena *arena;
    const char *name;
    struct text text;
    size_t offset, index; /* as far as the text was looked at: in bytes, and in characters */
    size_t end;
    unsigned flow_depth;
    struct frame frames[YAML_DEPTH_MAX];
    size_t depth, node_count;
    struct map anchors;   /* names to places in `anchored` */
    struct yaml anchored; /* a list */
    struct yaml *root;
};

PRINTF_LIKE(3, 4)
static struct error *refuse(const struct reader *reader, size_t offset, const char *format, ...)
{
    struct arena arena = {0};
    va_list list;
    va_start(list, format);
    const char *message = arena_format_list(&arena, format, list);
    va_end(list);
    struct error *error = message == NULL
                              ? error_memory()
                              : error_new_at(ERROR_FORMAT, reader->name, reader->text.bytes,
                                    reader->text.length, offset, "%s", message);
    arena_end(&arena);
    return error;
}

/* ---- what PyYAML does not take ---- */

/* The byte at which that character begins; never behind what was looked at. */
static size_t find_character(struct reader *reader, size_t index)
{
    size_t offset = reader->offset;
    while (reader->index < index && offset < reader->end) {
        uint32_t code;
        offset += text_decode(text_from(reader->text, offset), &code);
        reader->index++;
    }
    return offset;
}

static bool is_break(char c)
{
    return c == '\n' || c == '\r';
}

static struct error *refuse_tab(const struct reader *reader, size_t offset)
{
    return refuse(reader, offset, "expected spaces between values, found a tab");
}

/* Between values there are indicators, blanks and comments. */
static struct error *check_gap(const struct reader *reader, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        if (reader->text.bytes[i] == '\t')
            return refuse_tab(reader, i);
        if (reader->text.bytes[i] == '#')
            while (i < end && !is_break(reader->text.bytes[i]))
                i++;
    }
    return NULL;
}

/* Where a node begins behind its anchor and its tag. */
static size_t skip_properties(const struct reader *reader, size_t begin, size_t end)
{
    const char *bytes = reader->text.bytes;
    size_t i = begin;
    while (i < end && strchr("&! \t\r\n#", bytes[i]) != NULL) {
        bool is_property = bytes[i] == '&' || bytes[i] == '!', is_comment = bytes[i] == '#';
        for (i++; i < end &&
                  (is_property ? !char_is_blank(bytes[i]) : is_comment && !is_break(bytes[i]));)
            i++;
    }
    return i;
}

static struct error *check_plain(const struct reader *reader, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        if (reader->text.bytes[i] == '\t')
            return refuse_tab(reader, i);
        if (reader->text.bytes[i] == '?' && reader->flow_depth > 0)
            return refuse(reader, i, "expected quotes around a text with \"?\" in it");
    }
    return NULL;
}

/* Of a literal or folded scalar, the line of its indicator is none of its text. */
static struct error *check_header(const struct reader *reader, size_t begin, size_t end)
{
    size_t i = begin;
    while (i < end && !is_break(reader->text.bytes[i]))
        i++;
    return check_gap(reader, begin, i);
}

static struct error *check_scalar(
    const struct reader *reader, const yaml_event_t *event, size_t begin, size_t end)
{
    size_t inner = begin;
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        inner = skip_properties(reader, begin, end);
    TRY(check_gap(reader, begin, inner));
    switch (event->data.scalar.style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        return NULL;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE:
        return check_header(reader, inner, end);
    default:
        return check_plain(reader, inner, end);
    }
}

/* Looks at the text up to the event's end; `*begin` is where it begins. */
static struct error *check_event(struct reader *reader, const yaml_event_t *event, size_t *begin)
{
    *begin = find_character(reader, event->start_mark.index);
    TRY(check_gap(reader, reader->offset, *begin));
    reader->offset = *begin;
    size_t end = find_character(reader, event->end_mark.index);
    if (event->type == YAML_SCALAR_EVENT)
        TRY(check_scalar(reader, event, *begin, end));
    else
        TRY(check_gap(reader, *begin, end));
    reader->offset = end;
    return NULL;
}

/* ---- types ---- */

#define TAGS "tag:yaml.org,2002:"

static struct error *refuse_tag(const struct reader *reader, const char *tag, size_t offset)
{
    struct arena arena = {0};
    const char *shown = text_printable(&arena, text_of(tag));
    struct error *error =
        shown == NULL
            ? error_memory()
            : refuse(reader, offset,
                  "expected a value without a type of its own, found one of type %s", shown);
    arena_end(&arena);
    return error;
}

static bool is_tag(const yaml_char_t *tag, const char *type)
{
    return strcmp((const char *)tag, type) == 0;
}

/* The kind of a scalar with a tag: one whose text may be of that kind. */
static struct error *find_kind(const struct reader *reader, const yaml_event_t *event,
    struct text text, size_t offset, enum yaml_kind *out)
{
    static const struct {
        const char *tag;
        enum yaml_kind kind;
    } types[] = {
        {TAGS "str", YAML_STRING},
        {TAGS "null", YAML_NULL},
        {TAGS "bool", YAML_BOOL},
        {TAGS "int", YAML_INTEGER},
        {TAGS "float", YAML_FLOAT},
        {TAGS "timestamp", YAML_TIME},
    };
    const yaml_char_t *tag = event->data.scalar.tag;
    enum yaml_kind kind = yaml_scalar_kind(text);
    if (tag == NULL || is_tag(tag, "!")) {
        *out = event->data.scalar.plain_implicit ? kind : YAML_STRING;
        return NULL;
    }
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        *out = types[i].kind;
        bool fits = *out == kind || *out == YAML_STRING || *out == YAML_NULL ||
                    (*out == YAML_FLOAT && kind == YAML_INTEGER);
        if (fits && is_tag(tag, types[i].tag))
            return NULL;
    }
    return refuse_tag(reader, (const char *)tag, offset);
}

static struct error *make_scalar(
    struct reader *reader, const yaml_event_t *event, size_t offset, struct yaml **out)
{
    const char *problem;
    struct text text = {(const char *)event->data.scalar.value, event->data.scalar.length};
    enum yaml_kind kind;
    TRY(find_kind(reader, event, text, offset, &kind));
    char *copy = arena_copy(reader->arena, text.bytes, text.length);
    TRY(memory_check(copy));
    struct yaml *node = yaml_new(reader->arena, kind, (struct text){copy, text.length});
    TRY(memory_check(node));
    node->offset = offset;
    TRY(yaml_scalar_spell(reader->arena, kind, node->text, &node->text, &problem));
    if (problem != NULL)
        return refuse(reader, offset, "expected a value that can be held, found %s", problem);
    *out = node;
    return NULL;
}

/* ---- nodes to their places ---- */

static struct error *count_nodes(struct reader *reader, size_t count, size_t offset)
{
    reader->node_count += count;
    if (reader->node_count > YAML_NODES_MAX)
        return refuse(reader, offset, "must hold at most %d values", YAML_NODES_MAX);
    return NULL;
}

/* Python's small strings are one object each: of them, the first that is merged counts; of others
 * the last. */
static struct error *was_merged(
    struct reader *reader, struct map *merged, const struct yaml *key, bool *out)
{
    uint32_t code = 0;
    size_t length = text_decode(key->text, &code);
    bool is_small = key->text.length == 0 || (length == key->text.length && code < 0x100);
    char *name = is_small ? arena_format(reader->arena, "=%s", key->text.bytes)
                          : arena_format(reader->arena, "%p", (const void *)key);
    TRY(memory_check(name));
    *out = map_get(merged, name) != MAP_NONE;
    return map_put(merged, name, 0);
}

static struct error *merge_map(
    struct reader *reader, struct frame *frame, const struct yaml *value, size_t offset)
{
    if (value->kind != YAML_MAP)
        return refuse(reader, offset, "expected a map, or a list of maps, to merge");
    TRY(count_nodes(reader, value->count + 1, offset));
    for (size_t i = 0; i < value->count; i++) {
        bool is_there;
        TRY(was_merged(reader, &frame->merged_keys, value->keys[i], &is_there));
        if (!is_there)
            TRY(yaml_add_pair(reader->arena, &frame->merged, value->keys[i], value->values[i]));
    }
    return NULL;
}

static struct error *merge(
    struct reader *reader, struct frame *frame, const struct yaml *value, size_t offset)
{
    if (value == frame->node)
        return NULL; /* its own members are there already */
    for (size_t i = 0; i < reader->depth; i++)
        if (reader->frames[i].node == value)
            return refuse(reader, offset, "expected a map to merge, found what holds this one");
    if (value->kind != YAML_LIST)
        return merge_map(reader, frame, value, offset);
    for (size_t i = 0; i < value->count; i++)
        TRY(merge_map(reader, frame, value->values[i], offset));
    return NULL;
}

static struct error *add_key(
    const struct reader *reader, struct frame *frame, struct yaml *key, size_t offset)
{
    if (key->kind >= YAML_LIST)
        return refuse(reader, offset, "expected a key that is no list and no map");
    if (key->kind == YAML_VALUE)
        key->kind = YAML_STRING;
    frame->key = key;
    return NULL;
}

/* A whole node, or an alias of one that is still open, for the innermost collection. */
static struct error *add_node(struct reader *reader, struct yaml *node, size_t offset)
{
    TRY(count_nodes(reader, 1, offset));
    struct frame *frame = reader->depth == 0 ? NULL : &reader->frames[reader->depth - 1];
    bool is_map = frame != NULL && frame->node->kind == YAML_MAP;
    if (is_map && frame->key == NULL)
        return add_key(reader, frame, node, offset);
    if (node->kind == YAML_MERGE || node->kind == YAML_VALUE)
        return refuse(reader, offset, "expected a value, found a key alone");
    if (frame == NULL) {
        reader->root = node;
        return NULL;
    }
    if (!is_map)
        return yaml_append(reader->arena, frame->node, node);
    struct yaml *key = frame->key;
    frame->key = NULL;
    return key->kind == YAML_MERGE ? merge(reader, frame, node, offset)
                                   : yaml_add_pair(reader->arena, &frame->pairs, key, node);
}

/* ---- events ---- */

static struct error *set_anchor(
    struct reader *reader, const yaml_char_t *anchor, struct yaml *node, size_t offset)
{
    if (anchor == NULL)
        return NULL;
    const char *name = arena_format(reader->arena, "%s", (const char *)anchor);
    TRY(memory_check(name));
    if (map_get(&reader->anchors, name) != MAP_NONE)
        return refuse(reader, offset, "expected a new anchor, found \"%s\" again", name);
    TRY(map_put(&reader->anchors, name, (uint32_t)reader->anchored.count));
    return yaml_append(reader->arena, &reader->anchored, node);
}

static struct error *read_alias(struct reader *reader, const yaml_event_t *event, size_t offset)
{
    const char *name = (const char *)event->data.alias.anchor;
    uint32_t place = map_get(&reader->anchors, name);
    if (place == MAP_NONE)
        return refuse(reader, offset, "expected an anchor that is defined, found \"%s\"", name);
    return add_node(reader, reader->anchored.values[place], offset);
}

static struct error *read_scalar(struct reader *reader, const yaml_event_t *event, size_t offset)
{
    struct yaml *node = NULL;
    TRY(make_scalar(reader, event, offset, &node));
    TRY(set_anchor(reader, event->data.scalar.anchor, node, offset));
    return add_node(reader, node, offset);
}

static struct error *begin_collection(struct reader *reader, const yaml_char_t *tag,
    const yaml_char_t *anchor, enum yaml_kind kind, size_t offset)
{
    const char *own_tag = kind == YAML_LIST ? TAGS "seq" : TAGS "map";
    if (tag != NULL && !is_tag(tag, own_tag) && !is_tag(tag, "!"))
        return refuse_tag(reader, (const char *)tag, offset);
    if (reader->depth == YAML_DEPTH_MAX)
        return refuse(
            reader, offset, "must hold no more than %d values in each other", YAML_DEPTH_MAX);
    struct yaml *node = yaml_new(reader->arena, kind, TEXT_EMPTY);
    TRY(memory_check(node));
    node->offset = offset;
    reader->frames[reader->depth++] =
        (struct frame){.node = node, .merged_keys.arena = reader->arena};
    return set_anchor(reader, anchor, node, offset);
}

/* What was merged comes first, what is the map's own counts more. */
static struct error *fill_map(struct reader *reader, const struct frame *frame)
{
    const struct yaml *parts[] = {&frame->merged, &frame->pairs};
    for (size_t part = 0; part < 2; part++)
        for (size_t i = 0; i < parts[part]->count; i++)
            TRY(yaml_put(reader->arena, frame->node, parts[part]->keys[i], parts[part]->values[i]));
    return NULL;
}

static struct error *end_collection(struct reader *reader)
{
    const struct frame *frame = &reader->frames[--reader->depth];
    TRY(fill_map(reader, frame));
    return add_node(reader, frame->node, frame->node->offset);
}

static struct error *read_event(struct reader *reader, const yaml_event_t *event)
{
    size_t offset;
    TRY(check_event(reader, event, &offset));
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return reader->root == NULL
                   ? NULL
                   : refuse(reader, offset, "expected one document, found another");
    case YAML_ALIAS_EVENT:
        return read_alias(reader, event, offset);
    case YAML_SCALAR_EVENT:
        return read_scalar(reader, event, offset);
    case YAML_SEQUENCE_START_EVENT:
        reader->flow_depth += event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
        return begin_collection(reader, event->data.sequence_start.tag,
            event->data.sequence_start.anchor, YAML_LIST, offset);
    case YAML_MAPPING_START_EVENT:
        reader->flow_depth += event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE;
        return begin_collection(reader, event->data.mapping_start.tag,
            event->data.mapping_start.anchor, YAML_MAP, offset);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        reader->flow_depth -= reader->flow_depth > 0; /* no block collection lies in a flow one */
        return end_collection(reader);
    default:
        return NULL;
    }
}

static struct error *refuse_syntax(struct reader *reader, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return error_memory();
    size_t offset = parser->error == YAML_READER_ERROR
                        ? reader->offset
                        : find_character(reader, parser->problem_mark.index);
    return refuse(reader, offset, "must be YAML: %s", parser->problem);
}

static struct error *read_events(struct reader *reader, yaml_parser_t *parser)
{
    yaml_event_t event;
    bool is_end = false;
    while (!is_end) {
        if (!libyaml.parse(parser, &event))
            return refuse_syntax(reader, parser);
        struct error *error = read_event(reader, &event);
        is_end = event.type == YAML_STREAM_END_EVENT;
        libyaml.end_event(&event);
        TRY(error);
    }
    return NULL;
}

struct error *yaml_read(struct arena *arena, const char *name, struct text text, size_t begin,
    size_t end, struct yaml **out)
{
    yaml_parser_t parser;
    struct reader *reader = arena_alloc(arena, sizeof *reader);
    TRY(memory_check(reader));
    *reader = (struct reader){.arena = arena,
        .name = name,
        .text = text,
        .offset = begin,
        .end = end,
        .anchors.arena = arena,
        .anchored.kind = YAML_LIST};
    TRY(library_load(&libyaml_library));
    if (!libyaml.initialize(&parser))
        return error_memory();
    libyaml.set_encoding(&parser, YAML_UTF8_ENCODING);
    libyaml.set_input(&parser, (const unsigned char *)text.bytes + begin, end - begin);
    struct error *error = read_events(reader, &parser);
    libyaml.end(&parser);
    if (error == NULL)
        *out = reader->root;
    return error;
}
