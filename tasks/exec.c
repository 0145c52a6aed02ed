/* exec.c - task "exec": a file made by a command of the user's (docs/formats.md, "Commands").
 *
 * One output, one streamed piece: the command writes ${out} itself, which is the staged file. The
 * command line and the values of the named environment variables are the piece's key. What a
 * depfile names is recorded as read. */
#include "tasks/exec.h"

#include <stdlib.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "base/process.h"
#include "base/wire.h"
#include "engine/task.h"

enum {
    DEPFILE_BYTES_MAX = 16 << 20,
    DEPFILE_PATHS_MAX = 100 * 1000, /* targets among them */
    SHOWN_BYTES_MAX = 1024,         /* of a command that failed: more than what is printed of it */
};

/* ---- filling in ---- */

static const struct exec_role *find_role(const struct exec_files *files, struct text name)
{
    for (size_t i = 0; i < files->role_count; i++)
        if (text_is(name, files->roles[i].name))
            return &files->roles[i];
    return NULL;
}

/* What "${name}" stands for within an argument. */
static struct error *find_path(const struct exec_files *files, struct text name, const char **out)
{
    *out = files->out;
    if (text_is(name, "out"))
        return NULL;
    const struct exec_role *role = find_role(files, text_from(name, 3));
    if (role == NULL || role->count == 0)
        return error_new(
            ERROR_USAGE, "\"${%.*s}\" names a role without files", (int)name.length, name.bytes);
    if (role->count > 1)
        return error_new(ERROR_USAGE,
            "\"${%.*s}\" stands for %zu files and must be an argument of its own", (int)name.length,
            name.bytes, role->count);
    *out = role->paths[0];
    return NULL;
}

/* "${name}" at the text's beginning; false when there is none. */
static bool read_name(struct text text, struct text *name)
{
    const char *end =
        text.length < 3 || text.bytes[1] != '{' ? NULL : memchr(text.bytes, '}', text.length);
    if (end == NULL)
        return false;
    *name = (struct text){text.bytes + 2, (size_t)(end - text.bytes) - 2};
    return text_is(*name, "out") || text_starts_with(*name, "in.");
}

static struct error *fill_argument(
    struct arena *arena, const struct exec_files *files, const char *argument, char **out)
{
    struct buffer string = {.arena = arena};
    struct text rest = text_of(argument), name = TEXT_EMPTY, filled;
    while (rest.length > 0) {
        size_t used = strcspn(rest.bytes, "$");
        if (used > 0) {
            buffer_put(&string, rest.bytes, used);
        } else if (text_starts_with(rest, "$$")) {
            buffer_put_string(&string, "$");
            used = 2;
        } else if (read_name(rest, &name)) {
            const char *path;
            TRY(find_path(files, name, &path));
            buffer_put_string(&string, path);
            used = name.length + 3;
        } else {
            return error_new(ERROR_USAGE,
                "expected \"${out}\", \"${in.ROLE}\" or \"$$\" after '$' in \"%s\"", argument);
        }
        rest = text_from(rest, used);
    }
    TRY(buffer_text(&string, &filled));
    *out = (char *)string.bytes;
    return NULL;
}

/* The role that an argument stands for as a whole, or NULL. */
static const struct exec_role *whole_role(const struct exec_files *files, const char *argument)
{
    struct text text = text_of(argument), name;
    if (!read_name(text, &name) || name.length + 3 != text.length || !text_starts_with(name, "in."))
        return NULL;
    return find_role(files, text_from(name, 3));
}

