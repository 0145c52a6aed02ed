/* tool_convert.c - `-t convert`: what mlx_lm.convert does, by its own flags and without a manifest.
 *
 * The flags become a manifest in a staging directory beside the target, an ordinary build runs
 * there, and what it made gets its name at the end:
 *
 *   models/x.psybuild-partial/
 *     .psybuild/        its lock is taken before anything else is written
 *     psybuild.json     psybuild.done once the model is whole
 *     source/           of a repository: what is downloaded
 *     x/                the model; becomes models/x, and the rest is removed
 *
 * A run that is killed leaves the directory, and the same command goes on from it; with other flags
 * the build redoes what they change. */
#include <string.h>

#include "base/directory.h"
#include "base/file_lock.h"
#include "base/file_whole.h"
#include "base/json_write.h"
#include "base/owner.h"
#include "cli/option.h"
#include "cli/signals.h"
#include "cli/tool_table.h"
#include "tasks/formats/hub.h"
#include "tasks/formats/quant.h"

static const char staging_suffix[] = ".psybuild-partial";
static const char manifest_name[] = "psybuild.json", dry_manifest_name[] = "psybuild.dry.json";
static const char done_name[] = "psybuild.done";
static const char source_name[] = "source";

static const char *const modes[] = {"affine", "mxfp4", "nvfp4", "mxfp8", NULL};
static const char *const predicates[] = {"mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6", NULL};
static const char *const dtypes[] = {"float16", "bfloat16", "float32", NULL};

struct conversion {
    struct cli *cli;
    /* as they were given; NULL, 0 or false: not given */
    const char *given_source, *given_target, *mode, *predicate, *dtype;
    unsigned bits, group_size;
    bool is_quantized, is_dequantized, wants_help;

    struct quant_shape shape; /* with -q: mode, bits and group size, defaults filled in */
    bool is_repository;
    const char *source;  /* org/name, or an absolute path */
    const char *target;  /* absolute */
    const char *staging; /* absolute: beside it */
    const char *name;    /* of the model's directory in there */
};

#define AT(field) .offset = offsetof(struct conversion, field)
/* clang-format off */
static const struct option specs[] = {
    {0, "hf-path", "model", "PATH", "a directory, or a repository org/name of the hub",
        OPTION_TEXT, AT(given_source)},
    {0, "mlx-path", NULL, "DIR", "where the model is saved [mlx_model]",
        OPTION_TEXT, AT(given_target)},
    {'q', "quantize", NULL, NULL, "quantize the weights", OPTION_FLAG, AT(is_quantized)},
    {0, "q-bits", NULL, "N", "bits of a weight: 1 to 6 or 8 [by mode; affine: 4]",
        OPTION_NUMBER, AT(bits), .least = 1, .most = 8},
    {0, "q-group-size", NULL, "N", "weights that share a scale: 32, 64, 128 [by mode; affine: 64]",
        OPTION_NUMBER, AT(group_size), .least = 1, .most = QUANT_GROUP_SIZE_MAX},
    {0, "q-mode", NULL, "MODE", "affine, mxfp4, nvfp4 or mxfp8 [affine]",
        OPTION_TEXT, AT(mode), .choices = modes},
    {0, "quant-predicate", NULL, "RECIPE", "mixed_2_6, mixed_3_4, mixed_3_6 or mixed_4_6",
        OPTION_TEXT, AT(predicate), .choices = predicates},
    {0, "dtype", NULL, "TYPE", "float16, bfloat16 or float32 [the model's own]",
        OPTION_TEXT, AT(dtype), .choices = dtypes},
    {'d', "dequantize", NULL, NULL, "back to floats, from a quantized model",
        OPTION_FLAG, AT(is_dequantized)},
    {'h', "help", NULL, NULL, "print this", OPTION_FLAG, AT(wants_help)},
    {0, "upload-repo", NULL, "REPO", NULL, OPTION_REFUSED, .wanted =
        "psybuild uploads nothing; upload the finished directory with the hub's own tool"},
    {0, "trust-remote-code", NULL, NULL, NULL, OPTION_REFUSED, .wanted =
        "psybuild runs no code that comes with a model"},
};
/* clang-format on */
static const struct option_table table = {.options = specs,
    .count = sizeof specs / sizeof specs[0],
    .whose = " of the tool \"convert\"",
    .advice = "see psybuild -t convert --help",
    .is_value_plain = true};

