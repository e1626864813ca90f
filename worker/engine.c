#include "worker/engine.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "proto/records/stats.h"
#include "shm/doorbell.h"
#include "worker/batch.h"
#include "worker/meter.h"
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

enum { FULL_US = 10 * 1000 * 1000, SPIN_US = 20, BLOCKED_MS = 1 };

struct engine {
    struct engine_options options;
    const struct backend *backend;
    struct device *device;
    struct reserve reserve;
    struct scheduler scheduler;
    struct batch batch;
    struct kv_pool *pools[BACKEND_MAX_GROUPS];
    struct record_bounds bounds;
    struct link links[CONTROL_MAX_FRONTENDS];
    bool is_blocked;          /* some ring was full */
    int64_t next_deadline_us; /* no request's deadline is earlier */
    struct meter meter;
    int32_t *plan_words; /* what the followers get; NULL: there are none */
};

/* --- life --------------------------------------------------------------------------------- */

static int alloc_pools(struct engine *engine, struct error *err)
{
    const struct arch *arch = model_arch(engine->options.model);
    for (int32_t g = 0; g < arch->num_kv_groups; g++) {
        const int r =
            engine->backend->kv_alloc(engine->device, &arch->kv_groups[g],
                                      engine->options.limits.num_blocks, &engine->pools[g], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* A plan of the largest step must fit into the followers' memory. */
static int alloc_plan(struct engine *engine, struct error *err)
{
    const struct comm *comm = engine->options.comm;
    if (comm == NULL)
        return 0;
    const uint64_t bytes = step_plan_max_words(&engine->options.limits) * sizeof(int32_t);
    if (bytes > comm->geometry.plan_bytes)
        return error_set(err, -ENOSPC,
                         "a plan for %d sequences of %d tokens takes %llu bytes, followers take "
                         "%u; see --max-num-seqs and --max-model-len",
                         engine->options.limits.max_num_seqs, engine->options.limits.max_model_len,
                         (unsigned long long)bytes, comm->geometry.plan_bytes);
    engine->plan_words = reserve_array(&engine->reserve, (size_t)bytes, 1);
    return engine->plan_words != NULL ? 0 : error_set(err, -ENOMEM, "no memory for plans");
}

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
        r = batch_init(&engine->batch, &options->limits, &engine->reserve);
    if (r < 0) {
        r = error_set(err, r, "no address space for the tables of %d sequences of %d tokens",
                      options->limits.max_num_seqs, options->limits.max_model_len);
        goto fail;
    }
    r = alloc_plan(engine, err);
    if (r == 0)
        r = alloc_pools(engine, err);
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
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        link_close(&engine->links[i]);
    for (int g = 0; g < BACKEND_MAX_GROUPS; g++)
        if (engine->pools[g] != NULL)
            engine->backend->kv_free(engine->pools[g]);
    reserve_finish(&engine->reserve);
    free(engine);
}

bool engine_is_empty(const struct engine *engine)
{
    const struct scheduler *s = &engine->scheduler;
    return !scheduler_has_work(s) && TAILQ_EMPTY(&s->requests.active) &&
           s->seats.num_free == s->seats.num_seats &&
           s->blocks[0].num_free == s->blocks[0].num_blocks;
}

/* --- requests ----------------------------------------------------------------------------- */

static struct link *link_of(struct engine *engine, const struct request *request)
{
    return &engine->links[request->frontend];
}

static void drop_request(struct engine *engine, struct request *request)
{
    publish_drop(link_of(engine, request), &engine->scheduler, request);
}

static void fail_request(struct engine *engine, struct request *request,
                         enum record_failure failure)
{
    scheduler_stop(&engine->scheduler, request);
    request->failure = failure;
    publish_owe(link_of(engine, request), request);
}

static bool is_complete(const struct request *request)
{
    for (const struct sequence *q = request->sequences; q != NULL; q = q->next_sibling)
        if (q->finish == 0)
            return false;
    return request->num_seated == request->num_choices;
}

/* --- links -------------------------------------------------------------------------------- */

void engine_connect(struct engine *engine, uint32_t frontend, struct link *link)
{
    engine_disconnect(engine, frontend);
    struct link *place = &engine->links[frontend];
    *place = *link;
    TAILQ_INIT(&place->unpublished); /* an empty list's head points into itself */
    *link = (struct link){ 0 };
}

void engine_disconnect(struct engine *engine, uint32_t frontend)
{
    struct request *request = TAILQ_FIRST(&engine->scheduler.requests.active), *next;
    if (!engine->links[frontend].is_up)
        return;
    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, in_active);
        if (request->frontend == (int32_t)frontend)
            drop_request(engine, request);
    }
    link_close(&engine->links[frontend]);
}

