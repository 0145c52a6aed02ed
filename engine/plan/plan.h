/* plan.h - what one stale node will do, from its headers to its list of pieces.
 *
 * A plan lives in its node's arena until the node is sealed. It is filled in by the task through
 * the plan_* calls of task.h, checked and decided upon by the planner, staged, and in the end
 * turned into a record. */
#ifndef PSYBUILD_ENGINE_PLAN_PLAN_H
#define PSYBUILD_ENGINE_PLAN_PLAN_H

#include "engine/run/run.h"

struct plan_input {
    const char *role;
    uint32_t role_index;
    const char *path, *location;
    uint32_t producer;         /* or NODE_NONE */
    uint32_t file;             /* index into the state's files */
    uint32_t pieces_left;      /* not made yet, of those that read it */
    bool is_numbered;          /* plan_input was asked for it: pieces may read it */
    bool is_staged;            /* made in this run, not sealed yet */
    bool is_awaited;           /* not here: planned from what its producer knows of it beforehand */
    bool is_filling;           /* a job hashes what no piece read of it */
    bool is_done;              /* read by all pieces, hashed, and closed before the others */
    struct segments *segments; /* NULL until a piece or a header needs them */
    struct file *handle;
};

struct plan_bytes {
    uint64_t offset;
    struct text bytes;
};

struct plan_output {
    const char *path;
    uint64_t size_bytes; /* PLAN_SIZE_UNKNOWN: streamed */
    bool is_text;        /* its one plan_bytes is all of it */
    bool is_blocks;      /* cut into equal blocks; has an identity, and no tree hash */
    bool is_unchanged;   /* on disk already, bit for bit: not staged */
    struct plan_bytes *bytes;
    uint32_t byte_count;
    size_t byte_capacity;
    struct segments *segments; /* NULL when streamed */
    const char *identity;      /* expected or found; "" */
    const char *staged;        /* path of the staged file */
    struct file_stamp stamp;   /* of it, once it is made */
    struct file *handle;
    struct behind_file *behind; /* NULL: pieces are written at once */
    bool has_tree;
    struct hash128 tree;
};

enum piece_action {
    PIECE_MAKE,
    PIECE_KEEP,   /* its bytes are where they belong */
    PIECE_COPY,   /* its bytes are in the previous output */
    PIECE_VERIFY, /* its bytes should be in the staged file: hash them first */
};

/* Alike pieces that lie one behind the other: of the piece `begin + i` each range is that of the
 * first, moved on by i times its size. */
struct piece_run {
    struct piece first;
    uint32_t begin;
};

/* What is remembered of each piece; the rest is computed from its run (plan_piece_of). */
struct planned_piece {
    struct hash128 key;
    const struct piece_record *record; /* what it is taken over from */
    const struct text *result;         /* what make found out about it; NULL: nothing */
    uint32_t run;
    uint8_t action;  /* enum piece_action */
    uint8_t awaited; /* of its inputs, those that are not here */
    bool is_done;
};

struct plan {
    struct build *build;
    uint32_t index; /* of the node */
    const struct node *node;
    struct arena *arena;
    struct plan_input *inputs;
    uint32_t input_count;
    struct plan_output *outputs;
    uint32_t output_count;
    size_t output_capacity;
    struct piece_run *piece_runs; /* this and the next: memory of their own, until staging_end */
    uint32_t piece_run_count;
    size_t piece_run_capacity;
    struct planned_piece *pieces;
    uint32_t piece_count;
    size_t piece_capacity;
    struct record_read *reads;
    uint32_t read_count;
    size_t read_capacity;
    struct text layout, figures;
    const char *directory;      /* its partial: of the growing log */
    const char *stage;          /* of the staged files: most often the same (places.h) */
    struct piece_log *previous; /* of the sealed outputs */
    bool *is_copied_from;       /* of those: some piece is, or is kept where it is */
    struct piece_log *log;      /* of this attempt; NULL without pieces to log */
    const char *log_path;       /* of what will be the log of the sealed outputs; NULL: none */
    bool is_resumed;            /* the partial holds something that may be taken up */
    uint64_t bytes_to_read, bytes_to_write, bytes_to_download, bytes_kept;
    uint32_t pieces_to_make;
    bool is_streamed;
    bool spares_cache;             /* moves more than half of the memory */
    const struct record *restored; /* by whose outputs the cache makes this node; NULL: pieces do */
    void *context;                 /* the task's own */
    void (*end_context)(void *context);
    bool is_changed;         /* some output differs from what is on disk */
    uint32_t recorded_count; /* pieces that the log says are in the staged files */
    struct error *failure;   /* of a call that returns none: reported when the plan returns */
};

struct piece plan_piece_of(const struct plan *plan, uint32_t index);
bool plan_has_output(const struct plan *plan, const char *path);

#endif
