/* Bodies that are refused: each with the code and the field a client sees. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/proto/refusal_rig.h"
#include "tests/unit/runner.h"

/* A chat or completions body; `fields` stand beside a good messages or prompt field. */
struct refusal {
    const char *fields;
    const char *code;
    const char *param;
};

// clang-format off
static const struct refusal of_both[] = {
    { "\"model\":5", "invalid_type", "model" },
    { "\"model\":[\"a\"]", "invalid_type", "model" },
    { "\"model\":\"a\\u0000b\"", "invalid_value", "model" },
    { "\"n\":0", "integer_below_min_value", "n" },
    { "\"n\":129", "integer_above_max_value", "n" },
    { "\"n\":1.5", "invalid_type", "n" },
    { "\"n\":\"2\"", "invalid_type", "n" },
    { "\"n\":true", "invalid_type", "n" },
    { "\"n\":[1]", "invalid_type", "n" },
    { "\"n\":1e300", "invalid_type", "n" },
    { "\"n\":-9223372036854775808", "integer_below_min_value", "n" },
    { "\"stream\":1", "invalid_type", "stream" },
    { "\"stream\":\"true\"", "invalid_type", "stream" },
    { "\"stream_options\":{}", "invalid_value", "stream_options" },
    { "\"stream\":false,\"stream_options\":{\"include_usage\":true}", "invalid_value", "stream_options" },
    { "\"stream\":true,\"stream_options\":true", "invalid_type", "stream_options" },
    { "\"stream\":true,\"stream_options\":{\"include_usage\":1}", "invalid_type", "stream_options.include_usage" },
    { "\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":\"yes\"}", "invalid_type", "stream_options.continuous_usage_stats" },
    { "\"stream\":true,\"stream_options\":{\"include_obfuscation\":0}", "invalid_type", "stream_options.include_obfuscation" },
    { "\"max_tokens\":-1", "integer_below_min_value", "max_tokens" },
    { "\"max_tokens\":0", "integer_below_min_value", "max_tokens" },
    { "\"max_tokens\":\"16\"", "invalid_type", "max_tokens" },
    { "\"max_tokens\":1.5", "invalid_type", "max_tokens" },
    { "\"max_tokens\":false", "invalid_type", "max_tokens" },
    { "\"max_tokens\":{}", "invalid_type", "max_tokens" },
    { "\"temperature\":-0.1", "decimal_below_min_value", "temperature" },
    { "\"temperature\":2.1", "decimal_above_max_value", "temperature" },
    { "\"temperature\":\"0.5\"", "invalid_type", "temperature" },
    { "\"temperature\":true", "invalid_type", "temperature" },
    { "\"temperature\":[]", "invalid_type", "temperature" },
    { "\"top_p\":0", "decimal_below_min_value", "top_p" },
    { "\"top_p\":0.0", "decimal_below_min_value", "top_p" },
    { "\"top_p\":-0.5", "decimal_below_min_value", "top_p" },
    { "\"top_p\":1.01", "decimal_above_max_value", "top_p" },
    { "\"top_p\":\"1\"", "invalid_type", "top_p" },
    { "\"top_k\":-2", "integer_below_min_value", "top_k" },
    { "\"top_k\":2147483648", "integer_above_max_value", "top_k" },
    { "\"top_k\":0.5", "invalid_type", "top_k" },
    { "\"top_k\":\"5\"", "invalid_type", "top_k" },
    { "\"min_p\":-0.01", "decimal_below_min_value", "min_p" },
    { "\"min_p\":1.5", "decimal_above_max_value", "min_p" },
    { "\"min_p\":{}", "invalid_type", "min_p" },
    { "\"typical_p\":0", "decimal_below_min_value", "typical_p" },
    { "\"typical_p\":2", "decimal_above_max_value", "typical_p" },
    { "\"presence_penalty\":-2.1", "decimal_below_min_value", "presence_penalty" },
    { "\"presence_penalty\":2.1", "decimal_above_max_value", "presence_penalty" },
    { "\"presence_penalty\":\"0\"", "invalid_type", "presence_penalty" },
    { "\"frequency_penalty\":-3", "decimal_below_min_value", "frequency_penalty" },
    { "\"frequency_penalty\":3", "decimal_above_max_value", "frequency_penalty" },
    { "\"repetition_penalty\":0", "decimal_below_min_value", "repetition_penalty" },
    { "\"repetition_penalty\":-1", "decimal_below_min_value", "repetition_penalty" },
    { "\"repetition_penalty\":10.5", "decimal_above_max_value", "repetition_penalty" },
    { "\"seed\":\"42\"", "invalid_type", "seed" },
    { "\"seed\":1.5", "invalid_type", "seed" },
    { "\"seed\":true", "invalid_type", "seed" },
    { "\"stop\":\"\"", "invalid_value", "stop" },
    { "\"stop\":5", "invalid_type", "stop" },
    { "\"stop\":{}", "invalid_type", "stop" },
    { "\"stop\":\"a\\u0000\"", "invalid_value", "stop" },
    { "\"stop\":[\"a\",\"\"]", "invalid_value", "stop[1]" },
    { "\"stop\":[\"a\",5]", "invalid_type", "stop[1]" },
    { "\"stop\":[null]", "invalid_type", "stop[0]" },
    { "\"stop\":[\"a\",\"b\",\"c\\u0000d\"]", "invalid_value", "stop[2]" },
    { "\"ignore_eos\":1", "invalid_type", "ignore_eos" },
    { "\"min_tokens\":-1", "integer_below_min_value", "min_tokens" },
    { "\"min_tokens\":5,\"max_tokens\":4", "invalid_value", "min_tokens" },
    { "\"min_tokens\":\"1\"", "invalid_type", "min_tokens" },
    { "\"include_stop_str_in_output\":\"no\"", "invalid_type", "include_stop_str_in_output" },
    { "\"skip_special_tokens\":0", "invalid_type", "skip_special_tokens" },
    { "\"return_tokens_as_token_ids\":0", "invalid_type", "return_tokens_as_token_ids" },
    { "\"add_special_tokens\":0", "invalid_type", "add_special_tokens" },
    { "\"timeout\":-1", "decimal_below_min_value", "timeout" },
    { "\"timeout\":\"5s\"", "invalid_type", "timeout" },
    { "\"timeout\":1e9", "decimal_above_max_value", "timeout" },
    { "\"logit_bias\":[]", "invalid_type", "logit_bias" },
    { "\"logit_bias\":{\"a\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"-1\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"05\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"1.0\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\" 1\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"1000\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"99999999999999999999\":1}", "invalid_value", "logit_bias" },
    { "\"logit_bias\":{\"5\":101}", "decimal_above_max_value", "logit_bias.5" },
    { "\"logit_bias\":{\"5\":-100.5}", "decimal_below_min_value", "logit_bias.5" },
    { "\"logit_bias\":{\"5\":\"1\"}", "invalid_type", "logit_bias.5" },
    { "\"logit_bias\":{\"5\":null}", "invalid_type", "logit_bias.5" },
    { "\"response_format\":\"text\"", "invalid_type", "response_format" },
    { "\"response_format\":{}", "missing_required_parameter", "response_format.type" },
    { "\"response_format\":{\"type\":5}", "invalid_type", "response_format.type" },
    { "\"response_format\":{\"type\":\"xml\"}", "invalid_value", "response_format.type" },
    { "\"response_format\":{\"type\":\"json_object\"}", "unsupported_parameter", "response_format" },
    { "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\",\"schema\":{}}}", "unsupported_parameter", "response_format" },
    { "\"user\":5", "invalid_type", "user" },
    { "\"metadata\":[]", "invalid_type", "metadata" },
    { "\"metadata\":{\"a\":5}", "invalid_type", "metadata.a" },
    { "\"store\":\"yes\"", "invalid_type", "store" },
    { "\"service_tier\":1", "invalid_type", "service_tier" },
    { "\"safety_identifier\":1", "invalid_type", "safety_identifier" },
    { "\"prompt_cache_key\":{}", "invalid_type", "prompt_cache_key" },
    { "\"prompt_cache_retention\":24", "invalid_type", "prompt_cache_retention" },
    { "\"prediction\":\"x\"", "invalid_type", "prediction" },
    { "\"verbosity\":2", "invalid_type", "verbosity" },
    { "\"web_search_options\":true", "invalid_type", "web_search_options" },
    { "\"parallel_tool_calls\":1", "invalid_type", "parallel_tool_calls" },
    { "\"request_id\":5", "invalid_type", "request_id" },
    { "\"session_id\":7", "invalid_type", "session_id" },
    { "\"use_beam_search\":true", "unsupported_parameter", "use_beam_search" },
    { "\"use_beam_search\":1", "unsupported_parameter", "use_beam_search" },
    { "\"length_penalty\":1.5", "unsupported_parameter", "length_penalty" },
    { "\"stop_token_ids\":5", "invalid_type", "stop_token_ids" },
    { "\"stop_token_ids\":[\"a\"]", "invalid_type", "stop_token_ids[0]" },
    { "\"stop_token_ids\":[1000]", "integer_above_max_value", "stop_token_ids[0]" },
    { "\"stop_token_ids\":[1,-1]", "integer_below_min_value", "stop_token_ids[1]" },
    { "\"bad_words\":\"x\"", "invalid_type", "bad_words" },
    { "\"bad_words\":[\"x\",5]", "invalid_type", "bad_words[1]" },
    { "\"bad_words\":[\"\"]", "invalid_value", "bad_words[0]" },
    { "\"bad_words\":[\"x\",\" \\t\"]", "invalid_value", "bad_words[1]" },
    { "\"bad_words\":[\"a\\u0000\"]", "invalid_value", "bad_words[0]" },
    { "\"allowed_token_ids\":[]", "empty_array", "allowed_token_ids" },
    { "\"allowed_token_ids\":[1,1000]", "integer_above_max_value", "allowed_token_ids[1]" },
    { "\"allowed_token_ids\":{}", "invalid_type", "allowed_token_ids" },
    { "\"prompt_logprobs\":-1", "integer_below_min_value", "prompt_logprobs" },
    { "\"prompt_logprobs\":21", "integer_above_max_value", "prompt_logprobs" },
    { "\"prompt_logprobs\":true", "invalid_type", "prompt_logprobs" },
    { "\"prompt_logprobs\":0,\"stream\":true", "invalid_value", "prompt_logprobs" },
    { "\"truncate_prompt_tokens\":0", "integer_below_min_value", "truncate_prompt_tokens" },
    { "\"truncate_prompt_tokens\":-2", "integer_below_min_value", "truncate_prompt_tokens" },
    { "\"truncate_prompt_tokens\":1.5", "invalid_type", "truncate_prompt_tokens" },
    { "\"truncation_side\":\"both\"", "invalid_value", "truncation_side" },
    { "\"truncation_side\":1", "invalid_type", "truncation_side" },
    { "\"cache_salt\":\"\"", "invalid_value", "cache_salt" },
    { "\"cache_salt\":5", "invalid_type", "cache_salt" },
    { "\"cache_salt\":\"a@b\"", "invalid_value", "cache_salt" },
    { "\"cache_salt\":\"a/b\"", "invalid_value", "cache_salt" },
    { "\"cache_salt\":\"a\\\\b\"", "invalid_value", "cache_salt" },
    { "\"cache_salt\":\"a\\u0000\"", "invalid_value", "cache_salt" },
    { "\"priority\":1", "unsupported_parameter", "priority" },
    { "\"priority\":\"high\"", "invalid_type", "priority" },
    { "\"return_token_ids\":1", "invalid_type", "return_token_ids" },
    { "\"return_prompt_text\":true", "unsupported_parameter", "return_prompt_text" },
    { "\"structured_outputs\":{\"regex\":\"a\"}", "unsupported_parameter", "structured_outputs" },
    { "\"guided_json\":{}", "unsupported_parameter", "guided_json" },
    { "\"guided_regex\":\"a\"", "unsupported_parameter", "guided_regex" },
    { "\"guided_choice\":[\"a\"]", "unsupported_parameter", "guided_choice" },
    { "\"guided_grammar\":\"a\"", "unsupported_parameter", "guided_grammar" },
    { "\"json_schema\":{}", "unsupported_parameter", "json_schema" },
    { "\"regex\":\"a\"", "unsupported_parameter", "regex" },
    { "\"ebnf\":\"a\"", "unsupported_parameter", "ebnf" },
    { "\"logits_processors\":[\"a\"]", "unsupported_parameter", "logits_processors" },
    { "\"kv_transfer_params\":{}", "unsupported_parameter", "kv_transfer_params" },
    { "\"prompt_embeds\":\"x\"", "unsupported_parameter", "prompt_embeds" },
    { "\"repeat_penalty\":1.1", "unsupported_parameter", "repeat_penalty" },
    { "\"dry_multiplier\":0.8", "unsupported_parameter", "dry_multiplier" },
    { "\"xtc_probability\":0.5", "unsupported_parameter", "xtc_probability" },
    { "\"mirostat\":2", "unsupported_parameter", "mirostat" },
    { "\"dynatemp_range\":0.5", "unsupported_parameter", "dynatemp_range" },
    { "\"top_n_sigma\":1", "unsupported_parameter", "top_n_sigma" },
    { "\"samplers\":[\"top_k\"]", "unsupported_parameter", "samplers" },
    { "\"repetition_detection\":{}", "unsupported_parameter", "repetition_detection" },
    { "\"dry_base\":\"x\"", "invalid_type", "dry_base" },
    { "\"detokenize\":false", "unsupported_parameter", "detokenize" },
};

