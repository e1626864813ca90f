#include "worker/scheduler.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* --- start -------------------------------------------------------------------------------- */

/* Tokens that wait, and those that an earlier engine was running when it died. */
static int64_t waiting_tokens(const struct scheduler_limits *limits, int32_t max_requests)
{
    const int64_t pool = 2 * (int64_t)limits->num_blocks * limits->block_size;
    const int64_t seats = (int64_t)limits->max_num_seqs * limits->max_model_len;
    return limits->max_num_queued_tokens + (seats < pool ? seats : pool) + limits->max_model_len +
           (int64_t)max_requests * TOKEN_STORE_CHUNK;
}

static int init_plan(struct plan *plan, const struct scheduler_limits *limits,
                     struct reserve *reserve)
{
    const size_t num = (size_t)limits->max_num_seqs;
    plan->rows = reserve_array(reserve, num, sizeof(*plan->rows));
    if (plan->rows == NULL)
        return -ENOMEM;
    for (int g = 0; g < limits->num_groups; g++) {
        int32_t *blocks = reserve_array(reserve, num, 2 * sizeof(*blocks));
        if (blocks == NULL)
            return -ENOMEM;
        plan->copies[g] = (struct plan_copies){ .from = blocks, .to = blocks + num };
    }
    return 0;
}

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits,
                   struct reserve *reserve)
{
    const size_t num = (size_t)limits->max_num_seqs;
    /* As many seats again for sequences that ended and wait for room in their ring. */
    const int32_t num_seats = 2 * limits->max_num_seqs;
    const int32_t max_requests = limits->max_num_queued_reqs + num_seats;

    *s = (struct scheduler){ .limits = *limits };
    TAILQ_INIT(&s->waiting);
    s->running = reserve_array(reserve, num, sizeof(struct sequence *));
    s->preempted = reserve_array(reserve, num, sizeof(struct sequence *));
    if (s->running == NULL || s->preempted == NULL)
        return -ENOMEM;
    int r = request_set_init(&s->requests, max_requests, waiting_tokens(limits, max_requests),
                             limits->vocab_size, reserve);
    if (r == 0)
        r = sequence_pool_init(&s->seats, num_seats, limits->max_model_len, limits->block_size,
                               limits->num_groups, reserve);
    for (int g = 0; r == 0 && g < limits->num_groups; g++)
        r = block_pool_init(&s->blocks[g], limits->num_blocks, reserve);
    return r == 0 ? init_plan(&s->plan, limits, reserve) : r;
}

/* --- the queue ---------------------------------------------------------------------------- */

static int32_t blocks_of(const struct scheduler *s, int32_t num_positions)
{
    return (num_positions + s->limits.block_size - 1) / s->limits.block_size;
}

static int32_t num_free_places(const struct scheduler *s)
{
    return s->limits.max_num_seqs - s->num_running - s->num_preempted;
}

static enum record_failure refusal(const struct scheduler *s, const struct record_submit *submit)
{
    /* The last token's keys and values are never needed. */
    const int64_t longest = (int64_t)submit->num_prompt + submit->params->max_tokens;
    if ((longest + s->limits.block_size - 2) / s->limits.block_size > s->limits.num_blocks)
        return RECORD_FAILURE_TOO_LONG;
    if ((submit->params->flags & RECORD_RESUMED) != 0)
        return 0;
    if (s->num_waiting >= s->limits.max_num_queued_reqs + num_free_places(s))
        return RECORD_FAILURE_QUEUE_FULL;
    const bool starts_at_once = s->num_waiting == 0 && num_free_places(s) > 0;
    if (!starts_at_once &&
        s->num_queued_tokens + submit->num_prompt > s->limits.max_num_queued_tokens)
        return RECORD_FAILURE_QUEUED_TOKENS;
    return 0;
}

