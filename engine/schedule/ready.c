/* ready.c - which node is looked at next: edges, the heap of ready nodes, the critical path. */
#include "engine/schedule/schedule.h"

#include "engine/state/state.h"

/* ---- readiness ---- */

/* The status from which on a producer serves a reader. What was heard of a large file beforehand
 * serves all that do not insist on the file itself. */
static enum node_status wanted_status(
    const struct build *build, uint32_t producer, const struct reader *reader)
{
    const struct graph *graph = build->graph;
    if (!reader->is_content)
        return STATUS_PLANNED;
    uint32_t group = graph->nodes[producer].group;
    if (group != GROUP_NONE && group == graph->nodes[reader->node].group)
        return STATUS_MADE;
    bool is_heard_of = graph->nodes[producer].is_fetched && build->runs[producer].layout.length > 0;
    return is_heard_of && !build->runs[reader->node].is_patient ? STATUS_HEARD : STATUS_SEALED;
}

bool ready_is_more_urgent(const struct schedule *schedule, uint32_t a, uint32_t b)
{
    if (schedule->priority[a] != schedule->priority[b])
        return schedule->priority[a] > schedule->priority[b];
    return schedule->rank[a] < schedule->rank[b];
}

void ready_push(struct schedule *schedule, uint32_t index)
{
    uint32_t *heap = schedule->ready, at = schedule->ready_count;
    if (schedule->build->runs[index].is_queued)
        return;
    schedule->build->runs[index].is_queued = true;
    schedule->ready_count++;
    for (; at > 0 && ready_is_more_urgent(schedule, index, heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = index;
}

uint32_t ready_pop(struct schedule *schedule)
{
    uint32_t *heap = schedule->ready, first = heap[0], at = 0;
    uint32_t last = heap[--schedule->ready_count], count = schedule->ready_count;
    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && ready_is_more_urgent(schedule, heap[child + 1], heap[child]))
            child++;
        if (!ready_is_more_urgent(schedule, heap[child], last))
            break;
        heap[at] = heap[child];
    }
    heap[at] = last;
    schedule->build->runs[first].is_queued = false;
    return first;
}

static void look_at_edge(struct schedule *schedule, uint32_t producer, struct reader *reader)
{
    struct build *build = schedule->build;
    struct node_run *run = &build->runs[reader->node];
    bool is_met = build->runs[producer].status >= wanted_status(build, producer, reader);
    if (is_met == reader->is_met)
        return;
    reader->is_met = is_met;
    run->unmet += is_met ? 0u - 1 : 1;
    if (run->unmet == 0 && run->status == STATUS_WAITING)
        ready_push(schedule, reader->node);
}

void ready_set_status(struct schedule *schedule, uint32_t index, enum node_status status)
{
    schedule->build->runs[index].status = status;
    for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1]; k++)
        look_at_edge(schedule, index, &schedule->readers[k]);
}

/* From now on the node waits for the files themselves. */
void ready_be_patient(struct schedule *schedule, uint32_t index)
{
    struct build *build = schedule->build;
    const struct node *node = &build->graph->nodes[index];
    build->runs[index].is_patient = true;
    ready_set_status(schedule, index, STATUS_WAITING);
    for (uint32_t n = 0; n < node->need_count; n++)
        for (uint32_t p = node->needs[n], k = schedule->first_reader[p];
             k < schedule->first_reader[p + 1]; k++)
            if (schedule->readers[k].node == index)
                look_at_edge(schedule, p, &schedule->readers[k]);
    if (build->runs[index].unmet == 0)
        ready_push(schedule, index);
}

/* ---- the beginning ---- */

