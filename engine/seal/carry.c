/* carry.c - renames, and what follows from them. */
#include "engine/seal/carry.h"

#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "engine/plan/restore.h"
#include "engine/seal/ours.h"

/* ---- looking ---- */

static bool is_set(const char *name)
{
    return name != NULL && name[0] != '\0';
}

/* What is staged, and comes under a name that readers know. */
static bool brings_in(const struct move *move)
{
    return move->kind == MOVE_IN || move->kind == MOVE_LAST;
}

/* Whether the very thing that had that stamp has the name, a link among them; renames count not. */
static struct error *is_it(const char *path, const struct file_stamp *stamp, bool *out)
{
    enum file_kind kind;
    struct file_stamp now;
    TRY(file_stat_itself(path, &kind, &now));
    now.ctime_ns = stamp->ctime_ns;
    *out = kind != FILE_ABSENT && file_stamp_equal(&now, stamp);
    return *out || kind != FILE_REGULAR ? NULL : file_is_still(path, stamp, true, out);
}

/* Whether what was to be displaced lies there, or nothing does. */
static struct error *is_expected(const char *path, const struct file_stamp *stamp, bool *out)
{
    enum file_kind kind;
    TRY(file_kind_itself(path, &kind));
    *out = kind == FILE_ABSENT;
    return *out ? NULL : is_it(path, stamp, out);
}

static struct error *say_lost(const struct move *move)
{
    return error_new(
        ERROR_FAILED, "%s: what was made for it was removed or changed by others", move->to);
}

/* Since the build that died the target may have come to lie on another device. */
static struct error *may_be_renamed(struct build *build, const struct move *move, bool *out)
{
    const char *from = path_directory(&build->arena, move->from);
    const char *to = path_directory(&build->arena, move->to);
    return from == NULL || to == NULL ? error_memory() : file_same_device(from, to, out);
}

/* The first staged file that is neither where it was nor where it goes; NULL: none. */
static struct error *find_lost(
    struct build *build, const struct intent *intent, const struct move **out)
{
    *out = NULL;
    for (uint32_t i = 0; i < intent->move_count && *out == NULL; i++) {
        const struct move *move = &intent->moves[i];
        bool is_there = !brings_in(move);
        if (!is_there)
            TRY(is_it(move->from, &move->stamp, &is_there));
        if (is_there && brings_in(move) && intent->is_recovered)
            TRY(may_be_renamed(build, move, &is_there));
        if (!is_there)
            TRY(is_it(move->to, &move->stamp, &is_there));
        if (!is_there)
            *out = move;
    }
    return NULL;
}

/* ---- what an intent may name ---- */

/* Below a directory of psybuild's own, or where a source's downloads grow. */
static bool is_own_place(const struct build *build, const char *path)
{
    size_t length = strlen(STATE_DIRECTORY);
    for (const char *at = path; at != NULL; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, STATE_DIRECTORY, length) == 0 && at[length] == '/')
            return true;
    }
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        const struct node *node = &build->graph->nodes[i];
        if (node->source != NULL && node->source->partial != NULL &&
            path_is_below(path, node->source_directory) &&
            path_is_below(path + strlen(node->source_directory) + 1, node->source->partial))
            return true;
    }
    return false;
}

static bool is_named(const struct build *build, const struct intent *intent, const char *path)
{
    if (graph_find_producer(build->graph, path) != NODE_NONE)
        return true;
    uint32_t file = map_get(&build->state->file_by_path, path);
    bool is_made = false;
    for (uint32_t i = 0; i < intent->record_count && !is_made; i++)
        for (uint32_t k = 0; k < intent->records[i].made_count; k++)
            is_made |= intent->records[i].made[k].file == file;
    for (uint32_t i = 0; i < build->state->record_count && !is_made; i++)
        for (uint32_t k = 0; k < build->state->records[i].made_count; k++)
            is_made |= build->state->records[i].made[k].file == file;
    return file != MAP_NONE && is_made;
}

