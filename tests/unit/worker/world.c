#include "world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum { BLOCK = 16, EOS = 1021, MAX_ROWS = 512, MAX_LOGITS = 96 };

struct world world;

const struct world_setup world_usual = { 512, 32, 512, 2, DTYPE_F16, 4096, 0, false };

static void note_report(void *context, uint32_t frontend, const char *text)
{
    (void)context;
    (void)frontend;
    (void)text;
    world.num_reports++;
}

static void open_model(const struct world_setup *setup)
{
    struct error err;
    struct arch arch;
    ck_assert_int_eq(model_read_arch(RINGLET, setup->kv_dtype, BLOCK, &arch, &err), 0);
    const struct device_options device = { .num_threads = setup->num_threads,
                                           .max_rows = MAX_ROWS,
                                           .max_ops = model_max_ops(arch.num_hidden_layers) + 2,
                                           .max_vocab = arch.vocab_size };
    const struct model_options options = { .dir = RINGLET,
                                           .kv_dtype = setup->kv_dtype,
                                           .block_size = BLOCK,
                                           .max_model_len = WORLD_MAX_LEN,
                                           .max_rows = MAX_ROWS,
                                           .max_logits = MAX_LOGITS };
    ck_assert_int_eq(backend_open("cpu", &world.backend, &err), 0);
    ck_assert_int_eq(world.backend->device_open(&device, &world.device, &err), 0);
    ck_assert_msg(model_open(world.backend, world.device, &options, &world.model, &err) == 0, "%s",
                  err.message);
}

/* The cpu backend, but some logits are spoilt before they are sampled. */
static struct backend spoiling;
static const struct backend *real;
static int32_t bad_top_k;

static void spoil_and_sample(struct device *device, float *logits, int32_t num_vocab,
                             const struct sample_row *rows, int32_t num)
{
    real->sample(device, logits, num_vocab, rows, num);
    real->submit(device);
    real->wait(device);
    real->begin(device);
    for (int32_t i = 0; i < num; i++)
        if (rows[i].top_k == bad_top_k)
            *rows[i].bad = true;
}

static const struct backend *backend_of(const struct world_setup *setup)
{
    if (setup->bad_top_k == 0)
        return world.backend;
    real = world.backend;
    bad_top_k = setup->bad_top_k;
    spoiling = *real;
    spoiling.sample = spoil_and_sample;
    return &spoiling;
}

void world_open(const struct world_setup *setup)
{
    struct error err;
    world = (struct world){ .page = aligned_alloc(64, sizeof(struct status_page)) };
    memset(world.page, 0, sizeof(*world.page));
    ck_assert_int_eq(doorbell_create(&world.doorbell), 0);
    open_model(setup);
    const struct engine_options options = {
        .backend = backend_of(setup),
        .device = world.device,
        .model = world.model,
        .limits = { .max_num_seqs = setup->num_seqs,
                    .max_num_batched_tokens = setup->budget,
                    .max_logits = setup->budget < MAX_LOGITS ? setup->budget : MAX_LOGITS,
                    .max_model_len = WORLD_MAX_LEN,
                    .block_size = BLOCK,
                    .num_groups = 1,
                    .num_blocks = setup->num_blocks,
                    .max_num_queued_reqs = 64,
                    .max_num_queued_tokens = 100000,
                    .vocab_size = WORLD_VOCAB,
                    .enable_prefix_caching = !setup->without_prefixes },
        .page = world.page,
        .doorbell = world.doorbell,
        .report = note_report,
    };
    ck_assert_msg(engine_create(&options, &world.engine, &err) == 0, "%s", err.message);
    seat_open(&world.seat, world.engine, WORLD_SEAT, setup->complete_cells);
}

void world_close(void)
{
    seat_close(&world.seat);
    engine_destroy(world.engine);
    model_close(world.model);
    world.backend->device_close(world.device);
    free(world.page);
}

/* --- requests ----------------------------------------------------------------------------- */

static unsigned mix(unsigned x)
{
    x = (x ^ x >> 16) * 0x45d9f3bu;
    return (x ^ x >> 13) * 0x2c1b3c6du >> 4;
}

void world_ask(struct world_asked *a, unsigned i)
{
    static const int32_t words[] = { 1, 31, 2, 40, 17, 3, 5, 6, 7 };
    *a = (struct world_asked){ .eos_ids = { EOS } };
    const unsigned num_prompt = i % 8 == 0 ? 1 + mix(i) % 16 : 1 + mix(i) % 180;
    for (unsigned t = 0; t < num_prompt; t++)
        a->prompt[t] = (int32_t)(mix(1000 * i + t) % 1000);
    a->params = (struct record_params){
        .max_tokens = 8 + mix(i + 77) % 40,
        .min_tokens = i % 3 == 0 ? 8 : 0,
        .num_choices = i % 5 == 0 ? 3 : 1,
        .flags = i % 4 == 1 ? RECORD_IGNORE_EOS : 0,
        .seed_low = 99 + i,
        .temperature = i % 2 == 0 ? 0.0f : 0.5f + (float)(i % 7) * 0.2f,
        .top_p = i % 6 == 1 ? 0.9f : 1.0f,
        .min_p = i % 6 == 3 ? 0.05f : 0.0f,
        .typical_p = i % 6 == 5 ? 0.9f : 1.0f,
        .top_k = i % 4 == 3 ? 40 : 0,
        .repetition_penalty = i % 7 == 2 ? 1.3f : 1.0f,
        .presence_penalty = i % 7 == 3 ? 0.7f : 0.0f,
        .frequency_penalty = i % 7 == 4 ? 0.4f : 0.0f,
        .num_logprobs = (int32_t)(i % 7) - 1,
        .num_prompt_logprobs = i % 9 == 4 ? 2 : -1,
    };
    a->biases[0] = (struct record_bias){ 17, 3.5f };
    a->biases[1] = (struct record_bias){ 40, -100.0f };
    a->submit = (struct record_submit){ .params = &a->params,
                                        .prompt = a->prompt,
                                        .num_prompt = num_prompt,
                                        .num_choices = a->params.num_choices,
                                        .biases = a->biases,
                                        .num_biases = i % 8 == 6 ? 2 : 0,
                                        .eos_ids = a->eos_ids,
                                        .num_eos_ids = 1 };
    if (i % 10 == 7) {
        a->submit.bad_words = words;
        a->submit.bad_words_len = sizeof(words) / sizeof(words[0]);
    }
    for (uint32_t c = 0; c < a->submit.num_choices; c++)
        a->submit.choices[c].index = c;
    if (a->params.num_logprobs > 5)
        a->params.num_logprobs = 5;
}

void world_submit(unsigned i)
{
    struct world_asked a;
    world_ask(&a, i);
    seat_submit(&world.seat, i, &a.submit);
}

void world_run(unsigned first, unsigned end)
{
    int idle = 0; /* steps in a row that had nothing to do: what is missing never comes */
    for (unsigned i = first; i < end;) {
        const int r = engine_step(world.engine);
        ck_assert_int_ge(r, 0);
        idle = seat_take(&world.seat) > 0 || r > 0 ? 0 : idle + 1;
        ck_assert_int_lt(idle, 1000);
        while (i < end && seat_is_finished(&world.seat, i))
            i++;
    }
}
