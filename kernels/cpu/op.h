/*
 * op.h - recorded operations: their arguments, and what an instruction set computes of them
 *
 * An operation is run by all threads of the device, each taking its share (share_of()) of the
 * operation's units: panels, rows, heads. An operation too small to be worth a meeting is solo:
 * thread 0 runs it alone, and between two solo operations there is no barrier.
 *
 * `struct isa` holds one function per operation that computes part of it. Whatever the part, an
 * output element is computed by the same instructions in the same order.
 */
#ifndef KERNELS_CPU_OP_H
#define KERNELS_CPU_OP_H

#include "kernels/backend.h"
#include "kernels/cpu/kv.h"
#include "kernels/cpu/quant.h"
#include "kernels/cpu/weight.h"

struct move_args {
    int32_t *to;
    const int32_t *from;
    const struct id_move *moves;
    int32_t num;
};

struct embed_args {
    float *out;
    const struct weight *weight;
    float scale;
    const int32_t *ids;
    int32_t rows;
};

struct norm_args {
    float *out, *x;
    const float *delta, *w, *bias; /* bias: of a LayerNorm */
    float eps;
    int32_t rows, cols;
};

struct linear_args {
    float *out;
    const struct weight *weight;
    const float *bias, *x;
    int64_t out_stride, x_stride; /* floats from row to row */
    struct quant_rows quants;     /* x, for a weight in blocks */
    void *room;                   /* [LINEAR_TILES_ROOM] of the thread, for a weight in tiles */
    int32_t rows;
    int32_t row_parts; /* threads form a grid: row_parts by the others over panels */
};

struct quantize_args {
    struct quant_rows out;
    const float *x; /* [rows][cols] */
    int32_t rows, cols;
};

struct rope_args {
    float *qkv;
    struct qk_norm norm;
    const struct rope_table *rope;
    const int32_t *positions;
    const int64_t *slots;
    struct kv_pool *pool;
    int32_t layer, num_heads, rows;
};

struct moe_route_args {
    const struct moe_plan *plan;
    const float *logits;
    struct moe_routing routing;
    struct moe_tokens tokens; /* routing by token */
    int32_t rows;
};

struct moe_linear_args {
    float *out;
    const struct weight *weight;
    int32_t out_dim;
    const float *x;
    const struct moe_plan *plan;
    int32_t place_from, place_to; /* the places that this operation computes */
    struct quant_rows quants;     /* of these places, for a weight in blocks */
};

struct moe_combine_args {
    float *out;
    const float *y;
    const struct moe_plan *plan;
    const float *shared, *gate;
    int32_t rows, cols;
};

struct heads_args {
    struct heads_linear heads;
    int32_t rows;
};

struct latent_args {
    struct latent_write latent;
    int32_t rows;
};

struct inl_args {
    struct inl_dynamics inl;
    int32_t rows, cols;
};

/* x[i] of `num` changes by itself, with the help of delta[i] or of constants. */
struct each_args {
    float *x;
    const float *delta;
    float mu, low, high;
    int64_t num;
};

enum { ATTENTION_BLOCK = 64, ATTENTION_MAX_QUERIES = 64 };

struct attention_args {
    float *out;
    const float *qkv;
    const struct kv_pool *pool;
    int32_t layer, num_heads;
    struct attention_form form;
    const struct attention_seq *seqs;
    int32_t num_seqs;
    int32_t group;          /* query heads of a kv head */
    int32_t heads_per_tile; /* of the group, at most ATTENTION_MAX_QUERIES */
    int32_t rows_per_tile;  /* rows_per_tile * heads_per_tile <= ATTENTION_MAX_QUERIES */
    int32_t value_dim;      /* of V: head_dim, or latent_dim */
    int32_t padded_dim;     /* value_dim rounded up to PANEL_ROWS */
    int64_t q_stride;       /* floats from row to row of qkv */
};

/* Neighbouring rows of one sequence and heads of one group: they share K and V. Query i of a
 * tile is head i % num_heads of row i / num_heads. */
