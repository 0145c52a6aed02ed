/* test_file.c - whole reads and writes, stamps, replacing, locks: all that touches the disk. The
 * variant "portable" runs the same tests without what only Linux has. */
#include "base/directory.h"
#include "base/file.h"
#include "base/file_lock.h"
#include "base/file_whole.h"
#include "base/process.h"

#include <setjmp.h>
#include <stdarg.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/tree.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* ---- reading and writing ---- */

static void reads_are_whole_or_name_path_and_offset(void **state)
{
    static const struct {
        uint64_t offset;
        size_t size;
        const char *want; /* the bytes, or the report */
        bool is_good;
    } rows[] = {
        {0, 10, "0123456789", true},
        {4, 3, "456", true},
        {10, 0, "", true},
        {99, 0, "", true},
        {4, 7, "f: truncated: expected 7 bytes at offset 4, found 6\n", false},
        {10, 1, "f: truncated: expected 1 bytes at offset 10, found 0\n", false},
        {99, 5, "f: truncated: expected 5 bytes at offset 99, found 0\n", false},
        {UINT64_MAX, 1, "f: cannot read: Invalid argument\n", false},
        {UINT64_C(1) << 63, 1, "f: cannot read: Invalid argument\n", false},
    };
    struct file *file;
    (void)state;
    tree_write("f", "0123456789");
    tree_assert_ok(file_open("f", &file));
    assert_int_equal(file_size(file), 10);
    assert_string_equal(file_path(file), "f");
    for (size_t i = 0; i < COUNT(rows); i++) {
        char buffer[16] = "";
        struct error *error = file_read_at(file, rows[i].offset, buffer, rows[i].size);
        if (rows[i].is_good) {
            tree_assert_ok(error);
            assert_string_equal(buffer, rows[i].want);
        } else {
            tree_assert_report(error, rows[i].want);
        }
    }
    file_close(file);
    file_close(NULL);
}

static void what_is_no_regular_file_is_not_opened(void **state)
{
    static const struct {
        const char *path, *want;
        enum error_kind kind;
    } rows[] = {
        {"nosuch", "nosuch: cannot open: No such file or directory\n", ERROR_MISSING},
        {"f/x", "f/x: cannot open: Not a directory\n", ERROR_MISSING},
        {"d", "d: cannot open: it is a directory, not a regular file\n", ERROR_IO},
        {"pipe", "pipe: cannot open: it is a special file, not a regular file\n", ERROR_IO},
        {"/dev/null", "/dev/null: cannot open: it is a special file, not a regular file\n",
            ERROR_IO},
        {"loop", "loop: cannot open: Too many levels of symbolic links\n", ERROR_IO},
        {"dangling", "dangling: cannot open: No such file or directory\n", ERROR_MISSING},
    };
    struct file *file = NULL;
    (void)state;
    tree_write("f", "x");
    assert_int_equal(mkdir("d", 0777), 0);
    assert_int_equal(mkfifo("pipe", 0666), 0); /* opening it must not wait for a writer */
    assert_int_equal(symlink("loop", "loop"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error *error = file_open(rows[i].path, &file);
        assert_non_null(error);
        assert_int_equal(error_kind_of(error), rows[i].kind);
        tree_assert_report(error, rows[i].want);
        assert_null(file);
    }
}

static void staged_files_are_made_kept_and_never_reached_through_links(void **state)
{
    struct arena arena = {0};
    struct file *file = NULL;
    (void)state;
    tree_assert_ok(file_open_staged("s", &file));
    tree_assert_ok(file_write_at(file, 3, "abc", 3));
    tree_assert_ok(file_sync(file));
    file_close(file);
    assert_true(text_equal(tree_read(&arena, "s"), (struct text){"\0\0\0abc", 6}));
    tree_assert_ok(file_open_staged("s", &file));
    assert_int_equal(file_size(file), 6);
    tree_assert_ok(file_write_at(file, 0, "x", 1));
    tree_assert_ok(file_set_size(file, 4));
    assert_int_equal(file_size(file), 4);
    tree_assert_ok(file_set_size(file, 5));
    file_start_writeback(file, 5);
    file_start_writeback_of(file, 0, 5);
    file_spare_cache(file);
    file_close(file);
    assert_true(text_equal(tree_read(&arena, "s"), (struct text){"x\0\0a\0", 5}));
    file = NULL;
    tree_write("victim", "mine");
    assert_int_equal(symlink("victim", "link"), 0);
    tree_assert_report(file_open_staged("link", &file),
        "link: cannot create: Too many levels of symbolic links\n");
    tree_assert_report(
        file_open_staged("no/such", &file), "no/such: cannot create: No such file or directory\n");
    assert_null(file);
    assert_true(text_is(tree_read(&arena, "victim"), "mine"));
    arena_end(&arena);
}

struct sharing {
    struct file *file;
    unsigned number;
    struct error *error;
};

enum { SHARED_BYTES = 40000, SHARERS = 8 };

static void *share(void *argument)
{
    struct sharing *sharing = argument;
    unsigned char bytes[100], back[100];
    memset(bytes, (int)sharing->number, sizeof bytes);
    for (uint64_t at = sharing->number * 100; sharing->error == NULL && at < SHARED_BYTES;
         at += SHARERS * 100) {
        sharing->error = file_write_at(sharing->file, at, bytes, sizeof bytes);
        if (sharing->error == NULL)
            sharing->error = file_read_at(sharing->file, at, back, sizeof back);
        if (sharing->error == NULL && memcmp(bytes, back, sizeof back) != 0)
            sharing->error = error_new(ERROR_FAILED, "read something else");
    }
    return NULL;
}

static void threads_share_one_file(void **state)
{
    pthread_t threads[SHARERS];
    struct sharing sharings[SHARERS];
    struct file *file;
    (void)state;
    tree_assert_ok(file_open_staged("s", &file));
    for (unsigned i = 0; i < SHARERS; i++) {
        sharings[i] = (struct sharing){file, i, NULL};
        assert_int_equal(pthread_create(&threads[i], NULL, share, &sharings[i]), 0);
    }
    for (unsigned i = 0; i < SHARERS; i++) {
        pthread_join(threads[i], NULL);
        tree_assert_ok(sharings[i].error);
    }
    file_close(file);
}

/* ---- the page cache ---- */

#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
enum { SPARED_BYTES = 40 << 20, STEP_BYTES = 1 << 20 };

static size_t count_cached_pages(const char *path)
{
    struct stat status;
    int descriptor = open(path, O_RDONLY);
    assert_true(descriptor >= 0);
    assert_int_equal(fstat(descriptor, &status), 0);
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE), size = (size_t)status.st_size, count = 0;
    size_t pages = (size + page_bytes - 1) / page_bytes;
    unsigned char *states = test_malloc(pages);
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, descriptor, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mincore(map, size, states), 0);
    for (size_t i = 0; i < pages; i++)
        count += states[i] & 1;
    munmap(map, size);
    close(descriptor);
    test_free(states);
    return count;
}

