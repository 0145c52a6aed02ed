/* schedule.h - what the main thread keeps while it schedules; of schedule.c and its helpers only.
 *
 * A reader's edge is met as soon as the producer's status serves it; a node is ready when all its
 * edges are. Edges are looked at again whenever a status changes, so a file that was given back and
 * is asked for again takes its readers' edges back with it. */
#ifndef PSYBUILD_ENGINE_SCHEDULE_H
#define PSYBUILD_ENGINE_SCHEDULE_H

#include "engine/plan.h"
#include "engine/work.h"

struct jobserver;

struct reader {
    uint32_t node;
    bool is_content;
    bool is_met;
};

enum lane { LANE_WORK, LANE_NETWORK, LANES };

struct schedule {
    struct build *build;
    uint32_t *first_reader; /* readers of node i: readers[first_reader[i] .. first_reader[i + 1]) */
    struct reader *readers;
    uint64_t *priority;           /* ns that the longest way from here to the end took last time */
    uint32_t *rank;               /* place in the graph's order: decides between equal priorities */
    uint32_t *ready, ready_count; /* to be checked: a heap, the most urgent first */
    uint32_t *hashing, hashing_count; /* wait for files to be hashed */
    uint32_t *blocking;               /* block()'s own */
    uint32_t *active, active_count;   /* planned, not made: the most urgent first */
    uint32_t *sealing, sealing_count; /* made, without a group: sealed together in each round */
    uint32_t *heard, heard_count;     /* large downloads that wait for their turn */
    uint32_t *parked, parked_count;   /* wait for another node that fetches the same content */
    uint32_t *pool_used;              /* nodes at work, by pool of the graph */
    bool *is_group_failed;
    uint32_t failures;
    uint32_t hint_count;   /* hints on their way */
    uint32_t small_count;  /* downloads without a hint: plans may wait for them */
    bool is_space_checked; /* for all that is planned, before the first large download */
    bool is_stopping;
    uint32_t wanted;
    size_t window[LANES], pending[LANES]; /* jobs in the pool at a time */
    struct jobserver *jobserver;          /* or NULL */
    uint64_t load_ns;                     /* when the load was looked at */
    bool is_loaded;                       /* more than -l */
    struct error *interrupted;
};

void schedule_set_status(struct schedule *schedule, uint32_t node, enum node_status status);
/* EVENT_STARTED of a plan. */
void schedule_say_started(struct build *build, const struct plan *plan);
void schedule_fail(struct schedule *schedule, uint32_t node, struct error *error); /* takes it */
MUST_CHECK struct error *schedule_set_fresh(struct schedule *schedule, uint32_t node);
MUST_CHECK struct error *schedule_submit(struct schedule *schedule, struct job *job);

/* ---- dry.c ---- */
MUST_CHECK struct error *dry_run(struct schedule *schedule);

/* ---- giveback.c: files with "keep": "until-used" ---- */

/* Whether a download may begin now: what its readers are planned to write fits beside it. An error
 * when it never will. */
MUST_CHECK struct error *giveback_admits(
    struct schedule *schedule, uint32_t node, bool is_last_chance, bool *out);
/* All pieces that read an input are made: its file goes if no other reader needs it. */
MUST_CHECK struct error *giveback_input_done(struct schedule *schedule, struct plan_input *input);
/* A node was made or sealed, or was fresh: what it read goes if no other reader needs it. */
MUST_CHECK struct error *giveback_node_done(struct schedule *schedule, uint32_t reader);
/* A reader's staged bytes are on disk. */
MUST_CHECK struct error *giveback_flushed(struct schedule *schedule, uint32_t producer);

#endif
