/* compiled.c - the file's bytes:
 *
 *   "psybuild graph\n\0" (16)  version u32  0 u32
 *   length u64  XXH3-128 (16)  of the stamps;  length u64  XXH3-128 (16)  of the graph
 *   stamps: validity (text)  entries u32  wanted u32 (NONE: not all of them are fresh)  names u64
 *           entries of 40 bytes: inode u64  size u64  mtime u64  ctime u64  name u64; those that a
 *           run without targets wants are the first
 *           names: strings with their NULs; an entry's name is an offset into them
 *   graph:  the shadow, then for every node: flags u8 (1 fresh, 2 given back)  list of entries u32
 */
#include "engine/stale/compiled.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/run/files.h"
#include "engine/stale/shadow.h"

enum {
    COMPILED_VERSION = 1,
    HEADER_BYTES = 72,
    ENTRY_BYTES = 40,
    PART_BYTES_MAX = 1 << 30,
};
enum { NODE_IS_FRESH = 1, NODE_IS_GIVEN_BACK = 2 };
#define NOT_FRESH UINT32_MAX
static const char magic[16] = "psybuild graph\n";

/* ---- writing ---- */

struct listed_node {
    uint8_t flags;
    uint32_t begin, count; /* of its numbers in `uses` */
};

struct listing {
    struct build *build;
    uint32_t *entry; /* by file of the state: its entry's number, and one; 0: none yet */
    struct buffer entries, names, uses; /* uses: numbers of entries, u32 each */
    uint32_t count, wanted;             /* entries; of those, what a run without targets wants */
    struct listed_node *nodes;
};

static void list_file(
    struct listing *listing, uint32_t file, const char *location, const struct file_stamp *stamp)
{
    if (listing->entry[file] == 0) {
        wire_put_stamp(&listing->entries, stamp);
        wire_put_u64(&listing->entries, listing->names.count);
        buffer_put(&listing->names, location, strlen(location) + 1);
        listing->entry[file] = ++listing->count;
    }
    wire_put_u32(&listing->uses, listing->entry[file] - 1);
}

/* A directory whose file names were read: unchanged as long as its own stamp is. */
static struct error *list_names(
    struct listing *listing, const struct record_read *read, bool *is_fresh)
{
    const char *path = listing->build->state->files[read->file].path;
    struct arena arena = {0};
    struct hash128 hash;
    struct file_entry *entries;
    struct file_stamp stamp;
    size_t count;
    struct error *error = file_stat_settled(path, &stamp);
    if (error == NULL)
        error = files_hash_names(&arena, path, &hash, &entries, &count);
    arena_end(&arena);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        *is_fresh = false;
        return NULL;
    }
    TRY(error);
    *is_fresh = hash_equal(&hash, &read->hash);
    if (*is_fresh)
        list_file(listing, read->file, path, &stamp);
    return NULL;
}

/* The stamp that a run finds when nothing is to be done: none of a file that was given back. */
static const struct file_stamp *wanted_stamp(const struct state_file *file, bool is_absent)
{
    static const struct file_stamp none;
    return is_absent || file->is_given_back ? &none : &file->stamp;
}

static struct error *list_read(
    struct listing *listing, const struct record_read *read, bool *is_fresh)
{
    const struct state *state = listing->build->state;
    if (read->kind == READ_LAYOUT) {
        const struct record *producer = state_find_record(state, read->detail);
        struct hash128 layout = hash_text(producer == NULL ? TEXT_EMPTY : producer->layout);
        *is_fresh = hash_equal(&layout, &read->hash);
        return NULL;
    }
    if (read->kind == READ_NAMES)
        return list_names(listing, read, is_fresh);
    const struct state_file *file = &state->files[read->file];
    bool is_absent = read->kind == READ_ABSENT;
    *is_fresh = is_absent || (file->has_tree && hash_equal(&file->tree, &read->seen));
    if (*is_fresh)
        list_file(listing, read->file, file->location, wanted_stamp(file, is_absent));
    return NULL;
}

