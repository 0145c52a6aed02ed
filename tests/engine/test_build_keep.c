/* test_build_keep.c - "keep": "until-used": files of a source, and of nodes, come when they are
 * needed and go when every reader has had them.
 *
 * A checkpoint on the test hub, whose shards are large enough that their headers come first. The
 * hub, and a conversion that keeps everything, are made once for all tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#include <sys/mount.h>
#endif

#include <cmocka.h>

#include "engine/state/state.h"
#include "tasks/registry.h"
#include "tests/support/checkpoint.h"
#include "tests/support/hub_server.h"
#include "tests/support/program.h"
#include "tests/support/project.h"
#include "tests/support/snapshot.h"
#include "tests/support/tree.h"

#define SOURCE "models/source"
#define MODEL "models/out"
#define WORK "work" /* each test's directory */
#define HINT_RANGE "Range: bytes=0-65535"

enum { SHARDS = 7, LAYERS = SHARDS - 2 };

static struct arena arena; /* of the running test */
static struct arena kept;  /* of all tests */
static struct hub_server *server;
static const char *hashes[SHARDS + 1]; /* of the shards, from 1 */
static struct snapshot wanted;         /* MODEL at 4 bits, by a build that keeps its source */
static uint64_t whole_us;              /* what that took */
static bool can_mount;

/* ---- the hub ---- */

static const char *shard_name(unsigned number)
{
    return arena_format(&kept, "model-%05u-of-%05u.safetensors", number, (unsigned)SHARDS);
}

/* How often a shard was downloaded, its header alone not counted. */
static unsigned downloads_of(unsigned number)
{
    char *log = hub_server_log(server);
    const char *words = arena_format(&arena, "storage GET /storage/%s", hashes[number]);
    unsigned count = 0;
    for (const char *at = log; (at = strstr(at, words)) != NULL; at += strlen(words)) {
        const char *end = strstr(at, "\r\n\r\n"), *hint = strstr(at, HINT_RANGE "\r\n");
        count += end == NULL || hint == NULL || hint > end;
    }
    free(log);
    return count;
}

static unsigned downloads(void)
{
    unsigned count = 0;
    for (unsigned number = 1; number <= SHARDS; number++)
        count += downloads_of(number);
    return count;
}

static void add_fault(unsigned skip, unsigned shard, const struct hub_fault *fault)
{
    struct hub_fault of_shard = *fault;
    of_shard.target = arena_format(&arena, "/storage/%s", hashes[shard]);
    hub_server_add_fault_after(server, skip, &of_shard);
}

/* ---- builds ---- */

/* The source with `keep` ("" or a member), and these artifacts. */
static void declare_all(const char *keep, const char *artifacts)
{
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"" SOURCE "\": {\"hub\": \"test/model\"%s}}, "
            "\"artifacts\": {%s}}\n",
            keep, artifacts));
}

#define UNTIL_USED ", \"keep\": \"until-used\""
#define MLX(name, with)                                                                            \
    "\"" name "\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE "\", \"with\": {" with "}}"
#define FOUR MLX(MODEL, "\"bits\": 4")

static struct program start(struct arena *work, const char *target)
{
    /* one after the other: shards come and go all the time */
    const char *const arguments[] = {"--progress=json", "-j1", "--connections=1", target, NULL};
    return program_start(work, arguments, NULL);
}

static struct program build(const char *target)
{
    struct program program = start(&arena, target);
    program_end(&program);
    return program;
}

/* From the first error on. */
static const char *error_of(const struct program *program)
{
    const char *found = strstr(program->said.bytes, "{\"event\":\"failed\"");
    return found != NULL ? found : program->said.bytes;
}

static struct program must_build(const char *target)
{
    struct program program = build(target);
    if (program.exit_code != 0)
        fail_msg("exit code %d: %s", program.exit_code, error_of(&program));
    return program;
}

static bool has_shard(unsigned number)
{
    return tree_has(arena_format(&arena, SOURCE "/%s", shard_name(number)));
}

