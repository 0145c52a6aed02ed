/* test_behind.c - what is written behind arrives, whoever hands it over and in whatever order. */
#include "base/directory.h"
#include "engine/machine/behind.h"

#include <setjmp.h>
#include <stdarg.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "tests/support/tree.h"

enum { MIB = 1 << 20, FILE_BYTES = 9 * MIB + 1234, STEP_MAX = 300000, WRITERS = 8 };

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 2654435761u >> 24);
}

static struct file *open_file(const char *path, uint64_t size, bool is_spared)
{
    struct file *file;
    tree_assert_ok(file_open_staged(path, &file));
    tree_assert_ok(file_set_size(file, size));
    if (is_spared)
        file_spare_cache(file);
    return file;
}

static void assert_bytes(const char *path, uint64_t size)
{
    struct arena arena = {0};
    struct text text = tree_read(&arena, path);
    assert_int_equal(text.length, size);
    for (uint64_t i = 0; i < size; i++)
        if ((unsigned char)text.bytes[i] != byte_at(i))
            fail_msg("another byte at %llu", (unsigned long long)i);
    arena_end(&arena);
}

/* The ranges of a file, that threads take one by one. */
struct ranges {
    struct behind_file *file;
    struct span *spans;
    size_t count;
    _Atomic size_t next;
    _Atomic unsigned placed, failures;
};

static void fill(unsigned char *bytes, const struct span *span)
{
    for (size_t i = 0; i < span->size_bytes; i++)
        bytes[i] = byte_at(span->offset + i);
}

/* Made in its place if it may be. */
static void hand_over_one(struct ranges *ranges, const struct span *span, unsigned char *bytes)
{
    size_t size = (size_t)span->size_bytes;
    void *place = behind_place(ranges->file, span->offset, size);
    if (place != NULL) {
        fill(place, span);
        behind_placed(ranges->file, span->offset);
        ranges->placed++;
        return;
    }
    fill(bytes, span);
    struct error *error = behind_write(ranges->file, span->offset, bytes, size);
    ranges->failures += error != NULL;
    error_free(error);
}

static void *hand_over(void *context)
{
    struct ranges *ranges = context;
    unsigned char *bytes = test_malloc(STEP_MAX);
    for (size_t i; (i = atomic_fetch_add(&ranges->next, 1)) < ranges->count;)
        hand_over_one(ranges, &ranges->spans[i], bytes);
    test_free(bytes);
    return NULL;
}

/* Cuts the file anew for each row; `reach` says how far a range may lie from its place. */
static void cut(struct ranges *ranges, uint64_t size, size_t step_max, size_t reach)
{
    ranges->count = 0;
    ranges->next = 0;
    ranges->placed = 0;
    ranges->failures = 0;
    for (uint64_t at = 0; at < size;) {
        uint64_t step = 1 + (uint64_t)rand() % step_max;
        if (rand() % 4 != 0 && step > 64)
            step = step / 64 * 64 + (64 - at % 64) % 64; /* so the next may be made in its place */
        step = step < STEP_MAX ? step : STEP_MAX;
        step = step < size - at ? step : size - at;
        ranges->spans[ranges->count++] = (struct span){at, step};
        at += step;
    }
    for (size_t i = ranges->count; reach > 0 && i-- > 1;) {
        size_t other = i - (size_t)rand() % (reach < i ? reach : i + 1);
        struct span span = ranges->spans[i];
        ranges->spans[i] = ranges->spans[other];
        ranges->spans[other] = span;
    }
}

static void ranges_in_any_order_arrive_whole(void **state)
{
    static const struct {
        const char *name;
        uint64_t memory_bytes;
        size_t step_max, reach;
        bool is_spared;
    } rows[] = {
        {"two blocks", 0, STEP_MAX, 4, true},
        {"two blocks, at random", 0, STEP_MAX, SIZE_MAX, true},
        {"many blocks", 64 * MIB, STEP_MAX, 4, true},
        {"many blocks, at random", 64 * MIB, STEP_MAX, SIZE_MAX, true},
        {"more parts than a block remembers", 0, 5000, SIZE_MAX, true},
        {"through the page cache", 8 * MIB, STEP_MAX, 4, false},
    };
    struct ranges ranges = {.spans = test_malloc(FILE_BYTES / 100 * sizeof(struct span))};
    size_t placed = 0, copied = 0;
    (void)state;
    srand(1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pthread_t threads[WRITERS];
        struct behind *behind;
        struct file *file = open_file(rows[i].name, FILE_BYTES, rows[i].is_spared);
        print_message("%s\n", rows[i].name);
        tree_assert_ok(behind_open(rows[i].memory_bytes, &behind));
        tree_assert_ok(behind_add(behind, file, &ranges.file));
        cut(&ranges, FILE_BYTES, rows[i].step_max, rows[i].reach);
        for (unsigned t = 0; t < WRITERS; t++)
            assert_int_equal(pthread_create(&threads[t], NULL, hand_over, &ranges), 0);
        for (unsigned t = 0; t < WRITERS; t++)
            pthread_join(threads[t], NULL);
        assert_int_equal(ranges.failures, 0);
        placed += ranges.placed;
        copied += ranges.count - ranges.placed;
        tree_assert_ok(behind_flush(ranges.file));
        assert_bytes(rows[i].name, FILE_BYTES);
        behind_remove(ranges.file);
        behind_close(behind);
        file_close(file);
    }
    assert_true(placed > 0 && copied > 0);
    test_free(ranges.spans);
}

