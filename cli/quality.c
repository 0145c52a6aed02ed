/* quality.c - figures found, formatted, and found again from a file's path alone. */
#include "cli/quality.h"

#include <math.h>
#include <string.h>

struct error *quality_of_record(
    struct arena *arena, const struct record *record, struct figures *out)
{
    *out = (struct figures){0};
    if (record->figures.length == 0)
        return NULL;
    struct error *error = figures_decode(arena, record->name, record->figures, out);
    if (error == NULL || error_kind_of(error) == ERROR_MEMORY)
        return error;
    error_free(error); /* of a newer version */
    return NULL;
}

/* ---- for people and programs ---- */

const char *quality_short(struct arena *arena, const struct figures_module *module)
{
    const char *about = module->weights_measured < module->weights ? "~" : "";
    if (module->weights_measured == 0)
        return "";
    if (!(module->error_squares > 0))
        return arena_format(arena, "%sexact", about);
    return arena_format(arena, "%s%.1f dB", about, figures_sqnr(module));
}

const char *quality_long(struct arena *arena, const struct figures_module *module)
{
    const char *brief = quality_short(arena, module);
    if (brief == NULL || !(module->error_squares > 0))
        return brief;
    return arena_format(arena, "%s, relative RMSE %.3g, max error %.3g", brief,
        figures_relative_rmse(module), (double)module->error_max);
}

void quality_write(struct json_writer *writer, const struct figures_module *module)
{
    if (module->weights_measured == 0)
        return;
    if (isfinite(figures_sqnr(module)))
        json_member_double(writer, "sqnr_db", figures_sqnr(module));
    if (isfinite(figures_relative_rmse(module)))
        json_member_double(writer, "relative_rmse", figures_relative_rmse(module));
    json_member_double(writer, "error_max", (double)module->error_max);
    json_member_u64(writer, "weights_quantized", module->weights);
    json_member_u64(writer, "weights_measured", module->weights_measured);
}

/* ---- by the path of a file ---- */

static struct error *pass_over(struct error *error)
{
    if (error == NULL || error_kind_of(error) == ERROR_MEMORY)
        return error;
    error_free(error);
    return NULL;
}

static bool lies_below(const char *path, const char *directory)
{
    size_t length = strlen(directory);
    return strncmp(path, directory, length) == 0 && path[length] == '/';
}

/* The nearest directory above the file that has a state; `directory` is the file's own path cut
 * short. */
static struct error *find_state(struct quality *quality, char *directory)
{
    struct arena *arena = quality->cli->arena;
    quality->state = NULL;
    for (char *slash; (slash = strrchr(directory, '/')) != NULL;) {
        *slash = '\0';
        enum file_kind kind;
        struct file_stamp stamp;
        char *place = arena_format(arena, "%s/" STATE_DIRECTORY, directory);
        char *state = place == NULL ? NULL : arena_format(arena, "%s/state", place);
        TRY(memory_check(state));
        TRY(file_stat(state, &kind, &stamp));
        if (kind != FILE_REGULAR)
            continue;
        quality->directory = directory;
        return pass_over(state_load(arena, place, &quality->state));
    }
    return NULL;
}

static const struct record *find_record(
    const struct state *state, const char *path, const struct file_stamp *stamp)
{
    for (uint32_t i = 0; i < state->record_count; i++) {
        const struct record *record = &state->records[i];
        for (uint32_t k = 0; k < record->made_count && !record->is_gone; k++) {
            const struct state_file *file = &state->files[record->made[k].file];
            if (strcmp(file->path, path) == 0 && file_stamp_equal(&file->stamp, stamp))
                return record;
        }
    }
    return NULL;
}

static struct error *add_module(struct quality *quality, const struct figures_module *module)
{
    if (map_get(&quality->by_name, module->name) != MAP_NONE)
        return NULL;
    quality->by_name.arena = quality->cli->arena;
    quality->modules = arena_grow(quality->cli->arena, quality->modules, quality->count,
        &quality->capacity, sizeof *quality->modules);
    TRY(memory_check(quality->modules));
    quality->modules[quality->count] = *module;
    return map_put(&quality->by_name, module->name, (uint32_t)quality->count++);
}

struct error *quality_add_file(struct quality *quality, const char *path)
{
    struct arena *arena = quality->cli->arena;
    enum file_kind kind;
    struct file_stamp stamp;
    char *absolute, *cut;
    TRY(place_absolute(arena, quality->cli->place.directory, path, &absolute));
    TRY(file_stat(absolute, &kind, &stamp));
    if (quality->state == NULL || !lies_below(absolute, quality->directory)) {
        cut = arena_format(arena, "%s", absolute);
        TRY(memory_check(cut));
        TRY(find_state(quality, cut));
    }
    if (quality->state == NULL)
        return NULL;
    const struct record *record =
        find_record(quality->state, absolute + strlen(quality->directory) + 1, &stamp);
    struct figures figures = {0};
    if (record != NULL)
        TRY(quality_of_record(arena, record, &figures));
    for (uint32_t i = 0; i < figures.count; i++)
        TRY(add_module(quality, &figures.modules[i]));
    return NULL;
}

const struct figures_module *quality_find(const struct quality *quality, const char *tensor)
{
    uint32_t index = map_get(&quality->by_name, tensor);
    return index == MAP_NONE ? NULL : &quality->modules[index];
}
