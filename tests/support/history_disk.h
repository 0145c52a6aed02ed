/* history_disk.h - what a history does to files, each deed also as a line of shell.
 *
 * Paths are relative to the working directory, which is the history's tree. A deed that the system
 * refuses ends the process with status 2: the driver is broken then, not psybuild. */
#ifndef PSYBUILD_TESTS_SUPPORT_HISTORY_DISK_H
#define PSYBUILD_TESTS_SUPPORT_HISTORY_DISK_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/error.h"
#include "engine/content/hash.h"

/* Says it and exits with 2. */
_Noreturn void disk_give_up(const char *words, ...) PRINTF_LIKE(1, 2);

/* From now on every deed is a line of `script`; what cannot be said in shell is put into files in
 * the directory `store`. NULL: no script. */
void disk_write_script(FILE *script, const char *store);
/* What the driver does for itself is no part of it. */
void disk_hold_script(bool is_held);
/* Any other line of it, when there is one. */
void disk_say(const char *line, ...) PRINTF_LIKE(1, 2);

/* Each makes the directories above `path`. */
void disk_put(const char *path, const void *bytes, size_t size); /* a new file, renamed over it */
void disk_put_text(const char *path, const char *text);
void disk_fill(const char *path, unsigned version, size_t size); /* lines "version N", a new file */
void disk_directory(const char *path);
void disk_link(const char *path, const char *target);

/* What is not there, or not of that kind, is left alone. */
void disk_poke(const char *path, size_t offset, const void *bytes, size_t size); /* in place */
void disk_pad(const char *path, size_t size); /* blanks, up to that size, in place */
void disk_truncate(const char *path, size_t size);
void disk_touch(const char *path);
void disk_remove(const char *path);
void disk_move(const char *from, const char *to);
void disk_copy(const char *from, const char *to);       /* with times; replaces what is there */
void disk_copy_fresh(const char *from, const char *to); /* without times */

bool disk_has(const char *path);          /* whatever it is */
bool disk_is_file(const char *path);      /* not a link */
bool disk_is_directory(const char *path); /* or a link to one */
size_t disk_size(const char *path);       /* 0: no file */
bool disk_holds(const char *path, const char *words);
struct text disk_read(struct arena *arena, const char *path); /* empty: no file */
struct hash128 disk_hash(const char *path);                   /* of the content, not as a tree */

struct disk_entry {
    const char *path; /* from the working directory */
    struct stat status;
};

struct disk_list { /* by path; without the top itself */
    struct disk_entry *entries;
    size_t count, capacity;
};

/* All below `top`, whose own link is followed, no others. `skip`: a name not to be entered; NULL:
 * none. */
struct disk_list disk_walk(struct arena *arena, const char *top, const char *skip);

#endif
