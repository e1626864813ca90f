#include "cli/info.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "worker/memory.h"
#include "worker/model/measure.h"
#include "worker/model/requant.h"
#include "worker/warm_up.h"

enum { UNIT_BYTES = 24 };

/* "4.9 GiB" */
static const char *bytes_text(double bytes, char text[UNIT_BYTES])
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    int unit = 0;
    for (; bytes >= 1024.0 && unit < 4; unit++)
        bytes /= 1024.0;
    snprintf(text, UNIT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
    return text;
}

/* ": q4_k 71 %, q6_k 27 %, f32 2 %" */
static void print_shares(const struct measure_share *shares)
{
    double all = 0.0;
    for (int i = 0; i < MEASURE_MAX_TYPES && shares[i].name != NULL; i++)
        all += (double)shares[i].bytes;
    for (int i = 0; i < MEASURE_MAX_TYPES && shares[i].name != NULL; i++) {
        const double share = all > 0.0 ? 100.0 * (double)shares[i].bytes / all : 100.0;
        printf("%s", i == 0 ? ": " : ", ");
        for (const char *c = shares[i].name; *c != '\0'; c++)
            putchar(tolower((unsigned char)*c));
        printf(share >= 0.5 ? " %.0f %%" : " %.1f %%", share);
    }
    printf("\n");
}

static struct model_options options_of(const struct settings *settings)
{
    const int32_t tokens = settings->max_num_batched_tokens > 0
                               ? (int32_t)settings->max_num_batched_tokens
                               : WARM_UP_MAX_TOKENS;
    const int32_t seqs = (int32_t)settings->max_num_seqs;
    return (struct model_options){
        .dir = settings->model,
        .kv_dtype = memory_kv_dtype(settings->kv_cache_dtype),
        .quantization = requant_named(settings->quantization),
        .block_size = (int32_t)settings->block_size,
        .max_model_len = (int32_t)settings->max_model_len,
        .max_rows = tokens,
        .max_logits = seqs < tokens ? seqs : tokens,
    };
}

/* --- what it is --------------------------------------------------------------------------- */

static void print_model(const struct measure *m)
{
    const struct arch *a = &m->whole;
    char size[UNIT_BYTES];
    printf("  model        %s: %d layers of %d, vocabulary of %d%s\n", a->model_type,
           a->num_hidden_layers, a->hidden_size, a->vocab_size,
           a->tie_word_embeddings ? ", tied" : "");
    if (a->latent.dim > 0)
        printf("  attention    %d heads over latents of %d + %d\n", a->num_attention_heads,
               a->latent.dim, a->latent.rope_dim);
    else
        printf("  attention    %d heads of %d, %d of keys and values\n", a->num_attention_heads,
               a->head_dim, a->num_key_value_heads);
    if (a->moe.num_experts > 0)
        printf("  experts      %d of %d, %d for each token\n", a->moe.num_experts,
               a->moe.intermediate_size, a->moe.top_k);
    printf("  checkpoint   %d file%s, %d tensors, %s", m->num_files, m->num_files == 1 ? "" : "s",
           m->num_tensors, bytes_text((double)m->checkpoint_bytes, size));
    print_shares(m->stored);
    char quantized[512];
    config_quant_describe(&a->quant, quantized, sizeof(quantized));
    if (quantized[0] != '\0')
        printf("  quantized    %s\n", quantized);
}

static void print_windows(const struct arch *a)
{
    int32_t num = 0, window = 0;
    for (int32_t l = 0; l < a->num_hidden_layers; l++)
        if (a->layers[l].window > 0) {
            num++;
            window = a->layers[l].window;
        }
    if (num > 0)
        printf("  window       %d positions, in %d of %d layers\n", window, num,
               a->num_hidden_layers);
}

static void print_positions(const struct measure *m)
{
    static const char *const scalings[] = { "", ", linear", ", llama3", ", yarn", ", longrope" };
    const struct arch *a = &m->whole;
    const struct rope_spec *rope = &a->ropes[0];
    printf("  positions    %d of at most %d, theta %g%s", m->max_len, a->max_position_embeddings,
           rope->theta, scalings[rope->scaling]);
    if (rope->scaling == ROPE_SCALING_LONGROPE)
        printf(" (the %s factors)",
               m->max_len > rope->original_max_position_embeddings ? "long" : "short");
    printf("\n");
    print_windows(a);
}