static void give_up_link(struct engine *engine, uint32_t frontend, const char *text)
{
    engine_disconnect(engine, frontend);
    if (engine->options.report != NULL)
        engine->options.report(engine->options.context, frontend, text);
}

/* --- admit -------------------------------------------------------------------------------- */

static int admit_submit(struct engine *engine, uint32_t frontend,
                        const struct link_message *message, struct error *err)
{
    struct scheduler *s = &engine->scheduler;
    struct link *link = &engine->links[frontend];
    struct request *request;
    stat_add(engine->options.page->words, STAT_ENGINE_SUBMITS, 1);
    if (request_set_find(&s->requests, (int32_t)frontend, message->id) != NULL)
        return error_set(err, -EPROTO, "SUBMIT with id %llu, which is in use",
                         (unsigned long long)message->id);
    const uint32_t num_waiting = (uint32_t)s->num_waiting;
    const enum record_failure failure =
        scheduler_admit(s, (int32_t)frontend, message->id, &message->submit, &request);
    if (failure != 0) {
        link_push_refused(link, message->id, failure,
                          meter_retry_after_ms(&engine->meter, s->num_waiting));
        return 0;
    }
    link_push_accepted(link, message->id, num_waiting);
    if (request->deadline_us != 0 && request->deadline_us < engine->next_deadline_us)
        engine->next_deadline_us = request->deadline_us;
    return 0;
}

/* Returns false when the choice has no seat: it has ended, or does not run yet. */
static bool cancel_choice(struct engine *engine, struct request *request, int32_t choice)
{
    struct sequence *sequence = request->sequences;
    while (sequence != NULL && (sequence->choice != choice || sequence->finish != 0))
        sequence = sequence->next_sibling;
    if (sequence == NULL || request->failure != 0)
        return false;
    sequence_cancel(sequence);
    scheduler_finish(&engine->scheduler, sequence);
    publish_owe(link_of(engine, request), request);
    return true;
}

static void admit_cancel(struct engine *engine, uint32_t frontend,
                         const struct link_message *message)
{
    struct request *request =
        request_set_find(&engine->scheduler.requests, (int32_t)frontend, message->id);
    stat_add(engine->options.page->words, STAT_ENGINE_CANCELS, 1);
    if (request != NULL && message->choice < 0)
        drop_request(engine, request);
    else if (request == NULL || !cancel_choice(engine, request, message->choice))
        stat_add(engine->options.page->words, STAT_RING_DROPPED, 1); /* it has just ended */
}

static int admit_from(struct engine *engine, uint32_t frontend, bool *ret_any, struct error *err)
{
    struct link *link = &engine->links[frontend];
    struct link_message message;
    int r;
    while ((r = link_take(link, &engine->bounds, &message, err)) > 0) {
        *ret_any = true;
        if (message.kind == RECORD_CANCEL)
            admit_cancel(engine, frontend, &message);
        else if ((r = admit_submit(engine, frontend, &message, err)) < 0)
            return r;
    }
    link_release(link);
    return r;
}

