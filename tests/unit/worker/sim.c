#include "sim.h"

#include <stddef.h>
#include <string.h>

#include "sim_device.h"

struct sim sim;
int32_t sim_eos_ids[1] = { 13 };

unsigned sim_draw(unsigned below)
{
    sim.seed = sim.seed * 1664525u + 1013904223u;
    return (sim.seed >> 8) % below;
}

struct kv_groups sim_groups(const int32_t *windows, int32_t num)
{
    struct kv_groups kv = { .block_size = SIM_BLOCK, .num_groups = num };
    for (int32_t g = 0; g < num; g++) {
        kv.groups[g] = (struct kv_group){ windows[g], kv.num_parts, g + 1 };
        kv.num_parts += g + 1;
    }
    return kv;
}

struct scheduler_limits sim_limits(int32_t num_seqs, int32_t budget, int32_t num_blocks)
{
    return (struct scheduler_limits){ .max_num_seqs = num_seqs,
                                      .max_num_batched_tokens = budget,
                                      .max_logits = budget < num_seqs ? budget : num_seqs,
                                      .max_model_len = SIM_MAX_LEN,
                                      .kv = sim_groups(&(int32_t){ 0 }, 1),
                                      .num_blocks = num_blocks,
                                      .max_num_queued_reqs = 8,
                                      .max_num_queued_tokens = 1000,
                                      .vocab_size = SIM_VOCAB,
                                      .enable_prefix_caching = true };
}

void sim_begin(struct scheduler_limits limits, unsigned seed)
{
    reserve_finish(&sim.reserve);
    memset(sim.requests, 0, (size_t)(sim.num_requests + 1) * sizeof(sim.requests[0]));
    memset(&sim, 0, offsetof(struct sim, requests));
    sim.seed = seed;
    ck_assert_int_eq(scheduler_init(&sim.s, &limits, &sim.reserve), 0);
}

/* --- submitting --------------------------------------------------------------------------------
 */

static int32_t draw_of(int32_t num)
{
    return num > 0 ? (int32_t)sim_draw((unsigned)num) : 0;
}

