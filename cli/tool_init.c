/* tool_init.c - `-t init`: a first manifest, for a repository of the hub or a directory on disk. */
#include <string.h>

#include "base/file_whole.h"
#include "base/json_write.h"
#include "cli/tool_table.h"

static const char manifest_name[] = "psybuild.json";

struct beginning {
    const char *source;      /* the source's name */
    const char *declaration; /* {"hub": "..."} */
    const char *target;
};

/* A JSON string with its quotes. */
static struct error *quote(struct arena *arena, const char *string, const char **out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_LINE);
    struct text text;
    TRY(memory_check(writer));
    json_write_string(writer, string);
    TRY(json_writer_finish(writer, &text));
    *out = text.bytes;
    return NULL;
}

/* "org/name", each of the characters that the hub allows. */
static bool is_repository(const char *word)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    size_t organisation = strspn(word, allowed);
    if (organisation == 0 || word[organisation] != '/' || word[0] == '.')
        return false;
    const char *name = word + organisation + 1;
    return name[0] != '\0' && name[0] != '.' && strspn(name, allowed) == strlen(name);
}

static struct error *beside(
    struct arena *arena, const char *target, const char *name, const char **out)
{
    char *directory = path_directory(arena, target);
    *out = directory == NULL ? NULL : path_join(arena, directory, name);
    return memory_check(*out);
}

static struct error *declare(
    struct arena *arena, const char *key, const char *value, struct beginning *out)
{
    const char *quoted = NULL;
    TRY(quote(arena, value, &quoted));
    out->declaration = arena_format(arena, "{ \"%s\": %s }", key, quoted);
    return memory_check(out->declaration);
}

/* A directory inside the tree is a source under its own name. */
static struct error *use_directory(struct cli *cli, const char *word, struct beginning *out)
{
    const char *inside;
    struct error *error = place_target(cli->arena, &cli->place, word, &inside);
    if (error == NULL && inside[0] != '\0') {
        out->source = inside;
        return declare(cli->arena, "dir", inside, out);
    }
    error_free(error);
    char *absolute;
    size_t length = strlen(word);
    TRY(place_absolute(cli->arena, cli->place.origin, word, &absolute));
    TRY(beside(cli->arena, out->target, path_base(absolute), &out->source));
    while (length > 1 && word[length - 1] == '/')
        length--;
    char *path = arena_copy(cli->arena, word, length);
    return path == NULL ? error_memory() : declare(cli->arena, "dir", path, out);
}

static struct error *find_source(struct cli *cli, const char *word, struct beginning *out)
{
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(file_stat(word, &kind, &stamp));
    if (kind == FILE_DIRECTORY)
        return use_directory(cli, word, out);
    if (!is_repository(word))
        return error_new(ERROR_USAGE,
            "\"%s\" is neither a directory nor a repository such as GMLHUHE/PsyLLM", word);
    TRY(beside(cli->arena, out->target, path_base(word), &out->source));
    return declare(cli->arena, "hub", word, out);
}

static struct error *check_names(const struct beginning *beginning)
{
    if (beginning->target[0] == '\0')
        return error_new(ERROR_USAGE, "the target must be a directory of its own, not this one");
    if (strcmp(beginning->source, beginning->target) == 0 ||
        path_is_below(beginning->target, beginning->source) ||
        path_is_below(beginning->source, beginning->target))
        return error_new(ERROR_USAGE,
            "the target \"%s\" must be another directory than the source \"%s\"", beginning->target,
            beginning->source);
    return NULL;
}

static struct error *render(
    struct arena *arena, const struct beginning *beginning, struct text *out)
{
    const char *source = NULL, *target = NULL;
    TRY(quote(arena, beginning->source, &source));
    TRY(quote(arena, beginning->target, &target));
    char *text = arena_format(arena,
        "{\n"
        "  \"psybuild\": 1,\n"
        "  \"sources\": {\n"
        "    %s: %s\n"
        "  },\n"
        "  \"artifacts\": {\n"
        "    %s: { \"recipe\": \"mlx\", \"from\": %s, \"with\": { \"bits\": 4 } }\n"
        "  }\n"
        "}\n",
        source, beginning->declaration, target, source);
    TRY(memory_check(text));
    *out = text_of(text);
    return NULL;
}

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct beginning beginning = {0};
    struct text text;
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_expect_words(cli, &words, 2, 2));
    TRY(file_stat(manifest_name, &kind, &stamp));
    if (kind != FILE_ABSENT)
        return error_new(
            ERROR_USAGE, "there is a %s here already; it is left as it is", manifest_name);
    TRY(place_target(cli->arena, &cli->place, words.items[1], &beginning.target));
    TRY(find_source(cli, words.items[0], &beginning));
    TRY(check_names(&beginning));
    TRY(render(cli->arena, &beginning, &text));
    TRY(file_replace_whole(manifest_name, text));
    terminal_say(cli->terminal, TONE_PLAIN, "psybuild: wrote %s: %s at 4 bits, from %s",
        manifest_name, beginning.target, words.items[0]);
    terminal_say(
        cli->terminal, TONE_PLAIN, "psybuild: make it with: psybuild %s", beginning.target);
    return NULL;
}

const struct tool tool_init = {
    .name = "init", .usage = "REPO|DIR TARGET", .help = "write a first psybuild.json", .run = run};
