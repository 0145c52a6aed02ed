/* fetch.c - task "fetch": a file of a hub or of an address, verified.
 *
 * A file of known size is cut into ranges, a piece each. The network threads fetch them side by
 * side, the engine hashes and logs them as they come, so the next run takes up what is there.
 * Behind the completed beginning follows the file's own hash (SHA-256, or git's), which seal
 * compares before the file gets its name. What lies here already, in the cache of the hub's own
 * client or made by another node, is copied and verified instead. An address is asked for one byte
 * before, which tells its size; if it does not, the file is one piece, and so is an empty one.
 *
 *   why a plan is given up (work_plan_again)       what the next one does
 *   FETCH_AFRESH      other bytes came than must   new connections, a new redirect for each range;
 *                                                  an address in one piece
 *   FETCH_WHOLE       the server knows no ranges   one piece
 *   FETCH_NOT_LOCAL   what lies here is damaged    downloads
 *
 * When the same happens again it is the error. */
#include <assert.h>
#include <string.h>

#include "base/wire.h"
#include "tasks/formats/digest.h"
#include "tasks/formats/http_header.h"
#include "tasks/formats/hub.h"
#include "tasks/formats/hub_cache.h"
#include "tasks/formats/hub_local.h"
#include "tasks/formats/safetensors.h"
#include "tasks/formats/url.h"
#include "tasks/registry.h"

enum fetch_again { FETCH_AFRESH = 1, FETCH_WHOLE = 2, FETCH_NOT_LOCAL = 4 };

enum {
    COPY_BYTES = 64 << 20, /* between two looks at the cancel flag */
    FOLLOW_BYTES = 256 << 10,
    RANGE_BYTES_MIN = PIECE_BYTES_MAX, /* whole blocks of the engine's */
    HINT_FILE_BYTES_MIN = 4 << 20,     /* a smaller file is here as soon as its header is */
    HINT_BYTES = 64 << 10,             /* of a safetensors file: most headers are shorter */
    HINT_BYTES_MAX = 4 << 20,          /* a file with a longer header is read when it is here */
};
#define ADDRESS_BYTES_MAX ((uint64_t)1 << 40) /* that a stranger's word is planned for */

/* ---- what is wanted ---- */

struct request {
    const char *name; /* of the node, for errors */
    const char *identity;
    const char *url; /* NULL: from the hub */
    struct hub_repo repo;
    const char *directory; /* of the hub's source */
    const char *commit;
    struct hub_file file; /* the size HTTP_SIZE_UNKNOWN for an address */
    uint64_t rate_bytes;
    bool is_offline;
    unsigned again;    /* enum fetch_again */
    const char *local; /* where the content lies already; NULL: nowhere */
};

static const char *text_param(const struct node *node, const char *name, const char *fallback)
{
    const struct json *value = node_param(node, name);
    return value == NULL ? fallback : value->text.bytes;
}

static uint64_t number_param(const struct node *node, const char *name, uint64_t fallback)
{
    const struct json *value = node_param(node, name);
    int64_t number;
    return value != NULL && json_to_i64(value, &number) ? (uint64_t)number : fallback;
}

static void set_identity(struct hub_file *file, const char *identity)
{
    const char *hex = strchr(identity, ':') + 1;
    bool is_git = strncmp(identity, "git:", 4) == 0;
    memcpy(is_git ? file->git : file->sha256, hex,
        (is_git ? sizeof file->git : sizeof file->sha256) - 1);
}

static struct request request_of(const struct node *node)
{
    const struct json *offline = node_param(node, "offline");
    bool is_dataset = strcmp(text_param(node, "type", "model"), "dataset") == 0;
    const struct source_file *source = node_source(node);
    struct request request = {.name = node_name(node),
        .identity = source->identity,
        .url = text_param(node, "url", NULL),
        .repo = {is_dataset ? HUB_DATASET : HUB_MODEL, text_param(node, "hub", NULL)},
        .directory = text_param(node, "directory", NULL),
        .commit = text_param(node, "commit", NULL),
        .file = {.path = source->path, .size_bytes = source->size_bytes},
        .rate_bytes = number_param(node, "rate", 0),
        .is_offline = offline != NULL && offline->boolean};
    set_identity(&request.file, request.identity);
    return request;
}

static enum digest_kind kind_of(const struct request *request)
{
    return request->file.git[0] != '\0' ? DIGEST_GIT_BLOB : DIGEST_SHA256;
}

