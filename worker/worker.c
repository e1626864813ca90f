#include "worker/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "worker/capture.h"
#include "worker/load_report.h"
#include "worker/memory.h"
#include "worker/memory_report.h"
#include "worker/worker_internal.h"

enum { IDLE_US = 500 * 1000, FOLLOW_US = 100 * 1000, AWAIT_END_MS = 2000 };

static void set_state(struct worker *w, enum status_state state)
{
    atomic_store_explicit(&w->child.page->state, state, memory_order_release);
}

/* --- facts -------------------------------------------------------------------------------- */

static void tell_facts(struct worker *w)
{
    char text[STATUS_TEXT_BYTES];
    const struct scheduler_limits *limits = &w->limits;
    snprintf(text, sizeof(text),
             "max_model_len=%d\nvocab_size=%d\nnum_blocks=%d\nblock_size=%d\nkv_bytes=%" PRId64 "\n"
             "kv_tokens=%" PRId64
             "\nkv_dtype=%s\nweight_bytes=%zu\nbackend=%s\nisa=%s\nthreads=%d\nmax_num_seqs=%d\n"
             "max_num_batched_tokens=%d\nmax_num_queued_reqs=%d\nmax_num_queued_tokens=%" PRId64
             "\nmodel_type=%s\ndtype=%s\nquantization=%s\nidentity=%016" PRIx64
             "\nbackend=%s\ntensor_parallel=%d\n"
             "load_us=%" PRId64 "\nload_bytes=%" PRIu64 "\nload_from=%s\n",
             limits->max_model_len, limits->vocab_size, limits->num_blocks, limits->kv.block_size,
             (int64_t)kv_block_bytes(&w->arch.kv_block) * limits->num_blocks,
             memory_kv_tokens(&limits->kv, limits->num_blocks, limits->max_num_batched_tokens,
                              limits->max_model_len),
             dtype_name(w->arch.kv_block.dtype), model_weight_bytes(w->model), w->backend->name,
             w->backend->device_isa(w->device), w->backend->device_threads(w->device),
             limits->max_num_seqs, limits->max_num_batched_tokens, limits->max_num_queued_reqs,
             limits->max_num_queued_tokens, w->arch.model_type, dtype_name(w->arch.dtype),
             strcmp(w->settings.quantization, "auto") == 0 ? "none" : w->settings.quantization,
             model_identity(w->model), w->backend->name, w->ranks.num_ranks, w->load_us,
             atomic_load(&w->child.page->load_total_bytes),
             model_is_attached(w->model)         ? "kept"
             : model_used_direct_reads(w->model) ? "direct"
                                                 : "buffered");
    status_set_texts(w->child.page, text, NULL);
}

static void tell_load(const struct worker *w)
{
    const struct load_rate rate = { .bytes = atomic_load(&w->child.page->load_total_bytes),
                                    .us = w->load_us,
                                    .was_direct = model_used_direct_reads(w->model) };
    char text[LOAD_REPORT_BYTES];
    if (!model_is_attached(w->model) && load_report(w->backend, w->device, &rate, text))
        log_event(LOG_LEVEL_INFO, "weights of rank %d: %s", w->ranks.rank, text);
}

static void tell_memory(const struct worker *w)
{
    char text[MEMORY_REPORT_BYTES];
    if (memory_report(w->backend, w->device, text))
        log_event(LOG_LEVEL_INFO, "GPU memory of rank %d: %s", w->ranks.rank, text);
}

/* --- serving ------------------------------------------------------------------------------ */

static void close_fds(const struct inbox_message *message)
{
    for (size_t i = 0; i < message->num_fds; i++)
        close(message->fds[i]);
}

static void connect_frontend(struct worker *w, const struct inbox_message *message)
{
    const struct control_message *control = &message->control;
    struct error err;
    struct link link;
    int r = control->peer < CONTROL_MAX_FRONTENDS ? 0 : -EPROTO;
    if (r == 0)
        r = link_open(&link, control, message->fds, message->num_fds, &err);
    if (r < 0) {
        log_event(LOG_LEVEL_ERROR, "frontend %u cannot be joined: %s", control->peer,
                  control->peer < CONTROL_MAX_FRONTENDS ? err.message : "no such number");
        close_fds(message);
        return;
    }
    engine_connect(w->engine, control->peer, &link);
    close(message->fds[0]);
    close(message->fds[1]); /* the doorbell has moved into the link */
}

