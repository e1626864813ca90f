#include "rig.h"

#include <check.h>
#include <string.h>

static int open_device(struct rig *rig, const struct rig_options *options, const struct arch *arch,
                       struct error *err)
{
    const struct communicator *c = options->communicator;
    const struct device_options device_options = {
        .num_threads = options->num_threads > 0 ? options->num_threads : 1,
        .isa = options->isa,
        .max_rows = RIG_MAX_ROWS,
        .max_ops = model_max_ops(arch, RIG_MAX_ROWS, options->expert_bytes) + 1, /* the sampler */
        .max_vocab = arch->vocab_size,
        .max_logits = RIG_MAX_LOGITS,
        .max_input_bytes = 4 << 20,
        .is_deterministic = options->is_deterministic,
        .rank = c != NULL ? c->rank : 0,
        .num_ranks = c != NULL ? c->num_ranks : 1,
        .ordinals = "0,0",
        .libraries = options->libraries,
        .deadline_us = options->deadline_us,
    };
    const int r = rig->backend->device_open(&device_options, &rig->device, err);
    return r == 0 && c != NULL ? rig->backend->device_join(rig->device, c, err) : r;
}

static int open_parts(struct rig *rig, const struct rig_options *options, struct error *err)
{
    const struct model_options model_options = {
        .dir = options->dir,
        .kv_dtype = options->kv_dtype,
        .block_size = RIG_BLOCK_SIZE,
        .max_model_len = options->max_model_len > 0 ? options->max_model_len : 128,
        .max_rows = RIG_MAX_ROWS,
        .max_logits = RIG_MAX_LOGITS,
        .communicator = options->communicator,
        .mu_clamp = options->mu_clamp,
        .no_mu_highway = options->no_mu_highway,
        .expert_bytes = options->expert_bytes,
        .weight_io = options->weight_io,
        .quantization = options->quantization,
    };
    struct arch arch;
    int r = model_read_arch(options->dir, options->kv_dtype, RIG_BLOCK_SIZE, &arch, err);
    if (r == 0)
        r = open_device(rig, options, &arch, err);
    if (r == 0)
        r = model_open(rig->backend, rig->device, &model_options, &rig->model, err);
    if (r == 0)
        r = rig->backend->kv_alloc(rig->device, &model_arch(rig->model)->kv_block,
                                   RIG_NUM_BLOCKS * arch.kv.num_parts, &rig->pool, err);
    rig->vocab_size = arch.vocab_size;
    return r;
}

int rig_open(struct rig *rig, const struct rig_options *options, struct error *err)
{
    *rig = (struct rig){ 0 };
    int r = backend_open(options->backend != NULL ? options->backend : "cpu", &rig->backend, err);
    if (r == 0)
        r = open_parts(rig, options, err);
    if (r < 0)
        rig_close(rig);
    return r;
}

void rig_close(struct rig *rig)
{
    if (rig->pool != NULL)
        rig->backend->kv_free(rig->pool);
    model_close(rig->model);
    if (rig->device != NULL)
        rig->backend->device_close(rig->device);
    *rig = (struct rig){ 0 };
}

enum { MAX_SEQS = 8 };

/* A batch as flat arrays. */
struct step {
    int32_t ids[RIG_MAX_ROWS], positions[RIG_MAX_ROWS], rows;
    int64_t slots[KV_MAX_PARTS][RIG_MAX_ROWS];
    struct attention_seq seqs[KV_MAX_PARTS][MAX_SEQS];
    int32_t blocks[KV_MAX_PARTS][MAX_SEQS][RIG_NUM_BLOCKS];
};

/* In a part of group `g`; what lies behind its window is not told. */
static void add_kv(struct step *step, const struct kv_groups *kv, int32_t g, int32_t p,
                   int32_t index, const struct rig_part *part)
{
    const int32_t end = kv_pages(kv, part->first_pos + part->num);
    const int32_t first = kv_first_page(kv, g, part->first_pos);
    int32_t *blocks = step->blocks[p][index];
    for (int32_t page = first; page < end; page++)
        blocks[page - first] = part->blocks[page] * kv->num_parts + p;
    step->seqs[p][index] = (struct attention_seq){ .first_row = step->rows,
                                                   .num_rows = part->num,
                                                   .first_pos = part->first_pos,
                                                   .blocks = blocks,
                                                   .first_block = first };
    for (int32_t i = 0; i < part->num; i++) {
        const int32_t pos = part->first_pos + i;
        const int64_t block = blocks[pos / RIG_BLOCK_SIZE - first];
        step->slots[p][step->rows + i] = block * RIG_BLOCK_SIZE + pos % RIG_BLOCK_SIZE;
    }
}

