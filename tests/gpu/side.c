#include "tests/gpu/side.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"

enum { MAX_ROWS = 512, MAX_OPS = 256, MAX_VOCAB = 20480 };

static void *must(void *memory)
{
    if (memory == NULL) {
        fprintf(stderr, "no memory\n");
        exit(2);
    }
    return memory;
}

int side_open(struct side *side, const char *name, bool deterministic, struct error *err)
{
    const bool is_cpu = strncmp(name, "cpu", 3) == 0;
    *side = (struct side){ .obeys_law = is_cpu || deterministic,
                           .error = strcmp(name, "cpu:wrong") == 0 ? 0.3f : 0.0f };
    int r = backend_open(is_cpu ? "cpu" : "cuda", &side->backend, err);
    const struct device_options options = {
        .num_threads = 1,
        .isa = strcmp(name, "cpu:scalar") == 0 ? "scalar" : NULL,
        .max_rows = MAX_ROWS,
        .max_ops = MAX_OPS,
        .max_vocab = MAX_VOCAB,
        .ordinals = !is_cpu && name[4] == ':' ? name + 5 : "0",
        .memory_share = 0.9,
        .max_input_bytes = 16 << 20,
        .is_deterministic = deterministic,
    };
    return r < 0 ? r : side->backend->device_open(&options, &side->device, err);
}

void side_close(struct side *side)
{
    side->backend->device_close(side->device);
    free(side->kept);
}

void side_begin_case(struct side *side, uint64_t seed)
{
    side->random = seed * 0x9e3779b97f4a7c15u + 1;
    side->num_kept = 0;
}

void side_end_case(struct side *side)
{
    for (int32_t i = 0; i < side->num_pools; i++)
        side->backend->kv_free(side->pools[i]);
    for (int32_t i = 0; i < side->num_weights; i++)
        side->backend->weight_free(side->weights[i]);
    for (int32_t i = 0; i < side->num_pieces; i++)
        side->backend->free(side->device, side->pieces[i]);
    for (int32_t i = 0; i < side->num_stores; i++)
        side->backend->store_close(side->stores[i]);
    side->num_pools = side->num_weights = side->num_pieces = side->num_stores = 0;
}

/* --- random numbers --------------------------------------------------------------------------- */

static uint32_t next(struct side *side)
{
    side->random = side->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(side->random >> 33);
}

int32_t side_whole(struct side *side, int32_t low, int32_t high)
{
    return low + (int32_t)(next(side) % (uint32_t)(high - low + 1));
}

float side_float(struct side *side)
{
    return (float)(next(side) >> 7) * 0x1p-23f - 1.0f;
}

bool side_coin(struct side *side)
{
    return (next(side) >> 8 & 1) != 0;
}

/* --- memory -------------------------------------------------------------------------------------
 */

static void *take(struct side *side, size_t bytes)
{
    if (side->num_pieces == SIDE_MAX_PIECES)
        abort();
    return side->pieces[side->num_pieces++] =
               must(side->backend->alloc(side->device, bytes > 0 ? bytes : 4));
}

float *side_put(struct side *side, const float *values, size_t num)
{
    float *at = take(side, num * sizeof(float));
    side->backend->upload(side->device, at, values, num * sizeof(float));
    return at;
}

float *side_random(struct side *side, size_t num, float scale)
{
    float *values = must(malloc((num + 1) * sizeof(float)));
    for (size_t i = 0; i < num; i++)
        values[i] = side_float(side) * scale;
    float *at = side_put(side, values, num);
    free(values);
    return at;
}

float *side_poisoned(struct side *side, size_t num)
{
    float *values = must(malloc((num + 1) * sizeof(float)));
    memset(values, 0xff, num * sizeof(float));
    float *at = side_put(side, values, num);
    free(values);
    return at;
}

int32_t *side_ints(struct side *side, size_t num, const int32_t *values)
{
    int32_t *at = take(side, num * sizeof(int32_t));
    if (values != NULL)
        side->backend->upload(side->device, at, values, num * sizeof(int32_t));
    return at;
}

/* --- weights
 * ---------------------------------------------------------------------------------------- */

