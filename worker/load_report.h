/*
 * load_report.h - how fast weights came to a device of its own, and by which way, in one sentence
 */
#ifndef WORKER_LOAD_REPORT_H
#define WORKER_LOAD_REPORT_H

#include "kernels/backend.h"

enum { LOAD_REPORT_BYTES = 256 };

struct load_rate {
    uint64_t bytes;  /* of the checkpoint */
    int64_t us;      /* until all had arrived */
    bool was_direct; /* past the page cache */
};

/* "15.01 GB in 3.20 s, 4.69 GB/s by direct reads; copied from where they were read 14.99 GB,
 * through other memory 0.00 GB, packed 0.02 GB". Returns false, and an empty text, where the device
 * is the host. */
bool load_report(const struct backend *backend, const struct device *device,
                 const struct load_rate *rate, char text[LOAD_REPORT_BYTES]);

#endif
