/*
 * batch.h - a plan as the flat arrays that the forward pass and the sampler read
 *
 *     row             r   one position of one sequence, sequences behind each other
 *     logits row      i   a row whose logits are wanted; sample i works on it and writes
 *                         ids[i], logprobs[i], top_ids[i], ranks[i], bad[i]
 *
 * A sample either draws the next token of a sequence, or scores a prompt position: then the
 * position's own token is forced and only log-probabilities are wanted.
 *
 * A batch may be built while the device computes the one before, of which it then takes the
 * tokens that are not known yet (`moves`, and last_token of samples). So two batches take turns.
 *
 * Everything is allocated by batch_init(). Engine thread only.
 */
#ifndef WORKER_BATCH_H
#define WORKER_BATCH_H

#include "worker/model/model.h"
#include "worker/scheduler.h"

struct batch {
    struct model_batch model; /* points into the arrays below */
    int32_t *token_ids, *positions;
    int64_t *slots[KV_MAX_PARTS];
    struct attention_seq *seqs[KV_MAX_PARTS];
    int32_t *logits_rows;
    int32_t *blocks; /* of all sequences in all parts: what the device reads nobody changes */
    size_t num_blocks;
    struct id_move *moves; /* [num_moves]: rows whose token the batch before draws */
    int32_t num_moves;
    const int32_t *drawn_before; /* its ids */

    struct sample_row *samples; /* [num_logits] */
    int32_t *ids;               /* results, [num_logits] each */
    int32_t *ranks;
    bool *bad;
    float *logprobs; /* [num_logits][stride], stride = 1 + RECORD_MAX_LOGPROBS */
    int32_t *top_ids;

    uint32_t *banned; /* [max_num_seqs][banned_words]: bit sets of this step's draws */
    size_t banned_words;

    bool is_followed;  /* other ranks compare: the best of each row's logits is found, too */
    bool is_own;       /* some draw takes more than they have: its token is the leader's */
    int32_t *told_ids; /* [num_logits] */

    struct kv_groups kv;
    int32_t vocab_size, num_draws;
};

/* Returns 0 or -ENOMEM. */
int batch_init(struct batch *batch, const struct scheduler_limits *limits, struct reserve *reserve);

/* Arrays of a step's slots and sequences, [KV_MAX_PARTS]: of each part. */
bool batch_reserve_parts(int64_t **slots, struct attention_seq **seqs,
                         const struct scheduler_limits *limits, struct reserve *reserve);

/* Flatten `plan`. Samples are in the order of the plan's rows, of each row first the scores.
 * `before` is the batch of the plan before this one: its results must outlive the step. */
void batch_build(struct batch *batch, const struct plan *plan, const struct batch *before);

/* Fill in the tokens of the batch before, which has run. */
void batch_fill_ids(struct batch *batch);

/* Where the rows' positions lie: slots[row] = block * block_size + place in it. */
void batch_fill_slots(const struct attention_seq *seq, int32_t block_size, int64_t *slots);

/* Do logits and seed alone decide this row's token? */
bool batch_is_plain(const struct sample_row *row);

/*
 * What every rank finds of a batch that has run and is followed, by sample: the token drawn where
 * logits and seed alone decide, else the best of the logits; -1 where a mask left nothing.
 */
const int32_t *batch_told_ids(const struct batch *batch);

/* Log-probabilities of sample i as the ring carries them: [1 + num]. */
void batch_read_logprobs(const struct batch *batch, int32_t i, int32_t num,
                         struct record_logprob *ret_logprobs);

#endif
