/* fuzz_card.c - any bytes as the front matter of a model card: an error in one line, or a card that
 * is read again and then stays as it is. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "tasks/card.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void must(bool holds)
{
    if (!holds)
        abort();
}

static bool is_fine(struct error *error)
{
    if (error == NULL)
        return true;
    must(error_kind_of(error) == ERROR_FORMAT);
    must(error_text(error)[0] != '\0' && strchr(error_text(error), '\n') == NULL);
    error_free(error);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct arena arena = {0};
    struct buffer buffer = {.arena = &arena};
    struct text source, card, again;
    buffer_put_string(&buffer, "---\n");
    buffer_put(&buffer, bytes, size);
    buffer_put_string(&buffer, "\n---\n");
    must(buffer_text(&buffer, &source) == NULL);
    if (is_fine(card_render(&arena, "README.md", source, "org/name", &card))) {
        must(text_is_utf8(card) && text_starts_with(card, "---"));
        /* alone, CR ends no front matter */
        if (!text_contains(card, "\r")) {
            must(is_fine(card_render(&arena, "README.md", card, "org/name", &again)));
            must(text_equal(card, again));
        }
    }
    arena_end(&arena);
    return 0;
}
