/* history_step.c - a table of verbs. */
#include "tests/support/history_step.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/history_checkpoint.h"

enum { WORDS_MAX = 5, LINE_MAX_BYTES = 200 };

struct words { /* of a step; "" where there is none */
    const char *at[WORDS_MAX];
    unsigned long number[WORDS_MAX];
};

/* The file as it is now can be had back, with its time. */
static void keep_version(struct world *world, const char *path)
{
    if (disk_is_file(path))
        disk_copy(path, arena_format(world->arena, "../saved/%s", path));
}

static const char *shard_of(struct world *world, unsigned long number)
{
    return arena_format(world->arena, "src/%s",
        checkpoint_files[(number + CHECKPOINT_SHARDS - 1) % CHECKPOINT_SHARDS]);
}

static unsigned shard_number(unsigned long number)
{
    return (unsigned)((number + CHECKPOINT_SHARDS - 1) % CHECKPOINT_SHARDS) + 1;
}

/* ---- sources ---- */

static void do_flip(struct world *world, const struct words *words)
{
    keep_version(world, shard_of(world, words->number[1]));
    checkpoint_flip("src", shard_number(words->number[1]), (unsigned)words->number[2] % 1000);
}

static void do_swap(struct world *world, const struct words *words)
{
    keep_version(world, shard_of(world, words->number[1]));
    checkpoint_swap("src", shard_number(words->number[1]));
}

static void do_take_out(struct world *world, const struct words *words)
{
    keep_version(world, shard_of(world, words->number[1]));
    checkpoint_take_out("src", shard_number(words->number[1]));
}

static void do_rename(struct world *world, const struct words *words)
{
    (void)words;
    keep_version(world, shard_of(world, 1));
    checkpoint_rename("src");
}

static void do_tie(struct world *world, const struct words *words)
{
    keep_version(world, "src/config.json");
    checkpoint_tie("src", words->number[1] != 0);
}

static void do_checkpoint(struct world *world, const struct words *words)
{
    for (size_t i = 0; checkpoint_files[i] != NULL; i++)
        keep_version(world, arena_format(world->arena, "src/%s", checkpoint_files[i]));
    checkpoint_put("src", (unsigned)words->number[1]);
}

static void do_text(struct world *world, const struct words *words)
{
    bool is_json = text_ends_with(text_of(words->at[1]), ".json");
    keep_version(world, words->at[1]);
    disk_put_text(
        words->at[1], arena_format(world->arena,
                          is_json ? "{\"version\": %lu}\n" : "Of version %lu\n", words->number[2]));
}

static void do_pad(struct world *world, const struct words *words)
{
    keep_version(world, words->at[1]);
    disk_pad(words->at[1], words->number[2]);
}

static void do_fill(struct world *world, const struct words *words)
{
    keep_version(world, words->at[1]);
    disk_fill(words->at[1], (unsigned)words->number[2], words->number[3]);
}

static void do_poke(struct world *world, const struct words *words)
{
    keep_version(world, words->at[1]);
    if (disk_size(words->at[1]) > words->number[2])
        disk_poke(words->at[1], words->number[2], "#", 1);
}

static void do_shrink(struct world *world, const struct words *words)
{
    keep_version(world, words->at[1]);
    if (disk_size(words->at[1]) > words->number[2])
        disk_truncate(words->at[1], words->number[2]);
}

static void do_touch(struct world *world, const struct words *words)
{
    (void)world;
    disk_touch(words->at[1]);
}

static void do_drop(struct world *world, const struct words *words)
{
    keep_version(world, words->at[1]);
    disk_remove(words->at[1]);
}

/* The two change places, so that the next step of this kind brings the newer one back. */
static void do_back(struct world *world, const struct words *words)
{
    const char *saved = arena_format(world->arena, "../saved/%s", words->at[1]);
    if (!disk_has(saved))
        return;
    disk_copy(saved, "../saved/back");
    keep_version(world, words->at[1]);
    disk_remove(words->at[1]);
    disk_move("../saved/back", words->at[1]);
}

