/* library.c - dlopen and dlsym. */
#include "base/library.h"

#include <dlfcn.h>
#include <string.h>

#include "base/arena.h"

/* The names tried, for the error: "libcurl.so.4" or "libcurl.so.4 or libcurl-gnutls.so.4". */
static const char *list_files(struct arena *arena, const char *const *files)
{
    const char *list = files[0];
    for (size_t i = 1; files[i] != NULL && list != NULL; i++)
        list = arena_format(arena, "%s or %s", list, files[i]);
    return list;
}

static struct error *not_found(const struct library *library)
{
    struct arena arena = {0};
    const char *list = list_files(&arena, library->files);
    struct error *error =
        list == NULL ? error_memory()
                     : error_new(ERROR_MISSING, "%s: no such library on this machine; %s need it",
                           list, library->purpose);
    arena_end(&arena);
    return error;
}

static struct error *load(const struct library *library)
{
    void *handle = NULL;
    size_t chosen = 0;
    for (; library->files[chosen] != NULL; chosen++) {
        handle = dlopen(library->files[chosen], RTLD_NOW | RTLD_LOCAL);
        if (handle != NULL)
            break;
    }
    if (handle == NULL)
        return not_found(library);
    for (const struct library_symbol *symbol = library->symbols; symbol->name != NULL; symbol++) {
        void *address = dlsym(handle, symbol->name);
        if (address == NULL) {
            dlclose(handle);
            return error_new(ERROR_MISSING, "%s: has no function %s: too old for psybuild",
                library->files[chosen], symbol->name);
        }
        /* ISO C has no cast from an object pointer to a function pointer; POSIX says they are
         * alike. */
        memcpy((char *)library->table + symbol->offset, &address, sizeof address);
    }
    return library->start == NULL ? NULL : library->start();
}

struct error *library_load(struct library *library)
{
    pthread_mutex_lock(&library->mutex);
    struct error *error = library->is_loaded ? NULL : load(library);
    library->is_loaded = error == NULL;
    pthread_mutex_unlock(&library->mutex);
    return error;
}
