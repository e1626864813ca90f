#include "supervisor/oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

/* In a container the path may name a place that is not mounted; then the mount point is the group.
 */
static int open_counter(const char *mount, const char *group, const char *name)
{
    char path[3 * PATH_BYTES];
    snprintf(path, sizeof(path), "%s%s/%s", mount, group, name);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    snprintf(path, sizeof(path), "%s/%s", mount, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* A line of /proc/self/cgroup is "id:controllers:path"; v2's has no controllers. */
static int open_line(char *line, const char *cgroup)
{
    char mount[PATH_BYTES + 8];
    char *controllers = strchr(line, ':'), *group;
    line[strcspn(line, "\n")] = '\0';
    if (controllers == NULL || (group = strchr(controllers + 1, ':')) == NULL)
        return -1;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return open_counter(cgroup, group, "memory.events");
    if (strcmp(controllers, "memory") != 0)
        return -1;
    snprintf(mount, sizeof(mount), "%s/memory", cgroup);
    return open_counter(mount, group, "memory.oom_control");
}

static int64_t read_counter(int fd)
{
    char text[1024];
    const ssize_t n = fd >= 0 ? pread(fd, text, sizeof(text) - 1, 0) : -1;
    text[n > 0 ? n : 0] = '\0';
    for (const char *line = text; line != NULL && *line != '\0';) {
        if (strncmp(line, "oom_kill ", 9) == 0)
            return strtoll(line + 9, NULL, 10);
        line = strchr(line, '\n');
        line += line != NULL;
    }
    return 0;
}

void oom_open(struct oom *oom, const char *proc, const char *cgroup)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    *oom = (struct oom){ .fd = -1 };
    snprintf(path, sizeof(path), "%s/self/cgroup", proc);
    FILE *file = fopen(path, "re");
    while (file != NULL && oom->fd < 0 && fgets(line, sizeof(line), file) != NULL)
        oom->fd = open_line(line, cgroup);
    if (file != NULL)
        fclose(file);
    oom->num_kills = read_counter(oom->fd);
}

bool oom_has_killed(struct oom *oom)
{
    const int64_t before = oom->num_kills;
    oom->num_kills = read_counter(oom->fd);
    return oom->num_kills > before;
}
