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

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits,
                   struct reserve *reserve)
{
    const size_t num = (size_t)limits->max_num_seqs;
    /* As many seats again for sequences that ended and wait for room in their ring. */
    const int32_t num_seats = 2 * limits->max_num_seqs;
    const int32_t max_requests = limits->max_num_queued_reqs + num_seats;

    *s = (struct scheduler){ .limits = *limits };
    wait_queue_init(&s->waiting, limits->policy);
    s->running = reserve_array(reserve, num, sizeof(struct sequence *));
    s->preempted = reserve_array(reserve, 2 * num, sizeof(struct sequence *));
    s->prompt = reserve_array(reserve, (size_t)limits->max_model_len, sizeof(*s->prompt));
    if (s->running == NULL || s->preempted == NULL || s->prompt == NULL)
        return -ENOMEM;
    int r = request_set_init(&s->requests, max_requests, waiting_tokens(limits, max_requests),
                             limits->vocab_size, reserve);
    if (r == 0)
        r = sequence_pool_init(&s->seats, num_seats, limits->max_model_len, limits->block_size,
                               limits->num_groups, reserve);
    for (int g = 0; r == 0 && g < limits->num_groups; g++)
        r = block_pool_init(&s->blocks[g], limits->num_blocks, reserve);
    if (r == 0)
        r = prefix_cache_init(&s->prefixes, limits->enable_prefix_caching, limits->block_size,
                              limits->num_groups, s->blocks, reserve);
    return r == 0 ? plan_init(&s->plan, limits, reserve) : r;
}

/* --- the queue ---------------------------------------------------------------------------- */

static int32_t blocks_of(const struct scheduler *s, int32_t num_positions)
{
    return (num_positions + s->limits.block_size - 1) / s->limits.block_size;
}

static int32_t num_free_places(const struct scheduler *s)
{
    const int32_t num = s->limits.max_num_seqs - s->num_running - s->num_preempted;
    return num > 0 ? num : 0;
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
    wait_queue_add(&s->waiting, request);
    request->is_waiting = true;
    s->num_waiting++;
    s->num_queued_tokens += request->tokens.num_tokens;
    *ret_request = request;
    return 0;
}

static void leave_queue(struct scheduler *s, struct request *request)
{
    wait_queue_remove(&s->waiting, request);
    request->is_waiting = false;
    s->num_waiting--;
    s->num_queued_tokens -= request->tokens.num_tokens;
    token_store_free(&s->requests.store, &request->tokens);
}

/* --- blocks ------------------------------------------------------------------------------- */

static void drop_blocks(struct scheduler *s, struct sequence *sequence)
{
    while (sequence->tables[0].num > 0)
        prefix_cache_drop_last(&s->prefixes, sequence->tables);
    sequence->num_kept = 0;
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
    prefix_cache_make_room(&s->prefixes, num);
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

static bool goes_before(const struct sequence *a, const struct sequence *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->age < b->age);
}

/* Keeps the array sorted. */
static void insert_into(struct sequence **array, int32_t *num, struct sequence *sequence)
{
    int32_t at = (*num)++;
    for (; at > 0 && goes_before(sequence, array[at - 1]); at--)
        array[at] = array[at - 1];
    array[at] = sequence;
}

static void preempt(struct scheduler *s, struct sequence *sequence)
{
    plan_remove(&s->plan, sequence);
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
        struct sequence *victim = s->running[s->num_running - 1]; /* the last in order */
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
        if (plan_chunk_of(&s->plan, &s->limits, sequence) == 0) {
            s->decode_turn = i;
            return false;
        }
        if (grow(s, sequence))
            plan_add(&s->plan, &s->limits, sequence);
        if (s->plan.num_preempted != preempted)
            return true;
    }
    s->decode_turn = 0;
    return false;
}

