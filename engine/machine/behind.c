/* behind.c - one mutex; one condition for the threads that write, one for those who wait for them.
 *
 *     FREE --first bytes--> OPEN --full, flushed, or its room is wanted--> QUEUED
 *      ^                                                                     |
 *      +------------------------ written ---- WRITING <----- a thread takes it
 *
 * Bytes come into an open block outside of the mutex; until its users are done, it stays open.
 * Blocks are few, so all searches are over all of them. */
#include "engine/machine/behind.h"

#include <pthread.h>
#include <string.h>

#include "base/arena.h"

enum {
    BLOCK_BYTES = 1 << 20,
    BLOCKS_MIN = 2,
    BLOCKS_MAX = 16,
    SHARE = 4, /* of the budget is the blocks' */
    SPANS_MAX = 32,
    THREADS = 4,     /* two leave the disk idle now and then: 3 % of a conversion */
    PLACE_BYTES = 64 /* what tasks find their buffers aligned to */
};

enum block_state { BLOCK_FREE, BLOCK_OPEN, BLOCK_QUEUED, BLOCK_WRITING };

struct block {
    enum block_state state;
    unsigned users; /* places in it, and copies into it, that are not done */
    struct behind_file *file;
    uint64_t begin, serial;       /* where in the file; the order in which blocks were opened */
    struct span spans[SPANS_MAX]; /* what was handed over, in order, no two of them adjacent */
    unsigned span_count;
    void *allocation;
    unsigned char *bytes; /* NULL before its first use */
};

struct behind_file {
    struct behind *behind;
    struct file *file;
    struct error *error; /* of the first write that failed */
};

struct behind {
    pthread_mutex_t mutex;
    pthread_cond_t work, changed;
    bool is_closing;
    unsigned thread_count;
    pthread_t threads[THREADS];
    uint64_t serial;
    unsigned block_count;
    struct block blocks[];
};

static unsigned count_blocks(uint64_t memory_bytes)
{
    uint64_t count = memory_bytes / SHARE / BLOCK_BYTES;
    return count < BLOCKS_MIN ? BLOCKS_MIN : count > BLOCKS_MAX ? BLOCKS_MAX : (unsigned)count;
}

uint64_t behind_memory(uint64_t memory_bytes)
{
    return (uint64_t)count_blocks(memory_bytes) * BLOCK_BYTES;
}

struct error *behind_open(uint64_t memory_bytes, struct behind **out)
{
    unsigned count = count_blocks(memory_bytes);
    size_t size = sizeof(struct behind) + count * sizeof(struct block);
    struct behind *behind = memory_alloc(size);
    TRY(memory_check(behind));
    memset(behind, 0, size);
    behind->block_count = count;
    pthread_mutex_init(&behind->mutex, NULL);
    pthread_cond_init(&behind->work, NULL);
    pthread_cond_init(&behind->changed, NULL);
    *out = behind;
    return NULL;
}

void behind_close(struct behind *behind)
{
    if (behind == NULL)
        return;
    pthread_mutex_lock(&behind->mutex);
    behind->is_closing = true;
    pthread_cond_broadcast(&behind->work);
    pthread_mutex_unlock(&behind->mutex);
    for (unsigned i = 0; i < behind->thread_count; i++)
        pthread_join(behind->threads[i], NULL);
    for (unsigned i = 0; i < behind->block_count; i++)
        memory_free(behind->blocks[i].allocation);
    pthread_cond_destroy(&behind->changed);
    pthread_cond_destroy(&behind->work);
    pthread_mutex_destroy(&behind->mutex);
    memory_free(behind);
}

/* ---- the threads that write ---- */

static struct block *oldest(struct behind *behind, enum block_state state)
{
    struct block *found = NULL;
    for (unsigned i = 0; i < behind->block_count; i++) {
        struct block *block = &behind->blocks[i];
        if (block->state == state && block->users == 0 &&
            (found == NULL || block->serial < found->serial))
            found = block;
    }
    return found;
}

static struct error *write_block(const struct block *block)
{
    for (unsigned i = 0; i < block->span_count; i++) {
        const struct span *span = &block->spans[i];
        TRY(file_write_around(block->file->file, span->offset,
            block->bytes + (span->offset - block->begin), (size_t)span->size_bytes));
    }
    return NULL;
}

