#include "proto/records/record.h"
#include "tests/unit/runner.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct record_bounds bounds = { .vocab_size = 1000, .max_model_len = 64 };
static const int32_t prompt[] = { 1, 2, 999 };
static const int32_t output[] = { 7, 0 };
static const int32_t eos_ids[] = { 5, 6 };
static const int32_t stop_ids[] = { 8 };
static const int32_t allowed_ids[] = { 1, 2, 3 };
static const int32_t bad_words[] = { 2, 7, 8, 1, 9 };
static const struct record_bias biases[] = { { 3, -100.0f }, { 999, 100.0f } };

static struct record_params params;
static struct record_submit submit;
static unsigned char *bulk;
static size_t bulk_len;
static struct error err;

static void encode(void)
{
    free(bulk);
    bulk_len = record_submit_bytes(&submit);
    bulk = malloc(bulk_len); /* exact, so that a sanitizer sees the true end */
    record_submit_encode(&submit, bulk);
}

static void setup(void)
{
    params = (struct record_params){ .max_tokens = 16,
                                     .min_tokens = 2,
                                     .num_choices = 3,
                                     .flags = RECORD_IGNORE_EOS,
                                     .seed_low = 1,
                                     .seed_high = 2,
                                     .temperature = 0.7f,
                                     .top_p = 1.0f,
                                     .min_p = 0.0f,
                                     .typical_p = 1.0f,
                                     .top_k = -1,
                                     .repetition_penalty = 1.0f,
                                     .num_logprobs = 20,
                                     .num_prompt_logprobs = -1 };
    submit = (struct record_submit){ .params = &params,
                                     .prompt = prompt,
                                     .num_prompt = 3,
                                     .num_choices = 2,
                                     .biases = biases,
                                     .num_biases = 2,
                                     .eos_ids = eos_ids,
                                     .num_eos_ids = 2,
                                     .stop_ids = stop_ids,
                                     .num_stop_ids = 1,
                                     .allowed_ids = allowed_ids,
                                     .num_allowed_ids = 3,
                                     .bad_words = bad_words,
                                     .bad_words_len = 5 };
    submit.choices[0].index = 0;
    submit.choices[1].index = 2;
    submit.choices[1].ids = output;
    submit.choices[1].num_ids = 2;
    encode();
    err = (struct error){ 0 };
}

static void teardown(void)
{
    free(bulk);
    bulk = NULL;
}

static void expect_refused(const char *sentence)
{
    struct record_submit untouched = { .num_prompt = 12345 };
    ck_assert_int_eq(record_submit_decode(bulk, bulk_len, &bounds, &untouched, &err), -EPROTO);
    ck_assert_str_eq(err.message, sentence);
    ck_assert_uint_eq(untouched.num_prompt, 12345);
}

START_TEST(submit_comes_back_as_it_was)
{
    struct record_submit got;

    ck_assert_int_eq(record_submit_decode(bulk, bulk_len, &bounds, &got, &err), 0);

    ck_assert_mem_eq(got.params, &params, sizeof(params));
    ck_assert_uint_eq(got.num_prompt, 3);
    ck_assert_mem_eq(got.prompt, prompt, sizeof(prompt));
    ck_assert_uint_eq(got.num_choices, 2);
    ck_assert_uint_eq(got.choices[0].index, 0);
    ck_assert_uint_eq(got.choices[0].num_ids, 0);
    ck_assert_uint_eq(got.choices[1].index, 2);
    ck_assert_uint_eq(got.choices[1].num_ids, 2);
    ck_assert_mem_eq(got.choices[1].ids, output, sizeof(output));
    ck_assert_uint_eq(got.num_biases, 2);
    ck_assert_mem_eq(got.biases, biases, sizeof(biases));
    ck_assert_uint_eq(got.num_eos_ids, 2);
    ck_assert_mem_eq(got.eos_ids, eos_ids, sizeof(eos_ids));
    ck_assert_uint_eq(got.num_stop_ids, 1);
    ck_assert_mem_eq(got.stop_ids, stop_ids, sizeof(stop_ids));
    ck_assert_uint_eq(got.num_allowed_ids, 3);
    ck_assert_mem_eq(got.allowed_ids, allowed_ids, sizeof(allowed_ids));
    ck_assert_uint_eq(got.bad_words_len, 5);
    ck_assert_mem_eq(got.bad_words, bad_words, sizeof(bad_words));
}
END_TEST