static bool admit(struct engine *engine)
{
    struct error err;
    bool any = false;
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up && admit_from(engine, i, &any, &err) < 0)
            give_up_link(engine, i, err.message);
    return any;
}

static bool expire(struct engine *engine, int64_t now)
{
    struct request *request;
    bool any = false;
    if (now < engine->next_deadline_us)
        return false;
    engine->next_deadline_us = INT64_MAX;
    TAILQ_FOREACH(request, &engine->scheduler.requests.active, in_active)
    {
        if (request->deadline_us == 0 || request->failure != 0 || is_complete(request))
            continue;
        if (request->deadline_us <= now) {
            fail_request(engine, request, RECORD_FAILURE_DEADLINE);
            any = true;
        } else if (request->deadline_us < engine->next_deadline_us) {
            engine->next_deadline_us = request->deadline_us;
        }
    }
    return any;
}

/* --- execute ------------------------------------------------------------------------------ */

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
        status_step_add(page, number, request->id, link_of(engine, request)->generation);
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

static int launch(struct engine *engine, const struct plan *plan)
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
        publish_owe(link_of(engine, request), request);
    }
}

/* --- results ------------------------------------------------------------------------------ */

/* Returns false when one of the row's logits is not a number. */
static bool take_scores(struct engine *engine, const struct plan_row *row, int32_t sample)
{
    struct sequence *sequence = row->sequence;
    const int32_t num_logprobs = sequence->request->params.num_prompt_logprobs;
    for (int32_t i = 0; i < row->num_scores; i++) {
        if (engine->batch.bad[sample + i])
            return false;
        batch_read_logprobs(&engine->batch, sample + i, num_logprobs,
                            sequence->scores +
                                (size_t)sequence->num_scores++ * (size_t)(1 + num_logprobs));
    }
    sequence->request->next_score += row->num_scores;
    return true;
}

static bool take_token(struct engine *engine, struct sequence *sequence, int32_t sample)
{
    const int32_t num_logprobs = sequence->request->params.num_logprobs;
    const int32_t at = sequence_num_output(sequence) % SEQUENCE_WINDOW;
    if (engine->batch.bad[sample])
        return false;
    if (num_logprobs >= 0)
        batch_read_logprobs(&engine->batch, sample, num_logprobs,
                            sequence->logprobs + (size_t)at * (size_t)(1 + num_logprobs));
    sequence_append(sequence, engine->batch.ids[sample]);
    return true;
}

/* A prompt that was only to be scored. */
static void end_of_prompt(const struct plan_row *row)
{
    struct sequence *sequence = row->sequence;
    if (sequence->request->params.max_tokens == 0 && sequence->num_computed == sequence->num_tokens)
        sequence->finish = RECORD_FINISH_LENGTH;
}

static void take_row(struct engine *engine, const struct plan_row *row, int32_t sample)
{
    struct sequence *sequence = row->sequence;
    struct request *request = sequence->request;
    const bool good = take_scores(engine, row, sample) &&
                      (!row->samples || take_token(engine, sequence, sample + row->num_scores));
    if (!good) {
        fail_request(engine, request, RECORD_FAILURE_NAN_LOGITS);
        return;
    }
    scheduler_filled(&engine->scheduler, sequence, row->first_pos + row->num_tokens);
    end_of_prompt(row);
    if (sequence->finish != 0)
        scheduler_finish(&engine->scheduler, sequence);
    if (row->num_scores > 0 || row->samples || sequence->finish != 0)
        publish_owe(link_of(engine, request), request);
}

static void take_results(struct engine *engine, const struct plan *plan)
{
    int32_t sample = 0;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        if (row->sequence->state != SEQUENCE_FREE) /* a sibling's row may have failed both */
            take_row(engine, row, sample);
        sample += row->num_scores + row->samples;
    }
}

/* --- publish ------------------------------------------------------------------------------ */

