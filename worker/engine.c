#include "worker/engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "worker/engine_links.h"
#include "worker/flight.h"
#include "worker/followers.h"
#include "worker/intake.h"
#include "worker/results.h"

/* A step that is worth the wait, and how long nobody looks for what has come. */
enum { LONG_US = 2 * 1000, LOOK_US = 10 * 1000 };

int engine_create(const struct engine_options *options, struct engine **ret_engine,
                  struct error *err)
{
    struct engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return error_set(err, -ENOMEM, "no memory for the engine");
    engine->options = *options;
    engine->backend = options->backend;
    engine->device = options->device;
    engine->meter.page = options->page;
    engine->next_deadline_us = INT64_MAX;
    engine->bounds = (struct record_bounds){ .vocab_size = options->limits.vocab_size,
                                             .max_model_len = options->limits.max_model_len };
    int r = scheduler_init(&engine->scheduler, &options->limits, &engine->reserve);
    if (r == 0)
        r = batch_init(&engine->batches[0], &options->limits, &engine->reserve);
    if (r == 0)
        r = batch_init(&engine->batches[1], &options->limits, &engine->reserve);
    if (r < 0) {
        r = error_set(err, r, "no address space for the tables of %d sequences of %d tokens",
                      options->limits.max_num_seqs, options->limits.max_model_len);
        goto fail;
    }
    r = followers_init(engine, err);
    if (r == 0)
        r = engine->backend->kv_alloc(engine->device, &model_arch(options->model)->kv_block,
                                      options->limits.num_blocks, &engine->pool, err);
    if (r < 0)
        goto fail;
    meter_show(&engine->meter, &engine->scheduler);
    *ret_engine = engine;
    return 0;

fail:
    engine_destroy(engine);
    return r;
}

void engine_destroy(struct engine *engine)
{
    if (engine == NULL)
        return;
    while (engine->in_air != NULL)
        (void)flight_wait(engine);
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        link_close(&engine->links[i]);
    if (engine->pool != NULL)
        engine->backend->kv_free(engine->pool);
    reserve_finish(&engine->reserve);
    free(engine);
}

void engine_explain(const struct engine *engine, int r, struct error *err)
{
    if (engine->problem.message[0] != '\0')
        (void)error_set(err, r, "%s", engine->problem.message);
    else
        (void)error_set(err, r, "the device failed in a step: %s", strerror(-r));
}

bool engine_is_empty(const struct engine *engine)
{
    const struct scheduler *s = &engine->scheduler;
    return engine->in_air == NULL && !scheduler_has_work(s) && TAILQ_EMPTY(&s->requests.active) &&
           s->seats.num_free == s->seats.num_seats && s->blocks.num_free == s->blocks.num_blocks;
}

/* --- the step ----------------------------------------------------------------------------------
 */

/* In a long step there is time: what comes while it runs is answered soon, and takes part in the
 * next one, which is planned when this one's end is near. */
static int linger(struct engine *engine)
{
    const int64_t until = meter_near_end_us(&engine->meter);
    int64_t left = engine->in_air != NULL ? until - clock_now_us() : 0;
    int r = 0;
    if (left < LONG_US)
        return 0;
    for (; r == 0 && left > 0; left = until - clock_now_us()) {
        r = flight_wait_for(engine, left < LOOK_US ? left : LOOK_US);
        bool any = intake_admit(engine);
        any |= intake_expire(engine, clock_now_us());
        if (any)
            engine_links_publish(engine);
    }
    return r;
}

/* Take what the step in the air gives. Returns whether there was one. */
static int land(struct engine *engine)
{
    const struct plan *plan = engine->in_air;
    if (plan == NULL)
        return 0;
    const int r = flight_wait(engine);
    if (r < 0)
        return r;
    results_take(engine, plan, &engine->batches[engine->newest]);
    return 1;
}

/* Let the planned step follow the one in the air, and take what that one gave while it runs. A
 * device that queues gets it before that one's end; beside followers, others before their end. */
static int follow(struct engine *engine, const struct plan *plan)
{
    const struct plan *before = engine->in_air;
    int r = 0;
    flight_prepare(engine, plan);
    if (before != NULL && !engine->backend->queues)
        r = engine->options.comm != NULL ? flight_land(engine) : flight_wait(engine);
    if (r == 0)
        r = flight_start(engine, plan);
    if (r == 0 && engine->behind != NULL)
        r = flight_wait(engine);
    if (r == 0 && before != NULL)
        results_take(engine, before, &engine->batches[!engine->newest]);
    return r;
}

/* A suspect's step begins when there are no others, and ends before there are. */
static bool goes_in_turn(const struct engine *engine)
{
    return engine->options.without_overlap || engine->scheduler.requests.num_suspects > 0;
}

int engine_step(struct engine *engine)
{
    struct scheduler *s = &engine->scheduler;
    bool any = engine->in_air != NULL;
    int r = linger(engine);
    if (r < 0)
        return r;
    scheduler_tell_time(s, clock_now_us());
    any |= intake_admit(engine);
    any |= intake_expire(engine, clock_now_us());
    r = goes_in_turn(engine) ? land(engine) : 0;
    if (r < 0)
        return r;
    const struct plan *plan = scheduler_plan(s);
    r = plan->num_rows > 0 ? follow(engine, plan) : land(engine);
    if (r < 0)
        return r;
    engine_links_publish(engine); /* while the device works */
    /* Where nobody is left, nobody wants what is in the air. */
    if (engine->in_air != NULL && (goes_in_turn(engine) || !scheduler_has_work(s))) {
        r = land(engine);
        engine_links_publish(engine);
    }
    meter_show(&engine->meter, s);
    return r < 0 ? r : any || plan->num_rows > 0;
}

/* --- warm-up -----------------------------------------------------------------------------------
 */

static int64_t measure_step(struct engine *engine)
{
    const struct plan *plan = scheduler_plan(&engine->scheduler);
    const int64_t started = clock_now_us();
    const int r = flight_measure(engine, plan);
    const int64_t us = clock_now_us() - started;
    for (int32_t i = 0; i < plan->num_rows; i++)
        (void)scheduler_end_row(&engine->scheduler, &plan->rows[i]);
    return r < 0 ? r : us;
}

int64_t engine_measure(struct engine *engine, int32_t num_tokens)
{
    const struct record_params params = { .max_tokens = 1,
                                          .num_choices = 1,
                                          .top_p = 1,
                                          .typical_p = 1,
                                          .repetition_penalty = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1 };
    struct record_submit submit = { .params = &params, .num_choices = 1 };
    struct request *request;
    int32_t *prompt = calloc((size_t)num_tokens, sizeof(*prompt));
    if (prompt == NULL)
        return -ENOMEM;
    for (int32_t i = 0; i < num_tokens; i++)
        prompt[i] = i % engine->bounds.vocab_size;
    submit.prompt = prompt;
    submit.num_prompt = (uint32_t)num_tokens;
    const enum record_failure failure =
        scheduler_admit(&engine->scheduler, -1, 0, &submit, &request);
    free(prompt);
    if (failure != 0)
        return -ENOSPC;
    const int64_t us = measure_step(engine);
    scheduler_stop(&engine->scheduler, request);
    request_set_remove(&engine->scheduler.requests, request);
    return us;
}

void engine_set_budget(struct engine *engine, int32_t max_num_batched_tokens)
{
    engine->scheduler.limits.max_num_batched_tokens = max_num_batched_tokens;
}

void engine_set_cost(struct engine *engine, double first_us, double each_us)
{
    engine->meter.first_us = first_us;
    engine->meter.each_us = each_us;
}
