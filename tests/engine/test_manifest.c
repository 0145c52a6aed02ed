/* test_manifest.c - the manifest's text: what is wrong with it, said with its place, and what comes
 * out when nothing is. */
#include "engine/manifest/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "tasks/registry.h"
#include "tests/support/project.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

struct row {
    const char *text, *want; /* a part of the manifest, and the whole report */
};

static int begin(void **state)
{
    int result = tree_begin(state);
    if (result != 0)
        return result;
    tree_write("src/a.json", "{}");
    tree_write("i.json", "{\"psybuild\": 1}");
    tree_write("v.json", "{\"psybuild\": 1, \"vars\": {\"v\": 2}}");
    tree_write("s.json", "{\"psybuild\": 1, \"sources\": {\"s/t\": {\"dir\": \"src\"}}}");
    tree_write("broken.json", "{\"psybuild\": 1,\n\"artifacts\": [}");
    tree_write("loop/a.json", "{\"psybuild\": 1, \"include\": [\"./b.json\"]}");
    tree_write("loop/b.json", "{\"psybuild\": 1, \"include\": [\"../loop/a.json\"]}");
    tree_write("recipes/r.json",
        "{\"params\": {\"bits\": {\"type\": \"integer\"}},\n"
        "\"artifacts\": {\"${dir}/m\": {\"task\": \"quantize\", \"in\": {\"weights\": \"w\", "
        "\"config\": \"c\"},\n\"with\": {\"bits\": \"${bits}\"}}}}");
    tree_write("recipes/into.json", "{\"artifacts\":\n{\"${from}/b\": {\"task\": \"copy\"}}}");
    tree_write("recipes/outside.json",
        "{\"artifacts\": {\"e/b\":\n{\"task\": \"copy\", \"in\": {\"files\": \"a\"}}}}");
    tree_write("recipes/name.json", "{\"artifacts\":\n{\"${dir}/../b\": {\"task\": \"copy\"}}}");
    tree_write("recipes/task.json", "{\"artifacts\": {\"${dir}/b\":\n{\"task\": \"copi\"}}}");
    tree_write("recipes/broken.json", "{\"artifacts\":\n}");
    return 0;
}

static void check_rows(const struct row *rows, size_t count, const char *before, const char *after)
{
    for (size_t i = 0; i < count; i++) {
        struct project project = {0};
        char text[2048];
        snprintf(text, sizeof text, "%s%s%s", before, rows[i].text, after);
        struct error *error = project_load(&project, text);
        if (error == NULL || strcmp(error_report(error), rows[i].want) != 0)
            print_error("row %zu: %s\n", i, rows[i].text);
        tree_assert_report(error, rows[i].want);
        assert_null(project.manifest);
        project_end(&project);
    }
}

