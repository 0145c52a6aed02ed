/* state.h - what was built from what: `.psybuild/state`, and the journal of a build under way.
 *
 * The state is one flat file, read at once and replaced whole at the end of a build: the validity
 * of the compiled graph, the graph, the files with their stamps and hashes, the records of the
 * nodes. During a build each change is appended to `.psybuild/journal`, an append-only file of
 * checksummed entries that is folded into the state at the end. A torn tail is cut, never trusted.
 * The layouts are drawn in docs/design.md. */
#ifndef PSYBUILD_ENGINE_STATE_STATE_H
#define PSYBUILD_ENGINE_STATE_STATE_H

#include "base/map.h"
#include "engine/graph/graph.h"
#include "engine/state/places.h"

/* A file as it was when last looked at. The stamp belongs to the content that the hashes name. */
struct state_file {
    const char *path;     /* its name */
    const char *location; /* where it lies, when elsewhere (a dir source); else the path */
    struct file_stamp stamp;
    bool has_tree;
    bool is_given_back; /* removed because every reader has had it */
    bool is_damaged;    /* under that stamp lie other bytes than those: `-t verify` found it */
    struct hash128 tree;
    const char *identity; /* "sha256:HEX", "git:HEX", or "" */
};

enum read_kind {
    READ_CONTENT = 1, /* the whole file */
    READ_FIELD,       /* detail: dotted path; hash of the canonical value, zero when absent */
    READ_HEADER,      /* hash of the file's first segment */
    READ_DATA,        /* the bytes that the pieces read; they know the details (pieces.h) */
    READ_LAYOUT,      /* detail: the node whose layout it is */
    READ_NAMES,       /* file: a directory of data files; detail: their kind; hash of the names */
    READ_ABSENT,      /* the file was not there */
};

struct record_read {
    enum read_kind kind;
    uint32_t file;       /* index into files; FILE_NONE for READ_LAYOUT */
    const char *detail;  /* or "" */
    struct hash128 hash; /* of what was read */
    struct hash128 seen; /* the file's tree hash at that time */
    const char *shown;   /* of READ_FIELD: what it was, in short; or NULL */
};
#define FILE_NONE UINT32_MAX

struct record_made {
    uint32_t file;
    bool has_tree;
    struct hash128 tree;
    const char *identity; /* or "" */
};

struct record {
    const char *name;     /* of the node */
    const char *manifest; /* the top manifest it was built under */
    struct text declaration;
    struct hash128 key;
    struct record_read *reads;
    uint32_t read_count;
    struct record_made *made;
    uint32_t made_count;
    struct text layout;  /* empty: none */
    struct text figures; /* what its pieces found out; empty: nothing */
    uint64_t duration_ns;
    bool is_gone;   /* dropped in memory: not written any more */
    uint32_t older; /* of a past one: the one of the same node before it, or RECORD_NONE */
};
#define RECORD_NONE UINT32_MAX

/* Whoever looks something up in these tables holds it until the next call that may add to them, and
 * no longer: they move when they grow, and past records when one is kept. Indices of files stay. */
struct state {
    struct arena *arena;
    struct state_file *files;
    uint32_t file_count;
    size_t file_capacity;
    struct map file_by_path;
    struct record *records;
    uint32_t record_count;
    size_t record_capacity;
    struct map record_by_name;
    struct record *past;     /* earlier records of the same nodes, the newest last (cache.h) */
    struct map past_by_name; /* the newest of a node */
    uint32_t past_count;
    size_t past_capacity;
    struct file *journal; /* open while a build runs */
    uint64_t journal_size, journal_sequence;
    bool has_journal; /* one was there when the state was loaded: a build did not get to its end */
    uint32_t *places; /* files by the numbers of a journal entry; all UINT32_MAX between entries */
    size_t place_count;
    bool is_older;           /* some hashes may be by the segments of the version before */
    const char *warning;     /* something was damaged and is rebuilt; NULL: nothing */
    struct intent **intents; /* seals that were not finished */
    uint32_t intent_count;
    size_t intent_capacity;
    bool is_journal_named; /* its name is on the disk */
};

/* A seal about to happen: enough to finish it after a crash (carry.h). Its moves are in the order
 * in which they are carried out. */
enum move_kind {
    MOVE_HIDE = 1, /* the file without which nothing loads the directory, out of sight */
    MOVE_AWAY,     /* a leftover, or a log of other outputs */
    MOVE_IN,       /* a staged file to its name */
    MOVE_LAST,     /* the file that was hidden, or the new one: when all others are on the disk */
    MOVE_END,      /* what was hidden, when a new one is in its place */
};
struct move {
    enum move_kind kind;
    const char *from;
    struct file_stamp stamp;     /* what is moved, and nothing else of that name; but for its ctime,
                                  * which a rename changes */
    const char *to;              /* "": it is removed */
    struct file_stamp displaced; /* what may lie there; zero: nothing */
    const char *place;           /* where that goes; "": it is replaced */
    bool is_aside; /* what is displaced (or, without a place, moved) is not ours to lose */
};
struct intent {
    uint64_t number;   /* its entry's place in the journal */
    bool is_recovered; /* another build's */
    struct move *moves;
    uint32_t move_count;
    struct record *records; /* of the nodes; their outputs' stamps are taken at the end */
    uint32_t record_count;
};

/* The index of a file, added when new. */
MUST_CHECK struct error *state_add_file(
    struct state *state, const char *path, const char *location, uint32_t *out);
struct record *state_find_record(const struct state *state, const char *name); /* or NULL */
/* Whether what is known of the file is what the record says was made. */
bool state_is_as_made(const struct state_file *file, const struct record_made *made);
/* Takes over the record (its arrays must live as long as the state). */
MUST_CHECK struct error *state_put_record(struct state *state, const struct record *record);
/* Keeps a record that is about to be replaced: the last few of a node, from state->past_by_name on
 * by `older`; some may be gone. */
MUST_CHECK struct error *state_keep_past(struct state *state, const struct record *record);
void state_drop_record(struct state *state, const char *name);
/* What tells a record's outputs from all others of its node: their paths and contents. */
MUST_CHECK struct error *state_generation(
    const struct state *state, const struct record *record, struct hash128 *out);

#endif
