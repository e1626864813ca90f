/*
 * ops.h - arguments of kernels, and the functions that launch them
 *
 * Every launch takes the same two arguments, so that a list of operations is an array of (function,
 * arguments). All pointers are the device's. Where a struct says `host`, the array was copied there
 * with the step's inputs.
 *
 * What a kernel's shape depends on is in its arguments, what changes from step to step is in the
 * memory they point to: lists with equal arguments may share a captured graph.
 */
#ifndef KERNELS_CUDA_OPS_H
#define KERNELS_CUDA_OPS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How numbers lie in memory: activations, and weights that are not in blocks. */
enum number { NUMBER_F32, NUMBER_F16, NUMBER_BF16 };

/* Where and how wide to launch. */
struct launch {
    void *stream;
    int32_t num_sms;
    int32_t max_shared_bytes;
    bool overlaps; /* kernels may be launched while those before them run: begin_kernel() waits */
};

typedef void launch_function(const struct launch *launch, const void *args);

/* --- rows.cu ------------------------------------------------------------------------------- */

/* A weight as kernels see it; how each form lies in memory: weight.h. */
enum matrix_form {
    MATRIX_PLAIN, /* row-major, rows `stride` numbers apart */
    MATRIX_I8,    /* the others in tiles of 16 rows, `stride` columns with their padding */
    MATRIX_E4M3,
    MATRIX_U4,
    MATRIX_U5,
    MATRIX_U6,
    MATRIX_U3,
    MATRIX_U2,
    MATRIX_E4M3_ROWS, /* row-major too, `stride` columns: whole runs of 128 */
};

struct matrix {
    enum matrix_form form;
    enum number number; /* of plain ones */
    int32_t rows, cols, stride;
    enum number scale_number;
    int32_t num_groups;  /* scales of a row; 0: of plain ones */
    int32_t group_shift; /* unit u of 32 columns is of group u >> group_shift */
    const void *data, *high;
    const void *scales;         /* of scale_number; with tails f16: what 256 inputs have */
    const uint16_t *mins;       /* f16; NULL: none */
    const unsigned char *tails; /* two bytes a row and unit; NULL: none */
    const unsigned char *zeros; /* one a row and group; NULL: none */
    const float *blocks;        /* of rows of E4M3: scales of 128 x 128, or NULL */
    const int32_t *unit_groups; /* of each unit, where group_shift does not say; or NULL */
    /* Where columns lie otherwise than in x: [stride] the input of each column, -1 for none, then
     * [cols] the column of each input; or NULL. */
    const int32_t *order;
};

struct gather_args {
    void *out;
    const void *x;
    const int32_t *indices;
    int32_t num, cols;
    int32_t element_bytes;
};

struct convert_args {
    void *out; /* of `number` */
    const void *x;
    enum number from, number;
    int64_t num;
};

struct copy_blocks_args {
    unsigned char *blocks;
    int64_t block_bytes;
    const int32_t *from, *to;
    int32_t num;
};

struct result; /* below */

struct move_args {
    int32_t *to;
    const struct result *results;
    const int32_t *pairs; /* [num][2]: to, from */
    int32_t num;
};

struct embed_args {
    float *out;
    struct matrix table;
    const int32_t *ids;
    float scale;
    int32_t rows;
};

/* Whether this GPU's code of the kernels has that wait. */
bool rows_can_overlap(void);

/* Ids as numbers that are summed over ranks: all but the first give zeros. */
struct share_args {
    struct result *results;
    float *sums;
    int32_t num;
    bool is_first;
};

launch_function rows_embed, rows_gather, rows_convert, rows_copy_blocks, rows_move;
launch_function rows_give_ids, rows_take_ids;

/* --- norm.cu --------------------------------------------------------------------------------- */

struct norm_args {
    void *out; /* of `number`; may be x; NULL */
    float *x;
    const float *delta, *w, *bias; /* bias: a LayerNorm */
    float eps;
    enum number number;
    int32_t rows, cols;
};

struct squares_args {
    float *out;
    const float *qkv;
    int32_t q_cols, k_cols, rows;
};

launch_function norm_add, norm_squares;

/* --- rope.cu ---------------------------------------------------------------------------------- */

/* What lies in pages. */
enum kv_number { KV_F16, KV_BF16, KV_E4M3, KV_F32, KV_Q8_0 };

/* Pages of one KV group: page [layers][heads]{ K, V }, each [block_size][dim] behind the scales of
 * Q8_0, f16 [block_size][dim / 32, rounded up]. */
