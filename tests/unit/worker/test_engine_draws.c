/* From a request's parameters to the distribution of its tokens, through real rings: what each
 * parameter leaves to draw is computed here from the logits that the sampler was given. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/kernels/oracle.h"
#include "world.h"

enum { VOCAB = 100, NUM_REQUESTS = 500, NUM_CHOICES = 8, NUM_OUTPUT = 4, NUM_PROMPT = 6 };

/* A prompt and what was written behind it, with tokens that come twice. */
static const int32_t prompt[NUM_PROMPT] = { 5, 17, 60, 17, 33, 8 };

static float logits[VOCAB]; /* behind prompt and output */
static int32_t best[VOCAB]; /* ids, the likeliest first */
static int32_t output[NUM_OUTPUT];
static int32_t num_looked;

static void look(const struct sample_row *rows, int32_t num, float *all, int32_t num_vocab)
{
    ck_assert_int_eq(num_vocab, VOCAB);
    for (int32_t i = 0; i < num; i++) {
        const float *row = all + (size_t)i * VOCAB;
        if (num_looked++ == 0)
            memcpy(logits, row, sizeof(logits));
        ck_assert_mem_eq(logits, row, sizeof(logits));
        ck_assert_uint_eq(rows[i].output_pos, NUM_OUTPUT);
    }
}

static int by_logit(const void *left, const void *right)
{
    const int32_t a = *(const int32_t *)left, b = *(const int32_t *)right;
    return logits[a] != logits[b] ? logits[a] > logits[b] ? -1 : 1 : a - b;
}

/* --- rules -------------------------------------------------------------------------------- */

/* Tokens that a rule speaks of are named by how likely they are: 1 is the best, 0 none. */
struct rule {
    const char *name;
    float temperature, top_p, min_p, typical_p; /* 0: off, as all below */
    int32_t top_k;
    float repetition, presence, frequency;
    int32_t biased[2];
    float biases[2];
    int32_t end_ids[2];     /* of the text's end, and a stop id: masked by min_tokens */
    int32_t num_allowed;    /* of the best, every second */
    int32_t bad[2];         /* words of one token */
    int32_t bad_behind;     /* ends a word that begins with the newest token */
    bool ends_were_reached; /* min_tokens masks no more */
};

static const struct rule nothing = { "nothing" };

static const struct rule rules[] = {
    { "temperature", .temperature = 1.7f },
    { "top_k", .top_k = 5 },
    { "top_p", .top_p = 0.8f },
    { "min_p", .min_p = 0.2f },
    { "typical_p", .typical_p = 0.6f },
    { "repetition_penalty", .repetition = 1.9f },
    { "presence_penalty", .presence = 1.1f },
    { "frequency_penalty", .frequency = -0.9f },
    { "logit_bias", .biased = { 1, 7 }, .biases = { -2, 1.5f } },
    { "min_tokens", .end_ids = { 1, 3 } },
    { "min_tokens, reached", .end_ids = { 1, 3 }, .ends_were_reached = true },
    { "allowed_token_ids", .num_allowed = 12 },
    { "bad_words of one token", .bad = { 2, 4 } },
    { "bad_words of two tokens", .bad_behind = 1 },
    { "all of them", .temperature = 1.3f, .top_k = 30, .top_p = 0.95f, .min_p = 0.01f,
      .typical_p = 0.95f, .repetition = 1.2f, .presence = 0.4f, .frequency = -0.3f,
      .biased = { 5, 8 }, .biases = { 2, -1 }, .end_ids = { 2, 6 }, .bad = { 3, 0 },
      .bad_behind = 4 },
};
enum { NUM_RULES = sizeof(rules) / sizeof(rules[0]) };

static int32_t id_of(int32_t nth)
{
    return nth == 0 ? 0 : best[nth - 1];
}

static float or_else(float value, float otherwise)
{
    return value != 0.0f ? value : otherwise;
}

/* --- what is asked for -------------------------------------------------------------------- */

struct asked {
    struct record_params params;
    struct record_bias biases[2];
    int32_t eos_id, stop_id, allowed[VOCAB], bad_words[16];
    struct record_submit submit;
};

