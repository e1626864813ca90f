#include "frontend/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static int fail(struct error *err, const char *file, const char *what)
{
    char why[160];
    ERR_error_string_n(ERR_peek_last_error(), why, sizeof(why));
    ERR_clear_error();
    return error_set(err, -EINVAL, "%s: %s: %s", file, what, why);
}

/* Our order decides; a client that offers neither goes on without ALPN, as HTTP/1.1. */
static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *offered, unsigned int offered_len, void *arg)
{
    static const unsigned char with_http2[] = "\x02h2\x08http/1.1";
    static const unsigned char without[] = "\x08http/1.1";
    const bool http2 = arg != NULL;
    unsigned char *chosen;
    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, http2 ? with_http2 : without,
                              http2 ? sizeof(with_http2) - 1 : sizeof(without) - 1, offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int load(SSL_CTX *context, const char *certificate_file, const char *key_file,
                struct error *err)
{
    if (SSL_CTX_use_certificate_chain_file(context, certificate_file) != 1)
        return fail(err, certificate_file, "not a readable PEM certificate chain");
    if (SSL_CTX_use_PrivateKey_file(context, key_file, SSL_FILETYPE_PEM) != 1)
        return fail(err, key_file, "not a readable PEM key");
    if (SSL_CTX_check_private_key(context) != 1)
        return fail(err, key_file, "does not belong to the certificate");
    return 0;
}

int tls_create(const char *certificate_file, const char *key_file, const uint8_t *ticket_key,
               bool http2, void **ret_context, struct error *err)
{
    static const unsigned char session_context[] = "tokenring";
    static int yes = 1;
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (context == NULL)
        return error_set(err, -ENOMEM, "no memory for a TLS context");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context) - 1);
    SSL_CTX_set_alpn_select_cb(context, select_protocol, http2 ? &yes : NULL);
    const int r = load(context, certificate_file, key_file, err);
    if (r < 0) {
        SSL_CTX_free(context);
        return r;
    }
    if (ticket_key != NULL)
        SSL_CTX_set_tlsext_ticket_keys(context, (void *)(uintptr_t)ticket_key,
                                       TLS_TICKET_KEY_BYTES);
    *ret_context = context;
    return 0;
}

void tls_destroy(void *context)
{
    SSL_CTX_free(context);
}
