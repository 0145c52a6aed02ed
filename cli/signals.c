/* signals.c - a handler can reach nothing but a global, so these two are one. */
#include "cli/signals.h"

#include <signal.h>
#include <stddef.h>

static _Atomic bool is_cancelled;
static volatile sig_atomic_t caught;

static void on_signal(int number)
{
    caught = number;
    atomic_store(&is_cancelled, true);
}

void signals_catch(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, old;
        sigemptyset(&action.sa_mask);
        bool is_known = sigaction(numbers[i], NULL, &old) == 0;
        if (is_known && old.sa_handler != SIG_IGN) /* nohup stays in force */
            sigaction(numbers[i], &action, NULL);
    }
}

_Atomic bool *signals_flag(void)
{
    return &is_cancelled;
}

int signals_exit_code(void)
{
    return 128 + (caught == 0 ? SIGINT : caught);
}

static void on_limit(int number)
{
    (void)number;
}

/* A handler, since what psybuild starts would inherit SIG_IGN. */
void signals_survive_limits(void)
{
    struct sigaction action = {.sa_handler = on_limit, .sa_flags = SA_RESTART}, old;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGXFSZ, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
        sigaction(SIGXFSZ, &action, NULL);
}
