/*
 * guess.h - wrong API keys, counted by the address they come from
 *
 * An address may be wrong ten times a minute; then it is told to wait until its bucket has filled
 * again. A table of fixed size: whoever was seen longest ago makes room, so a flood of addresses
 * takes no memory. Not for loopback: behind it is a proxy, for many.
 */
#ifndef FRONTEND_GUESS_H
#define FRONTEND_GUESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { GUESS_PER_MINUTE = 10, GUESS_ADDRESSES = 1024 };

struct guess_entry {
    struct in6_addr address;
    double left;
    int64_t seen_us; /* 0: free */
};

struct guess_table {
    struct guess_entry entries[GUESS_ADDRESSES];
};

/* A wrong key came. Returns 0, or how long the address has to wait before the next is looked at. */
uint32_t guess_refuse(struct guess_table *table, const struct in6_addr *address, int64_t now_us);

#endif