struct error *exec_fill(struct arena *arena, const struct exec_files *files,
    const char *const *command, size_t count, char ***arguments)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        const struct exec_role *role = whole_role(files, command[i]);
        total += role == NULL ? 1 : role->count;
    }
    char **filled = arena_array(arena, total + 1, sizeof *filled);
    TRY(memory_check(filled));
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        const struct exec_role *role = whole_role(files, command[i]);
        for (size_t k = 0; role != NULL && k < role->count; k++) {
            filled[made] = arena_copy(arena, role->paths[k], strlen(role->paths[k]));
            TRY(memory_check(filled[made++]));
        }
        if (role == NULL)
            TRY(fill_argument(arena, files, command[i], &filled[made++]));
    }
    *arguments = filled;
    return NULL;
}

/* ---- depfiles ---- */

struct depfile {
    struct text text;
    size_t position;
};

static char peek(const struct depfile *depfile, size_t ahead)
{
    size_t at = depfile->position + ahead;
    return at < depfile->text.length ? depfile->text.bytes[at] : '\0';
}

/* A backslash before a line break, with or without a carriage return: its length, else 0. */
static size_t continuation(const struct depfile *depfile)
{
    if (peek(depfile, 0) != '\\')
        return 0;
    if (peek(depfile, 1) == '\n')
        return 2;
    return peek(depfile, 1) == '\r' && peek(depfile, 2) == '\n' ? 3 : 0;
}

static void skip_blanks(struct depfile *depfile)
{
    for (;;) {
        size_t length = continuation(depfile);
        char c = peek(depfile, 0);
        if (length == 0 && (c == ' ' || c == '\t' || c == '\r'))
            length = 1;
        if (length == 0)
            return;
        depfile->position += length;
    }
}

/* A run of backslashes before a blank or '#': half of them stand for themselves, an odd one makes
 * that character part of the word. Elsewhere they are all characters. */
static void read_backslashes(struct depfile *depfile, struct buffer *word)
{
    size_t count = 0;
    while (peek(depfile, count) == '\\')
        count++;
    char next = peek(depfile, count);
    bool is_escape = next == ' ' || next == '#';
    for (size_t i = 0; i < (is_escape ? count / 2 : count); i++)
        buffer_put(word, "\\", 1);
    depfile->position += count;
    if (is_escape && count % 2 == 1) {
        buffer_put(word, &next, 1);
        depfile->position++;
    }
}

static bool ends_word(const struct depfile *depfile)
{
    return depfile->position >= depfile->text.length || continuation(depfile) > 0 ||
           strchr(" \t\r\n", peek(depfile, 0)) != NULL;
}

static struct error *read_word(struct depfile *depfile, struct arena *arena, struct text *out)
{
    struct buffer word = {.arena = arena};
    while (!ends_word(depfile)) {
        if (peek(depfile, 0) == '\\') {
            read_backslashes(depfile, &word);
            continue;
        }
        bool is_dollar = peek(depfile, 0) == '$' && peek(depfile, 1) == '$';
        char c = peek(depfile, 0);
        buffer_put(&word, &c, 1);
        depfile->position += is_dollar ? 2 : 1;
    }
    return buffer_text(&word, out);
}

struct error *exec_parse_depfile(
    struct arena *arena, const char *name, struct text text, const char ***paths, size_t *count)
{
    struct depfile depfile = {.text = text};
    const char **list = NULL;
    size_t listed = 0, capacity = 0, word_count = 0;
    bool is_behind_colon = false, has_words = false;
    for (;;) {
        skip_blanks(&depfile);
        bool is_end = depfile.position >= text.length;
        if (is_end || peek(&depfile, 0) == '\n') {
            if (has_words && !is_behind_colon)
                return error_new_at(ERROR_FORMAT, name, text.bytes, text.length, depfile.position,
                    "expected ':' after the targets of a depfile's rule");
            is_behind_colon = has_words = false;
            if (is_end)
                break;
            depfile.position++;
            continue;
        }
        struct text word;
        size_t begin = depfile.position;
        if (word_count++ == DEPFILE_PATHS_MAX)
            return error_new_at(ERROR_FORMAT, name, text.bytes, text.length, begin,
                "a depfile must name at most %d paths", DEPFILE_PATHS_MAX);
        TRY(read_word(&depfile, arena, &word));
        if (depfile.position == begin || memchr(word.bytes, '\0', word.length) != NULL)
            return error_new_at(
                ERROR_FORMAT, name, text.bytes, text.length, begin, "expected a path in a depfile");
        has_words = true;
        if (!is_behind_colon) {
            is_behind_colon = text_ends_with(word, ":");
            continue;
        }
        list = arena_grow(arena, list, listed, &capacity, sizeof *list);
        TRY(memory_check(list));
        list[listed++] = word.bytes;
    }
    *paths = list;
    *count = listed;
    return NULL;
}

