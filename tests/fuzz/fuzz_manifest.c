/* fuzz_manifest.c - any bytes as a manifest and, behind a NUL, as the recipe "f" that it may use:
 * an error with its place, or declarations whose long form is a manifest of the same nodes under
 * the same keys. Nothing but the two texts is read. */
#include <ftw.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/graph/graph.h"
#include "tasks/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static char directory[] = "/tmp/psybuild-fuzz.XXXXXX";

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status, (void)type, (void)place;
    return remove(path);
}

static void remove_directory(void)
{
    nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A directory of its own, entered once: paths on the command line must be absolute. */
static void enter_directory(void)
{
    static bool is_entered;
    if (is_entered)
        return;
    must(mkdtemp(directory) != NULL && chdir(directory) == 0 && atexit(remove_directory) == 0);
    must(file_make_directories("recipes") == NULL && file_make_directories("src/sub") == NULL);
    must(file_replace_whole("src/a.json", TEXT_LITERAL("{}")) == NULL);
    must(file_replace_whole("src/sub/b.safetensors", TEXT_EMPTY) == NULL);
    is_entered = true;
}

static void write_file(const char *path, struct text text)
{
    struct file *file;
    must(file_open_staged(path, &file) == NULL);
    must(file_set_size(file, 0) == NULL);
    must(file_write_at(file, 0, text.bytes, text.length) == NULL);
    file_close(file);
}

static void check_error(struct error *error)
{
    must(error_kind_of(error) != ERROR_MEMORY);
    must(error_text(error)[0] != '\0' && strchr(error_text(error), '\n') == NULL);
    must(strncmp(error_report(error), error_text(error), strlen(error_text(error))) == 0);
    error_free(error);
}

static struct manifest *load(struct arena *arena)
{
    struct manifest_options options = {.path = "m.json", .data_directory = "src"};
    struct manifest *manifest = NULL;
    struct error *error = manifest_load(arena, &registry, &options, &manifest);
    must((error == NULL) == (manifest != NULL));
    if (error != NULL)
        check_error(error);
    return manifest;
}

/* Sources elsewhere on this machine or on a hub are not listed. */
static bool is_local(const struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->source_count; i++)
        if (manifest->sources[i].kind == &source_hub ||
            (manifest->sources[i].kind == NULL && strcmp(manifest->sources[i].path, "src") != 0))
            return false;
    return true;
}

static struct graph *link_graph(struct arena *arena, const struct manifest *manifest)
{
    struct source_context context = {
        .arena = arena, .lock_path = "m.lock", .is_frozen = true, .is_offline = true};
    struct graph *graph = NULL;
    if (!is_local(manifest))
        return NULL;
    struct error *error = graph_build(arena, manifest, &registry, "src", &context, &graph);
    must((error == NULL) == (graph != NULL));
    if (error != NULL)
        check_error(error);
    return graph;
}

static void check_order(struct arena *arena, const struct graph *graph)
{
    uint32_t *place = arena_array(arena, graph->node_count, sizeof *place);
    bool *is_wanted = arena_array(arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(arena, graph->node_count, sizeof *is_named);
    for (uint32_t i = 0; i < graph->node_count; i++)
        place[graph->order[i]] = i + 1;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        must(place[i] > 0);
        for (uint32_t k = 0; k < graph->nodes[i].need_count; k++)
            must(place[graph->nodes[i].needs[k]] < place[i]);
    }
    error_free(graph_select(graph, NULL, 0, is_wanted, is_named));
}

static void check_same(const struct graph *a, const struct graph *b)
{
    must(a->node_count == b->node_count);
    for (uint32_t i = 0; i < a->node_count; i++) {
        uint32_t other = map_get(&b->node_by_name, a->nodes[i].name);
        must(other < b->node_count);
        must(hash_equal(&a->nodes[i].key, &b->nodes[other].key));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    const uint8_t *zero = size == 0 ? NULL : memchr(bytes, 0, size);
    size_t length = zero == NULL ? size : (size_t)(zero - bytes);
    enter_directory();
    write_file("m.json", (struct text){(const char *)bytes, length});
    if (zero == NULL)
        must(file_remove("recipes/f.json") == NULL);
    else
        write_file("recipes/f.json", (struct text){(const char *)zero + 1, size - length - 1});
    struct manifest *manifest = load(&arena);
    if (manifest != NULL) {
        struct text text;
        struct graph *graph = link_graph(&arena, manifest);
        must(manifest_expand(&arena, manifest, NULL, &text) == NULL);
        write_file("m.json", text);
        struct manifest *again = load(&arena);
        must(again != NULL && again->node_count == manifest->node_count);
        struct graph *same = graph == NULL ? NULL : link_graph(&arena, again);
        if (graph != NULL) {
            must(same != NULL);
            check_order(&arena, graph);
            check_same(graph, same);
        }
    }
    arena_end(&arena);
    return 0;
}
