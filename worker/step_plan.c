#include "worker/step_plan.h"

#include <errno.h>
#include <string.h>

/* Words, in this order: the head; token ids; moves; rows with logits; samples; copies, from and to;
 * per sequence its rows, first position and for each KV part the blocks of the pages
 * that these read and write, behind their number. */
enum {
    HEAD_ROWS,
    HEAD_SEQS,
    HEAD_LOGITS,
    HEAD_MOVES,
    HEAD_KEPT,     /* 0 or 1 */
    HEAD_BEHIND,   /* 0 or 1 */
    HEAD_SHARED,   /* 0 or 1 */
    HEAD_EXPECTED, /* two words */
    HEAD_COPIES = HEAD_EXPECTED + 2,
    HEAD_WORDS,
};

enum { SEQ_WORDS = 2 }; /* rows, first position */

struct sample_words {
    float temperature, top_p, min_p, typical_p;
    int32_t top_k;
    uint32_t seed_low, seed_high, choice, output_pos;
};
enum {
    SAMPLE_WORDS = sizeof(struct sample_words) / sizeof(int32_t),
    MOVE_WORDS = sizeof(struct id_move) / sizeof(int32_t)
};

uint64_t step_plan_max_words(const struct scheduler_limits *limits)
{
    const uint64_t seqs = (uint64_t)limits->max_num_seqs, parts = (uint64_t)limits->kv.num_parts;
    const uint64_t blocks = (uint64_t)kv_most_blocks(&limits->kv, limits->max_num_batched_tokens,
                                                     limits->max_model_len);
    return HEAD_WORDS + (uint64_t)limits->max_num_batched_tokens +
           (uint64_t)limits->max_logits * (1 + SAMPLE_WORDS) + seqs * parts * 2 +
           seqs * (SEQ_WORDS + MOVE_WORDS + parts + blocks);
}

/* --- writing ------------------------------------------------------------------------------ */

static int32_t *put(int32_t *at, const void *from, int32_t num_words)
{
    if (num_words > 0)
        memcpy(at, from, (size_t)num_words * sizeof(*at));
    return at + num_words;
}

/* Where more than logits and seed decide, followers look for the best of the logits. */
static int32_t *put_sample(int32_t *at, const struct sample_row *row)
{
    const struct sample_words words = { .temperature = batch_is_plain(row) ? row->temperature : 0,
                                        .top_p = row->top_p,
                                        .min_p = row->min_p,
                                        .typical_p = row->typical_p,
                                        .top_k = row->top_k,
                                        .seed_low = (uint32_t)row->seed,
                                        .seed_high = (uint32_t)(row->seed >> 32),
                                        .choice = row->choice,
                                        .output_pos = row->output_pos };
    return put(at, &words, SAMPLE_WORDS);
}

static int32_t *put_seq(int32_t *at, const struct batch *batch, int32_t i)
{
    const struct attention_seq *first = &batch->seqs[0][i];
    const int32_t end = kv_pages(&batch->kv, first->first_pos + first->num_rows);
    *at++ = first->num_rows;
    *at++ = first->first_pos;
    for (int32_t part = 0; part < batch->kv.num_parts; part++) {
        const struct attention_seq *seq = &batch->seqs[part][i];
        *at++ = end - seq->first_block;
        at = put(at, seq->blocks, end - seq->first_block);
    }
    return at;
}

uint32_t step_plan_write(int32_t *words, const struct batch *batch, const struct plan *plan,
                         const struct step_plan_news *news)
{
    const struct model_batch *m = &batch->model;
    const int32_t num_moves = news->is_behind ? batch->num_moves : 0;
    int32_t head[HEAD_WORDS] = {
        [HEAD_ROWS] = m->num_rows,       [HEAD_SEQS] = m->num_seqs,
        [HEAD_LOGITS] = m->num_logits,   [HEAD_MOVES] = num_moves,
        [HEAD_KEPT] = news->is_kept,     [HEAD_BEHIND] = news->is_behind,
        [HEAD_SHARED] = news->is_shared, [HEAD_COPIES] = plan->copies.num
    };
    memcpy(&head[HEAD_EXPECTED], &news->expected_us, sizeof(news->expected_us));

    int32_t *at = put(words, head, HEAD_WORDS);
    at = put(at, batch->token_ids, m->num_rows);
    at = put(at, batch->moves, num_moves * MOVE_WORDS);
    at = put(at, batch->logits_rows, m->num_logits);
    for (int32_t i = 0; i < m->num_logits; i++)
        at = put_sample(at, &batch->samples[i]);
    at = put(at, plan->copies.from, plan->copies.num);
    at = put(at, plan->copies.to, plan->copies.num);
    for (int32_t i = 0; i < m->num_seqs; i++)
        at = put_seq(at, batch, i);
    return (uint32_t)(at - words);
}

