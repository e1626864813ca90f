/*
 * bench.h - `tokenring bench`: how fast a model runs, from a frontend's seat
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stddef.h>

#include "proto/records/control.h"

/*
 * The role: prompts of random tokens through the engine, one kind of load after the other, and a
 * table of rates on stdout. Returns the exit code.
 */
int bench_main(int control_fd, const struct control_message *hello, const int *fds, size_t num_fds);

#endif