static bool is_talking(const struct cli *cli)
{
    return !cli->options->is_quiet && cli->status->mode != PROGRESS_JSON;
}

/* ---- flags ---- */

static struct error *read_flags(struct conversion *conversion)
{
    const struct options *options = conversion->cli->options;
    struct option_reader reader = {.arena = conversion->cli->arena,
        .table = &table,
        .words = options->arguments,
        .count = options->argument_count,
        .target = conversion};
    TRY(option_read(&reader));
    if (reader.rest_count == 0)
        return NULL;
    return error_new(ERROR_USAGE,
        "the tool \"convert\" takes options only, not \"%s\"; see psybuild -t convert --help",
        reader.rest[0]);
}

static struct error *check_shape(struct conversion *conversion)
{
    struct quant_shape shape = {.mode = QUANT_AFFINE, .dtype = DTYPE_F32};
    if (conversion->mode != NULL && !quant_mode_parse(text_of(conversion->mode), &shape.mode))
        return error_new(ERROR_USAGE, "\"--q-mode\" must not be \"%s\"", conversion->mode);
    quant_mode_defaults(shape.mode, &shape.group_size, &shape.bits);
    shape.bits = conversion->bits > 0 ? conversion->bits : shape.bits;
    shape.group_size = conversion->group_size > 0 ? conversion->group_size : shape.group_size;
    struct error *error = quant_shape_check(&shape, shape.group_size);
    if (error != NULL)
        return error_wrap(error, "checking --q-mode, --q-bits and --q-group-size");
    conversion->shape = shape;
    return NULL;
}

/* What the reference refuses; what it ignores is said. */
static struct error *check_flags(struct conversion *conversion)
{
    struct terminal *terminal = conversion->cli->terminal;
    if (conversion->given_source == NULL)
        return error_new(ERROR_USAGE, "\"--hf-path\" is missing: the model's directory, or its "
                                      "repository's name");
    if (conversion->is_quantized && conversion->is_dequantized)
        return error_new(ERROR_USAGE, "Choose either quantize or dequantize, not both.");
    if (conversion->predicate != NULL && conversion->mode != NULL &&
        strcmp(conversion->mode, "affine") != 0)
        return error_new(ERROR_USAGE, "Quant predicates only support 'affine' quantization.");
    if (conversion->is_quantized)
        return check_shape(conversion);
    const struct {
        bool is_given;
        const char *name;
    } idle[] = {{conversion->bits > 0, "--q-bits"}, {conversion->group_size > 0, "--q-group-size"},
        {conversion->mode != NULL, "--q-mode"},
        {conversion->predicate != NULL, "--quant-predicate"}};
    for (size_t i = 0; i < sizeof idle / sizeof idle[0]; i++)
        if (idle[i].is_given)
            terminal_warn(terminal, "\"%s\" does nothing without -q", idle[i].name);
    return NULL;
}

static struct error *say_help(struct cli *cli)
{
    char *list = option_list(cli->arena, &table, 26, "");
    TRY(memory_check(list));
    terminal_put_text(cli->terminal,
        TEXT_LITERAL(
            "usage: psybuild [options] -t convert --hf-path PATH [--mlx-path DIR] [-q ...]\n\n"
            "Converts a checkpoint to an MLX model directory, as mlx_lm.convert does.\n\n"));
    terminal_put_text(cli->terminal, text_of(list));
    return NULL;
}

/* ---- paths ---- */

/* As typed, but for slashes at the end: the system resolves "..", links included. */
static struct error *from_origin(struct cli *cli, const char *path, const char **out)
{
    char *joined = path[0] == '/' ? arena_format(cli->arena, "%s", path)
                                  : arena_format(cli->arena, "%s/%s", cli->place.origin, path);
    TRY(memory_check(joined));
    for (size_t length = strlen(joined); length > 1 && joined[length - 1] == '/'; length--)
        joined[length - 1] = '\0';
    *out = joined;
    return NULL;
}

static struct error *is_there(const char *path, bool *out)
{
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(file_stat(path, &kind, &stamp));
    *out = kind != FILE_ABSENT;
    return NULL;
}

static struct error *is_staged(const struct conversion *conversion, const char *name, bool *out)
{
    char *path = path_join(conversion->cli->arena, conversion->staging, name);
    return path == NULL ? error_memory() : is_there(path, out);
}

