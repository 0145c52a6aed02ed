/* history_manifest.c - artifact by artifact, as text. */
#include "tests/support/history_manifest.h"

#include <stdlib.h>
#include <string.h>

#include "tasks/registry.h"
#include "tests/support/history_checkpoint.h"
#include "tests/support/history_disk.h"

const struct field_row field_rows[FIELD_COUNT] = {
    [FIELD_MODEL] = {"model", 0, "01"},
    [FIELD_SECOND] = {"second", 0, "01"},
    [FIELD_DATA] = {"data", 0, "01"},
    [FIELD_SUM] = {"sum", 0, "01"},
    [FIELD_PIECES] = {"pieces", 0, "01"},
    [FIELD_OLD] = {"old", 0, "01"},
    [FIELD_LOG] = {"log", 0, "01"},
    [FIELD_MANY] = {"many", 0, "01"},
    [FIELD_VIEW] = {"view", 0, "01"},
    [FIELD_BITS] = {"bits", 4, "4848482"},
    [FIELD_GROUP_SIZE] = {"group-size", 64, "36"}, /* 32 and 64 */
    [FIELD_OVERRIDES] = {"overrides", 0, "0012"},
    [FIELD_DTYPE] = {"dtype", 0, "012"},
    [FIELD_SHARDS] = {"shards", 0, "01"},
    [FIELD_TEMPLATE] = {"template", 0, "01"},
    [FIELD_BITS_SECOND] = {"bits-second", 8, "48"},
    [FIELD_BITS_QUANT] = {"bits-quant", 4, "48"},
    [FIELD_FROM] = {"from", 0, "0112"},
    [FIELD_TASK_DATA] = {"task-data", 0, "00012234"},
    [FIELD_TASK_PIECES] = {"task-pieces", 0, "00012"},
    [FIELD_TASK_OLD] = {"task-old", 0, "00123"},
    [FIELD_TASK_LOG] = {"task-log", 0, "0012"},
    [FIELD_ROLE] = {"role", 0, "01"},
    [FIELD_NAME] = {"name", 0, "01"},
    [FIELD_NAME_MODEL] = {"name-model", 0, "01"},
    [FIELD_KEEP_VIEW] = {"keep-view", 0, "01"},
    [FIELD_KEEP_DATA] = {"keep-data", 0, "01"},
    [FIELD_KEEP_FAR] = {"keep-far", 0, "011"},
    [FIELD_CACHE] = {"cache", 0, "0112"},
    [FIELD_RULES] = {"rules", 0, "01122"},
    [FIELD_INCLUDE] = {"include", 0, "01"},
    [FIELD_DEFAULT] = {"default", 0, "01"},
    [FIELD_FAR] = {"far", 1, "12"},
};

enum field field_find(const char *name)
{
    for (enum field field = 0; field < FIELD_COUNT; field++)
        if (strcmp(field_rows[field].name, name) == 0)
            return field;
    return FIELD_NONE;
}

bool declaration_reads_far(const struct declaration *declaration)
{
    return declaration->fields[FIELD_SECOND] && declaration->fields[FIELD_FROM] == 1;
}

bool declaration_reads_hub(const struct declaration *declaration)
{
    return declaration->fields[FIELD_SECOND] && declaration->fields[FIELD_FROM] == 2;
}

/* ---- units ---- */

static const char *model_path(const int *fields)
{
    return fields[FIELD_NAME_MODEL] ? "models/O" : "models/M";
}

static const char *data_path(const int *fields)
{
    return fields[FIELD_NAME] ? "out/data2" : "out/data";
}

