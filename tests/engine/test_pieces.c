/* test_pieces.c - the log of a node's pieces: kept, resumed, and cut where it is torn. */
#include "base/directory.h"
#include "engine/state/pieces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct piece_file inputs[] = {
    {.path = "in/1", .head = {{4, 5}}}, {.path = "in/2", .head = {{255, 6}}}};
static const struct piece_file outputs[] = {
    {.path = "out/1", .size_bytes = UINT64_MAX, .head = {{1, 2, 3}}}, {.path = "", .size_bytes = 0},
    {.path = "out/3", .size_bytes = 7}};

static struct hash128 hash_of(unsigned number)
{
    return hash_bytes(&number, sizeof number);
}

static struct piece_record new_record(struct arena *arena, unsigned seed)
{
    struct piece_record record = {
        .key = hash_of(seed), .input_count = seed % 5, .output_count = (seed + 2) % 5};
    for (uint32_t i = 0; i < record.input_count + record.output_count; i++) {
        bool is_input = i < record.input_count;
        struct piece_part part = {.file = (i + seed) % 2,
            .offset = UINT64_MAX - i * seed,
            .size_bytes = i,
            .hash_count = (i + seed) % 4};
        struct hash128 *hashes = arena_array(arena, 4, sizeof *hashes);
        for (uint32_t h = 0; h < part.hash_count; h++)
            hashes[h] = hash_of(seed * 100 + i * 10 + h);
        part.hashes = hashes;
        if (is_input)
            record.inputs[i] = part;
        else
            record.outputs[i - record.input_count] = part;
    }
    return record;
}

static struct piece_log *begin_log(struct arena *arena)
{
    struct piece_log *log;
    tree_assert_ok(
        pieces_begin(arena, "log", inputs, COUNT(inputs), outputs, COUNT(outputs), &log));
    tree_assert_ok(pieces_publish(log));
    return log;
}

static struct piece_log *load(struct arena *arena)
{
    struct piece_log *log = NULL;
    tree_assert_ok(pieces_load(arena, "log", &log));
    return log;
}

/* Appends records `begin` to `end`; `ends`, unless NULL, gets the size after each. */
static void append(
    struct arena *arena, struct piece_log *log, unsigned begin, unsigned end, uint64_t *ends)
{
    for (unsigned i = begin; i < end; i++) {
        struct piece_record record = new_record(arena, i);
        tree_assert_ok(pieces_append(log, &record));
        if (ends != NULL)
            ends[i] = log->size_bytes;
    }
}

static void check_part(const struct piece_part *got, const struct piece_part *want)
{
    assert_int_equal(got->file, want->file);
    assert_int_equal(got->offset, want->offset);
    assert_int_equal(got->size_bytes, want->size_bytes);
    assert_int_equal(got->hash_count, want->hash_count);
    for (uint32_t h = 0; h < want->hash_count; h++)
        assert_true(hash_equal(&got->hashes[h], &want->hashes[h]));
}

/* The log has its files and exactly the first `count` records. */
static void check_log(const struct piece_log *log, unsigned count)
{
    struct arena arena = {0};
    assert_int_equal(log->input_count, COUNT(inputs));
    for (uint32_t i = 0; i < COUNT(inputs); i++) {
        assert_string_equal(log->inputs[i].path, inputs[i].path);
        assert_true(hash_equal(&log->inputs[i].head, &inputs[i].head));
    }
    assert_int_equal(log->output_count, COUNT(outputs));
    for (uint32_t i = 0; i < COUNT(outputs); i++) {
        assert_string_equal(log->outputs[i].path, outputs[i].path);
        assert_int_equal(log->outputs[i].size_bytes, outputs[i].size_bytes);
        assert_true(hash_equal(&log->outputs[i].head, &outputs[i].head));
    }
    assert_int_equal(log->count, count);
    for (unsigned i = 0; i < count; i++) {
        struct piece_record want = new_record(&arena, i);
        const struct piece_record *got = pieces_find(log, &want.key);
        assert_non_null(got);
        assert_int_equal(got->input_count, want.input_count);
        assert_int_equal(got->output_count, want.output_count);
        for (uint32_t k = 0; k < want.input_count; k++)
            check_part(&got->inputs[k], &want.inputs[k]);
        for (uint32_t k = 0; k < want.output_count; k++)
            check_part(&got->outputs[k], &want.outputs[k]);
    }
    struct hash128 other = hash_of(77777);
    assert_null(pieces_find(log, &other));
    arena_end(&arena);
}

