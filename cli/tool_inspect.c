/* tool_inspect.c - `-t inspect`: the tensors of a safetensors file or a model directory. */
#include <inttypes.h>
#include <string.h>

#include "base/directory.h"
#include "base/file_whole.h"
#include "base/json_write.h"
#include "cli/quality.h"
#include "cli/tool_table.h"
#include "tasks/formats/safetensors.h"

enum { CONFIG_BYTES_MAX = 16 << 20, NAME_WIDTH_MAX = 64 };

struct inspection {
    struct cli *cli;
    const struct safetensors **files;
    size_t file_count, file_capacity;
    const struct json *config; /* config.json of a directory; or NULL */
    uint64_t tensors, tensor_bytes, file_bytes;
    uint64_t parameters; /* logical weights; 0: not known */
    uint64_t counts[DTYPE_COUNT], bytes[DTYPE_COUNT];
    struct quality quality;      /* where psybuild made the files */
    struct figures_module total; /* of the tensors that it knows about */
};

/* ---- reading ---- */

static struct error *add_file(struct inspection *inspection, const char *path)
{
    struct arena *arena = inspection->cli->arena;
    struct file *file;
    struct safetensors *parsed;
    TRY(file_open(path, &file));
    struct error *error = safetensors_read(arena, file, &parsed);
    file_close(file);
    TRY(error);
    inspection->files = arena_grow(arena, inspection->files, inspection->file_count,
        &inspection->file_capacity, sizeof *inspection->files);
    TRY(memory_check(inspection->files));
    inspection->files[inspection->file_count++] = parsed;
    return quality_add_file(&inspection->quality, path);
}

static struct error *read_config(struct inspection *inspection, const char *directory)
{
    struct arena *arena = inspection->cli->arena;
    const struct json_document *document;
    struct text text = {0};
    char *path = path_join(arena, directory, "config.json");
    TRY(memory_check(path));
    TRY(error_forgive(file_read_whole(arena, path, CONFIG_BYTES_MAX, &text), ERROR_MISSING));
    if (text.bytes == NULL)
        return NULL;
    TRY(json_parse(arena, path, text, JSON_TOLERANT, &document));
    inspection->config = &document->root;
    return NULL;
}

static struct error *read_directory(struct inspection *inspection, const char *path)
{
    struct file_entry *entries;
    size_t count;
    TRY(file_list_directory(inspection->cli->arena, path, &entries, &count));
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind != FILE_REGULAR || entries[i].name[0] == '.' ||
            !text_ends_with(text_of(entries[i].name), ".safetensors"))
            continue;
        char *file = path_join(inspection->cli->arena, path, entries[i].name);
        TRY(memory_check(file));
        TRY(add_file(inspection, file));
    }
    if (inspection->file_count == 0)
        return error_new(ERROR_MISSING, "%s: no safetensors file in it", path);
    return read_config(inspection, path);
}

/* ---- counting ---- */

