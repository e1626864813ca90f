/*
 * Weights on their way: reading a file, packing and copying overlap.
 *
 * Loading threads share a ring of pinned buffers: one fills the next buffer while the device copies
 * from those before, and waits only where the copy of 16 buffers ago is not over. Blocks are packed
 * in an image on the host, which is sent by the thread that packed its last row; what nobody knows
 * to be whole is sent by device_flush(), from several threads.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"

enum { FIRST_EVENT = 4, MAX_FLUSHERS = 7 }; /* the events before are of steps */
_Static_assert(FIRST_EVENT + DEVICE_NUM_UPLOADS < RUNTIME_NUM_EVENTS, "an event for each buffer");

int load_open(struct device *d)
{
    pthread_mutex_init(&d->dirty_lock, NULL);
    for (int i = 0; i < DEVICE_NUM_UPLOADS; i++) {
        pthread_mutex_init(&d->uploads[i].lock, NULL);
        d->uploads[i].pinned = runtime_pinned_alloc(d->runtime, DEVICE_UPLOAD_BYTES);
        if (d->uploads[i].pinned == NULL)
            return -ENOMEM;
    }
    return 0;
}

void load_close(struct device *d)
{
    for (int i = 0; i < DEVICE_NUM_UPLOADS; i++)
        if (d->uploads[i].pinned != NULL)
            runtime_pinned_free(d->runtime, d->uploads[i].pinned);
}

void device_note_failure(struct device *d, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&d->load_error, &none, error);
}

int device_failure(const struct device *d)
{
    return atomic_load(&d->load_error);
}

/* As much as one buffer takes. `bytes` is contiguous on the device. */
static void send(struct device *d, unsigned char *to, const unsigned char *from, size_t rows,
                 size_t from_stride, size_t to_stride)
{
    const int index = (int)((unsigned)atomic_fetch_add(&d->next_upload, 1) % DEVICE_NUM_UPLOADS);
    struct upload *upload = &d->uploads[index];
    pthread_mutex_lock(&upload->lock);
    int r = upload->in_use ? runtime_wait(d->runtime, FIRST_EVENT + index, -1) : 0;
    for (size_t i = 0; i < rows; i++) {
        memcpy(upload->pinned + i * to_stride, from + i * from_stride, from_stride);
        memset(upload->pinned + i * to_stride + from_stride, 0, to_stride - from_stride);
    }
    if (r == 0)
        r = runtime_copy(d->runtime, RUNTIME_LOAD, to, upload->pinned, rows * to_stride);
    if (r == 0)
        r = runtime_record(d->runtime, RUNTIME_LOAD, FIRST_EVENT + index);
    upload->in_use = r == 0;
    pthread_mutex_unlock(&upload->lock);
    if (r < 0)
        device_note_failure(d, r);
}

void device_copy_rows(struct device *d, unsigned char *to, size_t to_stride,
                      const unsigned char *from, size_t from_stride, int32_t num_rows)
{
    size_t left = (size_t)num_rows;
    if (to_stride > DEVICE_UPLOAD_BYTES) { /* one long row of bytes, or rows as long as that */
        for (size_t r = 0; r < left; r++)
            for (size_t at = 0; at < from_stride; at += DEVICE_UPLOAD_BYTES) {
                const size_t rest = from_stride - at;
                const size_t bytes = rest < DEVICE_UPLOAD_BYTES ? rest : DEVICE_UPLOAD_BYTES;
                send(d, to + r * to_stride + at, from + r * from_stride + at, 1, bytes, bytes);
            }
        return;
    }
    const size_t most = DEVICE_UPLOAD_BYTES / to_stride;
    while (left > 0) {
        const size_t rows = left < most ? left : most;
        send(d, to, from, rows, from_stride, to_stride);
        to += rows * to_stride;
        from += rows * from_stride;
        left -= rows;
    }
}

void device_note_dirty(struct device *d, struct weight *weight)
{
    pthread_mutex_lock(&d->dirty_lock);
    weight->next_dirty = d->dirty;
    d->dirty = weight;
    pthread_mutex_unlock(&d->dirty_lock);
}

void device_forget_dirty(struct device *d, struct weight *weight)
{
    pthread_mutex_lock(&d->dirty_lock);
    struct weight **at = &d->dirty;
    while (*at != NULL && *at != weight)
        at = &(*at)->next_dirty;
    if (*at != NULL)
        *at = weight->next_dirty;
    pthread_mutex_unlock(&d->dirty_lock);
}

void device_note_weight(struct device *d, const struct weight *weight)
{
    const struct matrix *m = &weight->matrix;
    const enum number number = m->form == MATRIX_PLAIN ? m->number : NUMBER_BF16;
    d->weight_bytes[number] += weight_total(weight);
}

void device_note_packed(struct device *d, struct weight *weight, int32_t num_rows)
{
    if (atomic_fetch_add(&weight->rows_packed, num_rows) + num_rows != weight->matrix.rows)
        return;
    atomic_store(&weight->rows_packed, 0);
    device_forget_dirty(d, weight);
    const int r = weight_flush(weight);
    if (r < 0)
        device_note_failure(d, r);
}

static struct weight *take_dirty(struct device *d)
{
    pthread_mutex_lock(&d->dirty_lock);
    struct weight *weight = d->dirty;
    if (weight != NULL)
        d->dirty = weight->next_dirty;
    pthread_mutex_unlock(&d->dirty_lock);
    return weight;
}

static void *flush_weights(void *argument)
{
    struct device *d = argument;
    struct weight *weight;
    while ((weight = take_dirty(d)) != NULL) {
        const int r = weight_flush(weight);
        if (r < 0)
            device_note_failure(d, r);
    }
    return NULL;
}

static int32_t num_dirty(const struct device *d)
{
    int32_t num = 0;
    for (const struct weight *w = d->dirty; w != NULL; w = w->next_dirty)
        num++;
    return num;
}

/* Fewer threads are as good, only slower. */
static void flush_all(struct device *d)
{
    pthread_t threads[MAX_FLUSHERS];
    const int32_t dirty = num_dirty(d), most = dirty < d->num_threads ? dirty : d->num_threads;
    int32_t num = 0;
    while (num < most - 1 && num < MAX_FLUSHERS &&
           pthread_create(&threads[num], NULL, flush_weights, d) == 0)
        num++;
    flush_weights(d);
    while (num > 0)
        pthread_join(threads[--num], NULL);
}

int device_flush(struct device *d)
{
    int r = 0;
    if (d->dirty != NULL)
        flush_all(d);
    for (int i = 0; i < DEVICE_NUM_UPLOADS; i++)
        if (d->uploads[i].in_use) {
            const int waited = runtime_wait(d->runtime, FIRST_EVENT + i, -1);
            r = r == 0 ? waited : r;
            d->uploads[i].in_use = false;
        }
    return r < 0 ? r : device_failure(d);
}
