#include "worker/warm_up.h"

enum { MEASURE_US = 10 * 1000 };

static int32_t min_of(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

/* The longest made-up prompt that a single step can compute. */
static int32_t longest(const struct scheduler_limits *limits)
{
    const int32_t budget = limits->max_num_batched_tokens, len = limits->max_model_len;
    const int32_t chunk = kv_fitting_chunk(&limits->kv, limits->num_blocks, budget, len);
    int32_t most = min_of(chunk, len - 1);
    while (most > 1 && kv_most_blocks(&limits->kv, chunk, most) > limits->num_blocks)
        most--;
    return most > 1 ? most : 1;
}

static int32_t tokens_within(double us, double first_us, double each_us, int32_t least,
                             int32_t most)
{
    const double num = each_us > 0 ? 1 + (us - first_us) / each_us : most;
    return num < least ? least : num < most ? (int32_t)num : most;
}

void warm_up_adopt(struct engine *engine, const struct warm_up_result *result)
{
    engine_set_budget(engine, result->max_num_batched_tokens);
    engine_set_cost(engine, result->first_us, result->each_us);
}

int warm_up(struct engine *engine, const struct scheduler_limits *limits, bool choose,
            struct warm_up_result *ret_result)
{
    const int32_t most = longest(limits), least = min_of(WARM_UP_MIN_TOKENS, most);
    const int32_t max_budget = limits->max_num_batched_tokens;
    const int32_t min_budget = min_of(WARM_UP_MIN_TOKENS, max_budget);
    int64_t first_us = engine_measure(engine, 1), us = 0;
    double each_us = 0;
    int32_t num = least, budget = max_budget;

    if (first_us >= 0)
        first_us = engine_measure(engine, 1); /* the first one touched everything */
    if (first_us < 0)
        return (int)first_us;
    /* What a small chunk costs is a coarse guess at what a large one does: where it is cheap, a
     * larger one is measured too. */
    for (int round = 0; round < 2 && num > 1 && us < MEASURE_US; round++) {
        us = engine_measure(engine, num);
        if (us < 0)
            return (int)us;
        each_us = us > first_us ? (double)(us - first_us) / (num - 1) : 0;
        budget = tokens_within(WARM_UP_STEP_US, (double)first_us, each_us, min_budget, max_budget);
        num = tokens_within(MEASURE_US, (double)first_us, each_us, 1, min_of(budget, most));
    }
    *ret_result = (struct warm_up_result){ .max_num_batched_tokens = choose ? budget : max_budget,
                                           .first_us = (double)first_us,
                                           .each_us = each_us };
    warm_up_adopt(engine, ret_result);
    return 0;
}
