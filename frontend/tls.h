/*
 * tls.h - the TLS context of the listeners: TLS 1.2 and 1.3, ALPN, shared ticket keys
 */
#ifndef FRONTEND_TLS_H
#define FRONTEND_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { TLS_TICKET_KEY_BYTES = 80 };

/*
 * Read certificate chain and key (PEM). `ticket_key` is the supervisor's, so that every frontend
 * resumes every session; NULL: one of its own.
 *
 * Returns 0 and an SSL_CTX; -EINVAL with the file and what was wrong; -ENOMEM.
 */
int tls_create(const char *certificate_file, const char *key_file, const uint8_t *ticket_key,
               bool http2, void **ret_context, struct error *err);
void tls_destroy(void *context);

#endif
