/*
 * choose.h - which device --device means
 */
#ifndef WORKER_CHOOSE_H
#define WORKER_CHOOSE_H

#include "kernels/backend.h"
#include "proto/records/settings.h"

/*
 * "auto" is cuda where its module is there and a device answers, else cpu. ret_ordinals: what
 * stands behind the colon, or NULL; it points into the settings.
 *
 * Returns 0; -EINVAL with parameter "device"; what backend_open() and probe() say of a device that
 * was named.
 */
int choose_backend(const struct settings *settings, const struct backend **ret_backend,
                   const char **ret_ordinals, struct error *err);

#endif