static unsigned count_shards(void)
{
    unsigned count = 0;
    for (unsigned number = 1; number <= SHARDS; number++)
        count += has_shard(number);
    return count;
}

static void assert_is_model(const char *when)
{
    struct snapshot made = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&made, &wanted, when);
}

static void assert_is_source(const char *name)
{
    struct text is = tree_read(&arena, arena_format(&arena, SOURCE "/%s", name));
    assert_true(text_equal(is, tree_read(&arena, arena_format(&arena, "../hub/%s", name))));
}

/* A second run has nothing to do, and asks the hub nothing. */
static void assert_is_done(void)
{
    hub_server_clear_log(server);
    struct program program = must_build(NULL);
    assert_null(strstr(program.said.bytes, "\"event\":\"stale\""));
    assert_int_equal(hub_server_log_count(server, " GET "), 0);
}

/* ---- set-up ---- */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Of whoever runs the tests. */
static void clear_environment(void)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
        "PSYBUILD_CACHE", "MAKEFLAGS", "http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("HF_HOME", "/nonexistent", 1);
    setenv("HF_ENDPOINT", hub_server_url(server), 1);
}

static int begin(void **state)
{
    (void)state;
    hub_server_clear_faults(server);
    hub_server_clear_log(server);
    return mkdir(WORK, 0777) != 0 || chdir(WORK) != 0;
}

static int end(void **state)
{
    (void)state;
    if (chdir("..") != 0)
        return -1;
#ifdef __linux__
    while (umount2(WORK, MNT_DETACH) == 0) /* as often as it is one */
        continue;
#endif
    tree_remove(WORK);
    arena_end(&arena);
    return 0;
}

static int begin_all(void **state)
{
    if (tree_begin(state) != 0)
        return -1;
    checkpoint_write(&(struct checkpoint){LAYERS, 512, 1024, 4224}, "hub");
    for (unsigned number = 1; number <= SHARDS; number++) {
        char *identity;
        tree_assert_ok(registry.identify(
            &kept, arena_format(&kept, "hub/%s", shard_name(number)), "sha256:", &identity));
        hashes[number] = strchr(identity, ':') + 1;
    }
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    const char *root = arena_format(&kept, "%s/hub", here);
    server = hub_server_start(&(struct hub_server_options){.root = root});
    clear_environment();
    if (begin(state) != 0)
        return -1;
    declare_all("", FOUR);
    uint64_t start_us = now_us();
    must_build(NULL);
    whole_us = now_us() - start_us;
    assert_int_equal(count_shards(), SHARDS);
    wanted = snapshot_take(&kept, MODEL);
    return end(state);
}

static int end_all(void **state)
{
    hub_server_stop(server);
    arena_end(&kept);
    return tree_end(state);
}

/* The working directory becomes a disk of that size. */
static void need_disk(unsigned size_mebibytes)
{
    if (!can_mount) {
        print_message("skipped: no file system of a test's own can be mounted here\n");
        skip();
    }
#ifdef __linux__
    const char *size = arena_format(&arena, "size=%um", size_mebibytes);
    assert_int_equal(chdir(".."), 0);
    assert_int_equal(mount("tmpfs", WORK, "tmpfs", 0, size), 0);
    assert_int_equal(chdir(WORK), 0);
#else
    (void)size_mebibytes;
#endif
}

#ifdef __linux__
static bool say_to_system(const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    bool is_said = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0)
        close(file);
    return is_said;
}

/* Where only a name space's own root may mount. */
static bool become_root(void)
{
    char users[64], groups[64];
    snprintf(users, sizeof users, "0 %u 1", (unsigned)getuid());
    snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 &&
           say_to_system("/proc/self/setgroups", "deny") &&
           say_to_system("/proc/self/uid_map", users) &&
           say_to_system("/proc/self/gid_map", groups);
}
#endif

/* Mounts of this process and its children alone; before there is any thread. */
static bool leave_mounts(void)
{
#ifdef __linux__
    return (unshare(CLONE_NEWNS) == 0 || become_root()) &&
           mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
#else
    return false;
#endif
}

