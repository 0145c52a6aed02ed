/* test_pool.c - jobs on threads: their order, their memory, and how they are taken back. */
#include "engine/machine/pool.h"

#include <setjmp.h>
#include <stdarg.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tree.h"

/* What the jobs of a test have in common; a gate holds them back until it is opened. */
struct desk {
    pthread_mutex_t mutex;
    pthread_cond_t moved;
    bool is_open;
    uint64_t memory_now, memory_most;
    unsigned running, running_most, started;
    char order[64];
};

struct job {
    struct pool_job pool; /* first */
    struct desk *desk;
    char name;
    bool waits; /* for the gate */
    struct error *result;
};

static void open_desk(struct desk *desk)
{
    *desk = (struct desk){.is_open = true};
    pthread_mutex_init(&desk->mutex, NULL);
    pthread_cond_init(&desk->moved, NULL);
}

static void set_gate(struct desk *desk, bool is_open)
{
    pthread_mutex_lock(&desk->mutex);
    desk->is_open = is_open;
    pthread_cond_broadcast(&desk->moved);
    pthread_mutex_unlock(&desk->mutex);
}

/* Until `count` jobs have begun. */
static void wait_for_start(struct desk *desk, unsigned count)
{
    pthread_mutex_lock(&desk->mutex);
    while (desk->started < count)
        pthread_cond_wait(&desk->moved, &desk->mutex);
    pthread_mutex_unlock(&desk->mutex);
}

static void enter(struct desk *desk, const struct job *job)
{
    pthread_mutex_lock(&desk->mutex);
    desk->memory_now += job->pool.memory_bytes;
    desk->running++;
    if (desk->memory_now > desk->memory_most)
        desk->memory_most = desk->memory_now;
    if (desk->running > desk->running_most)
        desk->running_most = desk->running;
    if (desk->started + 1 < sizeof desk->order)
        desk->order[desk->started] = job->name;
    desk->started++;
    pthread_cond_broadcast(&desk->moved);
    while (job->waits && !desk->is_open)
        pthread_cond_wait(&desk->moved, &desk->mutex);
    pthread_mutex_unlock(&desk->mutex);
}

static void leave(struct desk *desk, const struct job *job)
{
    pthread_mutex_lock(&desk->mutex);
    desk->memory_now -= job->pool.memory_bytes;
    desk->running--;
    pthread_mutex_unlock(&desk->mutex);
}

static void run(struct pool_job *pool_job, struct pool_worker *worker)
{
    struct job *job = (struct job *)pool_job;
    enter(job->desk, job);
    if (pool_job->memory_bytes > 0) {
        if ((uintptr_t)worker->buffer % 64 != 0)
            pool_job->error = error_new(ERROR_FAILED, "the buffer is not aligned");
        memset(worker->buffer, job->name, (size_t)pool_job->memory_bytes); /* all of it is there */
    }
    char *text = arena_format(&worker->arena, "%c", job->name);
    if (text == NULL || text[0] != job->name)
        pool_job->error = error_memory();
    if (job->result != NULL)
        pool_job->error = job->result;
    leave(job->desk, job);
}

static struct job new_job(struct desk *desk, char name, uint64_t memory_bytes)
{
    return (struct job){
        .pool = {.run = run, .memory_bytes = memory_bytes}, .desk = desk, .name = name};
}

/* Collects `count` jobs; their names in order of completion. */
enum { FOREVER_MS = 3600 * 1000 }; /* a wake-up that is lost ends in the runner's time limit */

static void collect(struct pool *pool, size_t count, char *names)
{
    while (count > 0) {
        for (struct pool_job *job = pool_collect(pool, FOREVER_MS); job != NULL; job = job->next) {
            assert_true(count > 0);
            count--;
            if (names != NULL)
                *names++ = ((struct job *)job)->name;
        }
    }
    if (names != NULL)
        *names = '\0';
}

static void one_thread_runs_jobs_in_order(void **state)
{
    enum { MANY = 40 };
    struct pool *pool;
    struct desk desk;
    struct job jobs[MANY];
    char names[MANY + 1];
    (void)state;
    open_desk(&desk);
    tree_assert_ok(pool_open(1, 1, 100, &pool));
    for (unsigned i = 0; i < MANY; i++) {
        jobs[i] = new_job(&desk, (char)('0' + i), i % 3 * 40);
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
    }
    assert_int_equal(pool_pending(pool), MANY);
    collect(pool, MANY, names);
    assert_int_equal(pool_pending(pool), 0);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(names[i], '0' + (int)i);
    assert_int_equal(desk.running_most, 1);
    assert_null(pool_collect(pool, 0)); /* none came */
    pool_close(pool);
}

