/*
 * link.h - joining a frontend and an engine: two new ring segments for each pair and incarnation
 */
#ifndef SUPERVISOR_LINK_H
#define SUPERVISOR_LINK_H

#include "supervisor/child.h"

/*
 * Make the segments of (frontend, engine), hand the ends out and keep nothing.
 * `context` is the engine's longest sequence in tokens: it sizes the submit bulk ring.
 *
 * Returns 0; -ENOMEM or -ENOSPC with a sentence.
 */
int link_join(struct child *frontend, struct child *worker, int64_t context, struct error *err);

/* Bytes of one link, for the report at start. */
size_t link_bytes(int64_t context);

#endif