/* The target's own, which status and errors then show; "model" where that means something in a
 * manifest or in the staging directory. */
static const char *name_model(const char *target)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    const char *name = path_base(target);
    bool is_plain = name[0] != '.' && strspn(name, plain) == strlen(name) &&
                    strcmp(name, source_name) != 0 && strncmp(name, "psybuild.", 9) != 0;
    return is_plain ? name : "model";
}

static const char *given_target(const struct conversion *conversion)
{
    return conversion->given_target != NULL ? conversion->given_target : "mlx_model";
}

/* A dry run makes no directories, so it works as near to the target as there are any. */
static struct error *find_parent(
    struct conversion *conversion, const char *directory, const char **out)
{
    bool is_here = !conversion->cli->options->is_dry;
    while (directory != NULL && directory[0] != '\0' && !is_here) {
        TRY(is_there(directory, &is_here));
        if (!is_here)
            directory = path_directory(conversion->cli->arena, directory);
    }
    *out = directory;
    return memory_check(directory);
}

static struct error *find_target(struct conversion *conversion)
{
    struct arena *arena = conversion->cli->arena;
    const char *typed = given_target(conversion), *parent = NULL;
    TRY(from_origin(conversion->cli, typed, &conversion->target));
    const char *name = path_base(conversion->target);
    if (typed[0] == '\0' || name[0] == '\0' || strcmp(name, "..") == 0)
        return error_new(ERROR_USAGE,
            "\"--mlx-path\" must be a directory that is to be made, not \"%s\"", typed);
    TRY(find_parent(conversion, path_directory(arena, conversion->target), &parent));
    conversion->staging = arena_format(arena, "%s/%s%s", parent, name, staging_suffix);
    conversion->name = name_model(conversion->target);
    return memory_check(conversion->staging);
}

/* As the reference does: what is on disk counts first. */
static struct error *find_source(struct conversion *conversion)
{
    const char *typed = conversion->given_source;
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(file_stat(typed, &kind, &stamp));
    conversion->is_repository = kind == FILE_ABSENT && hub_repo_id_is_valid(typed);
    if (kind != FILE_DIRECTORY && !conversion->is_repository)
        return error_new(ERROR_USAGE,
            "\"%s\" is neither a directory nor a repository such as GMLHUHE/PsyLLM", typed);
    if (!text_is_utf8(text_of(typed)))
        return error_new(ERROR_USAGE, "\"--hf-path\" must be UTF-8, not \"%s\"", typed);
    conversion->source = typed;
    return conversion->is_repository ? NULL
                                     : from_origin(conversion->cli, typed, &conversion->source);
}

/* ---- the staging directory ---- */

/* All that is ours in it, the mark of a finished run last; then itself, unless there is more. */
static struct error *remove_staging(struct conversion *conversion)
{
    const char *const names[] = {conversion->name, source_name, STATE_DIRECTORY, "psybuild.lock",
        "psybuild.lock.tmp", manifest_name, "psybuild.json.tmp", done_name};
    TRY(file_change_directory(conversion->cli->place.origin));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = path_join(conversion->cli->arena, conversion->staging, names[i]);
        TRY(memory_check(path));
        TRY(file_remove_tree(path));
    }
    return file_remove_directory(conversion->staging);
}

/* A run that was killed between its last two steps has left the target and the mark. */
static struct error *refuse_existing(struct conversion *conversion)
{
    bool exists = false, is_done = false;
    TRY(is_there(conversion->target, &exists));
    if (!exists)
        return NULL;
    TRY(is_staged(conversion, done_name, &is_done));
    if (is_done && !conversion->cli->options->is_dry)
        TRY(remove_staging(conversion));
    return error_new(ERROR_FAILED,
        "Cannot save to the path %s as it already exists. Please delete the file/directory or "
        "specify a new path to save to.",
        given_target(conversion));
}

/* Another's directory of that name is left alone. */
static struct error *check_staging(struct conversion *conversion)
{
    struct file_entry *entries;
    size_t count;
    bool is_ours = false;
    struct error *error =
        file_list_directory(conversion->cli->arena, conversion->staging, &entries, &count);
    if (error != NULL && error_kind_of(error) == ERROR_MISSING) {
        error_free(error);
        return NULL;
    }
    TRY(error);
    TRY(is_staged(conversion, STATE_DIRECTORY, &is_ours));
    if (is_ours || count == 0)
        return NULL;
    return error_new(ERROR_FAILED,
        "%s is not a directory that psybuild left; move it away, or specify a new path to save to",
        conversion->staging);
}

