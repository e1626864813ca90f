#include "worker/batch.h"

#include <errno.h>
#include <string.h>

enum { STRIDE = 1 + RECORD_MAX_LOGPROBS };

/* Block numbers of one sequence, of what its rows read and write. */
static size_t blocks_of(const struct scheduler_limits *limits)
{
    return (size_t)kv_most_blocks(&limits->kv, limits->max_num_batched_tokens,
                                  limits->max_model_len);
}

bool batch_reserve_parts(int64_t **slots, struct attention_seq **seqs,
                         const struct scheduler_limits *limits, struct reserve *reserve)
{
    const size_t parts = (size_t)limits->kv.num_parts;
    const size_t rows = (size_t)limits->max_num_batched_tokens;
    const size_t num_seqs = (size_t)limits->max_num_seqs;
    int64_t *all_slots = reserve_array(reserve, parts * rows, sizeof(*all_slots));
    struct attention_seq *all_seqs = reserve_array(reserve, parts * num_seqs, sizeof(*all_seqs));
    if (all_slots == NULL || all_seqs == NULL)
        return false;
    for (size_t p = 0; p < parts; p++) {
        slots[p] = all_slots + p * rows;
        seqs[p] = all_seqs + p * num_seqs;
    }
    return true;
}

int batch_init(struct batch *batch, const struct scheduler_limits *limits, struct reserve *reserve)
{
    const size_t rows = (size_t)limits->max_num_batched_tokens;
    const size_t seqs = (size_t)limits->max_num_seqs, logits = (size_t)limits->max_logits;
    struct batch b = { .kv = limits->kv, .vocab_size = limits->vocab_size };

    b.token_ids = reserve_array(reserve, rows, sizeof(*b.token_ids));
    b.positions = reserve_array(reserve, rows, sizeof(*b.positions));
    b.logits_rows = reserve_array(reserve, logits, sizeof(*b.logits_rows));
    b.samples = reserve_array(reserve, logits, sizeof(*b.samples));
    b.ids = reserve_array(reserve, logits, sizeof(*b.ids));
    b.ranks = reserve_array(reserve, logits, sizeof(*b.ranks));
    b.bad = reserve_array(reserve, logits, sizeof(*b.bad));
    b.logprobs = reserve_array(reserve, logits, STRIDE * sizeof(*b.logprobs));
    b.banned_words = ((size_t)limits->vocab_size + 31) / 32;
    b.moves = reserve_array(reserve, seqs, sizeof(*b.moves));
    b.blocks = reserve_array(reserve, seqs * blocks_of(limits), sizeof(*b.blocks));
    b.banned = reserve_array(reserve, seqs, b.banned_words * sizeof(*b.banned));
    b.told_ids = reserve_array(reserve, logits, sizeof(*b.told_ids));
    b.top_ids = reserve_array(reserve, logits, STRIDE * sizeof(*b.top_ids));
    if (b.token_ids == NULL || b.positions == NULL || b.logits_rows == NULL || b.samples == NULL ||
        b.ids == NULL || b.ranks == NULL || b.bad == NULL || b.logprobs == NULL ||
        b.top_ids == NULL || b.told_ids == NULL || b.banned == NULL || b.moves == NULL ||
        b.blocks == NULL || !batch_reserve_parts(b.slots, b.seqs, limits, reserve))
        return -ENOMEM;
    memcpy(b.model.slots, b.slots, sizeof(b.model.slots));
    memcpy(b.model.seqs, b.seqs, sizeof(b.model.seqs));
    b.model.token_ids = b.token_ids;
    b.model.positions = b.positions;
    b.model.logits_rows = b.logits_rows;
    *batch = b;
    return 0;
}

/* --- samples ------------------------------------------------------------------------------ */

