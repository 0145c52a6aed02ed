/* pool.c - one mutex, one condition for the workers, one for the main thread.
 *
 * The main thread is not woken for each job: a piece takes a third of a millisecond, and waking
 * costs a tenth of that. It is woken when the work runs out, for a batch, for an error, and for
 * what the network brings. */
#include "engine/machine/pool.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { LANES = 2, ALIGNMENT = 64, BUFFER_KEPT_BYTES = 8 << 20, BATCH_JOBS = 16 };

struct queue {
    struct pool_job *first, *last;
    size_t count;
};

struct thread {
    pthread_t id;
    struct pool *pool;
    unsigned lane;
    struct pool_worker worker;
    void *allocation;
    uint64_t capacity;
};

struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    struct queue waiting[LANES]; /* 0: conversion, 1: network */
    struct queue finished;
    uint64_t memory_bytes, memory_used;
    /* Of an idle thread's buffer: together they stay within the budget. */
    _Atomic uint64_t kept_bytes_max;
    unsigned running[LANES], allowed;
    bool is_closing;
    unsigned threads_wanted[LANES];
    /* the main thread's: */
    size_t pending;
    unsigned threads_started[LANES];
    struct thread *threads[LANES];
};

static void push(struct queue *queue, struct pool_job *job)
{
    job->next = NULL;
    if (queue->last != NULL)
        queue->last->next = job;
    else
        queue->first = job;
    queue->last = job;
    queue->count++;
}

static struct pool_job *pop(struct queue *queue)
{
    struct pool_job *job = queue->first;
    queue->first = job->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->count--;
    return job;
}

static bool can_start(const struct pool *pool, unsigned lane)
{
    const struct pool_job *job = pool->waiting[lane].first;
    if (job == NULL || (lane == 0 && pool->running[0] >= pool->allowed))
        return false;
    return pool->memory_used == 0 ||
           (job->memory_bytes <= pool->memory_bytes &&
               pool->memory_used <= pool->memory_bytes - job->memory_bytes);
}

static void give_back(struct thread *thread)
{
    memory_free(thread->allocation);
    thread->allocation = thread->worker.buffer = NULL;
    thread->capacity = 0;
}

/* A buffer is kept for the next job unless it is unusually large. */
static struct error *lend_buffer(struct thread *thread, uint64_t size)
{
    if (size <= thread->capacity)
        return NULL;
    give_back(thread);
    if (size > SIZE_MAX - ALIGNMENT)
        return error_memory();
    thread->allocation = memory_alloc((size_t)size + ALIGNMENT);
    TRY(memory_check(thread->allocation));
    uintptr_t address = (uintptr_t)thread->allocation;
    thread->worker.buffer = (char *)thread->allocation + (ALIGNMENT - address % ALIGNMENT);
    thread->capacity = size;
    return NULL;
}

static void run_job(struct thread *thread, struct pool_job *job)
{
    job->error = lend_buffer(thread, job->memory_bytes);
    if (job->error == NULL)
        job->run(job, &thread->worker);
    arena_reset(&thread->worker.arena);
    if (thread->capacity > thread->pool->kept_bytes_max)
        give_back(thread);
}

/* Whether the main thread has to hear of it now. Of a download in any case: what it has not
 * recorded when it is killed is fetched again. */
static bool is_pressing(const struct pool *pool, unsigned lane, const struct pool_job *job)
{
    return job->error != NULL || lane == 1 || pool->finished.count >= BATCH_JOBS ||
           pool->waiting[lane].count < 2 * (size_t)pool->threads_wanted[lane];
}

