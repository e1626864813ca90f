#include "worker/request.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int request_set_init(struct request_set *table, int32_t max_requests, int64_t num_tokens,
                     int32_t vocab_size, struct reserve *reserve)
{
    const size_t num = (size_t)max_requests;
    struct request_set made = { .max_requests = max_requests,
                                .num_free = max_requests,
                                .num_buckets = 1,
                                .vocab_size = vocab_size,
                                .banned_words = ((size_t)vocab_size + 31) / 32 };
    while (made.num_buckets < 2 * max_requests)
        made.num_buckets *= 2;
    made.slots = reserve_array(reserve, num, sizeof(*made.slots));
    made.free = reserve_array(reserve, num, sizeof(*made.free));
    made.buckets = reserve_array(reserve, (size_t)made.num_buckets, sizeof(*made.buckets));
    made.biases = reserve_array(reserve, num, RECORD_MAX_BIASES * sizeof(*made.biases));
    made.end_ids = reserve_array(reserve, num, 2 * RECORD_MAX_STOP_IDS * sizeof(*made.end_ids));
    made.bad_words =
        reserve_array(reserve, num, RECORD_MAX_BAD_WORDS_LEN * sizeof(*made.bad_words));
    made.banned = reserve_array(reserve, num, made.banned_words * sizeof(*made.banned));
    if (made.slots == NULL || made.free == NULL || made.buckets == NULL || made.biases == NULL ||
        made.end_ids == NULL || made.banned == NULL || made.bad_words == NULL ||
        token_store_init(&made.store, num_tokens, reserve) < 0)
        return -ENOMEM;

    for (int32_t i = 0; i < max_requests; i++)
        made.free[i] = &made.slots[max_requests - 1 - i];
    *table = made;
    TAILQ_INIT(&table->active);
    return 0;
}

static struct request **bucket_of(const struct request_set *table, int32_t frontend, uint64_t id)
{
    const uint64_t mixed = (id ^ (uint64_t)frontend << 56) * 0x9E3779B97F4A7C15u;
    return &table->buckets[(mixed >> 32) & (uint64_t)(table->num_buckets - 1)];
}

struct request *request_set_find(const struct request_set *table, int32_t frontend, uint64_t id)
{
    struct request *request = *bucket_of(table, frontend, id);
    while (request != NULL && (request->id != id || request->frontend != frontend))
        request = request->next_in_bucket;
    return request;
}

static int store_tokens(struct request_set *table, struct request *request,
                        const struct record_submit *submit)
{
    int r = token_store_append(&table->store, &request->tokens, submit->prompt,
                               (int32_t)submit->num_prompt);
    for (uint32_t i = 0; r == 0 && i < submit->num_choices; i++) {
        const int32_t num_ids = (int32_t)submit->choices[i].num_ids;
        request->choices[i] = (struct request_choice){ .index = (int32_t)submit->choices[i].index,
                                                       .num_ids = num_ids };
        request->is_resumed |= num_ids > 0;
        r = token_store_append(&table->store, &request->tokens, submit->choices[i].ids, num_ids);
    }
    return r;
}

static void ban(uint32_t *banned, int32_t id)
{
    banned[id / 32] |= 1u << (id % 32);
}

static void copy_end_ids(struct request *request, const struct record_submit *submit)
{
    const uint32_t num_eos =
        (submit->params->flags & RECORD_IGNORE_EOS) != 0 ? 0 : submit->num_eos_ids;
    request->num_end_ids = (int32_t)(submit->num_stop_ids + submit->num_eos_ids);
    if (submit->num_stop_ids > 0)
        memcpy(request->end_ids, submit->stop_ids, submit->num_stop_ids * sizeof(int32_t));
    if (submit->num_eos_ids > 0)
        memcpy(request->end_ids + submit->num_stop_ids, submit->eos_ids,
               submit->num_eos_ids * sizeof(int32_t));
    request->num_ends = (int32_t)(submit->num_stop_ids + num_eos);
}

/* Words of one token are never drawn; the others wait for the output that makes them. */
static void copy_bad_words(struct request *request, const struct record_submit *submit)
{
    for (uint32_t at = 0; at < submit->bad_words_len;) {
        const int32_t *word = submit->bad_words + at;
        const uint32_t len = 1 + (uint32_t)word[0];
        at += len;
        if (word[0] == 1) {
            ban(request->banned, word[1]);
            continue;
        }
        memcpy(request->bad_words + request->bad_words_len, word, len * sizeof(*word));
        request->bad_words_len += (int32_t)len;
    }
}

static void copy_bans(struct request_set *table, struct request *request,
                      const struct record_submit *submit)
{
    const size_t slot = (size_t)(request - table->slots);
    request->banned = NULL;
    request->bad_words = table->bad_words + slot * RECORD_MAX_BAD_WORDS_LEN;
    if (submit->num_allowed_ids == 0 && submit->bad_words_len == 0)
        return;
    request->banned = table->banned + slot * table->banned_words;
    memset(request->banned, submit->num_allowed_ids > 0 ? 0xFF : 0,
           table->banned_words * sizeof(*request->banned));
    for (uint32_t i = 0; i < submit->num_allowed_ids; i++) {
        const uint32_t id = (uint32_t)submit->allowed_ids[i];
        request->banned[id / 32] &= ~(1u << (id % 32));
    }
    copy_bad_words(request, submit);
}

