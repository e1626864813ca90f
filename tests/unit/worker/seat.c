#include "seat.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum {
    SUBMIT_CELLS = 128,
    SUBMIT_BULK = 1 << 16,
    COMPLETE_BULK = 1 << 16,
    EPOCH = 7,
    GENERATION = 9
};

static void make_segment(enum segment_kind kind, struct ring_geometry g, int ret_fds[2])
{
    struct segment_header header = ring_segment_header(kind, g, EPOCH, GENERATION);
    struct error err;
    ck_assert_msg(segment_create(&header, &ret_fds[0], &ret_fds[1], &err) == 0, "%s", err.message);
}

static struct segment map(enum segment_kind kind, struct ring_geometry g, int fd, bool writable)
{
    const struct segment_header header = ring_segment_header(kind, g, EPOCH, GENERATION);
    struct segment segment;
    struct error err;
    ck_assert_msg(segment_map(&segment, fd, writable, &header, &err) == 0, "%s", err.message);
    return segment;
}

void seat_open(struct seat *seat, struct engine *engine, uint32_t frontend, uint32_t complete_cells)
{
    const struct ring_geometry out = { SUBMIT_CELLS, SUBMIT_BULK };
    const struct ring_geometry in = { complete_cells, COMPLETE_BULK };
    int submit[2], complete[2];
    struct link link;
    struct error err;

    *seat = (struct seat){ .answers = calloc(SEAT_MAX_IDS, sizeof(struct seat_answer)) };
    ck_assert_ptr_nonnull(seat->answers);
    ck_assert_int_eq(doorbell_create(&seat->doorbell), 0);
    make_segment(SEGMENT_SUBMIT, out, submit);
    make_segment(SEGMENT_COMPLETE, in, complete);
    ring_end_init(&seat->end, map(SEGMENT_SUBMIT, out, submit[0], true), out,
                  map(SEGMENT_COMPLETE, in, complete[1], false), in, EPOCH, GENERATION);

    const struct control_message message = { .kind = CONTROL_FRONTEND_LINK,
                                             .peer = frontend,
                                             .epoch = EPOCH,
                                             .generation = GENERATION,
                                             .submit_cells = SUBMIT_CELLS,
                                             .submit_bulk = SUBMIT_BULK,
                                             .complete_cells = complete_cells,
                                             .complete_bulk = COMPLETE_BULK };
    const int fds[LINK_NUM_FDS] = { submit[1], complete[0], dup(seat->doorbell) };
    ck_assert_msg(link_open(&link, &message, fds, LINK_NUM_FDS, &err) == 0, "%s", err.message);
    engine_connect(engine, frontend, &link);
    for (int i = 0; i < 2; i++) {
        close(submit[i]);
        close(complete[i]);
    }
}

void seat_close(struct seat *seat)
{
    ring_end_finish(&seat->end);
    close(seat->doorbell);
    free(seat->answers);
    *seat = (struct seat){ 0 };
}

void seat_submit(struct seat *seat, uint64_t id, const struct record_submit *submit)
{
    struct seat_answer *answer = &seat->answers[id];
    const size_t bytes = record_submit_bytes(submit);
    void *bulk = malloc(bytes);
    ck_assert_ptr_nonnull(bulk);
    record_submit_encode(submit, bulk);
    *answer = (struct seat_answer){ .num_choices = (int32_t)submit->num_choices,
                                    .num_logprobs = submit->params->num_logprobs,
                                    .num_prompt_logprobs = submit->params->num_prompt_logprobs,
                                    .next_score = 1 };
    for (uint32_t i = 0; i < submit->num_choices; i++) {
        struct seat_choice *choice = &answer->choices[submit->choices[i].index];
        choice->num_before = choice->num_tokens = choice->num_logprobs =
            (int32_t)submit->choices[i].num_ids;
    }
    const struct ring_cell cell = { .kind = RECORD_SUBMIT, .id = id };
    ck_assert_int_eq(ring_push(&seat->end, &cell, bulk, (uint32_t)bytes), 0);
    ring_publish(&seat->end);
    free(bulk);
}

void seat_cancel(struct seat *seat, uint64_t id)
{
    const struct ring_cell cell = { .kind = RECORD_CANCEL, .id = id };
    ck_assert_int_eq(ring_push(&seat->end, &cell, NULL, 0), 0);
    ring_publish(&seat->end);
}

void seat_cancel_choice(struct seat *seat, uint64_t id, uint8_t choice)
{
    const struct ring_cell cell = {
        .kind = RECORD_CANCEL, .flags = RECORD_FLAG_CHOICE, .choice = choice, .id = id
    };
    ck_assert_int_eq(ring_push(&seat->end, &cell, NULL, 0), 0);
    ring_publish(&seat->end);
}

/* --- taking ------------------------------------------------------------------------------- */

