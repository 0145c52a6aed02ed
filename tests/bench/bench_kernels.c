/* bench_kernels.c - how fast the kernels are: one thread, data in the second-level cache.
 *
 *     bench_kernels [--seconds S] [--table NAME]
 *
 * Prints million weights per second for each kernel table that can run here, each mode and width
 * and each dtype: quantizing, dequantizing, quantizing with measuring what is lost; then for
 * casting and for looking for non-finite values. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cpu.h"
#include "tasks/formats/quant.h"

enum { COUNT = 64 * 1024 }; /* weights: 128 KiB in 16 bits, 256 in 32 */

static unsigned char weights[4 * COUNT], codes[COUNT + 64], scales[4 * COUNT], biases[4 * COUNT];
static unsigned char casts[4 * COUNT];
static float errors[3][COUNT / 16];

static const enum dtype floats[] = {DTYPE_BF16, DTYPE_F16, DTYPE_F32};

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* About normal weights, a fiftieth wide. */
static void fill(enum dtype dtype)
{
    uint32_t state = 1;
    for (size_t i = 0; i < COUNT; i++) {
        float sum = -2;
        for (int j = 0; j < 4; j++) {
            state = state * 1664525 + 1013904223;
            sum += (float)(state >> 8) * 0x1p-24f;
        }
        sum *= 0.034f;
        quant_kernels_scalar.cast(DTYPE_F32, dtype, 1, &sum, weights + i * dtype_size_bytes(dtype));
    }
}

struct job {
    const struct quant_kernels *table;
    struct quant_shape shape;
    enum { QUANTIZE, DEQUANTIZE, MEASURE, CAST, FIND } what;
    enum dtype to;
};

static void run(const struct job *job)
{
    const struct quant_kernels *table = job->table;
    switch (job->what) {
    case QUANTIZE:
        table->quantize(
            &job->shape, COUNT / job->shape.group_size, weights, codes, scales, biases, NULL);
        break;
    case DEQUANTIZE:
        table->dequantize(&job->shape, COUNT / job->shape.group_size, codes, scales, biases, casts);
        break;
    case MEASURE:
        table->quantize(&job->shape, COUNT / job->shape.group_size, weights, codes, scales, biases,
            &(struct quant_group_errors){errors[0], errors[1], errors[2]});
        break;
    case CAST:
        table->cast(job->shape.dtype, job->to, COUNT, weights, casts);
        break;
    case FIND:
        if (table->find_nonfinite(job->shape.dtype, COUNT, weights) != COUNT)
            abort(); /* the data are finite */
        break;
    }
}

/* The best of ten runs of a tenth of the time each: what the machine can do undisturbed. */
static double million_per_second(const struct job *job, double seconds)
{
    double best = 0;
    run(job);
    for (int i = 0; i < 10; i++) {
        double begin = now_seconds(), end;
        uint64_t count = 0;
        do {
            run(job);
            count += COUNT;
            end = now_seconds();
        } while (end - begin < seconds / 10);
        double rate = 1e-6 * (double)count / (end - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

static void bench_shape(const struct quant_kernels *table, struct quant_shape shape, double seconds)
{
    printf("%-7s %-7s %4u %5u", table->name, quant_mode_name(shape.mode), (unsigned)shape.bits,
        (unsigned)shape.group_size);
    double rates[3][3];
    for (size_t i = 0; i < 3; i++) {
        shape.dtype = floats[i];
        fill(floats[i]);
        struct job job = {.table = table, .shape = shape, .what = QUANTIZE};
        rates[0][i] = million_per_second(&job, seconds);
        job.what = DEQUANTIZE;
        rates[1][i] = million_per_second(&job, seconds);
        job.what = MEASURE;
        rates[2][i] = million_per_second(&job, seconds);
    }
    for (size_t way = 0; way < 3; way++)
        printf("   %8.0f %8.0f %8.0f", rates[way][0], rates[way][1], rates[way][2]);
    printf("\n");
    fflush(stdout);
}

static void bench_casts(const struct quant_kernels *table, double seconds)
{
    for (size_t i = 0; i < 3; i++) {
        fill(floats[i]);
        struct job job = {.table = table, .shape = {.dtype = floats[i]}, .what = FIND};
        printf("%-7s find in %-12s %8.0f\n", table->name, dtype_name(floats[i]),
            million_per_second(&job, seconds));
        job.what = CAST;
        for (size_t j = 0; j < 3; j++) {
            job.to = floats[j];
            if (i != j)
                printf("%-7s cast %-4s to %-7s %8.0f\n", table->name, dtype_name(floats[i]),
                    dtype_name(floats[j]), million_per_second(&job, seconds));
        }
    }
}

static void bench_table(const struct quant_kernels *table, double seconds)
{
    static const uint32_t bits[] = {1, 2, 3, 4, 5, 6, 8}, sizes[] = {32, 64, 128};
    struct quant_shape shape = {.mode = QUANT_AFFINE, .dtype = DTYPE_BF16};
    printf("million weights per second          quantize                     dequantize"
           "                     quantize, measure\n"
           "table   mode    bits group       BF16      F16      F32       BF16      F16      F32"
           "       BF16      F16      F32\n");
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            shape.bits = bits[i];
            shape.group_size = sizes[j];
            bench_shape(table, shape, seconds);
        }
    }
    for (enum quant_mode mode = QUANT_MXFP4; mode < QUANT_MODE_COUNT; mode++) {
        shape.mode = mode;
        quant_mode_defaults(mode, &shape.group_size, &shape.bits);
        bench_shape(table, shape, seconds);
    }
    bench_casts(table, seconds);
}

int main(int count, char **arguments)
{
    double seconds = 0.1;
    const char *only = NULL;
    for (int i = 1; i < count; i += 2) {
        if (i + 1 < count && strcmp(arguments[i], "--seconds") == 0) {
            seconds = strtod(arguments[i + 1], NULL);
        } else if (i + 1 < count && strcmp(arguments[i], "--table") == 0) {
            only = arguments[i + 1];
        } else {
            fprintf(stderr, "usage: bench_kernels [--seconds S] [--table NAME]\n");
            return 2;
        }
    }
    const struct quant_kernels *table;
    for (unsigned i = 0; (table = quant_kernels_at(i)) != NULL; i++)
        if ((table->features & ~cpu_features()) == 0 &&
            (only == NULL || strcmp(only, table->name) == 0))
            bench_table(table, seconds);
    return 0;
}
