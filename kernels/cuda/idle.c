#include "kernels/cuda/idle.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct idle *idle_open(void)
{
    const char *path = getenv("TOKENRING_GPU_IDLE");
    const int fd = path != NULL ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    void *idle = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(struct idle)) == 0)
        idle = mmap(NULL, sizeof(struct idle), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    return idle != MAP_FAILED ? idle : NULL;
}

void idle_note(struct idle *idle, float us)
{
    idle->times[idle->num % IDLE_MAX_TIMES] = us;
    idle->num++;
}

void idle_close(struct idle *idle)
{
    if (idle != NULL)
        munmap(idle, sizeof(*idle));
}
