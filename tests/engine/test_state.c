/* test_state.c - what is written is read again; what is damaged is cut or refused, never believed.
 */
#include "engine/state/journal.h"
#include "engine/state/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/directory.h"
#include "base/wire.h"
#include "tasks/registry.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static struct state *load(struct arena *arena)
{
    struct state *state = NULL;
    tree_assert_ok(state_load(arena, "s", &state));
    return state;
}

/* ---- samples ---- */

static struct hash128 hash_of(unsigned number)
{
    return hash_bytes(&number, sizeof number);
}

static uint32_t add_file(struct state *state, const char *path, const char *location, unsigned seed)
{
    uint32_t index;
    tree_assert_ok(state_add_file(state, path, location, &index));
    struct state_file *file = &state->files[index];
    file->stamp = (struct file_stamp){seed, seed * 10, -(int64_t)seed, INT64_MAX - seed};
    file->has_tree = seed % 2 == 0;
    file->tree = hash_of(seed);
    file->identity = seed % 3 == 0 ? "sha256:12" : "";
    return index;
}

/* Reads of all kinds and two made files; `seed` makes it unlike others. */
static struct record new_record(struct state *state, const char *name, unsigned seed)
{
    struct arena *arena = state->arena;
    uint32_t in = add_file(state, "in/a.json", "elsewhere/a.json", 4);
    uint32_t names = add_file(state, "rules", NULL, 5);
    uint32_t out = add_file(state, arena_format(arena, "%s.out", name), NULL, seed);
    struct record_read reads[] = {
        {READ_CONTENT, in, "", hash_of(1), hash_of(2), ""},
        {READ_FIELD, in, "text_config.dtype", hash_of(seed), hash_of(3), "\"bf16\""},
        {READ_HEADER, out, "", hash_of(4), hash_of(5), ""},
        {READ_DATA, in, "", hash_of(6), hash_of(7), ""},
        {READ_LAYOUT, FILE_NONE, "other", hash_of(8), hash_of(9), ""},
        {READ_NAMES, names, "", hash_of(10), hash_of(11), ""},
        {READ_ABSENT, names, "", hash_of(12), hash_of(13), ""},
    };
    struct record_made made[] = {{out, true, hash_of(seed + 1), ""}, {in, false, {{0}}, "git:1"}};
    struct record record = {.name = name,
        .manifest = "psybuild.json",
        .declaration = text_of(arena_format(arena, "{\"seed\":%u}", seed)),
        .key = hash_of(seed + 2),
        .layout = seed % 2 == 0 ? TEXT_LITERAL("a\0layout") : TEXT_EMPTY,
        .duration_ns = UINT64_MAX - seed,
        .read_count = COUNT(reads),
        .made_count = COUNT(made)};
    record.reads = arena_alloc(arena, sizeof reads);
    record.made = arena_alloc(arena, sizeof made);
    memcpy(record.reads, reads, sizeof reads);
    memcpy(record.made, made, sizeof made);
    return record;
}

static struct record plain_record(const char *name)
{
    return (struct record){.name = name, .manifest = "m", .declaration = TEXT_EMPTY};
}

/* ---- everything of a record or intent as text ---- */

static const char *show_file(struct arena *arena, const struct state *state, uint32_t index)
{
    char hex[HASH_HEX_BYTES];
    if (index == FILE_NONE)
        return "none";
    assert_true(index < state->file_count);
    const struct state_file *file = &state->files[index];
    return arena_format(arena, "[%s at %s %llu %llu %lld %lld %d %s '%s']", file->path,
        file->location, (unsigned long long)file->stamp.inode,
        (unsigned long long)file->stamp.size_bytes, (long long)file->stamp.mtime_ns,
        (long long)file->stamp.ctime_ns, file->has_tree, hash_hex(&file->tree, hex),
        file->identity);
}

