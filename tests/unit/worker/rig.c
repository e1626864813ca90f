#include "rig.h"

#include <check.h>
#include <string.h>

static int open_device(struct rig *rig, const struct rig_options *options, const struct arch *arch,
                       struct error *err)
{
    const struct device_options device_options = {
        .num_threads = options->num_threads > 0 ? options->num_threads : 2,
        .isa = options->isa,
        .max_rows = RIG_MAX_ROWS,
        .max_ops = model_max_ops(arch->num_hidden_layers),
        .max_vocab = arch->vocab_size,
    };
    return rig->backend->device_open(&device_options, &rig->device, err);
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
    };
    struct arch arch;
    int r = model_read_arch(options->dir, options->kv_dtype, RIG_BLOCK_SIZE, &arch, err);
    if (r == 0)
        r = open_device(rig, options, &arch, err);
    if (r == 0)
        r = model_open(rig->backend, rig->device, &model_options, &rig->model, err);
    if (r == 0)
        r = rig->backend->kv_alloc(rig->device, &model_arch(rig->model)->kv_groups[0],
                                   RIG_NUM_BLOCKS, &rig->pool, err);
    rig->vocab_size = arch.vocab_size;
    return r;
}

int rig_open(struct rig *rig, const struct rig_options *options, struct error *err)
{
    *rig = (struct rig){ 0 };
    int r = backend_open("cpu", &rig->backend, err);
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

void rig_step(struct rig *rig, const struct rig_part *parts, int32_t num_parts,
              const int32_t *logits_rows, int32_t num_logits, float *ret_logits)
{
    int32_t ids[RIG_MAX_ROWS], positions[RIG_MAX_ROWS], every[RIG_MAX_ROWS], rows = 0;
    int64_t slots[RIG_MAX_ROWS];
    struct attention_seq seqs[8];
    for (int32_t p = 0; p < num_parts; p++) {
        const struct rig_part *part = &parts[p];
        seqs[p] = (struct attention_seq){ .first_row = rows,
                                          .num_rows = part->num,
                                          .first_pos = part->first_pos,
                                          .blocks = part->blocks };
        for (int32_t i = 0; i < part->num; i++, rows++) {
            const int32_t pos = part->first_pos + i;
            ids[rows] = part->tokens[pos];
            positions[rows] = pos;
            slots[rows] =
                (int64_t)part->blocks[pos / RIG_BLOCK_SIZE] * RIG_BLOCK_SIZE + pos % RIG_BLOCK_SIZE;
            every[rows] = rows;
        }
    }
    const struct model_batch batch = { .num_rows = rows,
                                       .token_ids = ids,
                                       .positions = positions,
                                       .slots = { slots },
                                       .num_seqs = num_parts,
                                       .seqs = { seqs },
                                       .num_logits = logits_rows != NULL ? num_logits : rows,
                                       .logits_rows = logits_rows != NULL ? logits_rows : every };
    float *logits = NULL;
    rig->backend->begin(rig->device);
    model_forward(rig->model, &rig->pool, &batch, &logits);
    ck_assert_int_eq(rig->backend->submit(rig->device), 0);
    ck_assert_int_eq(rig->backend->wait(rig->device), 0);
    rig->backend->download(rig->device, ret_logits, logits,
                           (size_t)batch.num_logits * (size_t)rig->vocab_size * sizeof(float));
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