static void a_text_that_is_no_manifest_is_refused(void **state)
{
    static const struct row rows[] = {
        {"", "psybuild.json:1:1: expected a value, found end of text\n"},
        {"[]", "psybuild.json:1:1: a manifest must be an object, not a list\n"
               "    []\n"
               "    ^\n"},
        {"{\"psybuild\": 1,}", "psybuild.json:1:16: expected a key, found '}'\n"
                               "    {\"psybuild\": 1,}\n"
                               "                   ^\n"},
        {"{}", "psybuild.json:1:1: a manifest needs \"psybuild\": 1\n"
               "    {}\n"
               "    ^\n"},
        {"{\"psybuild\": 2}", "psybuild.json:1:14: \"psybuild\" must be 1, not 2\n"
                              "    {\"psybuild\": 2}\n"
                              "                 ^\n"},
        {"{\"psybuild\": \"1\"}", "psybuild.json:1:14: \"psybuild\" must be 1, not \"1\"\n"
                                  "    {\"psybuild\": \"1\"}\n"
                                  "                 ^\n"},
        {"{\"psybuild\": 1.0}", "psybuild.json:1:14: \"psybuild\" must be 1, not 1.0\n"
                                "    {\"psybuild\": 1.0}\n"
                                "                 ^\n"},
        {"{\"psybuild\": 1, \"psybuild\": 1}", "psybuild.json:1:17: duplicate key \"psybuild\"\n"
                                               "    {\"psybuild\": 1, \"psybuild\": 1}\n"
                                               "                    ^\n"},
        {"// a comment\n"
         "/* two\n"
         "   lines */ {\"psybuild\": 3}",
            "psybuild.json:3:26: \"psybuild\" must be 1, not 3\n"
            "    lines */ {\"psybuild\": 3}\n"
            "                          ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), "", "");
}

static void the_top_level_is_checked(void **state)
{
    static const struct row rows[] = {
        {"\"artefacts\": {}", "psybuild.json:2:1: unknown key \"artefacts\" in a manifest; did you "
                              "mean \"artifacts\"?\n"
                              "    \"artefacts\": {}\n"
                              "    ^\n"},
        {"\"zzz\": {}", "psybuild.json:2:1: unknown key \"zzz\" in a manifest\n"
                        "    \"zzz\": {}\n"
                        "    ^\n"},
        {"\"artifacts\": []", "psybuild.json:2:14: \"artifacts\" must be an object, not a list\n"
                              "    \"artifacts\": []\n"
                              "                 ^\n"},
        {"\"sources\": 1", "psybuild.json:2:12: \"sources\" must be an object, not 1\n"
                           "    \"sources\": 1\n"
                           "               ^\n"},
        {"\"vars\": []", "psybuild.json:2:9: \"vars\" must be an object, not a list\n"
                         "    \"vars\": []\n"
                         "            ^\n"},
        {"\"vars\": {\"n\": 9007199254740993}",
            "psybuild.json:2:15: expected an integer of at most 2^53, found 9007199254740993\n"
            "    \"vars\": {\"n\": 9007199254740993}\n"
            "                  ^\n"},
        {"\"default\": \"out\"", "psybuild.json:2:12: \"default\" must be a list, not \"out\"\n"
                                 "    \"default\": \"out\"\n"
                                 "               ^\n"},
        {"\"default\": [1]", "psybuild.json:2:13: \"default\" must be a string, not 1\n"
                             "    \"default\": [1]\n"
                             "                ^\n"},
        {"\"include\": \"x\"", "psybuild.json:2:12: \"include\" must be a list, not \"x\"\n"
                               "    \"include\": \"x\"\n"
                               "               ^\n"},
        {"\"include\": [1]", "psybuild.json:2:13: \"include\" must be a string, not 1\n"
                             "    \"include\": [1]\n"
                             "                ^\n"},
        {"\"rules\": 1", "psybuild.json:2:10: \"rules\" must be a string, not 1\n"
                         "    \"rules\": 1\n"
                         "             ^\n"},
        {"\"rules\": \"../rules\"",
            "psybuild.json:2:10: \"rules\" must be a path inside the manifest's directory\n"
            "    \"rules\": \"../rules\"\n"
            "             ^\n"},
        {"\"rules\": \"/rules\"",
            "psybuild.json:2:10: \"rules\" must be a path inside the manifest's directory\n"
            "    \"rules\": \"/rules\"\n"
            "             ^\n"},
        {"\"rules\": \"${x}\"", "psybuild.json:2:10: variable \"x\" is not set\n"
                                "    \"rules\": \"${x}\"\n"
                                "             ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), "{\"psybuild\": 1,\n", "\n}\n");
}

static void sources_are_checked(void **state)
{
    static const struct row rows[] = {
        {"\"s\": []", "psybuild.json:2:6: \"s\" must be an object, not a list\n"
                      "    \"s\": []\n"
                      "         ^\n"},
        {"\"s\": {}", "psybuild.json:2:6: source \"s\" needs one of \"hub\", \"dir\", \"files\"\n"
                      "    \"s\": {}\n"
                      "         ^\n"},
        {"\"s\": {\"hbu\": \"a/b\"}",
            "psybuild.json:2:7: unknown key \"hbu\" in a source; did you mean \"hub\"?\n"
            "    \"s\": {\"hbu\": \"a/b\"}\n"
            "          ^\n"},
        {"\"s\": {\"dir\": 1}", "psybuild.json:2:14: \"dir\" must be a string, not 1\n"
                                "    \"s\": {\"dir\": 1}\n"
                                "                 ^\n"},
        {"\"s\": {\"dir\": \"x\", \"keep\": \"always\"}",
            "psybuild.json:2:19: unknown key \"keep\" in a source with \"dir\"\n"
            "    \"s\": {\"dir\": \"x\", \"keep\": \"always\"}\n"
            "                      ^\n"},
        {"\"s\": {\"dir\": \"x\", \"hub\": \"a/b\"}",
            "psybuild.json:2:7: unknown key \"dir\" in a source with \"hub\"\n"
            "    \"s\": {\"dir\": \"x\", \"hub\": \"a/b\"}\n"
            "          ^\n"},
        {"\"s\": {\"dir\": \"x\", \"files\": {}}",
            "psybuild.json:2:7: unknown key \"dir\" in a source with \"files\"\n"
            "    \"s\": {\"dir\": \"x\", \"files\": {}}\n"
            "          ^\n"},
        {"\"s\": {\"hub\": \"a/b\", \"revison\": \"main\"}",
            "psybuild.json:2:21: unknown key \"revison\" in a source with \"hub\"; did you mean "
            "\"revision\"?\n"
            "    \"s\": {\"hub\": \"a/b\", \"revison\": \"main\"}\n"
            "                        ^\n"},
        {"\"s\": {\"hub\": \"a/b\", \"type\": \"space\"}",
            "psybuild.json:2:29: \"type\" must be one of \"model\", \"dataset\", not \"space\"\n"
            "    \"s\": {\"hub\": \"a/b\", \"type\": \"space\"}\n"
            "                                ^\n"},
        {"\"s\": {\"hub\": \"a/b\", \"include\": \"*\"}",
            "psybuild.json:2:32: \"include\" must be a list, not \"*\"\n"
            "    \"s\": {\"hub\": \"a/b\", \"include\": \"*\"}\n"
            "                                   ^\n"},
        {"\"s\": {\"hub\": \"a/b\", \"include\": [1]}",
            "psybuild.json:2:33: an entry of \"include\" must be a string, not 1\n"
            "    \"s\": {\"hub\": \"a/b\", \"include\": [1]}\n"
            "                                    ^\n"},
        {"\"../s\": {\"dir\": \"src\"}",
            "psybuild.json:2:1: \"../s\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"../s\": {\"dir\": \"src\"}\n"
            "    ^\n"},
        {"\"/s\": {\"dir\": \"src\"}",
            "psybuild.json:2:1: \"/s\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"/s\": {\"dir\": \"src\"}\n"
            "    ^\n"},
        {"\"\": {\"dir\": \"src\"}", "psybuild.json:2:1: a name must be a path\n"
                                     "    \"\": {\"dir\": \"src\"}\n"
                                     "    ^\n"},
        {"\"s/\": {\"dir\": \"src\"}",
            "psybuild.json:2:1: \"s/\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"s/\": {\"dir\": \"src\"}\n"
            "    ^\n"},
        {"\"s/./t\": {\"dir\": \"src\"}",
            "psybuild.json:2:1: \"s/./t\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"s/./t\": {\"dir\": \"src\"}\n"
            "    ^\n"},
        {"\"s\": {\"dir\": \"src\"}, \"s/t\": {\"dir\": \"src\"}",
            "psybuild.json:2:22: source \"s/t\" overlaps with source \"s\"\n"
            "    \"s\": {\"dir\": \"src\"}, \"s/t\": {\"dir\": \"src\"}\n"
            "                         ^\n"},
        {"\"s/t\": {\"dir\": \"src\"}, \"s\": {\"dir\": \"src\"}",
            "psybuild.json:2:24: source \"s\" overlaps with source \"s/t\"\n"
            "    \"s/t\": {\"dir\": \"src\"}, \"s\": {\"dir\": \"src\"}\n"
            "                           ^\n"},
        {"\"${v}\": {\"dir\": \"src\"}", "psybuild.json:2:1: variable \"v\" is not set\n"
                                         "    \"${v}\": {\"dir\": \"src\"}\n"
                                         "    ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), "{\"psybuild\": 1, \"sources\": {\n", "\n}}\n");
}

static void nodes_are_checked(void **state)
{
    static const struct row rows[] = {
        {"1", "psybuild.json:2:1: \"out\" must be an object, not 1\n"
              "    1\n"
              "    ^\n"},
        {"{}", "psybuild.json:2:1: \"out\" needs a \"task\" or a \"recipe\"\n"
               "    {}\n"
               "    ^\n"},
        {"{\"task\": 1}", "psybuild.json:2:10: \"task\" must be a string, not 1\n"
                          "    {\"task\": 1}\n"
                          "             ^\n"},
        {"{\"task\": \"copi\"}",
            "psybuild.json:2:10: unknown task \"copi\"; did you mean \"copy\"?\n"
            "    {\"task\": \"copi\"}\n"
            "             ^\n"},
        {"{\"task\": \"zzz\"}", "psybuild.json:2:10: unknown task \"zzz\"\n"
                                "    {\"task\": \"zzz\"}\n"
                                "             ^\n"},
        {"{\"task\": \"fetch\"}", "psybuild.json:2:10: unknown task \"fetch\"\n"
                                  "    {\"task\": \"fetch\"}\n"
                                  "             ^\n"},
        {"{\"taks\": \"copy\"}",
            "psybuild.json:2:2: unknown key \"taks\" in a node; did you mean \"task\"?\n"
            "    {\"taks\": \"copy\"}\n"
            "     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": \"sometimes\"}",
            "psybuild.json:2:57: \"keep\" must be one of \"always\", \"until-used\", \"never\", "
            "not \"sometimes\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": "
            "\"sometimes\"}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": \"never\"}",
            "psybuild.json:2:57: task \"copy\" cannot be a view: \"keep\" must be \"always\" or "
            "\"until-used\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": \"never\"}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": 1}",
            "psybuild.json:2:57: \"keep\" must be a string, not 1\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"keep\": 1}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"hash\": \"sha256:12\"}",
            "psybuild.json:2:57: \"hash\" must be \"sha256:\" and 64 lower-case hex digits, not "
            "\"sha256:12\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"hash\": "
            "\"sha256:12\"}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"hash\": 1}",
            "psybuild.json:2:57: \"hash\" must be \"sha256:\" and 64 lower-case hex digits, not 1\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"hash\": 1}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"when\": 1}",
            "psybuild.json:2:57: \"when\" must be a string, not 1\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"when\": 1}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"when\": \"../x\"}",
            "psybuild.json:2:57: \"when\" must be a path inside the manifest's directory\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"when\": \"../x\"}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"group\": \"/x\"}",
            "psybuild.json:2:58: \"group\" must be a path inside the manifest's directory\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"group\": \"/x\"}\n"
            "                                                             ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"group\": \"d\"}",
            "psybuild.json:2:1: \"out\" lies outside of its group \"d\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"group\": \"d\"}\n"
            "    ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"with\": []}",
            "psybuild.json:2:57: \"with\" must be an object, not a list\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"with\": []}\n"
            "                                                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"with\": {\"bits\": 4}}",
            "psybuild.json:2:58: unknown key \"bits\" in the parameters of \"copy\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/a.json\"}, \"with\": {\"bits\": "
            "4}}\n"
            "                                                             ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\"out\":\n",
        "\n}}\n");
}

static void roles_are_checked(void **state)
{
    static const struct row rows[] = {
        {"{\"task\": \"copy\"}",
            "psybuild.json:2:1: task \"copy\" needs the role \"files\": what is copied\n"
            "    {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"{\"task\": \"copy\", \"in\": []}",
            "psybuild.json:2:24: \"in\" must be an object, not a list\n"
            "    {\"task\": \"copy\", \"in\": []}\n"
            "                           ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"file\": \"a\"}}",
            "psybuild.json:2:25: task \"copy\" has no role \"file\"; did you mean \"files\"?\n"
            "    {\"task\": \"copy\", \"in\": {\"file\": \"a\"}}\n"
            "                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"zzz\": \"a\"}}",
            "psybuild.json:2:25: task \"copy\" has no role \"zzz\"\n"
            "    {\"task\": \"copy\", \"in\": {\"zzz\": \"a\"}}\n"
            "                            ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": 1}}",
            "psybuild.json:2:34: role \"files\" must be a path or a list of paths, not 1\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": 1}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": [\"a\", 2]}}",
            "psybuild.json:2:40: role \"files\" must be a path or a list of paths, not 2\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": [\"a\", 2]}}\n"
            "                                           ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": []}}",
            "psybuild.json:2:34: role \"files\" must name at least one path\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": []}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"a\", \"files?\": \"b\"}}",
            "psybuild.json:2:39: role \"files\" is given twice\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"a\", \"files?\": \"b\"}}\n"
            "                                          ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"../a\"}}",
            "psybuild.json:2:34: \"../a\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"../a\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"/a\"}}",
            "psybuild.json:2:34: \"/a\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"/a\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"d/../a\"}}",
            "psybuild.json:2:34: \"d/../a\" must be a path inside the manifest's directory, "
            "without \".\", \"..\" or a slash at its ends\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"d/../a\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"\"}}",
            "psybuild.json:2:34: \"\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"a\\u0000b\"}}",
            "psybuild.json:2:34: \"a\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"a\\u0000b\"}}\n"
            "                                     ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\"out\":\n",
        "\n}}\n");
}

static void names_stay_inside_and_outside_of_sources(void **state)
{
    static const struct row rows[] = {
        {"\"../out\": {\"task\": \"copy\"}",
            "psybuild.json:2:1: \"../out\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"../out\": {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"\"/out\": {\"task\": \"copy\"}",
            "psybuild.json:2:1: \"/out\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"/out\": {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"\"\": {\"task\": \"copy\"}", "psybuild.json:2:1: a name must be a path\n"
                                       "    \"\": {\"task\": \"copy\"}\n"
                                       "    ^\n"},
        {"\"d/\": {\"task\": \"copy\"}",
            "psybuild.json:2:1: \"d/\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"d/\": {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"\"d//e\": {\"task\": \"copy\"}",
            "psybuild.json:2:1: \"d//e\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"d//e\": {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"\"d/?\": {\"task\": \"copy\"}", "psybuild.json:2:8: \"d/?\": a node's name may hold "
                                          "\"*\" in its last component only, and no \"?\"\n"
                                          "    \"d/?\": {\"task\": \"copy\"}\n"
                                          "           ^\n"},
        {"\"*/d\": {\"task\": \"copy\"}", "psybuild.json:2:8: \"*/d\": a node's name may hold "
                                          "\"*\" in its last component only, and no \"?\"\n"
                                          "    \"*/d\": {\"task\": \"copy\"}\n"
                                          "           ^\n"},
        {"\"src\": {\"task\": \"copy\"}", "psybuild.json:2:1: artifact \"src\" lies in source "
                                          "\"src\": psybuild makes no files there\n"
                                          "    \"src\": {\"task\": \"copy\"}\n"
                                          "    ^\n"},
        {"\"src/out\": {\"task\": \"copy\"}", "psybuild.json:2:1: artifact \"src/out\" lies in "
                                              "source \"src\": psybuild makes no files there\n"
                                              "    \"src/out\": {\"task\": \"copy\"}\n"
                                              "    ^\n"},
        {"\"a\\u0000b\": {\"task\": \"copy\"}",
            "psybuild.json:2:1: \"a\" must be a path inside the manifest's directory, without "
            "\".\", \"..\" or a slash at its ends\n"
            "    \"a\\u0000b\": {\"task\": \"copy\"}\n"
            "    ^\n"},
        {"\"out\": {\"task\": \"copy\"}, \"out\": {\"task\": \"copy\"}",
            "psybuild.json:2:26: duplicate key \"out\"\n"
            "    \"out\": {\"task\": \"copy\"}, \"out\": {\"task\": \"copy\"}\n"
            "                             ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\n",
        "\n}}\n");
}

static void parameters_are_checked(void **state)
{
    static const struct row rows[] = {
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"bit\": 4}}",
            "psybuild.json:3:10: unknown key \"bit\" in the parameters of \"quantize\"; did you "
            "mean \"bits\"?\n"
            "    \"with\": {\"bit\": 4}}\n"
            "             ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"bits\": 7}}",
            "psybuild.json:3:18: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
            "    \"with\": {\"bits\": 7}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"bits\": \"4\"}}",
            "psybuild.json:3:18: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not \"4\"\n"
            "    \"with\": {\"bits\": \"4\"}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"bits\": 4.0}}",
            "psybuild.json:3:18: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 4.0\n"
            "    \"with\": {\"bits\": 4.0}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"bits\": -1}}",
            "psybuild.json:3:18: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not -1\n"
            "    \"with\": {\"bits\": -1}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"group_size\": 1}}",
            "psybuild.json:3:24: \"group_size\" must be one of 16, 32, 64, 128, not 1\n"
            "    \"with\": {\"group_size\": 1}}\n"
            "                           ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"mode\": \"affin\"}}",
            "psybuild.json:3:18: \"mode\" must be one of \"affine\", \"mxfp4\", \"mxfp8\", "
            "\"nvfp4\", not \"affin\"\n"
            "    \"with\": {\"mode\": \"affin\"}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"mode\": 1}}",
            "psybuild.json:3:18: \"mode\" must be one of \"affine\", \"mxfp4\", \"mxfp8\", "
            "\"nvfp4\", not 1\n"
            "    \"with\": {\"mode\": 1}}\n"
            "                     ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"quantize\": 1}}",
            "psybuild.json:3:22: \"quantize\" must be true or false, not 1\n"
            "    \"with\": {\"quantize\": 1}}\n"
            "                         ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"overrides\": {}}}",
            "psybuild.json:3:23: \"overrides\" must be a list, not an object\n"
            "    \"with\": {\"overrides\": {}}}\n"
            "                          ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"overrides\": [1]}}",
            "psybuild.json:3:24: an entry of \"overrides\" must be an object, not 1\n"
            "    \"with\": {\"overrides\": [1]}}\n"
            "                           ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"overrides\": [{\"match\": \"a\", \"bits\": 7}]}}",
            "psybuild.json:3:47: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
            "    \"with\": {\"overrides\": [{\"match\": \"a\", \"bits\": 7}]}}\n"
            "                                                  ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"overrides\": [{\"bits\": 4}]}}",
            "psybuild.json:3:24: \"overrides\" needs \"match\"\n"
            "    \"with\": {\"overrides\": [{\"bits\": 4}]}}\n"
            "                           ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"overrides\": [{\"match\": \"a\", \"bts\": 4}]}}",
            "psybuild.json:3:39: unknown key \"bts\" in the parameters of \"overrides\"; did you "
            "mean \"bits\"?\n"
            "    \"with\": {\"overrides\": [{\"match\": \"a\", \"bts\": 4}]}}\n"
            "                                          ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"max_shard_size\": \"5X\"}}",
            "psybuild.json:3:28: \"max_shard_size\" must be a size such as 4096, \"512M\" or "
            "\"5G\" or \"none\", not \"5X\"\n"
            "    \"with\": {\"max_shard_size\": \"5X\"}}\n"
            "                               ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"max_shard_size\": -1}}",
            "psybuild.json:3:28: \"max_shard_size\" must be a size such as 4096, \"512M\" or "
            "\"5G\" or \"none\", not -1\n"
            "    \"with\": {\"max_shard_size\": -1}}\n"
            "                               ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"max_shard_size\": true}}",
            "psybuild.json:3:28: \"max_shard_size\" must be a size such as 4096, \"512M\" or "
            "\"5G\" or \"none\", not true\n"
            "    \"with\": {\"max_shard_size\": true}}\n"
            "                               ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"dtype\": \"float64\"}}",
            "psybuild.json:3:19: \"dtype\" must be one of \"float16\", \"bfloat16\", \"float32\", "
            "not \"float64\"\n"
            "    \"with\": {\"dtype\": \"float64\"}}\n"
            "                      ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"},\n"
         "\"with\": {\"nonfinite\": null}}",
            "psybuild.json:3:23: \"nonfinite\" must be one of \"error\", \"keep\", not null\n"
            "    \"with\": {\"nonfinite\": null}}\n"
            "                          ^\n"},
        {"{\"task\": \"exec\"}", "psybuild.json:2:1: \"exec\" needs \"command\"\n"
                                 "    {\"task\": \"exec\"}\n"
                                 "    ^\n"},
        {"{\"task\": \"exec\", \"with\": {}}", "psybuild.json:2:26: \"exec\" needs \"command\"\n"
                                               "    {\"task\": \"exec\", \"with\": {}}\n"
                                               "                             ^\n"},
        {"{\"task\": \"exec\", \"with\": {\"command\": \"true\"}}",
            "psybuild.json:2:38: \"command\" must be a list, not \"true\"\n"
            "    {\"task\": \"exec\", \"with\": {\"command\": \"true\"}}\n"
            "                                         ^\n"},
        {"{\"task\": \"exec\", \"with\": {\"command\": [1]}}",
            "psybuild.json:2:39: an entry of \"command\" must be a string, not 1\n"
            "    {\"task\": \"exec\", \"with\": {\"command\": [1]}}\n"
            "                                          ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\"out\":\n",
        "\n}}\n");
}

static void variables_are_checked(void **state)
{
    static const struct row rows[] = {
        {"{\"task\": \"copy\", \"in\": {\"files\": \"${x}\"}}",
            "psybuild.json:3:34: variable \"x\" is not set\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"${x}\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"${x\"}}",
            "psybuild.json:3:34: expected '}' after \"${\" (a dollar sign is written \"$$\")\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"${x\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"$x\"}}",
            "psybuild.json:3:34: expected \"${name}\" or \"$$\" after '$'\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"$x\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"a$\"}}",
            "psybuild.json:3:34: expected \"${name}\" or \"$$\" after '$'\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"a$\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"${}\"}}",
            "psybuild.json:3:34: variable \"\" is not set\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"${}\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/${list}\"}}",
            "psybuild.json:3:34: variable \"list\" is a list and can only be a whole string\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/${list}\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"src/${nothing}\"}}",
            "psybuild.json:3:34: variable \"nothing\" is null and can only be a whole string\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"src/${nothing}\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"${number}\"}}",
            "psybuild.json:1:68: role \"files\" must be a path or a list of paths, not 3\n"
            "    {\"psybuild\": 1, \"vars\": {\"list\": [\"a\"], \"nothing\": null, \"number\": 3, "
            "\"bits\": 7},\n"
            "                                                                       ^\n"},
        {"{\"task\": \"copy\", \"in\": {\"files\": \"${out}\"}}",
            "psybuild.json:3:34: variable \"out\" is not set\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"${out}\"}}\n"
            "                                     ^\n"},
        {"{\"task\": \"exec\", \"in\": {\"x\": \"${out}\"}, \"with\": {\"command\": [\"a\"]}}",
            "psybuild.json:3:30: variable \"out\" is not set\n"
            "    {\"task\": \"exec\", \"in\": {\"x\": \"${out}\"}, \"with\": {\"command\": "
            "[\"a\"]}}\n"
            "                                 ^\n"},
        {"{\"task\": \"exec\", \"with\": {\"command\": [\"cp\", \"${in.x}\", \"${uot}\"]}}",
            "psybuild.json:3:56: variable \"uot\" is not set\n"
            "    {\"task\": \"exec\", \"with\": {\"command\": [\"cp\", \"${in.x}\", \"${uot}\"]}}\n"
            "                                                           ^\n"},
        {"{\"task\": \"exec\", \"with\": {\"command\": [\"cp\"], \"depfile\": \"${out}.${y}\"}}",
            "psybuild.json:3:57: variable \"y\" is not set\n"
            "    {\"task\": \"exec\", \"with\": {\"command\": [\"cp\"], \"depfile\": "
            "\"${out}.${y}\"}}\n"
            "                                                            ^\n"},
        {"{\"task\": \"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"}, \"with\": "
         "{\"bits\": \"${bits}\"}}",
            "psybuild.json:1:79: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
            "    {\"psybuild\": 1, \"vars\": {\"list\": [\"a\"], \"nothing\": null, \"number\": 3, "
            "\"bits\": 7},\n"
            "                                                                                  "
            "^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"vars\": {\"list\": [\"a\"], \"nothing\": null, \"number\": 3, "
        "\"bits\": 7},\n\"artifacts\": {\"out\":\n",
        "\n}}\n");
}

static void variables_use_those_before_them(void **state)
{
    static const struct row rows[] = {
        {"\"vars\": {\"a\": \"${b}\", \"b\": 1}", "psybuild.json:2:15: variable \"b\" is not set\n"
                                                  "    \"vars\": {\"a\": \"${b}\", \"b\": 1}\n"
                                                  "                  ^\n"},
        {"\"vars\": {\"a\": \"x${a}\"}", "psybuild.json:2:15: variable \"a\" is not set\n"
                                         "    \"vars\": {\"a\": \"x${a}\"}\n"
                                         "                  ^\n"},
        {"\"vars\": {\"a\": \"$\"}",
            "psybuild.json:2:15: expected \"${name}\" or \"$$\" after '$'\n"
            "    \"vars\": {\"a\": \"$\"}\n"
            "                  ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), "{\"psybuild\": 1,\n", "\n}\n");
}

static void includes_are_checked(void **state)
{
    static const struct row rows[] = {
        {"\"include\": [\"nosuch.json\"]",
            "psybuild.json:2:13: no such manifest: neither nosuch.json nor data/nosuch.json\n"
            "    \"include\": [\"nosuch.json\"]\n"
            "                ^\n"},
        {"\"include\": [\"../i.json\"]",
            "psybuild.json:2:13: \"../i.json\" must be a path inside the manifest's directory\n"
            "    \"include\": [\"../i.json\"]\n"
            "                ^\n"},
        {"\"include\": [\"/i.json\"]",
            "psybuild.json:2:13: \"/i.json\" must be a path inside the manifest's directory\n"
            "    \"include\": [\"/i.json\"]\n"
            "                ^\n"},
        {"\"include\": [\"\"]",
            "psybuild.json:2:13: \"\" must be a path inside the manifest's directory\n"
            "    \"include\": [\"\"]\n"
            "                ^\n"},
        {"\"include\": [\"a\\u0000b\"]",
            "psybuild.json:2:13: \"a\" must be a path inside the manifest's directory\n"
            "    \"include\": [\"a\\u0000b\"]\n"
            "                ^\n"},
        {"\"include\": [\"./psybuild.json\"]",
            "psybuild.json:2:13: psybuild.json is included twice\n"
            "    \"include\": [\"./psybuild.json\"]\n"
            "                ^\n"},
        {"\"include\": [\"i.json\", \"./i.json\"]", "psybuild.json:2:23: i.json is included twice\n"
                                                    "    \"include\": [\"i.json\", \"./i.json\"]\n"
                                                    "                          ^\n"},
        {"\"include\": [\"loop/a.json\"]",
            "loop/b.json:1:29: loop/a.json is included twice\n"
            "    {\"psybuild\": 1, \"include\": [\"../loop/a.json\"]}\n"
            "                                ^\n"},
        {"\"include\": [\"broken.json\"]", "broken.json:2:15: expected a value or ']', found '}'\n"
                                           "    \"artifacts\": [}\n"
                                           "                  ^\n"},
        {"\"vars\": {\"v\": 1}, \"include\": [\"v.json\"]",
            "v.json:1:26: variable \"v\" is declared twice\n"
            "    {\"psybuild\": 1, \"vars\": {\"v\": 2}}\n"
            "                             ^\n"},
        {"\"sources\": {\"s\": {\"dir\": \"src\"}}, \"include\": [\"s.json\"]",
            "s.json:1:29: source \"s/t\" overlaps with source \"s\"\n"
            "    {\"psybuild\": 1, \"sources\": {\"s/t\": {\"dir\": \"src\"}}}\n"
            "                                ^\n"},
        {"\"include\": [\"i.json\", \"../x.json\"]",
            "psybuild.json:2:23: \"../x.json\" must be a path inside the manifest's directory\n"
            "    \"include\": [\"i.json\", \"../x.json\"]\n"
            "                          ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows), "{\"psybuild\": 1,\n", "\n}\n");
}

static void recipe_uses_are_checked(void **state)
{
    static const struct row rows[] = {
        {"\"d\": {\"recipe\": \"r\"}",
            "psybuild.json:2:6: a recipe use needs \"from\": the source's name\n"
            "    \"d\": {\"recipe\": \"r\"}\n"
            "         ^\n"},
        {"\"d\": {\"recipe\": 1, \"from\": \"src\"}",
            "psybuild.json:2:17: \"recipe\" must be a string, not 1\n"
            "    \"d\": {\"recipe\": 1, \"from\": \"src\"}\n"
            "                    ^\n"},
        {"\"d\": {\"recipe\": \"nosuch\", \"from\": \"src\"}",
            "psybuild.json:2:17: no such recipe: neither recipes/nosuch.json nor "
            "data/recipes/nosuch.json\n"
            "    \"d\": {\"recipe\": \"nosuch\", \"from\": \"src\"}\n"
            "                    ^\n"},
        {"\"d\": {\"recipe\": \"../r\", \"from\": \"src\"}",
            "psybuild.json:2:17: no such recipe: \"../r\"\n"
            "    \"d\": {\"recipe\": \"../r\", \"from\": \"src\"}\n"
            "                    ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"nosuch\"}",
            "psybuild.json:2:30: \"nosuch\" is no source of this manifest\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"nosuch\"}\n"
            "                                 ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": 1}",
            "psybuild.json:2:30: \"from\" must be a string, not 1\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": 1}\n"
            "                                 ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"wiht\": {}}",
            "psybuild.json:2:37: unknown key \"wiht\" in a recipe use; did you mean \"with\"?\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"wiht\": {}}\n"
            "                                        ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": []}",
            "psybuild.json:2:45: \"with\" must be an object, not a list\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": []}\n"
            "                                                ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bit\": 4}}",
            "psybuild.json:2:46: recipe \"r\" has no parameter \"bit\"; did you mean \"bits\"?\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bit\": 4}}\n"
            "                                                 ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"zzz\": 4}}",
            "psybuild.json:2:46: recipe \"r\" has no parameter \"zzz\"\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"zzz\": 4}}\n"
            "                                                 ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bits\": \"4\"}}",
            "psybuild.json:2:54: \"bits\" must be an integer, not \"4\"\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bits\": \"4\"}}\n"
            "                                                         ^\n"},
        {"\"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bits\": 7}}",
            "psybuild.json:2:54: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
            "    \"d\": {\"recipe\": \"r\", \"from\": \"src\", \"with\": {\"bits\": 7}}\n"
            "                                                         ^\n"},
        {"\"src/d\": {\"recipe\": \"r\", \"from\": \"src\"}",
            "psybuild.json:2:1: artifact \"src/d\" lies in source \"src\": psybuild makes no files "
            "there\n"
            "    \"src/d\": {\"recipe\": \"r\", \"from\": \"src\"}\n"
            "    ^\n"},
        {"\"d\": {\"recipe\": \"into\", \"from\": \"src\"}",
            "recipes/into.json:2:2: artifact \"src/b\" lies in source \"src\": psybuild makes no "
            "files there\n"
            "    {\"${from}/b\": {\"task\": \"copy\"}}}\n"
            "     ^\n"},
        {"\"d\": {\"recipe\": \"outside\", \"from\": \"src\"}",
            "recipes/outside.json:2:1: \"e/b\" lies outside of its group \"d\"\n"
            "    {\"task\": \"copy\", \"in\": {\"files\": \"a\"}}}}\n"
            "    ^\n"},
        {"\"d\": {\"recipe\": \"name\", \"from\": \"src\"}",
            "recipes/name.json:2:2: \"d/../b\" is no path inside the manifest's directory\n"
            "    {\"${dir}/../b\": {\"task\": \"copy\"}}}\n"
            "     ^\n"},
        {"\"d\": {\"recipe\": \"task\", \"from\": \"src\"}",
            "recipes/task.json:2:10: unknown task \"copi\"; did you mean \"copy\"?\n"
            "    {\"task\": \"copi\"}}}\n"
            "             ^\n"},
        {"\"d\": {\"recipe\": \"broken\", \"from\": \"src\"}",
            "recipes/broken.json:2:1: expected a value, found '}'\n"
            "    }\n"
            "    ^\n"},
    };
    (void)state;
    check_rows(rows, COUNT(rows),
        "{\"psybuild\": 1, \"sources\": {\"src\": {\"dir\": \"src\"}}, \"artifacts\": {\n",
        "\n}}\n");
}

static void the_error_of_the_issue_is_said_with_line_and_caret(void **state)
{
    struct project project = {0};
    (void)state;
    struct error *error = project_load(&project,
        "{\n"
        "  \"psybuild\": 1,\n"
        "  \"sources\": {\"models/PsyLLM\": {\"hub\": \"GMLHUHE/PsyLLM\"}},\n"
        "  \"artifacts\": {\"models/PsyLLM-mlx/model.safetensors\": {\n"
        "      \"task\": \"quantize\",\n"
        "      \"in\": {\"weights\": \"models/PsyLLM/model*\", \"config\": \"c\"},\n"
        "      \"with\": { \"bits\": 7, \"group_size\": 64 }\n"
        "  }}\n"
        "}\n");
    tree_assert_report(error,
        "psybuild.json:7:25: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
        "    \"with\": { \"bits\": 7, \"group_size\": 64 }\n"
        "                      ^\n");
    project_end(&project);
}

static void a_manifest_that_is_not_there_is_named(void **state)
{
    struct project project = {0};
    (void)state;
    tree_assert_report(project_load(&project, NULL), "psybuild.json: no such manifest\n");
    project_end(&project);
}

/* ---- variables and settings ---- */

static void settings_are_checked(void **state)
{
    static const struct {
        struct manifest_setting setting;
        const char *want;
    } rows[] = {
        {{"bist", "8"}, "--set bist=8: psybuild.json declares no variable \"bist\"\n"},
        {{"bits", "many"}, "--set bits:1:1: expected a value, found 'many'\n    many\n    ^\n"},
        {{"bits", "\"8\""}, "--set bits: expected a number, found \"8\"\n"},
        {{"bits", "7"}, "--set bits:1:1: \"bits\" must be one of 1, 2, 3, 4, 5, 6, 8, not 7\n"
                        "    7\n"
                        "    ^\n"},
        {{"list", "1"}, "--set list: expected a list, found 1\n"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct project project = {.settings = &rows[i].setting, .setting_count = 1};
        struct error *error = project_load(&project,
            "{\"psybuild\": 1, \"vars\": {\"bits\": 4, \"list\": []}, \"artifacts\": {\"out\": "
            "{\"task\": "
            "\"quantize\", \"in\": {\"weights\": \"w\", \"config\": \"c\"}, \"with\": {\"bits\": "
            "\"${bits}\"}}}}");
        tree_assert_report(error, rows[i].want);
        project_end(&project);
    }
}

/* The parameters of the one node, as canonical JSON. */
static const char *parameters(struct project *project)
{
    struct json_writer *writer = json_writer_new(&project->arena, &JSON_STYLE_CANONICAL);
    struct text text;
    assert_non_null(writer);
    assert_int_equal(project->manifest->node_count, 1);
    json_write_value(writer, project->manifest->nodes[0].with);
    assert_null(json_writer_finish(writer, &text));
    return text.bytes;
}

static const char typed[] =
    "{\"psybuild\": 1, \"vars\": {\"bits\": 4, \"name\": \"model\", \"flag\": true,\n"
    "\"file\": \"${name}-${bits}.py\", \"words\": [\"${name}\", \"$$x\"], \"price\": \"$$5\"},\n"
    "\"artifacts\": {\"out/${name}$$\": {\"task\": \"exec\", \"with\": {\"command\":\n"
    "[\"a\", \"${name}-${bits}-${flag}\", \"${file}\", \"${out}\", \"${in.x}$$\", \"${price}\", "
    "\"a${price}\"], \"env\": \"${words}\"}}}}";

static void variables_keep_their_type_and_may_use_those_before_them(void **state)
{
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_load(&project, typed));
    assert_string_equal(project.manifest->nodes[0].name, "out/model$");
    /* What exec fills in when it runs is left, and what a variable holds is doubled for it. */
    assert_string_equal(parameters(&project),
        "{\"command\":[\"a\",\"model-4-true\",\"model-4.py\",\"${out}\",\"${in.x}$$\",\"$$5\","
        "\"a$$5\"],\"env\":[\"model\",\"$$x\"]}");
    project_end(&project);
}

static void settings_replace_variables_and_are_taken_as_they_are(void **state)
{
    static const struct manifest_setting settings[] = {
        {"bits", "8"}, {"name", "${flag}$"}, {"words", "[\"b\"]"}};
    struct project project = {.settings = settings, .setting_count = COUNT(settings)};
    (void)state;
    tree_assert_ok(project_load(&project, typed));
    assert_string_equal(project.manifest->nodes[0].name, "out/${flag}$$");
    assert_string_equal(parameters(&project),
        "{\"command\":[\"a\",\"$${flag}$$-8-true\",\"$${flag}$$-8.py\",\"${out}\",\"${in.x}$$\","
        "\"$$5\",\"a$$5\"],\"env\":[\"b\"]}");
    project_end(&project);
}

static void whole_strings_become_lists_objects_and_numbers(void **state)
{
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_load(&project,
        "{\"psybuild\": 1, \"vars\": {\"bits\": 4, \"paths\": [\"a\", \"b\"], \"overrides\":\n"
        "[{\"match\": \"lm_head\", \"quantize\": false}], \"with\": {\"bits\": 8}},\n"
        "\"artifacts\": {\"out\": {\"task\": \"quantize\", \"in\": {\"weights\": \"${paths}\", "
        "\"config\": \"c\"}, \"with\": {\"bits\": \"${bits}\", \"overrides\": "
        "\"${overrides}\"}}}}"));
    assert_string_equal(parameters(&project),
        "{\"bits\":4,\"overrides\":[{\"match\":\"lm_head\",\"quantize\":false}]}");
    assert_int_equal(project.manifest->nodes[0].inputs[0].count, 2);
    project_end(&project);
}

/* ---- several texts ---- */

static void includes_are_merged_and_found_beside_or_installed(void **state)
{
    struct project project = {0};
    (void)state;
    tree_write("sub/one.json", "{\"psybuild\": 1, \"include\": [\"two.json\", \"far.json\"], "
                               "\"vars\": {\"one\": \"1\"}, \"default\": [\"no\"]}");
    tree_write("sub/two.json", "{\"psybuild\": 1, \"artifacts\": {\"${top}${one}\": {\"task\": "
                               "\"copy\", \"in\": {\"files\": \"i.json\"}}}}");
    tree_write("data/far.json", "{\"psybuild\": 1, \"rules\": \"far\", \"default\": [\"no\"]}");
    tree_assert_ok(project_load(&project,
        "{\"psybuild\": 1, \"include\": [\"sub/one.json\"], \"vars\": {\"top\": \"t\"}, "
        "\"default\": [\"${top}1\"]}"));
    assert_int_equal(project.manifest->node_count, 1);
    assert_string_equal(project.manifest->nodes[0].name, "t1");
    assert_string_equal(project.manifest->rules, "far");
    assert_int_equal(project.manifest->default_count, 1);
    assert_string_equal(project.manifest->defaults[0]->text.bytes, "t1");
    project_end(&project);
}

static void every_text_that_was_read_or_looked_for_is_watched(void **state)
{
    static const char *const paths[] = {
        "psybuild.json", "i.json", "data/i.json", "recipes/r.json", "data/recipes/r.json"};
    struct project project = {0};
    (void)state;
    tree_assert_ok(project_load(&project,
        "{\"psybuild\": 1, \"include\": [\"i.json\"], \"sources\": {\"src\": {\"dir\": \"src\"}},\n"
        "\"artifacts\": {\"d\": {\"recipe\": \"r\", \"from\": \"src\"}}}"));
    assert_int_equal(project.manifest->watch_count, COUNT(paths));
    for (size_t i = 0; i < COUNT(paths); i++) {
        const struct watch *watch = &project.manifest->watches[i];
        assert_string_equal(watch->path, paths[i]);
        assert_int_equal(watch->stamp.size_bytes > 0, tree_has(paths[i]));
    }
    project_end(&project);
}

static void a_bare_name_is_an_installed_manifest(void **state)
{
    static const struct {
        const char *path, *manifest, *lock;
    } rows[] = {
        {"psybuild.json", "i.json", "psybuild.lock"},
        {"Model", "data/Model.json", "psybuild.lock"},
        {"other.json", "other.json", "other.lock"},
        {"sub/m", "sub/m", "sub/m.lock"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct arena arena = {0};
        struct manifest *manifest = NULL;
        struct manifest_options options = {.path = rows[i].path, .data_directory = "data"};
        tree_write(i == 0 ? "psybuild.json" : rows[i].manifest, "{\"psybuild\": 1}");
        tree_assert_ok(manifest_load(&arena, &registry, &options, &manifest));
        assert_string_equal(manifest->name, rows[i].path);
        assert_string_equal(manifest->lock_path, rows[i].lock);
        arena_end(&arena);
    }
    struct arena arena = {0};
    struct manifest *manifest = NULL;
    struct manifest_options options = {.path = "sub/Model", .data_directory = "data"};
    tree_assert_report(
        manifest_load(&arena, &registry, &options, &manifest), "sub/Model: no such manifest\n");
    arena_end(&arena);
}

/* ---- the long form ---- */

static void the_long_form_has_no_variables_and_is_its_own_long_form(void **state)
{
    static const char want[] = "{\n"
                               "  \"psybuild\": 1,\n"
                               "  \"sources\": {\n"
                               "    \"s$$\": {\n"
                               "      \"dir\": \"src\"\n"
                               "    }\n"
                               "  },\n"
                               "  \"artifacts\": {\n"
                               "    \"d/a$$\": {\n"
                               "      \"task\": \"exec\",\n"
                               "      \"in\": {\n"
                               "        \"x?\": \"b$$\"\n"
                               "      },\n"
                               "      \"with\": {\n"
                               "        \"command\": [\n"
                               "          \"cp\",\n"
                               "          \"${in.x}\",\n"
                               "          \"${out}\",\n"
                               "          \"$$HOME\"\n"
                               "        ]\n"
                               "      },\n"
                               "      \"group\": \"d\"\n"
                               "    },\n"
                               "    \"e/copy\": {\n"
                               "      \"task\": \"copy\",\n"
                               "      \"in\": {\n"
                               "        \"files\": \"i.json\"\n"
                               "      }\n"
                               "    }\n"
                               "  },\n"
                               "  \"rules\": \"rules$$\",\n"
                               "  \"default\": [\n"
                               "    \"d\",\n"
                               "    \"e\"\n"
                               "  ]\n"
                               "}";
    struct project project = {0};
    struct text text, again;
    (void)state;
    tree_assert_ok(project_load(&project,
        "{\"psybuild\": 1, \"vars\": {\"d\": \"d\", \"i\": \"i\"}, \"sources\": {\"s$$\": "
        "{\"dir\": "
        "\"src\"}}, \"rules\": \"rules$$\", \"default\": [\"${d}\", \"e\"], \"artifacts\": "
        "{\"${d}/a$$\": {\"task\": \"exec\", \"in\": {\"x?\": \"b$$\"}, \"with\": {\"command\": "
        "[\"cp\", \"${in.x}\", \"${out}\", \"$$HOME\"]}, \"group\": \"${d}\"}, \"e/copy\": "
        "{\"task\": \"copy\", \"in\": {\"files\": \"${i}.json\"}}}}"));
    tree_assert_ok(manifest_expand(&project.arena, project.manifest, NULL, &text));
    assert_string_equal(text.bytes, want);
    tree_assert_ok(project_load(&project, text.bytes));
    tree_assert_ok(manifest_expand(&project.arena, project.manifest, NULL, &again));
    assert_string_equal(again.bytes, want);
    project_end(&project);
}

static void the_long_form_of_a_directory_names_nothing_else(void **state)
{
    struct project project = {0};
    struct text text;
    (void)state;
    tree_assert_ok(
        project_load(&project, "{\"psybuild\": 1, \"default\": [\"d/a\", \"e\"], \"artifacts\": {\n"
                               "\"d/a\": {\"task\": \"copy\", \"in\": {\"files\": \"i.json\"}},\n"
                               "\"e/a\": {\"task\": \"copy\", \"in\": {\"files\": \"i.json\"}}}}"));
    tree_assert_ok(manifest_expand(&project.arena, project.manifest, "e", &text));
    assert_string_equal(text.bytes, "{\n"
                                    "  \"psybuild\": 1,\n"
                                    "  \"sources\": {},\n"
                                    "  \"artifacts\": {\n"
                                    "    \"e/a\": {\n"
                                    "      \"task\": \"copy\",\n"
                                    "      \"in\": {\n"
                                    "        \"files\": \"i.json\"\n"
                                    "      }\n"
                                    "    }\n"
                                    "  },\n"
                                    "  \"default\": [\n"
                                    "    \"e\"\n"
                                    "  ]\n"
                                    "}");
    project_end(&project);
}

#define TREE_TEST(test) cmocka_unit_test_setup_teardown(test, begin, tree_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_text_that_is_no_manifest_is_refused),
        TREE_TEST(the_top_level_is_checked),
        TREE_TEST(sources_are_checked),
        TREE_TEST(nodes_are_checked),
        TREE_TEST(roles_are_checked),
        TREE_TEST(names_stay_inside_and_outside_of_sources),
        TREE_TEST(parameters_are_checked),
        TREE_TEST(variables_are_checked),
        TREE_TEST(variables_use_those_before_them),
        TREE_TEST(includes_are_checked),
        TREE_TEST(recipe_uses_are_checked),
        TREE_TEST(the_error_of_the_issue_is_said_with_line_and_caret),
        cmocka_unit_test_setup_teardown(
            a_manifest_that_is_not_there_is_named, tree_begin, tree_end),
        TREE_TEST(settings_are_checked),
        TREE_TEST(variables_keep_their_type_and_may_use_those_before_them),
        TREE_TEST(settings_replace_variables_and_are_taken_as_they_are),
        TREE_TEST(whole_strings_become_lists_objects_and_numbers),
        TREE_TEST(includes_are_merged_and_found_beside_or_installed),
        TREE_TEST(every_text_that_was_read_or_looked_for_is_watched),
        TREE_TEST(a_bare_name_is_an_installed_manifest),
        TREE_TEST(the_long_form_has_no_variables_and_is_its_own_long_form),
        TREE_TEST(the_long_form_of_a_directory_names_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
