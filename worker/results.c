#include "worker/results.h"

#include "worker/engine_links.h"
#include "worker/intake.h"
#include "worker/publish.h"

/* Returns false when one of the row's logits is not a number. */
static bool take_scores(const struct batch *batch, const struct plan_row *row, int32_t sample)
{
    struct sequence *sequence = row->sequence;
    const int32_t num_logprobs = sequence->request->params.num_prompt_logprobs;
    for (int32_t i = 0; i < row->num_scores; i++) {
        if (batch->bad[sample + i])
            return false;
        batch_read_logprobs(batch, sample + i, num_logprobs,
                            sequence->scores +
                                (size_t)sequence->num_scores++ * (size_t)(1 + num_logprobs));
    }
    sequence->request->next_score += row->num_scores;
    return true;
}

static bool take_token(const struct batch *batch, struct sequence *sequence, int32_t sample)
{
    const int32_t num_logprobs = sequence->request->params.num_logprobs;
    const int32_t at = sequence_num_output(sequence) % SEQUENCE_WINDOW;
    if (batch->bad[sample])
        return false;
    if (num_logprobs >= 0)
        batch_read_logprobs(batch, sample, num_logprobs,
                            sequence->logprobs + (size_t)at * (size_t)(1 + num_logprobs));
    sequence_append(sequence, batch->ids[sample]);
    return true;
}

/* A prompt that was only to be scored. */
static void end_of_prompt(const struct plan_row *row)
{
    struct sequence *sequence = row->sequence;
    if (sequence->request->params.max_tokens == 0 &&
        row->first_pos + row->num_tokens == sequence->num_tokens)
        sequence->finish = RECORD_FINISH_LENGTH;
}

static void take_row(struct engine *engine, const struct batch *batch, const struct plan_row *row,
                     int32_t sample)
{
    struct sequence *sequence = row->sequence;
    struct request *request = sequence->request;
    const bool good = take_scores(batch, row, sample) &&
                      (!row->samples || take_token(batch, sequence, sample + row->num_scores));
    if (!good) {
        intake_fail(engine, request, RECORD_FAILURE_NAN_LOGITS);
        return;
    }
    scheduler_filled(&engine->scheduler, sequence, row->first_pos + row->num_tokens);
    end_of_prompt(row);
    if (sequence->finish != 0)
        scheduler_finish(&engine->scheduler, sequence);
    if (row->num_scores > 0 || row->samples || sequence->finish != 0)
        publish_owe(engine_links_of(engine, request), request);
}

void results_take(struct engine *engine, const struct plan *plan, const struct batch *batch)
{
    int32_t sample = 0;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        if (scheduler_end_row(&engine->scheduler, row))
            take_row(engine, batch, row, sample);
        sample += row->num_scores + row->samples;
    }
}