enum record_failure scheduler_admit(struct scheduler *s, int32_t frontend, uint64_t id,
                                    const struct record_submit *submit,
                                    struct request **ret_request)
{
    struct request *request;
    const enum record_failure failure = refusal(s, submit);
    if (failure != 0)
        return failure;
    if (request_set_add(&s->requests, frontend, id, submit, &request) < 0)
        return RECORD_FAILURE_QUEUE_FULL;
    TAILQ_INSERT_TAIL(&s->waiting, request, in_waiting);
    request->is_waiting = true;
    s->num_waiting++;
    s->num_queued_tokens += request->tokens.num_tokens;
    *ret_request = request;
    return 0;
}

static void leave_queue(struct scheduler *s, struct request *request)
{
    TAILQ_REMOVE(&s->waiting, request, in_waiting);
    request->is_waiting = false;
    s->num_waiting--;
    s->num_queued_tokens -= request->tokens.num_tokens;
    token_store_free(&s->requests.store, &request->tokens);
}

/* --- blocks ------------------------------------------------------------------------------- */

static void drop_blocks(struct scheduler *s, struct sequence *sequence)
{
    for (int g = 0; g < s->limits.num_groups; g++) {
        struct block_table *table = &sequence->tables[g];
        while (table->num > 0)
            block_pool_unref(&s->blocks[g], table->ids[--table->num]);
    }
}

static bool has_free_blocks(const struct scheduler *s, int32_t num)
{
    for (int g = 0; g < s->limits.num_groups; g++)
        if (s->blocks[g].num_free < num)
            return false;
    return true;
}

/* `num` more blocks in each group; the caller saw that they are free. */
static void add_blocks(struct scheduler *s, struct sequence *sequence, int32_t num)
{
    for (int g = 0; g < s->limits.num_groups; g++) {
        struct block_table *table = &sequence->tables[g];
        const int r = block_pool_alloc(&s->blocks[g], num, table->ids + table->num);
        assert(r == 0);
        table->num += num;
    }
}

static void remove_from(struct sequence **array, int32_t *num, const struct sequence *sequence)
{
    int32_t at = 0;
    while (array[at] != sequence)
        at++;
    memmove(array + at, array + at + 1, (size_t)(*num - at - 1) * sizeof(struct sequence *));
    --*num;
}

/* Keeps the array sorted by age. */
static void insert_into(struct sequence **array, int32_t *num, struct sequence *sequence)
{
    int32_t at = (*num)++;
    for (; at > 0 && array[at - 1]->age > sequence->age; at--)
        array[at] = array[at - 1];
    array[at] = sequence;
}

static void unplan(struct scheduler *s, const struct sequence *sequence)
{
    struct plan *plan = &s->plan;
    if (sequence->planned_step != s->step)
        return;
    int32_t at = 0;
    while (plan->rows[at].sequence != sequence)
        at++;
    plan->num_tokens -= plan->rows[at].num_tokens;
    plan->num_logits -= plan->rows[at].num_scores + plan->rows[at].samples;
    memmove(plan->rows + at, plan->rows + at + 1,
            (size_t)(plan->num_rows - at - 1) * sizeof(*plan->rows));
    plan->num_rows--;
}

static void preempt(struct scheduler *s, struct sequence *sequence)
{
    unplan(s, sequence);
    drop_blocks(s, sequence);
    sequence->num_computed = 0;
    sequence->state = SEQUENCE_PREEMPTED;
    remove_from(s->running, &s->num_running, sequence);
    insert_into(s->preempted, &s->num_preempted, sequence);
    s->plan.num_preempted++;
}

/* Blocks for all known tokens of a running sequence. Returns false when it was preempted itself. */
static bool grow(struct scheduler *s, struct sequence *sequence)
{
    const int32_t missing = blocks_of(s, sequence->num_tokens) - sequence->tables[0].num;
    while (missing > 0 && !has_free_blocks(s, missing)) {
        struct sequence *victim = s->running[s->num_running - 1]; /* the youngest */
        preempt(s, victim);
        if (victim == sequence)
            return false;
    }
    if (missing > 0)
        add_blocks(s, sequence, missing);
    return true;
}

