/*
 * room.h - who runs and who gave up its blocks: the scheduler's arrays and its KV blocks
 *
 * Parts of the scheduler that deciding who goes on (scheduler.c) and who starts (start.c) share.
 * Threads: engine thread only. Nothing here allocates.
 */
#ifndef WORKER_ROOM_H
#define WORKER_ROOM_H

#include "worker/scheduler.h"

int32_t room_blocks_of(const struct scheduler *s, int32_t num_positions);

/* How many more sequences may hold a place. */
int32_t room_num_places(const struct scheduler *s);

/* Are `num` blocks free in each group? */
bool room_has_blocks(const struct scheduler *s, int32_t num);

/* `num` more blocks in each group; the caller saw that they are free. */
void room_add_blocks(struct scheduler *s, struct sequence *sequence, int32_t num);
void room_drop_blocks(struct scheduler *s, struct sequence *sequence);

/* `running` and `preempted` are sorted by rank and age. */
void room_insert(struct sequence **array, int32_t *num, struct sequence *sequence);
void room_remove(struct sequence **array, int32_t *num, const struct sequence *sequence);

/* Take its blocks away: its tokens stay, it starts again. */
void room_preempt(struct scheduler *s, struct sequence *sequence);

/* Blocks for all tokens of a running sequence, those of others if need be. Returns false when it
 * was preempted itself. */
bool room_grow(struct scheduler *s, struct sequence *sequence);

#endif