static bool may_name(const struct build *build, const struct intent *intent, const char *path)
{
    return path_is_normal(path) && (is_own_place(build, path) || is_named(build, intent, path));
}

/* Where something goes: nowhere, to such a name, or into the cache. */
static bool may_go_to(const struct build *build, const struct intent *intent, const char *path)
{
    bool is_entry = build->cache.path != NULL && path_is_below(path, build->cache.path) &&
                    strchr(path + strlen(build->cache.path) + 1, '/') == NULL;
    return path[0] == '\0' || is_entry || may_name(build, intent, path);
}

struct error *carry_check(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        const char *wrong = !may_name(build, intent, move->from)     ? move->from
                            : !may_go_to(build, intent, move->to)    ? move->to
                            : !may_go_to(build, intent, move->place) ? move->place
                                                                     : NULL;
        if (wrong != NULL)
            return error_new(ERROR_FORMAT,
                STATE_DIRECTORY "/journal: an unfinished rename names \"%s\", which is not "
                                "psybuild's: if you trust this directory, remove the journal",
                text_printable(&build->arena, text_of(wrong)));
    }
    return NULL;
}

/* ---- single moves ---- */

static struct error *make_directory_of(struct build *build, const char *path)
{
    char *directory = path_directory(&build->arena, path);
    return directory == NULL ? error_memory() : file_make_directories_synced(directory);
}

/* By a rename, or a copy where the place is on another file system, as a cache may be. */
static struct error *move_file(struct build *build, const char *from, const char *to)
{
    bool is_same;
    char *directory = path_directory(&build->arena, to);
    char *from_directory = path_directory(&build->arena, from); /* a link may lead elsewhere */
    char *beside = file_temporary_name(&build->arena, to);
    if (directory == NULL || from_directory == NULL || beside == NULL)
        return error_memory();
    TRY(make_directory_of(build, to));
    TRY(file_same_device(from_directory, directory, &is_same));
    if (is_same)
        return file_rename(from, to);
    struct error *error = file_copy_whole(from, beside);
    if (error == NULL)
        error = file_rename(beside, to);
    if (error != NULL)
        error_free(file_remove(beside)); /* as far as it can be */
    return error == NULL ? file_remove(from) : error;
}

/* Into the cache, which may be full, or gone: then the old file is, too. */
static struct error *keep_in_cache(struct build *build, const char *from, const char *to)
{
    struct error *error = move_file(build, from, to);
    if (error == NULL)
        error = file_touch(to); /* the order in which entries go */
    if (error == NULL)
        return NULL;
    run_warn(build, NULL, error_wrap(error, "keeping what %s was in the cache", path_base(from)));
    return file_remove(from);
}

/* What is set aside takes a name that is free by now: the one that was chosen may be taken. */
static struct error *keep(struct build *build, const struct move *move, const char *to)
{
    if (!move->is_aside)
        return keep_in_cache(build, move->from, to);
    TRY(places_free_name(&build->arena, to, &to));
    return move_file(build, move->from, to);
}

/* A file that nobody foresaw, of that name; it may have another by now. */
static struct error *set_aside(struct build *build, const char *name, const char *now)
{
    struct node node = {.name = name, .directory = path_directory(&build->arena, name)};
    struct owner owner = {.was_made = true};
    const char *place;
    TRY(memory_check(node.directory));
    TRY(places_aside(&build->arena, &node, name, &place));
    TRY(ours_say_kept(build, name, &owner, place));
    return move_file(build, now, place);
}

/* Whether the new file is in its place already. */
static struct error *is_replaced(const struct intent *intent, const char *path, bool *out)
{
    *out = false;
    for (uint32_t i = 0; i < intent->move_count && !*out; i++)
        if (intent->moves[i].kind == MOVE_LAST && strcmp(intent->moves[i].to, path) == 0)
            TRY(is_it(path, &intent->moves[i].stamp, out));
    return NULL;
}

