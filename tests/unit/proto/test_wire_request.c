/* Bodies that are accepted, and what they become. */
#include "proto/wire/wire_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/unit/runner.h"

static struct wire_limits limits;
static struct arena arena;
static struct wire_request request;
static struct wire_error error;
static json_t *body;

static void setup(void)
{
    limits = (struct wire_limits){ .vocab_size = 1000,
                                   .max_model_len = 2048,
                                   .max_logprobs = 20,
                                   .temperature = 0.6,
                                   .top_p = 0.9,
                                   .top_k = 50,
                                   .min_p = 0.05,
                                   .repetition_penalty = 1.1 };
    arena_init(&arena, 1 << 20);
    body = NULL;
}

static void teardown(void)
{
    json_decref(body);
    arena_finish(&arena);
}

static void parse(enum wire_endpoint endpoint, const char *text)
{
    struct error err = { 0 };
    json_decref(body);
    body = NULL;
    ck_assert_msg(json_read(text, strlen(text), &json_limits_request, &body, &err) == 0, "%s: %s",
                  text, err.message);
    const int r = wire_request_parse(endpoint, body, &limits, &arena, &request, &error);
    ck_assert_msg(r == 0, "%s: %s", text, error.message);
}

#define USER    "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHAT(x) parse(WIRE_CHAT, "{" USER "," x "}")
#define TEXT(x) parse(WIRE_COMPLETIONS, "{\"prompt\":\"hi\"," x "}")

START_TEST(shortest_chat_takes_the_models_defaults)
{
    parse(WIRE_CHAT, "{" USER "}");

    ck_assert_str_eq(request.model, "");
    ck_assert_uint_eq(json_array_size(request.messages), 1);
    ck_assert(request.add_generation_prompt && !request.add_special_tokens);
    ck_assert(!request.stream && !request.has_max_tokens && !request.seed_given);
    ck_assert(!request.logprobs && !request.keep_special_tokens);
    ck_assert_uint_eq(request.num_prompts, 0);
    ck_assert_uint_eq(request.params.max_tokens, 0);
    ck_assert_uint_eq(request.params.num_choices, 1);
    ck_assert_float_eq(request.params.temperature, 0.6f);
    ck_assert_float_eq(request.params.top_p, 0.9f);
    ck_assert_int_eq(request.params.top_k, 50);
    ck_assert_float_eq(request.params.min_p, 0.05f);
    ck_assert_float_eq(request.params.typical_p, 1.0f);
    ck_assert_float_eq(request.params.repetition_penalty, 1.1f);
    ck_assert_int_eq(request.params.num_logprobs, -1);
    ck_assert_int_eq(request.params.num_prompt_logprobs, -1);
}
END_TEST

START_TEST(shortest_completion_has_16_tokens)
{
    parse(WIRE_COMPLETIONS, "{\"prompt\":\"hi\"}");

    ck_assert(request.add_special_tokens && request.has_max_tokens);
    ck_assert_uint_eq(request.params.max_tokens, 16);
    ck_assert_uint_eq(request.num_prompts, 1);
    ck_assert_mem_eq(request.prompts[0].text, "hi", 2);
    ck_assert_uint_eq(request.prompts[0].text_len, 2);
}
END_TEST

