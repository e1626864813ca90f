#include "worker/follower.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* While a list runs and the next plan may come: how long it is waited for between two looks, and
 * after what time nothing is lost by taking the plan when it is over. */
enum { FIRST_US = 50, SHARE = 8, LOOK_US = 2 * 1000, LONG_US = 1000 * 1000 };

/* A plan, and what came of it. */
struct turn {
    int32_t *words;
    struct step_plan plan;
};

struct follower {
    struct follower_options options;
    struct reserve reserve;
    struct kv_pool *pool;
    struct turn turns[2]; /* in turn */
    int32_t newest;       /* of them */
    int32_t num_sent; /* lists that the device has: at most two, and one where it does not queue */
    int64_t running_us; /* since when the older one runs, as far as is known */
    int32_t *found;     /* what this rank found in a step, -1 where it could not */
    uint64_t step;
};

static int init_turns(struct follower *f)
{
    const struct follower_options *options = &f->options;
    for (int i = 0; i < 2; i++) {
        struct turn *turn = &f->turns[i];
        turn->words = reserve_array(&f->reserve, options->comm->geometry.plan_bytes, 1);
        if (turn->words == NULL || step_plan_init(&turn->plan, &options->limits, &f->reserve) < 0)
            return -ENOMEM;
    }
    f->found = reserve_array(&f->reserve, (size_t)options->limits.max_logits, sizeof(*f->found));
    return f->found != NULL ? 0 : -ENOMEM;
}

int follower_create(const struct follower_options *options, struct follower **ret_follower,
                    struct error *err)
{
    struct follower *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return error_set(err, -ENOMEM, "no memory for a follower");
    f->options = *options;
    int r = init_turns(f);
    if (r < 0)
        r = error_set(err, r, "no address space for the plans of %d sequences",
                      options->limits.max_num_seqs);
    if (r == 0)
        r = options->backend->kv_alloc(options->device, &model_arch(options->model)->kv_block,
                                       options->limits.num_blocks, &f->pool, err);
    if (r < 0) {
        follower_destroy(f);
        return r;
    }
    *ret_follower = f;
    return 0;
}

void follower_destroy(struct follower *follower)
{
    if (follower == NULL)
        return;
    for (; follower->num_sent > 0; follower->num_sent--)
        (void)follower->options.backend->wait(follower->options.device);
    if (follower->pool != NULL)
        follower->options.backend->kv_free(follower->pool);
    reserve_finish(&follower->reserve);
    free(follower);
}

/* --- lists -------------------------------------------------------------------------------- */

static void record(const struct follower *f)
{
    const struct backend *backend = f->options.backend;
    struct device *device = f->options.device;
    const struct turn *turn = &f->turns[f->newest];
    const struct step_plan *plan = &turn->plan, *before = &f->turns[!f->newest].plan;
    float *logits;
    backend->begin(device);
    if (plan->copies.num > 0)
        backend->copy_blocks(device, f->pool, plan->copies.from, plan->copies.to, plan->copies.num);
    if (plan->num_moves > 0)
        backend->move_ids(device, plan->token_ids, before->ids, plan->moves, plan->num_moves);
    model_forward(f->options.model, f->pool, &plan->model, &logits);
    if (plan->model.num_logits > 0)
        backend->sample(device, logits, f->options.limits.vocab_size, plan->samples,
                        plan->model.num_logits);
    if (plan->news.is_shared)
        backend->share_ids(device);
    if (plan->news.is_kept)
        backend->capture(device);
}

/* Who watches this rank sees the older of two lists. */
static void begin_step(struct follower *f, const struct step_plan *plan)
{
    struct status_page *page = f->options.page;
    f->running_us = clock_now_us();
    atomic_store_explicit(&page->step_expected_us, plan->news.expected_us, memory_order_relaxed);
    atomic_store_explicit(&page->step_started_us, (uint64_t)f->running_us, memory_order_release);
}

static void end_step(struct follower *f)
{
    struct status_page *page = f->options.page;
    atomic_store_explicit(&page->step, ++f->step, memory_order_relaxed);
    status_beat(page);
    atomic_store_explicit(&page->step_started_us, 0, memory_order_release);
    if (f->num_sent > 0)
        begin_step(f, &f->turns[f->newest].plan);
}

static void answer(const struct follower *f, const struct step_plan *plan)
{
    const int32_t num = plan->model.num_logits;
    for (int32_t i = 0; i < num; i++)
        f->found[i] = plan->bad[i] ? -1 : plan->own_ids[i];
    broadcast_done(f->options.comm, f->found, (uint32_t)num * (uint32_t)sizeof(*f->found));
}

static int fail(int r, struct error *err)
{
    return error_set(err, r, "the device failed in a step: %s", strerror(-r));
}

/* Wait for the older list, and tell the leader what it found. Returns 1. */
static int land(struct follower *f, struct error *err)
{
    const int r = f->options.backend->wait(f->options.device);
    if (r < 0)
        return fail(r, err);
    const struct turn *turn = &f->turns[f->num_sent > 1 ? !f->newest : f->newest];
    f->num_sent--;
    end_step(f);
    answer(f, &turn->plan);
    return 1;
}

static int start(struct follower *f, struct error *err)
{
    if (f->num_sent == 0)
        begin_step(f, &f->turns[f->newest].plan);
    record(f);
    const int r = f->options.backend->submit(f->options.device);
    if (r < 0)
        return fail(r, err);
    f->num_sent++;
    return f->num_sent > 1 || !f->options.backend->queues ? land(f, err) : 1;
}

/* --- steps -------------------------------------------------------------------------------- */

/* A list runs, and no plan has come: one may, until it is over. */
static int look(struct follower *f, struct error *err)
{
    const int64_t passed = clock_now_us() - f->running_us;
    const int64_t us = passed / SHARE < LOOK_US ? passed / SHARE : LOOK_US;
    if (passed > LONG_US)
        return land(f, err);
    const int r = f->options.backend->wait_for(f->options.device, us > FIRST_US ? us : FIRST_US);
    return r < 0 ? fail(r, err) : r > 0 ? land(f, err) : 1;
}

static int read_plan(struct follower *f, uint32_t len, struct error *err)
{
    struct turn *turn = &f->turns[!f->newest];
    const int r = step_plan_read(&turn->plan, &f->turns[f->newest].plan, &f->options.limits,
                                 turn->words, len / (uint32_t)sizeof(*turn->words), err);
    if (r == 0 && f->num_sent > 0 && !turn->plan.news.is_behind)
        return error_set(err, -EPROTO, "the leader's plan came before the end of the last");
    if (r == 0 && turn->plan.news.is_shared && !f->options.backend->queues)
        return error_set(err, -EPROTO, "the leader's plan shares ids, which this device cannot");
    return r;
}

int follower_step(struct follower *f, int64_t max_us, struct error *err)
{
    uint32_t len;
    int r = broadcast_take(f->options.comm, f->turns[!f->newest].words, &len,
                           f->num_sent > 0 ? 0 : max_us);
    status_beat(f->options.page);
    if (r < 0)
        return error_set(err, r, "the leader's plan did not come: %s", strerror(-r));
    if (r == 0)
        return f->num_sent > 0 ? look(f, err) : 0;
    r = read_plan(f, len, err);
    if (r < 0)
        return r;
    f->newest = !f->newest;
    return start(f, err);
}
