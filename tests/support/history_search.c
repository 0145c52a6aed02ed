/* history_search.c - processes side by side, each with its share of the numbers. */
#include "tests/support/history_search.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/history_disk.h"

enum { TRIES = 2, AGAIN = 5, JOBS_MAX = 64 };

/* ---- shrinking ---- */

struct shrinker {
    struct arena *arena;
    const struct history_options *options;
    const char *kind;
    uint64_t end_ns;
};

/* Moments that are times do not come each time: a second try. */
static bool still_fails(const struct shrinker *shrinker, const struct history *history)
{
    struct history_options quiet = *shrinker->options;
    quiet.is_loud = false;
    for (unsigned i = 0; i < TRIES && clock_now_ns() < shrinker->end_ns; i++) {
        struct history_verdict verdict = history_play(shrinker->arena, history, &quiet);
        if (verdict.is_failure && strcmp(verdict.kind, shrinker->kind) == 0)
            return true;
    }
    return false;
}

static struct history without(
    struct arena *arena, const struct history *history, size_t begin, size_t end)
{
    struct history rest = {.count = 0};
    for (size_t i = 0; i < history->count; i++)
        if (i < begin || i >= end)
            history_add(arena, &rest, history->steps[i]);
    return rest;
}

/* Chunks of `size` steps, from the last to the first. */
static bool drop_chunks(const struct shrinker *shrinker, struct history *history, size_t size)
{
    bool is_shorter = false;
    for (size_t end = history->count; end > 0; end = end > size ? end - size : 0) {
        size_t begin = end > size ? end - size : 0;
        struct history less = without(shrinker->arena, history, begin, end);
        if (still_fails(shrinker, &less)) {
            *history = less;
            is_shorter = true;
        }
    }
    return is_shorter;
}

/* A step without one of its words that begin with '-'. */
static const char *without_word(struct arena *arena, const char *step, const char *word)
{
    size_t length = strcspn(word + 1, " ") + 1;
    return arena_format(arena, "%.*s%s", (int)(word - step), step, word + length);
}

static void drop_words(const struct shrinker *shrinker, struct history *history)
{
    for (size_t i = 0; i < history->count; i++)
        for (const char *at = history->steps[i]; (at = strstr(at, " -")) != NULL;) {
            const char *old = history->steps[i];
            const char *less = without_word(shrinker->arena, old, at);
            history->steps[i] = less;
            if (strncmp(old, "tool", 4) != 0 && still_fails(shrinker, history)) {
                at = less;
                continue;
            }
            history->steps[i] = old;
            at++;
        }
}

struct history history_shrink(struct arena *arena, const struct history *history,
    const struct history_verdict *verdict, const struct history_options *options)
{
    struct shrinker shrinker = {.arena = arena,
        .options = options,
        .kind = verdict->kind,
        .end_ns = clock_now_ns() + (uint64_t)options->shrink_seconds * 1000000000};
    struct history least = without(arena, history,
        verdict->step < history->count ? verdict->step + 1 : history->count, history->count);
    for (size_t size = (least.count + 1) / 2; size > 1; size /= 2)
        drop_chunks(&shrinker, &least, size);
    while (drop_chunks(&shrinker, &least, 1))
        continue;
    drop_words(&shrinker, &least);
    return least;
}

/* ---- printing ---- */

static const char *store_of(
    struct arena *arena, const struct history_options *options, uint64_t number)
{
    const char *place = getenv("HISTORY_STORE");
    return arena_format(arena, "%s/psybuild-history-%llu-%llu", place == NULL ? "/tmp" : place,
        (unsigned long long)options->seed, (unsigned long long)number);
}

