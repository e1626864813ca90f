#include "convert/write.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "formats/block_quantize.h"

enum { PIECE_VALUES = 1 << 20, MAX_THREADS = 64, PROGRESS_MS = 100 };

/* Rows of one part. */
struct piece {
    int32_t tensor;
    int64_t first, num;
};

struct job {
    const struct convert_source *source;
    int fd;
    uint64_t data_begin;
    struct piece *pieces;
    int32_t num_pieces;
    size_t most_values; /* of a piece */
    _Atomic int32_t next, result;
    _Atomic int32_t failed_tensor;
    _Atomic uint64_t done;
    pthread_mutex_t lock;
    pthread_cond_t finished;
    int32_t running; /* under the lock */
};

static uint64_t row_bytes(enum block_type type, int64_t width)
{
    const struct block_info *info = block_info(type);
    return (uint64_t)(width / info->elements) * (uint64_t)info->bytes;
}

uint64_t convert_source_bytes(const struct convert_source *source)
{
    uint64_t bytes = 0;
    for (int32_t i = 0; i < source->num_tensors; i++)
        bytes += source->tensors[i].from_bytes;
    return bytes;
}

/* --- pieces -------------------------------------------------------------------------------- */

/* Whole heads where rows change places within them, whole parts of what is transposed. */
static int64_t piece_rows(const struct convert_tensor *tensor)
{
    const int64_t rows = convert_rows(tensor) / tensor->num_parts;
    int64_t num = PIECE_VALUES / tensor->dims[0];
    if (tensor->head_rows > 0 && tensor->num_dims > 1)
        num = (num / tensor->head_rows + 1) * tensor->head_rows;
    num = num > 1 ? num : 1;
    return num < rows && !tensor->turned ? num : rows;
}

static int64_t count_pieces(const struct convert_tensor *tensor)
{
    const int64_t rows = convert_rows(tensor) / tensor->num_parts, num = piece_rows(tensor);
    return (rows + num - 1) / num * tensor->num_parts;
}

static void cut(struct job *job, int32_t index)
{
    const struct convert_tensor *tensor = &job->source->tensors[index];
    const int64_t rows = convert_rows(tensor) / tensor->num_parts, num = piece_rows(tensor);
    for (int32_t p = 0; p < tensor->num_parts; p++)
        for (int64_t at = 0; at < rows; at += num)
            job->pieces[job->num_pieces++] = (struct piece){
                .tensor = index,
                .first = p * rows + at,
                .num = rows - at < num ? rows - at : num,
            };
    const size_t values = (size_t)num * (size_t)tensor->dims[0];
    job->most_values = values > job->most_values ? values : job->most_values;
}

static int cut_all(struct job *job)
{
    int64_t num = 0;
    for (int32_t i = 0; i < job->source->num_tensors; i++)
        num += count_pieces(&job->source->tensors[i]);
    if (num > INT32_MAX)
        return -EOVERFLOW;
    job->pieces = calloc((size_t)num + 1, sizeof(*job->pieces));
    for (int32_t i = 0; job->pieces != NULL && i < job->source->num_tensors; i++)
        cut(job, i);
    return job->pieces != NULL ? 0 : -ENOMEM;
}

/* --- one thread ---------------------------------------------------------------------------- */

static int write_all(int fd, const void *from, size_t bytes, uint64_t offset)
{
    const char *at = from;
    while (bytes > 0) {
        const ssize_t n = pwrite(fd, at, bytes, (off_t)offset);
        if (n < 0 && errno != EINTR)
            return -errno;
        const size_t done = n > 0 ? (size_t)n : 0;
        at += done;
        bytes -= done;
        offset += done;
    }
    return 0;
}

/* What no type of 16-bit scales can hold. False for NaN too. */
static bool is_ordinary(const float *values, size_t num, float most)
{
    bool ordinary = true;
    for (size_t i = 0; i < num; i++)
        ordinary &= fabsf(values[i]) <= most;
    return ordinary;
}

int convert_write_made(const struct convert_source *source, int fd, uint64_t data_begin,
                       struct error *err)
{
    int r = 0;
    for (int32_t i = 0; r == 0 && i < source->num_tensors; i++) {
        const struct convert_tensor *tensor = &source->tensors[i];
        if (tensor->values != NULL) /* a vector, and F32 */
            r = write_all(fd, tensor->values, (size_t)tensor->bytes, data_begin + tensor->offset);
    }
    return r < 0 ? error_set(err, r, "the new file: %s", strerror(-r)) : 0;
}

/* Of the source, of the rows before `row`: all that is known of a quantized one is its whole. */
static uint64_t bytes_before(const struct convert_tensor *tensor, int64_t row)
{
    return (uint64_t)((double)tensor->from_bytes * ((double)row / (double)convert_rows(tensor)));
}