static const struct refusal of_chat[] = {
    { "\"max_completion_tokens\":0", "integer_below_min_value", "max_completion_tokens" },
    { "\"max_completion_tokens\":\"5\"", "invalid_type", "max_completion_tokens" },
    { "\"max_completion_tokens\":10,\"max_tokens\":0", "integer_below_min_value", "max_tokens" },
    { "\"min_tokens\":11,\"max_completion_tokens\":10,\"max_tokens\":20", "invalid_value", "min_tokens" },
    { "\"logprobs\":5", "invalid_type", "logprobs" },
    { "\"logprobs\":\"true\"", "invalid_type", "logprobs" },
    { "\"logprobs\":true,\"top_logprobs\":21", "integer_above_max_value", "top_logprobs" },
    { "\"logprobs\":true,\"top_logprobs\":-1", "integer_below_min_value", "top_logprobs" },
    { "\"logprobs\":true,\"top_logprobs\":\"5\"", "invalid_type", "top_logprobs" },
    { "\"top_logprobs\":3", "invalid_value", "top_logprobs" },
    { "\"logprobs\":false,\"top_logprobs\":1", "invalid_value", "top_logprobs" },
    { "\"tools\":[]", "unsupported_parameter", "tools" },
    { "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]", "unsupported_parameter", "tools" },
    { "\"tool_choice\":\"auto\"", "unsupported_parameter", "tool_choice" },
    { "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}", "unsupported_parameter", "tool_choice" },
    { "\"functions\":[{\"name\":\"f\"}]", "unsupported_parameter", "functions" },
    { "\"function_call\":\"auto\"", "unsupported_parameter", "function_call" },
    { "\"documents\":[{\"text\":\"x\"}]", "unsupported_parameter", "documents" },
    { "\"chat_template\":\"{{ x }}\"", "unsupported_parameter", "chat_template" },
    { "\"chat_template_kwargs\":[]", "invalid_type", "chat_template_kwargs" },
    { "\"echo\":true", "unsupported_parameter", "echo" },
    { "\"include_reasoning\":false", "unsupported_parameter", "include_reasoning" },
    { "\"thinking_token_budget\":100", "unsupported_parameter", "thinking_token_budget" },
    { "\"reasoning_effort\":\"huge\"", "invalid_value", "reasoning_effort" },
    { "\"reasoning_effort\":3", "invalid_type", "reasoning_effort" },
    { "\"add_generation_prompt\":1", "invalid_type", "add_generation_prompt" },
    { "\"continue_final_message\":true,\"add_generation_prompt\":true", "invalid_value", "continue_final_message" },
    { "\"audio\":{\"voice\":\"x\"}", "unsupported_parameter", "audio" },
    { "\"modalities\":[\"text\",\"audio\"]", "unsupported_parameter", "modalities" },
    { "\"modalities\":\"text\"", "invalid_type", "modalities" },
    { "\"modalities\":[5]", "invalid_type", "modalities[0]" },
};

