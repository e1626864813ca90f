/*
 * settings.h - everything an operator can set, one row each
 *
 * The rows serve all subcommands and all roles: the supervisor checks them once and hands them
 * to its children in a sealed memory file as lines (base/option.h).
 */
#ifndef PROTO_RECORDS_SETTINGS_H
#define PROTO_RECORDS_SETTINGS_H

#include "base/option.h"

enum settings_command { SETTINGS_SERVE = 1, SETTINGS_GENERATE = 2, SETTINGS_BENCH = 4 };

struct settings {
    /* model */
    const char *model; /* directory; NULL: the embedded one */
    struct option_list served_model_name;
    int64_t max_model_len; /* 0: the model's */
    const char *chat_template;
    const char *generation_config; /* "auto", "none", "vllm" */
    /* engine */
    int64_t max_num_seqs;
    int64_t max_num_batched_tokens; /* 0: what warm-up says fits in 250 ms, at least 64 */
    int64_t kv_cache_memory;        /* bytes, 0: from what is free */
    const char *quantization;       /* "auto": as the checkpoint has it; else a type of weights */
    const char *kv_cache_dtype;     /* "auto", or a name that memory_kv_dtype() knows */
    int64_t block_size;
    bool enable_prefix_caching;
    bool async_scheduling;
    const char *scheduling_policy; /* "auto", "fcfs", "priority", "fair" */
    int64_t threads;               /* of all ranks together; 0: all */
    int64_t tensor_parallel;
    int64_t max_num_queued_reqs;
    int64_t max_num_queued_tokens;
    const char *device;            /* "auto", "cpu", "cuda", "cuda:0,1" */
    const char *cuda_libs;         /* a folder, or NULL */
    double gpu_memory_utilization; /* of a GPU's memory */
    bool deterministic;
    const char *cpu_isa; /* "auto", "scalar", "avx2", "avx512" */
    bool mu_enabled;
    double mu, mu_clamp_min, mu_clamp_max;
    const char *deep_mu_highway; /* "auto", "off" */
    const char *weight_io;       /* "auto", "buffered", "direct" */
    /* server */
    const char *host;
    int64_t port;
    int64_t frontends; /* 0: max(1, min(4, cores / 8)) */
    struct option_list api_key;
    const char *api_key_file;
    int64_t max_concurrent_requests_per_key;
    int64_t max_requests_per_minute_per_key, max_tokens_per_minute_per_key;
    const char *ssl_certfile, *ssl_keyfile;
    bool http2;
    int64_t max_body_size, max_frontend_memory;
    int64_t max_connections, max_connections_per_address;
    double body_timeout, keep_alive_timeout, slow_client_timeout;
    double sse_keep_alive_interval;
    double request_timeout, queue_timeout;
    double shutdown_timeout, shutdown_grace;
    double recovery_hold, stall_kill;
    struct option_list allowed_origins, allowed_methods, allowed_headers;
    bool allow_credentials;
    int64_t default_max_tokens; /* 0: what is left of the context */
    bool strict_max_tokens, strict_requests, accept_any_model, allow_special_in_content;
    int64_t max_logprobs;
    bool metrics, metrics_auth;
    bool log_requests;
    /* log */
    const char *log_level, *log_format;
    bool print_config;
    /* generate */
    const char *prompt;
    bool chat, json;
    int64_t max_tokens;
    double temperature, top_p, min_p;
    int64_t top_k, seed;
    struct option_list stop;
    /* bench */
    struct option_list input_len, batch_size; /* numbers */
    int64_t output_len, context_len, repeat;
};

extern const struct option_row settings_rows[];
extern const int32_t settings_num_rows;

/* A set over `settings` for the subcommand, with defaults filled in. */
struct option_set settings_begin(struct settings *settings, enum settings_command command);

/* Checks that span several options. Returns 0 or -EINVAL. */
int settings_check(const struct settings *settings, struct error *err);

#endif