static void print_failure(struct arena *arena, const struct history_options *options,
    uint64_t number, const struct history *history, const struct history_verdict *verdict)
{
    struct history least = history_shrink(arena, history, verdict, options);
    struct history_options quiet = *options;
    quiet.is_loud = false;
    struct history_verdict last = history_play(arena, &least, &quiet);
    for (unsigned i = 0; i < AGAIN && strcmp(last.kind, verdict->kind) != 0; i++)
        last = history_play(arena, &least, &quiet);
    const char *store = store_of(arena, options, number), *text = history_text(arena, &least);
    history_write_script(&least, &quiet, store);
    disk_put_text(arena_format(arena, "%s/history.txt", store), text);
    struct text script = disk_read(arena, arena_format(arena, "%s/script.sh", store));
    const char *steps = strstr(script.bytes, HISTORY_SCRIPT_BEGIN);
    printf(
        "\nhistory %llu of seed %llu: %s\n%s\n--- shrunk from %zu steps to %zu "
        "(tests/history --replay %s/history.txt):\n%s--- as a script (whole: %s/script.sh):\n%s\n",
        (unsigned long long)number, (unsigned long long)options->seed, verdict->kind,
        last.is_failure ? last.text : verdict->text, history->count, least.count, store, text,
        store, steps == NULL ? script.bytes : steps);
    fflush(stdout);
}

/* ---- searching ---- */

struct score {
    uint64_t played;
    unsigned failed;
};

static uint64_t seed_of(const struct history_options *options, uint64_t number)
{
    return options->seed * UINT64_C(1000003) + number;
}

/* What a known fault would be found by again and again can be left out. */
static struct history avoid(struct arena *arena, struct history history, const char *words)
{
    struct history rest = {.count = 0};
    for (size_t i = 0; i < history.count; i++)
        if (strstr(history.steps[i], words) == NULL)
            history_add(arena, &rest, history.steps[i]);
    return rest;
}

static struct history draw(
    struct arena *arena, const struct history_options *options, uint64_t number)
{
    struct history history = history_draw(arena, seed_of(options, number), options->steps);
    for (size_t i = 0; i < options->avoided_count; i++)
        history = avoid(arena, history, options->avoided[i]);
    return history;
}

static struct score search(
    const struct history_options *options, uint64_t first, unsigned stride, uint64_t end_ns)
{
    struct score score = {.played = 0};
    for (uint64_t number = first; options->histories == 0 || number < options->histories;
         number += stride) {
        struct arena arena = {0};
        if (end_ns > 0 && clock_now_ns() >= end_ns)
            break;
        struct history history = draw(&arena, options, number);
        struct history_verdict verdict = history_play(&arena, &history, options);
        score.played++;
        if (verdict.is_failure) {
            score.failed++;
            print_failure(&arena, options, number, &history, &verdict);
        }
        arena_end(&arena);
        if (options->failures > 0 && score.failed >= options->failures)
            break;
    }
    return score;
}

static pid_t start(const struct history_options *options, unsigned job, uint64_t end_ns, int to)
{
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        disk_give_up("no process");
    if (child > 0)
        return child;
    struct score score = search(options, job, options->jobs, end_ns);
    if (write(to, &score, sizeof score) != sizeof score)
        _exit(2);
    _exit(0);
}

unsigned history_search(const struct history_options *options)
{
    struct history_options checked = *options;
    uint64_t begin_ns = clock_now_ns();
    uint64_t end_ns =
        options->seconds == 0 ? 0 : begin_ns + (uint64_t)options->seconds * 1000000000;
    struct score sum = {.played = 0}, one;
    int ends[2];
    if (checked.jobs == 0 || checked.jobs > JOBS_MAX)
        checked.jobs = 1;
    if (pipe(ends) != 0)
        disk_give_up("no pipe");
    for (unsigned job = 0; job < checked.jobs; job++)
        start(&checked, job, end_ns, ends[1]);
    close(ends[1]);
    while (read(ends[0], &one, sizeof one) == sizeof one) {
        sum.played += one.played;
        sum.failed += one.failed;
    }
    close(ends[0]);
    while (wait(NULL) > 0 || errno == EINTR)
        continue;
    printf("%llu histories of %u steps, seed %llu, %.0f s: %u failed\n",
        (unsigned long long)sum.played, options->steps, (unsigned long long)options->seed,
        (double)(clock_now_ns() - begin_ns) / 1e9, sum.failed);
    return sum.failed;
}
