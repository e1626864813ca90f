/*
 * The text of a growing output with every kind of tokenizer, against what HF `tokenizers` decodes
 * of the same ids: tests/golden/tokenizer_streams.py.
 */
#include <check.h>
#include <string.h>

#include "session_rig.h"
#include "tests/unit/runner.h"
#include "tests/unit/text/stress.h"

enum { NUM_KINDS = 18, MAX_IDS = 64 };

static struct rig rig;
static struct rig_ask ask;

static uint32_t read_ids(const json_t *list, int32_t *ids)
{
    ck_assert_uint_le(json_array_size(list), MAX_IDS);
    for (size_t i = 0; i < json_array_size(list); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return (uint32_t)json_array_size(list);
}

/* The engine says one token after the other; what has come out is looked at behind each. */
static void check_stream(const char *kind, size_t number, const json_t *stream)
{
    const json_t *ends = json_object_get(stream, "ends"), *text = json_object_get(stream, "text");
    int32_t prompt[MAX_IDS], ids[MAX_IDS];
    rig_ask_init(&ask, &rig);
    ask.params.max_tokens = MAX_IDS;
    ask.submit.num_eos_ids = 0;
    ask.prompts[0].ids = prompt;
    ask.prompts[0].num_ids = read_ids(json_object_get(stream, "prompt"), prompt);
    const uint32_t num = read_ids(json_object_get(stream, "ids"), ids);
    rig.prompt_tokens = ask.prompts[0].num_ids;
    strbuf_reset(&rig.text);
    rig_submit(&rig, &ask);
    const uint64_t id = rig_take_submit(&rig);
    rig_begin(&rig, id, 0);

    for (uint32_t i = 0; i < num; i++) {
        rig_tokens(&rig, id, 0, i + 1, 1, ids + i);
        rig_drain(&rig);
        const size_t want = (size_t)json_integer_value(json_array_get(ends, i));
        ck_assert_msg(rig.text.len == want, "%s: stream %zu: %zu bytes with id %u, wanted %zu",
                      kind, number, rig.text.len, i, want);
        ck_assert(want == 0 || memcmp(rig.text.data, json_string_value(text), want) == 0);
    }
    rig_done(&rig, id, 0, RECORD_FINISH_LENGTH, num, -1);
    rig_drain(&rig);
    ck_assert_uint_eq(rig.text.len, json_string_length(text));
    ck_assert_uint_eq(session_num_requests(rig.session), 0);
}

static void check_kind(const json_t *kind, const json_t *streams)
{
    const char *name = json_string_value(json_object_get(kind, "name"));
    json_t *file = stress_kind(kind);
    struct tokenizer *tokenizer = stress_tokenizer(file, true);
    const json_t *stream;
    size_t i;
    rig_start_with(&rig, tokenizer, 64, 16384);
    json_array_foreach(streams, i, stream) check_stream(name, i, stream);
    rig_finish(&rig);
    tokenizer_close(tokenizer);
    json_decref(file);
}

START_TEST(each_token_brings_the_characters_that_hf_decodes_with_it)
{
    json_t *kinds = golden_load(STRESS_DIR "kinds.json");
    json_t *found = golden_load(STRESS_DIR "streams.json");
    ck_assert_uint_eq(json_array_size(found), NUM_KINDS);
    for (size_t i = 0; i < NUM_KINDS; i++)
        check_kind(json_array_get(kinds, i), json_object_get(json_array_get(found, i), "streams"));
    json_decref(kinds);
    json_decref(found);
}
END_TEST

RUN_SUITE("session_stream", each_token_brings_the_characters_that_hf_decodes_with_it)