static void ask_for_words(const struct rule *rule, struct asked *a)
{
    uint32_t len = 0;
    for (int i = 0; i < 2 && rule->bad[i] != 0; i++) {
        a->bad_words[len++] = 1;
        a->bad_words[len++] = id_of(rule->bad[i]);
    }
    if (rule->bad_behind != 0) {
        a->bad_words[len++] = 2;
        a->bad_words[len++] = output[NUM_OUTPUT - 1];
        a->bad_words[len++] = id_of(rule->bad_behind);
        a->bad_words[len++] = 2; /* one that begins otherwise forbids nothing */
        a->bad_words[len++] = output[NUM_OUTPUT - 1] ^ 1;
        a->bad_words[len++] = best[0];
    }
    a->submit.bad_words = a->bad_words;
    a->submit.bad_words_len = len;
}

static void ask_for(const struct rule *rule, struct asked *a)
{
    const bool has_ends = rule->end_ids[0] != 0;
    *a = (struct asked){ .eos_id = id_of(rule->end_ids[0]), .stop_id = id_of(rule->end_ids[1]) };
    a->params = (struct record_params){
        .max_tokens = NUM_OUTPUT + 1,
        .min_tokens = has_ends ? NUM_OUTPUT + !rule->ends_were_reached : 0,
        .num_choices = NUM_CHOICES,
        .temperature = or_else(rule->temperature, 1),
        .top_p = or_else(rule->top_p, 1),
        .min_p = rule->min_p,
        .typical_p = or_else(rule->typical_p, 1),
        .top_k = rule->top_k,
        .repetition_penalty = or_else(rule->repetition, 1),
        .presence_penalty = rule->presence,
        .frequency_penalty = rule->frequency,
        .num_logprobs = -1,
        .num_prompt_logprobs = -1,
    };
    a->submit = (struct record_submit){ .params = &a->params,
                                        .prompt = prompt,
                                        .num_prompt = NUM_PROMPT,
                                        .num_choices = NUM_CHOICES,
                                        .biases = a->biases,
                                        .num_biases = rule->biases[0] != 0 ? 2 : 0,
                                        .eos_ids = &a->eos_id,
                                        .num_eos_ids = has_ends,
                                        .stop_ids = &a->stop_id,
                                        .num_stop_ids = has_ends,
                                        .allowed_ids = a->allowed,
                                        .num_allowed_ids = (uint32_t)rule->num_allowed };
    for (int i = 0; i < 2; i++)
        a->biases[i] = (struct record_bias){ id_of(rule->biased[i]), rule->biases[i] };
    for (int32_t i = 0; i < rule->num_allowed; i++)
        a->allowed[i] = best[2 * i];
    for (uint32_t c = 0; c < NUM_CHOICES; c++) {
        a->submit.choices[c].index = c;
        a->submit.choices[c].ids = output;
        a->submit.choices[c].num_ids = NUM_OUTPUT;
    }
    ask_for_words(rule, a);
}

/* --- what is expected --------------------------------------------------------------------- */

static void ban(uint32_t *banned, int32_t id)
{
    banned[id / 32] |= 1u << (id % 32);
}

static void expect(const struct rule *rule, double *ret_p)
{
    uint32_t banned[(VOCAB + 31) / 32] = { 0 };
    int32_t tokens[NUM_PROMPT + NUM_OUTPUT];
    struct logit_bias biases[2];
    memcpy(tokens, prompt, sizeof(prompt));
    memcpy(tokens + NUM_PROMPT, output, sizeof(output));
    for (int i = 0; i < 2; i++) {
        biases[i] = (struct logit_bias){ id_of(rule->biased[i]), rule->biases[i] };
        if (rule->end_ids[i] != 0 && !rule->ends_were_reached)
            ban(banned, id_of(rule->end_ids[i]));
        if (rule->bad[i] != 0)
            ban(banned, id_of(rule->bad[i]));
    }
    if (rule->bad_behind != 0)
        ban(banned, id_of(rule->bad_behind));
    for (int32_t i = 0; i < VOCAB && rule->num_allowed > 0; i++)
        if (i % 2 != 0 || i >= 2 * rule->num_allowed)
            ban(banned, best[i]);
    const struct sample_row row = {
        .temperature = or_else(rule->temperature, 1),
        .top_p = or_else(rule->top_p, 1),
        .min_p = rule->min_p,
        .typical_p = or_else(rule->typical_p, 1),
        .top_k = rule->top_k,
        .repetition_penalty = or_else(rule->repetition, 1),
        .presence_penalty = rule->presence,
        .frequency_penalty = rule->frequency,
        .tokens = tokens,
        .num_prompt = NUM_PROMPT,
        .num_tokens = NUM_PROMPT + NUM_OUTPUT,
        .biases = biases,
        .num_biases = rule->biases[0] != 0 ? 2 : 0,
        .banned = banned,
    };
    oracle_probabilities(logits, VOCAB, &row, ret_p);
}

