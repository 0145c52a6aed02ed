/* status_form.c - what is said of a build, as lines and as JSON. */
#include "cli/status_form.h"

#include <inttypes.h>
#include <string.h>

#include "base/json_write.h"

#define NS_PER_SECOND UINT64_C(1000000000)

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

/* "fetch 2 files", "quantize m/model*.safetensors", "m/a", "" */
static char *format_work(struct arena *arena, const struct status_view *view)
{
    bool is_fetch = view->task != NULL && strcmp(view->task, "fetch") == 0;
    if (view->node == NULL)
        return arena_format(arena, "%s", "");
    if (is_fetch && view->download_count > 1)
        return arena_format(arena, " fetch %zu files", view->download_count);
    return arena_format(arena, " %s%s%s", view->task == NULL ? "" : view->task,
        view->task == NULL ? "" : " ", view->node);
}

/* "  1.2/4.6 GB  820 MB/s  0:05 left" */
static char *format_rate(struct arena *arena, const struct status_view *view)
{
    char rate[SIZE_TEXT_MAX];
    if (view->bytes_total == 0)
        return arena_format(arena, "%s", "");
    char *share = format_share(arena, view->bytes_done, view->bytes_total);
    if (share == NULL)
        return NULL;
    if (view->bytes_per_second == 0 || view->bytes_done >= view->bytes_total)
        return arena_format(arena, "  %s", share);
    uint64_t left = (view->bytes_total - view->bytes_done) / view->bytes_per_second;
    char *time = status_format_seconds(arena, left);
    if (time == NULL)
        return NULL;
    return arena_format(
        arena, "  %s  %s/s  %s left", share, size_print(rate, view->bytes_per_second), time);
}

/* "model-1.safetensors 62 %", "page.html 12 kB" */
static char *format_download(struct arena *arena, const struct build_download *download)
{
    char size[SIZE_TEXT_MAX];
    const char *name = path_base(download->node);
    if (download->bytes_total == 0)
        return arena_format(arena, "%s %s", name, size_print(size, download->bytes_done));
    double share = (double)download->bytes_done / (double)download->bytes_total;
    return arena_format(arena, "%s %d %%", name, (int)(100 * share));
}

/* ": " and all of them; "" where the line's beginning says it. */
static char *format_downloads(struct arena *arena, const struct status_view *view)
{
    bool is_said = view->download_count == 1 && view->node != NULL &&
                   strcmp(view->node, view->downloads[0].node) == 0;
    char *list = arena_format(arena, "%s", "");
    for (size_t i = 0; i < view->download_count && list != NULL && !is_said; i++) {
        char *download = format_download(arena, &view->downloads[i]);
        list = download == NULL
                   ? NULL
                   : arena_format(arena, "%s%s%s", list, i == 0 ? ": " : ", ", download);
    }
    return list;
}

struct error *status_format_line(struct arena *arena, const struct status_view *view, char **out)
{
    char *work = format_work(arena, view), *rate = format_rate(arena, view);
    char *downloads = format_downloads(arena, view);
    if (work == NULL || rate == NULL || downloads == NULL)
        return error_memory();
    *out = arena_format(arena, "[%" PRIu32 "/%" PRIu32 "]%s%s%s", view->nodes_done,
        view->nodes_total, work, rate, downloads);
    return memory_check(*out);
}

static const char *const event_names[] = {[EVENT_STALE] = "stale",
    [EVENT_STARTED] = "started",
    [EVENT_DONE] = "done",
    [EVENT_SEALED] = "sealed",
    [EVENT_GIVEN_BACK] = "given_back",
    [EVENT_CONFIRMED] = "confirmed",
    [EVENT_WARNING] = "warning",
    [EVENT_NOTE] = "note",
    [EVENT_FAILED] = "failed"};

