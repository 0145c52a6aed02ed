/* history_world.c - the tree, the sources that are fetched, and the marks. */
#include "tests/support/history_world.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/history_checkpoint.h"
#include "tests/support/hub_server.h"
#include "tests/support/tree.h"

const char *const world_roots[] = {"models", "out", "many", "merged", "quant", "far", "hub", NULL};

/* ---- the tree ---- */

static void put_raw(void)
{
    disk_put_text("raw/a.bin", "a\nb\n");
    disk_put_text("raw/b.bin", "of the second file\n");
    disk_put_text("raw/template.jinja", "{{ messages }} in another way\n");
    disk_put_text("raw/many/config.json", "{\"version\": 1}\n");
    disk_put_text("raw/many/x.bin", "x of version 1\n");
    disk_put_text("raw/many/y.bin", "y of version 1\n");
}

static void put_rules(struct world *world)
{
    static const char steps[] = "\"steps\": [";
    static const char swap[] = "\"steps\": [\n    {\"rename\": ["
                               "[\"model.layers.{i}.self_attn.q_proj.weight\", "
                               "\"model.layers.{i}.self_attn.k_proj.weight\"], "
                               "[\"model.layers.{i}.self_attn.k_proj.weight\", "
                               "\"model.layers.{i}.self_attn.q_proj.weight\"]"
                               "]},";
    struct text text = disk_read(
        world->arena, arena_format(world->arena, "%s/manifests/rules/llama.json", tree_source()));
    if (world->now.fields[FIELD_RULES] == 2) {
        const char *found = strstr(text.bytes, steps);
        if (found == NULL)
            disk_give_up("llama.json: no steps");
        text = text_of(arena_format(world->arena, "%.*s%s%s", (int)(found - text.bytes), text.bytes,
            swap, found + strlen(steps)));
    }
    disk_put("rules/llama.json", text.bytes, text.length);
}

static void put_far(struct world *world)
{
    const char *elsewhere =
        arena_format(world->arena, "../elsewhere/%d", world->now.fields[FIELD_FAR]);
    if (disk_has(elsewhere))
        return;
    checkpoint_put(elsewhere, 100 + (unsigned)world->now.fields[FIELD_FAR]);
    disk_copy(elsewhere, arena_format(world->arena, "../%sstore/%d",
                             world->is_far_broken ? "saved/" : "", world->now.fields[FIELD_FAR]));
}

static bool is_text_of(const char *path, const char *text)
{
    struct arena work = {0};
    bool is_same = disk_is_file(path) && text_is(disk_read(&work, path), text);
    arena_end(&work);
    return is_same;
}

void world_write_manifest(struct world *world)
{
    const char *included;
    if (world->now.fields[FIELD_RULES])
        put_rules(world);
    if (declaration_reads_far(&world->now))
        put_far(world);
    if (declaration_reads_hub(&world->now) && world->hub == NULL)
        world_move_hub(world);
    const char *text = declaration_print(world->arena, &world->now, false, &included);
    if (!is_text_of("psybuild.json", text))
        disk_put_text("psybuild.json", text);
    if (included != NULL && !is_text_of("more.json", included))
        disk_put_text("more.json", included);
}

static void enter(struct world *world, const char *tree)
{
    const char *path = arena_format(world->arena, "%s/%s", world->now.run, tree);
    world->tree = tree;
    disk_say("cd %s", path);
    if (chdir(path) != 0)
        disk_give_up("%s: cannot go there", path);
}

void world_move_tree(struct world *world)
{
    const char *old = world->tree;
    const char *new = arena_format(world->arena, "tree%u", ++world->trees_made);
    disk_copy_fresh(
        arena_format(world->arena, "../%s", old), arena_format(world->arena, "../%s", new));
    enter(world, new);
    disk_remove(arena_format(world->arena, "../%s", old));
}

void world_begin(struct world *world, struct arena *arena, const char *run, const char *device)
{
    *world = (struct world){.arena = arena, .device = device, .now = {.run = run}};
    for (enum field field = 0; field < FIELD_COUNT; field++)
        world->now.fields[field] = field_rows[field].first;
    disk_directory(arena_format(arena, "%s/saved", run));
    disk_directory(arena_format(arena, "%s/tree0", run));
    enter(world, "tree0");
    checkpoint_put("src", 1);
    put_raw();
    world_write_manifest(world);
}