static void check_empty(const struct piece_log *log)
{
    assert_int_equal(log->count, 0);
    assert_int_equal(log->input_count, 0);
    assert_int_equal(log->output_count, 0);
    assert_false(log->is_ended);
}

static void what_is_appended_is_found_again(void **state)
{
    enum { MANY = 50 };
    struct arena arena = {0};
    (void)state;
    struct piece_log *log = begin_log(&arena);
    append(&arena, log, 0, MANY, NULL);
    pieces_close(log);
    pieces_close(log);
    pieces_close(NULL);
    check_log(load(&arena), MANY);
    arena_end(&arena);
}

static void a_log_begins_anew_where_one_was(void **state)
{
    struct arena arena = {0};
    (void)state;
    struct piece_log *log = begin_log(&arena);
    append(&arena, log, 0, 20, NULL);
    pieces_close(log);
    log = begin_log(&arena);
    append(&arena, log, 0, 1, NULL);
    pieces_close(log);
    check_log(load(&arena), 1);
    arena_end(&arena);
}

static void the_last_record_of_a_key_counts(void **state)
{
    struct arena arena = {0};
    (void)state;
    struct piece_log *log = begin_log(&arena);
    struct piece_record record = new_record(&arena, 3);
    tree_assert_ok(pieces_append(log, &record));
    record.inputs[0].offset = 12;
    tree_assert_ok(pieces_append(log, &record));
    pieces_close(log);
    assert_int_equal(pieces_find(load(&arena), &record.key)->inputs[0].offset, 12);
    arena_end(&arena);
}

/* It speaks of one generation, and of nothing any more when something follows. */
static void an_ended_log_is_of_its_outputs(void **state)
{
    struct arena arena = {0};
    struct hash128 generation = hash_of(5), other = hash_of(6);
    struct piece_file ends[COUNT(inputs)] = {{.has_tree = true, .tree = hash_of(9)}};
    (void)state;
    struct piece_log *log = begin_log(&arena);
    append(&arena, log, 0, 2, NULL);
    assert_false(pieces_is_of(load(&arena), &generation));
    tree_assert_ok(pieces_end(log, &generation, ends));
    struct piece_log *found = load(&arena);
    check_log(found, 2);
    assert_true(pieces_is_of(found, &generation));
    assert_false(pieces_is_of(found, &other));
    for (size_t i = 0; i < COUNT(inputs); i++) {
        assert_int_equal(found->inputs[i].has_tree, ends[i].has_tree);
        assert_true(hash_equal(&found->inputs[i].tree, &ends[i].tree));
    }
    append(&arena, log, 2, 3, NULL);
    pieces_close(log);
    check_log(load(&arena), 3);
    assert_false(pieces_is_of(load(&arena), &generation));
    arena_end(&arena);
}

/* What the log of an attempt replaces is there until the new one has what it takes over. */
static void a_log_is_the_old_one_until_it_is_published(void **state)
{
    struct arena arena = {0};
    struct piece_log *log = begin_log(&arena), *next;
    (void)state;
    append(&arena, log, 0, 3, NULL);
    pieces_close(log);
    tree_assert_ok(
        pieces_begin(&arena, "log", inputs, COUNT(inputs), outputs, COUNT(outputs), &next));
    struct piece_record record = new_record(&arena, 0);
    pieces_put(next, &record);
    check_log(load(&arena), 3);
    tree_assert_ok(pieces_publish(next));
    check_log(load(&arena), 1);
    pieces_close(next);
    arena_end(&arena);
}

static void what_is_no_log_is_an_empty_one(void **state)
{
    static const char *const rows[] = {"", "psybuild pie", "psybuild pieces2", "psybuild pieces4",
        "psybuild pieces3", "psybuild pieces4and then some text that is no entry at all",
        "a text of another kind"};
    struct arena arena = {0};
    (void)state;
    check_empty(load(&arena)); /* absent */
    for (size_t i = 0; i < COUNT(rows); i++) {
        tree_write("log", rows[i]);
        check_empty(load(&arena));
    }
    arena_end(&arena);
}

enum { RECORDS = 6 };

