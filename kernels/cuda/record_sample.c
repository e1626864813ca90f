/* Rows to sample, as the device reads them: tokens become edits of scores, each once. */
#include <string.h>

#include "kernels/cuda/record.h"

static bool has_repetition(const struct sample_row *row)
{
    return row->repetition_penalty > 0.0f && row->repetition_penalty != 1.0f;
}

static bool has_counts(const struct sample_row *row)
{
    return row->frequency_penalty != 0.0f || row->presence_penalty != 0.0f;
}

/* Edits of a row while they are made; counts[id] is 1 + its place. */
struct edits {
    struct edit *list;
    int32_t num, num_vocab;
    uint32_t *counts;
};

static struct edit *edit_of(struct edits *e, int32_t id)
{
    if (id < 0 || id >= e->num_vocab)
        return NULL;
    if (e->counts[id] == 0) {
        e->list[e->num] = (struct edit){ .id = id };
        e->counts[id] = (uint32_t)++e->num;
    }
    return &e->list[e->counts[id] - 1];
}

static void note_tokens(struct edits *e, const struct sample_row *row, int32_t num_tokens)
{
    for (int32_t t = has_repetition(row) ? 0 : row->num_prompt; t < num_tokens; t++) {
        const bool elsewhere = row->last_token != NULL && t == row->num_tokens - 1;
        struct edit *edit = edit_of(e, elsewhere ? *row->last_token : row->tokens[t]);
        if (edit == NULL)
            continue;
        edit->seen = 1;
        edit->count += t >= row->num_prompt;
    }
}

/* Into the tables, with room for one more; the last token may be the device's to know. */
static void stage_edits(struct device *d, const struct sample_row *row, int32_t num_vocab,
                        struct draw *draw)
{
    const bool uses_tokens = has_repetition(row) || has_counts(row);
    const bool last_is_new = uses_tokens && draw->last >= 0;
    const int32_t num_tokens = uses_tokens ? row->num_tokens - (last_is_new ? 1 : 0) : 0;
    int32_t most = row->num_biases + 1 + (num_tokens > 0 ? num_tokens : 0);
    most = most < num_vocab + 1 ? most : num_vocab + 1;
    struct edits e = { .num_vocab = num_vocab, .counts = d->counts };
    e.list = inputs_table(&d->inputs, (size_t)most * sizeof(struct edit), &draw->edits);
    if (e.list == NULL)
        return;
    for (int32_t i = 0; i < row->num_biases; i++) {
        struct edit *edit = edit_of(&e, row->biases[i].token_id);
        if (edit != NULL)
            edit->bias += row->biases[i].bias;
    }
    if (uses_tokens)
        note_tokens(&e, row, num_tokens);
    for (int32_t i = 0; i < e.num; i++)
        d->counts[e.list[i].id] = 0;
    draw->num_edits = e.num;
    if (!uses_tokens)
        draw->last = -1;
    draw->last_in_output = row->num_tokens > row->num_prompt;
}

static void stage_mask(struct device *d, const struct sample_row *row, int32_t num_vocab,
                       struct draw *draw)
{
    const size_t bytes = (size_t)(num_vocab + 31) / 32 * sizeof(uint32_t);
    draw->banned = -1;
    if (row->banned == NULL)
        return;
    void *to = inputs_table(&d->inputs, bytes, &draw->banned);
    if (to != NULL)
        memcpy(to, row->banned, bytes);
}

/* The result of the list before that holds a row's last token; -1: the host knows it, and it is
 * *row->last_token or the last of its tokens. */
static int32_t last_of(const struct device *d, const struct sample_row *row)
{
    const struct list *before = &d->lists[!d->recording];
    const int32_t *id = row->last_token;
    if (id == NULL || before->ids == NULL || !device_is_unknown(before) || id < before->ids ||
        id >= before->ids + before->num_samples)
        return -1;
    return (int32_t)(id - before->ids);
}