static void the_budget_bounds_what_runs_at_once(void **state)
{
    enum { MANY = 400, THREADS = 8, BUDGET = 1000 };
    struct pool *pool;
    struct desk desk;
    struct job *jobs = test_calloc(MANY, sizeof *jobs);
    (void)state;
    open_desk(&desk);
    tree_assert_ok(pool_open(THREADS, 2, BUDGET + 300, &pool));
    pool_give_up(pool, 300);
    for (unsigned i = 0; i < MANY; i++) {
        jobs[i] = new_job(&desk, 'a', (i * 37) % 500);
        jobs[i].pool.is_network = i % 5 == 0;
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
    }
    collect(pool, MANY, NULL);
    assert_true(desk.memory_most <= BUDGET);
    assert_int_equal(desk.started, MANY);
    assert_true(desk.running_most <= THREADS + 2);
    for (unsigned i = 0; i < MANY; i++)
        assert_null(jobs[i].pool.error);
    pool_close(pool);
    test_free(jobs);
}

static void a_job_larger_than_the_budget_runs_alone(void **state)
{
    enum { MANY = 60, BUDGET = 100, LARGE = 5000 };
    struct pool *pool;
    struct desk desk;
    struct job jobs[MANY];
    (void)state;
    open_desk(&desk);
    tree_assert_ok(pool_open(4, 1, BUDGET, &pool));
    for (unsigned i = 0; i < MANY; i++) {
        jobs[i] = new_job(&desk, 'a', i % 10 == 5 ? LARGE : 30);
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
    }
    collect(pool, MANY, NULL);
    assert_int_equal(desk.memory_most, LARGE); /* and nothing beside it */
    pool_close(pool);
}

/* While one is at work, a second that does not fit waits, and whoever comes after it waits, too. */
static void what_does_not_fit_is_not_overtaken(void **state)
{
    struct pool *pool;
    struct desk desk;
    struct job first, large, small;
    (void)state;
    open_desk(&desk);
    desk.is_open = false;
    first = new_job(&desk, '1', 60);
    large = new_job(&desk, '2', 60);
    small = new_job(&desk, '3', 1);
    first.waits = true;
    tree_assert_ok(pool_open(4, 1, 100, &pool));
    tree_assert_ok(pool_submit(pool, &first.pool));
    wait_for_start(&desk, 1);
    tree_assert_ok(pool_submit(pool, &large.pool));
    tree_assert_ok(pool_submit(pool, &small.pool));
    assert_null(pool_collect(pool, 20));
    assert_int_equal(desk.started, 1);
    set_gate(&desk, true);
    collect(pool, 3, NULL);
    assert_true(desk.memory_most <= 100);
    pool_close(pool);
}

static void network_jobs_have_threads_of_their_own(void **state)
{
    struct pool *pool;
    struct desk desk;
    struct job stuck, other;
    char names[2];
    (void)state;
    open_desk(&desk);
    desk.is_open = false;
    stuck = new_job(&desk, 's', 0);
    stuck.pool.is_network = stuck.waits = true;
    other = new_job(&desk, 'o', 10);
    tree_assert_ok(pool_open(1, 1, 100, &pool));
    tree_assert_ok(pool_submit(pool, &stuck.pool));
    wait_for_start(&desk, 1);
    tree_assert_ok(pool_submit(pool, &other.pool));
    collect(pool, 1, names);
    assert_string_equal(names, "o");
    set_gate(&desk, true);
    collect(pool, 1, names);
    assert_string_equal(names, "s");
    pool_close(pool);
}

static void what_has_not_started_can_be_withdrawn(void **state)
{
    struct pool *pool;
    struct desk desk;
    struct job jobs[4];
    (void)state;
    open_desk(&desk);
    desk.is_open = false;
    tree_assert_ok(pool_open(1, 1, 100, &pool));
    assert_null(pool_withdraw(pool, NULL, NULL));
    for (unsigned i = 0; i < 4; i++) {
        jobs[i] = new_job(&desk, (char)('0' + i), 10);
        jobs[i].waits = true;
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
        if (i == 0)
            wait_for_start(&desk, 1);
    }
    assert_int_equal(pool_pending(pool), 4);
    struct pool_job *back = pool_withdraw(pool, NULL, NULL);
    for (unsigned i = 1; i < 4; i++, back = back->next)
        assert_ptr_equal(back, &jobs[i].pool);
    assert_null(back);
    assert_int_equal(pool_pending(pool), 1);
    set_gate(&desk, true);
    collect(pool, 1, NULL);
    assert_int_equal(desk.started, 1);
    tree_assert_ok(pool_submit(pool, &jobs[2].pool)); /* as if never submitted */
    collect(pool, 1, NULL);
    assert_int_equal(desk.order[1], '2');
    pool_close(pool);
}

