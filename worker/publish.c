#include "worker/publish.h"

#include <string.h>

static struct ring_cell cell_of(const struct sequence *sequence, enum record_kind kind)
{
    return (struct ring_cell){ .kind = (uint8_t)kind,
                               .choice = (uint8_t)sequence->choice,
                               .id = sequence->request->id };
}

static bool push_logprobs(struct link *link, const struct ring_cell *cell,
                          const struct record_logprob *logprobs, int32_t num_logprobs)
{
    const size_t each = (size_t)(1 + num_logprobs) * sizeof(*logprobs);
    return link_push(link, cell, logprobs, cell->count * each);
}

static bool publish_scores(struct link *link, struct sequence *sequence)
{
    if (!sequence_has_whole_scores(sequence))
        return true;
    struct ring_cell cell = cell_of(sequence, RECORD_LOGPROBS);
    cell.flags = RECORD_FLAG_PROMPT;
    cell.pos = (uint32_t)sequence->first_score;
    cell.count = (uint8_t)sequence->num_scores;
    if (!push_logprobs(link, &cell, sequence->scores,
                       sequence->request->params.num_prompt_logprobs))
        return false;
    sequence->first_score += sequence->num_scores;
    sequence->num_scores = 0;
    return true;
}

/* From one position on: as many as lie behind each other in the buffer. */
static int32_t num_in_a_row(const struct sequence *sequence)
{
    const int32_t first = sequence->num_logprobs_published;
    const int32_t num = sequence_num_output(sequence) - first;
    const int32_t room = SEQUENCE_WINDOW - first % SEQUENCE_WINDOW;
    return num < room ? num : room;
}

static bool publish_logprobs(struct link *link, struct sequence *sequence)
{
    const int32_t num_logprobs = sequence->request->params.num_logprobs;
    if (num_logprobs < 0) {
        sequence->num_logprobs_published = sequence_num_output(sequence);
        return true;
    }
    while (sequence->num_logprobs_published < sequence_num_output(sequence)) {
        const int32_t first = sequence->num_logprobs_published, num = num_in_a_row(sequence);
        struct ring_cell cell = cell_of(sequence, RECORD_LOGPROBS);
        cell.pos = (uint32_t)first + 1;
        cell.count = (uint8_t)num;
        if (!push_logprobs(link, &cell,
                           sequence->logprobs +
                               (size_t)(first % SEQUENCE_WINDOW) * (size_t)(1 + num_logprobs),
                           num_logprobs))
            return false;
        sequence->num_logprobs_published += num;
    }
    return true;
}

static bool publish_tokens(struct link *link, struct sequence *sequence)
{
    while (sequence->num_published < sequence->num_logprobs_published) {
        const int32_t first = sequence->num_published;
        const int32_t left = sequence->num_logprobs_published - first;
        struct ring_cell cell = cell_of(sequence, RECORD_TOKENS);
        cell.pos = (uint32_t)first + 1;
        cell.count = (uint8_t)(left < RECORD_TOKENS_PER_CELL ? left : RECORD_TOKENS_PER_CELL);
        memcpy(cell.tokens, sequence->tokens + sequence->num_prompt + first,
               cell.count * sizeof(int32_t));
        if (!link_push(link, &cell, NULL, 0))
            return false;
        sequence->num_published += cell.count;
    }
    return true;
}

static bool publish_done(struct link *link, const struct sequence *sequence)
{
    const struct record_done done = { .reason = sequence->finish,
                                      .prompt_tokens = (uint32_t)sequence->num_prompt,
                                      .cached_tokens = (uint32_t)sequence->request->num_cached,
                                      .output_tokens = (uint32_t)sequence_num_output(sequence),
                                      .stop_id = sequence->stop_id };
    struct ring_cell cell = cell_of(sequence, RECORD_DONE);
    memcpy(cell.words, &done, sizeof(done));
    return link_push(link, &cell, NULL, 0);
}

/* Everything of this sequence, its DONE included. */
static bool publish_sequence(struct link *link, struct sequence *sequence)
{
    if (!publish_scores(link, sequence))
        return false;
    /* What was taken out before the ring filled up goes out in order, even if not all does. */
    const bool all = publish_logprobs(link, sequence);
    if (!publish_tokens(link, sequence) || !all)
        return false;
    return sequence->finish == 0 || publish_done(link, sequence);
}

static bool publish_started(struct link *link, struct request *request)
{
    const struct ring_cell cell = { .kind = RECORD_STARTED,
                                    .id = request->id,
                                    .words = { (uint32_t)request->num_cached } };
    if (request->owes_started && !link_push(link, &cell, NULL, 0))
        return false;
    request->owes_started = false;
    return true;
}

static bool publish_failed(struct link *link, const struct request *request)
{
    const struct ring_cell cell = { .kind = RECORD_FAILED,
                                    .id = request->id,
                                    .words = { request->failure } };
    return link_push(link, &cell, NULL, 0);
}

/* --- requests ----------------------------------------------------------------------------- */

void publish_owe(struct link *link, struct request *request)
{
    if (request->is_unpublished)
        return;
    request->is_unpublished = true;
    TAILQ_INSERT_TAIL(&link->unpublished, request, in_unpublished);
}

static void forgive(struct link *link, struct request *request)
{
    if (request->is_unpublished)
        TAILQ_REMOVE(&link->unpublished, request, in_unpublished);
    request->is_unpublished = false;
}

void publish_drop(struct link *link, struct scheduler *scheduler, struct request *request)
{
    scheduler_stop(scheduler, request);
    forgive(link, request);
    request_set_remove(&scheduler->requests, request);
}

/* A choice whose DONE is out leaves its seat. */
static bool publish_choices(struct link *link, struct scheduler *scheduler, struct request *request)
{
    struct sequence *sequence = request->sequences, *next;
    for (; sequence != NULL; sequence = next) {
        next = sequence->next_sibling;
        if (!publish_sequence(link, sequence))
            return false;
        if (sequence->finish == 0)
            continue;
        sequence_pool_leave(&scheduler->seats, sequence);
        request->num_done++;
    }
    return true;
}

static bool publish_request(struct link *link, struct scheduler *scheduler, struct request *request)
{
    if (request->failure != 0)
        return publish_failed(link, request);
    return publish_started(link, request) && publish_choices(link, scheduler, request);
}

bool publish_all(struct link *link, struct scheduler *scheduler, int32_t *ret_num_ended)
{
    struct request *request;
    bool room = true;
    while (room && (request = TAILQ_FIRST(&link->unpublished)) != NULL) {
        room = publish_request(link, scheduler, request);
        if (!room)
            break;
        forgive(link, request);
        if (request->failure != 0 || request->num_done == request->num_choices) {
            publish_drop(link, scheduler, request);
            ++*ret_num_ended;
        }
    }
    link_publish(link);
    return room;
}
