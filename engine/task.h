/* task.h - the plug between engine and tasks: the one engine header that tasks/ includes.
 *
 * A task type says what makes a node of its kind. Its tables (roles, params) give the validation of
 * manifests, `psybuild help TASK` and the JSON Schema; its functions do the work:
 *
 *   hint   optional, on a network thread, before the plan: the first bytes of a large file that is
 *          not here yet, so that its readers can be planned before it is made; or the size of one
 *          whose source does not know it. Its errors are not told: what fails, make will meet, too.
 *   plan   on the main thread, reads headers and small files only, through plan_read_*, which
 *          record each read with its hash. Declares the outputs, their sizes, the layout and the
 *          pieces.
 *   make   on any thread, makes one piece: asks for its inputs' bytes, fills its outputs' buffers.
 *          Results must depend on the piece alone, never on the order or the number of threads.
 *   sum    optional, on the main thread, after the last piece: adds up what the pieces found out
 *          (work_result) to figures that are kept with the record and change no byte.
 *   follow optional, on any thread, one call at a time: each run of the finished beginning of
 * output 0, in order and each byte once, for a digest that needs no second pass. seal   optional,
 * on any thread, after the last piece: the last check before the rename. sealed optional, on the
 * main thread, after the rename, and when a file that was there already is taken for the node's:
 * notes for others beside it. Its error is a warning.
 *
 * Nothing a task does is visible outside until the engine seals its node. */
#ifndef PSYBUILD_ENGINE_TASK_H
#define PSYBUILD_ENGINE_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

struct node;
struct piece;
struct plan;
struct work;

enum param_type {
    PARAM_STRING,
    PARAM_INTEGER,
    PARAM_NUMBER,
    PARAM_BOOLEAN,
    PARAM_LIST,        /* of strings, or of objects when `entries` is set */
    PARAM_PATH,        /* of a user's file, relative to the top manifest */
    PARAM_SIZE,        /* integer or "5G"; also the words in `words` */
    PARAM_OBJECT,      /* checked by the task itself */
    PARAM_ENVIRONMENT, /* of names of environment variables: their values count for the key */
};

struct param_spec {
    const char *name; /* NULL ends a table */
    enum param_type type;
    bool is_required;
    const char *const *words;         /* allowed strings, NULL-terminated; NULL: any */
    const int64_t *integers;          /* allowed integers, ended by -1; NULL: any >= 0 */
    const struct param_spec *entries; /* of a list: the keys of each object in it */
    const char *help;                 /* one line */
};

enum role_reads {
    ROLE_CONTENT, /* the files' bytes */
    ROLE_LAYOUT,  /* another node's layout: available as soon as that node is planned */
};

struct role_spec {
    const char *name; /* NULL ends a table */
    bool is_many;     /* more than one file */
    bool is_required; /* must be named in "in" */
    enum role_reads reads;
    const char *help; /* one line */
};

struct task_type {
    const char *name;    /* "quantize" */
    const char *help;    /* one line */
    unsigned version;    /* raise it when the bytes it makes change; a test holds both together */
    bool can_be_view;    /* "keep": "never": readers see through to its inputs */
    bool is_network;     /* its pieces run on the network threads */
    bool takes_any_role; /* exec: roles are the user's */
    bool lists_rules;    /* calls plan_list_data("rules"): where the manifest has its own counts */
    const struct role_spec *roles;
    const struct param_spec *params;
    struct error *(*hint)(struct work *work, const struct node *node); /* or NULL */
    struct error *(*plan)(struct plan *plan, const struct node *node);
    struct error *(*make)(struct work *work, const struct piece *piece); /* NULL: texts only */
    struct error *(*follow)(
        struct work *work, const struct node *node, uint64_t begin, uint64_t end); /* or NULL */
    struct error *(*seal)(struct work *work, const struct node *node);             /* or NULL */
    struct error *(*sum)(struct plan *plan, const struct node *node);              /* or NULL */
    struct error *(*sealed)(struct arena *arena, const struct node *node);         /* or NULL */
};

