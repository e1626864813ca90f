/*
 * backend.h - what a device must be able to do: the only door to kernels/
 *
 * A backend is a table of functions. Calls between begin() and submit() enqueue operations in
 * order and return at once; submit() starts them, wait() returns when all are done. Sizes that
 * vary from step to step (rows, sequences) are arguments of the enqueuing calls. Pointers given
 * to an operation must stay valid until wait(), and what it reads unchanged.
 *
 * Activations are float, [rows][columns], row-major, contiguous. On a device with memory of its
 * own a `float *` from alloc() is the device's address, and what operations leave in it may be
 * narrower there until it is downloaded, whole; arrays of a step (ids, positions, slots, block
 * tables, samples) are the host's: the device takes a copy when the operation is recorded, and what
 * a list gives, ids and log-probabilities, lies with the host after its wait(). An id that only the
 * device knows yet is named by the host's address where it will be: move_ids(),
 * sample_row.last_token. Weights keep their type and are repacked once at load. Every result of a
 * row depends on that row's inputs alone: not on the number of rows, of threads, or on the other
 * rows (law 1): each output of linear() sums over its inputs in one fixed order; attention runs
 * over spans of BACKEND_SPAN absolute positions, each reduced from scratch, combined in order,
 * reading K and V as stored.
 *
 * After device_open() nothing here allocates but the alloc calls, and a device waits by futex
 * only. One thread enqueues; it may do other things between submit() and wait().
 */
#ifndef KERNELS_BACKEND_H
#define KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/dtype.h"
#include "kernels/kv_layout.h"

enum { BACKEND_ABI = 11, BACKEND_SPAN = 256, BACKEND_MAX_LOGPROBS = 20 };
enum { MOE_MAX_EXPERTS = 1024 };
/* Most that a token which penalties count, or a bias, takes of device_options.max_input_bytes, and
 * a row to sample beside them and its mask. */
enum { BACKEND_EDIT_BYTES = 20, BACKEND_SAMPLE_BYTES = 512 };

struct device;
struct weight; /* a repacked matrix [rows][cols], y = W x */
struct kv_pool;
struct weight_store;

/* Whose weights a store holds: compared to the byte. */
struct store_key {
    uint64_t identity; /* of the model */
    int32_t rank, num_ranks;
};

struct device_options {
    int32_t num_threads; /* 0: as many as this process may run on, shared with the other ranks */
    int32_t num_ranks;   /* on this host, this one among them; 0 is 1 */
    const char *isa;     /* NULL: best; or "scalar", "avx2", "avx512": for tests and benches */
    int32_t max_rows;    /* most rows of a step */
    int32_t max_ops;     /* most operations between begin() and submit(); more may be accepted */
    int32_t max_vocab;   /* widest row of logits */

    /* For devices that are not the host itself. */
    int32_t rank;
    int32_t max_logits; /* most rows with logits of a step: each activation has room for so many, or
                           for max_rows where they are fewer, and a list of fewer rows may write
                           there; 0: it may not, and graph_rows() gives none */
    const char *ordinals; /* "0,1": the number of each rank's device; NULL: its rank */
    const char
        *libraries;      /* a folder with its maker's libraries, or NULL: where they usually lie */
    double memory_share; /* most of the device's memory that this rank takes, 0 .. 1 */
    size_t max_input_bytes; /* most that the host gives a step: ids, block tables, samples */
    int64_t deadline_us;   /* a list of several ranks that takes longer hangs: its wait() fails with
                              -ETIMEDOUT; 0: a minute */
    bool is_deterministic; /* law 1 at any price; the host holds to it anyway */
};

/* Where a device's memory has gone. */
struct memory_use {
    const char *what; /* "weights", "KV cache" ... */
    size_t bytes;
};

/* Memory of the host that a device copies from by itself, lent to whoever reads files into it. */
struct load_room {
    unsigned char *memory; /* at a multiple of 4,096 */
    size_t bytes;
};

/* By which way weights came to a device with memory of its own, in bytes there. */
struct load_report {
    uint64_t sent;   /* from where they were read */
    uint64_t copied; /* through memory that the device copies from */
    uint64_t packed; /* made into the device's form there */
};