static const char *show_record(
    struct arena *arena, const struct state *state, const struct record *record)
{
    char hex[HASH_HEX_BYTES], more[HASH_HEX_BYTES];
    char *text = arena_format(arena, "%s of %s %.*s %s %zu '%s' %llu\n", record->name,
        record->manifest, (int)record->declaration.length, record->declaration.bytes,
        hash_hex(&record->key, hex), record->layout.length, text_printable(arena, record->layout),
        (unsigned long long)record->duration_ns);
    for (uint32_t i = 0; i < record->read_count; i++)
        text = arena_format(arena, "%s read %d %s '%s' %s %s, was %s\n", text,
            (int)record->reads[i].kind, show_file(arena, state, record->reads[i].file),
            record->reads[i].detail, hash_hex(&record->reads[i].hash, hex),
            hash_hex(&record->reads[i].seen, more), record->reads[i].shown);
    for (uint32_t i = 0; i < record->made_count; i++)
        text = arena_format(arena, "%s made %s %d %s '%s'\n", text,
            show_file(arena, state, record->made[i].file), record->made[i].has_tree,
            hash_hex(&record->made[i].tree, hex), record->made[i].identity);
    return text;
}

static const char *show_stamp(struct arena *arena, const struct file_stamp *stamp)
{
    return arena_format(arena, "%llu %llu %lld %lld", (unsigned long long)stamp->inode,
        (unsigned long long)stamp->size_bytes, (long long)stamp->mtime_ns,
        (long long)stamp->ctime_ns);
}

static const char *show_intent(
    struct arena *arena, const struct state *state, const struct intent *intent)
{
    char *text = arena_format(arena, "intent %llu\n", (unsigned long long)intent->number);
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        text = arena_format(arena, "%s %d %s (%s) to '%s' (%s), which goes to '%s' %d\n", text,
            (int)move->kind, move->from, show_stamp(arena, &move->stamp), move->to,
            show_stamp(arena, &move->displaced), move->place, move->is_aside);
    }
    for (uint32_t i = 0; i < intent->record_count; i++)
        text = arena_format(arena, "%s%s", text, show_record(arena, state, &intent->records[i]));
    return text;
}

static const char *show_state(struct arena *arena, const struct state *state)
{
    const char *text = "";
    for (uint32_t i = 0; i < state->intent_count; i++)
        text = arena_format(arena, "%s%s", text, show_intent(arena, state, state->intents[i]));
    for (uint32_t i = 0; i < state->record_count; i++)
        if (!state->records[i].is_gone)
            text = arena_format(arena, "%s%s", text, show_record(arena, state, &state->records[i]));
    return text;
}

/* ---- round trips ---- */

static void a_missing_state_is_an_empty_one(void **state)
{
    struct arena arena = {0};
    (void)state;
    struct state *found = load(&arena);
    assert_int_equal(found->record_count + found->file_count, 0);
    assert_null(found->warning);
    assert_int_equal(found->intent_count, 0);
    assert_null(state_find_record(found, "a"));
    state_drop_record(found, "a");
    arena_end(&arena);
}

static void what_is_saved_is_loaded(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *saved = load(&arena);
    add_file(saved, "unused", NULL, 1); /* of no record: not kept */
    for (unsigned i = 0; i < 5; i++) {
        char *name = arena_format(&arena, "out/%u", i);
        struct record record = new_record(saved, name, i);
        tree_assert_ok(state_put_record(saved, &record));
    }
    struct record plain = plain_record("p");
    tree_assert_ok(state_put_record(saved, &plain));
    state_drop_record(saved, "out/2");
    assert_null(state_find_record(saved, "out/2"));
    tree_assert_ok(state_save(saved, "s"));
    struct state *loaded = load(&arena);
    assert_null(loaded->warning);
    assert_string_equal(show_state(&arena, loaded), show_state(&arena, saved));
    assert_int_equal(loaded->record_count, 5);
    assert_int_equal(map_get(&loaded->file_by_path, "unused"), MAP_NONE);
    tree_assert_ok(state_save(loaded, "s")); /* and once more */
    assert_string_equal(show_state(&arena, load(&arena)), show_state(&arena, saved));
    arena_end(&arena);
}