static void drop_from_cache(const char *path)
{
    int descriptor = open(path, O_RDONLY);
    assert_true(descriptor >= 0);
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
}

static void move_all(struct file *file, bool is_written)
{
    char *bytes = test_calloc(STEP_BYTES, 1);
    for (uint64_t at = 0; at < SPARED_BYTES; at += STEP_BYTES) {
        if (is_written)
            tree_assert_ok(file_write_at(file, at, bytes, STEP_BYTES));
        else
            tree_assert_ok(file_read_at(file, at, bytes, STEP_BYTES));
    }
    test_free(bytes);
}

static void a_spared_cache_holds_afterwards_what_it_held_before(void **state)
{
    size_t pages = SPARED_BYTES / (size_t)sysconf(_SC_PAGESIZE);
    struct file *file;
    (void)state;
    tree_assert_ok(file_open_staged("f", &file));
    tree_assert_ok(file_set_size(file, SPARED_BYTES));
    move_all(file, true);
    tree_assert_ok(file_sync(file));
    file_close(file);
    assert_true(count_cached_pages("f") > pages / 2); /* the system may take some at any time */
    drop_from_cache("f");
    if (count_cached_pages("f") != 0)
        skip(); /* the directory lies in memory */

    tree_assert_ok(file_open("f", &file)); /* cold: it goes out again while it is read */
    file_spare_cache(file);
    move_all(file, false);
    assert_true(count_cached_pages("f") < pages / 2);
    file_close(file);
    assert_int_equal(count_cached_pages("f"), 0);

    tree_assert_ok(file_open("f", &file)); /* warm: it stays */
    move_all(file, false);
    file_spare_cache(file);
    move_all(file, false);
    file_close(file);
    assert_true(count_cached_pages("f") > pages / 2);

    tree_assert_ok(file_open_staged("g", &file)); /* what is written does not stay */
    tree_assert_ok(file_set_size(file, SPARED_BYTES));
    file_spare_cache(file);
    move_all(file, true);
    tree_assert_ok(file_sync(file));
    file_close(file);
    assert_int_equal(count_cached_pages("g"), 0);
}

static unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)(offset * 2654435761u >> 24);
}

/* Some file systems refuse, some take the flag and use the cache all the same. */
static bool can_write_around(void)
{
    unsigned char *allocation = test_calloc(2 * FILE_AROUND_ALIGNMENT, 1);
    size_t ahead = FILE_AROUND_ALIGNMENT - (uintptr_t)allocation % FILE_AROUND_ALIGNMENT;
    int descriptor = open("probe", O_RDWR | O_CREAT | O_DIRECT, 0666);
    bool can = descriptor >= 0 && pwrite(descriptor, allocation + ahead, FILE_AROUND_ALIGNMENT,
                                      0) == FILE_AROUND_ALIGNMENT;
    if (descriptor >= 0)
        close(descriptor);
    can = can && count_cached_pages("probe") == 0;
    test_free(allocation);
    return can;
}

static void what_is_written_around_the_cache_is_not_in_it(void **state)
{
    static const struct {
        uint64_t offset;
        size_t size;
    } rows[] = {{4096 * 3, 1 << 20}, {5000, 1 << 20}, {100, 70000}, {8192, 65537}, {3, 5}};
    unsigned char *allocation = test_malloc((2 << 20) + FILE_AROUND_ALIGNMENT);
    unsigned char *bytes =
        allocation + (FILE_AROUND_ALIGNMENT - (uintptr_t)allocation % FILE_AROUND_ALIGNMENT);
    struct file *file;
    (void)state;
    for (size_t i = 0; i < 2 << 20; i++)
        bytes[i] = (unsigned char)(i * 2654435761u >> 24);
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        uint64_t offset = rows[i].offset;
        tree_assert_ok(file_remove("f"));
        tree_assert_ok(file_open_staged("f", &file));
        tree_assert_ok(file_set_size(file, 2 << 20));
        file_spare_cache(file);
        assert_true(file_spares_cache(file));
        tree_assert_ok(file_write_around(file, offset, bytes + offset, rows[i].size));
        tree_assert_ok(file_sync(file));
        size_t pages = count_cached_pages("f"); /* the ragged ends' */
        if (rows[i].size > 1 << 17 && can_write_around())
            assert_true(pages <= 2);
        struct text text = tree_read(&arena, "f");
        for (size_t at = 0; at < text.length; at++)
            if ((unsigned char)text.bytes[at] !=
                (at < offset || at >= offset + rows[i].size ? 0 : bytes[at]))
                fail_msg("another byte at %zu of row %zu", at, i);
        file_close(file);
        arena_end(&arena);
    }
    test_free(allocation);
}

/* Pieces that lie across the borders of windows; more windows than wait for the disk. */
static void what_is_written_or_copied_goes_out_before_the_file_is_closed(void **state)
{
    enum { WINDOW = 16 << 20, WINDOWS = 24, STEP = (3 << 20) + 12345 };
    const uint64_t size = (uint64_t)WINDOWS * WINDOW;
    const size_t pages = (size_t)size / (size_t)sysconf(_SC_PAGESIZE);
    struct file *file, *copy;
    (void)state;
    tree_write("probe", "probe");
    tree_assert_ok(file_open("probe", &file));
    tree_assert_ok(file_sync(file));
    file_close(file);
    drop_from_cache("probe");
    if (count_cached_pages("probe") != 0)
        skip(); /* the directory lies in memory */
    unsigned char *bytes = test_malloc(STEP);
    tree_assert_ok(file_open_staged("f", &file));
    tree_assert_ok(file_set_size(file, size));
    file_spare_cache(file);
    for (uint64_t at = 0; at < size; at += STEP) {
        size_t step = size - at < STEP ? (size_t)(size - at) : STEP;
        for (size_t i = 0; i < step; i++)
            bytes[i] = byte_at(at + i);
        tree_assert_ok(file_write_at(file, at, bytes, step));
        if (at / WINDOW != (at + step) / WINDOW)
            tree_assert_ok(file_sync(file)); /* a disk that keeps up */
    }
    assert_true(count_cached_pages("f") < pages * 3 / 4); /* all but the sixteen that wait */
    for (uint64_t at = 0; at < size; at += STEP) {
        size_t step = size - at < STEP ? (size_t)(size - at) : STEP;
        tree_assert_ok(file_read_at(file, at, bytes, step));
        for (size_t i = 0; i < step; i++)
            if (bytes[i] != byte_at(at + i))
                fail_msg("another byte at %llu", (unsigned long long)(at + i));
    }
    file_close(file);

    drop_from_cache("f");
    tree_assert_ok(file_open("f", &file));
    tree_assert_ok(file_open_staged("c", &copy));
    tree_assert_ok(file_set_size(copy, size));
    file_spare_cache(file);
    file_spare_cache(copy);
    tree_assert_ok(file_copy_range(file, 0, copy, 0, size, NULL));
    assert_true(count_cached_pages("f") < pages / 4);
    file_close(copy);
    file_close(file);
    test_free(bytes);
}
#endif