/* ---- small disks ---- */

static void a_checkpoint_larger_than_the_disk_converts(void **state)
{
    static const char *const side_by_side[] = {"--progress=json", "-j2", NULL},
                             *const verify[] = {"-t", "verify", NULL},
                             *const list[] = {"-t", "list", NULL};
    (void)state;
    need_disk(27); /* the checkpoint has 33 MiB, the model 9 */
    declare_all(UNTIL_USED, FOUR);
    struct program program = program_run(&arena, side_by_side, NULL);
    if (program.exit_code != 0)
        fail_msg("exit code %d: %s", program.exit_code, error_of(&program));
    assert_is_model("on a small disk");
    assert_int_equal(count_shards(), 0);
    assert_int_equal(downloads(), SHARDS);
    assert_non_null(strstr(program.said.bytes,
        arena_format(
            &arena, "{\"event\":\"given_back\",\"node\":\"" SOURCE "/%s\"", shard_name(1))));
    snapshot_assert_no_strays(&arena, "on a small disk");
    assert_is_done();
    program = program_run(&arena, verify, NULL);
    if (program.exit_code != 0)
        fail_msg("verify: %s", program.said.bytes);
    program = program_run(&arena, list, NULL);
    if (program.exit_code != 0)
        fail_msg("list: %s", program.said.bytes);
}

static void a_disk_too_small_is_told_before_the_first_download(void **state)
{
    static const struct {
        const char *keep, *words;
        unsigned mebibytes;
    } rows[] = {
        {UNTIL_USED, ".safetensors: needs 4.3 MB of disk space, and planned outputs ", 18},
        {"", ".safetensors: needs 35 MB of disk space, and planned outputs ", 27},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        need_disk(rows[i].mebibytes);
        declare_all(rows[i].keep, FOUR);
        struct program program = build(NULL);
        assert_int_equal(program.exit_code, 1);
        if (strstr(program.said.bytes, rows[i].words) == NULL)
            fail_msg("row %zu: %s", i, error_of(&program));
        assert_int_equal(downloads(), 0);
        assert_int_equal(count_shards(), 0);
        struct snapshot made = snapshot_take(&arena, MODEL);
        assert_int_equal(made.count, 0);
    }
}

/* ---- what comes again ---- */

static void one_layers_bits_fetch_that_layers_shard(void **state)
{
    (void)state;
    declare_all(UNTIL_USED, FOUR);
    must_build(NULL);
    assert_is_model("at first");
    hub_server_clear_log(server);
    declare_all(UNTIL_USED,
        MLX(MODEL, "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", \"bits\": 6}]"));
    must_build(NULL);
    assert_int_equal(downloads(), 1);
    assert_int_equal(downloads_of(4), 1); /* the embeddings, layers 0 and 1 are before it */
    assert_int_equal(count_shards(), 0);
    struct snapshot made = snapshot_take(&arena, MODEL);
    assert_false(snapshot_equal(&made, &wanted));
    declare_all("", MLX(MODEL, "\"bits\": 4, \"overrides\": [{\"match\": \"model.layers.2.*\", "
                               "\"bits\": 6}]"));
    tree_remove(".psybuild");
    tree_remove("models");
    must_build(NULL);
    struct snapshot whole = snapshot_take(&arena, MODEL);
    snapshot_assert_equal(&made, &whole, "after the change");
}

static void a_field_that_weights_do_not_read_fetches_no_shard(void **state)
{
    (void)state;
    declare_all(UNTIL_USED, FOUR);
    must_build(NULL);
    hub_server_clear_log(server);
    tree_remove(MODEL "/README.md");
    tree_remove(MODEL "/config.json");
    must_build(NULL);
    assert_is_model("mended");
    assert_int_equal(downloads(), 0);
    assert_is_done();
}

