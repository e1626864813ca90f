/* The scheduler under a simulated device: a "KV cache" that stores, for every position, a hash
 * of the tokens up to it, and a "model" whose next token is a function of that hash. A wrong
 * block, a missing copy or a position computed twice shows as a wrong hash; the tokens of a
 * request are known beforehand, whatever the schedule was. */
#include "worker/scheduler.h"

#include <check.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    VOCAB = 97,
    BLOCK = 4,
    MAX_LEN = 96,
    MAX_BLOCKS = 64,
    MAX_REQUESTS = 12000,
};

struct expected { /* what a request was made of */
    struct record_params params;
    int32_t prompt[MAX_LEN];
    int32_t num_prompt, num_choices, num_done;
    bool live, cancelled;
    int64_t started_step; /* 0: not yet */
    int32_t first_score;  /* next prompt position that has to be published */
};

struct sim {
    struct scheduler s;
    struct reserve reserve;
    uint64_t kv[MAX_BLOCKS][BLOCK];
    int32_t num_requests, num_live, num_preempted, num_copied;
    int64_t num_hit;
    bool is_shared;                      /* prompts often begin like earlier ones */
    int32_t num_priorities, num_tenants; /* drawn for each request */
    int64_t num_steps;
    bool submits_suspects;
    unsigned seed;
    struct expected requests[MAX_REQUESTS]; /* last: most of it is never touched */
};

static struct sim sim;

static unsigned draw(unsigned below)
{
    sim.seed = sim.seed * 1664525u + 1013904223u;
    return (sim.seed >> 8) % below;
}

static struct scheduler_limits limits_of(int32_t num_seqs, int32_t budget, int32_t num_blocks)
{
    return (struct scheduler_limits){ .max_num_seqs = num_seqs,
                                      .max_num_batched_tokens = budget,
                                      .max_logits = budget < num_seqs ? budget : num_seqs,
                                      .max_model_len = MAX_LEN,
                                      .block_size = BLOCK,
                                      .num_groups = 1,
                                      .num_blocks = num_blocks,
                                      .max_num_queued_reqs = 8,
                                      .max_num_queued_tokens = 1000,
                                      .vocab_size = VOCAB,
                                      .enable_prefix_caching = true };
}

static void begin(struct scheduler_limits limits, unsigned seed)
{
    reserve_finish(&sim.reserve);
    memset(sim.requests, 0, (size_t)(sim.num_requests + 1) * sizeof(sim.requests[0]));
    memset(&sim, 0, offsetof(struct sim, requests));
    sim.seed = seed;
    ck_assert_int_eq(scheduler_init(&sim.s, &limits, &sim.reserve), 0);
}