const char *node_name(const struct node *node);
/* What a source says of a fetched file. */
const struct source_file *node_source(const struct node *node);
/* The parameter as the manifest or the source's listing gives it; NULL when it is unset. */
const struct json *node_param(const struct node *node, const char *name);

/* A run of bytes of one file of the plan. */
struct piece_range {
    uint32_t file; /* as given by plan_input or plan_output */
    uint64_t offset, size_bytes;
};
enum { PIECE_RANGES_MAX = 4, PIECE_BYTES_MAX = 4 << 20, PIECE_RESULT_BYTES = 64 };

/* The smallest part of an artifact that can be made, checked, resumed and reused alone. Ranges are
 * runs of whole segments of their files. `key` is what the piece is declared to be: everything that
 * decides its bytes but the content of its inputs. */
struct piece {
    struct text key;        /* any bytes; hashed by the engine together with task and version */
    const void *parameters; /* the task's own, from plan_arena */
    uint32_t input_count, output_count;
    struct piece_range inputs[PIECE_RANGES_MAX], outputs[PIECE_RANGES_MAX];
    uint64_t scratch_bytes; /* work_scratch's size */
    bool is_streamed;       /* make writes with work_write, or the file itself (exec) */
    bool is_in_order;      /* make gives the bytes of its one output to work_write, each once and in
                            * order: no buffer is lent for them, and the engine hashes on the way */
    uint64_t weight_bytes; /* for the progress of a streamed piece; else its inputs' size */
};

/* ---- plan ---- */

struct arena *plan_arena(struct plan *plan); /* lives until the node is sealed */
const char *plan_name(const struct plan *plan);
/* The parameter as the manifest gives it, checked against the table; NULL when it is unset. */
const struct json *plan_param(const struct plan *plan, const char *name);
const char *plan_param_text(const struct plan *plan, const char *name, const char *fallback);
uint64_t plan_param_u64(
    const struct plan *plan, const char *name, uint64_t fallback); /* sizes, too */
