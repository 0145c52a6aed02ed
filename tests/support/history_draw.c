/* history_draw.c - what each step is done to. */
#include "tests/support/history_draw.h"

#include <string.h>

#include "tests/support/history_checkpoint.h"
#include "tests/support/history_disk.h"
#include "tests/support/history_drawer.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { RUN_US = 120000 }; /* about what a build takes */
#else
enum { RUN_US = 20000 };
#endif

/* ---- steps ---- */

static int draw_value(struct drawer *drawer, enum field field)
{
    const char *usual = field_rows[field].usual;
    int value = usual[drawer_below(drawer, strlen(usual))] - '0';
    return field != FIELD_GROUP_SIZE ? value : value == 3 ? 32 : 64;
}

static void add_set(struct drawer *drawer)
{
    enum field field = drawer->focus[drawer_below(drawer, drawer->focus_count)];
    int value = draw_value(drawer, field);
    if (value == drawer->fields[field]) /* most are better changed */
        value = draw_value(drawer, field);
    drawer_set(drawer, field, value);
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
        drawer_set(drawer, drawer->focus[i], drawer->sides[i][drawer->side]);
    add_run(drawer);
}

static const char *draw_source(struct drawer *drawer)
{
    return drawer->changed = drawer->sources[drawer_below(drawer, drawer->source_count)];
}

static void add_fill(struct drawer *drawer)
{
    static const unsigned sizes[] = {6, 6, 3000000, 9000000, 9000000};
    const char *path = draw_source(drawer);
    if (strncmp(path, "raw/", 4) == 0)
        drawer_add(
            drawer, "fill %s %u %u", path, 1 + drawer_below(drawer, 3), ONE_OF(drawer, sizes));
    else if (strstr(path, "tokenizer") == NULL && strstr(path, "safetensors") == NULL)
        drawer_add(drawer, "text %s %u", path, 1 + drawer_below(drawer, 3));
    else
        drawer_add(drawer, "touch %s", path);
}

static void add_text(struct drawer *drawer)
{
    const char *path = draw_source(drawer);
    if (strstr(path, "tokenizer") == NULL && strstr(path, "safetensors") == NULL)
        drawer_add(drawer, "text %s %u", path, 1 + drawer_below(drawer, 3));
    else
        drawer_add(drawer, "touch %s", path);
}

static void add_pad(struct drawer *drawer)
{
    const char *path = draw_source(drawer);
    if (strstr(path, "safetensors") == NULL)
        drawer_add(drawer, "pad %s %u", path, drawer_chance(drawer, 50) ? 9000000U : 4200000U);
}

static void add_poke(struct drawer *drawer)
{
    static const unsigned offsets[] = {2, 5, 1000000, 5000000, 8500000};
    const char *path = draw_source(drawer);
    if (strncmp(path, "raw/", 4) == 0 && strstr(path, "json") == NULL)
        drawer_add(drawer, "poke %s %u", path, ONE_OF(drawer, offsets));
}

static void add_shrink(struct drawer *drawer)
{
    static const unsigned sizes[] = {0, 6, 3000000, 5000000};
    const char *path = draw_source(drawer);
    bool is_json = strstr(path, "json") != NULL;
    if (is_json && drawer_chance(drawer, 60))
        drawer_add(drawer, "back %s", path);
    else
        drawer_add(drawer, "shrink %s %u", path, is_json ? 45000 : ONE_OF(drawer, sizes));
}

static void add_of_shard(struct drawer *drawer, enum verb verb)
{
    unsigned shard = 1 + drawer_below(drawer, CHECKPOINT_SHARDS);
    drawer->changed = arena_format(drawer->arena, "src/%s", checkpoint_files[shard - 1]);
    if (verb == VERB_FLIP)
        drawer_add(drawer, "flip %u %u", shard, drawer_below(drawer, 1000));
    else if (verb == VERB_SWAP)
        drawer_add(drawer, "swap %u", shard);
    else if (verb == VERB_TAKE_OUT)
        drawer_add(drawer, "take-out %u", drawer_chance(drawer, 70) ? 1 : shard);
    else if (verb == VERB_RENAME)
        drawer_add(drawer, "rename");
    else if (verb == VERB_TIE)
        drawer_add(drawer, "tie %u", drawer_below(drawer, 2));
    else
        drawer_add(drawer, "checkpoint %u", 1 + drawer_below(drawer, 2));
}

