#include "proto/records/stats.h"

#include <stddef.h>

// clang-format off
static const double ttft_seconds[] = {
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
};
static const double token_seconds[] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
};
static const double request_seconds[] = {
    0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
};
static const double token_counts[] = {
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000, 500000, 1000000,
};
static const double choice_counts[] = { 1, 2, 5, 10, 20, 50, 100 };
static const double iteration_tokens[] = {
    1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384,
};

/*
 * One row per stat: id, metric, labels, per_model, help.
 * COUNTER and GAUGE take one word; SECONDS and COUNTS are histograms over the named buckets.
 */
#define ROWS(COUNTER, GAUGE, SECONDS, COUNTS)                                                                                   \
    GAUGE(NUM_REQUESTS_RUNNING, "vllm:num_requests_running", NULL, true, "Requests in the running batch.")                      \
    GAUGE(NUM_REQUESTS_WAITING, "vllm:num_requests_waiting", NULL, true, "Requests waiting to be scheduled.")                   \
    GAUGE(QUEUED_TOKENS, "tokenring_queued_tokens", NULL, true, "Prompt tokens of the waiting requests.")                       \
    GAUGE(RETRY_AFTER_MS, "tokenring_retry_after_milliseconds", NULL, true, "What a refused client is told to wait; 0: nobody waits.") \
    GAUGE(POSITION_NS, "tokenring_position_nanoseconds", NULL, true, "Time that one more position adds to a step.")             \
    GAUGE(KV_BLOCKS_USED, "tokenring_kv_blocks_used", NULL, true, "Blocks of the KV cache in use.")                             \
    GAUGE(KV_BLOCKS_TOTAL, "tokenring_kv_blocks_total", NULL, true, "Blocks of the KV cache.")                                  \
    COUNTER(PREEMPTIONS, "vllm:num_preemptions_total", NULL, true, "Sequences preempted for lack of KV blocks.")                \
    COUNTER(PREFIX_QUERY_TOKENS, "vllm:prefix_cache_queries_total", NULL, true, "Prompt tokens looked up in the prefix cache.") \
    COUNTER(PREFIX_HIT_TOKENS, "vllm:prefix_cache_hits_total", NULL, true, "Prompt tokens found in the prefix cache.")          \
    COUNTS(ITERATION_TOKENS, iteration_tokens, "vllm:iteration_tokens_total", NULL, true, "Tokens computed in a step.")         \
    SECONDS(STEP_SECONDS, token_seconds, "tokenring_step_seconds", NULL, true, "Time of a step.")                               \
    COUNTER(ENGINE_SUBMITS, "tokenring_engine_submits_total", NULL, true, "Submissions taken from the rings.")                  \
    COUNTER(ENGINE_CANCELS, "tokenring_engine_cancels_total", NULL, true, "Cancellations taken from the rings.")                \
    COUNTER(RING_DROPPED, "tokenring_ring_dropped_total", NULL, true, "Records of requests that nobody knows any more.")        \
    GAUGE(CONNECTIONS, "tokenring_connections", NULL, false, "Open client connections.")                                        \
    GAUGE(INFLIGHT, "tokenring_front_inflight", NULL, false, "Requests between admission and their last byte.")                 \
    COUNTER(PROMPT_TOKENS, "vllm:prompt_tokens_total", NULL, true, "Prompt tokens of admitted requests.")                       \
    COUNTER(GENERATION_TOKENS, "vllm:generation_tokens_total", NULL, true, "Tokens generated.")                                 \
    COUNTER(SUCCESS_STOP, "vllm:request_success_total", "finished_reason=\"stop\"", true, "Finished requests by reason.")       \
    COUNTER(SUCCESS_LENGTH, "vllm:request_success_total", "finished_reason=\"length\"", true, "Finished requests by reason.")   \
    COUNTER(SUCCESS_ABORT, "vllm:request_success_total", "finished_reason=\"abort\"", true, "Finished requests by reason.")     \
    COUNTER(SUCCESS_ERROR, "vllm:request_success_total", "finished_reason=\"error\"", true, "Finished requests by reason.")     \
    SECONDS(TTFT_SECONDS, ttft_seconds, "vllm:time_to_first_token_seconds", NULL, true, "Time to first token.")                 \
    SECONDS(ITL_SECONDS, token_seconds, "vllm:inter_token_latency_seconds", NULL, true, "Time between tokens.")                 \
    SECONDS(REQUEST_TPOT_SECONDS, token_seconds, "vllm:request_time_per_output_token_seconds", NULL, true,                      \
            "Mean time between tokens of a request.")                                                                           \
    SECONDS(E2E_SECONDS, request_seconds, "vllm:e2e_request_latency_seconds", NULL, true, "Time of a whole request.")           \
    SECONDS(QUEUE_SECONDS, request_seconds, "vllm:request_queue_time_seconds", NULL, true, "Time a request waited.")            \
    SECONDS(PREFILL_SECONDS, request_seconds, "vllm:request_prefill_time_seconds", NULL, true,                                  \
            "Time from being scheduled to the first token.")                                                                    \
    SECONDS(DECODE_SECONDS, request_seconds, "vllm:request_decode_time_seconds", NULL, true,                                    \
            "Time from the first token to the last.")                                                                           \
    SECONDS(INFERENCE_SECONDS, request_seconds, "vllm:request_inference_time_seconds", NULL, true,                              \
            "Time from being scheduled to the last token.")                                                                     \
    COUNTS(REQUEST_PROMPT_TOKENS, token_counts, "vllm:request_prompt_tokens", NULL, true, "Prompt tokens of a request.")        \
    COUNTS(REQUEST_GENERATION_TOKENS, token_counts, "vllm:request_generation_tokens", NULL, true,                               \
           "Tokens generated for a request.")                                                                                   \
    COUNTS(REQUEST_MAX_TOKENS, token_counts, "vllm:request_params_max_tokens", NULL, true, "The max_tokens of a request.")      \
    COUNTS(REQUEST_N, choice_counts, "vllm:request_params_n", NULL, true, "The n of a request.")                                \
    COUNTER(REJECTED_QUEUE_FULL, "tokenring_requests_rejected_total", "reason=\"queue_full\"", false,                           \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_QUEUED_TOKENS, "tokenring_requests_rejected_total", "reason=\"queued_tokens_exceeded\"", false,            \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_KEY_CONCURRENCY, "tokenring_requests_rejected_total", "reason=\"key_concurrency_exceeded\"", false,        \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_KEY_RATE, "tokenring_requests_rejected_total", "reason=\"key_rate_exceeded\"", false,                      \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_DEADLINE, "tokenring_requests_rejected_total", "reason=\"deadline_unreachable\"", false,                   \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_LOADING, "tokenring_requests_rejected_total", "reason=\"model_loading\"", false,                           \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_DRAINING, "tokenring_requests_rejected_total", "reason=\"draining\"", false,                               \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_INVALID, "tokenring_requests_rejected_total", "reason=\"invalid\"", false,                                 \
            "Requests refused by reason.")                                                                                      \
    COUNTER(REJECTED_AUTH, "tokenring_requests_rejected_total", "reason=\"invalid_api_key\"", false,                            \
            "Requests refused by reason.")                                                                                      \
    COUNTER(DISCONNECTS_QUEUED, "tokenring_client_disconnects_total", "phase=\"queued\"", false,                                \
            "Clients that left by phase of their request.")                                                                     \
    COUNTER(DISCONNECTS_PREFILL, "tokenring_client_disconnects_total", "phase=\"prefill\"", false,                              \
            "Clients that left by phase of their request.")                                                                     \
    COUNTER(DISCONNECTS_DECODE, "tokenring_client_disconnects_total", "phase=\"decode\"", false,                                \
            "Clients that left by phase of their request.")                                                                     \
    COUNTER(KEEPALIVES, "tokenring_stream_keepalives_total", NULL, false, "Keep-alive comments sent into silent streams.")      \
    COUNTER(UNKNOWN_FIELDS, "tokenring_request_unknown_fields_total", NULL, false, "Request fields that nobody knows.")         \
    COUNTER(SUBMITS, "tokenring_front_submits_total", NULL, false, "Submissions put on the rings, resubmissions included.")     \
    COUNTER(CONNECTIONS_KICKED, "tokenring_connections_kicked_total", NULL, false, "Connections closed for a passed limit.")    \
    COUNTER(HTTP_2XX, "http_requests_total", "status=\"2xx\"", false, "Answered HTTP requests by status.")                      \
    COUNTER(HTTP_4XX, "http_requests_total", "status=\"4xx\"", false, "Answered HTTP requests by status.")                      \
    COUNTER(HTTP_5XX, "http_requests_total", "status=\"5xx\"", false, "Answered HTTP requests by status.")                      \
    COUNTER(LOG_DROPPED, "tokenring_log_dropped_total", NULL, false, "Log lines that could not be written.")                    \
    COUNTER(WORKER_RESTARTS, "tokenring_worker_restarts_total", NULL, false, "Workers started again.")                          \
    COUNTER(FRONTEND_RESTARTS, "tokenring_front_restarts_total", NULL, false, "Frontends started again.")