static uint64_t hash_of(uint64_t before, int32_t token)
{
    const uint64_t h = (before ^ (uint64_t)(token + 1)) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static int32_t next_token(uint64_t hash, int32_t choice)
{
    return (int32_t)((hash + 31 * (uint64_t)choice) % VOCAB);
}

/* --- submitting --------------------------------------------------------------------------- */

static int32_t eos_ids[1] = { 13 };

static int32_t draw_of(int32_t num)
{
    return num > 0 ? (int32_t)draw((unsigned)num) : 0;
}

static enum record_failure submit(int32_t num_prompt, int32_t num_choices, int32_t max_tokens,
                                  int32_t num_logprobs, int32_t num_prompt_logprobs)
{
    const int32_t id = sim.num_requests;
    struct expected *e = &sim.requests[id];
    struct record_submit record = { .num_choices = (uint32_t)num_choices };
    struct request *request;

    ck_assert_int_lt(id, MAX_REQUESTS);
    e->params = (struct record_params){ .max_tokens = (uint32_t)max_tokens,
                                        .num_choices = (uint32_t)num_choices,
                                        .flags = sim.submits_suspects ? RECORD_SUSPECT : 0,
                                        .num_logprobs = num_logprobs,
                                        .num_prompt_logprobs = num_prompt_logprobs,
                                        .priority = draw_of(sim.num_priorities),
                                        .tenant = (uint32_t)draw_of(sim.num_tenants) };
    e->num_prompt = num_prompt;
    e->num_choices = num_choices;
    e->first_score = 1;
    const struct expected *other = &sim.requests[id > 0 ? draw((unsigned)id) : 0];
    const int32_t num_same = sim.is_shared && draw(3) > 0 ? (int32_t)draw(40) : 0;
    for (int32_t i = 0; i < num_prompt; i++)
        e->prompt[i] =
            i < num_same && i < other->num_prompt ? other->prompt[i] : (int32_t)draw(VOCAB);
    record.params = &e->params;
    record.prompt = e->prompt;
    record.num_prompt = (uint32_t)num_prompt;
    record.eos_ids = eos_ids;
    record.num_eos_ids = 1;
    for (int32_t c = 0; c < num_choices; c++)
        record.choices[c].index = (uint32_t)c;
    const enum record_failure failure = scheduler_admit(&sim.s, 0, (uint64_t)id, &record, &request);
    if (failure == 0) {
        e->live = true;
        sim.num_live++;
        sim.num_requests++;
    }
    return failure;
}

static void submit_random(void)
{
    const int32_t num_prompt = 1 + (int32_t)draw(40), max_tokens = (int32_t)draw(30);
    const int32_t num_choices = draw(4) == 0 ? 1 + (int32_t)draw(6) : 1;
    sim.submits_suspects = draw(16) == 0;
    submit(num_prompt, num_choices, max_tokens, draw(3) == 0 ? 0 : -1, draw(5) == 0 ? 0 : -1);
}

/* A check that is made millions of times: ck_assert() tells the runner of each. */
#define MUST(condition)                                                                            \
    do {                                                                                           \
        if (!(condition))                                                                          \
            ck_abort_msg("%s", #condition);                                                        \
    } while (0)

/* --- what must hold after every plan ------------------------------------------------------ */

static void check_blocks(void)
{
    int32_t refs[MAX_BLOCKS] = { 0 }, num_used = 0;
    for (int32_t i = 0; i < sim.s.seats.num_seats; i++) {
        const struct sequence *q = &sim.s.seats.seats[i];
        MUST(q->state == SEQUENCE_RUNNING || q->tables[0].num == 0);
        if (q->state == SEQUENCE_RUNNING)
            MUST(q->tables[0].num * BLOCK >= q->num_computed);
        for (int32_t b = 0; b < q->tables[0].num; b++)
            refs[q->tables[0].ids[b]]++;
    }
    for (int32_t b = 0; b < sim.s.limits.num_blocks; b++) {
        MUST(refs[b] == sim.s.blocks[0].ref_counts[b]);
        num_used += refs[b] > 0;
    }
    ck_assert_int_eq(sim.s.blocks[0].num_free, sim.s.limits.num_blocks - num_used);
}

/* A suspect shares no step. */
static void check_company(const struct plan *plan)
{
    const struct request *first = plan->num_rows > 0 ? plan->rows[0].sequence->request : NULL;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct request *request = plan->rows[i].sequence->request;
        if (first->is_suspect || request->is_suspect)
            ck_assert_ptr_eq(request, first);
    }
}

static void check_plan(const struct plan *plan)
{
    int32_t num_tokens = 0, num_logits = 0;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        MUST(row->sequence->state == SEQUENCE_RUNNING);
        MUST(row->num_tokens > 0);
        MUST(row->first_pos + row->num_tokens == row->sequence->num_computed);
        MUST(row->sequence->num_computed <= row->sequence->num_tokens);
        for (int32_t k = 0; k < i; k++)
            MUST(plan->rows[k].sequence != row->sequence);
        num_tokens += row->num_tokens;
        num_logits += row->num_scores + row->samples;
    }
    ck_assert_int_eq(num_tokens, plan->num_tokens);
    ck_assert_int_eq(num_logits, plan->num_logits);
    ck_assert_int_le(num_tokens, sim.s.limits.max_num_batched_tokens);
    ck_assert_int_le(num_logits, sim.s.limits.max_logits);
    ck_assert_int_le(sim.s.num_running, sim.s.limits.max_num_seqs);
    ck_assert(sim.s.limits.policy == WAIT_PRIORITY ||
              sim.s.num_running + sim.s.num_preempted <= sim.s.limits.max_num_seqs);
    for (int32_t i = 1; i < sim.s.num_running; i++)
        MUST(sim.s.running[i - 1]->rank <= sim.s.running[i]->rank);
    check_company(plan);
    check_blocks();
}

/* --- the device --------------------------------------------------------------------------- */

static uint64_t *place_of(const struct sequence *q, int32_t pos)
{
    return &sim.kv[q->tables[0].ids[pos / BLOCK]][pos % BLOCK];
}

static void compute_row(const struct plan_row *row)
{
    const struct sequence *q = row->sequence;
    uint64_t hash = 0;
    for (int32_t pos = 0; pos < row->first_pos + row->num_tokens; pos++) {
        hash = hash_of(hash, q->tokens[pos]);
        if (pos >= row->first_pos)
            *place_of(q, pos) = hash;
        MUST(*place_of(q, pos) == hash);
    }
}

