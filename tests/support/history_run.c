/* history_run.c - psybuild started, stopped, signalled and waited for. */
#include "tests/support/history_run.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/history_judge.h"
#include "tests/support/history_step.h"
#include "tests/support/program.h"

enum { ARGUMENTS_MAX = 24, RUN_SECONDS_MAX = 300 };

struct command {
    const char *arguments[ARGUMENTS_MAX];
    const char *targets[ARGUMENTS_MAX];
    const char *moment; /* "kind:..."; NULL: undisturbed */
    const char *deeds;
    bool is_offline;
};

/* ---- reading ---- */

static void add_word(struct command *command, size_t *count, size_t *targets, const char *word)
{
    if (*count + 1 >= ARGUMENTS_MAX)
        disk_give_up("too many words");
    command->arguments[(*count)++] = word;
    command->is_offline |= strcmp(word, "--offline") == 0;
    if (word[0] != '-')
        command->targets[(*targets)++] = word;
}

static struct command parse(struct world *world, const char *line)
{
    struct command command = {.moment = NULL};
    size_t count = 0, targets = 0;
    char *copy = arena_format(world->arena, "%s", line);
    char *at = strchr(copy, '@');
    if (at != NULL) {
        *at = '\0';
        command.moment = strtok_r(at + 1, " ", &at);
        command.deeds = at == NULL ? "" : at;
    }
    char *rest = strchr(copy, ' ');
    add_word(&command, &count, &targets, "--progress=plain");
    for (char *word; rest != NULL && (word = strtok_r(rest, " ", &rest)) != NULL;)
        add_word(&command, &count, &targets, word);
    return command;
}

static const char *join(struct world *world, const struct command *command)
{
    char *text = arena_format(world->arena, "psybuild");
    for (size_t i = 0; command->arguments[i] != NULL; i++)
        text = arena_format(world->arena, "%s %s", text, command->arguments[i]);
    return text;
}

/* ---- disturbing ---- */

static void sleep_us(uint64_t time_us)
{
    struct timespec time = {(time_t)(time_us / 1000000), (long)(time_us % 1000000) * 1000};
    nanosleep(&time, NULL);
}

/* Until it stands still; false: it has ended. */
static bool wait_until_stopped(const struct program *program)
{
    siginfo_t info = {.si_pid = 0};
    while (waitid(P_PID, (id_t)program->id, &info, WSTOPPED | WEXITED | WNOWAIT) != 0)
        if (errno != EINTR)
            disk_give_up("cannot wait for psybuild");
    return info.si_code == CLD_STOPPED;
}

/* What a user's step removed while psybuild stood still, it need not keep. */
static void do_steps(struct trial *trial, const char *line)
{
    struct world *world = trial->referee->world;
    bool was_there[MARKS_MAX];
    size_t count = world->mark_count, kept = 0;
    for (size_t i = 0; i < count; i++)
        was_there[i] = world_has_mark(world, &world->marks[i], true);
    char *path = arena_format(world->arena, "%s", line);
    if (strncmp(line, "edit ", 5) == 0) {
        const char *edited = strtok_r(path + 5, " ", &path);
        path_set_add(world->arena, &trial->edited, edited);
        path_set_add(world->arena, &trial->edited, arena_format(world->arena, "%s/mine", edited));
    }
    if (!step_apply(world, line))
        disk_give_up("%s: no such deed", line);
    for (size_t i = 0; i < world->mark_count; i++)
        if (i >= count || !was_there[i] || world_has_mark(world, &world->marks[i], true))
            world->marks[kept++] = world->marks[i];
    world->mark_count = kept;
}

static void run_second(struct trial *trial)
{
    static const char *const arguments[] = {"--no-wait", "--progress=plain", NULL};
    struct referee *referee = trial->referee;
    disk_say("psybuild --no-wait");
    struct program program = program_run(referee->world->arena, arguments, NULL);
    if (referee->is_loud)
        printf("  second: exit status %d: %s\n", program.exit_code, program.said.bytes);
    struct trial second = *trial;
    static const char *const none[] = {NULL};
    second.line = "the second psybuild";
    second.targets = none;
    second.now = reference_make(referee->world, referee->shared);
    second.exit_code = program.exit_code;
    second.said = program.said.bytes;
    second.may_fail = true;
    judge_end(&second);
    if (second.exit_code == 0)
        judge(&second);
}