static void obey(struct worker *w, const struct inbox_message *message)
{
    switch (message->control.kind) {
    case CONTROL_FRONTEND_LINK:
        connect_frontend(w, message);
        return;
    case CONTROL_FRONTEND_DOWN:
        if (message->control.peer < CONTROL_MAX_FRONTENDS)
            engine_disconnect(w->engine, message->control.peer);
        break;
    case CONTROL_DRAIN:
        set_state(w, STATUS_DRAINING);
        break;
    default: /* nothing for a worker */
        break;
    }
    close_fds(message);
}

/* A rank that is gone takes the engine with it: the supervisor, which knows why, tells this process
 * to stop, or ends it. The sentence is for when it does not. */
static int await_end(const struct worker *w, int problem)
{
    const bool waits = problem == -EPIPE || problem == -ETIMEDOUT;
    for (int ms = 0; waits && ms < AWAIT_END_MS && !inbox_must_stop(w->inbox); ms++)
        poll(NULL, 0, 1);
    return inbox_must_stop(w->inbox) ? 0 : problem;
}

/* It stops when the leader has left: that one may be waiting for this rank's part of a step. */
static int follow(struct worker *w, struct error *err)
{
    struct inbox_message message;
    int r = 0;
    while (r >= 0) {
        while (inbox_take(w->inbox, &message))
            close_fds(&message); /* frontends and drains are the leader's */
        r = follower_step(w->follower, FOLLOW_US, err);
    }
    return r;
}

static int serve(struct worker *w)
{
    struct inbox_message message;
    int r = 0;
    while (r >= 0 && !inbox_must_stop(w->inbox)) {
        while (inbox_take(w->inbox, &message))
            obey(w, &message);
        r = engine_step(w->engine);
        if (r == 0)
            r = capture_next(w->engine);
        if (r == 0)
            engine_idle(w->engine, IDLE_US);
    }
    return r < 0 ? r : 0;
}

/* --- the role ----------------------------------------------------------------------------- */

static void close_worker(struct worker *w)
{
    engine_destroy(w->engine);
    if (w->ranks.rank == 0 && w->ranks.num_ranks > 1)
        comm_leave(&w->ranks.comm, -EPIPE);
    follower_destroy(w->follower);
    model_close(w->model);
    if (w->device != NULL)
        w->backend->device_close(w->device);
    ranks_close(&w->ranks);
}

static int run(struct worker *w, struct error *err)
{
    set_state(w, STATUS_LOADING);
    int r = worker_load(w, err);
    if (r < 0)
        return r;
    worker_load_leave(w);
    tell_facts(w);
    tell_load(w);
    tell_memory(w);
    inbox_end_loading(w->inbox);
    set_state(w, STATUS_READY);
    supervised_tell(&w->child, CONTROL_READY);
    if (w->ranks.rank == 0) {
        r = serve(w);
        if (r < 0)
            engine_explain(w->engine, r, err);
    } else {
        r = follow(w, err);
    }
    r = await_end(w, r);
    w->exit_code = r < 0 ? EXIT_CODE_DEVICE : w->exit_code;
    return r;
}

/* What could be loaded once cannot be read any more, or is not the same. */
static bool model_is_another(const struct worker *w, int problem)
{
    return w->has_kept && w->exit_code == EXIT_CODE_MODEL &&
           (problem == -ESTALE || problem == -EINVAL || problem == -ENOTSUP || problem == -ENOENT);
}

int worker_main(int control_fd, const struct control_message *hello, const int *fds, size_t num_fds)
{
    static struct worker worker;
    struct worker *w = &worker;
    struct error err = { 0 };
    w->exit_code = EXIT_CODE_USAGE;
    w->child.kept_weights = -1;
    int r = supervised_open(&w->child, control_fd, hello, fds, num_fds, SETTINGS_SERVE,
                            &w->settings, &err);
    w->has_kept = kept_read(w->child.kept_text, &w->kept);
    if (r == 0)
        r = inbox_open(control_fd, w->child.doorbell, w->child.page, &w->inbox, &err);
    if (r == 0)
        r = ranks_open(&w->ranks, (int32_t)hello->rank, (int32_t)w->settings.tensor_parallel,
                       w->inbox, &err);
    if (r == 0)
        r = run(w, &err);
    if (r < 0)
        return (model_is_another(w, r) ? supervised_fail_changed
                                       : supervised_fail)(&w->child, w->exit_code, err.message);
    close_worker(w);
    return EXIT_CODE_OK;
}