static void finish_row(const struct plan_row *row)
{
    struct sequence *q = row->sequence;
    if (row->num_scores > 0) {
        ck_assert_int_eq(row->first_score, q->request->next_score);
        q->num_scores += row->num_scores;
        q->request->next_score += row->num_scores;
        ck_assert_int_le(q->num_scores, SEQUENCE_WINDOW);
    }
    if (row->samples)
        sequence_append(q, next_token(*place_of(q, q->num_tokens - 1), q->choice));
    else if (q->request->params.max_tokens == 0 && q->num_computed == q->num_tokens)
        q->finish = RECORD_FINISH_LENGTH;
    scheduler_filled(&sim.s, q, row->first_pos + row->num_tokens);
    if (q->finish != 0)
        scheduler_finish(&sim.s, q);
}

static void execute(const struct plan *plan)
{
    for (int32_t i = plan->copies[0].num - 1; i >= 0; i--) /* a device promises no order */
        memcpy(sim.kv[plan->copies[0].to[i]], sim.kv[plan->copies[0].from[i]], sizeof(sim.kv[0]));
    for (int32_t i = 0; i < plan->num_rows; i++)
        compute_row(&plan->rows[i]);
    for (int32_t i = 0; i < plan->num_rows; i++)
        finish_row(&plan->rows[i]);
    sim.num_preempted += plan->num_preempted;
    sim.num_copied += plan->copies[0].num;
    sim.num_hit += plan->num_hit;
}

/* --- publishing --------------------------------------------------------------------------- */

static void check_output(const struct sequence *q)
{
    const struct expected *e = &sim.requests[q->request->id];
    const int32_t num_output = sequence_num_output(q);
    uint64_t hash = 0;
    for (int32_t i = 0; i < e->num_prompt; i++)
        hash = hash_of(hash, e->prompt[i]);
    for (int32_t i = 0; i < num_output; i++) {
        const int32_t token = next_token(hash, q->choice);
        MUST(q->tokens[e->num_prompt + i] == token);
        MUST(token != eos_ids[0] || i == num_output - 1);
        hash = hash_of(hash, token);
    }
    const bool is_eos = num_output > 0 && q->tokens[q->num_tokens - 1] == eos_ids[0];
    ck_assert_int_eq(q->finish, is_eos ? RECORD_FINISH_EOS : RECORD_FINISH_LENGTH);
    ck_assert(is_eos || (uint32_t)num_output == e->params.max_tokens);
}

static void publish(struct request *request)
{
    struct expected *e = &sim.requests[request->id];
    struct sequence *q = request->sequences, *next;
    for (; q != NULL; q = next) {
        next = q->next_sibling;
        if (sequence_has_whole_scores(q)) {
            ck_assert_int_eq(q->first_score, e->first_score);
            e->first_score = q->first_score += q->num_scores;
            q->num_scores = 0;
        }
        q->num_logprobs_published = q->num_published = sequence_num_output(q);
        if (q->finish == 0)
            continue;
        check_output(q);
        sequence_pool_leave(&sim.s.seats, q);
        e->num_done++;
    }
    if (e->num_done == e->num_choices) {
        ck_assert(e->params.num_prompt_logprobs < 0 || e->first_score == e->num_prompt ||
                  e->num_prompt == 1);
        request_set_remove(&sim.s.requests, request);
        e->live = false;
        sim.num_live--;
    }
}

/* Each request's frontend takes what there is in one step of `patience`. */
static void publish_some(unsigned patience)
{
    struct request *request = TAILQ_FIRST(&sim.s.requests.active), *next;
    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, in_active);
        if (draw(patience) == 0)
            publish(request);
    }
}

static void cancel_one(void)
{
    struct request *request = TAILQ_FIRST(&sim.s.requests.active);
    for (unsigned skip = draw(6); skip > 0 && request != NULL; skip--)
        request = TAILQ_NEXT(request, in_active);
    if (request == NULL)
        return;
    sim.requests[request->id].live = false;
    sim.requests[request->id].cancelled = true;
    sim.num_live--;
    scheduler_stop(&sim.s, request);
    request_set_remove(&sim.s.requests, request);
}

static void run_step(unsigned patience)
{
    const struct plan *plan = scheduler_plan(&sim.s);
    check_plan(plan);
    execute(plan);
    check_blocks();
    publish_some(patience);
    sim.num_steps++;
}