struct pages {
    unsigned char *blocks;
    int64_t block_bytes, plane_bytes; /* of a page; of one head's K: multiples of 16 */
    enum kv_number number;
    int32_t num_scales, scale_bytes; /* of a position; of a plane */
    int32_t num_blocks, num_layers, num_kv_heads, head_dim, block_size, latent_dim;
};

struct rope_args {
    float *qkv;
    const float *q_norm, *k_norm, *q_bias, *k_bias, *squares;
    float eps;
    int32_t q_cols, k_cols;
    const float *cos, *sin;
    int32_t rotary_dims;
    const int32_t *positions;
    const int64_t *slots;
    struct pages pages;
    int32_t layer, num_heads, rows;
};

struct latent_args {
    float *latents;
    const float *w, *q;
    float *absorbed;
    float eps;
    int32_t num_heads, q_dim, rotary_dims;
    const float *cos, *sin;
    bool interleaved;
    const int32_t *positions;
    const int64_t *slots;
    struct pages pages;
    int32_t layer, rows;
};

launch_function rope_write, rope_latent_write;

/* --- act.cu ------------------------------------------------------------------------------------
 */

struct activate_args {
    void *out; /* of `number` */
    const float *in;
    int32_t activation; /* enum activation */
    bool gated;
    enum number number;
    int32_t rows, cols;
};

enum each_kind { EACH_SOFT_CAP, EACH_ADD_SILU, EACH_CLAMP, EACH_MU_CLAMP, EACH_BIAS };

/* x[i] of `num`, by itself. */
struct each_args {
    enum each_kind kind;
    enum number number; /* of x */
    void *x;
    const float *delta;
    float a, b, c;
    int64_t num;
    int32_t cols; /* EACH_BIAS: delta[i % cols] is added */
};

struct inl_args {
    float *a, *v;
    const float *m, *controller;
    float *highway, *mu_prev;
    float dt;
    int32_t rows, cols;
};

launch_function act_activate, act_each, act_inl;

/* --- linear_*.cu ---------------------------------------------------------------------------------
 */

/* out[r] = W x[r], several matrices of one weight side by side: block b of it is the rows from
 * b * block_rows on. */
struct linear_args {
    struct matrix w;
    const float *bias;
    const void *x; /* of number x_number */
    float *out;
    enum number x_number;
    int32_t rows, out_dim;
    int32_t num_blocks, block_rows; /* 1 and 0: one matrix */
    int64_t x_row, x_block, out_row, out_block;
    const int32_t
        *first;        /* [num_blocks + 1]: rows of each block, or NULL: all rows are everyone's */
    int32_t rows_hint; /* rows that a block is likely to have */
    bool is_made;      /* w: by the kernels in front, and not a weight */
    int32_t all_rows;  /* where `first` says: of all blocks together */
};

/* Of any form but plain ones; first_row is a multiple of 16. */
struct expand_args {
    struct matrix w;
    uint16_t *out; /* bf16 [num_rows][stride] */
    int32_t first_row, num_rows;
};

/* x in the order of a matrix's columns: out [rows][num_blocks][cols]. */
struct order_args {
    uint16_t *out; /* bf16 */
    const void *x;
    enum number from;
    const int32_t *order; /* [cols] */
    int32_t rows, num_blocks, cols;
    int64_t x_row, x_block;
};

/* x as E4M3, with a scale for each row, [rows], or for each run of 128 inputs, [runs][rows]. */
struct round_args {
    unsigned char *out; /* [rows][stride]: those behind `num` are zeros */
    float *scales;
    const void *x; /* [num][cols] */
    enum number from;
    int32_t rows, num, cols, stride;
    bool has_runs;
};

launch_function linear_plain, linear_f32, linear_order, linear_round;
launch_function linear_e4m3_rows, linear_e4m3_rows_expand;
launch_function linear_i8, linear_e4m3, linear_u4, linear_u5, linear_u6, linear_u3, linear_u2;
launch_function linear_i8_expand, linear_e4m3_expand, linear_u4_expand, linear_u5_expand,
    linear_u6_expand, linear_u3_expand, linear_u2_expand;

/* --- attention.cu -------------------------------------------------------------------------- */

enum { ATTENTION_TILE = 64, ATTENTION_SPAN_TILES = 4, ATTENTION_QUERIES = 16 };

/* host */
struct attention_part {
    int32_t first_row, num_rows, first_pos; /* of the sequence */
    int32_t row, rows;                      /* the part's: within the sequence */
    int32_t span_from, span_to;
    int32_t slot;      /* of its sums; -1: it writes out by itself */
    int32_t num_slots; /* of all parts of these rows; the first is slot - span_from + first_span */
    int32_t first_slot;
    int64_t blocks;    /* where its block table begins */
    int32_t unused[4]; /* 64 bytes: what tables are rounded up to */
};

