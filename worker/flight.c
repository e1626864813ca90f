#include "worker/flight.h"

#include "base/clock.h"
#include "worker/engine_links.h"
#include "worker/followers.h"
#include "worker/publish.h"

#ifdef TOKENRING_TEST_HOOKS
#include "tests/e2e/hooks.h"
#else
static inline void hook_step(const struct engine *engine, const struct plan *plan)
{
    (void)engine;
    (void)plan;
}
#endif

/* --- before the one in the air has landed ------------------------------------------------ */

static void start_requests(struct engine *engine, const struct plan *plan)
{
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct request *request = plan->rows[i].request;
        if (request->is_started)
            continue;
        request->is_started = request->owes_started = true;
        publish_owe(engine_links_of(engine, request), request);
    }
}

/* Whom to blame should this step end the process. The page keeps three: the one in the air is
 * whole until it has landed. */
static void tell_step(struct engine *engine, const struct plan *plan)
{
    struct status_page *page = engine->options.page;
    const uint64_t number =
        atomic_load_explicit(&page->step, memory_order_relaxed) + 1 + (engine->in_air != NULL);
    status_step_open(page, number);
    for (int32_t i = 0; i < plan->num_rows; i++) {
        struct request *request = plan->rows[i].request;
        if (request->told_step == number)
            continue;
        request->told_step = number;
        status_step_add(page, number, request->id, engine_links_of(engine, request)->generation);
    }
    status_step_close(page, number);
}

static void build(struct engine *engine, const struct plan *plan)
{
    const struct batch *before = &engine->batches[engine->newest];
    engine->newest = !engine->newest;
    batch_build(&engine->batches[engine->newest], plan, before);
}

static void record(struct engine *engine, const struct plan *plan)
{
    const struct backend *backend = engine->backend;
    const struct batch *batch = &engine->batches[engine->newest];
    float *logits;

    backend->begin(engine->device);
    if (plan->copies.num > 0)
        backend->copy_blocks(engine->device, engine->pool, plan->copies.from, plan->copies.to,
                             plan->copies.num);
    if (batch->num_moves > 0)
        backend->move_ids(engine->device, batch->token_ids, batch->drawn_before, batch->moves,
                          batch->num_moves);
    model_forward(engine->options.model, engine->pool, &batch->model, &logits);
    if (batch->model.num_logits > 0)
        backend->sample(engine->device, logits, engine->bounds.vocab_size, batch->samples,
                        batch->model.num_logits);
    if (followers_share_ids(engine))
        backend->share_ids(engine->device);
    if (engine->captures)
        backend->capture(engine->device);
}

void flight_prepare(struct engine *engine, const struct plan *plan)
{
    start_requests(engine, plan);
    tell_step(engine, plan);
    build(engine, plan);
    if (engine->options.comm == NULL)
        record(engine, plan);
}

/* --- after it ------------------------------------------------------------------------------ */

/* The other ranks' part of the one in the air. */
static int end_ranks(struct engine *engine)
{
    if (engine->has_ended)
        return 0;
    const int r = followers_end(engine, &engine->batches[engine->in_air_batch]);
    engine->has_ended = r == 0;
    return r;
}

/* Followers read and record it while the leader records: it has nothing to gain by having done so
 * before. Ranks of a device that meets through their memory have ended the step before by then:
 * nobody else uses that memory while a list runs. */
static int submit(struct engine *engine, const struct plan *plan, bool is_behind)
{
    int r = followers_tell(engine, plan, is_behind);
    if (r == 0 && engine->options.comm != NULL)
        record(engine, plan);
    if (r == 0 && engine->landed_us != 0)
        r = end_ranks(engine);
    return r < 0 ? r : engine->backend->submit(engine->device);
}

static void begin_step(struct engine *engine, const struct plan *plan, int64_t now)
{
    meter_begin_step(&engine->meter, plan, now);
    engine->in_air = plan;
    engine->in_air_batch = engine->newest;
    engine->landed_us = 0;
    engine->has_ended = false;
}

int flight_start(struct engine *engine, const struct plan *plan)
{
    struct status_page *page = engine->options.page;
    const uint64_t finished = atomic_load_explicit(&page->step, memory_order_relaxed);
    const bool waits = engine->in_air != NULL;
    atomic_store_explicit(&page->step_sent, finished + (waits ? 2 : 1), memory_order_release);
    if (waits)
        engine->behind = plan;
    else
        begin_step(engine, plan, clock_now_us());
    hook_step(engine, plan);
    return submit(engine, plan, waits && engine->landed_us == 0);
}

int flight_wait_for(struct engine *engine, int64_t us)
{
    return engine->backend->wait_for(engine->device, us);
}

int flight_land(struct engine *engine)
{
    if (engine->landed_us != 0)
        return 0;
    const int r = engine->backend->wait(engine->device);
    engine->landed_us = clock_now_us();
    return r;
}

int flight_wait(struct engine *engine)
{
    const struct plan *next = engine->behind;
    int r = flight_land(engine);
    if (r == 0)
        r = end_ranks(engine);
    if (r == 0)
        meter_end_step(&engine->meter, engine->in_air, engine->landed_us);
    const int64_t landed_us = engine->landed_us;
    engine->in_air = engine->behind = NULL;
    engine->landed_us = 0;
    if (next != NULL)
        begin_step(engine, next, landed_us);
    return r;
}

int flight_measure(struct engine *engine, const struct plan *plan)
{
    build(engine, plan);
    if (engine->options.comm == NULL)
        record(engine, plan);
    int r = submit(engine, plan, false);
    if (r == 0)
        r = engine->backend->wait(engine->device);
    return r == 0 ? followers_end(engine, &engine->batches[engine->newest]) : r;
}