static uint64_t count_elements(const struct tensor *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

static const struct tensor *find_sibling(
    const struct inspection *inspection, const char *name, const char *from, const char *to)
{
    size_t length = strlen(name) - strlen(from);
    char *sibling = arena_format(inspection->cli->arena, "%.*s%s", (int)length, name, to);
    for (size_t i = 0; sibling != NULL && i < inspection->file_count; i++) {
        const struct tensor *tensor = safetensors_find(inspection->files[i], sibling);
        if (tensor != NULL)
            return tensor;
    }
    return NULL;
}

static bool ends_with(const char *name, const char *suffix)
{
    return text_ends_with(text_of(name), suffix);
}

/* Weights that share a scale: the module's own entry in config.json, else the model's; 0: none. */
static uint64_t group_size_of(const struct inspection *inspection, const char *name)
{
    const struct json *quantization = json_get(inspection->config, "quantization");
    size_t length = strlen(name) - strlen(".weight");
    char *module = arena_format(inspection->cli->arena, "%.*s", (int)length, name);
    const struct json *own = module == NULL ? NULL : json_get(quantization, module);
    const struct json *size = json_get(own == NULL ? quantization : own, "group_size");
    int64_t value;
    return json_to_i64(size, &value) && value > 0 ? (uint64_t)value : 0;
}

/* The weights that a tensor stands for: packed codes for as many as their scales serve. */
static bool count_parameters(
    const struct inspection *inspection, const struct tensor *tensor, uint64_t *out)
{
    *out = 0;
    if (ends_with(tensor->name, ".scales") &&
        find_sibling(inspection, tensor->name, ".scales", ".weight") != NULL)
        return true;
    if (ends_with(tensor->name, ".biases") &&
        find_sibling(inspection, tensor->name, ".biases", ".scales") != NULL)
        return true;
    const struct tensor *scales = NULL;
    if (tensor->dtype == DTYPE_U32 && ends_with(tensor->name, ".weight"))
        scales = find_sibling(inspection, tensor->name, ".weight", ".scales");
    uint64_t group_size = scales == NULL ? 0 : group_size_of(inspection, tensor->name);
    *out = scales == NULL ? count_elements(tensor) : count_elements(scales) * group_size;
    return scales == NULL || group_size > 0;
}

static void add_quality(struct inspection *inspection, const struct tensor *tensor)
{
    const struct figures_module *known = quality_find(&inspection->quality, tensor->name);
    if (known == NULL)
        return;
    struct figures_module both[] = {inspection->total, *known};
    inspection->total = figures_total(&(struct figures){both, 2});
}

static void count_all(struct inspection *inspection)
{
    bool is_known = true;
    for (size_t i = 0; i < inspection->file_count; i++) {
        const struct safetensors *file = inspection->files[i];
        inspection->file_bytes += file->file_size;
        for (size_t k = 0; k < file->count; k++) {
            const struct tensor *tensor = &file->tensors[k];
            uint64_t parameters;
            inspection->tensors++;
            inspection->tensor_bytes += tensor->size_bytes;
            inspection->counts[tensor->dtype]++;
            inspection->bytes[tensor->dtype] += tensor->size_bytes;
            is_known &= count_parameters(inspection, tensor, &parameters);
            inspection->parameters += parameters;
            add_quality(inspection, tensor);
        }
    }
    if (!is_known)
        inspection->parameters = 0;
}

static double bits_per_weight(const struct inspection *inspection)
{
    return (double)inspection->tensor_bytes * 8 / (double)inspection->parameters;
}

/* ---- for people ---- */

/* "8.19 B", "135 M": parameters, in powers of 1000. */
static char *print_count(struct arena *arena, uint64_t count)
{
    static const char *const units[] = {"", " K", " M", " B", " T"};
    double value = (double)count;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000;
        unit++;
    }
    int digits = unit == 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2;
    return arena_format(arena, "%.*f%s", digits, value, units[unit]);
}

static int name_width(const struct safetensors *file)
{
    size_t width = 0;
    for (size_t i = 0; i < file->count; i++) {
        size_t length = strlen(file->tensors[i].name);
        if (length > width && length <= NAME_WIDTH_MAX)
            width = length;
    }
    return (int)width;
}

static struct error *say_file(const struct inspection *inspection, const struct safetensors *file)
{
    struct terminal *terminal = inspection->cli->terminal;
    char size[SIZE_TEXT_MAX], header[SIZE_TEXT_MAX];
    int width = name_width(file);
    terminal_put(terminal, TONE_BOLD, "%s", file->path);
    terminal_say(terminal, TONE_PLAIN, ": %zu tensors, %s, of it header %s", file->count,
        size_print(size, file->file_size), size_print(header, file->data_start));
    for (size_t i = 0; i < file->metadata_count; i++)
        terminal_say(terminal, TONE_DIM, "  %s = %s", file->metadata[i].key.bytes,
            file->metadata[i].value.bytes);
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *tensor = file->tensors_by_name[i];
        char *shape = safetensors_shape_text(inspection->cli->arena, tensor->rank, tensor->shape);
        const struct figures_module *known = quality_find(&inspection->quality, tensor->name);
        const char *quality = known == NULL ? "" : quality_long(inspection->cli->arena, known);
        if (shape == NULL || quality == NULL)
            return error_memory();
        terminal_say(terminal, TONE_PLAIN, "  %-*s  %-8s %-18s %8s%s%s", width, tensor->name,
            dtype_name(tensor->dtype), shape, size_print(size, tensor->size_bytes),
            quality[0] == '\0' ? "" : "  ", quality);
    }
    return NULL;
}

static void say_config(const struct inspection *inspection)
{
    struct terminal *terminal = inspection->cli->terminal;
    struct arena *arena = inspection->cli->arena;
    const struct json *type = json_get(inspection->config, "model_type");
    const struct json *quantization = json_get(inspection->config, "quantization");
    if (type != NULL)
        terminal_say(terminal, TONE_PLAIN, "model type %s", json_show(arena, type));
    if (quantization != NULL)
        terminal_say(terminal, TONE_PLAIN, "quantized: bits %s, group size %s, mode %s",
            json_show(arena, json_get(quantization, "bits")),
            json_show(arena, json_get(quantization, "group_size")),
            json_show(arena, json_get(quantization, "mode")));
}

