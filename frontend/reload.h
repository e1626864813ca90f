/*
 * reload.h - files that are read again while the server runs: keys with their limits, certificates
 *
 * Keys are looked at each second, and everything when the supervisor says so. What cannot be read
 * or is wrong leaves the old in force, with a line in the log. Requests under way notice nothing.
 */
#ifndef FRONTEND_RELOAD_H
#define FRONTEND_RELOAD_H

#include "base/error.h"

struct frontend;

void reload_keys(struct frontend *frontend); /* when their file has changed */
void reload_all(struct frontend *frontend);

/* An SSL_CTX from the files of the settings; NULL where none are set. Returns as tls_create(). */
int reload_open_tls(const struct frontend *frontend, void **ret_tls, struct error *err);

#endif
