/*
 * Weights on their way: reading a file, packing and copying overlap.
 *
 * What is read into rooms is copied from there (room.c). For the rest loading threads share a ring
 * of pinned buffers: one fills the next buffer, by copying or by packing, while the device copies
 * from those before, and waits only where the copy of 16 buffers ago is not over.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/device.h"

static int event_of(const struct device *d, const struct upload *upload)
{
    return DEVICE_FIRST_UPLOAD + (int)(upload - d->uploads);
}

int load_open(struct device *d)
{
    pthread_mutex_init(&d->dirty_lock, NULL);
    rooms_init(d);
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
    rooms_finish(d);
}

void device_load_report(const struct device *d, struct load_report *ret_report)
{
    *ret_report = (struct load_report){ .sent = atomic_load(&d->loaded.sent),
                                        .copied = atomic_load(&d->loaded.copied),
                                        .packed = atomic_load(&d->loaded.packed) };
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

struct upload *load_begin(struct device *d)
{
    const int index = (int)((unsigned)atomic_fetch_add(&d->next_upload, 1) % DEVICE_NUM_UPLOADS);
    struct upload *upload = &d->uploads[index];
    pthread_mutex_lock(&upload->lock);
    const int r = upload->in_use ? runtime_wait(d->runtime, event_of(d, upload), -1) : 0;
    upload->in_use = false;
    if (r < 0)
        device_note_failure(d, r);
    return upload;
}

void load_end(struct device *d, struct upload *upload, const struct load_piece *pieces, int num)
{
    int r = device_failure(d);
    for (int i = 0; r == 0 && i < num; i++)
        if (pieces[i].bytes > 0)
            r = runtime_copy(d->runtime, RUNTIME_LOAD, pieces[i].to, pieces[i].from,
                             pieces[i].bytes);
    if (r == 0)
        r = runtime_record(d->runtime, RUNTIME_LOAD, event_of(d, upload));
    upload->in_use = r == 0;
    atomic_store(&d->is_loading, true);
    pthread_mutex_unlock(&upload->lock);
    if (r < 0)
        device_note_failure(d, r);
}

/* As much as one buffer takes. `to` is contiguous on the device. */
static void send(struct device *d, unsigned char *to, const unsigned char *from, size_t rows,
                 size_t from_stride, size_t to_stride)
{
    struct upload *upload = load_begin(d);
    for (size_t i = 0; i < rows; i++) {
        memcpy(upload->pinned + i * to_stride, from + i * from_stride, from_stride);
        memset(upload->pinned + i * to_stride + from_stride, 0, to_stride - from_stride);
    }
    load_end(d, upload, &(struct load_piece){ to, upload->pinned, rows * to_stride }, 1);
}

void load_bytes(struct device *d, unsigned char *to, const unsigned char *from, size_t bytes)
{
    while (bytes > 0) {
        const size_t num = bytes < DEVICE_UPLOAD_BYTES ? bytes : DEVICE_UPLOAD_BYTES;
        send(d, to, from, 1, num, num);
        to += num;
        from += num;
        bytes -= num;
    }
}

void load_rows(struct device *d, unsigned char *to, size_t to_stride, const unsigned char *from,
               size_t from_stride, int32_t num_rows)
{
    const size_t most = DEVICE_UPLOAD_BYTES / to_stride;
    size_t left = (size_t)num_rows;
    while (left > 0) {
        const size_t rows = left < most ? left : most > 0 ? most : 1;
        if (most > 0)
            send(d, to, from, rows, from_stride, to_stride);
        else
            load_bytes(d, to, from, from_stride); /* what is behind is zeros already */
        to += rows * to_stride;
        from += rows * from_stride;
        left -= rows;
    }
}

void device_note_dirty(struct device *d, struct weight *weight)
{
    pthread_mutex_lock(&d->dirty_lock);
    if (!weight->is_dirty) {
        weight->next_dirty = d->dirty;
        d->dirty = weight;
    }
    weight->is_dirty = true;
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

/* Tiles that never came whole: there are few. */
static void send_dirty(struct device *d)
{
    while (d->dirty != NULL) {
        struct weight *weight = d->dirty;
        d->dirty = weight->next_dirty;
        weight->is_dirty = false;
        weight_send_edges(weight);
    }
}

int device_flush(struct device *d)
{
    if (!atomic_load(&d->is_loading) && d->dirty == NULL)
        return device_failure(d);
    send_dirty(d);
    rooms_wait(d);
    for (int i = 0; i < DEVICE_NUM_UPLOADS; i++) {
        struct upload *upload = &d->uploads[i];
        const int r = upload->in_use ? runtime_wait(d->runtime, event_of(d, upload), -1) : 0;
        upload->in_use = false;
        if (r < 0)
            device_note_failure(d, r);
    }
    atomic_store(&d->is_loading, false);
    return device_failure(d);
}