static void the_smallest_record_is_kept(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *saved = load(&arena);
    struct record plain = plain_record("p");
    struct intent intent = {.records = &plain, .record_count = 1};
    tree_assert_ok(state_put_record(saved, &plain));
    tree_assert_ok(journal_open(saved, "s"));
    tree_assert_ok(journal_put_record(saved, &plain));
    tree_assert_ok(journal_put_intent(saved, "s", &intent));
    assert_int_equal(load(&arena)->intents[0]->record_count, 1);
    tree_assert_ok(state_save(saved, "s"));
    assert_int_equal(load(&arena)->record_count, 1);
    arena_end(&arena);
}

static void a_record_put_again_replaces_the_one_before(void **state)
{
    struct arena arena = {0};
    (void)state;
    struct state *found = load(&arena);
    struct record first = new_record(found, "a", 1), second = new_record(found, "a", 2);
    tree_assert_ok(state_put_record(found, &first));
    state_drop_record(found, "a");
    tree_assert_ok(state_put_record(found, &second));
    assert_int_equal(found->record_count, 1);
    assert_int_equal(state_find_record(found, "a")->duration_ns, UINT64_MAX - 2);
    arena_end(&arena);
}

static void a_file_that_lies_elsewhere_now_is_another_file(void **state)
{
    struct arena arena = {0};
    uint32_t index, again;
    (void)state;
    struct state *found = load(&arena);
    index = add_file(found, "src/a", "one/a", 4);
    tree_assert_ok(state_add_file(found, "src/a", NULL, &again)); /* wherever it lies */
    assert_int_equal(again, index);
    tree_assert_ok(state_add_file(found, "src/a", "one/a", &again));
    assert_true(found->files[again].has_tree);
    tree_assert_ok(state_add_file(found, "src/a", "two/a", &again));
    assert_int_equal(again, index);
    assert_false(found->files[again].has_tree);
    assert_string_equal(found->files[again].location, "two/a");
    assert_int_equal(found->file_count, 1);
    arena_end(&arena);
}

/* What version 2 had before the files, and what it had without a graph. */
static void put_older_graph(struct buffer *out, bool has_graph)
{
    wire_put_text(out, TEXT_LITERAL("options and watches"));
    wire_put_u8(out, has_graph);
    if (!has_graph)
        return;
    wire_put_name(out, "psybuild.json");
    for (unsigned list = 0; list < 4; list++) { /* defaults, two of sources, groups */
        wire_put_u32(out, list);
        for (unsigned i = 0; i < list; i++)
            wire_put_name(out, "name");
    }
    wire_put_u32(out, 2);
    for (uint32_t node = 0; node < 2; node++) {
        struct hash128 key = hash_of(node);
        wire_put_name(out, "node");
        wire_put_u8(out, 0);
        wire_put_u32(out, UINT32_MAX);
        buffer_put(out, key.bytes, sizeof key.bytes);
        wire_put_u32(out, node);
        for (uint32_t need = 0; need < node; need++)
            wire_put_u32(out, need);
    }
    wire_put_u32(out, 0); /* the order */
    wire_put_u32(out, 1);
}

static void rewrite_as_version_2(struct arena *arena, bool has_graph)
{
    enum { HEADER = 48 };
    struct buffer out = {0};
    struct text now = tree_read(arena, "s/state");
    buffer_put(&out, now.bytes, HEADER);
    put_older_graph(&out, has_graph);
    buffer_put(&out, now.bytes + HEADER, now.length - HEADER);
    tree_assert_ok(buffer_check(&out));
    struct hash128 hash = hash_bytes(out.bytes + HEADER, out.count - HEADER);
    store_le32(out.bytes + 16, 2);
    store_le64(out.bytes + 24, out.count - HEADER);
    memcpy(out.bytes + 32, hash.bytes, sizeof hash.bytes);
    tree_write_bytes("s/state", out.bytes, out.count);
    buffer_end(&out);
}