/* What lies there and is not what is to be hidden is looked at once it is out of sight. */
static struct error *hide(struct build *build, const struct intent *intent, const struct move *move)
{
    enum file_kind kind;
    bool is_same, is_done;
    TRY(file_kind_itself(move->from, &kind));
    if (kind == FILE_ABSENT)
        return NULL;
    TRY(is_it(move->from, &move->stamp, &is_same));
    TRY(is_replaced(intent, move->from, &is_done));
    if (!is_same && is_done)
        return NULL;
    if (!is_same) {
        TRY(run_check_lock(build));
        TRY(set_aside(build, move->from, move->from));
    } else {
        TRY(make_directory_of(build, move->to));
        TRY(file_rename(move->from, move->to));
        TRY(is_it(move->to, &move->stamp, &is_same));
        if (!is_same)
            TRY(set_aside(build, move->from, move->to));
    }
    char *directory = path_directory(&build->arena, move->from);
    return directory == NULL ? error_memory() : file_sync_directory(directory);
}

/* Nothing is done with what is not the file any more. */
static struct error *take_away(struct build *build, const struct move *move)
{
    bool is_same;
    TRY(is_it(move->from, &move->stamp, &is_same));
    if (!is_same)
        return NULL;
    return is_set(move->to) ? keep(build, move, move->to) : file_remove(move->from);
}

/* Where the system cannot exchange two files, what is to be kept goes first. */
static struct error *replace(struct build *build, const struct move *move)
{
    enum file_kind kind;
    bool is_foreseen;
    TRY(file_kind_itself(move->to, &kind));
    TRY(is_expected(move->to, &move->displaced, &is_foreseen));
    struct move first = *move;
    first.from = move->to;
    if (!is_foreseen)
        TRY(set_aside(build, move->to, move->to));
    else if (kind != FILE_ABSENT && is_set(move->place))
        TRY(keep(build, &first, move->place));
    return file_rename(move->from, move->to);
}

/* What was hidden goes where it is kept, or nowhere; what somebody made of it meanwhile aside. */
static struct error *end_hidden(
    struct build *build, const struct intent *intent, const struct move *move)
{
    enum file_kind kind;
    TRY(take_away(build, move));
    TRY(file_kind_itself(move->from, &kind));
    for (uint32_t i = 0; kind != FILE_ABSENT && i < intent->move_count; i++)
        if (intent->moves[i].kind == MOVE_HIDE && strcmp(intent->moves[i].to, move->from) == 0)
            return set_aside(build, intent->moves[i].from, move->from);
    return NULL;
}

/* What was displaced goes where it is kept, or nowhere; what came in its place aside. */
static struct error *move_on(
    struct build *build, const struct intent *intent, const struct move *move)
{
    enum file_kind kind;
    struct file_stamp now;
    bool is_new, is_foreseen;
    if (move->kind == MOVE_END)
        return end_hidden(build, intent, move);
    if (!brings_in(move))
        return NULL;
    TRY(file_stat_itself(move->from, &kind, &now));
    if (kind == FILE_ABSENT || now.inode == move->stamp.inode)
        return NULL; /* nothing was; or the staged file, maybe written to by others */
    TRY(is_it(move->from, &move->stamp, &is_new));
    TRY(is_expected(move->from, &move->displaced, &is_foreseen));
    if (is_new)
        return NULL;
    if (!is_foreseen)
        return set_aside(build, move->to, move->from);
    return is_set(move->place) ? keep(build, move, move->place) : file_remove(move->from);
}

/* An intent is given up: nothing of anybody's is lost with what was displaced and hidden. */
static struct error *give_up(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->move_count; i++)
        TRY(move_on(build, intent, &intent->moves[i]));
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        enum file_kind kind;
        uint32_t file = map_get(&build->state->file_by_path, move->from);
        bool is_ours = false;
        if (move->kind != MOVE_HIDE)
            continue;
        TRY(file_kind_itself(move->to, &kind));
        if (file != MAP_NONE)
            TRY(is_it(move->to, &build->state->files[file].stamp, &is_ours));
        if (kind != FILE_ABSENT && !is_ours)
            TRY(set_aside(build, move->from, move->to));
    }
    return NULL;
}

