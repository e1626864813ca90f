/* Models with windows in an engine: what they hold, with answers that are the same to the bit as
 * where everything is kept. Law 1 in full is test_law1_models.c's. */
#include <check.h>
#include <string.h>

#include "proto/records/stats.h"
#include "tests/unit/runner.h"
#include "world.h"

enum { PROMPT = 150, ANSWER = 90, NUM = 3, MAX_LEN = 256 };

static const struct {
    const char *dir;
    bool forgets; /* every layer has a window */
} models[] = {
    { GOLDEN "/families/mistral_window", true }, { GOLDEN_MADE_DIR "/mixtral_odd_window", true },
    { GOLDEN_MADE_DIR "/gemma2_caps", false },   { GOLDEN "/families/gemma3_two_ropes", false },
    { GOLDEN "/families/qwen2_window", false },
};
enum { NUM_MODELS = sizeof(models) / sizeof(models[0]) };

struct answers {
    int32_t tokens[NUM][ANSWER];
    uint64_t most_used;
};

/* Later ones begin as the first one does, in the middle of a page. */
static void ask(unsigned i)
{
    struct world_asked a;
    world_ask(&a, 2);
    for (unsigned t = 0; t < PROMPT; t++)
        a.prompt[t] =
            (int32_t)(world_mix((t < 99 ? 0 : 1000 * i) + t) % ((unsigned)world.vocab_size - 24));
    a.submit.num_prompt = PROMPT;
    a.submit.num_biases = 0;
    a.params.max_tokens = ANSWER;
    a.params.flags = RECORD_IGNORE_EOS;
    a.params.num_logprobs = -1;
    a.params.num_prompt_logprobs = -1;
    a.params.temperature = 1;
    seat_submit(&world.seat, i, &a.submit);
}

static void answer(const struct world_setup *setup, struct answers *ret)
{
    uint64_t most = 0;
    world_open(setup);
    for (unsigned i = 0; i < NUM; i++)
        ask(i);
    for (unsigned i = 0; i < NUM;) {
        ck_assert_int_ge(engine_step(world.engine), 0);
        seat_take(&world.seat);
        const uint64_t used = status_get(world.page, stat_word(STAT_KV_BLOCKS_USED));
        most = used > most ? used : most;
        while (i < NUM && seat_is_finished(&world.seat, i))
            i++;
    }
    for (unsigned i = 0; i < NUM; i++) {
        const struct seat_choice *choice = &world.seat.answers[i].choices[0];
        ck_assert_int_eq(choice->num_tokens, ANSWER);
        memcpy(ret->tokens[i], choice->tokens, sizeof(ret->tokens[i]));
    }
    ret->most_used = most;
    ck_assert(engine_is_empty(world.engine));
    world_close();
}

START_TEST(answers_do_not_depend_on_what_was_given_back)
{
    static struct answers kept, given_back;
    const struct kv_groups kv = world_kv(models[_i].dir);
    struct world_setup setup = world_usual;
    setup.dir = models[_i].dir;
    setup.max_len = MAX_LEN;
    setup.without_prefixes = true;
    setup.num_seqs = 1;
    answer(&setup, &kept); /* in one chunk: nothing is behind a window that is not computed */

    setup.without_prefixes = false;
    setup.num_seqs = 4;
    setup.budget = 16;
    /* Not quite enough for two: somebody is preempted, and finds what is left. */
    setup.num_blocks = (int32_t)kv_most_blocks(&kv, setup.budget, MAX_LEN) * 2 - 1;
    answer(&setup, &given_back);

    ck_assert_mem_eq(kept.tokens, given_back.tokens, sizeof(kept.tokens));
    ck_assert_uint_le(given_back.most_used, (uint64_t)setup.num_blocks);
}
END_TEST

START_TEST(a_text_longer_than_the_pool_needs_what_its_windows_see)
{
    static struct answers kept, given_back;
    const struct kv_groups kv = world_kv(models[_i].dir);
    struct world_setup setup = world_usual;
    setup.dir = models[_i].dir;
    setup.max_len = MAX_LEN;
    setup.num_seqs = 1;
    answer(&setup, &kept);
    setup.budget = 8;
    setup.num_blocks = (int32_t)kv_most_blocks(&kv, setup.budget, PROMPT + ANSWER);
    answer(&setup, &given_back);

    ck_assert_mem_eq(kept.tokens, given_back.tokens, sizeof(kept.tokens));
    ck_assert_int_lt(setup.num_blocks, kv.num_parts * kv_pages(&kv, PROMPT + ANSWER));
    if (models[_i].forgets)
        ck_assert_int_lt(setup.num_blocks * kv.block_size, (PROMPT + ANSWER) / 2);
}
END_TEST

RUN_ROWS("engine_windows", NULL, NULL, 120,
         TIMES(answers_do_not_depend_on_what_was_given_back, NUM_MODELS),
         TIMES(a_text_longer_than_the_pool_needs_what_its_windows_see, NUM_MODELS))