size_t declaration_units(const struct declaration *declaration, struct unit units[UNITS_MAX])
{
    const int *fields = declaration->fields;
    bool has_default = fields[FIELD_DEFAULT];
    bool goes = fields[FIELD_KEEP_DATA] && fields[FIELD_SUM];
    bool is_kept = fields[FIELD_VIEW] && fields[FIELD_KEEP_VIEW];
    const struct {
        bool is_there;
        struct unit unit;
    } all[] = {
        {fields[FIELD_MODEL], {model_path(fields), true, false, true}},
        {fields[FIELD_SECOND], {"models/N", true, false, true}},
        {fields[FIELD_DATA], {data_path(fields), false, goes, true}},
        {fields[FIELD_DATA] && fields[FIELD_SUM], {"out/sum", false, false, true}},
        {fields[FIELD_PIECES], {"out/pieces", false, false, true}},
        {fields[FIELD_OLD], {"out/old", false, false, true}},
        {fields[FIELD_LOG], {"out/log", false, false, true}},
        {fields[FIELD_MANY], {"many", true, false, !has_default}},
        {is_kept, {"merged/w.safetensors", false, false, !has_default}},
        {fields[FIELD_VIEW], {"quant/w.safetensors", false, false, !has_default}},
        {fields[FIELD_SECOND] && fields[FIELD_FROM] != 0,
            {"quant/third.safetensors", false, false, !has_default}},
    };
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].is_there)
            units[count++] = all[i].unit;
    return count;
}

/* ---- text ---- */

struct printer {
    struct arena *arena;
    const struct declaration *declaration;
    bool is_reference;
    char *artifacts[2]; /* of the manifest itself, and of the one that it includes */
    size_t count;
};

/* Every other one may go into the included manifest. */
static void add(struct printer *printer, const char *name, const char *body)
{
    bool may_split = printer->declaration->fields[FIELD_INCLUDE] && !printer->is_reference;
    char **to = &printer->artifacts[may_split && printer->count++ % 2 == 0];
    *to = arena_format(
        printer->arena, "%s%s\n    \"%s\": %s", *to, **to == '\0' ? "" : ",", name, body);
}

static void add_exec(
    struct printer *printer, const char *name, const char *roles, const char *script)
{
    const char *second = strstr(roles, "\"b\":") == NULL ? "" : ", \"${in.b}\"";
    add(printer, name,
        arena_format(printer->arena,
            "{\"task\": \"exec\", \"in\": {%s}, \"with\": {\"command\": [\"sh\", \"-c\", \"%s\", "
            "\"${out}\", \"${in.a}\"%s]}}",
            roles, script, second));
}

/* Made by task number `task` from `input`; `more`: further members. */
static void add_file(
    struct printer *printer, const char *name, int task, const char *input, const char *more)
{
    static const char *const scripts[] = {"", "tr a-z A-Z <$$1 >$$0", "cat $$1 $$1 >$$0",
        "head -c 100 $$1 >$$0", "yes zero | head -c 9000000 >$$0"};
    if (task > 0 && task <= 4)
        add(printer, name,
            arena_format(printer->arena,
                "{\"task\": \"exec\", \"in\": {\"a\": \"%s\"}, \"with\": {\"command\": [\"sh\", "
                "\"-c\", \"%s\", \"${out}\", \"${in.a}\"]}%s}",
                input, scripts[task], more));
    else
        add(printer, name,
            arena_format(printer->arena, "{\"task\": \"copy\", \"in\": {\"files\": \"%s\"}%s}",
                input, more));
}

static void add_model(struct printer *printer)
{
    static const char *const overrides[] = {"",
        ", \"overrides\": [{\"match\": \"model.layers.{i}.mlp.down_proj\", \"bits\": 8}]",
        ", \"overrides\": [{\"match\": \"*self_attn*\", \"quantize\": false}]"};
    static const char *const types[] = {"", ", \"dtype\": \"float16\"", ", \"dtype\": \"float32\""};
    const int *fields = printer->declaration->fields;
    add(printer, model_path(fields),
        arena_format(printer->arena,
            "{\"recipe\": \"mlx\", \"from\": \"src\", \"with\": {\"bits\": %d, \"group_size\": "
            "%d%s%s%s%s}}",
            fields[FIELD_BITS], fields[FIELD_GROUP_SIZE], overrides[fields[FIELD_OVERRIDES] % 3],
            types[fields[FIELD_DTYPE] % 3],
            fields[FIELD_SHARDS] ? ", \"max_shard_size\": \"10K\"" : "",
            fields[FIELD_TEMPLATE] ? ", \"chat_template\": \"raw/template.jinja\"" : ""));
}