/* What lies there changes places with the staged file, and is looked at and goes on from there at
 * the end. */
static struct error *bring_in(
    struct build *build, const struct intent *intent, const struct move *move)
{
    enum file_kind kind;
    bool is_done = false, is_staged, is_foreseen;
    TRY(file_kind_itself(move->to, &kind));
    if (kind != FILE_ABSENT)
        TRY(is_it(move->to, &move->stamp, &is_done));
    if (is_done)
        return NULL;
    TRY(is_it(move->from, &move->stamp, &is_staged));
    if (!is_staged) /* meanwhile: what lies there stays */
        return say_lost(move);
    TRY(is_expected(move->to, &move->displaced, &is_foreseen));
    if (!is_foreseen)
        TRY(run_check_lock(build)); /* another build's, maybe */
    if (kind == FILE_ABSENT)
        TRY(make_directory_of(build, move->to));
    TRY(file_exchange(move->from, move->to, &is_done));
    if (!is_done)
        TRY(replace(build, move));
    TRY(is_it(move->to, &move->stamp, &is_staged));
    if (is_staged) /* what is not ours lies with our own no longer than it must */
        return move->is_aside ? move_on(build, intent, move) : NULL;
    TRY(file_exchange(move->to, move->from, &is_done)); /* written to at the last moment */
    return say_lost(move);
}

/* ---- all of them ---- */

/* Each directory once, of the names that moves up to `end` have changed. */
static struct error *sync_directories(
    struct build *build, const struct intent *intent, uint32_t end)
{
    struct map seen = {.arena = &build->arena};
    for (uint32_t i = 0; i < end; i++) {
        const struct move *move = &intent->moves[i];
        char *directory = path_directory(&build->arena, brings_in(move) ? move->to : move->from);
        enum file_kind kind;
        struct file_stamp stamp;
        TRY(memory_check(directory));
        if (move->kind == MOVE_END || map_get(&seen, directory) != MAP_NONE)
            continue;
        TRY(map_put(&seen, directory, i));
        TRY(file_stat(directory, &kind, &stamp));
        if (kind == FILE_DIRECTORY)
            TRY(file_sync_directory(directory));
    }
    return NULL;
}

static struct error *carry_moves(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *move = &intent->moves[i];
        if (move->kind == MOVE_LAST)
            TRY(sync_directories(build, intent, i)); /* before the directory loads again */
        if (move->kind == MOVE_HIDE)
            TRY(hide(build, intent, move));
        if (move->kind == MOVE_AWAY)
            TRY(take_away(build, move));
        if (brings_in(move))
            TRY(bring_in(build, intent, move));
    }
    return sync_directories(build, intent, intent->move_count);
}

/* ---- stamps and records ---- */

static void set_made(struct state_file *known, const struct record_made *made)
{
    /* Fetched again, a file has the content that was hashed before. */
    bool is_again = !made->has_tree && known->has_tree && made->identity[0] != '\0' &&
                    strcmp(known->identity, made->identity) == 0;
    known->has_tree = is_again || made->has_tree;
    known->tree = is_again ? known->tree : made->tree;
    known->identity = made->identity;
    known->is_given_back = known->is_damaged = false;
}

/* Of a file that was moved, and had that stamp before; whoever wrote to it since will be found out
 * by the other stamp. `made` NULL: it was only hidden, and is as well known as it was. */
