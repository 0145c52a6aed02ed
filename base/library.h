/* library.h - shared libraries, loaded when they are first needed.
 *
 * libcurl, libcrypto, libcjson and libyaml are compiled against but never linked: a run that
 * downloads nothing, or reads no JSON and no card, does not map them. A module that needs one keeps
 * a struct of function pointers (its table) and has it filled here, once. A library stays loaded
 * until the process ends. configure writes the file names to config.h. */
#ifndef PSYBUILD_BASE_LIBRARY_H
#define PSYBUILD_BASE_LIBRARY_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

#if defined(__has_include)
#if __has_include("config.h")
#include "config.h"
#endif
#endif

#ifndef LIBCURL_SONAME
#ifdef __APPLE__
#define LIBCURL_SONAME "libcurl.4.dylib"
#else
#define LIBCURL_SONAME "libcurl.so.4"
#endif
#endif

/* Never "libcrypto.dylib": loading that one ends a process on macOS. */
#ifndef LIBCRYPTO_SONAME
#ifdef __APPLE__
#define LIBCRYPTO_SONAME "libcrypto.3.dylib"
#else
#define LIBCRYPTO_SONAME "libcrypto.so.3"
#endif
#endif

#ifndef LIBCJSON_SONAME
#ifdef __APPLE__
#define LIBCJSON_SONAME "libcjson.1.dylib"
#else
#define LIBCJSON_SONAME "libcjson.so.1"
#endif
#endif

#ifndef LIBYAML_SONAME
#ifdef __APPLE__
#define LIBYAML_SONAME "libyaml-0.2.dylib"
#else
#define LIBYAML_SONAME "libyaml-0.so.2"
#endif
#endif

struct library_symbol {
    const char *name;
    size_t offset; /* of its function pointer in the table */
};

struct library {
    const char *purpose;                  /* for the error: "downloads" */
    const char *const *files;             /* tried in order; ends with NULL */
    const struct library_symbol *symbols; /* ends with one without a name */
    void *table;
    struct error *(*start)(void); /* what is to be called first of all, or NULL */
    pthread_mutex_t mutex;        /* PTHREAD_MUTEX_INITIALIZER */
    bool is_loaded;
};

/* Unless that is done: opens the first of the files that is there, fills the table with all symbols
 * and starts the library. ERROR_MISSING names what was looked for. Any thread may call it at any
 * time; whoever has passed it may use the table. */
MUST_CHECK struct error *library_load(struct library *library);

#endif
