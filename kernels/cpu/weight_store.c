#include "kernels/cpu/weight_store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/cpu/device.h"
#include "kernels/cpu/quant.h"
#include "kernels/cpu/scaled.h"
#include "kernels/cpu/weight.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
    FORMAT_VERSION = 3,
    ALIGNMENT = 64,
    HUGE_PAGE_BYTES = 2 << 20,
    POPULATE_STEP_BYTES = 32 << 20,
    MAX_POPULATE_THREADS = 15,
    SEALS = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
};

struct entry {
    uint64_t offset, bytes; /* in the file */
    int32_t dtype, rows, cols;
    uint32_t form; /* of a type with scales */
};

struct image {
    char magic[8];
    uint32_t version, num_entries;
    char isa[16];
    struct store_key key;
    uint64_t file_bytes;
    struct entry entries[];
};

struct weight_store {
    int fd; /* of a file that is being filled; else -1 */
    struct image *image;
    size_t image_bytes;
    void *reserved; /* the address range of the mapping, with what aligning it took */
    size_t reserved_bytes;
    unsigned char *base;
    struct weight *weights; /* [num_weights], zero for vectors */
    uint32_t num_weights;
};

/* --- what lies where ---------------------------------------------------------------------- */

static int describe(const struct device *device, const struct store_object *object,
                    struct weight *weight, size_t *ret_bytes)
{
    if (object->rows < 1 || object->cols < 0)
        return -EINVAL;
    if (object->is_joined && (object->cols == 0 || weight[-1].cols != object->cols))
        return -EINVAL;
    if (object->cols == 0) {
        *ret_bytes = (size_t)object->rows * sizeof(float);
        return 0;
    }
    const int r = weight_describe(device, object, weight);
    if (r == 0)
        *ret_bytes = weight_bytes(weight);
    return r;
}

static uint32_t form_of(const struct weight *weight)
{
    return weight->form != NULL ? scaled_hash(weight->form, weight->cols) : 0;
}

/* The next multiple of a power of two; false when it cannot be counted. */
static bool round_up(size_t *value, size_t to)
{
    const bool fits = !__builtin_add_overflow(*value, to - 1, value);
    *value &= ~(to - 1);
    return fits;
}

static int lay_out(const struct device *device, struct weight_store *store,
                   const struct store_object *objects)
{
    struct image *image = store->image;
    size_t end = store->image_bytes;
    for (uint32_t i = 0; i < image->num_entries; i++) {
        size_t bytes = 0;
        if (i == 0 && objects[i].is_joined)
            return -EINVAL;
        const int r = describe(device, &objects[i], &store->weights[i], &bytes);
        if (r < 0)
            return r;
        if (objects[i].is_joined)
            store->weights[i - 1].next = &store->weights[i];
        if (!round_up(&end, ALIGNMENT))
            return -EOVERFLOW;
        image->entries[i] = (struct entry){ .offset = end,
                                            .bytes = bytes,
                                            .dtype = objects[i].cols > 0 ? (int32_t)objects[i].dtype
                                                                         : (int32_t)DTYPE_F32,
                                            .rows = objects[i].rows,
                                            .cols = objects[i].cols,
                                            .form = form_of(&store->weights[i]) };
        if (__builtin_add_overflow(end, bytes, &end))
            return -EOVERFLOW;
    }
    if (!round_up(&end, HUGE_PAGE_BYTES) || end > INT64_MAX)
        return -EOVERFLOW;
    image->file_bytes = end;
    return 0;
}