static struct error *wrap(struct arena *arena, const struct request *request, struct error *error)
{
    bool is_second = error_kind_of(error) == ERROR_DAMAGE && (request->again & FETCH_AFRESH) != 0;
    const char *again = is_second ? ", for the second time" : "";
    const char *url = request->url == NULL ? NULL : url_shown(arena, request->url);
    if (request->url == NULL)
        return error_wrap(error, "fetching %s of %s at commit %s%s", request->file.path,
            request->repo.id, request->commit, again);
    return error_wrap(error, "fetching %s%s", url != NULL ? url : request->name, again);
}

/* ---- the plan ---- */

static struct error *find_local(struct plan *plan, struct request *request)
{
    struct hub_settings settings;
    request->local = plan_alike(plan);
    if (request->local != NULL || request->url != NULL)
        return NULL;
    TRY(hub_settings_read(plan_arena(plan), &settings));
    request->is_offline = request->is_offline || settings.is_offline;
    return hub_cache_find(plan_arena(plan), settings.cache, &request->repo, request->commit,
        &request->file, &request->local);
}

static struct error *check_online(struct plan *plan, const struct request *request)
{
    bool is_here =
        request->local != NULL || (request->url != NULL && url_scheme_of(request->url) == URL_FILE);
    if (is_here || !request->is_offline)
        return NULL;
    struct error *error = error_new(
        ERROR_NETWORK, "%s is missing, and offline psybuild cannot download it", request->name);
    return wrap(plan_arena(plan), request, error);
}

struct range { /* of the file; the parameters of a piece */
    const struct request *request;
    uint64_t begin, end;
};

static struct error *plan_range(struct plan *plan, uint32_t output, const struct range *range)
{
    struct range *kept = arena_alloc(plan_arena(plan), sizeof *kept);
    char *key = arena_format(
        plan_arena(plan), "%s %llu", range->request->identity, (unsigned long long)range->begin);
    if (kept == NULL || key == NULL)
        return error_memory();
    *kept = *range;
    struct piece piece = {
        .key = text_of(key), .parameters = kept, .output_count = 1, .is_in_order = true};
    piece.outputs[0] = (struct piece_range){output, range->begin, range->end - range->begin};
    return plan_piece(plan, &piece);
}

/* The hash of a file whose ranges arrive: fed with its completed beginning. */
struct content {
    const struct request *request;
    struct file *file; /* staged; NULL until the first bytes are followed */
    struct digest *digest;
    unsigned char *buffer;
};

static void end_content(void *context)
{
    struct content *content = context;
    file_close(content->file);
    digest_end(content->digest);
    memory_free(content->buffer);
}

/* Towards the end of a large file ranges are shorter: connections end together, and the digest,
 * which cannot pass an unfinished range, has little left to do when the last is there. */
static uint64_t range_bytes(uint64_t size, uint64_t rest)
{
    uint64_t bytes = HTTP_POLICY_DEFAULT.range_bytes;
    while (size > 4 * bytes && bytes > RANGE_BYTES_MIN && rest <= 4 * bytes)
        bytes /= 2;
    return bytes < rest ? bytes : rest;
}

static struct error *plan_ranges(struct plan *plan, uint32_t output, const struct request *request)
{
    uint64_t size_bytes = request->file.size_bytes;
    bool is_whole = (request->again & FETCH_WHOLE) != 0;
    struct content *content = arena_alloc(plan_arena(plan), sizeof *content);
    TRY(memory_check(content));
    content->request = request;
    plan_context(plan, content, end_content);
    plan_output_blocks(plan, output);
    for (uint64_t begin = 0, end; begin < size_bytes; begin = end) {
        end = is_whole ? size_bytes : begin + range_bytes(size_bytes, size_bytes - begin);
        TRY(plan_range(plan, output, &(struct range){request, begin, end}));
    }
    return NULL;
}

static struct error *plan_at_once(struct plan *plan, uint32_t output, const struct request *request)
{
    struct range *range = arena_alloc(plan_arena(plan), sizeof *range);
    uint64_t size_bytes = request->file.size_bytes;
    TRY(memory_check(range));
    range->request = request;
    range->end = size_bytes;
    struct piece piece = {.key = text_of(request->identity),
        .parameters = range,
        .output_count = 1,
        .is_streamed = true,
        .weight_bytes = size_bytes == HTTP_SIZE_UNKNOWN ? 0 : size_bytes};
    piece.outputs[0] = (struct piece_range){output, 0, piece.weight_bytes};
    return plan_piece(plan, &piece);
}