/* ---- the node ---- */

struct role_inputs {
    const char *name;
    uint32_t *inputs; /* as plan_input gives them */
    size_t count;
};

/* What the piece runs, as the manifest has it: names are filled in when the files' places are
 * known. */
struct command {
    const char *const *arguments;
    size_t argument_count;
    const char *depfile; /* NULL: none */
    struct role_inputs *roles;
    size_t role_count;
};

static struct error *read_list(
    struct plan *plan, const char *param, const char *const **out, size_t *count)
{
    const struct json *list = plan_param(plan, param);
    *count = list == NULL ? 0 : list->count;
    const char **items = arena_array(plan_arena(plan), *count + 1, sizeof *items);
    TRY(memory_check(items));
    for (size_t i = 0; i < *count; i++) {
        struct text text = list->items[i].text;
        if (strlen(text.bytes) != text.length)
            return json_error(&list->items[i], "\"%s\" must hold no NUL character", param);
        items[i] = text.bytes;
    }
    *out = items;
    return NULL;
}

/* All inputs are read, also those that the command does not name, such as its script. */
static struct error *read_roles(struct plan *plan, struct command *command)
{
    while (plan_role(plan, command->role_count) != NULL)
        command->role_count++;
    command->roles = arena_array(plan_arena(plan), command->role_count, sizeof *command->roles);
    TRY(memory_check(command->roles));
    for (size_t i = 0; i < command->role_count; i++) {
        struct role_inputs *role = &command->roles[i];
        role->name = plan_role(plan, i);
        role->count = plan_input_count(plan, role->name);
        role->inputs = arena_array(plan_arena(plan), role->count, sizeof *role->inputs);
        TRY(memory_check(role->inputs));
        for (size_t k = 0; k < role->count; k++)
            role->inputs[k] = plan_input(plan, role->name, k);
    }
    return NULL;
}

/* The command line, and what the named variables are now. */
static struct error *make_key(struct plan *plan, const struct command *command, struct text *out)
{
    const char *const *names;
    size_t name_count;
    TRY(read_list(plan, "env", &names, &name_count));
    struct buffer writer = {0};
    wire_put_u32(&writer, (uint32_t)command->argument_count);
    for (size_t i = 0; i < command->argument_count; i++)
        wire_put_string(&writer, command->arguments[i]);
    wire_put_string(&writer, command->depfile);
    for (size_t i = 0; i < name_count; i++) {
        const char *value = getenv(names[i]);
        wire_put_string(&writer, names[i]);
        wire_put_u8(&writer, value != NULL);
        wire_put_string(&writer, value);
    }
    return buffer_take(&writer, plan_arena(plan), out);
}

