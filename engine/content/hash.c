/* hash.c - hashes, and the segments of files. */
#include "engine/content/hash_vector.h"

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

/* Equal blocks: what a file of no known format is cut into. An empty file has no segment. */
static struct error *cut_blocks(
    struct arena *arena, uint64_t size_bytes, struct span **spans, size_t *count)
{
    uint64_t blocks = size_bytes / SEGMENT_BYTES + (size_bytes % SEGMENT_BYTES != 0);
    if (blocks >= UINT32_MAX)
        return error_new(
            ERROR_FORMAT, "a file of %llu bytes is too large", (unsigned long long)size_bytes);
    *spans = arena_array(arena, (size_t)blocks, sizeof **spans);
    TRY(memory_check(*spans));
    for (uint64_t i = 0; i < blocks; i++) {
        uint64_t offset = i * SEGMENT_BYTES, rest = size_bytes - offset;
        (*spans)[i] = (struct span){offset, rest < SEGMENT_BYTES ? rest : SEGMENT_BYTES};
    }
    *count = (size_t)blocks;
    return NULL;
}

static struct error *make_segments(struct arena *arena, uint64_t size_bytes, struct span *spans,
    size_t count, struct segments **out)
{
    if (count == 0)
        TRY(cut_blocks(arena, size_bytes, &spans, &count));
    struct segments *segments = arena_alloc(arena, sizeof *segments);
    TRY(memory_check(segments));
    *segments = (struct segments){.count = (uint32_t)count,
        .spans = spans,
        .hashes = arena_array(arena, count, sizeof *segments->hashes),
        .is_known = arena_array(arena, count, sizeof *segments->is_known)};
    if (segments->hashes == NULL || segments->is_known == NULL)
        return error_memory();
    *out = segments;
    return NULL;
}

struct error *segments_of_plan(struct arena *arena, const struct registry *registry,
    const char *path, struct text header, uint64_t size_bytes, struct segments **out)
{
    const struct segmenter *segmenter = find_segmenter(registry, path);
    struct span *spans = NULL;
    size_t count = 0;
    if (segmenter != NULL && header.length >= 8)
        TRY(segmenter->segments(arena, path, header, size_bytes, &spans, &count));
    return make_segments(arena, size_bytes, spans, count, out);
}

struct error *segments_of_blocks(struct arena *arena, uint64_t size_bytes, struct segments **out)
{
    return make_segments(arena, size_bytes, NULL, 0, out);
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

uint32_t segments_find(const struct segments *segments, uint64_t offset)
{
    uint32_t low = 0, high = segments->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (segments->spans[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < segments->count && segments->spans[low].offset == offset ? low : UINT32_MAX;
}

bool segments_range(const struct segments *segments, uint64_t offset, uint64_t size_bytes,
    uint32_t *begin, uint32_t *end)
{
    uint32_t first = segments_find(segments, offset);
    if (first == UINT32_MAX || size_bytes == 0)
        return false;
    const struct span *final = &segments->spans[segments->count - 1];
    uint64_t whole = final->offset + final->size_bytes;
    if (size_bytes > whole - offset)
        return false;
    uint32_t after = offset + size_bytes == whole ? segments->count
                                                  : segments_find(segments, offset + size_bytes);
    if (after == UINT32_MAX)
        return false;
    *begin = first;
    *end = after;
    return true;
}

void segments_set(struct segments *segments, uint32_t index, const struct hash128 *hash)
{
    segments->hashes[index] = *hash;
    segments->known_count += !segments->is_known[index];
    segments->is_known[index] = true;
}

struct hash128 segments_tree(const struct segments *segments)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    for (uint32_t i = 0; i < segments->count; i++) {
        unsigned char length[8];
        store_le64(length, segments->spans[i].size_bytes);
        XXH3_128bits_update(&state, length, sizeof length);
        XXH3_128bits_update(&state, segments->hashes[i].bytes, sizeof segments->hashes[i].bytes);
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
        if (segments->is_known[i])
            continue;
        struct hash128 hash;
        error = hash_span(file, segments->spans[i], buffer, cancel, &hash);
        if (error == NULL)
            segments_set(segments, i, &hash);
        if (progress != NULL)
            atomic_fetch_add(progress, segments->spans[i].size_bytes);
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
        error = segments_fill(segments, file, cancel, progress);
    file_close(file);
    if (error == NULL)
        *out = segments;
    return error;
}