static void add_edit(struct drawer *drawer)
{
    static const char *const hows[] = {"append", "append", "same", "same", "write", "cut", "remove",
        "remove", "directory", "link", "touch"};
    const char *path = drawer->outputs[drawer_below(drawer, drawer->output_count)];
    const char *how = ONE_OF(drawer, hows);
    if (strcmp(how, "same") == 0 || (drawer->is_watched && drawer_chance(drawer, 50)))
        drawer_add(drawer, "edit %s same %u", path, drawer_below(drawer, 1000));
    else
        drawer_add(drawer, "edit %s %s", path, how);
}

static void add_state(struct drawer *drawer)
{
    static const char *const parts[] = {
        "all", "all", "all", "state", "compiled", "journal", "pieces"};
    drawer_add(drawer, "state %s", drawer_chance(drawer, 45) ? "keep" : ONE_OF(drawer, parts));
}

static void add_forget(struct drawer *drawer)
{
    static const char *const parts[] = {
        "all", "all", "state", "compiled", "journal", "pieces", "partial", "lock"};
    drawer_add(drawer, "forget %s", ONE_OF(drawer, parts));
}

static void add_staged(struct drawer *drawer)
{
    static const char *const hows[] = {"remove", "touch", "damage"};
    drawer_add(drawer, "staged %s %u", ONE_OF(drawer, hows), drawer_below(drawer, 12));
}

static void add_of_source(struct drawer *drawer)
{
    static const char *const of_far[] = {"far break", "far mend", "far mend"};
    static const char *const of_hub[] = {"hub move", "hub break", "hub mend", "hub mend"};
    drawer_add(drawer, "%s",
        drawer->fields[FIELD_FROM] == 1 ? ONE_OF(drawer, of_far) : ONE_OF(drawer, of_hub));
}

static void add_tool(struct drawer *drawer)
{
    static const char *const tools[] = {"-n", "-n", "-n -d explain", "-t verify", "-t clean",
        "-t clean --dead", "-t lock", "-t list"};
    drawer_add(drawer, "tool %s", ONE_OF(drawer, tools));
}

static void add_target(struct drawer *drawer, const char **words)
{
    const char *output = drawer->outputs[drawer_below(drawer, drawer->output_count)];
    const char *slash = strrchr(output, '/');
    bool is_directory = strncmp(output, "models/", 7) == 0 || strncmp(output, "many/", 5) == 0;
    *words = arena_format(drawer->arena, "%s %.*s", *words,
        is_directory ? (int)(slash - output) : (int)strlen(output), output);
}

static const char *draw_options(struct drawer *drawer)
{
    const char *words = arena_format(drawer->arena, "%s", "");
    if (drawer_chance(drawer, 50))
        words = arena_format(drawer->arena, " -j%u", 1 + drawer_below(drawer, 8));
    if (drawer_chance(drawer, 15))
        words = arena_format(drawer->arena, "%s -k0", words);
    if (drawer_chance(drawer, 10))
        words = arena_format(drawer->arena, "%s --memory=1M", words);
    if (drawer_chance(drawer, 7))
        words = arena_format(drawer->arena, "%s -B", words);
    if (drawer_chance(drawer, 4))
        words = arena_format(drawer->arena, "%s --offline", words);
    if (drawer_chance(drawer, drawer->target_percent) && drawer->output_count > 0)
        add_target(drawer, &words);
    return words;
}

