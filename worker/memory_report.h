/*
 * memory_report.h - where the memory of a device of its own has gone, in one sentence
 */
#ifndef WORKER_MEMORY_REPORT_H
#define WORKER_MEMORY_REPORT_H

#include "kernels/backend.h"

enum { MEMORY_REPORT_BYTES = 512 };

/* "weights 1.1 GiB, KV cache 100.3 GiB, ..., 7.5 GiB left". Returns false, and an empty text, where
 * the device's memory is the host's. */
bool memory_report(const struct backend *backend, const struct device *device,
                   char text[MEMORY_REPORT_BYTES]);

#endif
