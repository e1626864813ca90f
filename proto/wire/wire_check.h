/*
 * wire_check.h - the checks that fields of a request body have in common
 *
 * Each names the field, what was found and what is allowed, in one sentence; at most 64 bytes of
 * the client's text are echoed, with control characters escaped. Private to proto/wire/.
 */
#ifndef PROTO_WIRE_WIRE_CHECK_H
#define PROTO_WIRE_WIRE_CHECK_H

#include "proto/wire/wire_request.h"

/* What one wire_request_parse() works on. */
struct wire_parser {
    enum wire_endpoint endpoint;
    json_t *body;
    const struct wire_limits *limits;
    struct arena *arena;
    struct wire_request *request; /* being built */
    struct wire_error *error;

    /* Fields that mean something only beside others. */
    int64_t max_tokens, max_completion_tokens; /* -1: absent */
    int64_t best_of;                           /* 0: absent */
    int64_t top_logprobs;                      /* -1: absent */
    bool stream_options_given;
    const char *reasoning_effort; /* or NULL */
};

/* A place in the body: messages[3].content[1]. */
struct wire_place {
    char text[WIRE_PARAM_BYTES];
};
__attribute__((format(printf, 1, 2))) struct wire_place wire_place(const char *format, ...);

enum { WIRE_ECHO_BYTES = 64, WIRE_ECHO_ROOM = 4 * WIRE_ECHO_BYTES + 4 };

/* The first bytes of a client's text, printable, with "..." where it was cut. */
const char *wire_echo(const char *text, size_t len, char out[WIRE_ECHO_ROOM]);

/* `found` is not `wanted` ("a string"). Returns -EINVAL. */
int wire_refuse_type(struct wire_parser *p, const char *param, const json_t *found,
                     const char *wanted);

/* The field is known and what it asks for is not built. Returns -EINVAL. */
int wire_refuse_unsupported(struct wire_parser *p, const char *param);

int wire_refuse_memory(struct wire_parser *p);

/* Typed values: 0, or -EINVAL. */
int wire_check_bool(struct wire_parser *p, const char *param, const json_t *value, bool *ret_value);
int wire_check_int(struct wire_parser *p, const char *param, const json_t *value, int64_t min,
                   int64_t max, int64_t *ret_value);

struct wire_range {
    double min, max;
    bool open; /* min itself is not allowed */
};
int wire_check_real(struct wire_parser *p, const char *param, const json_t *value,
                    const struct wire_range *range, double *ret_value);

/* A string of at most `max_len` bytes (0: any). */
int wire_check_string(struct wire_parser *p, const char *param, const json_t *value,
                      size_t max_len);

/* The same, without U+0000: for what ends up in names and automata. */
int wire_check_name(struct wire_parser *p, const char *param, const json_t *value, size_t max_len);

int wire_check_array(struct wire_parser *p, const char *param, const json_t *value, size_t max_num);
int wire_check_object(struct wire_parser *p, const char *param, const json_t *value);

/* An object's member; NULL when absent or null. */
json_t *wire_get(const json_t *object, const char *key);

/* ------------------------------------------------------------------ fields with a form of their
 * own */

int wire_parse_messages(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_prompt(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_model(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_stop(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_logit_bias(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_logprobs(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_top_logprobs(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_seed(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_priority(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_stream_options(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_template_kwargs(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_reasoning_effort(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_response_format(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_modalities(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_metadata(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_max_tokens(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_max_completion_tokens(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_stop_ids(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_allowed_ids(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_bad_words(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_prompt_logprobs(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_truncation(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_truncation_side(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_cache_salt(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_request_id(struct wire_parser *p, const char *param, json_t *value);
int wire_parse_best_of(struct wire_parser *p, const char *param, json_t *value);

/* wire_params.c: all rows of the table that the endpoint knows; counts or refuses the others. */
int wire_params_read(struct wire_parser *p);

#endif