static void do_deeds(struct trial *trial, const struct program *program, const char *deeds)
{
    char *rest = arena_format(trial->referee->world->arena, "%s", deeds);
    for (char *deed; (deed = strtok_r(rest, ";", &rest)) != NULL;) {
        deed += strspn(deed, " ");
        deed[strcspn(deed, "\n")] = '\0';
        for (size_t length = strlen(deed); length > 0 && deed[length - 1] == ' ';)
            deed[--length] = '\0';
        if (*deed == '\0')
            continue;
        trial->is_stopped = true;
        if (strcmp(deed, "second") == 0)
            run_second(trial);
        else if (strcmp(deed, "kill") == 0)
            kill(program->id, SIGKILL);
        else if (strcmp(deed, "int") == 0)
            kill(program->id, SIGINT);
        else
            do_steps(trial, deed);
    }
    trial->edits = made_look(trial->referee->world->arena);
}

/* Stands still already, or is made to. */
static void disturb_stopped(struct trial *trial, const struct program *program, const char *deeds)
{
    if (!wait_until_stopped(program))
        return;
    disk_say("# it stands still: kill -STOP $!");
    do_deeds(trial, program, deeds);
    disk_say("kill -CONT $!; wait $!");
    kill(program->id, SIGCONT);
}

static void disturb(
    struct trial *trial, const struct program *program, const char *moment, const char *deeds)
{
    const char *value = strchr(moment, ':');
    uint64_t time_us = value == NULL ? 0 : strtoul(value + 1, NULL, 10);
    if (strncmp(moment, "pause:", 6) == 0) {
        disturb_stopped(trial, program, deeds);
        return;
    }
    if (strncmp(moment, "exit:", 5) == 0 || strncmp(moment, "fail:", 5) == 0)
        return;
    sleep_us(time_us);
    if (!program_is_running(program))
        return;
    if (strncmp(moment, "after:", 6) == 0) {
        kill(program->id, SIGSTOP);
        disturb_stopped(trial, program, deeds);
        return;
    }
    trial->is_stopped = true;
    kill(program->id, strncmp(moment, "int:", 4) == 0 ? SIGINT : SIGKILL);
}

/* What psybuild is told about its moment; the points are in variant fault alone. */
static const char *fault_of(const char *moment)
{
#ifdef PSYBUILD_FAULT
    if (moment != NULL && strncmp(moment, "fail:", 5) == 0)
        return moment + 5;
    if (moment != NULL && (strncmp(moment, "pause:", 6) == 0 || strncmp(moment, "exit:", 5) == 0))
        return moment;
#else
    (void)moment;
#endif
    return "";
}

/* A point that this variant does not have is no moment. */
static bool is_moment(const char *moment)
{
    bool is_timed =
        moment != NULL && (strncmp(moment, "after:", 6) == 0 || strncmp(moment, "int:", 4) == 0 ||
                              strncmp(moment, "kill:", 5) == 0);
    return is_timed || *fault_of(moment) != '\0';
}

/* ---- what may fail ---- */

static bool has_obstacle(const struct trial *trial)
{
    for (size_t i = 0; i < trial->now->count; i++)
        if (disk_is_directory(trial->now->files[i].path))
            return true;
    return false;
}

static bool wants_what_is_there(const struct trial *trial)
{
    struct unit units[UNITS_MAX];
    size_t count = declaration_units(&trial->referee->world->now, units);
    for (size_t n = 0; trial->targets[n] != NULL; n++) {
        const char *one[] = {trial->targets[n], NULL};
        struct trial single = *trial;
        bool is_there = false;
        single.targets = one;
        for (size_t i = 0; i < count; i++)
            is_there |= judge_wants_unit(&single, &units[i]);
        if (!is_there)
            return false;
    }
    return true;
}

static bool may_fail(const struct trial *trial, const struct command *command)
{
    struct world *world = trial->referee->world;
    bool reads_far = declaration_reads_far(&world->now);
    bool reads_hub = declaration_reads_hub(&world->now);
    bool is_hub_other = world_locked_version(world) != world->hub_version;
    return trial->now->exit_code != 0 || trial->before->exit_code != 0 || trial->is_stopped ||
           has_obstacle(trial) || !wants_what_is_there(trial) ||
           (reads_far && world->is_far_broken) ||
           (reads_hub && (world->is_hub_broken || is_hub_other || command->is_offline)) ||
           (*fault_of(command->moment) != '\0' && strncmp(command->moment, "pause:", 6) != 0);
}

/* ---- runs ---- */

static struct trial begin(struct referee *referee, const char *line, const struct command *command)
{
    struct world *world = referee->world;
    world_check_marks(world);
    return (struct trial){.referee = referee,
        .line = arena_format(world->arena, "%s", line),
        .targets = command->targets,
        .old = made_look(world->arena),
        .before = reference_make(world, referee->shared)};
}