static void small_files_are_read_whole(void **state)
{
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    (void)state;
    tree_write_bytes("f", "a\0b", 3);
    tree_write("empty", "");
    tree_assert_ok(file_read_whole(&arena, "f", 3, &text));
    assert_true(text_equal(text, (struct text){"a\0b", 3}));
    assert_int_equal(text.bytes[3], '\0');
    tree_assert_ok(file_read_whole(&arena, "empty", 0, &text));
    assert_int_equal(text.length, 0);
    struct error *error = file_read_whole(&arena, "f", 2, &text);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    tree_assert_report(error, "f: expected at most 2 bytes, found 3\n");
    assert_int_equal(text.length, 0);
    arena_end(&arena);
}

/* ---- stamps ---- */

static void stat_tells_kinds_and_follows_links(void **state)
{
    static const struct {
        const char *path;
        enum file_kind want, itself;
        uint64_t size;
    } rows[] = {
        {"f", FILE_REGULAR, FILE_REGULAR, 5},
        {"link", FILE_REGULAR, FILE_OTHER, 5},
        {"d", FILE_DIRECTORY, FILE_DIRECTORY, 0},
        {"", FILE_DIRECTORY, FILE_ABSENT, 0},
        {"pipe", FILE_OTHER, FILE_OTHER, 0},
        {"nosuch", FILE_ABSENT, FILE_ABSENT, 0},
        {"dangling", FILE_ABSENT, FILE_OTHER, 0},
        {"f/x", FILE_ABSENT, FILE_ABSENT, 0},
    };
    (void)state;
    tree_write("f", "hello");
    assert_int_equal(symlink("f", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(mkdir("d", 0777), 0);
    assert_int_equal(mkfifo("pipe", 0666), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        enum file_kind kind = FILE_OTHER;
        struct file_stamp stamp = {.inode = 1, .size_bytes = 1, .mtime_ns = 1, .ctime_ns = 1};
        static const struct file_stamp none = {0};
        tree_assert_ok(file_stat(rows[i].path, &kind, &stamp));
        assert_int_equal(kind, rows[i].want);
        if (kind == FILE_REGULAR)
            assert_int_equal(stamp.size_bytes, rows[i].size);
        assert_int_equal(file_stamp_equal(&stamp, &none), kind == FILE_ABSENT);
        tree_assert_ok(file_kind_itself(rows[i].path, &kind));
        assert_int_equal(kind, rows[i].itself);
    }
}

/* Without settling, a change within the same clock tick would leave the stamp as it was. */
static void a_settled_stamp_is_shared_by_no_later_change(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct file_stamp before, after;
        enum file_kind kind;
        struct file *file;
        tree_write("f", "one");
        tree_assert_ok(file_stat_settled("f", &before));
        tree_assert_ok(file_open_staged("f", &file)); /* the same inode and size */
        tree_assert_ok(file_write_at(file, 0, "two", 3));
        tree_assert_ok(file_stamp_now(file, &after));
        assert_int_equal(after.inode, before.inode);
        assert_int_equal(after.size_bytes, before.size_bytes);
        assert_false(file_stamp_equal(&before, &after));
        file_close(file);
        tree_assert_ok(file_stat("f", &kind, &before));
        assert_true(file_stamp_equal(&before, &after));
    }
    struct file_stamp stamp;
    struct error *error = file_stat_settled("nosuch", &stamp);
    assert_int_equal(error_kind_of(error), ERROR_MISSING);
    tree_assert_report(error, "nosuch: cannot open: No such file or directory\n");
}

static void settling_an_old_file_does_not_wait(void **state)
{
    struct file_stamp stamp;
    (void)state;
    tree_write("f", "x");
    tree_assert_ok(file_stat_settled("f", &stamp));
    uint64_t start = clock_now_ns();
    for (int i = 0; i < 50; i++)
        tree_assert_ok(file_stat_settled("f", &stamp));
    assert_true(clock_now_ns() - start < 500000000); /* 50 waits would be at least this */
}

static void assert_is_still(
    const char *path, const struct file_stamp *was, bool may_be_renamed, bool want)
{
    bool is_still = !want;
    tree_assert_ok(file_is_still(path, was, may_be_renamed, &is_still));
    assert_int_equal(is_still, want);
}

static void a_file_is_still_the_one_whose_stamp_it_has(void **state)
{
    struct file_stamp was, moved;
    enum file_kind kind;
    (void)state;
    tree_write("f", "one");
    assert_int_equal(symlink("f", "link"), 0);
    assert_int_equal(mkdir("d", 0777), 0);
    tree_assert_ok(file_stat_settled("f", &was));
    assert_is_still("f", &was, false, true);
    assert_is_still("link", &was, false, true);
    assert_is_still("nosuch", &was, true, false);
    assert_is_still("f/x", &was, true, false);
    tree_assert_ok(file_stat("d", &kind, &moved));
    assert_is_still("d", &moved, false, false);
    assert_int_equal(rename("f", "g"), 0);
    tree_assert_ok(file_stat("g", &kind, &moved));
    assert_is_still("g", &was, false, moved.ctime_ns == was.ctime_ns);
    assert_is_still("g", &was, true, true);
    assert_is_still("link", &was, true, false);
    const struct {
        const char *what;
        struct file_stamp stamp;
    } rows[] = {
        {"inode", {was.inode + 1, was.size_bytes, was.mtime_ns, was.ctime_ns}},
        {"size", {was.inode, was.size_bytes + 1, was.mtime_ns, was.ctime_ns}},
        {"mtime", {was.inode, was.size_bytes, was.mtime_ns + 1, was.ctime_ns}},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool is_still = true;
        tree_assert_ok(file_is_still("g", &rows[i].stamp, true, &is_still));
        if (is_still)
            fail_msg("another %s was not seen", rows[i].what);
    }
}

#ifdef PSYBUILD_FAULT
static void without_stable_inodes_the_rest_decides(void **state)
{
    struct file_stamp was, now, other;
    enum file_kind kind;
    (void)state;
    tree_write("f", "one");
    setenv("PSYBUILD_FAULT_INODES", "1", 1);
    tree_assert_ok(file_stat_settled("f", &was));
    tree_assert_ok(file_stat("f", &kind, &now));
    assert_false(file_stamp_equal(&was, &now));
    assert_is_still("f", &was, false, true);
    other = was;
    other.ctime_ns++;
    assert_is_still("f", &other, false, false);
    assert_is_still("f", &other, true, true);
    other.size_bytes++;
    assert_is_still("f", &other, true, false);
    unsetenv("PSYBUILD_FAULT_INODES");
}
#endif

/* ---- copying ranges ---- */

static void fill(unsigned char *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(i * 7 + (i >> 9) + seed);
}

static void ranges_are_copied_whatever_their_alignment(void **state)
{
    enum { SIZE = 600000 };
    static const struct {
        uint64_t from, to, size;
    } rows[] = {
        {0, 0, SIZE},
        {0, 0, 0},
        {1, 0, 1},
        {4096, 8192, 300000},
        {100, 4196, 300001}, /* aligned alike, but not at its ends */
        {1, 0, 599999},
        {0, 12345, 262144},
        {SIZE - 1, 7, 1},
        {SIZE, 0, 0},
    };
    unsigned char *bytes = test_malloc(SIZE), *other = test_malloc(2 * SIZE);
    struct file *from, *to;
    (void)state;
    fill(bytes, SIZE, 1);
    tree_write_bytes("from", bytes, SIZE);
    tree_assert_ok(file_open("from", &from));
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        bool is_shared = true;
        fill(other, 2 * SIZE, 99);
        tree_write_bytes("to", other, 2 * SIZE);
        tree_assert_ok(file_open_staged("to", &to));
        tree_assert_ok(file_copy_range(
            from, rows[i].from, to, rows[i].to, rows[i].size, i % 2 == 0 ? &is_shared : NULL));
        file_close(to);
        memcpy(other + rows[i].to, bytes + rows[i].from, (size_t)rows[i].size);
        struct text got = tree_read(&arena, "to");
        assert_int_equal(got.length, 2 * SIZE);
        assert_memory_equal(got.bytes, other, 2 * SIZE);
        arena_end(&arena);
    }
    file_close(from);
    test_free(bytes);
    test_free(other);
}