static struct error *enter_staging(struct conversion *conversion)
{
    TRY(owner_check(conversion->staging));
    TRY(check_staging(conversion));
    TRY(file_make_directories(conversion->staging));
    TRY(file_change_directory(conversion->staging));
    conversion->cli->place.directory = conversion->staging;
    return NULL;
}

/* Whether the next run would gain by what is there. */
static bool holds_work(struct conversion *conversion)
{
    const char *const names[] = {conversion->name, source_name, STATE_DIRECTORY "/partial"};
    bool has_any = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !has_any; i++) {
        struct file_entry *entries;
        size_t count = 0;
        error_free(file_list_directory(conversion->cli->arena, names[i], &entries, &count));
        has_any = count > 0;
    }
    return has_any;
}

/* After a run that made no model. */
static void leave_staging(struct conversion *conversion)
{
    struct cli *cli = conversion->cli;
    struct error *error = NULL;
    if (cli->options->is_dry) {
        error = file_remove(dry_manifest_name);
        if (error == NULL)
            error = file_remove_directory(conversion->staging);
    } else if (holds_work(conversion)) {
        cli->place.is_elsewhere = true;
        terminal_note(cli->terminal,
            "what is finished stays in %s; the same command goes on from there",
            conversion->staging);
    } else {
        error = remove_staging(conversion);
    }
    error_free(error); /* what went wrong before counts */
}

/* ---- the manifest ---- */

/* A dollar sign is written twice. */
static struct error *escape(struct arena *arena, const char *string, const char **out)
{
    char *escaped = arena_alloc(arena, 2 * strlen(string) + 1), *end = escaped;
    TRY(memory_check(escaped));
    for (; *string != '\0'; string++) {
        if (*string == '$')
            *end++ = '$';
        *end++ = *string;
    }
    *out = escaped;
    return NULL;
}

static void put_number(struct json_writer *writer, const char *key, unsigned number)
{
    if (number == 0)
        return;
    json_member_u64(writer, key, number);
}

/* The recipe's parameters. */
static void put_parameters(struct json_writer *writer, const struct conversion *conversion)
{
    json_member_object_begin(writer, "with");
    if (conversion->is_quantized) {
        json_member_bool(writer, "quantize", true);
        put_number(writer, "bits", conversion->bits);
        put_number(writer, "group_size", conversion->group_size);
        json_member_string(writer, "mode", conversion->mode);
        json_member_string(writer, "quant_predicate", conversion->predicate);
    }
    if (conversion->is_dequantized)
        json_member_bool(writer, "dequantize", true);
    json_member_string(writer, "dtype", conversion->dtype);
    json_write_object_end(writer);
}