static void *thread_main(void *argument)
{
    struct behind *behind = argument;
    pthread_mutex_lock(&behind->mutex);
    for (;;) {
        struct block *block = oldest(behind, BLOCK_QUEUED);
        if (block == NULL && behind->is_closing)
            break;
        if (block == NULL) {
            pthread_cond_wait(&behind->work, &behind->mutex);
            continue;
        }
        block->state = BLOCK_WRITING;
        pthread_mutex_unlock(&behind->mutex);
        struct error *error = write_block(block);
        pthread_mutex_lock(&behind->mutex);
        if (block->file->error == NULL)
            block->file->error = error;
        else
            error_free(error);
        block->state = BLOCK_FREE;
        pthread_cond_broadcast(&behind->changed);
    }
    pthread_mutex_unlock(&behind->mutex);
    return NULL;
}

static struct error *start_threads(struct behind *behind)
{
    while (behind->thread_count < THREADS) {
        int code =
            pthread_create(&behind->threads[behind->thread_count], NULL, thread_main, behind);
        if (code != 0 && behind->thread_count == 0)
            return error_new(ERROR_IO, "cannot start a thread: %s", strerror(code));
        if (code != 0)
            break; /* fewer will do */
        behind->thread_count++;
    }
    return NULL;
}

/* ---- what is handed over: the mutex is held ---- */

static void queue_block(struct behind *behind, struct block *block)
{
    block->state = BLOCK_QUEUED;
    pthread_cond_signal(&behind->work);
}

/* To everybody who asks: one of them is heard first, and should know why. */
static struct error *error_of(const struct behind_file *file)
{
    return file->error == NULL
               ? NULL
               : error_new(error_kind_of(file->error), "%s", error_text(file->error));
}

/* Adds a span to those of the block; false when there are too many. */
static bool add_span(struct block *block, uint64_t offset, uint64_t size)
{
    unsigned at = 0;
    while (at < block->span_count && block->spans[at].offset < offset)
        at++;
    struct span *before = at > 0 ? &block->spans[at - 1] : NULL;
    struct span *after = at < block->span_count ? &block->spans[at] : NULL;
    bool joins_before = before != NULL && before->offset + before->size_bytes == offset;
    bool joins_after = after != NULL && offset + size == after->offset;
    if (joins_before && joins_after) {
        before->size_bytes += size + after->size_bytes;
        block->span_count--;
        memmove(after, after + 1, (block->span_count - at) * sizeof *after);
    } else if (joins_before) {
        before->size_bytes += size;
    } else if (joins_after) {
        *after = (struct span){offset, after->size_bytes + size};
    } else {
        if (block->span_count == SPANS_MAX)
            return false;
        memmove(&block->spans[at + 1], &block->spans[at],
            (block->span_count - at) * sizeof block->spans[0]);
        block->spans[at] = (struct span){offset, size};
        block->span_count++;
    }
    return true;
}

static struct block *find_open(
    struct behind *behind, const struct behind_file *file, uint64_t begin)
{
    for (unsigned i = 0; i < behind->block_count; i++) {
        struct block *block = &behind->blocks[i];
        if (block->state == BLOCK_OPEN && block->file == file && block->begin == begin)
            return block;
    }
    return NULL;
}

/* A free block for these bytes; NULL without an error means: wait, and look again. */
static struct error *open_block(
    struct behind *behind, struct behind_file *file, uint64_t begin, struct block **out)
{
    struct block *block = oldest(behind, BLOCK_FREE);
    *out = NULL;
    if (block == NULL) {
        bool is_writing = false;
        for (unsigned i = 0; i < behind->block_count; i++)
            is_writing |= behind->blocks[i].state >= BLOCK_QUEUED;
        struct block *victim = is_writing ? NULL : oldest(behind, BLOCK_OPEN);
        if (victim != NULL)
            queue_block(behind, victim);
        return NULL;
    }
    TRY(start_threads(behind));
    if (block->bytes == NULL) {
        block->allocation = memory_alloc(BLOCK_BYTES + FILE_AROUND_ALIGNMENT);
        TRY(memory_check(block->allocation));
        uintptr_t address = (uintptr_t)block->allocation;
        block->bytes = (unsigned char *)block->allocation +
                       (FILE_AROUND_ALIGNMENT - address % FILE_AROUND_ALIGNMENT);
    }
    block->state = BLOCK_OPEN;
    block->file = file;
    block->begin = begin;
    block->serial = behind->serial++;
    block->span_count = 0;
    *out = block;
    return NULL;
}

