/* cpu.h - instruction sets at hand, and the mask with which tests hide some of them. */
#ifndef PSYBUILD_BASE_CPU_H
#define PSYBUILD_BASE_CPU_H

#include "base/error.h"

/* A set of instruction sets; the empty one is plain C. */
enum cpu_feature {
    CPU_AVX2 = 1 << 0,   /* with FMA and F16C */
    CPU_AVX512 = 1 << 1, /* F, BW, VL and DQ, with what CPU_AVX2 says */
    CPU_NEON = 1 << 2,
};

/* What this machine and its operating system support. */
unsigned cpu_features(void);

/* What PSYBUILD_CPU allows of it: "scalar", "avx2", "avx512" or "neon" leaves that set alone; unset
 * or empty allows everything. ERROR_USAGE when it names no set, or one that the machine lacks. */
MUST_CHECK struct error *cpu_mask_from_environment(unsigned *out);

#endif