/* Only the hash is the user's word. After damage, or without ranges, the file is streamed, whatever
 * its size is said to be. */
static struct error *find_size(struct plan *plan, struct request *request)
{
    if (request->local != NULL || (request->again & (FETCH_AFRESH | FETCH_WHOLE)) != 0)
        return NULL;
    return plan_hint_size(plan, &request->file.size_bytes);
}

static struct error *fetch_plan(struct plan *plan, const struct node *node)
{
    struct request *request = arena_alloc(plan_arena(plan), sizeof *request);
    uint32_t output;
    TRY(memory_check(request));
    *request = request_of(node);
    request->again = plan_again(plan);
    if ((request->again & FETCH_NOT_LOCAL) == 0)
        TRY(find_local(plan, request));
    TRY(check_online(plan, request));
    _Static_assert(HTTP_SIZE_UNKNOWN == PLAN_SIZE_UNKNOWN, "one word for it");
    if (request->url != NULL)
        TRY(find_size(plan, request));
    uint64_t size_bytes = request->file.size_bytes;
    TRY(plan_output(plan, request->name, size_bytes, &output));
    TRY(plan_output_identity(plan, output, request->identity));
    bool is_ranged = request->local == NULL && size_bytes != HTTP_SIZE_UNKNOWN && size_bytes > 0;
    return is_ranged ? plan_ranges(plan, output, request) : plan_at_once(plan, output, request);
}

/* ---- a thread's connection ---- */

/* Kept from one range to the next, so that most need neither a handshake nor a redirect. */
struct connection {
    struct arena arena; /* of the settings */
    struct hub_settings settings;
    struct http_client *client; /* NULL: closed */
    struct hub_place place;
};

static void disconnect(struct connection *connection)
{
    http_client_close(connection->client);
    hub_place_forget(&connection->place);
    arena_end(&connection->arena);
    *connection = (struct connection){0};
}

static void end_connection(void *kept)
{
    if (kept != NULL)
        disconnect(kept);
    memory_free(kept);
}

static struct error *connect_client(struct connection *connection, const struct work *work,
    const struct request *request, unsigned retry_count_max)
{
    struct http_policy policy = HTTP_POLICY_DEFAULT;
    policy.retry_count_max = retry_count_max;
    TRY(hub_settings_read(&connection->arena, &connection->settings));
    hub_settings_apply(&connection->settings, &policy);
    policy.cancel = work_cancel_flag(work);
    policy.rate_bytes = request->rate_bytes;
    return http_client_open(&policy, &connection->client);
}

/* The thread's; a new one for what arrived damaged over an old one. */
static struct error *connection_of(
    struct work *work, const struct request *request, struct connection **out)
{
    void **slot = work_kept(work, end_connection);
    struct connection *connection = *slot;
    if (connection == NULL) {
        connection = memory_alloc(sizeof *connection);
        TRY(memory_check(connection));
        *connection = (struct connection){0};
        *slot = connection;
    }
    if ((request->again & FETCH_AFRESH) != 0)
        disconnect(connection);
    if (connection->client == NULL)
        TRY(connect_client(connection, work, request, HTTP_POLICY_DEFAULT.retry_count_max));
    *out = connection;
    return NULL;
}

/* ---- the download ---- */

struct transfer {
    struct work *work;
    const struct request *request;
    uint64_t position;     /* in the file, of the next byte */
    struct digest *digest; /* NULL: the content is followed instead */
    /* of an address: */
    struct hub_place *place;
    bool is_part; /* less than the whole file is asked for, as far as one knows */
};

static struct error *take_bytes(void *context, const void *bytes, size_t length)
{
    struct transfer *transfer = context;
    TRY(work_write(transfer->work, 0, transfer->position, bytes, length));
    if (transfer->digest != NULL)
        TRY(digest_update(transfer->digest, bytes, length));
    transfer->position += length;
    work_progress(transfer->work, length);
    return NULL;
}

static struct error *get_from_hub(
    struct transfer *transfer, struct connection *connection, const struct range *range)
{
    const struct request *request = transfer->request;
    struct hub hub = {.client = connection->client, .settings = &connection->settings};
    struct hub_fetch fetch = {.repo = &request->repo,
        .commit = request->commit,
        .file = &request->file,
        .begin = range->begin,
        .end = range->end,
        .place = &connection->place,
        .on_body = take_bytes,
        .context = transfer};
    return hub_fetch_range(work_arena(transfer->work), &hub, &fetch, NULL);
}

