#include "frontend/auth.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/json.h"

enum { DIGEST_BYTES = 32, MAX_FILE_BYTES = 8 * 1024 * 1024 };

struct entry {
    unsigned char digest[DIGEST_BYTES];
    int32_t tenant;
};

struct name {
    char text[AUTH_MAX_NAME_BYTES + 1];
};

struct table {
    struct entry *entries; /* [num] */
    size_t num, cap;
    struct name *names; /* [num_names] */
    int32_t num_names;
};

struct auth {
    struct option_list keys;
    const char *file;
    struct table table;
    struct timespec changed;
    off_t size;
    ino_t inode;
};

static bool digest_of(const char *key, size_t len, unsigned char out[DIGEST_BYTES])
{
    return EVP_Digest(key, len, out, NULL, EVP_sha256(), NULL) == 1;
}

static void table_finish(struct table *table)
{
    free(table->entries);
    free(table->names);
    *table = (struct table){ 0 };
}

/* --- reading ------------------------------------------------------------------------------ */

static int reserve(struct table *table)
{
    if (table->num < table->cap)
        return 0;
    const size_t cap = table->cap == 0 ? 16 : table->cap * 2;
    struct entry *entries = realloc(table->entries, cap * sizeof(*entries));
    if (entries == NULL)
        return -ENOMEM;
    table->entries = entries;
    struct name *names = realloc(table->names, cap * sizeof(*names));
    if (names == NULL)
        return -ENOMEM;
    table->names = names;
    table->cap = cap;
    return 0;
}

/* Names are few beside keys, and this runs at start and on change: a linear look is enough. */
static int32_t tenant_of(struct table *table, const char *name, size_t len)
{
    if (len == 0)
        return 0;
    for (int32_t i = 0; i < table->num_names; i++)
        if (strlen(table->names[i].text) == len && memcmp(table->names[i].text, name, len) == 0)
            return i + 1;
    struct name *entry = &table->names[table->num_names++];
    memcpy(entry->text, name, len);
    entry->text[len] = '\0';
    return table->num_names;
}

static bool printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isgraph((unsigned char)text[i]))
            return false;
    return true;
}

static int add_key(struct table *table, const char *key, size_t len, const char *name,
                   size_t name_len, struct error *err)
{
    if (len < AUTH_MIN_KEY_BYTES || len > AUTH_MAX_KEY_BYTES || !printable(key, len))
        return error_set(err, -EINVAL,
                         "a key of %zu characters, %d to %d printable ones are wanted", len,
                         AUTH_MIN_KEY_BYTES, AUTH_MAX_KEY_BYTES);
    if (name_len > AUTH_MAX_NAME_BYTES)
        return error_set(err, -EINVAL, "a key's name of %zu bytes, at most %d are allowed",
                         name_len, AUTH_MAX_NAME_BYTES);
    if (table->num >= AUTH_MAX_KEYS)
        return error_set(err, -EINVAL, "more than %d keys", AUTH_MAX_KEYS);
    if (reserve(table) < 0)
        return error_set(err, -ENOMEM, "no memory for keys");
    struct entry *entry = &table->entries[table->num];
    if (!digest_of(key, len, entry->digest))
        return error_set(err, -EIO, "SHA-256 is not available");
    entry->tenant = tenant_of(table, name, name_len);
    table->num++;
    return 0;
}

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && isspace((unsigned char)**text)) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && isspace((unsigned char)(*text)[*len - 1]))
        (*len)--;
}

/* A name has letters, digits, '-', '_' and '.'; what stands before any other '=' is key. */
static size_t name_length(const char *line, size_t len)
{
    size_t n = 0;
    while (n < len && (isalnum((unsigned char)line[n]) || memchr("-_.", line[n], 3) != NULL))
        n++;
    return n < len && line[n] == '=' ? n : 0;
}

static int add_line(struct table *table, const char *line, size_t len, struct error *err)
{
    trim(&line, &len);
    if (len == 0 || *line == '#')
        return 0;
    const size_t name_len = name_length(line, len);
    const size_t skip = name_len > 0 ? name_len + 1 : 0;
    return add_key(table, line + skip, len - skip, line, name_len, err);
}

