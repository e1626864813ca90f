#include "worker/start.h"

#include "worker/room.h"
#include "worker/turn.h"

/* Does it still have what the row at `pos` reads? */
static bool holds_before(const struct scheduler *s, const struct sequence *sequence, int32_t pos)
{
    const struct kv_groups *kv = &s->limits.kv;
    for (int32_t g = 0; g < kv->num_groups; g++)
        if (sequence->tables[g].first > kv_first_page(kv, g, pos))
            return false;
    return true;
}

/* A sibling that holds the prompt up to the position before its last, or NULL. */
static const struct sequence *find_source(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state == SEQUENCE_RUNNING && plan_computed_before(s->plan, q) >= q->num_prompt - 1 &&
            holds_before(s, q, q->num_prompt - 1))
            return q;
    return NULL;
}

/* Is a sibling still computing the prompt, so that the next choice had better wait for it? */
static bool is_prompt_underway(const struct scheduler *s, const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->state != SEQUENCE_FINISHED && plan_computed_before(s->plan, q) < q->num_prompt - 1)
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
    const int32_t max_pages = reads ? (num_tokens - 1) / s->limits.kv.block_size : 0;
    prefix_cache_find(&s->prefixes, request->root, tokens, max_pages, &origin.match);
    return origin;
}

static int32_t shared_positions(const struct scheduler *s, const struct origin *origin)
{
    return origin->sibling != NULL ? origin->sibling->num_prompt - 1
                                   : origin->match.num_pages * s->limits.kv.block_size;
}

/* One block in a hundred stays free for those that run, so that a start does not cost the next
 * step a preemption. */
static bool can_start(const struct scheduler *s, int32_t num_tokens, const struct origin *origin)
{
    const int32_t spare = s->num_running > 0 ? s->limits.num_blocks / 100 : 0;
    const int64_t wanted = room_num_wanted(s, shared_positions(s, origin), num_tokens);
    return room_has_blocks(s, wanted + origin->match.num_idle + spare);
}

static void share_blocks(struct scheduler *s, struct sequence *sequence,
                         const struct sequence *sibling)
{
    const struct kv_groups *kv = &s->limits.kv;
    const int32_t shared = sibling->num_prompt - 1, num_pages = shared / kv->block_size;
    for (int32_t g = 0; g < kv->num_groups; g++) {
        struct block_table *table = &sequence->tables[g];
        table->first = kv_first_page(kv, g, shared);
        table->num = num_pages;
        for (int32_t part = 0; part < kv->groups[g].num_parts; part++) {
            const int32_t *from = block_table_ids(&sibling->tables[g], part);
            for (int32_t page = table->first; page < num_pages; page++) {
                block_table_ids(table, part)[page] = from[page];
                block_pool_ref(&s->blocks, from[page]);
            }
        }
    }
    prefix_cache_fork(&s->prefixes, &sibling->path, num_pages, &sequence->path);
}

static void copy_last_block(struct scheduler *s, const struct sequence *sequence,
                            const struct sequence *sibling)
{
    const struct kv_groups *kv = &s->limits.kv;
    const int32_t shared = sibling->num_prompt - 1, page = shared / kv->block_size;
    struct plan_copies *copies = &s->plan->copies;
    if (shared % kv->block_size == 0)
        return;
    for (int32_t g = 0; g < kv->num_groups; g++)
        for (int32_t part = 0; part < kv->groups[g].num_parts; part++) {
            copies->from[copies->num] = block_table_ids(&sibling->tables[g], part)[page];
            copies->to[copies->num++] = block_table_ids(&sequence->tables[g], part)[page];
        }
}

static void take_blocks(struct scheduler *s, struct sequence *sequence, const struct origin *origin)
{
    if (origin->sibling != NULL)
        share_blocks(s, sequence, origin->sibling);
    else
        prefix_cache_share(&s->prefixes, &origin->match, sequence->tables, &sequence->path);
    room_add_blocks(s, sequence, sequence->num_tokens);
    if (origin->sibling != NULL)
        copy_last_block(s, sequence, origin->sibling);
    else if (!sequence->is_scorer && !sequence->request->is_suspect) /* who may stay away */
        prefix_cache_announce(&s->prefixes, sequence->request->root, &sequence->path,
                              sequence->tokens, sequence->num_tokens / s->limits.kv.block_size);
}

static void start(struct scheduler *s, struct sequence *sequence, const struct origin *origin)
{
    take_blocks(s, sequence, origin);
    sequence->num_computed = shared_positions(s, origin);
    sequence->state = SEQUENCE_RUNNING;
    room_insert(s->running, &s->num_running, sequence);
    plan_add(s->plan, &s->limits, sequence);
    /* What it computes or copies is there after this step: nobody can copy from it yet. */
    sequence->planned_step = s->plan->step;
    sequence->num_computed_before = origin->match.num_pages * s->limits.kv.block_size;
}

/* Does a sequence that runs give its place to one of this rank? */
static bool preempt_behind(struct scheduler *s, int32_t rank)
{
    if (s->num_running == 0 || s->running[s->num_running - 1]->rank <= rank)
        return false;
    room_preempt(s, s->running[s->num_running - 1]);
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
        if (sequence_is_paused(sequence) || !turn_is_of(s, sequence->request) ||
            origin.match.awaited >= 0) {
            i++;
            continue;
        }
        if (sequence->num_rows > 0) /* its blocks went while the device was filling them */
            return false;
        if (!plan_has_room(s->plan, &s->limits) || s->num_running == s->limits.max_num_seqs ||
            !can_start(s, sequence->num_tokens, &origin)) {
            if (!preempt_behind(s, sequence->rank))
                return false;
            continue; /* those preempted stand behind it */
        }
        room_remove(s->preempted, &s->num_preempted, sequence);
        start(s, sequence, &origin);
    }
    return true;
}

static void note_hit(struct scheduler *s, struct request *request, const struct origin *origin)
{
    const int32_t found = origin->match.num_pages * s->limits.kv.block_size;
    if (request->num_seated > 0 || request->is_resumed || !reads_prefixes(request))
        return;
    request->num_cached = found;
    wait_queue_charge(&s->waiting, request, -found);
    s->plan->num_queried += request->num_prompt;
    s->plan->num_hit += found;
}

/* By priority, those that gave up their place do not keep it from others. */
static bool has_place(const struct scheduler *s)
{
    return s->limits.policy == WAIT_PRIORITY ? s->num_running < s->limits.max_num_seqs
                                             : room_num_places(s) > 0;
}

/* Seat and start the choices of a request; returns false when there is no room for the next. */
static bool start_choices(struct scheduler *s, struct request *request)
{
    while (request->num_seated < request->num_choices) {
        if (prefix_cache_is_awaited(&s->prefixes, request->awaited, request->awaited_number))
            return true;
        if (s->seats.num_free == 0)
            return false;
        if (!plan_has_room(s->plan, &s->limits) || !has_place(s)) {
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
    scheduler_leave_queue(s, request);
    return true;
}

/* What was preempted goes before what waits, rank by rank. */
void start_all(struct scheduler *s)
{
    struct request *request;
    int32_t rank = INT32_MIN;
    wait_queue_rewind(&s->waiting);
    while ((request = wait_queue_next(&s->waiting)) != NULL) {
        if ((rank == INT32_MIN || request->rank > rank) && !start_preempted(s, request->rank))
            return;
        rank = request->rank;
        if (turn_is_of(s, request) && !start_choices(s, request))
            return;
    }
    start_preempted(s, INT32_MAX);
}