/* --- what it needs ------------------------------------------------------------------------ */

/* Of the groups without a window. */
static int32_t lasting_parts(const struct kv_groups *kv)
{
    int32_t num = 0;
    for (int32_t g = 0; g < kv->num_groups; g++)
        num += kv->groups[g].window == 0 ? kv->groups[g].num_parts : 0;
    return num;
}

static void print_needs(const struct measure *m, const struct model_options *options,
                        int32_t num_ranks)
{
    const struct kv_groups *kv = &m->own.kv;
    const double block = (double)m->kv_block_bytes * num_ranks;
    const double per_token = block * kv->num_parts / kv->block_size;
    const double later = block * lasting_parts(kv) / kv->block_size;
    const double all = block * (double)kv_most_blocks(kv, options->max_rows, m->max_len);
    char size[UNIT_BYTES], other[UNIT_BYTES];
    printf("  runs         on the CPU, %d rank%s\n", num_ranks, num_ranks == 1 ? "" : "s");
    printf("  weights      %s", bytes_text((double)m->weight_bytes * num_ranks, size));
    if (num_ranks > 1)
        printf(", %s in each rank", bytes_text((double)m->weight_bytes, size));
    print_shares(m->kept);
    printf("  a step       about %s of activations and tables\n",
           bytes_text((double)(m->activation_bytes + m->table_bytes) * num_ranks, size));
    printf("  KV cache     %s a token in %s", bytes_text(per_token, size),
           dtype_name(options->kv_dtype));
    if (later < per_token)
        printf(", %s beyond the windows", bytes_text(later, size));
    printf(", %s for %d tokens\n", bytes_text(all, other), m->max_len);
}

/* As a worker sizes its cache once the weights are there. */
static int print_fit(const struct measure *m, const struct settings *settings, int32_t max_rows,
                     int32_t num_ranks)
{
    const int64_t available = memory_available();
    const int64_t each = (int64_t)(m->weight_bytes + m->activation_bytes + m->table_bytes);
    const int64_t left = available / num_ranks - each;
    struct memory_kv kv = {
        .block_bytes = (int64_t)m->kv_block_bytes,
        .max_num_seqs = (int32_t)settings->max_num_seqs,
        .wanted_bytes = settings->kv_cache_memory / num_ranks,
        .available_bytes = available < 0 ? -1
                           : left > 0    ? left
                                         : 0,
    };
    char size[UNIT_BYTES];
    struct error err = { 0 };
    int32_t num_blocks = 0;
    memory_count_blocks(&kv, &m->own.kv, max_rows, m->max_len);
    if (available >= 0)
        printf("  free         %s\n", bytes_text((double)available, size));
    if (available >= 0 && left <= 0) {
        printf("  fits         no: weights and a step take more than is free\n");
        return EXIT_CODE_MEMORY;
    }
    if (memory_size_kv(&kv, &num_blocks, &err) < 0) {
        printf("  fits         no: %s\n", err.message);
        return EXIT_CODE_MEMORY;
    }
    printf("  fits         yes: %s of KV cache, %lld tokens, %.1f sequences of full length\n",
           bytes_text((double)num_blocks * (double)m->kv_block_bytes * num_ranks, size),
           (long long)memory_kv_tokens(&m->own.kv, num_blocks, max_rows, m->max_len),
           (double)num_blocks / (double)kv.blocks_per_seq);
    return EXIT_CODE_OK;
}

int info_run(const struct settings *settings)
{
    static struct measure m;
    const struct model_options options = options_of(settings);
    const int32_t num_ranks = (int32_t)settings->tensor_parallel;
    struct error err = { 0 };
    const int r = measure_model(&options, num_ranks, &m, &err);
    if (r < 0) {
        fprintf(stderr, "tokenring: %s\n", err.message);
        return EXIT_CODE_MODEL;
    }
    printf("%s\n", settings->model);
    print_model(&m);
    print_positions(&m);
    print_needs(&m, &options, num_ranks);
    return print_fit(&m, settings, options.max_rows, num_ranks);
}