static bool wants_chunk(const struct scheduler *s, const struct sequence *sequence)
{
    return sequence->num_computed < sequence->num_tokens && !is_decode(sequence) &&
           sequence->planned_step != s->plan.step && !sequence_is_paused(sequence) &&
           has_turn(s, sequence->request);
}

/* Of the tenant that was served least, the first in order. */
static struct sequence *next_chunk(const struct scheduler *s)
{
    struct sequence *first = NULL;
    double least = 0;
    for (int32_t i = 0; i < s->num_running; i++) {
        struct sequence *sequence = s->running[i];
        const double served = wait_queue_served(&s->waiting, sequence->request);
        if (!wants_chunk(s, sequence) || (first != NULL && served >= least))
            continue;
        first = sequence;
        least = served;
    }
    return first;
}

static void plan_chunks_fairly(struct scheduler *s)
{
    struct sequence *sequence;
    while (plan_has_room(&s->plan, &s->limits) && (sequence = next_chunk(s)) != NULL)
        if (!plan_add(&s->plan, &s->limits, sequence))
            return;
}

static void plan_chunks(struct scheduler *s)
{
    if (s->limits.policy == WAIT_FAIR && s->waiting.num_tenants > 1)
        plan_chunks_fairly(s);
    for (int32_t i = 0; i < s->num_running; i++)
        if (wants_chunk(s, s->running[i]))
            plan_add(&s->plan, &s->limits, s->running[i]);
}

/* --- starts ------------------------------------------------------------------------------- */

/* A sibling that holds the prompt up to the position before its last, or NULL. */
static const struct sequence *find_source(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state == SEQUENCE_RUNNING && plan_computed_before(&s->plan, q) >= q->num_prompt - 1)
            return q;
    return NULL;
}

/* Is a sibling still computing the prompt, so that the next choice had better wait for it? */
static bool is_prompt_underway(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state != SEQUENCE_FINISHED && plan_computed_before(&s->plan, q) < q->num_prompt - 1)
            return true;
    return false;
}

/* Where a sequence that starts finds keys and values: a sibling, or the prefix cache. */
struct origin {
    const struct sequence *sibling; /* NULL: the match */
    struct prefix_match match;
};

static bool reads_prefixes(const struct request *request)
{
    return request->params.num_prompt_logprobs < 0;
}

static struct origin find_origin(const struct scheduler *s, const struct request *request,
                                 const int32_t *tokens, int32_t num_tokens)
{
    struct origin origin = { .sibling = find_source(s, request) };
    const bool reads = origin.sibling == NULL && reads_prefixes(request);
    /* The last token is always computed: its logits are wanted. */
    const int32_t max_pages = reads ? (num_tokens - 1) / s->limits.block_size : 0;
    prefix_cache_find(&s->prefixes, request->root, tokens, max_pages, &origin.match);
    return origin;
}

static int32_t shared_positions(const struct scheduler *s, const struct origin *origin)
{
    return origin->sibling != NULL ? origin->sibling->num_prompt - 1
                                   : origin->match.num_pages * s->limits.block_size;
}

/* One block in a hundred stays free for those that run, so that a start does not cost the next
 * step a preemption. */
static bool can_start(const struct scheduler *s, int32_t num_tokens, const struct origin *origin)
{
    const int32_t spare = s->num_running > 0 ? s->limits.num_blocks / 100 : 0;
    const int32_t shared = shared_positions(s, origin) / s->limits.block_size;
    return has_free_blocks(s, blocks_of(s, num_tokens) - shared + origin->match.num_idle + spare);
}

static void share_blocks(struct scheduler *s, struct sequence *sequence,
                         const struct sequence *sibling)
{
    const int32_t num_shared = (sibling->num_prompt - 1) / s->limits.block_size;
    for (int g = 0; g < s->limits.num_groups; g++) {
        for (int32_t i = 0; i < num_shared; i++) {
            sequence->tables[g].ids[i] = sibling->tables[g].ids[i];
            block_pool_ref(&s->blocks[g], sibling->tables[g].ids[i]);
        }
        sequence->tables[g].num = num_shared;
    }
    sequence->num_kept = sibling->num_kept < num_shared ? sibling->num_kept : num_shared;
}

