/* run.h - the tables of one run: what is known about its nodes and files while it lasts.
 *
 * The main thread owns all of it. Opened by build_open (build.h); what is above in this folder's
 * order looks at it and fills it in. */
#ifndef PSYBUILD_ENGINE_RUN_RUN_H
#define PSYBUILD_ENGINE_RUN_RUN_H

#include <stdatomic.h>

#include "engine/machine/pool.h"
#include "engine/graph/graph.h"
#include "engine/state/journal.h"
#include "engine/state/store.h"
#include "engine/state/pieces.h"

/* The life of a node in one run:
 *
 *   WAITING --needs at hand--> CHECKING --(hash jobs)--> CHECKING --> FRESH
 *                                 |
 *                               stale --plan--> PLANNED --pieces, sync--> MADE --group--> SEALED
 *                                 |                |          |
 *                                 +----------------+----------+--> FAILED; who needs it: BLOCKED
 */
enum node_status { /* the order counts: from PLANNED on layouts can be read, from SEALED on files */
    STATUS_FAILED = -2,
    STATUS_BLOCKED,
    STATUS_WAITING,
    STATUS_CHECKING,
    STATUS_HEARD, /* a large file to be fetched: its header is known, its turn has not come */
    STATUS_PLANNED,
    STATUS_MADE,
    STATUS_SEALED,
    STATUS_FRESH,
};

/* What a planned node still has to do before it is MADE. */
enum node_phase {
    PHASE_PIECES, /* make, verify, copy */
    PHASE_FILL,   /* hash what no piece read of its inputs, and streamed outputs */
    PHASE_SYNC,   /* the task's last check, and the staged files to disk */
};

struct copy_run {
    uint32_t output;
    const char *from_path;
    uint64_t from_offset, offset, size_bytes;
};

/* A file a node made, in this run or before. */
struct made_file {
    const char *path;     /* its final name */
    const char *location; /* where it lies now: staged, or the same */
    uint64_t size_bytes;
    bool has_tree;
    struct hash128 tree;
    const char *identity; /* or "" */
};

struct node_run {
    enum node_status status; /* changed by ready_set_status alone */
    bool is_wanted;
    bool is_forced;     /* -B */
    bool is_itself;     /* a target names it, not only a directory above it */
    const char *reason; /* why it is stale; NULL: not known to be */
    struct arena arena; /* the plan's lifetime: ends when the node is sealed */
    struct plan *plan;
    struct made_file *files; /* when FRESH, MADE or SEALED */
    uint32_t file_count;
    struct text layout; /* when FRESH or from PLANNED on */
    struct hash128 layout_hash;
    uint32_t unmet;  /* needs not at hand yet */
    uint32_t *queue; /* pieces that may run, in that order */
    uint32_t pieces_wanted, pieces_queued;
    uint32_t next_piece, next_copy; /* not submitted yet: of the queue, of the copies */
    uint32_t jobs_left;             /* submitted and not collected */
    enum node_phase phase;
    struct copy_run *copies;
    uint32_t copy_count;
    bool is_changed;      /* its outputs are to be renamed into place */
    bool is_sealing;      /* its staged files belong to an intent that is not carried out yet */
    struct record record; /* when MADE: what will be kept */
    uint64_t started_ns;
    bool is_begun;      /* its first piece was handed out */
    bool is_identified; /* a fetched file that was there has been looked at */
    bool is_queued;     /* in the heap of ready nodes */
    bool is_patient;    /* waits for the files that it reads, whatever is heard of them */
    bool is_listened;   /* its task's hint was asked for */
    bool is_small;      /* a download that plans may wait for */
    bool is_given_back; /* its files are gone with our will */
    bool is_uncached;   /* the cache had it, but damaged */
    bool is_demanded;   /* and wanted again */
    bool has_slot;      /* in its pool */
    uint32_t flushes_left;
    uint64_t size_heard; /* of its file, by its task's hint; 0: nothing */
    bool is_given_up;    /* its plan is: planned again when its last job is back */
    unsigned again;      /* the flags of work_plan_again */
    uint32_t alike;      /* a wanted node that fetches the same content, or NODE_NONE */
    uint32_t followed;   /* pieces that were handed to the task's follow */
    bool is_following;
    _Atomic uint64_t bytes_done; /* of its pieces, for the progress; workers add */
};

enum file_look {
    LOOK_NONE, /* not looked at in this run */
    LOOK_ABSENT,
    LOOK_CURRENT,    /* its stamp is the state's: the hashes there hold */
    LOOK_DAMAGED,    /* the same stamp, but other bytes are known to lie there */
    LOOK_GIVEN_BACK, /* absent, with our will: the hashes there hold */
    LOOK_CHANGED,    /* another stamp: must be hashed before anything is said */
};