/* Every name in the texts must be one that can be filled in: said before anything runs. */
static struct error *check_names(struct plan *plan, const struct command *command)
{
    struct arena *arena = plan_arena(plan);
    struct exec_role *roles = arena_array(arena, command->role_count, sizeof *roles);
    TRY(memory_check(roles));
    for (size_t i = 0; i < command->role_count; i++) {
        const char **paths = arena_array(arena, command->roles[i].count, sizeof *paths);
        TRY(memory_check(paths));
        for (size_t k = 0; k < command->roles[i].count; k++)
            paths[k] = plan_input_path(plan, command->roles[i].name, k);
        roles[i] = (struct exec_role){command->roles[i].name, paths, command->roles[i].count};
    }
    struct exec_files files = {plan_name(plan), roles, command->role_count};
    char **filled;
    const char *param = "command";
    struct error *error =
        exec_fill(arena, &files, command->arguments, command->argument_count, &filled);
    if (error == NULL && command->depfile != NULL) {
        param = "depfile";
        error = exec_fill(arena, &files, &command->depfile, 1, &filled);
    }
    if (error == NULL || error_kind_of(error) != ERROR_USAGE)
        return error;
    struct error *placed = plan_param_error(plan, param, "%s", error_text(error));
    error_free(error);
    return placed;
}

static struct error *exec_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct command *command = arena_alloc(plan_arena(plan), sizeof *command);
    TRY(memory_check(command));
    if (glob_is_pattern(plan_name(plan)))
        return error_new(ERROR_USAGE, "%s: task \"exec\" makes one file, not a pattern of files",
            plan_name(plan));
    TRY(read_list(plan, "command", &command->arguments, &command->argument_count));
    if (command->argument_count == 0)
        return plan_param_error(plan, "command", "\"command\" must not be empty");
    command->depfile = plan_param_text(plan, "depfile", NULL);
    TRY(read_roles(plan, command));
    TRY(check_names(plan, command));
    struct piece piece = {.parameters = command, .output_count = 1, .is_streamed = true};
    TRY(make_key(plan, command, &piece.key));
    TRY(plan_output(plan, plan_name(plan), PLAN_SIZE_UNKNOWN, &piece.outputs[0].file));
    return plan_piece(plan, &piece);
}

/* ---- running ---- */

static struct error *place_files(
    struct work *work, const struct command *command, struct exec_files *out)
{
    struct arena *arena = work_arena(work);
    struct exec_role *roles = arena_array(arena, command->role_count, sizeof *roles);
    TRY(memory_check(roles));
    for (size_t i = 0; i < command->role_count; i++) {
        const struct role_inputs *role = &command->roles[i];
        const char **paths = arena_array(arena, role->count, sizeof *paths);
        TRY(memory_check(paths));
        for (size_t k = 0; k < role->count; k++)
            paths[k] = work_file(work, role->inputs[k]);
        roles[i] = (struct exec_role){role->name, paths, role->count};
    }
    *out = (struct exec_files){work_staged_path(work, 0), roles, command->role_count};
    return NULL;
}

/* "python3 eval.py -o ...", on one line and safe to print, which shows its beginning. */
static const char *show_command(struct arena *arena, char *const *arguments)
{
    struct buffer line = {.arena = arena};
    struct text text;
    buffer_put_string(&line, arguments[0]);
    for (size_t i = 1; arguments[i] != NULL && line.count < SHOWN_BYTES_MAX; i++) {
        buffer_put_string(&line, " ");
        buffer_put_string(&line, arguments[i]);
    }
    struct error *error = buffer_text(&line, &text);
    const char *shown = error != NULL ? NULL : text_printable(arena, text);
    error_free(error);
    return shown == NULL ? arguments[0] : shown;
}

/* A linker, say, removes its output and makes a new one: that is not the file the engine syncs. */
static struct error *sync_replaced(const char *out)
{
    struct file *file;
    TRY(file_open_staged(out, &file));
    struct error *error = file_sync(file);
    file_close(file);
    return error;
}

static struct error *run_command(struct work *work, char *const *arguments)
{
    const char *out = work_staged_path(work, 0);
    enum file_kind kind;
    struct file_stamp before, after;
    bool is_unwritten;
    int status;
    TRY(file_stat(out, &kind, &before));
    TRY(process_run(arguments, &status));
    if (status != 0)
        return error_new(ERROR_FAILED, "command failed with exit status %d: %s", status,
            show_command(work_arena(work), arguments));
    TRY(file_stat(out, &kind, &after));
    TRY(file_is_still(out, &before, false, &is_unwritten));
    if (kind != FILE_REGULAR || is_unwritten)
        return error_new(ERROR_FAILED, "command did not write its output, ${out}: %s",
            show_command(work_arena(work), arguments));
    return after.inode == before.inode ? NULL : sync_replaced(out);
}