/* --- turns of suspects -------------------------------------------------------------------- */

static const struct request *next_suspect(const struct scheduler *s)
{
    const struct request *request, *first = NULL;
    TAILQ_FOREACH(request, &s->requests.active, in_active)
    {
        if (!request->is_suspect)
            continue;
        if (request->age > s->last_suspect_age)
            return request;
        if (first == NULL)
            first = request;
    }
    return first;
}

static void choose_turn(struct scheduler *s)
{
    s->alone = s->requests.num_suspects == 0 || s->alone != NULL ? NULL : next_suspect(s);
    if (s->alone != NULL)
        s->last_suspect_age = s->alone->age;
}

static bool has_turn(const struct scheduler *s, const struct request *request)
{
    return s->alone == NULL ? !request->is_suspect : request == s->alone;
}

/* --- rows --------------------------------------------------------------------------------- */

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t max_of(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

/* The row at position p scores position p + 1: the first of its rows that does. */
static int32_t first_scoring_pos(const struct sequence *sequence)
{
    return max_of(sequence->num_computed, sequence->request->next_score - 1);
}

static int32_t num_scores_in(const struct sequence *sequence, int32_t num_tokens)
{
    const int32_t end = min_of(sequence->num_computed + num_tokens, sequence->num_prompt - 1);
    return sequence->is_scorer ? max_of(0, end - first_scoring_pos(sequence)) : 0;
}

/* A chunk ends where the window of scores does. */
static int32_t limit_by_window(const struct sequence *sequence, int32_t num_tokens)
{
    const int32_t next = sequence->request->next_score;
    const int32_t end = (next / SEQUENCE_WINDOW + 1) * SEQUENCE_WINDOW;
    if (!sequence->is_scorer || next >= sequence->num_prompt || end >= sequence->num_prompt)
        return num_tokens;
    return min_of(num_tokens, end - 1 - sequence->num_computed);
}

static bool samples_after(const struct sequence *sequence, int32_t num_tokens)
{
    return sequence->num_computed + num_tokens == sequence->num_tokens &&
           sequence->request->params.max_tokens > 0;
}

/* How many positions fit in what the plan has left of tokens and logits. */
static int32_t chunk_of(const struct scheduler *s, const struct sequence *sequence)
{
    const int32_t logits = s->limits.max_logits - s->plan.num_logits;
    int32_t num = min_of(sequence->num_tokens - sequence->num_computed,
                         s->limits.max_num_batched_tokens - s->plan.num_tokens);
    num = limit_by_window(sequence, num);
    if (num_scores_in(sequence, num) > logits)
        num = first_scoring_pos(sequence) + logits - sequence->num_computed;
    if (num > 0 && samples_after(sequence, num) && num_scores_in(sequence, num) == logits)
        num--;
    return max_of(num, 0);
}

/* Returns false when not even one position fits. */
static bool plan_sequence(struct scheduler *s, struct sequence *sequence)
{
    struct plan *plan = &s->plan;
    const int32_t num = chunk_of(s, sequence);
    if (num == 0)
        return false;
    struct plan_row *row = &plan->rows[plan->num_rows++];
    *row = (struct plan_row){ .sequence = sequence,
                              .first_pos = sequence->num_computed,
                              .num_tokens = num,
                              .first_score = sequence->request->next_score,
                              .num_scores = num_scores_in(sequence, num),
                              .samples = samples_after(sequence, num) };
    plan->num_tokens += num;
    plan->num_logits += row->num_scores + row->samples;
    sequence->planned_step = s->step;
    sequence->num_computed_before = sequence->num_computed;
    sequence->num_computed += num;
    return true;
}

/* Positions whose keys and values earlier steps have put into this sequence's own blocks. */
static int32_t computed_before(const struct scheduler *s, const struct sequence *sequence)
{
    return sequence->planned_step == s->step ? sequence->num_computed_before
                                             : sequence->num_computed;
}

static bool is_decode(const struct sequence *sequence)
{
    return sequence->num_tokens - sequence->num_computed == 1;
}

/* Returns true when a preemption has changed the array, so that the pass has to begin again. */
static bool plan_some_decodes(struct scheduler *s)
{
    const int32_t turn = s->decode_turn, preempted = s->plan.num_preempted;
    for (int32_t k = 0; k < s->num_running; k++) {
        const int32_t i = (turn + k) % s->num_running;
        struct sequence *sequence = s->running[i];
        if (!is_decode(sequence) || sequence_is_paused(sequence) || !has_turn(s, sequence->request))
            continue;
        if (chunk_of(s, sequence) == 0) {
            s->decode_turn = i;
            return false;
        }
        if (grow(s, sequence))
            plan_sequence(s, sequence);
        if (s->plan.num_preempted != preempted)
            return true;
    }
    s->decode_turn = 0;
    return false;
}

static void plan_chunks(struct scheduler *s)
{
    for (int32_t i = 0; i < s->num_running; i++) {
        struct sequence *sequence = s->running[i];
        if (sequence->num_computed < sequence->num_tokens && !is_decode(sequence) &&
            !sequence_is_paused(sequence) && has_turn(s, sequence->request))
            plan_sequence(s, sequence);
    }
}

/* --- starts ------------------------------------------------------------------------------- */

/* A sibling that holds the prompt up to the position before its last, or NULL. */
static const struct sequence *find_source(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state == SEQUENCE_RUNNING && computed_before(s, q) >= q->num_prompt - 1)
            return q;
    return NULL;
}

