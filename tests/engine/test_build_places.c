/* test_build_places.c - where outputs lie, and who else is at work: a target directory on another
 * device, one that cannot be finished, builds that meet, and a start without open descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/support/hub_server.h"
#include "tests/support/turns.h"

/* Words that must be in messages, whatever else they say. */
#define WORD_WAITING "waiting"
#define WORD_PROCESS "process "
#define WORD_ASIDE "aside"

#define CACHE "\"cache\": {\"path\": \"cache\"}, "
#define COPY(from) "{\"task\": \"copy\", \"in\": {\"files\": \"" from "\"}}"
#define FOUR "\"bits\": 4"
#define EIGHT "\"bits\": 8"

static void forget(const char *path)
{
    if (tree_has(path))
        tree_remove(path);
}

/* ---- 12: another device ---- */

static char elsewhere[64]; /* the running test's directory there; empty: none */

static int end(void **state)
{
    if (elsewhere[0] != '\0')
        forget(elsewhere);
    elsewhere[0] = '\0';
    return turns_end(state);
}

/* The model's directory becomes a link to one on another device. */
static void link_elsewhere(void)
{
    static const char *const places[] = {"/dev/shm", "/var/tmp", "/tmp", "/run"};
    struct stat here, there;
    assert_int_equal(stat(".", &here), 0);
    for (size_t i = 0; i < TURNS_COUNT(places); i++) {
        if (stat(places[i], &there) != 0 || there.st_dev == here.st_dev)
            continue;
        snprintf(elsewhere, sizeof elsewhere, "%s/psybuild-test.XXXXXX", places[i]);
        if (mkdtemp(elsewhere) != NULL) {
            assert_int_equal(symlink(elsewhere, TURNS_MODEL), 0);
            return;
        }
        elsewhere[0] = '\0';
    }
    print_message("skipped: there is only one device to write to\n");
    skip();
}

/* Of the manifest as it is, made in a directory like any other. */
static struct snapshot make_here(const char *with)
{
    turns_declare_model("", with);
    turns_build("here");
    struct snapshot made = snapshot_take(turns_arena(), TURNS_MODEL);
    tree_remove(TURNS_MODEL);
    tree_remove(".psybuild");
    return made;
}

/* What is in the directory but psybuild's own. */
static void assert_is_made(const struct snapshot *wanted, const char *when)
{
    struct snapshot found = snapshot_take(turns_arena(), TURNS_MODEL);
    size_t count = 0;
    for (size_t i = 0; i < found.count; i++)
        if (!text_starts_with(text_of(found.files[i].path), ".psybuild/"))
            found.files[count++] = found.files[i];
        else if (!text_starts_with(text_of(found.files[i].path), ".psybuild/aside/"))
            fail_msg("%s: %s is left over", when, found.files[i].path);
    found.count = count;
    snapshot_assert_equal(&found, wanted, when);
}

static void change_source(void)
{
    static const char shard[] = TURNS_SOURCE "/model-00002-of-00004.safetensors";
    turns_flip(shard, tree_read(turns_arena(), shard).length - 1);
}

static void build_elsewhere(const char *members)
{
    static const char *const with[] = {FOUR, EIGHT, FOUR};
    struct snapshot wanted[TURNS_COUNT(with)];
    for (size_t i = 0; i < TURNS_COUNT(with); i++) {
        wanted[i] = make_here(with[i]);
        change_source(); /* the third is of the same as the first */
    }
    change_source();
    link_elsewhere();
    for (size_t i = 0; i < TURNS_COUNT(with); i++) {
        const char *when = turns_format("turn %zu", i);
        turns_declare_model(members, with[i]);
        turns_build(when);
        assert_is_made(&wanted[i], when);
        turns_assert_done(when);
        change_source();
    }
    struct program program = TURNS_RUN("-t", "clean");
    turns_assert_ended(&program, 0, "");
    assert_false(tree_has(TURNS_MODEL "/config.json"));
}

static void a_model_may_lie_on_another_device(void **state)
{
    (void)state;
    build_elsewhere("");
}

static void what_another_device_held_goes_into_the_cache(void **state)
{
    (void)state;
    build_elsewhere(CACHE);
}

static void an_edit_on_another_device_is_set_aside(void **state)
{
    static const char path[] = TURNS_MODEL "/chat_template.jinja";
    (void)state;
    struct snapshot wanted = make_here(FOUR);
    link_elsewhere();
    turns_build("at first");
    struct text edited =
        text_of(turns_format("%s{# mine #}\n", tree_read(turns_arena(), path).bytes));
    tree_write(path, edited.bytes);
    if (strstr(turns_build("edited"), WORD_ASIDE) == NULL)
        fail_msg("the edit is not told of");
    assert_true(turns_is_somewhere(".psybuild", edited) || turns_is_somewhere(elsewhere, edited));
    assert_is_made(&wanted, "edited");
    turns_assert_done("edited");
}