/* One sequence's part of a ragged batch. */
struct attention_seq {
    int32_t first_row;     /* its rows are consecutive */
    int32_t num_rows;      /* positions computed in this step, >= 1 */
    int32_t first_pos;     /* absolute position of first_row; rows attend to [0, own position] */
    const int32_t *blocks; /* its pages in order: position p lies in blocks[p / block_size -
                              first_block] */
    int32_t first_block;   /* with a window, what lies before the first row's may be left out */
};

/* What attention does beyond the plain softmax of scale q k; 0 is off. */
struct attention_form {
    float scale;
    float softcap;  /* scores become softcap tanh(score / softcap) */
    int32_t window; /* a row sees its own position and the window - 1 before it; what lies before
                       the first row's is not read, nor are its blocks: see first_block */
};

/*
 * Norm of q and k before they are rotated; rows of `squares` come from qk_squares(), summed over
 * the ranks. Weights are [head_dim], one for all heads, or with `squares` [heads head_dim].
 */
struct qk_norm {
    const float *q, *k;           /* NULL: q and k stay as they are */
    const float *q_bias, *k_bias; /* not NULL: LayerNorm with mean and bias, else RMS */
    float eps;
    const float *squares;   /* NULL: the norm is each head's own; [rows][2]: of all heads */
    int32_t q_cols, k_cols; /* values that `squares` summed */
};

enum activation {
    ACTIVATION_SILU,
    ACTIVATION_GELU_TANH, /* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
    ACTIVATION_GELU,      /* x / 2 (1 + erf(x / sqrt(2))) */
};

/* cos and sin of every position: [max_positions][rotary_dims / 2] each, float. */
struct rope_table {
    const float *cos, *sin;
    int32_t rotary_dims; /* <= head_dim; pairs (i, i + rotary_dims / 2) */
    int32_t max_positions;
};

struct logit_bias {
    int32_t token_id;
    float bias;
};

/* One row to sample. Pointers are the caller's. Order: raw log-probabilities are taken first;
 * then banned, logit_bias, repetition/frequency/presence penalties, temperature, top_k, typical_p,
 * top_p, min_p, draw. */
struct sample_row {
    float temperature; /* < 1e-5: greedy, lowest id on ties */
    float top_p, min_p, typical_p;
    int32_t top_k; /* <= 0: off */
    float repetition_penalty, presence_penalty, frequency_penalty;
    uint64_t seed;
    uint32_t choice;       /* within its prompt */
    uint32_t output_pos;   /* 0 for the first output token */
    const int32_t *tokens; /* prompt and output so far */
    int32_t num_prompt, num_tokens;
    const int32_t *last_token; /* NULL, or where the last of `tokens` is found instead */
    const struct logit_bias *biases;
    int32_t num_biases;
    const uint32_t *banned; /* bit set of num_vocab bits, or NULL */
    int32_t num_logprobs;   /* -1: none wanted; 0: of the sampled token; k: and of the top k */
    int32_t forced_id;      /* >= 0: do not draw, take this token (log-probabilities of a prompt) */
    bool *bad;              /* set to true when the row has a NaN or no finite logit */
    int32_t *ret_id;
    int32_t *ret_own_id; /* what this rank drew, where ids are shared; NULL: not wanted */
    float *ret_logprobs; /* [1 + num_logprobs]: the sampled token's, then of the top in order */
    int32_t *ret_ids;    /* [1 + num_logprobs]: their ids */
    int32_t *ret_rank;   /* of the sampled token, 1 is the best; may be NULL */
};

/* From the ids that one list drew to those that the next computes. */
struct id_move {
    int32_t to, from; /* indices */
};

/*
 * The ranks of one engine, as this one reaches them. Every rank calls the same functions with the
 * same sizes in the same order; they return 0 or a negative errno, which is final. all_reduce:
 * x becomes the sum over ranks 0, 1, 2 ... in this order: equal bits in all ranks. all_gather:
 * `own` is [rows][this rank's columns], from rank_share() on; `out` becomes [rows][total_cols].
 */
