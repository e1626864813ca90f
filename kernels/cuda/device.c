#include "kernels/cuda/device.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ranks.h"

enum {
    MAX_THREADS = 16,
    EXPANDED_BYTES = 64 << 20,
    MIN_TABLES = 1 << 20,
    DEADLINE_US = 60 * 1000 * 1000
};

/* The rank's number in "0,1", or its rank. */
static int32_t ordinal_of(const char *ordinals, int32_t rank)
{
    if (ordinals == NULL)
        return rank;
    for (int32_t i = 0; i < rank && (ordinals = strchr(ordinals, ',')) != NULL; i++)
        ordinals++;
    return ordinals != NULL ? (int32_t)strtol(ordinals, NULL, 10) : rank;
}

/* They read and pack weights; the ranks of a host share its cores. */
static int32_t allowed_threads(int32_t wanted, int32_t num_ranks)
{
    cpu_set_t set;
    const int all = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    const int num = all > num_ranks ? all / num_ranks : 1;
    const int most = wanted > 0 ? wanted : MAX_THREADS;
    return num < most ? num : most;
}

static void read_options(struct device *d, const struct device_options *o)
{
    d->rank = o->rank;
    d->num_ranks = o->num_ranks > 0 ? o->num_ranks : 1;
    d->max_rows = o->max_rows > 0 ? o->max_rows : 1;
    d->max_logits = o->max_logits;
    d->max_results = o->max_logits > d->max_rows ? o->max_logits : d->max_rows;
    d->max_ops = 4 * o->max_ops + 64; /* one may be recorded as several */
    d->max_vocab = o->max_vocab > 0 ? o->max_vocab : 1;
    d->num_threads = allowed_threads(o->num_threads, d->num_ranks);
    d->is_deterministic = o->is_deterministic;
    d->deadline_us = o->deadline_us > 0 ? o->deadline_us : DEADLINE_US;
    d->memory_share = o->memory_share > 0 ? o->memory_share : 0.9;
    snprintf(d->ordinals, sizeof(d->ordinals), "%s", o->ordinals != NULL ? o->ordinals : "");
    snprintf(d->libraries, sizeof(d->libraries), "%s", o->libraries != NULL ? o->libraries : "");
}

static int alloc_lists(struct device *d)
{
    for (int i = 0; i < 2; i++) {
        d->lists[i].ops = calloc((size_t)d->max_ops + 1, sizeof(struct op));
        d->host_results[i] =
            runtime_pinned_alloc(d->runtime, (size_t)d->max_results * sizeof(struct result));
        if (d->lists[i].ops == NULL || d->host_results[i] == NULL)
            return -ENOMEM;
    }
    d->counts = calloc((size_t)d->max_vocab, sizeof(*d->counts));
    return d->counts != NULL ? 0 : -ENOMEM;
}

static int alloc_device(struct device *d, const struct device_options *o)
{
    const size_t results = (size_t)d->max_results * sizeof(struct result);
    const size_t fixed = (size_t)d->max_results * INPUTS_FIXED_ROW + MIN_TABLES;
    const size_t tables = o->max_input_bytes + MIN_TABLES;
    /* A slot of the narrowest head holds 16 x 66 floats. */
    const size_t counters = DEVICE_PARTIAL_BYTES / (16 * 66);
    d->results = memory_take(&d->memory, MEMORY_WORKSPACE, results);
    d->before = memory_take(&d->memory, MEMORY_WORKSPACE, results);
    d->partials = memory_take(&d->memory, MEMORY_WORKSPACE, DEVICE_PARTIAL_BYTES);
    d->counters = memory_take(&d->memory, MEMORY_WORKSPACE, counters);
    if (d->results == NULL || d->before == NULL || d->partials == NULL || d->counters == NULL)
        return -ENOMEM;
    return inputs_init(&d->inputs, &d->memory, fixed, tables);
}

