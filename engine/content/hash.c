/* hash.c - hashes, and the segments of files. */
#include "engine/content/hash_vector.h"

#include <assert.h>
#include <stdatomic.h>

#include "base/wire.h"

enum { READ_BYTES = 512 * 1024 };

static const struct hash_code hash_code_baseline = {0, hash_at_once, hash_more};
static const struct hash_code *hash_code = &hash_code_baseline;

void hash_init(unsigned cpu_mask)
{
    const struct hash_code *const codes[] = {
        &hash_code_avx512, &hash_code_avx2, &hash_code_baseline};
    size_t i = 0;
    while (codes[i]->of == NULL || (codes[i]->features & ~cpu_mask) != 0)
        i++;
    hash_code = codes[i];
}

struct hash128 hash_bytes(const void *bytes, size_t size)
{
    return hash_code->of(bytes, size);
}

struct hash128 hash_text(struct text text)
{
    return hash_bytes(text.bytes, text.length);
}

bool hash_equal(const struct hash128 *a, const struct hash128 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

const char *hash_hex(const struct hash128 *hash, char buffer[HASH_HEX_BYTES])
{
    return text_write_hex(buffer, hash->bytes, sizeof hash->bytes);
}

struct hash_stream {
    XXH3_state_t state;
};

struct hash_stream *hash_stream_new(struct arena *arena)
{
    enum { ALIGNMENT = _Alignof(struct hash_stream) };
    unsigned char *place = arena_alloc(arena, sizeof(struct hash_stream) + ALIGNMENT);
    if (place == NULL)
        return NULL;
    struct hash_stream *stream = (void *)(place + (ALIGNMENT - (uintptr_t)place % ALIGNMENT));
    XXH3_INITSTATE(&stream->state);
    XXH3_128bits_reset(&stream->state);
    return stream;
}

void hash_stream_update(struct hash_stream *stream, const void *bytes, size_t size)
{
    hash_code->more(&stream->state, bytes, size);
}

struct hash128 hash_stream_take(struct hash_stream *stream)
{
    struct hash128 hash = hash_canonical(XXH3_128bits_digest(&stream->state));
    XXH3_128bits_reset(&stream->state);
    return hash;
}

static const struct segmenter *find_segmenter(const struct registry *registry, const char *path)
{
    for (const struct segmenter *const *s = registry->segmenters; *s != NULL; s++)
        if (text_ends_with(text_of(path), (*s)->suffix))
            return *s;
    return NULL;
}

/* Hashes come with the first reservation: what is only planned has none. */
struct segment_run {
    struct span_run cut;
    uint32_t first; /* the number of its first segment */
    struct hash128 *hashes;
    bool *is_known;
};

static struct error *make_segments(struct arena *arena, const char *path,
    const struct span_run *cuts, size_t count, struct segments **out)
{
    uint64_t total = 0;
    struct segments *segments = arena_alloc(arena, sizeof *segments);
    struct segment_run *runs = arena_array(arena, count, sizeof *runs);
    if (segments == NULL || runs == NULL)
        return error_memory();
    for (size_t i = 0; i < count; i++) {
        runs[i] = (struct segment_run){.cut = cuts[i], .first = (uint32_t)total};
        total += span_run_count(&cuts[i]);
        if (total >= UINT32_MAX)
            return error_new(
                ERROR_FORMAT, "%s: expected fewer than 2^32 segments, found more", path);
    }
    *segments = (struct segments){
        .count = (uint32_t)total, .run_count = (uint32_t)count, .runs = runs, .arena = arena};
    *out = segments;
    return NULL;
}

/* Equal blocks: what a file of no known format is cut into. An empty file has no segment. */
static struct error *cut_blocks(
    struct arena *arena, const char *path, uint64_t size_bytes, struct segments **out)
{
    const struct span_run cut = {0, size_bytes, SEGMENT_BYTES, SEGMENT_BYTES};
    return make_segments(arena, path, &cut, size_bytes > 0, out);
}

struct error *segments_of_plan(struct arena *arena, const struct registry *registry,
    const char *path, struct text header, uint64_t size_bytes, struct segments **out)
{
    const struct segmenter *segmenter = find_segmenter(registry, path);
    struct span_run *cuts = NULL;
    size_t count = 0;
    if (segmenter != NULL && header.length >= 8)
        TRY(segmenter->segments(arena, path, header, size_bytes, &cuts, &count));
    return count == 0 ? cut_blocks(arena, path, size_bytes, out)
                      : make_segments(arena, path, cuts, count, out);
}

struct error *segments_of_blocks(
    struct arena *arena, const char *path, uint64_t size_bytes, struct segments **out)
{
    return cut_blocks(arena, path, size_bytes, out);
}

bool segments_has_format(const struct registry *registry, const char *path)
{
    return find_segmenter(registry, path) != NULL;
}

/* The header of a file that has a segmenter; empty: it is no such file. */
static struct error *read_header(struct arena *arena, const struct segmenter *segmenter,
    const struct file *file, struct text *out)
{
    unsigned char first[8];
    *out = TEXT_EMPTY;
    if (segmenter == NULL || file_size(file) < sizeof first)
        return NULL;
    TRY(file_read_at(file, 0, first, sizeof first));
    uint64_t length = segmenter->header_bytes(first, file_size(file));
    if (length < sizeof first || length > file_size(file) || length > HEADER_BYTES_MAX)
        return NULL;
    char *bytes = arena_alloc(arena, (size_t)length + 1);
    TRY(memory_check(bytes));
    TRY(file_read_at(file, 0, bytes, (size_t)length));
    *out = (struct text){bytes, (size_t)length};
    return NULL;
}

struct error *segments_of_file(struct arena *arena, const struct registry *registry,
    const struct file *file, const char *path, struct segments **out)
{
    struct text header;
    TRY(read_header(arena, find_segmenter(registry, path), file, &header));
    return segments_of_plan(arena, registry, path, header, file_size(file), out);
}

struct error *segments_name_part(struct arena *arena, const struct registry *registry,
    const struct file *file, const char *path, uint64_t offset, const char **out)
{
    const struct segmenter *segmenter = find_segmenter(registry, path);
    struct text header;
    *out = NULL;
    TRY(read_header(arena, segmenter, file, &header));
    if (header.length == 0)
        return NULL;
    return segmenter->name_part(arena, path, header, file_size(file), offset, out);
}

bool segments_have_same_cut(const struct segments *a, const struct segments *b)
{
    bool is_same = a->run_count == b->run_count;
    for (uint32_t i = 0; is_same && i < a->run_count; i++)
        is_same = memcmp(&a->runs[i].cut, &b->runs[i].cut, sizeof a->runs[i].cut) == 0;
    return is_same;
}

/* The run of a segment. */
static struct segment_run *run_of(const struct segments *segments, uint32_t index)
{
    uint32_t low = 0, high = segments->run_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (segments->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return &segments->runs[low];
}

struct span segments_at(const struct segments *segments, uint32_t index)
{
    const struct segment_run *run = run_of(segments, index);
    return span_run_at(&run->cut, index - run->first);
}

/* The number of the segment that begins at `offset`, the count at the end, UINT32_MAX elsewhere. */
static uint32_t find_border(const struct segments *segments, uint64_t offset)
{
    uint32_t low = 0, high = segments->run_count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (segments->runs[middle].cut.offset <= offset)
            low = middle;
        else
            high = middle;
    }
    uint64_t index = low < high ? span_run_find(&segments->runs[low].cut, offset) : UINT64_MAX;
    return index == UINT64_MAX ? UINT32_MAX : segments->runs[low].first + (uint32_t)index;
}

bool segments_range(const struct segments *segments, uint64_t offset, uint64_t size_bytes,
    uint32_t *begin, uint32_t *end)
{
    uint32_t first = find_border(segments, offset), after;
    if (first >= segments->count || size_bytes == 0 || size_bytes > UINT64_MAX - offset)
        return false;
    after = find_border(segments, offset + size_bytes);
    if (after == UINT32_MAX)
        return false;
    *begin = first;
    *end = after;
    return true;
}

struct error *segments_reserve(struct segments *segments, uint32_t begin, uint32_t end)
{
    while (begin < end) {
        struct segment_run *run = run_of(segments, begin);
        uint32_t count = (uint32_t)span_run_count(&run->cut);
        if (run->hashes == NULL) {
            run->is_known = arena_array(segments->arena, count, sizeof *run->is_known);
            TRY(memory_check(run->is_known));
            run->hashes = arena_array(segments->arena, count, sizeof *run->hashes);
            TRY(memory_check(run->hashes));
        }
        begin = run->first + count;
    }
    return NULL;
}

void segments_set(struct segments *segments, uint32_t index, const struct hash128 *hash)
{
    struct segment_run *run = run_of(segments, index);
    assert(run->hashes != NULL);
    run->hashes[index - run->first] = *hash;
    segments->known_count += !run->is_known[index - run->first];
    run->is_known[index - run->first] = true;
}

const struct hash128 *segments_hash(const struct segments *segments, uint32_t index)
{
    const struct segment_run *run = run_of(segments, index);
    bool is_known = run->hashes != NULL && run->is_known[index - run->first];
    return is_known ? &run->hashes[index - run->first] : NULL;
}

bool segments_are_known(const struct segments *segments)
{
    return segments->known_count == segments->count;
}

struct hash128 segments_tree(const struct segments *segments)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    for (uint32_t i = 0; i < segments->run_count; i++) {
        const struct segment_run *run = &segments->runs[i];
        uint64_t count = span_run_count(&run->cut);
        for (uint64_t k = 0; k < count; k++) {
            unsigned char length[8];
            store_le64(length, span_run_at(&run->cut, k).size_bytes);
            XXH3_128bits_update(&state, length, sizeof length);
            XXH3_128bits_update(&state, run->hashes[k].bytes, sizeof run->hashes[k].bytes);
        }
    }
    return hash_canonical(XXH3_128bits_digest(&state));
}

