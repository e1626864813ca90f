#include "worker/model/loader.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "worker/model/direct_files.h"
#include "worker/model/tensor_read.h"

enum { PANEL_ROWS = 32, BLOCK_BYTES = 4 << 20, QUANT_BLOCK_BYTES = 16 << 20, MAX_THREADS = 16 };
/* Of what is read ahead by all threads together; gaps that are read with what is near; and how many
 * times what is wanted may be read. */
enum { AHEAD_BYTES = 512 << 20, MIN_GAP = 4 << 10, MAX_GAP = 64 << 10, MOST_TIMES = 4 };

struct block {
    const struct loader_matrix *matrix;
    int32_t first_row, num_rows;
};

struct load {
    const struct backend *backend;
    struct device *device;
    const struct block *blocks;
    int32_t num_blocks;
    size_t buffer_bytes; /* of the greatest block, as f32 */
    size_t room_bytes;   /* of the greatest that a device may take as it is; 0: it lends no rooms */
    uint64_t all_bytes, plain_bytes; /* as f32; of what may be taken so */
    _Atomic int32_t next;
    _Atomic int32_t result; /* the first error, or 0 */
    _Atomic(const struct loader_part *) failed_part;
    _Atomic uint64_t *progress_bytes;
    struct direct_files files;
    size_t window_bytes; /* of the greatest block as stored; 0: nothing is read directly */
    _Atomic bool used_direct;
};