static void killed_on_another_device_the_next_run_finishes(void **state)
{
    static const char *const kinds[] = {"rename", "sync", "remove"};
    struct snapshot wanted[2];
    (void)state;
    turns_need_faults();
    wanted[0] = make_here(FOUR);
    wanted[1] = make_here(EIGHT);
    link_elsewhere();
    turns_build("at first");
    for (size_t i = 0, now = 1; i < TURNS_COUNT(kinds); i++)
        for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
            const char *fault = turns_format("exit:%s:%u", kinds[i], n);
            now = !now;
            turns_declare_model("", now == 0 ? FOUR : EIGHT);
            bool is_met = turns_run_with_fault(fault).exit_code == TURNS_EXIT_FAULT;
            turns_build(fault);
            assert_is_made(&wanted[now], fault);
            turns_assert_done(fault);
            if (!is_met)
                break;
        }
}

/* What was staged for one device is of no use on the other, and does no harm. */
static void moved_to_another_device_after_a_death_it_is_made_again(void **state)
{
    struct snapshot wanted[2];
    (void)state;
    turns_need_faults();
    wanted[0] = make_here(FOUR);
    wanted[1] = make_here(EIGHT);
    for (unsigned n = 2; n < TURNS_POINTS_MAX; n++) {
        const char *fault = turns_format("exit:rename:%u", n);
        turns_declare_model("", FOUR);
        turns_build(fault);
        turns_declare_model("", EIGHT);
        bool is_met = turns_run_with_fault(fault).exit_code == TURNS_EXIT_FAULT;
        if (tree_has("saved"))
            tree_remove("saved");
        assert_int_equal(rename(TURNS_MODEL, "saved"), 0);
        link_elsewhere();
        assert_int_equal(system(turns_format("cp -a saved/. %s/", TURNS_MODEL)), 0);
        turns_build(fault);
        assert_is_made(&wanted[1], fault);
        turns_assert_done(fault);
        assert_int_equal(unlink(TURNS_MODEL), 0);
        tree_remove(elsewhere);
        tree_remove(".psybuild");
        if (!is_met)
            break;
    }
}

/* ---- 12: a recovery that fails ---- */

/* A model and, in a node of its own, "other". */
static void declare_both(const char *with)
{
    turns_declare("\"sources\": {\"" TURNS_SOURCE "\": {\"dir\": \"" TURNS_SOURCE "\"}}, ",
        turns_format("\"" TURNS_MODEL "\": {\"recipe\": \"mlx\", \"from\": \"" TURNS_SOURCE
                     "\", \"with\": {%s}}, \"other\": " COPY("in"),
            with));
}

static void a_group_that_cannot_be_finished_blocks_no_other(void **state)
{
    unsigned met = 0;
    (void)state;
    turns_need_faults();
    for (unsigned n = 1; n < TURNS_POINTS_MAX; n++) {
        const char *fault = turns_format("exit:rename:%u", n);
        tree_write("in", "before");
        declare_both(FOUR);
        turns_build("before");
        declare_both(EIGHT);
        if (turns_run_with_fault(fault).exit_code != TURNS_EXIT_FAULT)
            break;
        met++;
        tree_remove(TURNS_MODEL);
        tree_write(TURNS_MODEL, "in the way");
        tree_write("in", fault);
        struct program program = TURNS_RUN("other");
        if (program.exit_code != 0)
            fail_msg("%s: other: exit code %d: %s", fault, program.exit_code, program.said.bytes);
        assert_true(turns_holds("other", fault));
        program = TURNS_RUN("-t", "clean", "other");
        if (program.exit_code != 0)
            fail_msg("%s: clean: exit code %d: %s", fault, program.exit_code, program.said.bytes);
        assert_false(tree_has("other"));
        program = TURNS_RUN(NULL);
        turns_assert_ended(&program, 1, TURNS_MODEL);
        assert_true(turns_holds(TURNS_MODEL, "in the way"));
        tree_remove(TURNS_MODEL);
        turns_build(fault);
        turns_assert_done(fault);
        turns_assert_as_from_nothing(TURNS_MODEL, fault);
    }
    assert_true(met > 0);
}

/* ---- 13: two at once ---- */

/* "another psybuild is at work here (process 123)" */
static bool names_a_process(const char *said)
{
    const char *at = strstr(said, WORD_PROCESS);
    return at != NULL && at[sizeof WORD_PROCESS - 1] >= '1' && at[sizeof WORD_PROCESS - 1] <= '9';
}

/* Those that begin together meet before the first has said who it is. */
static void every_refusal_names_the_process(void **state)
{
    enum { ROUNDS = 40, TOGETHER = 12 };
    static const char *const arguments[] = {"-q", "--no-wait", NULL};
    unsigned refused = 0, named = 0;
    const char *said = "";
    (void)state;
    tree_write("in", "in");
    turns_declare("", "\"out\": " COPY("in"));
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct program programs[TOGETHER];
        for (unsigned i = 0; i < TOGETHER; i++)
            programs[i] = program_start(turns_arena(), arguments, NULL);
        for (unsigned i = 0; i < TOGETHER; i++) {
            program_end(&programs[i]);
            refused += programs[i].exit_code != 0;
            bool has_name = names_a_process(programs[i].said.bytes);
            named += programs[i].exit_code != 0 && has_name;
            if (programs[i].exit_code != 0 && !has_name)
                said = programs[i].said.bytes;
        }
        forget(".psybuild");
        forget("out");
    }
    if (named != refused)
        fail_msg("%u of %u refusals name no process: %s", refused - named, refused, said);
}

