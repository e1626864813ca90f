#include "worker/model/requant.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/e4m3.h"
#include "base/half.h"
#include "formats/block_choice.h"
#include "formats/block_quantize.h"

static const struct type_row {
    const char *name;
    enum dtype dtype;
    enum block_type type; /* F32 for one that is not of blocks */
} rows_of_types[] = {
    { "auto", DTYPE_F32, BLOCK_F32 },    { "f16", DTYPE_F16, BLOCK_F16 },
    { "q8_0", DTYPE_Q8_0, BLOCK_Q8_0 },  { "q4_0", DTYPE_Q4_0, BLOCK_Q4_0 },
    { "q4_1", DTYPE_Q4_1, BLOCK_Q4_1 },  { "q5_0", DTYPE_Q5_0, BLOCK_Q5_0 },
    { "q5_1", DTYPE_Q5_1, BLOCK_Q5_1 },  { "q2_k", DTYPE_Q2_K, BLOCK_Q2_K },
    { "q3_k", DTYPE_Q3_K, BLOCK_Q3_K },  { "q4_k", DTYPE_Q4_K, BLOCK_Q4_K },
    { "q5_k", DTYPE_Q5_K, BLOCK_Q5_K },  { "q6_k", DTYPE_Q6_K, BLOCK_Q6_K },
    { "fp8", DTYPE_F8_E4M3, BLOCK_F32 },
};
enum { NUM_TYPES = sizeof(rows_of_types) / sizeof(rows_of_types[0]) };

int requant_named(const char *name)
{
    for (int i = 0; i < NUM_TYPES; i++)
        if (strcmp(rows_of_types[i].name, name) == 0)
            return (int)rows_of_types[i].dtype;
    return -1;
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
    for (int i = 1; i < NUM_TYPES; i++)
        if (rows_of_types[i].type == type)
            return rows_of_types[i].dtype;
    return DTYPE_F32;
}

/* Not what chooses experts, nor heads that are turned over. */
static bool is_large(const struct weight_row *row)
{
    static const size_t in_layer[] = {
        offsetof(struct layer_weights, qkv_proj),
        offsetof(struct layer_weights, q_a_proj),
        offsetof(struct layer_weights, kv_a_proj),
        offsetof(struct layer_weights, o_proj),
        offsetof(struct layer_weights, gate_up_proj),
        offsetof(struct layer_weights, down_proj),
        offsetof(struct layer_weights, experts_gate_up),
        offsetof(struct layer_weights, experts_down),
        offsetof(struct layer_weights, shared_gate_up_proj),
        offsetof(struct layer_weights, shared_down_proj),
    };
    bool is_large = !row->in_layer;
    for (size_t i = 0; row->in_layer && i < sizeof(in_layer) / sizeof(in_layer[0]); i++)
        is_large = is_large || row->offset == in_layer[i];
    return is_large && row->cols != DIM_NONE && !row->turned;
}

static bool is_output(const struct weight_row *row, bool is_tied)
{
    return !row->in_layer &&
           (row->offset == offsetof(struct model_weights, lm_head) ||
            (is_tied && row->offset == offsetof(struct model_weights, embed_tokens)));
}

enum dtype requant_dtype(enum dtype wanted, const struct weight_row *row, bool is_tied,
                         int32_t cols)
{
    if (wanted == DTYPE_F32 || !is_large(row))
        return DTYPE_F32;
    if (wanted == DTYPE_F8_E4M3) /* as published models do: in the layers alone */
        return row->in_layer ? wanted : DTYPE_F32;
    const enum block_type type = type_of(wanted);
    return dtype_of(
        block_choice_fit(is_output(row, is_tied) ? block_choice_output(type) : type, cols));
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
    return (struct scaling){ .scales = DTYPE_F32, .num_groups = 1, .groups = groups };
}