static void add_possible(struct referee *referee, const struct made *made)
{
    if (referee->possible_count == POSSIBLE_MAX)
        memmove(referee->possible, referee->possible + 1,
            --referee->possible_count * sizeof referee->possible[0]);
    referee->possible[referee->possible_count++] = made;
}

static void note_possible(struct referee *referee, const struct trial *trial)
{
    if (trial->exit_code == 0 && trial->targets[0] == NULL)
        referee->possible_count = 0;
    struct made *old = arena_alloc(referee->world->arena, sizeof *old);
    if (old == NULL)
        disk_give_up("out of memory");
    *old = trial->old;
    if (trial->exit_code != 0)
        add_possible(referee, old);
    add_possible(referee, trial->now);
    if (trial->before != trial->now)
        add_possible(referee, trial->before);
}

static void end(struct trial *trial, const struct program *program, const struct command *command)
{
    struct referee *referee = trial->referee;
    trial->exit_code = program->exit_code;
    trial->said = program->said.bytes;
    trial->now =
        trial->is_stopped ? reference_make(referee->world, referee->shared) : trial->before;
    if (declaration_reads_hub(&referee->world->now) && !trial->is_stopped)
        trial->before = trial->now = reference_make(referee->world, referee->shared);
    trial->may_fail = may_fail(trial, command);
    disk_say("# exit status %d", trial->exit_code);
    if (referee->is_loud)
        printf("  exit status %d: %s\n", trial->exit_code, trial->said);
    judge(trial);
    if (!trial->is_other)
        note_possible(referee, trial);
}

static struct program start(
    struct world *world, const struct command *command, const char *fault, const char *end_of_line)
{
    const char *const environment[] = {"PSYBUILD_FAULT_AT", fault, NULL};
    disk_say("%s%s%s%s%s", *fault == '\0' ? "" : "PSYBUILD_FAULT_AT=", fault,
        *fault == '\0' ? "" : " ", join(world, command), end_of_line);
    alarm(RUN_SECONDS_MAX);
    return program_start(world->arena, command->arguments, environment);
}

static void do_run(struct referee *referee, const char *line)
{
    struct command command = parse(referee->world, line);
    bool has_moment = is_moment(command.moment);
    struct trial trial = begin(referee, line, &command);
    struct program program =
        start(referee->world, &command, fault_of(command.moment), has_moment ? " &" : "");
    if (has_moment) {
        disk_say("# then, at %s: %s", command.moment, command.deeds);
        disturb(&trial, &program, command.moment, command.deeds);
    }
    program_end(&program);
    alarm(0);
    end(&trial, &program, &command);
}

static void do_pair(struct referee *referee, const char *line)
{
    struct command command = parse(referee->world, line);
    struct trial trial = begin(referee, line, &command);
    struct program first = start(referee->world, &command, "", " &");
    struct program second = start(referee->world, &command, "", "; wait");
    program_end(&first);
    program_end(&second);
    alarm(0);
    end(&trial, &first, &command);
    end(&trial, &second, &command);
}

/* ---- a second tree ---- */

static void prepare_other(struct world *world)
{
    static const char *const shared[] = {"src", "raw", "rules", "cache"};
    static const char *const copied[] = {"psybuild.json", "more.json", "psybuild.lock"};
    for (size_t i = 0; i < sizeof copied / sizeof copied[0]; i++)
        disk_copy(copied[i], arena_format(world->arena, "../other/%s", copied[i]));
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        const char *path = arena_format(world->arena, "../other/%s", shared[i]);
        disk_remove(path);
        disk_link(path, arena_format(world->arena, "../%s/%s", world->tree, shared[i]));
    }
    if (world->now.fields[FIELD_CACHE] && !disk_has("cache"))
        disk_directory("cache");
}

static void go(const char *place)
{
    disk_say("cd %s", place);
    if (chdir(place) != 0)
        disk_give_up("%s: cannot go there", place);
}

static void end_other(
    struct trial *trial, const struct program *program, const struct command *command)
{
    struct world *world = trial->referee->world;
    trial->is_other = true;
    go("../other");
    trial->exit_code = program->exit_code;
    trial->said = program->said.bytes;
    trial->may_fail = may_fail(trial, command);
    judge(trial);
    go(arena_format(world->arena, "../%s", world->tree));
}