static void copy_rules(struct request_set *table, struct request *request,
                       const struct record_submit *submit)
{
    const size_t slot = (size_t)(request - table->slots);
    request->biases = table->biases + slot * RECORD_MAX_BIASES;
    request->num_biases = (int32_t)submit->num_biases;
    for (uint32_t i = 0; i < submit->num_biases; i++)
        request->biases[i] = (struct logit_bias){ .token_id = submit->biases[i].token_id,
                                                  .bias = submit->biases[i].bias };
    request->end_ids = table->end_ids + slot * 2 * RECORD_MAX_STOP_IDS;
    copy_end_ids(request, submit);
    copy_bans(table, request, submit);
}

int request_set_add(struct request_set *table, int32_t frontend, uint64_t id,
                    const struct record_submit *submit, struct request **ret_request)
{
    if (table->num_free == 0)
        return -ENOSPC;
    const struct record_params *params = submit->params;
    struct request *request = table->free[table->num_free - 1];
    *request = (struct request){
        .id = id,
        .frontend = frontend,
        .params = *params,
        .seed = record_join(params->seed_low, params->seed_high),
        .deadline_us = (int64_t)record_join(params->deadline_low, params->deadline_high),
        .num_prompt = (int32_t)submit->num_prompt,
        .tokens = token_list_empty,
        .num_choices = (int32_t)submit->num_choices,
        .root = record_join(params->cache_low, params->cache_high),
        .awaited = -1,
        .next_score = 1,
        .is_suspect = (params->flags & RECORD_SUSPECT) != 0,
    };
    if (store_tokens(table, request, submit) < 0) {
        token_store_free(&table->store, &request->tokens);
        return -ENOSPC;
    }
    copy_rules(table, request, submit);
    request->age = table->num_added++;
    table->num_free--;
    table->num_suspects += request->is_suspect;
    struct request **bucket = bucket_of(table, frontend, id);
    request->next_in_bucket = *bucket;
    *bucket = request;
    TAILQ_INSERT_TAIL(&table->active, request, in_active);
    *ret_request = request;
    return 0;
}

void request_set_remove(struct request_set *table, struct request *request)
{
    assert(!request->is_waiting && !request->is_unpublished && request->sequences == NULL);
    struct request **at = bucket_of(table, request->frontend, request->id);
    while (*at != request)
        at = &(*at)->next_in_bucket;
    *at = request->next_in_bucket;
    TAILQ_REMOVE(&table->active, request, in_active);
    token_store_free(&table->store, &request->tokens);
    table->num_suspects -= request->is_suspect;
    request->is_removed = true;
    if (request->num_rows == 0)
        table->free[table->num_free++] = request;
}

void request_set_end_row(struct request_set *table, struct request *request)
{
    request->num_rows--;
    if (request->is_removed && request->num_rows == 0)
        table->free[table->num_free++] = request;
}

int32_t request_read_tokens(const struct request_set *table, const struct request *request,
                            int32_t nth, int32_t *ret_ids)
{
    const struct request_choice *choice = &request->choices[nth];
    int32_t first = request->num_prompt;
    for (int32_t i = 0; i < nth; i++)
        first += request->choices[i].num_ids;
    token_store_read(&table->store, &request->tokens, 0, request->num_prompt, ret_ids);
    token_store_read(&table->store, &request->tokens, first, choice->num_ids,
                     ret_ids + request->num_prompt);
    return request->num_prompt + choice->num_ids;
}

bool request_wants_scores(const struct request *request)
{
    /* What an earlier engine answered with a token was scored by it. */
    return request->params.num_prompt_logprobs >= 0 && !request->is_resumed;
}

bool request_is_end(const struct request *request, int32_t token_id)
{
    for (int32_t i = 0; i < request->num_ends; i++)
        if (request->end_ids[i] == token_id)
            return true;
    return false;
}

/* --- what may not be drawn ---------------------------------------------------------------- */

static bool leaves_any(const uint32_t *banned, int32_t vocab_size)
{
    for (int32_t i = 0; i < vocab_size; i += 32) {
        const uint32_t valid = vocab_size - i < 32 ? (1u << (vocab_size - i)) - 1 : ~0u;
        if ((~banned[i / 32] & valid) != 0)
            return true;
    }
    return false;
}

/* Ban the ends of words that the output has begun. Returns whether there was one. */
static bool ban_word_ends(const struct request *request, const int32_t *end, uint32_t num_output,
                          uint32_t *banned)
{
    bool any = false;
    for (int32_t at = 0; at < request->bad_words_len;) {
        const int32_t num = request->bad_words[at], *ids = request->bad_words + at + 1;
        at += 1 + num;
        if ((uint32_t)num - 1 > num_output ||
            memcmp(end - (num - 1), ids, (size_t)(num - 1) * sizeof(*ids)) != 0)
            continue;
        ban(banned, ids[num - 1]);
        any = true;
    }
    return any;
}

/* What holds whatever the words are. */
static void begin_bans(const struct request *request, size_t num_words, uint32_t num_output,
                       uint32_t *banned)
{
    if (request->banned != NULL)
        memcpy(banned, request->banned, num_words * sizeof(*banned));
    else
        memset(banned, 0, num_words * sizeof(*banned));
    for (int32_t i = 0; num_output < request->params.min_tokens && i < request->num_end_ids; i++)
        ban(banned, request->end_ids[i]);
}

const uint32_t *request_banned(const struct request *request, int32_t vocab_size,
                               const int32_t *end, uint32_t num_output, uint32_t *scratch)
{
    const size_t num_words = ((size_t)vocab_size + 31) / 32;
    if (num_output >= request->params.min_tokens && request->bad_words_len == 0)
        return request->banned;
    begin_bans(request, num_words, num_output, scratch);
    if (ban_word_ends(request, end, num_output, scratch) && !leaves_any(scratch, vocab_size))
        begin_bans(request, num_words, num_output, scratch);
    return scratch;
}
