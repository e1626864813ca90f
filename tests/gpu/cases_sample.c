#include "tests/gpu/cases.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 12, MAX_TOKENS = 60, LOGPROBS = 21 };

struct drawn {
    int32_t ids[MAX_ROWS], ranks[MAX_ROWS], top_ids[MAX_ROWS][LOGPROBS];
    float logprobs[MAX_ROWS][LOGPROBS];
    bool bad[MAX_ROWS];
};

static struct sample_row plain_row(struct side *s, struct drawn *d, int32_t i)
{
    return (struct sample_row){ .temperature = 0.8f,
                                .top_p = 1.0f,
                                .typical_p = 1.0f,
                                .repetition_penalty = 1.0f,
                                .seed = (uint64_t)side_whole(s, 0, 1 << 30) << 20 | (uint64_t)i,
                                .choice = (uint32_t)side_whole(s, 0, 9),
                                .output_pos = (uint32_t)side_whole(s, 0, 900),
                                .num_logprobs = -1,
                                .forced_id = -1,
                                .bad = &d->bad[i],
                                .ret_id = &d->ids[i],
                                .ret_logprobs = d->logprobs[i],
                                .ret_ids = d->top_ids[i],
                                .ret_rank = &d->ranks[i] };
}

/* What makes this kind of row particular. */
static void set_kind(struct side *s, struct sample_row *row, int32_t kind, int32_t vocab)
{
    switch (kind) {
    case 0:
        row->temperature = 0.0f;
        break;
    case 1:
        row->top_k = side_whole(s, 1, vocab);
        break;
    case 2:
        row->top_p = 0.1f + 0.4f * (side_float(s) + 1.0f);
        break;
    case 3:
        row->min_p = 0.2f;
        break;
    case 4:
        row->typical_p = 0.6f;
        break;
    case 5:
        row->repetition_penalty = 1.7f;
        row->temperature = 0.0f;
        break;
    case 6:
        row->frequency_penalty = 0.9f;
        row->presence_penalty = -0.4f;
        break;
    case 7:
        row->num_logprobs = side_whole(s, 0, 20);
        row->repetition_penalty = 0.6f;
        row->top_p = 0.9f;
        break;
    case 8:
        row->forced_id = side_whole(s, 0, vocab - 1);
        row->num_logprobs = 5;
        break;
    case 9:
        row->top_k = 40;
        row->top_p = 0.8f;
        row->typical_p = 0.9f;
        row->min_p = 0.05f;
        row->temperature = 1.4f;
        break;
    default: /* the temperature alone */
        break;
    }
}

static void keep_row(struct side *s, const struct drawn *d, const struct sample_row *row, int32_t i)
{
    side_keep_value(s, (float)d->ids[i]);
    side_keep_value(s, (float)d->ranks[i]);
    side_keep_value(s, (float)d->bad[i]);
    for (int32_t k = 0; k <= row->num_logprobs; k++) {
        side_keep_value(s, (float)d->top_ids[i][k]);
        side_keep_value(s, d->logprobs[i][k] < -1e30f ? -1e6f : d->logprobs[i][k]);
    }
}

static void sample(struct side *s, int32_t variant)
{
    struct drawn d = { .bad = { false } };
    struct sample_row rows[MAX_ROWS];
    int32_t tokens[MAX_ROWS][MAX_TOKENS];
    struct logit_bias biases[MAX_ROWS][3];
    uint32_t banned[MAX_ROWS][128];
    const int32_t num = side_whole(s, 1, MAX_ROWS), vocab = side_whole(s, 30, 2500);
    float *logits = side_random(s, (size_t)(num * vocab), 5.0f);
    for (int32_t i = 0; i < num; i++) {
        rows[i] = plain_row(s, &d, i);
        set_kind(s, &rows[i], variant, vocab);
        for (int32_t t = 0; t < MAX_TOKENS; t++)
            tokens[i][t] = side_whole(s, 0, vocab - 1) / side_whole(s, 1, 5);
        rows[i].tokens = tokens[i];
        rows[i].num_tokens = side_whole(s, 1, MAX_TOKENS);
        rows[i].num_prompt = side_whole(s, 1, rows[i].num_tokens);
        if (side_coin(s)) {
            for (int32_t k = 0; k < 3; k++)
                biases[i][k] = (struct logit_bias){ side_whole(s, 0, vocab - 1), 4.0f };
            rows[i].biases = biases[i];
            rows[i].num_biases = 3;
        }
        if (side_coin(s)) {
            for (int32_t k = 0; k < 128; k++)
                banned[i][k] = (uint32_t)side_whole(s, 0, 1 << 30) * 3u;
            rows[i].banned = banned[i];
        }
    }
    s->backend->begin(s->device);
    s->backend->sample(s->device, logits, vocab, rows, num);
    side_run(s);
    for (int32_t i = 0; i < num; i++)
        keep_row(s, &d, &rows[i], i);
}

