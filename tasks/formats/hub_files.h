/* hub_files.h - the files of a hub repository: which are wanted, and whether they may be written.
 *
 * Names from a hub are hostile: hub_select is the only way from a listing to files that are
 * written. Patterns are those of the hub's own client, which are Python's fnmatch: unlike the
 * manifest's globs (base/text.h), `*` also matches "/". */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_FILES_H
#define PSYBUILD_TASKS_FORMATS_HUB_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

enum { HUB_PATH_BYTES_MAX = 4096 }; /* of a file; a longer one is refused */

#define HUB_COMMIT_MAX 41 /* 40 lower-case hex digits and the NUL */
#define HUB_HASH_MAX 65   /* 40 or 64 lower-case hex digits and the NUL */

struct hub_file {
    const char *path;          /* NUL-terminated; hostile until hub_select took it */
    uint64_t size_bytes;       /* of the content */
    char git[HUB_COMMIT_MAX];  /* git blob id: of the content, or of an LFS file's pointer; or "" */
    char sha256[HUB_HASH_MAX]; /* of an LFS file's content; "" for a git file */
};
struct hub_files {
    struct hub_file *items;
    size_t count;
};

/* Whether a file of this name may be written below a directory: ERROR_FORMAT says what is wrong. */
MUST_CHECK struct error *hub_path_check(struct text path);

/* `*` is any run, also of "/"; `?` one character; [a-z] and [!a-z] one of or none of a set; there
 * is no escape. A trailing "/" means everything below. Case counts; "\" in either is taken for "/".
 */
bool hub_pattern_matches(const char *pattern, const char *path);

struct hub_filter {
    const char *const *include, *const *exclude; /* no include pattern: all */
    size_t include_count, exclude_count;
};
bool hub_filter_keeps(const struct hub_filter *filter, const char *path);

/* The files that the filter keeps, in byte order of their paths, each checked: by hub_path_check,
 * and against the others (twice the same, or one the directory of another; `folds_case`: also with
 * ASCII letters of another case). None at all is an error, too. `filter` may be NULL. */
MUST_CHECK struct error *hub_select(struct arena *arena, const struct hub_files *files,
    const struct hub_filter *filter, bool folds_case, struct hub_files *out);

#endif