START_TEST(every_sampling_field_reaches_the_record)
{
    CHAT("\"model\":\"m\",\"temperature\":0.5,\"top_p\":0.25,\"top_k\":7,\"min_p\":0.125,"
         "\"typical_p\":0.75,\"presence_penalty\":-1.5,\"frequency_penalty\":1.5,"
         "\"repetition_penalty\":1.25,\"seed\":-2,\"max_tokens\":9,\"min_tokens\":3,\"n\":4,"
         "\"ignore_eos\":true,\"timeout\":2.5");

    ck_assert_str_eq(request.model, "m");
    ck_assert_uint_eq(request.model_len, 1);
    ck_assert_float_eq(request.params.temperature, 0.5f);
    ck_assert_float_eq(request.params.top_p, 0.25f);
    ck_assert_int_eq(request.params.top_k, 7);
    ck_assert_float_eq(request.params.min_p, 0.125f);
    ck_assert_float_eq(request.params.typical_p, 0.75f);
    ck_assert_float_eq(request.params.presence_penalty, -1.5f);
    ck_assert_float_eq(request.params.frequency_penalty, 1.5f);
    ck_assert_float_eq(request.params.repetition_penalty, 1.25f);
    ck_assert(request.seed_given);
    ck_assert_uint_eq(record_join(request.params.seed_low, request.params.seed_high), (uint64_t)-2);
    ck_assert_uint_eq(request.params.max_tokens, 9);
    ck_assert_uint_eq(request.params.min_tokens, 3);
    ck_assert_uint_eq(request.params.num_choices, 4);
    ck_assert_uint_eq(request.params.flags, RECORD_IGNORE_EOS);
    ck_assert_double_eq(request.timeout, 2.5);
}
END_TEST

START_TEST(nulls_are_as_good_as_absent)
{
    CHAT("\"model\":null,\"temperature\":null,\"top_p\":null,\"n\":null,\"stream\":null,"
         "\"stream_options\":null,\"stop\":null,\"logit_bias\":null,\"seed\":null,\"tools\":null,"
         "\"tool_choice\":null,\"response_format\":null,\"max_tokens\":null,\"logprobs\":null,"
         "\"top_logprobs\":null,\"user\":null,\"metadata\":null,\"audio\":null,"
         "\"structured_outputs\":null,\"prompt_logprobs\":null,\"functions\":null");

    ck_assert_float_eq(request.params.temperature, 0.6f);
    ck_assert_uint_eq(request.num_unknown, 0);
    ck_assert(!request.has_max_tokens);
}
END_TEST

START_TEST(whole_numbers_may_have_a_point)
{
    CHAT("\"n\":2.0,\"max_tokens\":5.0,\"top_k\":3.0,\"seed\":7.0,\"temperature\":1");

    ck_assert_uint_eq(request.params.num_choices, 2);
    ck_assert_uint_eq(request.params.max_tokens, 5);
    ck_assert_int_eq(request.params.top_k, 3);
    ck_assert_uint_eq(request.params.seed_low, 7);
    ck_assert_float_eq(request.params.temperature, 1.0f);
}
END_TEST

START_TEST(off_values_of_what_is_not_built_are_fine)
{
    CHAT("\"tool_choice\":\"none\",\"function_call\":\"none\",\"response_format\":{\"type\":"
         "\"text\"},\"use_beam_search\":false,\"stop_token_ids\":[],\"bad_words\":[],"
         "\"priority\":0,\"repeat_penalty\":1.0,\"length_penalty\":1,\"echo\":false,"
         "\"include_reasoning\":true,\"return_token_ids\":false,\"documents\":[],"
         "\"modalities\":[\"text\"],\"mirostat\":0,\"mirostat_tau\":5,\"dry_multiplier\":0,"
         "\"dry_base\":1.75,\"detokenize\":true,\"truncation_side\":\"left\","
         "\"thinking_token_budget\":-1,\"continue_final_message\":false");

    ck_assert_uint_eq(request.num_unknown, 0);
}
END_TEST

START_TEST(fields_without_effect_are_not_unknown)
{
    CHAT(
        "\"user\":\"u\",\"metadata\":{\"a\":\"b\"},\"store\":true,\"service_tier\":\"auto\","
        "\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\",\"prompt_cache_retention\":\"24h\","
        "\"prediction\":{},\"verbosity\":\"low\",\"web_search_options\":{},"
        "\"parallel_tool_calls\":true,\"request_id\":\"r\",\"session_id\":\"s\"");

    ck_assert_uint_eq(request.num_unknown, 0);
    ck_assert(request.service_tier_given);
}
END_TEST

START_TEST(unknown_fields_are_counted)
{
    CHAT("\"zaphod\":1,\"ford\":null,\"prompt\":\"of the other endpoint\"");

    ck_assert_uint_eq(request.num_unknown, 3);
}
END_TEST

