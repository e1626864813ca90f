#include "world.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum {
    BLOCK = 16,
    MAX_ROWS = 512,
    MAX_LOGITS = 96,
    AREA_FLOATS = 1 << 15,
    MAX_INPUT_BYTES = 8 << 20
};

struct world world;

const struct world_setup world_usual = { .budget = 512,
                                         .num_seqs = 32,
                                         .num_blocks = 512,
                                         .num_threads = 2,
                                         .kv_dtype = DTYPE_F16,
                                         .complete_cells = 4096 };

static void note_report(void *context, uint32_t frontend, const char *text)
{
    (void)context;
    (void)frontend;
    (void)text;
    world.num_reports++;
}

struct kv_groups world_kv(const char *dir)
{
    struct error err;
    struct arch arch;
    ck_assert_msg(model_read_arch(dir, DTYPE_F16, BLOCK, &arch, &err) == 0, "%s", err.message);
    return arch.kv;
}

/* What the model says, and the limits of `setup`. */
static void set_options(const struct world_setup *setup)
{
    struct error err;
    struct arch arch;
    const char *dir = setup->dir != NULL ? setup->dir : RINGLET;
    const int32_t max_len = setup->max_len > 0 ? setup->max_len : WORLD_MAX_LEN;
    ck_assert_msg(model_read_arch(dir, setup->kv_dtype, BLOCK, &arch, &err) == 0, "%s",
                  err.message);
    world.vocab_size = arch.vocab_size;
    world.device_options = (struct device_options){
        .num_threads = setup->num_threads,
        .max_rows = MAX_ROWS,
        .max_ops = model_max_ops(&arch, MAX_ROWS, 0) + 3,
        .max_vocab = arch.vocab_size,
        .num_ranks = setup->num_ranks,
        .max_logits = MAX_LOGITS,
        .ordinals = "0,0",
        .libraries = setup->libraries,
        .max_input_bytes = MAX_INPUT_BYTES,
        .deadline_us = setup->deadline_us,
        .is_deterministic = true,
    };
    world.model_options = (struct model_options){ .dir = dir,
                                                  .kv_dtype = setup->kv_dtype,
                                                  .block_size = BLOCK,
                                                  .max_model_len = max_len,
                                                  .max_rows = MAX_ROWS,
                                                  .max_logits = MAX_LOGITS };
    world.limits = (struct scheduler_limits){
        .max_num_seqs = setup->num_seqs,
        .max_num_batched_tokens = setup->budget,
        .max_logits = setup->budget < MAX_LOGITS ? setup->budget : MAX_LOGITS,
        .max_model_len = max_len,
        .kv = arch.kv,
        .num_blocks = setup->num_blocks,
        .max_num_queued_reqs = 2 * SEAT_MAX_IDS,
        .max_num_queued_tokens = 100000,
        .vocab_size = arch.vocab_size,
        .enable_prefix_caching = !setup->without_prefixes,
        .policy = setup->policy,
    };
}

static void choose_backend(const struct backend *chosen)
{
    struct error err;
    ck_assert_int_eq(backend_open("cpu", &world.backend, &err), 0);
    if (chosen != NULL)
        world.backend = chosen;
}

static void open_model(const struct model_options *options)
{
    struct error err;
    ck_assert_int_eq(world.backend->device_open(&world.device_options, &world.device, &err), 0);
    if (options->communicator != NULL)
        ck_assert_msg(world.backend->device_join(world.device, options->communicator, &err) == 0,
                      "%s", err.message);
    ck_assert_msg(model_open(world.backend, world.device, options, &world.model, &err) == 0, "%s",
                  err.message);
}

/* Followers first: their models load while this one does. */
static void open_ranks(const struct world_setup *setup)
{
    const struct crew_options options = { world.backend, &world.device_options,
                                          &world.model_options, &world.limits,
                                          setup->followers_are_processes };
    if (setup->num_ranks <= 1)
        return;
    crew_join(&world.crew, setup->num_ranks, AREA_FLOATS);
    crew_start(&world.crew, &options);
}

void world_open(const struct world_setup *setup)
{
    struct error err;
    world = (struct world){ .page = aligned_alloc(64, sizeof(struct status_page)) };
    memset(world.page, 0, sizeof(*world.page));
    ck_assert_int_eq(doorbell_create(&world.doorbell), 0);
    choose_backend(setup->backend);
    set_options(setup);
    open_ranks(setup);
    const bool leads = world.crew.num_ranks > 0;
    struct model_options own = world.model_options;
    own.communicator = leads ? &world.crew.ranks[0].communicator : NULL;
    open_model(&own);
    const struct engine_options options = {
        .backend = spy_on(world.backend, &setup->spy),
        .device = world.device,
        .model = world.model,
        .limits = world.limits,
        .page = world.page,
        .doorbell = world.doorbell,
        .comm = leads ? &world.crew.ranks[0].comm : NULL,
        .without_overlap = setup->without_overlap,
        .report = note_report,
    };
    ck_assert_msg(engine_create(&options, &world.engine, &err) == 0, "%s", err.message);
    seat_open(&world.seat, world.engine, WORLD_SEAT, setup->complete_cells);
}

void world_close(void)
{
    seat_close(&world.seat);
    engine_destroy(world.engine); /* what is in the air lands */
    crew_leave(&world.crew);
    model_close(world.model);
    world.backend->device_close(world.device);
    close(world.doorbell);
    free(world.page);
}

/* --- requests ----------------------------------------------------------------------------- */

unsigned world_mix(unsigned x)
{
    x = (x ^ x >> 16) * 0x45d9f3bu;
    return (x ^ x >> 13) * 0x2c1b3c6du >> 4;
}

void world_ask(struct world_asked *a, unsigned i)
{
    static const int32_t words[] = { 1, 31, 2, 40, 17, 3, 5, 6, 7 };
    const unsigned num_ids = (unsigned)world.vocab_size - 24; /* what prompts are made of */
    *a = (struct world_asked){ .eos_ids = { world.vocab_size - 3 } };
    const unsigned num_prompt = i % 8 == 0 ? 1 + world_mix(i) % 16 : 1 + world_mix(i) % 180;
    for (unsigned t = 0; t < num_prompt; t++)
        a->prompt[t] = (int32_t)(world_mix(1000 * i + t) % num_ids);
    a->params = (struct record_params){
        .max_tokens = 8 + world_mix(i + 77) % 40,
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
