/*
 * auth.h - API keys: who may call, and under which name
 *
 * Keys come from --api-key and from a file with one key per line, `#` comments, optionally
 * `name=` in front (the tenant). Only SHA-256 digests are kept; a key that came in is compared
 * with all of them in constant time.
 */
#ifndef FRONTEND_AUTH_H
#define FRONTEND_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/option.h"

enum {
    AUTH_MAX_KEYS = 10000,
    AUTH_MIN_KEY_BYTES = 8,
    AUTH_MAX_KEY_BYTES = 256,
    AUTH_MAX_NAME_BYTES = 64,
};

struct auth;

/*
 * `file` may be NULL.
 *
 * Returns 0; -EINVAL with file and line for a malformed one; the errno of reading the file;
 * -ENOMEM.
 */
int auth_create(const struct option_list *keys, const char *file, struct auth **ret_auth,
                struct error *err);
void auth_destroy(struct auth *auth);

bool auth_is_required(const struct auth *auth); /* any key is set */

/* Number of the key's tenant (0: a key without a name; n: the n-th name), or -1: no such key. */
int32_t auth_check(const struct auth *auth, const char *key, size_t len);

/* The key in an Authorization header's value ("Bearer K", scheme in any case), or NULL. */
const char *auth_bearer(const char *value, size_t len, size_t *ret_len);

/*
 * Read the file again when it changed. On an error the old keys stay.
 *
 * Returns 1 when keys were replaced, 0 when nothing changed, or a negative errno.
 */
int auth_refresh(struct auth *auth, struct error *err);

#endif
