/*
 * doorbell.pml - the sleep handshake between a ring's consumer and its producer
 *
 * Consumer: sleeping = 1; fence; look at tail; wait. Producer: store tail; fence; look at sleeping.
 * A store that has not left the store buffer when the load behind it is done is modelled by
 * doing the load first (-DNOFENCE_P, -DNOFENCE_C). Wrong variants, which must fail:
 *   -DNOFENCE_P  the producer looks at the flag before its tail is seen
 *   -DNOFENCE_C  the consumer looks at tail before its flag is seen
 *   -DNORECHECK  the consumer sleeps without looking again
 * Claim: every message is taken, so nobody sleeps for ever beside a full ring.
 */
#define MSGS 3

byte tail = 0, taken = 0;
bit sleeping = 0, seen_flag;
byte bell = 0, seen_tail;

active proctype producer() {
  byte sent = 0;
  do
  :: sent == MSGS -> break
  :: else ->
     sent++;
#ifdef NOFENCE_P
     seen_flag = sleeping;
     tail = sent;
#else
     tail = sent;
     seen_flag = sleeping;
#endif
     if
     :: seen_flag -> bell = 1
     :: else -> skip
     fi
  od
}

active proctype consumer() {
  do
  :: taken == MSGS -> break
  :: taken < tail -> taken++
  :: taken == tail && taken < MSGS ->
#ifdef NOFENCE_C
     seen_tail = tail;
     sleeping = 1;
#else
     sleeping = 1;
#ifdef NORECHECK
     seen_tail = taken;
#else
     seen_tail = tail;
#endif
#endif
     if
     :: seen_tail != taken -> sleeping = 0
     :: else ->
        bell == 1;                 /* waits */
        bell = 0;
        sleeping = 0
     fi
  od
}

ltl live { <>(taken == MSGS) }