static void put_f16(unsigned char *to, float value)
{
    const uint16_t half = half_to_f16(value);
    memcpy(to, &half, sizeof(half));
}

/* A block whose scales are of a usual size, and whose other bytes are anything. */
static void fill_block(struct side *side, enum dtype dtype, unsigned char *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        block[i] = (unsigned char)next(side);
    const float d = 0.01f * (side_float(side) + 1.5f);
    switch (dtype) {
    case DTYPE_Q8_0:
        put_f16(block, d * 0.2f);
        break;
    case DTYPE_Q4_0:
        put_f16(block, d * 3.0f);
        break;
    case DTYPE_Q5_0:
        put_f16(block, d);
        break;
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        put_f16(block, d);
        put_f16(block + 2, -10.0f * d);
        break;
    case DTYPE_Q2_K:
        put_f16(block + 80, d * 0.3f);
        put_f16(block + 82, d * 0.3f);
        break;
    case DTYPE_Q3_K:
        put_f16(block + 108, d * 0.1f);
        break;
    case DTYPE_Q5_K:
    case DTYPE_Q4_K:
        put_f16(block, d * 0.1f);
        put_f16(block + 2, d * 0.5f);
        break;
    default: /* Q6_K */
        put_f16(block + 208, d * 0.01f);
        break;
    }
}

static void fill_row(struct side *side, enum dtype dtype, unsigned char *row, int32_t cols)
{
    if (dtype_is_quant(dtype)) {
        const size_t block = dtype_row_bytes(dtype, dtype_block(dtype));
        for (int32_t b = 0; b < cols / dtype_block(dtype); b++)
            fill_block(side, dtype, row + (size_t)b * block, block);
        return;
    }
    for (int32_t i = 0; i < cols; i++) {
        const float value = side_float(side) * 0.3f;
        const uint32_t bits = float_to_bits(value);
        const uint16_t half = dtype == DTYPE_F16 ? half_to_f16(value) : (uint16_t)(bits >> 16);
        if (dtype == DTYPE_F32)
            memcpy(row + 4 * (size_t)i, &bits, 4);
        else
            memcpy(row + 2 * (size_t)i, &half, 2);
    }
}

/* The group of each input; returns how many there are. Every one has some. */
static int32_t choose_groups(struct side *side, int32_t cols, int32_t group, int32_t *to)
{
    const int32_t most = cols < 5 ? cols : 5;
    for (int32_t k = 0; k < cols; k++)
        to[k] = group > 0    ? k / group
                : group == 0 ? 0
                : k < most   ? k
                             : side_whole(side, 0, most - 1);
    return group > 0 ? (cols + group - 1) / group : group == 0 ? 1 : most;
}

static void fill_scaled_row(struct side *side, enum dtype dtype, const struct scaling *scaling,
                            int32_t cols, unsigned char *row)
{
    unsigned char *scales = row + cols, *zeros = scales + (size_t)scaling->num_groups * 4;
    for (int32_t k = 0; k < cols; k++)
        row[k] = (unsigned char)(dtype == DTYPE_I4        ? next(side) & 15
                                 : dtype == DTYPE_F8_E4M3 ? next(side) % 0x7f | (next(side) & 128)
                                                          : next(side));
    for (int32_t g = 0; g < scaling->num_groups; g++) { /* a value that f16 and bf16 have too */
        const float size = dtype == DTYPE_F8_E4M3 ? 0x1p-10f
                           : dtype == DTYPE_I4    ? 0x1p-5f
                                                  : 0x1p-9f;
        const float scale = size * (1.0f + (float)side_whole(side, 0, 127) / 128.0f);
        memcpy(scales + 4 * (size_t)g, &scale, sizeof(scale));
        if (scaling->has_zeros)
            zeros[g] = (unsigned char)side_whole(side, 0, dtype == DTYPE_I4 ? 15 : 255);
    }
}

