/*
 * room.h - who runs and who gave up its blocks: the scheduler's arrays and its KV blocks
 *
 * Parts of the scheduler that deciding who goes on (scheduler.c) and who starts (start.c) share.
 * Threads: engine thread only. Nothing here allocates.
 */
#ifndef WORKER_ROOM_H
#define WORKER_ROOM_H

#include "worker/scheduler.h"

/* How many more sequences may hold a place. */
int32_t room_num_places(const struct scheduler *s);

/* The longest chunk of one sequence for which there is room behind its windows. */
int32_t room_chunk(const struct scheduler *s);

/* Are `num` blocks free? */
bool room_has_blocks(const struct scheduler *s, int64_t num);

/* Blocks that a sequence of `length` positions takes when it has those of [0, pos), as far as the
 * row at `pos` reads them. */
int64_t room_num_wanted(const struct scheduler *s, int32_t pos, int32_t length);

/* Blocks for `length` positions, behind windows as far as two chunks go; the caller saw that they
 * are free. */
void room_add_blocks(struct scheduler *s, struct sequence *sequence, int32_t length);
void room_drop_blocks(struct scheduler *s, struct sequence *sequence);

/* Give back what lies behind the windows of rows from position `end` on. */
void room_give_back(struct scheduler *s, struct sequence *sequence, int32_t end);

/* `running` and `preempted` are sorted by rank and age. */
void room_insert(struct sequence **array, int32_t *num, struct sequence *sequence);
void room_remove(struct sequence **array, int32_t *num, const struct sequence *sequence);

/* Take its blocks away: its tokens stay, it starts again. */
void room_preempt(struct scheduler *s, struct sequence *sequence);

/* Blocks for all tokens of a running sequence, as room_add_blocks(); those of others if there are
 * none for its next position. Returns false when it was preempted itself. */
bool room_grow(struct scheduler *s, struct sequence *sequence);

#endif