static void a_file_that_is_removed_is_written_first(void **state)
{
    struct behind *behind;
    struct behind_file *added[2];
    struct file *files[2];
    (void)state;
    tree_assert_ok(behind_open(0, &behind));
    for (unsigned i = 0; i < 2; i++) {
        files[i] = open_file(i == 0 ? "a" : "b", 6, true);
        tree_assert_ok(behind_add(behind, files[i], &added[i]));
    }
    for (unsigned char i = 0; i < 5; i++) { /* their blocks are never full */
        unsigned char byte = byte_at(i);
        tree_assert_ok(behind_write(added[i % 2], i, &byte, 1));
        tree_assert_ok(behind_write(added[1 - i % 2], i, &byte, 1));
    }
    for (unsigned i = 0; i < 2; i++)
        behind_remove(added[i]);
    for (unsigned i = 0; i < 2; i++) {
        tree_assert_ok(file_set_size(files[i], 5));
        assert_bytes(i == 0 ? "a" : "b", 5);
        file_close(files[i]);
    }
    behind_close(behind);
}

/* While other threads go on, whoever flushes finds what they themselves handed over. */
static void a_flush_reaches_what_was_handed_over_before(void **state)
{
    enum { OTHERS = 2, BEHIND = FILE_BYTES + 4 * MIB, TURNS = 64 };
    struct ranges ranges = {.spans = test_malloc(FILE_BYTES / 100 * sizeof(struct span))};
    struct behind *behind;
    struct file *file = open_file("f", BEHIND, true);
    pthread_t threads[OTHERS];
    (void)state;
    tree_assert_ok(behind_open(16 * MIB, &behind));
    tree_assert_ok(behind_add(behind, file, &ranges.file));
    cut(&ranges, FILE_BYTES, 5000, 8);
    for (unsigned t = 0; t < OTHERS; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, hand_over, &ranges), 0);
    for (unsigned i = 0; i < TURNS; i++) {
        unsigned char bytes[1000], found[sizeof bytes];
        memset(bytes, (int)i + 1, sizeof bytes);
        uint64_t at = BEHIND - (i + 1) * sizeof bytes;
        tree_assert_ok(behind_write(ranges.file, at, bytes, sizeof bytes));
        tree_assert_ok(behind_flush(ranges.file));
        tree_assert_ok(file_read_at(file, at, found, sizeof found));
        assert_memory_equal(bytes, found, sizeof found);
    }
    for (unsigned t = 0; t < OTHERS; t++)
        pthread_join(threads[t], NULL);
    assert_int_equal(ranges.failures, 0);
    behind_remove(ranges.file);
    behind_close(behind);
    tree_assert_ok(file_set_size(file, FILE_BYTES));
    assert_bytes("f", FILE_BYTES);
    file_close(file);
    test_free(ranges.spans);
}

/* Of the size of files: a full disk that asks for no disk of its own. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The limits end a write before, in, and at the end of a block of the disk. */
static void a_write_that_fails_is_told_to_everybody_who_asks(void **state)
{
    static const rlim_t limits[] = {2 * MIB, 2 * MIB + 100, 1000};
    unsigned char *bytes = test_calloc(4 * MIB, 1);
    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct behind *behind;
        struct behind_file *failing, *other;
        tree_assert_ok(file_remove("f"));
        struct file *file = open_file("f", 4 * MIB, true), *small = open_file("g", 512, true);
        limit_files(limits[i]);
        tree_assert_ok(behind_open(64 * MIB, &behind));
        tree_assert_ok(behind_add(behind, file, &failing));
        tree_assert_ok(behind_add(behind, small, &other));
        struct error *error = behind_write(failing, 0, bytes, 4 * MIB);
        if (error == NULL)
            error = behind_flush(failing);
        tree_assert_report(error, "f: cannot write: File too large\n");
        tree_assert_report(behind_flush(failing), "f: cannot write: File too large\n");
        tree_assert_report(behind_write(failing, 0, bytes, 1), "f: cannot write: File too large\n");
        assert_null(behind_place(failing, 0, 1));
        tree_assert_ok(behind_write(other, 0, bytes, 512));
        tree_assert_ok(behind_flush(other));
        behind_remove(failing);
        behind_remove(other);
        behind_close(behind);
        limit_files(RLIM_INFINITY);
        file_close(file);
        file_close(small);
    }
    test_free(bytes);
}

static void the_blocks_are_a_share_of_the_budget(void **state)
{
    (void)state;
    assert_int_equal(behind_memory(0), 2 * MIB);
    assert_int_equal(behind_memory(16 * MIB), 4 * MIB);
    assert_int_equal(behind_memory(48 * MIB), 12 * MIB);
    assert_int_equal(behind_memory(UINT64_MAX), 16 * MIB);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(ranges_in_any_order_arrive_whole),
        TREE_TEST(a_file_that_is_removed_is_written_first),
        TREE_TEST(a_flush_reaches_what_was_handed_over_before),
        TREE_TEST(a_write_that_fails_is_told_to_everybody_who_asks),
        TREE_TEST(the_blocks_are_a_share_of_the_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
