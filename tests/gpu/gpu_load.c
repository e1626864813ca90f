/*
 * How weights reach a GPU: from where they were read, without a copy by the host, and never from
 * memory that has been read into again. The module is the emulated one. Its queue copies as late as
 * can be (TOKENRING_EMULATED_LATE), and it ends the process where weights are copied from memory
 * that is not pinned.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/half.h"
#include "tests/unit/runner.h"
#include "worker/model/loader.h"

enum { ROWS = 1200, COLS = 4096, NUM = ROWS * COLS, MAX_ROWS = 256, MAX_ROOMS = 1024, STEP = 7 };

static const struct backend *real;
static struct backend backend; /* the same, and counts */
static struct device *device;
static struct weight_store *store;
static struct error err;
static _Atomic int num_rooms, num_loads;

static int count_room(struct device *d, size_t bytes, struct load_room **ret_room)
{
    atomic_fetch_add(&num_rooms, 1);
    return real->room_open(d, bytes, ret_room);
}

static void count_load(struct weight *weight, int32_t first_row, int32_t num, const void *from)
{
    atomic_fetch_add(&num_loads, 1);
    real->weight_load(weight, first_row, num, from);
}

static void open_device(void)
{
    const struct device_options options = { .num_threads = 4,
                                            .max_rows = MAX_ROWS,
                                            .max_ops = 64,
                                            .max_vocab = 256,
                                            .max_input_bytes = 1 << 20,
                                            .memory_share = 0.9 };
    ck_assert_msg(backend_open("cuda", &real, &err) == 0, "%s", err.message);
    backend = *real;
    backend.room_open = count_room;
    backend.weight_load = count_load;
    ck_assert_msg(backend.device_open(&options, &device, &err) == 0, "%s", err.message);
}

static struct weight *make_weight(const struct store_object *object)
{
    const struct store_key key = { .num_ranks = 1 };
    ck_assert_msg(backend.store_create(device, &key, object, 1, &store, &err) == 0, "%s",
                  err.message);
    return backend.store_weight(store, 0);
}

static void seal(void)
{
    int fd;
    ck_assert_msg(backend.store_seal(store, &fd, &err) == 0, "%s", err.message);
    ck_assert_int_eq(fd, -1);
}

static void close_device(void)
{
    backend.store_close(store);
    backend.device_close(device);
}

/* So many rows as floats, `step` from one to the next; free() them. */
static float *read_weight(const struct weight *weight, int32_t rows, int32_t step, int32_t cols)
{
    const size_t row_bytes = (size_t)cols * sizeof(float);
    float *all = malloc((size_t)rows * row_bytes);
    float *out = backend.alloc(device, MAX_ROWS * row_bytes);
    int32_t ids[MAX_ROWS];
    ck_assert(all != NULL && out != NULL);
    for (int32_t first = 0; first < rows; first += MAX_ROWS) {
        const int32_t num = rows - first < MAX_ROWS ? rows - first : MAX_ROWS;
        for (int32_t i = 0; i < num; i++)
            ids[i] = (first + i) * step;
        backend.begin(device);
        backend.embed(device, out, weight, 1.0f, ids, num);
        ck_assert_int_eq(backend.submit(device), 0);
        ck_assert_int_eq(backend.wait(device), 0);
        backend.download(device, all + (size_t)first * (size_t)cols, out, (size_t)num * row_bytes);
    }
    backend.free(device, out);
    return all;
}

/* --- a file ----------------------------------------------------------------------------------- */

static int file_fd;
static struct checkpoint checkpoint;
static uint16_t *halves; /* of tensor "a": ROWS x COLS of bf16, none of them NaN */

/* Beside the program, where a file system usually has direct reads; it has no name any more when
 * the test begins. */
