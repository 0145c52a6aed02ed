/* test_upgrade.c - what a psybuild of the version before left is taken over.
 *
 * Its state is made here from today's: trees by the older segments, version 2. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/wire.h"
#include "engine/content/hash.h"
#include "engine/state/store.h"
#include "tasks/registry.h"
#include "tests/support/conversion.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define SHARD SOURCE "/model-00001-of-00004.safetensors"

static struct arena arena; /* of the running test */

static int end(void **state)
{
    arena_end(&arena);
    return conversion_end(state);
}

static struct state *load(void)
{
    struct state *state = NULL;
    tree_assert_ok(state_load(&arena, STATE_DIRECTORY, &state));
    return state;
}

static void replace(struct state *state, uint32_t file, struct hash128 older)
{
    struct hash128 now = state->files[file].tree;
    for (uint32_t r = 0; r < state->record_count; r++) {
        struct record *record = &state->records[r];
        for (uint32_t i = 0; i < record->read_count; i++) {
            if (record->reads[i].file == file && hash_equal(&record->reads[i].seen, &now))
                record->reads[i].seen = older;
            if (record->reads[i].file == file && hash_equal(&record->reads[i].hash, &now))
                record->reads[i].hash = older;
        }
        for (uint32_t i = 0; i < record->made_count; i++)
            if (record->made[i].file == file && hash_equal(&record->made[i].tree, &now))
                record->made[i].tree = older;
    }
    state->files[file].tree = older;
}

/* The state as version 2 had it, without the graph that it could do without. */
static void write_version_2(void)
{
    enum { HEADER = 48 };
    struct buffer out = {0};
    struct text now = tree_read(&arena, ".psybuild/state");
    buffer_put(&out, now.bytes, HEADER);
    wire_put_text(&out, TEXT_EMPTY);
    wire_put_u8(&out, 0);
    buffer_put(&out, now.bytes + HEADER, now.length - HEADER);
    tree_assert_ok(buffer_check(&out));
    struct hash128 hash = hash_bytes(out.bytes + HEADER, out.count - HEADER);
    store_le32(out.bytes + 16, 2);
    store_le64(out.bytes + 24, out.count - HEADER);
    memcpy(out.bytes + 32, hash.bytes, sizeof hash.bytes);
    tree_write_bytes(".psybuild/state", out.bytes, out.count);
    buffer_end(&out);
}

/* The number of files whose tree is another by the older rule. */
static unsigned make_older(void)
{
    struct registry older = registry;
    struct state *state = load();
    unsigned count = 0;
    older.segmenters = older.older_segmenters;
    for (uint32_t i = 0; i < state->file_count; i++) {
        struct segments *segments;
        const struct state_file *file = &state->files[i];
        if (!file->has_tree || !text_ends_with(text_of(file->path), ".safetensors"))
            continue;
        tree_assert_ok(
            segments_hash_file(&arena, &older, file->path, file->location, NULL, NULL, &segments));
        struct hash128 tree = segments_tree(segments);
        count += !hash_equal(&tree, &file->tree);
        replace(state, i, tree);
    }
    tree_assert_ok(state_save(state, STATE_DIRECTORY));
    write_version_2();
    tree_remove(".psybuild/compiled");
    const struct node weights = {.name = MODEL "/model*.safetensors"};
    const char *path;
    tree_assert_ok(places_log(&arena, &weights, &path));
    struct text log = tree_read(&arena, path);
    char *bytes = arena_copy(&arena, log.bytes, log.length);
    bytes[15] = '3';
    tree_write_bytes(path, bytes, log.length);
    return count;
}

static struct snapshot begin(void)
{
    conversion_declare("\"bits\": 4");
    conversion_make();
    struct snapshot made = snapshot_take(&arena, MODEL);
    assert_in_range(make_older(), 1, 100);
    assert_true(load()->is_older);
    return made;
}

static void nothing_is_made_again(void **state)
{
    (void)state;
    struct snapshot made = begin();
    struct conversion conversion = {0};
    struct report report = conversion_run(&conversion);
    assert_string_equal(report.lines, "");
    assert_string_equal(report.errors, "");
    assert_int_equal(report.stats.files_hashed, 0);
    struct snapshot now = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&now, &made, "after the upgrade");
    assert_false(load()->is_older);
    assert_true(conversion_is_null());
}

static void what_was_touched_is_hashed_and_what_was_edited_made(void **state)
{
    (void)state;
    struct snapshot made = begin();
    struct text shard = tree_read(&arena, SHARD);
    char *bytes = arena_copy(&arena, shard.bytes, shard.length);
    bytes[shard.length - 1] ^= 1;
    tree_write_bytes(SHARD, bytes, shard.length);
    assert_string_equal(conversion_run(&(struct conversion){0}).errors, "");
    struct snapshot edited = snapshot_take(&arena, MODEL);
    conversion_forget();
    conversion_make();
    struct snapshot whole = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&edited, &whole, "after an edit beside the upgrade");
    tree_write_bytes(SHARD, shard.bytes, shard.length);
    conversion_make();
    struct snapshot back = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&back, &made, "after the edit was taken back");
}

/* Its pieces lie elsewhere: none of them may be taken over. */
static void a_log_of_other_pieces_is_not_used(void **state)
{
    (void)state;
    begin();
    conversion_declare(
        "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.1.*\", \"bits\": 6}]");
    struct report report = conversion_run(&(struct conversion){0});
    assert_non_null(strstr(report.lines, "made, 0 kept"));
    struct snapshot now = snapshot_take(&arena, MODEL);
    conversion_forget();
    conversion_make();
    struct snapshot whole = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&now, &whole, "after an edit of the manifest");
}

/* Other bytes under the stamp of those that were recorded: they are not made true. */
static void damage_does_not_become_the_recorded_content(void **state)
{
    (void)state;
    struct snapshot made = begin();
    struct state *known = load();
    uint32_t file = map_get(&known->file_by_path, MODEL "/model.safetensors");
    assert_int_not_equal(file, MAP_NONE);
    struct text model = tree_read(&arena, MODEL "/model.safetensors");
    char *bytes = arena_copy(&arena, model.bytes, model.length);
    bytes[model.length - 1] ^= 1;
    tree_write_bytes(MODEL "/model.safetensors", bytes, model.length);
    enum file_kind kind;
    tree_assert_ok(file_stat(MODEL "/model.safetensors", &kind, &known->files[file].stamp));
    tree_assert_ok(state_save(known, STATE_DIRECTORY));
    write_version_2();
    assert_string_equal(conversion_run(&(struct conversion){0}).errors, "");
    struct snapshot now = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&now, &made, "after the damage");
    assert_false(tree_has(".psybuild/aside")); /* damage, and not somebody's edit */
}

#define UPGRADE_TEST(test) cmocka_unit_test_setup_teardown(test, conversion_begin, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        UPGRADE_TEST(nothing_is_made_again),
        UPGRADE_TEST(what_was_touched_is_hashed_and_what_was_edited_made),
        UPGRADE_TEST(a_log_of_other_pieces_is_not_used),
        UPGRADE_TEST(damage_does_not_become_the_recorded_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