START_TEST(values_that_mean_something_else_are_settled)
{
    CHAT("\"temperature\":0.000001,\"top_k\":0");
    ck_assert_float_eq(request.params.temperature, 0.0f);
    ck_assert_int_eq(request.params.top_k, -1);

    CHAT("\"temperature\":0.005,\"top_k\":1000");
    ck_assert_float_eq(request.params.temperature, 0.01f);
    ck_assert_int_eq(request.params.top_k, -1);

    CHAT("\"seed\":-1,\"max_tokens\":9223372036854775807");
    ck_assert(!request.seed_given);
    ck_assert_uint_eq(request.params.max_tokens, INT32_MAX);

    CHAT("\"top_p\":1e-300,\"repetition_penalty\":1e-60"); /* 0 as a float, which is refused */
    ck_assert_float_gt(request.params.top_p, 0.0f);
    ck_assert_float_gt(request.params.repetition_penalty, 0.0f);
}
END_TEST

START_TEST(max_completion_tokens_wins)
{
    CHAT("\"max_tokens\":100,\"max_completion_tokens\":7");

    ck_assert_uint_eq(request.params.max_tokens, 7);
}
END_TEST

START_TEST(stop_is_a_string_or_a_list)
{
    CHAT("\"stop\":\"END\"");
    ck_assert_uint_eq(request.num_stops, 1);
    ck_assert_str_eq(request.stops[0], "END");

    CHAT("\"stop\":[\"a\",\"\xc3\xa4\"],\"include_stop_str_in_output\":true");
    ck_assert_uint_eq(request.num_stops, 2);
    ck_assert_uint_eq(request.stop_lens[1], 2);
    ck_assert(request.include_stop_in_output);

    CHAT("\"stop\":[]");
    ck_assert_uint_eq(request.num_stops, 0);
}
END_TEST

START_TEST(logit_bias_is_by_token_id)
{
    CHAT("\"logit_bias\":{\"5\":-100,\"999\":2.5,\"0\":100}");

    ck_assert_uint_eq(request.num_biases, 3);
    ck_assert_int_eq(request.biases[0].token_id, 5);
    ck_assert_float_eq(request.biases[0].bias, -100.0f);
    ck_assert_int_eq(request.biases[1].token_id, 999);
    ck_assert_float_eq(request.biases[1].bias, 2.5f);

    limits.vocab_size = 0; /* not known yet */
    CHAT("\"logit_bias\":{\"2147483647\":1}");
    ck_assert_int_eq(request.biases[0].token_id, INT32_MAX);
    CHAT("\"logit_bias\":{}");
    ck_assert_uint_eq(request.num_biases, 0);
}
END_TEST

START_TEST(logprobs_have_a_form_for_each_endpoint)
{
    CHAT("\"logprobs\":true");
    ck_assert(request.logprobs);
    ck_assert_int_eq(request.params.num_logprobs, 0);
    CHAT("\"logprobs\":true,\"top_logprobs\":20");
    ck_assert_int_eq(request.params.num_logprobs, 20);
    CHAT("\"logprobs\":false,\"top_logprobs\":0");
    ck_assert(!request.logprobs);
    ck_assert_int_eq(request.params.num_logprobs, -1);

    TEXT("\"logprobs\":0");
    ck_assert(request.logprobs);
    ck_assert_int_eq(request.params.num_logprobs, 0);
    TEXT("\"logprobs\":3,\"echo\":true,\"max_tokens\":0");
    ck_assert_int_eq(request.params.num_logprobs, 3);
    ck_assert_int_eq(request.params.num_prompt_logprobs, 3);
    ck_assert(request.echo && request.has_max_tokens);
    ck_assert_uint_eq(request.params.max_tokens, 0);
    TEXT("\"logprobs\":null,\"echo\":true");
    ck_assert_int_eq(request.params.num_prompt_logprobs, -1);
}
END_TEST