static struct sample_row *add_sample(struct batch *batch, int32_t row)
{
    const int32_t i = batch->model.num_logits++;
    struct sample_row *sample = &batch->samples[i];
    batch->logits_rows[i] = row;
    batch->bad[i] = false;
    *sample = (struct sample_row){ .forced_id = -1,
                                   .num_logprobs = -1,
                                   .bad = &batch->bad[i],
                                   .ret_id = &batch->ids[i],
                                   .ret_logprobs = batch->logprobs + (size_t)i * STRIDE,
                                   .ret_ids = batch->top_ids + (size_t)i * STRIDE,
                                   .ret_rank = &batch->ranks[i] };
    return sample;
}

static void add_score(struct batch *batch, const struct sequence *sequence, int32_t pos,
                      int32_t row)
{
    struct sample_row *sample = add_sample(batch, row);
    sample->top_p = sample->typical_p = sample->repetition_penalty = 1;
    sample->tokens = sequence->tokens;
    sample->num_prompt = sample->num_tokens = pos;
    sample->forced_id = sequence->tokens[pos];
    sample->num_logprobs = sequence->request->params.num_prompt_logprobs;
}

/* Behind the first `end` tokens, the last of which may be one of the batch before. */
static void add_draw(struct batch *batch, struct sequence *sequence, int32_t row, int32_t end)
{
    const struct request *request = sequence->request;
    const struct record_params *params = &request->params;
    const uint32_t num_output = (uint32_t)(end - sequence->num_prompt);
    struct sample_row *sample = add_sample(batch, row);
    sample->temperature = params->temperature;
    sample->top_p = params->top_p;
    sample->min_p = params->min_p;
    sample->typical_p = params->typical_p;
    sample->top_k = params->top_k;
    sample->repetition_penalty = params->repetition_penalty;
    sample->presence_penalty = params->presence_penalty;
    sample->frequency_penalty = params->frequency_penalty;
    sample->seed = request->seed;
    sample->choice = (uint32_t)sequence->choice;
    sample->output_pos = num_output;
    sample->tokens = sequence->tokens;
    sample->num_prompt = sequence->num_prompt;
    sample->num_tokens = end;
    if (end > sequence->num_tokens)
        sample->last_token = batch->drawn_before + sequence->drawn_at;
    sample->biases = request->biases;
    sample->num_biases = request->num_biases;
    sample->banned =
        request_banned(request, batch->vocab_size, sequence->tokens + end, num_output,
                       batch->banned + (size_t)batch->num_draws++ * batch->banned_words);
    sample->num_logprobs = params->num_logprobs;
    sequence->drawn_at = batch->model.num_logits - 1;
}

/* --- rows --------------------------------------------------------------------------------- */

static int32_t token_of(struct batch *batch, const struct sequence *sequence, int32_t pos,
                        int32_t row)
{
    if (pos < sequence->num_tokens)
        return sequence->tokens[pos];
    batch->moves[batch->num_moves++] = (struct id_move){ .to = row, .from = sequence->drawn_at };
    return 0;
}

static void add_positions(struct batch *batch, const struct plan_row *part, int32_t first_row)
{
    const struct sequence *sequence = part->sequence;
    for (int32_t i = 0; i < part->num_tokens; i++) {
        const int32_t pos = part->first_pos + i, row = first_row + i;
        batch->token_ids[row] = token_of(batch, sequence, pos, row);
        batch->positions[row] = pos;
    }
}

/* Pages [first, first + num) of one part. */
static const int32_t *copy_blocks(struct batch *batch, const int32_t *ids, int32_t first,
                                  int32_t num)
{
    int32_t *blocks = batch->blocks + batch->num_blocks;
    memcpy(blocks, ids + first, (size_t)num * sizeof(*blocks));
    batch->num_blocks += (size_t)num;
    return blocks;
}

/* Of the pages that the row's positions read and write in group `g`. */
static void add_group(struct batch *batch, const struct plan_row *row, int32_t first_row, int32_t g)
{
    const struct kv_group *group = &batch->kv.groups[g];
    const int32_t first = kv_first_page(&batch->kv, g, row->first_pos);
    const int32_t end = kv_pages(&batch->kv, row->first_pos + row->num_tokens);
    struct attention_seq seq = { .first_row = first_row,
                                 .num_rows = row->num_tokens,
                                 .first_pos = row->first_pos,
                                 .first_block = first };
    for (int32_t part = 0; part < group->num_parts; part++) {
        const int32_t at = group->first_part + part;
        const int32_t *ids = block_table_ids(&row->sequence->tables[g], part);
        seq.blocks = copy_blocks(batch, ids, first, end - first);
        batch->seqs[at][batch->model.num_seqs] = seq;
        batch_fill_slots(&seq, batch->kv.block_size, batch->slots[at]);
    }
}