struct communicator {
    int32_t rank, num_ranks;
    void *context;
    int (*all_reduce)(void *context, float *x, int64_t num);
    int (*all_gather)(void *context, float *out, const float *own, int32_t rows,
                      int32_t total_cols);
};

/* Where the part of `rank` begins in what is cut as evenly as can be. */
static inline int32_t rank_share(int32_t total, int32_t rank, int32_t num_ranks)
{
    return (int32_t)((int64_t)total * rank / num_ranks);
}

/*
 * Several matrices in one weight: block b is the rows from b * block_stride(rows) on. Rows between
 * blocks stay zero.
 */
static inline int32_t block_stride(int32_t rows)
{
    return (rows + 31) / 32 * 32;
}

/* How the logits of a router choose top_k of num_experts, and what weighs them. */
enum moe_scores { MOE_SOFTMAX, MOE_SIGMOID };

struct moe_routing {
    enum moe_scores scores;
    const float *bias; /* [num_experts]: added to the scores for the choice alone; or NULL */
    /* <= 1: no groups. A group's score is the sum of its group_top best; of other than the
     * top_groups best groups no expert is chosen. */
    int32_t num_groups, top_groups, group_top;
    bool normalize; /* the weights of a row are divided by their sum */
    float scale;
};

/* A step's rows and their experts. Memory is the caller's, from alloc(); one step at a time. */
struct moe_plan {
    int32_t num_experts, top_k;
    int32_t *experts; /* [rows][top_k]: the best first, the lower index first of equals */
    float *weights;   /* [rows][top_k] */
    int32_t *first;   /* [num_experts + 1]: where each expert's places begin */
    int32_t *rows;    /* [rows * top_k]: the row of each place; an expert's rows in order */
    int32_t *places;  /* [rows][top_k]: where a row's experts are */
};

/* Rows whose tokens name their expert: row r's token is token_ids[rows[r]], or token_ids[r] where
 * rows is NULL. */
struct moe_tokens {
    const int32_t *table; /* [vocab_size] */
    const int32_t *token_ids, *rows;
    const float *logits; /* [rows][num_experts] of a router, or NULL */
};

/* A linear layer per head: out_h = W_h x_h. Distances are in floats. */
struct heads_linear {
    const struct weight *weight; /* one block of `out_dim` rows per head */
    int32_t num_heads, out_dim;
    const float *x;
    int64_t x_row, x_head; /* from row to row, from head to head */
    float *out;
    int64_t out_row, out_head;
};

/*
 * Latents into the pool: the first latent_dim values of each row of `latents` become their RMS
 * norm times w, the rest is rotated, both in place; then they are rounded and written to the
 * row's slot. The last rotary_dims of each head of q are rotated too and go to absorbed, behind
 * latent_dim values of each head that are not touched.
 */
struct latent_write {
    float *latents; /* [rows][head_dim of the pool] */
    const float *w; /* [latent_dim] */
    float eps;
    const float *q;  /* [rows][num_heads][q_dim] */
    float *absorbed; /* [rows][num_heads][head_dim of the pool] */
    int32_t num_heads, q_dim;
    const struct rope_table *rope;
    bool interleaved; /* pairs (2 i, 2 i + 1), else (i, i + rotary_dims / 2) */
    const int32_t *positions;
    const int64_t *slots;
    struct kv_pool *pool;
    int32_t layer;
};

/* INL dynamics, all [rows][cols] but controller. `highway` NULL: mu_prev becomes m. */
struct inl_dynamics {
    float *a, *v;            /* attention's output and the velocity: both move */
    const float *m;          /* contextual mu */
    const float *controller; /* [rows][3 cols]: alpha, beta, gate before their functions */
    float *highway;          /* becomes highway + m */
    float *mu_prev;          /* becomes m + 0.1 highway */
    float dt;
};

struct backend {
    uint32_t abi;
    const char *name; /* "cpu" */

    /* Is there a device? 0; -ENODEV, -ENOTSUP with a sentence. The same words are device_open()'s.
     */
    int (*probe)(struct error *err);

