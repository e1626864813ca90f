/*
 * broadcast.pml - a leader's plans, two followers, and the death of any rank at any instant
 *
 * Plan p lies in place p % 2. A device runs lists in their order, and list p of a rank ends when
 * all ranks have given theirs to their devices, for they add in it. Two may be there: plan p + 1
 * may be made, and given, before list p ends. What a follower drew in list p is its answer to plan
 * p, in one of two places of its own; the leader reads all answers before the token of step p goes
 * out, and before it writes plan p + 2. A follower that drew another token feeds it to its next
 * list: from there on nobody's tokens are right. One rank may die; the others learn of it only by
 * looking (a process that ended). Wrong variants, which must fail:
 *   -DNOACK     the leader does not wait for the answers
 *   -DONEPLACE  all plans in one place, though the leader may be one ahead
 *   -DONEANSWER all answers of a follower in one place, though it may be one ahead
 *   -DNOLOOK    who waits does not look whether another has ended
 *   -DNOCHECK   the leader does not compare: ranks drift apart in silence
 *   -DLATE      answers to plan p are compared when the token of step p + 1 is out
 * Claims: a follower executes plan p as the leader wrote it; the leader reads the answer to plan p
 * as it was given; no token goes out that a drifted rank had part in; every rank ends: it finishes,
 * notices a death, or stops for a difference.
 */
#define RANKS 3 /* 0 leads */
#define PLANS 3

byte number[2];    /* per place: which plan lies there */
byte planned = 0;  /* leader's count */
byte sent[RANKS];  /* lists that the rank's device was given */
byte finished[RANKS];  /* followers' counts */
byte answered[6];  /* [rank][place]: the plan that the answer belongs to */
bit differs[6];    /* [rank][place]: the answer is another token than the leader's */
bit ended[RANKS];  /* before its time */
bit may_die = 1, may_drift = 1;
byte drifted = 0;  /* the step in which a follower drew another token; 0: none has */
byte over = 0;

#ifdef ONEPLACE
#define PLACE(p) 0
#else
#define PLACE(p) ((p) % 2)
#endif

#ifdef ONEANSWER
#define ANSWER(r, p) ((r) * 2)
#else
#define ANSWER(r, p) ((r) * 2 + (p) % 2)
#endif

#ifdef NOLOOK
#define SEEN(e) 0
#else
#define SEEN(e) (e)
#endif

#define ALL_SENT(p) (sent[0] >= (p) && sent[1] >= (p) && sent[2] >= (p))
#define SOME_ENDED (ended[0] || ended[1] || ended[2])

/* The rank's device has ended list p, or never will. */
inline await_list(p) {
  if
  :: ALL_SENT(p) -> skip
  :: SEEN(SOME_ENDED) -> goto out
  fi
}

/* All followers have; what they answered. */
inline await_answers(p) {
  r = 1;
  found = 0;
  do
  :: r == RANKS -> break
  :: r < RANKS ->
#ifndef NOACK
     if
     :: finished[r] >= p -> skip
     :: SEEN(ended[r]) && finished[r] < p -> goto out
     fi;
#endif
     assert(answered[ANSWER(r, p)] == p);
#ifndef NOCHECK
     found = found || differs[ANSWER(r, p)];
#endif
     r++
  od
}

active proctype leader() {
  byte landed = 0, r;
  bit found = 0, found_before = 0;
  do
  :: landed == PLANS -> break
  :: landed < PLANS && may_die -> may_die = 0; goto out
  :: planned < PLANS && planned - landed < 2 -> /* one may be on its way: or it lands before */
     number[PLACE(planned + 1)] = planned + 1;
     planned++;
     sent[0] = planned
  :: landed < planned ->
     await_list(landed + 1);
     await_answers(landed + 1);
     landed++;
#ifndef LATE
     if
     :: found -> goto out
     :: else -> skip
     fi;
#endif
     assert(drifted == 0 || landed <= drifted); /* its token goes out */
#ifdef LATE
     if
     :: found_before -> goto out
     :: else -> found_before = found
     fi
#endif
  od;
  goto finish;
out:
  ended[0] = 1;
finish:
  over++
}

proctype follower(byte me) {
  byte taken = 0, landed = 0, what;
  do
  :: landed == PLANS -> break
  :: landed < PLANS && may_die -> may_die = 0; goto out
  :: taken < planned && taken - landed < 2 ->
     what = number[PLACE(taken + 1)];
     assert(what == taken + 1);
     taken++;
     sent[me] = taken
  :: landed < taken ->
     await_list(landed + 1);
     landed++;
     if
     :: differs[ANSWER(me, landed)] = (drifted > 0 && drifted < landed)
     :: may_drift -> atomic { may_drift = 0; drifted = landed }; differs[ANSWER(me, landed)] = 1
     fi;
     answered[ANSWER(me, landed)] = landed;
     finished[me] = landed
  :: landed == taken && taken == planned && SEEN(ended[0]) -> goto out
  od;
  goto finish;
out:
  ended[me] = 1;
finish:
  over++
}

init {
  atomic { run follower(1); run follower(2) }
}

ltl live { <>(over == RANKS) }
