/* hub_local.h - the notes that the hub's own client keeps beside files it downloaded to a
 * directory, written so that it finds ours complete and fetches no byte again.
 *
 *   D/.cache/huggingface/.gitignore               "*"
 *   D/.cache/huggingface/CACHEDIR.TAG             tells backup programs to skip it
 *   D/.cache/huggingface/download/PATH.metadata   commit, hash and time of writing, a line each
 *   D/.cache/huggingface/download/PATH.lock       locked while the note is written
 *   D/.cache/huggingface/trees/COMMIT.json        all files of the repository at that commit
 *
 * The client takes D/PATH as up to date when its note names the wanted commit or hash and was not
 * written before the file was. psybuild itself never trusts a note. */
#ifndef PSYBUILD_TASKS_FORMATS_HUB_LOCAL_H
#define PSYBUILD_TASKS_FORMATS_HUB_LOCAL_H

#include "tasks/formats/hub_files.h"

#define HUB_LOCAL_DIRECTORY ".cache/huggingface"

/* The file lies complete and verified at D/PATH. Where another process holds the lock, that one is
 * at work on the file and will write its own note: then nothing is done. */
MUST_CHECK struct error *hub_local_note(
    struct arena *arena, const char *directory, const char *commit, const struct hub_file *file);

/* `files` are all of the repository, as listed. */
MUST_CHECK struct error *hub_local_note_tree(
    struct arena *arena, const char *directory, const char *commit, const struct hub_files *files);

#endif