static int32_t min_rows(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The rows of a block that lie in one part: the first within the part, and how many. */
static int32_t rows_in_part(const struct block *block, const struct loader_part *part,
                            int32_t *ret_row)
{
    const int32_t begin = block->first_row > part->first_row ? block->first_row : part->first_row;
    const int32_t end =
        min_rows(block->first_row + block->num_rows, part->first_row + part->num_rows);
    *ret_row = begin - part->first_row;
    return end - begin;
}

/* --- what one thread reads into --------------------------------------------------------------- */

enum { NUM_ROOMS = 2 };

/* Rows that no window has go to a room of the device, in turn with one that it copies from, or to a
 * buffer. */
struct space {
    void *buffer;
    struct load_room *rooms[NUM_ROOMS];
    int turn;
    bool has_none; /* a room was refused */
};

static struct load_room *next_room(struct load *load, struct space *space)
{
    if (load->room_bytes == 0 || space->has_none)
        return NULL;
    space->turn = (space->turn + 1) % NUM_ROOMS;
    struct load_room **room = &space->rooms[space->turn];
    if (*room != NULL)
        load->backend->room_wait(*room);
    else if (load->backend->room_open(load->device, load->room_bytes, room) < 0)
        space->has_none = true;
    return *room;
}

static void close_space(struct load *load, struct space *space)
{
    for (int i = 0; i < NUM_ROOMS; i++)
        if (space->rooms[i] != NULL)
            load->backend->room_close(space->rooms[i]);
    free(space->buffer);
}

/* --- rows ------------------------------------------------------------------------------------- */

/* May a device take the rows of a matrix as they are? */
static bool is_plain(const struct loader_matrix *matrix)
{
    return !dtype_is_quant(matrix->dtype) && !dtype_is_scaled(matrix->dtype);
}

/* Where the rows of a block are looked for first; `room` is what the window lies in, or NULL. */
struct found {
    const struct read_window *window; /* may be NULL */
    struct load_room *room;
};

/* From where they were read ahead; false where they are not there as they should be. */
static bool send_found(const struct load *load, const struct loader_matrix *matrix,
                       const struct loader_part *part, int32_t row, int32_t num_rows,
                       const struct found *found)
{
    size_t stride;
    const unsigned char *from =
        found->room != NULL
            ? tensor_find(part, matrix->cols, row, num_rows, matrix->dtype, found->window, &stride)
            : NULL;
    return from != NULL && load->backend->weight_send(matrix->weight, part->first_row + row,
                                                      num_rows, found->room, from, stride);
}

static int read_rows(struct load *load, const struct loader_matrix *matrix,
                     const struct loader_part *part, int32_t row, int32_t num_rows,
                     const struct found *found, struct space *space)
{
    struct load_room *room = is_plain(matrix) ? next_room(load, space) : NULL;
    void *buffer = room != NULL ? room->memory : space->buffer;
    const int32_t first_row = part->first_row + row;
    const int r =
        tensor_read(part, matrix->cols, row, num_rows, matrix->dtype, found->window, buffer);
    if (r < 0)
        return r;
    if (room == NULL ||
        !load->backend->weight_send(matrix->weight, first_row, num_rows, room, buffer,
                                    dtype_row_bytes(matrix->dtype, matrix->cols)))
        load->backend->weight_load(matrix->weight, first_row, num_rows, buffer);
    return 0;
}

static int load_rows(struct load *load, const struct block *block, const struct loader_part *part,
                     const struct found *found, struct space *space)
{
    const struct loader_matrix *matrix = block->matrix;
    int32_t row;
    const int32_t num_rows = rows_in_part(block, part, &row);
    if (num_rows <= 0)
        return 0;
    if (!send_found(load, matrix, part, row, num_rows, found)) {
        const int r = read_rows(load, matrix, part, row, num_rows, found, space);
        if (r < 0)
            return r;
    }
    const uint64_t num = (uint64_t)num_rows * (uint64_t)matrix->cols;
    if (load->progress_bytes != NULL)
        atomic_fetch_add(load->progress_bytes, tensor_stored_bytes(part->tensor->info->dtype, num));
    return 0;
}

static void note_failure(struct load *load, int result, const struct loader_part *part)
{
    int32_t none = 0;
    if (atomic_compare_exchange_strong(&load->result, &none, result))
        atomic_store(&load->failed_part, part);
}

static void load_block(struct load *load, const struct block *block, const struct found *found,
                       struct space *space)
{
    const struct loader_matrix *matrix = block->matrix;
    for (int32_t p = 0; p < matrix->num_parts; p++) {
        const int r = load_rows(load, block, &matrix->parts[p], found, space);
        if (r < 0)
            note_failure(load, r, &matrix->parts[p]);
    }
}

/* --- reading ahead --------------------------------------------------------------------------- */

/* The file that most of the block's rows lie in. */
static const struct safetensors *file_of_block(const struct block *block)
{
    const struct safetensors *file = NULL;
    int32_t most = 0;
    for (int32_t p = 0; p < block->matrix->num_parts; p++) {
        int32_t row;
        const int32_t num = rows_in_part(block, &block->matrix->parts[p], &row);
        if (num > most)
            file = block->matrix->parts[p].tensor->file;
        most = num > most ? num : most;
    }
    return file;
}

/* What of the block lies in that file. The more pieces there would be, the wider the gaps that are
 * read too; false when that is too much. */
static bool list_block(const struct block *block, struct read_list *list)
{
    const struct loader_matrix *matrix = block->matrix;
    const struct safetensors *file = file_of_block(block);
    struct read_list empty = *list;
    empty.fd = file != NULL ? file->fd : -1;
    for (size_t gap = MIN_GAP; file != NULL && gap <= MAX_GAP; gap *= 4) {
        *list = empty;
        list->gap = gap;
        for (int32_t p = 0; p < matrix->num_parts; p++) {
            int32_t row;
            const int32_t num = rows_in_part(block, &matrix->parts[p], &row);
            if (num > 0)
                tensor_list(&matrix->parts[p], matrix->cols, row, num, list);
        }
        if (list->is_full)
            continue;
        read_list_sort(list);
        return read_list_room(list) / MOST_TIMES <= list->wanted + MIN_GAP;
    }
    return false;
}

static void begin_block(const struct load *load, struct read_ahead *ahead, int32_t slot,
                        const struct block *block, struct read_piece *pieces)
{
    struct read_list list = { .pieces = pieces };
    const struct safetensors *file = file_of_block(block);
    const int fd = direct_files_fd(&load->files, file);
    const bool is_listed = fd >= 0 && list_block(block, &list);
    if (!is_listed)
        list.num = 0;
    read_ahead_begin(ahead, slot, fd, &list);
}

/* Number of a block that nobody has taken; -1 at the end. */
static int32_t take_block(struct load *load)
{
    const int32_t i =
        atomic_load(&load->result) == 0 ? atomic_fetch_add(&load->next, 1) : INT32_MAX;
    return i < load->num_blocks ? i : -1;
}

/* A thread's reads under way, into rooms of the device where it lends some. */
struct lane {
    struct read_ahead *ahead;
    struct load_room *rooms[READ_AHEAD_SLOTS]; /* NULL, all of them: buffers of its own */
    struct read_piece *pieces;
};

static void close_rooms(const struct load *load, struct lane *lane)
{
    for (int i = 0; i < READ_AHEAD_SLOTS; i++) {
        if (lane->rooms[i] != NULL)
            load->backend->room_close(lane->rooms[i]);
        lane->rooms[i] = NULL;
    }
}

/* Where most of what is read has to be packed, its memory is not worth pinning. */
static bool open_rooms(const struct load *load, struct lane *lane,
                       unsigned char *buffers[READ_AHEAD_SLOTS])
{
    const size_t bytes = read_ahead_buffer_bytes(load->window_bytes);
    if (load->room_bytes == 0 || load->plain_bytes < load->all_bytes / 2)
        return false;
    for (int i = 0; i < READ_AHEAD_SLOTS; i++) {
        if (load->backend->room_open(load->device, bytes, &lane->rooms[i]) < 0) {
            close_rooms(load, lane);
            return false;
        }
        buffers[i] = lane->rooms[i]->memory;
    }
    return true;
}

static bool open_lane(const struct load *load, struct lane *lane)
{
    unsigned char *buffers[READ_AHEAD_SLOTS];
    lane->pieces = malloc(READ_AHEAD_PIECES * sizeof(*lane->pieces));
    if (lane->pieces == NULL || load->window_bytes == 0)
        return false;
    const bool has_rooms = open_rooms(load, lane, buffers);
    return read_ahead_open(load->window_bytes, has_rooms ? buffers : NULL, &lane->ahead) == 0;
}

static void close_lane(const struct load *load, struct lane *lane)
{
    read_ahead_close(lane->ahead);
    close_rooms(load, lane);
    free(lane->pieces);
}

/* Blocks on their way are loaded in the order in which they were taken. What the device copies from
 * is not read into: a room rests for a block, that the wait for it be short. */
static void load_ahead(struct load *load, struct lane *lane, struct space *space)
{
    const int32_t most = lane->rooms[0] != NULL ? READ_AHEAD_SLOTS - 1 : READ_AHEAD_SLOTS;
    int32_t taken[READ_AHEAD_SLOTS], first = 0, num = 0, i;
    for (;;) {
        while (num < most && (i = take_block(load)) >= 0) {
            const int32_t slot = (first + num++) % READ_AHEAD_SLOTS;
            taken[slot] = i;
            if (lane->rooms[slot] != NULL)
                load->backend->room_wait(lane->rooms[slot]);
            begin_block(load, lane->ahead, slot, &load->blocks[i], lane->pieces);
        }
        if (num == 0)
            return;
        const struct read_window window = read_ahead_wait(lane->ahead, first);
        if (window.fd >= 0)
            atomic_store(&load->used_direct, true);
        load_block(load, &load->blocks[taken[first]],
                   &(struct found){ &window, lane->rooms[first] }, space);
        first = (first + 1) % READ_AHEAD_SLOTS;
        num--;
    }
}

static void *load_blocks(void *argument)
{
    struct load *load = argument;
    struct lane lane = { .ahead = NULL };
    struct space space = { .buffer = malloc(load->buffer_bytes) };
    if (space.buffer == NULL)
        note_failure(load, -ENOMEM, NULL);
    else if (open_lane(load, &lane))
        load_ahead(load, &lane, &space);
    for (int32_t i; space.buffer != NULL && (i = take_block(load)) >= 0;)
        load_block(load, &load->blocks[i], &(struct found){ NULL, NULL }, &space);
    close_lane(load, &lane);
    close_space(load, &space);
    return NULL;
}

/* Room for the greatest block, of those that fit what all threads may take. */
static void measure_windows(struct load *load, int32_t num_threads)
{
    struct read_piece *pieces = malloc(READ_AHEAD_PIECES * sizeof(*pieces));
    const size_t most = (size_t)AHEAD_BYTES / READ_AHEAD_SLOTS / (size_t)num_threads;
    for (int32_t i = 0; pieces != NULL && i < load->num_blocks; i++) {
        struct read_list list = { .pieces = pieces };
        const struct safetensors *file = file_of_block(&load->blocks[i]);
        if (direct_files_fd(&load->files, file) < 0 || !list_block(&load->blocks[i], &list))
            continue;
        const size_t room = read_list_room(&list);
        if (room > load->window_bytes && room <= most)
            load->window_bytes = room;
    }
    free(pieces);
}

static void open_files(struct load *load, const struct loader_matrix *matrices,
                       int32_t num_matrices, const struct loader_options *options)
{
    for (int32_t m = 0; options->io != READ_IO_BUFFERED && m < num_matrices; m++)
        for (int32_t p = 0; p < matrices[m].num_parts; p++)
            direct_files_add(&load->files, matrices[m].parts[p].tensor->file, options->io);
    if (load->files.num_direct > 0)
        measure_windows(load, options->num_threads > 1 ? options->num_threads : 1);
}

/* --- blocks ---------------------------------------------------------------------------------- */

static void run_threads(struct load *load, int32_t num_threads)
{
    pthread_t threads[MAX_THREADS];
    int32_t num = 0;
    num_threads = min_rows(min_rows(num_threads, load->num_blocks), MAX_THREADS);
    while (num < num_threads - 1 && pthread_create(&threads[num], NULL, load_blocks, load) == 0)
        num++; /* fewer are as good, only slower */
    load_blocks(load);
    while (num > 0)
        pthread_join(threads[--num], NULL);
}

/* Of a row in the buffer. */
static size_t row_room(const struct loader_matrix *matrix)
{
    const size_t floats = (size_t)matrix->cols * sizeof(float);
    return matrix->row_bytes > 0 ? matrix->row_bytes : floats;
}

/* Quantized rows may lie across the file: more of them at once are longer pieces. */
static int32_t block_rows(const struct loader_matrix *matrix)
{
    const int64_t panel_bytes = PANEL_ROWS * (int64_t)row_room(matrix);
    const int64_t panels = (matrix->row_bytes > 0 ? QUANT_BLOCK_BYTES : BLOCK_BYTES) / panel_bytes;
    return PANEL_ROWS * (int32_t)(panels > 1 ? panels : 1);
}

static int32_t count_blocks(const struct loader_matrix *matrix)
{
    const int32_t rows = block_rows(matrix);
    return (int32_t)(((int64_t)matrix->rows + rows - 1) / rows);
}

static void cut_matrix(struct load *load, struct block *blocks, const struct loader_matrix *matrix)
{
    const int32_t rows = block_rows(matrix), num = count_blocks(matrix);
    for (int32_t i = 0; i < num; i++)
        blocks[i] = (struct block){ .matrix = matrix,
                                    .first_row = i * rows,
                                    .num_rows = min_rows(rows, matrix->rows - i * rows) };
    const size_t bytes = (size_t)rows * row_room(matrix);
    load->buffer_bytes = bytes > load->buffer_bytes ? bytes : load->buffer_bytes;
    load->all_bytes += (uint64_t)matrix->rows * row_room(matrix);
    if (load->backend->room_open == NULL || !is_plain(matrix))
        return;
    load->plain_bytes += (uint64_t)matrix->rows * row_room(matrix);
    load->room_bytes = bytes > load->room_bytes ? bytes : load->room_bytes;
}

static int fail(int result, const struct loader_part *part, struct error *err)
{
    if (part == NULL)
        return error_set(err, result, "no memory to load weights");
    if (result == -ERANGE)
        return error_set(err, -EINVAL,
                         "tensor %.160s has a value that is not finite or beyond 65504, which no "
                         "type of --quantization can hold",
                         part->tensor->info->name);
    return error_set(err, result, "tensor %.160s: %s", part->tensor->info->name,
                     result == -EIO ? "the file ends before it, or cannot be read"
                                    : strerror(-result));
}

/* Blocks of all matrices; the caller's to free. */
static struct block *cut_matrices(struct load *load, const struct loader_matrix *matrices,
                                  int32_t num_matrices)
{
    int32_t num = 0;
    for (int32_t m = 0; m < num_matrices; m++)
        num += count_blocks(&matrices[m]);
    struct block *blocks = calloc((size_t)num + 1, sizeof(*blocks));
    for (int32_t m = 0; blocks != NULL && m < num_matrices; m++) {
        cut_matrix(load, blocks + load->num_blocks, &matrices[m]);
        load->num_blocks += count_blocks(&matrices[m]);
    }
    return blocks;
}

int loader_run(const struct backend *backend, struct device *device,
               const struct loader_matrix *matrices, int32_t num_matrices,
               const struct loader_options *options, struct error *err)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL)
        return fail(-ENOMEM, NULL, err);
    load->backend = backend;
    load->device = device;
    load->progress_bytes = options->progress_bytes;
    struct block *blocks = cut_matrices(load, matrices, num_matrices);
    load->blocks = blocks;
    if (blocks != NULL) {
        open_files(load, matrices, num_matrices, options);
        run_threads(load, options->num_threads);
        direct_files_close(&load->files);
    }
    const int r = blocks != NULL ? atomic_load(&load->result) : -ENOMEM;
    const struct loader_part *part = atomic_load(&load->failed_part);
    if (options->ret_direct != NULL)
        *options->ret_direct = atomic_load(&load->used_direct);
    free(blocks);
    free(load);
    return r < 0 ? fail(r, part, err) : 0;
}

int loader_read_vector(const struct loader_part *part, float *to, struct error *err)
{
    const int r = tensor_read(part, 1, 0, part->num_rows, DTYPE_F32, NULL, to + part->first_row);
    return r < 0 ? fail(r, part, err) : 0;
}