    /* Device. Returns 0, -ENOMEM, -ENOTSUP (isa), with a sentence. */
    int (*device_open)(const struct device_options *options, struct device **ret_device,
                       struct error *err);
    void (*device_close)(struct device *device); /* accepts NULL; all objects must be freed */
    const char *(*device_isa)(const struct device *device);
    int32_t (*device_threads)(const struct device *device);

    /* Meet the other ranks for the first time: all of them call it, before the first all_reduce.
     * The communicator's own functions may serve to get acquainted. 0, or an error with a sentence.
     */
    int (*device_join)(struct device *device, const struct communicator *communicator,
                       struct error *err);
    /* What is left of memory_share; -1: the device's memory is the host's. */
    int64_t (*memory_left)(const struct device *device);
    /* Returns how many rows of ret_uses were written, `max` at most; 0 on the host. */
    int32_t (*memory_uses)(const struct device *device, struct memory_use *ret_uses, int32_t max);

    /* Memory for activations and tables; 64-byte aligned, zeroed; NULL when there is none. */
    void *(*alloc)(struct device *device, size_t bytes);
    void (*free)(struct device *device, void *memory);
    void (*upload)(struct device *device, void *to, const void *from, size_t bytes);
    void (*download)(struct device *device, void *to, const void *from, size_t bytes);

    /* A matrix of a type without scales (those are of stores), loaded by rows in any order: row r
     * of `from` (row-major, contiguous, unaligned allowed) becomes row first_row + r. Loading is
     * not an enqueued operation; it may be called from several threads for disjoint panels of 32
     * rows, or with first_row and num_rows of any value from one thread. */
    int (*weight_alloc)(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                        struct weight **ret_weight, struct error *err);
    void (*weight_load)(struct weight *weight, int32_t first_row, int32_t num_rows,
                        const void *from);
    void (*weight_free)(struct weight *weight);
    size_t (*weight_bytes)(const struct weight *weight);

    /* Loading without a copy by the host, of a device with memory of its own; NULL, all of them,
     * where weight_load() reads rows where they lie.
     *
     * A room is the borrower's, one thread at a time, from open to close; what was sent from it is
     * under way until room_wait(), and stays unchanged until then. All are closed before the
     * device is.
     * room_open: 0; -ENOMEM, ordinary: weight_load() takes rows from any memory.
     * weight_send: as weight_load(), of rows that lie `stride` bytes apart in a room. False where
     * they have to be packed first: nothing is done then, and weight_load() is the way. Whether
     * they arrived is said by store_seal(). */
    int (*room_open)(struct device *device, size_t bytes, struct load_room **ret_room);
    void (*room_wait)(struct load_room *room);
    void (*room_close)(struct load_room *room); /* accepts NULL; waits */
    bool (*weight_send)(struct weight *weight, int32_t first_row, int32_t num_rows,
                        struct load_room *room, const void *from, size_t stride);
    void (*load_report)(const struct device *device, struct load_report *ret_report);

    /* All weights of a rank in one piece of memory that outlives the process: who made it fills its
     * zeroed objects and seals it, which makes them read-only here too; the descriptor goes to a
     * later process, whose device of the same kind attaches it instead of loading. What a
     * descriptor stands for is the backend's own affair: a memory file, or memory of a device that
     * a process without other duties holds. Objects live as long as the store.
     *
     * create: 0, -ENOMEM, -EINVAL, -EOVERFLOW. attach: also -EPROTO when it is not whole, or not
     * what this key and these objects would have made; the descriptor stays the caller's. seal: a
     * new descriptor, close-on-exec. */
    int (*store_create)(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects,
                        struct weight_store **ret_store, struct error *err);
    int (*store_attach)(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects, int fd,
                        struct weight_store **ret_store, struct error *err);
    struct weight *(*store_weight)(struct weight_store *store, int32_t index);
    float *(*store_vector)(struct weight_store *store, int32_t index); /* to be filled by upload */
    int (*store_seal)(struct weight_store *store, int *ret_fd, struct error *err);
    void (*store_close)(struct weight_store *store); /* accepts NULL */

