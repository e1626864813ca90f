/*
 * stats.h - what is counted: one row each, from which /metrics and /stats derive
 *
 * A row names a run of the words on every process's status page. Values of a row are
 * summed over all processes, and over those that ended (the supervisor's page keeps their
 * counters), so totals never go back. Gauges of ended processes are dropped.
 *
 * Histograms take one word per bucket (not cumulative), one for +Inf, and two: sum in
 * microseconds (or in units), and count.
 */
#ifndef PROTO_RECORDS_STATS_H
#define PROTO_RECORDS_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum stat_type { STAT_COUNTER, STAT_GAUGE, STAT_HISTOGRAM_SECONDS, STAT_HISTOGRAM_COUNT };

enum stat_id {
    /* engine, written by the worker that leads */
    STAT_NUM_REQUESTS_RUNNING,
    STAT_NUM_REQUESTS_WAITING,
    STAT_QUEUED_TOKENS,
    STAT_RETRY_AFTER_MS,
    STAT_POSITION_NS,
    STAT_KV_BLOCKS_USED,
    STAT_KV_BLOCKS_TOTAL,
    STAT_PREEMPTIONS,
    STAT_PREFIX_QUERY_TOKENS,
    STAT_PREFIX_HIT_TOKENS,
    STAT_ITERATION_TOKENS,
    STAT_STEP_SECONDS,
    STAT_ENGINE_SUBMITS,
    STAT_ENGINE_CANCELS,
    STAT_RING_DROPPED,
    /* frontend */
    STAT_CONNECTIONS,
    STAT_INFLIGHT,
    STAT_PROMPT_TOKENS,
    STAT_GENERATION_TOKENS,
    STAT_SUCCESS_STOP,
    STAT_SUCCESS_LENGTH,
    STAT_SUCCESS_ABORT,
    STAT_SUCCESS_ERROR,
    STAT_TTFT_SECONDS,
    STAT_ITL_SECONDS,
    STAT_REQUEST_TPOT_SECONDS,
    STAT_E2E_SECONDS,
    STAT_QUEUE_SECONDS,
    STAT_PREFILL_SECONDS,
    STAT_DECODE_SECONDS,
    STAT_INFERENCE_SECONDS,
    STAT_REQUEST_PROMPT_TOKENS,
    STAT_REQUEST_GENERATION_TOKENS,
    STAT_REQUEST_MAX_TOKENS,
    STAT_REQUEST_N,
    STAT_REJECTED_QUEUE_FULL,
    STAT_REJECTED_QUEUED_TOKENS,
    STAT_REJECTED_KEY_CONCURRENCY,
    STAT_REJECTED_KEY_RATE,
    STAT_REJECTED_DEADLINE,
    STAT_REJECTED_LOADING,
    STAT_REJECTED_DRAINING,
    STAT_REJECTED_INVALID,
    STAT_REJECTED_AUTH,
    STAT_DISCONNECTS_QUEUED,
    STAT_DISCONNECTS_PREFILL,
    STAT_DISCONNECTS_DECODE,
    STAT_KEEPALIVES,
    STAT_UNKNOWN_FIELDS,
    STAT_SUBMITS,
    STAT_CONNECTIONS_KICKED,
    STAT_HTTP_2XX,
    STAT_HTTP_4XX,
    STAT_HTTP_5XX,
    STAT_LOG_DROPPED,
    /* supervisor */
    STAT_WORKER_RESTARTS,
    STAT_FRONTEND_RESTARTS,
    STAT_NUM,
};

struct stat_row {
    const char *name;   /* metric, as "vllm:num_requests_running" */
    const char *labels; /* beside model_name and engine: "finished_reason=\"stop\"", or NULL */
    const char *help;
    enum stat_type type;
    const double *buckets; /* histograms: upper bounds */
    int32_t num_buckets;
    bool per_model; /* carries model_name and engine="0" */
};

extern const struct stat_row stat_rows[STAT_NUM];

/* First word of a row, and how many it takes. */
int32_t stat_word(enum stat_id stat);
int32_t stat_num_words(enum stat_id stat);

/* Writers, on the words of their own page. */
void stat_add(_Atomic uint64_t *words, enum stat_id stat, uint64_t n);
void stat_set(_Atomic uint64_t *words, enum stat_id stat, uint64_t value); /* gauges */
void stat_observe_us(_Atomic uint64_t *words, enum stat_id stat, int64_t us);
void stat_observe(_Atomic uint64_t *words, enum stat_id stat, uint64_t value);

/* Add the counters and histograms (not the gauges) of an ended process to `kept`. */
void stat_keep(_Atomic uint64_t *kept, const _Atomic uint64_t *ended);

#endif