static void copy_positions(struct record_logprob (*to)[1 + 5], int32_t first, int32_t num,
                           int32_t num_logprobs, const struct record_logprob *from)
{
    for (int32_t i = 0; i < num; i++)
        memcpy(to[first + i], from + (size_t)i * (size_t)(1 + num_logprobs),
               (size_t)(1 + num_logprobs) * sizeof(*from));
}

static void take_logprobs(struct seat_answer *answer, const struct ring_cell *cell,
                          const struct record_logprob *bulk)
{
    const bool of_prompt = (cell->flags & RECORD_FLAG_PROMPT) != 0;
    const int32_t k = of_prompt ? answer->num_prompt_logprobs : answer->num_logprobs;
    struct seat_choice *choice = &answer->choices[cell->choice];
    ck_assert_int_ge(k, 0);
    ck_assert_uint_eq(cell->bulk_len, cell->count * (size_t)(1 + k) * sizeof(*bulk));
    if (of_prompt) {
        ck_assert_int_eq(cell->pos, answer->next_score);
        ck_assert_int_eq(choice->num_tokens, choice->num_before); /* before the first token */
        copy_positions(answer->scores, answer->next_score, cell->count, k, bulk);
        answer->next_score += cell->count;
    } else {
        ck_assert_int_eq(cell->pos, choice->num_logprobs + 1);
        copy_positions(choice->logprobs, choice->num_logprobs, cell->count, k, bulk);
        choice->num_logprobs += cell->count;
    }
}

static void take_tokens(struct seat_answer *answer, const struct ring_cell *cell)
{
    struct seat_choice *choice = &answer->choices[cell->choice];
    ck_assert_int_eq(cell->pos, choice->num_tokens + 1);
    ck_assert(cell->count >= 1 && cell->count <= RECORD_TOKENS_PER_CELL);
    memcpy(choice->tokens + choice->num_tokens, cell->tokens, cell->count * sizeof(int32_t));
    choice->num_tokens += cell->count;
    if (answer->num_logprobs >= 0)
        ck_assert_int_le(choice->num_tokens, choice->num_logprobs);
    ck_assert(!choice->is_done);
}

static void take_done(struct seat_answer *answer, const struct ring_cell *cell)
{
    struct seat_choice *choice = &answer->choices[cell->choice];
    ck_assert(!choice->is_done);
    choice->is_done = true;
    memcpy(&choice->done, cell->words, sizeof(choice->done));
    ck_assert_int_eq(choice->done.output_tokens, choice->num_tokens);
    ck_assert_uint_eq(choice->done.cached_tokens, answer->cached_tokens);
    choice->done.cached_tokens = 0;
    answer->num_done++;
}

static void take_cell(struct seat *seat, const struct ring_cell *cell, const void *bulk)
{
    ck_assert_uint_lt(cell->id, SEAT_MAX_IDS);
    struct seat_answer *answer = &seat->answers[cell->id];
    ck_assert_int_eq(answer->failure, 0);
    ck_assert(answer->is_accepted == (cell->kind != RECORD_ACCEPTED) ||
              cell->kind == RECORD_FAILED);
    ck_assert(answer->is_started || cell->kind < RECORD_TOKENS || cell->kind == RECORD_FAILED);
    switch (cell->kind) {
    case RECORD_ACCEPTED:
        answer->is_accepted = true;
        answer->num_waiting = cell->words[0];
        break;
    case RECORD_STARTED:
        ck_assert(!answer->is_started);
        answer->is_started = true;
        answer->cached_tokens = cell->words[0];
        break;
    case RECORD_LOGPROBS:
        take_logprobs(answer, cell, bulk);
        break;
    case RECORD_TOKENS:
        take_tokens(answer, cell);
        break;
    case RECORD_DONE:
        take_done(answer, cell);
        break;
    case RECORD_FAILED:
        answer->failure = cell->words[0];
        break;
    default:
        ck_abort_msg("cell of kind %u", cell->kind);
    }
}

int32_t seat_take(struct seat *seat)
{
    static struct record_logprob bulk[COMPLETE_BULK / 2 / sizeof(struct record_logprob) + 1];
    struct ring_cell cell;
    struct error err;
    int32_t num = 0;
    int r;
    while ((r = ring_pop(&seat->end, &cell, &err)) > 0) {
        if (cell.bulk_len > 0)
            ring_pop_bulk(&seat->end, &cell, bulk);
        take_cell(seat, &cell, bulk);
        num++;
    }
    ck_assert_msg(r == 0, "%s", err.message);
    ring_release(&seat->end);
    return num;
}

bool seat_is_finished(const struct seat *seat, uint64_t id)
{
    const struct seat_answer *answer = &seat->answers[id];
    return answer->failure != 0 ||
           (answer->num_choices > 0 && answer->num_done == answer->num_choices);
}
