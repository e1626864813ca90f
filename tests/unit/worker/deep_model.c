#include "deep_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { V = DEEP_VOCAB, H = 8, IE = 4, L = 2, E = 3 };

const char deep_config_a[] =
    "{\"architectures\":[\"DeepForCausalLM\"],\"model_type\":\"complexity-deep\","
    "\"vocab_size\":11,\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_experts\":3,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"use_qk_norm\":true,\"dynamics_dt\":0.1,"
    "\"dynamics_controller_hidden\":4,\"sliding_window\":null,\"hidden_act\":\"silu\","
    "\"version\":\"0.13.0\"}";
/* As the family's own files are: neither model_type nor architectures. */
const char deep_config_b[] =
    "{\"vocab_size\":11,\"hidden_size\":8,\"intermediate_size\":12,\"num_hidden_layers\":2,"
    "\"num_attention_heads\":2,\"num_key_value_heads\":1,\"num_experts\":3,\"rms_norm_eps\":1e-6,"
    "\"rope_theta\":10000.0,\"tie_word_embeddings\":true,\"use_token_routed_mlp\":true,"
    "\"use_qk_norm\":true,\"shared_expert\":true,\"use_mu_guidance\":true}";

static const int64_t table_a[V] = { 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1 };
static const int64_t table_b[V] = { 0, 1, 1, 2, 2, 1, 2, 0, 1, 0, 2 };

static size_t count(const char *shape)
{
    size_t num = 1;
    for (const char *at = shape; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        num *= (size_t)atoi(at);
    }
    return num;
}

/* A tensor with the values of its own name. */
static void add(struct tensor_file *file, const char *prefix, const char *name, const char *shape)
{
    float values[1024];
    char stored[96];
    tensor_file_values(name, count(shape), values);
    snprintf(stored, sizeof(stored), "%s%s", prefix, name);
    tensor_file_add(file, stored, shape, values, count(shape));
}

struct row {
    const char *name, *shape;
};

static void add_layers(struct tensor_file *file, const char *prefix, const struct row *rows,
                       size_t num)
{
    for (int l = 0; l < L; l++)
        for (size_t i = 0; i < num; i++) {
            char name[96];
            snprintf(name, sizeof(name), "layers.%d.%s", l, rows[i].name);
            add(file, prefix, name, rows[i].shape);
        }
}

static void add_tables(struct tensor_file *file, const char *prefix, const int64_t *table)
{
    for (int l = 0; l < L; l++) {
        char name[96];
        snprintf(name, sizeof(name), "%slayers.%d.mlp.token_to_expert", prefix, l);
        tensor_file_add_table(file, name, table, V);
    }
}

static const struct row rows_both[] = {
    { "input_layernorm.weight", "8" },     { "post_attention_layernorm.weight", "8" },
    { "self_attn.q_proj.weight", "8,8" },  { "self_attn.k_proj.weight", "4,8" },
    { "self_attn.v_proj.weight", "4,8" },  { "self_attn.o_proj.weight", "8,8" },
    { "self_attn.mu_to_q.weight", "8,8" }, { "self_attn.mu_to_k.weight", "4,8" },
    { "self_attn.mu_to_v.weight", "4,8" }, { "self_attn.q_norm.weight", "4" },
    { "self_attn.k_norm.weight", "4" },
};
static const struct row rows_dynamics[] = {
    { "dynamics.mu", "8" },
    { "dynamics.mu_proj.weight", "8,8" },
    { "dynamics.controller_in.weight", "4,16" },
    { "dynamics.controller_in.bias", "4" },
    { "dynamics.controller_out.weight", "24,4" },
    { "dynamics.controller_out.bias", "24" },
    { "mlp.mu_router.weight", "3,8" },
};
static const struct row rows_fused[] = {
    { "mlp.gate_up_proj", "3,8,8" },
    { "mlp.down_proj", "3,4,8" },
};
static const struct row rows_b[] = {
    { "mlp.gate_proj_w", "3,8,4" },    { "mlp.up_proj_w", "3,8,4" },
    { "mlp.down_proj_w", "3,4,8" },    { "mlp.shared_gate.weight", "4,8" },
    { "mlp.shared_up.weight", "4,8" }, { "mlp.shared_down.weight", "8,4" },
    { "mu_guidance.mu", "8" },         { "mu_guidance.mu_proj.weight", "8,8" },
};
#define NUM(rows) (sizeof(rows) / sizeof((rows)[0]))

static void add_model(struct tensor_file *file, const char *prefix)
{
    add(file, prefix, "embed_tokens.weight", "11,8");
    add(file, prefix, "norm.weight", "8");
    add_layers(file, prefix, rows_both, NUM(rows_both));
}

