/*
 * ring.pml - the ring of shm/ring.c: cells, bulk bytes beside them, one producer, one consumer
 *
 * Release and acquire are program order here (spin is sequentially consistent); each wrong
 * variant breaks one of the orders that the C code states, and must fail:
 *   -DRELAXED    tail is published before the cell is written
 *   -DEARLYFREE  a cell is given back before it is copied out
 *   -DBULKEARLY  bulk bytes are given back before they are copied out
 *   -DBULKLATE   the cell is published before its bulk is written
 * Claims: order kept, nothing lost or over-full, a cell's bulk position is the reader's own
 * count, bulk is whole; everything arrives.
 */
#define N    2 /* cells */
#define B    2 /* bulk bytes */
#define MSGS 5
#define MOD  8 /* index space: wraps, MOD % N == 0, MOD % B == 0 */

byte head = 0, tail = 0;           /* cells, free-running modulo MOD */
byte bulk_head = 0;                /* bytes given back by the consumer */
byte cell[N], cell_bulk[N], cell_len[N];
byte bulk[B];
byte wr = 0, rd = 0;               /* ghosts: produced, consumed */

inline write_bulk(value, size, at) {
  k = 0;
  do
  :: k < size -> bulk[(at + k) % B] = value; k++
  :: else -> break
  od
}

active proctype producer() {
  byte t, h, bt = 0, bh, size, k;
  do
  :: wr == MSGS -> break
  :: wr < MSGS ->
     size = (wr < 2 -> wr + 1 : 0); /* 1, 2, then none: each overrun can happen */
     t = tail; h = head; bh = bulk_head;
     if
     :: ((t - h + MOD) % MOD) == N -> skip
     :: ((t - h + MOD) % MOD) < N && ((bt - bh + MOD) % MOD) + size > B -> skip
     :: else ->
#ifdef RELAXED
        tail = (t + 1) % MOD;
#endif
#ifndef BULKLATE
        write_bulk(wr + 1, size, bt);
#endif
        cell[t % N] = wr + 1; cell_bulk[t % N] = bt; cell_len[t % N] = size;
#ifndef RELAXED
        tail = (t + 1) % MOD;
#endif
#ifdef BULKLATE
        write_bulk(wr + 1, size, bt);
#endif
        bt = (bt + size) % MOD;
        wr++
     fi
  od
}

active proctype consumer() {
  byte h, t, v, pos, size, k, bh = 0;
  do
  :: rd == MSGS -> break
  :: rd < MSGS ->
     h = head; t = tail;
     assert(((t - h + MOD) % MOD) <= N);
     if
     :: t == h -> skip
     :: else ->
#ifdef EARLYFREE
        head = (h + 1) % MOD;
#endif
        v = cell[h % N]; pos = cell_bulk[h % N]; size = cell_len[h % N];
        assert(v == rd + 1);
        assert(pos == bh);
#ifdef BULKEARLY
        bulk_head = (bh + size) % MOD;
#endif
        k = 0;
        do
        :: k < size -> assert(bulk[(bh + k) % B] == rd + 1); k++
        :: else -> break
        od;
        bh = (bh + size) % MOD;
        bulk_head = bh;
#ifndef EARLYFREE
        head = (h + 1) % MOD;
#endif
        rd++
     fi
  od
}

ltl live { <>(rd == MSGS) }
