#include "worker/load_report.h"

#include <stdio.h>

bool load_report(const struct backend *backend, const struct device *device,
                 const struct load_rate *rate, char text[LOAD_REPORT_BYTES])
{
    struct load_report ways;
    text[0] = '\0';
    if (backend->load_report == NULL)
        return false;
    backend->load_report(device, &ways);
    const double us = rate->us > 0 ? (double)rate->us : 1.0;
    snprintf(text, LOAD_REPORT_BYTES,
             "%.2f GB in %.2f s, %.2f GB/s %s; copied from where they were read %.2f GB, through "
             "other memory %.2f GB, packed %.2f GB",
             (double)rate->bytes / 1e9, us / 1e6, (double)rate->bytes / us / 1e3,
             rate->was_direct ? "by direct reads" : "through the page cache",
             (double)ways.sent / 1e9, (double)ways.copied / 1e9, (double)ways.packed / 1e9);
    return true;
}
