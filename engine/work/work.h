/* work.h - the jobs that run on the pool's threads: making, verifying and copying pieces, hashing
 * files, syncing. Each gets what it needs as const values and brings back hashes and an error; the
 * main thread alone writes them into plan and state. */
#ifndef PSYBUILD_ENGINE_WORK_WORK_H
#define PSYBUILD_ENGINE_WORK_WORK_H

#include "engine/plan/plan.h"

enum job_kind {
    JOB_HINT,     /* the task's hint, before the plan */
    JOB_MAKE,     /* one piece */
    JOB_RESTORE,  /* an output from the cache; `is_wrong` tells that its entry is damaged */
    JOB_VERIFY,   /* hash a piece's staged bytes; `is_wrong` tells that they must be made */
    JOB_COPY,     /* a range of the previous output */
    JOB_HASH,     /* all of a file on disk, into `segments` */
    JOB_FILL,     /* of an input: what no piece read */
    JOB_IDENTIFY, /* is the file on disk what the source says? */
    JOB_FOLLOW,   /* the task's follow, over `span` of output 0 */
    JOB_FLUSH,    /* all that is staged, and the log, before an input is given back */
    JOB_SYNC,     /* one staged output, the task's seal before it */
};

struct job {
    struct pool_job pool; /* first: the pool knows no more */
    struct build *build;
    uint32_t node; /* NODE_NONE for JOB_HASH */
    enum job_kind kind;
    uint32_t index; /* of the piece, copy, input, output, or file of the state */
    struct segments *segments;
    const char *location;
    const struct copy_run *copy;
    struct span span;
    unsigned again; /* flags of work_plan_again */
    bool is_wrong;  /* JOB_VERIFY, JOB_IDENTIFY */
    char *identity; /* found: memory_alloc'd, or NULL */
    char **reads;   /* paths added by work_add_read: memory_alloc'd each */
    uint32_t read_count;
    int64_t started_ns; /* of file_clock_now_ns, before its piece was made */
    char *hint;         /* JOB_HINT: the file's first bytes; memory_alloc'd, or NULL */
    size_t hint_bytes;
    uint64_t hint_size; /* of the whole file; 0: not found out */
    uint64_t bytes_read, bytes_written;
    unsigned char result[PIECE_RESULT_BYTES]; /* of JOB_MAKE */
    uint32_t result_bytes;
    uint32_t hash_count;
    struct hash128 hashes[]; /* of a piece: of its inputs' segments, then its outputs' */
};

MUST_CHECK struct error *job_new(
    struct build *build, uint32_t node, enum job_kind kind, uint32_t index, struct job **out);
void job_free(struct job *job);

#endif