static void what_is_named_itself_comes_back_and_stays(void **state)
{
    (void)state;
    declare_all(UNTIL_USED, FOUR);
    must_build(NULL);
    hub_server_clear_log(server);
    must_build("models"); /* above it */
    must_build(".");
    assert_int_equal(hub_server_log_count(server, " GET "), 0);
    must_build(arena_format(&arena, SOURCE "/%s", shard_name(3)));
    assert_int_equal(count_shards(), 1);
    assert_is_source(shard_name(3));
    assert_int_equal(downloads(), 1);
    must_build(SOURCE);
    assert_int_equal(count_shards(), SHARDS);
    assert_int_equal(downloads(), SHARDS);
    for (unsigned number = 1; number <= SHARDS; number++)
        assert_is_source(shard_name(number));
    assert_is_source("config.json");
    assert_is_model("afterwards");
}

static void what_is_named_beside_its_reader_stays(void **state)
{
    static const char *const both[] = {"-q", SOURCE, MODEL, NULL};
    (void)state;
    declare_all(UNTIL_USED, FOUR);
    assert_string_equal(program_run(&arena, both, NULL).said.bytes, "");
    assert_int_equal(count_shards(), SHARDS);
    assert_is_model("named beside its source");
}

static void from_the_cache_no_shard_is_fetched(void **state)
{
    static const char *const with[] = {"\"bits\": 4", "\"bits\": 8", "\"bits\": 4"};
    (void)state;
    setenv("PSYBUILD_CACHE", "cache", 1);
    for (size_t i = 0; i < 3; i++) {
        hub_server_clear_log(server);
        declare_all(UNTIL_USED,
            arena_format(&arena,
                "\"" MODEL "\": {\"recipe\": \"mlx\", \"from\": \"" SOURCE "\", \"with\": {%s}}",
                with[i]));
        must_build(NULL);
        assert_int_equal(count_shards(), 0);
    }
    unsetenv("PSYBUILD_CACHE");
    assert_int_equal(hub_server_log_count(server, " GET "), 0);
    assert_is_model("back at 4 bits");
}

/* ---- readers ---- */

static void a_reader_that_was_not_built_yet_is_waited_for(void **state)
{
    (void)state;
    declare_all(UNTIL_USED, FOUR ", " MLX("models/eight", "\"bits\": 8"));
    must_build(MODEL);
    assert_int_equal(count_shards(), SHARDS);
    must_build("models/eight");
    assert_int_equal(count_shards(), 0);
    assert_int_equal(downloads(), SHARDS);
    assert_is_model("with another");
    assert_is_done();
}

static void both_readers_in_one_run_download_once(void **state)
{
    (void)state;
    declare_all(UNTIL_USED, FOUR ", " MLX("models/eight", "\"bits\": 8"));
    must_build(NULL);
    assert_int_equal(count_shards(), 0);
    assert_int_equal(downloads(), SHARDS);
    assert_is_model("with another");
}

static void declare_chain(const char *members)
{
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, %s\"artifacts\": {"
            "\"middle\": {\"task\": \"copy\", \"in\": {\"files\": \"in\"}, \"keep\": "
            "\"until-used\"}, "
            "\"out\": {\"task\": \"copy\", \"in\": {\"files\": \"middle\"}}}}",
            members));
}

static void a_nodes_output_goes_when_its_readers_have_it(void **state)
{
    (void)state;
    tree_write("in", "one");
    declare_chain("");
    must_build(NULL);
    assert_false(tree_has("middle"));
    assert_true(tree_has("in")); /* the user's */
    assert_string_equal(tree_read(&arena, "out").bytes, "one");
    assert_is_done();
    tree_write("in", "two");
    must_build(NULL);
    assert_false(tree_has("middle"));
    assert_string_equal(tree_read(&arena, "out").bytes, "two");
    tree_remove("out"); /* and what it needs is gone */
    must_build(NULL);
    assert_string_equal(tree_read(&arena, "out").bytes, "two");
    assert_false(tree_has("middle"));
    must_build("middle");
    assert_string_equal(tree_read(&arena, "middle").bytes, "two");
}