/* --- reading ------------------------------------------------------------------------------ */

int step_plan_init(struct step_plan *plan, const struct scheduler_limits *limits,
                   struct reserve *reserve)
{
    const size_t rows = (size_t)limits->max_num_batched_tokens;
    const size_t logits = (size_t)limits->max_logits;
    struct step_plan p = {
        .samples = reserve_array(reserve, logits, sizeof(*p.samples)),
        .ids = reserve_array(reserve, logits, sizeof(*p.ids)),
        .own_ids = reserve_array(reserve, logits, sizeof(*p.own_ids)),
        .bad = reserve_array(reserve, logits, sizeof(*p.bad)),
        .positions = reserve_array(reserve, rows, sizeof(*p.positions)),
    };
    if (p.samples == NULL || p.ids == NULL || p.own_ids == NULL || p.bad == NULL ||
        p.positions == NULL || !batch_reserve_parts(p.slots, p.seqs, limits, reserve))
        return -ENOMEM;
    memcpy(p.model.slots, p.slots, sizeof(p.model.slots));
    memcpy(p.model.seqs, p.seqs, sizeof(p.model.seqs));
    p.model.positions = p.positions;
    *plan = p;
    return 0;
}

struct reader {
    const struct scheduler_limits *limits;
    int32_t *at;
    uint32_t left;
    const char *problem; /* the first */
};

static void require(struct reader *r, bool good, const char *what)
{
    if (!good && r->problem == NULL)
        r->problem = what;
}

/* The next `num` words; NULL once something was wrong. */
static int32_t *take(struct reader *r, int64_t num, const char *what)
{
    int32_t *words = r->at;
    require(r, num >= 0 && num <= r->left, what);
    if (r->problem != NULL)
        return NULL;
    r->at += num;
    r->left -= (uint32_t)num;
    return words;
}

/* The next `num` words, each in [0, end). */
static int32_t *take_ids(struct reader *r, int64_t num, int32_t end, const char *what)
{
    int32_t *ids = take(r, num, what);
    for (int64_t i = 0; ids != NULL && i < num; i++)
        require(r, ids[i] >= 0 && ids[i] < end, what);
    return ids;
}

static void read_samples(struct reader *r, struct step_plan *plan)
{
    const int32_t num = plan->model.num_logits;
    const int32_t *words = take(r, (int64_t)num * SAMPLE_WORDS, "samples");
    for (int32_t i = 0; words != NULL && i < num; i++, words += SAMPLE_WORDS) {
        struct sample_words s;
        memcpy(&s, words, sizeof(s));
        plan->bad[i] = false;
        plan->samples[i] = (struct sample_row){ .temperature = s.temperature,
                                                .top_p = s.top_p,
                                                .min_p = s.min_p,
                                                .typical_p = s.typical_p,
                                                .top_k = s.top_k,
                                                .repetition_penalty = 1,
                                                .seed = (uint64_t)s.seed_high << 32 | s.seed_low,
                                                .choice = s.choice,
                                                .output_pos = s.output_pos,
                                                .num_logprobs = -1,
                                                .forced_id = -1,
                                                .bad = &plan->bad[i],
                                                .ret_id = &plan->ids[i],
                                                .ret_own_id = &plan->own_ids[i] };
    }
}

static void read_copies(struct reader *r, struct step_plan *plan, int32_t num)
{
    const int64_t most = (int64_t)r->limits->max_num_seqs * r->limits->kv.num_parts;
    require(r, num >= 0 && num <= most, "copies");
    plan->copies.num = num;
    plan->copies.from = take_ids(r, num, r->limits->num_blocks, "copies");
    plan->copies.to = take_ids(r, num, r->limits->num_blocks, "copies");
}

/* What pages `seq` reads and writes follows from its positions; which blocks they are is read. */
static void read_blocks(struct reader *r, struct step_plan *plan, int32_t i, int32_t g,
                        struct attention_seq seq)
{
    const struct kv_groups *kv = &r->limits->kv;
    const int32_t end = kv_pages(kv, seq.first_pos + seq.num_rows);
    const int32_t first_part = kv->groups[g].first_part;
    seq.first_block = kv_first_page(kv, g, seq.first_pos);
    for (int32_t p = first_part; p < first_part + kv->groups[g].num_parts; p++) {
        const int32_t *num = take(r, 1, "blocks");
        require(r, num != NULL && *num == end - seq.first_block, "blocks");
        seq.blocks = take_ids(r, end - seq.first_block, r->limits->num_blocks, "blocks");
        if (r->problem != NULL)
            return;
        plan->seqs[p][i] = seq;
        batch_fill_slots(&seq, kv->block_size, plan->slots[p]);
    }
}