static void check_empty(void)
{
    ck_assert(!scheduler_has_work(&sim.s));
    ck_assert_int_eq(sim.num_live, 0);
    ck_assert_int_eq(sim.s.blocks[0].num_free, sim.s.limits.num_blocks);
    ck_assert_int_eq(sim.s.seats.num_free, sim.s.seats.num_seats);
    ck_assert_int_eq(sim.s.num_queued_tokens, 0);
    ck_assert_int_eq(sim.s.requests.store.num_free, sim.s.requests.store.num_chunks);
    ck_assert_int_eq(sim.s.requests.num_free, sim.s.requests.max_requests);
    ck_assert(TAILQ_EMPTY(&sim.s.requests.active));
    ck_assert_int_eq(sim.s.requests.num_suspects, 0);
}

static void drain(unsigned patience)
{
    for (int i = 0; sim.num_live > 0; i++) {
        ck_assert_int_lt(i, 20000);
        run_step(patience);
    }
    check_empty();
}

/* --- tests -------------------------------------------------------------------------------- */

static const struct {
    int32_t num_seqs, budget, num_blocks;
    unsigned patience;
    bool preempts;
} loads[] = {
    { 1, 1, 32, 1, false },  { 4, 3, 32, 1, false }, { 8, 16, 64, 1, false },
    { 16, 64, 40, 1, true }, { 16, 8, 26, 3, true }, { 16, 48, 64, 9, false },
    { 8, 96, 24, 2, true },
};

START_TEST(every_request_ends_with_its_tokens_under_random_load)
{
    begin(limits_of(loads[_i].num_seqs, loads[_i].budget, loads[_i].num_blocks), 1 + (unsigned)_i);
    sim.is_shared = true;

    for (int i = 0; i < 3000; i++) {
        if (draw(4) == 0)
            submit_random();
        if (draw(40) == 0)
            cancel_one();
        run_step(loads[_i].patience);
    }
    drain(loads[_i].patience);

    ck_assert_int_gt(sim.num_requests, 50);
    ck_assert(loads[_i].num_seqs == 1 || sim.num_copied > 0);
    ck_assert(!loads[_i].preempts || sim.num_preempted > 10);
    ck_assert_int_gt(sim.num_hit, 20);
    for (int32_t i = 0; i < sim.num_requests; i++)
        ck_assert(sim.requests[i].cancelled ||
                  sim.requests[i].num_done == sim.requests[i].num_choices);
}
END_TEST

/* --- policies ----------------------------------------------------------------------------- */

/* How long the one that waits longest has waited for its first row. */
static int64_t longest_wait(void)
{
    const struct request *request;
    int64_t longest = 0;
    TAILQ_FOREACH(request, &sim.s.requests.active, in_active)
    {
        const struct expected *e = &sim.requests[request->id];
        if (request->num_seated == 0 && sim.num_steps - e->started_step > longest)
            longest = sim.num_steps - e->started_step;
    }
    return longest;
}

START_TEST(nobody_starves_in_a_hundred_thousand_steps_of_any_policy)
{
    struct scheduler_limits limits = limits_of(16, 24, 48);
    int64_t longest = 0;
    limits.policy = (enum wait_policy)_i;
    begin(limits, 11 + (unsigned)_i);
    sim.is_shared = true;
    sim.num_priorities = 3;
    sim.num_tenants = 5;

    while (sim.num_steps < 100000 / 3 || sim.num_requests < 10000 / 3) {
        if (draw(10) == 0 && sim.num_requests < MAX_REQUESTS - 1) {
            sim.requests[sim.num_requests].started_step = sim.num_steps;
            submit_random();
        }
        if (draw(400) == 0)
            cancel_one();
        scheduler_tell_time(&sim.s, sim.num_steps * 10000);
        run_step(1 + (unsigned)(sim.num_steps / 1000 % 3));
        const int64_t wait = longest_wait();
        longest = wait > longest ? wait : longest;
    }
    drain(1);

    ck_assert_int_gt(sim.num_hit, 20);
    ck_assert_int_gt(sim.num_preempted, 10);
    ck_assert_int_lt(longest, 3000);
}
END_TEST

/* One row of one request a step: who gets it? */
static uint64_t run_one(void)
{
    const struct plan *plan = scheduler_plan(&sim.s);
    ck_assert_int_eq(plan->num_rows, 1);
    const uint64_t id = plan->rows[0].sequence->request->id;
    execute(plan);
    publish_some(1);
    return id;
}