struct attention_tile {
    const struct attention_seq *seq;
    int32_t first_row, num_rows; /* within the sequence */
    int32_t kv_head;
    int32_t first_head, num_heads; /* within all query heads */
};

/* Softmax-weighted sums of V over some positions, per query of a tile; not yet divided. */
struct attention_sum {
    float *max, *sum; /* [queries]; of the scores; of exp(score - max) */
    float *acc;       /* [queries][padded_dim] */
};

/* Work space of one thread. */
struct attention_scratch {
    _Alignas(64) float queries[ATTENTION_MAX_QUERIES * KV_MAX_HEAD_DIM]; /* times scale */
    float keys[KV_MAX_HEAD_DIM * ATTENTION_BLOCK];                       /* [head_dim][64] */
    float values[ATTENTION_BLOCK * KV_MAX_HEAD_DIM];                     /* [64][padded_dim] */
    float scores[ATTENTION_MAX_QUERIES * ATTENTION_BLOCK];
    float max[2][ATTENTION_MAX_QUERIES], sum[2][ATTENTION_MAX_QUERIES];
    float acc[2][ATTENTION_MAX_QUERIES * KV_MAX_HEAD_DIM];
};

struct squares_args {
    float *out;
    const float *qkv;
    int32_t q_cols, k_cols, rows;
};

struct activate_args {
    float *out;
    const float *in;
    enum activation activation;
    bool gated;
    int32_t rows, cols;
};

struct cap_args {
    float *x;
    float cap;
    int64_t num;
};

struct gather_args {
    float *out;
    const float *x;
    const int32_t *indices;
    int32_t num, cols;
};

struct copy_args {
    struct kv_pool *pool;
    const int32_t *from, *to;
    int32_t num;
};

struct meet_args {
    const struct communicator *communicator;
    float *out;
    const float *own; /* NULL: out is reduced in place */
    int32_t rows, cols;
};

struct sample_args {
    float *logits;
    int32_t num_vocab;
    const struct sample_row *rows;
    int32_t num;
};

struct op {
    /* Runs the share of `thread` among `num_threads`. */
    void (*run)(struct device *device, const struct op *op, int32_t thread, int32_t num_threads);
    bool solo;
    bool barrier; /* all threads meet before it */
    union {
        struct move_args move;
        struct embed_args embed;
        struct norm_args norm;
        struct linear_args linear;
        struct quantize_args quantize;
        struct rope_args rope;
        struct attention_args attention;
        struct squares_args squares;
        struct activate_args activate;
        struct cap_args cap;
        struct gather_args gather;
        struct copy_args copy;
        struct meet_args meet;
        struct sample_args sample;
        struct moe_route_args moe_route;
        struct moe_linear_args moe_linear;
        struct moe_combine_args moe_combine;
        struct heads_args heads;
        struct latent_args latent;
        struct inl_args inl;
        struct each_args each;
    } args;
};

/* What linear_tiles() wants of memory, at a multiple of 64 bytes. */
enum { LINEAR_TILES_ROOM = 768 << 10 };