static void what_was_given_back_may_come_from_the_cache(void **state)
{
    static const char *const texts[] = {"one", "two", "one"};
    (void)state;
    declare_chain("\"cache\": {\"path\": \"cache\"}, ");
    for (size_t i = 0; i < 3; i++) {
        tree_write("in", texts[i]);
        must_build("middle"); /* named, so that it is there to be replaced */
        must_build("out");
    }
    tree_remove("out");
    must_build("out");
    assert_string_equal(tree_read(&arena, "out").bytes, "one");
    must_build("middle");
    assert_string_equal(tree_read(&arena, "middle").bytes, "one");
}

static void a_nodes_output_that_nobody_reads_stays(void **state)
{
    (void)state;
    tree_write("in", "one");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {\"out\": {\"task\": \"copy\", \"in\": {\"files\": "
        "\"in\"}, \"keep\": \"until-used\"}}}");
    must_build(NULL);
    assert_true(tree_has("out"));
}

/* ---- nodes whose outputs are given back, built in this process ---- */

#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}"
#define MIDDLE "\"middle\": " COPY("in") UNTIL_USED "}, "

static void make(struct project_run run)
{
    tree_assert_ok(project_run(&run));
    if (run.failures > 0)
        fail_msg("%s", run.said);
    project_run_end(&run);
}

/* Its plan names no byte of it. */
static void what_a_command_reads_stays_until_it_has_ended(void **state)
{
    (void)state;
    tree_write("in", "one");
    tree_write("psybuild.json",
        "{\"psybuild\": 1, \"artifacts\": {" MIDDLE
        "\"a\": " COPY("middle") "}, \"out\": "
                                 "{\"task\": \"exec\", \"in\": {\"x\": \"middle\"}, \"with\": "
                                 "{\"command\": [\"sh\", "
                                 "\"-c\", \"i=0; while [ ! -e a ] && [ $$i -lt 500 ]; do "
                                 "i=$$((i+1)); sleep 0.01; done; "
                                 "sleep 0.05; cat $$0 >$$1\", \"${in.x}\", \"${out}\"]}}}}");
    make((struct project_run){.threads = 2});
    assert_string_equal(tree_read(&arena, "out").bytes, "one");
    assert_false(tree_has("middle"));
}

static void edit_when_it_was_read(struct project_run *run, const struct build_event *event)
{
    (void)run;
    if (event->kind == EVENT_DONE && strcmp(event->node, "out") == 0)
        tree_write("middle", "edited");
}

static void what_somebody_edited_meanwhile_is_not_removed(void **state)
{
    (void)state;
    tree_write("in", "one");
    declare_chain("");
    struct project_run run = {.on_event = edit_when_it_was_read};
    tree_assert_report(project_run(&run),
        "middle changed while the build was at work, after it was used: run psybuild again\n");
    project_run_end(&run);
    assert_string_equal(tree_read(&arena, "middle").bytes, "edited");
    assert_string_equal(tree_read(&arena, "out").bytes, "one");
}

/* Only what is fetched can be heard of: to plan a reader, weights that a node made are made again.
 */
static void weights_that_a_node_made_are_made_again_for_a_new_reader(void **state)
{
    static const char *const names[] = {"a", "b"};
    const char *artifacts = "";
    (void)state;
    struct text shard = tree_read(&arena, arena_format(&arena, "../hub/%s", shard_name(SHARDS)));
    tree_write_bytes("in.safetensors", shard.bytes, shard.length);
    for (size_t i = 0; i < 2; i++) {
        artifacts = arena_format(&arena,
            "%s, \"%s.safetensors\": {\"task\": \"merge\", \"in\": {\"weights\": "
            "\"middle.safetensors\"}}",
            artifacts, names[i]);
        tree_write("psybuild.json",
            arena_format(&arena,
                "{\"psybuild\": 1, \"artifacts\": {\"middle.safetensors\": {\"task\": \"merge\", "
                "\"in\": {\"weights\": \"in.safetensors\"}" UNTIL_USED "}%s}}",
                artifacts));
        make((struct project_run){0});
        assert_false(tree_has("middle.safetensors"));
    }
    assert_true(text_equal(tree_read(&arena, "a.safetensors"), tree_read(&arena, "b.safetensors")));
}

