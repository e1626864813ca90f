#include "worker/follower.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct follower {
    struct follower_options options;
    struct reserve reserve;
    struct step_plan plan;
    struct kv_pool *pool;
    int32_t *words;    /* the plan that is executed */
    int32_t *last_ids; /* what this rank found in the step before, -1 where it could not */
    int32_t num_last;
    uint64_t step;
};

int follower_create(const struct follower_options *options, struct follower **ret_follower,
                    struct error *err)
{
    struct follower *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return error_set(err, -ENOMEM, "no memory for a follower");
    f->options = *options;
    int r = step_plan_init(&f->plan, &options->limits, &f->reserve);
    f->words = reserve_array(&f->reserve, options->comm->geometry.plan_bytes, 1);
    f->last_ids =
        reserve_array(&f->reserve, (size_t)options->limits.max_logits, sizeof(*f->last_ids));
    if (r < 0 || f->words == NULL || f->last_ids == NULL)
        r = error_set(err, -ENOMEM, "no address space for the plans of %d sequences",
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
    if (follower->pool != NULL)
        follower->options.backend->kv_free(follower->pool);
    reserve_finish(&follower->reserve);
    free(follower);
}

static int compare(const struct follower *f, struct error *err)
{
    const struct step_plan_news *news = &f->plan.news;
    if (news->num_last != f->num_last)
        return error_set(err, -EBADMSG, "rank %d drew %d tokens in step %llu, the leader %d",
                         f->options.comm->rank, f->num_last, (unsigned long long)f->step,
                         news->num_last);
    for (int32_t i = 0; i < f->num_last; i++)
        if (f->last_ids[i] >= 0 && news->last_ids[i] >= 0 && f->last_ids[i] != news->last_ids[i])
            return error_set(err, -EBADMSG, "rank %d found token %d in step %llu, the leader %d",
                             f->options.comm->rank, f->last_ids[i], (unsigned long long)f->step,
                             news->last_ids[i]);
    return 0;
}

static void note_ids(struct follower *f)
{
    const struct step_plan *plan = &f->plan;
    f->num_last = plan->model.num_logits;
    for (int32_t i = 0; i < f->num_last; i++)
        f->last_ids[i] = plan->bad[i] ? -1 : plan->ids[i];
}

static int compute(struct follower *f)
{
    const struct backend *backend = f->options.backend;
    struct device *device = f->options.device;
    const struct step_plan *plan = &f->plan;
    float *logits;
    backend->begin(device);
    if (plan->copies.num > 0)
        backend->copy_blocks(device, f->pool, plan->copies.from, plan->copies.to, plan->copies.num);
    model_forward(f->options.model, f->pool, &plan->model, &logits);
    if (plan->model.num_logits > 0)
        backend->sample(device, logits, f->options.limits.vocab_size, plan->samples,
                        plan->model.num_logits);
    if (plan->news.is_kept)
        backend->capture(device);
    const int r = backend->submit(device);
    return r < 0 ? r : backend->wait(device);
}

static int execute(struct follower *f, struct error *err)
{
    struct status_page *page = f->options.page;
    atomic_store_explicit(&page->step_expected_us, f->plan.news.expected_us, memory_order_relaxed);
    atomic_store_explicit(&page->step_started_us, (uint64_t)clock_now_us(), memory_order_relaxed);
    const int r = compute(f);
    if (r < 0)
        return error_set(err, r, "the device failed in a step: %s", strerror(-r));
    note_ids(f);
    atomic_store_explicit(&page->step, ++f->step, memory_order_relaxed);
    status_beat(page);
    atomic_store_explicit(&page->step_started_us, 0, memory_order_release);
    broadcast_done(f->options.comm);
    return 1;
}

int follower_step(struct follower *f, int64_t max_us, struct error *err)
{
    uint32_t len;
    int r = broadcast_take(f->options.comm, f->words, &len, max_us);
    status_beat(f->options.page);
    if (r < 0)
        return error_set(err, r, "the leader's plan did not come: %s", strerror(-r));
    if (r == 0)
        return 0;
    r = step_plan_read(&f->plan, &f->options.limits, f->words, len / (uint32_t)sizeof(*f->words),
                       err);
    if (r == 0)
        r = compare(f, err);
    return r < 0 ? r : execute(f, err);
}
