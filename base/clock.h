/*
 * clock.h - the two clocks of the program
 *
 * Deadlines and durations use the monotonic clock only; wall time appears in `created`
 * fields and log stamps. Any thread.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Microseconds of CLOCK_MONOTONIC. */
int64_t clock_now_us(void);

/* Microseconds since the epoch, CLOCK_REALTIME. */
int64_t clock_wall_us(void);

#endif
