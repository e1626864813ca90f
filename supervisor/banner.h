/*
 * banner.h - what the terminal shows when the server is ready
 */
#ifndef SUPERVISOR_BANNER_H
#define SUPERVISOR_BANNER_H

#include <stdio.h>

#include "proto/records/settings.h"

/* `facts` is the text of the engine's status page; `load_us` the time from start to ready. */
void banner_print(const struct settings *settings, const char *facts, int64_t load_us, FILE *out);

/* The address clients use: a wildcard host becomes this host's loopback. */
void banner_url(const struct settings *settings, char *out, size_t size);

#endif