static void make_file(void)
{
    char header[200] = { 0 }, folder[] = "gpu_load_XXXXXX", path[64];
    uint64_t len = sizeof(header) - 3; /* what follows is aligned to nothing */
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/model.safetensors", folder);
    halves = malloc(NUM * sizeof(*halves));
    ck_assert_ptr_nonnull(halves);
    for (uint32_t i = 0, state = 1; i < NUM; i++)
        halves[i] = (uint16_t)((state = state * 1664525 + 1013904223) >> 16 & 0xbfff);
    memset(header, ' ', sizeof(header));
    const int num = snprintf(header, sizeof(header),
                             "{\"a\":{\"dtype\":\"BF16\",\"shape\":[%d,%d],"
                             "\"data_offsets\":[0,%zu]}}",
                             ROWS, COLS, NUM * sizeof(*halves));
    header[num] = ' ';
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    fwrite(&len, sizeof(len), 1, file);
    fwrite(header, 1, len, file);
    ck_assert_uint_eq(fwrite(halves, sizeof(*halves), NUM, file), NUM);
    ck_assert_int_eq(fflush(file), 0);
    ck_assert_int_eq(fsync(fileno(file)), 0);
    file_fd = dup(fileno(file));
    fclose(file);
    const int r = checkpoint_open(folder, &checkpoint, &err);
    unlink(path);
    rmdir(folder);
    ck_assert_msg(r == 0, "%s", err.message);
}

static void setup(void)
{
    setenv("TOKENRING_EMULATED_LATE", "1", 1);
    store = NULL;
}

static void open_file(void)
{
    make_file();
    open_device();
}

static void close_file(void)
{
    close_device();
    checkpoint_close(&checkpoint);
    free(halves);
    close(file_fd);
}

/* What ranks take of the tensor: all its columns, a range that lies alike in the pages of each row
 * (of 8192 bytes), or one that would not, had the tensor's rows another length. */
struct cut {
    int32_t file_cols, first, cols;
};

static struct loader_part part_of(const struct cut *cut)
{
    return (struct loader_part){ .tensor = checkpoint_find(&checkpoint, "a"),
                                 .num_rows = NUM / cut->file_cols,
                                 .tensor_col = cut->first,
                                 .tensor_cols = cut->file_cols };
}

static int load(const struct cut *cut, enum dtype dtype, int32_t num_threads, enum read_io io,
                struct weight **ret_weight, bool *ret_direct)
{
    const struct loader_part part = part_of(cut);
    const struct store_object object = { .dtype = dtype, .rows = part.num_rows, .cols = cut->cols };
    *ret_weight = make_weight(&object);
    const struct loader_matrix matrix = { .weight = *ret_weight,
                                          .dtype = dtype,
                                          .rows = part.num_rows,
                                          .cols = cut->cols,
                                          .parts = &part,
                                          .num_parts = 1 };
    const struct loader_options options = { .num_threads = num_threads,
                                            .io = io,
                                            .ret_direct = ret_direct };
    atomic_store(&num_rooms, 0);
    atomic_store(&num_loads, 0);
    return loader_run(&backend, device, &matrix, 1, &options, &err);
}

/* Each seventh row: of each block, panel and page some. */
static void check_weight(const struct weight *weight, const struct cut *cut)
{
    const int32_t rows = (NUM / cut->file_cols + STEP - 1) / STEP;
    float *found = read_weight(weight, rows, STEP, cut->cols);
    for (int32_t r = 0; r < rows; r++)
        for (int32_t c = 0; c < cut->cols; c++) {
            const size_t at = (size_t)(r * STEP) * (size_t)cut->file_cols;
            const float wanted = half_from_bf16(halves[at + (size_t)(cut->first + c)]);
            const float value = found[(size_t)r * (size_t)cut->cols + (size_t)c];
            if (memcmp(&value, &wanted, sizeof(value)) != 0)
                ck_abort_msg("row %d, column %d: %g, wanted %g", r * STEP, c, (double)value,
                             (double)wanted);
        }
    free(found);
}

static struct load_report report_of(void)
{
    struct load_report report;
    backend.load_report(device, &report);
    return report;
}

static size_t bytes_of(const struct cut *cut, size_t size)
{
    return (size_t)(NUM / cut->file_cols) * (size_t)cut->cols * size;
}

/* --- plain matrices --------------------------------------------------------------------------- */