/* The first `rows` of each of `num` blocks. */
static void load_rows(struct side *side, struct weight *weight, const struct store_object *object,
                      int32_t num, int32_t rows)
{
    const bool is_scaled = dtype_is_scaled(object->dtype);
    const int32_t stride = object->rows / num, cols = object->cols;
    unsigned char *row = must(malloc(is_scaled ? scaling_row_bytes(&object->scaling, cols)
                                               : dtype_row_bytes(object->dtype, cols)));
    for (int32_t b = 0; b < num; b++)
        for (int32_t r = 0; r < rows; r++) {
            if (is_scaled)
                fill_scaled_row(side, object->dtype, &object->scaling, cols, row);
            else
                fill_row(side, object->dtype, row, cols);
            side->backend->weight_load(weight, b * stride + r, 1, row);
        }
    free(row);
}

static struct weight *make_weight(struct side *side, enum dtype dtype, int32_t num, int32_t rows,
                                  int32_t stride, int32_t cols)
{
    const struct store_object object = { .dtype = dtype, .rows = num * stride, .cols = cols };
    struct error err;
    struct weight *weight;
    if (side->backend->weight_alloc(side->device, dtype, object.rows, cols, &weight, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(2);
    }
    load_rows(side, weight, &object, num, rows);
    return side->weights[side->num_weights++] = weight;
}

struct weight *side_weight(struct side *side, enum dtype dtype, int32_t rows, int32_t cols)
{
    return make_weight(side, dtype, 1, rows, rows, cols);
}

struct weight *side_blocks(struct side *side, enum dtype dtype, int32_t num, int32_t rows,
                           int32_t cols)
{
    return make_weight(side, dtype, num, rows, block_stride(rows), cols);
}

static struct scaling choose_scaling(struct side *side, enum dtype dtype, int32_t cols,
                                     int32_t group, int32_t *groups)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
    return (struct scaling){ .num_groups = choose_groups(side, cols, group, groups),
                             .scales = types[side_whole(side, 0, 2)],
                             .has_zeros = dtype != DTYPE_F8_E4M3 && side_coin(side),
                             .groups = groups };
}