static void a_state_of_version_2_is_read(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *saved = load(&arena);
    struct record a = new_record(saved, "a", 1), b = new_record(saved, "b", 2);
    tree_assert_ok(state_put_record(saved, &a));
    tree_assert_ok(state_put_record(saved, &b));
    for (int has_graph = 0; has_graph < 2; has_graph++) {
        tree_assert_ok(state_save(saved, "s"));
        rewrite_as_version_2(&arena, has_graph);
        struct state *loaded = load(&arena);
        assert_null(loaded->warning);
        assert_string_equal(show_state(&arena, loaded), show_state(&arena, saved));
    }
    arena_end(&arena);
}

/* ---- the journal ---- */

static void the_journal_goes_on_where_the_state_ends(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *first = load(&arena);
    struct record old = new_record(first, "old", 1), changed = new_record(first, "old", 2);
    tree_assert_ok(state_put_record(first, &old));
    tree_assert_ok(state_save(first, "s"));
    struct state *second = load(&arena);
    tree_assert_ok(journal_open(second, "s"));
    changed = new_record(second, "old", 2);
    struct record new = new_record(second, "new", 3);
    tree_assert_ok(state_put_record(second, &changed));
    tree_assert_ok(journal_put_record(second, &changed));
    tree_assert_ok(state_put_record(second, &new));
    tree_assert_ok(journal_put_record(second, &new));
    uint32_t file = add_file(second, "in/a.json", "elsewhere/a.json", 44);
    tree_assert_ok(journal_put_file(second, file));
    file_close(second->journal);
    struct state *third = load(&arena);
    assert_int_equal(third->journal_sequence, 3);
    assert_string_equal(show_state(&arena, third), show_state(&arena, second));
    tree_assert_ok(journal_open(third, "s"));
    tree_assert_ok(state_save(third, "s"));
    assert_false(tree_has("s/journal")); /* folded into the state */
    struct state *fourth = load(&arena);
    assert_int_equal(fourth->journal_sequence, 0);
    assert_string_equal(show_state(&arena, fourth), show_state(&arena, second));
    arena_end(&arena);
}

static struct intent *new_intent(struct state *state)
{
    static const struct move moves[] = {
        {MOVE_HIDE, "out/config.json", {1, 2, 3, 4}, "p/old", {0}, "", false},
        {MOVE_AWAY, "out/2", {2, 2, 3, 4}, "cache/2", {0}, "", false},
        {MOVE_IN, "p/files/1", {5, 6, -7, -8}, "out/1", {9, 9, 9, 9}, "aside/1", true},
        {MOVE_LAST, "p/files/c", {7, 6, 7, 8}, "out/config.json", {0}, "", false},
        {MOVE_END, "p/old", {1, 2, 3, 4}, "", {0}, "", false},
    };
    struct intent *intent = arena_alloc(state->arena, sizeof *intent);
    *intent = (struct intent){.move_count = COUNT(moves), .record_count = 2};
    intent->moves = arena_array(state->arena, COUNT(moves), sizeof *intent->moves);
    intent->records = arena_array(state->arena, 2, sizeof *intent->records);
    memcpy(intent->moves, moves, sizeof moves);
    intent->records[0] = new_record(state, "a", 6);
    intent->records[1] = new_record(state, "b", 7);
    return intent;
}

static void an_intent_is_kept_until_it_is_sealed(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *writer = load(&arena);
    tree_assert_ok(journal_open(writer, "s"));
    tree_assert_ok(journal_put_intent(writer, "s", new_intent(writer)));
    file_close(writer->journal);
    struct state *found = load(&arena);
    assert_int_equal(found->intent_count, 1);
    assert_int_equal(found->record_count, 0); /* not before it is carried out */
    assert_string_equal(show_state(&arena, found), show_state(&arena, writer));
    tree_assert_ok(journal_open(found, "s"));
    tree_assert_ok(journal_put_sealed(found, found->intents[0]));
    assert_int_equal(found->intent_count, 0);
    file_close(found->journal);
    assert_int_equal(load(&arena)->intent_count, 0);
    arena_end(&arena);
}

/* Each is finished alone, in whatever order, and a state that is saved keeps those that are left.
 */
