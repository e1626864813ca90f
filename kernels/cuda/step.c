/* Lists of operations: recorded, sent, waited for. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/ranks.h"

enum { WAIT_US = 1000, MAX_BUCKET = 256, KEPT_EVENT = RUNTIME_NUM_EVENTS - 1 };

/* --- recording ------------------------------------------------------------------------------- */

void device_begin(struct device *d)
{
    d->recording = !d->recording;
    struct list *list = &d->lists[d->recording];
    if (list->is_sent)
        (void)device_wait(d); /* an error is final, and submit() says it */
    struct op *ops = list->ops;
    *list = (struct list){ .ops = ops };
    inputs_begin(&d->inputs);
    d->step_rows = d->bucket = d->top_k = 0;
    d->is_narrow = false;
    d->pending = (struct pending_move){ 0 };
    d->num_plans = 0;
}

struct op *device_record(struct device *d, launch_function *launch)
{
    struct list *list = &d->lists[d->recording];
    const bool fits = list->num_ops < d->max_ops;
    struct op *op = &list->ops[fits ? list->num_ops++ : d->max_ops];
    list->overflowed |= !fits;
    memset(op, 0, sizeof(*op)); /* padding too: lists are compared by bytes */
    op->launch = launch;
    return op;
}

/* 1, 2, 4, 8, then by 8 to 64, by 16 to 256. */
static int32_t bucket_of(int32_t rows)
{
    int32_t bucket = 1;
    while (bucket < rows && bucket < 8)
        bucket *= 2;
    if (rows <= 8)
        return bucket;
    const int32_t unit = rows <= 64 ? 8 : 16;
    return (rows + unit - 1) / unit * unit;
}

static int32_t most_padded(const struct device *d)
{
    const int32_t most = d->max_rows < d->max_logits ? d->max_rows : d->max_logits;
    return most < MAX_BUCKET ? most : MAX_BUCKET;
}

void device_set_rows(struct device *d, int32_t rows)
{
    const int32_t bucket = bucket_of(rows);
    d->step_rows = rows;
    d->bucket = bucket <= most_padded(d) ? bucket : rows;
}

int32_t device_pad(struct device *d, int32_t rows)
{
    if (d->step_rows == 0 || d->is_narrow)
        return rows;
    if (rows == d->step_rows)
        return d->bucket;
    if (d->top_k > 0 && rows == d->step_rows * d->top_k)
        return d->bucket * d->top_k;
    return rows;
}

int32_t device_graph_rows(const struct device *d, int32_t index)
{
    int32_t rows = most_padded(d);
    while (rows > 0 && bucket_of(rows) != rows)
        rows--;
    while (index-- > 0 && rows > 0)
        do
            rows--;
        while (rows > 0 && bucket_of(rows) != rows);
    return rows;
}

void device_capture(struct device *d)
{
    d->lists[d->recording].wants_capture = true;
}

enum number device_number(const struct device *d, const void *buffer)
{
    for (int32_t i = 0; i < d->num_buffers; i++)
        if (d->buffers[i].at == buffer)
            return d->buffers[i].number;
    return NUMBER_F32;
}

void device_set_number(struct device *d, const void *buffer, enum number number)
{
    int32_t i = 0;
    while (i < d->num_buffers && d->buffers[i].at != buffer)
        i++;
    if (number == NUMBER_F32) {
        if (i < d->num_buffers)
            d->buffers[i] = d->buffers[--d->num_buffers];
        return;
    }
    assert(i < DEVICE_MAX_BUFFERS);
    d->buffers[i].at = buffer;
    d->buffers[i].number = number;
    d->num_buffers += i == d->num_buffers;
}

/* That of most of the weights. */
enum number device_narrow(const struct device *d)
{
    const size_t *bytes = d->weight_bytes;
    if (d->num_buffers >= DEVICE_MAX_BUFFERS - 1)
        return NUMBER_F32;
    if (bytes[NUMBER_BF16] > bytes[NUMBER_F16] && bytes[NUMBER_BF16] > bytes[NUMBER_F32])
        return NUMBER_BF16;
    return bytes[NUMBER_F16] > bytes[NUMBER_F32] ? NUMBER_F16 : NUMBER_F32;
}