static void copy_last_block(struct scheduler *s, const struct sequence *sequence,
                            const struct sequence *sibling)
{
    const int32_t shared = sibling->num_prompt - 1, at = shared / s->limits.block_size;
    if (shared % s->limits.block_size == 0)
        return;
    for (int g = 0; g < s->limits.num_groups; g++) {
        struct plan_copies *copies = &s->plan.copies[g];
        copies->from[copies->num] = sibling->tables[g].ids[at];
        copies->to[copies->num++] = sequence->tables[g].ids[at];
    }
}

static void take_blocks(struct scheduler *s, struct sequence *sequence, const struct origin *origin)
{
    if (origin->sibling != NULL) {
        share_blocks(s, sequence, origin->sibling);
    } else {
        prefix_cache_share(&s->prefixes, &origin->match, sequence->tables);
        sequence->num_kept = origin->match.num_pages;
    }
    add_blocks(s, sequence, blocks_of(s, sequence->num_tokens) - sequence->tables[0].num);
    if (origin->sibling != NULL)
        copy_last_block(s, sequence, origin->sibling);
    else if (!sequence->is_scorer && !sequence->request->is_suspect) /* who may stay away */
        prefix_cache_announce(&s->prefixes, sequence->request->root, sequence->tables,
                              sequence->tokens, sequence->num_kept,
                              sequence->num_tokens / s->limits.block_size);
}

static void start(struct scheduler *s, struct sequence *sequence, const struct origin *origin)
{
    take_blocks(s, sequence, origin);
    sequence->num_computed = shared_positions(s, origin);
    sequence->state = SEQUENCE_RUNNING;
    insert_into(s->running, &s->num_running, sequence);
    plan_add(&s->plan, &s->limits, sequence);
    /* What it computes or copies is there after this step: nobody can copy from it yet. */
    sequence->planned_step = s->plan.step;
    sequence->num_computed_before = origin->match.num_pages * s->limits.block_size;
}

/* Does a sequence that runs give its place to one of this rank? */
static bool preempt_behind(struct scheduler *s, int32_t rank)
{
    if (s->num_running == 0 || s->running[s->num_running - 1]->rank <= rank)
        return false;
    preempt(s, s->running[s->num_running - 1]);
    return true;
}

/* Start those of at most this rank. Returns false when one of them has to wait, and so everybody
 * behind it. */
static bool start_preempted(struct scheduler *s, int32_t rank)
{
    for (int32_t i = 0; i < s->num_preempted && s->preempted[i]->rank <= rank;) {
        struct sequence *sequence = s->preempted[i];
        const struct origin origin =
            find_origin(s, sequence->request, sequence->tokens, sequence->num_tokens);
        /* Its frontend does not read, it is not its turn, or another fills its next page: others
         * pass. */
        if (sequence_is_paused(sequence) || !has_turn(s, sequence->request) ||
            origin.match.awaited >= 0) {
            i++;
            continue;
        }
        if (!plan_has_room(&s->plan, &s->limits) || s->num_running == s->limits.max_num_seqs ||
            !can_start(s, sequence->num_tokens, &origin)) {
            if (!preempt_behind(s, sequence->rank))
                return false;
            continue; /* those preempted stand behind it */
        }
        remove_from(s->preempted, &s->num_preempted, sequence);
        start(s, sequence, &origin);
    }
    return true;
}

static void note_hit(struct scheduler *s, struct request *request, const struct origin *origin)
{
    const int32_t found = origin->match.num_pages * s->limits.block_size;
    if (request->num_seated > 0 || request->is_resumed || !reads_prefixes(request))
        return;
    request->num_cached = found;
    wait_queue_charge(&s->waiting, request, -found);
    s->plan.num_queried += request->num_prompt;
    s->plan.num_hit += found;
}