static const struct cut whole = { COLS, 0, COLS };
static const struct cut cuts[] = { { COLS, 0, COLS }, /* all */
                                   { COLS, 7, 2048 }, /* as ranks cut, at the same place of pages */
                                   { 1200, 0, 1200 }, /* rows of no whole 32 there */
                                   { 1200, 300, 300 }, /* each row at another place of its page */
                                   { 150, 10, 100 } }; /* rows so near that gaps are read too */
enum { NUM_CUTS = sizeof(cuts) / sizeof(cuts[0]) };

/* With one thread each room is read into many times. Where the file system, or the host, has no
 * direct reads, buffered ones are tested again. */
START_TEST(plain_matrices_are_copied_from_where_they_were_read)
{
    const struct cut *cut = &cuts[_i % NUM_CUTS];
    const int32_t threads = _i / NUM_CUTS == 0 ? 1 : 3;
    struct weight *weight;
    bool direct;
    open_file();

    ck_assert_int_eq(load(cut, DTYPE_BF16, threads, READ_IO_DIRECT, &weight, &direct), 0);
    seal();

    check_weight(weight, cut);
    const struct load_report report = report_of();
    ck_assert_uint_eq(report.sent, bytes_of(cut, 2));
    ck_assert_uint_eq(report.copied + report.packed, 0);
    ck_assert_int_eq(atomic_load(&num_loads), 0);
    if (direct && cut != &cuts[3]) /* nothing was gathered by the host */
        ck_assert_int_eq(atomic_load(&num_rooms) % READ_AHEAD_SLOTS, 0);
    close_file();
}
END_TEST

START_TEST(what_is_in_the_page_cache_is_read_into_rooms)
{
    struct weight *weight;
    bool direct;
    open_file();

    ck_assert_int_eq(load(&whole, DTYPE_BF16, 1 + _i, READ_IO_BUFFERED, &weight, &direct), 0);
    seal();

    check_weight(weight, &whole);
    ck_assert(!direct);
    ck_assert_uint_eq(report_of().sent, bytes_of(&whole, 2));
    ck_assert_int_eq(atomic_load(&num_loads), 0);
    close_file();
}
END_TEST

START_TEST(what_is_widened_is_widened_in_a_room)
{
    struct weight *weight;
    bool direct;
    open_file();

    ck_assert_int_eq(load(&whole, DTYPE_F32, 2, READ_IO_DIRECT, &weight, &direct), 0);
    seal();

    check_weight(weight, &whole);
    ck_assert_uint_eq(report_of().sent, bytes_of(&whole, 4));
    ck_assert_int_eq(atomic_load(&num_loads), 0);
    close_file();
}
END_TEST

/* None at all, or too few for all threads. */
START_TEST(a_host_that_pins_no_memory_loads_the_same)
{
    struct weight *weight;
    bool direct;
    setenv("TOKENRING_EMULATED_PINNED_MIB", _i == 0 ? "0" : "20", 1);
    open_file();

    ck_assert_int_eq(load(&whole, DTYPE_BF16, 3, READ_IO_DIRECT, &weight, &direct), 0);
    seal();

    check_weight(weight, &whole);
    const struct load_report report = report_of();
    ck_assert_uint_eq(report.sent + report.copied, bytes_of(&whole, 2));
    ck_assert(_i > 0 || report.sent == 0);
    close_file();
}
END_TEST

/* All rooms that there are can be had again. */
START_TEST(a_file_that_ends_too_early_is_named_and_leaves_no_room_behind)
{
    struct load_room *rooms[MAX_ROOMS];
    struct weight *weight;
    bool direct;
    int num = 0, again = 0;
    open_file();
    while (num < MAX_ROOMS && backend.room_open(device, 1, &rooms[num]) == 0)
        num++;
    ck_assert_int_gt(num, 8 * READ_AHEAD_SLOTS);
    for (int i = 0; i < num; i++)
        backend.room_close(rooms[i]);
    ck_assert_int_eq(ftruncate(file_fd, NUM), 0);

    ck_assert_int_eq(
        load(&whole, DTYPE_BF16, 3, _i == 0 ? READ_IO_DIRECT : READ_IO_BUFFERED, &weight, &direct),
        -EIO);
    ck_assert_str_eq(err.message, "tensor a: the file ends before it, or cannot be read");

    while (again < MAX_ROOMS && backend.room_open(device, 1, &rooms[again]) == 0)
        again++;
    ck_assert_int_eq(again, num);
    for (int i = 0; i < num; i++)
        backend.room_close(rooms[i]);
    backend.room_close(NULL);
    close_file();
}
END_TEST