static const char *draw_how(
    struct drawer *drawer, const char *end, const char *stop, const char *usual)
{
    if (!drawer_chance(drawer, 70))
        return usual;
    return drawer->is_interrupted ? end : drawer->is_watched ? stop : usual;
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
    static const char *const usual[] = {"pause", "pause", "pause", "exit", "exit", "fail"};
    const char *how = draw_how(drawer, "exit", "pause", ONE_OF(drawer, usual));
    if (*how == 'e' && drawer_chance(drawer, 40)) /* most writes are of pieces and their log */
        return arena_format(drawer->arena, "exit:write:%u", 1 + drawer_below(drawer, 80));
    size_t kind = drawer_below(drawer, sizeof kinds / sizeof kinds[0]);
    unsigned count = kinds[kind].count;
    if (drawer_chance(drawer, 30))
        count = 1 + count / 8;
    return arena_format(
        drawer->arena, "%s:%s:%u", how, kinds[kind].kind, 1 + drawer_below(drawer, count));
}
#else
static const char *draw_moment(struct drawer *drawer)
{
    static const char *const usual[] = {"after", "after", "after", "kill", "kill", "int"};
    const char *how = draw_how(drawer, "kill", "after", ONE_OF(drawer, usual));
    return arena_format(drawer->arena, "%s:%u", how, drawer_below(drawer, RUN_US));
}
#endif

static void add_verb(struct drawer *drawer, enum verb verb);

/* ---- themes: what needs a few steps in that order, of the very files ---- */

/* A moment late in a build, or early in its renames. */
static const char *draw_point(
    struct drawer *drawer, const char *how, const char *kind, unsigned first, unsigned last)
{
#ifdef PSYBUILD_FAULT
    return arena_format(
        drawer->arena, "%s:%s:%u", how, kind, first + drawer_below(drawer, last - first + 1));
#else
    (void)kind, (void)first, (void)last;
    return arena_format(drawer->arena, "%s:%u", strcmp(how, "pause") == 0 ? "after" : "kill",
        drawer_below(drawer, RUN_US));
#endif
}

/* A model half made by one set of rules is made by another, and by the first again. */
static void add_rules_and_back(struct drawer *drawer)
{
    drawer_set(drawer, FIELD_MODEL, 1);
    drawer_set(drawer, FIELD_RULES, 1);
    drawer_add(drawer, "run -j1 @%s ", draw_point(drawer, "exit", "io", 150, 240));
    drawer_set(drawer, FIELD_RULES, 2);
    drawer_add(drawer, "run");
    drawer_set(drawer, FIELD_RULES, 1);
    drawer_add(drawer, "run");
}

/* Files of one directory that loads change together, and the build dies among the renames. */
static void add_death_in_a_seal(struct drawer *drawer)
{
    unsigned version = drawer_below(drawer, 3);
    drawer_set(drawer, FIELD_MANY, 1);
    drawer_add(drawer, "run");
    drawer_add(drawer, "text raw/many/config.json %u", 1 + (version + 1) % 3);
    drawer_add(drawer, "text raw/many/x.bin %u", 1 + (version + 2) % 3);
    if (drawer_chance(drawer, 30))
        drawer_add(drawer, "edit many/config.json append");
    drawer_add(drawer, "run @%s ", draw_point(drawer, "exit", "rename", 1, 8));
    if (drawer_chance(drawer, 30))
        drawer_add(drawer, "edit many/config.json append");
    drawer_add(drawer, "run");
}

/* The very file that is copied from is edited meanwhile. */
static void add_edit_of_a_copy(struct drawer *drawer)
{
    drawer_set(drawer, FIELD_PIECES, 1);
    drawer_add(drawer, "fill raw/a.bin %u 9000000", 1 + drawer_below(drawer, 3));
    drawer_add(drawer, "run");
    drawer_add(drawer, "poke raw/a.bin 1000000");
    drawer_add(drawer, "run -j1 @%s edit out/pieces same %u",
        draw_point(drawer, "pause", "io", 16, 70), drawer_below(drawer, 1000));
    drawer_add(drawer, "run");
}

static void add_theme(struct drawer *drawer)
{
    static void (*const themes[])(struct drawer * drawer) = {
        add_rules_and_back, add_death_in_a_seal, add_edit_of_a_copy};
    ONE_OF(drawer, themes)(drawer);
}

