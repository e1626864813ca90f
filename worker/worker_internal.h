/*
 * worker_internal.h - the role's state, between its life (worker.c) and its loading (worker_load.c)
 */
#ifndef WORKER_WORKER_INTERNAL_H
#define WORKER_WORKER_INTERNAL_H

#include "supervisor/supervised.h"
#include "worker/engine.h"
#include "worker/follower.h"
#include "worker/inbox.h"
#include "worker/kept.h"
#include "worker/ranks.h"
#include "worker/warm_up.h"

struct worker {
    struct supervised child;
    struct settings settings;
    struct inbox *inbox;
    struct ranks ranks;
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct engine *engine;     /* rank 0 */
    struct follower *follower; /* another rank */
    struct arch arch;
    struct scheduler_limits limits;
    struct warm_up_result warm_up;
    struct kept kept; /* what the predecessor left, if has_kept */
    bool has_kept;
    int64_t load_us; /* until the model was there */
    int exit_code;   /* of the stage that is running */
};

/*
 * From settings to an engine or a follower that has been warmed up. What the predecessor left is
 * attached instead of read.
 *
 * Returns 0, or an errno with a sentence; then w->exit_code is that of the stage that failed.
 */
int worker_load(struct worker *w, struct error *err);

/* Hand the weights and what warming up found to the supervisor, for whoever comes next. */
void worker_load_leave(struct worker *w);

#endif
