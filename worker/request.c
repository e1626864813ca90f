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
    made.eos_ids = reserve_array(reserve, num, RECORD_MAX_STOP_IDS * sizeof(*made.eos_ids));
    made.banned = reserve_array(reserve, num, made.banned_words * sizeof(*made.banned));
    if (made.slots == NULL || made.free == NULL || made.buckets == NULL || made.biases == NULL ||
        made.eos_ids == NULL || made.banned == NULL ||
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

static void set_banned(struct request *request, bool banned)
{
    for (int32_t i = 0; request->banned != NULL && i < request->num_eos_ids; i++) {
        const uint32_t id = (uint32_t)request->eos_ids[i], bit = 1u << (id % 32);
        if (banned)
            request->banned[id / 32] |= bit;
        else
            request->banned[id / 32] &= ~bit;
    }
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
    request->eos_ids = table->eos_ids + slot * RECORD_MAX_STOP_IDS;
    request->num_eos_ids = (int32_t)submit->num_eos_ids;
    if (submit->num_eos_ids > 0)
        memcpy(request->eos_ids, submit->eos_ids, submit->num_eos_ids * sizeof(int32_t));
    request->banned =
        submit->params->min_tokens > 0 ? table->banned + slot * table->banned_words : NULL;
    set_banned(request, true);
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
        .next_score = 1,
    };
    if (store_tokens(table, request, submit) < 0) {
        token_store_free(&table->store, &request->tokens);
        return -ENOSPC;
    }
    copy_rules(table, request, submit);
    request->age = table->num_added++;
    table->num_free--;
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
    set_banned(request, false);
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

bool request_is_eos(const struct request *request, int32_t token_id)
{
    if ((request->params.flags & RECORD_IGNORE_EOS) != 0)
        return false;
    for (int32_t i = 0; i < request->num_eos_ids; i++)
        if (request->eos_ids[i] == token_id)
            return true;
    return false;
}
