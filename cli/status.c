/* status.c - events and ticks to words. */
#include "cli/status.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>

#include "base/json_write.h"

#define NS_PER_SECOND UINT64_C(1000000000)
#define DRAW_NS (NS_PER_SECOND / 10)  /* between two redraws */
#define SAMPLE_NS (NS_PER_SECOND / 4) /* between two samples: the rate is over STATUS_SAMPLES */

/* ---- forms ---- */

char *status_format_seconds(struct arena *arena, uint64_t seconds)
{
    uint64_t hours = seconds / 3600, minutes = seconds / 60 % 60;
    if (hours > 0)
        return arena_format(
            arena, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, hours, minutes, seconds % 60);
    return arena_format(arena, "%" PRIu64 ":%02" PRIu64, minutes, seconds % 60);
}

char *status_format_duration(struct arena *arena, uint64_t duration_ns)
{
    if (duration_ns < NS_PER_SECOND)
        return arena_format(arena, "%.1f ms", (double)duration_ns / 1e6);
    if (duration_ns < 100 * NS_PER_SECOND)
        return arena_format(arena, "%.1f s", (double)duration_ns / 1e9);
    return status_format_seconds(arena, duration_ns / NS_PER_SECOND);
}

/* "1.2/4.6 GB": the unit once, when it is the same. */
static char *format_share(struct arena *arena, uint64_t done, uint64_t total)
{
    char done_text[SIZE_TEXT_MAX], total_text[SIZE_TEXT_MAX];
    size_print(done_text, done);
    size_print(total_text, total);
    char *unit = strchr(done_text, ' '), *total_unit = strchr(total_text, ' ');
    if (unit != NULL && total_unit != NULL && strcmp(unit, total_unit) == 0)
        *unit = '\0';
    return arena_format(arena, "%s/%s", done_text, total_text);
}

struct error *status_format_line(struct arena *arena, const struct status_view *view, char **out)
{
    char *line =
        arena_format(arena, "[%" PRIu32 "/%" PRIu32 "]", view->nodes_done, view->nodes_total);
    if (line != NULL && view->node != NULL)
        line = arena_format(arena, "%s %s%s%s", line, view->task == NULL ? "" : view->task,
            view->task == NULL ? "" : " ", view->node);
    if (line != NULL && view->bytes_total > 0) {
        char *share = format_share(arena, view->bytes_done, view->bytes_total);
        line = share == NULL ? NULL : arena_format(arena, "%s  %s", line, share);
    }
    if (line != NULL && view->bytes_per_second > 0 && view->bytes_done < view->bytes_total) {
        char rate[SIZE_TEXT_MAX];
        uint64_t left = (view->bytes_total - view->bytes_done) / view->bytes_per_second;
        char *time = status_format_seconds(arena, left);
        line = time == NULL ? NULL
                            : arena_format(arena, "%s  %s/s  %s left", line,
                                  size_print(rate, view->bytes_per_second), time);
    }
    *out = line;
    return line == NULL ? error_memory() : NULL;
}

static const char *const event_names[] = {[EVENT_STALE] = "stale",
    [EVENT_STARTED] = "started",
    [EVENT_DONE] = "done",
    [EVENT_SEALED] = "sealed",
    [EVENT_CONFIRMED] = "confirmed",
    [EVENT_WARNING] = "warning",
    [EVENT_NOTE] = "note",
    [EVENT_FAILED] = "failed"};

static void put_string(struct json_writer *writer, const char *key, const char *value)
{
    if (value == NULL)
        return;
    json_write_key(writer, text_of(key));
    json_write_string(writer, value);
}

static void put_number(struct json_writer *writer, const char *key, uint64_t value)
{
    json_write_key(writer, text_of(key));
    json_write_u64(writer, value);
}

