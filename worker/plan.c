#include "worker/plan.h"

#include <errno.h>
#include <string.h>

int plan_init(struct plan *plan, const struct scheduler_limits *limits, struct reserve *reserve)
{
    const size_t num = (size_t)limits->max_num_seqs;
    plan->rows = reserve_array(reserve, num, sizeof(*plan->rows));
    if (plan->rows == NULL)
        return -ENOMEM;
    const size_t copies = num * (size_t)limits->kv.num_parts;
    int32_t *blocks = reserve_array(reserve, copies, 2 * sizeof(*blocks));
    if (blocks == NULL)
        return -ENOMEM;
    plan->copies = (struct plan_copies){ .from = blocks, .to = blocks + copies };
    return 0;
}

void plan_begin(struct plan *plan, uint64_t step)
{
    plan->step = step;
    plan->num_rows = plan->num_tokens = plan->num_logits = 0;
    plan->num_penalized = 0;
    plan->copies.num = 0;
}

void plan_count_from(struct plan *plan, const struct plan *before)
{
    const bool is_untold = before->num_rows == 0;
    plan->num_preempted = is_untold ? before->num_preempted : 0;
    plan->num_queried = is_untold ? before->num_queried : 0;
    plan->num_hit = is_untold ? before->num_hit : 0;
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
    return sequence->num_computed + num_tokens == sequence_length(sequence) &&
           sequence->request->params.max_tokens > 0;
}

/* Each token counts once, however often it is there. */
static int32_t num_penalized(const struct sequence *sequence, int32_t vocab_size)
{
    const struct record_params *params = &sequence->request->params;
    const int32_t length = sequence_length(sequence);
    if (params->repetition_penalty > 0 && params->repetition_penalty != 1)
        return min_of(length, vocab_size);
    if (params->presence_penalty != 0 || params->frequency_penalty != 0)
        return min_of(length - sequence->num_prompt, vocab_size);
    return 0;
}

/* Is there room for what this sequence's next draw counts? */
static bool may_draw(const struct plan *plan, const struct scheduler_limits *limits,
                     const struct sequence *sequence)
{
    return limits->max_penalized == 0 || plan->num_penalized == 0 ||
           plan->num_penalized + num_penalized(sequence, limits->vocab_size) <=
               limits->max_penalized;
}

int32_t plan_chunk_of(const struct plan *plan, const struct scheduler_limits *limits,
                      const struct sequence *sequence, int32_t end)
{
    const int32_t logits = limits->max_logits - plan->num_logits;
    int32_t num = min_of(min_of(sequence_length(sequence), end) - sequence->num_computed,
                         limits->max_num_batched_tokens - plan->num_tokens);
    num = limit_by_window(sequence, num);
    if (num_scores_in(sequence, num) > logits)
        num = first_scoring_pos(sequence) + logits - sequence->num_computed;
    if (num > 0 && samples_after(sequence, num) &&
        (num_scores_in(sequence, num) == logits || !may_draw(plan, limits, sequence)))
        num--;
    return max_of(num, 0);
}

bool plan_add(struct plan *plan, const struct scheduler_limits *limits, struct sequence *sequence)
{
    const int32_t num = plan_chunk_of(plan, limits, sequence, sequence->num_covered);
    if (num == 0)
        return false;
    struct plan_row *row = &plan->rows[plan->num_rows++];
    *row = (struct plan_row){ .sequence = sequence,
                              .request = sequence->request,
                              .first_pos = sequence->num_computed,
                              .num_tokens = num,
                              .first_score = sequence->request->next_score,
                              .num_scores = num_scores_in(sequence, num),
                              .samples = samples_after(sequence, num) };
    if (row->samples)
        row->num_penalized = num_penalized(sequence, limits->vocab_size);
    plan->num_penalized += row->num_penalized;
    plan->num_tokens += num;
    plan->num_logits += row->num_scores + row->samples;
    sequence->planned_step = plan->step;
    sequence->num_computed_before = sequence->num_computed;
    sequence->num_computed += num;
    sequence->num_rows++;
    sequence->num_drawn += row->samples;
    row->request->num_rows++;
    return true;
}

int32_t plan_computed_before(const struct plan *plan, const struct sequence *sequence)
{
    return sequence->planned_step == plan->step ? sequence->num_computed_before
                                                : sequence->num_computed;
}

void plan_remove(struct plan *plan, struct sequence *sequence)
{
    if (sequence->planned_step != plan->step)
        return;
    int32_t at = 0;
    while (at < plan->num_rows && plan->rows[at].sequence != sequence)
        at++;
    if (at == plan->num_rows)
        return;
    sequence->num_rows--;
    sequence->num_drawn -= plan->rows[at].samples;
    sequence->request->num_rows--;
    plan->num_penalized -= plan->rows[at].num_penalized;
    plan->num_tokens -= plan->rows[at].num_tokens;
    plan->num_logits -= plan->rows[at].num_scores + plan->rows[at].samples;
    memmove(plan->rows + at, plan->rows + at + 1,
            (size_t)(plan->num_rows - at - 1) * sizeof(*plan->rows));
    plan->num_rows--;
}

bool plan_has_room(const struct plan *plan, const struct scheduler_limits *limits)
{
    return plan->num_tokens < limits->max_num_batched_tokens &&
           plan->num_logits < limits->max_logits;
}
