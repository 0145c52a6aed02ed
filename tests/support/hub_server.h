/* hub_server.h - a hub on the loopback interface, for tests: it serves a directory as a repository,
 * and it can stall, truncate, lie and repeat.
 *
 * Two ports: the hub itself ("home") and a storage host to which large files are redirected with a
 * signed address. Small files are redirected within the hub, as the real one does. A thread
 * accepts, one more serves each connection; all functions may be called while it runs. Failures to
 * set it up end the program with a message: it is for tests. */
#ifndef PSYBUILD_TESTS_SUPPORT_HUB_SERVER_H
#define PSYBUILD_TESTS_SUPPORT_HUB_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub_server;

struct hub_server_options {
    const char *root;         /* directory; ".git", ".cache" and ".psybuild" in it are not served */
    const char *repo;         /* NULL: "test/model" */
    const char *type;         /* NULL: "models" */
    int port;                 /* of the hub; 0: any */
    size_t page_size;         /* of listings; 0: 1000 */
    uint64_t lfs_bytes;       /* from this size on a file is an LFS file; 0: 64 KiB */
    const char *token;        /* the one that is valid; NULL: every token is invalid */
    bool is_private;          /* without the token nothing is there */
    bool is_gated;            /* without the token no content */
    bool is_direct;           /* small files are answered with 200 at once, as mirrors do */
    const char *renamed_from; /* this name is redirected to `repo`; NULL: none */
    /* What it calls itself and the storage host, when another server stands before them; NULL: as
     * they are. At most 63 bytes. */
    const char *url, *storage_url;
    const char *log_path; /* requests are appended there, too; NULL: nowhere */
};

/* The directory is read and hashed here; later changes to it are not seen. */
struct hub_server *hub_server_start(const struct hub_server_options *options);
void hub_server_stop(struct hub_server *server);

const char *hub_server_url(const struct hub_server *server);         /* http://127.0.0.1:PORT */
const char *hub_server_storage_url(const struct hub_server *server); /* the other host's */
const char *hub_server_commit(const struct hub_server *server);      /* derived from the content */

enum hub_fault_kind {
    HUB_FAULT_STATUS,      /* answers `status`, with the header lines `text` */
    HUB_FAULT_STALL,       /* nothing more after `at` bytes of the body */
    HUB_FAULT_SILENCE,     /* takes the request and says nothing */
    HUB_FAULT_DRIBBLE,     /* a header that never ends, byte by byte */
    HUB_FAULT_TRICKLE,     /* a byte of the body every 10 ms */
    HUB_FAULT_TRUNCATE,    /* closes after `at` bytes of the body */
    HUB_FAULT_RESET,       /* resets the connection after `at` bytes of the body */
    HUB_FAULT_FLIP,        /* the byte at `at` of the file is another, or those there are `text` */
    HUB_FAULT_HTML,        /* 200 with a web page, as a captive portal */
    HUB_FAULT_LOOP,        /* redirects to itself */
    HUB_FAULT_REDIRECT,    /* redirects to `text` */
    HUB_FAULT_RANGE_WRONG, /* another range than was asked for */
    HUB_FAULT_RANGE_IGNORED, /* 200 to a range */
    HUB_FAULT_ENCODED,       /* says Content-Encoding: gzip */
    HUB_FAULT_HEADER,        /* says the header lines `text` before what it would say */
    HUB_FAULT_HEADER_LONG,   /* 300 KiB of header */
    HUB_FAULT_GARBAGE,       /* not HTTP */
    HUB_FAULT_BODY,          /* 200 with `text` as the body, X-Repo-Commit and all */
    HUB_FAULT_NEXT,          /* a listing whose next page is `text` */
    HUB_FAULT_ENDLESS,       /* a listing with ever new entries */
};
struct hub_fault {
    enum hub_fault_kind kind;
    const char *target; /* part of the request's target; storage addresses begin with "/storage/" */
    unsigned count;     /* of requests it happens to; 0: all */
    uint64_t at;
    unsigned status;
    const char *text; /* header lines end with \r\n each */
};
/* The first of the matching faults happens; strings are copied. */
void hub_server_add_fault(struct hub_server *server, const struct hub_fault *fault);
/* The same, but so many of its requests pass first. */
void hub_server_add_fault_after(
    struct hub_server *server, unsigned skip, const struct hub_fault *fault);
/* "stall", "range-wrong", ...; false when there is no such kind. */
bool hub_fault_kind_of(const char *name, enum hub_fault_kind *out);
void hub_server_clear_faults(struct hub_server *server);

/* Adds an entry, as JSON text, to the end of every listing: hostile names. */
void hub_server_add_entry(struct hub_server *server, const char *json);

/* Every request: "home GET /path HTTP/1.1" or "storage GET ...", then its header lines, then an
 * empty line. The caller frees it. */
char *hub_server_log(struct hub_server *server);
/* How often this text occurs in it. */
size_t hub_server_log_count(struct hub_server *server, const char *text);
void hub_server_clear_log(struct hub_server *server);
/* Of file contents, since the start. */
uint64_t hub_server_bytes_sent(struct hub_server *server);

#endif