/* Rows of which nothing can be drawn, equal logits, a mask that leaves one token. */
static void odd_rows(struct side *s, int32_t variant)
{
    enum { VOCAB = 100 };
    struct drawn d = { .bad = { false } };
    float values[VOCAB];
    uint32_t banned[4];
    struct sample_row row = plain_row(s, &d, 0);
    for (int32_t i = 0; i < VOCAB; i++)
        values[i] = 1.0f;
    memset(banned, variant == 0 ? 0xff : 0, sizeof(banned));
    if (variant == 1)
        values[70] = __builtin_nanf("");
    if (variant == 2)
        values[3] = __builtin_inff();
    if (variant == 3)
        for (int32_t i = 0; i < VOCAB; i++)
            values[i] = -__builtin_inff();
    if (variant == 4) {
        memset(banned, 0xff, sizeof(banned));
        banned[1] ^= 1u << 9;
    }
    if (variant == 5)
        row.temperature = 0.0f;
    if (variant == 6)
        row.top_k = 7;
    if (variant == 7)
        row.top_p = 0.25f;
    row.num_logprobs = 3;
    row.banned = banned;
    row.tokens = (const int32_t[]){ 1 };
    row.num_prompt = row.num_tokens = 1;
    float *logits = side_random(s, VOCAB, 0.0f);
    s->backend->upload(s->device, logits, values, sizeof(values));
    s->backend->begin(s->device);
    s->backend->sample(s->device, logits, VOCAB, &row, 1);
    side_run(s);
    keep_row(s, &d, &row, 0);
}

/* Vocabularies that are looked through by several blocks: the best twice, far apart; one number
 * missing at the end. */
static void wide(struct side *s, int32_t variant)
{
    enum { ROWS = 3, VOCAB = 20011 };
    struct drawn d = { .bad = { false } };
    struct sample_row rows[ROWS];
    int32_t tokens[] = { 19000, 4 };
    float *values = malloc(sizeof(float) * ROWS * VOCAB);
    if (values == NULL)
        abort();
    for (int32_t i = 0; i < ROWS * VOCAB; i++)
        values[i] = 4.0f * side_float(s);
    for (int32_t i = 0; i < ROWS; i++) {
        rows[i] = plain_row(s, &d, i);
        values[i * VOCAB + 9000] = values[i * VOCAB + 19000] = 6.5f;
        rows[i].temperature = variant == 0 ? 0.0f : 1.0f;
        rows[i].num_logprobs = 4;
        rows[i].tokens = tokens;
        rows[i].num_prompt = 1;
        rows[i].num_tokens = 2;
        rows[i].repetition_penalty = i == 2 ? 1.5f : 1.0f; /* its best are others */
    }
    if (variant == 2)
        values[VOCAB - 1] = __builtin_nanf("");
    float *logits = side_random(s, ROWS * VOCAB, 0.0f);
    s->backend->upload(s->device, logits, values, sizeof(float) * ROWS * VOCAB);
    s->backend->begin(s->device);
    s->backend->sample(s->device, logits, VOCAB, rows, ROWS);
    side_run(s);
    for (int32_t i = 0; i < ROWS; i++)
        keep_row(s, &d, &rows[i], i);
    free(values);
}

/* Vocabularies of several parts, and every kind of row: few tokens stand out, or so many that the
 * filters' candidates have no room; or scores beyond all bins, and the best ones in equal numbers.
 */
