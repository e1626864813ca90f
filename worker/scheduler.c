#include "worker/scheduler.h"

#include <errno.h>

#include "worker/room.h"
#include "worker/start.h"
#include "worker/turn.h"

/* --- start -------------------------------------------------------------------------------- */

/* Tokens that wait, and those that an earlier engine was running when it died. */
static int64_t waiting_tokens(const struct scheduler_limits *limits, int32_t max_requests)
{
    const int64_t pool = 2 * (int64_t)limits->num_blocks * limits->kv.block_size;
    const int64_t seats = (int64_t)limits->max_num_seqs * limits->max_model_len;
    const bool is_bounded = pool < seats && !kv_forgets(&limits->kv);
    return limits->max_num_queued_tokens + (is_bounded ? pool : seats) + limits->max_model_len +
           (int64_t)max_requests * TOKEN_STORE_CHUNK;
}

int scheduler_init(struct scheduler *s, const struct scheduler_limits *limits,
                   struct reserve *reserve)
{
    const size_t num = (size_t)limits->max_num_seqs;
    /* As many seats again for sequences that ended and wait for room in their ring, and for those
     * that a device still reads. */
    const int32_t num_seats = 3 * limits->max_num_seqs;
    const int32_t max_requests = limits->max_num_queued_reqs + num_seats;

    *s = (struct scheduler){
        .limits = *limits,
        .max_chunk = kv_fitting_chunk(&limits->kv, limits->num_blocks,
                                      limits->max_num_batched_tokens, limits->max_model_len),
    };
    wait_queue_init(&s->waiting, limits->policy);
    s->running = reserve_array(reserve, num, sizeof(struct sequence *));
    s->preempted = reserve_array(reserve, 2 * num, sizeof(struct sequence *));
    s->prompt = reserve_array(reserve, (size_t)limits->max_model_len, sizeof(*s->prompt));
    if (s->running == NULL || s->preempted == NULL || s->prompt == NULL)
        return -ENOMEM;
    int r = request_set_init(&s->requests, max_requests, waiting_tokens(limits, max_requests),
                             limits->vocab_size, reserve);
    if (r == 0)
        r = sequence_pool_init(&s->seats, num_seats, limits->max_model_len, &s->limits.kv, reserve);
    if (r == 0)
        r = block_pool_init(&s->blocks, limits->num_blocks, reserve);
    if (r == 0)
        r = prefix_cache_init(&s->prefixes, limits->enable_prefix_caching, &s->limits.kv,
                              kv_pages(&limits->kv, limits->max_model_len), &s->blocks, reserve);
    s->plan = &s->plans[0];
    for (int i = 0; r == 0 && i < 2; i++)
        r = plan_init(&s->plans[i], limits, reserve);
    return r;
}

/* --- the queue ---------------------------------------------------------------------------- */

