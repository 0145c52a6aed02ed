/* figures.c - sums of errors to wire fields and back, and what is derived of them (figures.h). */
#include "tasks/figures.h"

#include <math.h>
#include <string.h>

#include "base/number.h"
#include "base/wire.h"

enum { FIGURES_VERSION = 1, MODULE_BYTES_MIN = 4 + 1 + 8 + 8 + 8 + 8 + 4 };

static uint64_t double_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static double double_of_bits(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool is_sum(double value)
{
    return isfinite(value) && value >= 0;
}

/* ---- a piece ---- */

void figures_encode_piece(const struct quant_error *error, unsigned char bytes[FIGURES_PIECE_BYTES])
{
    store_le64(bytes, double_bits(error->error_squares));
    store_le64(bytes + 8, double_bits(error->weight_squares));
    store_le64(bytes + 16, error->rows_left_out);
    store_le32(bytes + 24, float_bits(error->error_max));
}

/* The bytes come from a log that may hold anything: what cannot be is taken as not measured. */
void figures_add_piece(
    struct figures_module *module, uint64_t rows, uint64_t columns, struct text result)
{
    module->weights += rows * columns;
    if (result.length != FIGURES_PIECE_BYTES)
        return;
    double error_squares = double_of_bits(load_le64(result.bytes));
    double weight_squares = double_of_bits(load_le64(result.bytes + 8));
    uint64_t rows_left_out = load_le64(result.bytes + 16);
    float error_max = float_of_bits(load_le32(result.bytes + 24));
    if (rows_left_out > rows || !is_sum(error_squares) || !is_sum(weight_squares) ||
        !is_sum((double)error_max))
        return;
    module->weights_measured += (rows - rows_left_out) * columns;
    module->error_squares += error_squares;
    module->weight_squares += weight_squares;
    module->error_max = error_max > module->error_max ? error_max : module->error_max;
}

/* ---- all modules ---- */

static void put_figures(struct buffer *writer, const struct figures *figures)
{
    wire_put_u32(writer, FIGURES_VERSION);
    wire_put_u32(writer, figures->count);
    for (uint32_t i = 0; i < figures->count; i++) {
        const struct figures_module *module = &figures->modules[i];
        wire_put_name(writer, module->name);
        wire_put_u64(writer, module->weights);
        wire_put_u64(writer, module->weights_measured);
        wire_put_u64(writer, double_bits(module->error_squares));
        wire_put_u64(writer, double_bits(module->weight_squares));
        wire_put_u32(writer, float_bits(module->error_max));
    }
}

struct error *figures_encode(struct arena *arena, const struct figures *figures, struct text *out)
{
    struct buffer writer = {0};
    put_figures(&writer, figures);
    return buffer_take(&writer, arena, out);
}

static void get_module(struct wire_reader *reader, struct figures_module *out)
{
    out->name = wire_get_name(reader);
    out->weights = wire_get_u64(reader);
    out->weights_measured = wire_get_u64(reader);
    out->error_squares = double_of_bits(wire_get_u64(reader));
    out->weight_squares = double_of_bits(wire_get_u64(reader));
    out->error_max = float_of_bits(wire_get_u32(reader));
    if (out->weights_measured > out->weights || !is_sum(out->error_squares) ||
        !is_sum(out->weight_squares) || !is_sum((double)out->error_max))
        reader->failed = true;
}

struct error *figures_decode(
    struct arena *arena, const char *path, struct text bytes, struct figures *out)
{
    struct wire_reader reader = {(const unsigned char *)bytes.bytes, bytes.length, 0, false};
    struct figures figures = {0};
    if (wire_get_u32(&reader) != FIGURES_VERSION)
        reader.failed = true;
    figures.count = wire_get_count(&reader, MODULE_BYTES_MIN);
    figures.modules = arena_array(arena, figures.count, sizeof *figures.modules);
    TRY(memory_check(figures.modules));
    for (uint32_t i = 0; i < figures.count && wire_reader_good(&reader); i++)
        get_module(&reader, &figures.modules[i]);
    if (!wire_reader_done(&reader))
        return error_new(ERROR_FORMAT,
            "%s: its figures must be figures of version %d, not %zu other bytes", path,
            FIGURES_VERSION, bytes.length);
    *out = figures;
    return NULL;
}

/* ---- what is derived ---- */

struct figures_module figures_total(const struct figures *figures)
{
    struct figures_module total = {.name = ""};
    for (uint32_t i = 0; i < figures->count; i++) {
        const struct figures_module *module = &figures->modules[i];
        total.weights += module->weights;
        total.weights_measured += module->weights_measured;
        total.error_squares += module->error_squares;
        total.weight_squares += module->weight_squares;
        if (module->error_max > total.error_max)
            total.error_max = module->error_max;
    }
    return total;
}

double figures_relative_rmse(const struct figures_module *module)
{
    return module->error_squares > 0 ? sqrt(module->error_squares / module->weight_squares) : 0;
}

double figures_sqnr(const struct figures_module *module)
{
    return module->error_squares > 0
               ? 10 * number_log10(module->weight_squares / module->error_squares)
               : (double)INFINITY;
}