/* The open block that these bytes go into, with one user more. */
static struct error *enter_block(
    struct behind_file *file, uint64_t offset, uint64_t size, struct block **out)
{
    struct behind *behind = file->behind;
    uint64_t begin = offset / BLOCK_BYTES * BLOCK_BYTES;
    for (;;) {
        TRY(error_of(file));
        struct block *block = find_open(behind, file, begin);
        if (block == NULL)
            TRY(open_block(behind, file, begin, &block));
        if (block != NULL && add_span(block, offset, size)) {
            block->users++;
            *out = block;
            return NULL;
        }
        if (block != NULL && block->users == 0)
            queue_block(behind, block); /* in too many parts: another for the rest */
        else
            pthread_cond_wait(&behind->changed, &behind->mutex);
    }
}

static bool is_full(const struct block *block)
{
    uint64_t rest = file_size(block->file->file) - block->begin;
    return block->span_count == 1 &&
           block->spans[0].size_bytes == (rest < BLOCK_BYTES ? rest : BLOCK_BYTES);
}

static void leave_block(struct behind *behind, struct block *block)
{
    block->users--;
    if (block->users > 0)
        return;
    if (is_full(block))
        queue_block(behind, block);
    else
        pthread_cond_broadcast(&behind->changed);
}

/* ---- the interface ---- */

struct error *behind_add(struct behind *behind, struct file *file, struct behind_file **out)
{
    struct behind_file *added = memory_alloc(sizeof *added);
    TRY(memory_check(added));
    *added = (struct behind_file){.behind = behind, .file = file};
    *out = added;
    return NULL;
}

struct error *behind_write(
    struct behind_file *file, uint64_t offset, const void *bytes, size_t size)
{
    struct behind *behind = file->behind;
    const unsigned char *from = bytes;
    while (size > 0) {
        size_t rest = BLOCK_BYTES - (size_t)(offset % BLOCK_BYTES),
               step = size < rest ? size : rest;
        struct block *block;
        pthread_mutex_lock(&behind->mutex);
        struct error *error = enter_block(file, offset, step, &block);
        pthread_mutex_unlock(&behind->mutex);
        TRY(error);
        memcpy(block->bytes + (offset - block->begin), from, step);
        pthread_mutex_lock(&behind->mutex);
        leave_block(behind, block);
        pthread_mutex_unlock(&behind->mutex);
        offset += step;
        from += step;
        size -= step;
    }
    return NULL;
}

void *behind_place(struct behind_file *file, uint64_t offset, size_t size)
{
    struct behind *behind = file->behind;
    uint64_t begin = offset / BLOCK_BYTES * BLOCK_BYTES;
    void *place = NULL;
    if (offset % PLACE_BYTES != 0 || size > BLOCK_BYTES - (offset - begin))
        return NULL;
    pthread_mutex_lock(&behind->mutex);
    struct block *block = find_open(behind, file, begin);
    if (file->error == NULL && block == NULL && oldest(behind, BLOCK_FREE) != NULL)
        error_free(open_block(behind, file, begin, &block)); /* behind_write will say it */
    if (file->error == NULL && block != NULL && add_span(block, offset, size)) {
        block->users++;
        place = block->bytes + (offset - begin);
    }
    pthread_mutex_unlock(&behind->mutex);
    return place;
}

void behind_placed(struct behind_file *file, uint64_t offset)
{
    struct behind *behind = file->behind;
    pthread_mutex_lock(&behind->mutex);
    leave_block(behind, find_open(behind, file, offset / BLOCK_BYTES * BLOCK_BYTES));
    pthread_mutex_unlock(&behind->mutex);
}

/* Queues what can be; whether anything of the file handed over before `serial` is not yet written.
 */
static bool is_pending(struct behind *behind, const struct behind_file *file, uint64_t serial)
{
    bool found = false;
    for (unsigned i = 0; i < behind->block_count; i++) {
        struct block *block = &behind->blocks[i];
        if (block->state == BLOCK_FREE || block->file != file || block->serial >= serial)
            continue;
        if (block->state == BLOCK_OPEN && block->users == 0)
            queue_block(behind, block);
        found = true;
    }
    return found;
}

struct error *behind_flush(struct behind_file *file)
{
    struct behind *behind = file->behind;
    pthread_mutex_lock(&behind->mutex);
    uint64_t serial = behind->serial;
    while (is_pending(behind, file, serial))
        pthread_cond_wait(&behind->changed, &behind->mutex);
    struct error *error = error_of(file);
    pthread_mutex_unlock(&behind->mutex);
    return error;
}

void behind_remove(struct behind_file *file)
{
    if (file == NULL)
        return;
    error_free(behind_flush(file));
    error_free(file->error);
    memory_free(file);
}
