/*
 * intake.h - what frontends ask for: requests come, are cancelled, and meet their deadlines
 */
#ifndef WORKER_INTAKE_H
#define WORKER_INTAKE_H

#include "worker/engine_internal.h"

/* Take what lies in the submit rings. Returns whether there was anything. */
bool intake_admit(struct engine *engine);

/* Fail what is past its deadline. Returns whether there was anything. */
bool intake_expire(struct engine *engine, int64_t now);

/* Nothing of the request runs any more, and its frontend is owed the reason. */
void intake_fail(struct engine *engine, struct request *request, enum record_failure failure);

#endif