static void read_seq(struct reader *r, struct step_plan *plan, int32_t i, int32_t *first_row)
{
    const struct scheduler_limits *limits = r->limits;
    const int32_t *words = take(r, SEQ_WORDS, "sequences");
    if (words == NULL)
        return;
    struct attention_seq seq = { .first_row = *first_row,
                                 .num_rows = words[0],
                                 .first_pos = words[1] };
    require(r, seq.num_rows > 0 && seq.num_rows <= plan->model.num_rows - *first_row, "rows");
    if (r->problem != NULL) /* no sum of what was refused */
        return;
    require(r, seq.first_pos >= 0 && seq.first_pos <= limits->max_model_len - seq.num_rows,
            "positions");
    for (int32_t g = 0; r->problem == NULL && g < limits->kv.num_groups; g++)
        read_blocks(r, plan, i, g, seq);
    for (int32_t k = 0; r->problem == NULL && k < seq.num_rows; k++)
        plan->positions[*first_row + k] = seq.first_pos + k;
    *first_row += seq.num_rows;
}

/* From a token that the plan before draws, and this rank as the leader does. */
static void read_moves(struct reader *r, struct step_plan *plan, const struct step_plan *before,
                       int32_t num)
{
    require(r, num >= 0 && num <= r->limits->max_num_seqs, "moves");
    const void *words = take(r, (int64_t)num * MOVE_WORDS, "moves");
    plan->moves = words;
    plan->num_moves = words != NULL ? num : 0;
    for (int32_t i = 0; i < plan->num_moves; i++) {
        require(r, plan->moves[i].to >= 0 && plan->moves[i].to < plan->model.num_rows, "moves");
        require(r, plan->moves[i].from >= 0 && plan->moves[i].from < before->model.num_logits,
                "moves");
    }
}

static void read_news(struct reader *r, struct step_plan *plan, const int32_t *head)
{
    for (int word = HEAD_KEPT; word <= HEAD_SHARED; word++)
        require(r, head[word] == 0 || head[word] == 1, "head");
    plan->news.is_kept = head[HEAD_KEPT] != 0;
    plan->news.is_behind = head[HEAD_BEHIND] != 0;
    plan->news.is_shared = head[HEAD_SHARED] != 0;
    memcpy(&plan->news.expected_us, &head[HEAD_EXPECTED], sizeof(plan->news.expected_us));
}

static void read_all(struct reader *r, struct step_plan *plan, const struct step_plan *before)
{
    const struct scheduler_limits *limits = r->limits;
    struct model_batch *m = &plan->model;
    const int32_t *head = take(r, HEAD_WORDS, "head");
    int32_t first_row = 0;
    if (head == NULL)
        return;
    m->num_rows = head[HEAD_ROWS];
    m->num_seqs = head[HEAD_SEQS];
    m->num_logits = head[HEAD_LOGITS];
    read_news(r, plan, head);
    require(r, m->num_rows > 0 && m->num_rows <= limits->max_num_batched_tokens, "rows");
    require(r, m->num_seqs > 0 && m->num_seqs <= limits->max_num_seqs, "sequences");
    require(r, m->num_logits >= 0 && m->num_logits <= limits->max_logits, "logits");
    m->token_ids = plan->token_ids = take_ids(r, m->num_rows, limits->vocab_size, "tokens");
    read_moves(r, plan, before, head[HEAD_MOVES]);
    m->logits_rows = take_ids(r, m->num_logits, m->num_rows, "rows with logits");
    read_samples(r, plan);
    read_copies(r, plan, head[HEAD_COPIES]);
    for (int32_t i = 0; r->problem == NULL && i < m->num_seqs; i++)
        read_seq(r, plan, i, &first_row);
    require(r, first_row == m->num_rows, "rows");
    require(r, r->left == 0, "length");
}

int step_plan_read(struct step_plan *plan, const struct step_plan *before,
                   const struct scheduler_limits *limits, int32_t *words, uint32_t num_words,
                   struct error *err)
{
    struct reader reader = { .limits = limits, .at = words, .left = num_words };
    read_all(&reader, plan, before);
    if (reader.problem != NULL)
        return error_set(err, -EPROTO, "the leader's plan: its %s cannot be", reader.problem);
    return 0;
}