static void add_second(struct printer *printer)
{
    static const char *const sources[] = {"src", "far", "hub"};
    const int *fields = printer->declaration->fields;
    const char *from = sources[fields[FIELD_FROM] % 3];
    add(printer, "models/N",
        arena_format(printer->arena,
            "{\"recipe\": \"mlx\", \"from\": \"%s\", \"with\": {\"bits\": %d}}", from,
            fields[FIELD_BITS_SECOND]));
}

/* A second reader of a source that is fetched: what it keeps until it is used both must have had.
 */
static void add_third(struct printer *printer)
{
    const int *fields = printer->declaration->fields;
    if (fields[FIELD_FROM] == 0)
        return;
    add(printer, "quant/third.safetensors",
        arena_format(printer->arena,
            "{\"task\": \"quantize\", \"in\": {\"weights\": \"%s/model*.safetensors\", "
            "\"config\": \"%s/config.json\"}, \"with\": {\"bits\": %d}}",
            fields[FIELD_FROM] == 1 ? "far" : "hub", fields[FIELD_FROM] == 1 ? "far" : "hub",
            fields[FIELD_BITS_QUANT]));
}

static void add_many(struct printer *printer)
{
    add(printer, "many/*",
        "{\"task\": \"copy\", \"in\": {\"files\": \"raw/many/*\"}, \"group\": \"many\"}");
    add(printer, "many/sum/zz",
        "{\"task\": \"exec\", \"in\": {\"a\": \"raw/many/config.json\"}, \"with\": {\"command\": "
        "[\"sh\", \"-c\", \"cksum <$$1 >$$0\", \"${out}\", \"${in.a}\"]}, \"group\": \"many\"}");
}

static void add_view(struct printer *printer)
{
    const int *fields = printer->declaration->fields;
    add(printer, "merged/w.safetensors",
        arena_format(printer->arena,
            "{\"task\": \"merge\", \"in\": {\"weights\": \"src/model*.safetensors\"}%s}",
            fields[FIELD_KEEP_VIEW] ? "" : ", \"keep\": \"never\""));
    add(printer, "quant/w.safetensors",
        arena_format(printer->arena,
            "{\"task\": \"quantize\", \"in\": {\"weights\": \"merged/w.safetensors\", "
            "\"config\": \"src/config.json\"}, \"with\": {\"bits\": %d}}",
            fields[FIELD_BITS_QUANT]));
}

static void add_data(struct printer *printer)
{
    const int *fields = printer->declaration->fields;
    bool goes = fields[FIELD_KEEP_DATA] && fields[FIELD_SUM] && !printer->is_reference;
    add_file(printer, data_path(fields), fields[FIELD_TASK_DATA],
        fields[FIELD_ROLE] ? "raw/b.bin" : "raw/a.bin", goes ? ", \"keep\": \"until-used\"" : "");
    if (fields[FIELD_SUM])
        add_exec(printer, "out/sum",
            arena_format(printer->arena, "\"a\": \"%s\", \"b\": \"raw/b.bin\"", data_path(fields)),
            "cat $$1 $$2 | cksum >$$0");
}

static void add_artifacts(struct printer *printer)
{
    const int *fields = printer->declaration->fields;
    if (fields[FIELD_MODEL])
        add_model(printer);
    if (fields[FIELD_SECOND]) {
        add_second(printer);
        add_third(printer);
    }
    if (fields[FIELD_DATA])
        add_data(printer);
    if (fields[FIELD_PIECES])
        add_file(printer, "out/pieces", fields[FIELD_TASK_PIECES], "raw/a.bin", "");
    if (fields[FIELD_OLD])
        add_file(printer, "out/old", fields[FIELD_TASK_OLD], "raw/b.bin", "");
    if (fields[FIELD_LOG])
        add_file(printer, "out/log", fields[FIELD_TASK_LOG], "raw/b.bin", "");
    if (fields[FIELD_MANY])
        add_many(printer);
    if (fields[FIELD_VIEW])
        add_view(printer);
}