struct error *status_format_event(
    struct arena *arena, const struct build_event *event, const char *task, struct text *out)
{
    static const struct json_style line = {0};
    struct json_writer *writer = json_writer_new(arena, &line);
    if (writer == NULL)
        return error_memory();
    json_write_object_begin(writer);
    put_string(writer, "event", event_names[event->kind]);
    put_string(writer, "node", event->node);
    put_string(writer, "task", task);
    put_string(writer, event->kind == EVENT_STALE ? "reason" : "text", event->text);
    if (event->kind == EVENT_STARTED || event->kind == EVENT_DONE) {
        put_number(writer, "pieces_made", event->pieces_made);
        put_number(writer, "pieces_kept", event->pieces_kept);
        if (event->size_bytes != UINT64_MAX) /* not planned yet */
            put_number(writer, "bytes", event->size_bytes);
    }
    if (event->kind == EVENT_DONE)
        put_number(writer, "duration_ns", event->duration_ns);
    if (event->error != NULL)
        put_string(writer, "error", error_report(event->error));
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

struct error *status_format_tick(
    struct arena *arena, const struct build_progress *progress, struct text *out)
{
    static const struct json_style line = {0};
    struct json_writer *writer = json_writer_new(arena, &line);
    if (writer == NULL)
        return error_memory();
    json_write_object_begin(writer);
    put_string(writer, "event", "tick");
    put_string(writer, "node", progress->node);
    put_number(writer, "nodes_done", progress->nodes_done);
    put_number(writer, "nodes_total", progress->nodes_total);
    put_number(writer, "bytes_done", progress->bytes_done);
    put_number(writer, "bytes_total", progress->bytes_total);
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

/* ---- a running build ---- */

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

/* Whether a node that is done had anything to write. */
static bool is_changed(const struct status *status, const char *name)
{
    const struct node *node = find_node(status, name);
    return node == NULL || status->build->runs[node - status->build->graph->nodes].is_changed;
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

static void draw(struct status *status)
{
    struct arena arena = {0};
    char *line;
    struct status_view view = {.nodes_done = status->progress.nodes_done,
        .nodes_total = status->progress.nodes_total,
        .node = status->progress.node,
        .task = task_of(status, status->progress.node),
        .bytes_done = status->progress.bytes_done,
        .bytes_total = status->progress.bytes_total,
        .bytes_per_second = rate_of(status)};
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
    bool is_due = now_ns - status->drawn_ns >= DRAW_NS;
    if (!is_due || (status->mode != PROGRESS_TTY && status->mode != PROGRESS_JSON))
        return;
    status->drawn_ns = now_ns;
    if (status->mode == PROGRESS_TTY) {
        draw(status);
        return;
    }
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    struct error *error = status_format_tick(&arena, progress, &text);
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

/* -n: the whole plan is what was asked for. */
static void say_planned(struct status *status, const struct build_event *event)
{
    char size[SIZE_TEXT_MAX] = "?";
    const char *task = task_of(status, event->node);
    bool is_known = event->size_bytes != UINT64_MAX;
    status->nodes_changed++;
    status->is_size_unknown |= !is_known;
    if (is_known)
        status->bytes_planned += event->size_bytes;
    if (is_known)
        size_print(size, event->size_bytes);
    if (status->mode == PROGRESS_JSON)
        return;
    terminal_put(
        status->terminal, TONE_PLAIN, "%s %s  ", task == NULL ? "make" : task, event->node);
    if (event->pieces_kept > 0)
        terminal_say(status->terminal, TONE_DIM,
            "reads %s, %" PRIu32 " of %" PRIu32 " pieces taken over", size, event->pieces_kept,
            event->pieces_kept + event->pieces_made);
    else
        terminal_say(status->terminal, TONE_DIM, "reads %s", size);
}

static void say_done(struct status *status, const struct build_event *event)
{
    char size[SIZE_TEXT_MAX];
    bool has_changed = is_changed(status, event->node);
    if (has_changed) {
        status->nodes_changed++;
        status->bytes_made += event->size_bytes;
    } else {
        status->nodes_confirmed++;
    }
    if (!shows_lines(status))
        return;
    say_count(status);
    terminal_put(status->terminal, TONE_PLAIN, "%s %s", has_changed ? "made" : "kept", event->node);
    if (has_changed && event->size_bytes > 0)
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

void status_on_event(void *context, const struct build_event *event)
{
    struct status *status = context;
    if (event->kind == EVENT_FAILED)
        count_failure(status, event);
    if (status->mode != PROGRESS_JSON) {
        say_event(status, event);
        if (status->mode == PROGRESS_TTY && event->kind != EVENT_STALE && status->build != NULL &&
            !status->options->is_dry)
            fflush(status->terminal->out);
        return;
    }
    struct arena arena = {0};
    struct text text = TEXT_EMPTY;
    struct error *error = status_format_event(&arena, event, task_of(status, event->node), &text);
    say_json(status, error, text);
    arena_end(&arena);
    if (event->kind == EVENT_DONE)
        say_done(status, event); /* counts; says nothing in this mode */
    if (event->kind == EVENT_STARTED && status->options->is_dry)
        say_planned(status, event);
}

/* ---- the end ---- */

void status_say_idle(struct status *status)
{
    if (status->mode == PROGRESS_JSON) {
        terminal_say(status->terminal, TONE_PLAIN, "%s", "{\"event\":\"idle\"}");
        return;
    }
    if (!status->options->is_quiet)
        terminal_say(status->terminal, TONE_PLAIN, "psybuild: nothing to do");
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

static void close_dry(struct status *status)
{
    char size[SIZE_TEXT_MAX];
    size_print(size, status->bytes_planned);
    terminal_say(status->terminal, TONE_PLAIN,
        "psybuild: %" PRIu32 " node%s would be made, reading %s%s", status->nodes_changed,
        plural(status->nodes_changed), size, status->is_size_unknown ? " and more" : "");
}

static void close_real(struct status *status, struct arena *arena)
{
    char written[SIZE_TEXT_MAX], copied[SIZE_TEXT_MAX];
    uint64_t copied_bytes = status->build->stats.bytes_copied;
    uint64_t written_bytes =
        status->bytes_made > copied_bytes ? status->bytes_made - copied_bytes : 0;
    char *time = status_format_duration(arena, clock_now_ns() - status->started_ns);
    if (time == NULL)
        return;
    terminal_put(status->terminal, TONE_PLAIN, "psybuild: %" PRIu32 " node%s made, %s written",
        status->nodes_changed, plural(status->nodes_changed), size_print(written, written_bytes));
    if (copied_bytes > 0)
        terminal_put(
            status->terminal, TONE_PLAIN, ", %s taken over", size_print(copied, copied_bytes));
    if (status->nodes_confirmed > 0)
        terminal_put(
            status->terminal, TONE_PLAIN, ", %" PRIu32 " unchanged", status->nodes_confirmed);
    if (status->nodes_failed > 0)
        terminal_put(status->terminal, TONE_PLAIN, ", %" PRIu32 " failed", status->nodes_failed);
    terminal_say(status->terminal, TONE_PLAIN, " in %s", time);
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
    const struct build_stats *stats = &status->build->stats;
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
    struct arena arena = {0};
    bool is_idle = status->nodes_changed + status->nodes_confirmed + status->nodes_failed == 0;
    if (is_idle && status->build->stats.nodes_made == 0)
        status_say_idle(status);
    else if (!status->options->is_quiet && status->mode != PROGRESS_JSON) {
        if (status->options->is_dry)
            close_dry(status);
        else
            close_real(status, &arena);
    }
    if (status->options->shows_stats && status->mode != PROGRESS_JSON)
        say_stats(status);
    arena_end(&arena);
}
