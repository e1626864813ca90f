/*
 * role.h - what a child process of the supervisor does: it is told by the first message
 */
#ifndef CLI_ROLE_H
#define CLI_ROLE_H

/* Wait for HELLO on the control socket and become what it says. Returns the exit code. */
int role_main(int control_fd);

#endif