static bool list_made(struct listing *listing, const struct node *node,
    const struct record_made *made, uint8_t *flags)
{
    const struct state_file *file = &listing->build->state->files[made->file];
    if (!state_is_as_made(file, made) || (file->is_given_back && !node->gives_back))
        return false;
    *flags |= file->is_given_back ? NODE_IS_GIVEN_BACK : 0;
    list_file(listing, made->file, file->location, wanted_stamp(file, false));
    return true;
}

static struct error *list_node(struct listing *listing, uint32_t index)
{
    const struct node *node = &listing->build->graph->nodes[index];
    const struct record *record = state_find_record(listing->build->state, node->name);
    struct listed_node *listed = &listing->nodes[index];
    bool is_fresh = record != NULL && hash_equal(&record->key, &node->key);
    size_t begin = listing->uses.count;
    uint8_t flags = NODE_IS_FRESH;
    for (uint32_t i = 0; is_fresh && i < record->read_count; i++)
        TRY(list_read(listing, &record->reads[i], &is_fresh));
    for (uint32_t i = 0; is_fresh && i < record->made_count; i++)
        is_fresh = list_made(listing, node, &record->made[i], &flags);
    if (!is_fresh)
        listing->uses.count = begin;
    *listed = (struct listed_node){.flags = is_fresh ? flags : 0,
        .begin = (uint32_t)(begin / 4),
        .count = (uint32_t)((listing->uses.count - begin) / 4)};
    return NULL;
}

/* Those that a run without targets wants, and then the others. */
static struct error *list_nodes(struct listing *listing)
{
    struct build *build = listing->build;
    const struct graph *graph = build->graph;
    bool *flags = arena_array(&build->arena, 2 * (size_t)graph->node_count, sizeof *flags);
    listing->nodes = arena_array(&build->arena, graph->node_count, sizeof *listing->nodes);
    listing->entry = arena_array(&build->arena, build->state->file_count, sizeof *listing->entry);
    if (flags == NULL || listing->nodes == NULL || listing->entry == NULL)
        return error_memory();
    TRY(graph_select(graph, NULL, 0, flags, flags + graph->node_count));
    bool is_fresh = true;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        if (flags[i])
            TRY(list_node(listing, i));
        is_fresh &= !flags[i] || listing->nodes[i].flags != 0;
    }
    listing->wanted = is_fresh ? listing->count : NOT_FRESH;
    for (uint32_t i = 0; i < graph->node_count; i++)
        if (!flags[i])
            TRY(list_node(listing, i));
    return NULL;
}

static void put_stamps(
    struct buffer *file, const struct listing *listing, const struct validity *validity)
{
    struct buffer valid = {0};
    validity_write(&valid, validity, listing->build->graph);
    wire_put_text(file, (struct text){(const char *)valid.bytes, valid.count});
    wire_put_u32(file, listing->count);
    wire_put_u32(file, listing->wanted);
    wire_put_u64(file, listing->names.count);
    buffer_put(file, listing->entries.bytes, listing->entries.count);
    buffer_put(file, listing->names.bytes, listing->names.count);
    file->failed |= valid.failed || listing->entries.failed || listing->names.failed;
    buffer_end(&valid);
}

static void put_nodes(struct buffer *file, const struct listing *listing)
{
    shadow_put(file, listing->build->graph);
    for (uint32_t i = 0; i < listing->build->graph->node_count; i++) {
        const struct listed_node *node = &listing->nodes[i];
        wire_put_u8(file, node->flags);
        wire_put_u32(file, node->count);
        if (node->count > 0)
            buffer_put(
                file, listing->uses.bytes + 4 * (size_t)node->begin, 4 * (size_t)node->count);
    }
    file->failed |= listing->uses.failed;
}

static void put_head(unsigned char *at, const unsigned char *bytes, size_t length)
{
    struct hash128 hash = hash_bytes(bytes, length);
    store_le64(at, length);
    memcpy(at + 8, hash.bytes, sizeof hash.bytes);
}