static void a_torn_tail_is_cut_at_every_length(void **state)
{
    struct arena arena = {0};
    uint64_t ends[RECORDS], head;
    (void)state;
    struct piece_log *log = begin_log(&arena);
    head = log->size_bytes;
    append(&arena, log, 0, RECORDS, ends);
    pieces_close(log);
    struct text whole = tree_read(&arena, "log");
    assert_int_equal(whole.length, ends[RECORDS - 1]);
    for (size_t length = 0; length <= whole.length; length++) {
        struct arena one = {0};
        unsigned count = 0;
        while (count < RECORDS && ends[count] <= length)
            count++;
        tree_write_bytes("log", whole.bytes, length);
        struct piece_log *found = load(&one);
        if (length < head) {
            check_empty(found);
        } else {
            check_log(found, count);
        }
        arena_end(&one);
    }
    arena_end(&arena);
}

static void one_flipped_byte_is_never_believed(void **state)
{
    static const unsigned char flips[] = {0x01, 0x80, 0xFF};
    struct arena arena = {0};
    uint64_t ends[RECORDS], head;
    (void)state;
    struct piece_log *log = begin_log(&arena);
    head = log->size_bytes;
    append(&arena, log, 0, RECORDS, ends);
    pieces_close(log);
    struct text whole = tree_read(&arena, "log");
    char *bytes = arena_copy(&arena, whole.bytes, whole.length);
    for (size_t at = 0; at < 3 * whole.length; at++) {
        struct arena one = {0};
        size_t place = at / 3;
        unsigned count = 0;
        while (count < RECORDS && ends[count] <= place)
            count++;
        bytes[place] = (char)(bytes[place] ^ (char)flips[at % 3]);
        tree_write_bytes("log", bytes, whole.length);
        bytes[place] = whole.bytes[place];
        struct piece_log *found = load(&one);
        if (place < head)
            check_empty(found);
        else
            check_log(found, count);
        arena_end(&one);
    }
    arena_end(&arena);
}

/* With the right checksum, but with what no log of ours holds. */
static void whole_entries_of_nonsense_are_cut(void **state)
{
    static const char *const names[] = {"file", "parts", "short", "long"};
    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        struct arena arena = {0};
        struct piece_log *log = begin_log(&arena);
        append(&arena, log, 0, 2, NULL);
        struct piece_record record = new_record(&arena, 2);
        if (i == 0)
            record.inputs[0].file = COUNT(inputs); /* there is no such file */
        tree_assert_ok(pieces_append(log, &record));
        uint64_t end = log->size_bytes;
        pieces_close(log);
        struct text text = tree_read(&arena, "log");
        char *bytes = arena_alloc(&arena, text.length + 64);
        memcpy(bytes, text.bytes, text.length);
        /* The last entry again, with another payload and its checksum. */
        size_t at = 16;
        uint32_t length = 0;
        while (at < end) {
            memcpy(&length, bytes + at, 4);
            if (at + 24 + length == end)
                break;
            at += 24 + length;
        }
        if (i == 1)
            bytes[at + 24 + 16] = PIECE_RANGES_MAX + 1;
        if (i == 2)
            length--;
        if (i == 3)
            length++;
        memcpy(bytes + at, &length, 4);
        struct hash128 hash = hash_bytes(bytes + at + 24, length);
        memcpy(bytes + at + 8, hash.bytes, 16);
        tree_write_bytes("log", bytes, at + 24 + length);
        check_log(load(&arena), 2);
        arena_end(&arena);
    }
}

static void errors_name_the_log(void **state)
{
    struct arena arena = {0};
    struct piece_log *log = NULL;
    (void)state;
    tree_assert_report(pieces_begin(&arena, "no/log", NULL, 0, NULL, 0, &log),
        "no/log.new: cannot create: No such file or directory\n");
    tree_assert_ok(file_make_directories("log"));
    tree_assert_report(pieces_load(&arena, "log", &log),
        "log: cannot open: it is a directory, not a regular file\n");
    arena_end(&arena);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(what_is_appended_is_found_again),
        TREE_TEST(a_log_begins_anew_where_one_was),
        TREE_TEST(the_last_record_of_a_key_counts),
        TREE_TEST(an_ended_log_is_of_its_outputs),
        TREE_TEST(a_log_is_the_old_one_until_it_is_published),
        TREE_TEST(what_is_no_log_is_an_empty_one),
        TREE_TEST(a_torn_tail_is_cut_at_every_length),
        TREE_TEST(one_flipped_byte_is_never_believed),
        TREE_TEST(whole_entries_of_nonsense_are_cut),
        TREE_TEST(errors_name_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