/* Ranges are [from, to). */
struct isa {
    const char *name;
    bool (*is_supported)(void);
    void (*add_rms_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to);
    void (*add_layer_norm)(const struct norm_args *args, int32_t row_from, int32_t row_to);
    void (*linear)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                   int32_t row_from, int32_t row_to);
    /* x rounded to blocks, and the same as linear() over them for weights in blocks. */
    void (*quantize)(const struct quantize_args *args, int32_t row_from, int32_t row_to);
    void (*linear_quant)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to);
    /* The same for bf16 weights in tiles (weight.h); NULL: they lie in columns. */
    void (*linear_tiles)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                         int32_t row_from, int32_t row_to);
    /* The same for weights with scales. */
    void (*linear_scaled)(const struct linear_args *args, int32_t panel_from, int32_t panel_to,
                          int32_t row_from, int32_t row_to);
    /* A unit is one row's group of one kv head: unit = row * num_kv_heads + kv_head. */
    void (*rope_kv_write)(const struct rope_args *args, int64_t unit_from, int64_t unit_to);
    /* The tile's queries times the scale, into scratch->queries. */
    void (*attention_begin)(const struct attention_args *args, const struct attention_tile *tile,
                            struct attention_scratch *scratch);
    /* Reduce one span from scratch into *sum; of rows that see nothing of it to no term: maximum
     * -infinity and sums 0. */
    void (*attention_span)(const struct attention_args *args, const struct attention_tile *tile,
                           int32_t span, struct attention_scratch *scratch,
                           const struct attention_sum *sum);
    /* *total and *sum become *total, for queries [query_from, query_to). */
    void (*attention_combine)(const struct attention_args *args, const struct attention_sum *total,
                              const struct attention_sum *sum, int32_t query_from,
                              int32_t query_to);
    /* Divide and write the tile's rows of out. */
    void (*attention_end)(const struct attention_args *args, const struct attention_tile *tile,
                          const struct attention_sum *total);
    void (*qk_squares)(const struct squares_args *args, int32_t row_from, int32_t row_to);
    /* Elements of out or x, counted over all rows. */
    void (*activate)(const struct activate_args *args, int64_t from, int64_t to);
    void (*soft_cap)(const struct cap_args *args, int64_t from, int64_t to);
};

/* What computes a product by such a weight; of blocks, `quants` are filled, for tiles, `room`. */
static inline void isa_linear(const struct isa *isa, const struct linear_args *args,
                              int32_t panel_from, int32_t panel_to, int32_t row_from,
                              int32_t row_to)
{
    const enum dtype dtype = args->weight->dtype;
    (dtype_is_quant(dtype)    ? isa->linear_quant
     : dtype_is_scaled(dtype) ? isa->linear_scaled
     : args->weight->in_tiles ? isa->linear_tiles
                              : isa->linear)(args, panel_from, panel_to, row_from, row_to);
}

extern const struct isa isa_scalar;
#if defined(CPU_HAS_NEON)
extern const struct isa isa_neon, isa_neon_dot;
#elif defined(CPU_HAS_AVX)
extern const struct isa isa_avx2, isa_avx512, isa_avx512_vnni, isa_avx512_amx;
#endif

/* Position of a tile's row. */
static inline int32_t attention_pos(const struct attention_tile *tile, int32_t row)
{
    return tile->seq->first_pos + tile->first_row + row;
}

/* The first row of a tile that sees position `pos`, or num_rows. */
static inline int32_t attention_first_row(const struct attention_tile *tile, int32_t pos)
{
    const int32_t row = pos - attention_pos(tile, 0);
    if (row <= 0)
        return 0;
    return row < tile->num_rows ? row : tile->num_rows;
}

/* The first position that a tile's row sees. */
static inline int32_t attention_low(const struct attention_args *args,
                                    const struct attention_tile *tile, int32_t row)
{
    const int32_t low = attention_pos(tile, row) - args->form.window + 1;
    return args->form.window > 0 && low > 0 ? low : 0;
}

/* The page of position `pos`, of which some row of the tile sees something. */
static inline int32_t attention_block(const struct attention_args *args,
                                      const struct attention_tile *tile, int32_t pos)
{
    const struct attention_seq *seq = tile->seq;
    return seq->blocks[pos / args->pool->layout.block_size - seq->first_block];
}

/* One past the last row of a tile that sees position `pos` or one before it. */
static inline int32_t attention_row_end(const struct attention_args *args,
                                        const struct attention_tile *tile, int32_t pos)
{
    const int64_t rows = (int64_t)pos - attention_pos(tile, 0) + args->form.window;
    if (args->form.window <= 0 || rows >= tile->num_rows)
        return tile->num_rows;
    return rows > 0 ? (int32_t)rows : 0;
}

/* Where part `index` of `num` begins in [0, units); part index + 1 begins where it ends. */
static inline int64_t share_of(int64_t units, int32_t index, int32_t num)
{
    return units * index / num;
}

#endif