START_TEST(submit_without_lists_has_only_what_it_needs)
{
    struct record_submit got;
    submit.num_biases = submit.num_eos_ids = 0;
    submit.num_stop_ids = submit.num_allowed_ids = submit.bad_words_len = 0;
    submit.num_choices = 1;
    encode();

    ck_assert_uint_eq(bulk_len, 3 * sizeof(struct record_item) + sizeof(params) + 12 + 4);
    ck_assert_int_eq(record_submit_decode(bulk, bulk_len, &bounds, &got, &err), 0);
    ck_assert_ptr_null(got.biases);
    ck_assert_ptr_null(got.eos_ids);
    ck_assert_ptr_null(got.stop_ids);
    ck_assert_ptr_null(got.allowed_ids);
    ck_assert_ptr_null(got.bad_words);
}
END_TEST

/* One number of params set to a value that is not allowed. */
static const struct {
    size_t offset;
    bool is_float;
    float real;
    uint32_t word;
    const char *sentence;
} bad_params[] = {
#define WORD(field, value, sentence)                                                               \
    {                                                                                              \
        offsetof(struct record_params, field), false, 0.0f, (uint32_t)(value), sentence            \
    }
#define REAL(field, value, sentence)                                                               \
    {                                                                                              \
        offsetof(struct record_params, field), true, value, 0, sentence                            \
    }
    WORD(max_tokens, 0, "SUBMIT params.max_tokens is 0, must be in [1, 2147483647]"),
    WORD(max_tokens, 0x80000000u,
         "SUBMIT params.max_tokens is 2147483648, must be in [1, 2147483647]"),
    WORD(max_tokens, 62, "SUBMIT prompt of 3 tokens and max_tokens 62 exceed the context of 64"),
    WORD(max_tokens, 0x7fffffff,
         "SUBMIT prompt of 3 tokens and max_tokens 2147483647 exceed the context of 64"),
    WORD(max_tokens, 2, "SUBMIT choice 2 has 2 tokens already, must be below max_tokens 2"),
    WORD(min_tokens, 17, "SUBMIT params.min_tokens is 17, above max_tokens 16"),
    WORD(min_tokens, -1, "SUBMIT params.min_tokens is 4294967295, must be in [0, 2147483647]"),
    WORD(num_choices, 0, "SUBMIT params.num_choices is 0, must be in [1, 128]"),
    WORD(num_choices, 129, "SUBMIT params.num_choices is 129, must be in [1, 128]"),
    WORD(num_choices, 2, "SUBMIT choice 2, num_choices is 2"),
    WORD(flags, 8, "SUBMIT params.flags is 8, must be in [0, 7]"),
    WORD(flags, 0x80000001u, "SUBMIT params.flags is 2147483649, must be in [0, 7]"),
    WORD(top_k, -2, "SUBMIT params.top_k is -2, must be in [-1, 2147483647]"),
    WORD(num_logprobs, 21, "SUBMIT params.num_logprobs is 21, must be in [-1, 20]"),
    WORD(num_logprobs, -2, "SUBMIT params.num_logprobs is -2, must be in [-1, 20]"),
    WORD(num_prompt_logprobs, 21, "SUBMIT params.num_prompt_logprobs is 21, must be in [-1, 20]"),
    REAL(temperature, -0.1f, "SUBMIT params.temperature is -0.1, must be in [0, 2]"),
    REAL(temperature, 2.5f, "SUBMIT params.temperature is 2.5, must be in [0, 2]"),
    REAL(temperature, NAN, "SUBMIT params.temperature is nan, must be in [0, 2]"),
    REAL(temperature, INFINITY, "SUBMIT params.temperature is inf, must be in [0, 2]"),
    REAL(top_p, 0.0f, "SUBMIT params.top_p is 0, must be in (0, 1]"),
    REAL(top_p, 1.5f, "SUBMIT params.top_p is 1.5, must be in (0, 1]"),
    REAL(min_p, -1.0f, "SUBMIT params.min_p is -1, must be in [0, 1]"),
    REAL(min_p, 1.5f, "SUBMIT params.min_p is 1.5, must be in [0, 1]"),
    REAL(typical_p, 0.0f, "SUBMIT params.typical_p is 0, must be in (0, 1]"),
    REAL(repetition_penalty, 0.0f, "SUBMIT params.repetition_penalty is 0, must be in (0, 10]"),
    REAL(repetition_penalty, 10.5f, "SUBMIT params.repetition_penalty is 10.5, must be in (0, 10]"),
    REAL(presence_penalty, 2.5f, "SUBMIT params.presence_penalty is 2.5, must be in [-2, 2]"),
    REAL(frequency_penalty, -2.5f, "SUBMIT params.frequency_penalty is -2.5, must be in [-2, 2]"),
};

