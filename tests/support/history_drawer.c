/* history_drawer.c - weights: which parts of the world, and how often which step. */
#include "tests/support/history_drawer.h"

#include <string.h>

#include "tests/support/history_checkpoint.h"

static const unsigned weights[VERB_COUNT] = {[VERB_SET] = 18,
    [VERB_SWITCH] = 10,
    [VERB_FILL] = 10,
    [VERB_FLIP] = 5,
    [VERB_SWAP] = 3,
    [VERB_TAKE_OUT] = 1,
    [VERB_RENAME] = 1,
    [VERB_TIE] = 1,
    [VERB_CHECKPOINT] = 1,
    [VERB_TEXT] = 5,
    [VERB_PAD] = 2,
    [VERB_POKE] = 4,
    [VERB_SHRINK] = 3,
    [VERB_TOUCH] = 2,
    [VERB_DROP] = 1,
    [VERB_BACK] = 6,
    [VERB_EDIT] = 8,
    [VERB_FORGET] = 2,
    [VERB_STATE] = 3,
    [VERB_STAGED] = 3,
    [VERB_TRIM] = 2,
    [VERB_SOURCE] = 3,
    [VERB_MANIFEST] = 3,
    [VERB_RELOCATE] = 1,
    [VERB_TOOL] = 5,
    [VERB_PAIR] = 1,
    [VERB_OTHER] = 3};

/* ---- chance ---- */