static void submit_as(int32_t priority, uint32_t tenant, int32_t num_prompt, int32_t max_tokens)
{
    sim.num_priorities = sim.num_tenants = 0;
    struct expected *e = &sim.requests[sim.num_requests];
    struct record_submit record = { .num_choices = 1 };
    struct request *request;
    e->params = (struct record_params){ .max_tokens = (uint32_t)max_tokens,
                                        .num_choices = 1,
                                        .num_logprobs = -1,
                                        .num_prompt_logprobs = -1,
                                        .priority = priority,
                                        .tenant = tenant };
    e->num_prompt = num_prompt;
    e->num_choices = 1;
    for (int32_t i = 0; i < num_prompt; i++)
        e->prompt[i] = (int32_t)draw(VOCAB);
    record.params = &e->params;
    record.prompt = e->prompt;
    record.num_prompt = (uint32_t)num_prompt;
    record.eos_ids = eos_ids;
    record.num_eos_ids = 1;
    ck_assert_int_eq(scheduler_admit(&sim.s, 0, (uint64_t)sim.num_requests, &record, &request), 0);
    e->live = true;
    sim.num_live++;
    sim.num_requests++;
}

START_TEST(a_lower_priority_starts_first_and_takes_the_place_of_a_higher)
{
    struct scheduler_limits limits = limits_of(1, 64, 64);
    limits.policy = WAIT_PRIORITY;
    begin(limits, 3);
    eos_ids[0] = VOCAB; /* none */
    submit_as(5, 0, 9, 6);
    ck_assert_uint_eq(run_one(), 0);
    submit_as(5, 0, 9, 3);
    submit_as(-2, 0, 9, 2);
    submit_as(1, 0, 9, 2);

    const uint64_t order[] = { 2, 2, 3, 3, 0, 0, 0, 0, 0, 1, 1, 1 };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        ck_assert_uint_eq(run_one(), order[i]);

    ck_assert_int_eq(sim.num_preempted, 1);
    check_empty();
    eos_ids[0] = 13;
}
END_TEST

START_TEST(a_sequence_preempted_five_times_says_the_same)
{
    struct scheduler_limits limits = limits_of(1, 64, 64);
    limits.policy = WAIT_PRIORITY;
    begin(limits, 3);
    eos_ids[0] = VOCAB;
    submit_as(9, 0, 30, 40); /* its tokens are checked at its end */
    for (int i = 0; i < 5; i++) {
        for (int k = 0; k < 5; k++)
            ck_assert_uint_eq(run_one(), 0);
        submit_as(0, 0, 30, 1);
        ck_assert_uint_eq(run_one(), (uint64_t)i + 1);
    }
    drain(1);

    ck_assert_int_eq(sim.num_preempted, 5);
    eos_ids[0] = 13;
}
END_TEST

START_TEST(without_the_policy_priorities_are_ignored)
{
    begin(limits_of(1, 64, 64), 3);
    submit_as(5, 0, 9, 1);
    submit_as(-2, 0, 9, 1);

    ck_assert_uint_eq(run_one(), 0);
    ck_assert_uint_eq(run_one(), 1);
}
END_TEST

START_TEST(tenants_take_turns_by_tokens_however_much_one_has_sent)
{
    struct scheduler_limits limits = limits_of(1, 64, 64);
    limits.policy = WAIT_FAIR;
    begin(limits, 3);
    for (int i = 0; i < 6; i++)
        submit_as(0, 1, 20, 1); /* 24 of prompt and output */
    submit_as(0, 2, 8, 1);      /* 12: two for one of the first */
    submit_as(0, 2, 8, 1);
    submit_as(0, 2, 8, 1);

    const uint64_t order[] = { 0, 6, 7, 1, 8, 2, 3 };
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        ck_assert_uint_eq(run_one(), order[i]);
}
END_TEST

START_TEST(who_rests_saves_ten_seconds_at_most)
{
    struct scheduler_limits limits = limits_of(1, 64, 64);
    limits.policy = WAIT_FAIR;
    limits.max_num_queued_reqs = 1000;
    begin(limits, 3);
    int64_t now = 0;
    for (int i = 0; i < 200; i++) { /* 14 tokens a second of tenant 1, for 200 s */
        submit_as(0, 1, 10, 1);
        scheduler_tell_time(&sim.s, now += 1000000);
        ck_assert_uint_eq(run_one(), (uint64_t)i);
    }
    for (int i = 0; i < 40; i++) {
        submit_as(0, 1, 10, 1);
        submit_as(0, 2, 10, 1);
    }
    int first = 0; /* requests of tenant 2 before one of tenant 1 */
    while (run_one() % 2 == 1)
        first++;

    ck_assert_int_ge(first, 4); /* 10 s of half of what is served: 70 tokens */
    ck_assert_int_le(first, 6);
    drain(1);
}
END_TEST

