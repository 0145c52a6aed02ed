/* test_plan.c - the pieces of a plan: held as runs, found again one by one. */
#include "engine/plan/plan.h"
#include "engine/plan/staging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>

#include <cmocka.h>

#include "tests/support/tree.h"

enum { ROW = 100, RUN = 1000 };

static const struct task_type type = {.name = "fake", .version = 7};
static const struct node node = {.name = "out", .type = &type};
static const char one, other; /* parameters */

/* Row `row` of input 0, and twice as much of output 1. */
static struct piece piece_at(uint64_t row, const void *parameters)
{
    return (struct piece){.parameters = parameters,
        .input_count = 1,
        .output_count = 1,
        .inputs = {{0, 8 + row * ROW, ROW}},
        .outputs = {{1, 16 + row * 2 * ROW, 2 * ROW}}};
}

static void add(struct plan *plan, struct piece piece)
{
    char key[32]; /* gone after each call */
    snprintf(key, sizeof key, "%u", plan->piece_count);
    piece.key = text_of(key);
    tree_assert_ok(plan_piece(plan, &piece));
}

static void check(const struct plan *plan, uint32_t index, const struct piece *want)
{
    char key[48];
    snprintf(key, sizeof key, "fake 7 %u", index);
    struct hash128 hash = hash_text(text_of(key));
    struct piece piece = plan_piece_of(plan, index);
    assert_true(hash_equal(&plan->pieces[index].key, &hash));
    assert_ptr_equal(piece.parameters, want->parameters);
    assert_int_equal(piece.input_count, want->input_count);
    assert_int_equal(piece.output_count, want->output_count);
    assert_memory_equal(&piece.scratch_bytes, &want->scratch_bytes, sizeof piece.scratch_bytes);
    for (uint32_t i = 0; i < PIECE_RANGES_MAX; i++) {
        assert_true(piece.inputs[i].file == want->inputs[i].file &&
                    piece.inputs[i].offset == want->inputs[i].offset &&
                    piece.inputs[i].size_bytes == want->inputs[i].size_bytes);
        assert_true(piece.outputs[i].file == want->outputs[i].file &&
                    piece.outputs[i].offset == want->outputs[i].offset &&
                    piece.outputs[i].size_bytes == want->outputs[i].size_bytes);
    }
}

static void pieces_behind_each_other_are_one_run(void **state)
{
    struct arena arena = {0};
    struct build build = {.planning = {.bytes_max = 1 << 20}};
    struct plan plan = {.build = &build, .node = &node, .arena = &arena};
    (void)state;
    for (uint32_t i = 0; i < RUN; i++)
        add(&plan, piece_at(i, &one));
    assert_int_equal(plan.piece_run_count, 1);
    for (uint32_t i = 0; i < RUN; i++) {
        struct piece want = piece_at(i, &one);
        check(&plan, i, &want);
    }
    staging_end(&plan, false);
    arena_end(&arena);
}

/* Whatever differs from what the run would go on with begins another. */
static void any_difference_ends_a_run(void **state)
{
    struct piece rows[12];
    struct arena arena = {0};
    struct build build = {.planning = {.bytes_max = 1 << 20}};
    struct plan plan = {.build = &build, .node = &node, .arena = &arena};
    (void)state;
    for (uint32_t i = 0; i < 12; i++)
        rows[i] = piece_at(1, &one);
    rows[0].parameters = &other;
    rows[1].inputs[0].file = 1;
    rows[2].inputs[0].offset++;
    rows[3].inputs[0].size_bytes--;
    rows[4].outputs[0].file = 0;
    rows[5].outputs[0].offset--;
    rows[6].outputs[0].size_bytes++;
    rows[7].input_count = 0;
    rows[7].inputs[0] = (struct piece_range){0};
    rows[8].output_count = 2;
    rows[9].scratch_bytes = 1;
    rows[10].is_in_order = true;
    rows[11].weight_bytes = 1;
    for (uint32_t i = 0; i < 12; i++) {
        add(&plan, piece_at(0, &one));
        add(&plan, rows[i]);
        assert_int_equal(plan.piece_run_count, 2 * (i + 1));
    }
    for (uint32_t i = 0; i < 12; i++) {
        struct piece first = piece_at(0, &one);
        check(&plan, 2 * i, &first);
        check(&plan, 2 * i + 1, &rows[i]);
    }
    staging_end(&plan, false);
    arena_end(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_behind_each_other_are_one_run),
        cmocka_unit_test(any_difference_ends_a_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
