#include "frontend/reload.h"

#include "base/log.h"
#include "frontend/state.h"
#include "frontend/tls.h"

int reload_open_tls(const struct frontend *frontend, void **ret_tls, struct error *err)
{
    const struct settings *settings = &frontend->settings;
    *ret_tls = NULL;
    if (settings->ssl_certfile == NULL)
        return 0;
    return tls_create(settings->ssl_certfile, settings->ssl_keyfile,
                      frontend->tls_keys_set ? frontend->tls_ticket_key : NULL, settings->http2,
                      ret_tls, err);
}

void reload_keys(struct frontend *frontend)
{
    struct error err = { 0 };
    const int r = auth_refresh(frontend->auth, &err);
    if (r > 0)
        log_event(LOG_LEVEL_INFO, "API keys were read again from %s",
                  frontend->settings.api_key_file);
    else if (r < 0)
        log_event(LOG_LEVEL_ERROR, "the old API keys stay: %s", err.message);
}

static void reload_tls(struct frontend *frontend)
{
    struct error err = { 0 };
    void *tls;
    const int r = reload_open_tls(frontend, &tls, &err);
    if (r < 0) {
        log_event(LOG_LEVEL_ERROR, "the old certificate stays: %s", err.message);
        return;
    }
    if (tls == NULL)
        return;
    server_set_tls(frontend->server, tls);
    log_event(LOG_LEVEL_INFO, "the certificate was read again from %s",
              frontend->settings.ssl_certfile);
}

void reload_all(struct frontend *frontend)
{
    reload_keys(frontend);
    reload_tls(frontend);
}