struct file_run {
    enum file_look look;
    struct file_stamp stamp;          /* when looked at */
    bool is_settled;                  /* no later change can share that stamp */
    bool is_hashing;                  /* a job is at it */
    bool is_allowed_for;              /* planning may hold more because of it (inputs.c) */
    bool is_unsteady;                 /* changed while it was read: it cannot be used in this run */
    struct segments *segments;        /* hashed in this run; NULL: not */
    const struct json_document *json; /* parsed to check fields */
};

/* What planning may hold: so much, and for each file that is read in pieces a share of its size. */
enum { PLANNING_BYTES_MAX = 256 << 20, PLANNING_SHARE = 2048, PLANNING_FILE_BYTES_MAX = 64 << 20 };

enum build_event_kind {
    EVENT_STALE,   /* text: why (-d explain) */
    EVENT_STARTED, /* planned: its pieces begin */
    EVENT_DONE,    /* made */
    EVENT_SEALED,
    EVENT_GIVEN_BACK, /* its file's space, as every reader has had it */
    EVENT_CONFIRMED,  /* nothing had to be written after all */
    EVENT_WARNING,
    EVENT_NOTE,   /* "waiting for ...", "listing ..." */
    EVENT_FAILED, /* error: what; the receiver prints, the build frees */
};
struct build_event {
    enum build_event_kind kind;
    const char *node; /* or NULL */
    const char *text; /* or NULL */
    const struct error *error;
    uint64_t size_bytes; /* written, of EVENT_DONE; to be read, of EVENT_STARTED */
    uint64_t bytes_to_write, bytes_to_download; /* of EVENT_STARTED */
    uint32_t pieces_made, pieces_kept;          /* of EVENT_DONE */
    bool is_restored;                           /* from the cache */
    uint64_t duration_ns;
};

struct build_progress {
    uint32_t nodes_done, nodes_total;
    uint64_t bytes_done, bytes_total; /* of pieces, inputs counted */
    const char *node;                 /* one that is at work */
    bool is_console;                  /* a node of the pool "console" has the terminal */
};

struct jobserver;
struct build_options {
    const char *manifest;
    const char *data_directory;
    const struct manifest_setting *settings;
    size_t setting_count;
    const struct registry *registry;
    unsigned threads, connections;
    uint64_t memory_bytes;
    uint64_t page_cache_bytes;   /* a node that moves more spares the page cache; 0: none does */
    unsigned failures_max;       /* -k: 0 is no limit */
    double load_max;             /* -l: 0 is no limit */
    struct jobserver *jobserver; /* make's; NULL: none, or -j was given */
    bool is_dry;                 /* -n */
    bool is_forced;              /* -B */
    bool is_frozen, is_offline, no_wait, no_stats;
    const char *cache;    /* PSYBUILD_CACHE: instead of the manifest's; or NULL */
    bool is_refreshing;   /* -t lock: sources are asked anew */
    uint64_t rate_bytes;  /* a second, of all downloads; 0: no limit */
    _Atomic bool *cancel; /* set by a signal handler */
    void (*on_event)(void *context, const struct build_event *event);
    void (*on_tick)(void *context, const struct build_progress *progress);
    void *context;
};

struct build_stats {
    uint64_t load_ns, graph_ns, run_ns, save_ns;
    uint64_t files_looked_at, files_hashed, bytes_hashed, bytes_read, bytes_written, bytes_copied;
    uint64_t bytes_given_back;
    uint32_t nodes_made, nodes_fresh, nodes_failed, pieces_made, pieces_kept;
};

struct build {
    const struct build_options *options;
    struct memory_budget planning; /* of this arena, those of the nodes, and lists of pieces */
    struct arena arena;
    const struct registry *registry;
    struct graph *graph;
    struct state *state;
    struct manifest_cache cache; /* path NULL: none */
    bool is_cache_filled;        /* in this run: it is trimmed at the end */
    struct node_run *runs;       /* one a node of the graph */
    struct file_run *files;      /* one a file of the state; grows with it */
    size_t file_capacity;
    struct pool *pool;
    struct behind *behind; /* NULL: no output was written behind yet */
    struct file_lock *lock;
    _Atomic uint64_t bytes_done; /* for the progress; workers add */
    uint64_t bytes_total;
    struct build_stats stats;
    struct ours_index *ours; /* which records name a file; made when it is first asked (ours.c) */
    int64_t stamped_ns; /* of file_clock_ns, when stamps were taken last that are to be saved */
    bool is_state_changed;
};

/* Adds a file to the state and to the run. */
MUST_CHECK struct error *run_add_file(
    struct build *build, const char *path, const char *location, uint32_t *out);
void run_say(struct build *build, enum build_event_kind kind, const char *node, const char *text);
void run_warn(struct build *build, const char *node, struct error *error); /* takes it */
/* Whether it is still the one that others meet: else the state's directory was removed, or
 * replaced, and what is known of it counts no more. */
MUST_CHECK struct error *run_check_lock(const struct build *build);

#endif