/* ---- sources ---- */

static const char *print_far(struct printer *printer)
{
    struct arena *arena = printer->arena;
    const struct declaration *declaration = printer->declaration;
    const char *place = printer->is_reference ? "elsewhere" : "store";
    char *files = arena_format(arena, "%s", "");
    for (size_t i = 0; checkpoint_files[i] != NULL; i++) {
        char *identity = NULL;
        struct error *error = registry.identify(arena,
            arena_format(arena, "%s/elsewhere/%d/%s", declaration->run,
                declaration->fields[FIELD_FAR], checkpoint_files[i]),
            "sha256:", &identity);
        if (error != NULL)
            disk_give_up("%s", error_report(error));
        files = arena_format(arena,
            "%s%s\n        \"%s\": {\"url\": \"file://%s/%s/%d/%s\", \"hash\": \"%s\"}", files,
            i == 0 ? "" : ",", checkpoint_files[i], declaration->run, place,
            declaration->fields[FIELD_FAR], checkpoint_files[i], identity);
    }
    return arena_format(arena, ",\n    \"far\": {\"files\": {%s}", files);
}

static const char *print_sources(struct printer *printer)
{
    const struct declaration *declaration = printer->declaration;
    bool goes = declaration->fields[FIELD_KEEP_FAR] && !printer->is_reference;
    const char *keep = goes ? ", \"keep\": \"until-used\"}" : "}", *more = "";
    if (declaration_reads_far(declaration))
        more = arena_format(printer->arena, "%s%s", print_far(printer), keep);
    else if (declaration_reads_hub(declaration))
        more = arena_format(printer->arena, ",\n    \"hub\": {\"hub\": \"test/model\"%s", keep);
    return arena_format(
        printer->arena, "    \"src\": {\"dir\": \"src\"}, \"raw\": {\"dir\": \"raw\"}%s", more);
}

static const char *print_members(struct printer *printer)
{
    const int *fields = printer->declaration->fields;
    static const char *const caches[] = {"", "\"cache\": {\"path\": \"cache\"},\n",
        "\"cache\": {\"path\": \"cache\", \"size\": \"100K\"},\n"};
    bool has_models = fields[FIELD_MODEL] || fields[FIELD_SECOND];
    bool has_out =
        fields[FIELD_DATA] || fields[FIELD_PIECES] || fields[FIELD_OLD] || fields[FIELD_LOG];
    bool has_default = fields[FIELD_DEFAULT] && !printer->is_reference && (has_models || has_out);
    return arena_format(printer->arena, "%s%s%s%s",
        printer->is_reference ? "" : caches[fields[FIELD_CACHE] % 3],
        fields[FIELD_RULES] ? "\"rules\": \"rules\",\n" : "",
        fields[FIELD_INCLUDE] && !printer->is_reference ? "\"include\": [\"more.json\"],\n" : "",
        !has_default            ? ""
        : has_models && has_out ? "\"default\": [\"models\", \"out\"],\n"
        : has_models            ? "\"default\": [\"models\"],\n"
                                : "\"default\": [\"out\"],\n");
}

const char *declaration_print(struct arena *arena, const struct declaration *declaration,
    bool is_reference, const char **included)
{
    char *empty = arena_format(arena, "%s", "");
    struct printer printer = {.arena = arena,
        .declaration = declaration,
        .is_reference = is_reference,
        .artifacts = {empty, empty}};
    add_artifacts(&printer);
    *included =
        !declaration->fields[FIELD_INCLUDE] || is_reference
            ? NULL
            : arena_format(arena, "{\"psybuild\": 1, \"artifacts\": {%s}}\n", printer.artifacts[1]);
    return arena_format(arena, "{\"psybuild\": 1,\n%s\"sources\": {\n%s},\n\"artifacts\": {%s}}\n",
        print_members(&printer), print_sources(&printer), printer.artifacts[0]);
}
