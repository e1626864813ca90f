/*
 * comm.pml - ranks that add: fill an area, join the call, wait for the others, read
 *
 * Each rank has two areas, used in turn, and a count of the calls that it has joined. Whoever
 * finds another behind sleeps on that one's count; the count's owner wakes it. Wrong variants,
 * which must fail:
 *   -DONEAREA    one area: filled again before all have read it
 *   -DEARLY      the call is joined before the area is filled
 *   -DNORECHECK  a rank falls asleep without looking at the count again
 *   -DNOWAIT     the last rank's count is not waited for
 * Claims: what is read in call c was written for call c; every rank finishes every call.
 */
#define RANKS 3
#define CALLS 3

byte area[6];      /* [rank][slot]: the call that its bytes belong to */
byte joined[RANKS];
bit sleeping[RANKS];
byte bell[RANKS];  /* wake-ups given to a sleeper of this rank's count, as a futex gives them */
byte finished = 0;

#ifdef ONEAREA
#define SLOT(c) 0
#else
#define SLOT(c) ((c) % 2)
#endif

/* All of one's counts wake all that sleep: a sleeper that is not concerned looks and sleeps again. */
inline wake_all() {
  d_step {
    k = 0;
    do
    :: k == RANKS -> break
    :: else ->
       if
       :: sleeping[k] && k != me -> bell[k] = 1
       :: else -> skip
       fi;
       k++
    od;
    k = 0
  }
}

inline await(r, c) {
  do
  :: joined[r] >= c -> break
  :: joined[r] < c ->
     sleeping[me] = 1;
#ifdef NORECHECK
     bell[me] == 1;
#else
     if
     :: joined[r] >= c -> skip
     :: joined[r] < c -> (bell[me] == 1 || joined[r] >= c) /* the kernel compares under its lock */
     fi;
#endif
     d_step { bell[me] = 0; sleeping[me] = 0 }
  od
}

proctype rank(byte me) {
  byte c = 1, r, k = 0;
  do
  :: c > CALLS -> break
  :: else ->
#ifdef EARLY
     joined[me] = c;
     area[me * 2 + SLOT(c)] = c;
#else
     area[me * 2 + SLOT(c)] = c;
     joined[me] = c;
#endif
     wake_all();
     r = 0;
     do
     :: r == RANKS -> break
#ifdef NOWAIT
     :: r == RANKS - 1 -> r++
     :: r < RANKS - 1 ->
#else
     :: r < RANKS ->
#endif
        if
        :: r != me -> await(r, c)
        :: else -> skip
        fi;
        r++
     od;
     r = 0;
     do
     :: r == RANKS -> break
     :: else ->
        assert(area[r * 2 + SLOT(c)] == c);
        r++
     od;
     c++
  od;
  finished++
}

init {
  atomic {
    byte i = 0;
    do
    :: i == RANKS -> break
    :: else -> run rank(i); i++
    od
  }
}

ltl live { <>(finished == RANKS) }