static struct error *write_file(
    const struct listing *listing, const struct validity *validity, const char *path)
{
    struct buffer file = {0};
    unsigned char header[HEADER_BYTES] = {0};
    buffer_put(&file, header, sizeof header);
    put_stamps(&file, listing, validity);
    size_t stamps_end = file.count;
    put_nodes(&file, listing);
    struct error *error = buffer_check(&file);
    if (error == NULL) {
        memcpy(file.bytes, magic, sizeof magic);
        store_le32(file.bytes + 16, COMPILED_VERSION);
        put_head(file.bytes + 24, file.bytes + HEADER_BYTES, stamps_end - HEADER_BYTES);
        put_head(file.bytes + 48, file.bytes + stamps_end, file.count - stamps_end);
        error = file_replace_hint(path, (struct text){(const char *)file.bytes, file.count});
    }
    buffer_end(&file);
    return error;
}

struct error *compiled_write(
    struct build *build, const struct validity *validity, const char *directory)
{
    struct listing listing = {.build = build};
    char *path = path_join(&build->arena, directory, "compiled");
    TRY(memory_check(path));
    struct error *error = list_nodes(&listing);
    if (error == NULL)
        error = write_file(&listing, validity, path);
    buffer_end(&listing.entries);
    buffer_end(&listing.names);
    buffer_end(&listing.uses);
    return error;
}

struct error *compiled_remove(const char *directory)
{
    struct arena arena = {0};
    char *path = path_join(&arena, directory, "compiled");
    struct error *error = path == NULL ? error_memory() : file_remove(path);
    arena_end(&arena);
    return error;
}

/* ---- checking ---- */

/* The file as it is read: what is not as it should be makes `is_good` false. */
struct compiled {
    struct arena *arena;
    struct file *file;
    unsigned char header[HEADER_BYTES];
    const unsigned char *entries;
    const char *names;
    uint64_t names_length;
    uint32_t count, wanted;
};

/* A part that its hash covers; empty: it is none. */
static struct error *read_part(
    const struct compiled *compiled, size_t head, uint64_t offset, struct text *out)
{
    uint64_t length = load_le64(compiled->header + head), size = file_size(compiled->file);
    *out = TEXT_EMPTY;
    if (length > PART_BYTES_MAX || offset > size || length > size - offset)
        return NULL;
    char *bytes = arena_alloc(compiled->arena, (size_t)length + 1);
    TRY(memory_check(bytes));
    TRY(file_read_at(compiled->file, offset, bytes, (size_t)length));
    struct hash128 hash = hash_bytes(bytes, (size_t)length);
    if (memcmp(hash.bytes, compiled->header + head + 8, sizeof hash.bytes) == 0)
        *out = (struct text){bytes, (size_t)length};
    return NULL;
}

/* Whether the stamps are there, of a graph that would be the same now. */
static struct error *read_stamps(
    struct compiled *compiled, const struct validity *validity, bool *is_good)
{
    struct text part;
    *is_good = false;
    if (file_size(compiled->file) < HEADER_BYTES)
        return NULL;
    TRY(file_read_at(compiled->file, 0, compiled->header, HEADER_BYTES));
    if (memcmp(compiled->header, magic, sizeof magic) != 0 ||
        load_le32(compiled->header + 16) != COMPILED_VERSION)
        return NULL;
    TRY(read_part(compiled, 24, HEADER_BYTES, &part));
    struct wire_reader reader = {.bytes = (const unsigned char *)part.bytes, .length = part.length};
    struct text recorded = wire_get_text(&reader);
    compiled->count = wire_get_u32(&reader);
    compiled->wanted = wire_get_u32(&reader);
    compiled->names_length = wire_get_u64(&reader);
    compiled->entries = wire_get_bytes(&reader, (size_t)compiled->count * ENTRY_BYTES);
    if (compiled->names_length > part.length)
        return NULL;
    compiled->names = (const char *)wire_get_bytes(&reader, (size_t)compiled->names_length);
    if (!wire_reader_done(&reader) ||
        (compiled->names_length > 0 && compiled->names[compiled->names_length - 1] != '\0'))
        return NULL;
    return validity_is_current(validity, recorded, is_good);
}