/* One segment, which may be larger than the buffer. */
static struct error *hash_span(const struct file *file, struct span span, unsigned char *buffer,
    const _Atomic bool *cancel, struct hash128 *out)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    for (uint64_t done = 0; done < span.size_bytes;) {
        if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed))
            return error_new(ERROR_INTERRUPTED, "interrupted");
        uint64_t rest = span.size_bytes - done;
        size_t step = rest < READ_BYTES ? (size_t)rest : READ_BYTES;
        TRY(file_read_at(file, span.offset + done, buffer, step));
        hash_code->more(&state, buffer, step);
        done += step;
    }
    *out = hash_canonical(XXH3_128bits_digest(&state));
    return NULL;
}

struct error *segments_fill(struct segments *segments, const struct file *file,
    const _Atomic bool *cancel, _Atomic uint64_t *progress)
{
    unsigned char *buffer = memory_alloc(READ_BYTES);
    TRY(memory_check(buffer));
    struct error *error = NULL;
    for (uint32_t i = 0; error == NULL && i < segments->count; i++) {
        if (segments_hash(segments, i) != NULL)
            continue;
        struct hash128 hash;
        struct span span = segments_at(segments, i);
        error = hash_span(file, span, buffer, cancel, &hash);
        if (error == NULL)
            segments_set(segments, i, &hash);
        if (progress != NULL)
            atomic_fetch_add(progress, span.size_bytes);
    }
    memory_free(buffer);
    return error;
}

struct error *segments_hash_file(struct arena *arena, const struct registry *registry,
    const char *path, const char *location, const _Atomic bool *cancel, _Atomic uint64_t *progress,
    struct segments **out)
{
    struct file *file;
    struct segments *segments = NULL;
    TRY(file_open(location, &file));
    struct error *error = segments_of_file(arena, registry, file, path, &segments);
    if (error == NULL)
        error = segments_reserve(segments, 0, segments->count);
    if (error == NULL)
        error = segments_fill(segments, file, cancel, progress);
    file_close(file);
    if (error == NULL)
        *out = segments;
    return error;
}
