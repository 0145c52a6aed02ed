/* survey.h - what a build would do, for the tools that only tell: a dry run that keeps the reasons.
 *
 * Nothing is printed and nothing is written but, for a source that has no lock entry yet, the lock.
 */
#ifndef PSYBUILD_CLI_SURVEY_H
#define PSYBUILD_CLI_SURVEY_H

#include "cli/tools.h"

enum survey_state {
    SURVEY_UNASKED, /* neither named nor needed */
    SURVEY_FRESH,
    SURVEY_STALE,
    SURVEY_NEVER_MADE,
};

struct survey {
    struct cli *cli;
    struct build *build;
    const char **reasons; /* one a node; NULL: none */
    bool *is_named;       /* by the targets themselves */
};

MUST_CHECK struct error *survey_take(
    struct cli *cli, const char *const *targets, size_t target_count, struct survey *out);
enum survey_state survey_state_of(const struct survey *survey, uint32_t node);
void survey_end(struct survey *survey);

#endif
