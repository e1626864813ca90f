#include "frontend/guess.h"

#include <string.h>

enum { MINUTE_US = 60 * 1000 * 1000, WAYS = 4 };

/* The places where the address may stand: few, so that a look costs the same whoever asks. */
static uint32_t first_place(const struct in6_addr *address)
{
    uint64_t halves[2];
    memcpy(halves, address, sizeof(halves));
    const uint64_t hash = (halves[0] ^ halves[1] * 0x9E3779B97F4A7C15u) * 0xBF58476D1CE4E5B9u;
    return (uint32_t)(hash >> 40) % (GUESS_ADDRESSES / WAYS) * WAYS;
}

/* The entry of the address, or the one that makes room for it. */
static struct guess_entry *find(struct guess_table *table, const struct in6_addr *address)
{
    struct guess_entry *ways = &table->entries[first_place(address)], *oldest = ways;
    for (int i = 0; i < WAYS; i++) {
        if (ways[i].seen_us != 0 && memcmp(&ways[i].address, address, sizeof(*address)) == 0)
            return &ways[i];
        if (ways[i].seen_us < oldest->seen_us)
            oldest = &ways[i];
    }
    *oldest = (struct guess_entry){ .address = *address, .left = GUESS_PER_MINUTE };
    return oldest;
}

static double left_now(const struct guess_entry *entry, int64_t now_us)
{
    const double left =
        entry->left + (double)GUESS_PER_MINUTE * (double)(now_us - entry->seen_us) / MINUTE_US;
    return left < GUESS_PER_MINUTE ? left : GUESS_PER_MINUTE;
}

uint32_t guess_refuse(struct guess_table *table, const struct in6_addr *address, int64_t now_us)
{
    struct guess_entry *entry = find(table, address);
    const double left = entry->seen_us != 0 ? left_now(entry, now_us) : entry->left;
    const bool passes = left >= 1;
    entry->left = passes ? left - 1 : left;
    entry->seen_us = now_us;
    return passes ? 0 : (uint32_t)((1 - left) * 60000 / GUESS_PER_MINUTE) + 1;
}
