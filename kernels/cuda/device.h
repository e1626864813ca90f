/*
 * device.h - a GPU as a device: a queue, two lists of operations, inputs, results, kept graphs
 *
 * Recording writes (function, arguments) pairs into a list and the host's arrays into pinned
 * memory; submit() sends those, launches the list, or a graph of an equal one, and asks for the
 * results. wait() hands them out. Numbers of rows are rounded up to a bucket while a list is
 * recorded, so that lists of different batches are equal: rows behind the last one are computed and
 * belong to nobody; their keys are not written, nobody attends with them.
 *
 * What linears read is narrowed to 16 bits by whoever writes it: each buffer has the kind of number
 * that lies in it at this place of the list (device_number()).
 */
#ifndef KERNELS_CUDA_DEVICE_H
#define KERNELS_CUDA_DEVICE_H

#include "kernels/cuda/inputs.h"
#include "kernels/cuda/kv.h"
#include "kernels/cuda/room.h"
#include "kernels/cuda/weight.h"

enum {
    DEVICE_MAX_BUFFERS = 256,
    DEVICE_MAX_GRAPHS = 48,
    DEVICE_MAX_RETIRED = 64,
    DEVICE_MAX_PLANS = 64,
    DEVICE_NUM_UPLOADS = 16,
    DEVICE_FIRST_UPLOAD = 4 /* their events; those before are of steps */
};
enum { DEVICE_UPLOAD_BYTES = 2 << 20, DEVICE_PARTIAL_BYTES = 64 << 20 };

struct lt;
struct ranks;

struct lt_args {
    struct lt *lt;
    struct matrix w; /* plain; with codes rows of E4M3 */
    const void *x;
    const unsigned char *codes; /* x rounded to E4M3, [rows][w.stride]; or NULL */
    const float *scales;        /* of codes, as linear_round() leaves them */
    float *out;
    int32_t rows, out_row;
    int32_t x_rows; /* as many, but where codes have some of zeros behind them */
};

struct meet_args {
    struct ranks *ranks;
    float *x, *gathered; /* gathered NULL: a sum, in place */
    int64_t num;         /* of x */
};

/* Those that differ from step to step are never part of a graph: they lead the list, or end it. */
enum op_place { PLACE_GRAPH, PLACE_FIRST, PLACE_LAST };

struct op {
    launch_function *launch;
    enum op_place place;
    union {
        struct embed_args embed;
        struct gather_args gather;
        struct convert_args convert;
        struct copy_blocks_args copy_blocks;
        struct move_args move;
        struct spread_args spread;
        struct norm_args norm;
        struct squares_args squares;
        struct rope_args rope;
        struct latent_args latent;
        struct activate_args activate;
        struct each_args each;
        struct inl_args inl;
        struct linear_args linear;
        struct expand_args expand;
        struct order_args order;
        struct round_args round;
        struct lt_args lt;
        struct attention_args attention;
        struct route_args route;
        struct combine_args combine;
        struct sample_args sample;
        struct meet_args meet;
        struct share_args share;
    } args;
};

struct list {
    struct op *ops; /* [max_ops] */
    int32_t num_ops;
    bool overflowed, wants_capture;
    bool is_sent, has_landed;         /* submitted and not waited for; its results are the host's */
    const struct sample_row *samples; /* the caller's, until wait() */
    int32_t num_samples;
    const int32_t *ids; /* where its samples' ids will be, one behind the other; or NULL */
    bool shares_ids;    /* its results have an own id beside the shared one */
};

struct graph {
    struct runtime_graph *graph;
    struct op *ops;
    int32_t num_ops;
};

/* Ids that the list before drew, to be put into an array that the next operation reads. */
struct pending_move {
    const int32_t *to; /* NULL: none */
    const int32_t *from;
    const struct id_move *moves;
    int32_t num;
};

/* Attention's work of one group of sequences, made once per list. */
struct attention_plan {
    const struct attention_seq *seqs;
    int32_t window, heads_per_tile, queries;
    const struct attention_work *work;
    bool has_decode, has_prefill;
    int32_t num_prefill;
};

struct upload {
    pthread_mutex_t lock;
    unsigned char *pinned;
    bool in_use;
};

struct device {
    struct runtime *runtime;
    struct memory memory;
    struct launch launch;
    struct inputs inputs;
    struct lt *lt;       /* NULL: there is no cuBLASLt, or equal bits are wanted */
    bool rounds_inputs;  /* and it multiplies E4M3 by E4M3 */
    struct ranks *ranks; /* NULL: alone */
    int32_t rank, num_ranks, max_rows, max_logits, max_ops, max_vocab, num_threads;
    int32_t max_results;
    bool is_deterministic;
    double memory_share;
    int64_t deadline_us;
    char ordinals[64], libraries[512], isa[128];

    struct list lists[2];
    int32_t recording, newest; /* lists; newest: the one submitted last */
    int error;                 /* final */
    struct graph graphs[DEVICE_MAX_GRAPHS];
    int32_t num_graphs;
    size_t graph_bytes; /* of the device's memory */

