#include "worker/capture.h"

#include "worker/engine_internal.h"
#include "worker/flight.h"

enum { MAX_SEQS = 256, FEW_SEQS = 8, MAX_KINDS = 64 };

/* One more sequence of one token. Returns NULL when it is refused. */
static struct request *admit(struct engine *engine)
{
    static const struct record_params params = { .max_tokens = 1,
                                                 .num_choices = 1,
                                                 .top_p = 1,
                                                 .typical_p = 1,
                                                 .repetition_penalty = 1,
                                                 .num_logprobs = -1,
                                                 .num_prompt_logprobs = -1 };
    const int32_t prompt[] = { 0 };
    const struct record_submit submit = {
        .params = &params, .num_choices = 1, .prompt = prompt, .num_prompt = 1
    };
    struct request *request;
    return scheduler_admit(&engine->scheduler, -1, 0, &submit, &request) == 0 ? request : NULL;
}

/* 1 when such a step was kept, 0 when there is no room for so many, or what the device said. */
static int capture_step(struct engine *engine, int32_t rows)
{
    struct request *requests[MAX_SEQS];
    int32_t num = 0;
    int r = 0;
    while (num < rows && (requests[num] = admit(engine)) != NULL)
        num++;
    const struct plan *plan = scheduler_plan(&engine->scheduler);
    if (plan->num_rows > 0) {
        engine->captures = plan->num_rows == rows;
        r = flight_measure(engine, plan);
        r = r == 0 ? engine->captures : r;
        engine->captures = false;
    }
    for (int32_t i = 0; i < plan->num_rows; i++)
        (void)scheduler_end_row(&engine->scheduler, &plan->rows[i]);
    for (int32_t i = 0; i < num; i++) {
        scheduler_stop(&engine->scheduler, requests[i]);
        request_set_remove(&engine->scheduler.requests, requests[i]);
    }
    return r;
}

/* Steps of so many sequences, the index-th of the device; those that it cannot have count too. */
static int keep(struct engine *engine, int32_t index, int32_t rows)
{
    engine->captured |= (uint64_t)1 << index;
    return capture_step(engine, rows);
}

static bool is_kept(const struct engine *engine, int32_t index)
{
    return (engine->captured >> index & 1) != 0;
}

/* The next of the device's numbers that this engine can have; 0: no more. */
static int32_t next_rows(const struct engine *engine, int32_t *index)
{
    const int32_t limit = engine->options.limits.max_num_seqs;
    const int32_t most = limit < MAX_SEQS ? limit : MAX_SEQS;
    int32_t rows = 0;
    do
        rows = ++*index < MAX_KINDS ? engine->backend->graph_rows(engine->device, *index) : 0;
    while (rows > most);
    return rows;
}

int capture_first(struct engine *engine, int32_t *ret_num)
{
    int32_t index = -1, rows;
    int r = 0;
    *ret_num = 0;
    for (bool first = true; r >= 0 && (rows = next_rows(engine, &index)) > 0; first = false) {
        if (first || rows <= FEW_SEQS)
            *ret_num += r = keep(engine, index, rows);
    }
    return r < 0 ? r : 0;
}

int capture_next(struct engine *engine)
{
    int32_t index = -1, rows;
    if (!engine_is_empty(engine))
        return 0;
    while ((rows = next_rows(engine, &index)) > 0)
        if (!is_kept(engine, index)) {
            const int r = keep(engine, index, rows);
            return r < 0 ? r : 1;
        }
    return 0;
}
