/* status.c - events and ticks counted, and said as they come. */
#include "cli/status.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#define NS_PER_SECOND UINT64_C(1000000000)
#define DRAW_NS (NS_PER_SECOND / 10)  /* between two redraws */
#define SAMPLE_NS (NS_PER_SECOND / 4) /* between two samples: the rate is over STATUS_SAMPLES */

void status_begin(struct status *status, struct terminal *terminal, const struct options *options)
{
    *status = (struct status){.terminal = terminal,
        .options = options,
        .mode = options->progress,
        .started_ns = clock_now_ns()};
    if (status->mode == PROGRESS_AUTO)
        status->mode = terminal->is_terminal ? PROGRESS_TTY : PROGRESS_PLAIN;
    if (options->is_quiet && status->mode != PROGRESS_JSON)
        status->mode = PROGRESS_NONE;
}

static const struct node *find_node(const struct status *status, const char *name)
{
    if (status->build == NULL || name == NULL)
        return NULL;
    uint32_t index = map_get(&status->build->graph->node_by_name, name);
    return index == MAP_NONE ? NULL : &status->build->graph->nodes[index];
}

static const char *task_of(const struct status *status, const char *name)
{
    const struct node *node = find_node(status, name);
    return node == NULL || node->type == NULL ? NULL : node->type->name;
}

/* What became of a node that is done. */
enum outcome { OUTCOME_MADE, OUTCOME_RESTORED, OUTCOME_FETCHED, OUTCOME_UNCHANGED, OUTCOME_EMPTY };

static enum outcome outcome_of(const struct status *status, const struct build_event *event)
{
    const struct node *node = find_node(status, event->node);
    if (node == NULL)
        return OUTCOME_MADE;
    const struct node_run *run = &status->build->runs[node - status->build->graph->nodes];
    if (run->file_count == 0)
        return OUTCOME_EMPTY;
    if (!run->is_changed)
        return OUTCOME_UNCHANGED;
    if (event->is_restored)
        return OUTCOME_RESTORED;
    return node->is_fetched ? OUTCOME_FETCHED : OUTCOME_MADE;
}

static void count_total(struct status *status)
{
    if (status->nodes_total > 0 || status->build == NULL)
        return;
    for (uint32_t i = 0; i < status->build->graph->node_count; i++)
        status->nodes_total += status->build->runs[i].is_wanted;
}

static uint32_t count_done(const struct status *status)
{
    return status->build->stats.nodes_fresh + status->build->stats.nodes_made;
}

/* Over the samples at hand: the newest against the oldest. */
static uint64_t rate_of(const struct status *status)
{
    unsigned count = status->sample_count;
    if (count < 2)
        return 0;
    const struct status_sample *last = &status->samples[(count - 1) % STATUS_SAMPLES];
    const struct status_sample *first =
        &status->samples[count <= STATUS_SAMPLES ? 0 : count % STATUS_SAMPLES];
    uint64_t time_ms = (last->time_ns - first->time_ns) / 1000000;
    return time_ms == 0 ? 0 : (last->bytes_done - first->bytes_done) * 1000 / time_ms;
}

static void take_sample(struct status *status, uint64_t now_ns)
{
    unsigned count = status->sample_count;
    if (count > 0 && now_ns - status->samples[(count - 1) % STATUS_SAMPLES].time_ns < SAMPLE_NS)
        return;
    status->samples[count % STATUS_SAMPLES] =
        (struct status_sample){now_ns, status->progress.bytes_done};
    status->sample_count++;
}

static size_t find_downloads(
    const struct status *status, struct build_download downloads[STATUS_DOWNLOADS_MAX])
{
    return status->build == NULL
               ? 0
               : build_list_downloads(status->build, downloads, STATUS_DOWNLOADS_MAX);
}

static void draw(struct status *status)
{
    struct arena arena = {0};
    char *line;
    struct build_download downloads[STATUS_DOWNLOADS_MAX];
    struct status_view view = {.nodes_done = status->progress.nodes_done,
        .nodes_total = status->progress.nodes_total,
        .node = status->progress.node,
        .task = task_of(status, status->progress.node),
        .bytes_done = status->progress.bytes_done,
        .bytes_total = status->progress.bytes_total,
        .bytes_per_second = rate_of(status),
        .downloads = downloads,
        .download_count = find_downloads(status, downloads)};
    struct error *error = status_format_line(&arena, &view, &line);
    if (error == NULL)
        terminal_draw(status->terminal, line);
    error_free(error);
    arena_end(&arena);
}

