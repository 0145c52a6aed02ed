/* fuzz_chat_template.c - any bytes as the value of "chat_template": an error, or templates in UTF-8
 * whose names can be files'. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/chat_template.h"
#include "tasks/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static const struct json *parse(struct arena *arena, struct text text)
{
    const struct json_document *document = NULL;
    struct error *error = json_parse(arena, "fuzz.json", text, JSON_TOLERANT, &document);
    error_free(error);
    return error == NULL ? &document->root : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    struct chat_templates set = {0};
    const struct json *value = parse(&arena, (struct text){(const char *)bytes, size});
    struct error *error = chat_templates_from_config(&arena, value, &set);
    must(error == NULL || error_kind_of(error) == ERROR_FORMAT);
    error_free(error);
    for (size_t i = 0; i < set.count; i++) {
        must(chat_template_name_is_safe(text_of(set.items[i].name)));
        must(text_is_utf8(set.items[i].text));
        tokenizer_parser_of_template(set.items[i].read);
    }
    must(set.count <= CHAT_TEMPLATES_MAX);
    arena_end(&arena);
    return 0;
}