static void *thread_main(void *argument)
{
    struct thread *thread = argument;
    struct pool *pool = thread->pool;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (!pool->is_closing && !can_start(pool, thread->lane))
            pthread_cond_wait(&pool->work, &pool->mutex);
        if (pool->is_closing)
            break;
        struct pool_job *job = pop(&pool->waiting[thread->lane]);
        pool->memory_used += job->memory_bytes;
        pool->running[thread->lane]++;
        pthread_mutex_unlock(&pool->mutex);
        run_job(thread, job);
        pthread_mutex_lock(&pool->mutex);
        pool->memory_used -= job->memory_bytes;
        pool->running[thread->lane]--;
        push(&pool->finished, job);
        if (is_pressing(pool, thread->lane, job))
            pthread_cond_signal(&pool->done);
        pthread_cond_broadcast(&pool->work); /* the budget may admit another lane's job now */
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* Network jobs have no buffers. */
static void set_kept_bytes(struct pool *pool)
{
    unsigned threads = pool->threads_wanted[0];
    uint64_t share = pool->memory_bytes / (threads > 0 ? threads : 1);
    pool->kept_bytes_max = share < BUFFER_KEPT_BYTES ? share : BUFFER_KEPT_BYTES;
}

struct error *pool_open(
    unsigned threads, unsigned connections, uint64_t memory_bytes, struct pool **out)
{
    struct pool *pool = memory_alloc(sizeof *pool);
    TRY(memory_check(pool));
    *pool = (struct pool){
        .memory_bytes = memory_bytes, .allowed = threads, .threads_wanted = {threads, connections}};
    set_kept_bytes(pool);
    for (unsigned lane = 0; lane < LANES; lane++) {
        size_t size = pool->threads_wanted[lane] * sizeof *pool->threads[lane];
        pool->threads[lane] = memory_alloc(size);
        if (pool->threads[lane] == NULL) {
            memory_free(pool->threads[0]);
            memory_free(pool);
            return error_memory();
        }
        memset(pool->threads[lane], 0, size);
    }
    memory_prepare_threads();
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    *out = pool;
    return NULL;
}

static struct error *start_thread(struct pool *pool, unsigned lane)
{
    struct thread *thread = &pool->threads[lane][pool->threads_started[lane]];
    thread->pool = pool;
    thread->lane = lane;
    int code = pthread_create(&thread->id, NULL, thread_main, thread);
    if (code != 0 && pool->threads_started[lane] == 0)
        return error_new(ERROR_IO, "cannot start a thread: %s", strerror(code));
    pool->threads_started[lane] += code == 0; /* fewer threads than asked for will do */
    return NULL;
}

struct error *pool_submit(struct pool *pool, struct pool_job *job)
{
    unsigned lane = job->is_network ? 1 : 0;
    if (pool->threads_started[lane] < pool->threads_wanted[lane])
        TRY(start_thread(pool, lane));
    job->error = NULL;
    pthread_mutex_lock(&pool->mutex);
    push(&pool->waiting[lane], job);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    pool->pending++;
    return NULL;
}

static struct timespec deadline(unsigned wait_ms)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    time.tv_sec += wait_ms / 1000 + time.tv_nsec / 1000000000;
    time.tv_nsec %= 1000000000;
    return time;
}

struct pool_job *pool_collect(struct pool *pool, unsigned wait_ms)
{
    struct timespec until = deadline(wait_ms);
    pthread_mutex_lock(&pool->mutex);
    int code = 0;
    while (pool->finished.first == NULL && code == 0)
        code = pthread_cond_timedwait(&pool->done, &pool->mutex, &until);
    struct pool_job *list = pool->finished.first;
    pool->finished = (struct queue){0};
    pthread_mutex_unlock(&pool->mutex);
    for (struct pool_job *job = list; job != NULL; job = job->next)
        pool->pending--;
    return list;
}

void pool_give_up(struct pool *pool, uint64_t memory_bytes)
{
    pthread_mutex_lock(&pool->mutex);
    pool->memory_bytes -= memory_bytes < pool->memory_bytes ? memory_bytes : pool->memory_bytes;
    set_kept_bytes(pool);
    pthread_mutex_unlock(&pool->mutex);
}

void pool_allow(struct pool *pool, unsigned count)
{
    pthread_mutex_lock(&pool->mutex);
    bool is_more = count > pool->allowed;
    pool->allowed = count;
    if (is_more)
        pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
}

struct pool_job *pool_withdraw(struct pool *pool,
    bool (*is_meant)(const void *context, const struct pool_job *job), const void *context)
{
    struct queue taken = {0};
    pthread_mutex_lock(&pool->mutex);
    for (unsigned lane = 0; lane < LANES; lane++) {
        struct queue waiting = pool->waiting[lane];
        pool->waiting[lane] = (struct queue){0};
        while (waiting.first != NULL) {
            struct pool_job *job = pop(&waiting);
            bool is_taken = is_meant == NULL || is_meant(context, job);
            push(is_taken ? &taken : &pool->waiting[lane], job);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
    for (struct pool_job *job = taken.first; job != NULL; job = job->next)
        pool->pending--;
    return taken.first;
}

size_t pool_pending(const struct pool *pool)
{
    return pool->pending;
}

void pool_close(struct pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->mutex);
    pool->is_closing = true;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (unsigned lane = 0; lane < LANES; lane++) {
        for (unsigned i = 0; i < pool->threads_started[lane]; i++) {
            struct thread *thread = &pool->threads[lane][i];
            pthread_join(thread->id, NULL);
            if (thread->worker.kept != NULL)
                thread->worker.end_kept(thread->worker.kept);
            arena_end(&thread->worker.arena);
            memory_free(thread->allocation);
        }
        memory_free(pool->threads[lane]);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    memory_free(pool);
}