static void intents_are_independent(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *writer = load(&arena);
    tree_assert_ok(journal_open(writer, "s"));
    for (int i = 0; i < 3; i++)
        tree_assert_ok(journal_put_intent(writer, "s", new_intent(writer)));
    tree_assert_ok(journal_put_sealed(writer, writer->intents[1]));
    assert_int_equal(writer->intent_count, 2);
    assert_int_equal(load(&arena)->intent_count, 2);
    tree_assert_ok(state_save(writer, "s"));
    struct state *found = load(&arena);
    assert_int_equal(found->intent_count, 2);
    tree_assert_ok(journal_open(found, "s"));
    tree_assert_ok(journal_put_sealed(found, found->intents[0]));
    tree_assert_ok(journal_put_sealed(found, found->intents[0]));
    tree_assert_ok(state_save(found, "s"));
    assert_false(tree_has("s/journal"));
    assert_false(tree_has("s/journal.new"));
    arena_end(&arena);
}

/* ---- damage ---- */

/* A journal of a record, a file, an intent, its end and another record. `ends` has where each entry
 * ends, `shown` the state as it is after it, from none on. */
enum { ENTRIES = 5 };
static void write_journal(
    struct arena *arena, size_t ends[ENTRIES + 1], const char *shown[ENTRIES + 1])
{
    struct state *state = load(arena);
    tree_assert_ok(journal_open(state, "s"));
    ends[0] = 16;
    shown[0] = show_state(arena, state);
    for (unsigned i = 0; i < ENTRIES; i++) {
        struct record record = i == 4 ? new_record(state, "last", 8) : plain_record("plain");
        if (i == 0 || i == 4) {
            tree_assert_ok(state_put_record(state, &record));
            tree_assert_ok(journal_put_record(state, &record));
        } else if (i == 1) {
            tree_assert_ok(journal_put_file(state, add_file(state, "f", "g", 3)));
        } else if (i == 2) {
            tree_assert_ok(journal_put_intent(state, "s", new_intent(state)));
        } else {
            tree_assert_ok(journal_put_sealed(state, state->intents[0]));
        }
        shown[i + 1] = show_state(arena, state);
        ends[i + 1] = (size_t)state->journal_size;
    }
    file_close(state->journal);
}

static void a_torn_tail_is_cut_at_every_length(void **state)
{
    struct arena arena = {0};
    size_t ends[ENTRIES + 1];
    const char *shown[ENTRIES + 1];
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    write_journal(&arena, ends, shown);
    struct text whole = tree_read(&arena, "s/journal");
    assert_int_equal(whole.length, ends[ENTRIES]);
    for (size_t length = 0; length <= whole.length; length++) {
        struct arena one = {0};
        unsigned entries = ENTRIES;
        while (entries > 0 && ends[entries] > length)
            entries--;
        tree_write_bytes("s/journal", whole.bytes, length);
        struct state *found = load(&one);
        assert_string_equal(show_state(&one, found), shown[entries]);
        assert_int_equal(found->journal_sequence, entries);
        assert_null(found->warning); /* a build that died is no damage */
        arena_end(&one);
    }
    arena_end(&arena);
}

static void a_journal_goes_on_after_a_torn_tail(void **state)
{
    struct arena arena = {0};
    size_t ends[ENTRIES + 1];
    const char *shown[ENTRIES + 1];
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    write_journal(&arena, ends, shown);
    struct text whole = tree_read(&arena, "s/journal");
    const size_t lengths[] = {0, 7, 16, ends[1] - 1, ends[1], ends[1] + 30, ends[4] + 25};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct arena one = {0};
        tree_write_bytes("s/journal", whole.bytes, lengths[i]);
        struct state *found = load(&one);
        tree_assert_ok(journal_open(found, "s"));
        struct record record = new_record(found, "after", 9);
        tree_assert_ok(state_put_record(found, &record));
        tree_assert_ok(journal_put_record(found, &record));
        file_close(found->journal);
        assert_string_equal(show_state(&one, load(&one)), show_state(&one, found));
        arena_end(&one);
    }
    arena_end(&arena);
}