/* Of the whole file; HTTP_SIZE_UNKNOWN when the answer does not say. */
static uint64_t size_told(const struct http_answer *answer)
{
    uint64_t begin, end, size = HTTP_SIZE_UNKNOWN;
    if (answer->status == 206)
        http_parse_content_range(http_header(answer, "Content-Range"), &begin, &end, &size);
    else if (answer->status == 200)
        http_parse_number(http_header(answer, "Content-Length"), &size);
    return size;
}

static struct error *check_answer(void *context, const struct http_answer *answer)
{
    const struct transfer *transfer = context;
    uint64_t size = size_told(answer), known = transfer->request->file.size_bytes;
    if (transfer->is_part && answer->status == 200) {
        transfer->place->ignores_ranges = true;
        return error_new(
            ERROR_NETWORK, "%s: a part was asked for, the whole file was sent", answer->url);
    }
    if (known != HTTP_SIZE_UNKNOWN && size != HTTP_SIZE_UNKNOWN && size != known)
        return error_new(ERROR_DAMAGE, "%s: the file has %llu bytes now, it had %llu", answer->url,
            (unsigned long long)size, (unsigned long long)known);
    return NULL;
}

/* Ranged even when it is all of the file: a connection that breaks is taken up where it broke. */
static struct error *get_from_url(
    struct transfer *transfer, struct connection *connection, const struct range *range)
{
    transfer->place = &connection->place;
    transfer->is_part = range->end - range->begin < transfer->request->file.size_bytes;
    struct http_request get = {.url = transfer->request->url,
        .is_ranged = true,
        .begin = range->begin,
        .end = range->end,
        .size_total = HTTP_SIZE_UNKNOWN,
        .size_max = range->end - range->begin,
        .on_answer = check_answer,
        .on_body = take_bytes,
        .context = transfer};
    struct http_reply reply;
    TRY(hub_place_use(&connection->place, &get));
    TRY(http_get(connection->client, work_arena(transfer->work), &get, &reply));
    TRY(hub_place_learn(&connection->place, &reply));
    return reply.status == 200 ? NULL : http_status_error(&reply);
}

static struct error *check_hash(const struct request *request, const char *hex)
{
    size_t kind_length = strcspn(request->identity, ":") + 1;
    if (strcmp(request->identity + kind_length, hex) == 0)
        return NULL;
    return error_new(ERROR_DAMAGE, "%s: expected %s, found %.*s%s", request->name,
        request->identity, (int)kind_length, request->identity, hex);
}

/* A range of a file, or all of it with its hash. */
static struct error *get(struct transfer *transfer, const struct range *range)
{
    struct connection *connection;
    TRY(connection_of(transfer->work, transfer->request, &connection));
    struct error *error = transfer->request->url != NULL
                              ? get_from_url(transfer, connection, range)
                              : get_from_hub(transfer, connection, range);
    if (error != NULL && connection->place.ignores_ranges)
        work_plan_again(transfer->work, FETCH_WHOLE);
    return error;
}

static struct error *get_and_hash(struct transfer *transfer, const struct range *range)
{
    const struct request *request = transfer->request;
    char hex[DIGEST_HEX_MAX];
    TRY(digest_begin(kind_of(request), request->file.size_bytes, &transfer->digest));
    struct error *error = get(transfer, range);
    if (error == NULL)
        error = digest_hex(transfer->digest, hex);
    digest_end(transfer->digest);
    return error == NULL ? check_hash(request, hex) : error;
}

/* ---- a copy of what is here ---- */

static struct error *copy_bytes(struct work *work, const struct file *from, struct file *to)
{
    uint64_t size_bytes = file_size(from);
    for (uint64_t offset = 0; offset < size_bytes;) {
        uint64_t rest = size_bytes - offset, step = rest < COPY_BYTES ? rest : COPY_BYTES;
        if (*work_cancel_flag(work))
            return error_new(ERROR_INTERRUPTED, "interrupted");
        TRY(file_copy_range(from, offset, to, offset, step, NULL));
        work_progress(work, step);
        offset += step;
    }
    return NULL;
}

