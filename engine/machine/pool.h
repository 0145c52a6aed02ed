/* pool.h - threads that run jobs, within a memory budget.
 *
 * The main thread submits jobs and collects them when they are done; a job is owned by one side at
 * a time, so its fields need no lock. The pool's mutex is the only lock that jobs meet. Jobs run in
 * the order of their submission; one that does not fit into the budget waits until others are done,
 * and one larger than the whole budget runs alone. Network jobs have threads and a queue of their
 * own.
 */
#ifndef PSYBUILD_ENGINE_MACHINE_POOL_H
#define PSYBUILD_ENGINE_MACHINE_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

struct pool;

struct pool_worker {
    struct arena arena; /* reset after each job */
    void *buffer;       /* at least the job's memory_bytes, 64-aligned */
    void *kept;         /* work_kept's, until the thread ends */
    void (*end_kept)(void *kept);
};

struct pool_job {
    void (*run)(struct pool_job *job, struct pool_worker *worker);
    uint64_t memory_bytes; /* of worker->buffer */
    bool is_network;
    struct error *error;   /* set by run; NULL: done well */
    struct pool_job *next; /* the pool's */
};

/* Threads start with the first job of their kind. */
MUST_CHECK struct error *pool_open(
    unsigned threads, unsigned connections, uint64_t memory_bytes, struct pool **out);
MUST_CHECK struct error *pool_submit(struct pool *pool, struct pool_job *job);
/* Waits for done jobs, at most `wait_ms`; NULL when none came. A list in order of completion. As
 * long as twice as many jobs wait as there are threads and none failed, it waits for a batch of
 * them, or for `wait_ms`. */
struct pool_job *pool_collect(struct pool *pool, unsigned wait_ms);
/* So much of the memory is something else's from now on. */
void pool_give_up(struct pool *pool, uint64_t memory_bytes);
/* At most so many jobs that are not the network's run at once from now on; those that run, go on.
 */
void pool_allow(struct pool *pool, unsigned count);
/* Takes back every job that has not started and that `is_meant` (NULL: all); they count as never
 * submitted. */
struct pool_job *pool_withdraw(struct pool *pool,
    bool (*is_meant)(const void *context, const struct pool_job *job), const void *context);
size_t pool_pending(const struct pool *pool); /* submitted and not collected */
void pool_close(struct pool *pool);           /* waits for running jobs; NULL is fine */

#endif
