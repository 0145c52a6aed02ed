/* hub_server.c - a small HTTP/1.1 server with the hub's addresses and headers. */
#include "tests/support/hub_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasks/formats/digest.h"

enum {
    HEAD_BYTES_MAX = 64 * 1024, /* of a request */
    PIECE_BYTES = 64 * 1024,
    PAGE_BYTES_MAX = 16 * 1024 * 1024,
};

struct served_file {
    char *path; /* in the repository */
    char *real; /* on disk */
    uint64_t size;
    bool is_lfs;
    char hash[DIGEST_HEX_MAX]; /* SHA-256 of an LFS file, git blob id of another */
    char oid[DIGEST_HEX_MAX];  /* git blob id, of an LFS file's pointer */
    size_t pointer_size;
};

struct fault_entry {
    struct hub_fault fault;
    unsigned skip; /* still to pass */
    unsigned left; /* of a counted one */
    bool is_counted;
    struct fault_entry *next;
};

struct connection {
    struct hub_server *server;
    pthread_t thread;
    int socket;
    bool is_storage;
    bool is_done; /* under the mutex */
    struct connection *next;
};

struct hub_server {
    char *root, *repo, *type, *token, *renamed_from;
    bool is_private, is_gated, is_direct;
    size_t page_size;
    uint64_t lfs_bytes;
    struct served_file *files;
    size_t file_count;
    char commit[DIGEST_HEX_MAX];
    char url[64], storage_url[64];
    int listeners[2]; /* home, storage */
    int wake[2];      /* a pipe: a byte in it stops everything */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards all below */
    struct fault_entry *faults, *cleared;
    struct connection *connections;
    char *entries; /* JSON, each with a comma in front */
    char *log;
    size_t log_length;
    FILE *log_file;
    uint64_t bytes_sent;
    unsigned long endless_count;
};

/* --- small things ---------------------------------------------------------------------------- */

static void die(const char *what)
{
    fprintf(stderr, "hub_server: %s: %s\n", what, strerror(errno));
    exit(2);
}

static void *must(void *memory)
{
    if (memory == NULL)
        die("memory");
    return memory;
}

static char *copy(const char *string)
{
    return string == NULL ? NULL : must(strdup(string));
}

/* Frees what copy made, of a field that is const for its readers. */
static void free_copy(const char *string)
{
    void *memory = NULL;
    memcpy(&memory, &string, sizeof memory);
    free(memory);
}