// clang-format on

enum { MAX_WORDS = 1536 }; /* of a status page */

#define NUM(array) ((int32_t)(sizeof(array) / sizeof((array)[0])))

/* The words of a page, in the order of the rows: only its offsets are used. */
struct layout {
#define ONE(id, ...)         uint64_t id;
#define RUN(id, bounds, ...) uint64_t id[sizeof(bounds) / sizeof((bounds)[0]) + 3];
    ROWS(ONE, ONE, RUN, RUN)
#undef ONE
#undef RUN
};
_Static_assert(sizeof(struct layout) <= MAX_WORDS * sizeof(uint64_t), "fits a status page");

static const int32_t first_words[STAT_NUM] = {
#define WORD(id, ...) [STAT_##id] = offsetof(struct layout, id) / sizeof(uint64_t),
    ROWS(WORD, WORD, WORD, WORD)
#undef WORD
};

const struct stat_row stat_rows[STAT_NUM] = {
#define PLAIN(id, kind, metric, label, model, text)                                                \
    [STAT_##id] = { metric, label, text, .type = kind, .per_model = model },
#define HISTOGRAM(id, kind, bounds, metric, label, model, text)                                    \
    [STAT_##id] = { metric, label, text, kind, bounds, NUM(bounds), .per_model = model },
#define COUNTER(id, ...) PLAIN(id, STAT_COUNTER, __VA_ARGS__)
#define GAUGE(id, ...)   PLAIN(id, STAT_GAUGE, __VA_ARGS__)
#define SECONDS(id, ...) HISTOGRAM(id, STAT_HISTOGRAM_SECONDS, __VA_ARGS__)
#define COUNTS(id, ...)  HISTOGRAM(id, STAT_HISTOGRAM_COUNT, __VA_ARGS__)
    ROWS(COUNTER, GAUGE, SECONDS, COUNTS)
};

int32_t stat_word(enum stat_id stat)
{
    return first_words[stat];
}

int32_t stat_num_words(enum stat_id stat)
{
    return stat_rows[stat].buckets == NULL ? 1 : stat_rows[stat].num_buckets + 3;
}

/* A page has one writer, so a plain load and store lose nothing. */
static void add(_Atomic uint64_t *word, uint64_t n)
{
    const uint64_t value = atomic_load_explicit(word, memory_order_relaxed);
    atomic_store_explicit(word, value + n, memory_order_relaxed);
}

void stat_add(_Atomic uint64_t *words, enum stat_id stat, uint64_t n)
{
    add(&words[first_words[stat]], n);
}

void stat_set(_Atomic uint64_t *words, enum stat_id stat, uint64_t value)
{
    atomic_store_explicit(&words[first_words[stat]], value, memory_order_relaxed);
}

static void observe(_Atomic uint64_t *words, enum stat_id stat, double value, uint64_t sum)
{
    const struct stat_row *row = &stat_rows[stat];
    _Atomic uint64_t *first = &words[first_words[stat]];
    int32_t bucket = 0;
    while (bucket < row->num_buckets && value > row->buckets[bucket])
        bucket++;
    add(&first[bucket], 1);
    add(&first[row->num_buckets + 1], sum);
    add(&first[row->num_buckets + 2], 1);
}

void stat_observe_us(_Atomic uint64_t *words, enum stat_id stat, int64_t us)
{
    const uint64_t sum = us > 0 ? (uint64_t)us : 0;
    observe(words, stat, (double)sum / 1e6, sum);
}

void stat_observe(_Atomic uint64_t *words, enum stat_id stat, uint64_t value)
{
    observe(words, stat, (double)value, value);
}

void stat_keep(_Atomic uint64_t *kept, const _Atomic uint64_t *ended)
{
    for (int32_t stat = 0; stat < STAT_NUM; stat++) {
        const int32_t first = first_words[stat], num_words = stat_num_words((enum stat_id)stat);
        if (stat_rows[stat].type == STAT_GAUGE)
            continue;
        for (int32_t i = first; i < first + num_words; i++)
            add(&kept[i], atomic_load_explicit(&ended[i], memory_order_relaxed));
    }
}