START_TEST(masks_and_words_are_kept)
{
    CHAT("\"stop_token_ids\":[5,7.0],\"allowed_token_ids\":[999],\"bad_words\":[\"a b\",\" c\"]");
    ck_assert_uint_eq(request.num_stop_ids, 2);
    ck_assert_int_eq(request.stop_ids[1], 7);
    ck_assert_uint_eq(request.num_allowed_ids, 1);
    ck_assert_int_eq(request.allowed_ids[0], 999);
    ck_assert_uint_eq(request.num_bad_words, 2);
    ck_assert_str_eq(request.bad_words[0].data, "a b");
    ck_assert_uint_eq(request.bad_words[1].len, 2);
    CHAT("\"stop_token_ids\":[],\"allowed_token_ids\":null,\"bad_words\":[]");
    ck_assert_uint_eq(request.num_stop_ids + request.num_allowed_ids + request.num_bad_words, 0);
}
END_TEST

START_TEST(prompt_fields_are_kept)
{
    TEXT("\"truncate_prompt_tokens\":-1,\"truncation_side\":\"right\",\"cache_salt\":\"s\"");
    ck_assert_int_eq(request.truncate_prompt, -1);
    ck_assert(request.truncate_right);
    ck_assert_str_eq(request.cache_salt.data, "s");
    TEXT("\"truncate_prompt_tokens\":5,\"truncation_side\":\"left\",\"return_token_ids\":true");
    ck_assert_int_eq(request.truncate_prompt, 5);
    ck_assert(!request.truncate_right && request.return_token_ids);
    ck_assert_ptr_null(request.cache_salt.data);
    TEXT("\"prompt_logprobs\":0");
    ck_assert_int_eq(request.prompt_logprobs, 0);
    ck_assert_int_eq(request.params.num_prompt_logprobs, 0);
    TEXT("\"prompt_logprobs\":2,\"echo\":true,\"logprobs\":4");
    ck_assert_int_eq(request.prompt_logprobs, 2);
    ck_assert_int_eq(request.params.num_prompt_logprobs, 4);
    TEXT("\"prompt_logprobs\":3,\"logprobs\":5");
    ck_assert_int_eq(request.params.num_prompt_logprobs, 3);
}
END_TEST

START_TEST(an_id_that_is_none_is_replaced)
{
    CHAT("\"request_id\":\"mine-1\"");
    ck_assert_str_eq(request.request_id.data, "mine-1");
    CHAT("\"request_id\":\"two words\"");
    ck_assert_ptr_null(request.request_id.data);
    CHAT("\"request_id\":\"\"");
    ck_assert_ptr_null(request.request_id.data);
    CHAT("\"request_id\":\"a\\u0000b\"");
    ck_assert_ptr_null(request.request_id.data);
}
END_TEST

START_TEST(a_message_to_continue_is_no_new_turn)
{
    CHAT("\"continue_final_message\":true,\"add_generation_prompt\":false");
    ck_assert(request.continue_final_message && !request.add_generation_prompt);
    CHAT("\"continue_final_message\":true");
    ck_assert(request.continue_final_message && !request.add_generation_prompt);
    CHAT("\"continue_final_message\":false");
    ck_assert(!request.continue_final_message && request.add_generation_prompt);
}
END_TEST

START_TEST(stream_options_go_with_stream)
{
    CHAT("\"stream\":true,\"stream_options\":{}");
    ck_assert(request.stream && !request.include_usage && !request.continuous_usage);

    CHAT("\"stream\":true,\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":"
         "true,\"include_obfuscation\":false}");
    ck_assert(request.include_usage && request.continuous_usage);
}
END_TEST

