/* tool_expand.c - `-t expand`: recipes and variables written out, itself a valid manifest. */
#include "cli/tool_table.h"

static struct error *run(struct cli *cli)
{
    struct tool_words words;
    const char *const *targets;
    struct manifest *manifest;
    struct text text;
    struct manifest_options options = {.path = cli->build_options.manifest,
        .data_directory = cli->build_options.data_directory,
        .settings = cli->build_options.settings,
        .setting_count = cli->build_options.setting_count};
    TRY(tool_words(cli, NULL, &words));
    TRY(tool_expect_words(cli, &words, 0, 1));
    TRY(tool_targets(cli, &words, &targets));
    TRY(manifest_load(cli->arena, cli->registry, &options, &manifest));
    bool is_whole = words.count == 0 || targets[0][0] == '\0';
    TRY(manifest_expand(cli->arena, manifest, is_whole ? NULL : targets[0], &text));
    terminal_put_text(cli->terminal, text);
    terminal_say(cli->terminal, TONE_PLAIN, "%s", "");
    return NULL;
}

const struct tool tool_expand = {.name = "expand",
    .usage = "[TARGET]",
    .help = "recipes and variables written out",
    .needs_manifest = true,
    .run = run};