/* More than is copied by one call. */
static void a_long_range_is_copied_in_steps(void **state)
{
    enum { SIZE = (33 << 20) + 5, SKIP = 3 };
    unsigned char *bytes = test_malloc(SIZE);
    struct arena arena = {0};
    struct file *from, *to;
    (void)state;
    fill(bytes, SIZE, 1);
    tree_write_bytes("from", bytes, SIZE);
    tree_assert_ok(file_open("from", &from));
    tree_assert_ok(file_open_staged("to", &to));
    tree_assert_ok(file_copy_range(from, SKIP, to, 0, SIZE - SKIP, NULL));
    file_close(to);
    file_close(from);
    struct text got = tree_read(&arena, "to");
    assert_int_equal(got.length, SIZE - SKIP);
    assert_memory_equal(got.bytes, bytes + SKIP, SIZE - SKIP);
    arena_end(&arena);
    test_free(bytes);
}

static void a_range_past_the_end_is_an_error(void **state)
{
    struct file *from, *to;
    (void)state;
    tree_write("from", "0123456789");
    tree_assert_ok(file_open("from", &from));
    tree_assert_ok(file_open_staged("to", &to));
    struct error *error = file_copy_range(from, 8, to, 0, 5, NULL);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_FORMAT);
    /* The kernel copies what there is, where it can. */
    if (strcmp(error_text(error), "from: truncated: expected 3 bytes at offset 10, found 0") != 0)
        assert_string_equal(
            error_text(error), "from: truncated: expected 5 bytes at offset 8, found 2");
    error_free(error);
    file_close(from);
    file_close(to);
}

static void a_range_is_copied_to_another_file_system_through_memory(void **state)
{
    char path[] = "/dev/shm/psybuild-test.XXXXXX";
    struct file *from, *to;
    unsigned char bytes[5000], back[5000];
    (void)state;
    int descriptor = mkstemp(path);
    if (descriptor < 0)
        skip(); /* no such file system here */
    close(descriptor);
    fill(bytes, sizeof bytes, 3);
    tree_write_bytes("from", bytes, sizeof bytes);
    tree_assert_ok(file_open("from", &from));
    tree_assert_ok(file_open_staged(path, &to));
    bool is_shared = true;
    tree_assert_ok(file_copy_range(from, 0, to, 0, sizeof bytes, &is_shared));
    tree_assert_ok(file_read_at(to, 0, back, sizeof back));
    assert_memory_equal(bytes, back, sizeof back);
    assert_false(is_shared);
    file_close(from);
    file_close(to);
    unlink(path);
}

static void a_whole_copy_has_mode_and_time_of_the_other(void **state)
{
    static const mode_t modes[] = {0600, 0644, 0666, 0755, 0444, 04711};
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_sec = 86400, .tv_nsec = 5000}};
    struct arena arena = {0};
    (void)state;
    tree_write("from", "bytes");
    tree_write("victim", "mine");
    for (size_t i = 0; i < COUNT(modes); i++) {
        struct stat from, to;
        tree_assert_ok(file_remove("to"));
        assert_int_equal(symlink("victim", "to"), 0); /* left by whoever */
        assert_int_equal(chmod("from", modes[i]), 0);
        assert_int_equal(utimensat(AT_FDCWD, "from", times, 0), 0);
        tree_assert_ok(file_copy_whole("from", "to"));
        assert_int_equal(stat("from", &from), 0);
        assert_int_equal(lstat("to", &to), 0);
        assert_true(S_ISREG(to.st_mode));
        assert_int_equal(to.st_mode & 07777, modes[i] & 0777);
        assert_int_equal(to.st_mtime, from.st_mtime);
        assert_true(text_is(tree_read(&arena, "to"), "bytes"));
    }
    assert_true(text_is(tree_read(&arena, "victim"), "mine"));
    tree_assert_report(
        file_copy_whole("nosuch", "to"), "nosuch: cannot open: No such file or directory\n");
    assert_true(tree_has("to"));
    arena_end(&arena);
}

/* ---- names ---- */

enum { WRITERS = 4, WRITES = 200, WRITTEN_BYTES_MAX = 20000 };