START_TEST(prompts_come_in_four_forms)
{
    parse(WIRE_COMPLETIONS, "{\"prompt\":[\"a\",\"\",\"c\\u0000d\"]}");
    ck_assert_uint_eq(request.num_prompts, 3);
    ck_assert_uint_eq(request.prompts[1].text_len, 0);
    ck_assert_ptr_nonnull(request.prompts[1].text);
    ck_assert_uint_eq(request.prompts[2].text_len, 3);

    parse(WIRE_COMPLETIONS, "{\"prompt\":[5,6.0,999]}");
    ck_assert_uint_eq(request.num_prompts, 1);
    ck_assert_ptr_null(request.prompts[0].text);
    ck_assert_uint_eq(request.prompts[0].num_ids, 3);
    ck_assert_int_eq(request.prompts[0].ids[1], 6);

    parse(WIRE_COMPLETIONS, "{\"prompt\":[[1],[2,3]],\"n\":128,\"best_of\":128}");
    ck_assert_uint_eq(request.num_prompts, 2);
    ck_assert_uint_eq(request.prompts[1].num_ids, 2);
    ck_assert_int_eq(request.prompts[1].ids[1], 3);
}
END_TEST

START_TEST(messages_may_be_what_agents_send)
{
    parse(
        WIRE_CHAT,
        "{\"messages\":[{\"role\":\"developer\",\"content\":\"d\"},"
        "{\"role\":\"user\",\"name\":\"bob\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"text\":\"b\"}]},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"call_1\",\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"5\"},"
        "{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":\"c\",\"refusal\":null},"
        "{\"role\":\"narrator\",\"content\":\"x\\u0000y\",\"unheard\":{}}]}");

    ck_assert_uint_eq(json_array_size(request.messages), 6);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_array_get(request.messages, 0), "role")),
        "developer");
    ck_assert_uint_eq(request.num_content_parts_joined, 2);
    ck_assert_uint_eq(request.num_unknown, 0);
}
END_TEST

static const char *kwarg(const char *key)
{
    return json_string_value(json_object_get(request.chat_template_kwargs, key));
}

START_TEST(reasoning_effort_reaches_the_template)
{
    CHAT("\"reasoning_effort\":\"low\"");
    ck_assert(json_is_true(json_object_get(request.chat_template_kwargs, "enable_thinking")));
    ck_assert_str_eq(kwarg("reasoning_effort"), "low");

    CHAT("\"reasoning_effort\":\"none\",\"chat_template_kwargs\":{\"a\":\"b\"}");
    ck_assert(json_is_false(json_object_get(request.chat_template_kwargs, "enable_thinking")));
    ck_assert_str_eq(kwarg("a"), "b");
    ck_assert_ptr_null(kwarg("reasoning_effort"));

    CHAT("\"reasoning_effort\":\"none\",\"chat_template_kwargs\":{\"enable_thinking\":true}");
    ck_assert(json_is_true(json_object_get(request.chat_template_kwargs, "enable_thinking")));

    CHAT("\"n\":1");
    ck_assert_ptr_null(request.chat_template_kwargs);
}
END_TEST

START_TEST(switches_are_stored)
{
    CHAT(
        "\"skip_special_tokens\":false,\"add_special_tokens\":true,\"add_generation_prompt\":false,"
        "\"return_tokens_as_token_ids\":true");

    ck_assert(request.keep_special_tokens && request.add_special_tokens);
    ck_assert(!request.add_generation_prompt && request.return_token_ids_as_text);
}
END_TEST

RUN_SUITE_AROUND("wire_request", setup, teardown, shortest_chat_takes_the_models_defaults,
                 shortest_completion_has_16_tokens, every_sampling_field_reaches_the_record,
                 nulls_are_as_good_as_absent, whole_numbers_may_have_a_point,
                 off_values_of_what_is_not_built_are_fine, fields_without_effect_are_not_unknown,
                 unknown_fields_are_counted, values_that_mean_something_else_are_settled,
                 max_completion_tokens_wins, stop_is_a_string_or_a_list, logit_bias_is_by_token_id,
                 logprobs_have_a_form_for_each_endpoint, masks_and_words_are_kept,
                 prompt_fields_are_kept, an_id_that_is_none_is_replaced,
                 a_message_to_continue_is_no_new_turn, stream_options_go_with_stream,
                 prompts_come_in_four_forms, messages_may_be_what_agents_send,
                 reasoning_effort_reaches_the_template, switches_are_stored)