START_TEST(params_outside_their_range_are_refused)
{
    char *field = (char *)&params + bad_params[_i].offset;
    if (bad_params[_i].is_float)
        memcpy(field, &bad_params[_i].real, sizeof(float));
    else
        memcpy(field, &bad_params[_i].word, sizeof(uint32_t));
    encode();

    expect_refused(bad_params[_i].sentence);
}
END_TEST

START_TEST(prompt_fills_the_context_to_the_last_token)
{
    struct record_submit got;
    params.max_tokens = 61;
    encode();

    ck_assert_int_eq(record_submit_decode(bulk, bulk_len, &bounds, &got, &err), 0);
}
END_TEST

/* Where the items of the submit made by setup() begin. */
enum {
    AT_PARAMS = 0,
    AT_PROMPT = 8 + sizeof(struct record_params),
    AT_CHOICE_0 = AT_PROMPT + 8 + 12,
    AT_CHOICE_2 = AT_CHOICE_0 + 8 + 4,
    AT_BIAS = AT_CHOICE_2 + 8 + 12,
    AT_EOS = AT_BIAS + 8 + 16,
    AT_STOP = AT_EOS + 8 + 8,
    AT_ALLOWED = AT_STOP + 8 + 4,
    AT_BAD_WORDS = AT_ALLOWED + 8 + 12,
    AT_END = AT_BAD_WORDS + 8 + 20,
};

/* One word of the bulk replaced. */
static const struct {
    size_t at;
    uint32_t word;
    const char *sentence;
} bad_items[] = {
    { AT_PARAMS, 2, "SUBMIT begins with item type 2, must be params (1)" },
    { AT_PARAMS, 99, "SUBMIT begins with item type 99, must be params (1)" },
    { AT_PARAMS + 4, 76, "SUBMIT params item of 76 bytes, must be 88" },
    { AT_PROMPT, 1, "SUBMIT holds more than one params item" },
    { AT_PROMPT, 77, "SUBMIT item type 77 is not known" },
    { AT_PROMPT + 4, 0, "SUBMIT prompt has 0 tokens, at least 1 is needed" },
    { AT_PROMPT + 4, 10,
      "SUBMIT item type 2 says 10 bytes, must be a multiple of 4 and at most the 144 that follow" },
    { AT_PROMPT + 4, 0xfffffffcu,
      "SUBMIT item type 2 says 4294967292 bytes, must be a multiple of 4 and at most the 144 that "
      "follow" },
    { AT_PROMPT + 8, 1000, "SUBMIT prompt[0] is token 1000, the vocabulary has 1000" },
    { AT_PROMPT + 16, 0xffffffffu, "SUBMIT prompt[2] is token -1, the vocabulary has 1000" },
    { AT_CHOICE_0, 2, "SUBMIT holds more than one prompt item" },
    { AT_CHOICE_0 + 4, 0, "SUBMIT choice item of 0 bytes, must be at least 4" },
    { AT_CHOICE_0 + 8, 3, "SUBMIT choice 3, num_choices is 3" },
    { AT_CHOICE_0 + 8, 2, "SUBMIT choice 2 after choice 2, must ascend" },
    { AT_CHOICE_2 + 8, 0, "SUBMIT choice 0 after choice 0, must ascend" },
    { AT_CHOICE_2 + 16, 1000, "SUBMIT choice[1] is token 1000, the vocabulary has 1000" },
    { AT_BIAS + 4, 12, "SUBMIT logit_bias item of 12 bytes, must be a multiple of 8" },
    { AT_BIAS + 8, 1000, "SUBMIT logit_bias[0] is for token 1000, the vocabulary has 1000" },
    { AT_BIAS + 12, 0x7fc00000u, "SUBMIT logit_bias[0] is nan, must be in [-100, 100]" },
    { AT_BIAS + 20, 0x42c80001u, "SUBMIT logit_bias[1] is 100, must be in [-100, 100]" },
    { AT_EOS, 4, "SUBMIT holds more than one logit_bias item" },
    { AT_EOS + 8, 5000, "SUBMIT eos_ids[0] is token 5000, the vocabulary has 1000" },
    { AT_STOP, 5, "SUBMIT holds more than one eos_ids item" },
    { AT_STOP + 8, 1000, "SUBMIT stop_ids[0] is token 1000, the vocabulary has 1000" },
    { AT_ALLOWED, 6, "SUBMIT holds more than one stop_ids item" },
    { AT_ALLOWED + 16, 0xffffffffu, "SUBMIT allowed_ids[2] is token -1, the vocabulary has 1000" },
    { AT_BAD_WORDS, 7, "SUBMIT holds more than one allowed_ids item" },
    { AT_BAD_WORDS + 8, 0,
      "SUBMIT bad_words: word 0 of 0 ids, must be in [1, 64] and at most the 4 that follow" },
    { AT_BAD_WORDS + 8, 65,
      "SUBMIT bad_words: word 0 of 65 ids, must be in [1, 64] and at most the 4 that follow" },
    { AT_BAD_WORDS + 20, 2,
      "SUBMIT bad_words: word 1 of 2 ids, must be in [1, 64] and at most the 1 that follow" },
    { AT_BAD_WORDS + 20, 0x80000000u,
      "SUBMIT bad_words: word 1 of -2147483648 ids, must be in [1, 64] and at most the 1 that "
      "follow" },
    { AT_BAD_WORDS + 12, 1000, "SUBMIT bad_words[0] is token 1000, the vocabulary has 1000" },
};