START_TEST(decodes_go_before_prefill_chunks)
{
    begin(limits_of(4, 8, 64), 1);
    submit(3, 1, 20, -1, -1);
    run_step(1); /* computes the first prompt, samples */
    submit(30, 1, 2, -1, -1);

    const struct plan *plan = scheduler_plan(&sim.s);

    ck_assert_int_eq(plan->num_rows, 2);
    ck_assert_int_eq(plan->rows[0].num_tokens, 1);
    ck_assert_int_eq(plan->rows[1].num_tokens, 7); /* what the budget leaves */
    ck_assert(!plan->rows[1].samples);
    execute(plan);
    drain(1);
}
END_TEST

START_TEST(decodes_take_turns_when_the_budget_is_short)
{
    begin(limits_of(8, 8, 64), 1);
    eos_ids[0] = VOCAB; /* none */
    for (int i = 0; i < 8; i++)
        submit(1, 1, 25, -1, -1);
    run_step(1);
    sim.s.limits.max_num_batched_tokens = 3;
    for (int i = 0; i < 30; i++)
        run_step(1);

    int32_t least = 1000, most = 0;
    for (int32_t i = 0; i < sim.s.num_running; i++) {
        const int32_t num = sequence_num_output(sim.s.running[i]);
        least = num < least ? num : least;
        most = num > most ? num : most;
    }
    ck_assert_int_gt(least, 0);
    ck_assert_int_le(most - least, 1);
    drain(1);
    eos_ids[0] = 13;
}
END_TEST

START_TEST(the_youngest_is_preempted_and_keeps_its_tokens)
{
    begin(limits_of(4, 64, 12), 3);
    eos_ids[0] = VOCAB; /* none */
    submit(16, 1, 28, -1, -1);
    submit(16, 1, 28, -1, -1);
    while (sim.num_preempted == 0) {
        ck_assert_int_lt(sim.num_steps, 100);
        run_step(1);
    }

    ck_assert_int_eq(sim.s.num_preempted, 1);
    ck_assert_uint_eq(sim.s.preempted[0]->request->id, 1);
    ck_assert_int_gt(sequence_num_output(sim.s.preempted[0]), 0);
    ck_assert_int_eq(sim.s.preempted[0]->num_computed, 0);
    drain(1);
    eos_ids[0] = 13;
}
END_TEST

START_TEST(choices_share_the_prompt_by_reference_and_copy_its_last_block)
{
    begin(limits_of(4, 64, 64), 5);
    submit(11, 3, 20, -1, -1);
    run_step(1);

    const struct plan *plan = scheduler_plan(&sim.s);

    ck_assert_int_eq(plan->num_rows, 3); /* one decode, two choices that start */
    ck_assert_int_eq(plan->num_tokens, 3);
    ck_assert_int_eq(plan->copies[0].num, 2); /* position 10 is theirs; 8 and 9 are copied */
    ck_assert_int_eq(sim.s.blocks[0].ref_counts[sim.s.running[0]->tables[0].ids[0]], 3);
    ck_assert_int_eq(sim.s.blocks[0].ref_counts[sim.s.running[0]->tables[0].ids[1]], 3);
    ck_assert_int_eq(sim.s.blocks[0].ref_counts[sim.s.running[0]->tables[0].ids[2]], 1);
    execute(plan);
    drain(1);
}
END_TEST

static void finish_with_any_token(const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct sequence *q = plan->rows[i].sequence;
        scheduler_filled(&sim.s, q, q->num_computed);
        if (plan->rows[i].samples)
            sequence_append(q, 1);
        if (q->finish != 0)
            scheduler_finish(&sim.s, q);
    }
}

START_TEST(a_long_prefix_of_32_requests_is_computed_once)
{
    enum { NUM = 32, SAME = 1500, OWN = 10, FOUND = SAME / 16 * 16 };
    static int32_t prompt[SAME + OWN];
    struct scheduler_limits limits = limits_of(64, 256, 4096);
    limits.max_model_len = 2048;
    limits.block_size = 16;
    limits.max_num_queued_tokens = 100000;
    begin(limits, 1);
    const struct record_params params = {
        .max_tokens = 1, .num_choices = 1, .num_logprobs = -1, .num_prompt_logprobs = -1
    };
    struct record_submit record = {
        .params = &params, .prompt = prompt, .num_prompt = SAME + OWN, .num_choices = 1
    };
    struct request *request;
    for (int32_t i = 0; i < NUM; i++) {
        for (int32_t t = 0; t < OWN; t++)
            prompt[SAME + t] = 1 + i;
        ck_assert_int_eq(scheduler_admit(&sim.s, 0, (uint64_t)i, &record, &request), 0);
    }

    int64_t num_tokens = 0, num_hit = 0;
    int num_steps = 0;
    for (; scheduler_has_work(&sim.s); num_steps++) {
        ck_assert_int_lt(num_steps, 100);
        const struct plan *plan = scheduler_plan(&sim.s);
        num_tokens += plan->num_tokens;
        num_hit += plan->num_hit;
        finish_with_any_token(plan);
    }

    ck_assert_int_eq(num_tokens, FOUND + NUM * (SAME + OWN - FOUND));
    ck_assert_int_eq(num_hit, (NUM - 1) * FOUND);
    ck_assert_int_le(num_steps, 10); /* 1,500 in chunks of 256, then 704 */
    ck_assert_int_eq(sim.s.blocks[0].num_free, 4096);
}
END_TEST

