#include "worker/memory_report.h"

#include <stdio.h>

enum { MAX_USES = 16 };

static size_t add(char *text, size_t at, const char *before, const char *behind, double bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;
    for (; bytes >= 1024.0 && unit < 4; unit++)
        bytes /= 1024.0;
    const int len = snprintf(text + at, MEMORY_REPORT_BYTES - at, "%s%s%.*f %s%s",
                             at > 0 ? ", " : "", before, unit > 0, bytes, units[unit], behind);
    return len > 0 && (size_t)len < MEMORY_REPORT_BYTES - at ? at + (size_t)len : at;
}

bool memory_report(const struct backend *backend, const struct device *device,
                   char text[MEMORY_REPORT_BYTES])
{
    struct memory_use uses[MAX_USES];
    const int64_t left = backend->memory_left(device);
    const int32_t num = left >= 0 ? backend->memory_uses(device, uses, MAX_USES) : 0;
    size_t at = 0;
    text[0] = '\0';
    for (int32_t i = 0; i < num; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s ", uses[i].what);
        at = add(text, at, name, "", (double)uses[i].bytes);
    }
    if (left >= 0)
        (void)add(text, at, "", " left", (double)left);
    return left >= 0;
}
