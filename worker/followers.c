#include "worker/followers.h"

#include <errno.h>

#include "worker/step_plan.h"

int followers_init(struct engine *engine, struct error *err)
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
    engine->batches[0].is_followed = engine->batches[1].is_followed = true;
    return engine->plan_words != NULL ? 0 : error_set(err, -ENOMEM, "no memory for plans");
}

bool followers_share_ids(const struct engine *engine)
{
    return engine->backend->queues && !engine->options.without_overlap &&
           engine->batches[engine->newest].is_own;
}

int followers_tell(struct engine *engine, const struct plan *plan, bool is_behind)
{
    struct batch *batch = &engine->batches[engine->newest];
    if (engine->options.comm == NULL)
        return 0;
    const struct step_plan_news news = { .is_kept = engine->captures,
                                         .is_behind = is_behind,
                                         .is_shared = followers_share_ids(engine),
                                         .expected_us = meter_expected_us(&engine->meter, plan) };
    if (!is_behind)
        batch_fill_ids(batch);
    const uint32_t num = step_plan_write(engine->plan_words, batch, plan, &news);
    return broadcast_publish(engine->options.comm, engine->plan_words,
                             num * (uint32_t)sizeof(*engine->plan_words));
}

/* --- ends --------------------------------------------------------------------------------- */

static int differ(struct engine *engine, const char *what, int32_t rank, int32_t theirs,
                  int32_t own)
{
    const struct status_page *page = engine->options.page;
    const uint64_t step = atomic_load_explicit(&page->step, memory_order_relaxed) + 1;
    return error_set(&engine->problem, -EBADMSG, "rank %d found %s %d in step %llu, the leader %d",
                     rank, what, theirs, (unsigned long long)step, own);
}

/* A mask may leave nothing at the leader, and NaN at any: such a row fails its request. */
static int compare(struct engine *engine, int32_t rank, const int32_t *own, int32_t num)
{
    uint32_t len;
    const int32_t *theirs = broadcast_answer(engine->options.comm, rank, &len);
    if (theirs == NULL || len != (uint32_t)num * sizeof(*theirs))
        return differ(engine, "tokens, their number:", rank, (int32_t)(len / sizeof(*theirs)), num);
    for (int32_t i = 0; i < num; i++) {
        const int32_t id = theirs[i];
        if (id >= 0 && own[i] >= 0 && id != own[i])
            return differ(engine, "token", rank, id, own[i]);
    }
    return 0;
}

int followers_end(struct engine *engine, const struct batch *batch)
{
    struct comm *comm = engine->options.comm;
    if (comm == NULL)
        return 0;
    const int32_t *own = batch_told_ids(batch);
    int r = broadcast_end(comm);
    for (int32_t rank = 1; r == 0 && rank < comm->geometry.num_ranks; rank++)
        r = compare(engine, rank, own, batch->model.num_logits);
    if (r < 0)
        comm_leave(comm, r);
    return r;
}
