/* schedule.h - what the main thread keeps while it schedules; whose files are,
 * from low to high: ready, queues, giveback, advance, check, dry, schedule.
 *
 * A reader's edge is met as soon as the producer's status serves it; a node is ready when all its
 * edges are. Edges are looked at again whenever a status changes, so a file that was given back and
 * is asked for again takes its readers' edges back with it. */
#ifndef PSYBUILD_ENGINE_SCHEDULE_SCHEDULE_H
#define PSYBUILD_ENGINE_SCHEDULE_SCHEDULE_H

#include "engine/plan/plan.h"
#include "engine/work/work.h"

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
    uint32_t *sealing_next;           /* takes its place while it is walked */
    uint32_t *heard, heard_count;     /* large downloads that wait for their turn */
    uint32_t *again, again_count;     /* given up: planned again by the loop */
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
    uint64_t load_ns;                     /* when the load was looked at */
    bool is_loaded;                       /* more than -l */
    struct error *interrupted;
};

/* ---- ready.c: which node is looked at next ---- */

MUST_CHECK struct error *ready_begin(struct schedule *schedule, const bool *is_wanted);
bool ready_is_more_urgent(const struct schedule *schedule, uint32_t a, uint32_t b);
void ready_push(struct schedule *schedule, uint32_t node);
uint32_t ready_pop(struct schedule *schedule); /* the most urgent; there must be one */
/* From now on the node waits for the files that it reads, whatever is heard of them. */
void ready_be_patient(struct schedule *schedule, uint32_t node);
/* And looks at all edges to the node's readers. */
void ready_set_status(struct schedule *schedule, uint32_t node, enum node_status status);

/* ---- queues.c: the lists above, the jobs on their way, and how a node leaves them ---- */

/* Takes a node out of a list, if it is there. */
void queues_remove(uint32_t *list, uint32_t *count, uint32_t node);
/* The node is planned no more: gives back its place in its pool. */
void queues_leave_active(struct schedule *schedule, uint32_t node);
void queues_leave_small(struct schedule *schedule, uint32_t node);
/* Nodes that wait for another's file look again. */
void queues_unpark(struct schedule *schedule);
/* The plan is given up: the loop plans the node again. */
void queues_add_again(struct schedule *schedule, uint32_t node);
MUST_CHECK struct error *queues_submit(struct schedule *schedule, struct job *job); /* takes it */
MUST_CHECK struct error *queues_start_job(
    struct schedule *schedule, uint32_t node, enum job_kind kind, uint32_t index);
bool queues_have_window(const struct schedule *schedule, enum lane lane);
/* The node's jobs, or all, that have not begun are not wanted any more. */
void queues_withdraw(struct schedule *schedule, uint32_t node);
void queues_withdraw_all(struct schedule *schedule);
/* An interruption stops the run, anything else the node and what needs it. */
void queues_fail(struct schedule *schedule, uint32_t node, struct error *error); /* takes it */
/* The node failed with another: blocked, and its readers with it. */
void queues_give_up(struct schedule *schedule, uint32_t node);
void queues_tick(struct schedule *schedule); /* tells of the progress */

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

/* ---- advance.c: from planned to sealed ---- */

/* What no piece read of an input is hashed; until then its file stays open. */
MUST_CHECK struct error *advance_start_fill(
    struct schedule *schedule, uint32_t node, uint32_t input);
/* Queues the pieces that can run at once: all that wait for no input, and those to be verified. */
MUST_CHECK struct error *advance_queue_pieces(struct node_run *run);
/* Goes on while nothing of the current phase is left to do. */
void advance_node(struct schedule *schedule, uint32_t node);
void advance_feed_node(struct schedule *schedule, uint32_t node);
/* Submits pieces of planned nodes, the most urgent first, while the pool's windows have room. */
void advance_feed(struct schedule *schedule);
/* Hands what is whole of the beginning of output 0 to the task's follow, one run at a time. */
MUST_CHECK struct error *advance_follow(struct schedule *schedule, uint32_t node);
/* Whether an input's tree hash is known only when what no piece read of it is hashed, too. */
bool advance_wants_fill(struct build *build, const struct plan_input *input);
void advance_seal(struct schedule *schedule, const uint32_t *nodes, uint32_t count);
/* Seals a group when each of its nodes is made or fresh. */
void advance_seal_if_complete(struct schedule *schedule, uint32_t node);
/* The task's notes for others beside a file that has its name now. */
void advance_write_notes(struct build *build, uint32_t node);

/* ---- check.c: one node, from ready to planned ---- */

MUST_CHECK struct error *check_node(struct schedule *schedule, uint32_t node);
/* Known to be stale: had elsewhere, heard of, restored, waiting for small files, or planned. */
MUST_CHECK struct error *check_begin_stale(struct schedule *schedule, uint32_t node);
MUST_CHECK struct error *check_plan(struct schedule *schedule, uint32_t node);
/* Plans again from nothing, as soon as the last job of the node's plan is back. */
void check_plan_anew(struct schedule *schedule, uint32_t node);
/* Asks again for the given-back files that a plan's pieces read, or all that a node reads. */
void check_demand_inputs(struct schedule *schedule, uint32_t node, bool all);
/* The file on disk is what the source says. */
MUST_CHECK struct error *check_adopt_file(struct schedule *schedule, uint32_t node, uint32_t file);
MUST_CHECK struct error *check_set_fresh(struct schedule *schedule, uint32_t node);
/* EVENT_STARTED of a plan. */
void check_say_started(struct build *build, const struct plan *plan);

/* ---- dry.c ---- */
MUST_CHECK struct error *dry_run(struct schedule *schedule);

/* ---- schedule.c: the loop; for build.c ---- */

/* Makes what is wanted; with is_dry only events tell what would be done. */
MUST_CHECK struct error *schedule_run(
    struct build *build, const bool *is_wanted, uint32_t *failures);

#endif