/* ---- the manifest ---- */

static void do_set(struct world *world, const struct words *words)
{
    enum field field = field_find(words->at[1]);
    if (field == FIELD_NONE)
        disk_give_up("set %s: no such field", words->at[1]);
    world->now.fields[field] = (int)words->number[2];
    if (field <= FIELD_VIEW || field == FIELD_NAME_MODEL || field == FIELD_FROM)
        world->has_forgotten = true; /* what is not declared for a while */
    world_write_manifest(world);
}

static void copy_manifest(struct world *world, const char *from, const char *to)
{
    static const char *const names[] = {"psybuild.json", "more.json", "psybuild.lock"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        disk_remove(arena_format(world->arena, "%s/%s", to, names[i]));
        disk_copy(arena_format(world->arena, "%s/%s", from, names[i]),
            arena_format(world->arena, "%s/%s", to, names[i]));
    }
}

static void do_manifest(struct world *world, const struct words *words)
{
    if (strcmp(words->at[1], "keep") == 0) {
        copy_manifest(world, ".", "../saved/manifest");
        world->saved = world->now;
        world->has_saved = true;
    } else if (world->has_saved) {
        copy_manifest(world, "../saved/manifest", ".");
        world->now = world->saved;
        world_write_manifest(world); /* the rules, too */
    }
}

/* ---- outputs ---- */

/* Behind it, or over its bytes at that place. */
static void edit_in_place(
    struct world *world, const char *path, bool is_append, unsigned long permille)
{
    size_t size = disk_size(path), length = strlen("<mark 0000>");
    if (!disk_is_file(path) || (!is_append && size < length))
        return;
    disk_poke(path, is_append ? size : (size - length) * (permille % 1000) / 1000,
        world_mark(world, path), length);
}

static void put_in_place(struct world *world, const char *path, const char *how)
{
    if (strcmp(how, "directory") == 0) {
        disk_remove(path);
        const char *inner = arena_format(world->arena, "%s/mine", path);
        disk_put_text(inner, world_mark(world, inner));
    } else if (strcmp(how, "link") == 0) {
        disk_remove(path);
        disk_put_text("../saved/linked", "what a link leads to");
        disk_link(path, arena_format(world->arena, "%s/saved/linked", world->now.run));
    } else if (!disk_is_directory(path)) {
        disk_put_text(path, world_mark(world, path));
    }
    path_set_add(world->arena, &world->known, path);
}

static void do_edit(struct world *world, const struct words *words)
{
    const char *path = words->at[1], *how = words->at[2];
    path_set_add(world->arena, &world->edited, path);
    if (strcmp(how, "append") == 0 || strcmp(how, "same") == 0)
        edit_in_place(world, path, how[0] == 'a', words->number[3]);
    else if (strcmp(how, "cut") == 0)
        disk_truncate(path, disk_size(path) / 2);
    else if (strcmp(how, "remove") == 0)
        disk_remove(path);
    else if (strcmp(how, "touch") == 0)
        disk_touch(path);
    else
        put_in_place(world, path, how);
}

/* ---- .psybuild ---- */

static const char *part_of_state(struct world *world, const char *top, const char *what)
{
    return strcmp(what, "all") == 0 ? top : arena_format(world->arena, "%s/%s", top, what);
}

static void do_forget(struct world *world, const struct words *words)
{
    world->has_forgotten = true;
    disk_remove(part_of_state(world, ".psybuild", words->at[1]));
}

