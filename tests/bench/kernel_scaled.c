/* Products by weights with scales: groups of 128 inputs, as GPTQ, AWQ and blocks of FP8 have them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_rig.h"

enum { WIDTH = 4096, GROUP = 128, MAX_MATRICES = 64, MAX_ROWS = 512 };

struct scaled_bench {
    struct weight_store *store;
    int32_t num_weights, rows;
    float *x, *out;
};

static void record_scaled(void *argument)
{
    const struct scaled_bench *bench = argument;
    for (int32_t i = 0; i < bench->num_weights; i++)
        backend->linear(device, bench->out, backend->store_weight(bench->store, i), NULL, bench->x,
                        bench->rows);
}

/* Rows of random q, none of them NaN, with scales near 2^-8. */
static void fill_rows(const struct store_object *object, unsigned char *rows, uint64_t *state)
{
    const size_t row_bytes = scaling_row_bytes(&object->scaling, WIDTH);
    for (size_t r = 0; r < 32; r++) {
        unsigned char *row = rows + r * row_bytes;
        for (size_t k = 0; k < row_bytes; k++)
            row[k] = (unsigned char)(kernel_rig_random(state) >> 32 & 15);
        for (size_t g = 0; g < WIDTH / GROUP; g++) {
            const float scale = 0x1p-8f * (1.0f + (float)(kernel_rig_random(state) >> 60));
            memcpy(row + WIDTH + 4 * g, &scale, sizeof(scale));
        }
    }
}

static struct weight_store *make_store(const struct store_object *object, int32_t num)
{
    const struct store_key key = { .num_ranks = 1 };
    struct store_object objects[MAX_MATRICES];
    struct weight_store *store;
    struct error err;
    uint64_t state = 0x7654321;
    unsigned char *rows = malloc(32 * scaling_row_bytes(&object->scaling, WIDTH));
    for (int32_t i = 0; i < num; i++)
        objects[i] = *object;
    if (rows == NULL || backend->store_create(device, &key, objects, num, &store, &err) < 0) {
        fprintf(stderr, "no memory for %d matrices\n", num);
        exit(1);
    }
    fill_rows(object, rows, &state);
    for (int32_t i = 0; i < num; i++)
        for (int32_t row = 0; row < WIDTH; row += 32)
            backend->weight_load(backend->store_weight(store, i), row, 32, rows);
    free(rows);
    return store;
}

static void bench_type(const struct store_object *object, int32_t num, int num_rows,
                       const struct probe *probe)
{
    static const int32_t rows[] = { 1, 2, 3, 4, 8, 64, MAX_ROWS };
    const double bytes = (double)scaling_panel_bytes(object) * WIDTH / 32;
    struct scaled_bench bench = { .store = make_store(object, num),
                                  .x = kernel_rig_floats((size_t)MAX_ROWS * WIDTH),
                                  .out = kernel_rig_floats((size_t)MAX_ROWS * WIDTH) };
    for (int i = 0; i < num_rows; i++) {
        char what[96];
        bench.rows = rows[i];
        bench.num_weights = rows[i] > 16 && num > 4 ? 4 : num;
        const struct timing time = kernel_rig_best_of(record_scaled, &bench, 3);
        snprintf(what, sizeof(what), "linear %s %d x %d, %d rows, %d matrices",
                 dtype_name(object->dtype), WIDTH, WIDTH, bench.rows, bench.num_weights);
        kernel_rig_print(what, time, bytes * bench.num_weights,
                         2.0 * WIDTH * WIDTH * bench.rows * bench.num_weights, probe);
    }
    backend->store_close(bench.store);
    backend->free(device, bench.x);
    backend->free(device, bench.out);
}

void kernel_linear_scaled(const struct probe *probe, bool plain)
{
    static int32_t groups[WIDTH];
    for (int32_t k = 0; k < WIDTH; k++)
        groups[k] = k / GROUP;
    const struct store_object objects[] = {
        { DTYPE_F8_E4M3, WIDTH, WIDTH, { DTYPE_F32, false, WIDTH / GROUP, groups }, false },
        { DTYPE_I4, WIDTH, WIDTH, { DTYPE_F16, false, WIDTH / GROUP, groups }, false },
        { DTYPE_I4, WIDTH, WIDTH, { DTYPE_F16, true, WIDTH / GROUP, groups }, false },
    };
    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++)
        bench_type(&objects[i],
                   plain                          ? 2
                   : objects[i].dtype == DTYPE_I4 ? 64
                                                  : 32,
                   plain ? 2 : 7, probe);
}
