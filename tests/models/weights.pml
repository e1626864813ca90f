/*
 * weights.pml - weights outlive their worker (worker/worker.c, supervisor/seats.c and deaths.c)
 *
 * A worker that is given no weights fills memory piece by piece and hands it over when it is whole;
 * one that is given weights attaches them. Whoever hands over may have filled them wrongly, which
 * ends every worker that attaches them before it is ready. Kills from outside may come at any step.
 * The supervisor reads what a worker sent before it buries it, and a worker that ended by its own
 * fault before it was ready costs the seat its weights.
 * Claims: nobody attaches what is not whole; there are never two copies; two starts at most fail
 * by themselves, and the engine is ready in the end. Wrong variants, which must fail:
 *   -DEARLY   handed over when loading begins
 *   -DSTAY    weights stay in the seat whatever became of those who attached them
 *   -DBESIDE  a worker that cannot use what it was given loads beside it
 */
#define PIECES 2
#define KILLS  2
#define BAD    2 /* loads that may go wrong */

mtype = { KEEP, READY };
mtype = { NONE, KILLED, OWN };

chan control = [2] of { mtype };
mtype end = NONE;              /* how the worker ended; NONE: it lives */
bool alive = false, is_ready = false;

byte file = 0;                 /* pieces of the newest memory file that are filled */
bool file_bad = false;
bool kept = false;             /* the supervisor holds that file */
byte copies = 0;               /* files that somebody holds */
byte kills = KILLS, bad = BAD, failed = 0;

/* The worker's own hold on a file goes with it; the supervisor's stays. */
inline ends_by(how) {
    atomic {
        if
        :: holds && !kept && !sent -> copies--
        :: else
        fi;
        end = how;
        alive = false;
        goto over
    }
}

inline may_be_killed() {
    if
    :: kills > 0 -> kills--; ends_by(KILLED)
    :: true
    fi
}

proctype worker(bool given) {
    bool holds = false, sent = false;
    if
    :: given ->
        assert(file == PIECES);
        if
        :: file_bad ->
#ifdef BESIDE
            atomic { copies++; assert(copies <= 1) }
#endif
            ends_by(OWN)
        :: else
        fi
    :: else ->
        atomic { copies++; assert(copies <= 1); file = 0; file_bad = false; holds = true }
#ifdef EARLY
        atomic { control!KEEP; sent = true }
#endif
        do
        :: file < PIECES -> file++; may_be_killed()
        :: else -> break
        od;
        if
        :: bad > 0 -> bad--; file_bad = true
        :: true
        fi;
#ifndef EARLY
        atomic { control!KEEP; sent = true }
#endif
    fi;
    may_be_killed();
    control!READY;
    do /* it serves */
    :: kills > 0 -> kills--; ends_by(KILLED)
    :: file_bad && failed == 0 && kills == 0 -> ends_by(OWN) /* a crash that the weights cause */
    od;
over:
    skip
}

inline read_all() {
    do
    :: control?KEEP -> kept = true
    :: control?READY -> is_ready = true; was_ready = true
    :: empty(control) -> break
    od
}

active proctype supervisor() {
    bool was_ready;
endless:
    do
    :: !alive && end == NONE ->
        was_ready = false;
        atomic { alive = true; run worker(kept) }
    :: alive && nempty(control) -> read_all()
    :: !alive && end != NONE ->
        read_all();
        atomic {
            is_ready = false;
            if
            :: end == OWN && !was_ready ->
                failed++;
                assert(failed <= BAD);
#ifndef STAY
                if
                :: kept -> kept = false; copies--
                :: else
                fi
#endif
            :: else
            fi;
            end = NONE
        }
    od
}

ltl ready { <>[]is_ready }