/* Critical path first: by the time that nodes took last time, from here to the end. */
static struct error *set_priorities(struct schedule *schedule)
{
    const struct build *build = schedule->build;
    const struct graph *graph = build->graph;
    for (uint32_t at = graph->node_count; at-- > 0;) {
        uint32_t index = graph->order[at];
        uint64_t longest = 0, own = 1;
        schedule->rank[index] = at;
        if (!build->runs[index].is_wanted)
            continue;
        for (uint32_t k = schedule->first_reader[index]; k < schedule->first_reader[index + 1];
             k++) {
            uint64_t way = schedule->priority[schedule->readers[k].node];
            longest = way > longest ? way : longest;
        }
        const struct record *record = state_find_record(build->state, graph->nodes[index].name);
        if (record != NULL && record->duration_ns < UINT64_MAX / 2 - longest)
            own += record->duration_ns;
        schedule->priority[index] = longest + own;
    }
    return NULL;
}

/* Of several wanted files of the same content the first is fetched, and the others copied. */
static struct error *find_alike(struct build *build, const bool *is_wanted)
{
    struct map first_of = {.arena = &build->arena};
    for (uint32_t i = 0; i < build->graph->node_count; i++) {
        const struct node *node = &build->graph->nodes[i];
        build->runs[i].alike = NODE_NONE;
        if (!is_wanted[i] || node->source == NULL)
            continue;
        uint32_t first = map_get(&first_of, node->source->identity);
        if (first == MAP_NONE)
            TRY(map_put(&first_of, node->source->identity, i));
        else
            build->runs[i].alike = first;
    }
    return NULL;
}

struct error *ready_begin(struct schedule *schedule, const bool *is_wanted)
{
    struct build *build = schedule->build;
    const struct graph *graph = build->graph;
    uint32_t count = graph->node_count;
    struct arena *arena = &build->arena;
    schedule->first_reader = arena_array(arena, (size_t)count + 2, sizeof(uint32_t));
    schedule->priority = arena_array(arena, count, sizeof *schedule->priority);
    schedule->rank = arena_array(arena, count, sizeof *schedule->rank);
    schedule->pool_used = arena_array(arena, graph->pool_count, sizeof(uint32_t));
    schedule->ready = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->hashing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->blocking = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->active = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->sealing = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->sealing_next = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->parked = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->heard = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->again = arena_array(arena, (size_t)count + 1, sizeof(uint32_t));
    schedule->is_group_failed = arena_array(arena, graph->group_count, sizeof(bool));
    if (schedule->priority == NULL || schedule->rank == NULL || schedule->pool_used == NULL ||
        schedule->first_reader == NULL || schedule->ready == NULL || schedule->hashing == NULL ||
        schedule->blocking == NULL || schedule->active == NULL || schedule->sealing == NULL ||
        schedule->sealing_next == NULL || schedule->parked == NULL || schedule->heard == NULL ||
        schedule->again == NULL || schedule->is_group_failed == NULL)
        return error_memory();
    uint32_t *first = schedule->first_reader;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; is_wanted[i] && k < graph->nodes[i].need_count; k++)
            first[graph->nodes[i].needs[k] + 2]++;
    for (uint32_t i = 0; i < count; i++)
        first[i + 2] += first[i + 1];
    schedule->readers = arena_array(arena, first[count + 1], sizeof *schedule->readers);
    TRY(memory_check(schedule->readers));
    for (uint32_t at = 0; at < count; at++) {
        uint32_t i = graph->order[at];
        if (!is_wanted[i])
            continue;
        const struct node *node = &graph->nodes[i];
        for (uint32_t k = 0; k < node->need_count; k++)
            schedule->readers[first[node->needs[k] + 1]++] =
                (struct reader){.node = i, .is_content = node->needs_content[k]};
        build->runs[i].is_wanted = true;
        build->runs[i].unmet = node->need_count;
        schedule->wanted++;
    }
    TRY(set_priorities(schedule));
    for (uint32_t at = 0; at < count; at++)
        if (is_wanted[graph->order[at]] && graph->nodes[graph->order[at]].need_count == 0)
            ready_push(schedule, graph->order[at]);
    return find_alike(build, is_wanted);
}
