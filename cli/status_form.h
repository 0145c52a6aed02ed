/* status_form.h - what is said of a build, in memory: the status line, the summary, and the objects
 * of --progress=json, whose fields are stable: psybuild(1) lists them. */
#ifndef PSYBUILD_CLI_STATUS_FORM_H
#define PSYBUILD_CLI_STATUS_FORM_H

#include "engine/build.h"

/* What the status line shows. */
struct status_view {
    uint32_t nodes_done, nodes_total;
    const char *task, *node; /* NULL: nothing is at work */
    uint64_t bytes_done, bytes_total;
    uint64_t bytes_per_second; /* 0: not known yet */
    const struct build_download *downloads;
    size_t download_count;
};

/* "[3/9] quantize DIR/model*.safetensors  1.2/4.6 GB  820 MB/s  0:05 left"
 * "[2/9] fetch 2 files  1.2/4.6 GB  82 MB/s  0:50 left: model-1.safetensors 62 %, x.json 41 %"
 * A narrow terminal cuts the names of files, last, before it cuts a number. */
MUST_CHECK struct error *status_format_line(
    struct arena *arena, const struct status_view *view, char **out);
/* One object without its line end. `task` may be NULL. */
MUST_CHECK struct error *status_format_event(
    struct arena *arena, const struct build_event *event, const char *task, struct text *out);
MUST_CHECK struct error *status_format_tick(struct arena *arena,
    const struct build_progress *progress, const struct build_download *downloads,
    size_t download_count, struct text *out);
/* The last line of a run. */
struct status_summary {
    uint32_t nodes_made, nodes_unchanged, nodes_failed;
    uint64_t bytes_written, bytes_taken_over, duration_ns;
};
MUST_CHECK struct error *status_format_summary(
    struct arena *arena, const struct status_summary *summary, char **out);
MUST_CHECK struct error *status_format_end(
    struct arena *arena, const struct status_summary *summary, struct text *out);
/* "0:05", "12:30", "1:02:03" */
char *status_format_seconds(struct arena *arena, uint64_t seconds);
/* "0.4 ms", "7.1 s", "12:30" */
char *status_format_duration(struct arena *arena, uint64_t duration_ns);
/* "" for one, "s" for more or none. */
const char *status_plural(uint32_t count);

#endif