enum record_failure sim_submit(int32_t num_prompt, int32_t num_choices, int32_t max_tokens,
                               int32_t num_logprobs, int32_t num_prompt_logprobs)
{
    const int32_t id = sim.num_requests;
    struct sim_request *e = &sim.requests[id];
    struct record_submit record = { .num_choices = (uint32_t)num_choices };
    struct request *request;

    ck_assert_int_lt(id, SIM_MAX_REQUESTS);
    e->params = (struct record_params){ .max_tokens = (uint32_t)max_tokens,
                                        .num_choices = (uint32_t)num_choices,
                                        .flags = sim.submits_suspects ? RECORD_SUSPECT : 0,
                                        .num_logprobs = num_logprobs,
                                        .num_prompt_logprobs = num_prompt_logprobs,
                                        .priority = draw_of(sim.num_priorities),
                                        .tenant = (uint32_t)draw_of(sim.num_tenants) };
    if (sim.penalizes > 0 && (unsigned)id % sim.penalizes == 0)
        e->params.repetition_penalty = 1.5f;
    e->num_prompt = num_prompt;
    e->num_choices = num_choices;
    e->first_score = 1;
    const struct sim_request *other = &sim.requests[id > 0 ? sim_draw((unsigned)id) : 0];
    int32_t num_same = sim.is_shared && sim_draw(3) > 0 ? (int32_t)sim_draw(40) : 0;
    if (sim.num_same > 0) {
        other = &sim.requests[id - 1];
        num_same = sim.num_same;
    }
    for (int32_t i = 0; i < num_prompt; i++)
        e->prompt[i] =
            i < num_same && i < other->num_prompt ? other->prompt[i] : (int32_t)sim_draw(SIM_VOCAB);
    record.params = &e->params;
    record.prompt = e->prompt;
    record.num_prompt = (uint32_t)num_prompt;
    record.eos_ids = sim_eos_ids;
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

void sim_submit_random(void)
{
    const int32_t num_prompt = 1 + (int32_t)sim_draw(40), max_tokens = (int32_t)sim_draw(30);
    const int32_t num_choices = sim_draw(4) == 0 ? 1 + (int32_t)sim_draw(6) : 1;
    sim.submits_suspects = sim_draw(16) == 0;
    sim_submit(num_prompt, num_choices, max_tokens, sim_draw(3) == 0 ? 0 : -1,
               sim_draw(5) == 0 ? 0 : -1);
}

/* --- what must hold after every plan -----------------------------------------------------------
 */

/* Of one sequence in one group; nothing that is needed is gone, and no more is held than two chunks
 * and the window take. */
static void count_refs(const struct sequence *q, int32_t g, int32_t *refs)
{
    const struct kv_groups *kv = &sim.s.limits.kv;
    const struct block_table *table = &q->tables[g];
    const int32_t most = kv_most_pages(kv, g, sim.s.max_chunk, SIM_MAX_LEN);
    MUST(q->state == SEQUENCE_RUNNING || table->num == 0);
    MUST(table->first <= table->num && table->num - table->first <= most);
    if (q->state == SEQUENCE_RUNNING)
        MUST(table->num * SIM_BLOCK >= q->num_computed);
    for (int32_t part = 0; part < kv->groups[g].num_parts; part++)
        for (int32_t page = table->first; page < table->num; page++)
            refs[block_table_ids(table, part)[page]]++;
}

/* Every block is a sequence's, the tree's or free: counted once, and none is lost. */
static void check_blocks(void)
{
    const struct block_pool *pool = &sim.s.blocks;
    int32_t refs[SIM_MAX_BLOCKS] = { 0 }, num_used = 0, num_idle = 0;
    bool is_free[SIM_MAX_BLOCKS] = { false };
    for (int32_t i = 0; i < sim.s.seats.num_seats; i++)
        for (int32_t g = 0; g < sim.s.limits.kv.num_groups; g++)
            count_refs(&sim.s.seats.seats[i], g, refs);
    for (int32_t i = 0; i < pool->num_free - pool->num_idle; i++) {
        MUST(!is_free[pool->free_ids[i]]);
        is_free[pool->free_ids[i]] = true;
    }
    for (int32_t b = 0; b < sim.s.limits.num_blocks; b++) {
        MUST(refs[b] == pool->ref_counts[b]);
        MUST(pool->is_kept[b] == (sim.s.prefixes.nodes_of[b] >= 0));
        MUST(is_free[b] == (refs[b] == 0 && !pool->is_kept[b]));
        num_used += refs[b] > 0;
        num_idle += refs[b] == 0 && pool->is_kept[b];
    }
    ck_assert_int_eq(pool->num_free, sim.s.limits.num_blocks - num_used);
    ck_assert_int_eq(pool->num_idle, num_idle);
}

/* Rows in the air and in the plan, by seat. */
static void check_rows(const struct plan *plan)
{
    int32_t rows[3 * SIM_MAX_SEQS] = { 0 };
    for (int i = 0; i < 2; i++)
        for (int32_t k = 0; sim.lists[i].is_in_air && k < sim.lists[i].plan->num_rows; k++)
            rows[sim.lists[i].rows[k].row.sequence - sim.s.seats.seats]++;
    for (int32_t i = 0; i < plan->num_rows; i++)
        rows[plan->rows[i].sequence - sim.s.seats.seats]++;
    for (int32_t i = 0; i < sim.s.seats.num_seats; i++)
        MUST(sim.s.seats.seats[i].num_rows == rows[i]);
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

void sim_check_plan(const struct plan *plan)
{
    int32_t num_tokens = 0, num_logits = 0;
    int64_t num_penalized = 0;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        MUST(row->sequence->state == SEQUENCE_RUNNING);
        MUST(row->num_tokens > 0);
        MUST(row->first_pos + row->num_tokens == row->sequence->num_computed);
        MUST(row->sequence->num_computed <= sequence_length(row->sequence));
        for (int32_t k = 0; k < i; k++)
            MUST(plan->rows[k].sequence != row->sequence);
        MUST(!row->samples ||
             (uint32_t)(row->first_pos + row->num_tokens - row->sequence->num_prompt) <
                 row->request->params.max_tokens);
        num_tokens += row->num_tokens;
        num_logits += row->num_scores + row->samples;
        num_penalized += row->num_penalized;
    }
    ck_assert_int_eq(num_penalized, plan->num_penalized);
    MUST(sim.s.limits.max_penalized == 0 || num_penalized <= sim.s.limits.max_penalized);
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
    check_rows(plan);
    check_blocks();
}

void sim_drop(struct request *request)
{
    sim.requests[request->id].live = false;
    sim.requests[request->id].cancelled = true;
    sim.num_live--;
    scheduler_stop(&sim.s, request);
    request_set_remove(&sim.s.requests, request);
}

/* --- publishing --------------------------------------------------------------------------------
 */

static void check_output(const struct sequence *q)
{
    const struct sim_request *e = &sim.requests[q->request->id];
    const int32_t num_output = sequence_num_output(q);
    uint64_t hash = 0;
    for (int32_t i = 0; i < e->num_prompt; i++)
        hash = sim_device_hash(hash, e->prompt[i]);
    for (int32_t i = 0; i < num_output; i++) {
        const int32_t token = sim_device_token(hash, q->choice);
        MUST(q->tokens[e->num_prompt + i] == token);
        MUST(token != sim_eos_ids[0] || i == num_output - 1);
        hash = sim_device_hash(hash, token);
    }
    const bool is_eos = num_output > 0 && q->tokens[q->num_tokens - 1] == sim_eos_ids[0];
    ck_assert_int_eq(q->finish, is_eos ? RECORD_FINISH_EOS : RECORD_FINISH_LENGTH);
    ck_assert(is_eos || (uint32_t)num_output == e->params.max_tokens);
}

static void publish(struct request *request)
{
    struct sim_request *e = &sim.requests[request->id];
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

void sim_publish_some(unsigned patience)
{
    struct request *request = TAILQ_FIRST(&sim.s.requests.active), *next;
    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, in_active);
        if (sim_draw(patience) == 0)
            publish(request);
    }
}