/* By priority, those that gave up their place do not keep it from others. */
static bool has_place(const struct scheduler *s)
{
    return s->limits.policy == WAIT_PRIORITY ? s->num_running < s->limits.max_num_seqs
                                             : num_free_places(s) > 0;
}

/* Seat and start the choices of a request; returns false when there is no room for the next. */
static bool start_choices(struct scheduler *s, struct request *request)
{
    while (request->num_seated < request->num_choices) {
        if (prefix_cache_is_awaited(&s->prefixes, request->awaited, request->awaited_number))
            return true;
        if (s->seats.num_free == 0)
            return false;
        if (!plan_has_room(&s->plan, &s->limits) || !has_place(s)) {
            if (!preempt_behind(s, request->rank))
                return false;
            continue;
        }
        const int32_t num_tokens =
            request_read_tokens(&s->requests, request, request->num_seated, s->prompt);
        const struct origin origin = find_origin(s, request, s->prompt, num_tokens);
        request->awaited = origin.match.awaited;
        request->awaited_number = origin.match.awaited_number;
        if (origin.match.awaited >= 0 || (origin.sibling == NULL && is_prompt_underway(s, request)))
            return true; /* others may pass meanwhile */
        if (!can_start(s, num_tokens, &origin)) {
            if (!preempt_behind(s, request->rank))
                return false;
            continue;
        }
        if (request->num_seated == 0)
            wait_queue_charge(&s->waiting, request, request->num_prompt);
        note_hit(s, request, &origin);
        wait_queue_note_running(&s->waiting, request, 1);
        start(s, sequence_pool_seat(&s->seats, &s->requests, request), &origin);
    }
    leave_queue(s, request);
    return true;
}

/* What was preempted goes before what waits, rank by rank. */
static void start_all(struct scheduler *s)
{
    struct request *request;
    int32_t rank = INT32_MIN;
    wait_queue_rewind(&s->waiting);
    while ((request = wait_queue_next(&s->waiting)) != NULL) {
        if ((rank == INT32_MIN || request->rank > rank) && !start_preempted(s, request->rank))
            return;
        rank = request->rank;
        if (has_turn(s, request) && !start_choices(s, request))
            return;
    }
    start_preempted(s, INT32_MAX);
}

/* --- the plan ----------------------------------------------------------------------------- */

static void build_plan(struct scheduler *s)
{
    plan_begin(&s->plan, s->limits.num_groups);
    while (plan_some_decodes(s))
        ;
    plan_chunks(s);
    start_all(s);
}

static void charge_output(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan.num_rows; i++)
        if (s->plan.rows[i].samples)
            wait_queue_charge(&s->waiting, s->plan.rows[i].sequence->request, WAIT_OUTPUT_WEIGHT);
}

void scheduler_tell_time(struct scheduler *s, int64_t now_us)
{
    wait_queue_tell_time(&s->waiting, now_us);
}

const struct plan *scheduler_plan(struct scheduler *s)
{
    int32_t tries = 0;
    do { /* who has nothing to compute leaves the turn to the next */
        choose_turn(s);
        build_plan(s);
    } while (s->plan.num_rows == 0 && tries++ < 2 * s->requests.num_suspects);
    charge_output(s);
    return &s->plan;
}

void scheduler_filled(struct scheduler *s, struct sequence *sequence, int32_t end)
{
    sequence->num_kept =
        prefix_cache_commit(&s->prefixes, sequence->request->root, sequence->tables,
                            sequence->tokens, sequence->num_kept, end / s->limits.block_size);
}

/* --- ends --------------------------------------------------------------------------------- */

void scheduler_finish(struct scheduler *s, struct sequence *sequence)
{
    if (sequence->state != SEQUENCE_FINISHED)
        wait_queue_note_running(&s->waiting, sequence->request, -1);
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