    int32_t step_rows, bucket, top_k; /* of the list being recorded; 0: not known yet */
    bool is_narrow;                   /* from here on rows are those with logits */
    struct pending_move pending;
    struct attention_plan plans[DEVICE_MAX_PLANS];
    int32_t num_plans;

    struct {
        const void *at;
        enum number number;
    } buffers[DEVICE_MAX_BUFFERS];
    int32_t num_buffers;
    size_t weight_bytes[3]; /* of each kind of number */

    struct result *results, *before, *host_results[2];
    float *partials;
    int32_t *counters;
    void *retired[DEVICE_MAX_RETIRED]; /* grown out of; lists and graphs may still name them */
    int32_t num_retired;
    unsigned char *scratch; /* x as a linear wants it */
    size_t scratch_bytes;
    uint16_t *expanded; /* blocks as rows of bf16, for cuBLASLt */
    size_t expanded_bytes;
    unsigned char *rounded; /* x as E4M3, and its scales */
    size_t rounded_bytes;
    uint32_t *counts; /* [max_vocab], zeros between uses */

    struct rooms rooms;
    struct upload uploads[DEVICE_NUM_UPLOADS];
    _Atomic int32_t next_upload;
    pthread_mutex_t dirty_lock;
    struct weight *dirty;
    _Atomic int load_error;
    _Atomic bool is_loading; /* something may not have arrived */
    struct {
        _Atomic uint64_t sent, copied, packed;
    } loaded; /* struct load_report */
};

int device_open(const struct device_options *options, struct device **ret_device,
                struct error *err);
void device_close(struct device *device);
const char *device_isa(const struct device *device);
int32_t device_threads(const struct device *device);
int device_join(struct device *device, const struct communicator *communicator, struct error *err);
int64_t device_memory_left(const struct device *device);
int32_t device_memory_uses(const struct device *device, struct memory_use *ret_uses, int32_t max);
int device_out_of_memory(struct device *device, const char *what, size_t bytes, struct error *err);

void *device_alloc(struct device *device, size_t bytes);
void device_free(struct device *device, void *memory);
void device_upload(struct device *device, void *to, const void *from, size_t bytes);
void device_download(struct device *device, void *to, const void *from, size_t bytes);

/* load.c: through pinned buffers, from any thread. From begin to end a buffer is the caller's, to
 * be filled; the device copies pieces of it then. */
struct load_piece {
    unsigned char *to, *from;
    size_t bytes; /* may be 0 */
};
struct upload *load_begin(struct device *device);
void load_end(struct device *device, struct upload *upload, const struct load_piece *pieces,
              int num);
void load_bytes(struct device *device, unsigned char *to, const unsigned char *from, size_t bytes);
/* Rows of from_stride bytes each, zeros behind them. */
void load_rows(struct device *device, unsigned char *to, size_t to_stride,
               const unsigned char *from, size_t from_stride, int32_t num_rows);

void device_note_dirty(struct device *device, struct weight *weight);
void device_forget_dirty(struct device *device, struct weight *weight);
void device_note_failure(struct device *device, int error);
void device_note_weight(struct device *device, const struct weight *weight);
int device_flush(struct device *device); /* all that was loaded has arrived: 0 or an error */
int device_failure(const struct device *device);
void device_load_report(const struct device *device, struct load_report *ret_report);
int load_open(struct device *device);
void load_close(struct device *device);

/* Does the device alone know what the list gives? */
static inline bool device_is_unknown(const struct list *list)
{
    return list->is_sent && !list->has_landed;
}

/* step.c: lists. */
void device_begin(struct device *device);
int device_submit(struct device *device);
int device_wait(struct device *device);
int device_wait_for(struct device *device, int64_t us);
int32_t device_graph_rows(const struct device *device, int32_t index);
void device_capture(struct device *device);

/* Append an operation; the caller fills its zeroed arguments. Never NULL. */
struct op *device_record(struct device *device, launch_function *launch);
/* So many rows as a list of this bucket has in place of `rows`. */
int32_t device_pad(struct device *device, int32_t rows);
/* The first operation of a list says how many rows it has. */
void device_set_rows(struct device *device, int32_t rows);

/* What lies in a buffer, and what will. */
enum number device_number(const struct device *device, const void *buffer);
void device_set_number(struct device *device, const void *buffer, enum number number);
/* The kind of number that linears of this model read. */
enum number device_narrow(const struct device *device);
bool device_is_own(const struct device *device, const void *at); /* or the host's? */

/* An array of the host that has a number for each row. */
const void *device_row_array(struct device *device, const void *host, int32_t rows, size_t size,
                             int fill);
/* Room for `bytes`; NULL when there is none. It grows while the first lists are recorded, and then
 * no more. */
void *device_scratch(struct device *device, size_t bytes);
/* A larger piece of work space in place of *at, or false. */
bool device_grow(struct device *device, void **at, size_t *bytes, size_t wanted);

#endif