    int (*kv_alloc)(struct device *device, const struct kv_layout *layout, int32_t num_blocks,
                    struct kv_pool **ret_pool, struct error *err);
    void (*kv_free)(struct kv_pool *pool);

    /* A list of operations. The next may be recorded while one runs. submit() waits for the one
     * before; where the device queues, it does not: a list runs behind that one, without a gap, and
     * wait() speaks of the older of the two. Then begin() may follow. A list that is too long is
     * not run. An empty one is allowed. */
    bool queues;
    void (*begin)(struct device *device);
    int (*submit)(struct device *device); /* 0, or -ENOSPC when max_ops was passed */
    int (*wait)(struct device *device);   /* 0, or a negative errno of the device */
    /* The same for `us` at most: 1 when it is done, and wait() will return at once; 0 when the time
     * is over. */
    int (*wait_for)(struct device *device, int64_t us);

    /* A list of many small operations starts faster when it was kept as a whole. graph_rows() says
     * for which numbers of rows that is worth it, the greatest first; 0: no more. capture(),
     * between begin() and submit(), keeps the list being recorded: later ones of the same
     * operations with at most as many rows use it by themselves. All ranks capture the same list,
     * in the same step. submit() may allocate then, and takes a while. */
    int32_t (*graph_rows)(const struct device *device, int32_t index);
    void (*capture)(struct device *device);

    /* to[moves[i].to] = from[moves[i].from]: ids that a list before has drawn, and that nobody but
     * the device knows yet. */
    void (*move_ids)(struct device *, int32_t *to, const int32_t *from, const struct id_move *moves,
                     int32_t num);

    /* out[r] = W[ids[r]] as float, times scale. W: the embedding, also usable by linear(). */
    void (*embed)(struct device *, float *out, const struct weight *weight, float scale,
                  const int32_t *ids, int32_t rows);

    /* x[r] += delta[r] where delta is not NULL; out[r] = x[r] / sqrt(mean(x[r]^2) + eps) * w.
     * w: [cols]. out may be NULL (only the sum is wanted). */
    void (*add_rms_norm)(struct device *, float *out, float *x, const float *delta, const float *w,
                         float eps, int32_t rows, int32_t cols);

    /* The same with (x[r] - mean) / sqrt(variance + eps) * w + bias. */
    void (*add_layer_norm)(struct device *, float *out, float *x, const float *delta,
                           const float *w, const float *bias, float eps, int32_t rows,
                           int32_t cols);

    /* out[r][n] = sum over k of W[n][k] x[r][k] (+ bias[n]); bias may be NULL. The rows of what is
     * joined to W lie behind its own. */
    void (*linear)(struct device *, float *out, const struct weight *weight, const float *bias,
                   const float *x, int32_t rows);

    /* qkv: [rows][(num_heads + 2 num_kv_heads) head_dim], in place: norm q and k, rotate them by
     * the row's position; round and write k and v to its slot (block * block_size + offset). What
     * is left of k and v in qkv is the device's affair.
     * `norm` is copied; NULL: none. */
    void (*rope_kv_write)(struct device *, float *qkv, const struct qk_norm *norm,
                          const struct rope_table *rope, const int32_t *positions,
                          const int64_t *slots, struct kv_pool *pool, int32_t layer,
                          int32_t num_heads, int32_t rows);

    /* out: [rows][num_heads head_dim]; q is the head of each row of qkv. `form` is copied. In a
     * pool of latents qkv is q alone, [rows][num_heads head_dim], and out is [rows][num_heads
     * latent_dim]. */
    void (*attention)(struct device *, float *out, const float *qkv, const struct kv_pool *pool,
                      int32_t layer, int32_t num_heads, const struct attention_form *form,
                      const struct attention_seq *seqs, int32_t num_seqs, int32_t rows);

    /* out[r] = { sum of squares of qkv[r][0 .. q_cols), of the k_cols behind them }; a row of qkv
     * has q_cols + 2 k_cols. */
    void (*qk_squares)(struct device *, float *out, const float *qkv, int32_t q_cols,
                       int32_t k_cols, int32_t rows);

