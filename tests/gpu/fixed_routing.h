/*
 * fixed_routing.h - the choice of experts that one run made, for another
 *
 * Where two experts score almost the same, rounding decides which of them a row goes to, and what
 * that row leaves in the KV cache changes all rows behind it. So two backends are compared with the
 * same choice: the logits of the routers are kept in one run and put in place of the other's own.
 * backend_open() is wrapped by the linker; one run at a time.
 */
#ifndef TESTS_GPU_FIXED_ROUTING_H
#define TESTS_GPU_FIXED_ROUTING_H

#include "kernels/backend.h"

enum fixed_routing {
    ROUTING_OWN,
    ROUTING_KEPT,  /* and told to the next run */
    ROUTING_GIVEN, /* by the run before */
};

/* For the backends opened from here on, whose rows come in the order of positions. */
void fixed_routing_set(enum fixed_routing routing);
/* Did the last run have routers? Frees what it kept on its device; before that is closed. */
bool fixed_routing_finish(struct device *device);

#endif
