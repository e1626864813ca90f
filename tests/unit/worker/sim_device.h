/*
 * sim_device.h - the simulated device of sim.h: what it stores, and when its lists run
 */
#ifndef TESTS_UNIT_WORKER_SIM_DEVICE_H
#define TESTS_UNIT_WORKER_SIM_DEVICE_H

#include "sim.h"

/* A check that is made millions of times: ck_assert() tells the runner of each. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

/* Of the tokens up to a position, and what is drawn there. */
uint64_t sim_device_hash(uint64_t before, int32_t token);
int32_t sim_device_token(uint64_t hash, int32_t choice);

/* A plan is launched; the one in the air, if there is one, has run at the latest before the next
 * does. */
void sim_device_follow(const struct plan *plan);

/* Compute a list, at some time or other; once. */
void sim_device_run(struct sim_list *list);

/* What is in the air has run, and its results are taken. */
void sim_device_land(void);

/* A request is over. */
void sim_drop(struct request *request);

#endif