bool plan_param_bool(const struct plan *plan, const char *name, bool fallback);
/* An error at the parameter's place in the manifest (or, unset, at the node's). */
struct error *plan_param_error(struct plan *plan, const char *name, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* The role's files that are there, in the manifest's order; 0 for an absent optional role. */
size_t plan_input_count(const struct plan *plan, const char *role);
const char *plan_input_path(const struct plan *plan, const char *role, size_t index);

/* Each of these records what it read. Text is NUL-terminated and lives as long as the plan. */
MUST_CHECK struct error *plan_read_text(
    struct plan *plan, const char *role, size_t index, size_t size_max, struct text *out);
struct plan_json; /* a JSON file read field by field */
MUST_CHECK struct error *plan_read_json(
    struct plan *plan, const char *role, size_t index, struct plan_json **out);
/* A field by its dotted path, or "" for the whole document. NULL when absent: that is recorded too.
 */
const struct json *plan_json_get(struct plan_json *json, const char *dotted);
/* The first segment of a file that has a segmenter (a safetensors header with its length). */
MUST_CHECK struct error *plan_read_header(
    struct plan *plan, const char *role, size_t index, struct text *out, uint64_t *file_size);
MUST_CHECK struct error *plan_read_layout(struct plan *plan, const char *role, struct text *out);

/* Files "NAME/..." of the manifest's own directory for that (its "rules"), then of the installed
 * data directory. Listing records the names, reading the content, peeking nothing. */
MUST_CHECK struct error *plan_list_data(
    struct plan *plan, const char *directory, const char *const **paths, size_t *count);
MUST_CHECK struct error *plan_peek_data(struct plan *plan, const char *path, struct text *out);
MUST_CHECK struct error *plan_read_data(struct plan *plan, const char *path, struct text *out);

/* The name of the node's role `index`, NULL past the last: for tasks that take any role. */
const char *plan_role(const struct plan *plan, size_t index);

/* The number by which pieces name an input file. */
uint32_t plan_input(struct plan *plan, const char *role, size_t index);
/* A file this node makes; its path is the node's name or matches its pattern. `size_bytes` of a
 * streamed output may be PLAN_SIZE_UNKNOWN. */
#define PLAN_SIZE_UNKNOWN UINT64_MAX
MUST_CHECK struct error *plan_output(
    struct plan *plan, const char *path, uint64_t size_bytes, uint32_t *out);
/* Bytes that the plan already knows, such as a header. Borrowed until the node is sealed. */
MUST_CHECK struct error *plan_output_bytes(
    struct plan *plan, uint32_t output, uint64_t offset, struct text bytes);
MUST_CHECK struct error *plan_output_text(struct plan *plan, const char *path, struct text text);
/* The identity the output must have ("sha256:HEX"), when it is known beforehand. */
MUST_CHECK struct error *plan_output_identity(
    struct plan *plan, uint32_t output, const char *identity);
/* What readers with ROLE_LAYOUT get. */
MUST_CHECK struct error *plan_layout(struct plan *plan, struct text layout);
/* The key's bytes may go afterwards. Pieces that lie one behind the other in all their files and
 * have the same parameters and sizes cost next to no memory: what differs between them the task had
 * better find from their ranges. */
MUST_CHECK struct error *plan_piece(struct plan *plan, const struct piece *piece);
/* For sum: the pieces in the order of their planning, each with what make found out about it, now
 * or when it was made (empty: nothing). */
size_t plan_piece_count(const struct plan *plan);
struct piece plan_piece_at(const struct plan *plan, size_t index, struct text *result);
MUST_CHECK struct error *plan_figures(struct plan *plan, struct text figures);
/* The output is cut into blocks of 4 MiB whatever its name, and what it is its identity says: for
 * files whose header is not known before they are made. */
void plan_output_blocks(struct plan *plan, uint32_t output);
/* Something of the task's that its calls share until the node is sealed or given up; `end` is then
 * called with it. */
void plan_context(struct plan *plan, void *context, void (*end)(void *context));
/* Flags that work_plan_again was called with: why the plans before this one were given up. */
unsigned plan_again(const struct plan *plan);
/* What hint found out, or what a plan before found whose partial is there; else untouched. */
MUST_CHECK struct error *plan_hint_size(struct plan *plan, uint64_t *out);
/* Another file here that has this node's identity and is as it was made; NULL: none. */
const char *plan_alike(struct plan *plan);
/* Says something worth knowing that is no error; shown once. */
void plan_warn(struct plan *plan, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- work ---- */

struct arena *work_arena(struct work *work); /* reset after each piece */
/* The bytes of the piece's input range, read whole and hashed. Valid until make returns. */
MUST_CHECK struct error *work_read(struct work *work, size_t input, const void **bytes);
/* The memory of an output range, to be filled before make returns; the engine hashes and writes it.
 */
void *work_buffer(struct work *work, size_t output);
void *work_scratch(struct work *work);
const char *work_input_path(const struct work *work, size_t input); /* for messages: its own name */
/* Keeps something found out about the piece: at most PIECE_RESULT_BYTES, the last one counts. */
void work_result(struct work *work, const void *bytes, size_t size);
bool work_wants_figures(const struct work *work); /* false under --no-stats */
/* For streamed pieces, and those in order; each 4 MiB begin their way to the disk when they end: */
MUST_CHECK struct error *work_write(
    struct work *work, size_t output, uint64_t offset, const void *bytes, size_t size);
const char *work_staged_path(const struct work *work, size_t output); /* where the file grows */
/* Where the bytes of an input lie now, by plan_input's number. */
const char *work_file(const struct work *work, uint32_t input);
void work_set_identity(struct work *work, const char *identity); /* of output 0: "sha256:HEX" */
MUST_CHECK struct error *work_add_read(struct work *work, const char *path); /* a depfile's */
void work_progress(struct work *work, uint64_t size_bytes);
void *work_context(struct work *work); /* plan_context's */
/* A place of the thread's for something of the task's that is worth keeping between its jobs, such
 * as a connection. `end` is called with what is there when the thread ends. One task may use it on
 * the network threads. */
void **work_kept(struct work *work, void (*end)(void *kept));
/* Of hint: the first bytes of the file, copied. */
MUST_CHECK struct error *work_hint(struct work *work, const void *bytes, size_t size);
/* Of hint: how long the file is, which its source does not know. */
void work_hint_size(struct work *work, uint64_t size_bytes);
/* Before make or seal returns an error: the node is to be planned again, from nothing, with these
 * flags added to plan_again's. When they were all set already the error counts. */
void work_plan_again(struct work *work, unsigned flags);
const _Atomic bool *work_cancel_flag(const struct work *work);

/* ---- what tasks/ hands to the engine ---- */

/* A file of a source that has to be fetched: it becomes a node of the task "fetch". */
struct source_file {
    const char *path;     /* within the source's directory, normal */
    const char *identity; /* "sha256:HEX" or "git:HEX": all that its key covers, with the name */
    uint64_t size_bytes;
    const struct json *parameters; /* object; how to get it: no part of the key; may be shared */
    const char *partial; /* where it grows, within the source's directory; NULL: in .psybuild */
};

struct source_context {
    struct arena *arena;
    const char *lock_path; /* psybuild.lock */
    bool has_written_lock; /* by a listing; its stamp then: */
    struct file_stamp lock_stamp;
    bool is_frozen, is_offline;
    bool is_dry;                                  /* list, but write no lock */
    bool is_refreshing;                           /* -t lock: ask anew whatever the lock says */
    uint64_t rate_bytes;                          /* a second, of all downloads; 0: no limit */
    unsigned connections;                         /* that share it */
    void (*say)(void *context, const char *line); /* "listing GMLHUHE/PsyLLM" */
    void *say_context;
};

/* How files of a source that is no directory on disk are listed ("hub", "files"). */
struct source_kind {
    const char *key;                 /* in the source's declaration */
    const struct param_spec *params; /* the other keys it may have */
    const char *help;
    MUST_CHECK struct error *(*list)(struct source_context *context, const char *directory,
        const struct json *declaration, struct source_file **files, size_t *count);
};

/* Where a format's files are cut for hashing; borders depend on the file's own header only. */
struct segmenter {
    const char *suffix; /* ".safetensors" */
    /* The bytes that hold the header, from the first 8: 0 when this is no such file. */
    uint64_t (*header_bytes)(const unsigned char first[8], uint64_t file_size);
    /* In file order without gaps, the header first; `*count` is 0 when it is no such file. */
    MUST_CHECK struct error *(*segments)(struct arena *arena, const char *path, struct text header,
        uint64_t file_size, struct span_run **runs, size_t *count);
    /* "tensor \"a.weight\"": what the format calls the part at that offset; NULL: nothing. */
    MUST_CHECK struct error *(*name_part)(struct arena *arena, const char *path, struct text header,
        uint64_t file_size, uint64_t offset, const char **name);
};

struct registry {
    const struct task_type *const *types;            /* NULL-terminated */
    const struct source_kind *const *sources;        /* NULL-terminated */
    const struct segmenter *const *segmenters;       /* NULL-terminated */
    const struct segmenter *const *older_segmenters; /* as states up to version 2 have hashes */
    const char *fetch_task; /* the type of the nodes of source files: "fetch" */
    const char *seal_last;  /* the file without which nothing loads a directory: "config.json" */
    /* Computes the identity of a file on disk in the kind of `like` ("sha256:...", "git:..."). */
    MUST_CHECK struct error *(*identify)(
        struct arena *arena, const char *path, const char *like, char **out);
};

#endif
