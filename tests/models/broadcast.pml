/*
 * broadcast.pml - a leader's plans, two followers, and the death of any rank at any instant
 *
 * Plan p lies in place p % 2 and is written when all followers have finished plan p - 2. It
 * repeats what the leader sampled in step p - 1; a follower that sampled something else stops.
 * One rank may die; the others learn of it only by looking (a process that ended). Wrong
 * variants, which must fail:
 *   -DNOACK    the leader does not wait for the followers' counts
 *   -DONEPLACE all plans in one place, though the leader may be one ahead
 *   -DNOLOOK   who waits does not look whether the other has ended
 *   -DNOCHECK  a follower does not compare what it sampled: ranks drift apart in silence
 * Claims: a follower executes plan p as the leader wrote it; ranks that go on hold equal tokens;
 * every rank ends: it finishes, notices a death, or stops for a difference.
 */
#define FOLLOWERS 2
#define PLANS 4

byte number[2];   /* per place: which plan lies there */
byte repeated[2]; /* per place: what the leader sampled in the step before */
byte planned = 0; /* leader's count */
byte finished[FOLLOWERS];
bit leader_ended = 0, ended[FOLLOWERS];
bit may_die = 1, may_drift = 1;
byte over = 0;

#ifdef ONEPLACE
#define PLACE(p) 0
#else
#define PLACE(p) ((p) % 2)
#endif

#define SAMPLE(p) ((p) * 2) /* what everybody should sample in step p */

#ifdef NOLOOK
#define SEEN(e) 0
#else
#define SEEN(e) (e)
#endif

active proctype leader() {
  byte p = 1, f;
  do
  :: p > PLANS -> break
  :: p <= PLANS && may_die -> may_die = 0; goto out
  :: p <= PLANS ->
#ifndef NOACK
     f = 0;
     do
     :: f == FOLLOWERS -> break
     :: f < FOLLOWERS ->
        if
        :: p <= 2 || finished[f] >= p - 2 -> f++
        :: SEEN(ended[f]) && !(p <= 2 || finished[f] >= p - 2) -> goto out
        fi
     od;
#endif
     number[PLACE(p)] = p;
     repeated[PLACE(p)] = SAMPLE(p - 1);
     planned = p;
     p++
  od;
out:
  leader_ended = 1;
  over++
}

proctype follower(byte me) {
  byte p = 1, sampled = 0, what;
  do
  :: p > PLANS -> break
  :: p <= PLANS && may_die -> may_die = 0; goto out
  :: p <= PLANS ->
     if
     :: planned >= p -> skip
     :: SEEN(leader_ended) && planned < p -> goto out
     fi;
     what = number[PLACE(p)];
     assert(what == p);
     what = repeated[PLACE(p)];
#ifdef NOCHECK
     assert(what == sampled);
#else
     if
     :: what != sampled -> goto out
     :: else -> skip
     fi;
#endif
     if
     :: sampled = SAMPLE(p)
     :: may_drift -> may_drift = 0; sampled = SAMPLE(p) + 1
     fi;
     finished[me] = p;
     p++
  od;
out:
  ended[me] = 1;
  over++
}

init {
  atomic { run follower(0); run follower(1) }
}

ltl live { <>(over == FOLLOWERS + 1) }