static void do_other(struct referee *referee, const char *line)
{
    struct command command = parse(referee->world, line);
    bool is_both = line[0] == 'b';
    prepare_other(referee->world);
    struct trial trial = begin(referee, line, &command);
    struct program here = {.id = 0};
    if (is_both)
        here = start(referee->world, &command, "", " &");
    go("../other");
    struct program there = start(referee->world, &command, "", "");
    go(arena_format(referee->world->arena, "../%s", referee->world->tree));
    program_end(&there);
    if (is_both) {
        program_end(&here);
        end(&trial, &here, &command);
    }
    alarm(0);
    trial.now = reference_make(referee->world, referee->shared);
    end_other(&trial, &there, &command);
}

/* ---- tools ---- */

static bool is_same_status(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* Nothing may differ, .psybuild and the cache among it. */
static void compare_all(struct referee *referee, const char *line, const struct disk_list *old,
    const struct disk_list *new)
{
    for (size_t i = 0; i < old->count && i < new->count; i++)
        if (strcmp(old->entries[i].path, new->entries[i].path) != 0 ||
            !is_same_status(&old->entries[i].status, &new->entries[i].status)) {
            judge_note(referee, "written", "%s: it wrote to %s", line, new->entries[i].path);
            return;
        }
    if (old->count != new->count)
        judge_note(referee, "written", "%s: it made or removed files", line);
}

/* Outputs stay as they are, or are removed if it may do that. */
static void compare_outputs(struct referee *referee, const char *line, const struct made *old)
{
    struct made new = made_look(referee->world->arena);
    bool may_remove = strstr(line, "clean") != NULL;
    for (size_t i = 0; i < old->count; i++) {
        const struct made_file *is = made_find(&new, old->files[i].path);
        if (is == NULL ? !may_remove : !hash_equal(&is->hash, &old->files[i].hash))
            judge_note(referee, "written", "%s: it changed %s", line, old->files[i].path);
    }
    if (new.count > old->count)
        judge_note(referee, "written", "%s: it made files", line);
}

static void do_tool(struct referee *referee, const char *line)
{
    struct world *world = referee->world;
    struct command command = parse(world, line);
    struct trial trial = begin(referee, line, &command);
    bool is_dry = strstr(line, " -n") != NULL;
    /* clean finishes what a build that died had begun to rename */
    bool may_finish = strstr(line, "clean") != NULL && disk_has(".psybuild/journal");
    struct disk_list before = {.count = 0}, after = {.count = 0};
    if (is_dry)
        before = disk_walk(world->arena, "..", NULL);
    struct program program = start(world, &command, "", "");
    program_end(&program);
    alarm(0);
    if (is_dry)
        after = disk_walk(world->arena, "..", NULL);
    trial.exit_code = program.exit_code;
    trial.said = program.said.bytes;
    if (referee->is_loud)
        printf("  exit status %d: %s\n", trial.exit_code, trial.said);
    judge_end(&trial);
    compare_all(referee, line, &before, &after);
    if (!may_finish)
        compare_outputs(referee, line, &trial.old);
    trial.exit_code = 1; /* it carries out no intent */
    judge_marks(&trial);
}

static const struct {
    const char *name;
    void (*apply)(struct referee *referee, const char *line);
} kinds[] = {
    {"run", do_run}, {"pair", do_pair}, {"other", do_other}, {"both", do_other}, {"tool", do_tool}};

bool run_apply(struct referee *referee, const char *line)
{
    size_t length = strcspn(line, " ");
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == length && strncmp(kinds[i].name, line, length) == 0) {
            kinds[i].apply(referee, line);
            return true;
        }
    return false;
}

/* Sources that a build from nothing can use. */
static void mend_sources(struct referee *referee)
{
    struct world *world = referee->world;
    if (reference_make(world, referee->shared)->exit_code == 0)
        return;
    step_apply(world, "checkpoint 1");
    step_apply(world, "fill raw/a.bin 1 100");
    step_apply(world, "fill raw/b.bin 2 100");
    step_apply(world, "text raw/template.jinja 1");
    step_apply(world, "text raw/many/config.json 1");
}

void run_heal(struct referee *referee)
{
    struct world *world = referee->world;
    step_clear_obstacles(world, world->known.paths, world->known.count);
    if (declaration_reads_hub(&world->now) && world_locked_version(world) != world->hub_version)
        disk_remove("psybuild.lock");
    mend_sources(referee);
    if (reference_make(world, referee->shared)->exit_code != 0)
        judge_note(referee, "driver", "a build from nothing fails");
    do_run(referee, "run -k0");
    do_run(referee, "run");
}
