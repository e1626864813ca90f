#include "worker/capture.h"

#include "worker/engine_internal.h"
#include "worker/flight.h"

enum { MAX_SEQS = 256 };

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

int capture_steps(struct engine *engine, int32_t *ret_num)
{
    const int32_t most = engine->options.limits.max_num_seqs;
    *ret_num = 0;
    if (engine->options.comm != NULL)
        return 0;
    for (int32_t i = 0;; i++) {
        const int32_t rows = engine->backend->graph_rows(engine->device, i);
        if (rows <= 0)
            return 0;
        const int r = rows <= most && rows <= MAX_SEQS ? capture_step(engine, rows) : 0;
        if (r < 0)
            return r;
        *ret_num += r;
    }
}
