/* digest.c - libcrypto's EVP interface behind four functions. */
#include "tasks/formats/digest.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/library.h"
#include "base/text.h"

enum { FILE_PIECE_BYTES = 1 << 20 };

struct crypto_calls {
    EVP_MD_CTX *(*context_new)(void);
    void (*context_free)(EVP_MD_CTX *);
    const EVP_MD *(*sha1)(void);
    const EVP_MD *(*sha256)(void);
    int (*init)(EVP_MD_CTX *, const EVP_MD *, ENGINE *);
    int (*update)(EVP_MD_CTX *, const void *, size_t);
    int (*final)(EVP_MD_CTX *, unsigned char *, unsigned int *);
};

#define SYMBOL(field, function)                                                                    \
    {                                                                                              \
        function, offsetof(struct crypto_calls, field)                                             \
    }
static const struct library_symbol crypto_symbols[] = {
    SYMBOL(context_new, "EVP_MD_CTX_new"),
    SYMBOL(context_free, "EVP_MD_CTX_free"),
    SYMBOL(sha1, "EVP_sha1"),
    SYMBOL(sha256, "EVP_sha256"),
    SYMBOL(init, "EVP_DigestInit_ex"),
    SYMBOL(update, "EVP_DigestUpdate"),
    SYMBOL(final, "EVP_DigestFinal_ex"),
    {NULL, 0},
};
static const char *const crypto_files[] = {LIBCRYPTO_SONAME,
#ifdef __APPLE__
    "/opt/homebrew/opt/openssl@3/lib/libcrypto.3.dylib",
    "/usr/local/opt/openssl@3/lib/libcrypto.3.dylib",
#endif
    NULL};
static struct crypto_calls crypto;
static struct library crypto_library = {.purpose = "downloads and their checks",
    .files = crypto_files,
    .symbols = crypto_symbols,
    .table = &crypto,
    .mutex = PTHREAD_MUTEX_INITIALIZER};

struct digest {
    EVP_MD_CTX *context;
};

struct error *digest_available(void)
{
    return library_load(&crypto_library);
}

static const char *algorithm_name(enum digest_kind kind)
{
    return kind == DIGEST_SHA256 ? "SHA-256" : "SHA-1";
}

static struct error *start(struct digest *digest, enum digest_kind kind, uint64_t size_bytes)
{
    const EVP_MD *algorithm = kind == DIGEST_SHA256 ? crypto.sha256() : crypto.sha1();
    if (crypto.init(digest->context, algorithm, NULL) != 1)
        return error_new(ERROR_FAILED, "libcrypto does not offer %s here", algorithm_name(kind));
    if (kind != DIGEST_GIT_BLOB)
        return NULL;
    char header[32];
    int length = snprintf(header, sizeof header, "blob %llu", (unsigned long long)size_bytes);
    return digest_update(digest, header, (size_t)length + 1); /* the NUL is part of it */
}

struct error *digest_begin(enum digest_kind kind, uint64_t size_bytes, struct digest **out)
{
    TRY(digest_available());
    struct digest *digest = memory_alloc(sizeof *digest);
    TRY(memory_check(digest));
    digest->context = crypto.context_new();
    struct error *error =
        digest->context == NULL ? error_memory() : start(digest, kind, size_bytes);
    if (error != NULL) {
        digest_end(digest);
        return error;
    }
    *out = digest;
    return NULL;
}

struct error *digest_update(struct digest *digest, const void *bytes, size_t length)
{
    if (crypto.update(digest->context, bytes, length) != 1)
        return error_new(ERROR_FAILED, "libcrypto failed to hash %zu bytes", length);
    return NULL;
}

struct error *digest_hex(struct digest *digest, char hex[DIGEST_HEX_MAX])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int count = 0;
    if (crypto.final(digest->context, bytes, &count) != 1 || 2 * count >= DIGEST_HEX_MAX)
        return error_new(ERROR_FAILED, "libcrypto failed to finish a hash");
    text_write_hex(hex, bytes, count);
    return NULL;
}

void digest_end(struct digest *digest)
{
    if (digest == NULL)
        return;
    crypto.context_free(digest->context); /* NULL is fine */
    memory_free(digest);
}

struct error *digest_of(
    enum digest_kind kind, const void *bytes, size_t length, char hex[DIGEST_HEX_MAX])
{
    struct digest *digest = NULL;
    TRY(digest_begin(kind, length, &digest));
    struct error *error = digest_update(digest, bytes, length);
    if (error == NULL)
        error = digest_hex(digest, hex);
    digest_end(digest);
    return error;
}

static struct error *update_by_file(struct digest *digest, const struct file *file,
    const _Atomic bool *cancel, unsigned char *buffer)
{
    uint64_t size_bytes = file_size(file);
    for (uint64_t offset = 0; offset < size_bytes;) {
        uint64_t rest = size_bytes - offset;
        size_t length = rest < FILE_PIECE_BYTES ? (size_t)rest : FILE_PIECE_BYTES;
        if (cancel != NULL && *cancel)
            return error_new(ERROR_INTERRUPTED, "interrupted");
        TRY(file_read_at(file, offset, buffer, length));
        TRY(digest_update(digest, buffer, length));
        offset += length;
    }
    return NULL;
}

static struct error *hash_file(enum digest_kind kind, const struct file *file,
    const _Atomic bool *cancel, char hex[DIGEST_HEX_MAX])
{
    struct digest *digest = NULL;
    TRY(digest_begin(kind, file_size(file), &digest));
    unsigned char *buffer = memory_alloc(FILE_PIECE_BYTES);
    struct error *error =
        buffer == NULL ? error_memory() : update_by_file(digest, file, cancel, buffer);
    if (error == NULL)
        error = digest_hex(digest, hex);
    memory_free(buffer);
    digest_end(digest);
    return error;
}

struct error *digest_of_file(
    enum digest_kind kind, const char *path, const _Atomic bool *cancel, char hex[DIGEST_HEX_MAX])
{
    struct file *file;
    TRY(file_open(path, &file));
    struct error *error = hash_file(kind, file, cancel, hex);
    file_close(file);
    return error;
}
