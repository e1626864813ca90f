#include "worker/sequence.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int sequence_pool_init(struct sequence_pool *pool, int32_t num_seats, int32_t max_len,
                       const struct kv_groups *kv, struct reserve *reserve)
{
    const size_t num = (size_t)num_seats, num_parts = (size_t)kv->num_parts;
    const int32_t max_pages = kv_pages(kv, max_len);
    const size_t window = (size_t)SEQUENCE_WINDOW * SEQUENCE_LOGPROB_STRIDE;
    struct sequence *seats = reserve_array(reserve, num, sizeof(*seats));
    struct sequence **free = reserve_array(reserve, num, sizeof(struct sequence *));
    int32_t *tokens = reserve_array(reserve, num * (size_t)max_len, sizeof(*tokens));
    int32_t *blocks = reserve_array(reserve, num * num_parts * (size_t)max_pages, sizeof(*blocks));
    struct record_logprob *logprobs = reserve_array(reserve, num * window, 2 * sizeof(*logprobs));
    if (seats == NULL || free == NULL || tokens == NULL || blocks == NULL || logprobs == NULL)
        return -ENOMEM;

    for (size_t i = 0; i < num; i++) {
        seats[i].tokens = tokens + i * (size_t)max_len;
        seats[i].logprobs = logprobs + 2 * i * window;
        seats[i].scores = seats[i].logprobs + window;
        for (int32_t g = 0; g < kv->num_groups; g++) {
            const size_t part = i * num_parts + (size_t)kv->groups[g].first_part;
            seats[i].tables[g] = (struct block_table){ .ids = blocks + part * (size_t)max_pages,
                                                       .max_pages = max_pages };
        }
        free[num - 1 - i] = &seats[i];
    }
    *pool = (struct sequence_pool){ .seats = seats,
                                    .free = free,
                                    .num_seats = num_seats,
                                    .num_free = num_seats,
                                    .max_len = max_len };
    return 0;
}

struct sequence *sequence_pool_seat(struct sequence_pool *pool, const struct request_set *table,
                                    struct request *request)
{
    if (pool->num_free == 0)
        return NULL;
    const int32_t nth = request->num_seated++;
    const struct request_choice *choice = &request->choices[nth];
    struct sequence *sequence = pool->free[--pool->num_free];
    struct sequence fresh = {
        .state = SEQUENCE_PREEMPTED,
        .request = request,
        .next_sibling = request->sequences,
        .rank = request->rank,
        .age = request->age * RECORD_MAX_CHOICES + (uint64_t)nth,
        .choice = choice->index,
        .tokens = sequence->tokens,
        .num_prompt = request->num_prompt,
        .num_tokens = request_read_tokens(table, request, nth, sequence->tokens),
        .num_published = choice->num_ids,
        .num_logprobs_published = choice->num_ids,
        .logprobs = sequence->logprobs,
        .scores = sequence->scores,
        .first_score = 1,
        .is_scorer = nth == 0 && request_wants_scores(request),
        .stop_id = -1,
        .path = prefix_path_none,
    };
    memcpy(fresh.tables, sequence->tables, sizeof(fresh.tables)); /* empty ones */
    *sequence = fresh;
    request->sequences = sequence;
    return sequence;
}

void sequence_pool_leave(struct sequence_pool *pool, struct sequence *sequence)
{
    for (int g = 0; g < KV_MAX_GROUPS; g++)
        assert(sequence->tables[g].num == 0);
    struct sequence **at = &sequence->request->sequences;
    while (*at != sequence)
        at = &(*at)->next_sibling;
    *at = sequence->next_sibling;
    sequence->state = SEQUENCE_FREE;
    sequence->request = NULL;
    if (sequence->num_rows == 0)
        pool->free[pool->num_free++] = sequence;
}

void sequence_pool_end_row(struct sequence_pool *pool, struct sequence *sequence, bool drew)
{
    sequence->num_rows--;
    sequence->num_drawn -= drew;
    if (sequence->state == SEQUENCE_FREE && sequence->num_rows == 0)
        pool->free[pool->num_free++] = sequence;
}

int32_t sequence_num_output(const struct sequence *sequence)
{
    return sequence->num_tokens - sequence->num_prompt;
}

int32_t sequence_length(const struct sequence *sequence)
{
    return sequence->num_tokens + sequence->num_drawn;
}

bool sequence_has_whole_scores(const struct sequence *sequence)
{
    const int32_t end = sequence->first_score + sequence->num_scores;
    return sequence->num_scores > 0 && (end % SEQUENCE_WINDOW == 0 || end == sequence->num_prompt);
}

bool sequence_is_paused(const struct sequence *sequence)
{
    if (sequence_has_whole_scores(sequence))
        return true;
    return sequence->request->params.num_logprobs >= 0 &&
           sequence_num_output(sequence) + sequence->num_drawn - sequence->num_logprobs_published >=
               SEQUENCE_WINDOW;
}

bool sequence_lags(const struct sequence *sequence)
{
    const struct request *request = sequence->request;
    const int32_t num_output = sequence_length(sequence) - sequence->num_prompt;
    if (sequence->num_rows > 0 && sequence->is_scorer && request->next_score < sequence->num_prompt)
        return true; /* where its next window begins */
    if (sequence->num_drawn == 0)
        return false;
    return request->bad_words_len > 0 || (uint32_t)num_output >= request->params.max_tokens;
}

void sequence_cancel(struct sequence *sequence)
{
    sequence->finish = RECORD_FINISH_CANCELLED;
    sequence->num_published = sequence->num_logprobs_published = sequence_num_output(sequence);
}

void sequence_append(struct sequence *sequence, int32_t token_id)
{
    const struct request *request = sequence->request;
    sequence->tokens[sequence->num_tokens++] = token_id;
    if (request_is_end(request, token_id)) {
        sequence->finish = RECORD_FINISH_EOS;
        sequence->stop_id = token_id;
    } else if ((uint32_t)sequence_num_output(sequence) >= request->params.max_tokens) {
        sequence->finish = RECORD_FINISH_LENGTH;
    }
}