void deep_model_parts(struct tensor_file *file, const struct deep_parts *parts)
{
    tensor_file_init(file);
    add_model(file, "model.");
    add_layers(file, "model.", rows_dynamics, NUM(rows_dynamics));
    if (parts->experts)
        add_layers(file, "model.", rows_fused, NUM(rows_fused));
    if (parts->table)
        add_tables(file, "model.", parts->other_table != NULL ? parts->other_table : table_a);
}

void deep_model_a(struct tensor_file *file)
{
    const struct deep_parts all = { .experts = true, .table = true };
    deep_model_parts(file, &all);
    tensor_file_write(file, deep_config_a);
}

void deep_model_b(struct tensor_file *file)
{
    tensor_file_init(file);
    add_model(file, "");
    add(file, "", "mu_init", "1,1,8");
    add_layers(file, "", rows_b, NUM(rows_b));
    add_tables(file, "", table_b);
    tensor_file_write(file, deep_config_b);
}

/* The controller's old names, with the values of the new ones. */
static void add_old_controllers(struct tensor_file *file)
{
    static const struct row rows[][2] = {
        { { "controller_in.weight", "4,16" }, { "controller.0.weight", NULL } },
        { { "controller_in.bias", "4" }, { "controller.0.bias", NULL } },
        { { "controller_out.weight", "24,4" }, { "controller.2.weight", NULL } },
        { { "controller_out.bias", "24" }, { "controller.2.bias", NULL } },
    };
    for (int l = 0; l < L; l++)
        for (size_t i = 0; i < NUM(rows); i++) {
            float values[128];
            char seed[96], name[96];
            snprintf(seed, sizeof(seed), "layers.%d.dynamics.%s", l, rows[i][0].name);
            snprintf(name, sizeof(name), "module.layers.%d.dynamics.%s", l, rows[i][1].name);
            tensor_file_values(seed, count(rows[i][0].shape), values);
            tensor_file_add(file, name, rows[i][0].shape, values, count(rows[i][0].shape));
        }
}

/* Experts as they were stored before: gate and up apart, or each expert's matrices for itself and
 * not transposed. */
static void add_old_experts(struct tensor_file *file, bool named)
{
    for (int l = 0; l < L; l++) {
        float fused[E * H * 2 * IE], down[E * IE * H], part[2][E * H * IE], turned[H * IE];
        char name[96];
        snprintf(name, sizeof(name), "layers.%d.mlp.gate_up_proj", l);
        tensor_file_values(name, NUM(fused), fused);
        snprintf(name, sizeof(name), "layers.%d.mlp.down_proj", l);
        tensor_file_values(name, NUM(down), down);
        for (int i = 0; i < E * H; i++)
            for (int k = 0; k < 2 * IE; k++)
                part[k / IE][i * IE + k % IE] = fused[i * 2 * IE + k];
        for (int p = 0; !named && p < 2; p++) {
            snprintf(name, sizeof(name), "module.layers.%d.mlp.%s_proj", l, p ? "up" : "gate");
            tensor_file_add(file, name, "3,8,4", part[p], NUM(part[p]));
        }
        if (!named) {
            snprintf(name, sizeof(name), "module.layers.%d.mlp.down_proj", l);
            tensor_file_add(file, name, "3,4,8", down, NUM(down));
            continue;
        }
        for (int e = 0; e < E; e++)
            for (int p = 0; p < 3; p++) {
                const float *from = p < 2 ? part[p] + e * H * IE : down + e * IE * H;
                const int in = p < 2 ? H : IE, out = p < 2 ? IE : H;
                for (int i = 0; i < in; i++)
                    for (int o = 0; o < out; o++)
                        turned[o * in + i] = from[i * out + o];
                snprintf(name, sizeof(name), "module.layers.%d.mlp.experts.%d.%s_proj.weight", l, e,
                         p == 2   ? "down"
                         : p == 1 ? "up"
                                  : "gate");
                tensor_file_add(file, name, p < 2 ? "4,8" : "8,4", turned, NUM(turned));
            }
    }
}

/* The same model under the names that came before; the table is what is taken without one. */
void deep_model_old_a(struct tensor_file *file, bool named)
{
    tensor_file_init(file);
    add_model(file, "module.");
    for (int l = 0; l < L; l++) {
        char name[96];
        snprintf(name, sizeof(name), "layers.%d.dynamics.mu", l);
        add(file, "module.", name, "8");
        snprintf(name, sizeof(name), "layers.%d.dynamics.mu_proj.weight", l);
        add(file, "module.", name, "8,8");
        snprintf(name, sizeof(name), "layers.%d.mlp.mu_router.weight", l);
        add(file, "module.", name, "3,8");
    }
    add_old_controllers(file);
    add_old_experts(file, named);
    tensor_file_write(file, deep_config_a);
}