static int open_parts(struct device *d, const struct device_options *options, struct error *err)
{
    int r = load_open(d);
    if (r == 0)
        r = alloc_lists(d);
    if (r == 0)
        r = alloc_device(d, options);
    if (r < 0)
        return device_out_of_memory(d, "work space", 2 * (size_t)DEVICE_PARTIAL_BYTES, err);
    r = d->is_deterministic ? 0 : lt_open(d->libraries, &d->memory, &d->lt, err);
    d->rounds_inputs = d->lt != NULL && lt_rounds(d->lt, runtime_info(d->runtime)->arch);
    return r;
}

/* What results depend on. */
static void name_isa(struct device *d, const struct runtime_info *info)
{
    snprintf(d->isa, sizeof(d->isa), "%s, sm_%d%s%s", info->name, info->arch,
             d->is_deterministic ? ", deterministic" : "",
             d->rounds_inputs ? ", FP8 products" : "");
}

int device_open(const struct device_options *options, struct device **ret_device, struct error *err)
{
    struct device *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return error_set(err, -ENOMEM, "no memory for a device");
    read_options(d, options);
    int r = runtime_open(ordinal_of(options->ordinals, options->rank), &d->runtime, err);
    if (r < 0) {
        free(d);
        return r;
    }
    const struct runtime_info *info = runtime_info(d->runtime);
    memory_init(&d->memory, d->runtime);
    d->launch = (struct launch){ .stream = runtime_stream(d->runtime),
                                 .num_sms = info->num_sms,
                                 .max_shared_bytes = info->max_shared_bytes,
                                 .overlaps = info->arch >= 90 && rows_can_overlap() };
    r = open_parts(d, options, err);
    if (r < 0) {
        device_close(d);
        return r;
    }
    name_isa(d, info);
    *ret_device = d;
    return 0;
}

void device_close(struct device *d)
{
    if (d == NULL)
        return;
    if (d->error == 0)
        runtime_drain(d->runtime);
    for (int32_t i = 0; i < d->num_graphs; i++) {
        runtime_graph_free(d->graphs[i].graph);
        free(d->graphs[i].ops);
    }
    ranks_close(d->ranks);
    lt_close(d->lt);
    for (int i = 0; i < 2; i++) {
        free(d->lists[i].ops);
        if (d->host_results[i] != NULL)
            runtime_pinned_free(d->runtime, d->host_results[i]);
    }
    inputs_finish(&d->inputs, &d->memory);
    load_close(d);
    memory_finish(&d->memory);
    runtime_close(d->runtime);
    free(d->counts);
    free(d);
}

const char *device_isa(const struct device *d)
{
    return d->isa;
}

int32_t device_threads(const struct device *d)
{
    return d->num_threads;
}

int device_join(struct device *d, const struct communicator *communicator, struct error *err)
{
    const struct ranks_options options = {
        .libraries = d->libraries,
        .communicator = communicator,
        .share_device = strlen(d->ordinals) > 0 && ranks_share_device(d->ordinals),
        .deadline_us = d->deadline_us,
    };
    return ranks_open(&options, &d->ranks, err);
}

/* --- memory --------------------------------------------------------------------------------------
 */

/* Of the ranks that this one knows of, those on its own GPU: they share it out evenly. */
static int32_t ranks_here(const struct device *d)
{
    const char *ordinals = d->ordinals[0] != '\0' ? d->ordinals : NULL;
    const int32_t own = ordinal_of(ordinals, d->rank);
    int32_t num = 0;
    for (int32_t rank = 0; rank < d->num_ranks; rank++)
        num += ordinal_of(ordinals, rank) == own;
    return num > 0 ? num : 1;
}

/* Of the share, what this process has not taken, and never more than is free: other processes may
 * have taken the rest. Room for x as linears want it stays. */
int64_t device_memory_left(const struct device *d)
{
    const int32_t num = ranks_here(d);
    const double share = d->memory_share * (double)runtime_info(d->runtime)->total_bytes / num;
    const int64_t left = (int64_t)share - (int64_t)memory_total(&d->memory);
    const int64_t later = EXPANDED_BYTES + ((int64_t)512 << 20);
    const int64_t available = (int64_t)runtime_free_bytes(d->runtime) / num;
    const int64_t least = left < available ? left : available;
    return least > later ? least - later : 0;
}