/* From rooms, from the ring, and in the middle of either. */
START_TEST(weights_that_do_not_arrive_are_one_sentence)
{
    struct weight *weight;
    bool direct;
    int fd;
    setenv("TOKENRING_EMULATED_LOADS", _i % 2 == 0 ? "0" : "3", 1);
    setenv("TOKENRING_EMULATED_PINNED_MIB", _i < 2 ? "4096" : "0", 1);
    open_file();

    ck_assert_int_eq(load(&whole, DTYPE_BF16, 2, READ_IO_DIRECT, &weight, &direct), 0);

    ck_assert_int_eq(backend.store_seal(store, &fd, &err), -EIO);
    ck_assert_str_eq(err.message, "the weights did not reach the GPU: the bus is gone");
    ck_assert_int_eq(backend.store_seal(store, &fd, &err), -EIO); /* it stays so */
    close_file();
}
END_TEST

/* --- packed ones ------------------------------------------------------------------------------ */

static const enum dtype packed[] = { DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1,   DTYPE_Q4_K, DTYPE_Q5_0,
                                     DTYPE_Q5_1, DTYPE_Q5_K, DTYPE_Q6_K,   DTYPE_Q3_K, DTYPE_Q2_K,
                                     DTYPE_I8,   DTYPE_I4,   DTYPE_F8_E4M3 };
enum { NUM_PACKED = sizeof(packed) / sizeof(packed[0]), TALL = 109, WIDE = 512 };

/* Groups of 128 inputs, in an order of their own. */
static struct store_object packed_object(enum dtype dtype, int32_t rows, int32_t cols,
                                         int32_t *groups)
{
    struct store_object object = { .dtype = dtype, .rows = rows, .cols = cols };
    for (int32_t k = 0; k < cols; k++)
        groups[k] = k * 7 % cols / 128;
    if (dtype_is_scaled(dtype))
        object.scaling = (struct scaling){ .scales = DTYPE_F32,
                                           .has_zeros = dtype == DTYPE_I4,
                                           .num_groups = cols / 128,
                                           .groups = groups };
    return object;
}

/* Random quants, scales that are no NaN. */
static unsigned char *packed_rows(const struct store_object *object, size_t *ret_row_bytes)
{
    const size_t bytes = dtype_is_scaled(object->dtype)
                             ? scaling_row_bytes(&object->scaling, object->cols)
                             : dtype_row_bytes(object->dtype, object->cols);
    unsigned char *rows = malloc((size_t)object->rows * bytes);
    uint32_t state = 7;
    ck_assert_ptr_nonnull(rows);
    for (size_t i = 0; i < (size_t)object->rows * bytes; i++)
        rows[i] = (unsigned char)((state = state * 1664525 + 1013904223) >> 24 & 0x2f);
    *ret_row_bytes = bytes;
    return rows;
}

/* First row and number of rows of each call. */
static const struct {
    int32_t first, num;
} at_once[] = { { 0, TALL } },
  in_order[] = { { 0, 5 }, { 5, 16 }, { 21, 27 }, { 48, 1 }, { 49, 47 }, { 96, 13 } },
  in_disorder[] = { { 64, 45 }, { 5, 16 }, { 1, 4 }, { 33, 31 }, { 32, 1 }, { 0, 1 }, { 21, 11 } };

#define LOAD_ROWS(weight, pieces, rows, row_bytes)                                                 \
    for (size_t p = 0; p < sizeof(pieces) / sizeof((pieces)[0]); p++)                              \
    backend.weight_load((weight), (pieces)[p].first, (pieces)[p].num,                              \
                        (rows) + (size_t)(pieces)[p].first * (row_bytes))

