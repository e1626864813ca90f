#include "cli/title.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

extern char **environ;

static char *area;
static size_t area_bytes;

/* The kernel shows what lies from argv[0] on; the strings of argv and the environment follow each
 * other there, so both together are the room for a title. */
void title_init(int argc, char **argv)
{
    char *end = argv[argc - 1] + strlen(argv[argc - 1]) + 1;
    size_t num = 0;
    while (environ[num] != NULL)
        num++;
    char **moved = calloc(num + 1, sizeof(*moved));
    for (size_t i = 0; moved != NULL && i < num; i++) {
        if (environ[i] == end)
            end += strlen(environ[i]) + 1;
        moved[i] = strdup(environ[i]);
        if (moved[i] == NULL)
            return;
    }
    if (moved == NULL)
        return;
    environ = moved;
    area = argv[0];
    area_bytes = (size_t)(end - area);
}

void title_set(const char *format, ...)
{
    char title[128];
    va_list args;
    va_start(args, format);
    vsnprintf(title, sizeof(title), format, args);
    va_end(args);
    prctl(PR_SET_NAME, title);
    if (area == NULL)
        return;
    memset(area, 0, area_bytes);
    snprintf(area, area_bytes, "%s", title);
}
