/*
 * generate.h - `tokenring generate`: the command line in a frontend's seat
 */
#ifndef CLI_GENERATE_H
#define CLI_GENERATE_H

#include <stddef.h>

#include "proto/records/control.h"

/* The role: stream one answer to the terminal, or hold a chat. Returns the exit code. */
int generate_main(int control_fd, const struct control_message *hello, const int *fds,
                  size_t num_fds);

#endif
