/* history_draw.c - weights: how often which step comes, and what it is done to. */
#include "tests/support/history_draw.h"

#include <stdbool.h>
#include <string.h>

#include "tests/support/history_checkpoint.h"
#include "tests/support/history_disk.h"
#include "tests/support/history_manifest.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RUN_US = 120000 }; /* about what a build takes */
#else
enum { RUN_US = 20000 };
#endif

enum { FOCUS_MAX = 3, FILES_MAX = 40 };

enum verb {
    VERB_SET,
    VERB_SWITCH, /* all fields in focus at once, there and back */
    VERB_FILL,
    VERB_FLIP,
    VERB_SWAP,
    VERB_TAKE_OUT,
    VERB_RENAME,
    VERB_TIE,
    VERB_CHECKPOINT,
    VERB_TEXT,
    VERB_PAD,
    VERB_POKE,
    VERB_SHRINK,
    VERB_TOUCH,
    VERB_DROP,
    VERB_BACK,
    VERB_EDIT,
    VERB_FORGET,
    VERB_STATE,
    VERB_STAGED,
    VERB_TRIM,
    VERB_SOURCE,
    VERB_MANIFEST,
    VERB_RELOCATE,
    VERB_TOOL,
    VERB_PAIR,
    VERB_OTHER,
    VERB_COUNT
};

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

struct drawer {
    struct arena *arena;
    uint64_t seed;
    struct history history;
    int fields[FIELD_COUNT];
    unsigned weights[VERB_COUNT];
    unsigned weight_sum;
    enum field focus[FOCUS_MAX];
    size_t focus_count;
    int sides[FOCUS_MAX][2]; /* what a switch sets them to */
    unsigned side;
    const char *sources[FILES_MAX]; /* those that are small texts or raw */
    size_t source_count;
    const char *outputs[FILES_MAX];
    size_t output_count;
    const char *changed; /* the source that a step changed last */
    unsigned version;
    unsigned moment_percent, target_percent;
};

/* ---- chance ---- */