static void publish_link(struct engine *engine, uint32_t frontend, int64_t now)
{
    struct link *link = &engine->links[frontend];
    int32_t num_ended = 0;
    const bool room = publish_all(link, &engine->scheduler, &num_ended);
    meter_note_ends(&engine->meter, num_ended, now);
    if (room || link->end.tail != link->last_tail) /* it reads, if slowly */
        link->read_us = now;
    link->last_tail = link->end.tail;
    engine->is_blocked |= !room || ring_room(&link->end) == 0;
    if (link->end.corrupt)
        give_up_link(engine, frontend, "the heads of its complete ring are impossible");
    else if (now - link->read_us > FULL_US)
        give_up_link(engine, frontend, "its complete ring was full for 10 s");
}

static void publish(struct engine *engine)
{
    const int64_t now = clock_now_us();
    engine->is_blocked = false;
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up)
            publish_link(engine, i, now);
}

/* --- the step ----------------------------------------------------------------------------- */

static int execute(struct engine *engine, const struct plan *plan)
{
    meter_begin_step(&engine->meter, plan, clock_now_us());
    start_requests(engine, plan);
    tell_step(engine, plan);
    hook_step(plan);
    int r = launch(engine, plan);
    publish(engine); /* ACCEPTED and STARTED go out while the device works */
    if (r == 0)
        r = engine->backend->wait(engine->device);
    if (r < 0)
        return r;
    take_results(engine, plan);
    meter_end_step(&engine->meter, plan, clock_now_us());
    return 0;
}

int engine_step(struct engine *engine)
{
    scheduler_tell_time(&engine->scheduler, clock_now_us());
    bool any = admit(engine);
    any |= expire(engine, clock_now_us());
    const struct plan *plan = scheduler_plan(&engine->scheduler);
    if (plan->num_rows > 0) {
        const int r = execute(engine, plan);
        if (r < 0)
            return r;
    }
    publish(engine);
    meter_show(&engine->meter, &engine->scheduler);
    return any || plan->num_rows > 0;
}

/* --- idle --------------------------------------------------------------------------------- */

static void wake(struct engine *engine, uint32_t num_links)
{
    for (uint32_t i = 0; i < num_links; i++)
        if (engine->links[i].is_up)
            ring_end_sleep(&engine->links[i].end);
}

/* Returns false when there is something to take after all. */
static bool prepare_sleep(struct engine *engine)
{
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up && !ring_prepare_sleep(&engine->links[i].end)) {
            wake(engine, i);
            return false;
        }
    return true;
}

static bool spin(struct engine *engine)
{
    const int64_t end = clock_now_us() + SPIN_US;
    do {
        if (!prepare_sleep(engine))
            return true;
        wake(engine, CONTROL_MAX_FRONTENDS);
    } while (clock_now_us() < end);
    return false;
}

void engine_idle(struct engine *engine, int64_t max_us)
{
    struct pollfd bell = { .fd = engine->options.doorbell, .events = POLLIN };
    const int64_t now = clock_now_us(), deadline = engine->next_deadline_us;
    const int64_t us = deadline < now ? 0 : deadline - now < max_us ? deadline - now : max_us;
    if (engine->is_blocked) { /* nobody rings when a full ring gets room */
        poll(&bell, 1, BLOCKED_MS);
    } else if (!spin(engine) && prepare_sleep(engine)) {
        poll(&bell, 1, (int)(us / 1000) + (us % 1000 != 0));
        wake(engine, CONTROL_MAX_FRONTENDS);
    }
    doorbell_clear(engine->options.doorbell);
    status_beat(engine->options.page);
}

/* --- warm-up ------------------------------------------------------------------------------ */

static int64_t measure_step(struct engine *engine)
{
    const struct plan *plan = scheduler_plan(&engine->scheduler);
    const int64_t started = clock_now_us();
    int r = launch(engine, plan);
    if (r == 0)
        r = engine->backend->wait(engine->device);
    return r < 0 ? r : clock_now_us() - started;
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
