/*
 * sample_scan.cu - each logit once, by many blocks: the best, NaNs, the sum of exponentials
 *
 * A block of 256 threads takes SCAN_TOKENS tokens of one row, a thread each 256th of them; so a row
 * of 152,000 is read by 19 blocks, and what they find has an order that depends on the vocabulary
 * alone. The exponentials are of the distance to the part's own best: a pass for that, one for them,
 * of 32 KiB that the second finds in L1. Bound by latency, 2 us for any number of rows that fits
 * into the SMs at once.
 */
#include "kernels/cuda/device.cuh"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* The best by value, the lower id of equals: over the block, in every thread. */
DEVICE void block_best(float *value, int *id, float *values, int *ids)
{
    for (int mask = 16; mask > 0; mask /= 2) {
        const float x = lane_xor(*value, mask);
        const int i = lane_xor(*id, mask);
        if (i >= 0 && (*id < 0 || x > *value || (x == *value && i < *id))) {
            *value = x;
            *id = i;
        }
    }
    if (lane_of() == 0) {
        values[threadIdx.x / 32] = *value;
        ids[threadIdx.x / 32] = *id;
    }
    block_sync();
    *value = values[0];
    *id = ids[0];
    for (int w = 1; w < WARPS; w++)
        if (ids[w] >= 0 &&
            (*id < 0 || values[w] > *value || (values[w] == *value && ids[w] < *id))) {
            *value = values[w];
            *id = ids[w];
        }
}

KERNEL(THREADS, 4) scan_kernel(const struct sample_args args)
{
    __shared__ double sums[MAX_WARPS];
    __shared__ float values[WARPS];
    __shared__ int ids[WARPS];
    begin_kernel();
    const float *logits = args.logits + (int64_t)blockIdx.y * args.num_vocab;
    const int begin = (int)blockIdx.x * SCAN_TOKENS;
    const int end = begin + SCAN_TOKENS < args.num_vocab ? begin + SCAN_TOKENS : args.num_vocab;
    float best = -INFINITY;
    int id = -1, num_nan = 0;
    for (int i = begin + (int)threadIdx.x; i < end; i += THREADS) {
        const float x = logits[i];
        num_nan += x == x ? 0 : 1;
        if (x == x && (id < 0 || x > best)) {
            best = x;
            id = i;
        }
    }
    block_best(&best, &id, values, ids);
    double sum = 0.0;
    if (best > -INFINITY && best < INFINITY)
        for (int i = begin + (int)threadIdx.x; i < end; i += THREADS)
            sum += (double)expf(logits[i] - best);
    sum = block_sum(sum, sums);
    const double nans = block_sum((double)num_nan, sums);
    if (threadIdx.x == 0)
        args.scans[(int64_t)blockIdx.y * args.num_scans + blockIdx.x] = { best, id, (int)nans,
                                                                         sum };
}

extern "C" void sample_scan(const struct launch *launch, const void *args)
{
    const struct sample_args *a = (const struct sample_args *)args;
    launch_kernel(scan_kernel, dim3(a->num_scans, a->num), THREADS, 0, launch, *a);
}