START_TEST(more_choices_than_seats_run_one_after_another)
{
    begin(limits_of(2, 16, 64), 7);
    submit(9, 6, 10, -1, -1);
    drain(1);
    ck_assert_int_eq(sim.requests[0].num_done, 6);
}
END_TEST

START_TEST(a_sequence_with_unread_logprobs_pauses_at_a_full_buffer)
{
    begin(limits_of(2, 16, 64), 7);
    eos_ids[0] = VOCAB;
    submit(2, 1, 90, 0, -1);
    for (int i = 0; i < 100; i++)
        execute(scheduler_plan(&sim.s));

    ck_assert_int_eq(sequence_num_output(sim.s.running[0]), SEQUENCE_WINDOW);
    ck_assert_int_eq(scheduler_plan(&sim.s)->num_rows, 0);
    drain(1);
    eos_ids[0] = 13;
}
END_TEST

START_TEST(a_full_queue_refuses_and_free_seats_count_as_room)
{
    begin(limits_of(2, 16, 64), 7);

    for (int i = 0; i < 2 + 8; i++)
        ck_assert_int_eq(submit(4, 1, 4, -1, -1), 0);
    ck_assert_int_eq(submit(4, 1, 4, -1, -1), RECORD_FAILURE_QUEUE_FULL);
    run_step(1);
    ck_assert_int_eq(submit(4, 1, 4, -1, -1), RECORD_FAILURE_QUEUE_FULL);
    drain(1);
    ck_assert_int_eq(submit(4, 1, 4, -1, -1), 0);
    drain(1);
}
END_TEST

START_TEST(queued_tokens_are_limited_but_not_for_what_starts_at_once)
{
    struct scheduler_limits limits = limits_of(2, 16, 64);
    limits.max_num_queued_tokens = 50;
    begin(limits, 7);

    ck_assert_int_eq(submit(60, 1, 4, -1, -1), 0);
    ck_assert_int_eq(submit(1, 1, 4, -1, -1), RECORD_FAILURE_QUEUED_TOKENS);
    run_step(1);
    ck_assert_int_eq(submit(30, 1, 4, -1, -1), 0);
    ck_assert_int_eq(submit(30, 1, 4, -1, -1), RECORD_FAILURE_QUEUED_TOKENS);
    ck_assert_int_eq(submit(20, 1, 4, -1, -1), 0);
    drain(1);
}
END_TEST

START_TEST(what_can_never_fit_is_refused)
{
    begin(limits_of(2, 16, 10), 7); /* 40 positions */

    ck_assert_int_eq(submit(31, 1, 10, -1, -1), 0); /* the 41st token is never stored */
    ck_assert_int_eq(submit(32, 1, 10, -1, -1), RECORD_FAILURE_TOO_LONG);
    drain(1);
}
END_TEST

START_TEST(a_resumed_choice_goes_on_behind_its_tokens_even_past_a_full_queue)
{
    begin(limits_of(1, 16, 64), 7);
    for (int i = 0; i < 1 + 8; i++)
        ck_assert_int_eq(submit(4, 1, 4, -1, -1), 0);
    const int32_t prompt[3] = { 1, 2, 3 }, ids[2] = { 4, 5 };
    const struct record_params params = { .max_tokens = 8,
                                          .num_choices = 3,
                                          .flags = RECORD_RESUMED,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = 0 };
    struct record_submit record = {
        .params = &params, .prompt = prompt, .num_prompt = 3, .num_choices = 1
    };
    record.choices[0].index = 2;
    record.choices[0].ids = ids;
    record.choices[0].num_ids = 2;
    struct request *request;

    ck_assert_int_eq(scheduler_admit(&sim.s, 0, 1000, &record, &request), 0);
    sim.requests[1000].num_choices = 1;
    while (request->sequences == NULL)
        run_step(1);
    const struct sequence *q = request->sequences;

    ck_assert_int_eq(q->choice, 2);
    ck_assert_int_ge(q->num_tokens, 5);
    ck_assert_int_eq(q->tokens[4], 5);
    ck_assert_int_eq(q->num_published, q->num_tokens > 5 ? q->num_tokens - 3 : 2);
    ck_assert(!q->is_scorer); /* the earlier engine did that before its first token */
}
END_TEST

