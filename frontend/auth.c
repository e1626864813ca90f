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
    struct account_limits limits; /* of a key without a name */
};

struct name {
    char text[AUTH_MAX_NAME_BYTES + 1];
    uint64_t identity;
    struct account_limits limits;
};

/* A line of the file, taken apart. */
struct line {
    const char *name, *key;
    size_t name_len, key_len;
    bool has_limits;
    struct account_limits limits;
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
    struct account_limits limits; /* of keys that state none */
    struct table table;
    struct timespec changed;
    off_t size;
    ino_t inode;
};

static bool digest_of(const char *key, size_t len, unsigned char out[DIGEST_BYTES])
{
    return EVP_Digest(key, len, out, NULL, EVP_sha256(), NULL) == 1;
}

static uint64_t identity_of(const unsigned char digest[DIGEST_BYTES])
{
    uint64_t identity;
    memcpy(&identity, digest, sizeof(identity));
    return identity != 0 ? identity : 1;
}

uint64_t auth_identity_of(const char *name)
{
    unsigned char digest[DIGEST_BYTES];
    return digest_of(name, strlen(name), digest) ? identity_of(digest) : 1;
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
static int32_t tenant_of(struct table *table, const struct line *line)
{
    if (line->name_len == 0)
        return 0;
    int32_t i = 0;
    while (i < table->num_names && (strlen(table->names[i].text) != line->name_len ||
                                    memcmp(table->names[i].text, line->name, line->name_len) != 0))
        i++;
    struct name *name = &table->names[i];
    const bool is_new = i == table->num_names;
    if (is_new) {
        memcpy(name->text, line->name, line->name_len);
        name->text[line->name_len] = '\0';
        name->identity = auth_identity_of(name->text);
        table->num_names++;
    }
    if (is_new || line->has_limits)
        name->limits = line->limits;
    return i + 1;
}

static bool printable(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!isgraph((unsigned char)text[i]))
            return false;
    return true;
}

static int add_key(struct table *table, const struct line *line, struct error *err)
{
    if (line->key_len < AUTH_MIN_KEY_BYTES || line->key_len > AUTH_MAX_KEY_BYTES ||
        !printable(line->key, line->key_len))
        return error_set(err, -EINVAL,
                         "a key of %zu characters, %d to %d printable ones are wanted",
                         line->key_len, AUTH_MIN_KEY_BYTES, AUTH_MAX_KEY_BYTES);
    if (line->name_len > AUTH_MAX_NAME_BYTES)
        return error_set(err, -EINVAL, "a key's name of %zu bytes, at most %d are allowed",
                         line->name_len, AUTH_MAX_NAME_BYTES);
    if (table->num >= AUTH_MAX_KEYS)
        return error_set(err, -EINVAL, "more than %d keys", AUTH_MAX_KEYS);
    if (reserve(table) < 0)
        return error_set(err, -ENOMEM, "no memory for keys");
    struct entry *entry = &table->entries[table->num];
    if (!digest_of(line->key, line->key_len, entry->digest))
        return error_set(err, -EIO, "SHA-256 is not available");
    entry->limits = line->limits;
    entry->tenant = tenant_of(table, line);
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

/* One `limit=number` behind a key. */
static int read_limit(struct line *line, const char *word, size_t len, struct error *err)
{
    const struct {
        const char *name;
        int64_t *value;
    } rows[] = {
        { "concurrent=", &line->limits.concurrent },
        { "requests-per-minute=", &line->limits.requests_per_minute },
        { "tokens-per-minute=", &line->limits.tokens_per_minute },
    };
    char text[16];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const size_t n = strlen(rows[i].name);
        if (len <= n || memcmp(word, rows[i].name, n) != 0)
            continue;
        memset(text, 0, sizeof(text));
        memcpy(text, word + n, len - n < sizeof(text) - 1 ? len - n : sizeof(text) - 1);
        if (strspn(text, "0123456789") != len - n || len - n > 12)
            return error_set(err, -EINVAL, "%s must be a number of at most 12 digits",
                             rows[i].name);
        *rows[i].value = strtoll(text, NULL, 10);
        line->has_limits = true;
        return 0;
    }
    return error_set(err, -EINVAL,
                     "behind a key only concurrent=, requests-per-minute= and tokens-per-minute= "
                     "may stand");
}

static size_t word_length(const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && !isspace((unsigned char)text[n]))
        n++;
    return n;
}

static int add_line(struct table *table, const char *text, size_t len,
                    const struct account_limits *limits, struct error *err)
{
    struct line line = { .limits = *limits };
    int r = 0;
    trim(&text, &len);
    if (len == 0 || *text == '#')
        return 0;
    line.name = text;
    line.name_len = name_length(text, word_length(text, len));
    const size_t skip = line.name_len > 0 ? line.name_len + 1 : 0;
    line.key = text + skip;
    line.key_len = word_length(line.key, len - skip);
    text = line.key + line.key_len;
    len -= skip + line.key_len;
    for (trim(&text, &len); r == 0 && len > 0; trim(&text, &len)) {
        const size_t n = word_length(text, len);
        r = read_limit(&line, text, n, err);
        text += n;
        len -= n;
    }
    return r == 0 ? add_key(table, &line, err) : r;
}

static int add_file(struct table *table, const char *file, const struct account_limits *limits,
                    struct error *err)
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
        r = add_line(table, text + at, line_len, limits, &why);
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
        const struct line line = { .key = auth->keys.items[i].text,
                                   .key_len = auth->keys.items[i].len,
                                   .limits = auth->limits };
        r = add_key(&table, &line, &why);
        if (r < 0)
            error_set_param(err, r, "api_key", "--api-key: %s", why.message);
    }
    if (r == 0 && auth->file != NULL)
        r = add_file(&table, auth->file, &auth->limits, err);
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

int auth_create(const struct option_list *keys, const char *file,
                const struct account_limits *limits, struct auth **ret_auth, struct error *err)
{
    struct auth *auth = calloc(1, sizeof(*auth));
    if (auth == NULL)
        return error_set(err, -ENOMEM, "no memory for keys");
    auth->keys = *keys;
    auth->file = file;
    auth->limits = *limits;
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

const char *auth_name(const struct auth *auth, int32_t tenant)
{
    const struct table *table = &auth->table;
    return tenant >= 1 && tenant <= table->num_names ? table->names[tenant - 1].text : NULL;
}

bool auth_check(const struct auth *auth, const char *key, size_t len, struct auth_key *ret_key)
{
    const struct table *table = &auth->table;
    unsigned char digest[DIGEST_BYTES];
    size_t found = SIZE_MAX;
    if (len == 0 || len > AUTH_MAX_KEY_BYTES || !digest_of(key, len, digest))
        return false;
    for (size_t i = 0; i < table->num; i++) {
        const size_t match = CRYPTO_memcmp(digest, table->entries[i].digest, DIGEST_BYTES) == 0;
        found = match * i + (1 - match) * found;
    }
    if (found == SIZE_MAX)
        return false;
    const struct entry *entry = &table->entries[found];
    const struct name *name = entry->tenant > 0 ? &table->names[entry->tenant - 1] : NULL;
    *ret_key = (struct auth_key){ .tenant = entry->tenant,
                                  .identity = name != NULL ? name->identity : identity_of(digest),
                                  .limits = name != NULL ? name->limits : entry->limits };
    return true;
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