/* Of a length and a byte of its own. */
static void fill_like(char *bytes, unsigned number, size_t *length)
{
    *length = (size_t)(number * 7919 % WRITTEN_BYTES_MAX) + 1;
    memset(bytes, 'a' + (int)(number % 26), *length);
}

static bool is_whole(const char *path)
{
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    bool is_good =
        file_read_whole(&arena, path, WRITTEN_BYTES_MAX, &text) == NULL && text.length > 0;
    for (size_t i = 1; is_good && i < text.length; i++)
        is_good = text.bytes[i] == text.bytes[0];
    bool is_known = false;
    for (unsigned number = 0; is_good && number < WRITERS * WRITES && !is_known; number++)
        is_known = number * 7919 % WRITTEN_BYTES_MAX + 1 == text.length &&
                   text.bytes[0] == 'a' + (char)(number % 26);
    arena_end(&arena);
    return is_known;
}

/* In a process of its own: 0 when all went well. */
static int replace_often(unsigned writer)
{
    static char bytes[WRITTEN_BYTES_MAX];
    for (unsigned i = 0; i < WRITES; i++) {
        size_t length;
        fill_like(bytes, writer * WRITES + i, &length);
        struct error *error = file_replace_hint("f", (struct text){bytes, length});
        if (error != NULL) {
            fputs(error_report(error), stderr);
            return 1;
        }
        if (!is_whole("f"))
            return 2;
    }
    return 0;
}

static int create_often(unsigned writer)
{
    for (unsigned i = 0; i < WRITES / 4; i++) {
        char path[32];
        static char bytes[WRITTEN_BYTES_MAX];
        size_t length;
        fill_like(bytes, writer * WRITES + i, &length);
        snprintf(path, sizeof path, "shared-%u", i);
        if (file_create_whole(path, (struct text){bytes, length}) != NULL)
            return 1;
        if (!is_whole(path))
            return 2;
    }
    return 0;
}

static void run_at_once(int (*work)(unsigned writer))
{
    pid_t children[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        fflush(NULL);
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0)
            _exit(work(i));
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        int status;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
}

static void those_who_replace_a_file_at_once_take_turns(void **state)
{
    struct arena arena = {0};
    struct file_entry *entries;
    size_t count;
    (void)state;
    run_at_once(replace_often);
    tree_assert_ok(file_list_directory(&arena, "", &entries, &count));
    assert_int_equal(count, 1); /* no temporary */
    arena_end(&arena);
}

static void those_who_create_a_file_at_once_find_it_whole(void **state)
{
    struct arena arena = {0};
    struct file_entry *entries;
    size_t count;
    (void)state;
    run_at_once(create_often);
    tree_assert_ok(file_list_directory(&arena, "", &entries, &count));
    assert_int_equal(count, WRITES / 4);
    arena_end(&arena);
}

static void a_file_that_is_there_is_not_created(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_assert_ok(file_create_whole("new", TEXT_LITERAL("text")));
    assert_true(text_is(tree_read(&arena, "new"), "text"));
    tree_assert_ok(file_create_whole("new", TEXT_LITERAL("other")));
    assert_true(text_is(tree_read(&arena, "new"), "text"));
    assert_int_equal(symlink("nowhere", "link"), 0);
    tree_assert_ok(file_create_whole("link", TEXT_LITERAL("text")));
    assert_false(tree_has("nowhere"));
    struct error *error = file_create_whole("no/such", TEXT_LITERAL("text"));
    assert_int_equal(error_kind_of(error), ERROR_MISSING);
    error_free(error);
    arena_end(&arena);
}

static void temporary_names_are_never_given_twice(void **state)
{
    struct arena arena = {0};
    (void)state;
    char *first = file_temporary_name(&arena, "d/f"), *second = file_temporary_name(&arena, "d/f");
    assert_string_not_equal(first, second);
    assert_true(text_starts_with(text_of(first), arena_format(&arena, "d/f.%ld.", (long)getpid())));
    assert_true(text_ends_with(text_of(first), ".tmp"));
    arena_end(&arena);
}

static void what_is_gone_need_not_be_touched(void **state)
{
    struct stat status;
    const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    (void)state;
    tree_write("f", "x");
    assert_int_equal(utimensat(AT_FDCWD, "f", times, 0), 0);
    tree_assert_ok(file_touch("f"));
    assert_int_equal(stat("f", &status), 0);
    assert_true(status.st_mtime > 1);
    tree_assert_ok(file_touch("nosuch"));
    tree_assert_ok(file_touch("f/x"));
    assert_false(tree_has("nosuch"));
}

/* A hard link is as little written through as a symbolic one. */
static void a_leftover_is_replaced_never_written_through(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_write("victim", "mine");
    assert_int_equal(link("victim", "f.tmp"), 0);
    tree_assert_ok(file_replace_whole("f", TEXT_LITERAL("new")));
    assert_int_equal(mkfifo("f.tmp", 0666), 0);
    tree_assert_ok(file_replace_whole("f", TEXT_LITERAL("newer")));
    assert_true(text_is(tree_read(&arena, "f"), "newer"));
    assert_true(text_is(tree_read(&arena, "victim"), "mine"));
    assert_false(tree_has("f.tmp"));
    arena_end(&arena);
}

static void replacing_is_atomic_and_leaves_nothing_beside(void **state)
{
    struct arena arena = {0};
    struct file *old;
    char buffer[4];
    (void)state;
    tree_write("victim", "mine");
    assert_int_equal(mkdir("d", 0777), 0);
    tree_write("d/f", "old\n");
    tree_assert_ok(file_open("d/f", &old));
    assert_int_equal(symlink("../victim", "d/f.tmp"), 0); /* left by whoever */
    tree_assert_ok(file_replace_whole("d/f", TEXT_LITERAL("new one")));
    assert_true(text_is(tree_read(&arena, "d/f"), "new one"));
    assert_true(text_is(tree_read(&arena, "victim"), "mine"));
    assert_false(tree_has("d/f.tmp"));
    tree_assert_ok(file_read_at(old, 0, buffer, 4)); /* who had it open still reads the old one */
    assert_memory_equal(buffer, "old\n", 4);
    file_close(old);
    tree_assert_ok(file_replace_whole("bare", TEXT_EMPTY));
    assert_int_equal(tree_read(&arena, "bare").length, 0);
    tree_assert_report(file_replace_whole("no/such", TEXT_EMPTY),
        "no/such.tmp: cannot create: No such file or directory\n");
    tree_assert_report(file_replace_whole("d", TEXT_LITERAL("x")),
        "d: cannot replace: Is a directory\n    while renaming d.tmp\n");
    assert_false(tree_has("d.tmp"));
    arena_end(&arena);
}