/* Every record that is found after the damage is one that was written. */
static void check_records(const struct state *state, const char *const *written, size_t count)
{
    struct arena arena = {0};
    for (uint32_t i = 0; i < state->record_count; i++) {
        const char *text = show_record(&arena, state, &state->records[i]);
        size_t k = 0;
        while (k < count && strstr(written[k], text) == NULL)
            k++;
        if (k == count)
            print_error("never written: %s", text);
        assert_true(k < count);
    }
    arena_end(&arena);
}

static const unsigned char flips[] = {0x01, 0x80, 0xFF};

static void one_flipped_byte_of_the_journal_is_never_believed(void **state)
{
    struct arena arena = {0};
    size_t ends[ENTRIES + 1];
    const char *shown[ENTRIES + 1];
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    write_journal(&arena, ends, shown);
    struct text whole = tree_read(&arena, "s/journal");
    char *bytes = arena_copy(&arena, whole.bytes, whole.length);
    for (size_t at = 0; at < 3 * whole.length; at++) {
        struct arena one = {0};
        size_t place = at / 3;
        unsigned entries = 0;
        while (entries < ENTRIES && ends[entries + 1] <= place)
            entries++;
        bytes[place] = (char)(bytes[place] ^ (char)flips[at % 3]);
        tree_write_bytes("s/journal", bytes, whole.length);
        bytes[place] = whole.bytes[place];
        struct state *found = NULL;
        struct error *error = state_load(&one, "s", &found);
        if (error != NULL) {
            assert_int_equal(place, 15); /* read as the version of a newer psybuild */
            assert_int_equal(error_kind_of(error), ERROR_USAGE);
            error_free(error);
        } else {
            assert_string_equal(show_state(&one, found), shown[place < 16 ? 0 : entries]);
        }
        arena_end(&one);
    }
    arena_end(&arena);
}

static void a_newer_journal_is_refused(void **state)
{
    struct arena arena = {0};
    struct state *found = NULL;
    (void)state;
    tree_write_bytes("s/journal", "psybuild journl\x05", 16);
    tree_assert_report(state_load(&arena, "s", &found),
        "s/journal: written by a newer psybuild (format 5, this one knows up to 4); remove it to "
        "start afresh\n");
    arena_end(&arena);
}

static const char damaged[] =
    "the build state is damaged: outputs are compared by content or made again";

static void one_flipped_byte_of_the_state_is_never_believed(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *saved = load(&arena);
    struct record a = new_record(saved, "a", 1), b = new_record(saved, "b", 2);
    tree_assert_ok(state_put_record(saved, &a));
    tree_assert_ok(state_put_record(saved, &b));
    tree_assert_ok(state_save(saved, "s"));
    const char *shown = show_state(&arena, saved);
    struct text whole = tree_read(&arena, "s/state");
    char *bytes = arena_copy(&arena, whole.bytes, whole.length);
    for (size_t at = 0; at < 3 * whole.length; at++) {
        struct arena one = {0};
        struct state *found = NULL;
        size_t place = at / 3;
        bytes[place] = (char)(bytes[place] ^ (char)flips[at % 3]);
        tree_write_bytes("s/state", bytes, whole.length);
        bytes[place] = whole.bytes[place];
        struct error *error = state_load(&one, "s", &found);
        if (error != NULL) {
            assert_true(place == 16 || place == 17); /* read as the version of a newer psybuild */
            assert_int_equal(error_kind_of(error), ERROR_USAGE);
            error_free(error);
        } else if (place >= 20 && place < 24) {
            check_records(found, &shown, 1); /* reserved */
        } else {
            assert_int_equal(found->record_count, 0);
            assert_string_equal(found->warning, damaged);
        }
        arena_end(&one);
    }
    for (size_t length = 0; length < whole.length; length++) {
        struct arena one = {0};
        tree_write_bytes("s/state", whole.bytes, length);
        struct state *found = load(&one);
        assert_int_equal(found->record_count, 0);
        assert_string_equal(found->warning, damaged);
        arena_end(&one);
    }
    arena_end(&arena);
}

