/* quick.c - the file's bytes:
 *
 *   "psybuild quick\n\0" (16)  version u32  0 u32  length u64  XXH3-128 of the payload (16)
 *   payload: validity (text)  files u32  names u64
 *            files entries: inode u64  size u64  mtime u64  ctime u64  name u64 (40 bytes each)
 *            names: strings with their NULs; an entry's name is an offset into them */
#include "engine/stale/quick.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/run/files.h"

enum {
    QUICK_VERSION = 1,
    HEADER_BYTES = 48,
    ENTRY_BYTES = 40,
    QUICK_BYTES_MAX = 1 << 30,
};
static const char magic[16] = "psybuild quick\n";

/* ---- writing ---- */

struct listing {
    struct build *build;
    bool *is_listed; /* by file of the state */
    struct buffer entries, names;
    uint32_t count;
};

static void list_file(struct listing *listing, const char *location, const struct file_stamp *stamp)
{
    wire_put_stamp(&listing->entries, stamp);
    wire_put_u64(&listing->entries, listing->names.count);
    buffer_put(&listing->names, location, strlen(location) + 1);
    listing->count++;
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
    if (*is_fresh && !listing->is_listed[read->file])
        list_file(listing, path, &stamp);
    listing->is_listed[read->file] = true;
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
    *is_fresh =
        read->kind == READ_ABSENT || (file->has_tree && hash_equal(&file->tree, &read->seen));
    if (*is_fresh && !listing->is_listed[read->file])
        list_file(listing, file->location, wanted_stamp(file, read->kind == READ_ABSENT));
    listing->is_listed[read->file] = true;
    return NULL;
}

static bool list_made(
    struct listing *listing, const struct node *node, const struct record_made *made)
{
    const struct state_file *file = &listing->build->state->files[made->file];
    bool is_as_made = state_is_as_made(file, made) && (node->gives_back || !file->is_given_back);
    if (is_as_made && !listing->is_listed[made->file])
        list_file(listing, file->location, wanted_stamp(file, false));
    listing->is_listed[made->file] = true;
    return is_as_made;
}

static struct error *list_node(struct listing *listing, const struct node *node, bool *is_fresh)
{
    const struct record *record = state_find_record(listing->build->state, node->name);
    *is_fresh = record != NULL && hash_equal(&record->key, &node->key);
    for (uint32_t i = 0; *is_fresh && i < record->read_count; i++)
        TRY(list_read(listing, &record->reads[i], is_fresh));
    for (uint32_t i = 0; *is_fresh && i < record->made_count; i++)
        *is_fresh = list_made(listing, node, &record->made[i]);
    return NULL;
}

static struct error *list_all(struct listing *listing, bool *is_fresh)
{
    struct build *build = listing->build;
    const struct graph *graph = build->graph;
    bool *is_wanted = arena_array(&build->arena, graph->node_count, sizeof *is_wanted);
    bool *is_named = arena_array(&build->arena, graph->node_count, sizeof *is_named);
    listing->is_listed =
        arena_array(&build->arena, build->state->file_count, sizeof *listing->is_listed);
    if (is_wanted == NULL || is_named == NULL || listing->is_listed == NULL)
        return error_memory();
    *is_fresh = true;
    TRY(graph_select(graph, NULL, 0, is_wanted, is_named));
    for (uint32_t i = 0; *is_fresh && i < graph->node_count; i++)
        if (is_wanted[i])
            TRY(list_node(listing, &graph->nodes[i], is_fresh));
    return NULL;
}

static struct error *write_file(struct listing *listing, const char *path)
{
    struct buffer file = {0}, validity = {0};
    unsigned char header[HEADER_BYTES] = {0};
    buffer_put(&file, header, sizeof header);
    validity_write(&validity, &listing->build->validity, listing->build->graph);
    wire_put_text(&file, (struct text){(const char *)validity.bytes, validity.count});
    wire_put_u32(&file, listing->count);
    wire_put_u64(&file, listing->names.count);
    buffer_put(&file, listing->entries.bytes, listing->entries.count);
    buffer_put(&file, listing->names.bytes, listing->names.count);
    file.failed |= validity.failed || listing->entries.failed || listing->names.failed;
    struct error *error = buffer_check(&file);
    if (error == NULL) {
        size_t length = file.count - HEADER_BYTES;
        struct hash128 hash = hash_bytes(file.bytes + HEADER_BYTES, length);
        memcpy(file.bytes, magic, sizeof magic);
        store_le32(file.bytes + 16, QUICK_VERSION);
        store_le64(file.bytes + 24, length);
        memcpy(file.bytes + 32, hash.bytes, sizeof hash.bytes);
        error = file_replace_hint(path, (struct text){(const char *)file.bytes, file.count});
    }
    buffer_end(&validity);
    buffer_end(&file);
    return error;
}