/* A path of the depfile as it is recorded: normal below the working directory, else absolute. */
static struct error *place_dependency(
    struct arena *arena, const char *directory, const char *path, char **out)
{
    char *whole = path[0] == '/' ? arena_format(arena, "%s", path)
                                 : arena_format(arena, "%s/%s", directory, path);
    char *normal;
    if (whole == NULL || !path_normalize(arena, "", whole + strspn(whole, "/"), &normal))
        return error_memory();
    if (normal == NULL)
        return error_new(ERROR_FORMAT, "a depfile names %s, which is no path", path);
    char *absolute = arena_format(arena, "/%s", normal);
    TRY(memory_check(absolute));
    size_t length = strlen(directory);
    bool is_inside =
        strncmp(absolute, directory, length) == 0 && absolute[length] == '/' && length > 1;
    *out = is_inside ? absolute + length + 1 : absolute;
    return NULL;
}

/* Declared inputs and the output itself are known already. */
static bool is_known_file(const struct exec_files *files, const char *path)
{
    bool is_known = strcmp(path, files->out) == 0;
    for (size_t i = 0; i < files->role_count; i++)
        for (size_t k = 0; k < files->roles[i].count; k++)
            is_known |= strcmp(path, files->roles[i].paths[k]) == 0;
    return is_known;
}

static struct error *read_depfile(
    struct work *work, const struct exec_files *files, const char *depfile)
{
    struct arena *arena = work_arena(work);
    struct text text;
    const char **paths;
    size_t count;
    char *directory;
    TRY(file_read_whole(arena, depfile, DEPFILE_BYTES_MAX, &text));
    TRY(exec_parse_depfile(arena, depfile, text, &paths, &count));
    TRY(file_current_directory(arena, &directory));
    for (size_t i = 0; i < count; i++) {
        char *path = NULL;
        TRY(place_dependency(arena, directory, paths[i], &path));
        if (!is_known_file(files, path) && !is_known_file(files, paths[i]))
            TRY(work_add_read(work, path));
    }
    return file_remove(depfile);
}

static struct error *exec_make(struct work *work, const struct piece *piece)
{
    const struct command *command = piece->parameters;
    struct exec_files files;
    char **arguments, **depfile;
    TRY(place_files(work, command, &files));
    TRY(exec_fill(
        work_arena(work), &files, command->arguments, command->argument_count, &arguments));
    TRY(run_command(work, arguments));
    if (command->depfile == NULL)
        return NULL;
    TRY(exec_fill(work_arena(work), &files, &command->depfile, 1, &depfile));
    struct error *error = read_depfile(work, &files, depfile[0]);
    return error == NULL ? NULL : error_wrap(error, "reading what the command says it has read");
}

static const struct param_spec exec_params[] = {
    {.name = "command",
        .type = PARAM_LIST,
        .is_required = true,
        .help = "program and arguments; ${out} is the file to write, ${in.ROLE} the role's files"},
    {.name = "depfile",
        .type = PARAM_STRING,
        .help = "file that the command writes, as gcc -M does, to say what it has read"},
    {.name = "env",
        .type = PARAM_ENVIRONMENT,
        .help = "environment variables whose values count: another value runs it again"},
    {.name = NULL},
};

static const struct role_spec exec_roles[] = {{.name = NULL}};

const struct task_type task_exec = {
    .name = "exec",
    .help = "a file that a command makes",
    .version = 1,
    .takes_any_role = true,
    .roles = exec_roles,
    .params = exec_params,
    .plan = exec_plan,
    .make = exec_make,
};
