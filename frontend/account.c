#include "frontend/account.h"

#include <stddef.h>
#include <stdlib.h>

enum {
    NUM_CHAINS = 256,
    MAX_ROWS = STATUS_ACCOUNTS / 4 * 3, /* beyond it probing gets long */
    IDLE_US = 60 * 1000 * 1000,
    MINUTE_US = 60 * 1000 * 1000,
};

/* A minute's worth at most; what all frontends took since the last look is taken out of it. */
struct bucket {
    double left;
    uint64_t seen; /* the sum over all pages at the last look */
};

struct account {
    struct account *next; /* of its chain */
    uint64_t identity;
    struct account_limits limits;
    struct status_account *row; /* `spare` where the page is full */
    struct status_account spare;
    struct bucket requests, tokens;
    int64_t looked_us, used_us;
};

struct account_book {
    struct status_page *own;
    const struct segment *peers;
    uint32_t num_peers, num_rows;
    struct account *chains[NUM_CHAINS];
};

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

/* One writer. */
static void add(_Atomic uint64_t *word, uint64_t n)
{
    atomic_store_explicit(word, load(word) + n, memory_order_relaxed);
}

/* --- rows of a page ----------------------------------------------------------------------- */

/* The row of that identity, or the free one where it would stand; NULL: neither. */
static const struct status_account *find_row(const struct status_page *page, uint64_t identity)
{
    for (uint64_t i = 0; i < STATUS_ACCOUNTS; i++) {
        const struct status_account *row = &page->accounts[(identity + i) % STATUS_ACCOUNTS];
        const uint64_t found =
            atomic_load_explicit((_Atomic uint64_t *)&row->identity, memory_order_acquire);
        if (found == identity || found == 0)
            return row;
    }
    return NULL;
}

static void add_page(struct account_use *sum, const struct status_page *page, uint64_t identity)
{
    const struct status_account *row = page != NULL ? find_row(page, identity) : NULL;
    if (row == NULL || load(&row->identity) != identity)
        return;
    sum->open += load(&row->open);
    sum->waiting += load(&row->waiting);
    sum->requests += load(&row->requests);
    sum->tokens += load(&row->tokens);
}

static struct account_use use_of_peers(const struct account_book *book, uint64_t identity)
{
    struct account_use sum = { 0 };
    for (uint32_t i = 0; i < book->num_peers; i++)
        add_page(&sum, book->peers[i].base, identity);
    return sum;
}

struct account_use account_use(const struct account_book *book, uint64_t identity)
{
    struct account_use sum = use_of_peers(book, identity);
    add_page(&sum, book->own, identity);
    return sum;
}

static void copy_row(struct status_account *to, const struct status_account *from)
{
    atomic_store_explicit(&to->open, load(&from->open), memory_order_relaxed);
    atomic_store_explicit(&to->waiting, load(&from->waiting), memory_order_relaxed);
    atomic_store_explicit(&to->requests, load(&from->requests), memory_order_relaxed);
    atomic_store_explicit(&to->tokens, load(&from->tokens), memory_order_relaxed);
}

/* Without a limit nothing is ever short. */
static void show(_Atomic uint64_t *word, const struct bucket *bucket, int64_t per_minute)
{
    const double left = per_minute > 0 ? bucket->left : 1e12;
    atomic_store_explicit(word, (uint64_t)(int64_t)(left * 1000), memory_order_relaxed);
}

static void show_buckets(struct account *account)
{
    show(&account->row->requests_left, &account->requests, account->limits.requests_per_minute);
    show(&account->row->tokens_left, &account->tokens, account->limits.tokens_per_minute);
    atomic_store_explicit(&account->row->looked_us, (uint64_t)account->looked_us,
                          memory_order_relaxed);
}

/* Move the account's numbers to a row of the page, where others see them. */
static void take_row(struct account_book *book, struct account *account)
{
    struct status_account *row =
        (struct status_account *)(uintptr_t)find_row(book->own, account->identity);
    account->row = &account->spare;
    if (row == NULL || book->num_rows >= MAX_ROWS)
        return;
    copy_row(row, &account->spare);
    account->row = row;
    show_buckets(account);
    atomic_store_explicit(&row->identity, account->identity, memory_order_release);
    book->num_rows++;
}

/* --- the book ----------------------------------------------------------------------------- */

struct account_book *account_book_create(struct status_page *own, const struct segment *peers,
                                         uint32_t num_peers)
{
    struct account_book *book = calloc(1, sizeof(*book));
    if (book == NULL)
        return NULL;
    book->own = own;
    book->peers = peers;
    book->num_peers = num_peers;
    return book;
}

void account_book_destroy(struct account_book *book)
{
    if (book == NULL)
        return;
    for (int i = 0; i < NUM_CHAINS; i++)
        while (book->chains[i] != NULL) {
            struct account *account = book->chains[i];
            book->chains[i] = account->next;
            free(account);
        }
    free(book);
}

/* Forget who was not here for a minute, and write the page anew. A peer that looks meanwhile finds
 * too little for a moment. */
static void make_room(struct account_book *book, int64_t now_us)
{
    for (int i = 0; i < NUM_CHAINS; i++)
        for (struct account **at = &book->chains[i], *account; (account = *at) != NULL;) {
            copy_row(&account->spare, account->row);
            account->row = &account->spare;
            if (load(&account->spare.open) == 0 && now_us - account->used_us > IDLE_US) {
                *at = account->next;
                free(account);
            } else {
                at = &account->next;
            }
        }
    for (int i = 0; i < STATUS_ACCOUNTS; i++)
        atomic_store_explicit(&book->own->accounts[i].identity, 0, memory_order_relaxed);
    book->num_rows = 0;
    for (int i = 0; i < NUM_CHAINS; i++)
        for (struct account *account = book->chains[i]; account != NULL; account = account->next)
            take_row(book, account);
}