bool device_is_own(const struct device *d, const void *at)
{
    const unsigned char *byte = at;
    for (int32_t i = 0; i < d->memory.num_pieces; i++) {
        const struct memory_piece *piece = &d->memory.pieces[i];
        if (byte >= piece->base && byte < piece->base + piece->bytes)
            return true;
    }
    return false;
}

const void *device_row_array(struct device *d, const void *host, int32_t rows, size_t size,
                             int fill)
{
    if (device_is_own(d, host))
        return host;
    return inputs_array(&d->inputs, host, (size_t)rows * size, (size_t)device_pad(d, rows) * size,
                        fill);
}

/* --- running ------------------------------------------------------------------------------- */

/* 1 when the event is over, 0 when it is not within `us`, or an error, which is final. */
static int look(struct device *d, int32_t event, int64_t us)
{
    const int r = runtime_wait(d->runtime, event, us);
    d->error = r < 0 ? r : ranks_check(d->ranks);
    return d->error != 0 ? d->error : r == 0;
}

/* No list lasts as long as the deadline: a rank that others wait for so long hangs. */
static int look_again(struct device *d, int64_t until)
{
    if (d->ranks != NULL && clock_now_us() > until)
        d->error = ranks_abandon(d->ranks);
    return d->error;
}

/* All that was launched is over. */
static int settle(struct device *d)
{
    const int64_t until = clock_now_us() + d->deadline_us;
    int r = runtime_record(d->runtime, RUNTIME_COMPUTE, KEPT_EVENT);
    while (r == 0 && (r = look(d, KEPT_EVENT, WAIT_US)) == 0)
        r = look_again(d, until);
    return r == 1 ? 0 : r;
}

static void launch_all(struct device *d, const struct list *list, enum op_place place)
{
    for (int32_t i = 0; i < list->num_ops; i++)
        if (list->ops[i].place == place)
            list->ops[i].launch(&d->launch, &list->ops[i].args);
}

/* What a graph may hold of a list: all between the operations that go first and last. */
static const struct op *middle_of(const struct list *list, int32_t *ret_num)
{
    int32_t begin = 0, end = list->num_ops;
    while (begin < end && list->ops[begin].place == PLACE_FIRST)
        begin++;
    while (end > begin && list->ops[end - 1].place == PLACE_LAST)
        end--;
    *ret_num = end - begin;
    return list->ops + begin;
}

static struct graph *find_graph(struct device *d, const struct list *list)
{
    int32_t num;
    const struct op *ops = middle_of(list, &num);
    for (int32_t i = 0; i < d->num_graphs; i++)
        if (d->graphs[i].num_ops == num &&
            memcmp(d->graphs[i].ops, ops, (size_t)num * sizeof(*ops)) == 0)
            return &d->graphs[i];
    return NULL;
}

/* Beside other ranks a list that cannot be kept must not run: theirs are. */
static int refuse_graph(const struct device *d)
{
    return d->ranks != NULL ? -ENOMEM : 0;
}

/* Runs once before it is kept: kernels are loaded when they first run, and NCCL makes what a size
 * needs, which no graph can hold. */
static int keep_graph(struct device *d, const struct list *list)
{
    int32_t num;
    const struct op *middle = middle_of(list, &num);
    const size_t bytes = (size_t)num * sizeof(*middle);
    if (num == 0 || find_graph(d, list) != NULL)
        return 0;
    struct graph *graph = &d->graphs[d->num_graphs];
    unsigned char *ops = d->num_graphs < DEVICE_MAX_GRAPHS ? malloc(bytes) : NULL;
    if (ops == NULL)
        return refuse_graph(d);
    graph->ops = memcpy(ops, middle, bytes);
    graph->num_ops = num;
    ranks_keep(d->ranks, true);
    launch_all(d, list, PLACE_GRAPH);
    int r = settle(d);
    const size_t before = runtime_free_bytes(d->runtime);
    if (r == 0)
        r = runtime_graph_begin(d->runtime);
    if (r == 0) {
        launch_all(d, list, PLACE_GRAPH);
        r = runtime_graph_end(d->runtime, &graph->graph);
    }
    ranks_keep(d->ranks, false);
    if (r < 0) {
        free(graph->ops);
        return r;
    }
    const size_t after = runtime_free_bytes(d->runtime);
    d->graph_bytes += before > after ? before - after : 0;
    d->num_graphs++;
    return 0;
}

