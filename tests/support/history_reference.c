/* history_reference.c - a directory beside the tree that links to its sources. */
#include "tests/support/history_reference.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/program.h"

enum { REFERENCES_MAX = 512 };

static struct {
    struct hash128 key;
    struct made made;
} references[REFERENCES_MAX];
static size_t reference_count;

const struct made_file *made_find(const struct made *made, const char *path)
{
    for (size_t i = 0; i < made->count; i++)
        if (strcmp(made->files[i].path, path) == 0)
            return &made->files[i];
    return NULL;
}

static void add(struct arena *arena, struct made *made, const char *path, struct hash128 hash)
{
    made->files = arena_grow(arena, made->files, made->count, &made->capacity, sizeof *made->files);
    if (made->files == NULL)
        disk_give_up("out of memory");
    made->files[made->count++] =
        (struct made_file){.path = arena_format(arena, "%s", path), .hash = hash};
}

static bool is_ours(const char *path)
{
    return strstr(path, "/.psybuild/") != NULL || strstr(path, "/.cache/") != NULL;
}

struct made made_look(struct arena *arena)
{
    struct made made = {.count = 0};
    for (size_t i = 0; world_roots[i] != NULL; i++) {
        struct disk_list list = disk_walk(arena, world_roots[i], NULL);
        for (size_t n = 0; n < list.count; n++)
            if (S_ISREG(list.entries[n].status.st_mode) && !is_ours(list.entries[n].path))
                add(arena, &made, list.entries[n].path, disk_hash(list.entries[n].path));
    }
    return made;
}

/* ---- the key ---- */

static void hash_directory(struct arena *arena, struct hash_stream *stream, const char *top)
{
    struct disk_list list = disk_walk(arena, top, NULL);
    for (size_t i = 0; i < list.count; i++) {
        struct hash128 hash = disk_hash(list.entries[i].path);
        hash_stream_update(stream, list.entries[i].path, strlen(list.entries[i].path) + 1);
        hash_stream_update(stream, hash.bytes, sizeof hash.bytes);
    }
}

/* The history's own directory is no part of what is declared. */
static const char *without_run(struct world *world, const char *text)
{
    char *copy = arena_format(world->arena, "%s", text);
    size_t length = strlen(world->now.run);
    for (char *at = copy; (at = strstr(at, world->now.run)) != NULL;)
        memset(at, '.', length);
    return copy;
}

/* Which version of the hub's files counts, and without a lock whether they can be had. */
static unsigned hub_state(struct world *world)
{
    unsigned locked = declaration_reads_hub(&world->now) ? world_locked_version(world) : 0;
    if (locked > 0 || !declaration_reads_hub(&world->now))
        return locked;
    return 100 + 2 * world->hub_version + world->is_hub_broken;
}

static struct hash128 hash_world(struct world *world, struct arena *work, const char *manifest)
{
    struct hash_stream *stream = hash_stream_new(work);
    unsigned version = hub_state(world);
    const char *plain = without_run(world, manifest);
    if (stream == NULL)
        disk_give_up("out of memory");
    hash_stream_update(stream, plain, strlen(plain));
    hash_stream_update(stream, &version, sizeof version);
    hash_directory(work, stream, "src");
    hash_directory(work, stream, "raw");
    if (world->now.fields[FIELD_RULES])
        hash_directory(work, stream, "rules");
    return hash_stream_take(stream);
}

/* ---- kept as files ---- */

static bool load(struct arena *arena, const char *path, struct made *made)
{
    char name[PATH_MAX], hex[HASH_HEX_BYTES];
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    bool is_whole = fscanf(file, "exit %d\n", &made->exit_code) == 1;
    while (is_whole && fscanf(file, "%32s %4095s\n", hex, name) == 2) {
        struct hash128 hash;
        for (size_t i = 0; i < sizeof hash.bytes; i++) {
            const char digits[] = {hex[2 * i], hex[2 * i + 1], '\0'};
            hash.bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
        }
        add(arena, made, name, hash);
    }
    fclose(file);
    return is_whole;
}

static void save(struct arena *arena, const char *path, const struct made *made)
{
    char hex[HASH_HEX_BYTES];
    const char *draft = arena_format(arena, "%s.%d", path, (int)getpid());
    FILE *file = fopen(draft, "w");
    if (file == NULL)
        disk_give_up("%s: cannot write", draft);
    fprintf(file, "exit %d\n", made->exit_code);
    for (size_t i = 0; i < made->count; i++)
        fprintf(file, "%s %s\n", hash_hex(&made->files[i].hash, hex), made->files[i].path);
    if (fclose(file) != 0 || rename(draft, path) != 0)
        disk_give_up("%s: cannot write", path);
}

/* ---- a build from nothing ---- */

static void copy_hub(struct world *world, unsigned version)
{
    if (version == 0)
        return;
    disk_copy(arena_format(world->arena, "../hub/%u", version), "../reference/hub");
    disk_copy("psybuild.lock", "../reference/psybuild.lock");
}

static struct made build(struct world *world, const char *manifest)
{
    static const char *const arguments[] = {"-q", "-k0", "-j2", "-C", "../reference", NULL};
    static const char *const offline[] = {
        "-q", "-k0", "-j2", "--offline", "-C", "../reference", NULL};
    unsigned version = declaration_reads_hub(&world->now) ? world_locked_version(world) : 0;
    static const char *const inputs[] = {"src", "raw", "rules"};
    disk_remove("../reference");
    disk_put_text("../reference/psybuild.json", manifest);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        disk_link(arena_format(world->arena, "../reference/%s", inputs[i]),
            arena_format(world->arena, "../%s/%s", world->tree, inputs[i]));
    copy_hub(world, version);
    struct program program = program_run(world->arena, version > 0 ? offline : arguments, NULL);
    char here[PATH_MAX];
    if (getcwd(here, sizeof here) == NULL || chdir("../reference") != 0)
        disk_give_up("no reference");
    struct made made = made_look(world->arena);
    if (chdir(here) != 0)
        disk_give_up("%s is gone", here);
    made.exit_code = program.exit_code;
    disk_remove("../reference");
    return made;
}

static const struct made *find(const struct hash128 *key)
{
    for (size_t i = 0; i < reference_count; i++)
        if (hash_equal(&references[i].key, key))
            return &references[i].made;
    return NULL;
}

static const struct made *keep(struct world *world, struct hash128 key, struct made made)
{
    if (reference_count == REFERENCES_MAX)
        disk_give_up("too many references");
    references[reference_count].key = key;
    references[reference_count].made = made;
    for (size_t i = 0; i < made.count; i++)
        path_set_add(world->arena, &world->known, made.files[i].path);
    return &references[reference_count++].made;
}

const struct made *reference_make(struct world *world, const char *shared)
{
    struct arena work = {0};
    char hex[HASH_HEX_BYTES];
    const char *included;
    const char *manifest = declaration_print(world->arena, &world->now, true, &included);
    struct hash128 key = hash_world(world, &work, manifest);
    arena_end(&work);
    const struct made *found = find(&key);
    if (found != NULL)
        return found;
    const char *path = arena_format(world->arena, "%s/%s", shared, hash_hex(&key, hex));
    struct made made = {.count = 0};
    if (!load(world->arena, path, &made)) {
        disk_hold_script(true);
        made = build(world, manifest);
        disk_hold_script(false);
        save(world->arena, path, &made);
    }
    return keep(world, key, made);
}
