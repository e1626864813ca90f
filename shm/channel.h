/*
 * channel.h - a control socket: small messages, with descriptors
 *
 * One SOCK_SEQPACKET pair between the supervisor and each child. Message borders are kept;
 * a message is at most CHANNEL_MESSAGE_MAX bytes and CHANNEL_FDS_MAX descriptors. Received
 * descriptors are close-on-exec.
 */
#ifndef SHM_CHANNEL_H
#define SHM_CHANNEL_H

#include <stddef.h>

enum { CHANNEL_MESSAGE_MAX = 2048, CHANNEL_FDS_MAX = 16 };

/* Both ends non-blocking and close-on-exec. Returns 0 or a negative errno. */
int channel_create(int ret_fds[2]);

/* Returns 0; -EAGAIN when the peer does not read; -EPIPE when it is gone. Keeps the caller's
 * descriptors open. */
int channel_send(int channel, const void *message, size_t len, const int *fds, size_t num_fds);

/*
 * Returns the length of the message; 0 at the end (peer gone); -EAGAIN when none waits;
 * -EPROTO when a message was too long or carried too many descriptors (they are closed).
 * The received descriptors are the caller's.
 */
int channel_receive(int channel, void *message, size_t size, int *ret_fds, size_t *ret_num_fds);

#endif