static struct error *copy_open_file(
    struct work *work, const struct request *request, const struct file *from)
{
    uint64_t size_bytes = request->file.size_bytes;
    struct file *to;
    if (size_bytes != HTTP_SIZE_UNKNOWN && file_size(from) != size_bytes)
        return error_new(ERROR_DAMAGE, "%s: expected %llu bytes, found %llu", file_path(from),
            (unsigned long long)size_bytes, (unsigned long long)file_size(from));
    TRY(file_open_staged(work_staged_path(work, 0), &to));
    struct error *error = copy_bytes(work, from, to);
    file_close(to);
    return error;
}

/* The copy is verified, not what it was made from: that may change meanwhile. */
static struct error *copy_local(struct work *work, const struct request *request)
{
    char hex[DIGEST_HEX_MAX];
    struct file *from;
    TRY(file_open(request->local, &from));
    struct error *error = copy_open_file(work, request, from);
    file_close(from);
    TRY(error);
    TRY(digest_of_file(kind_of(request), work_staged_path(work, 0), work_cancel_flag(work), hex));
    error = check_hash(request, hex);
    return error == NULL ? NULL : error_wrap(error, "copying %s", request->local);
}

/* ---- the pieces ---- */

static struct error *make_at_once(struct work *work, const struct range *range)
{
    const struct request *request = range->request;
    struct transfer transfer = {.work = work, .request = request};
    if (request->local == NULL)
        return get_and_hash(&transfer, range);
    struct error *error = copy_local(work, request);
    if (error != NULL && error_kind_of(error) != ERROR_INTERRUPTED)
        work_plan_again(work, FETCH_NOT_LOCAL);
    return error;
}

static struct error *fetch_make(struct work *work, const struct piece *piece)
{
    const struct range *range = piece->parameters;
    const struct request *request = range->request;
    struct transfer transfer = {.work = work, .request = request, .position = range->begin};
    struct error *error = piece->is_streamed ? make_at_once(work, range) : get(&transfer, range);
    if (error == NULL && piece->is_streamed)
        work_set_identity(work, request->identity);
    if (error == NULL)
        return NULL;
    if (error_kind_of(error) == ERROR_DAMAGE && request->local == NULL)
        work_plan_again(work, FETCH_AFRESH);
    return wrap(work_arena(work), request, error);
}

static struct error *begin_content(struct content *content, const char *path)
{
    const struct request *request = content->request;
    TRY(file_open(path, &content->file));
    content->buffer = memory_alloc(FOLLOW_BYTES);
    TRY(memory_check(content->buffer));
    return digest_begin(kind_of(request), request->file.size_bytes, &content->digest);
}

static struct error *fetch_follow(
    struct work *work, const struct node *node, uint64_t begin, uint64_t end)
{
    struct content *content = work_context(work);
    (void)node;
    if (content->digest == NULL)
        TRY(begin_content(content, work_staged_path(work, 0)));
    while (begin < end) {
        size_t step = end - begin < FOLLOW_BYTES ? (size_t)(end - begin) : FOLLOW_BYTES;
        TRY(file_read_at(content->file, begin, content->buffer, step));
        TRY(digest_update(content->digest, content->buffer, step));
        begin += step;
    }
    return NULL;
}

static struct error *fetch_seal(struct work *work, const struct node *node)
{
    struct content *content = work_context(work);
    char hex[DIGEST_HEX_MAX];
    (void)node;
    if (content == NULL) /* make has seen all of it */
        return NULL;
    TRY(digest_hex(content->digest, hex));
    struct error *error = check_hash(content->request, hex);
    if (error == NULL)
        return NULL;
    work_plan_again(work, FETCH_AFRESH);
    return wrap(work_arena(work), content->request, error);
}

/* ---- before and after ---- */

struct head {
    unsigned char *bytes;
    size_t count, capacity;
};

static struct error *take_head(void *context, const void *bytes, size_t length)
{
    struct head *head = context;
    assert(length <= head->capacity - head->count);
    memcpy(head->bytes + head->count, bytes, length);
    head->count += length;
    return NULL;
}

static struct error *get_head_from_hub(
    struct work *work, const struct request *request, struct head *head, uint64_t end)
{
    struct connection *connection;
    TRY(connection_of(work, request, &connection));
    struct hub hub = {.client = connection->client, .settings = &connection->settings};
    struct hub_fetch fetch = {.repo = &request->repo,
        .commit = request->commit,
        .file = &request->file,
        .begin = head->count,
        .end = end,
        .place = &connection->place,
        .on_body = take_head,
        .context = head};
    return hub_fetch_range(work_arena(work), &hub, &fetch, NULL);
}