static const struct refusal of_completions[] = {
    { "\"logprobs\":true", "invalid_type", "logprobs" },
    { "\"logprobs\":21", "integer_above_max_value", "logprobs" },
    { "\"logprobs\":-1", "integer_below_min_value", "logprobs" },
    { "\"echo\":1", "invalid_type", "echo" },
    { "\"echo\":false,\"max_tokens\":0", "integer_below_min_value", "max_tokens" },
    { "\"best_of\":0", "integer_below_min_value", "best_of" },
    { "\"best_of\":2", "unsupported_parameter", "best_of" },
    { "\"best_of\":3,\"n\":2", "unsupported_parameter", "best_of" },
    { "\"best_of\":2,\"n\":2,\"stream\":true", "invalid_value", "best_of" },
    { "\"best_of\":\"1\"", "invalid_type", "best_of" },
    { "\"suffix\":\"end\"", "unsupported_parameter", "suffix" },
    { "\"min_tokens\":17", "invalid_value", "min_tokens" }, /* above the default of max_tokens */
};

/* Whole bodies. */
static const struct refusal chats[] = {
    { "[]", "invalid_type", "" },
    { "\"x\"", "invalid_type", "" },
    { "{}", "missing_required_parameter", "messages" },
    { "{\"messages\":null}", "missing_required_parameter", "messages" },
    { "{\"messages\":[]}", "empty_array", "messages" },
    { "{\"messages\":\"hi\"}", "invalid_type", "messages" },
    { "{\"messages\":{}}", "invalid_type", "messages" },
    { "{\"messages\":[\"hi\"]}", "invalid_type", "messages[0]" },
    { "{\"messages\":[null]}", "invalid_type", "messages[0]" },
    { "{\"messages\":[{\"content\":\"hi\"}]}", "missing_required_parameter", "messages[0].role" },
    { "{\"messages\":[{\"role\":null,\"content\":\"hi\"}]}", "missing_required_parameter", "messages[0].role" },
    { "{\"messages\":[{\"role\":5,\"content\":\"hi\"}]}", "invalid_type", "messages[0].role" },
    { "{\"messages\":[{\"role\":\"\",\"content\":\"hi\"}]}", "invalid_value", "messages[0].role" },
    { "{\"messages\":[{\"role\":\"us\\u0000er\",\"content\":\"hi\"}]}", "invalid_value", "messages[0].role" },
    { "{\"messages\":[{\"role\":\"12345678901234567890123456789012345678901234567890123456789012345\",\"content\":\"hi\"}]}", "string_above_max_length", "messages[0].role" },
    { "{\"messages\":[{\"role\":\"user\"}]}", "missing_required_parameter", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":null}]}", "missing_required_parameter", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"system\"}]}", "missing_required_parameter", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":5}]}", "invalid_type", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":{\"type\":\"text\",\"text\":\"a\"}}]}", "invalid_type", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[]}]}", "empty_array", "messages[0].content" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[\"a\"]}]}", "invalid_type", "messages[0].content[0]" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}", "missing_required_parameter", "messages[0].content[0].type" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":5}]}]}", "invalid_type", "messages[0].content[0].type" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]}", "missing_required_parameter", "messages[0].content[0].text" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":5}]}]}", "invalid_type", "messages[0].content[0].text" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"file:///etc/passwd\"}}]}]}", "unsupported_content_part", "messages[1].content[1]" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"image_url\":{\"url\":\"http://a\"}}]}]}", "unsupported_content_part", "messages[0].content[0]" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\",\"input_audio\":{}}]}]}", "unsupported_content_part", "messages[0].content[0]" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"hologram\"}]}]}", "unsupported_content_part", "messages[0].content[0]" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":5}]}", "invalid_type", "messages[0].name" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"a\\u0000\"}]}", "invalid_value", "messages[0].name" },
    { "{\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"name\":\"12345678901234567890123456789012345678901234567890123456789012345\"}]}", "string_above_max_length", "messages[0].name" },
    { "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\"}]}", "missing_required_parameter", "messages[0].tool_call_id" },
    { "{\"messages\":[{\"role\":\"tool\",\"content\":\"a\",\"tool_call_id\":1}]}", "invalid_type", "messages[0].tool_call_id" },
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":{}}]}", "invalid_type", "messages[0].tool_calls" },
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[5]}]}", "invalid_type", "messages[0].tool_calls[0]" },
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\"}]}]}", "missing_required_parameter", "messages[0].tool_calls[0].function" },
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{}}]}]}", "missing_required_parameter", "messages[0].tool_calls[0].function.name" },
    { "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":5}}]}]}", "invalid_type", "messages[0].tool_calls[0].function.arguments" },
    { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"audio\":{\"id\":\"x\"}}]}", "unsupported_parameter", "messages[0].audio" },
    { "{\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":5}]}", "invalid_type", "messages[0].reasoning" },
};