static void say_json(struct status *status, struct error *error, struct text text)
{
    if (error == NULL) {
        terminal_put_text(status->terminal, text);
        terminal_say(status->terminal, TONE_PLAIN, "%s", "");
        fflush(status->terminal->out); /* a reader waits at the other end */
    }
    error_free(error);
}

void status_on_tick(void *context, const struct build_progress *progress)
{
    struct status *status = context;
    uint64_t now_ns = clock_now_ns();
    status->progress = *progress;
    take_sample(status, now_ns);
    bool is_due = progress->is_console || now_ns - status->drawn_ns >= DRAW_NS;
    if (!is_due || (status->mode != PROGRESS_TTY && status->mode != PROGRESS_JSON))
        return;
    status->drawn_ns = now_ns;
    if (status->mode == PROGRESS_TTY && progress->is_console) {
        terminal_wipe(status->terminal);
        return;
    }
    if (status->mode == PROGRESS_TTY) {
        draw(status);
        return;
    }
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    struct build_download downloads[STATUS_DOWNLOADS_MAX];
    size_t count = find_downloads(status, downloads);
    struct error *error = status_format_tick(&arena, progress, downloads, count, &text);
    say_json(status, error, text);
    arena_end(&arena);
}

/* ---- events ---- */

static bool shows_lines(const struct status *status)
{
    return status->mode == PROGRESS_PLAIN ||
           (status->mode == PROGRESS_TTY && status->options->is_verbose);
}

static void say_count(struct status *status)
{
    count_total(status);
    if (status->build != NULL && !status->options->is_dry)
        terminal_put(status->terminal, TONE_DIM, "[%" PRIu32 "/%" PRIu32 "] ", count_done(status),
            status->nodes_total);
}

static void count_planned(struct status *status, const struct build_event *event)
{
    bool is_known = event->size_bytes != UINT64_MAX;
    status->nodes_changed++;
    status->is_size_unknown |= !is_known;
    status->bytes_planned += is_known ? event->size_bytes : 0;
    status->bytes_to_write += event->bytes_to_download > 0 ? 0 : event->bytes_to_write;
    status->bytes_to_download += event->bytes_to_download;
}

/* -n: the whole plan is what was asked for. */
static void say_planned(struct status *status, const struct build_event *event)
{
    char size[SIZE_TEXT_MAX] = "?";
    const char *task = task_of(status, event->node);
    if (event->size_bytes != UINT64_MAX)
        size_print(size, event->size_bytes);
    terminal_put(status->terminal, TONE_PLAIN, "%s %s", task == NULL ? "make" : task, event->node);
    if (event->is_restored)
        terminal_put(status->terminal, TONE_DIM, "  from the cache, %s", size);
    else if (event->bytes_to_download > 0)
        terminal_put(status->terminal, TONE_DIM, "  downloads %s",
            size_print(size, event->bytes_to_download));
    else if (event->size_bytes > 0)
        terminal_put(status->terminal, TONE_DIM, "  reads %s", size);
    if (event->bytes_to_write > 0 && event->bytes_to_download == 0)
        terminal_put(status->terminal, TONE_DIM, "%s writes %s", event->size_bytes > 0 ? "," : " ",
            size_print(size, event->bytes_to_write));
    if (event->pieces_kept > 0)
        terminal_put(status->terminal, TONE_DIM, ", %" PRIu32 " of %" PRIu32 " pieces taken over",
            event->pieces_kept, event->pieces_kept + event->pieces_made);
    terminal_say(status->terminal, TONE_PLAIN, "%s", "");
}

static void count_done_node(struct status *status, const struct build_event *event)
{
    enum outcome outcome = outcome_of(status, event);
    bool is_new = outcome < OUTCOME_UNCHANGED;
    status->nodes_changed += is_new;
    status->nodes_confirmed += outcome == OUTCOME_UNCHANGED;
    status->bytes_made += is_new ? event->size_bytes : 0;
}