/* "out" is made by a command that waits for a file "go" and says so in "log". */
static void declare_slow(const char *members)
{
    turns_declare(members,
        "\"out\": {\"task\": \"exec\", \"in\": {\"files\": \"in\"}, \"with\": {\"command\": "
        "[\"sh\", \"-c\", \"echo made >>log; until test -e go; do sleep 0.01; done; cp in $$0\", "
        "\"${out}\"]}}");
}

static void refreshing_the_lock_waits_for_a_build(void **state)
{
    static const char *const build[] = {"-q", NULL}, *const lock[] = {
                                                         "--progress=plain", "-t", "lock", NULL};
    char here[4096];
    (void)state;
    assert_non_null(getcwd(here, sizeof here));
    const char *root = turns_format("%s/" TURNS_SOURCE, here);
    struct hub_server *server = hub_server_start(&(struct hub_server_options){.root = root});
    setenv("HF_ENDPOINT", hub_server_url(server), 1);
    setenv("HF_HOME", "/nonexistent", 1);
    tree_write("in", "in");
    declare_slow("\"sources\": {\"near\": {\"hub\": \"test/model\"}}, ");
    struct program first = program_start(turns_arena(), build, NULL);
    while (!tree_has("log"))
        assert_true(program_is_running(&first));
    struct program refused = TURNS_RUN("--no-wait", "-t", "lock");
    struct program second = program_start(turns_arena(), lock, NULL);
    bool has_waited = program_wait_for(&second, WORD_WAITING);
    tree_write("go", "");
    program_end(&first);
    program_end(&second);
    hub_server_stop(server);
    unsetenv("HF_ENDPOINT");
    unsetenv("HF_HOME");
    turns_assert_ended(&first, 0, "");
    turns_assert_ended(&second, 0, "");
    turns_assert_ended(&refused, 1, turns_format(WORD_PROCESS "%ld", (long)first.id));
    assert_true(has_waited);
}

/* ---- 13: descriptors ---- */

/* In the child: those of the three whose bits are set are closed, the others lead nowhere. */
static void close_some(unsigned closed)
{
    int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        if ((closed >> i & 1) != 0)
            close(i);
        else
            dup2(nowhere, i);
}

static int run_with_closed(unsigned closed)
{
    char *const arguments[] = {
        turns_format("%s", program_path()), turns_format("--progress=plain"), NULL};
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close_some(closed);
        execv(arguments[0], arguments);
        _exit(127);
    }
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Or nobody's any more. */
static bool is_number(struct text text)
{
    bool is_good = true;
    for (size_t i = 0; i < text.length; i++)
        is_good &= text.bytes[i] >= '0' && text.bytes[i] <= '9';
    return is_good;
}

static void without_standard_descriptors_nothing_is_written_over(void **state)
{
    (void)state;
    for (unsigned closed = 1; closed < 8; closed++) {
        const char *when = turns_format("closed: %u", closed);
        tree_write("in", when);
        tree_write("out", "mine");
        turns_declare("",
            "\"out\": " COPY("in") ", \"made\": "
                                   "{\"task\": \"exec\", \"in\": {\"files\": \"in\"}, \"with\": "
                                   "{\"command\": [\"sh\", \"-c\", \"echo talks; cp in $$0\", "
                                   "\"${out}\"]}}");
        int exit_code = run_with_closed(closed);
        if (!is_number(tree_read(turns_arena(), ".psybuild/lock")))
            fail_msg(
                "%s: the lock reads %s", when, tree_read(turns_arena(), ".psybuild/lock").bytes);
        if (!turns_is_same("in", "out") || !turns_is_same("in", "made"))
            fail_msg("%s: not what was to be made", when);
        if (!turns_holds(TURNS_ASIDE "out", "mine"))
            fail_msg("%s: the user's file is lost", when);
        if (exit_code != 0)
            fail_msg("%s: exit code %d", when, exit_code);
        turns_assert_done(when);
        tree_remove(".psybuild");
        tree_remove("made");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
#define ROW(name) cmocka_unit_test_setup_teardown(name, turns_begin, end)
        ROW(a_model_may_lie_on_another_device),
        ROW(what_another_device_held_goes_into_the_cache),
        ROW(an_edit_on_another_device_is_set_aside),
        ROW(killed_on_another_device_the_next_run_finishes),
        ROW(moved_to_another_device_after_a_death_it_is_made_again),
        ROW(a_group_that_cannot_be_finished_blocks_no_other),
        ROW(every_refusal_names_the_process),
        ROW(refreshing_the_lock_waits_for_a_build),
        ROW(without_standard_descriptors_nothing_is_written_over),
#undef ROW
    };
    program_find();
    return cmocka_run_group_tests_name("build, places", tests, NULL, NULL);
}