/* Whose step is it: a suspect's number among the submitted, or -1 for everybody else's. */
static int32_t whose_step(void)
{
    const struct plan *plan = scheduler_plan(&sim.s);
    ck_assert_int_gt(plan->num_rows, 0);
    check_plan(plan);
    execute(plan);
    publish_some(1);
    const struct request *request = plan->rows[0].sequence->request;
    return request == NULL ? -2 : request->is_suspect ? (int32_t)request->id : -1;
}

START_TEST(suspects_have_steps_of_their_own_in_turn_with_everybody_else)
{
    begin(limits_of(8, 64, 64), 7);
    eos_ids[0] = VOCAB - 1;
    for (int i = 0; i < 5; i++) {
        sim.submits_suspects = i == 1 || i == 3;
        ck_assert_int_eq(submit(4, i == 3 ? 2 : 1, 40, -1, -1), 0);
    }
    static const int32_t turns[] = { 1, -1, 3, -1, 1, -1, 3, -1, 1, -1, 3, -1 };
    for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++)
        ck_assert_int_eq(whose_step(), turns[i]);
    drain(1);
    eos_ids[0] = 13;
}
END_TEST

START_TEST(a_suspect_alone_loses_no_steps)
{
    begin(limits_of(8, 64, 64), 7);
    sim.submits_suspects = true;
    ck_assert_int_eq(submit(4, 1, 20, -1, -1), 0);
    while (sim.num_live > 0)
        run_step(1);
    ck_assert_int_le(sim.num_steps, 21);
}
END_TEST

START_TEST(scores_come_in_windows_whatever_the_chunks_were)
{
    begin(limits_of(2, _i, 64), 7);
    submit(90, 1, 1, -1, 0);
    int32_t first = 1;
    while (first < 90) {
        ck_assert_int_lt(sim.num_steps++, 200);
        execute(scheduler_plan(&sim.s));
        struct sequence *q = TAILQ_FIRST(&sim.s.requests.active)->sequences;
        if (!sequence_has_whole_scores(q))
            continue;
        ck_assert_int_eq(q->first_score, first);
        ck_assert_int_eq(q->num_scores, first == 1 ? 63 : 26);
        ck_assert_int_eq(scheduler_plan(&sim.s)->num_rows, 0); /* waits to be read */
        first = q->first_score += q->num_scores;
        q->num_scores = 0;
    }
    sim.requests[0].first_score = 90;
    drain(1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("scheduler");
    TCase *tc = tcase_create("scheduler");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, every_request_ends_with_its_tokens_under_random_load, 0,
                        (int)(sizeof(loads) / sizeof(loads[0])));
    tcase_add_loop_test(tc, nobody_starves_in_a_hundred_thousand_steps_of_any_policy, WAIT_FCFS,
                        WAIT_FAIR + 1);
    tcase_add_test(tc, a_lower_priority_starts_first_and_takes_the_place_of_a_higher);
    tcase_add_test(tc, a_sequence_preempted_five_times_says_the_same);
    tcase_add_test(tc, without_the_policy_priorities_are_ignored);
    tcase_add_test(tc, tenants_take_turns_by_tokens_however_much_one_has_sent);
    tcase_add_test(tc, who_rests_saves_ten_seconds_at_most);
    tcase_add_test(tc, decodes_go_before_prefill_chunks);
    tcase_add_test(tc, decodes_take_turns_when_the_budget_is_short);
    tcase_add_test(tc, the_youngest_is_preempted_and_keeps_its_tokens);
    tcase_add_test(tc, choices_share_the_prompt_by_reference_and_copy_its_last_block);
    tcase_add_test(tc, a_long_prefix_of_32_requests_is_computed_once);
    tcase_add_test(tc, more_choices_than_seats_run_one_after_another);
    tcase_add_test(tc, a_sequence_with_unread_logprobs_pauses_at_a_full_buffer);
    tcase_add_test(tc, a_full_queue_refuses_and_free_seats_count_as_room);
    tcase_add_test(tc, queued_tokens_are_limited_but_not_for_what_starts_at_once);
    tcase_add_test(tc, what_can_never_fit_is_refused);
    tcase_add_test(tc, a_resumed_choice_goes_on_behind_its_tokens_even_past_a_full_queue);
    tcase_add_test(tc, suspects_have_steps_of_their_own_in_turn_with_everybody_else);
    tcase_add_test(tc, a_suspect_alone_loses_no_steps);
    tcase_add_loop_test(tc, scores_come_in_windows_whatever_the_chunks_were, 1, 100);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
