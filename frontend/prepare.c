#include "frontend/prepare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "frontend/session/chat_prompt.h"

enum { ARENA_LIMIT_BYTES = 256 * 1024 * 1024, MAX_ID_FACTOR = 8, SPARE_IDS = 65536 };

static int no_memory(struct wire_error *error)
{
    error->retry_after_ms = 1000;
    return wire_error_set(error, WIRE_NO_WORKER, "", "The server is out of memory; try again.");
}

/* --- body and model ----------------------------------------------------------------------- */

static int read_body(const char *body, size_t len, struct prepared *prepared)
{
    struct error why = { 0 };
    const int r = json_read(body, len, &json_limits_request, &prepared->body, &why);
    if (r == -ENOMEM)
        return no_memory(&prepared->error);
    if (r < 0)
        return wire_error_set(&prepared->error,
                              strcmp(why.param, "utf8") == 0 ? WIRE_INVALID_UTF8
                                                             : WIRE_INVALID_JSON,
                              "", "The request body cannot be used: %s.", why.message);
    if (!json_is_object(prepared->body))
        return wire_error_set(&prepared->error, WIRE_INVALID_JSON, "",
                              "The request body must be a JSON object.");
    return 0;
}

static int find_model(const struct prepare_options *options, struct prepared *prepared)
{
    const struct wire_request *request = &prepared->request;
    prepared->model = model_card_find_name(options->card, request->model, request->model_len);
    if (prepared->model == NULL && options->accept_any_model)
        prepared->model = options->card->names[0];
    if (prepared->model != NULL)
        return 0;
    const int len = request->model_len < 64 ? (int)request->model_len : 64;
    return wire_error_set(&prepared->error, WIRE_MODEL_NOT_FOUND, "model",
                          "The model '%.*s' does not exist; this server serves '%s'.", len,
                          request->model, options->card->names[0]);
}

/* --- tokens ------------------------------------------------------------------------------- */

static const char *prompt_field(const struct prepared *prepared)
{
    return prepared->request.endpoint == WIRE_CHAT ? "messages" : "prompt";
}

static int too_long(const struct prepare_options *options, struct prepared *prepared, bool more,
                    size_t num_ids)
{
    return wire_error_set(&prepared->error, WIRE_CONTEXT_LENGTH_EXCEEDED, prompt_field(prepared),
                          "This model's maximum context length is %d tokens. However, your %s "
                          "resulted in %s%zu tokens. Please reduce the length of the %s.",
                          options->limits.max_model_len, prompt_field(prepared),
                          more ? "more than " : "", num_ids, prompt_field(prepared));
}

static size_t most_ids(const struct prepare_options *options)
{
    return (size_t)options->limits.max_model_len * MAX_ID_FACTOR + SPARE_IDS;
}

/* A text of more bytes than the longest token times the context is refused unread. */
static int check_bytes(const struct prepare_options *options, struct prepared *prepared, size_t len)
{
    const size_t longest = tokenizer_max_token_bytes(options->card->tokenizer);
    const size_t least = longest > 0 ? len / longest : 0;
    if (least > most_ids(options))
        return too_long(options, prepared, true, least);
    return 0;
}

static int encode_chat(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                       struct prepared *prepared)
{
    const struct wire_request *request = &prepared->request;
    const struct chat_prompt_options chat = {
        .messages = request->messages,
        .kwargs = request->chat_template_kwargs,
        .add_generation_prompt = request->add_generation_prompt,
        .continue_final_message = request->continue_final_message,
        .allow_special = options->allow_special,
        .wall_us = clock_wall_us(),
    };
    struct error why = { 0 };
    const int r = chat_prompt_encode(options->card, scratch, &chat, request->add_special_tokens,
                                     most_ids(options), &prepared->ids, &why);
    if (r == -EFBIG)
        return too_long(options, prepared, true, most_ids(options));
    if (r == -ENOMEM)
        return no_memory(&prepared->error);
    if (r < 0 && strcmp(why.param, "raise") == 0)
        return wire_error_set(&prepared->error, WIRE_CHAT_TEMPLATE_ERROR, "messages",
                              "The chat template refused the messages: %s", why.message);
    if (r < 0)
        return wire_error_set(&prepared->error, WIRE_CHAT_TEMPLATE_ERROR, "messages",
                              "The chat template cannot be used: %s.", why.message);
    return 0;
}

static int encode_text(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                       struct prepared *prepared, const struct wire_prompt *prompt)
{
    const unsigned flags = TOKENIZER_PARSE_SPECIAL |
                           (prepared->request.add_special_tokens ? TOKENIZER_ADD_SPECIAL : 0);
    const size_t before = prepared->ids.num;
    int r = check_bytes(options, prepared, prompt->text_len);
    if (r < 0)
        return r;
    r = tokenizer_encode(options->card->tokenizer, scratch, prompt->text, prompt->text_len, flags,
                         before + most_ids(options), &prepared->ids);
    if (r == -E2BIG)
        return too_long(options, prepared, true, most_ids(options));
    return r < 0 ? no_memory(&prepared->error) : 0;
}