static void stage_draw(struct device *d, struct draw *draw, const struct sample_row *row,
                       int32_t num_vocab)
{
    memset(draw, 0, sizeof(*draw));
    draw->temperature = row->temperature;
    draw->top_p = row->top_p;
    draw->min_p = row->min_p;
    draw->typical_p = row->typical_p;
    draw->top_k = row->top_k;
    draw->repetition = has_repetition(row) ? row->repetition_penalty : 0.0f;
    draw->presence = row->presence_penalty;
    draw->frequency = row->frequency_penalty;
    draw->seed = row->seed;
    draw->choice = row->choice;
    draw->output_pos = row->output_pos;
    draw->num_logprobs =
        row->num_logprobs < RESULT_LOGPROBS ? row->num_logprobs : RESULT_LOGPROBS - 1;
    draw->forced_id = row->forced_id;
    draw->wants_rank = row->ret_rank != NULL;
    draw->last = last_of(d, row);
    stage_edits(d, row, num_vocab, draw);
    stage_mask(d, row, num_vocab, draw);
}

/* Rows of a bucket that nobody asked for: forced, so that nothing is searched. */
static void stage_nothing(struct draw *draw)
{
    memset(draw, 0, sizeof(*draw));
    draw->num_logprobs = -1;
    draw->last = -1;
    draw->banned = -1;
}

/* Are the ids of all rows one behind the other? Else the next list cannot name them. */
static const int32_t *ids_of(const struct sample_row *rows, int32_t num)
{
    for (int32_t i = 0; i < num; i++)
        if (rows[i].ret_id != rows[0].ret_id + i)
            return NULL;
    return num > 0 ? rows[0].ret_id : NULL;
}

/* What the kernels tell each other: scans, bins and candidates of all rows, one behind the other.
 */
static bool take_space(struct device *d, struct sample_args *a)
{
    const size_t num = (size_t)a->num * (size_t)a->num_scans;
    const size_t scans = num * sizeof(*a->scans), bins = num * SCAN_BINS * sizeof(*a->bins);
    const size_t candidates = num * SCAN_CANDIDATES * sizeof(*a->candidates);
    if (a->num_scans > SCAN_MAX_PARTS)
        return false;
    unsigned char *space = device_scratch(d, scans + bins + candidates);
    if (space == NULL)
        return false;
    a->scans = (struct scan *)space;
    a->bins = (uint16_t *)(space + scans);
    a->candidates = (uint16_t *)(space + scans + bins);
    return true;
}

void record_sample(struct device *d, float *logits, int32_t num_vocab,
                   const struct sample_row *rows, int32_t num)
{
    static launch_function *const steps[] = { sample_scan, sample_gather, sample_rows };
    struct list *list = &d->lists[d->recording];
    const int32_t padded = device_pad(d, num);
    void *device;
    struct draw *draws = inputs_fixed(&d->inputs, (size_t)padded * sizeof(*draws), &device);
    if (draws == NULL || num_vocab > d->max_vocab) {
        d->inputs.is_full = true;
        return;
    }
    for (int32_t i = 0; i < padded; i++)
        if (i < num)
            stage_draw(d, &draws[i], &rows[i], num_vocab);
        else
            stage_nothing(&draws[i]);
    struct sample_args args;
    memset(&args, 0, sizeof(args));
    args.logits = logits;
    args.num_vocab = num_vocab;
    args.num = padded;
    args.num_scans = (num_vocab + SCAN_TOKENS - 1) / SCAN_TOKENS;
    args.draws = device;
    args.tables = inputs_tables(&d->inputs);
    args.results = d->results;
    args.before = d->before;
    if (!take_space(d, &args)) {
        d->inputs.is_full = true;
        return;
    }
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        memcpy(&device_record(d, steps[i])->args.sample, &args, sizeof(args));
    list->samples = rows;
    list->num_samples = num;
    list->ids = ids_of(rows, num);
}
