/*
 * flight.h - a step on its way: recorded, started, landed
 *
 * One is in the air at a time. The next is prepared meanwhile: all that a step needs but what the
 * one before draws, which its list takes on the device. It starts when that one has landed, or is
 * sent behind it where the device queues: then the device does not wait for this process. Beside
 * followers a step is over when it is over in all ranks, so a rank's death is that of a step which
 * the page still names, and no token goes out that another rank disagrees with. The status page
 * always names the step that runs, `step` + 1, and up to `step_sent` what may.
 */
#ifndef WORKER_FLIGHT_H
#define WORKER_FLIGHT_H

#include "worker/engine_internal.h"

/* Tell the survivors who takes part, and record the list (beside followers it is recorded when they
 * are told of it). One may be in the air. */
void flight_prepare(struct engine *engine, const struct plan *plan);

/* Start what was prepared; none is in the air, or its own part is over, or the device queues.
 * Returns 0, or what the device or the followers' memory said. */
int flight_start(struct engine *engine, const struct plan *plan);

/* Wait for the one in the air for `us` at most: 1 when it is over (flight_wait() then returns at
 * once), 0, or what the device said. */
int flight_wait_for(struct engine *engine, int64_t us);

/* Wait for the own device's part of the one in the air: its tokens are known then, and the next may
 * be started. Returns 0 or what the device said. */
int flight_land(struct engine *engine);

/* Wait until the one in the air has landed, in all ranks, which have found the same; what was sent
 * behind it is in the air then. Returns 0 or what the device, or followers_end(), said. */
int flight_wait(struct engine *engine);

/* A step that nobody asked for, from record to wait. */
int flight_measure(struct engine *engine, const struct plan *plan);

#endif
