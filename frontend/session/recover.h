/*
 * recover.h - requests between two engines: held when one dies, told to the next
 *
 * A held prompt is at no engine; its request, its text and its client's stream stay as they are.
 * The list is ordered by age, and nothing new is submitted while somebody is in it. Each prompt
 * is told to an engine once: what does not fit on the ring now stays at the head of the list.
 *
 * recover_hold(), recover_resubmit() and recover_expire() run callbacks: the caller ends the
 * batch.
 */
#ifndef FRONTEND_SESSION_RECOVER_H
#define FRONTEND_SESSION_RECOVER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/records/record.h"

struct session;
struct engine_link;
struct journal;

/* Take everybody away from an engine that is down. Choices whose end was only not said yet end. */
void recover_hold(struct session *session, struct engine_link *link);

/* Forget one that is held: its request is over. */
void recover_drop(struct session *session, struct journal *journal);

/* Tell an engine about the oldest ones: as many as there is room for, and so few that a turn of
 * the loop stays short. */
void recover_resubmit(struct session *session);

/* Could more be told now? */
bool recover_may_go_on(const struct session *session);

/* Fail whose deadline has passed and who is held for too long. */
void recover_expire(struct session *session, int64_t now_us);

/* Nobody will come: fail all. */
void recover_give_up(struct session *session, enum record_failure failure);

#endif