static int convert_piece(struct job *job, const struct piece *piece, float *values, void *raw,
                         void *blocks)
{
    const struct convert_tensor *tensor = &job->source->tensors[piece->tensor];
    const size_t num = (size_t)piece->num * (size_t)tensor->dims[0];
    const uint64_t row = row_bytes(tensor->to, tensor->dims[0]);
    const bool is_wide = tensor->to == BLOCK_F32 || tensor->to == BLOCK_BF16;
    int r = convert_read(tensor, piece->first, piece->num, values, raw);
    if (r == 0 && !is_wide && !is_ordinary(values, num, BLOCK_LARGEST))
        r = -ERANGE;
    if (r < 0)
        return r;
    block_quantize(tensor->to, values, blocks, num / (size_t)block_info(tensor->to)->elements);
    r = write_all(job->fd, blocks, (size_t)piece->num * (size_t)row,
                  job->data_begin + tensor->offset + (uint64_t)piece->first * row);
    atomic_fetch_add(&job->done, bytes_before(tensor, piece->first + piece->num) -
                                     bytes_before(tensor, piece->first));
    return r;
}

static void note_failure(struct job *job, int result, int32_t tensor)
{
    int32_t none = 0;
    if (atomic_compare_exchange_strong(&job->result, &none, result))
        atomic_store(&job->failed_tensor, tensor);
}

static void convert_pieces(struct job *job)
{
    const size_t bytes = job->most_values * sizeof(float);
    float *values = malloc(bytes);
    void *raw = malloc(bytes), *blocks = malloc(bytes);
    if (values == NULL || raw == NULL || blocks == NULL)
        note_failure(job, -ENOMEM, -1);
    while (atomic_load(&job->result) == 0) {
        const int32_t i = atomic_fetch_add(&job->next, 1);
        if (i >= job->num_pieces)
            break;
        const int r = convert_piece(job, &job->pieces[i], values, raw, blocks);
        if (r < 0)
            note_failure(job, r, job->pieces[i].tensor);
    }
    free(values);
    free(raw);
    free(blocks);
}

static void *run_thread(void *argument)
{
    struct job *job = argument;
    convert_pieces(job);
    pthread_mutex_lock(&job->lock);
    job->running--;
    pthread_cond_signal(&job->finished);
    pthread_mutex_unlock(&job->lock);
    return NULL;
}

/* --- all of them --------------------------------------------------------------------------- */

static void tell(const struct convert_options *options, struct job *job, uint64_t total)
{
    const struct convert_progress progress = { atomic_load(&job->done), total };
    if (options->progress != NULL)
        options->progress(options->context, &progress);
}

/* Until the last thread has ended. */
static void watch(struct job *job, const struct convert_options *options, uint64_t total)
{
    pthread_mutex_lock(&job->lock);
    while (job->running > 0) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&job->finished, &job->lock, &until);
        pthread_mutex_unlock(&job->lock);
        tell(options, job, total);
        pthread_mutex_lock(&job->lock);
    }
    pthread_mutex_unlock(&job->lock);
}

static void run_threads(struct job *job, const struct convert_options *options, uint64_t total)
{
    pthread_t threads[MAX_THREADS];
    int32_t num = 0;
    const int32_t most = options->num_threads < MAX_THREADS ? options->num_threads : MAX_THREADS;
    job->running = most;
    while (num < most && pthread_create(&threads[num], NULL, run_thread, job) == 0)
        num++;
    pthread_mutex_lock(&job->lock);
    job->running -= most - num; /* fewer are as good, only slower */
    pthread_mutex_unlock(&job->lock);
    if (num == 0)
        convert_pieces(job);
    watch(job, options, total);
    while (num > 0)
        pthread_join(threads[--num], NULL);
}

static int fail(const struct job *job, int result, int32_t tensor, struct error *err)
{
    const char *name = tensor >= 0 ? job->source->tensors[tensor].name : NULL;
    if (name == NULL)
        return error_set(err, result, "no memory to convert weights");
    if (result == -ERANGE)
        return error_set(err, -EINVAL,
                         "tensor %s has a value that is not finite or beyond %g, which %s cannot "
                         "hold",
                         name, (double)BLOCK_LARGEST,
                         block_info(job->source->tensors[tensor].to)->name);
    return error_set(err, result, "tensor %s: %s", name,
                     result == -EIO ? "the file ends before it, or cannot be read"
                                    : strerror(-result));
}

int convert_write(const struct convert_source *source, const struct convert_options *options,
                  int fd, uint64_t data_begin, struct error *err)
{
    struct job job = { .source = source,
                       .fd = fd,
                       .data_begin = data_begin,
                       .lock = PTHREAD_MUTEX_INITIALIZER,
                       .finished = PTHREAD_COND_INITIALIZER };
    const uint64_t total = convert_source_bytes(source);
    int r = cut_all(&job);
    if (r < 0)
        return fail(&job, r, -1, err);
    run_threads(&job, options, total);
    free(job.pieces);
    tell(options, &job, total);
    r = atomic_load(&job.result);
    return r < 0 ? fail(&job, r, atomic_load(&job.failed_tensor), err) : 0;
}
