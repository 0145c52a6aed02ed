/* status.h - what a build says while it runs: one line redrawn in place, lines, or JSON.
 *
 * The forms are made by functions of their own, into memory; struct status only counts and decides
 * which of them is printed. JSON's fields are stable: psybuild(1) lists them. */
#ifndef PSYBUILD_CLI_STATUS_H
#define PSYBUILD_CLI_STATUS_H

#include "cli/terminal.h"
#include "engine/build.h"

enum { STATUS_SAMPLES = 32, STATUS_DOWNLOADS_MAX = 64 };

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

struct status_sample {
    uint64_t time_ns, bytes_done;
};

struct status {
    struct terminal *terminal;
    const struct options *options;
    enum progress mode;        /* never PROGRESS_AUTO */
    const struct build *build; /* NULL until it is open */
    struct build_progress progress;
    uint64_t started_ns, drawn_ns;
    struct status_sample samples[STATUS_SAMPLES]; /* a ring */
    unsigned sample_count;
    uint32_t nodes_total;
    uint32_t nodes_changed, nodes_confirmed, nodes_failed, nodes_unusable; /* wrong manifests */
    uint64_t bytes_made; /* of the files that were made */
    uint64_t bytes_planned, bytes_to_write, bytes_to_download;
    bool is_size_unknown; /* some planned size is not known yet */
    char warned[200];     /* the last warning: said once, though the build is opened twice */
};

void status_begin(struct status *status, struct terminal *terminal, const struct options *options);
/* For struct build_options; `context` is the status. */
void status_on_event(void *context, const struct build_event *event);
void status_on_tick(void *context, const struct build_progress *progress);
/* The closing line of a run that came to its end, and -d stats. */
void status_close(struct status *status);

#endif