static void say_done(struct status *status, const struct build_event *event)
{
    static const char *const words[] = {[OUTCOME_MADE] = "made",
        [OUTCOME_RESTORED] = "restored",
        [OUTCOME_FETCHED] = "fetched",
        [OUTCOME_UNCHANGED] = "unchanged",
        [OUTCOME_EMPTY] = "nothing to make:"};
    char size[SIZE_TEXT_MAX];
    enum outcome outcome = outcome_of(status, event);
    bool is_told = outcome != OUTCOME_EMPTY || status->options->is_verbose;
    if (!shows_lines(status) || !is_told)
        return;
    say_count(status);
    terminal_put(status->terminal, TONE_PLAIN, "%s %s", words[outcome], event->node);
    if (event->size_bytes > 0)
        terminal_put(status->terminal, TONE_DIM, "  %s", size_print(size, event->size_bytes));
    if (status->options->is_verbose && event->pieces_kept > 0)
        terminal_put(status->terminal, TONE_DIM, ", %" PRIu32 " of %" PRIu32 " pieces taken over",
            event->pieces_kept, event->pieces_kept + event->pieces_made);
    terminal_say(status->terminal, TONE_PLAIN, "%s", "");
}

static void say_verbose(struct status *status, const char *what, const char *node)
{
    if (!status->options->is_verbose || !shows_lines(status))
        return;
    terminal_put(status->terminal, TONE_DIM, "%s ", what);
    terminal_say(status->terminal, TONE_PLAIN, "%s", node);
}

static void say_warning(struct status *status, const struct build_event *event)
{
    size_t length = strlen(event->text);
    if (length >= sizeof status->warned)
        length = sizeof status->warned - 1;
    if (strncmp(status->warned, event->text, length) == 0 && status->warned[length] == '\0' &&
        event->node == NULL)
        return;
    memcpy(status->warned, event->text, length);
    status->warned[length] = '\0';
    terminal_warn(status->terminal, "%s%s%s", event->node == NULL ? "" : event->node,
        event->node == NULL ? "" : ": ", event->text);
}

static void count_failure(struct status *status, const struct build_event *event)
{
    status->nodes_failed++;
    status->nodes_unusable += error_kind_of(event->error) == ERROR_USAGE;
}

static void say_event(struct status *status, const struct build_event *event)
{
    switch (event->kind) {
    case EVENT_STALE:
        if (status->options->explains)
            terminal_say(
                status->terminal, TONE_PLAIN, "psybuild explain: %s: %s", event->node, event->text);
        break;
    case EVENT_STARTED:
        if (status->options->is_dry)
            say_planned(status, event);
        break;
    case EVENT_DONE:
        say_done(status, event);
        break;
    case EVENT_SEALED:
        say_verbose(status, "sealed", event->node);
        break;
    case EVENT_GIVEN_BACK:
        say_verbose(status, "gave back", event->node);
        break;
    case EVENT_CONFIRMED:
        say_verbose(status, "unchanged", event->node);
        break;
    case EVENT_WARNING:
        say_warning(status, event);
        break;
    case EVENT_NOTE:
        if (!status->options->is_quiet)
            terminal_say(status->terminal, TONE_PLAIN, "psybuild: %s", event->text);
        break;
    case EVENT_FAILED:
        terminal_report(status->terminal, event->error);
        break;
    }
}

static void count_event(struct status *status, const struct build_event *event)
{
    if (event->kind == EVENT_FAILED)
        count_failure(status, event);
    else if (event->kind == EVENT_DONE)
        count_done_node(status, event);
    else if (event->kind == EVENT_STARTED && status->options->is_dry)
        count_planned(status, event);
}

void status_on_event(void *context, const struct build_event *event)
{
    struct status *status = context;
    count_event(status, event);
    if (status->mode != PROGRESS_JSON) {
        say_event(status, event);
        fflush(status->terminal->out); /* a log is followed while it grows */
        return;
    }
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    struct error *error = status_format_event(&arena, event, task_of(status, event->node), &text);
    say_json(status, error, text);
    arena_end(&arena);
}

/* ---- the end ---- */

static void close_dry(struct status *status)
{
    char size[SIZE_TEXT_MAX];
    terminal_put(status->terminal, TONE_PLAIN, "psybuild: %" PRIu32 " node%s would be made",
        status->nodes_changed, status_plural(status->nodes_changed));
    if (status->bytes_to_download > 0)
        terminal_put(status->terminal, TONE_PLAIN, ", downloading %s",
            size_print(size, status->bytes_to_download));
    if (status->bytes_planned > 0)
        terminal_put(
            status->terminal, TONE_PLAIN, ", reading %s", size_print(size, status->bytes_planned));
    if (status->bytes_to_write > 0)
        terminal_put(
            status->terminal, TONE_PLAIN, ", writing %s", size_print(size, status->bytes_to_write));
    terminal_say(status->terminal, TONE_PLAIN, "%s",
        status->is_size_unknown ? ", and what cannot be planned yet" : "");
}