static const struct refusal texts[] = {
    { "5", "invalid_type", "" },
    { "{}", "missing_required_parameter", "prompt" },
    { "{\"prompt\":null}", "missing_required_parameter", "prompt" },
    { "{\"prompt\":5}", "invalid_type", "prompt" },
    { "{\"prompt\":true}", "invalid_type", "prompt" },
    { "{\"prompt\":{}}", "invalid_type", "prompt" },
    { "{\"prompt\":[]}", "empty_array", "prompt" },
    { "{\"prompt\":[[]]}", "empty_array", "prompt[0]" },
    { "{\"prompt\":[[1],[]]}", "empty_array", "prompt[1]" },
    { "{\"prompt\":[null]}", "invalid_type", "prompt[0]" },
    { "{\"prompt\":[true]}", "invalid_type", "prompt[0]" },
    { "{\"prompt\":[{}]}", "invalid_type", "prompt[0]" },
    { "{\"prompt\":[\"a\",5]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[\"a\",[5]]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[5,\"a\"]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[5,[6]]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[[5],6]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[[5],\"a\"]}", "invalid_type", "prompt[1]" },
    { "{\"prompt\":[[5,\"a\"]]}", "invalid_type", "prompt[0][1]" },
    { "{\"prompt\":[[5],[[6]]]}", "invalid_type", "prompt[1][0]" },
    { "{\"prompt\":[1,2,1000]}", "integer_above_max_value", "prompt[2]" },
    { "{\"prompt\":[1,-2]}", "integer_below_min_value", "prompt[1]" },
    { "{\"prompt\":[[1],[2,1000]]}", "integer_above_max_value", "prompt[1][1]" },
    { "{\"prompt\":[1.5]}", "invalid_type", "prompt[0]" },
    { "{\"prompt\":[\"a\",\"b\",\"c\"],\"n\":100}", "integer_above_max_value", "n" },
};
// clang-format on

