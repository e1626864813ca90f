/*
 * oom.h - did the kernel kill somebody of this control group for want of memory?
 *
 * A process that is killed so ends by SIGKILL as if somebody had done it from outside; only the
 * group's counter tells: oom_kill in memory.events (v2) or memory.oom_control (v1).
 */
#ifndef SUPERVISOR_OOM_H
#define SUPERVISOR_OOM_H

#include <stdbool.h>
#include <stdint.h>

struct oom {
    int fd; /* of the file with the counter; -1: there is none, and nothing is ever noticed */
    int64_t num_kills;
};

/* From where `proc` and `cgroup` are mounted: "/proc" and "/sys/fs/cgroup". */
void oom_open(struct oom *oom, const char *proc, const char *cgroup);

/* Has the counter risen since it was asked last? */
bool oom_has_killed(struct oom *oom);

#endif