static int plan(struct device *device, const struct store_key *key,
                const struct store_object *objects, int32_t num, struct weight_store **ret_store,
                struct error *err)
{
    struct weight_store *store = calloc(1, sizeof(*store));
    if (store == NULL)
        return error_set(err, -ENOMEM, "no memory for a list of weights");
    store->fd = -1;
    store->num_weights = (uint32_t)num;
    store->image_bytes = sizeof(struct image) + (size_t)num * sizeof(struct entry);
    store->image = calloc(1, store->image_bytes);
    store->weights = calloc((size_t)num + 1, sizeof(*store->weights));
    int r = -ENOMEM;
    if (store->image != NULL && store->weights != NULL) {
        *store->image = (struct image){ .magic = "TRWEIGHT",
                                        .version = FORMAT_VERSION,
                                        .num_entries = (uint32_t)num,
                                        .key = *key };
        snprintf(store->image->isa, sizeof(store->image->isa), "%s", device->isa->name);
        r = lay_out(device, store, objects);
        for (int32_t i = 0; r == 0 && i < num; i++)
            if (objects[i].cols > 0 && dtype_is_quant(objects[i].dtype))
                r = quant_reserve(device, objects[i].cols);
    }
    if (r < 0) {
        weight_store_close(store);
        return error_set(err, r, "%d weights cannot be laid out: %s", num, strerror(-r));
    }
    *ret_store = store;
    return 0;
}

/* --- memory ------------------------------------------------------------------------------- */

/* At an address that huge pages want. */
static int map(struct weight_store *store, int fd, int protection, struct error *err)
{
    const size_t bytes = store->image->file_bytes;
    store->reserved_bytes = bytes + HUGE_PAGE_BYTES;
    store->reserved = mmap(NULL, store->reserved_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (store->reserved == MAP_FAILED) {
        store->reserved = NULL;
        return error_set(err, -errno, "no addresses for %zu bytes of weights", bytes);
    }
    const uintptr_t mask = HUGE_PAGE_BYTES - 1;
    const size_t skip = (HUGE_PAGE_BYTES - ((uintptr_t)store->reserved & mask)) & mask;
    store->base = (unsigned char *)store->reserved + skip;
    if (mmap(store->base, bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return error_set(err, -errno, "weights of %zu bytes cannot be mapped: %s", bytes,
                         strerror(errno));
    for (uint32_t i = 0; i < store->image->num_entries; i++)
        store->weights[i].panels = store->base + store->image->entries[i].offset;
    return 0;
}

struct populate {
    const struct weight_store *store;
    _Atomic uint64_t next;
    _Atomic int result;
};

/* One page of each huge one is made first, since only what has a page can be collapsed; where it
 * cannot, speed alone suffers. */
static int populate_step(const struct weight_store *store, uint64_t begin, uint64_t bytes)
{
    int r;
    for (uint64_t at = begin; at < begin + bytes; at += HUGE_PAGE_BYTES)
        if (pwrite(store->fd, "", 1, (off_t)at) != 1)
            return -errno;
    (void)madvise(store->base + begin, bytes, MADV_COLLAPSE);
    do
        r = posix_fallocate(store->fd, (off_t)begin, (off_t)bytes);
    while (r == EINTR);
    return -r;
}

static void *populate_steps(void *argument)
{
    struct populate *populate = argument;
    const uint64_t end = populate->store->image->file_bytes;
    uint64_t at;
    while (atomic_load(&populate->result) == 0 &&
           (at = atomic_fetch_add(&populate->next, POPULATE_STEP_BYTES)) < end) {
        const uint64_t left = end - at;
        const int r = populate_step(populate->store, at,
                                    left < POPULATE_STEP_BYTES ? left : POPULATE_STEP_BYTES);
        if (r < 0)
            atomic_store(&populate->result, r);
    }
    return NULL;
}

/* All pages now, so that a lack of memory is an error of the start. The kernel clears them, which
 * takes as long as filling them does: all threads share it out. */
static int populate(const struct weight_store *store, int32_t num_threads)
{
    struct populate populate = { .store = store };
    pthread_t threads[MAX_POPULATE_THREADS];
    int32_t num = 0;
    (void)madvise(store->base, store->image->file_bytes, MADV_HUGEPAGE);
    while (num < num_threads - 1 && num < MAX_POPULATE_THREADS &&
           store->image->file_bytes > (uint64_t)(num + 1) * POPULATE_STEP_BYTES &&
           pthread_create(&threads[num], NULL, populate_steps, &populate) == 0)
        num++; /* fewer are as good, only slower */
    populate_steps(&populate);
    while (num > 0)
        pthread_join(threads[--num], NULL);
    return atomic_load(&populate.result);
}

static int memory_file(void)
{
    const char name[] = "tokenring-weights";
    const int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd >= 0 || errno != EINVAL)
        return fd;
    return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING); /* kernel before 6.3 */
}

int weight_store_create(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects,
                        struct weight_store **ret_store, struct error *err)
{
    struct weight_store *store;
    int r = plan(device, key, objects, num_objects, &store, err);
    if (r < 0)
        return r;
    const uint64_t bytes = store->image->file_bytes;
    store->fd = memory_file();
    if (store->fd < 0 || ftruncate(store->fd, (off_t)bytes) < 0)
        r = error_set(err, -errno, "no memory file for weights: %s", strerror(errno));
    if (r == 0)
        r = map(store, store->fd, PROT_READ | PROT_WRITE, err);
    if (r == 0 && (r = populate(store, device->num_threads)) < 0)
        r = error_set(err, -ENOMEM, "no memory for %llu bytes of weights: %s",
                      (unsigned long long)bytes, strerror(-r));
    if (r < 0) {
        weight_store_close(store);
        return r;
    }
    memcpy(store->base, store->image, store->image_bytes);
    *ret_store = store;
    return 0;
}

void weight_store_close(struct weight_store *store)
{
    if (store == NULL)
        return;
    if (store->reserved != NULL)
        munmap(store->reserved, store->reserved_bytes);
    if (store->fd >= 0)
        close(store->fd);
    for (uint32_t i = 0; store->weights != NULL && i < store->num_weights; i++)
        weight_finish(&store->weights[i]);
    free(store->weights);
    free(store->image);
    free(store);
}

/* --- handing over ------------------------------------------------------------------------- */

int weight_store_seal(struct weight_store *store, int *ret_fd, struct error *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", store->fd);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "weights: %s: %s", path, strerror(errno));
    /* The kernel seals no file that somebody could write through a mapping. */
    if (mmap(store->base, store->image->file_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) ==
            MAP_FAILED ||
        fcntl(store->fd, F_ADD_SEALS, SEALS) < 0) {
        const int r = error_set(err, -errno, "weights cannot be sealed: %s", strerror(errno));
        close(fd);
        return r;
    }
    close(store->fd);
    store->fd = -1;
    *ret_fd = fd;
    return 0;
}

static int check_file(const struct weight_store *store, int fd, struct error *err)
{
    struct stat info;
    const int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS)
        return error_set(err, -EPROTO, "kept weights: descriptor %d is no sealed memory file", fd);
    if (fstat(fd, &info) < 0 || (uint64_t)info.st_size != store->image->file_bytes)
        return error_set(err, -EPROTO, "kept weights: %lld bytes, expected %llu",
                         (long long)info.st_size, (unsigned long long)store->image->file_bytes);
    return 0;
}