static struct error *take_stamp(struct build *build, const char *path,
    const struct record_made *made, const struct file_stamp *before)
{
    enum file_kind kind;
    struct file_stamp now;
    uint32_t file;
    TRY(run_add_file(build, path, NULL, &file));
    struct state_file *known = &build->state->files[file];
    now = *before;
    now.inode = known->stamp.inode; /* where there are none that stay; the times tell */
    if (made == NULL && !file_stamp_equal(&known->stamp, &now))
        return NULL;
    TRY(file_stat(known->location, &kind, &now));
    struct file_stamp moved = {now.inode, before->size_bytes, before->mtime_ns, now.ctime_ns};
    bool is_same = file_stamp_equal(&now, &moved);
    if (now.inode != before->inode)
        TRY(is_it(known->location, before, &is_same));
    known->stamp = is_same ? now : *before;
    if (made != NULL)
        set_made(known, made);
    build->files[file] = (struct file_run){.look = LOOK_CURRENT, .stamp = known->stamp};
    return NULL;
}

/* What was only hidden is what it was. */
static bool comes_back(const struct intent *intent, const struct move *move)
{
    for (uint32_t i = 0; i < intent->move_count; i++)
        if (intent->moves[i].kind == MOVE_HIDE && strcmp(intent->moves[i].to, move->from) == 0)
            return true;
    return false;
}

/* The stamps that count are taken now: a rename moves ctime. That no later change can share them is
 * seen to once, when the state is saved. */
static struct error *take_stamps(struct build *build, const struct intent *intent)
{
    struct map moved = {.arena = &build->arena};
    for (uint32_t i = 0; i < intent->move_count; i++)
        if (brings_in(&intent->moves[i]) && !comes_back(intent, &intent->moves[i]))
            TRY(map_put(&moved, intent->moves[i].to, i));
    for (uint32_t r = 0; r < intent->record_count; r++)
        for (uint32_t k = 0; k < intent->records[r].made_count; k++) {
            const struct record_made *made = &intent->records[r].made[k];
            const char *path = build->state->files[made->file].path;
            uint32_t move = map_get(&moved, path);
            if (move != MAP_NONE)
                TRY(take_stamp(build, path, made, &intent->moves[move].stamp));
        }
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const struct move *hidden = &intent->moves[i];
        bool is_back;
        if (hidden->kind != MOVE_HIDE)
            continue;
        TRY(is_it(hidden->from, &hidden->stamp, &is_back));
        if (is_back)
            TRY(take_stamp(build, hidden->from, NULL, &hidden->stamp));
    }
    build->stamped_ns = file_clock_ns();
    return NULL;
}

struct error *carry_put_records(struct build *build, const struct intent *intent)
{
    for (uint32_t i = 0; i < intent->record_count; i++) {
        TRY(state_put_record(build->state, &intent->records[i]));
        TRY(journal_put_record(build->state, &intent->records[i]));
    }
    build->is_state_changed = true;
    return NULL;
}

struct error *carry_remove_partials(struct build *build, const struct intent *intent)
{
    enum { LEVELS = 3 }; /* files, NODE, partial */
    for (uint32_t i = 0; i < intent->move_count; i++) {
        const char *directory = intent->moves[i].from;
        bool is_staged = brings_in(&intent->moves[i]) || intent->moves[i].kind == MOVE_END;
        for (int level = 0; is_staged && level < LEVELS; level++) {
            directory = path_directory(&build->arena, directory);
            TRY(memory_check(directory));
            TRY(file_remove_directory(directory));
        }
    }
    return NULL;
}

struct error *carry_out(struct build *build, struct intent *intent, bool *is_given_up)
{
    const struct move *missing;
    *is_given_up = false;
    TRY(find_lost(build, intent, &missing));
    if (missing != NULL) {
        TRY(give_up(build, intent));
        TRY(journal_put_sealed(build->state, intent));
        *is_given_up = true;
        return say_lost(missing);
    }
    TRY(carry_moves(build, intent));
    TRY(take_stamps(build, intent));
    TRY(carry_put_records(build, intent));
    for (uint32_t i = 0; i < intent->move_count; i++)
        TRY(move_on(build, intent, &intent->moves[i]));
    return journal_put_sealed(build->state, intent);
}