    /* gated: in is [rows][2 cols], out[r][i] = act(in[r][i]) * in[r][cols + i];
     * else in is [rows][cols], out[r][i] = act(in[r][i]). */
    void (*activate)(struct device *, float *out, const float *in, enum activation activation,
                     bool gated, int32_t rows, int32_t cols);

    /* x = cap tanh(x / cap), in place. */
    void (*soft_cap)(struct device *, float *x, float cap, int32_t rows, int32_t cols);

    /* out[i] = x[indices[i]] */
    void (*gather_rows)(struct device *, float *out, const float *x, const int32_t *indices,
                        int32_t num, int32_t cols);

    /* Copy whole pages: for sequences that part. */
    void (*copy_blocks)(struct device *, struct kv_pool *pool, const int32_t *from,
                        const int32_t *to, int32_t num);

    /* Meet the other ranks at this place of the list. An error of the communicator is what wait()
     * returns from then on; the memory that was to be written is undefined. */
    void (*all_reduce)(struct device *, const struct communicator *communicator, float *x,
                       int32_t rows, int32_t cols);
    void (*all_gather)(struct device *, const struct communicator *communicator, float *out,
                       const float *own, int32_t rows, int32_t total_cols);

    /* logits: [num][num_vocab], overwritten. */
    void (*sample)(struct device *, float *logits, int32_t num_vocab, const struct sample_row *rows,
                   int32_t num);

    /* The ids of the rows sampled last become the first rank's, in all ranks: those that *ret_id
     * and the next list see. For rows that a rank alone cannot draw as the first one does, and
     * whose token the next list takes before the host has it; hence NULL where the device does not
     * queue. All ranks meet, as in all_reduce(). */
    void (*share_ids)(struct device *);

    /* logits: [rows][num_experts] of the router. */
    void (*moe_route)(struct device *, const struct moe_plan *plan, const float *logits,
                      const struct moe_routing *routing, int32_t rows);
    /* One expert per row: table[its token], or where logits are given, the greatest logit with 10
     * added to that one's. Weights are 1. `tokens` is copied. */
    void (*moe_route_tokens)(struct device *, const struct moe_plan *plan,
                             const struct moe_tokens *tokens, int32_t rows);
    /* At each of the rows * top_k places: out = W[its expert] x. A block of out_dim rows each. */
    void (*moe_linear)(struct device *, float *out, const struct weight *weight, int32_t out_dim,
                       const float *x, const struct moe_plan *plan, int32_t rows);
    /* out[r] = sum over k of weights[r][k] y[places[r][k]], then + shared[r] (may be NULL), of
     * which sigmoid(gate[r]) counts when gate is given. */
    void (*moe_combine)(struct device *, float *out, const float *y, const struct moe_plan *plan,
                        const float *shared, const float *gate, int32_t rows, int32_t cols);

    void (*heads_linear)(struct device *, const struct heads_linear *args, int32_t rows);
    void (*latent_write)(struct device *, const struct latent_write *args, int32_t rows);

    void (*inl_dynamics)(struct device *, const struct inl_dynamics *args, int32_t rows,
                         int32_t cols);
    /* x[i] = silu(x[i] + delta[i]) */
    void (*add_silu)(struct device *, float *x, const float *delta, int32_t rows, int32_t cols);
    /* x[i] limited to [low, high] */
    void (*clamp)(struct device *, float *x, float low, float high, int32_t rows, int32_t cols);
    /* x[i] = mu + soft clamp of x[i] - mu: tanh((d - c) / r) r + c, c the middle of [low, high], r
     * half its width */
    void (*mu_clamp)(struct device *, float *x, float mu, float low, float high, int32_t rows,
                     int32_t cols);
};

/*
 * "cpu" is built in; "cuda" is a module that lies beside the program. Returns 0; -ENOENT for
 * another name, or a module that is not there; -ELIBACC when it cannot be loaded; -EPROTO for
 * another ABI.
 */
int backend_open(const char *name, const struct backend **ret_backend, struct error *err);

#endif