/* splitmix64, by Sebastiano Vigna; public domain. */
static uint64_t draw(struct drawer *drawer)
{
    uint64_t z = (drawer->seed += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static unsigned below(struct drawer *drawer, size_t limit)
{
    return (unsigned)(draw(drawer) % limit);
}

static bool chance(struct drawer *drawer, unsigned percent)
{
    return below(drawer, 100) < percent;
}

#define ONE_OF(drawer, list) ((list)[below(drawer, sizeof(list) / sizeof *(list))])

static void set(struct drawer *drawer, enum field field, int value);
static void add(struct drawer *drawer, const char *words, ...) PRINTF_LIKE(2, 3);
static void add(struct drawer *drawer, const char *words, ...)
{
    va_list list;
    va_start(list, words);
    history_add(drawer->arena, &drawer->history, arena_format_list(drawer->arena, words, list));
    va_end(list);
}

/* ---- the world ---- */

static void set(struct drawer *drawer, enum field field, int value)
{
    drawer->fields[field] = value;
    add(drawer, "set %s %d", field_rows[field].name, value);
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
            if (chance(drawer, parts[i].percent))
                set(drawer, parts[i].field, 1);
    if (drawer->fields[FIELD_DATA] && chance(drawer, 60))
        set(drawer, FIELD_SUM, 1);
    if (drawer->fields[FIELD_SECOND] && chance(drawer, 60)) {
        set(drawer, FIELD_FROM, chance(drawer, 80) ? 1 : 2);
        set(drawer, FIELD_KEEP_FAR, (int)below(drawer, 3) > 0);
    }
    if (chance(drawer, 35))
        set(drawer, FIELD_CACHE, chance(drawer, 85) ? 1 : 2);
    if (drawer->fields[FIELD_MODEL] && chance(drawer, 20))
        set(drawer, FIELD_SHARDS, 1);
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
    if (is_of_use(drawer, FIELD_RULES) && chance(drawer, 20))
        drawer->focus[drawer->focus_count++] = FIELD_RULES;
    for (unsigned tries = 0; tries < 60 && drawer->focus_count < most; tries++) {
        enum field field = below(drawer, FIELD_COUNT);
        bool is_rare = field <= FIELD_VIEW || field >= FIELD_INCLUDE;
        bool is_there = false;
        for (size_t i = 0; i < drawer->focus_count; i++)
            is_there |= drawer->focus[i] == field;
        if (!is_there && is_of_use(drawer, field) && (!is_rare || chance(drawer, 25)))
            drawer->focus[drawer->focus_count++] = field;
    }
    for (size_t i = 0; i < drawer->focus_count; i++)
        if (drawer->focus[i] == FIELD_RULES)
            set(drawer, FIELD_RULES, 1);
    if (drawer->focus_count == 0)
        drawer->focus[drawer->focus_count++] = FIELD_INCLUDE;
}

static void add_source(struct drawer *drawer, bool is_of_use_here, const char *path)
{
    if (is_of_use_here && chance(drawer, 60))
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

static bool is_idle(const struct drawer *drawer, enum verb verb)
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
        if (!is_idle(drawer, verb)) {
            drawer->weights[verb] += 4;
            drawer->weight_sum += 4;
        }
    }
    if (chance(drawer, 80) && !drawer->fields[FIELD_CACHE])
        set(drawer, FIELD_CACHE, 1);
}

static void draw_weights(struct drawer *drawer)
{
    static const unsigned factors[] = {0, 0, 1, 1, 2, 6};
    for (enum verb verb = 0; verb < VERB_COUNT; verb++) {
        unsigned weight = weights[verb] * ONE_OF(drawer, factors);
        drawer->weights[verb] = is_idle(drawer, verb) ? 0 : weight;
        drawer->weight_sum += drawer->weights[verb];
    }
    if (drawer->weight_sum == 0)
        drawer->weights[VERB_SET] = drawer->weight_sum = 1;
}

/* ---- steps ---- */

static int draw_value(struct drawer *drawer, enum field field)
{
    const char *usual = field_rows[field].usual;
    int value = usual[below(drawer, strlen(usual))] - '0';
    return field != FIELD_GROUP_SIZE ? value : value == 3 ? 32 : 64;
}

static void add_set(struct drawer *drawer)
{
    enum field field = drawer->focus[below(drawer, drawer->focus_count)];
    int value = draw_value(drawer, field);
    if (value == drawer->fields[field]) /* most are better changed */
        value = draw_value(drawer, field);
    set(drawer, field, value);
}

static void draw_sides(struct drawer *drawer)
{
    for (size_t i = 0; i < drawer->focus_count; i++) {
        int *sides = drawer->sides[i];
        sides[0] = drawer->fields[drawer->focus[i]];
        sides[1] = sides[0];
        for (unsigned tries = 0; tries < 8 && sides[1] == sides[0]; tries++)
            sides[1] = draw_value(drawer, drawer->focus[i]);
    }
}

static void add_run(struct drawer *drawer);

static void add_switch(struct drawer *drawer)
{
    drawer->side ^= 1;
    for (size_t i = 0; i < drawer->focus_count; i++)
        set(drawer, drawer->focus[i], drawer->sides[i][drawer->side]);
    add_run(drawer);
}

static const char *draw_source(struct drawer *drawer)
{
    return drawer->changed = drawer->sources[below(drawer, drawer->source_count)];
}

static void add_fill(struct drawer *drawer)
{
    static const unsigned sizes[] = {6, 6, 3000000, 9000000, 9000000};
    const char *path = draw_source(drawer);
    if (strncmp(path, "raw/", 4) == 0)
        add(drawer, "fill %s %u %u", path, 1 + below(drawer, 3), ONE_OF(drawer, sizes));
    else if (strstr(path, "tokenizer") == NULL && strstr(path, "safetensors") == NULL)
        add(drawer, "text %s %u", path, 1 + below(drawer, 3));
    else
        add(drawer, "touch %s", path);
}

static void add_text(struct drawer *drawer)
{
    const char *path = draw_source(drawer);
    if (strstr(path, "tokenizer") == NULL && strstr(path, "safetensors") == NULL)
        add(drawer, "text %s %u", path, 1 + below(drawer, 3));
    else
        add(drawer, "touch %s", path);
}

static void add_pad(struct drawer *drawer)
{
    const char *path = draw_source(drawer);
    if (strstr(path, "safetensors") == NULL)
        add(drawer, "pad %s %u", path, chance(drawer, 50) ? 9000000U : 4200000U);
}

static void add_poke(struct drawer *drawer)
{
    static const unsigned offsets[] = {2, 5, 1000000, 5000000, 8500000};
    const char *path = draw_source(drawer);
    if (strncmp(path, "raw/", 4) == 0 && strstr(path, "json") == NULL)
        add(drawer, "poke %s %u", path, ONE_OF(drawer, offsets));
}

static void add_shrink(struct drawer *drawer)
{
    static const unsigned sizes[] = {0, 6, 3000000, 5000000};
    const char *path = draw_source(drawer);
    bool is_json = strstr(path, "json") != NULL;
    if (is_json && chance(drawer, 60))
        add(drawer, "back %s", path);
    else
        add(drawer, "shrink %s %u", path, is_json ? 45000 : ONE_OF(drawer, sizes));
}

static void add_of_shard(struct drawer *drawer, enum verb verb)
{
    unsigned shard = 1 + below(drawer, CHECKPOINT_SHARDS);
    drawer->changed = arena_format(drawer->arena, "src/%s", checkpoint_files[shard - 1]);
    if (verb == VERB_FLIP)
        add(drawer, "flip %u %u", shard, below(drawer, 1000));
    else if (verb == VERB_SWAP)
        add(drawer, "swap %u", shard);
    else if (verb == VERB_TAKE_OUT)
        add(drawer, "take-out %u", chance(drawer, 70) ? 1 : shard);
    else if (verb == VERB_RENAME)
        add(drawer, "rename");
    else if (verb == VERB_TIE)
        add(drawer, "tie %u", below(drawer, 2));
    else
        add(drawer, "checkpoint %u", 1 + below(drawer, 2));
}

static void add_edit(struct drawer *drawer)
{
    static const char *const hows[] = {"append", "append", "same", "same", "write", "cut", "remove",
        "remove", "directory", "link", "touch"};
    const char *path = drawer->outputs[below(drawer, drawer->output_count)];
    const char *how = ONE_OF(drawer, hows);
    if (strcmp(how, "same") == 0)
        add(drawer, "edit %s same %u", path, below(drawer, 1000));
    else
        add(drawer, "edit %s %s", path, how);
}

static void add_state(struct drawer *drawer)
{
    static const char *const parts[] = {"all", "all", "all", "state", "quick", "journal", "pieces"};
    add(drawer, "state %s", chance(drawer, 45) ? "keep" : ONE_OF(drawer, parts));
}

static void add_forget(struct drawer *drawer)
{
    static const char *const parts[] = {
        "all", "all", "state", "quick", "journal", "pieces", "partial", "lock"};
    add(drawer, "forget %s", ONE_OF(drawer, parts));
}

static void add_staged(struct drawer *drawer)
{
    static const char *const hows[] = {"remove", "touch", "damage"};
    add(drawer, "staged %s %u", ONE_OF(drawer, hows), below(drawer, 12));
}

static void add_of_source(struct drawer *drawer)
{
    static const char *const of_far[] = {"far break", "far mend", "far mend"};
    static const char *const of_hub[] = {"hub move", "hub break", "hub mend", "hub mend"};
    add(drawer, "%s",
        drawer->fields[FIELD_FROM] == 1 ? ONE_OF(drawer, of_far) : ONE_OF(drawer, of_hub));
}

static void add_tool(struct drawer *drawer)
{
    static const char *const tools[] = {"-n", "-n", "-n -d explain", "-t verify", "-t clean",
        "-t clean --dead", "-t lock", "-t list"};
    add(drawer, "tool %s", ONE_OF(drawer, tools));
}

static void add_target(struct drawer *drawer, const char **words)
{
    const char *output = drawer->outputs[below(drawer, drawer->output_count)];
    const char *slash = strrchr(output, '/');
    bool is_directory = strncmp(output, "models/", 7) == 0 || strncmp(output, "many/", 5) == 0;
    *words = arena_format(drawer->arena, "%s %.*s", *words,
        is_directory ? (int)(slash - output) : (int)strlen(output), output);
}

static const char *draw_options(struct drawer *drawer)
{
    const char *words = arena_format(drawer->arena, "%s", "");
    if (chance(drawer, 50))
        words = arena_format(drawer->arena, " -j%u", 1 + below(drawer, 8));
    if (chance(drawer, 15))
        words = arena_format(drawer->arena, "%s -k0", words);
    if (chance(drawer, 10))
        words = arena_format(drawer->arena, "%s --memory=1M", words);
    if (chance(drawer, 7))
        words = arena_format(drawer->arena, "%s -B", words);
    if (chance(drawer, 4))
        words = arena_format(drawer->arena, "%s --offline", words);
    if (chance(drawer, drawer->target_percent) && drawer->output_count > 0)
        add_target(drawer, &words);
    return words;
}

#ifdef PSYBUILD_FAULT
/* About as many points of a kind as a build has; small numbers are where it begins. */
static const char *draw_moment(struct drawer *drawer)
{
    static const struct {
        const char *kind;
        unsigned count;
    } kinds[] = {{"any", 3000}, {"io", 160}, {"io", 160}, {"io", 320}, {"rename", 14},
        {"rename", 14}, {"sync", 24}, {"write", 80}, {"write", 80}, {"open", 60}, {"read", 40},
        {"remove", 10}, {"alloc", 3000}};
    static const char *const how[] = {"pause", "pause", "pause", "exit", "exit", "fail"};
    size_t kind = below(drawer, sizeof kinds / sizeof kinds[0]);
    unsigned count = kinds[kind].count;
    if (chance(drawer, 30))
        count = 1 + count / 8;
    return arena_format(
        drawer->arena, "%s:%s:%u", ONE_OF(drawer, how), kinds[kind].kind, 1 + below(drawer, count));
}
#else
static const char *draw_moment(struct drawer *drawer)
{
    static const char *const how[] = {"after", "after", "after", "kill", "kill", "int"};
    return arena_format(drawer->arena, "%s:%u", ONE_OF(drawer, how), below(drawer, RUN_US));
}
#endif

static void add_verb(struct drawer *drawer, enum verb verb);

/* One more step, as a deed: drawn like any other, then taken out of the history. */
static const char *draw_deed(struct drawer *drawer)
{
    static const enum verb verbs[] = {VERB_EDIT, VERB_EDIT, VERB_EDIT, VERB_FILL, VERB_FLIP,
        VERB_SWAP, VERB_TEXT, VERB_TOUCH, VERB_BACK, VERB_POKE, VERB_SHRINK, VERB_DROP, VERB_STAGED,
        VERB_STAGED, VERB_STAGED, VERB_FORGET, VERB_FORGET, VERB_STATE};
    static const char *const others[] = {"int", "kill", "second"};
    enum verb verb = ONE_OF(drawer, verbs);
    size_t count = drawer->history.count;
    if (chance(drawer, 10))
        return ONE_OF(drawer, others);
    if (!is_idle(drawer, verb))
        add_verb(drawer, verb);
    if (drawer->history.count == count)
        return "second";
    const char *deed = drawer->history.steps[--drawer->history.count];
    /* bytes that psybuild has just written, under its hands: nothing can notice that */
    return strncmp(deed, "staged damage", 13) == 0 ? "staged touch 0" : deed;
}

static void add_run(struct drawer *drawer)
{
    const char *words = draw_options(drawer);
    if (!chance(drawer, drawer->moment_percent)) {
        add(drawer, "run%s", words);
        return;
    }
    const char *moment = draw_moment(drawer), *deeds = "";
    bool has_deeds = strncmp(moment, "pause", 5) == 0 || strncmp(moment, "after", 5) == 0;
    if (has_deeds)
        deeds = draw_deed(drawer);
    if (has_deeds && (strncmp(deeds, "forget", 6) == 0 ? chance(drawer, 70) : chance(drawer, 20)))
        deeds = arena_format(drawer->arena, "%s ; %s", deeds,
            strncmp(deeds, "forget", 6) == 0 ? "second" : draw_deed(drawer));
    add(drawer, "run%s @%s %s", words, moment, deeds);
}

static void add_verb(struct drawer *drawer, enum verb verb)
{
    switch (verb) {
    case VERB_SET:
        add_set(drawer);
        break;
    case VERB_SWITCH:
        add_switch(drawer);
        break;
    case VERB_FILL:
        add_fill(drawer);
        break;
    case VERB_FLIP:
    case VERB_SWAP:
    case VERB_TAKE_OUT:
    case VERB_RENAME:
    case VERB_TIE:
    case VERB_CHECKPOINT:
        add_of_shard(drawer, verb);
        break;
    case VERB_TEXT:
        add_text(drawer);
        break;
    case VERB_PAD:
        add_pad(drawer);
        break;
    case VERB_POKE:
        add_poke(drawer);
        break;
    case VERB_SHRINK:
        add_shrink(drawer);
        break;
    case VERB_TOUCH:
        add(drawer, "touch %s", draw_source(drawer));
        break;
    case VERB_DROP:
        add(drawer, "drop %s", draw_source(drawer));
        break;
    case VERB_BACK:
        add(drawer, "back %s",
            drawer->changed == NULL || chance(drawer, 20) ? draw_source(drawer) : drawer->changed);
        break;
    case VERB_EDIT:
        add_edit(drawer);
        break;
    case VERB_FORGET:
        add_forget(drawer);
        break;
    case VERB_STATE:
        add_state(drawer);
        break;
    case VERB_STAGED:
        add_staged(drawer);
        break;
    case VERB_TRIM:
        add(drawer, "trim %u", below(drawer, 4));
        break;
    case VERB_SOURCE:
        add_of_source(drawer);
        break;
    case VERB_MANIFEST:
        add(drawer, "manifest %s", chance(drawer, 40) ? "keep" : "back");
        break;
    case VERB_RELOCATE:
        add(drawer, "relocate");
        break;
    case VERB_TOOL:
        add_tool(drawer);
        break;
    case VERB_PAIR:
        add(drawer, "pair%s", draw_options(drawer));
        break;
    case VERB_OTHER:
        add(drawer, "%s", chance(drawer, 50) ? "other" : "both");
        break;
    case VERB_COUNT:
        break;
    }
}

static enum verb draw_verb(struct drawer *drawer)
{
    unsigned at = below(drawer, drawer->weight_sum);
    enum verb verb = 0;
    while (at >= drawer->weights[verb])
        at -= drawer->weights[verb++];
    return verb;
}

static void draw_steps(struct drawer *drawer, size_t step_count)
{
    size_t first = drawer->history.count;
    unsigned since = 0; /* steps after the last run */
    add_run(drawer);
    for (size_t tries = 0; drawer->history.count - first < step_count && tries < 10 * step_count;
         tries++)
        if (since >= 1 + below(drawer, 3)) {
            add_run(drawer);
            since = 0;
        } else {
            add_verb(drawer, draw_verb(drawer));
            since++;
        }
}

struct history history_draw(struct arena *arena, uint64_t seed, size_t step_count)
{
    static const unsigned percents[] = {0, 20, 40, 60};
    struct drawer drawer = {.arena = arena, .seed = seed};
    draw(&drawer);
    bool is_seesaw = chance(&drawer, 20);
    for (enum field field = 0; field < FIELD_COUNT; field++)
        drawer.fields[field] = field_rows[field].first;
    if (seed % 4 == 0) {
        static const char *const roots[] = {"models", "out", "many"};
        add(&drawer, "device %s", ONE_OF(&drawer, roots));
    }
    draw_parts(&drawer);
    draw_focus(&drawer, is_seesaw ? FOCUS_MAX : 1 + below(&drawer, FOCUS_MAX));
    draw_sources(&drawer);
    draw_outputs(&drawer);
    if (is_seesaw)
        draw_seesaw(&drawer);
    else
        draw_weights(&drawer);
    draw_sides(&drawer);
    drawer.moment_percent = is_seesaw && chance(&drawer, 60) ? 0 : ONE_OF(&drawer, percents);
    drawer.target_percent = is_seesaw ? 0 : 20;
    draw_steps(&drawer, step_count);
    return drawer.history;
}

/* ---- text ---- */

void history_add(struct arena *arena, struct history *history, const char *step)
{
    history->steps = arena_grow(
        arena, history->steps, history->count, &history->capacity, sizeof *history->steps);
    if (history->steps == NULL || step == NULL)
        disk_give_up("out of memory");
    history->steps[history->count++] = step;
}

struct history history_parse(struct arena *arena, const char *text)
{
    struct history history = {.count = 0};
    char *rest = arena_format(arena, "%s", text);
    for (char *line; (line = strtok_r(rest, "\n", &rest)) != NULL;) {
        line += strspn(line, " ");
        if (*line != '#' && *line != '\0')
            history_add(arena, &history, line);
    }
    return history;
}

const char *history_text(struct arena *arena, const struct history *history)
{
    const char *text = arena_format(arena, "%s", "");
    for (size_t i = 0; i < history->count; i++)
        text = arena_format(arena, "%s%s\n", text, history->steps[i]);
    return text;
}