static void add_attention(struct batch *batch, const struct plan_row *row, int32_t first_row)
{
    for (int32_t g = 0; g < batch->kv.num_groups; g++)
        add_group(batch, row, first_row, g);
    batch->model.num_seqs++;
}

void batch_fill_slots(const struct attention_seq *seq, int32_t block_size, int64_t *slots)
{
    for (int32_t i = 0; i < seq->num_rows; i++) {
        const int32_t pos = seq->first_pos + i;
        const int64_t block = seq->blocks[pos / block_size - seq->first_block];
        slots[seq->first_row + i] = block * block_size + pos % block_size;
    }
}

bool batch_is_plain(const struct sample_row *row)
{
    return row->forced_id < 0 && row->num_biases == 0 && row->banned == NULL &&
           (row->repetition_penalty <= 0 || row->repetition_penalty == 1) &&
           row->presence_penalty == 0 && row->frequency_penalty == 0;
}

static void look_for_others(struct batch *batch)
{
    batch->is_own = false;
    for (int32_t i = 0; batch->is_followed && i < batch->model.num_logits; i++) {
        struct sample_row *row = &batch->samples[i];
        if (batch_is_plain(row))
            continue;
        batch->is_own |= row->forced_id < 0;
        if (row->num_logprobs < 1)
            row->num_logprobs = 1;
    }
}

static void add_samples(struct batch *batch, const struct plan_row *part, int32_t first_row)
{
    for (int32_t i = 0; i < part->num_scores; i++) {
        const int32_t pos = part->first_score + i;
        add_score(batch, part->sequence, pos, first_row + pos - 1 - part->first_pos);
    }
    if (part->samples)
        add_draw(batch, part->sequence, first_row + part->num_tokens - 1,
                 part->first_pos + part->num_tokens);
}

void batch_build(struct batch *batch, const struct plan *plan, const struct batch *before)
{
    batch->drawn_before = before->ids;
    batch->num_blocks = 0;
    batch->num_moves = 0;
    batch->model.num_rows = batch->model.num_seqs = batch->model.num_logits = 0;
    batch->num_draws = 0;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *part = &plan->rows[i];
        const int32_t first_row = batch->model.num_rows;
        add_positions(batch, part, first_row);
        add_attention(batch, part, first_row);
        add_samples(batch, part, first_row);
        batch->model.num_rows += part->num_tokens;
    }
    look_for_others(batch);
}

void batch_fill_ids(struct batch *batch)
{
    for (int32_t i = 0; i < batch->num_moves; i++)
        batch->token_ids[batch->moves[i].to] = batch->drawn_before[batch->moves[i].from];
}

/* --- results ------------------------------------------------------------------------------ */

const int32_t *batch_told_ids(const struct batch *batch)
{
    for (int32_t i = 0; i < batch->model.num_logits; i++)
        batch->told_ids[i] = batch_is_plain(&batch->samples[i])
                                 ? batch->ids[i]
                                 : batch->top_ids[(size_t)i * STRIDE + 1];
    return batch->told_ids;
}

void batch_read_logprobs(const struct batch *batch, int32_t i, int32_t num,
                         struct record_logprob *ret_logprobs)
{
    const float *logprobs = batch->logprobs + (size_t)i * STRIDE;
    const int32_t *ids = batch->top_ids + (size_t)i * STRIDE;
    for (int32_t k = 0; k <= num; k++)
        ret_logprobs[k] = (struct record_logprob){ .token_id = ids[k],
                                                   .logprob = logprobs[k],
                                                   .rank = k == 0 ? batch->ranks[i] : k };
}