static struct weight_store *make_store(struct side *side, const struct store_object *objects,
                                       int32_t num)
{
    const struct store_key key = { .num_ranks = 1 };
    struct error err;
    struct weight_store **store = &side->stores[side->num_stores++];
    if (side->backend->store_create(side->device, &key, objects, num, store, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(2);
    }
    return *store;
}

struct weight *side_scaled(struct side *side, enum dtype dtype, int32_t num, int32_t rows,
                           int32_t cols, int32_t group)
{
    const struct side_part part = { dtype, rows };
    return side_joined(side, &part, 1, num, cols, group);
}

struct weight *side_joined(struct side *side, const struct side_part *parts, int32_t num_parts,
                           int32_t num, int32_t cols, int32_t group)
{
    struct store_object objects[SIDE_MAX_PARTS];
    const int32_t num_blocks = num > 0 ? num : 1;
    int32_t *groups = must(malloc((size_t)num_parts * (size_t)cols * sizeof(*groups)));
    for (int32_t p = 0; p < num_parts; p++) {
        const enum dtype dtype = parts[p].dtype;
        objects[p] = (struct store_object){
            .dtype = dtype,
            .rows = num > 0 ? num * block_stride(parts[p].rows) : parts[p].rows,
            .cols = cols,
            .is_joined = p > 0,
        };
        if (dtype_is_scaled(dtype))
            objects[p].scaling = choose_scaling(side, dtype, cols, group, groups + p * cols);
        objects[p].scaling.rounds_inputs = dtype == DTYPE_F8_E4M3 && num > 0;
    }
    struct weight_store *store = make_store(side, objects, num_parts);
    for (int32_t p = 0; p < num_parts; p++)
        load_rows(side, side->backend->store_weight(store, p), &objects[p], num_blocks,
                  parts[p].rows);
    free(groups);
    return side->backend->store_weight(store, 0);
}

/* Rows of codes with a scale for each group, those of `scale_rows` rows the same. */
static void load_codes(struct side *side, struct weight *weight, const struct side_codes *part,
                       const struct scaling *scaling, int32_t cols)
{
    const int32_t shared = part->scale_rows > 0 ? part->scale_rows : part->rows;
    const size_t bytes = scaling_row_bytes(scaling, cols);
    unsigned char *row = must(malloc(bytes));
    for (int32_t r = 0; r < part->rows; r++) {
        for (int32_t k = 0; k < cols; k++)
            row[k] = (unsigned char)(next(side) % 0x7f | (next(side) & 128));
        for (int32_t g = 0; r % shared == 0 && g < scaling->num_groups; g++) {
            const float more = (float)side_whole(side, 0, 127) / 128.0f;
            const float scale = 0x1p-10f * (1.0f + (side->has_products ? more : 0.0f));
            memcpy(row + cols + 4 * (size_t)g, &scale, sizeof(scale));
        }
        if (part->has_nan && r == part->rows / 2)
            row[cols / 2] = 0x7f;
        side->backend->weight_load(weight, r, 1, row);
    }
    free(row);
}

void side_codes(struct side *side, const struct side_codes *parts, int32_t num, int32_t cols,
                bool apart, struct weight **ret_weights)
{
    struct store_object objects[2] = { { .rows = 0 } };
    int32_t *groups[2];
    for (int32_t i = 0; i < num; i++) {
        groups[i] = must(malloc((size_t)cols * sizeof(int32_t)));
        objects[i] = (struct store_object){
            .dtype = DTYPE_F8_E4M3,
            .rows = parts[i].rows,
            .cols = cols,
            .is_joined = i > 0 && !apart,
            .scaling = { .num_groups = choose_groups(side, cols, parts[i].group, groups[i]),
                         .rounds_inputs = parts[i].rounds_inputs,
                         .groups = groups[i] },
        };
    }
    struct weight_store *store = make_store(side, objects, num);
    for (int32_t i = 0; i < num; i++) {
        ret_weights[i] = side->backend->store_weight(store, i);
        load_codes(side, ret_weights[i], &parts[i], &objects[i].scaling, cols);
        free(groups[i]);
    }
}

struct kv_pool *side_pool(struct side *side, const struct kv_layout *layout, int32_t num_blocks)
{
    struct error err;
    struct kv_pool *pool;
    if (side->backend->kv_alloc(side->device, layout, num_blocks, &pool, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        exit(2);
    }
    return side->pools[side->num_pools++] = pool;
}

/* --- running
 * ------------------------------------------------------------------------------------------ */

void side_run(struct side *side)
{
    int r = side->backend->submit(side->device);
    if (r == 0)
        r = side->backend->wait(side->device);
    if (r < 0) {
        fprintf(stderr, "%s: a list failed: %s\n", side->backend->name, strerror(-r));
        exit(2);
    }
}

void side_keep_value(struct side *side, float value)
{
    if (side->num_kept == side->room) {
        side->room = 2 * side->room + 1024;
        side->kept = must(realloc(side->kept, side->room * sizeof(float)));
    }
    const bool is_hit = side->error > 0.0f && side->num_kept % 1000 == 7;
    side->kept[side->num_kept++] = is_hit ? value * (1.0f + side->error) + 0.5f : value;
}

void side_keep(struct side *side, const float *from, size_t num)
{
    float *values = must(malloc((num + 1) * sizeof(float)));
    side->backend->download(side->device, values, from, num * sizeof(float));
    for (size_t i = 0; i < num; i++)
        side_keep_value(side, values[i]);
    free(values);
}

struct moe_plan side_plan(struct side *s, int32_t experts, int32_t top_k, int32_t rows)
{
    const size_t pairs = (size_t)(rows * top_k);
    return (struct moe_plan){ .num_experts = experts,
                              .top_k = top_k,
                              .experts = side_ints(s, pairs, NULL),
                              .weights = side_random(s, pairs, 0.0f),
                              .first = side_ints(s, (size_t)experts + 1, NULL),
                              .rows = side_ints(s, pairs, NULL),
                              .places = side_ints(s, pairs, NULL) };
}

void side_multiply(struct side *s, const struct weight *w, int32_t outs, int32_t cols, int32_t rows)
{
    float *x = side_random(s, (size_t)(rows * cols), 1.0f);
    float *bias = side_coin(s) ? side_random(s, (size_t)outs, 1.0f) : NULL;
    float *out = side_poisoned(s, (size_t)(rows * outs));
    s->backend->begin(s->device);
    s->backend->linear(s->device, out, w, bias, x, rows);
    side_run(s);
    side_keep(s, out, (size_t)(rows * outs));
}