static void errors_come_back_with_their_job(void **state)
{
    struct pool *pool;
    struct desk desk;
    struct job good, bad;
    (void)state;
    open_desk(&desk);
    good = new_job(&desk, 'g', 0);
    bad = new_job(&desk, 'b', 0);
    bad.result = error_new(ERROR_FAILED, "no luck");
    tree_assert_ok(pool_open(2, 1, 100, &pool));
    tree_assert_ok(pool_submit(pool, &bad.pool));
    tree_assert_ok(pool_submit(pool, &good.pool));
    collect(pool, 2, NULL);
    assert_null(good.pool.error);
    tree_assert_report(bad.pool.error, "no luck\n");
    bad.result = NULL;
    tree_assert_ok(pool_submit(pool, &bad.pool)); /* a job that is used again starts well */
    collect(pool, 1, NULL);
    assert_null(bad.pool.error);
    pool_close(pool);
}

static void memory_that_cannot_be_had_fails_the_job_alone(void **state)
{
    static const uint64_t sizes[] = {64, UINT64_MAX, 64, 32 << 20, 16, UINT64_MAX - 1, 0, 100};
    enum { MANY = sizeof sizes / sizeof sizes[0] };
    struct pool *pool;
    struct desk desk;
    struct job jobs[MANY];
    (void)state;
    open_desk(&desk);
    tree_assert_ok(pool_open(1, 1, 100, &pool));
    for (unsigned i = 0; i < MANY; i++) {
        jobs[i] = new_job(&desk, (char)('0' + i), sizes[i]);
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
    }
    collect(pool, MANY, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        bool is_absurd = sizes[i] > UINT32_MAX;
        assert_ptr_equal(jobs[i].pool.error, is_absurd ? error_memory() : NULL);
    }
    assert_string_equal(desk.order, "023467");
    pool_close(pool);
}

static void closing_waits_for_what_runs(void **state)
{
    struct pool *pool;
    struct desk desk;
    struct job job;
    (void)state;
    pool_close(NULL);
    tree_assert_ok(pool_open(8, 8, 100, &pool));
    pool_close(pool); /* no thread was ever started */
    open_desk(&desk);
    job = new_job(&desk, 'j', 10);
    tree_assert_ok(pool_open(8, 8, 100, &pool));
    tree_assert_ok(pool_submit(pool, &job.pool));
    wait_for_start(&desk, 1);
    pool_close(pool);
    assert_int_equal(desk.running, 0);
}

/* Batches that are whole, what failed, and at last what is left: whoever waits is woken for each.
 */
static void all_done_jobs_come(void **state)
{
    enum { JOBS = 40, FAILS = 4 };
    struct pool *pool;
    struct desk desk;
    struct job jobs[JOBS];
    size_t count = 0;
    (void)state;
    open_desk(&desk);
    set_gate(&desk, false);
    tree_assert_ok(pool_open(1, 1, 100, &pool));
    for (size_t i = 0; i < JOBS; i++) {
        jobs[i] = new_job(&desk, 'j', 0);
        jobs[i].waits = i == 0 || i == FAILS;
        if (i == FAILS)
            jobs[i].result = error_new(ERROR_FAILED, "no luck");
        tree_assert_ok(pool_submit(pool, &jobs[i].pool));
    }
    set_gate(&desk, true);
    while (count < JOBS)
        for (struct pool_job *job = pool_collect(pool, FOREVER_MS); job != NULL; job = job->next)
            count++;
    assert_int_equal(count, JOBS);
    tree_assert_report(jobs[FAILS].pool.error, "no luck\n");
    pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_runs_jobs_in_order),
        cmocka_unit_test(the_budget_bounds_what_runs_at_once),
        cmocka_unit_test(a_job_larger_than_the_budget_runs_alone),
        cmocka_unit_test(what_does_not_fit_is_not_overtaken),
        cmocka_unit_test(network_jobs_have_threads_of_their_own),
        cmocka_unit_test(what_has_not_started_can_be_withdrawn),
        cmocka_unit_test(errors_come_back_with_their_job),
        cmocka_unit_test(memory_that_cannot_be_had_fails_the_job_alone),
        cmocka_unit_test(all_done_jobs_come),
        cmocka_unit_test(closing_waits_for_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
