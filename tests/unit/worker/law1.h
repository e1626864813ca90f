/*
 * law1.h - the first law, as something to try: answers under one set of circumstances, compared
 * to the last bit with those that the requests get alone
 *
 * Requests are LAW1_NUM_REQUESTS of a mixture that uses every parameter (world_ask()), with
 * prompts of 1 to 180 tokens, some of several spans of attention, and short answers. What is
 * compared are tokens, log-probabilities of output and prompt, reasons, and a hash of all logits
 * of each position that was sampled.
 *
 * The reference of a model, KV type and number of ranks: each request alone in an engine without
 * a prefix cache, on one thread, its prompt in one chunk, each step planned when the one before
 * has ended.
 */
#ifndef TESTS_UNIT_WORKER_LAW1_H
#define TESTS_UNIT_WORKER_LAW1_H

#include "world.h"

enum {
    LAW1_NUM_REQUESTS = 64,
    LAW1_MIN_TOKENS = 14, /* of each answer */
    LAW1_MAX_TOKENS = 18,
    LAW1_MAX_CHOICES = 3,
    LAW1_MAX_SCORES = 80,
};

struct law1_model {
    const char *dir;
    int32_t max_len;
};

extern const struct law1_model law1_models[];
extern const int32_t law1_num_models;

enum { LAW1_NUM_KV_TYPES = 5 };
extern const enum dtype law1_kv_types[LAW1_NUM_KV_TYPES];

int32_t law1_model_named(const char *name);

/* A model in a file that the test has made; one at a time. Returns its number. */
int32_t law1_model_made(const char *path);

/* What the prefix cache holds when the requests come. */
enum law1_start { LAW1_OFF, LAW1_COLD, LAW1_PARTIAL, LAW1_WHOLE, LAW1_NUM_STARTS };

/* How running sequences lose their place to requests that come first: there are not enough
 * blocks for both, or not enough seats. */
enum law1_pest { LAW1_NO_PEST, LAW1_TINY_POOL, LAW1_FEW_SEATS, LAW1_NUM_PESTS };

enum { LAW1_NUM_PREEMPTIONS = 5 }; /* of each choice that is long enough, where there is a pest */

struct law1_case {
    int32_t model; /* in law1_models */
    enum dtype kv_dtype;
    int32_t num_ranks;
    int32_t first, num; /* requests, modulo LAW1_NUM_REQUESTS */
    int32_t batch;      /* asked for at once; the next when they have ended */
    int32_t chunk;      /* token budget of a step */
    int32_t num_seqs, num_threads;
    enum law1_start start;
    enum law1_pest pest;
    int32_t num_restarts; /* of the engine, while a batch is answered */
    bool plans_ahead;     /* a step while the one before runs */
    bool is_staggered;    /* requests of a batch come one after another */
    bool is_read_slowly;
    bool is_watched; /* all logits are compared */
    uint64_t seed;   /* of cuts and pauses */
};

/* Everything else as it usually is. */
struct law1_case law1_usual(int32_t model, enum dtype kv_dtype, int32_t num_ranks);

struct law1_choice {
    int32_t num_tokens, reason, stop_id;
    int32_t tokens[LAW1_MAX_TOKENS];
    struct record_logprob logprobs[LAW1_MAX_TOKENS][1 + 5];
    uint64_t logits[LAW1_MAX_TOKENS]; /* hashes */
};

struct law1_answer {
    int32_t num_scores;
    struct record_logprob scores[LAW1_MAX_SCORES][1 + 5];
    struct law1_choice choices[LAW1_MAX_CHOICES];
};

/* Compute what the case is compared with, each request once in this process. */
void law1_prepare(const struct law1_case *c);

/* Answers of the requests `first` and on, into ret_answers[request]. Fails the test where a
 * circumstance that the case asks for does not occur. */
void law1_answer(const struct law1_case *c, struct law1_answer *ret_answers);

/* Compare with what was prepared; returns the first difference in words, NULL when there is none.
 */
const char *law1_difference(const struct law1_case *c, const struct law1_answer *answers);

/* Prepare, answer, compare, and fail the test with the case in words. */
void law1_check(const struct law1_case *c);

/* The case in words, in a buffer that is used again. */
const char *law1_describe(const struct law1_case *c);

/* A case of chance, by (seed, number). */
struct law1_case law1_random(uint64_t seed, uint32_t number, int32_t num_ranks);

/* Of the environment (LAW1_SEED), else always the same. */
uint64_t law1_seed(void);

/* To be broken: requests get other seeds; logits depend on how many rows stand beside. */
struct law1_faults {
    uint32_t seed_shift;
    bool sees_batch;
};
extern struct law1_faults law1_faults;

#endif
