/*
 * poison.pml - a request that ends every engine (frontend/session/suspect.c, worker/scheduler.c)
 *
 * Request 0 ends the engine in some step that it takes part in, at once or after a while; 1 and 2
 * are innocent, of different lengths. One kill from outside, which nobody is blamed for, may come
 * at any step. Journals outlive engines, so the innocent keep their progress. The rule: who took
 * part in SUSPECT steps that ended an engine is a suspect and gets steps of its own, in turn with
 * everybody else, to its end; a death in such a step convicts it.
 * Claims: the innocent never fail, at most 3 engines are lost; everybody gets an end. Wrong
 * variants, which must fail:
 *   -DNAIVE  who took part in three deaths fails
 *   -DCLEAR  a suspect is cleared by a good step of its own
 */
#define REQUESTS 3
#define SUSPECT  2
#define WAITS    0
#define THROUGH  1
#define FAILED   2

byte state[REQUESTS], blamed[REQUESTS], left[REQUESTS];
bit in_step[REQUESTS];
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
       rows = rows + in_step[i];
       i++
    :: else -> break
    od
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

inline blame() {
  atomic {
    i = 0;
    do
    :: i < REQUESTS && in_step[i] && attributable ->
       blamed[i]++;
       if
#ifdef NAIVE
       :: blamed[i] == 3 -> state[i] = FAILED
#else
       :: blamed[i] > SUSPECT && rows == 1 -> state[i] = FAILED
#endif
       :: else -> skip
       fi;
       i++
    :: i < REQUESTS && !(in_step[i] && attributable) -> i++
    :: i == REQUESTS -> break
    od;
    if
    :: attributable -> deaths++
    :: else -> skip
    fi;
    if
    :: fuse = 0
    :: fuse = 1
    fi
  }
}

active proctype engine() {
  byte i, turn, rows;
  bool attributable;
  left[0] = 3;
  left[2] = 2;
  if
  :: left[1] = 1
  :: left[1] = 4
  fi;
  do
  :: state[0] != WAITS && state[1] != WAITS && state[2] != WAITS -> break
  :: else ->
     plan_step();
     if
     :: rows == 0 -> skip
     :: rows > 0 && in_step[0] -> attributable = true; blame()
     :: rows > 0 && in_step[0] && fuse > 0 -> fuse--; finish_step()
     :: rows > 0 && !in_step[0] -> finish_step()
     :: rows > 0 && outside > 0 -> outside--; attributable = false; blame()
     fi
  od
}

ltl safe { [](state[1] != FAILED && state[2] != FAILED && deaths <= 3) }
ltl live { <>(state[0] == FAILED && state[1] == THROUGH && state[2] == THROUGH) }