START_TEST(packed_rows_may_come_in_any_pieces)
{
    int32_t groups[WIDE];
    const struct store_object object = packed_object(packed[_i], TALL, WIDE, groups);
    size_t row_bytes;
    unsigned char *rows = packed_rows(&object, &row_bytes);
    float *found[3];
    open_device();

    for (int way = 0; way < 3; way++) {
        struct weight *weight = make_weight(&object);
        if (way == 0)
            LOAD_ROWS(weight, at_once, rows, row_bytes);
        else if (way == 1)
            LOAD_ROWS(weight, in_order, rows, row_bytes);
        else
            LOAD_ROWS(weight, in_disorder, rows, row_bytes);
        found[way] = read_weight(weight, TALL, 1, WIDE);
        backend.store_close(store);
    }

    bool any = false;
    for (int32_t i = 0; i < TALL * WIDE; i++)
        any = any || found[0][i] != 0.0f;
    ck_assert(any);
    ck_assert_mem_eq(found[1], found[0], TALL * WIDE * sizeof(float));
    ck_assert_mem_eq(found[2], found[0], TALL * WIDE * sizeof(float));
    ck_assert_uint_eq(report_of().sent + report_of().copied, 0);
    ck_assert_uint_gt(report_of().packed, 3 * TALL * WIDE / 4);
    for (int way = 0; way < 3; way++)
        free(found[way]);
    free(rows);
    store = NULL;
    close_device();
}
END_TEST

/* As the loader's threads share a matrix out: whole panels. Wide enough that each is several
 * buffers, and so wide that no buffer holds a tile. */
struct share {
    struct weight *weight;
    const unsigned char *rows;
    size_t row_bytes;
    int32_t first_row, num_rows;
};

static void *load_share(void *argument)
{
    const struct share *s = argument;
    real->weight_load(s->weight, s->first_row, s->num_rows,
                      s->rows + (size_t)s->first_row * s->row_bytes);
    return NULL;
}

START_TEST(threads_pack_their_panels_at_once)
{
    enum { HIGH = 128, THREADS = 4, NUM_READ = (HIGH + STEP - 1) / STEP };
    const int32_t cols = _i == 0 ? 40960 : 139264;
    const struct store_object object = { .dtype = DTYPE_Q8_0, .rows = HIGH, .cols = cols };
    struct share shares[THREADS];
    pthread_t threads[THREADS];
    size_t row_bytes;
    unsigned char *rows = packed_rows(&object, &row_bytes);
    open_device();
    struct weight *weight = make_weight(&object);

    for (int i = 0; i < THREADS; i++) {
        shares[i] = (struct share){ weight, rows, row_bytes, i * HIGH / THREADS, HIGH / THREADS };
        ck_assert_int_eq(pthread_create(&threads[i], NULL, load_share, &shares[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    seal();

    float *found = read_weight(weight, NUM_READ, STEP, cols);
    for (int32_t r = 0; r < NUM_READ; r++)
        for (int32_t c = 0; c < cols; c++) {
            const unsigned char *block =
                rows + (size_t)(r * STEP) * row_bytes + (size_t)(c / 32) * 34;
            const float scale = half_from_f16((uint16_t)(block[0] | block[1] << 8));
            const float wanted = scale * (float)(int8_t)block[2 + c % 32];
            const float value = found[(size_t)r * (size_t)cols + (size_t)c];
            if (value != wanted)
                ck_abort_msg("row %d, column %d: %g, wanted %g", r * STEP, c, (double)value,
                             (double)wanted);
        }
    free(found);
    free(rows);
    close_device();
}
END_TEST

RUN_ROWS("gpu_load", setup, NULL, 60,
         TIMES(plain_matrices_are_copied_from_where_they_were_read, 2 * NUM_CUTS),
         TIMES(what_is_in_the_page_cache_is_read_into_rooms, 2),
         ONCE(what_is_widened_is_widened_in_a_room),
         TIMES(a_host_that_pins_no_memory_loads_the_same, 2),
         TIMES(a_file_that_ends_too_early_is_named_and_leaves_no_room_behind, 2),
         TIMES(weights_that_do_not_arrive_are_one_sentence, 4),
         TIMES(packed_rows_may_come_in_any_pieces, NUM_PACKED),
         TIMES(threads_pack_their_panels_at_once, 2))
