/*
 * poison.pml - a request that ends every engine (frontend/session/suspect.c, worker/scheduler.c)
 *
 * Request 0 ends the engine in some step that it takes part in, at once or after a while; 1 and 2
 * are innocent, of different lengths. One kill from outside, which nobody is blamed for, may come
 * at any step. Journals outlive engines, so the innocent keep their progress. The rule: who took
 * part in SUSPECT steps that ended an engine is a suspect and gets steps of its own, in turn with
 * everybody else, to its end; a death in such a step convicts it. A device may have been given a
 * step of everybody's behind another: when it fails, nobody knows in which of them, and both are
 * blamed. While there is a suspect nothing is given behind anything. An engine of several ranks has
 * several devices: a step is over when all of them have ended it, so a death is that of a step
 * which is not.
 * Claims: the innocent never fail, at most 3 engines are lost; everybody gets an end. Wrong
 * variants, which must fail:
 *   -DNAIVE  who took part in three deaths fails
 *   -DCLEAR  a suspect is cleared by a good step of its own
 *   -DOLDER  of two steps only the older is blamed: a request that ends engines in its first step
 *            is never found
 *   -DLEADER a step is over when the leader's device has ended it: what another rank dies of is
 *            blamed on the step that follows
 */
#define REQUESTS 3
#define SUSPECT  2
#define WAITS    0
#define THROUGH  1
#define FAILED   2

byte state[REQUESTS], blamed[REQUESTS], left[REQUESTS];
bit in_step[REQUESTS], in_before[REQUESTS]; /* in_before: of everybody's step before this one */
bit is_late; /* request 0 comes a step after the others, to each engine */
byte deaths = 0, outside = 1, fuse = 2;

inline plan_step() {
  atomic {
    turn = (turn + 1) % (REQUESTS + 1); /* REQUESTS: everybody else's */
    i = 0;
    rows = 0;
    do
    :: i < REQUESTS ->
#ifdef NAIVE
       in_step[i] = (state[i] == WAITS && turn == REQUESTS);
#else
       in_step[i] = (state[i] == WAITS && ((turn == REQUESTS && blamed[i] < SUSPECT) ||
                                           (turn == i && blamed[i] >= SUSPECT)));
#endif
       if
       :: i == 0 && turn == REQUESTS && is_late -> in_step[0] = 0; is_late = 0
       :: else -> skip
       fi;
       rows = rows + in_step[i];
       i++
    :: else -> break
    od;
    /* Both steps are everybody's, and there was no suspect to go in turn with. */
    is_behind = was_shared && turn == REQUESTS && blamed[0] < SUSPECT && blamed[1] < SUSPECT &&
                blamed[2] < SUSPECT
  }
}

inline finish_step() {
  atomic {
#ifdef CLEAR
    if
    :: turn < REQUESTS && in_step[0] -> blamed[0] = 0
    :: else -> skip
    fi;
#endif
    was_shared = (turn == REQUESTS);
    in_before[0] = in_step[0];
    in_before[1] = in_step[1];
    in_before[2] = in_step[2];
    i = 1;
    do
    :: i < REQUESTS && in_step[i] ->
       left[i]--;
       if
       :: left[i] == 0 -> state[i] = THROUGH
       :: else -> skip
       fi;
       i++
    :: i < REQUESTS && !in_step[i] -> i++
    :: i == REQUESTS -> break
    od
  }
}

#ifdef OLDER
#define BLAMED(i) (both -> in_before[i] : in_step[i])
#else
#define BLAMED(i) (in_step[i] || (both && in_before[i]))
#endif

/* both: the page still says that the step before runs. */
inline blame() {
  atomic {
    if
    :: is_behind && both -> skip
    :: else -> both = false
    fi;
    i = 0;
    do
    :: i < REQUESTS && BLAMED(i) && attributable ->
       blamed[i]++;
       if
#ifdef NAIVE
       :: blamed[i] == 3 -> state[i] = FAILED
#else
       :: blamed[i] > SUSPECT && rows == 1 && !both -> state[i] = FAILED
#endif
       :: else -> skip
       fi;
       i++
    :: i < REQUESTS && !(BLAMED(i) && attributable) -> i++
    :: i == REQUESTS -> break
    od;
    if
    :: attributable -> deaths++
    :: else -> skip
    fi;
    if
    :: fuse = 0
    :: fuse = 1
    fi;
    if
    :: is_late = 0
    :: is_late = 1
    fi;
    was_shared = 0
  }
}

active proctype engine() {
  byte i, turn, rows;
  bool attributable, both;
  bit was_shared, is_behind;
#ifdef LEADER
  bit is_dying = 0;
#endif
  left[0] = 3;
  left[2] = 2;
  if
  :: left[1] = 1
  :: left[1] = 4
  fi;
  if
  :: is_late = 0
  :: is_late = 1
  fi;
  do
  :: state[0] != WAITS && state[1] != WAITS && state[2] != WAITS -> break
  :: else ->
     plan_step();
#ifdef LEADER
     if
     :: is_dying && rows > 0 -> is_dying = 0; attributable = true; both = false; blame(); goto next
     :: else -> skip
     fi;
#endif
     if
#ifdef LEADER
     :: rows > 0 && in_step[0] -> is_dying = 1; finish_step() /* over, and it kills another rank */
#endif
     :: rows == 0 -> skip
     :: rows > 0 && in_step[0] -> attributable = true; both = false; blame()
     :: rows > 0 && in_step[0] -> attributable = true; both = true; blame()
     :: rows > 0 && in_step[0] && fuse > 0 -> fuse--; finish_step()
     :: rows > 0 && !in_step[0] -> finish_step()
     :: rows > 0 && outside > 0 -> outside--; attributable = false; both = false; blame()
     fi;
#ifdef LEADER
next:
     skip
#endif
  od
}

ltl safe { [](state[1] != FAILED && state[2] != FAILED && deaths <= 3) }
ltl live { <>(state[0] == FAILED && state[1] == THROUGH && state[2] == THROUGH) }