static int check_image(const struct weight_store *store, struct error *err)
{
    const struct image *wanted = store->image, *found = (const void *)store->base;
    if (memcmp(found, wanted, store->image_bytes) == 0)
        return 0;
    if (memcmp(found->magic, wanted->magic, sizeof(found->magic)) != 0 ||
        found->version != wanted->version)
        return error_set(err, -EPROTO, "kept weights: not of this format");
    if (memcmp(&found->key, &wanted->key, sizeof(found->key)) != 0)
        return error_set(err, -EPROTO, "kept weights: of another model or rank");
    return error_set(err, -EPROTO, "kept weights: another layout");
}

int weight_store_attach(struct device *device, const struct store_key *key,
                        const struct store_object *objects, int32_t num_objects, int fd,
                        struct weight_store **ret_store, struct error *err)
{
    struct weight_store *store;
    int r = plan(device, key, objects, num_objects, &store, err);
    if (r < 0)
        return r;
    r = check_file(store, fd, err);
    if (r == 0)
        r = map(store, fd, PROT_READ, err);
    if (r == 0)
        r = check_image(store, err);
    if (r < 0) {
        weight_store_close(store);
        return r;
    }
    *ret_store = store;
    return 0;
}

/* --- objects ------------------------------------------------------------------------------ */

struct weight *weight_store_weight(struct weight_store *store, int32_t index)
{
    return &store->weights[index];
}

float *weight_store_vector(struct weight_store *store, int32_t index)
{
    return (float *)(void *)(store->base + store->image->entries[index].offset);
}