START_TEST(items_that_break_a_rule_are_refused)
{
    ck_assert_uint_eq(bulk_len, AT_END);
    memcpy(bulk + bad_items[_i].at, &bad_items[_i].word, sizeof(uint32_t));

    expect_refused(bad_items[_i].sentence);
}
END_TEST

START_TEST(items_that_are_missing_are_named)
{
    bulk_len = 0;
    expect_refused("SUBMIT is empty, a params item is needed");
    bulk_len = AT_PROMPT;
    expect_refused("SUBMIT has no prompt item, exactly one is needed");
    bulk_len = AT_CHOICE_0;
    expect_refused("SUBMIT has no choice item, at least one is needed");
    bulk_len = AT_CHOICE_0 + 4;
    expect_refused("SUBMIT ends inside an item's header, 4 bytes of 8");
    bulk_len = AT_END - 1;
    expect_refused("SUBMIT of 247 bytes, must be a multiple of 4");
}
END_TEST

START_TEST(lists_longer_than_their_limit_are_refused)
{
    static struct record_bias many[RECORD_MAX_BIASES + 1];
    static int32_t ids[RECORD_MAX_STOP_IDS + 1];
    submit.biases = many;
    submit.num_biases = RECORD_MAX_BIASES + 1;
    encode();
    expect_refused("SUBMIT logit_bias has 1025 entries, at most 1024 are allowed");

    submit.num_biases = RECORD_MAX_BIASES;
    submit.eos_ids = ids;
    submit.num_eos_ids = RECORD_MAX_STOP_IDS + 1;
    encode();
    expect_refused("SUBMIT eos_ids has 65 entries, at most 64 are allowed");

    submit.num_eos_ids = 2;
    submit.stop_ids = ids;
    submit.num_stop_ids = RECORD_MAX_STOP_IDS + 1;
    encode();
    expect_refused("SUBMIT stop_ids has 65 entries, at most 64 are allowed");
}
END_TEST

START_TEST(words_more_than_their_limit_are_refused)
{
    static int32_t words[2 * RECORD_MAX_BAD_WORDS + 2];
    struct record_submit got;
    for (int i = 0; i < 2 * RECORD_MAX_BAD_WORDS + 2; i += 2)
        words[i] = 1;
    submit.bad_words = words;
    submit.bad_words_len = 2 * RECORD_MAX_BAD_WORDS;
    encode();
    ck_assert_int_eq(record_submit_decode(bulk, bulk_len, &bounds, &got, &err), 0);

    submit.bad_words_len += 2;
    encode();
    expect_refused("SUBMIT bad_words has 513 words, at most 512 are allowed");
}
END_TEST

