/*
 * Where a GPU's memory goes, to the byte, and what is left of it. The module is the emulated one,
 * whose GPU has TOKENRING_EMULATED_MIB of memory in pages of 64 KiB, of which another process has
 * TOKENRING_EMULATED_OTHERS_MIB.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "tests/unit/runner.h"

enum { MIB = 1 << 20, PAGE = 65536, MAX_USES = 16, RESERVED_MIB = 512 + 64 };

static const struct backend *backend;

static struct device *open_device(const struct device_options *more)
{
    struct device_options options = { .num_threads = 1,
                                      .max_rows = 32,
                                      .max_ops = 64,
                                      .max_vocab = 256,
                                      .max_input_bytes = MIB,
                                      .memory_share = 0.5 };
    struct device *device;
    struct error err;
    if (more != NULL) {
        options.num_ranks = more->num_ranks;
        options.rank = more->rank;
        options.ordinals = more->ordinals;
        options.memory_share = more->memory_share > 0 ? more->memory_share : 0.5;
    }
    ck_assert_int_eq(backend_open("cuda", &backend, &err), 0);
    ck_assert_int_eq(backend->device_open(&options, &device, &err), 0);
    return device;
}

static void set_memory(const char *whole, const char *others)
{
    setenv("TOKENRING_EMULATED_MIB", whole, 1);
    setenv("TOKENRING_EMULATED_OTHERS_MIB", others, 1);
}

static size_t use_of(const struct device *device, const char *what)
{
    struct memory_use uses[MAX_USES];
    const int32_t num = backend->memory_uses(device, uses, MAX_USES);
    for (int32_t i = 0; i < num; i++)
        if (strcmp(uses[i].what, what) == 0)
            return uses[i].bytes;
    ck_abort_msg("no use is called %s", what);
}

static size_t all_uses(const struct device *device)
{
    struct memory_use uses[MAX_USES];
    const int32_t num = backend->memory_uses(device, uses, MAX_USES);
    size_t sum = 0;
    for (int32_t i = 0; i < num; i++)
        sum += uses[i].bytes;
    return sum;
}

/* What is smaller than half a page shares one; what is larger has whole pages. */
START_TEST(every_byte_is_of_a_use_and_comes_back)
{
    set_memory("2048", "0");
    struct device *device = open_device(NULL);
    const size_t before = all_uses(device), pages = use_of(device, "activations");
    void *small[] = { backend->alloc(device, 1), backend->alloc(device, 300) };
    void *large = backend->alloc(device, MIB + 1);
    ck_assert_int_eq(use_of(device, "activations") - pages, PAGE + MIB + PAGE);
    ck_assert_int_eq(all_uses(device) - before, PAGE + MIB + PAGE);
    backend->free(device, small[0]);
    ck_assert_int_eq(use_of(device, "activations") - pages, PAGE + MIB + PAGE);
    backend->free(device, small[1]);
    ck_assert_int_eq(use_of(device, "activations") - pages, MIB + PAGE);
    backend->free(device, large);
    ck_assert_int_eq(all_uses(device), before);
    backend->device_close(device);
}
END_TEST

START_TEST(weights_and_pages_are_counted_as_what_they_are)
{
    set_memory("2048", "0");
    struct device *device = open_device(NULL);
    const struct kv_layout layout = {
        .num_layers = 2, .num_kv_heads = 2, .head_dim = 64, .block_size = 16, .dtype = DTYPE_F16
    };
    struct weight *weight;
    struct kv_pool *pool;
    struct error err;
    ck_assert_int_eq(use_of(device, "weights"), 0);
    ck_assert_int_eq(use_of(device, "KV cache"), 0);
    ck_assert_int_eq(backend->weight_alloc(device, DTYPE_BF16, 1024, 512, &weight, &err), 0);
    ck_assert_int_eq(use_of(device, "weights"), 1024 * 512 * 2);
    ck_assert_int_eq(backend->weight_bytes(weight), 1024 * 512 * 2);
    ck_assert_int_eq(backend->kv_alloc(device, &layout, 64, &pool, &err), 0);
    const size_t blocks = 64 * kv_block_bytes(&layout);
    ck_assert_int_ge(use_of(device, "KV cache"), blocks);
    ck_assert_int_lt(use_of(device, "KV cache"), blocks + 2 * PAGE);
    backend->kv_free(pool);
    backend->weight_free(weight);
    ck_assert_int_eq(use_of(device, "weights"), 0);
    ck_assert_int_eq(use_of(device, "KV cache"), 0);
    backend->device_close(device);
}
END_TEST