static bool append_ids(struct token_ids *ids, const int32_t *more, size_t num)
{
    if (num > ids->cap - ids->num) {
        const size_t cap = ids->num + num;
        int32_t *grown = realloc(ids->ids, cap * sizeof(*grown));
        if (grown == NULL)
            return false;
        ids->ids = grown;
        ids->cap = cap;
    }
    if (num > 0)
        memcpy(ids->ids + ids->num, more, num * sizeof(*more));
    ids->num += num;
    return true;
}

static int encode_one(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                      struct prepared *prepared, uint32_t i)
{
    const struct wire_prompt *prompt =
        prepared->request.endpoint == WIRE_CHAT ? NULL : &prepared->request.prompts[i];
    if (prompt == NULL)
        return encode_chat(options, scratch, prepared);
    if (prompt->text != NULL)
        return encode_text(options, scratch, prepared, prompt);
    return append_ids(&prepared->ids, prompt->ids, prompt->num_ids) ? 0
                                                                    : no_memory(&prepared->error);
}

/* How many tokens of a prompt are kept; 0: all. */
static size_t num_kept(const struct prepare_options *options, const struct prepared *prepared)
{
    enum { COMPLETIONS_DEFAULT = 16 };
    const struct wire_request *request = &prepared->request;
    const int64_t set = options->limits.default_max_tokens;
    int64_t output = request->params.max_tokens;
    if (request->truncate_prompt >= 0)
        return (size_t)request->truncate_prompt;
    if (!request->has_max_tokens)
        output = request->endpoint == WIRE_COMPLETIONS ? COMPLETIONS_DEFAULT : set;
    output = output > 1 ? output : 1;
    return output < options->limits.max_model_len ? (size_t)(options->limits.max_model_len - output)
                                                  : 1;
}

/* Cut the prompt that begins at `before`. */
static void truncate(const struct prepare_options *options, struct prepared *prepared,
                     size_t before)
{
    struct token_ids *ids = &prepared->ids;
    const size_t kept = num_kept(options, prepared);
    if (kept == 0 || ids->num - before <= kept)
        return;
    if (!prepared->request.truncate_right)
        memmove(ids->ids + before, ids->ids + ids->num - kept, kept * sizeof(*ids->ids));
    ids->num = before + kept;
}

static int check_prompt(const struct prepare_options *options, struct prepared *prepared,
                        size_t num_ids)
{
    if (num_ids == 0)
        return wire_error_set(&prepared->error, WIRE_EMPTY_PROMPT, prompt_field(prepared),
                              "%s: the prompt is empty and the tokenizer adds no token of its own.",
                              prompt_field(prepared));
    if (num_ids >= (size_t)options->limits.max_model_len)
        return too_long(options, prepared, false, num_ids);
    return 0;
}

/* The ids of all prompts grow in one array, whose address settles at the end. */
static int encode_prompts(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                          struct prepared *prepared)
{
    const bool chat = prepared->request.endpoint == WIRE_CHAT;
    const uint32_t num = chat ? 1 : prepared->request.num_prompts;
    prepared->prompts = arena_alloc_array(&prepared->arena, num, sizeof(*prepared->prompts));
    if (prepared->prompts == NULL)
        return no_memory(&prepared->error);
    prepared->num_prompts = num;
    for (uint32_t i = 0; i < num; i++) {
        const size_t before = prepared->ids.num;
        int r = encode_one(options, scratch, prepared, i);
        if (r == 0)
            truncate(options, prepared, before);
        if (r == 0)
            r = check_prompt(options, prepared, prepared->ids.num - before);
        if (r < 0)
            return r;
        prepared->prompts[i].num_ids = (uint32_t)(prepared->ids.num - before);
    }
    const int32_t *at = prepared->ids.ids;
    for (uint32_t i = 0; i < num; i++) {
        prepared->prompts[i].ids = at;
        at += prepared->prompts[i].num_ids;
    }
    return 0;
}

/* --- masks -------------------------------------------------------------------------------- */

/* One word: its number of ids and these, unless they stand there already. */
static int append_word(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                       struct prepared *prepared, uint32_t i, bool with_space)
{
    const struct wire_text *word = &prepared->request.bad_words[i];
    const size_t blank = strspn(word->data, " \t\r\n");
    struct token_ids *words = &prepared->bad_words;
    const size_t before = words->num;
    const int32_t no_ids = 0;
    struct strbuf text = { 0 };
    strbuf_append_text(&text, with_space ? " " : "");
    strbuf_append(&text, word->data + blank, word->len - blank);
    int r = text.failed || !append_ids(words, &no_ids, 1) ? -ENOMEM : 0;
    if (r == 0)
        r = tokenizer_encode(options->card->tokenizer, scratch, text.data, text.len, 0,
                             before + 1 + RECORD_MAX_BAD_WORD_IDS, words);
    strbuf_finish(&text);
    if (r == -E2BIG)
        return wire_error_set(&prepared->error, WIRE_INVALID_VALUE, "bad_words",
                              "bad_words[%u] has more than %d tokens.", (unsigned)i,
                              RECORD_MAX_BAD_WORD_IDS);
    if (r < 0)
        return no_memory(&prepared->error);
    const size_t num_ids = words->num - before - 1;
    words->ids[before] = (int32_t)num_ids;
    if (num_ids == 0)
        words->num = before;
    return 0;
}

