/*
 * recover.pml - a request that goes on at the next engine (frontend/session/recover.c)
 *
 * One request, an answer of LENGTH tokens. The supervisor may declare the engine dead at any
 * instant; what it declared dead may run on for ever, or stop anywhere. A cell carries the
 * position, the run that produced it and what that run began behind; EPOCH is its ring's.
 * Claims: the journal takes positions 1..LENGTH, each once and in order, and a run that it takes
 * tokens from began behind exactly what the journal had (no splice); the answer gets complete
 * under weak fairness. Wrong variants, which must fail:
 *   -DINPLACE           the old rings are emptied and used again
 *   -DINPLACE -DTAGGED  the same, and cells of another epoch are dropped by their tag
 *   -DTWICE             a request may be told twice to one engine (a timer)
 */
#define LENGTH 3
#define DEATHS 2
#ifdef INPLACE
#define RING(e) 0
#else
#define RING(e) (e) /* new segments for each epoch; the old ones are nobody's */
#endif

byte epoch = 0;    /* the supervisor alone changes it */
byte num_runs = 0; /* ghost: names the runs */
byte accepted = 0; /* the journal's count */
chan submit[DEATHS + 1] = [2] of { byte, byte };                   /* accepted, epoch */
chan complete[DEATHS + 1] = [LENGTH] of { byte, byte, byte, byte }; /* pos, run, began behind, epoch */

proctype sequence(byte e, from, me) {
  byte pos = from;
  do
  :: pos < LENGTH -> complete[RING(e)]!pos + 1, me, from, e; pos++
  :: pos == LENGTH -> break
  od
}

proctype engine(byte e) {
  byte from, tag;
end:
  do
  :: submit[RING(e)]?from, tag -> atomic { num_runs++; run sequence(e, from, num_runs) }
  od
}

active proctype supervisor() {
  byte a, b, c, d;
  run engine(0);
  do
  :: epoch < DEATHS ->
     atomic {
#ifdef INPLACE
       do :: submit[0]?a, b :: empty(submit[0]) -> break od;
       do :: complete[0]?a, b, c, d :: empty(complete[0]) -> break od;
#endif
       epoch++
     }
     run engine(epoch)
  :: break
  od
}

active proctype frontend() {
  byte seen = 255, pos, me, from, tag, last = 0;
  bool again = false;
  do
  :: accepted == LENGTH -> break
  :: accepted < LENGTH && seen != epoch -> /* a new link: the journal is told */
     seen = epoch;
     submit[RING(seen)]!accepted, seen
#ifdef TWICE
  :: accepted < LENGTH && seen != 255 && !again && nfull(submit[RING(seen)]) ->
     again = true;
     submit[RING(seen)]!accepted, seen
#endif
  :: accepted < LENGTH && seen == epoch ->
     if
     :: complete[RING(seen)]?pos, me, from, tag ->
#ifdef TAGGED
        if
        :: tag != seen -> goto next
        :: else -> skip
        fi;
#endif
        if
        :: pos == accepted + 1 ->
           assert(me == last || pos == from + 1);
           last = me;
           accepted++
        :: pos <= accepted -> skip       /* a duplicate */
        :: else -> assert(false)         /* a gap */
        fi
     :: seen != epoch -> skip
     :: timeout -> skip
     fi;
next:
     skip
  od
}

ltl done { <>(accepted == LENGTH) }