static void renames_and_removals_say_what_they_could_not(void **state)
{
    struct arena arena = {0};
    (void)state;
    tree_write("a", "a");
    tree_write("b", "b");
    tree_write("d/f", "f");
    tree_assert_ok(file_rename("a", "b"));
    assert_true(text_is(tree_read(&arena, "b"), "a"));
    assert_false(tree_has("a"));
    tree_assert_report(file_rename("a", "c"),
        "c: cannot replace: No such file or directory\n    while renaming a\n");
    tree_assert_ok(file_remove("b"));
    tree_assert_ok(file_remove("b")); /* absent is fine */
    tree_assert_ok(file_remove("d/f/x"));
    assert_true(tree_has("d/f"));
    tree_assert_ok(file_remove_directory("d")); /* not empty is fine */
    assert_true(tree_has("d"));
    tree_assert_ok(file_remove("d/f"));
    tree_assert_ok(file_remove_directory("d"));
    tree_assert_ok(file_remove_directory("d"));
    assert_false(tree_has("d"));
    tree_assert_ok(file_sync_directory(""));
    tree_assert_report(file_sync_directory("d"), "d: cannot open: No such file or directory\n");
    arena_end(&arena);
}

static void directories_are_made_with_their_parents(void **state)
{
    struct arena arena = {0};
    char *here;
    (void)state;
    tree_assert_ok(file_make_directories(""));
    tree_assert_ok(file_make_directories("a/b/c"));
    tree_assert_ok(file_make_directories("a/b/c"));
    tree_assert_ok(file_make_directories("a/x"));
    assert_true(tree_has("a/b/c") && tree_has("a/x"));
    tree_assert_ok(file_current_directory(&arena, &here));
    tree_assert_ok(file_make_directories(arena_format(&arena, "%s/p/q", here)));
    assert_true(tree_has("p/q"));
    tree_write("file", "x");
    tree_assert_report(
        file_make_directories("file/x/y"), "file/x: cannot make the directory: Not a directory\n");
    tree_assert_report(
        file_make_directories("file"), "file: cannot make the directory: File exists\n");
    assert_int_equal(symlink("a", "link"), 0); /* the user's: followed */
    tree_assert_ok(file_make_directories("link/new"));
    assert_true(tree_has("a/new"));
    arena_end(&arena);
}

static void directories_are_made_to_survive_a_power_failure(void **state)
{
    struct arena arena = {0};
    char *here;
    (void)state;
    tree_assert_ok(file_make_directories_synced(""));
    tree_assert_ok(file_make_directories_synced("a/b/c"));
    tree_assert_ok(file_make_directories_synced("a/b/c"));
    tree_assert_ok(file_make_directories_synced("/"));
    tree_assert_ok(file_current_directory(&arena, &here));
    tree_assert_ok(file_make_directories_synced(arena_format(&arena, "%s/p/q", here)));
    assert_true(tree_has("a/b/c") && tree_has("p/q"));
    tree_write("file", "x");
    tree_assert_report(
        file_make_directories_synced("file"), "file: cannot make the directory: File exists\n");
    arena_end(&arena);
}

#ifdef PSYBUILD_FAULT
static void each_new_name_of_a_directory_is_synced(void **state)
{
    (void)state;
    tree_assert_ok(file_make_directories("a"));
    setenv("PSYBUILD_FAULT_AT", "sync:2", 1);
    tree_assert_report(
        file_make_directories_synced("a/b/c"), "a/b: cannot sync: Input/output error\n");
    unsetenv("PSYBUILD_FAULT_AT");
}
#endif

static void a_tree_is_removed_without_following_links(void **state)
{
    (void)state;
    tree_write("kept/a", "a");
    tree_write("d/e/f/g", "g");
    tree_write("d/h", "h");
    assert_int_equal(symlink("../kept", "d/link"), 0);
    assert_int_equal(symlink("kept", "link"), 0);
    tree_assert_ok(file_remove_tree("d"));
    tree_assert_ok(file_remove_tree("d")); /* absent is fine */
    tree_assert_ok(file_remove_tree("link"));
    assert_false(tree_has("d"));
    assert_false(tree_has("link"));
    assert_true(tree_has("kept/a"));
    tree_assert_ok(file_remove_tree("kept/a"));
    assert_false(tree_has("kept/a"));
}

static void directories_are_listed_in_byte_order(void **state)
{
    static const struct {
        const char *name;
        enum file_kind kind;
    } want[] = {
        {".hidden", FILE_REGULAR},
        {"B", FILE_REGULAR},
        {"a", FILE_REGULAR},
        {"dir", FILE_DIRECTORY},
        {"link-to-dir", FILE_DIRECTORY},
        {"link-to-file", FILE_REGULAR},
        {"pipe", FILE_OTHER},
        {"\303\244", FILE_REGULAR},
    };
    struct arena arena = {0};
    struct file_entry *entries;
    size_t count;
    (void)state;
    tree_write("d/a", "");
    tree_write("d/B", "");
    tree_write("d/.hidden", "");
    tree_write("d/\303\244", "");
    tree_write("d/dir/x", "");
    assert_int_equal(mkfifo("d/pipe", 0666), 0);
    assert_int_equal(symlink("dir", "d/link-to-dir"), 0);
    assert_int_equal(symlink("a", "d/link-to-file"), 0);
    assert_int_equal(symlink("nowhere", "d/dangling"), 0); /* counts as not there */
    tree_assert_ok(file_list_directory(&arena, "d", &entries, &count));
    assert_int_equal(count, COUNT(want));
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(entries[i].name, want[i].name);
        assert_int_equal(entries[i].kind, want[i].kind);
    }
    tree_assert_ok(file_list_directory(&arena, "", &entries, &count));
    assert_int_equal(count, 1);
    struct error *error = file_list_directory(&arena, "nosuch", &entries, &count);
    assert_int_equal(error_kind_of(error), ERROR_MISSING);
    tree_assert_report(error, "nosuch: cannot list: No such file or directory\n");
    arena_end(&arena);
}

static void devices_and_free_space_are_those_of_the_nearest_directory(void **state)
{
    uint64_t here = 0, below = 0;
    bool is_same = false;
    (void)state;
    tree_assert_ok(file_space_free("", &here));
    tree_assert_ok(file_space_free("not/there/yet", &below));
    assert_true(here > 0 && below > 0);
    tree_assert_ok(file_same_device("", "not/there", &is_same));
    assert_true(is_same);
    tree_assert_ok(file_same_device("", "/proc", &is_same));
#ifdef __linux__
    assert_false(is_same);
#endif
}

