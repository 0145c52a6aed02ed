/* hub_server_main.c - the test hub as a program, for the scripts and for comparing other clients.
 *
 *   hub_server --root DIR [--repo ORG/NAME] [--type models] [--port N] [--page-size N]
 *              [--lfs-bytes N] [--token T] [--private] [--gated] [--direct]
 *              [--renamed-from NAME] [--url URL] [--storage-url URL] [--log FILE] [--entry JSON]
 * [--until-eof]
 *              [--fault KIND:TARGET[:COUNT[:AT[:STATUS[:TEXT]]]]]...
 *
 * Prints its address on the first line, the commit on the second, and serves until SIGINT or
 * SIGTERM; with --until-eof, until its input ends. In TEXT of a fault, \r and \n stand for the
 * line's end. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/hub_server.h"

enum { FAULTS_MAX = 64, ENTRIES_MAX = 64 };

struct plan {
    struct hub_server_options options;
    struct hub_fault faults[FAULTS_MAX];
    size_t fault_count;
    const char *entries[ENTRIES_MAX];
    size_t entry_count;
    bool until_eof;
};

static void fail(const char *what, const char *value)
{
    fprintf(stderr, "hub_server: %s%s%s\n", what, value != NULL ? ": " : "",
        value != NULL ? value : "");
    exit(2);
}

/* The next ':'-separated field; "" when there is none. The last one may hold colons. */
static char *next_field(char **rest, int is_last)
{
    char *field = *rest;
    char *colon = is_last ? NULL : strchr(field, ':');
    *rest = colon == NULL ? field + strlen(field) : colon + 1;
    if (colon != NULL)
        *colon = '\0';
    return field;
}

static void unescape(char *text)
{
    char *out = text;
    for (; *text != '\0'; text++) {
        if (text[0] == '\\' && (text[1] == 'r' || text[1] == 'n'))
            *out++ = *++text == 'r' ? '\r' : '\n';
        else
            *out++ = *text;
    }
    *out = '\0';
}

static void add_fault(struct plan *plan, char *text)
{
    if (plan->fault_count == FAULTS_MAX)
        fail("too many faults", NULL);
    struct hub_fault *fault = &plan->faults[plan->fault_count++];
    char *kind = next_field(&text, 0);
    if (!hub_fault_kind_of(kind, &fault->kind))
        fail("no such fault", kind);
    fault->target = next_field(&text, 0);
    fault->count = (unsigned)strtoul(next_field(&text, 0), NULL, 10);
    fault->at = strtoull(next_field(&text, 0), NULL, 10);
    fault->status = (unsigned)strtoul(next_field(&text, 0), NULL, 10);
    char *rest = next_field(&text, 1);
    unescape(rest);
    fault->text = rest;
}

/* True when the option has no value. */
static int read_flag(struct plan *plan, const char *name)
{
    struct hub_server_options *options = &plan->options;
    if (strcmp(name, "--private") == 0)
        options->is_private = true;
    else if (strcmp(name, "--gated") == 0)
        options->is_gated = true;
    else if (strcmp(name, "--direct") == 0)
        options->is_direct = true;
    else if (strcmp(name, "--until-eof") == 0)
        plan->until_eof = true;
    else
        return 0;
    return 1;
}

static void read_option(struct plan *plan, const char *name, char *value)
{
    struct hub_server_options *options = &plan->options;
    if (value == NULL)
        fail("needs a value", name);
    else if (strcmp(name, "--root") == 0)
        options->root = value;
    else if (strcmp(name, "--repo") == 0)
        options->repo = value;
    else if (strcmp(name, "--type") == 0)
        options->type = value;
    else if (strcmp(name, "--port") == 0)
        options->port = (int)strtol(value, NULL, 10);
    else if (strcmp(name, "--page-size") == 0)
        options->page_size = (size_t)strtoul(value, NULL, 10);
    else if (strcmp(name, "--lfs-bytes") == 0)
        options->lfs_bytes = strtoull(value, NULL, 10);
    else if (strcmp(name, "--token") == 0)
        options->token = value;
    else if (strcmp(name, "--renamed-from") == 0)
        options->renamed_from = value;
    else if (strcmp(name, "--url") == 0)
        options->url = value;
    else if (strcmp(name, "--storage-url") == 0)
        options->storage_url = value;
    else if (strcmp(name, "--log") == 0)
        options->log_path = value;
    else if (strcmp(name, "--fault") == 0)
        add_fault(plan, value);
    else if (strcmp(name, "--entry") == 0 && plan->entry_count < ENTRIES_MAX)
        plan->entries[plan->entry_count++] = value;
    else
        fail("no such option", name);
}

int main(int argc, char **argv)
{
    static struct plan plan;
    for (int i = 1; i < argc; i++) {
        if (read_flag(&plan, argv[i]))
            continue;
        read_option(&plan, argv[i], argv[i + 1]);
        i++;
    }
    if (plan.options.root == NULL)
        fail("--root DIR is missing", NULL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (!plan.until_eof)
        pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads: they inherit it */
    struct hub_server *server = hub_server_start(&plan.options);
    for (size_t i = 0; i < plan.fault_count; i++)
        hub_server_add_fault(server, &plan.faults[i]);
    for (size_t i = 0; i < plan.entry_count; i++)
        hub_server_add_entry(server, plan.entries[i]);
    printf("%s\n%s\n", hub_server_url(server), hub_server_commit(server));
    fflush(stdout);
    int signal_number = 0;
    char byte;
    if (!plan.until_eof)
        sigwait(&signals, &signal_number);
    else
        while (read(STDIN_FILENO, &byte, 1) > 0)
            continue;
    hub_server_stop(server);
    return 0;
}
