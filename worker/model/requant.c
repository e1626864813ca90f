#include "worker/model/requant.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "formats/block_choice.h"
#include "formats/block_quantize.h"

static const struct {
    enum dtype dtype;
    enum block_type type;
} rows_of_types[] = {
    { DTYPE_F16, BLOCK_F16 },   { DTYPE_Q8_0, BLOCK_Q8_0 }, { DTYPE_Q4_0, BLOCK_Q4_0 },
    { DTYPE_Q4_1, BLOCK_Q4_1 }, { DTYPE_Q5_0, BLOCK_Q5_0 }, { DTYPE_Q5_1, BLOCK_Q5_1 },
    { DTYPE_Q2_K, BLOCK_Q2_K }, { DTYPE_Q3_K, BLOCK_Q3_K }, { DTYPE_Q4_K, BLOCK_Q4_K },
    { DTYPE_Q5_K, BLOCK_Q5_K }, { DTYPE_Q6_K, BLOCK_Q6_K },
};
enum { NUM_TYPES = sizeof(rows_of_types) / sizeof(rows_of_types[0]) };

const char *requant_named(const char *name)
{
    return strcmp(name, "auto") == 0 ? NULL : name;
}

static enum block_type type_of(enum dtype dtype)
{
    for (int i = 0; i < NUM_TYPES; i++)
        if (rows_of_types[i].dtype == dtype)
            return rows_of_types[i].type;
    return BLOCK_F32;
}

static enum dtype dtype_of(enum block_type type)
{
    for (int i = 0; i < NUM_TYPES; i++)
        if (rows_of_types[i].type == type)
            return rows_of_types[i].dtype;
    return DTYPE_F32;
}

#define FIELD(name) offsetof(struct layer_weights, name)

/* What is rounded in a layer: not what chooses experts, nor heads that are turned over. */
static const struct {
    size_t offset;
    enum block_role role;
} large[] = {
    { FIELD(qkv_proj), BLOCK_ROLE_OTHER }, /* or as its rows say */
    { FIELD(q_a_proj), BLOCK_ROLE_OTHER },        { FIELD(kv_a_proj), BLOCK_ROLE_OTHER },
    { FIELD(o_proj), BLOCK_ROLE_ATTN_OUT },       { FIELD(gate_up_proj), BLOCK_ROLE_OTHER },
    { FIELD(down_proj), BLOCK_ROLE_DOWN },        { FIELD(experts_gate_up), BLOCK_ROLE_OTHER },
    { FIELD(experts_down), BLOCK_ROLE_DOWN },     { FIELD(shared_gate_up_proj), BLOCK_ROLE_OTHER },
    { FIELD(shared_down_proj), BLOCK_ROLE_DOWN },
};
enum { NUM_LARGE = sizeof(large) / sizeof(large[0]) };

/* Its index in that table, or -1. */
static int find_large(const struct weight_row *row)
{
    for (int i = 0; row->in_layer && i < NUM_LARGE; i++)
        if (large[i].offset == row->offset)
            return i;
    return -1;
}

static bool is_large(const struct weight_row *row)
{
    return row->cols != DIM_NONE && !row->turned && (!row->in_layer || find_large(row) >= 0);
}

static bool is_output(const struct weight_row *row, bool is_tied)
{
    return !row->in_layer &&
           (row->offset == offsetof(struct model_weights, lm_head) ||
            (is_tied && row->offset == offsetof(struct model_weights, embed_tokens)));
}

/* As convert/types.c reads it from the names of a file. */
static enum block_role role_of(const struct weight_row *row, bool is_tied)
{
    const int i = find_large(row);
    if (i < 0)
        return is_output(row, is_tied) ? BLOCK_ROLE_OUTPUT : BLOCK_ROLE_OTHER;
    if (row->total != DIM_QKV)
        return large[i].role;
    return row->in_rows == DIM_QKV || row->first == DIM_Q_KV ? BLOCK_ROLE_VALUES
           : row->first == DIM_Q                             ? BLOCK_ROLE_KEYS
                                                             : BLOCK_ROLE_OTHER;
}

enum dtype requant_dtype(const char *name, const struct arch *whole, const struct weight_row *row,
                         int32_t layer, int32_t cols)
{
    if (name == NULL || !is_large(row))
        return DTYPE_F32;
    if (strcmp(name, "fp8") == 0) /* as published models do: in the layers alone */
        return row->in_layer ? DTYPE_F8_E4M3 : DTYPE_F32;
    const struct block_choice *choice = block_choice_named(name);
    const struct block_place place = {
        .role = role_of(row, whole->tie_word_embeddings),
        .layer = layer,
        .num_layers = whole->num_hidden_layers,
        .num_shared = whole->num_attention_heads / whole->num_key_value_heads,
        .num_experts = whole->moe.num_experts,
    };
    return choice != NULL ? dtype_of(block_choice_fit(block_choice_type(choice, &place), cols))
                          : DTYPE_F32;
}

static float largest_of(const float *x, size_t num)
{
    float largest = 0.0f, none = 0.0f;
    for (size_t i = 0; i < num; i++) {
        largest = fmaxf(largest, fabsf(x[i]));
        none += 0.0f * x[i];
    }
    return none == 0.0f ? largest : INFINITY;
}

/* The codes of a row lie under its values, its scale behind them. */
static void scale_row(const float *x, int32_t cols, unsigned char *to)
{
    const float scale = largest_of(x, (size_t)cols) / E4M3_MAX;
    const float inverse = scale > 0x1p-120f ? 1.0f / scale : 0.0f;
    for (int32_t i = 0; i < cols; i++)
        to[i] = e4m3_encode(x[i] * inverse);
    memcpy(to + cols, &scale, sizeof(scale));
}

static void scale_rows(int32_t rows, int32_t cols, void *buffer)
{
    unsigned char *to = buffer;
    for (int32_t r = 0; r < rows; r++, to += (size_t)cols + sizeof(float))
        scale_row((const float *)buffer + (size_t)r * (size_t)cols, cols, to);
}

/* A block is made beside its values and put under those that are done. */
static void make_blocks(enum block_type type, size_t num, void *buffer)
{
    const struct block_info *info = block_info(type);
    unsigned char *to = buffer, made[BLOCK_MAX_ELEMENTS * 4];
    for (size_t i = 0; i < num; i++, to += info->bytes) {
        block_quantize(type, (const float *)buffer + i * (size_t)info->elements, made, 1);
        memcpy(to, made, (size_t)info->bytes);
    }
}

int requant_rows(enum dtype dtype, int32_t rows, int32_t cols, void *buffer)
{
    const size_t num = (size_t)rows * (size_t)cols;
    const enum block_type type = type_of(dtype);
    if (!(largest_of(buffer, num) <= BLOCK_LARGEST))
        return -ERANGE;
    if (dtype == DTYPE_F8_E4M3)
        scale_rows(rows, cols, buffer);
    else
        make_blocks(type, num / (size_t)block_info(type)->elements, buffer);
    return 0;
}

struct scaling requant_scaling(const int32_t *groups)
{
    return (struct scaling){
        .scales = DTYPE_F32, .rounds_inputs = true, .num_groups = 1, .groups = groups
    };
}
