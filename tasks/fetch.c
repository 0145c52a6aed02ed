/* fetch.c - sources that are somewhere else, and task "fetch", which brings their files.
 *
 * A source of kind "hub" or "files" is listed without asking anybody whenever the lock or the
 * manifest says what its files are. Each file becomes a node of task "fetch" with one streamed
 * piece: the bytes are written and hashed as they arrive, and nothing gets its name before its size
 * and hash are what they must be. How a file is got (its parameters) is no part of its key. */
#include <assert.h>
#include <string.h>

#include "tasks/formats/digest.h"
#include "tasks/formats/hub.h"
#include "tasks/formats/hub_reply.h"
#include "tasks/formats/url.h"
#include "tasks/lock.h"
#include "tasks/registry.h"

/* ---- parameters of a file's node ---- */

enum { PARAMETERS_MAX = 7 };

/* An object built member by member, placed where its source is declared. */
struct parameters {
    struct json object;
    struct json_member members[PARAMETERS_MAX];
};

static void add_value(struct parameters *parameters, const char *key, struct json value)
{
    assert(parameters->object.count < PARAMETERS_MAX);
    value.document = parameters->object.document;
    value.offset = parameters->object.offset;
    parameters->members[parameters->object.count++] =
        (struct json_member){.key = text_of(key), .value = value};
}

static void add_string(struct parameters *parameters, const char *key, const char *string)
{
    add_value(parameters, key, (struct json){.kind = JSON_STRING, .text = text_of(string)});
}

static struct error *add_size(
    struct arena *arena, struct parameters *parameters, const char *key, uint64_t size)
{
    const char *digits = arena_format(arena, "%llu", (unsigned long long)size);
    if (digits == NULL)
        return error_memory();
    add_value(parameters, key,
        (struct json){.kind = JSON_NUMBER,
            .is_integer = true,
            .number = (double)size,
            .text = text_of(digits)});
    return NULL;
}

static void add_flag(struct parameters *parameters, const char *key, bool value)
{
    add_value(parameters, key, (struct json){.kind = JSON_BOOL, .boolean = value});
}

static struct parameters *new_parameters(struct arena *arena, const struct json *declaration)
{
    struct parameters *parameters = arena_alloc(arena, sizeof *parameters);
    if (parameters != NULL)
        parameters->object = (struct json){.kind = JSON_OBJECT,
            .document = declaration->document,
            .offset = declaration->offset,
            .members = parameters->members};
    return parameters;
}

/* ---- sources of a hub ---- */

static const char *type_word(enum hub_type type)
{
    return type == HUB_DATASET ? "dataset" : "model";
}

static struct error *describe_hub_file(struct source_context *context,
    const struct json *declaration, const struct lock_source *source, const struct hub_file *file,
    struct source_file *out)
{
    struct arena *arena = context->arena;
    bool is_lfs = file->sha256[0] != '\0';
    struct parameters *parameters = new_parameters(arena, declaration);
    const char *identity =
        arena_format(arena, "%s:%s", is_lfs ? "sha256" : "git", is_lfs ? file->sha256 : file->git);
    if (parameters == NULL || identity == NULL)
        return error_memory();
    add_string(parameters, "hub", source->repo.id);
    add_string(parameters, "type", type_word(source->repo.type));
    add_string(parameters, "commit", source->commit);
    add_string(parameters, "path", file->path);
    add_string(parameters, "identity", identity);
    TRY(add_size(arena, parameters, "size", file->size_bytes));
    add_flag(parameters, "offline", context->is_offline);
    *out = (struct source_file){.path = file->path,
        .identity = identity,
        .size_bytes = file->size_bytes,
        .parameters = &parameters->object};
    return NULL;
}

static struct error *describe_hub_files(struct source_context *context,
    const struct json *declaration, const struct lock_source *source, struct source_file **files,
    size_t *count)
{
    struct lock_source *kept = arena_alloc(context->arena, sizeof *kept);
    struct source_file *items = arena_array(context->arena, source->files.count, sizeof *items);
    if (kept == NULL || items == NULL)
        return error_memory();
    *kept = *source; /* parameters point to its commit */
    for (size_t i = 0; i < kept->files.count; i++)
        TRY(describe_hub_file(context, declaration, kept, &kept->files.items[i], &items[i]));
    *files = items;
    *count = kept->files.count;
    return NULL;
}