/* Neither ours nor free: of the driver, of graphs and libraries, and of other processes. */
static size_t foreign_bytes(const struct device *d)
{
    const size_t taken = runtime_info(d->runtime)->total_bytes - runtime_free_bytes(d->runtime);
    const size_t own = memory_total(&d->memory) + d->graph_bytes;
    return taken > own ? taken - own : 0;
}

int32_t device_memory_uses(const struct device *d, struct memory_use *ret_uses, int32_t max)
{
    int32_t num = 0;
    for (int i = 0; i < MEMORY_NUM_KINDS && num < max; i++)
        ret_uses[num++] =
            (struct memory_use){ memory_kind_name((enum memory_kind)i), d->memory.bytes[i] };
    if (num < max)
        ret_uses[num++] = (struct memory_use){ "graphs", d->graph_bytes };
    if (num < max)
        ret_uses[num++] = (struct memory_use){ "driver and others", foreign_bytes(d) };
    return num;
}

int device_out_of_memory(struct device *d, const char *what, size_t bytes, struct error *err)
{
    const double gib = 1024.0 * 1024.0 * 1024.0;
    return error_set_param(err, -ENOMEM, "gpu_memory_utilization",
                           "GPU memory: %s need %.2f GiB, %.2f of %.2f GiB are free; this process "
                           "has %.2f GiB, its driver and other processes %.2f GiB",
                           what, (double)bytes / gib, (double)runtime_free_bytes(d->runtime) / gib,
                           (double)runtime_info(d->runtime)->total_bytes / gib,
                           (double)memory_total(&d->memory) / gib, (double)foreign_bytes(d) / gib);
}

void *device_alloc(struct device *d, size_t bytes)
{
    return memory_take(&d->memory, MEMORY_ACTIVATIONS, bytes);
}

void device_free(struct device *d, void *memory)
{
    device_set_number(d, memory, NUMBER_F32);
    memory_give(&d->memory, memory);
}

void device_upload(struct device *d, void *to, const void *from, size_t bytes)
{
    int r = runtime_copy(d->runtime, RUNTIME_COMPUTE, to, from, bytes);
    if (r == 0)
        r = runtime_drain(d->runtime);
    if (r < 0)
        device_note_failure(d, r);
    device_set_number(d, to, NUMBER_F32);
}

/* 16-bit numbers at the beginning of `to` become floats, from behind. */
static void widen(void *to, enum number number, size_t num)
{
    const uint16_t *halves = to;
    float *floats = to;
    for (size_t i = num; i-- > 0;) {
        uint16_t half;
        memcpy(&half, halves + i, sizeof(half));
        const float value = number == NUMBER_F16 ? half_from_f16(half) : half_from_bf16(half);
        memcpy(floats + i, &value, sizeof(value));
    }
}

void device_download(struct device *d, void *to, const void *from, size_t bytes)
{
    const enum number number = device_number(d, from);
    const size_t stored = number == NUMBER_F32 ? bytes : bytes / 2;
    int r = runtime_drain(d->runtime);
    if (r == 0)
        r = runtime_copy(d->runtime, RUNTIME_COMPUTE, to, from, stored);
    if (r == 0)
        r = runtime_drain(d->runtime);
    if (r < 0)
        device_note_failure(d, r);
    if (number != NUMBER_F32)
        widen(to, number, bytes / sizeof(float));
}

/* The old piece stays: operations that were recorded before name it. */
bool device_grow(struct device *d, void **at, size_t *bytes, size_t wanted)
{
    if (wanted <= *bytes)
        return true;
    if (d->num_retired == DEVICE_MAX_RETIRED)
        return false;
    void *larger = memory_take(&d->memory, MEMORY_WORKSPACE, wanted);
    if (larger == NULL)
        return false;
    if (*at != NULL)
        d->retired[d->num_retired++] = *at;
    *at = larger;
    *bytes = wanted;
    return true;
}

void *device_scratch(struct device *d, size_t bytes)
{
    void *at = d->scratch;
    if (!device_grow(d, &at, &d->scratch_bytes, bytes))
        return NULL;
    return d->scratch = at;
}