static void garbage_is_said_and_set_aside(void **state)
{
    static const struct {
        const char *path, *bytes, *want;
    } rows[] = {
        {"s/state", "", damaged},
        {"s/state", "{\"version\": 1}", damaged},
        {"s/state", "psybuild state\n", damaged},
        {"s/state", "a text that is longer than the header of a state is, and is none", damaged},
        {"s/journal", "", NULL},
        {"s/journal", "psybuild jour", NULL}, /* torn at the very first write */
        {"s/journal", "a text that is no journal",
            "the journal of the last build is damaged: what it had made is compared by content or "
            "made again"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        tree_write(rows[i].path, rows[i].bytes);
        struct state *found = load(&arena);
        if (rows[i].want == NULL)
            assert_null(found->warning);
        else
            assert_string_equal(found->warning, rows[i].want);
        assert_int_equal(found->record_count + found->file_count, 0);
        tree_assert_ok(journal_open(found, "s"));
        struct record record = new_record(found, "a", 1);
        tree_assert_ok(state_put_record(found, &record));
        tree_assert_ok(journal_put_record(found, &record));
        tree_assert_ok(state_save(found, "s"));
        assert_string_equal(show_state(&arena, load(&arena)), show_state(&arena, found));
        assert_null(load(&arena)->warning);
        tree_remove("s");
        arena_end(&arena);
    }
}

static void a_newer_state_is_refused(void **state)
{
    struct arena arena = {0};
    struct state *found = NULL;
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    tree_assert_ok(state_save(load(&arena), "s"));
    struct text text = tree_read(&arena, "s/state");
    char *bytes = arena_copy(&arena, text.bytes, text.length);
    uint32_t version = load_le32(bytes + 16) + 1;
    store_le32(bytes + 16, version);
    tree_write_bytes("s/state", bytes, text.length);
    struct error *error = state_load(&arena, "s", &found);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_USAGE);
    tree_assert_report(error,
        arena_format(&arena,
            "s/state: written by a newer psybuild (format %u, this one knows up to %u); remove it "
            "to start afresh\n",
            version, version - 1));
    assert_null(found);
    arena_end(&arena);
}

/* ---- when saving fails ---- */

static void a_state_that_cannot_be_replaced_stays(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_make_directories("s"));
    struct state *saved = load(&arena);
    struct record record = new_record(saved, "a", 1);
    tree_assert_ok(state_put_record(saved, &record));
    tree_assert_ok(state_save(saved, "s"));
    tree_assert_ok(file_make_directories("s/state.tmp/full")); /* in the way of the new one */
    struct error *error = state_save(saved, "s");
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_IO);
    error_free(error);
    assert_string_equal(show_state(&arena, load(&arena)), show_state(&arena, saved));
    arena_end(&arena);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_missing_state_is_an_empty_one),
        TREE_TEST(what_is_saved_is_loaded),
        TREE_TEST(the_smallest_record_is_kept),
        TREE_TEST(a_record_put_again_replaces_the_one_before),
        TREE_TEST(a_file_that_lies_elsewhere_now_is_another_file),
        TREE_TEST(a_state_of_version_2_is_read),
        TREE_TEST(the_journal_goes_on_where_the_state_ends),
        TREE_TEST(an_intent_is_kept_until_it_is_sealed),
        TREE_TEST(intents_are_independent),
        TREE_TEST(a_torn_tail_is_cut_at_every_length),
        TREE_TEST(a_journal_goes_on_after_a_torn_tail),
        TREE_TEST(one_flipped_byte_of_the_journal_is_never_believed),
        TREE_TEST(one_flipped_byte_of_the_state_is_never_believed),
        TREE_TEST(garbage_is_said_and_set_aside),
        TREE_TEST(a_newer_state_is_refused),
        TREE_TEST(a_newer_journal_is_refused),
        TREE_TEST(a_state_that_cannot_be_replaced_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
