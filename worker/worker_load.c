#include "worker/worker_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/capture.h"
#include "worker/choose.h"
#include "worker/memory.h"
#include "worker/model/requant.h"

enum { QUEUED_REQS_PER_SEQ = 4 };

static int read_arch(struct worker *w, struct error *err)
{
    if (w->settings.model == NULL)
        return error_set_param(err, -EINVAL, "model", "no model directory is set; see --model");
    struct arch whole;
    const int r = model_read_arch(w->settings.model, memory_kv_dtype(w->settings.kv_cache_dtype),
                                  (int32_t)w->settings.block_size, &whole, err);
    return r < 0 ? r : model_shard(&whole, w->ranks.rank, w->ranks.num_ranks, &w->arch, err);
}

/* With one tenant, and unnamed keys are one, fairness is the order of arrival. */
static enum wait_policy policy_of(const struct settings *settings)
{
    static const struct {
        const char *name;
        enum wait_policy policy;
    } names[] = { { "fcfs", WAIT_FCFS }, { "priority", WAIT_PRIORITY }, { "fair", WAIT_FAIR } };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(settings->scheduling_policy, names[i].name) == 0)
            return names[i].policy;
    return WAIT_FAIR;
}

/* All but the KV blocks, which depend on what the weights leave. */
static void set_limits(struct worker *w)
{
    const struct settings *settings = &w->settings;
    const int32_t seqs = (int32_t)settings->max_num_seqs;
    const int32_t tokens = settings->max_num_batched_tokens > 0
                               ? (int32_t)settings->max_num_batched_tokens
                               : WARM_UP_MAX_TOKENS;
    const int32_t logits = seqs + SEQUENCE_WINDOW;
    w->limits = (struct scheduler_limits){
        .max_num_seqs = seqs,
        .max_num_batched_tokens = tokens,
        .max_logits = logits < tokens ? logits : tokens,
        .kv = w->arch.kv,
        .max_num_queued_reqs = settings->max_num_queued_reqs > 0
                                   ? (int32_t)settings->max_num_queued_reqs
                                   : QUEUED_REQS_PER_SEQ * seqs,
        .max_num_queued_tokens = settings->max_num_queued_tokens,
        .vocab_size = w->arch.vocab_size,
        .enable_prefix_caching = settings->enable_prefix_caching,
        .policy = policy_of(settings),
    };
}

/* A rank's part of --threads; 0 is left to the device. */
static int32_t num_threads(const struct worker *w)
{
    const int32_t wanted = (int32_t)w->settings.threads, num_ranks = w->ranks.num_ranks;
    return wanted > num_ranks ? wanted / num_ranks : wanted > 0 ? 1 : 0;
}

