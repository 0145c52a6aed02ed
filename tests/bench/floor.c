/* floor.c - what a conversion costs when nothing is converted: the least a disk allows.
 *
 *     floor [-c] [-j THREADS] OUTPUT BYTES INPUT...
 *
 * Reads all of the inputs and writes BYTES into OUTPUT, synced, with psybuild's own calls
 * (base/file.h): the threads take turns at blocks of 4 MiB of input, and each block read writes its
 * share of the output. The page cache is spared when psybuild would; with -c what is written goes
 * through it all the same, and is dropped from it later. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file.h"
#include "engine/machine/behind.h"

enum { BLOCK_BYTES = 4 << 20, THREADS_MAX = 64, MEMORY_BYTES = 48 << 20 };

struct block {
    struct file *file;
    uint64_t offset;
    size_t size;
};

struct copy {
    struct file *output;
    struct behind *behind;
    struct behind_file *output_behind; /* when the page cache is spared */
    uint64_t output_bytes;
    struct block *blocks;
    size_t block_count;
    _Atomic size_t next;
};

static void check(struct error *error)
{
    if (error == NULL)
        return;
    fprintf(stderr, "floor: %s\n", error_text(error));
    exit(1);
}

static void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (memory == NULL)
        check(error_memory());
    return memory;
}

/* Where the share of block `index` begins. */
static uint64_t share_begin(const struct copy *copy, size_t index)
{
    return copy->output_bytes / copy->block_count * index +
           copy->output_bytes % copy->block_count * index / copy->block_count;
}

static void spare_cache(struct copy *copy, bool is_cached)
{
    uint64_t moved = copy->output_bytes;
    for (size_t i = 0; i < copy->block_count; i++)
        moved += copy->blocks[i].size;
    if (moved <= file_page_cache_bytes())
        return;
    file_spare_cache(copy->output);
    if (!is_cached) {
        check(behind_open(MEMORY_BYTES, &copy->behind));
        check(behind_add(copy->behind, copy->output, &copy->output_behind));
    }
    for (size_t i = 0; i < copy->block_count; i++)
        if (copy->blocks[i].offset == 0)
            file_spare_cache(copy->blocks[i].file);
}

static void *work(void *context)
{
    struct copy *copy = context;
    unsigned char *buffer = allocate(BLOCK_BYTES);
    for (size_t i; (i = atomic_fetch_add(&copy->next, 1)) < copy->block_count;) {
        const struct block *block = &copy->blocks[i];
        uint64_t at = share_begin(copy, i), end = share_begin(copy, i + 1);
        check(file_read_at(block->file, block->offset, buffer, block->size));
        while (at < end) {
            size_t size = end - at < BLOCK_BYTES ? (size_t)(end - at) : BLOCK_BYTES;
            if (copy->output_behind != NULL) {
                check(behind_write(copy->output_behind, at, buffer, size));
            } else {
                check(file_write_at(copy->output, at, buffer, size));
                file_start_writeback(copy->output, size);
            }
            at += size;
        }
    }
    free(buffer);
    return NULL;
}

static void add_file(struct copy *copy, const char *path)
{
    struct file *file;
    check(file_open(path, &file));
    uint64_t size = file_size(file);
    size_t count = (size_t)((size + BLOCK_BYTES - 1) / BLOCK_BYTES);
    copy->blocks = realloc(copy->blocks, (copy->block_count + count) * sizeof *copy->blocks);
    if (copy->blocks == NULL)
        check(error_memory());
    for (uint64_t at = 0; at < size; at += BLOCK_BYTES)
        copy->blocks[copy->block_count++] = (struct block){
            file, at, size - at < BLOCK_BYTES ? (size_t)(size - at) : (size_t)BLOCK_BYTES};
}

int main(int count, char **arguments)
{
    struct copy copy = {0};
    struct file *output;
    unsigned long threads = 2;
    int at = 1;
    bool is_cached = count > at && strcmp(arguments[at], "-c") == 0;
    at += is_cached;
    if (count > at + 1 && strcmp(arguments[at], "-j") == 0) {
        threads = strtoul(arguments[at + 1], NULL, 10);
        at += 2;
    }
    if (count < at + 3 || threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: floor [-c] [-j THREADS] OUTPUT BYTES INPUT...\n");
        return 2;
    }
    check(file_remove(arguments[at]));
    check(file_open_staged(arguments[at], &output));
    copy.output = output;
    copy.output_bytes = strtoull(arguments[at + 1], NULL, 10);
    check(file_set_size(output, copy.output_bytes));
    for (int i = at + 2; i < count; i++)
        add_file(&copy, arguments[i]);
    spare_cache(&copy, is_cached);
    pthread_t ids[THREADS_MAX];
    for (unsigned long i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, work, &copy) != 0)
            check(error_memory());
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    if (copy.output_behind != NULL)
        check(behind_flush(copy.output_behind));
    check(file_sync(output));
    behind_remove(copy.output_behind);
    behind_close(copy.behind);
    file_close(output);
    return 0;
}