/* Not what psybuild has set aside: that is the user's, who does not lose it on purpose here. */
static void do_state(struct world *world, const struct words *words)
{
    const char *saved = "../saved/psybuild";
    if (strcmp(words->at[1], "keep") == 0) {
        disk_remove(saved);
        disk_copy(".psybuild", saved);
        return;
    }
    const char *from = part_of_state(world, saved, words->at[1]);
    const char *to = part_of_state(world, ".psybuild", words->at[1]);
    if (!disk_has(from) || (!disk_has(".psybuild") && strcmp(words->at[1], "all") != 0))
        return;
    world->has_forgotten = true;
    disk_remove(to);
    disk_copy(from, to);
}

static void do_staged(struct world *world, const struct words *words)
{
    struct disk_list list = disk_walk(world->arena, ".psybuild/partial", NULL);
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++)
        if (S_ISREG(list.entries[i].status.st_mode))
            list.entries[count++] = list.entries[i];
    if (count == 0)
        return;
    const char *path = list.entries[words->number[2] % count].path;
    if (strcmp(words->at[1], "remove") == 0)
        disk_remove(path);
    else if (strcmp(words->at[1], "touch") == 0)
        disk_touch(path);
    else if (disk_size(path) > 0)
        disk_poke(path, disk_size(path) / 2, "#", 1);
}

/* ---- around it ---- */

static void do_trim(struct world *world, const struct words *words)
{
    struct disk_list list = disk_walk(world->arena, "cache", NULL);
    if (words->number[1] == 0)
        disk_remove("cache");
    for (size_t i = 0; words->number[1] > 0 && i < list.count; i += words->number[1])
        if (S_ISREG(list.entries[i].status.st_mode))
            disk_remove(list.entries[i].path);
}

static void do_far(struct world *world, const struct words *words)
{
    world->is_far_broken = strcmp(words->at[1], "break") == 0;
    disk_move(world->is_far_broken ? "../store" : "../saved/store",
        world->is_far_broken ? "../saved/store" : "../store");
}

static void do_hub(struct world *world, const struct words *words)
{
    if (strcmp(words->at[1], "move") == 0)
        world_move_hub(world);
    else
        world_break_hub(world, strcmp(words->at[1], "break") == 0);
}

static void do_relocate(struct world *world, const struct words *words)
{
    (void)words;
    world_move_tree(world);
}

static void do_device(struct world *world, const struct words *words)
{
    world_link_root(world, words->at[1]);
}

static const struct {
    const char *name;
    void (*apply)(struct world *world, const struct words *words);
} verbs[] = {
    {"set", do_set},
    {"manifest", do_manifest},
    {"flip", do_flip},
    {"swap", do_swap},
    {"take-out", do_take_out},
    {"rename", do_rename},
    {"tie", do_tie},
    {"checkpoint", do_checkpoint},
    {"text", do_text},
    {"pad", do_pad},
    {"fill", do_fill},
    {"poke", do_poke},
    {"shrink", do_shrink},
    {"touch", do_touch},
    {"drop", do_drop},
    {"back", do_back},
    {"edit", do_edit},
    {"forget", do_forget},
    {"state", do_state},
    {"staged", do_staged},
    {"trim", do_trim},
    {"far", do_far},
    {"hub", do_hub},
    {"relocate", do_relocate},
    {"device", do_device},
};

bool step_apply(struct world *world, const char *line)
{
    struct words words = {.at = {"", "", "", "", ""}};
    char *copy = arena_format(world->arena, "%s", line), *rest = copy, *word;
    for (size_t count = 0; count < WORDS_MAX && (word = strtok_r(rest, " ", &rest)) != NULL;) {
        words.number[count] = strtoul(word, NULL, 10);
        words.at[count++] = word;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
        if (strcmp(verbs[i].name, words.at[0]) == 0) {
            verbs[i].apply(world, &words);
            return true;
        }
    return false;
}

void step_clear_obstacles(struct world *world, const char *const *paths, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (disk_is_directory(paths[i]))
            disk_remove(paths[i]);
    if (world->is_far_broken)
        step_apply(world, "far mend");
    if (world->is_hub_broken)
        step_apply(world, "hub mend");
}
