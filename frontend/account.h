/*
 * account.h - what each API key has open and has used, and the limits on it
 *
 * Every frontend keeps its own numbers and shows them on its status page; a limit is checked
 * against the sum over all pages, so it holds for the server and not for each of its processes.
 * Nobody waits for anybody: two requests that meet at the same instant may both pass.
 *
 * Requests and tokens are counted by buckets that hold a minute's worth and fill evenly. A request
 * needs one whole request and more than no token; the tokens of its prompt and of its answer are
 * taken when they are known, so a bucket may go below zero, and then stays shut until it has
 * made up for it.
 */
#ifndef FRONTEND_ACCOUNT_H
#define FRONTEND_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/status.h"

struct account_limits { /* 0: none */
    int64_t concurrent;
    int64_t requests_per_minute, tokens_per_minute;
};

struct account;
struct account_book;

enum account_verdict {
    ACCOUNT_OPEN,
    ACCOUNT_TOO_MANY,      /* requests at once */
    ACCOUNT_TOO_MANY_WAIT, /* of them in the queue */
    ACCOUNT_TOO_FAST,      /* requests a minute */
    ACCOUNT_TOO_MUCH,      /* tokens a minute */
};

/* `peers` are the other frontends' pages; a NULL base is skipped. All outlives the book. NULL: no
 * memory. */
struct account_book *account_book_create(struct status_page *own, const struct segment *peers,
                                         uint32_t num_peers);
void account_book_destroy(struct account_book *book);

/*
 * The account of that identity (not 0), made when it is new; the limits are those of now on.
 * Valid for a minute behind the call, and as long as one of its requests is open.
 *
 * Returns NULL without memory.
 */
struct account *account_get(struct account_book *book, uint64_t identity,
                            const struct account_limits *limits, int64_t now_us);

/*
 * May it have one more request? `most_waiting` is its share of the queue, 0: all of it.
 *
 * *ret_wait_ms is the time until its bucket lets the next one pass; 0 where that is not known.
 */
enum account_verdict account_check(struct account_book *book, struct account *account,
                                   uint64_t most_waiting, int64_t now_us, uint32_t *ret_wait_ms);

/* Life of a request: begins (and waits), starts or not, ends. */
void account_begin(struct account *account);
void account_start(struct account *account);
void account_end(struct account *account, bool has_started);
void account_charge(struct account *account, uint64_t num_tokens);

/* For those who look: the sums over all pages. */
struct account_use {
    uint64_t open, waiting, requests, tokens;
};
struct account_use account_use(const struct account_book *book, uint64_t identity);

#endif