/* One more step, as a deed: drawn like any other, then taken out of the history. */
static const char *draw_deed(struct drawer *drawer)
{
    static const enum verb verbs[] = {VERB_EDIT, VERB_EDIT, VERB_EDIT, VERB_FILL, VERB_FLIP,
        VERB_SWAP, VERB_TEXT, VERB_TOUCH, VERB_BACK, VERB_POKE, VERB_SHRINK, VERB_DROP, VERB_STAGED,
        VERB_STAGED, VERB_STAGED, VERB_FORGET, VERB_FORGET, VERB_STATE};
    static const char *const others[] = {"int", "kill", "second"};
    enum verb verb =
        drawer->is_watched && drawer_chance(drawer, 60) ? VERB_EDIT : ONE_OF(drawer, verbs);
    size_t count = drawer->history.count;
    if (drawer_chance(drawer, 10))
        return ONE_OF(drawer, others);
    if (!drawer_is_idle(drawer, verb))
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
    if (!drawer_chance(drawer, drawer->moment_percent)) {
        drawer_add(drawer, "run%s", words);
        return;
    }
    const char *moment = draw_moment(drawer), *deeds = "";
    bool has_deeds = strncmp(moment, "pause", 5) == 0 || strncmp(moment, "after", 5) == 0;
    if (has_deeds)
        deeds = draw_deed(drawer);
    if (has_deeds &&
        (strncmp(deeds, "forget", 6) == 0 ? drawer_chance(drawer, 70) : drawer_chance(drawer, 20)))
        deeds = arena_format(drawer->arena, "%s ; %s", deeds,
            strncmp(deeds, "forget", 6) == 0 ? "second" : draw_deed(drawer));
    drawer_add(drawer, "run%s @%s %s", words, moment, deeds);
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
        drawer_add(drawer, "touch %s", draw_source(drawer));
        break;
    case VERB_DROP:
        drawer_add(drawer, "drop %s", draw_source(drawer));
        break;
    case VERB_BACK:
        drawer_add(drawer, "back %s",
            drawer->changed == NULL || drawer_chance(drawer, 20) ? draw_source(drawer)
                                                                 : drawer->changed);
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
        drawer_add(drawer, "trim %u", drawer_below(drawer, 4));
        break;
    case VERB_SOURCE:
        add_of_source(drawer);
        break;
    case VERB_MANIFEST:
        drawer_add(drawer, "manifest %s", drawer_chance(drawer, 40) ? "keep" : "back");
        break;
    case VERB_RELOCATE:
        drawer_add(drawer, "relocate");
        break;
    case VERB_TOOL:
        add_tool(drawer);
        break;
    case VERB_PAIR:
        drawer_add(drawer, "pair%s", draw_options(drawer));
        break;
    case VERB_OTHER:
        drawer_add(drawer, "%s", drawer_chance(drawer, 50) ? "other" : "both");
        break;
    case VERB_COUNT:
        break;
    }
}

static enum verb draw_verb(struct drawer *drawer)
{
    unsigned at = drawer_below(drawer, drawer->weight_sum);
    enum verb verb = 0;
    while (at >= drawer->weights[verb])
        at -= drawer->weights[verb++];
    return verb;
}

static void draw_steps(struct drawer *drawer, size_t step_count)
{
    size_t first = drawer->history.count;
    unsigned since = 0; /* steps after the last run */
    if (drawer_chance(drawer, 12))
        add_theme(drawer);
    add_run(drawer);
    for (size_t tries = 0; drawer->history.count - first < step_count && tries < 10 * step_count;
         tries++)
        if (since >= 1 + drawer_below(drawer, 3)) {
            add_run(drawer);
            since = 0;
        } else {
            add_verb(drawer, draw_verb(drawer));
            since++;
        }
}

struct history history_draw(struct arena *arena, uint64_t seed, size_t step_count)
{
    struct drawer drawer = {.arena = arena, .seed = seed};
    drawer_begin(&drawer);
    draw_sides(&drawer);
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