static int run(struct device *d, struct list *list)
{
    int r = 0;
    launch_all(d, list, PLACE_FIRST);
    if (list->wants_capture)
        r = keep_graph(d, list);
    struct graph *graph = r == 0 ? find_graph(d, list) : NULL;
    if (graph != NULL)
        r = runtime_graph_launch(d->runtime, graph->graph);
    else if (r == 0)
        launch_all(d, list, PLACE_GRAPH);
    if (r == 0)
        launch_all(d, list, PLACE_LAST);
    return r;
}

static int copy_results(struct device *d, void *to, const void *from, int32_t num)
{
    return runtime_copy(d->runtime, RUNTIME_COMPUTE, to, from, (size_t)num * sizeof(struct result));
}

/* Behind the one before, if that still runs: the queue keeps their order. */
int device_submit(struct device *d)
{
    struct list *list = &d->lists[d->recording];
    const struct list *before = &d->lists[!d->recording];
    int r = d->error;
    if (r == 0 && (list->overflowed || d->inputs.is_full || list->num_samples > d->max_results))
        r = -ENOSPC;
    if (r == 0)
        r = device_flush(d);
    if (r == 0)
        r = inputs_send(&d->inputs);
    if (r == 0 && before->num_samples > 0)
        r = copy_results(d, d->before, d->results, before->num_samples);
    if (r == 0)
        r = run(d, list);
    if (r == 0 && list->num_samples > 0)
        r = copy_results(d, d->host_results[d->recording], d->results, list->num_samples);
    if (r == 0)
        r = runtime_record(d->runtime, RUNTIME_COMPUTE, d->recording);
    list->is_sent = r == 0;
    d->newest = d->recording;
    return r;
}

static void give_result(const struct sample_row *row, const struct result *result, bool is_shared)
{
    *row->ret_id = result->id;
    if (row->ret_own_id != NULL)
        *row->ret_own_id = is_shared ? result->own_id : result->id;
    if (result->bad && row->bad != NULL)
        *row->bad = true;
    if (row->ret_rank != NULL)
        *row->ret_rank = result->rank;
    for (int32_t k = 0; k <= row->num_logprobs && k < RESULT_LOGPROBS; k++) {
        row->ret_logprobs[k] = result->logprobs[k];
        row->ret_ids[k] = result->ids[k];
    }
}

/* Of the two that may be on their way; -1: none. */
static int32_t older(const struct device *d)
{
    return d->lists[!d->newest].is_sent ? !d->newest : d->lists[d->newest].is_sent ? d->newest : -1;
}

static void give_results(struct device *d, int32_t index)
{
    struct list *list = &d->lists[index];
    for (int32_t i = 0; i < list->num_samples; i++)
        give_result(&list->samples[i], &d->host_results[index][i], list->shares_ids);
    list->has_landed = true;
}

/* Of the older one: 1 when it lands within `us` or did before, 0, or an error, which is final. */
static int land(struct device *d, int64_t us)
{
    const int32_t index = older(d);
    if (d->error != 0 || index < 0 || d->lists[index].has_landed)
        return d->error != 0 ? d->error : 1;
    const int r = look(d, index, us);
    if (r == 1)
        give_results(d, index);
    return r;
}

int device_wait(struct device *d)
{
    const int64_t until = clock_now_us() + d->deadline_us;
    const int32_t index = older(d);
    int r = 0;
    while (r == 0 && (r = land(d, WAIT_US)) == 0)
        r = look_again(d, until);
    if (index >= 0)
        d->lists[index].is_sent = false;
    return r == 1 ? 0 : r;
}

int device_wait_for(struct device *d, int64_t us)
{
    return land(d, us);
}