/* host: how many parts, and where they lie from `tables` on. */
struct attention_work {
    int32_t num_decode, num_prefill;
    int64_t decode, prefill; /* bytes */
};

struct attention_args {
    void *out; /* of `number` */
    enum number number;
    const float *qkv;
    int64_t q_stride;
    struct pages pages;
    int32_t layer, num_heads, heads_per_tile;
    float scale, softcap;
    int32_t window;
    const struct attention_work *work;
    const unsigned char *tables;
    float *partials;   /* [slots][tiles of heads][16][dim + 2] */
    int32_t *counters; /* [slots][tiles of heads], zero */
    int32_t grid;      /* blocks that share out the parts */
};

/* Shared memory that a block may have: on every GPU (8.6, 8.9, 12.0 have no more), and on those
 * that run heads wider than 128 and the last one of these. */
enum { LEAST_SHARED_BYTES = 99 << 10, WIDE_SHARED_BYTES = 163 << 10 };

launch_function attention_decode, attention_prefill, attention_latent, attention_latent_prefill;

/* --- moe.cu -------------------------------------------------------------------------------- */

struct route_args {
    int32_t *experts;
    float *weights;
    int32_t *first, *place_rows, *places;
    int32_t num_experts, top_k, rows;
    const float *logits, *bias;
    int32_t scores, num_groups, top_groups, group_top; /* enum moe_scores */
    bool normalize;
    float scale;
    const int32_t *table, *token_ids, *token_rows; /* by token, or NULL */
};

struct combine_args {
    float *out;
    const float *y, *weights;
    const int32_t *places;
    const float *shared, *gate;
    int32_t top_k, rows, cols;
};

launch_function moe_choose, moe_sort, moe_add;

/* --- sample.cu ----------------------------------------------------------------------------- */

enum { RESULT_LOGPROBS = 21 };

struct result {
    int32_t id, rank, bad;
    float logprobs[RESULT_LOGPROBS];
    int32_t ids[RESULT_LOGPROBS];
    int32_t own_id; /* where ids are shared, what this rank drew */
};

/* host: one token whose score changes; seen: it is in prompt or output, and `count` times in
 * output. */
struct edit {
    int32_t id, count, seen;
    float bias;
    float raw; /* the device's: its logit before */
};

/* host */
struct draw {
    float temperature, top_p, min_p, typical_p;
    int32_t top_k;
    float repetition, presence, frequency;
    uint64_t seed;
    uint32_t choice, output_pos;
    int32_t num_logprobs, forced_id;
    int32_t wants_rank;
    int32_t last; /* index of the result before that is the last token seen, or -1 */
    int32_t last_in_output;
    int32_t num_edits;     /* room for one more behind them */
    int64_t edits, banned; /* bytes from `tables` on; banned -1: none */
};

/* What is found of SCAN_TOKENS tokens of a row: of its logits, and of its scores, which are those
 * with bias, penalties and mask. */
enum {
    SCAN_TOKENS = 8192,
    SCAN_MAX_PARTS = 128,  /* a vocabulary of a million */
    SCAN_BINS = 512,       /* of scores, a quarter wide */
    SCAN_CANDIDATES = 512, /* that there is room for */
};

struct scan {
    float best; /* of what is a number */
    int32_t id; /* -1: none is */
    int32_t num_nan;
    float top; /* of the scores */
    int32_t top_id;
    int32_t num_candidates; /* there may be more than room */
    double sum;             /* of exp(logit - best) */
    double weight;          /* of exp((score - top) / temperature) */
};

struct sample_args {
    struct scan *scans;   /* [num][num_scans] */
    uint16_t *bins;       /* [num][num_scans][SCAN_BINS]: numbers of scores */
    uint16_t *candidates; /* [num][num_scans][SCAN_CANDIDATES]: tokens, counted from the part's */
    int32_t num_scans;
    float *logits;
    int32_t num_vocab, num;
    const struct draw *draws;
    unsigned char *tables;
    struct result *results;
    const struct result *before;
};

launch_function sample_scan, sample_gather, sample_rows;

/* --- gather of ranks: ranks.cu ------------------------------------------------------------- */

/* in: [ranks][rows][most] with the columns of each rank; out: [rows][total]. */
struct spread_args {
    float *out;
    const float *in;
    int32_t num_ranks, rows, most, total;
};

launch_function rows_spread;

#ifdef __cplusplus
}
#endif

#endif