static void multiply(struct device *device, const struct weight *weight, float *out, const float *x,
                     int32_t rows)
{
    backend->begin(device);
    backend->linear(device, out, weight, NULL, x, rows);
    ck_assert_int_eq(backend->submit(device), 0);
    ck_assert_int_eq(backend->wait(device), 0);
}

/* Rows of E4M3 are multiplied where they are: nothing is written out but x, as bf16 and as codes
 * with a scale for each row. Few rows need no codes. */
START_TEST(rounded_inputs_are_work_space)
{
    enum { OUTS = 256, COLS = 512, FEW = 64, MANY = 80 };
    const int32_t groups[COLS] = { 0 };
    const struct store_object object = {
        .dtype = DTYPE_F8_E4M3,
        .rows = OUTS,
        .cols = COLS,
        .scaling = { .rounds_inputs = true, .num_groups = 1, .groups = groups }
    };
    const struct store_key key = { .num_ranks = 1 };
    unsigned char row[COLS + sizeof(float)] = { 0 };
    struct weight_store *store;
    struct error err;
    set_memory("2048", "0");
    struct device *device = open_device(NULL);
    ck_assert_int_eq(backend->store_create(device, &key, &object, 1, &store, &err), 0);
    struct weight *weight = backend->store_weight(store, 0);
    ck_assert_int_eq(backend->weight_bytes(weight), OUTS * COLS + OUTS * sizeof(float));
    for (int32_t r = 0; r < OUTS; r++)
        backend->weight_load(weight, r, 1, row);
    float *x = backend->alloc(device, MANY * COLS * sizeof(float));
    float *out = backend->alloc(device, MANY * OUTS * sizeof(float));
    const size_t before = use_of(device, "workspace");
    multiply(device, weight, out, x, FEW);
    ck_assert_int_eq(use_of(device, "workspace") - before, FEW * COLS * 2);
    multiply(device, weight, out, x, MANY);
    const size_t larger = (MANY * COLS * 2 + PAGE - 1) / PAGE * PAGE, codes = PAGE;
    ck_assert_int_eq(use_of(device, "workspace") - before, FEW * COLS * 2 + larger + codes);
    multiply(device, weight, out, x, MANY);
    ck_assert_int_eq(use_of(device, "workspace") - before, FEW * COLS * 2 + larger + codes);
    backend->store_close(store);
    backend->device_close(device);
}
END_TEST

/* A share of the whole, less what is taken and what linears want later. */
START_TEST(what_is_left_is_of_the_share)
{
    set_memory("4096", "0");
    struct device *device = open_device(NULL);
    const int64_t used = (int64_t)all_uses(device);
    ck_assert_int_eq(backend->memory_left(device), (2048 - RESERVED_MIB) * (int64_t)MIB - used);
    void *taken = backend->alloc(device, 100 * MIB);
    ck_assert_int_eq(backend->memory_left(device), (1948 - RESERVED_MIB) * (int64_t)MIB - used);
    backend->free(device, taken);
    backend->device_close(device);
}
END_TEST

