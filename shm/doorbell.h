/*
 * doorbell.h - an eventfd that wakes one process
 *
 * Everybody who may wake a process holds its doorbell's descriptor. All ends are non-blocking
 * (the flag belongs to the open file description, which they share).
 */
#ifndef SHM_DOORBELL_H
#define SHM_DOORBELL_H

int doorbell_create(int *ret_fd); /* 0 or a negative errno */
void doorbell_ring(int fd);       /* never blocks, never fails the caller */
void doorbell_clear(int fd);

#endif
