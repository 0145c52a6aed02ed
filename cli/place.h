/* place.h - where the program works: the manifest's directory, and the paths users give.
 *
 * All of psybuild's paths are relative to the top manifest's directory, which becomes the working
 * directory. What users type is relative to the directory they type it in. */
#ifndef PSYBUILD_CLI_PLACE_H
#define PSYBUILD_CLI_PLACE_H

#include <stdbool.h>

#include "cli/options.h"

struct place {
    const char *origin;    /* absolute: where the user is, -C applied */
    const char *directory; /* absolute: the manifest's, now the working directory */
    const char *manifest;  /* its name there, or the name of an installed one */
    bool is_elsewhere;     /* directory is not origin */
};

/* Applies -C and fills `origin`; both directories are that one until place_find_manifest. */
MUST_CHECK struct error *place_open(
    struct arena *arena, const struct options *options, struct place *out);

/* Goes to the manifest: -f, or the nearest psybuild.json upward. ERROR_USAGE when there is none. */
MUST_CHECK struct error *place_find_manifest(
    struct arena *arena, const struct options *options, struct place *place);

/* A path as the user typed it, from the manifest's directory: normal, "" for the directory itself.
 * ERROR_USAGE when it lies outside. */
MUST_CHECK struct error *place_target(
    struct arena *arena, const struct place *place, const char *path, const char **out);
MUST_CHECK struct error *place_targets(struct arena *arena, const struct place *place,
    const char *const *paths, size_t count, const char *const **out);

/* Absolute: $PSYBUILD_DATA_DIR; else the installed one; else the source tree's, for a program that
 * is not installed. */
MUST_CHECK struct error *place_data_directory(
    struct arena *arena, const struct place *place, const char **out);

/* An absolute path without ".", ".." and double slashes, by text alone. */
MUST_CHECK struct error *place_absolute(
    struct arena *arena, const char *base, const char *path, char **out);

#endif