static int add_file(struct table *table, const char *file, struct error *err)
{
    char *text;
    size_t len;
    int r = file_read(file, MAX_FILE_BYTES, &text, &len, err);
    if (r < 0)
        return r;
    int number = 1;
    for (size_t at = 0; r == 0 && at < len; number++) {
        struct error why = { 0 };
        const char *end = memchr(text + at, '\n', len - at);
        const size_t line_len = end != NULL ? (size_t)(end - text) - at : len - at;
        r = add_line(table, text + at, line_len, &why);
        if (r < 0)
            error_set(err, r, "%s:%d: %s", file, number, why.message);
        at += line_len + 1;
    }
    OPENSSL_cleanse(text, len);
    free(text);
    return r;
}

static int read_all(const struct auth *auth, struct table *ret_table, struct error *err)
{
    struct table table = { 0 };
    int r = 0;
    for (int32_t i = 0; r == 0 && i < auth->keys.num; i++) {
        struct error why = { 0 };
        r = add_key(&table, auth->keys.items[i].text, auth->keys.items[i].len, "", 0, &why);
        if (r < 0)
            error_set_param(err, r, "api_key", "--api-key: %s", why.message);
    }
    if (r == 0 && auth->file != NULL)
        r = add_file(&table, auth->file, err);
    if (r < 0) {
        table_finish(&table);
        return r;
    }
    *ret_table = table;
    return 0;
}

static bool remember_file(struct auth *auth)
{
    struct stat info;
    if (auth->file == NULL || stat(auth->file, &info) < 0)
        return false;
    const bool same = info.st_ino == auth->inode && info.st_size == auth->size &&
                      info.st_mtim.tv_sec == auth->changed.tv_sec &&
                      info.st_mtim.tv_nsec == auth->changed.tv_nsec;
    auth->inode = info.st_ino;
    auth->size = info.st_size;
    auth->changed = info.st_mtim;
    return !same;
}

int auth_create(const struct option_list *keys, const char *file, struct auth **ret_auth,
                struct error *err)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    if (auth == NULL)
        return error_set(err, -ENOMEM, "no memory for keys");
    auth->keys = *keys;
    auth->file = file;
    (void)remember_file(auth);
    const int r = read_all(auth, &auth->table, err);
    if (r < 0) {
        auth_destroy(auth);
        return r;
    }
    *ret_auth = auth;
    return 0;
}

void auth_destroy(struct auth *auth)
{
    if (auth == NULL)
        return;
    table_finish(&auth->table);
    free(auth);
}

int auth_refresh(struct auth *auth, struct error *err)
{
    struct table table;
    if (!remember_file(auth))
        return 0;
    const int r = read_all(auth, &table, err);
    if (r < 0)
        return r;
    table_finish(&auth->table);
    auth->table = table;
    return 1;
}

/* --- checking ----------------------------------------------------------------------------- */

bool auth_is_required(const struct auth *auth)
{
    return auth->file != NULL || auth->table.num > 0;
}

int32_t auth_check(const struct auth *auth, const char *key, size_t len)
{
    unsigned char digest[DIGEST_BYTES];
    int32_t tenant = -1;
    if (len == 0 || len > AUTH_MAX_KEY_BYTES || !digest_of(key, len, digest))
        return -1;
    for (size_t i = 0; i < auth->table.num; i++) {
        const struct entry *entry = &auth->table.entries[i];
        const int32_t match = CRYPTO_memcmp(digest, entry->digest, DIGEST_BYTES) == 0;
        tenant = match * entry->tenant + (1 - match) * tenant;
    }
    return tenant;
}

const char *auth_bearer(const char *value, size_t len, size_t *ret_len)
{
    static const char scheme[] = "bearer ";
    const size_t n = sizeof(scheme) - 1;
    if (len <= n || strncasecmp(value, scheme, n) != 0)
        return NULL;
    const char *key = value + n;
    *ret_len = len - n;
    trim(&key, ret_len);
    return key;
}