/* ---- kills ---- */

static void sleep_us(uint64_t time_us)
{
    struct timespec time = {(time_t)(time_us / 1000000), (long)(time_us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

static bool was_given_back(const struct program *program, unsigned number)
{
    const char *line = arena_format(
        &arena, "{\"event\":\"given_back\",\"node\":\"" SOURCE "/%s\"", shard_name(number));
    return strstr(program->said.bytes, line) != NULL;
}

/* A shard that was given back before the kill is never asked for again; others once more at most.
 */
static void killed_at_random_nothing_is_lost(void **state)
{
    const char *given = getenv("PSYBUILD_TEST_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    unsigned given_back = 0;
    (void)state;
    print_message("PSYBUILD_TEST_SEED=%u\n", seed);
    declare_all(UNTIL_USED, FOUR);
    for (unsigned i = 0; i < 10; i++) {
        struct arena work = {0};
        char when[64];
        seed = seed * 1103515245 + 12345;
        uint64_t wait_us = (seed >> 8) % whole_us;
        snprintf(when, sizeof when, "kill %u, after %llu us", i, (unsigned long long)wait_us);
        hub_server_clear_log(server);
        struct program program = start(&work, NULL);
        if (i % 2 == 0)
            program_wait_for(&program, "\"given_back\",\"node\":\"" SOURCE "/model-");
        sleep_us(i % 2 == 0 ? wait_us / 4 : wait_us);
        kill(program.id, SIGKILL);
        program_end(&program);
        struct program next = build(NULL);
        if (next.exit_code != 0)
            fail_msg("%s: exit code %d: %s", when, next.exit_code, error_of(&next));
        assert_is_model(when);
        snapshot_assert_no_strays(&work, when);
        assert_int_equal(count_shards(), 0);
        for (unsigned number = 1; number <= SHARDS; number++) {
            bool is_back = was_given_back(&program, number);
            given_back += is_back;
            if (downloads_of(number) > (is_back ? 1 : 2))
                fail_msg(
                    "%s: shard %u was downloaded %u times", when, number, downloads_of(number));
        }
        tree_remove("models");
        tree_remove(".psybuild");
        arena_end(&work);
    }
    print_message("%u shards were given back before a kill\n", given_back);
    assert_true(given_back > 0);
}

/* ---- hints, and failing ---- */

static uint64_t find_in_header(unsigned number, const char *words)
{
    struct text text = tree_read(&arena, arena_format(&arena, "../hub/%s", shard_name(number)));
    const char *found = strstr(text.bytes + 8, words); /* the bytes behind the header hold NULs */
    assert_non_null(found);
    return (uint64_t)(found - text.bytes);
}

/* What a shard's header is heard to say first: other words than are there; NULL: the first byte of
 * them is another. */
static void lie_about(unsigned shard, const char *truth, const char *instead)
{
    add_fault(0, shard,
        &(struct hub_fault){.kind = HUB_FAULT_FLIP,
            .count = 1,
            .at = find_in_header(shard, truth),
            .text = instead});
}

/* How often the weights were planned. */
static unsigned count_planned(const struct program *program)
{
    static const char words[] = "{\"event\":\"started\",\"node\":\"" MODEL "/model*.safetensors\"";
    unsigned count = 0;
    for (const char *at = program->said.bytes; (at = strstr(at, words)) != NULL; at += sizeof words)
        count++;
    return count;
}

static void a_header_that_lies_is_planned_again(void **state)
{
    static const struct {
        const char *words, *instead; /* the first time; NULL: the first byte is another */
    } rows[] = {
        {"\"BF16\"", " \"F16\""},  /* it can be planned, and is not true */
        {"input_layernorm", NULL}, /* a tensor that no rule knows */
        {"F16", NULL},             /* no type */
        {"512,512", NULL},         /* not the size */
        {"{", NULL},               /* no JSON */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        hub_server_clear_faults(server);
        lie_about(3, rows[i].words, rows[i].instead);
        declare_all(UNTIL_USED, FOUR);
        hub_server_clear_log(server);
        struct program program = must_build(NULL);
        assert_is_model(rows[i].words);
        assert_int_equal(count_planned(&program), rows[i].instead == NULL ? 1 : 2);
        /* planned again, what was given back meanwhile is read once more */
        assert_in_range(downloads(), SHARDS, rows[i].instead == NULL ? SHARDS : 2 * SHARDS);
        assert_int_equal(count_shards(), 0);
        tree_remove("models");
        tree_remove(".psybuild");
    }
}

static void a_refused_header_is_waited_for(void **state)
{
    (void)state;
    add_fault(0, 3, &(struct hub_fault){.kind = HUB_FAULT_STATUS, .count = 1, .status = 404});
    declare_all(UNTIL_USED, FOUR);
    must_build(NULL);
    assert_is_model("without the header");
    assert_int_equal(count_shards(), 0);
}

static void a_failing_shard_leaves_what_was_made_of_the_others(void **state)
{
    static const char *const arguments[] = {"--progress=json", "-k0", NULL};
    (void)state;
    add_fault(1, 3, &(struct hub_fault){.kind = HUB_FAULT_STATUS, .status = 404});
    declare_all(UNTIL_USED, FOUR);
    struct program program = program_run(&arena, arguments, NULL);
    assert_int_equal(program.exit_code, 1);
    assert_non_null(strstr(program.said.bytes, shard_name(3)));
    for (unsigned number = 1; number <= SHARDS; number++)
        if (number != 3)
            assert_int_equal(downloads_of(number), 1);
    struct snapshot made = snapshot_take(&arena, MODEL);
    assert_null(snapshot_find(&made, "config.json"));
    hub_server_clear_faults(server);
    hub_server_clear_log(server);
    program = must_build(NULL);
    assert_is_model("with the shard");
    assert_int_equal(downloads_of(3), 1);
    assert_int_equal(downloads(), 1);
    assert_int_equal(count_shards(), 0);
}

/* The index is made when the weights are planned, which is before the shard is there. */
static void another_header_than_was_heard_makes_the_index_again(void **state)
{
    static const char heard[] = "layers.1.mlp.up_proj", instead[] = "layers.7.mlp.up_proj",
                      other[] = "layers.3.mlp.up_proj";
    static const struct {
        const char *group;
        bool is_twice;  /* with shard 3 and what was heard of 5, nothing can be planned */
        bool is_in_way; /* a directory, where a node that is sealed with others puts its file */
    } rows[] = {
        {", \"group\": \"m\"", false, false},
        {"", false, false},
        {", \"group\": \"m\"", true, false},
        {"", true, false},
        {"", false, true},
        {"", true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        hub_server_clear_faults(server);
        lie_about(3, heard, instead);
        if (rows[i].is_twice)
            lie_about(5, other, heard);
        declare_all("",
            arena_format(&arena,
                "\"m/model*.safetensors\": {\"task\": \"merge\", \"in\": {\"weights\": \"" SOURCE
                "/model-*.safetensors\"}%s}, \"m/model.safetensors.index.json\": {\"task\": "
                "\"index\", \"in\": {\"weights\": \"m/model*.safetensors\"}%s}, "
                "\"shards/*\": " COPY(SOURCE "/model-*.safetensors") "}",
                rows[i].group, rows[i].group));
        for (unsigned shard = 1; rows[i].is_in_way && shard <= SHARDS; shard++)
            tree_write(arena_format(&arena, "shards/%s/in", shard_name(shard)), "in the way");
        if (rows[i].is_in_way) {
            static const char *const arguments[] = {"--progress=json", "-k0", NULL};
            struct program program = program_run(&arena, arguments, NULL);
            assert_int_equal(program.exit_code, 1);
            assert_non_null(strstr(program.said.bytes, ": expected a file or nothing, found a"));
            tree_remove("shards");
        } else {
            must_build(NULL);
        }
        const char *index = tree_read(&arena, "m/model.safetensors.index.json").bytes;
        if (strstr(index, heard) == NULL || strstr(index, instead) != NULL ||
            strstr(index, other) == NULL)
            fail_msg("row %zu: %s", i, index);
        if (rows[i].is_in_way)
            must_build(NULL);
        assert_is_done();
        tree_remove("m");
        tree_remove("shards");
        tree_remove("models");
        tree_remove(".psybuild");
    }
}

/* Small files that are sealed at one time fail together, and a shard of which the header is here
 * is not waited for without end. */
static void a_seal_that_fails_leaves_no_other_node_undone(void **state)
{
    static const char *const arguments[] = {"--progress=json", "-k0", NULL};
    enum { FILES = 32 };
    const char *files = "", *here;
    char buffer[4096], *identity;
    (void)state;
    here = getcwd(buffer, sizeof buffer);
    assert_non_null(here);
    for (int i = 0; i < FILES; i++) {
        const char *from = arena_format(&arena, "far/%d", i);
        tree_write(from, from);
        tree_assert_ok(registry.identify(&arena, from, "sha256:", &identity));
        files = arena_format(&arena, "%s%s\"%d\": {\"url\": \"file://%s/%s\", \"hash\": \"%s\"}",
            files, i == 0 ? "" : ", ", i, here, from, identity);
        tree_write(arena_format(&arena, "near/%d/in", i), "in the way");
    }
    tree_write("psybuild.json",
        arena_format(&arena,
            "{\"psybuild\": 1, \"sources\": {\"near\": {\"files\": {%s}}, \"" SOURCE
            "\": {\"hub\": \"test/model\"" UNTIL_USED "}}, \"artifacts\": {" FOUR
            ", \"copies/*\": " COPY("near/*") "}}}",
            files));
    struct program program = program_run(&arena, arguments, NULL);
    assert_int_equal(program.exit_code, 1);
    assert_non_null(strstr(program.said.bytes, ": expected a file or nothing, found a directory"));
    assert_is_model("beside what fails");
    tree_remove("near");
    must_build(NULL);
    assert_string_equal(tree_read(&arena, "copies/0").bytes, "far/0");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, begin, end)
        ROW(a_checkpoint_larger_than_the_disk_converts),
        ROW(a_disk_too_small_is_told_before_the_first_download),
        ROW(one_layers_bits_fetch_that_layers_shard),
        ROW(a_field_that_weights_do_not_read_fetches_no_shard),
        ROW(what_is_named_itself_comes_back_and_stays),
        ROW(what_is_named_beside_its_reader_stays),
        ROW(from_the_cache_no_shard_is_fetched),
        ROW(a_reader_that_was_not_built_yet_is_waited_for),
        ROW(both_readers_in_one_run_download_once),
        ROW(a_nodes_output_goes_when_its_readers_have_it),
        ROW(what_was_given_back_may_come_from_the_cache),
        ROW(a_nodes_output_that_nobody_reads_stays),
        ROW(what_a_command_reads_stays_until_it_has_ended),
        ROW(what_somebody_edited_meanwhile_is_not_removed),
        ROW(weights_that_a_node_made_are_made_again_for_a_new_reader),
        ROW(killed_at_random_nothing_is_lost),
        ROW(a_header_that_lies_is_planned_again),
        ROW(another_header_than_was_heard_makes_the_index_again),
        ROW(a_refused_header_is_waited_for),
        ROW(a_failing_shard_leaves_what_was_made_of_the_others),
        ROW(a_seal_that_fails_leaves_no_other_node_undone),
#undef ROW
    };
    can_mount = leave_mounts();
    program_find();
    return cmocka_run_group_tests_name("build, keep", tests, begin_all, end_all);
}
