#include "proto/records/settings.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#define ROW(field) OPTION_FIELD(struct settings, field)
#define ALL        .commands = SETTINGS_SERVE | SETTINGS_GENERATE | SETTINGS_BENCH
#define BOTH       .commands = SETTINGS_SERVE | SETTINGS_GENERATE
#define SERVE      .commands = SETTINGS_SERVE
#define GENERATE   .commands = SETTINGS_GENERATE
#define BENCH      .commands = SETTINGS_BENCH

/* clang-format off */
const struct option_row settings_rows[] = {
    { ROW(model), ALL, .aliases = "-m --model-path --model-id -hf", .value = "DIR",
      .help = "Directory with config.json, tokenizer.json and *.safetensors; without it the embedded model Ringlet." },
    { ROW(served_model_name), SERVE, .aliases = "--alias -a", .value = "NAME,...", .brief = true,
      .help = "Names that clients use; the first is the one in answers." },
    { ROW(host), SERVE, .aliases = "--hostname --listen", .initial = "127.0.0.1", .value = "ADDR", .brief = true,
      .help = "Address to listen on." },
    { ROW(port), SERVE, .initial = "8000", .min = 1, .max = 65535, .value = "N", .brief = true,
      .help = "TCP port." },
    { ROW(frontends), SERVE, .aliases = "--api-server-count --fronts --threads-http --tokenizer-worker-num",
      .initial = "0", .min = 0, .max = 64, .value = "N", .brief = true,
      .help = "HTTP processes; 0: one for 8 cores, at most 4." },

    { ROW(max_model_len), ALL, .aliases = "--context-length --ctx-size -c --max-seq-len", .initial = "0", .min = 0, .max = 16777216,
      .value = "TOKENS", .brief = true, .help = "Longest prompt and answer together; 0: the model's." },
    { ROW(max_num_seqs), ALL, .aliases = "--max-running-requests --parallel -np --max-batch-size", .initial = "256", .min = 1, .max = 4096,
      .value = "N", .brief = true, .help = "Most sequences in one step; more raises throughput and the time between tokens." },
    { ROW(max_num_batched_tokens), ALL, .aliases = "--chunked-prefill-size --max-batch-prefill-tokens --ubatch-size -ub",
      .initial = "0", .min = 0, .max = 65536, .value = "N", .brief = true,
      .help = "Most tokens computed in one step; 0: what fits in 250 ms." },
    { ROW(quantization), ALL, .aliases = "-q --quantize", .initial = "auto",
      .choices = "auto|fp8|q8_0|q4_0|q4_1|q5_0|q5_1|q2_k|q3_k|q3_k_s|q3_k_m|q3_k_l|"
                 "q4_k|q4_k_s|q4_k_m|q5_k|q5_k_s|q5_k_m|q6_k", .value = "TYPE", .brief = true,
      .help = "Round plain weights while loading, to fp8, q8_0, q4_k_m ...: --help=all has each." },
    { ROW(kv_cache_memory), ALL, .aliases = "--kv-cache-memory-bytes --kv-cache-size", .initial = "0", .min = 0, .max = 1e15,
      .value = "BYTES", .brief = true, .help = "Memory of the KV cache, as 512M or 8G; 0: from what is free." },
    { ROW(kv_cache_dtype), ALL, .aliases = "-ctk -ctv --cache-type-k --cache-type-v", .initial = "auto",
      .choices = "auto|f32|f16|bf16|bfloat16|fp8|fp8_e4m3|q8_0", .brief = true,
      .help = "Type of keys and values; auto is f16, q8_0 has a scale for each 32." },
    { ROW(block_size), ALL, .aliases = "--page-size", .initial = "16", .min = 16, .max = 16, .value = "TOKENS",
      .help = "Tokens in one KV block." },
    { ROW(enable_prefix_caching), ALL, .aliases = "--prefix-cache --cache-prompt", .initial = "true",
      .help = "Keep keys and values for prompts that begin the same; --no-prefix-cache does not." },
    { ROW(async_scheduling), ALL, .initial = "true",
      .help = "Plan a step while the one before runs; --no-async-scheduling does not. Answers are the same." },
    { ROW(scheduling_policy), SERVE, .initial = "auto", .choices = "auto|fcfs|priority|fair",
      .help = "Who starts next: order of arrival, request priority, or names of keys in turn by tokens; auto is fair." },
    { ROW(threads), ALL, .aliases = "-t", .initial = "0", .min = 0, .max = 1024, .value = "N", .brief = true,
      .help = "Threads of the CPU backend; 0: all cores." },
    { ROW(tensor_parallel), ALL, .aliases = "--tensor-parallel-size -tp --tp --tp-size --num-shard", .initial = "1", .min = 1, .max = 8,
      .value = "N", .brief = true, .help = "Ranks (processes) that share out one engine's model and threads." },
    { ROW(device), ALL, .aliases = "--devices -dev", .initial = "auto", .value = "DEVICE", .brief = true,
      .help = "cpu, cuda, or cuda:0,1 with the GPU of each rank; auto is cuda where a GPU answers." },
    { ROW(cuda_libs), ALL, .value = "DIR",
      .help = "Folders with cuBLASLt and NCCL, a colon between, where they are neither in the toolkit nor in Python's nvidia packages." },
    { ROW(gpu_memory_utilization), ALL, .aliases = "--mem-fraction-static --cuda-memory-fraction", .initial = "0.9", .min = 0.01, .max = 1,
      .value = "SHARE", .help = "Most of a GPU's memory that a rank takes, of the whole." },
    { ROW(deterministic), ALL, .initial = "false",
      .help = "On a GPU too, a request's tokens do not depend on what is computed beside it; slower. The CPU always does so." },
    { ROW(cpu_isa), ALL, .initial = "auto", .choices = "auto|scalar|avx2|avx512",
      .help = "Instruction set of the CPU backend." },
    { ROW(mu_enabled), ALL, .initial = "false",
      .help = "Limit activations softly around mu, for models that were trained with it." },
    { ROW(mu), ALL, .initial = "0", .min = -1e6, .max = 1e6, .value = "X", .help = "What --mu-enabled draws to." },
    { ROW(mu_clamp_min), ALL, .initial = "-10", .min = -1e6, .max = 1e6, .value = "X",
      .help = "Lowest distance from mu, with --mu-enabled." },
    { ROW(mu_clamp_max), ALL, .initial = "10", .min = -1e6, .max = 1e6, .value = "X",
      .help = "Greatest distance from mu, with --mu-enabled." },
    { ROW(weight_io), ALL, .initial = "auto", .choices = "auto|buffered|direct",
      .help = "How weights are read: through the page cache, past it (io_uring), or past it where they are not cached." },
    { ROW(deep_mu_highway), ALL, .initial = "auto", .choices = "auto|off",
      .help = "In DeepForCausalLM models mu of all layers goes on to those behind, where the checkpoint has it; off leaves it out." },
    { ROW(max_num_queued_reqs), SERVE, .aliases = "--max-waiting-queue-length --max-queued-requests", .initial = "0", .min = 0, .max = 1000000,
      .value = "N", .help = "Requests that may wait; beyond it clients get 429; 0: 4 x max-num-seqs." },
    { ROW(max_num_queued_tokens), SERVE, .initial = "1000000", .min = 1, .max = 1e9, .value = "N",
      .help = "Prompt tokens that may wait." },

    { ROW(chat_template), BOTH, .aliases = "--chat-template-file", .value = "PATH",
      .help = "Jinja template to use instead of the model's: a file, or the text itself." },
    { ROW(generation_config), BOTH, .initial = "auto", .choices = "auto|none|vllm",
      .help = "Sampling defaults from the model's generation_config.json (auto) or none (also called vllm)." },
    { ROW(default_max_tokens), SERVE, .initial = "0", .min = 0, .max = 16777216, .value = "N",
      .help = "Length of a chat answer when the request sets none; 0: what is left of the context." },
    { ROW(strict_max_tokens), SERVE, .initial = "false",
      .help = "Refuse requests whose max_tokens do not fit instead of clamping." },
    { ROW(strict_requests), SERVE, .initial = "false", .help = "Refuse unknown request fields instead of ignoring them." },
    { ROW(accept_any_model), SERVE, .initial = "false", .help = "Serve whatever model name a request carries." },
    { ROW(allow_special_in_content), SERVE, .initial = "false",
      .help = "Let special tokens written in message contents act as control tokens." },
    { ROW(max_logprobs), SERVE, .initial = "20", .min = 0, .max = 20, .value = "N",
      .help = "Most alternatives in logprobs." },

    { ROW(api_key), SERVE, .value = "KEY,...", .brief = true, .help = "Keys that clients must send; repeatable." },
    { ROW(api_key_file), SERVE, .value = "PATH",
      .help = "File with one key per line, as KEY or NAME=KEY, limits behind it; # begins a comment." },
    { ROW(max_concurrent_requests_per_key), SERVE, .initial = "0", .min = 0, .max = 1e9, .value = "N",
      .help = "Requests of one key, or of one name, at once; beyond it clients get 429; 0: no limit." },
    { ROW(max_requests_per_minute_per_key), SERVE, .initial = "0", .min = 0, .max = 1e9, .value = "N",
      .help = "Requests of one key or name in a minute; 0: no limit." },
    { ROW(max_tokens_per_minute_per_key), SERVE, .initial = "0", .min = 0, .max = 1e12, .value = "N",
      .help = "Tokens of prompts and answers of one key or name in a minute; 0: no limit." },
    { ROW(ssl_certfile), SERVE, .aliases = "--ssl-cert-file --tls-cert", .value = "PATH", .brief = true, .help = "TLS certificate chain (PEM)." },
    { ROW(ssl_keyfile), SERVE, .aliases = "--ssl-key-file --tls-key", .value = "PATH", .brief = true, .help = "TLS private key (PEM)." },
    { ROW(http2), SERVE, .initial = "true", .help = "Speak HTTP/2; --no-http2 takes it out of ALPN, upgrade and prior knowledge." },
    { ROW(allowed_origins), SERVE, .aliases = "--cors-origins --cors-allow-origin", .initial = "*", .value = "ORIGIN,...",
      .help = "CORS: origins that browsers may call from." },
    { ROW(allowed_methods), SERVE, .aliases = "--cors-methods", .initial = "*", .value = "METHOD,...", .help = "CORS: methods." },
    { ROW(allowed_headers), SERVE, .aliases = "--cors-headers", .initial = "*", .value = "HEADER,...", .help = "CORS: request headers." },
    { ROW(allow_credentials), SERVE, .initial = "false", .help = "CORS: credentials." },

    { ROW(max_body_size), SERVE, .initial = "16777216", .min = 1024, .max = 268435456, .value = "BYTES",
      .help = "Largest request body; an HTTP/2 connection can hold 100 of them." },
    { ROW(max_frontend_memory), SERVE, .initial = "1073741824", .min = 16777216, .max = 1e15, .value = "BYTES",
      .help = "Memory of one frontend; above it nobody is let in, and who is sending a body is cut." },
    { ROW(max_connections), SERVE, .initial = "4096", .min = 1, .max = 65536, .value = "N", .help = "Connections of one frontend." },
    { ROW(max_connections_per_address), SERVE, .initial = "256", .min = 1, .max = 65536, .value = "N",
      .help = "Connections of one client address; loopback is exempt." },
    { ROW(body_timeout), SERVE, .initial = "60", .min = 1, .max = 3600, .value = "SECONDS",
      .help = "Time for a request's head and body." },
    { ROW(keep_alive_timeout), SERVE, .initial = "75", .min = 1, .max = 3600, .value = "SECONDS", .help = "Idle time of a connection." },
    { ROW(slow_client_timeout), SERVE, .initial = "60", .min = 1, .max = 3600, .value = "SECONDS",
      .help = "A client that reads nothing for so long is cut." },
    { ROW(request_timeout), SERVE, .initial = "0", .min = 0, .max = 604800, .value = "SECONDS",
      .help = "Longest time of a request, from its arrival to its last token; clients may ask for less; 0: no limit." },
    { ROW(queue_timeout), SERVE, .initial = "0", .min = 0, .max = 604800, .value = "SECONDS",
      .help = "A request that waits longer is refused with 429; 0: no limit." },
    { ROW(sse_keep_alive_interval), SERVE, .aliases = "--sse-ping-interval", .initial = "15", .min = 0, .max = 3600, .value = "SECONDS",
      .help = "Silence after which a stream gets a comment line; 0: never." },
    { ROW(shutdown_timeout), SERVE, .initial = "30", .min = 0, .max = 86400, .value = "SECONDS",
      .help = "Time for running requests after SIGTERM." },
    { ROW(shutdown_grace), SERVE, .initial = "0", .min = 0, .max = 3600, .value = "SECONDS",
      .help = "Time after SIGTERM in which new requests are still accepted." },

    { ROW(recovery_hold), SERVE, .initial = "120", .min = 1, .max = 86400, .value = "SECONDS",
      .help = "How long requests wait for an engine that died to come back." },

    { ROW(stall_kill), ALL, .initial = "10", .min = 1, .max = 86400, .value = "SECONDS",
      .help = "A step that takes longer, and 20 times what it was expected to, ends its worker." },

    { ROW(metrics), SERVE, .aliases = "--enable-metrics", .initial = "true", .help = "Serve /metrics." },
    { ROW(metrics_auth), SERVE, .initial = "false", .help = "/metrics needs a key too." },
    { ROW(log_requests), SERVE, .initial = "true", .help = "One line for each finished request." },
    { ROW(log_level), ALL, .aliases = "--uvicorn-log-level", .initial = "info", .choices = "error|warn|warning|info|debug", .brief = true,
      .help = "Least serious level that is written." },
    { ROW(log_format), ALL, .initial = "text", .choices = "text|json", .help = "Lines of text or JSON objects." },
    { ROW(print_config), ALL, .initial = "false", .no_env = true,
      .help = "Print every setting with where it came from, and exit." },

    { ROW(prompt), GENERATE, .aliases = "-p", .value = "TEXT", .brief = true, .no_env = true,
      .help = "What to continue; without it a terminal gets a chat, and a pipe is read." },
    { ROW(chat), GENERATE, .initial = "false", .brief = true, .no_env = true, .help = "Put the prompt through the model's chat template." },
    { ROW(max_tokens), GENERATE, .aliases = "-n", .initial = "0", .min = 0, .max = 16777216, .value = "N", .brief = true, .no_env = true,
      .help = "Length of the answer; 0: what is left of the context." },
    { ROW(temperature), GENERATE, .initial = "-1", .min = -1, .max = 2, .value = "T", .brief = true, .no_env = true,
      .help = "0: greedy; -1: the model's default." },
    { ROW(top_p), GENERATE, .initial = "-1", .min = -1, .max = 1, .value = "P", .brief = true, .no_env = true, .help = "Nucleus; -1: the model's default." },
    { ROW(top_k), GENERATE, .initial = "-1", .min = -1, .max = 1e7, .value = "K", .brief = true, .no_env = true, .help = "0: off; -1: the model's default." },
    { ROW(min_p), GENERATE, .initial = "-1", .min = -1, .max = 1, .value = "P", .no_env = true, .help = "-1: the model's default." },
    { ROW(seed), GENERATE, .initial = "-1", .min = -1, .max = 9e15, .value = "N", .brief = true, .no_env = true, .help = "-1: drawn anew." },
    { ROW(stop), GENERATE, .value = "TEXT,...", .brief = true, .no_env = true, .help = "Strings that end the answer." },

    { ROW(input_len), BENCH, .initial = "512", .value = "N,...", .brief = true, .no_env = true,
      .help = "Lengths of prompts to measure, one at a time; 0: none." },
    { ROW(batch_size), BENCH, .initial = "1,8", .value = "N,...", .brief = true, .no_env = true,
      .help = "Numbers of sequences to decode together; 0: none." },
    { ROW(output_len), BENCH, .initial = "64", .min = 8, .max = 65536, .value = "N", .brief = true, .no_env = true,
      .help = "Tokens of each of these sequences." },
    { ROW(context_len), BENCH, .initial = "16", .min = 1, .max = 16777216, .value = "N", .brief = true, .no_env = true,
      .help = "Length of their prompts." },
    { ROW(repeat), BENCH, .initial = "3", .min = 1, .max = 100, .value = "N", .brief = true, .no_env = true,
      .help = "How often each is measured; the table holds median, best and worst." },
    { ROW(json), .commands = SETTINGS_GENERATE | SETTINGS_BENCH, .initial = "false", .no_env = true,
      .help = "Print the answer, or each measurement, as one JSON object." },
};
/* clang-format on */

