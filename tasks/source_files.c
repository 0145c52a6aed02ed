/* source_files.c - sources of kind "files": single addresses, each with the hash that it must have.
 */
#include <string.h>

#include "tasks/formats/hub_reply.h"
#include "tasks/formats/url.h"
#include "tasks/lock.h"
#include "tasks/registry.h"
#include "tasks/source.h"

static struct error *check_file_name(
    struct arena *arena, const struct json *files, const struct json_member *member)
{
    const char *name = member->key.bytes;
    struct hub_file file = {.path = name, .git = "-"};
    struct hub_files one = {&file, 1}, chosen;
    struct error *fault = strlen(name) == member->key.length
                              ? lock_select(arena, &one, NULL, &chosen)
                              : hub_path_check(member->key);
    if (fault != NULL) {
        error_free(fault);
        return json_error_key(files, member,
            "a file's name must be a path inside the source's directory, not \"%s\"", name);
    }
    char *directory = path_directory(arena, name);
    for (; directory != NULL && directory[0] != '\0'; directory = path_directory(arena, directory))
        if (json_get(files, directory) != NULL)
            return json_error_key(
                files, member, "\"%s\" cannot be both a file and a directory", directory);
    return memory_check(directory);
}

static bool is_sha256(const struct json *value)
{
    if (!json_is(value, JSON_STRING) || !text_starts_with(value->text, "sha256:"))
        return false;
    return text_is_hex(
        (struct text){value->text.bytes + 7, value->text.length - 7}, HUB_HASH_MAX - 1);
}

static bool is_url(const struct json *value)
{
    return json_is(value, JSON_STRING) && strlen(value->text.bytes) == value->text.length &&
           url_scheme_of(value->text.bytes) != URL_NONE;
}

static struct error *check_url_file(struct arena *arena, const struct json *object)
{
    if (object->kind != JSON_OBJECT)
        return json_error(object, "a file must be an object with \"url\" and \"hash\", not %s",
            json_show(arena, object));
    for (size_t i = 0; i < object->count; i++)
        if (!text_is(object->members[i].key, "url") && !text_is(object->members[i].key, "hash"))
            return json_error_key(object, &object->members[i],
                "unknown key \"%s\" in a file: it has \"url\" and \"hash\"",
                object->members[i].key.bytes);
    const struct json *url = json_get(object, "url"), *hash = json_get(object, "hash");
    if (!is_url(url))
        return json_error(url != NULL ? url : object,
            "\"url\" must be an http://, https:// or file:// address without user and spaces, "
            "not %s",
            json_show(arena, url));
    if (!is_sha256(hash))
        return json_error(hash != NULL ? hash : object,
            "\"hash\" must be \"sha256:\" and 64 lower-case hex digits, not %s",
            json_show(arena, hash));
    return NULL;
}

static struct error *describe_url_file(struct source_context *context, const struct json *files,
    const struct json_member *member, struct source_file *out)
{
    const struct json *object = &member->value;
    TRY(check_file_name(context->arena, files, member));
    TRY(check_url_file(context->arena, object));
    struct source_parameters *parameters = source_parameters_new(context, object);
    TRY(memory_check(parameters));
    source_add_string(parameters, "url", json_get(object, "url")->text.bytes);
    *out = (struct source_file){.path = member->key.bytes,
        .identity = json_get(object, "hash")->text.bytes,
        .size_bytes = PLAN_SIZE_UNKNOWN,
        .parameters = &parameters->object};
    return NULL;
}

static struct error *list_files(struct source_context *context, const char *directory,
    const struct json *declaration, struct source_file **out, size_t *count)
{
    (void)directory;
    const struct json *files = json_get(declaration, "files");
    if (files->kind != JSON_OBJECT)
        return json_error(
            files, "\"files\" must be an object, not %s", json_show(context->arena, files));
    if (files->count == 0)
        return json_error(files, "\"files\" must hold at least one file");
    struct source_file *items = arena_array(context->arena, files->count, sizeof *items);
    TRY(memory_check(items));
    for (size_t i = 0; i < files->count; i++)
        TRY(describe_url_file(context, files, &files->members[i], &items[i]));
    *out = items;
    *count = files->count;
    return NULL;
}

static const struct param_spec files_params[] = {
    {.name = "keep", .type = PARAM_STRING, .words = source_keep_words, .help = SOURCE_KEEP_HELP},
    {.name = NULL},
};
const struct source_kind source_files = {
    .key = "files",
    .params = files_params,
    .help = "name -> {\"url\": an http://, https:// or file:// address, \"hash\": \"sha256:HEX\"}",
    .list = list_files,
};
