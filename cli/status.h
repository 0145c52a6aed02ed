/* status.h - what a build says while it runs: one line redrawn in place, lines, or JSON.
 *
 * struct status counts and decides what is printed; status_form.h has the words. */
#ifndef PSYBUILD_CLI_STATUS_H
#define PSYBUILD_CLI_STATUS_H

#include "cli/status_form.h"
#include "cli/terminal.h"

enum { STATUS_SAMPLES = 32, STATUS_DOWNLOADS_MAX = 64 };

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
