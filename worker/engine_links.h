/*
 * engine_links.h - the frontends of an engine
 */
#ifndef WORKER_ENGINE_LINKS_H
#define WORKER_ENGINE_LINKS_H

#include "worker/engine_internal.h"

struct link *engine_links_of(struct engine *engine, const struct request *request);

/* Tell every frontend what its requests owe it. One that reads nothing for long is given up. */
void engine_links_publish(struct engine *engine);

/* A frontend that broke a rule: its requests are dropped, the role is told why. */
void engine_links_give_up(struct engine *engine, uint32_t frontend, const char *text);

#endif
