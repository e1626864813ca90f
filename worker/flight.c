#include "worker/flight.h"

#include "worker/engine_links.h"
#include "worker/publish.h"
#include "worker/step_plan.h"

#ifdef TOKENRING_TEST_HOOKS
#include "tests/e2e/hooks.h"
#else
static inline void hook_step(const struct plan *plan)
{
    (void)plan;
}
#endif

/* Whom to blame should this step end the process. */
static void tell_step(struct engine *engine, const struct plan *plan)
{
    struct status_page *page = engine->options.page;
    const uint64_t number = atomic_load_explicit(&page->step, memory_order_relaxed) + 1;
    status_step_open(page, number);
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct request *request = plan->rows[i].sequence->request;
        if (request->told_step == number)
            continue;
        request->told_step = number;
        status_step_add(page, number, request->id, engine_links_of(engine, request)->generation);
    }
    status_step_close(page, number);
}

/* The tokens drawn last still lie in the batch. */
static int tell_followers(struct engine *engine, const struct plan *plan, int32_t num_last)
{
    struct comm *comm = engine->options.comm;
    if (comm == NULL)
        return 0;
    const struct step_plan_news news = { .last_ids = engine->batch.ids,
                                         .num_last = num_last,
                                         .expected_us = atomic_load_explicit(
                                             &engine->options.page->step_expected_us,
                                             memory_order_relaxed) };
    const uint32_t num = step_plan_write(engine->plan_words, &engine->batch, plan, &news);
    return broadcast_publish(comm, engine->plan_words, num * (uint32_t)sizeof(*engine->plan_words));
}

int flight_compute(struct engine *engine, const struct plan *plan)
{
    const struct backend *backend = engine->backend;
    struct batch *batch = &engine->batch;
    const int32_t num_last = batch->model.num_logits;
    float *logits;

    batch_build(batch, plan);
    const int r = tell_followers(engine, plan, num_last);
    if (r < 0)
        return r;
    backend->begin(engine->device);
    for (int g = 0; g < engine->options.limits.num_groups; g++)
        if (plan->copies[g].num > 0)
            backend->copy_blocks(engine->device, engine->pools[g], plan->copies[g].from,
                                 plan->copies[g].to, plan->copies[g].num);
    model_forward(engine->options.model, engine->pools, &batch->model, &logits);
    if (batch->model.num_logits > 0)
        backend->sample(engine->device, logits, engine->bounds.vocab_size, batch->samples,
                        batch->model.num_logits);
    return backend->submit(engine->device);
}

static void start_requests(struct engine *engine, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct request *request = plan->rows[i].sequence->request;
        if (request->is_started)
            continue;
        request->is_started = request->owes_started = true;
        publish_owe(engine_links_of(engine, request), request);
    }
}

int flight_launch(struct engine *engine, const struct plan *plan)
{
    start_requests(engine, plan);
    tell_step(engine, plan);
    hook_step(plan);
    return flight_compute(engine, plan);
}