static void add_part(struct step *step, const struct kv_groups *kv, int32_t index,
                     const struct rig_part *part)
{
    for (int32_t g = 0; g < kv->num_groups; g++)
        for (int32_t p = 0; p < kv->groups[g].num_parts; p++)
            add_kv(step, kv, g, kv->groups[g].first_part + p, index, part);
    for (int32_t i = 0; i < part->num; i++, step->rows++) {
        step->ids[step->rows] = part->tokens[part->first_pos + i];
        step->positions[step->rows] = part->first_pos + i;
    }
}

/* Enqueue the forward; returns where the logits will lie. */
static float *enqueue(struct rig *rig, struct step *step, const struct rig_part *parts,
                      int32_t num_parts, const int32_t *logits_rows, int32_t num_logits)
{
    step->rows = 0;
    for (int32_t p = 0; p < num_parts; p++)
        add_part(step, &model_arch(rig->model)->kv, p, &parts[p]);
    struct model_batch batch = { .num_rows = step->rows,
                                 .token_ids = step->ids,
                                 .positions = step->positions,
                                 .num_seqs = num_parts,
                                 .num_logits = num_logits,
                                 .logits_rows = logits_rows };
    for (int p = 0; p < KV_MAX_PARTS; p++) {
        batch.slots[p] = step->slots[p];
        batch.seqs[p] = step->seqs[p];
    }
    float *logits = NULL;
    rig->backend->begin(rig->device);
    model_forward(rig->model, rig->pool, &batch, &logits);
    return logits;
}

static void finish(struct rig *rig)
{
    ck_assert_int_eq(rig->backend->submit(rig->device), 0);
    ck_assert_int_eq(rig->backend->wait(rig->device), 0);
}

void rig_step(struct rig *rig, const struct rig_part *parts, int32_t num_parts,
              const int32_t *logits_rows, int32_t num_logits, float *ret_logits)
{
    struct step step;
    int32_t every[RIG_MAX_ROWS], rows = 0;
    for (int32_t i = 0; i < RIG_MAX_ROWS; i++)
        every[i] = i;
    for (int32_t p = 0; p < num_parts; p++)
        rows += parts[p].num;
    if (logits_rows == NULL)
        num_logits = rows;
    const float *logits = enqueue(rig, &step, parts, num_parts,
                                  logits_rows != NULL ? logits_rows : every, num_logits);
    finish(rig);
    rig->backend->download(rig->device, ret_logits, logits,
                           (size_t)num_logits * (size_t)rig->vocab_size * sizeof(float));
}

int32_t rig_next(struct rig *rig, const struct rig_part *part)
{
    struct step step;
    bool bad = false;
    int32_t id = -1;
    const int32_t last = part->num - 1;
    const struct sample_row row = { .top_p = 1.0f,
                                    .typical_p = 1.0f,
                                    .repetition_penalty = 1.0f,
                                    .num_logprobs = -1,
                                    .forced_id = -1,
                                    .bad = &bad,
                                    .ret_id = &id };
    float *logits = enqueue(rig, &step, part, 1, &last, 1);
    rig->backend->sample(rig->device, logits, rig->vocab_size, &row, 1);
    finish(rig);
    ck_assert(!bad);
    return id;
}

int rig_try(struct rig *rig, const struct rig_part *part)
{
    struct step step;
    const int32_t last = part->num - 1;
    (void)enqueue(rig, &step, part, 1, &last, 1);
    const int r = rig->backend->submit(rig->device);
    return r == 0 ? rig->backend->wait(rig->device) : r;
}

void rig_run(struct rig *rig, const int32_t *tokens, int32_t num, int32_t chunk,
             const int32_t *blocks, float *ret_logits)
{
    for (int32_t pos = 0; pos < num; pos += chunk) {
        const struct rig_part part = { .tokens = tokens,
                                       .first_pos = pos,
                                       .num = num - pos < chunk ? num - pos : chunk,
                                       .blocks = blocks };
        rig_step(rig, &part, 1, NULL, 0, ret_logits + (size_t)pos * (size_t)rig->vocab_size);
    }
}