static enum record_failure refusal(const struct scheduler *s, const struct record_submit *submit)
{
    /* The last token's keys and values are never needed. */
    const int64_t longest = (int64_t)submit->num_prompt + submit->params->max_tokens - 1;
    if (longest > INT32_MAX ||
        kv_most_blocks(&s->limits.kv, room_chunk(s), (int32_t)longest) > s->limits.num_blocks)
        return RECORD_FAILURE_TOO_LONG;
    if ((submit->params->flags & RECORD_RESUMED) != 0)
        return 0;
    if (s->num_waiting >= s->limits.max_num_queued_reqs + room_num_places(s))
        return RECORD_FAILURE_QUEUE_FULL;
    const bool starts_at_once = s->num_waiting == 0 && room_num_places(s) > 0;
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

void scheduler_leave_queue(struct scheduler *s, struct request *request)
{
    wait_queue_remove(&s->waiting, request);
    request->is_waiting = false;
    s->num_waiting--;
    s->num_queued_tokens -= request->tokens.num_tokens;
    token_store_free(&s->requests.store, &request->tokens);
}

/* --- rows --------------------------------------------------------------------------------- */

static bool is_decode(const struct sequence *sequence)
{
    return sequence_length(sequence) - sequence->num_computed == 1;
}

static bool may_go_on(const struct scheduler *s, const struct sequence *sequence)
{
    return sequence->planned_step != s->plan->step && !sequence_is_paused(sequence) &&
           !sequence_lags(sequence) && turn_is_of(s, sequence->request);
}

/* Returns true when a preemption has changed the array, so that the pass has to begin again. */
static bool plan_some_decodes(struct scheduler *s)
{
    const int32_t turn = s->decode_turn, preempted = s->plan->num_preempted;
    int32_t first_left = 0; /* of those whose penalties count too much for this step */
    bool any_left = false;
    for (int32_t k = 0; k < s->num_running; k++) {
        const int32_t i = (turn + k) % s->num_running;
        struct sequence *sequence = s->running[i];
        if (!is_decode(sequence) || !may_go_on(s, sequence))
            continue;
        if (plan_chunk_of(s->plan, &s->limits, sequence, INT32_MAX) == 0) {
            first_left = any_left ? first_left : i;
            any_left = true;
            if (plan_has_room(s->plan, &s->limits))
                continue;
            break;
        }
        if (room_grow(s, sequence))
            plan_add(s->plan, &s->limits, sequence);
        if (s->plan->num_preempted != preempted)
            return true;
    }
    s->decode_turn = first_left;
    return false;
}

static bool wants_chunk(const struct scheduler *s, const struct sequence *sequence)
{
    return sequence->num_computed < sequence->num_tokens && !is_decode(sequence) &&
           may_go_on(s, sequence);
}

static bool add_chunk(struct scheduler *s, struct sequence *sequence)
{
    return room_grow(s, sequence) && plan_add(s->plan, &s->limits, sequence);
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
    while (plan_has_room(s->plan, &s->limits) && (sequence = next_chunk(s)) != NULL)
        if (!add_chunk(s, sequence))
            return;
}

static void plan_chunks(struct scheduler *s)
{
    if (s->limits.policy == WAIT_FAIR && s->waiting.num_tenants > 1)
        plan_chunks_fairly(s);
    for (int32_t i = 0; i < s->num_running; i++) /* who is preempted is the last */
        if (wants_chunk(s, s->running[i]))
            add_chunk(s, s->running[i]);
}

/* --- the plan ----------------------------------------------------------------------------- */

static void build_plan(struct scheduler *s)
{
    plan_begin(s->plan, ++s->num_plans);
    while (plan_some_decodes(s))
        ;
    plan_chunks(s);
    start_all(s);
}

static void charge_output(struct scheduler *s)
{
    for (int32_t i = 0; i < s->plan->num_rows; i++)
        if (s->plan->rows[i].samples)
            wait_queue_charge(&s->waiting, s->plan->rows[i].sequence->request, WAIT_OUTPUT_WEIGHT);
}

void scheduler_tell_time(struct scheduler *s, int64_t now_us)
{
    wait_queue_tell_time(&s->waiting, now_us);
}

const struct plan *scheduler_plan(struct scheduler *s)
{
    int32_t tries = 0;
    const struct plan *before = s->plan;
    s->plan = before == &s->plans[0] ? &s->plans[1] : &s->plans[0];
    plan_count_from(s->plan, before);
    do { /* who has nothing to compute leaves the turn to the next */
        turn_choose(s);
        build_plan(s);
    } while (s->plan->num_rows == 0 && tries++ < 2 * s->requests.num_suspects);
    charge_output(s);
    return s->plan;
}

/* --- results ------------------------------------------------------------------------------ */

bool scheduler_end_row(struct scheduler *s, const struct plan_row *row)
{
    struct sequence *sequence = row->sequence;
    const bool is_wanted =
        sequence->state == SEQUENCE_RUNNING || sequence->state == SEQUENCE_PREEMPTED;
    request_set_end_row(&s->requests, row->request);
    sequence_pool_end_row(&s->seats, sequence, row->samples);
    return is_wanted;
}

void scheduler_filled(struct scheduler *s, struct sequence *sequence, int32_t end)
{
    if (sequence->state != SEQUENCE_RUNNING) /* preempted: what it filled is another's */
        return;
    prefix_cache_commit(&s->prefixes, sequence->request->root, &sequence->path, sequence->tables,
                        sequence->tokens, end / s->limits.kv.block_size);
    room_give_back(s, sequence, end);
}

/* --- ends --------------------------------------------------------------------------------- */

void scheduler_finish(struct scheduler *s, struct sequence *sequence)
{
    if (sequence->state != SEQUENCE_FINISHED)
        wait_queue_note_running(&s->waiting, sequence->request, -1);
    if (sequence->state == SEQUENCE_RUNNING)
        room_remove(s->running, &s->num_running, sequence);
    else if (sequence->state == SEQUENCE_PREEMPTED)
        room_remove(s->preempted, &s->num_preempted, sequence);
    room_drop_blocks(s, sequence);
    sequence->state = SEQUENCE_FINISHED;
}

void scheduler_stop(struct scheduler *s, struct request *request)
{
    while (request->sequences != NULL) {
        scheduler_finish(s, request->sequences);
        sequence_pool_leave(&s->seats, request->sequences);
    }
    if (request->is_waiting)
        scheduler_leave_queue(s, request);
}

bool scheduler_has_work(const struct scheduler *s)
{
    return s->num_running > 0 || s->num_preempted > 0 || s->num_waiting > 0;
}
