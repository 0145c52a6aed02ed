/* option.c - looks each word up, finds its value, and stores that by the option's kind. */
#include "cli/option.h"

#include <string.h>

#include "base/text.h"

/* ---- values ---- */

static struct error *find_choice(struct arena *arena, const char *name, const char *value,
    const char *const *words, unsigned *out)
{
    char *list = arena_format(arena, "%s", "");
    for (unsigned i = 0; list != NULL && words[i] != NULL; i++) {
        if (strcmp(words[i], value) == 0) {
            *out = i;
            return NULL;
        }
        list = arena_format(arena, "%s%s%s", list, i > 0 ? ", " : "", words[i]);
    }
    TRY(memory_check(list));
    return error_new(ERROR_USAGE, "\"%s\" must be one of %s, not \"%s\"", name, list, value);
}

static struct error *read_number(
    const struct option *option, const char *name, const char *value, unsigned *out)
{
    uint64_t number;
    if (!text_to_u64(text_of(value), &number) || number < option->least || number > option->most)
        return error_new(ERROR_USAGE, "\"%s\" must be a number from %u to %u, not \"%s\"", name,
            option->least, option->most, value);
    *out = (unsigned)number;
    return NULL;
}

static struct error *store(
    struct option_reader *reader, const struct option *option, const char *name, const char *value)
{
    void *place = (char *)reader->target + option->offset;
    unsigned index;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)place = true;
        return NULL;
    case OPTION_CONSTANT:
        *(unsigned *)place = option->least;
        return NULL;
    case OPTION_TEXT:
        if (option->choices != NULL)
            TRY(find_choice(reader->arena, name, value, option->choices, &index));
        *(const char **)place = value;
        return NULL;
    case OPTION_INDEX:
        return find_choice(reader->arena, name, value, option->choices, place);
    case OPTION_NUMBER:
        return read_number(option, name, value, place);
    case OPTION_SIZE:
        if (size_parse(text_of(value), place) && *(uint64_t *)place >= option->least)
            return NULL;
        return error_new(ERROR_USAGE, "\"%s\" must be %s, not \"%s\"", name, option->wanted, value);
    case OPTION_CALL:
        return option->call(reader, value);
    case OPTION_REFUSED:
        return error_new(ERROR_USAGE, "\"%s\" is not for psybuild: %s", name, option->wanted);
    }
    return NULL;
}

/* ---- words ---- */

static bool is_name(const char *name, struct text word)
{
    return name != NULL && text_is(word, name);
}

static const struct option *find_word(const struct option_table *table, struct text word)
{
    for (size_t i = 0; i < table->count; i++)
        if (is_name(table->options[i].word, word) || is_name(table->options[i].other, word))
            return &table->options[i];
    return NULL;
}

static const struct option *find_letter(const struct option_table *table, char letter)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].letter == letter)
            return &table->options[i];
    return NULL;
}

static struct error *unknown_word(struct option_reader *reader, struct text word)
{
    const struct option_table *table = reader->table;
    size_t count = 0;
    const char **names = arena_array(reader->arena, 2 * table->count, sizeof *names);
    const char *given = arena_copy(reader->arena, word.bytes, word.length);
    if (names == NULL || given == NULL)
        return error_memory();
    for (size_t i = 0; i < table->count; i++) {
        if (table->options[i].word != NULL)
            names[count++] = table->options[i].word;
        if (table->options[i].other != NULL)
            names[count++] = table->options[i].other;
    }
    const char *near = text_suggest(given, names, count);
    if (near == NULL)
        return error_new(
            ERROR_USAGE, "unknown option \"--%s\"%s; %s", given, table->whose, table->advice);
    return error_new(ERROR_USAGE, "unknown option \"--%s\"%s; did you mean \"--%s\"?", given,
        table->whose, near);
}

/* The value is `attached`, or else the next word. */
static struct error *take_value(
    struct option_reader *reader, const struct option *option, const char *attached)
{
    char letter[2] = {option->letter, '\0'};
    const char *value = attached;
    const char *name = arena_format(reader->arena, "%s%s", option->word == NULL ? "-" : "--",
        option->word == NULL ? letter : option->word);
    TRY(memory_check(name));
    if (option->value == NULL && attached != NULL)
        return error_new(ERROR_USAGE, "\"%s\" takes no value", name);
    if (option->value != NULL && attached == NULL && option->kind != OPTION_REFUSED) {
        value = reader->at < reader->count ? reader->words[reader->at++] : NULL;
        if (value == NULL || (reader->table->is_value_plain && value[0] == '-'))
            return error_new(ERROR_USAGE, "\"%s\" needs a value: %s %s", name, name, option->value);
    }
    return store(reader, option, name, value);
}

static struct error *read_long(struct option_reader *reader, const char *word)
{
    size_t length = strcspn(word, "=");
    struct text name = {word, length};
    const struct option *option = find_word(reader->table, name);
    if (option == NULL)
        return unknown_word(reader, name);
    return take_value(reader, option, word[length] == '=' ? word + length + 1 : NULL);
}

static struct error *read_letters(struct option_reader *reader, const char *letters)
{
    while (*letters != '\0') {
        const struct option *option = find_letter(reader->table, *letters);
        if (option == NULL)
            return error_new(ERROR_USAGE, "unknown option \"-%c\"%s; %s", *letters,
                reader->table->whose, reader->table->advice);
        letters++;
        if (option->value != NULL)
            return take_value(reader, option, *letters == '\0' ? NULL : letters);
        TRY(take_value(reader, option, NULL));
    }
    return NULL;
}

struct error *option_read(struct option_reader *reader)
{
    reader->rest = arena_array(reader->arena, reader->count + 1, sizeof *reader->rest);
    TRY(memory_check(reader->rest));
    while (reader->at < reader->count) {
        const char *word = reader->words[reader->at++];
        if (reader->is_literal || word[0] != '-' || word[1] == '\0')
            reader->rest[reader->rest_count++] = word;
        else if (strcmp(word, "--") == 0)
            reader->is_literal = true;
        else
            TRY(word[1] == '-' ? read_long(reader, word + 2) : read_letters(reader, word + 1));
    }
    return NULL;
}

/* ---- help ---- */

static char *name_all(struct arena *arena, const struct option *option, const char *indent)
{
    bool has_letter = option->letter != 0, has_word = option->word != NULL;
    char letter[3] = {'-', option->letter, '\0'};
    return arena_format(arena, "%s%s%s%s%s%s%s%s", has_letter ? letter : indent,
        has_letter && has_word ? ", " : "", has_word ? "--" : "", has_word ? option->word : "",
        option->other == NULL ? "" : ", --", option->other == NULL ? "" : option->other,
        option->value == NULL ? "" : " ", option->value == NULL ? "" : option->value);
}

char *option_list(
    struct arena *arena, const struct option_table *table, int width, const char *indent)
{
    char *list = arena_format(arena, "%s", "");
    for (size_t i = 0; i < table->count && list != NULL; i++) {
        const struct option *option = &table->options[i];
        char *name = name_all(arena, option, indent);
        if (name == NULL)
            return NULL;
        if (option->help != NULL)
            list = arena_format(arena, "%s  %-*s %s\n", list, width, name, option->help);
    }
    return list;
}
