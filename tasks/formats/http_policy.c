/* http_policy.c - the usual policy; in a file of its own, so that a test of whole builds can link
 * one that does not wait. */
#include "tasks/formats/http.h"

const struct http_policy HTTP_POLICY_DEFAULT = {.retry_count_max = 5,
    .wait_ms_first = 1000,
    .wait_ms_cap = 30 * 1000,
    .wait_ms_refused = 10 * 60 * 1000,
    .header_ms_max = 10 * 1000,
    .body_ms_max = 10 * 1000,
    .rate_bytes_min = 1024,
    .rate_span_ms = 60 * 1000,
    /* What a killed build may lose of each connection. At 50 ms for a request, one of 100 Mbit/s
     * waits 4 % of its time. A multiple of the engine's blocks. */
    .range_bytes = 16 << 20};