/* splitmix64, by Sebastiano Vigna; public domain. */
uint64_t drawer_next(struct drawer *drawer)
{
    uint64_t z = (drawer->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

unsigned drawer_below(struct drawer *drawer, size_t limit)
{
    return (unsigned)(drawer_next(drawer) % limit);
}

bool drawer_chance(struct drawer *drawer, unsigned percent)
{
    return drawer_below(drawer, 100) < percent;
}

void drawer_add(struct drawer *drawer, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    history_add(drawer->arena, &drawer->history, arena_format_list(drawer->arena, words, list));
    va_end(list);
}

/* ---- the world ---- */

void drawer_set(struct drawer *drawer, enum field field, int value)
{
    drawer->fields[field] = value;
    drawer_add(drawer, "set %s %d", field_rows[field].name, value);
}

static void draw_parts(struct drawer *drawer)
{
    static const struct {
        enum field field;
        unsigned percent;
    } parts[] = {{FIELD_MODEL, 50}, {FIELD_SECOND, 25}, {FIELD_DATA, 40}, {FIELD_PIECES, 15},
        {FIELD_OLD, 15}, {FIELD_LOG, 10}, {FIELD_MANY, 30}, {FIELD_VIEW, 15}};
    size_t count = drawer->history.count;
    while (drawer->history.count == count)
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
            if (drawer_chance(drawer, parts[i].percent))
                drawer_set(drawer, parts[i].field, 1);
    if (drawer->fields[FIELD_DATA] && drawer_chance(drawer, 60))
        drawer_set(drawer, FIELD_SUM, 1);
    if (drawer->fields[FIELD_SECOND] && drawer_chance(drawer, 60)) {
        drawer_set(drawer, FIELD_FROM, drawer_chance(drawer, 80) ? 1 : 2);
        drawer_set(drawer, FIELD_KEEP_FAR, (int)drawer_below(drawer, 3) > 0);
    }
    if (drawer_chance(drawer, 35))
        drawer_set(drawer, FIELD_CACHE, drawer_chance(drawer, 85) ? 1 : 2);
    if (drawer->fields[FIELD_MODEL] && drawer_chance(drawer, 20))
        drawer_set(drawer, FIELD_SHARDS, 1);
}

static bool is_of_use(const struct drawer *drawer, enum field field)
{
    const int *fields = drawer->fields;
    switch (field) {
    case FIELD_BITS:
    case FIELD_GROUP_SIZE:
    case FIELD_OVERRIDES:
    case FIELD_DTYPE:
    case FIELD_SHARDS:
    case FIELD_TEMPLATE:
    case FIELD_NAME_MODEL:
        return fields[FIELD_MODEL];
    case FIELD_RULES:
        return fields[FIELD_MODEL] || fields[FIELD_VIEW];
    case FIELD_BITS_SECOND:
    case FIELD_FROM:
        return fields[FIELD_SECOND];
    case FIELD_BITS_QUANT:
    case FIELD_KEEP_VIEW:
        return fields[FIELD_VIEW];
    case FIELD_TASK_DATA:
    case FIELD_ROLE:
    case FIELD_NAME:
        return fields[FIELD_DATA];
    case FIELD_KEEP_DATA:
        return fields[FIELD_SUM];
    case FIELD_KEEP_FAR:
    case FIELD_FAR:
        return fields[FIELD_SECOND] && fields[FIELD_FROM] != 0;
    case FIELD_TASK_PIECES:
        return fields[FIELD_PIECES];
    case FIELD_TASK_OLD:
        return fields[FIELD_OLD];
    case FIELD_TASK_LOG:
        return fields[FIELD_LOG];
    default:
        return true;
    }
}

static void draw_focus(struct drawer *drawer, size_t most)
{
    if (is_of_use(drawer, FIELD_RULES) && drawer_chance(drawer, 40))
        drawer->focus[drawer->focus_count++] = FIELD_RULES;
    for (unsigned tries = 0; tries < 60 && drawer->focus_count < most; tries++) {
        enum field field = drawer_below(drawer, FIELD_COUNT);
        bool is_rare = field <= FIELD_VIEW || field >= FIELD_INCLUDE;
        bool is_there = false;
        for (size_t i = 0; i < drawer->focus_count; i++)
            is_there |= drawer->focus[i] == field;
        if (!is_there && is_of_use(drawer, field) && (!is_rare || drawer_chance(drawer, 25)))
            drawer->focus[drawer->focus_count++] = field;
    }
    for (size_t i = 0; i < drawer->focus_count; i++)
        if (drawer->focus[i] == FIELD_RULES)
            drawer_set(drawer, FIELD_RULES, 1);
    if (drawer->focus_count == 0)
        drawer->focus[drawer->focus_count++] = FIELD_INCLUDE;
}

static void add_source(struct drawer *drawer, bool is_of_use_here, const char *path)
{
    if (is_of_use_here && drawer_chance(drawer, 60))
        drawer->sources[drawer->source_count++] = path;
}

static void draw_sources(struct drawer *drawer)
{
    const int *fields = drawer->fields;
    bool has_model = fields[FIELD_MODEL] || (fields[FIELD_SECOND] && fields[FIELD_FROM] == 0);
    add_source(drawer, has_model, "src/chat_template.jinja");
    add_source(drawer, has_model, "src/generation_config.json");
    add_source(drawer, has_model, "src/tokenizer.json");
    add_source(drawer, has_model, "src/README.md");
    add_source(drawer, has_model || fields[FIELD_VIEW], checkpoint_files[1]);
    add_source(drawer, fields[FIELD_DATA] || fields[FIELD_PIECES], "raw/a.bin");
    add_source(drawer, fields[FIELD_SUM] || fields[FIELD_OLD] || fields[FIELD_LOG], "raw/b.bin");
    add_source(drawer, fields[FIELD_MANY], "raw/many/config.json");
    add_source(drawer, fields[FIELD_MANY], "raw/many/x.bin");
    add_source(drawer, fields[FIELD_MANY], "raw/many/z.bin");
    if (drawer->source_count == 0)
        drawer->sources[drawer->source_count++] =
            fields[FIELD_MANY] ? "raw/many/x.bin" : "raw/a.bin";
    for (size_t i = 0; i < drawer->source_count; i++)
        if (strchr(drawer->sources[i], '/') == NULL)
            drawer->sources[i] = arena_format(drawer->arena, "src/%s", drawer->sources[i]);
}

static void add_output(struct drawer *drawer, bool is_there, const char *path)
{
    if (is_there)
        drawer->outputs[drawer->output_count++] = path;
}

static void draw_outputs(struct drawer *drawer)
{
    const int *fields = drawer->fields;
    static const char *const of_model[] = {"config.json", "model.safetensors",
        "model.safetensors.index.json", "tokenizer.json", "chat_template.jinja", "README.md"};
    for (size_t i = 0; i < sizeof of_model / sizeof of_model[0]; i++) {
        add_output(
            drawer, fields[FIELD_MODEL], arena_format(drawer->arena, "models/M/%s", of_model[i]));
        add_output(drawer, fields[FIELD_SECOND] && i < 3,
            arena_format(drawer->arena, "models/N/%s", of_model[i]));
    }
    add_output(drawer, fields[FIELD_DATA], "out/data");
    add_output(drawer, fields[FIELD_SUM], "out/sum");
    add_output(drawer, fields[FIELD_PIECES], "out/pieces");
    add_output(drawer, fields[FIELD_OLD], "out/old");
    add_output(drawer, fields[FIELD_LOG], "out/log");
    add_output(drawer, fields[FIELD_MANY], "many/config.json");
    add_output(drawer, fields[FIELD_MANY], "many/x.bin");
    add_output(drawer, fields[FIELD_VIEW], "quant/w.safetensors");
    add_output(drawer, fields[FIELD_VIEW], "merged/w.safetensors");
    add_output(drawer, fields[FIELD_SECOND] && fields[FIELD_FROM] == 1, "far/tokenizer.json");
}

static bool reads_shards(const struct drawer *drawer)
{
    const int *fields = drawer->fields;
    return fields[FIELD_MODEL] || fields[FIELD_VIEW] ||
           (fields[FIELD_SECOND] && fields[FIELD_FROM] == 0);
}

bool drawer_is_idle(const struct drawer *drawer, enum verb verb)
{
    const int *fields = drawer->fields;
    bool is_of_shards = verb == VERB_FLIP || verb == VERB_SWAP || verb == VERB_TAKE_OUT ||
                        verb == VERB_RENAME || verb == VERB_TIE || verb == VERB_CHECKPOINT;
    if (is_of_shards)
        return !reads_shards(drawer);
    if (verb == VERB_TRIM)
        return !fields[FIELD_CACHE];
    if (verb == VERB_SOURCE)
        return !fields[FIELD_SECOND] || fields[FIELD_FROM] == 0;
    return false;
}

/* A history of a few declarations that come again and again, and now and then an input: what is
 * remembered of each is in use. */
static void draw_seesaw(struct drawer *drawer)
{
    static const enum verb others[] = {
        VERB_TEXT, VERB_FILL, VERB_FLIP, VERB_POKE, VERB_BACK, VERB_EDIT, VERB_TRIM, VERB_TOOL};
    drawer->weights[VERB_SWITCH] = drawer->weight_sum = 30;
    for (unsigned i = 0; i < 3; i++) {
        enum verb verb = ONE_OF(drawer, others);
        if (!drawer_is_idle(drawer, verb)) {
            drawer->weights[verb] += 4;
            drawer->weight_sum += 4;
        }
    }
    if (drawer_chance(drawer, 60) && !drawer->fields[FIELD_CACHE])
        drawer_set(drawer, FIELD_CACHE, 1);
}

static void draw_weights(struct drawer *drawer)
{
    static const unsigned factors[] = {0, 0, 1, 1, 2, 6};
    for (enum verb verb = 0; verb < VERB_COUNT; verb++) {
        unsigned weight = weights[verb] * ONE_OF(drawer, factors);
        drawer->weights[verb] = drawer_is_idle(drawer, verb) ? 0 : weight;
        drawer->weight_sum += drawer->weights[verb];
    }
    if (drawer->weight_sum == 0)
        drawer->weights[VERB_SET] = drawer->weight_sum = 1;
}

/* A history of large files that change a little, in runs that are stopped and looked into. */
static void draw_watched(struct drawer *drawer)
{
    static const enum verb verbs[] = {
        VERB_POKE, VERB_POKE, VERB_POKE, VERB_FLIP, VERB_FLIP, VERB_TEXT, VERB_SET, VERB_BACK};
    drawer->is_watched = true;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (!drawer_is_idle(drawer, verbs[i])) {
            drawer->weights[verbs[i]] += 4;
            drawer->weight_sum += 4;
        }
    for (size_t i = 0; i < drawer->source_count; i++)
        if (text_ends_with(text_of(drawer->sources[i]), ".bin") && drawer_chance(drawer, 70))
            drawer_add(drawer, "fill %s 1 9000000", drawer->sources[i]);
}

/* How the steps are mixed. */
static void draw_mixture(struct drawer *drawer, unsigned theme)
{
    static const unsigned percents[] = {0, 20, 40, 60};
    drawer->target_percent = 20;
    drawer->moment_percent = ONE_OF(drawer, percents);
    if (theme < 55) {
        draw_weights(drawer);
    } else if (theme < 72) {
        draw_watched(drawer);
        drawer->moment_percent = 70;
    } else {
        draw_seesaw(drawer);
        drawer->target_percent = 0;
        drawer->is_interrupted = theme < 86;
        drawer->moment_percent = drawer->is_interrupted ? 40 : drawer_chance(drawer, 70) ? 0 : 30;
    }
}

void drawer_begin(struct drawer *drawer)
{
    static const char *const roots[] = {"models", "out", "many"};
    bool is_elsewhere = drawer->seed % 4 == 0;
    drawer_next(drawer);
    unsigned theme = drawer_below(drawer, 100);
    for (enum field field = 0; field < FIELD_COUNT; field++)
        drawer->fields[field] = field_rows[field].first;
    if (is_elsewhere)
        drawer_add(drawer, "device %s", ONE_OF(drawer, roots));
    draw_parts(drawer);
    draw_focus(drawer, theme >= 72 ? FOCUS_MAX : 1 + drawer_below(drawer, FOCUS_MAX));
    draw_sources(drawer);
    draw_outputs(drawer);
    draw_mixture(drawer, theme);
}