struct error *quick_write(struct build *build, const char *directory)
{
    struct listing listing = {.build = build};
    bool is_fresh = false;
    char *path = path_join(&build->arena, directory, "quick");
    TRY(memory_check(path));
    struct error *error = list_all(&listing, &is_fresh);
    if (error == NULL)
        error = is_fresh ? write_file(&listing, path) : file_remove(path);
    buffer_end(&listing.entries);
    buffer_end(&listing.names);
    return error;
}

/* ---- checking ---- */

/* One after the other: the kernel serves two threads no faster. */
static struct error *check_entries(const unsigned char *entries, uint32_t count, const char *names,
    uint64_t names_length, bool *is_same)
{
    *is_same = true;
    for (uint32_t i = 0; *is_same && i < count; i++) {
        const unsigned char *entry = entries + (size_t)i * ENTRY_BYTES;
        struct file_stamp was = {.inode = load_le64(entry),
            .size_bytes = load_le64(entry + 8),
            .mtime_ns = (int64_t)load_le64(entry + 16),
            .ctime_ns = (int64_t)load_le64(entry + 24)};
        uint64_t name = load_le64(entry + 32);
        struct file_stamp now;
        enum file_kind kind;
        *is_same = name < names_length;
        if (!*is_same)
            break;
        TRY(file_stat(names + name, &kind, &now));
        *is_same = file_stamp_equal(&was, &now);
    }
    return NULL;
}

static struct error *check_payload(const struct validity *validity, struct text payload, bool *out)
{
    struct wire_reader reader = {
        .bytes = (const unsigned char *)payload.bytes, .length = payload.length};
    struct text recorded = wire_get_text(&reader);
    uint32_t count = wire_get_u32(&reader);
    uint64_t names_length = wire_get_u64(&reader);
    const unsigned char *entries = wire_get_bytes(&reader, (size_t)count * ENTRY_BYTES);
    if (names_length > SIZE_MAX)
        return NULL;
    const unsigned char *names = wire_get_bytes(&reader, (size_t)names_length);
    bool is_whole =
        wire_reader_done(&reader) && (names_length == 0 || names[names_length - 1] == 0);
    if (!is_whole)
        return NULL;
    TRY(validity_is_current(validity, recorded, out));
    if (!*out)
        return NULL;
    return check_entries(entries, count, (const char *)names, names_length, out);
}

static struct error *check_file(
    struct arena *arena, const char *path, const struct validity *validity, bool *out)
{
    struct text text = {0};
    TRY(error_forgive(file_read_whole(arena, path, QUICK_BYTES_MAX, &text), ERROR_MISSING));
    if (text.bytes == NULL)
        return NULL;
    if (text.length < HEADER_BYTES || memcmp(text.bytes, magic, sizeof magic) != 0 ||
        load_le32(text.bytes + 16) != QUICK_VERSION ||
        load_le64(text.bytes + 24) != text.length - HEADER_BYTES)
        return NULL;
    struct text payload = {text.bytes + HEADER_BYTES, text.length - HEADER_BYTES};
    struct hash128 hash = hash_text(payload);
    if (memcmp(hash.bytes, text.bytes + 32, sizeof hash.bytes) != 0)
        return NULL;
    return check_payload(validity, payload, out);
}

struct error *quick_check(const char *directory, const struct validity *validity, bool *out)
{
    struct arena arena = {0};
    enum file_kind kind;
    struct file_stamp stamp;
    *out = false;
    char *path = path_join(&arena, directory, "quick");
    char *journal = path_join(&arena, directory, "journal");
    struct error *error =
        path == NULL || journal == NULL ? error_memory() : file_stat(journal, &kind, &stamp);
    if (error == NULL && kind == FILE_ABSENT) /* else a build was killed: look closer */
        error = check_file(&arena, path, validity, out);
    arena_end(&arena);
    *out &= error == NULL;
    error_free(error); /* a hint that cannot be read is none */
    return NULL;
}