static struct error *say_totals(const struct inspection *inspection)
{
    struct terminal *terminal = inspection->cli->terminal;
    char size[SIZE_TEXT_MAX];
    for (unsigned i = 0; i < DTYPE_COUNT; i++)
        if (inspection->counts[i] > 0)
            terminal_say(terminal, TONE_PLAIN, "%-8s %6" PRIu64 " tensor%s %8s",
                dtype_name((enum dtype)i), inspection->counts[i],
                inspection->counts[i] == 1 ? ", " : "s,", size_print(size, inspection->bytes[i]));
    say_config(inspection);
    terminal_put(terminal, TONE_BOLD, "%" PRIu64 " tensors, %s", inspection->tensors,
        size_print(size, inspection->tensor_bytes));
    if (inspection->parameters > 0) {
        char *count = print_count(inspection->cli->arena, inspection->parameters);
        TRY(memory_check(count));
        terminal_put(terminal, TONE_BOLD, ", %s weights, %.3f bits per weight", count,
            bits_per_weight(inspection));
    }
    const char *quality = quality_long(inspection->cli->arena, &inspection->total);
    TRY(memory_check(quality));
    terminal_say(terminal, TONE_BOLD, "%s%s", quality[0] == '\0' ? "" : ", ", quality);
    return NULL;
}

/* ---- for programs ---- */

static void write_tensor(
    struct json_writer *writer, const struct tensor *tensor, const struct figures_module *known)
{
    json_write_object_begin(writer);
    json_member_string(writer, "name", tensor->name);
    json_member_string(writer, "dtype", dtype_name(tensor->dtype));
    json_member_array_begin(writer, "shape");
    for (uint32_t i = 0; i < tensor->rank; i++)
        json_write_u64(writer, tensor->shape[i]);
    json_write_array_end(writer);
    json_member_u64(writer, "offset", tensor->offset);
    json_member_u64(writer, "size_bytes", tensor->size_bytes);
    if (known != NULL)
        quality_write(writer, known);
    json_write_object_end(writer);
}

static void write_file(
    struct json_writer *writer, const struct inspection *inspection, const struct safetensors *file)
{
    json_write_object_begin(writer);
    json_member_string(writer, "path", file->path);
    json_member_u64(writer, "size_bytes", file->file_size);
    json_member_u64(writer, "data_start", file->data_start);
    json_member_object_begin(writer, "metadata");
    for (size_t i = 0; i < file->metadata_count; i++) {
        json_write_key(writer, file->metadata[i].key);
        json_write_text(writer, file->metadata[i].value);
    }
    json_write_object_end(writer);
    json_member_array_begin(writer, "tensors");
    for (size_t i = 0; i < file->count; i++)
        write_tensor(writer, file->tensors_by_name[i],
            quality_find(&inspection->quality, file->tensors_by_name[i]->name));
    json_write_array_end(writer);
    json_write_object_end(writer);
}

static struct error *write_all(const struct inspection *inspection)
{
    struct json_writer *writer = json_writer_new(inspection->cli->arena, &JSON_STYLE_PRETTY);
    struct text text;
    TRY(memory_check(writer));
    json_write_object_begin(writer);
    json_member_array_begin(writer, "files");
    for (size_t i = 0; i < inspection->file_count; i++)
        write_file(writer, inspection, inspection->files[i]);
    json_write_array_end(writer);
    json_member_u64(writer, "tensor_count", inspection->tensors);
    json_member_u64(writer, "tensor_bytes", inspection->tensor_bytes);
    if (inspection->parameters > 0) {
        json_member_u64(writer, "parameters", inspection->parameters);
        json_member_double(writer, "bits_per_weight", bits_per_weight(inspection));
    }
    quality_write(writer, &inspection->total);
    json_write_object_end(writer);
    TRY(json_writer_finish(writer, &text));
    terminal_put_text(inspection->cli->terminal, text);
    terminal_say(inspection->cli->terminal, TONE_PLAIN, "%s", "");
    return NULL;
}

/* ---- the whole ---- */

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    struct inspection inspection = {.cli = cli, .quality = {.cli = cli}, .total = {.name = ""}};
    enum file_kind kind;
    struct file_stamp stamp;
    TRY(tool_words(cli, "json", &words));
    TRY(tool_expect_words(cli, &words, 1, 1));
    TRY(file_stat(words.items[0], &kind, &stamp));
    TRY(kind == FILE_DIRECTORY ? read_directory(&inspection, words.items[0])
                               : add_file(&inspection, words.items[0]));
    count_all(&inspection);
    if (words.has_flag)
        return write_all(&inspection);
    for (size_t i = 0; i < inspection.file_count; i++)
        TRY(say_file(&inspection, inspection.files[i]));
    return say_totals(&inspection);
}

const struct tool tool_inspect = {.name = "inspect",
    .usage = "[--json] FILE|DIR",
    .help = "tensors, shapes, types and sizes of weights",
    .run = run};
