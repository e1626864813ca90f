/*
 * weight.h - a matrix [rows][cols] in the device's memory
 *
 * Plain ones (f32, f16, bf16) are row-major, a row rounded up to 32 numbers, zeros behind; as the
 * file has them, so that cuBLASLt reads them too. All others lie in tiles of 16 rows; a tile's
 * inputs are units of 32, and lane 4 g + t of a warp has of a unit inputs 4 t .. 4 t + 3 and
 * 16 + 4 t .. 16 + 4 t + 3 of row g and of row g + 8: four pairs of each, what it wants for two
 * products (mma.cuh). One 16-byte load of a lane is
 *     I8 (Q8_0, I8)        : a unit: the inputs of row g in order, then those of row g + 8
 *     E4M3                 : the same, but of four inputs in the order 2, 0, 3, 1
 *     U4 (Q4_0, Q4_1, Q4_K, I4) : two units: of each a word of row g and one of row g + 8; pair i
 *                            has its first input at bit 4 i, its second at 16 + 4 i
 *     U5 (Q5_0, Q5_1, Q5_K), U6 (Q6_K) : the same of their low four bits
 *     U2 (Q2_K), U3 (Q3_K) : four units: of each a word; pair i of row g at bits 2 i and 16 + 2 i,
 *                            of row g + 8 eight bits above
 * and `high` has, for the same units, a lane's upper bits: of U5 and U3 16 bits a unit's worth of
 * pairs, one bit each (unit j, row, pair at bit 8 j + 4 row + pair and 16 above, two units a word),
 * of U6 a word a unit, laid out as of U2.
 *
 * Scales are [tiles][groups][16 rows]: of GGUF's blocks a group is a unit, f16, and minima
 * likewise. K-quants but Q4_K have what their file has: `tails` [tiles][units][16 rows] two bytes
 * (Q5_K scale and minimum, the others one for each half of the unit), and in `scales`, for 256
 * inputs, two f16 that those are factors of. Q4_K's products of both are rounded to f16.
 *
 * Weights with scales (struct scaling) have their columns sorted by group, a group rounded up to
 * whole units; where that is another order than x has, `order` says it and x is copied in that
 * order first. A scale is kept as what it was, a zero point as a byte. A code of E4M3 that is NaN
 * makes its group's scale NaN.
 *
 * Such weights of E4M3 whose inputs may be rounded (scaling.rounds_inputs, on a device that does)
 * are rows as well, one byte a number, of whole runs of 128 columns, where their groups allow it:
 * one for all columns, or each of 128. Their scales are f32; where all rows of each 128 have the
 * same, `blocks` has them once, [rows / 128][groups rounded up to 4], as cuBLASLt takes them.
 *
 * Rows are rounded up to 32, zeros. Each part but the last three lies tile after tile: what is not
 * plain is packed on the host, some tiles at a time (weight_load.c).
 */
#ifndef KERNELS_CUDA_WEIGHT_H
#define KERNELS_CUDA_WEIGHT_H

#include "kernels/backend.h"
#include "kernels/cuda/ops.h"

enum weight_part {
    WEIGHT_DATA, /* must be first */
    WEIGHT_HIGH,
    WEIGHT_SCALES,
    WEIGHT_MINS,
    WEIGHT_TAILS,
    WEIGHT_ZEROS,
    WEIGHT_UNIT_GROUPS, /* this and what follows: tables of the whole matrix */
    WEIGHT_ORDER,
    WEIGHT_BLOCKS,
    WEIGHT_NUM_PARTS
};

/* Of a type with scales: how its rows come. */
struct weight_scaling {
    bool has_zeros;
    int32_t num_groups;
    int32_t *groups; /* [cols] */
    int32_t *places; /* [cols]: the column of each input */
};

struct weight {
    struct device *device;
    enum dtype dtype;
    struct matrix matrix;
    size_t data_bytes;                   /* of the device: of the first part */
    size_t part_bytes[WEIGHT_NUM_PARTS]; /* of the others */
    bool is_owner;                       /* of its memory: no store's */
    struct weight_scaling scaling;
    uint32_t *blocks; /* bits of scales that 128 rows have in common, as they come; or NULL */
    _Atomic bool blocks_differ; /* they have nothing in common: it has no blocks */
    struct weight_edge *edges;  /* tiles of which rows are missing */
    struct weight *next_dirty;
    bool is_dirty;             /* in the device's list of those that have had edges */
    const struct weight *next; /* whose outputs lie behind these, or NULL */
};

static inline int32_t weight_all_rows(const struct weight *weight)
{
    int32_t rows = 0;
    for (; weight != NULL; weight = weight->next)
        rows += weight->matrix.rows;
    return rows;
}

/* The form of a matrix without memory; `rounds`: of a device that may round inputs to E4M3. 0,
 * -EINVAL, -EOVERFLOW, -ENOTSUP, -ENOMEM. */
int weight_describe(const struct store_object *object, bool rounds, struct weight *ret_weight,
                    struct error *err);
void weight_forget(struct weight *weight);        /* what weight_describe() and loading took */
size_t weight_total(const struct weight *weight); /* bytes, parts rounded up to 256 */
void weight_place(struct weight *weight, unsigned char *at);
int weight_load_tables(struct weight *weight); /* to where it was placed; 0 or -ENOMEM */

int weight_alloc(struct device *device, enum dtype dtype, int32_t rows, int32_t cols,
                 struct weight **ret_weight, struct error *err);
void weight_free(struct weight *weight);
size_t weight_bytes(const struct weight *weight);

/* weight_load.c: as in backend.h, and tiles that came in pieces. */
void weight_load(struct weight *weight, int32_t first_row, int32_t num_rows, const void *from);
bool weight_send(struct weight *weight, int32_t first_row, int32_t num_rows, struct load_room *room,
                 const void *from, size_t stride);
void weight_send_edges(struct weight *weight); /* as if the missing rows were zeros; and blocks */
void weight_drop_edges(struct weight *weight);

#endif
