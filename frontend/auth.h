/*
 * auth.h - API keys: who may call, under which name, and how much
 *
 * Keys come from --api-key and from a file with one key per line, `#` comments, optionally
 * `name=` in front (the tenant) and limits behind:
 *
 *     alice=KEY concurrent=8 requests-per-minute=600 tokens-per-minute=200000
 *
 * A limit that a line does not state is that of the options; 0 lifts it. Keys of one name share
 * its limits, those of the last line that states some. Only SHA-256 digests are kept; a key that
 * came in is compared with all of them in constant time.
 */
#ifndef FRONTEND_AUTH_H
#define FRONTEND_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/option.h"
#include "frontend/account.h"

enum {
    AUTH_MAX_KEYS = 10000,
    AUTH_MIN_KEY_BYTES = 8,
    AUTH_MAX_KEY_BYTES = 256,
    AUTH_MAX_NAME_BYTES = 64,
};

struct auth;

struct auth_key {
    int32_t tenant;    /* n: the n-th name of the file; 0: a key without a name */
    uint64_t identity; /* of the name, or of a key without one: whose account it is; never 0 */
    struct account_limits limits;
};

/*
 * `file` may be NULL; `limits` are of keys that state none.
 *
 * Returns 0; -EINVAL with file and line for a malformed one; the errno of reading the file;
 * -ENOMEM.
 */
int auth_create(const struct option_list *keys, const char *file,
                const struct account_limits *limits, struct auth **ret_auth, struct error *err);
void auth_destroy(struct auth *auth);

bool auth_is_required(const struct auth *auth); /* any key is set */

/* Whose key that is; false: nobody's. */
bool auth_check(const struct auth *auth, const char *key, size_t len, struct auth_key *ret_key);

/* The n-th name, from 1 on; NULL behind the last. */
const char *auth_name(const struct auth *auth, int32_t tenant);
/* Whose account the name is. */
uint64_t auth_identity_of(const char *name);

/* The key in an Authorization header's value ("Bearer K", scheme in any case), or NULL. */
const char *auth_bearer(const char *value, size_t len, size_t *ret_len);

/*
 * Read the file again when it changed. On an error the old keys stay.
 *
 * Returns 1 when keys were replaced, 0 when nothing changed, or a negative errno.
 */
int auth_refresh(struct auth *auth, struct error *err);

#endif