static void the_working_directory_can_be_changed(void **state)
{
    struct arena arena = {0};
    char *before, *after;
    (void)state;
    tree_assert_ok(file_make_directories("d"));
    tree_assert_ok(file_current_directory(&arena, &before));
    tree_assert_ok(file_change_directory(""));
    tree_assert_ok(file_change_directory("d"));
    tree_assert_ok(file_current_directory(&arena, &after));
    assert_string_equal(after, arena_format(&arena, "%s/d", before));
    tree_assert_report(file_change_directory("d"), "d: cannot enter: No such file or directory\n");
    arena_end(&arena);
}

/* ---- locks ---- */

static const char *own_line(struct arena *arena)
{
    return arena_format(arena, "%ld\n", (long)getpid());
}

static void a_lock_has_one_holder_and_names_it(void **state)
{
    struct arena arena = {0};
    struct file_lock *lock = NULL, *other;
    long holder = 0;
    (void)state;
    tree_write("lock", "1234567890 of another time");
    tree_assert_ok(file_lock_take("lock", false, &lock, &holder));
    assert_non_null(lock);
    assert_true(text_is(tree_read(&arena, "lock"), own_line(&arena)));
    other = lock;
    tree_assert_ok(file_lock_take("lock", false, &other, &holder));
    assert_null(other);
    assert_int_equal(holder, getpid());
    other = lock;
    tree_assert_ok(file_lock_take("lock", false, &other, NULL));
    assert_null(other);
    file_lock_release(lock);
    assert_int_equal(tree_read(&arena, "lock").length, 0);
    tree_assert_ok(file_lock_take("lock", true, &other, NULL));
    assert_non_null(other);
    file_lock_release(other);
    file_lock_release(NULL);
    tree_assert_report(file_lock_take("no/such", false, &other, NULL),
        "no/such: cannot open: No such file or directory\n");
    arena_end(&arena);
}

static void a_lock_is_not_reached_through_a_link(void **state)
{
    struct arena arena = {0};
    struct file_lock *lock = NULL;
    (void)state;
    tree_write("victim", "mine");
    assert_int_equal(symlink("victim", "lock"), 0);
    tree_assert_report(file_lock_take("lock", false, &lock, NULL),
        "lock: cannot open: Too many levels of symbolic links\n");
    assert_null(lock);
    assert_true(text_is(tree_read(&arena, "victim"), "mine"));
    arena_end(&arena);
}

static void who_holds_a_lock_is_a_process_that_lives(void **state)
{
    char never[32];
    const char *const rows[] = {"", never, "0\n", "-1\n", "12x\n", "99999999999999999999\n", "x"};
    struct file_lock *lock = NULL, *other;
    int status;
    (void)state;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, &status, 0), child);
    snprintf(never, sizeof never, "%ld\n", (long)child);
    tree_assert_ok(file_lock_take("lock", false, &lock, NULL));
    for (size_t i = 0; i < COUNT(rows); i++) {
        long holder = 1;
        tree_write("lock", rows[i]);
        tree_assert_ok(file_lock_take("lock", false, &other, &holder));
        assert_null(other);
        if (holder != 0)
            fail_msg("row %zu names %ld", i, holder);
    }
    file_lock_release(lock);
}

/* The file names a dead process until the holder comes to write its own id. */
static void who_holds_a_lock_is_waited_for(void **state)
{
    struct file_lock *lock = NULL, *other;
    long holder = 0;
    int status;
    (void)state;
    tree_assert_ok(file_lock_take("lock", false, &lock, NULL));
    tree_write("lock", "");
    pid_t child = fork();
    if (child == 0) {
        char line[32];
        int descriptor = open("lock", O_WRONLY);
        int length = snprintf(line, sizeof line, "%ld\n", (long)getppid());
        usleep(20000);
        _exit(write(descriptor, line, (size_t)length) != length);
    }
    tree_assert_ok(file_lock_take("lock", false, &other, &holder));
    assert_null(other);
    assert_int_equal(holder, getpid());
    assert_int_equal(waitpid(child, &status, 0), child);
    file_lock_release(lock);
}

static void a_lock_whose_file_is_gone_is_not_good(void **state)
{
    static const char want[] = "d/lock was removed while psybuild was at work\n";
    struct file_lock *lock = NULL, *other = NULL;
    (void)state;
    tree_write("d/lock", "");
    tree_assert_ok(file_lock_take("d/lock", false, &lock, NULL));
    tree_assert_ok(file_lock_check(lock));
    assert_int_equal(rename("d/lock", "d/moved"), 0);
    struct error *error = file_lock_check(lock);
    assert_int_equal(error_kind_of(error), ERROR_FAILED);
    tree_assert_report(error, want);
    tree_assert_ok(file_lock_take("d/lock", false, &other, NULL));
    assert_non_null(other);
    tree_assert_report(file_lock_check(lock), want);
    tree_assert_ok(file_lock_check(other));
    assert_int_equal(rename("d/moved", "d/lock"), 0);
    tree_assert_ok(file_lock_check(lock));
    tree_assert_report(file_lock_check(other), want);
    assert_int_equal(rename("d", "e"), 0);
    tree_assert_report(file_lock_check(lock), want);
    file_lock_release(lock);
    file_lock_release(other);
}

#ifdef PSYBUILD_FAULT
static void a_lock_needs_no_stable_inodes(void **state)
{
    struct file_lock *lock = NULL;
    (void)state;
    setenv("PSYBUILD_FAULT_INODES", "1", 1);
    tree_assert_ok(file_lock_take("lock", false, &lock, NULL));
    tree_assert_ok(file_lock_check(lock));
    tree_remove("lock");
    tree_assert_report(file_lock_check(lock), "lock was removed while psybuild was at work\n");
    tree_write("lock", "");
    tree_assert_report(file_lock_check(lock), "lock was removed while psybuild was at work\n");
    file_lock_release(lock);
    unsetenv("PSYBUILD_FAULT_INODES");
}
#endif