static struct error *get_head_from_file(const char *path, struct head *head, uint64_t end)
{
    struct file *file;
    TRY(file_open(path, &file));
    struct error *error =
        file_read_at(file, head->count, head->bytes + head->count, (size_t)end - head->count);
    file_close(file);
    head->count = (size_t)end;
    return error;
}

/* More of the head, up to `end`. */
static struct error *get_head(
    struct work *work, const struct request *request, struct head *head, uint64_t end)
{
    unsigned char *bytes = memory_resize(head->bytes, (size_t)end);
    TRY(memory_check(bytes));
    head->bytes = bytes;
    head->capacity = (size_t)end;
    return request->local != NULL ? get_head_from_file(request->local, head, end)
                                  : get_head_from_hub(work, request, head, end);
}

static struct error *give_head(struct work *work, const struct request *request, struct head *head)
{
    TRY(get_head(work, request, head, HINT_BYTES));
    uint64_t length = load_le64(head->bytes);
    if (length > HINT_BYTES_MAX || length > request->file.size_bytes - 8)
        return NULL; /* no such file, or none that plans are made ahead from */
    if (8 + length > head->count)
        TRY(get_head(work, request, head, 8 + length));
    return work_hint(work, head->bytes, (size_t)(8 + length));
}

/* Of a file in the client's cache its head is read there. */
static struct error *hear_of(struct work *work, struct request *request)
{
    struct connection *connection;
    struct head head = {0};
    TRY(connection_of(work, request, &connection));
    TRY(hub_cache_find(work_arena(work), connection->settings.cache, &request->repo,
        request->commit, &request->file, &request->local));
    bool is_offline = request->is_offline || connection->settings.is_offline;
    if (is_offline && request->local == NULL)
        return NULL;
    struct error *error = give_head(work, request, &head);
    memory_free(head.bytes);
    return error;
}

static struct error *note_partial(void *context, const struct http_answer *answer)
{
    *(bool *)context = answer->status == 206;
    return NULL;
}

static struct error *take_nothing(void *context, const void *bytes, size_t length)
{
    (void)context, (void)bytes, (void)length;
    return NULL;
}

static struct error *ask_size(
    struct work *work, const struct request *request, struct http_client *client)
{
    bool is_partial = false;
    struct http_request get = {.url = request->url,
        .is_ranged = true,
        .end = 1,
        .size_total = HTTP_SIZE_UNKNOWN,
        .size_max = 1,
        .on_answer = note_partial,
        .on_body = take_nothing,
        .context = &is_partial};
    struct http_reply reply;
    TRY(http_get(client, work_arena(work), &get, &reply));
    if (is_partial && reply.status == 200 && reply.size_total <= ADDRESS_BYTES_MAX)
        work_hint_size(work, reply.size_total);
    return NULL;
}

/* The size, of a server that sends ranges: one byte tells. Tried once, for what heals with time is
 * the download's to wait for. */
static struct error *hear_of_size(struct work *work, const struct request *request)
{
    struct connection once = {0};
    struct error *error = connect_client(&once, work, request, 0);
    if (error == NULL && !request->is_offline && !once.settings.is_offline)
        error = ask_size(work, request, once.client);
    disconnect(&once);
    return error;
}

static struct error *fetch_hint(struct work *work, const struct node *node)
{
    struct request request = request_of(node);
    struct error *error = NULL;
    if (request.url != NULL && url_scheme_of(request.url) != URL_FILE)
        error = hear_of_size(work, &request);
    else if (request.url == NULL && request.file.size_bytes >= HINT_FILE_BYTES_MIN &&
             text_ends_with(text_of(request.name), ".safetensors"))
        error = hear_of(work, &request);
    return error == NULL ? NULL : wrap(work_arena(work), &request, error);
}

static struct error *fetch_sealed(struct arena *arena, const struct node *node)
{
    struct request request = request_of(node);
    if (request.url != NULL)
        return NULL;
    return hub_local_note(arena, request.directory, request.commit, &request.file);
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
    .hint = fetch_hint,
    .plan = fetch_plan,
    .make = fetch_make,
    .follow = fetch_follow,
    .seal = fetch_seal,
    .sealed = fetch_sealed,
};