/* A run that finds nothing to do may end without ever opening the build. */
static const struct build_stats *stats_of(const struct status *status)
{
    static const struct build_stats none = {0};
    return status->build == NULL ? &none : &status->build->stats;
}

static struct status_summary summarize(const struct status *status)
{
    const struct build_stats *stats = stats_of(status);
    struct status_summary summary = {.nodes_made = status->nodes_changed,
        .nodes_unchanged = status->nodes_confirmed,
        .nodes_failed = status->nodes_failed,
        .bytes_taken_over = stats->bytes_copied,
        .duration_ns = clock_now_ns() - status->started_ns};
    if (status->bytes_made > stats->bytes_copied)
        summary.bytes_written = status->bytes_made - stats->bytes_copied;
    return summary;
}

static void say_summary(struct status *status)
{
    struct arena arena = {0};
    char *line;
    struct text text = TEXT_EMPTY;
    struct status_summary summary = summarize(status);
    if (status->mode == PROGRESS_JSON) {
        struct error *error = status_format_end(&arena, &summary, &text);
        say_json(status, error, text);
    } else {
        struct error *error = status_format_summary(&arena, &summary, &line);
        if (error == NULL)
            terminal_say(status->terminal, TONE_PLAIN, "%s", line);
        error_free(error);
    }
    arena_end(&arena);
}

static uint64_t peak_memory_bytes(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return 0;
#ifdef __APPLE__
    return (uint64_t)usage.ru_maxrss;
#else
    return (uint64_t)usage.ru_maxrss * 1024;
#endif
}

static void say_time(struct status *status, const char *name, uint64_t time_ns)
{
    terminal_say(status->terminal, TONE_PLAIN, "  %-28s %10.2f ms", name, (double)time_ns / 1e6);
}

static void say_bytes(struct status *status, const char *name, uint64_t size_bytes)
{
    char size[SIZE_TEXT_MAX];
    terminal_say(status->terminal, TONE_PLAIN, "  %-28s %13s", name, size_print(size, size_bytes));
}

static void say_number(struct status *status, const char *name, uint64_t number)
{
    terminal_say(status->terminal, TONE_PLAIN, "  %-28s %13" PRIu64, name, number);
}

static void say_stats(struct status *status)
{
    const struct build_stats *stats = stats_of(status);
    terminal_say(status->terminal, TONE_BOLD, "psybuild stats");
    say_time(status, "loading the state", stats->load_ns);
    say_time(status, "reading the manifest", stats->graph_ns);
    say_time(status, "running", stats->run_ns);
    say_time(status, "saving the state", stats->save_ns);
    say_number(status, "nodes made", stats->nodes_made);
    say_number(status, "nodes fresh", stats->nodes_fresh);
    say_number(status, "nodes failed", stats->nodes_failed);
    say_number(status, "pieces made", stats->pieces_made);
    say_number(status, "pieces taken over", stats->pieces_kept);
    say_number(status, "files looked at", stats->files_looked_at);
    say_number(status, "files hashed", stats->files_hashed);
    say_bytes(status, "hashed for a look", stats->bytes_hashed);
    say_bytes(status, "read", stats->bytes_read);
    say_bytes(status, "written", stats->bytes_written);
    say_bytes(status, "taken over", stats->bytes_copied);
    say_bytes(status, "memory at its peak", peak_memory_bytes());
}

void status_close(struct status *status)
{
    bool is_idle = status->nodes_changed + status->nodes_confirmed + status->nodes_failed == 0;
    if (status->mode == PROGRESS_JSON)
        say_summary(status);
    else if (!status->options->is_quiet && is_idle)
        terminal_say(status->terminal, TONE_PLAIN, "psybuild: nothing to do");
    else if (!status->options->is_quiet && status->options->is_dry)
        close_dry(status);
    else if (!status->options->is_quiet)
        say_summary(status);
    if (status->options->shows_stats && status->mode != PROGRESS_JSON)
        say_stats(status);
}