/* Whether the lock may change, and the hub be asked; `locked` is the entry that does not fit. */
static struct error *may_ask(const struct source_context *context, const char *directory,
    const struct json *declaration, const struct lock_source *wanted,
    const struct lock_source *locked)
{
    if (!context->is_frozen && !context->is_offline)
        return NULL;
    const char *what = "is not in";
    if (locked != NULL)
        what = lock_same_revision(locked, wanted)
                   ? "has another \"include\" or \"exclude\" than in"
                   : "has another \"hub\", \"type\" or \"revision\" than in";
    return json_error(json_get(declaration, "hub"), "source \"%s\" %s %s, %s", directory, what,
        context->lock_path,
        context->is_frozen ? "which --frozen forbids changing"
                           : "and offline its files cannot be listed");
}

static struct error *ask(const struct hub *hub, struct arena *arena, struct lock_source *wanted)
{
    struct hub_files listed;
    if (wanted->commit[0] == '\0')
        TRY(hub_resolve(hub, &wanted->repo, wanted->revision, wanted->commit));
    TRY(hub_list(arena, hub, &wanted->repo, wanted->commit, &listed));
    return lock_select(arena, &listed, &wanted->filter, &wanted->files);
}

/* The commit, unless it is known, and the wanted files with their hashes. */
static struct error *ask_hub(
    struct source_context *context, const struct hub_settings *settings, struct lock_source *wanted)
{
    struct http_policy policy = HTTP_POLICY_DEFAULT;
    struct hub hub = {.settings = settings};
    char *line = arena_format(context->arena, "listing %s", wanted->repo.id);
    if (line == NULL)
        return error_memory();
    if (context->say != NULL)
        context->say(context->say_context, line);
    hub_settings_apply(settings, &policy);
    TRY(http_client_open(&policy, &hub.client));
    struct error *error = ask(&hub, context->arena, wanted);
    http_client_close(hub.client);
    if (error == NULL)
        return NULL;
    return error_wrap(error, "listing %s at revision %s", wanted->repo.id, wanted->revision);
}

/* The lock is read again: what another build wrote meanwhile is kept. */
static struct error *write_lock(struct source_context *context, const struct lock_source *source)
{
    struct lock lock;
    if (context->is_dry)
        return NULL;
    TRY(lock_read(context->arena, context->lock_path, &lock));
    TRY(lock_put(context->arena, &lock, source));
    return lock_write(context->arena, &lock, context->lock_path);
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
    if (is_same_revision && lock_same_filter(locked, &wanted))
        return describe_hub_files(context, declaration, locked, files, count);
    struct hub_settings settings;
    TRY(may_ask(context, directory, declaration, &wanted, locked));
    TRY(hub_settings_read(context->arena, &settings));
    if (is_same_revision) /* the lists changed: the same commit, other files of it */
        memcpy(wanted.commit, locked->commit, sizeof wanted.commit);
    TRY(ask_hub(context, &settings, &wanted));
    TRY(write_lock(context, &wanted));
    return describe_hub_files(context, declaration, &wanted, files, count);
}

static const char *const keep_words[] = {"always", "until-used", NULL};
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
    {.name = "keep", .type = PARAM_STRING, .words = keep_words, .help = "default: always"},
    {.name = NULL},
};
const struct source_kind source_hub = {
    .key = "hub",
    .params = hub_params,
    .help = "a repository org/name of the Hugging Face Hub",
    .list = list_hub,
};

/* ---- sources of single addresses ---- */

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
    return directory == NULL ? error_memory() : NULL;
}