static int64_t min_bytes(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Tokens that penalties may count in a step: of all sequences, or what there is room for, which is
 * enough for some of full length. */
static int64_t max_penalized(const struct worker *w)
{
    const int64_t most = ((int64_t)64 << 20) / BACKEND_EDIT_BYTES;
    const int64_t seq = min_bytes(w->limits.max_model_len, w->arch.vocab_size);
    const int64_t all = seq * w->limits.max_num_seqs;
    return all < most ? all : seq < most ? most : seq;
}

/* All that a step may be told: block tables, parts of attention, and of each sequence a mask, its
 * biases and the rest of a sample; what penalties count. Not all sequences are of full length. */
static size_t max_input_bytes(const struct worker *w)
{
    const size_t most = (size_t)128 << 20;
    const size_t rows = (size_t)w->limits.max_num_batched_tokens;
    const size_t seqs = (size_t)w->limits.max_num_seqs, groups = (size_t)w->limits.kv.num_parts;
    const size_t len = (size_t)w->limits.max_model_len, vocab = (size_t)w->arch.vocab_size;
    const size_t blocks = len / (size_t)w->limits.kv.block_size + 1;
    const size_t edits = (size_t)(RECORD_MAX_BIASES + 1) * BACKEND_EDIT_BYTES;
    const size_t seq = groups * (256 + 4 * blocks + len / 2) + edits + vocab / 8;
    const size_t bytes =
        rows * (16 + 8 * groups) + seqs * seq + (size_t)w->limits.max_logits * BACKEND_SAMPLE_BYTES;
    return (bytes < most ? bytes : most) + (size_t)max_penalized(w) * BACKEND_EDIT_BYTES;
}

static int open_device(struct worker *w, struct error *err)
{
    const char *isa = w->settings.cpu_isa, *ordinals;
    /* Beside the forward's: copies of blocks, moved ids, and the sampler. */
    const int32_t max_ops = model_max_ops(&w->arch, w->limits.max_num_batched_tokens, 0) + 3;
    int r = choose_backend(&w->settings, &w->backend, &ordinals, err);
    if (r < 0)
        return r;
    w->limits.max_model_len = w->settings.max_model_len > 0 ? (int32_t)w->settings.max_model_len
                                                            : w->arch.max_position_embeddings;
    const struct device_options options = {
        .num_threads = num_threads(w),
        .num_ranks = w->ranks.num_ranks,
        .isa = strcmp(isa, "auto") == 0 ? NULL : isa,
        .max_rows = w->limits.max_num_batched_tokens,
        .max_ops = max_ops,
        .max_vocab = w->arch.vocab_size,
        .rank = w->ranks.rank,
        .max_logits = w->limits.max_logits,
        .ordinals = ordinals,
        .libraries = w->settings.cuda_libs,
        .memory_share = w->settings.gpu_memory_utilization,
        .max_input_bytes = max_input_bytes(w),
        .is_deterministic = w->settings.deterministic,
    };
    r = w->backend->device_open(&options, &w->device, err);
    if (r == 0 && w->backend->memory_left(w->device) >= 0) /* the host's is read where it lies */
        w->limits.max_penalized = max_penalized(w);
    return r == 0 && w->ranks.num_ranks > 1
               ? w->backend->device_join(w->device, &w->ranks.communicator, err)
               : r;
}

static enum read_io io_of(const struct settings *settings)
{
    return strcmp(settings->weight_io, "auto") == 0     ? READ_IO_AUTO
           : strcmp(settings->weight_io, "direct") == 0 ? READ_IO_DIRECT
                                                        : READ_IO_BUFFERED;
}

static int open_model(struct worker *w, struct error *err)
{
    const struct model_options options = {
        .dir = w->settings.model,
        .kv_dtype = memory_kv_dtype(w->settings.kv_cache_dtype),
        .quantization = requant_named(w->settings.quantization),
        .block_size = w->limits.kv.block_size,
        .max_model_len = (int32_t)w->settings.max_model_len,
        .max_rows = w->limits.max_num_batched_tokens,
        .max_logits = w->limits.max_logits,
        .progress_bytes = &w->child.page->load_done_bytes,
        .total_bytes = &w->child.page->load_total_bytes,
        .communicator = w->ranks.num_ranks > 1 ? &w->ranks.communicator : NULL,
        .kept_weights = w->child.kept_weights >= 0 ? &w->child.kept_weights : NULL,
        .stamp = w->has_kept ? w->kept.stamp : 0,
        .mu_clamp = { w->settings.mu_enabled, (float)w->settings.mu,
                      (float)w->settings.mu_clamp_min, (float)w->settings.mu_clamp_max },
        .weight_io = io_of(&w->settings),
        .no_mu_highway = strcmp(w->settings.deep_mu_highway, "off") == 0,
    };
    const int64_t begin_us = clock_now_us();
    const int r = model_open(w->backend, w->device, &options, &w->model, err);
    w->load_us = clock_now_us() - begin_us;
    if (w->child.kept_weights >= 0)
        close(w->child.kept_weights);
    if (r < 0)
        return r;
    w->limits.max_model_len = model_max_len(w->model);
    if (model_num_widened(w->model) > 0)
        log_event(LOG_LEVEL_WARN,
                  "%d quantized matrices are kept as f32: they lie transposed, or experts of a "
                  "layer differ in their groups",
                  model_num_widened(w->model));
    return 0;
}

/* All ranks look when all have loaded, each for its part, and take what the poorest can. */
static int size_kv(struct worker *w, struct error *err)
{
    const int32_t num_ranks = w->ranks.num_ranks;
    int32_t num_blocks = 0;
    int r = ranks_agree(&w->ranks, &num_blocks, err);
    if (r < 0)
        return r;
    const int64_t left = w->backend->memory_left(w->device); /* of a device of its own */
    const int64_t host = memory_available();
    const int64_t available = left >= 0 ? left : host > 0 ? host / num_ranks : host;
    struct memory_kv kv = {
        .block_bytes = (int64_t)kv_block_bytes(&w->arch.kv_block),
        .max_num_seqs = w->limits.max_num_seqs,
        .wanted_bytes = w->settings.kv_cache_memory / num_ranks,
        .available_bytes = available,
        .is_device = left >= 0,
    };
    memory_count_blocks(&kv, &w->limits.kv, w->limits.max_num_batched_tokens,
                        w->limits.max_model_len);
    num_blocks = w->has_kept ? w->kept.num_blocks : 0;
    if (num_blocks == 0 ||
        (kv.available_bytes >= 0 && num_blocks > kv.available_bytes / kv.block_bytes))
        r = memory_size_kv(&kv, &num_blocks, err);
    if (r == 0)
        r = ranks_agree(&w->ranks, &num_blocks, err);
    w->limits.num_blocks = num_blocks;
    return r;
}

static void report(void *context, uint32_t frontend, const char *text)
{
    const struct worker *w = context;
    supervised_report(&w->child, CONTROL_ROLE_FRONTEND, frontend, text);
}

static int open_follower(struct worker *w, struct error *err)
{
    const struct follower_options options = { .backend = w->backend,
                                              .device = w->device,
                                              .model = w->model,
                                              .limits = w->limits,
                                              .comm = &w->ranks.comm,
                                              .page = w->child.page };
    return follower_create(&options, &w->follower, err);
}

static int open_engine(struct worker *w, struct error *err)
{
    if (w->ranks.rank > 0)
        return open_follower(w, err);
    const struct engine_options options = { .backend = w->backend,
                                            .device = w->device,
                                            .model = w->model,
                                            .limits = w->limits,
                                            .page = w->child.page,
                                            .without_overlap = !w->settings.async_scheduling,
                                            .doorbell = w->child.doorbell,
                                            .comm = w->ranks.num_ranks > 1 ? &w->ranks.comm : NULL,
                                            .report = report,
                                            .context = w };
    return engine_create(&options, &w->engine, err);
}

static int run_warm_up(struct worker *w, struct error *err)
{
    ranks_end_loading(&w->ranks);
    w->warm_up =
        (struct warm_up_result){ .max_num_batched_tokens = w->limits.max_num_batched_tokens };
    if (w->ranks.rank > 0) /* computes what the leader measures */
        return 0;
    if (w->has_kept && w->kept.max_num_batched_tokens <= w->limits.max_num_batched_tokens) {
        w->warm_up =
            (struct warm_up_result){ .max_num_batched_tokens = w->kept.max_num_batched_tokens,
                                     .first_us = (double)w->kept.first_ns / 1e3,
                                     .each_us = (double)w->kept.each_ns / 1e3 };
        warm_up_adopt(w->engine, &w->warm_up);
    } else {
        const bool choose = w->settings.max_num_batched_tokens == 0;
        const int r = warm_up(w->engine, &w->limits, choose, &w->warm_up);
        if (r < 0)
            return error_set(err, r, "warm-up: the device failed: %s", strerror(-r));
    }
    w->limits.max_num_batched_tokens = w->warm_up.max_num_batched_tokens;
    int32_t num_captured;
    const int r = capture_first(w->engine, &num_captured);
    return r < 0 ? error_set(err, r, "warm-up: the device failed: %s", strerror(-r)) : 0;
}

/* What is attached is kept already. */
void worker_load_leave(struct worker *w)
{
    const struct kept kept = { .stamp = model_stamp(w->model),
                               .num_blocks = w->limits.num_blocks,
                               .max_num_batched_tokens = w->limits.max_num_batched_tokens,
                               .first_ns = (int64_t)(w->warm_up.first_us * 1e3),
                               .each_ns = (int64_t)(w->warm_up.each_us * 1e3) };
    const int weights = model_take_weights(w->model);
    char text[sizeof(w->child.kept_text)];
    int r = 0;
    kept_write(&kept, text, sizeof(text));
    if (weights >= 0) {
        r = supervised_keep(&w->child, text, weights);
        close(weights);
    }
    if (r < 0)
        log_event(LOG_LEVEL_WARN, "the weights cannot be left to a successor: %s", strerror(-r));
}

int worker_load(struct worker *w, struct error *err)
{
    static const struct {
        int (*run)(struct worker *w, struct error *err);
        int exit_code;
    } stages[] = {
        { read_arch, EXIT_CODE_MODEL },    { open_device, EXIT_CODE_DEVICE },
        { open_model, EXIT_CODE_MODEL },   { size_kv, EXIT_CODE_MEMORY },
        { open_engine, EXIT_CODE_MEMORY }, { run_warm_up, EXIT_CODE_DEVICE },
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof(stages) / sizeof(stages[0]); i++) {
        w->exit_code = stages[i].exit_code;
        r = stages[i].run(w, err);
        if (i == 0 && r == 0)
            set_limits(w);
    }
    if (r == -ENOMEM)
        w->exit_code = EXIT_CODE_MEMORY;
    else if (r < 0 &&
             (strcmp(err->param, "max_model_len") == 0 || strcmp(err->param, "device") == 0 ||
              strcmp(err->param, "tensor_parallel") == 0))
        w->exit_code = EXIT_CODE_USAGE;
    return r;
}