static bool is_banned(const struct prepare_options *options, const struct prepared *prepared,
                      int32_t id)
{
    const struct wire_request *request = &prepared->request;
    const struct token_ids *words = &prepared->bad_words;
    for (size_t at = 0; at < words->num; at += 1 + (size_t)words->ids[at])
        if (words->ids[at] == 1 && words->ids[at + 1] == id)
            return true;
    if (request->params.min_tokens == 0)
        return false;
    for (uint32_t i = 0; i < request->num_stop_ids; i++)
        if (request->stop_ids[i] == id)
            return true;
    for (uint32_t i = 0; i < options->card->num_eos_ids; i++)
        if (options->card->eos_ids[i] == id)
            return true;
    return false;
}

static int encode_masks(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                        struct prepared *prepared)
{
    const struct wire_request *request = &prepared->request;
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < 2 * request->num_bad_words; i++)
        r = append_word(options, scratch, prepared, i / 2, i % 2 == 1);
    if (r < 0)
        return r;
    for (uint32_t i = 0; i < request->num_allowed_ids; i++)
        if (!is_banned(options, prepared, request->allowed_ids[i]))
            return 0;
    if (request->num_allowed_ids == 0)
        return 0;
    return wire_error_set(&prepared->error, WIRE_INVALID_VALUE, "allowed_token_ids",
                          "allowed_token_ids: bad_words and min_tokens leave none of them.");
}

/* --- lengths ------------------------------------------------------------------------------ */

static uint32_t longest_prompt(const struct prepared *prepared)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < prepared->num_prompts; i++)
        if (prepared->prompts[i].num_ids > longest)
            longest = prepared->prompts[i].num_ids;
    return longest;
}

static uint32_t default_max_tokens(const struct prepare_options *options,
                                   const struct prepared *prepared, uint32_t room)
{
    enum { COMPLETIONS_DEFAULT = 16 };
    const int64_t set = options->limits.default_max_tokens;
    if (prepared->request.endpoint == WIRE_COMPLETIONS)
        return room < COMPLETIONS_DEFAULT ? room : COMPLETIONS_DEFAULT;
    return set > 0 && set < (int64_t)room ? (uint32_t)set : room;
}

static int set_max_tokens(const struct prepare_options *options, struct prepared *prepared)
{
    struct record_params *params = &prepared->request.params;
    const uint32_t prompt = longest_prompt(prepared);
    const uint32_t room = (uint32_t)options->limits.max_model_len - prompt;

    if (!prepared->request.has_max_tokens) {
        params->max_tokens = default_max_tokens(options, prepared, room);
    } else if (params->max_tokens > room && options->strict_max_tokens) {
        return wire_error_set(&prepared->error, WIRE_CONTEXT_LENGTH_EXCEEDED, "max_tokens",
                              "This model's maximum context length is %d tokens. However, you "
                              "requested %u output tokens and your %s resulted in %u tokens.",
                              options->limits.max_model_len, (unsigned)params->max_tokens,
                              prompt_field(prepared), (unsigned)prompt);
    } else if (params->max_tokens > room) {
        params->max_tokens = prepared->clamped = room;
    }
    if (params->min_tokens > params->max_tokens)
        return wire_error_set(&prepared->error, WIRE_INVALID_VALUE, "min_tokens",
                              "min_tokens is %u, above max_tokens, which is %u.",
                              (unsigned)params->min_tokens, (unsigned)params->max_tokens);
    return 0;
}

int prepare_request(const struct prepare_options *options, struct tokenizer_scratch *scratch,
                    enum wire_endpoint endpoint, const char *body, size_t len,
                    struct prepared *prepared)
{
    arena_init(&prepared->arena, ARENA_LIMIT_BYTES);
    int r = read_body(body, len, prepared);
    if (r == 0)
        r = wire_request_parse(endpoint, prepared->body, &options->limits, &prepared->arena,
                               &prepared->request, &prepared->error);
    if (r == 0)
        r = find_model(options, prepared);
    if (r == 0)
        r = encode_prompts(options, scratch, prepared);
    if (r == 0)
        r = encode_masks(options, scratch, prepared);
    if (r == 0)
        r = set_max_tokens(options, prepared);
    return r < 0 ? -EINVAL : 0;
}

void prepared_finish(struct prepared *prepared)
{
    token_ids_finish(&prepared->ids);
    token_ids_finish(&prepared->bad_words);
    arena_finish(&prepared->arena);
    json_decref(prepared->body);
    *prepared = (struct prepared){ 0 };
}