START_TEST(what_other_processes_have_is_not_left)
{
    set_memory("4096", "3000");
    struct device *device = open_device(NULL);
    ck_assert_int_eq(use_of(device, "driver and others"), 3000 * (size_t)MIB);
    const int64_t used = (int64_t)all_uses(device) - 3000 * (int64_t)MIB;
    ck_assert_int_eq(backend->memory_left(device), (1096 - RESERVED_MIB) * (int64_t)MIB - used);
    void *taken = backend->alloc(device, 1000 * MIB - (size_t)used);
    ck_assert_ptr_nonnull(taken);
    ck_assert_int_eq(backend->memory_left(device), 0); /* never less */
    backend->free(device, taken);
    backend->device_close(device);
}
END_TEST

START_TEST(ranks_of_one_gpu_share_it_out)
{
    set_memory("4096", "0");
    const struct device_options two = { .num_ranks = 2, .ordinals = "0,0", .memory_share = 1.0 };
    const struct device_options apart = { .num_ranks = 2, .ordinals = "0,1", .memory_share = 1.0 };
    struct device *device = open_device(&two);
    const int64_t used = (int64_t)all_uses(device);
    ck_assert_int_le(backend->memory_left(device), (2048 - RESERVED_MIB) * (int64_t)MIB);
    ck_assert_int_ge(backend->memory_left(device), (2048 - RESERVED_MIB) * (int64_t)MIB - used);
    backend->device_close(device);
    device = open_device(&apart);
    ck_assert_int_eq(backend->memory_left(device), (4096 - RESERVED_MIB) * (int64_t)MIB - used);
    backend->device_close(device);
}
END_TEST

/* Of 99 KiB for a block, as GPUs for desks have it. */
START_TEST(heads_that_need_more_shared_memory_are_refused)
{
    struct kv_layout layout = {
        .num_layers = 1, .num_kv_heads = 1, .head_dim = 256, .block_size = 16, .dtype = DTYPE_F16
    };
    struct error err;
    struct kv_pool *pool;
    set_memory("1024", "0");
    setenv("TOKENRING_EMULATED_SHARED_KIB", "99", 1);
    struct device *device = open_device(NULL);
    ck_assert_int_eq(backend->kv_alloc(device, &layout, 4, &pool, &err), -ENOTSUP);
    ck_assert_ptr_nonnull(strstr(err.message, "wanted at most 128 on a GPU with 99 KiB"));
    layout.head_dim = 128;
    ck_assert_int_eq(backend->kv_alloc(device, &layout, 4, &pool, &err), 0);
    backend->kv_free(pool);
    backend->device_close(device);
    unsetenv("TOKENRING_EMULATED_SHARED_KIB");
}
END_TEST

START_TEST(weights_that_do_not_fit_are_one_sentence)
{
    set_memory("1024", "500");
    struct device *device = open_device(NULL);
    const struct store_object object = { .dtype = DTYPE_BF16, .rows = 32768, .cols = 16384 };
    const struct store_key key = { .num_ranks = 1 };
    struct weight_store *store;
    struct error err;
    ck_assert_int_eq(backend->store_create(device, &key, &object, 1, &store, &err), -ENOMEM);
    ck_assert_str_eq(err.param, "gpu_memory_utilization");
    ck_assert_ptr_nonnull(strstr(err.message, "weights need 1.00 GiB"));
    ck_assert_ptr_nonnull(strstr(err.message, "of 1.00 GiB are free"));
    ck_assert_ptr_nonnull(strstr(err.message, "other processes 0.49 GiB"));
    backend->device_close(device);
}
END_TEST

RUN_SUITE("gpu_memory", every_byte_is_of_a_use_and_comes_back,
          weights_and_pages_are_counted_as_what_they_are, rounded_inputs_are_work_space,
          what_is_left_is_of_the_share, what_other_processes_have_is_not_left,
          ranks_of_one_gpu_share_it_out, heads_that_need_more_shared_memory_are_refused,
          weights_that_do_not_fit_are_one_sentence)