static char *print(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *print(const char *format, ...)
{
    char *string = NULL;
    va_list list;
    va_start(list, format);
    if (vasprintf(&string, format, list) < 0)
        die("memory");
    va_end(list);
    return string;
}

/* Appends to a string that realloc grew; NULL is the empty one. */
static void append(char **string, const char *more)
{
    size_t length = *string == NULL ? 0 : strlen(*string);
    *string = must(realloc(*string, length + strlen(more) + 1));
    strcpy(*string + length, more);
}

static void must_hash(struct error *error)
{
    if (error == NULL)
        return;
    fprintf(stderr, "hub_server: %s", error_report(error));
    exit(2);
}

/* --- the directory --------------------------------------------------------------------------- */

static void hash_file(struct served_file *file)
{
    static const char pointer[] =
        "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %llu\n";
    struct digest *digest = NULL;
    char *buffer = must(malloc(PIECE_BYTES));
    FILE *stream = fopen(file->real, "rb");
    if (stream == NULL)
        die(file->real);
    must_hash(digest_begin(file->is_lfs ? DIGEST_SHA256 : DIGEST_GIT_BLOB, file->size, &digest));
    for (size_t count; (count = fread(buffer, 1, PIECE_BYTES, stream)) > 0;)
        must_hash(digest_update(digest, buffer, count));
    must_hash(digest_hex(digest, file->hash));
    digest_end(digest);
    fclose(stream);
    free(buffer);
    strcpy(file->oid, file->hash);
    if (!file->is_lfs)
        return;
    char text[256];
    file->pointer_size =
        (size_t)snprintf(text, sizeof text, pointer, file->hash, (unsigned long long)file->size);
    must_hash(digest_of(DIGEST_GIT_BLOB, text, file->pointer_size, file->oid));
}

static bool is_hidden(const char *name)
{
    static const char *const names[] = {".", "..", ".git", ".cache", ".psybuild"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static void add_file(struct hub_server *server, char *path, char *real, uint64_t size)
{
    server->files =
        must(realloc(server->files, (server->file_count + 1) * sizeof server->files[0]));
    struct served_file *file = &server->files[server->file_count++];
    *file = (struct served_file){
        .path = path, .real = real, .size = size, .is_lfs = size >= server->lfs_bytes};
    hash_file(file);
}

static void read_directory(struct hub_server *server, const char *real, const char *prefix)
{
    DIR *directory = opendir(real);
    if (directory == NULL)
        die(real);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (is_hidden(entry->d_name))
            continue;
        char *below = print("%s/%s", real, entry->d_name);
        char *path = print("%s%s", prefix, entry->d_name);
        struct stat status;
        if (stat(below, &status) != 0)
            die(below);
        if (S_ISREG(status.st_mode)) {
            add_file(server, path, below, (uint64_t)status.st_size);
            continue;
        }
        if (S_ISDIR(status.st_mode)) {
            char *directory_prefix = print("%s/", path);
            read_directory(server, below, directory_prefix);
            free(directory_prefix);
        }
        free(below);
        free(path);
    }
    closedir(directory);
}

static int compare_files(const void *a, const void *b)
{
    const struct served_file *first = a, *second = b;
    return strcmp(first->path, second->path);
}

/* 40 digits of a hash over all names and hashes: another content is another commit. */
static void name_commit(struct hub_server *server)
{
    struct digest *digest = NULL;
    must_hash(digest_begin(DIGEST_SHA256, 0, &digest));
    for (size_t i = 0; i < server->file_count; i++) {
        const struct served_file *file = &server->files[i];
        must_hash(digest_update(digest, file->path, strlen(file->path) + 1));
        must_hash(digest_update(digest, file->hash, strlen(file->hash) + 1));
    }
    must_hash(digest_hex(digest, server->commit));
    digest_end(digest);
    server->commit[40] = '\0';
}

/* --- requests -------------------------------------------------------------------------------- */

struct request {
    char head[HEAD_BYTES_MAX + 1];
    size_t head_length; /* with the empty line */
    char method[16];
    char *target;        /* as sent, with query */
    char *path;          /* decoded, without query; slashes that were encoded are '\1' */
    const char *headers; /* in head, after the request line */
    bool has_range;
    uint64_t begin, end; /* half-open; end UINT64_MAX: to the end */
    struct hub_fault fault;
    bool has_fault;
};

struct exchange {
    struct hub_server *server;
    int socket;
    bool is_storage;
    struct request *request;
    bool is_closing; /* after this answer */
};

static bool fault_is(const struct exchange *exchange, enum hub_fault_kind kind)
{
    return exchange->request->has_fault && exchange->request->fault.kind == kind;
}

static const char *find_header(const struct request *request, const char *name)
{
    size_t length = strlen(name);
    for (const char *line = request->headers; line != NULL; line = strstr(line, "\r\n")) {
        if (strncmp(line, "\r\n", 2) == 0)
            line += 2;
        if (strncasecmp(line, name, length) == 0 && line[length] == ':')
            return line + length + 1 + strspn(line + length + 1, " ");
    }
    return NULL;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *found = strchr(digits, c | 0x20);
    return c == '\0' || found == NULL ? -1 : (int)(found - digits);
}

/* An encoded slash becomes \1, so that it does not part components. */
static char *decode(const char *target)
{
    char *path = must(malloc(strlen(target) + 1)), *out = path;
    for (; *target != '\0' && *target != '?'; target++) {
        if (*target == '%' && hex_digit(target[1]) >= 0 && hex_digit(target[2]) >= 0) {
            char c = (char)(hex_digit(target[1]) * 16 + hex_digit(target[2]));
            *out++ = c == '/' ? '\1' : c;
            target += 2;
        } else {
            *out++ = *target;
        }
    }
    *out = '\0';
    return path;
}

static void parse_range(struct request *request)
{
    const char *range = find_header(request, "Range");
    unsigned long long begin = 0, last = 0;
    int count = range == NULL ? 0 : sscanf(range, "bytes=%llu-%llu", &begin, &last);
    request->has_range = count >= 1;
    request->begin = begin;
    request->end = count >= 2 ? last + 1 : UINT64_MAX;
}

/* True when a whole request head is here. */
static bool read_head(struct exchange *exchange)
{
    struct request *request = exchange->request;
    size_t length = 0;
    memset(request, 0, sizeof *request);
    while (strstr(request->head, "\r\n\r\n") == NULL) {
        struct pollfd waits[2] = {{.fd = exchange->socket, .events = POLLIN},
            {.fd = exchange->server->wake[0], .events = POLLIN}};
        if (length == HEAD_BYTES_MAX || poll(waits, 2, -1) < 0 || waits[1].revents != 0)
            return false;
        ssize_t count = recv(exchange->socket, request->head + length, HEAD_BYTES_MAX - length, 0);
        if (count <= 0)
            return false;
        length += (size_t)count;
        request->head[length] = '\0';
    }
    char target[HEAD_BYTES_MAX + 1];
    if (sscanf(request->head, "%15s %65535s", request->method, target) != 2)
        return false;
    request->head_length = length;
    request->headers = strstr(request->head, "\r\n") + 2;
    request->target = copy(target);
    request->path = decode(target);
    parse_range(request);
    return true;
}

static void note_request(struct exchange *exchange)
{
    struct hub_server *server = exchange->server;
    struct request *request = exchange->request;
    char *text = print("%s %s", exchange->is_storage ? "storage" : "home", request->head);
    pthread_mutex_lock(&server->mutex);
    size_t length = strlen(text);
    server->log = must(realloc(server->log, server->log_length + length + 1));
    memcpy(server->log + server->log_length, text, length + 1);
    server->log_length += length;
    if (server->log_file != NULL) {
        fputs(text, server->log_file);
        fflush(server->log_file);
    }
    for (struct fault_entry *entry = server->faults; entry != NULL; entry = entry->next) {
        if (strstr(request->target, entry->fault.target) == NULL ||
            (entry->is_counted && entry->left == 0))
            continue;
        if (entry->skip > 0) {
            entry->skip--;
            continue;
        }
        if (entry->is_counted)
            entry->left--;
        request->fault = entry->fault; /* its strings live as long as the server */
        request->has_fault = true;
        break;
    }
    pthread_mutex_unlock(&server->mutex);
    free(text);
}

/* --- answers --------------------------------------------------------------------------------- */

static bool send_bytes(struct exchange *exchange, const char *bytes, size_t length)
{
    while (length > 0) {
        ssize_t count = send(exchange->socket, bytes, length, 0);
        if (count <= 0) {
            exchange->is_closing = true;
            return false;
        }
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

/* Until the client gives up or the server stops. */
static void wait_for_end(struct exchange *exchange, int every_ms, const char *say)
{
    for (;;) {
        struct pollfd waits[2] = {{.fd = exchange->socket, .events = POLLIN},
            {.fd = exchange->server->wake[0], .events = POLLIN}};
        if (poll(waits, 2, every_ms) != 0 || !send_bytes(exchange, say, strlen(say)))
            break;
    }
    exchange->is_closing = true;
}

static void reset_connection(struct exchange *exchange)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(exchange->socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    exchange->is_closing = true;
}

static const char *reason(unsigned status)
{
    switch (status) {
    case 200:
        return "OK";
    case 206:
        return "Partial Content";
    case 302:
        return "Found";
    case 307:
        return "Temporary Redirect";
    default:
        return "Other";
    }
}

/* `headers` are whole lines. */
static bool send_head(
    struct exchange *exchange, unsigned status, uint64_t length, const char *headers)
{
    const char *more = fault_is(exchange, HUB_FAULT_HEADER) ? exchange->request->fault.text : "";
    const char *encoding =
        fault_is(exchange, HUB_FAULT_ENCODED) ? "Content-Encoding: gzip\r\n" : "";
    char *head = print("HTTP/1.1 %u %s\r\n"
                       "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                       "Content-Length: %llu\r\nX-Request-Id: request-1\r\n%s%s%s%s\r\n",
        status, reason(status), (unsigned long long)length, more, headers, encoding,
        exchange->is_closing ? "Connection: close\r\n" : "");
    bool is_sent = send_bytes(exchange, head, strlen(head));
    free(head);
    return is_sent;
}

static void send_text(
    struct exchange *exchange, unsigned status, const char *headers, const char *body)
{
    bool has_body = strcmp(exchange->request->method, "HEAD") != 0;
    if (send_head(exchange, status, strlen(body), headers) && has_body)
        send_bytes(exchange, body, strlen(body));
}

static void send_error(
    struct exchange *exchange, unsigned status, const char *code, const char *message)
{
    char *headers = print("Content-Type: application/json\r\n%s%s%sX-Error-Message: %s\r\n",
        code[0] != '\0' ? "X-Error-Code: " : "", code, code[0] != '\0' ? "\r\n" : "", message);
    char *body = print("{\"error\": \"%s\"}", message);
    send_text(exchange, status, headers, body);
    free(headers);
    free(body);
}

static void send_redirect(
    struct exchange *exchange, unsigned status, const char *location, const char *headers)
{
    char *all = print("Location: %s\r\n%s", location, headers);
    send_text(exchange, status, all, "Found. Redirecting to another address");
    free(all);
}

/* --- content --------------------------------------------------------------------------------- */

/* As HUB_FAULT_FLIP says, what lies in a buffer of the file's bytes from `begin` on. */
static void falsify(const struct hub_fault *fault, char *buffer, uint64_t begin, uint64_t count)
{
    const char *text = fault->text == NULL ? "" : fault->text;
    if (text[0] == '\0' && fault->at >= begin && fault->at - begin < count)
        buffer[fault->at - begin] ^= 1;
    for (uint64_t at = fault->at; *text != '\0'; at++, text++)
        if (at >= begin && at - begin < count)
            buffer[at - begin] = *text;
}

/* Sends bytes of the file as faults allow. */
static void send_range(
    struct exchange *exchange, const struct served_file *file, uint64_t begin, uint64_t end)
{
    const struct hub_fault *fault = &exchange->request->fault;
    bool is_cut = fault_is(exchange, HUB_FAULT_STALL) || fault_is(exchange, HUB_FAULT_TRUNCATE) ||
                  fault_is(exchange, HUB_FAULT_RESET);
    uint64_t stop = is_cut && end - begin > fault->at ? begin + fault->at : end;
    bool is_trickle = fault_is(exchange, HUB_FAULT_TRICKLE);
    size_t size_max = is_trickle ? 1 : PIECE_BYTES;
    char *buffer = must(malloc(size_max));
    int descriptor = open(file->real, O_RDONLY);
    if (descriptor < 0)
        die(file->real);
    while (begin < stop) {
        uint64_t left = stop - begin;
        size_t size = left < size_max ? (size_t)left : size_max;
        struct pollfd wake = {.fd = exchange->server->wake[0], .events = POLLIN};
        if (is_trickle && poll(&wake, 1, 10) != 0)
            break;
        ssize_t count = pread(descriptor, buffer, size, (off_t)begin);
        if (count <= 0)
            break;
        if (fault_is(exchange, HUB_FAULT_FLIP))
            falsify(fault, buffer, begin, (uint64_t)count);
        /* Counted first: who has received them finds them counted. */
        pthread_mutex_lock(&exchange->server->mutex);
        exchange->server->bytes_sent += (uint64_t)count;
        pthread_mutex_unlock(&exchange->server->mutex);
        if (!send_bytes(exchange, buffer, (size_t)count))
            break;
        begin += (uint64_t)count;
    }
    close(descriptor);
    free(buffer);
    if (begin == end)
        return;
    exchange->is_closing = true;
    if (fault_is(exchange, HUB_FAULT_STALL))
        wait_for_end(exchange, -1, "");
    if (fault_is(exchange, HUB_FAULT_RESET))
        reset_connection(exchange);
}

/* The content, or the range of it that was asked for. */
static void send_content(
    struct exchange *exchange, const struct served_file *file, const char *headers)
{
    const struct request *request = exchange->request;
    bool is_range = request->has_range && !fault_is(exchange, HUB_FAULT_RANGE_IGNORED);
    uint64_t begin = is_range ? request->begin : 0;
    uint64_t end = is_range && request->end < file->size ? request->end : file->size;
    bool has_body = strcmp(request->method, "HEAD") != 0;
    char *all;
    if (is_range && (begin >= file->size || begin >= end)) {
        all = print("%sContent-Range: bytes */%llu\r\n", headers, (unsigned long long)file->size);
        send_text(exchange, 416, all, "");
        free(all);
        return;
    }
    if (is_range && fault_is(exchange, HUB_FAULT_RANGE_WRONG) && begin > 0) {
        begin--;
        end--;
    }
    if (is_range)
        all = print("%sAccept-Ranges: bytes\r\nContent-Range: bytes %llu-%llu/%llu\r\n", headers,
            (unsigned long long)begin, (unsigned long long)(end - 1),
            (unsigned long long)file->size);
    else
        all = print("%sAccept-Ranges: bytes\r\n", headers);
    if (send_head(exchange, is_range ? 206 : 200, end - begin, all) && has_body)
        send_range(exchange, file, begin, end);
    free(all);
}

static const struct served_file *find_file(const struct hub_server *server, const char *path)
{
    for (size_t i = 0; i < server->file_count; i++)
        if (strcmp(server->files[i].path, path) == 0)
            return &server->files[i];
    return NULL;
}

static void answer_storage(struct exchange *exchange)
{
    const char *path = exchange->request->path;
    const struct hub_server *server = exchange->server;
    if (find_header(exchange->request, "Authorization") != NULL) {
        send_error(exchange, 400, "", "a token was sent to the storage host");
        return;
    }
    if (strncmp(path, "/storage/", 9) == 0 &&
        strstr(exchange->request->target, "Signature=SECRET") != NULL) {
        for (size_t i = 0; i < server->file_count; i++) {
            if (!server->files[i].is_lfs || strcmp(server->files[i].hash, path + 9) != 0)
                continue;
            char *headers = print("ETag: \"storage-%.8s\"\r\n", server->files[i].hash);
            send_content(exchange, &server->files[i], headers);
            free(headers);
            return;
        }
    }
    send_text(exchange, 403, "Content-Type: application/xml\r\n",
        "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>"
        "<Message>Request has expired</Message></Error>");
}

/* path with every byte but letters, digits and "_.-~" as %XX */
static char *encode(const char *path)
{
    char *encoded = must(malloc(3 * strlen(path) + 1)), *out = encoded;
    for (; *path != '\0'; path++) {
        bool is_plain = (*path >= 'a' && *path <= 'z') || (*path >= 'A' && *path <= 'Z') ||
                        (*path >= '0' && *path <= '9') || strchr("_.-~", *path) != NULL;
        out += is_plain ? sprintf(out, "%c", *path) : sprintf(out, "%%%02X", (unsigned char)*path);
    }
    *out = '\0';
    return encoded;
}

static void answer_resolve(struct exchange *exchange, const char *path)
{
    struct hub_server *server = exchange->server;
    const struct served_file *file = find_file(server, path);
    char *commit = print("X-Repo-Commit: %s\r\n", server->commit);
    if (file == NULL) {
        char *headers = print("%sX-Error-Code: EntryNotFound\r\n", commit);
        send_text(exchange, 404, headers, "Entry not found");
        free(headers);
    } else if (file->is_lfs) {
        char *location = print("%s/storage/%s?Expires=1700000000&Signature=SECRET&Key-Pair-Id=K",
            server->storage_url, file->hash);
        char *headers = print("%sX-Linked-ETag: \"%s\"\r\nX-Linked-Size: %llu\r\n"
                              "Accept-Ranges: bytes\r\n",
            commit, file->hash, (unsigned long long)file->size);
        send_redirect(exchange, 302, location, headers);
        free(location);
        free(headers);
    } else if (server->is_direct) {
        char *headers = print("%sETag: \"%s\"\r\n", commit, file->hash);
        send_content(exchange, file, headers);
        free(headers);
    } else {
        char *name = encode(path);
        char *location = print("/api/resolve-cache/%s/%s/%s/%s?etag=%%22%s%%22", server->type,
            server->repo, server->commit, name, file->hash);
        send_redirect(exchange, 307, location, commit);
        free(name);
        free(location);
    }
    free(commit);
}

static void answer_cached(struct exchange *exchange, const char *path)
{
    const struct served_file *file = find_file(exchange->server, path);
    if (file == NULL) {
        send_error(exchange, 404, "EntryNotFound", "Entry not found");
        return;
    }
    char *headers =
        print("X-Repo-Commit: %s\r\nETag: \"%s\"\r\n", exchange->server->commit, file->hash);
    send_content(exchange, file, headers);
    free(headers);
}

/* --- listings -------------------------------------------------------------------------------- */

static void append_json_string(char **page, const char *string)
{
    append(page, "\"");
    for (; *string != '\0'; string++) {
        char escaped[8];
        if (*string == '"' || *string == '\\' || (unsigned char)*string < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*string);
        else
            snprintf(escaped, sizeof escaped, "%c", *string);
        append(page, escaped);
    }
    append(page, "\"");
}

static void append_file(char **page, const struct served_file *file)
{
    append(page, "{\"type\":\"file\",\"path\":");
    append_json_string(page, file->path);
    char *rest = print(",\"size\":%llu,\"oid\":\"%s\"", (unsigned long long)file->size, file->oid);
    append(page, rest);
    free(rest);
    if (file->is_lfs) {
        rest = print(",\"lfs\":{\"oid\":\"%s\",\"size\":%llu,\"pointerSize\":%zu}", file->hash,
            (unsigned long long)file->size, file->pointer_size);
        append(page, rest);
        free(rest);
    }
    append(page, "}");
}

static void send_page(struct exchange *exchange, const char *page, const char *next)
{
    char *headers =
        next == NULL
            ? copy("Content-Type: application/json\r\n")
            : print("Content-Type: application/json\r\nLink: <%s>; rel=\"next\"\r\n", next);
    send_text(exchange, 200, headers, page);
    free(headers);
}

static void send_endless_page(struct exchange *exchange)
{
    struct hub_server *server = exchange->server;
    pthread_mutex_lock(&server->mutex);
    unsigned long number = ++server->endless_count;
    pthread_mutex_unlock(&server->mutex);
    char *page = print("[{\"type\":\"file\",\"path\":\"file-%lu\",\"size\":1}]", number);
    char *next = print("%s/api/%s/%s/tree/%s?recursive=true&cursor=%lu", server->url, server->type,
        server->repo, server->commit, number);
    send_page(exchange, page, next);
    free(page);
    free(next);
}

static void answer_tree(struct exchange *exchange)
{
    struct hub_server *server = exchange->server;
    if (fault_is(exchange, HUB_FAULT_ENDLESS)) {
        send_endless_page(exchange);
        return;
    }
    const char *cursor = strstr(exchange->request->target, "cursor=");
    size_t begin = cursor == NULL ? 0 : (size_t)strtoul(cursor + 7, NULL, 10);
    size_t end = begin + server->page_size;
    bool is_last = end >= server->file_count;
    char *page = copy("["), *next = NULL;
    append(&page, "{\"type\":\"directory\",\"oid\":\"0\",\"size\":0,\"path\":\"");
    char *name = print("directory-%zu\"}", begin);
    append(&page, name);
    free(name);
    for (size_t i = begin; i < end && i < server->file_count; i++) {
        append(&page, ",");
        append_file(&page, &server->files[i]);
    }
    pthread_mutex_lock(&server->mutex);
    if (is_last && server->entries != NULL)
        append(&page, server->entries);
    pthread_mutex_unlock(&server->mutex);
    append(&page, "]");
    if (fault_is(exchange, HUB_FAULT_NEXT))
        next = copy(exchange->request->fault.text);
    else if (!is_last)
        next = print("%s/api/%s/%s/tree/%s?recursive=true&expand=false&cursor=%zu", server->url,
            server->type, server->repo, server->commit, end);
    send_page(exchange, page, next);
    free(page);
    free(next);
}

static void answer_info(struct exchange *exchange)
{
    struct hub_server *server = exchange->server;
    char *body = print("{\"_id\":\"1\",\"id\":\"%s\",\"private\":%s,\"gated\":%s,"
                       "\"disabled\":false,\"sha\":\"%s\",\"siblings\":[",
        server->repo, server->is_private ? "true" : "false",
        server->is_gated ? "\"auto\"" : "false", server->commit);
    for (size_t i = 0; i < server->file_count; i++) {
        append(&body, i == 0 ? "{\"rfilename\":" : ",{\"rfilename\":");
        append_json_string(&body, server->files[i].path);
        append(&body, "}");
    }
    append(&body, "]}");
    send_text(exchange, 200, "Content-Type: application/json\r\n", body);
    free(body);
}

/* --- addresses ------------------------------------------------------------------------------- */

/* True when the request may go on; else it was answered. */
static bool check_access(struct exchange *exchange, bool is_content)
{
    const struct hub_server *server = exchange->server;
    const char *header = find_header(exchange->request, "Authorization");
    bool is_valid = false;
    if (header != NULL && server->token != NULL) {
        size_t length = strlen(server->token);
        is_valid = strncmp(header, "Bearer ", 7) == 0 &&
                   strncmp(header + 7, server->token, length) == 0 && header[7 + length] == '\r';
    }
    if (header != NULL && !is_valid)
        send_error(exchange, 401, "", "Invalid credentials in Authorization header");
    else if (server->is_private && !is_valid)
        send_error(exchange, 401, "RepoNotFound", "Repository not found");
    else if (server->is_gated && is_content && !is_valid)
        send_error(exchange, 401, "GatedRepo", "Access to this repository is restricted");
    else
        return true;
    return false;
}

/* Removes `prefix` from the front of `*path`. */
static bool cut(const char **path, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(*path, prefix, length) != 0)
        return false;
    *path += length;
    return true;
}

/* "main" or the commit, then a slash or the end; the rest remains. */
static bool cut_revision(const struct hub_server *server, const char **path)
{
    const char *rest = *path;
    if (!cut(&rest, server->commit) && !cut(&rest, "main"))
        return false;
    if (*rest == '/')
        rest++;
    else if (*rest != '\0')
        return false;
    *path = rest;
    return true;
}

static void send_renamed(struct exchange *exchange, const char *name)
{
    const struct hub_server *server = exchange->server;
    const char *target = exchange->request->target, *found = strstr(target, name);
    char *location =
        print("%.*s%s%s", (int)(found - target), target, server->repo, found + strlen(name));
    send_redirect(exchange, 307, location, "");
    free(location);
}

static void answer_revision(struct exchange *exchange, const char *path)
{
    const struct hub_server *server = exchange->server;
    bool is_content = cut(&path, "/resolve/");
    bool is_tree = !is_content && cut(&path, "/tree/");
    bool is_info = !is_content && !is_tree && (*path == '\0' || cut(&path, "/revision/"));
    if (!check_access(exchange, is_content))
        return;
    if (is_info && *path == '\0')
        answer_info(exchange);
    else if (!(is_content || is_tree || is_info))
        send_error(exchange, 404, "", "Not found");
    else if (!cut_revision(server, &path))
        send_error(exchange, 404, "RevisionNotFound", "Invalid rev id");
    else if (is_info)
        answer_info(exchange);
    else if (is_tree)
        answer_tree(exchange);
    else
        answer_resolve(exchange, path);
}

static void answer_home(struct exchange *exchange)
{
    const struct hub_server *server = exchange->server;
    const char *path = exchange->request->path;
    char *prefix = strcmp(server->type, "models") == 0 ? copy("/") : print("/%s/", server->type);
    char *api = print("/api/%s/", server->type);
    char *cached =
        print("/api/resolve-cache/%s/%s/%s/", server->type, server->repo, server->commit);
    if (cut(&path, cached)) {
        char *name = copy(path);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '\1' ? '/' : *c;
        if (check_access(exchange, true))
            answer_cached(exchange, name);
        free(name);
    } else if (!cut(&path, api) && !cut(&path, prefix)) {
        send_error(exchange, 404, "", "Not found");
    } else if (server->renamed_from != NULL && cut(&path, server->renamed_from)) {
        send_renamed(exchange, server->renamed_from);
    } else if (cut(&path, server->repo) && (*path == '/' || *path == '\0')) {
        answer_revision(exchange, path);
    } else if (find_header(exchange->request, "Authorization") == NULL) {
        send_error(exchange, 401, "RepoNotFound", "Invalid username or password.");
    } else if (check_access(exchange, false)) {
        send_error(exchange, 404, "RepoNotFound", "Repository not found");
    }
    free(prefix);
    free(api);
    free(cached);
}

/* The faults that replace the whole answer. True when there was one. */
static bool answer_fault(struct exchange *exchange)
{
    const struct request *request = exchange->request;
    const struct hub_fault *fault = &request->fault;
    char *text;
    if (!request->has_fault)
        return false;
    switch (fault->kind) {
    case HUB_FAULT_STATUS:
        send_text(exchange, fault->status, fault->text, "{\"error\": \"injected\"}");
        return true;
    case HUB_FAULT_SILENCE:
        wait_for_end(exchange, -1, "");
        return true;
    case HUB_FAULT_DRIBBLE:
        send_bytes(exchange, "HTTP/1.1 200 OK\r\nX-Long: ", 25);
        wait_for_end(exchange, 10, "x");
        return true;
    case HUB_FAULT_HTML:
        send_text(exchange, 200, "Content-Type: text/html\r\n", "<html>Please log in</html>");
        return true;
    case HUB_FAULT_LOOP:
        send_redirect(exchange, 302, request->target, "");
        return true;
    case HUB_FAULT_REDIRECT:
        send_redirect(exchange, 302, fault->text, "");
        return true;
    case HUB_FAULT_HEADER_LONG:
        text = must(malloc(300 * 1024 + 1));
        memset(text, 'x', 300 * 1024);
        text[300 * 1024] = '\0';
        send_bytes(exchange, "HTTP/1.1 200 OK\r\n", 17);
        for (size_t i = 0; i + 1000 < 300 * 1024; i += 1000)
            memcpy(text + i, "X-Long: ", 8), memcpy(text + i + 998, "\r\n", 2);
        send_bytes(exchange, text, 300 * 1000);
        exchange->is_closing = true;
        free(text);
        return true;
    case HUB_FAULT_GARBAGE:
        send_bytes(exchange, "SSH-2.0-server\r\n\r\n", 18);
        exchange->is_closing = true;
        return true;
    case HUB_FAULT_BODY:
        text = print("X-Repo-Commit: %s\r\n", exchange->server->commit);
        send_text(exchange, 200, text, fault->text);
        free(text);
        return true;
    default:
        return false;
    }
}

/* --- connections ----------------------------------------------------------------------------- */

static void *serve_connection(void *context)
{
    struct connection *connection = context;
    struct exchange exchange = {.server = connection->server,
        .socket = connection->socket,
        .is_storage = connection->is_storage,
        .request = must(malloc(sizeof(struct request)))};
    while (!exchange.is_closing && read_head(&exchange)) {
        const char *wish = find_header(exchange.request, "Connection");
        exchange.is_closing = wish != NULL && strncasecmp(wish, "close", 5) == 0;
        note_request(&exchange);
        if (!answer_fault(&exchange)) {
            if (connection->is_storage)
                answer_storage(&exchange);
            else
                answer_home(&exchange);
        }
        free(exchange.request->target);
        free(exchange.request->path);
    }
    free(exchange.request);
    close(connection->socket);
    pthread_mutex_lock(&connection->server->mutex);
    connection->is_done = true;
    pthread_mutex_unlock(&connection->server->mutex);
    return NULL;
}

/* Joins the threads that ended; with `all`, waits for the others. */
static void join_connections(struct hub_server *server, bool all)
{
    struct connection **link = &server->connections; /* changed by the accepting thread only */
    while (*link != NULL) {
        struct connection *connection = *link;
        pthread_mutex_lock(&server->mutex);
        bool is_done = connection->is_done;
        pthread_mutex_unlock(&server->mutex);
        if (!is_done && !all) {
            link = &connection->next;
            continue;
        }
        pthread_join(connection->thread, NULL);
        *link = connection->next;
        free(connection);
    }
}

static void accept_connection(struct hub_server *server, int listener, bool is_storage)
{
    int socket = accept(listener, NULL, NULL), one = 1;
    if (socket < 0)
        return;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *connection = must(calloc(1, sizeof *connection));
    *connection = (struct connection){
        .server = server, .socket = socket, .is_storage = is_storage, .next = server->connections};
    server->connections = connection;
    if (pthread_create(&connection->thread, NULL, serve_connection, connection) != 0)
        die("thread");
}

static void *accept_connections(void *context)
{
    struct hub_server *server = context;
    for (;;) {
        struct pollfd waits[3] = {{.fd = server->listeners[0], .events = POLLIN},
            {.fd = server->listeners[1], .events = POLLIN},
            {.fd = server->wake[0], .events = POLLIN}};
        if (poll(waits, 3, -1) < 0 && errno != EINTR)
            die("poll");
        if (waits[2].revents != 0)
            break;
        for (int i = 0; i < 2; i++)
            if (waits[i].revents != 0)
                accept_connection(server, server->listeners[i], i == 1);
        join_connections(server, false);
    }
    join_connections(server, true);
    return NULL;
}

static int listen_on(int port, char url[64])
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
        .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    void *place = &address;
    if (listener < 0)
        die("socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, place, length) != 0 || listen(listener, 64) != 0 ||
        getsockname(listener, place, &length) != 0)
        die("port");
    snprintf(url, 64, "http://127.0.0.1:%d", ntohs(address.sin_port));
    return listener;
}

/* --- the interface --------------------------------------------------------------------------- */

struct hub_server *hub_server_start(const struct hub_server_options *options)
{
    struct hub_server *server = must(calloc(1, sizeof *server));
    signal(SIGPIPE, SIG_IGN);
    server->root = copy(options->root);
    server->repo = copy(options->repo != NULL ? options->repo : "test/model");
    server->type = copy(options->type != NULL ? options->type : "models");
    server->token = copy(options->token);
    server->renamed_from = copy(options->renamed_from);
    server->is_private = options->is_private;
    server->is_gated = options->is_gated;
    server->is_direct = options->is_direct;
    server->page_size = options->page_size > 0 ? options->page_size : 1000;
    server->lfs_bytes = options->lfs_bytes > 0 ? options->lfs_bytes : 64 * 1024;
    if (options->log_path != NULL)
        server->log_file = must(fopen(options->log_path, "a"));
    read_directory(server, server->root, "");
    if (server->file_count > 0)
        qsort(server->files, server->file_count, sizeof server->files[0], compare_files);
    name_commit(server);
    server->listeners[0] = listen_on(options->port, server->url);
    server->listeners[1] = listen_on(0, server->storage_url);
    if (options->url != NULL)
        snprintf(server->url, sizeof server->url, "%s", options->url);
    if (options->storage_url != NULL)
        snprintf(server->storage_url, sizeof server->storage_url, "%s", options->storage_url);
    if (pipe(server->wake) != 0 || pthread_mutex_init(&server->mutex, NULL) != 0 ||
        pthread_create(&server->thread, NULL, accept_connections, server) != 0)
        die("thread");
    return server;
}

static void free_faults(struct fault_entry *entry)
{
    while (entry != NULL) {
        struct fault_entry *next = entry->next;
        free_copy(entry->fault.target);
        free_copy(entry->fault.text);
        free(entry);
        entry = next;
    }
}

void hub_server_stop(struct hub_server *server)
{
    if (write(server->wake[1], "x", 1) != 1)
        die("pipe");
    pthread_join(server->thread, NULL);
    for (int i = 0; i < 2; i++) {
        close(server->listeners[i]);
        close(server->wake[i]);
    }
    hub_server_clear_faults(server);
    free_faults(server->cleared);
    pthread_mutex_destroy(&server->mutex);
    for (size_t i = 0; i < server->file_count; i++) {
        free(server->files[i].path);
        free(server->files[i].real);
    }
    if (server->log_file != NULL)
        fclose(server->log_file);
    free(server->files);
    free(server->root);
    free(server->repo);
    free(server->type);
    free(server->token);
    free(server->renamed_from);
    free(server->entries);
    free(server->log);
    free(server);
}

const char *hub_server_url(const struct hub_server *server)
{
    return server->url;
}

const char *hub_server_storage_url(const struct hub_server *server)
{
    return server->storage_url;
}

const char *hub_server_commit(const struct hub_server *server)
{
    return server->commit;
}

void hub_server_add_fault(struct hub_server *server, const struct hub_fault *fault)
{
    hub_server_add_fault_after(server, 0, fault);
}

void hub_server_add_fault_after(
    struct hub_server *server, unsigned skip, const struct hub_fault *fault)
{
    struct fault_entry *entry = must(calloc(1, sizeof *entry));
    *entry = (struct fault_entry){
        .fault = *fault, .skip = skip, .left = fault->count, .is_counted = fault->count > 0};
    entry->fault.target = copy(fault->target != NULL ? fault->target : "");
    entry->fault.text = copy(fault->text != NULL ? fault->text : "");
    pthread_mutex_lock(&server->mutex);
    struct fault_entry **link = &server->faults;
    while (*link != NULL)
        link = &(*link)->next;
    *link = entry;
    pthread_mutex_unlock(&server->mutex);
}

bool hub_fault_kind_of(const char *name, enum hub_fault_kind *out)
{
    static const char *const names[] = {[HUB_FAULT_STATUS] = "status",
        [HUB_FAULT_STALL] = "stall",
        [HUB_FAULT_SILENCE] = "silence",
        [HUB_FAULT_DRIBBLE] = "dribble",
        [HUB_FAULT_TRICKLE] = "trickle",
        [HUB_FAULT_TRUNCATE] = "truncate",
        [HUB_FAULT_RESET] = "reset",
        [HUB_FAULT_FLIP] = "flip",
        [HUB_FAULT_HTML] = "html",
        [HUB_FAULT_LOOP] = "loop",
        [HUB_FAULT_REDIRECT] = "redirect",
        [HUB_FAULT_RANGE_WRONG] = "range-wrong",
        [HUB_FAULT_RANGE_IGNORED] = "range-ignored",
        [HUB_FAULT_ENCODED] = "encoded",
        [HUB_FAULT_HEADER] = "header",
        [HUB_FAULT_HEADER_LONG] = "header-long",
        [HUB_FAULT_GARBAGE] = "garbage",
        [HUB_FAULT_BODY] = "body",
        [HUB_FAULT_NEXT] = "next",
        [HUB_FAULT_ENDLESS] = "endless"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum hub_fault_kind)i;
            return true;
        }
    }
    return false;
}