static void wide_kinds(struct side *s, int32_t variant)
{
    enum { ROWS = 4, KINDS = 11, MOST = 20011 };
    struct drawn d = { .bad = { false } };
    struct sample_row rows[ROWS];
    struct logit_bias biases[ROWS][2];
    static uint32_t banned[ROWS][MOST / 32 + 1];
    int32_t tokens[] = { 16000, 4, 8192, 8191 };
    const int32_t vocab = side_whole(s, 16000, MOST), kind = variant % KINDS,
                  shape = variant / KINDS;
    const float spread = shape == 1 ? 0.2f : 3.0f, level = shape == 2 ? 90.0f : -3.0f;
    float *values = malloc(sizeof(float) * ROWS * MOST);
    if (values == NULL)
        abort();
    for (int32_t i = 0; i < ROWS * vocab; i++) {
        values[i] = level + spread * (side_float(s) + side_float(s) + side_float(s));
        if (shape == 2)
            values[i] = (float)(int32_t)values[i];
    }
    for (int32_t i = 0; i < ROWS; i++) {
        for (int32_t k = 0; shape == 0 && k < 60; k++)
            values[i * vocab + side_whole(s, 0, vocab - 1)] = 8.0f + 5.0f * side_float(s);
        rows[i] = plain_row(s, &d, i);
        set_kind(s, &rows[i], kind, vocab);
        if (kind == 1 && i < 3)
            rows[i].top_k = side_whole(s, 1, 100);
        rows[i].tokens = tokens;
        rows[i].num_tokens = 4;
        rows[i].num_prompt = 2;
        for (int32_t k = 0; k < 2; k++)
            biases[i][k] = (struct logit_bias){ side_whole(s, 0, vocab - 1), level + 12.0f };
        rows[i].biases = biases[i];
        rows[i].num_biases = i % 2 == 0 ? 2 : 0;
        for (int32_t k = 0; k < MOST / 32 + 1; k++)
            banned[i][k] = i == 3 && k % 97 != 5 ? 0xffffffffu : (uint32_t)side_whole(s, 0, 9);
        if (i >= 2)
            rows[i].banned = banned[i];
    }
    float *logits = side_random(s, (size_t)(ROWS * vocab), 0.0f);
    s->backend->upload(s->device, logits, values, sizeof(float) * (size_t)(ROWS * vocab));
    s->backend->begin(s->device);
    s->backend->sample(s->device, logits, vocab, rows, ROWS);
    side_run(s);
    for (int32_t i = 0; i < ROWS; i++)
        keep_row(s, &d, &rows[i], i);
    free(values);
}

/* Ids that the list before drew feed the next one, which is recorded while that runs. */
static void ahead(struct side *s, int32_t variant)
{
    enum { VOCAB = 64, COLS = 32, ROWS = 5 };
    struct drawn first = { .bad = { false } }, second = { .bad = { false } };
    struct sample_row rows[2][ROWS];
    int32_t ids[2][ROWS] = { { 1, 2, 3, 4, 5 }, { 0 } }, prompt[] = { 7, 8 };
    struct id_move moves[ROWS];
    struct weight *table = side_weight(s, DTYPE_F32, VOCAB, COLS);
    float *x = side_poisoned(s, ROWS * COLS), *logits = side_poisoned(s, ROWS * VOCAB);
    for (int32_t i = 0; i < ROWS; i++) {
        rows[0][i] = plain_row(s, &first, i);
        rows[1][i] = plain_row(s, &second, i);
        rows[0][i].tokens = rows[1][i].tokens = prompt;
        rows[0][i].num_prompt = rows[1][i].num_prompt = 1;
        rows[0][i].num_tokens = 1;
        rows[1][i].num_tokens = 2;
        rows[1][i].last_token = &first.ids[ROWS - 1 - i];
        rows[1][i].repetition_penalty = variant == 0 ? 1.0f : 3.0f;
        moves[i] = (struct id_move){ .to = i, .from = ROWS - 1 - i };
    }
    for (int32_t k = 0; k < 2; k++) {
        s->backend->begin(s->device);
        if (k == 1)
            s->backend->move_ids(s->device, ids[1], first.ids, moves, ROWS);
        s->backend->embed(s->device, x, table, 8.0f, ids[k], ROWS);
        s->backend->linear(s->device, logits, table, NULL, x, ROWS);
        s->backend->sample(s->device, logits, VOCAB, rows[k], ROWS);
        if (s->backend->submit(s->device) < 0)
            side_run(s);
    }
    for (int k = 0; k < 2; k++) /* of a device that queues, two lists */
        if (s->backend->wait(s->device) < 0)
            side_run(s);
    for (int32_t i = 0; i < ROWS; i++) {
        keep_row(s, &first, &rows[0][i], i);
        keep_row(s, &second, &rows[1][i], i);
    }
}

const struct gpu_case cases_sample[] = {
    { "sample", sample, 11, 1e-5 },  { "odd rows", odd_rows, 8, 1e-5 },
    { "wide rows", wide, 3, 1e-5 },  { "wide kinds", wide_kinds, 33, 1e-5 },
    { "one ahead", ahead, 2, 1e-5 }, { NULL, NULL, 0, 0 },
};