static void expect_beside(enum wire_endpoint endpoint, const char *good, const struct refusal *row)
{
    char text[1024];
    snprintf(text, sizeof(text), "{%s,%s}", good, row->fields);
    expect_refused(endpoint, text, row->code, row->param);
}

START_TEST(chat_refuses_a_bad_field)
{
    expect_beside(WIRE_CHAT, A_CHAT, &of_both[_i]);
}
END_TEST

START_TEST(completions_refuses_a_bad_field)
{
    expect_beside(WIRE_COMPLETIONS, A_PROMPT, &of_both[_i]);
}
END_TEST

START_TEST(chat_refuses_a_bad_field_of_its_own)
{
    expect_beside(WIRE_CHAT, A_CHAT, &of_chat[_i]);
}
END_TEST

START_TEST(completions_refuses_a_bad_field_of_its_own)
{
    expect_beside(WIRE_COMPLETIONS, A_PROMPT, &of_completions[_i]);
}
END_TEST

START_TEST(chat_refuses_a_bad_body)
{
    expect_refused(WIRE_CHAT, chats[_i].fields, chats[_i].code, chats[_i].param);
}
END_TEST

START_TEST(completions_refuses_a_bad_body)
{
    expect_refused(WIRE_COMPLETIONS, texts[_i].fields, texts[_i].code, texts[_i].param);
}
END_TEST

RUN_ROWS("wire_refusals", setup, teardown, 60, TIMES(chat_refuses_a_bad_field, NUM(of_both)),
         TIMES(completions_refuses_a_bad_field, NUM(of_both)),
         TIMES(chat_refuses_a_bad_field_of_its_own, NUM(of_chat)),
         TIMES(completions_refuses_a_bad_field_of_its_own, NUM(of_completions)),
         TIMES(chat_refuses_a_bad_body, NUM(chats)),
         TIMES(completions_refuses_a_bad_body, NUM(texts)))