/* Holds the lock until its standard input ends, or it is killed. */
static pid_t start_holder(int *gate)
{
    int ready[2], open_gate[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(open_gate), 0);
    pid_t child = fork();
    if (child == 0) {
        struct file_lock *lock = NULL;
        close(open_gate[1]);
        if (file_lock_take("lock", true, &lock, NULL) != NULL || write(ready[1], "r", 1) != 1)
            _exit(1);
        while (read(open_gate[0], &byte, 1) < 0)
            continue;
        _exit(0); /* without releasing it */
    }
    close(open_gate[0]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    *gate = open_gate[1];
    return child;
}

static void a_lock_dies_with_its_process(void **state)
{
    struct file_lock *lock = NULL;
    int gate, status;
    (void)state;
    pid_t child = start_holder(&gate);
    tree_assert_ok(file_lock_take("lock", false, &lock, NULL));
    assert_null(lock);
    kill(child, SIGKILL);
    tree_assert_ok(file_lock_take("lock", true, &lock, NULL)); /* waits until it is gone */
    assert_non_null(lock);
    file_lock_release(lock);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(gate);
}

/* What is locked then is the file at the path; or the old one, where there can be none. */
static void who_waited_for_a_lock_that_was_removed_has_the_new_one(void **state)
{
    static const struct {
        const char *gone;
        bool is_good;
    } rows[] = {{"d/lock", true}, {"d", false}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct file_lock *lock = NULL, *mine = NULL;
        int ready[2], status;
        char byte;
        assert_int_equal(pipe(ready), 0);
        tree_write("d/lock", "");
        pid_t child = fork();
        if (child == 0) {
            if (file_lock_take("d/lock", false, &lock, NULL) != NULL || write(ready[1], "r", 1) < 1)
                _exit(1);
            usleep(50000); /* the other waits by now; if not, it has less to do */
            tree_remove(rows[i].gone);
            _exit(0);
        }
        assert_int_equal(read(ready[0], &byte, 1), 1);
        tree_assert_ok(file_lock_take("d/lock", true, &mine, NULL));
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        struct error *error = file_lock_check(mine);
        assert_int_equal(error == NULL, rows[i].is_good);
        error_free(error);
        file_lock_release(mine);
        close(ready[0]);
        close(ready[1]);
    }
}

static void on_alarm(int number)
{
    (void)number;
}

static void waiting_for_a_lock_ends_with_a_signal(void **state)
{
    struct file_lock *lock = NULL;
    struct sigaction action = {.sa_handler = on_alarm}, old;
    int gate, status;
    (void)state;
    pid_t child = start_holder(&gate);
    sigaction(SIGALRM, &action, &old);
    ualarm(20000, 20000); /* again and again: the first may come before the wait */
    struct error *error = file_lock_take("lock", true, &lock, NULL);
    ualarm(0, 0);
    sigaction(SIGALRM, &old, NULL);
    assert_non_null(error);
    assert_int_equal(error_kind_of(error), ERROR_INTERRUPTED);
    tree_assert_report(error, "interrupted while waiting for lock\n");
    assert_null(lock);
    close(gate);
    assert_int_equal(waitpid(child, &status, 0), child);
}

/* ---- programs ---- */

static void programs_run_and_their_status_comes_back(void **state)
{
    static const struct {
        const char *script;
        int want;
    } rows[] = {{"true", 0}, {"exit 7", 7}, {"kill -9 $$", 137}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char shell[] = "sh", flag[] = "-c", script[32];
        char *arguments[] = {shell, flag, script, NULL};
        int status = -1;
        strcpy(script, rows[i].script);
        tree_assert_ok(process_run(arguments, &status));
        assert_int_equal(status, rows[i].want);
    }
    char name[] = "psybuild-no-such-program";
    char *arguments[] = {name, NULL};
    int status;
    tree_assert_report(process_run(arguments, &status),
        "psybuild-no-such-program: cannot run: No such file or directory\n");
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, tree_begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(reads_are_whole_or_name_path_and_offset),
        TREE_TEST(what_is_no_regular_file_is_not_opened),
        TREE_TEST(staged_files_are_made_kept_and_never_reached_through_links),
        TREE_TEST(threads_share_one_file),
#if defined(__linux__) && !defined(PSYBUILD_PORTABLE)
        TREE_TEST(a_spared_cache_holds_afterwards_what_it_held_before),
        TREE_TEST(what_is_written_around_the_cache_is_not_in_it),
        TREE_TEST(what_is_written_or_copied_goes_out_before_the_file_is_closed),
#endif
        TREE_TEST(small_files_are_read_whole),
        TREE_TEST(stat_tells_kinds_and_follows_links),
        TREE_TEST(a_settled_stamp_is_shared_by_no_later_change),
        TREE_TEST(settling_an_old_file_does_not_wait),
        TREE_TEST(a_file_is_still_the_one_whose_stamp_it_has),
#ifdef PSYBUILD_FAULT
        TREE_TEST(without_stable_inodes_the_rest_decides),
#endif
        TREE_TEST(ranges_are_copied_whatever_their_alignment),
        TREE_TEST(a_long_range_is_copied_in_steps),
        TREE_TEST(a_range_past_the_end_is_an_error),
        TREE_TEST(a_range_is_copied_to_another_file_system_through_memory),
        TREE_TEST(a_whole_copy_has_mode_and_time_of_the_other),
        TREE_TEST(those_who_replace_a_file_at_once_take_turns),
        TREE_TEST(those_who_create_a_file_at_once_find_it_whole),
        TREE_TEST(a_file_that_is_there_is_not_created),
        TREE_TEST(temporary_names_are_never_given_twice),
        TREE_TEST(what_is_gone_need_not_be_touched),
        TREE_TEST(a_leftover_is_replaced_never_written_through),
        TREE_TEST(replacing_is_atomic_and_leaves_nothing_beside),
        TREE_TEST(renames_and_removals_say_what_they_could_not),
        TREE_TEST(directories_are_made_with_their_parents),
        TREE_TEST(directories_are_made_to_survive_a_power_failure),
#ifdef PSYBUILD_FAULT
        TREE_TEST(each_new_name_of_a_directory_is_synced),
#endif
        TREE_TEST(a_tree_is_removed_without_following_links),
        TREE_TEST(directories_are_listed_in_byte_order),
        TREE_TEST(devices_and_free_space_are_those_of_the_nearest_directory),
        TREE_TEST(the_working_directory_can_be_changed),
        TREE_TEST(a_lock_has_one_holder_and_names_it),
        TREE_TEST(a_lock_is_not_reached_through_a_link),
        TREE_TEST(who_holds_a_lock_is_a_process_that_lives),
        TREE_TEST(who_holds_a_lock_is_waited_for),
        TREE_TEST(a_lock_whose_file_is_gone_is_not_good),
#ifdef PSYBUILD_FAULT
        TREE_TEST(a_lock_needs_no_stable_inodes),
#endif
        TREE_TEST(a_lock_dies_with_its_process),
        TREE_TEST(who_waited_for_a_lock_that_was_removed_has_the_new_one),
        TREE_TEST(waiting_for_a_lock_ends_with_a_signal),
        TREE_TEST(programs_run_and_their_status_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