void sim_cancel_one(void)
{
    struct request *request = TAILQ_FIRST(&sim.s.requests.active);
    for (unsigned skip = sim_draw(6); skip > 0 && request != NULL; skip--)
        request = TAILQ_NEXT(request, in_active);
    if (request != NULL)
        sim_drop(request);
}

void sim_step(unsigned patience)
{
    if (!sim.is_ahead || sim.s.requests.num_suspects > 0)
        sim_device_land();
    if (sim_draw(2) == 0 && sim.lists[sim.newest].is_in_air) /* at some time or other */
        sim_device_run(&sim.lists[sim.newest]);
    const struct plan *plan = scheduler_plan(&sim.s);
    sim_check_plan(plan);
    if (plan->num_rows > 0)
        sim_device_follow(plan);
    else
        sim_device_land();
    if (!sim.is_ahead)
        sim_device_land();
    check_blocks();
    sim_publish_some(patience);
    sim.num_steps++;
}

void sim_check_empty(void)
{
    sim_device_land();
    ck_assert(!scheduler_has_work(&sim.s));
    ck_assert_int_eq(sim.num_live, 0);
    ck_assert_int_eq(sim.s.blocks.num_free, sim.s.limits.num_blocks);
    prefix_cache_make_room(&sim.s.prefixes, sim.s.limits.num_blocks);
    ck_assert_int_eq(sim.s.blocks.num_idle, 0);
    ck_assert_int_eq(sim.s.prefixes.num_in_tree, 0);
    ck_assert_int_eq(sim.s.seats.num_free, sim.s.seats.num_seats);
    ck_assert_int_eq(sim.s.num_queued_tokens, 0);
    ck_assert_int_eq(sim.s.requests.store.num_free, sim.s.requests.store.num_chunks);
    ck_assert_int_eq(sim.s.requests.num_free, sim.s.requests.max_requests);
    ck_assert(TAILQ_EMPTY(&sim.s.requests.active));
    ck_assert_int_eq(sim.s.requests.num_suspects, 0);
}

void sim_drain(unsigned patience)
{
    for (int i = 0; sim.num_live > 0; i++) {
        ck_assert_int_lt(i, 20000);
        sim_step(patience);
    }
    sim_check_empty();
}