static struct error *render(const struct conversion *conversion, struct text *out)
{
    struct json_writer *writer = json_writer_new(conversion->cli->arena, &JSON_STYLE_PRETTY);
    const char *source = NULL;
    TRY(memory_check(writer));
    TRY(escape(conversion->cli->arena, conversion->source, &source));
    json_write_object_begin(writer);
    put_number(writer, "psybuild", 1);
    json_member_object_begin(writer, "sources");
    json_member_object_begin(writer, source_name);
    json_member_string(writer, conversion->is_repository ? "hub" : "dir", source);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_member_object_begin(writer, "artifacts");
    json_member_object_begin(writer, conversion->name);
    json_member_string(writer, "recipe", "mlx");
    json_member_string(writer, "from", source_name);
    put_parameters(writer, conversion);
    json_write_object_end(writer);
    json_write_object_end(writer);
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

static struct error *write_manifest(const struct conversion *conversion)
{
    struct text text = TEXT_EMPTY;
    TRY(render(conversion, &text));
    TRY(file_replace_whole(conversion->cli->place.manifest, text));
    return conversion->cli->options->is_dry ? NULL : file_remove(done_name);
}

/* ---- the build ---- */

static void say_beginning(const struct conversion *conversion)
{
    struct terminal *terminal = conversion->cli->terminal;
    const char *predicate = conversion->predicate;
    if (!is_talking(conversion->cli))
        return;
    terminal_say(terminal, TONE_PLAIN, "psybuild: loading %s", conversion->given_source);
    if (conversion->dtype != NULL)
        terminal_say(terminal, TONE_PLAIN, "psybuild: using dtype %s", conversion->dtype);
    if (conversion->is_quantized)
        terminal_say(terminal, TONE_PLAIN, "psybuild: quantizing: %s, %u bits, group size %u%s%s",
            quant_mode_name(conversion->shape.mode), (unsigned)conversion->shape.bits,
            (unsigned)conversion->shape.group_size, predicate == NULL ? "" : ", ",
            predicate == NULL ? "" : predicate);
    if (conversion->is_dequantized)
        terminal_say(terminal, TONE_PLAIN, "psybuild: dequantizing");
}

static struct error *run_build(struct conversion *conversion, struct build *build, bool *is_made)
{
    struct cli *cli = conversion->cli;
    uint32_t failures = 0;
    TRY(build_run(build, NULL, 0, &failures));
    status_close(cli->status);
    if (failures > 0)
        cli->exit_code = cli->status->nodes_unusable == failures ? EXIT_USAGE : EXIT_FAILED;
    *is_made = failures == 0 && !cli->options->is_dry;
    return NULL;
}

/* "4.502 bits per weight" is what the reference says of a model that it has quantized. */
static void say_end(const struct conversion *conversion, const struct build *build)
{
    struct cli *cli = conversion->cli;
    char *name = arena_format(cli->arena, "%s/model*.safetensors", conversion->name);
    const struct record *record = name == NULL ? NULL : state_find_record(build->state, name);
    double bits = record == NULL ? 0 : tool_bits_per_weight(cli->arena, record);
    if (is_talking(cli) && conversion->is_quantized && bits > 0)
        terminal_say(
            cli->terminal, TONE_PLAIN, "psybuild: quantized with %.3f bits per weight", bits);
}

static struct error *make(struct conversion *conversion, bool *is_made)
{
    struct cli *cli = conversion->cli;
    struct build *build = NULL;
    TRY(write_manifest(conversion));
    TRY(cli_open_build(cli, NULL, &build));
    say_beginning(conversion);
    struct error *error = run_build(conversion, build, is_made);
    if (error == NULL && *is_made)
        say_end(conversion, build);
    cli_close_build(cli, build);
    return error;
}

/* From here on the target is whole, whatever happens to the rest. */
static struct error *save(struct conversion *conversion)
{
    struct cli *cli = conversion->cli;
    char *parent = path_directory(cli->arena, conversion->target);
    TRY(memory_check(parent));
    TRY(refuse_existing(conversion));
    TRY(file_rename(manifest_name, done_name));
    TRY(file_sync_directory("."));
    TRY(file_rename(conversion->name, conversion->target));
    TRY(file_sync_directory(parent[0] == '\0' ? "/" : parent));
    struct error *error = remove_staging(conversion);
    if (error != NULL)
        terminal_warn(cli->terminal, "%s", error_text(error));
    error_free(error);
    if (is_talking(cli))
        terminal_say(cli->terminal, TONE_PLAIN, "psybuild: saved %s", given_target(conversion));
    return NULL;
}

static struct error *convert(struct conversion *conversion)
{
    struct file_lock *lock = NULL;
    bool is_made = false;
    TRY(cli_lock(conversion->cli, &lock)); /* nobody else may write the manifest that is read */
    struct error *error = refuse_existing(conversion); /* who held the lock may have saved it */
    if (error == NULL) {
        error = make(conversion, &is_made);
        if (error == NULL && is_made)
            error = save(conversion);
        if (error != NULL || !is_made)
            leave_staging(conversion);
    }
    file_lock_release(lock);
    return error;
}

static struct error *run(struct cli *cli)
{
    struct conversion conversion = {.cli = cli};
    TRY(read_flags(&conversion));
    if (conversion.wants_help)
        return say_help(cli);
    TRY(check_flags(&conversion));
    TRY(find_target(&conversion));
    TRY(refuse_existing(&conversion));
    TRY(find_source(&conversion));
    TRY(cli_choose_kernels());
    cli->place.manifest = cli->options->is_dry ? dry_manifest_name : manifest_name;
    TRY(cli_prepare_build(cli));
    signals_catch();
    TRY(enter_staging(&conversion));
    return convert(&conversion);
}

const struct tool tool_convert = {.name = "convert",
    .usage = "--hf-path REPO|DIR",
    .help = "a model by mlx_lm.convert's flags; see -t convert --help",
    .run = run};