START_TEST(an_end_is_of_the_model_or_of_the_request)
{
    static const int32_t both[] = { 8, 5 };
    submit.stop_ids = both;
    submit.num_stop_ids = 2;
    params.flags = 0;
    ck_assert(record_is_eos(&submit, 5) && !record_is_stop(&submit, 5));
    ck_assert(!record_is_eos(&submit, 8) && record_is_stop(&submit, 8));
    ck_assert(!record_is_eos(&submit, 7) && !record_is_stop(&submit, 7));

    params.flags = RECORD_IGNORE_EOS;
    ck_assert(!record_is_eos(&submit, 5) && record_is_stop(&submit, 5));
    ck_assert(!record_is_eos(&submit, 6) && !record_is_stop(&submit, 6));
}
END_TEST

static uint64_t sum_of_everything(const struct record_submit *got)
{
    uint64_t sum = got->params->max_tokens;
    for (uint32_t i = 0; i < got->num_prompt; i++)
        sum += (uint64_t)got->prompt[i];
    for (uint32_t c = 0; c < got->num_choices; c++)
        for (uint32_t i = 0; i < got->choices[c].num_ids; i++)
            sum += (uint64_t)got->choices[c].ids[i];
    for (uint32_t i = 0; i < got->num_biases; i++)
        sum += (uint64_t)got->biases[i].token_id;
    for (uint32_t i = 0; i < got->num_eos_ids; i++)
        sum += (uint64_t)got->eos_ids[i];
    for (uint32_t i = 0; i < got->num_stop_ids; i++)
        sum += (uint64_t)got->stop_ids[i];
    for (uint32_t i = 0; i < got->num_allowed_ids; i++)
        sum += (uint64_t)got->allowed_ids[i];
    for (uint32_t i = 0; i < got->bad_words_len; i++)
        sum += (uint64_t)got->bad_words[i];
    return sum;
}

/* Whatever stands in the bytes: refused in words, or every id lies in the vocabulary. */
static void expect_safe(void)
{
    struct record_submit got;
    const int r = record_submit_decode(bulk, bulk_len, &bounds, &got, &err);
    if (r == 0) {
        const uint64_t most = 64 + 1000 * (bulk_len / 4);
        ck_assert_uint_le(sum_of_everything(&got), most);
        return;
    }
    ck_assert_int_eq(r, -EPROTO);
    ck_assert_int_eq(strncmp(err.message, "SUBMIT ", 7), 0);
}

START_TEST(every_byte_may_be_anything)
{
    for (size_t at = 0; at < bulk_len; at++) {
        const unsigned char kept = bulk[at];
        for (int value = 0; value < 256; value++) {
            bulk[at] = (unsigned char)value;
            expect_safe();
        }
        bulk[at] = kept;
    }
}
END_TEST

START_TEST(bulk_may_end_anywhere)
{
    const size_t whole = bulk_len;
    for (size_t len = 0; len < whole; len++) {
        encode();
        unsigned char *cut = malloc(len > 0 ? len : 1);
        memcpy(cut, bulk, len);
        free(bulk);
        bulk = cut;
        bulk_len = len;
        expect_safe();
    }
}
END_TEST

START_TEST(words_are_joined_and_failures_have_names)
{
    ck_assert_uint_eq(record_join(0x89abcdefu, 0x01234567u), 0x0123456789abcdefull);
    ck_assert_str_eq(record_failure_name(RECORD_FAILURE_QUEUE_FULL), "queue_full");
    ck_assert_str_eq(record_failure_name(RECORD_FAILURE_WORKER), "worker_failed");
    ck_assert_str_eq(record_failure_name((enum record_failure)0), "unknown");
    ck_assert_str_eq(record_failure_name((enum record_failure)99), "unknown");
}
END_TEST

RUN_ROWS("record", setup, teardown, 60, ONCE(submit_comes_back_as_it_was),
         ONCE(submit_without_lists_has_only_what_it_needs),
         TIMES(params_outside_their_range_are_refused, sizeof(bad_params) / sizeof(bad_params[0])),
         ONCE(prompt_fills_the_context_to_the_last_token),
         TIMES(items_that_break_a_rule_are_refused, sizeof(bad_items) / sizeof(bad_items[0])),
         ONCE(items_that_are_missing_are_named), ONCE(lists_longer_than_their_limit_are_refused),
         ONCE(words_more_than_their_limit_are_refused),
         ONCE(an_end_is_of_the_model_or_of_the_request), ONCE(every_byte_may_be_anything),
         ONCE(bulk_may_end_anywhere), ONCE(words_are_joined_and_failures_have_names))