/* Is a sibling still computing the prompt, so that the next choice had better wait for it? */
static bool is_prompt_underway(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state != SEQUENCE_FINISHED && computed_before(s, q) < q->num_prompt - 1)
            return true;
    return false;
}

static int32_t shared_positions(const struct sequence *source)
{
    return source != NULL ? source->num_prompt - 1 : 0;
}

/* One block in a hundred stays free for those that run, so that a start does not cost the next
 * step a preemption. */
static bool can_start(const struct scheduler *s, int32_t num_tokens, const struct sequence *source)
{
    const int32_t spare = s->num_running > 0 ? s->limits.num_blocks / 100 : 0;
    const int32_t shared = shared_positions(source) / s->limits.block_size;
    return has_free_blocks(s, blocks_of(s, num_tokens) - shared + spare);
}

static void share_blocks(struct scheduler *s, struct sequence *sequence,
                         const struct sequence *source)
{
    const int32_t num_shared = shared_positions(source) / s->limits.block_size;
    for (int g = 0; g < s->limits.num_groups; g++)
        for (int32_t i = 0; i < num_shared; i++) {
            sequence->tables[g].ids[i] = source->tables[g].ids[i];
            sequence->tables[g].num = i + 1;
            block_pool_ref(&s->blocks[g], source->tables[g].ids[i]);
        }
    sequence->num_computed = shared_positions(source);
}

static void copy_last_block(struct scheduler *s, const struct sequence *sequence,
                            const struct sequence *source)
{
    const int32_t shared = shared_positions(source), at = shared / s->limits.block_size;
    if (shared % s->limits.block_size == 0)
        return;
    for (int g = 0; g < s->limits.num_groups; g++) {
        struct plan_copies *copies = &s->plan.copies[g];
        copies->from[copies->num] = source->tables[g].ids[at];
        copies->to[copies->num++] = sequence->tables[g].ids[at];
    }
}

static void start(struct scheduler *s, struct sequence *sequence, const struct sequence *source)
{
    share_blocks(s, sequence, source);
    add_blocks(s, sequence, blocks_of(s, sequence->num_tokens) - sequence->tables[0].num);
    copy_last_block(s, sequence, source);
    sequence->state = SEQUENCE_RUNNING;
    insert_into(s->running, &s->num_running, sequence);
    plan_sequence(s, sequence);
    /* Its blocks are filled by this step at the earliest: nobody can copy from them yet. */
    sequence->planned_step = s->step;
    sequence->num_computed_before = 0;
}

