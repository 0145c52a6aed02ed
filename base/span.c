/* span.c - arithmetic of runs. */
#include "base/span.h"

static uint64_t round_up(uint64_t size, uint64_t unit)
{
    return size / unit + (size % unit != 0);
}

uint64_t span_run_count(const struct span_run *run)
{
    uint64_t periods = run->size_bytes / run->period_bytes;
    return periods * round_up(run->period_bytes, run->span_bytes) +
           round_up(run->size_bytes % run->period_bytes, run->span_bytes);
}

struct span span_run_at(const struct span_run *run, uint64_t index)
{
    uint64_t in_period = round_up(run->period_bytes, run->span_bytes);
    uint64_t period_begin = index / in_period * run->period_bytes;
    uint64_t within = index % in_period * run->span_bytes;
    uint64_t left = run->size_bytes - period_begin;
    left = (left < run->period_bytes ? left : run->period_bytes) - within;
    return (struct span){
        run->offset + period_begin + within, left < run->span_bytes ? left : run->span_bytes};
}

uint64_t span_run_find(const struct span_run *run, uint64_t offset)
{
    uint64_t at = offset - run->offset;
    if (offset < run->offset || at > run->size_bytes)
        return UINT64_MAX;
    if (at == run->size_bytes)
        return span_run_count(run);
    uint64_t within = at % run->period_bytes;
    if (within % run->span_bytes != 0)
        return UINT64_MAX;
    return at / run->period_bytes * round_up(run->period_bytes, run->span_bytes) +
           within / run->span_bytes;
}
