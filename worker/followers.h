/*
 * followers.h - what the leader tells the other ranks of a step, and hears of them
 *
 * Nothing happens here without followers (engine_options.comm is NULL). Thread of the engine.
 */
#ifndef WORKER_FOLLOWERS_H
#define WORKER_FOLLOWERS_H

#include "worker/engine_internal.h"

/* Takes memory for plans. Returns 0; -ENOSPC when the largest step does not fit into what the
 * followers take; -ENOMEM: a sentence each. */
int followers_init(struct engine *engine, struct error *err);

/*
 * Has the newest batch to share its ids? A follower draws what the leader does where logits and
 * seed alone decide. Other tokens it gets with the next plan, or where that one may be sent while
 * this batch runs, on the device.
 */
bool followers_share_ids(const struct engine *engine);

/* Tell them of the newest batch, built of `plan`. is_behind: while the one before runs, so that its
 * tokens are named; else they are filled in. Returns 0 or what their memory said. */
int followers_tell(struct engine *engine, const struct plan *plan, bool is_behind);

/*
 * Wait until all have ended the oldest step that they were told of, which is that of `batch` and
 * has ended here, and compare what each rank found in it. Returns 0; an error of comm.h; -EBADMSG
 * for a difference, with a sentence in engine->problem. All are final, and known to the followers.
 */
int followers_end(struct engine *engine, const struct batch *batch);

#endif