/* --- drawing ------------------------------------------------------------------------------ */

static uint64_t seed_of(uint32_t request)
{
    return (uint64_t)request << 33 | (request * 2654435761u);
}

static void submit(const struct rule *rule, uint32_t request)
{
    struct asked a;
    ask_for(rule, &a);
    a.params.seed_low = (uint32_t)seed_of(request);
    a.params.seed_high = (uint32_t)(seed_of(request) >> 32);
    seat_submit(&world.seat, request % SEAT_MAX_IDS, &a.submit);
}

/* Each token is the one that its seed, choice and position decide. */
static void take(uint32_t request, const double *p, int32_t *seen)
{
    const struct seat_answer *answer = &world.seat.answers[request % SEAT_MAX_IDS];
    ck_assert_int_eq(answer->failure, 0);
    for (uint32_t c = 0; c < NUM_CHOICES; c++) {
        const int32_t id = answer->choices[c].tokens[NUM_OUTPUT];
        ck_assert_int_eq(answer->choices[c].num_tokens, NUM_OUTPUT + 1);
        ck_assert_msg(
            oracle_explains(p, VOCAB, sample_uniform(seed_of(request), c, NUM_OUTPUT, 0), id),
            "request %u choice %u: token %d is not that of its random number", request, c, id);
        seen[id]++;
    }
}

static void draw_many(const struct rule *rule, const double *p, int32_t *seen)
{
    for (uint32_t first = 0; first < NUM_REQUESTS; first += SEAT_MAX_IDS / 2) {
        uint32_t end = first + SEAT_MAX_IDS / 2;
        end = end < NUM_REQUESTS ? end : NUM_REQUESTS;
        for (uint32_t i = first; i < end; i++)
            submit(rule, i);
        for (uint32_t i = first; i < end; i++)
            world_run(i % SEAT_MAX_IDS, i % SEAT_MAX_IDS + 1);
        for (uint32_t i = first; i < end; i++)
            take(i, p, seen);
    }
}

/* --- tests -------------------------------------------------------------------------------- */

static void open_world(void)
{
    struct world_setup setup = world_usual;
    setup.dir = GOLDEN "/llama/mqa_f16_biases";
    setup.num_threads = 1;
    setup.num_seqs = 64;
    setup.spy.before = look;
    world_open(&setup);
}

/* The output repeats likely tokens, so that penalties matter: the best behind it become its own
 * first ones. Logits follow from the output, so they are looked at last. */
static void learn(void)
{
    for (int round = 0; round < 2; round++) {
        num_looked = 0;
        submit(&nothing, 0);
        world_run(0, 1);
        for (int32_t i = 0; i < VOCAB; i++)
            best[i] = i;
        qsort(best, VOCAB, sizeof(best[0]), by_logit);
        const int32_t written[NUM_OUTPUT] = { best[0], best[1], best[0], 44 };
        if (round == 0)
            memcpy(output, written, sizeof(output));
    }
}

START_TEST(a_parameter_leaves_its_exact_distribution)
{
    double p[VOCAB], plain[VOCAB], moved = 0.0;
    int32_t seen[VOCAB] = { 0 };
    open_world();
    learn();
    expect(&rules[_i], p);
    draw_many(&rules[_i], p, seen);
    const char *doubt = oracle_doubt(seen, p, VOCAB);
    ck_assert_msg(doubt == NULL, "%s: %s", rules[_i].name, doubt);
    world_close();

    /* The rule matters: without it, the same draws would be doubted. */
    expect(&nothing, plain);
    for (int32_t i = 0; i < VOCAB; i++)
        moved += p[i] > plain[i] ? p[i] - plain[i] : plain[i] - p[i];
    if (!rules[_i].ends_were_reached)
        ck_assert_msg(moved > 0.02 && oracle_doubt(seen, plain, VOCAB) != NULL, "%s moves %g",
                      rules[_i].name, moved);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine_draws");
    TCase *tc = tcase_create("engine_draws");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_parameter_leaves_its_exact_distribution, 0, NUM_RULES);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