static struct account *create_account(struct account_book *book, uint64_t identity, int64_t now_us)
{
    struct account *account = calloc(1, sizeof(*account));
    if (account == NULL)
        return NULL;
    if (book->num_rows >= MAX_ROWS)
        make_room(book, now_us);
    const struct account_use use = account_use(book, identity);
    account->identity = identity;
    account->requests.seen = use.requests;
    account->tokens.seen = use.tokens;
    account->looked_us = now_us;
    account->next = book->chains[identity % NUM_CHAINS];
    book->chains[identity % NUM_CHAINS] = account;
    take_row(book, account);
    return account;
}

/* How full a frontend that knows the account longer says that a bucket is. */
static double left_at_peers(const struct account_book *book, const struct account *account,
                            size_t word, int64_t per_minute)
{
    double left = (double)per_minute;
    for (uint32_t i = 0; i < book->num_peers; i++) {
        const struct status_page *page = book->peers[i].base;
        const struct status_account *row = page != NULL ? find_row(page, account->identity) : NULL;
        if (row == NULL || load(&row->identity) != account->identity)
            continue;
        const int64_t us = account->looked_us - (int64_t)load(&row->looked_us);
        const double thousandths = (double)(int64_t)load(
            (const _Atomic uint64_t *)(const void *)((const char *)row + word));
        const double theirs = thousandths / 1000 + (double)per_minute * (double)us / MINUTE_US;
        left = theirs < left ? theirs : left;
    }
    return left;
}

/* A limit that is new begins with a full bucket. */
static void set_limits(const struct account_book *book, struct account *account,
                       const struct account_limits *limits)
{
    if (limits->requests_per_minute != account->limits.requests_per_minute)
        account->requests.left =
            left_at_peers(book, account, offsetof(struct status_account, requests_left),
                          limits->requests_per_minute);
    if (limits->tokens_per_minute != account->limits.tokens_per_minute)
        account->tokens.left = left_at_peers(
            book, account, offsetof(struct status_account, tokens_left), limits->tokens_per_minute);
    account->limits = *limits;
}

struct account *account_get(struct account_book *book, uint64_t identity,
                            const struct account_limits *limits, int64_t now_us)
{
    struct account *account = book->chains[identity % NUM_CHAINS];
    while (account != NULL && account->identity != identity)
        account = account->next;
    if (account == NULL)
        account = create_account(book, identity, now_us);
    if (account == NULL)
        return NULL;
    set_limits(book, account, limits);
    account->used_us = now_us;
    return account;
}

/* --- limits ------------------------------------------------------------------------------- */

/* What a frontend that ended had counted is gone from the sum: that is no use. */
static void look(struct bucket *bucket, int64_t per_minute, uint64_t sum, int64_t us)
{
    const double most = (double)per_minute;
    const uint64_t used = sum > bucket->seen ? sum - bucket->seen : 0;
    bucket->left += most * (double)us / MINUTE_US;
    if (bucket->left > most)
        bucket->left = most;
    bucket->left -= (double)used;
    bucket->seen = sum;
}

static bool lets_pass(const struct bucket *bucket, int64_t per_minute, double least,
                      uint32_t *ret_wait_ms)
{
    if (per_minute == 0 || bucket->left >= least)
        return true;
    const double ms = (least - bucket->left) * 60000 / (double)per_minute;
    *ret_wait_ms = ms < 1e9 ? (uint32_t)ms + 1 : 1000000000;
    return false;
}

enum account_verdict account_check(struct account_book *book, struct account *account,
                                   uint64_t most_waiting, int64_t now_us, uint32_t *ret_wait_ms)
{
    const struct account_limits *limits = &account->limits;
    struct account_use use = use_of_peers(book, account->identity);
    use.open += load(&account->row->open);
    use.waiting += load(&account->row->waiting);
    use.requests += load(&account->row->requests);
    use.tokens += load(&account->row->tokens);

    *ret_wait_ms = 0;
    look(&account->requests, limits->requests_per_minute, use.requests,
         now_us - account->looked_us);
    look(&account->tokens, limits->tokens_per_minute, use.tokens, now_us - account->looked_us);
    account->looked_us = now_us;
    show_buckets(account);
    if (limits->concurrent > 0 && use.open >= (uint64_t)limits->concurrent)
        return ACCOUNT_TOO_MANY;
    if (!lets_pass(&account->requests, limits->requests_per_minute, 1, ret_wait_ms))
        return ACCOUNT_TOO_FAST;
    if (!lets_pass(&account->tokens, limits->tokens_per_minute, 1, ret_wait_ms))
        return ACCOUNT_TOO_MUCH;
    if (most_waiting > 0 && use.waiting >= most_waiting)
        return ACCOUNT_TOO_MANY_WAIT;
    return ACCOUNT_OPEN;
}

/* --- use ---------------------------------------------------------------------------------- */

/* What is used here is known here at once. */
static void take_out(struct bucket *bucket, uint64_t n)
{
    bucket->left -= (double)n;
    bucket->seen += n;
}

void account_begin(struct account *account)
{
    take_out(&account->requests, 1);
    show_buckets(account);
    add(&account->row->requests, 1);
    add(&account->row->open, 1);
    add(&account->row->waiting, 1);
}

void account_start(struct account *account)
{
    add(&account->row->waiting, UINT64_MAX);
}

void account_end(struct account *account, bool has_started)
{
    if (!has_started)
        account_start(account);
    add(&account->row->open, UINT64_MAX);
}

void account_charge(struct account *account, uint64_t num_tokens)
{
    take_out(&account->tokens, num_tokens);
    show_buckets(account);
    add(&account->row->tokens, num_tokens);
}