struct error *status_format_event(
    struct arena *arena, const struct build_event *event, const char *task, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_LINE);
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_string(writer, "event", event_names[event->kind]);
    json_member_string(writer, "node", event->node);
    json_member_string(writer, "task", task);
    json_member_string(writer, event->kind == EVENT_STALE ? "reason" : "text", event->text);
    if (event->kind == EVENT_STARTED || event->kind == EVENT_DONE) {
        json_member_u64(writer, "pieces_made", event->pieces_made);
        json_member_u64(writer, "pieces_kept", event->pieces_kept);
        if (event->size_bytes != UINT64_MAX) /* not planned yet */
            json_member_u64(writer, "bytes", event->size_bytes);
        if (event->bytes_to_write > 0)
            json_member_u64(writer, "bytes_to_write", event->bytes_to_write);
        if (event->bytes_to_download > 0)
            json_member_u64(writer, "bytes_to_download", event->bytes_to_download);
    }
    if (event->is_restored)
        json_member_bool(writer, "restored", true);
    if (event->kind == EVENT_DONE)
        json_member_u64(writer, "duration_ns", event->duration_ns);
    if (event->error != NULL)
        json_member_string(writer, "error", error_report(event->error));
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

static void put_downloads(
    struct json_writer *writer, const struct build_download *downloads, size_t count)
{
    if (count == 0)
        return;
    json_member_array_begin(writer, "downloads");
    for (size_t i = 0; i < count; i++) {
        json_write_object_begin(writer);
        json_member_string(writer, "node", downloads[i].node);
        json_member_u64(writer, "bytes_done", downloads[i].bytes_done);
        if (downloads[i].bytes_total > 0)
            json_member_u64(writer, "bytes_total", downloads[i].bytes_total);
        json_write_object_end(writer);
    }
    json_write_array_end(writer);
}

struct error *status_format_tick(struct arena *arena, const struct build_progress *progress,
    const struct build_download *downloads, size_t download_count, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_LINE);
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_string(writer, "event", "tick");
    json_member_string(writer, "node", progress->node);
    json_member_u64(writer, "nodes_done", progress->nodes_done);
    json_member_u64(writer, "nodes_total", progress->nodes_total);
    json_member_u64(writer, "bytes_done", progress->bytes_done);
    json_member_u64(writer, "bytes_total", progress->bytes_total);
    put_downloads(writer, downloads, download_count);
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}

const char *status_plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

/* "psybuild: 9 nodes made, 512 MB written, 4.1 GB taken over, 1 unchanged in 7.1 s" */
struct error *status_format_summary(
    struct arena *arena, const struct status_summary *summary, char **out)
{
    char size[SIZE_TEXT_MAX];
    char *line =
        arena_format(arena, "psybuild: %" PRIu32 " node%s made, %s written", summary->nodes_made,
            status_plural(summary->nodes_made), size_print(size, summary->bytes_written));
    if (line != NULL && summary->bytes_taken_over > 0)
        line = arena_format(
            arena, "%s, %s taken over", line, size_print(size, summary->bytes_taken_over));
    if (line != NULL && summary->nodes_unchanged > 0)
        line = arena_format(arena, "%s, %" PRIu32 " unchanged", line, summary->nodes_unchanged);
    if (line != NULL && summary->nodes_failed > 0)
        line = arena_format(arena, "%s, %" PRIu32 " failed", line, summary->nodes_failed);
    char *time = status_format_duration(arena, summary->duration_ns);
    *out = line == NULL || time == NULL ? NULL : arena_format(arena, "%s in %s", line, time);
    return memory_check(*out);
}

struct error *status_format_end(
    struct arena *arena, const struct status_summary *summary, struct text *out)
{
    struct json_writer *writer = json_writer_new(arena, &JSON_STYLE_LINE);
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_string(writer, "event", "end");
    json_member_u64(writer, "nodes_made", summary->nodes_made);
    json_member_u64(writer, "nodes_unchanged", summary->nodes_unchanged);
    json_member_u64(writer, "nodes_failed", summary->nodes_failed);
    json_member_u64(writer, "bytes_written", summary->bytes_written);
    json_member_u64(writer, "bytes_taken_over", summary->bytes_taken_over);
    json_member_u64(writer, "duration_ns", summary->duration_ns);
    json_write_object_end(writer);
    return json_writer_finish(writer, out);
}