const int32_t settings_num_rows = sizeof(settings_rows) / sizeof(settings_rows[0]);

_Static_assert(sizeof(settings_rows) / sizeof(settings_rows[0]) <= OPTION_ROWS_MAX, "fits a set");

struct option_set settings_begin(struct settings *settings, enum settings_command command)
{
    struct option_set set = {
        .rows = settings_rows, .num_rows = settings_num_rows, .command = command, .target = settings
    };
    *settings = (struct settings){ 0 };
    option_defaults(&set);
    return set;
}

int settings_check(const struct settings *settings, struct error *err)
{
    if ((settings->ssl_certfile == NULL) != (settings->ssl_keyfile == NULL))
        return error_set_param(
            err, -EINVAL, "ssl_certfile",
            "--ssl-certfile and --ssl-keyfile belong together; only --ssl-%s is given",
            settings->ssl_certfile != NULL ? "certfile" : "keyfile");
    if (settings->max_concurrent_requests_per_key + settings->max_requests_per_minute_per_key +
                settings->max_tokens_per_minute_per_key >
            0 &&
        settings->api_key.num == 0 && settings->api_key_file == NULL)
        return error_set_param(err, -EINVAL, "api_key",
                               "limits per key need keys: --api-key or --api-key-file");
    if (settings->mu_enabled && settings->mu_clamp_min >= settings->mu_clamp_max)
        return error_set_param(err, -EINVAL, "mu_clamp_min",
                               "--mu-clamp-min is %g, wanted less than --mu-clamp-max %g",
                               settings->mu_clamp_min, settings->mu_clamp_max);
    for (int32_t i = 0; i < settings->api_key.num; i++)
        if (settings->api_key.items[i].len < 8 || settings->api_key.items[i].len > 256)
            return error_set_param(err, -EINVAL, "api_key",
                                   "--api-key: a key of %zu characters, 8 to 256 are allowed",
                                   settings->api_key.items[i].len);
    return 0;
}