static bool has_budget(const struct scheduler *s)
{
    return s->plan.num_tokens < s->limits.max_num_batched_tokens &&
           s->plan.num_logits < s->limits.max_logits;
}

/* Returns false when one of them has to wait, and so everybody behind it. */
static bool start_preempted(struct scheduler *s)
{
    for (int32_t i = 0; i < s->num_preempted;) {
        struct sequence *sequence = s->preempted[i];
        const struct sequence *source = find_source(s, sequence->request);
        /* By its frontend alone, or it is not its turn: others pass. */
        if (sequence_is_paused(sequence) || !has_turn(s, sequence->request)) {
            i++;
            continue;
        }
        if (!has_budget(s) || !can_start(s, sequence->num_tokens, source))
            return false;
        remove_from(s->preempted, &s->num_preempted, sequence);
        start(s, sequence, source);
    }
    return true;
}

/* Seat and start the choices of a request; returns false when there is no room for the next. */
static bool start_choices(struct scheduler *s, struct request *request)
{
    while (request->num_seated < request->num_choices) {
        const struct sequence *source = find_source(s, request);
        if (source == NULL && is_prompt_underway(s, request))
            return true; /* others may pass meanwhile */
        const int32_t num_ids = request->choices[request->num_seated].num_ids;
        if (!has_budget(s) || num_free_places(s) == 0 || s->seats.num_free == 0 ||
            !can_start(s, request->num_prompt + num_ids, source))
            return false;
        start(s, sequence_pool_seat(&s->seats, &s->requests, request), source);
    }
    if (request->num_seated == request->num_choices)
        leave_queue(s, request);
    return true;
}

static void start_waiting(struct scheduler *s)
{
    struct request *request = TAILQ_FIRST(&s->waiting), *next;
    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, in_waiting);
        if (has_turn(s, request) && !start_choices(s, request))
            return;
    }
}

/* --- the plan ----------------------------------------------------------------------------- */

static void build_plan(struct scheduler *s)
{
    struct plan *plan = &s->plan;
    s->step++;
    plan->num_rows = plan->num_tokens = plan->num_logits = plan->num_preempted = 0;
    for (int g = 0; g < s->limits.num_groups; g++)
        plan->copies[g].num = 0;

    while (plan_some_decodes(s))
        ;
    plan_chunks(s);
    if (start_preempted(s))
        start_waiting(s);
}

const struct plan *scheduler_plan(struct scheduler *s)
{
    int32_t tries = 0;
    do { /* who has nothing to compute leaves the turn to the next */
        choose_turn(s);
        build_plan(s);
    } while (s->plan.num_rows == 0 && tries++ < 2 * s->requests.num_suspects);
    return &s->plan;
}

/* --- ends --------------------------------------------------------------------------------- */

void scheduler_finish(struct scheduler *s, struct sequence *sequence)
{
    if (sequence->state == SEQUENCE_RUNNING)
        remove_from(s->running, &s->num_running, sequence);
    else if (sequence->state == SEQUENCE_PREEMPTED)
        remove_from(s->preempted, &s->num_preempted, sequence);
    drop_blocks(s, sequence);
    sequence->state = SEQUENCE_FINISHED;
}

void scheduler_stop(struct scheduler *s, struct request *request)
{
    while (request->sequences != NULL) {
        scheduler_finish(s, request->sequences);
        sequence_pool_leave(&s->seats, request->sequences);
    }
    if (request->is_waiting)
        leave_queue(s, request);
}

bool scheduler_has_work(const struct scheduler *s)
{
    return s->num_running > 0 || s->num_preempted > 0 || s->num_waiting > 0;
}