void world_end(struct world *world)
{
    if (world->hub != NULL)
        hub_server_stop(world->hub);
    world->hub = NULL;
}

void world_link_root(struct world *world, const char *root)
{
    if (world->device == NULL || world->linked != NULL || disk_has(root))
        return;
    disk_directory(world->device);
    disk_link(root, world->device);
    world->linked = root;
}

/* ---- the hub ---- */

static void serve(struct world *world)
{
    if (world->hub != NULL)
        hub_server_stop(world->hub);
    world->hub = hub_server_start(&(struct hub_server_options){
        .root = arena_format(world->arena, "../hub/%u", world->hub_version)});
    world->commits[world->hub_version] =
        arena_format(world->arena, "%s", hub_server_commit(world->hub));
    setenv("HF_ENDPOINT", hub_server_url(world->hub), 1);
    disk_say("# the hub serves version %u: HF_ENDPOINT=%s", world->hub_version,
        hub_server_url(world->hub));
    world_break_hub(world, world->is_hub_broken);
}

void world_move_hub(struct world *world)
{
    if (world->hub_version + 1 >= HUB_VERSIONS_MAX)
        return;
    world->hub_version++;
    checkpoint_put(
        arena_format(world->arena, "../hub/%u", world->hub_version), 200 + world->hub_version);
    serve(world);
}

void world_break_hub(struct world *world, bool is_broken)
{
    world->is_hub_broken = is_broken;
    if (world->hub == NULL)
        return;
    hub_server_clear_faults(world->hub);
    if (is_broken)
        hub_server_add_fault(
            world->hub, &(struct hub_fault){
                            .kind = HUB_FAULT_STATUS, .target = "/", .status = 403, .text = ""});
}

unsigned world_locked_version(struct world *world)
{
    for (unsigned version = 1; version <= world->hub_version; version++)
        if (disk_holds("psybuild.lock", world->commits[version]))
            return version;
    return 0;
}

/* ---- paths ---- */

bool path_set_has(const struct path_set *set, const char *path)
{
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(set->paths[i], path) == 0)
            return true;
    return false;
}

void path_set_add(struct arena *arena, struct path_set *set, const char *path)
{
    if (path_set_has(set, path))
        return;
    set->paths = arena_grow(arena, set->paths, set->count, &set->capacity, sizeof *set->paths);
    if (set->paths == NULL)
        disk_give_up("out of memory");
    set->paths[set->count++] = arena_format(arena, "%s", path);
}

/* ---- marks ---- */

const char *world_mark(struct world *world, const char *path)
{
    if (world->mark_count == MARKS_MAX)
        disk_give_up("too many marks");
    struct mark *mark = &world->marks[world->mark_count++];
    mark->path = arena_format(world->arena, "%s", path);
    snprintf(mark->words, sizeof mark->words, "<mark %04u>", ++world->marks_made);
    path_set_add(world->arena, &world->known, path);
    return mark->words;
}

/* A file below .psybuild, here or in a directory on the other device, that holds the words. */
static const char *find_kept(struct world *world, const char *words, const char *below)
{
    const char *tops[] = {".psybuild", world->device};
    const char *place = arena_format(world->arena, ".psybuild%s/", below);
    for (size_t i = 0; i < sizeof tops / sizeof tops[0] && tops[i] != NULL; i++) {
        struct disk_list list = disk_walk(world->arena, tops[i], NULL);
        for (size_t n = 0; n < list.count; n++)
            if (strstr(list.entries[n].path, place) != NULL &&
                disk_holds(list.entries[n].path, words))
                return list.entries[n].path;
    }
    return NULL;
}

bool world_has_mark(struct world *world, struct mark *mark, bool is_interrupted)
{
    if (disk_holds(mark->path, mark->words) &&
        (is_interrupted || strstr(mark->path, "/partial/") == NULL))
        return true;
    const char *kept = find_kept(world, mark->words, is_interrupted ? "" : "/aside");
    if (kept != NULL)
        mark->path = kept;
    return kept != NULL;
}

void world_check_marks(struct world *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->mark_count; i++)
        if (world_has_mark(world, &world->marks[i], true))
            world->marks[count++] = world->marks[i];
    world->mark_count = count;
}
