/* source_hub.c - sources of kind "hub": the files of a repository at the commit that the lock
 * names, or, where no entry of the lock fits, that the hub gives now. */
#include <string.h>

#include "tasks/formats/hub.h"
#include "tasks/formats/hub_local.h"
#include "tasks/lock.h"
#include "tasks/registry.h"
#include "tasks/source.h"

static const char *type_word(enum hub_type type)
{
    return type == HUB_DATASET ? "dataset" : "model";
}

static struct error *describe_file(struct arena *arena, const struct json *parameters,
    const struct hub_file *file, struct source_file *out)
{
    bool is_lfs = file->sha256[0] != '\0';
    const char *identity =
        arena_format(arena, "%s:%s", is_lfs ? "sha256" : "git", is_lfs ? file->sha256 : file->git);
    TRY(memory_check(identity));
    *out = (struct source_file){.path = file->path,
        .identity = identity,
        .size_bytes = file->size_bytes,
        .parameters = parameters,
        .partial = HUB_LOCAL_DIRECTORY "/psybuild"}; /* where hub tools expect such things */
    return NULL;
}

static struct error *describe_files(struct source_context *context, const struct json *declaration,
    const struct lock_source *source, struct source_file **files, size_t *count)
{
    struct lock_source *kept = arena_alloc(context->arena, sizeof *kept);
    struct source_file *items = arena_array(context->arena, source->files.count, sizeof *items);
    struct source_parameters *parameters = source_parameters_new(context, declaration);
    if (kept == NULL || items == NULL || parameters == NULL)
        return error_memory();
    *kept = *source; /* parameters point to its commit */
    source_add_string(parameters, "directory", kept->directory);
    source_add_string(parameters, "hub", kept->repo.id);
    source_add_string(parameters, "type", type_word(kept->repo.type));
    source_add_string(parameters, "commit", kept->commit);
    for (size_t i = 0; i < kept->files.count; i++)
        TRY(describe_file(context->arena, &parameters->object, &kept->files.items[i], &items[i]));
    *files = items;
    *count = kept->files.count;
    return NULL;
}

/* Whether the lock may change, and the hub be asked; `locked` is the entry that does not fit, or
 * that is asked for anew. */
static struct error *may_ask(const struct source_context *context, const char *directory,
    const struct json *declaration, const struct lock_source *wanted,
    const struct lock_source *locked)
{
    if (!context->is_frozen && !context->is_offline)
        return NULL;
    const char *what = "is not in";
    if (locked != NULL && !lock_same_revision(locked, wanted))
        what = "has another \"hub\", \"type\" or \"revision\" than in";
    else if (locked != NULL && !lock_same_filter(locked, wanted))
        what = "has another \"include\" or \"exclude\" than in";
    else if (locked != NULL)
        what = "cannot be refreshed in";
    return json_error(json_get(declaration, "hub"), "source \"%s\" %s %s, %s", directory, what,
        context->lock_path,
        context->is_frozen ? "which --frozen forbids changing"
                           : "and offline its files cannot be listed");
}

/* A whole listing is worth keeping for the hub's own client, if all its names are fit to be: with
 * it, that client asks the hub for nothing, either. */
static struct error *note_tree(
    struct arena *arena, const struct lock_source *source, const struct hub_files *listed)
{
    struct hub_files all;
    struct error *error = lock_select(arena, listed, NULL, &all);
    if (error == NULL)
        return hub_local_note_tree(arena, source->directory, source->commit, &all);
    error_free(error);
    return NULL;
}

static struct error *ask(
    const struct hub *hub, struct source_context *context, struct lock_source *wanted)
{
    struct hub_files listed;
    if (wanted->commit[0] == '\0')
        TRY(hub_resolve(hub, &wanted->repo, wanted->revision, wanted->commit));
    TRY(hub_list(context->arena, hub, &wanted->repo, wanted->commit, &listed));
    TRY(lock_select(context->arena, &listed, &wanted->filter, &wanted->files));
    return context->is_dry ? NULL : note_tree(context->arena, wanted, &listed);
}

/* The commit, unless it is known, and the wanted files with their hashes. */
static struct error *ask_hub(
    struct source_context *context, const struct hub_settings *settings, struct lock_source *wanted)
{
    struct http_policy policy = HTTP_POLICY_DEFAULT;
    struct hub hub = {.settings = settings};
    char *line = arena_format(context->arena, "listing %s", wanted->repo.id);
    TRY(memory_check(line));
    if (context->say != NULL)
        context->say(context->say_context, line);
    hub_settings_apply(settings, &policy);
    TRY(http_client_open(&policy, &hub.client));
    struct error *error = ask(&hub, context, wanted);
    http_client_close(hub.client);
    if (error == NULL)
        return NULL;
    return error_wrap(error, "listing %s at revision %s", wanted->repo.id, wanted->revision);
}

/* The lock is read again: what another build wrote meanwhile is kept. */
static struct error *write_lock(struct source_context *context, const struct lock_source *source)
{
    struct lock lock;
    struct text before, after;
    TRY(lock_read(context->arena, context->lock_path, &lock));
    TRY(lock_print(context->arena, &lock, &before));
    TRY(lock_put(context->arena, &lock, source));
    TRY(lock_print(context->arena, &lock, &after));
    if (context->is_dry || text_equal(before, after)) /* it may be watched */
        return NULL;
    TRY(lock_write(context->arena, &lock, context->lock_path));
    context->has_written_lock = true;
    return file_stat_settled(context->lock_path, &context->lock_stamp);
}

static struct error *list_hub(struct source_context *context, const char *directory,
    const struct json *declaration, struct source_file **files, size_t *count)
{
    struct lock lock;
    struct lock_source wanted = {.directory = directory};
    TRY(lock_read_declaration(context->arena, declaration, &wanted));
    TRY(lock_read(context->arena, context->lock_path, &lock));
    const struct lock_source *locked = lock_find(&lock, directory);
    bool is_same_revision = locked != NULL && lock_same_revision(locked, &wanted);
    if (is_same_revision && lock_same_filter(locked, &wanted) && !context->is_refreshing)
        return describe_files(context, declaration, locked, files, count);
    struct hub_settings settings;
    TRY(may_ask(context, directory, declaration, &wanted, locked));
    TRY(hub_settings_read(context->arena, &settings));
    if (is_same_revision && !context->is_refreshing) /* of the same commit other files */
        memcpy(wanted.commit, locked->commit, sizeof wanted.commit);
    TRY(ask_hub(context, &settings, &wanted));
    TRY(write_lock(context, &wanted));
    return describe_files(context, declaration, &wanted, files, count);
}

static const char *const type_words[] = {"model", "dataset", NULL};
static const struct param_spec hub_params[] = {
    {.name = "type", .type = PARAM_STRING, .words = type_words, .help = "default: model"},
    {.name = "revision",
        .type = PARAM_STRING,
        .help = "branch, tag or commit; default: main; the lock says which commit that is"},
    {.name = "include",
        .type = PARAM_LIST,
        .help = "patterns of the files to fetch, '*' crosses '/'; default: all"},
    {.name = "exclude", .type = PARAM_LIST, .help = "patterns of the files to leave out"},
    {.name = "keep", .type = PARAM_STRING, .words = source_keep_words, .help = SOURCE_KEEP_HELP},
    {.name = NULL},
};
const struct source_kind source_hub = {
    .key = "hub",
    .params = hub_params,
    .help = "a repository org/name of the Hugging Face Hub",
    .list = list_hub,
};