/* Their strings may still be read by an answer under way: they are kept until the server stops. */
void hub_server_clear_faults(struct hub_server *server)
{
    pthread_mutex_lock(&server->mutex);
    struct fault_entry **link = &server->faults;
    while (*link != NULL)
        link = &(*link)->next;
    *link = server->cleared;
    server->cleared = server->faults;
    server->faults = NULL;
    pthread_mutex_unlock(&server->mutex);
}

void hub_server_add_entry(struct hub_server *server, const char *json)
{
    pthread_mutex_lock(&server->mutex);
    append(&server->entries, ",");
    append(&server->entries, json);
    pthread_mutex_unlock(&server->mutex);
}

char *hub_server_log(struct hub_server *server)
{
    pthread_mutex_lock(&server->mutex);
    char *log = copy(server->log != NULL ? server->log : "");
    pthread_mutex_unlock(&server->mutex);
    return log;
}

size_t hub_server_log_count(struct hub_server *server, const char *text)
{
    char *log = hub_server_log(server);
    size_t count = 0;
    for (const char *at = log; (at = strstr(at, text)) != NULL; at += strlen(text))
        count++;
    free(log);
    return count;
}

void hub_server_clear_log(struct hub_server *server)
{
    pthread_mutex_lock(&server->mutex);
    free(server->log);
    server->log = NULL;
    server->log_length = 0;
    pthread_mutex_unlock(&server->mutex);
}

uint64_t hub_server_bytes_sent(struct hub_server *server)
{
    pthread_mutex_lock(&server->mutex);
    uint64_t count = server->bytes_sent;
    pthread_mutex_unlock(&server->mutex);
    return count;
}