static struct error *check_entry(const struct compiled *compiled, uint32_t index, bool *is_same)
{
    const unsigned char *entry = compiled->entries + (size_t)index * ENTRY_BYTES;
    struct file_stamp was = {.inode = load_le64(entry),
        .size_bytes = load_le64(entry + 8),
        .mtime_ns = (int64_t)load_le64(entry + 16),
        .ctime_ns = (int64_t)load_le64(entry + 24)};
    uint64_t name = load_le64(entry + 32);
    struct file_stamp now;
    enum file_kind kind;
    *is_same = false;
    if (name >= compiled->names_length)
        return NULL;
    TRY(file_stat(compiled->names + name, &kind, &now));
    *is_same = file_stamp_equal(&was, &now);
    return NULL;
}

/* One after the other: the kernel serves two threads no faster. */
static struct error *check_wanted(const struct compiled *compiled, bool *is_null)
{
    *is_null = compiled->wanted <= compiled->count;
    for (uint32_t i = 0; *is_null && i < compiled->wanted; i++)
        TRY(check_entry(compiled, i, is_null));
    return NULL;
}

static struct error *check_node(const struct compiled *compiled, struct wire_reader *reader,
    bool is_wanted, bool is_itself, bool *is_checked, bool *is_null)
{
    uint8_t flags = wire_get_u8(reader);
    uint32_t count = wire_get_count(reader, 4);
    if (is_wanted)
        *is_null = (flags & NODE_IS_FRESH) != 0 && !(is_itself && (flags & NODE_IS_GIVEN_BACK));
    for (uint32_t i = 0; i < count && *is_null; i++) {
        uint32_t entry = wire_get_u32(reader);
        *is_null = entry < compiled->count;
        if (!*is_null || !is_wanted || is_checked[entry])
            continue;
        TRY(check_entry(compiled, entry, is_null));
        is_checked[entry] = true;
    }
    return NULL;
}

static struct error *check_targets(
    const struct compiled *compiled, const char *const *targets, size_t target_count, bool *is_null)
{
    struct text part;
    struct graph *graph = NULL;
    *is_null = false;
    TRY(read_part(compiled, 48, HEADER_BYTES + load_le64(compiled->header + 24), &part));
    struct wire_reader reader = {.bytes = (const unsigned char *)part.bytes, .length = part.length};
    TRY(shadow_get(&reader, compiled->arena, &graph));
    if (graph == NULL)
        return NULL;
    bool *flags = arena_array(compiled->arena, 3 * (size_t)graph->node_count, sizeof *flags);
    bool *is_checked = arena_array(compiled->arena, compiled->count, sizeof *is_checked);
    if (flags == NULL || is_checked == NULL)
        return error_memory();
    bool *is_itself = flags + 2 * (size_t)graph->node_count;
    TRY(graph_select(graph, targets, target_count, flags, flags + graph->node_count));
    graph_find_itself(graph, targets, target_count, is_itself);
    *is_null = true;
    for (uint32_t i = 0; *is_null && i < graph->node_count; i++)
        TRY(check_node(compiled, &reader, flags[i], is_itself[i], is_checked, is_null));
    *is_null &= wire_reader_done(&reader);
    return NULL;
}

static struct error *check_file(struct compiled *compiled, const struct validity *validity,
    const char *const *targets, size_t target_count, bool *is_null)
{
    TRY(read_stamps(compiled, validity, is_null));
    if (!*is_null)
        return NULL;
    return target_count == 0 ? check_wanted(compiled, is_null)
                             : check_targets(compiled, targets, target_count, is_null);
}

struct error *compiled_is_null(const struct validity *validity, const char *directory,
    const char *const *targets, size_t target_count, bool *out)
{
    struct arena arena = {0};
    struct compiled compiled = {.arena = &arena};
    enum file_kind kind;
    struct file_stamp stamp;
    *out = false;
    char *path = path_join(&arena, directory, "compiled");
    char *journal = path_join(&arena, directory, "journal");
    struct error *error =
        path == NULL || journal == NULL ? error_memory() : file_stat(journal, &kind, &stamp);
    bool is_ended = error == NULL && kind == FILE_ABSENT; /* else a build was killed: look closer */
    if (is_ended)
        error = file_open(path, &compiled.file);
    if (is_ended && error == NULL)
        error = check_file(&compiled, validity, targets, target_count, out);
    file_close(compiled.file);
    arena_end(&arena);
    *out &= error == NULL;
    error_free(
        error); /* a hint that cannot be read is none; what targets name nothing is said later */
    return NULL;
}