static bool is_sha256(const struct json *value)
{
    if (!json_is(value, JSON_STRING) || !text_starts_with(value->text, "sha256:"))
        return false;
    return hub_is_hex(
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
    struct parameters *parameters = new_parameters(context->arena, object);
    if (parameters == NULL)
        return error_memory();
    add_string(parameters, "identity", json_get(object, "hash")->text.bytes);
    add_string(parameters, "url", json_get(object, "url")->text.bytes);
    add_flag(parameters, "offline", context->is_offline);
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
    if (items == NULL)
        return error_memory();
    for (size_t i = 0; i < files->count; i++)
        TRY(describe_url_file(context, files, &files->members[i], &items[i]));
    *out = items;
    *count = files->count;
    return NULL;
}

static const struct param_spec files_params[] = {
    {.name = "keep", .type = PARAM_STRING, .words = keep_words, .help = "default: always"},
    {.name = NULL},
};
const struct source_kind source_files = {
    .key = "files",
    .params = files_params,
    .help = "name -> {\"url\": an http://, https:// or file:// address, \"hash\": \"sha256:HEX\"}",
    .list = list_files,
};

/* ---- the plan ---- */

/* What the piece is to bring. */
struct request {
    const char *name; /* of the node, for errors */
    const char *identity;
    const char *url; /* NULL: from the hub */
    struct hub_repo repo;
    const char *commit;
    struct hub_file file;
    bool is_offline;
};

/* The file as the hub's calls want it, from "git:HEX" or "sha256:HEX". */
static struct hub_file hub_file_of(const char *path, uint64_t size_bytes, const char *identity)
{
    struct hub_file file = {.path = path, .size_bytes = size_bytes};
    const char *hex = strchr(identity, ':') + 1;
    bool is_git = strncmp(identity, "git:", 4) == 0;
    char *to = is_git ? file.git : file.sha256;
    memcpy(to, hex, (is_git ? sizeof file.git : sizeof file.sha256) - 1);
    return file;
}

static struct error *fetch_plan(struct plan *plan, const struct node *node)
{
    (void)node;
    struct request *request = arena_alloc(plan_arena(plan), sizeof *request);
    const char *identity = plan_param_text(plan, "identity", NULL);
    uint64_t size_bytes = plan_param_u64(plan, "size", PLAN_SIZE_UNKNOWN);
    bool is_sized = size_bytes != PLAN_SIZE_UNKNOWN;
    uint32_t output;
    if (request == NULL)
        return error_memory();
    *request = (struct request){.name = plan_name(plan),
        .identity = identity,
        .url = plan_param_text(plan, "url", NULL),
        .commit = plan_param_text(plan, "commit", NULL),
        .is_offline = plan_param_bool(plan, "offline", false)};
    request->repo.id = plan_param_text(plan, "hub", NULL);
    if (strcmp(plan_param_text(plan, "type", "model"), "dataset") == 0)
        request->repo.type = HUB_DATASET;
    request->file =
        hub_file_of(plan_param_text(plan, "path", plan_name(plan)), size_bytes, identity);
    TRY(plan_output(plan, plan_name(plan), size_bytes, &output));
    TRY(plan_output_identity(plan, output, identity));
    struct piece piece = {.key = text_of(identity),
        .parameters = request,
        .output_count = 1,
        .is_streamed = true,
        .weight_bytes = is_sized ? size_bytes : 0};
    piece.outputs[0] = (struct piece_range){output, 0, is_sized ? size_bytes : 0};
    return plan_piece(plan, &piece);
}

/* ---- the download ---- */

struct transfer {
    struct work *work;
    const struct request *request;
    const struct hub_settings *settings;
    struct http_client *client;
    struct digest *digest;
    uint64_t count; /* bytes that arrived */
};

static struct error *take_bytes(void *context, const void *bytes, size_t length)
{
    struct transfer *transfer = context;
    TRY(work_write(transfer->work, 0, transfer->count, bytes, length));
    TRY(digest_update(transfer->digest, bytes, length));
    transfer->count += length;
    work_progress(transfer->work, length);
    return NULL;
}

static struct error *get_from_hub(struct transfer *transfer)
{
    const struct request *request = transfer->request;
    struct hub hub = {.client = transfer->client, .settings = transfer->settings};
    struct hub_fetch fetch = {.repo = &request->repo,
        .commit = request->commit,
        .file = &request->file,
        .end = request->file.size_bytes,
        .on_body = take_bytes,
        .context = transfer};
    return hub_fetch_range(work_arena(transfer->work), &hub, &fetch, NULL);
}

/* Ranged, so that a connection that breaks is taken up where it broke. */
static struct error *get_from_url(struct transfer *transfer)
{
    const struct request *request = transfer->request;
    struct http_request get = {.url = request->url,
        .is_ranged = true,
        .end = HTTP_SIZE_UNKNOWN,
        .size_total = HTTP_SIZE_UNKNOWN,
        .size_max = UINT64_MAX,
        .on_body = take_bytes,
        .context = transfer};
    struct http_reply reply;
    if (transfer->settings->is_offline && url_scheme_of(request->url) != URL_FILE)
        return error_new(
            ERROR_NETWORK, "%s: offline, so psybuild cannot download it", request->name);
    TRY(http_get(transfer->client, work_arena(transfer->work), &get, &reply));
    return reply.status == 200 ? NULL : http_status_error(&reply);
}

static struct error *check_content(struct transfer *transfer)
{
    const struct request *request = transfer->request;
    uint64_t size_bytes = request->file.size_bytes;
    char hex[DIGEST_HEX_MAX];
    if (size_bytes != PLAN_SIZE_UNKNOWN && transfer->count != size_bytes)
        return error_new(ERROR_DAMAGE, "%s: expected %llu bytes, found %llu", request->name,
            (unsigned long long)size_bytes, (unsigned long long)transfer->count);
    TRY(digest_hex(transfer->digest, hex));
    size_t kind_length = strcspn(request->identity, ":") + 1;
    if (strcmp(request->identity + kind_length, hex) == 0)
        return NULL;
    return error_new(ERROR_DAMAGE, "%s: expected %s, found %.*s%s", request->name,
        request->identity, (int)kind_length, request->identity, hex);
}

/* The whole file, over connections of its own. */
static struct error *download(struct transfer *transfer)
{
    const struct request *request = transfer->request;
    struct http_policy policy = HTTP_POLICY_DEFAULT;
    bool is_git = request->file.git[0] != '\0';
    transfer->count = 0;
    hub_settings_apply(transfer->settings, &policy);
    policy.cancel = work_cancel_flag(transfer->work);
    TRY(digest_begin(
        is_git ? DIGEST_GIT_BLOB : DIGEST_SHA256, request->file.size_bytes, &transfer->digest));
    struct error *error = http_client_open(&policy, &transfer->client);
    if (error == NULL) {
        error = request->url != NULL ? get_from_url(transfer) : get_from_hub(transfer);
        http_client_close(transfer->client);
    }
    if (error == NULL)
        error = check_content(transfer);
    digest_end(transfer->digest);
    return error;
}

/* What arrived is not what was wanted: nothing of it may stay, nor count. */
static struct error *take_back(struct transfer *transfer)
{
    struct file *file;
    work_progress(transfer->work, 0 - transfer->count); /* the counter wraps: a subtraction */
    if (transfer->request->file.size_bytes != PLAN_SIZE_UNKNOWN)
        return NULL; /* will be overwritten byte by byte */
    TRY(file_open_staged(work_staged_path(transfer->work, 0), &file));
    struct error *error = file_set_size(file, 0);
    file_close(file);
    return error;
}

static struct error *wrap(
    struct work *work, const struct request *request, bool is_second, struct error *error)
{
    const char *again = is_second ? ", for the second time" : "";
    const char *url = request->url == NULL ? NULL : url_shown(work_arena(work), request->url);
    if (request->url == NULL)
        return error_wrap(error, "fetching %s of %s at commit %s%s", request->file.path,
            request->repo.id, request->commit, again);
    return error_wrap(error, "fetching %s%s", url != NULL ? url : request->name, again);
}

static struct error *fetch_make(struct work *work, const struct piece *piece)
{
    const struct request *request = piece->parameters;
    struct hub_settings settings;
    struct transfer transfer = {.work = work, .request = request, .settings = &settings};
    TRY(hub_settings_read(work_arena(work), &settings));
    settings.is_offline = settings.is_offline || request->is_offline;
    bool is_second = false;
    struct error *error = download(&transfer);
    if (error != NULL && error_kind_of(error) == ERROR_DAMAGE) {
        error_free(error);
        is_second = true;
        error = take_back(&transfer);
        if (error == NULL)
            error = download(&transfer);
    }
    if (error != NULL)
        return wrap(work, request, is_second, error);
    work_set_identity(work, request->identity);
    return NULL;
}

static const struct role_spec fetch_roles[] = {{.name = NULL}};
static const struct param_spec fetch_params[] = {{.name = NULL}};

const struct task_type task_fetch = {
    .name = "fetch",
    .help = "a file of a hub or of an address, verified; made by \"sources\", not by hand",
    .version = 1,
    .is_network = true,
    .roles = fetch_roles,
    .params = fetch_params,
    .plan = fetch_plan,
    .make = fetch_make,
};
