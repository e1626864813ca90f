#include "engine_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum {
    BLOCK = 16,
    MAX_LEN = 256,
    BUDGET = 2048,
    CELLS = 1 << 14,
    BULK = 1 << 22,
    EPOCH = 1,
    GENERATION = 1,
    DRY_TOKEN = 5,
};

static const struct ring_geometry geometry = { CELLS, BULK };

static void must(int r, const char *what, const struct error *err)
{
    if (r >= 0)
        return;
    fprintf(stderr, "%s: %s\n", what, err != NULL ? err->message : strerror(-r));
    exit(EXIT_FAILURE);
}

/* --- a device that computes nothing ------------------------------------------------------- */

static int64_t idle_since_ns, gap_ns;

int64_t engine_rig_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t engine_rig_gap_ns(void)
{
    return gap_ns;
}

static int dry_submit(struct device *device)
{
    (void)device;
    gap_ns = engine_rig_now_ns() - idle_since_ns;
    return 0;
}

static int dry_wait(struct device *device)
{
    (void)device;
    idle_since_ns = engine_rig_now_ns();
    return 0;
}

static void dry_sample(struct device *device, float *logits, int32_t num_vocab,
                       const struct sample_row *rows, int32_t num)
{
    (void)device;
    (void)logits;
    (void)num_vocab;
    for (int32_t i = 0; i < num; i++)
        *rows[i].ret_id = DRY_TOKEN;
}

/* --- model and engine --------------------------------------------------------------------- */

static void open_model(struct engine_rig *rig, int32_t max_logits, struct arch *ret_arch)
{
    struct error err;
    must(model_read_arch(RINGLET, DTYPE_F16, BLOCK, ret_arch, &err), "model", &err);
    const struct device_options device = {
        .max_rows = BUDGET,
        .max_ops = model_max_ops(ret_arch, BUDGET, 0) + 3,
        .max_vocab = ret_arch->vocab_size,
    };
    const struct model_options model = { .dir = RINGLET,
                                         .kv_dtype = DTYPE_F16,
                                         .block_size = BLOCK,
                                         .max_model_len = MAX_LEN,
                                         .max_rows = BUDGET,
                                         .max_logits = max_logits };
    must(backend_open("cpu", &rig->cpu, &err), "backend", &err);
    must(rig->cpu->device_open(&device, &rig->device, &err), "device", &err);
    must(model_open(rig->cpu, rig->device, &model, &rig->model, &err), "model", &err);
}

static void open_engine(struct engine_rig *rig, const struct engine_rig_options *options)
{
    struct arch arch;
    struct error err;
    const int32_t max_logits = options->num_seqs + SEQUENCE_WINDOW;
    open_model(rig, max_logits, &arch);
    rig->backend = *rig->cpu;
    if (options->is_dry) {
        rig->backend.submit = dry_submit;
        rig->backend.wait = dry_wait;
        rig->backend.sample = dry_sample;
    }
    const struct engine_options engine = {
        .backend = &rig->backend,
        .device = rig->device,
        .model = rig->model,
        .limits = { .max_num_seqs = options->num_seqs,
                    .max_num_batched_tokens = BUDGET,
                    .max_logits = max_logits,
                    .max_model_len = MAX_LEN,
                    .kv = arch.kv,
                    .num_blocks = options->num_seqs * MAX_LEN / BLOCK + 64,
                    .max_num_queued_reqs = 4 * options->num_seqs,
                    .max_num_queued_tokens = 10000000,
                    .vocab_size = arch.vocab_size,
                    .enable_prefix_caching = true,
                    .policy = WAIT_FAIR },
        .page = rig->page,
        .doorbell = rig->doorbell,
        .without_overlap = options->without_overlap,
    };
    must(engine_create(&engine, &rig->engine, &err), "engine", &err);
}

/* --- the frontend's seat ------------------------------------------------------------------ */

static void make_ring(enum segment_kind kind, int ret_fds[2])
{
    struct segment_header header = ring_segment_header(kind, geometry, EPOCH, GENERATION);
    struct error err;
    must(segment_create(&header, &ret_fds[0], &ret_fds[1], &err), "ring", &err);
}

static struct segment map(enum segment_kind kind, int fd, bool is_writable)
{
    const struct segment_header header = ring_segment_header(kind, geometry, EPOCH, GENERATION);
    struct segment segment;
    struct error err;
    must(segment_map(&segment, fd, is_writable, &header, &err), "ring", &err);
    return segment;
}

static void open_seat(struct engine_rig *rig)
{
    int submit[2], complete[2];
    struct link link;
    struct error err;
    make_ring(SEGMENT_SUBMIT, submit);
    make_ring(SEGMENT_COMPLETE, complete);
    ring_end_init(&rig->end, map(SEGMENT_SUBMIT, submit[0], true), geometry,
                  map(SEGMENT_COMPLETE, complete[1], false), geometry, EPOCH, GENERATION);
    const struct control_message message = { .kind = CONTROL_FRONTEND_LINK,
                                             .epoch = EPOCH,
                                             .generation = GENERATION,
                                             .submit_cells = CELLS,
                                             .submit_bulk = BULK,
                                             .complete_cells = CELLS,
                                             .complete_bulk = BULK };
    const int fds[LINK_NUM_FDS] = { submit[1], complete[0], dup(rig->frontend_doorbell) };
    must(link_open(&link, &message, fds, LINK_NUM_FDS, &err), "link", &err);
    engine_connect(rig->engine, 0, &link);
    for (int i = 0; i < 2; i++) {
        close(submit[i]);
        close(complete[i]);
    }
}

void engine_rig_open(struct engine_rig *rig, const struct engine_rig_options *options)
{
    *rig = (struct engine_rig){ .page = aligned_alloc(64, sizeof(struct status_page)) };
    must(rig->page != NULL ? 0 : -1, "no memory", NULL);
    memset(rig->page, 0, sizeof(*rig->page));
    must(doorbell_create(&rig->doorbell), "doorbell", NULL);
    must(doorbell_create(&rig->frontend_doorbell), "doorbell", NULL);
    open_engine(rig, options);
    open_seat(rig);
}

void engine_rig_close(struct engine_rig *rig)
{
    engine_destroy(rig->engine);
    ring_end_finish(&rig->end);
    model_close(rig->model);
    rig->cpu->device_close(rig->device);
    close(rig->doorbell);
    close(rig->frontend_doorbell);
    free(rig->page);
}

void engine_rig_submit(struct engine_rig *rig, int32_t num_prompt, int32_t num_tokens)
{
    const uint64_t id = rig->num_submitted++;
    int32_t prompt[MAX_LEN];
    const struct record_params params = { .max_tokens = (uint32_t)num_tokens,
                                          .num_choices = 1,
                                          .flags = RECORD_IGNORE_EOS,
                                          .seed_low = (uint32_t)id,
                                          .temperature = 0.8f,
                                          .top_p = 1,
                                          .typical_p = 1,
                                          .repetition_penalty = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1,
                                          .tenant = (uint32_t)(id % 16) };
    const struct record_submit submit = {
        .params = &params, .prompt = prompt, .num_prompt = (uint32_t)num_prompt, .num_choices = 1
    };
    static unsigned char bulk[BULK / 2];
    for (int32_t t = 0; t < num_prompt; t++)
        prompt[t] = (int32_t)((id * 7919 + (uint64_t)t * 31) % 1000);
    record_submit_encode(&submit, bulk);
    const struct ring_cell cell = { .kind = RECORD_SUBMIT, .id = id };
    must(ring_push(&rig->end, &cell, bulk, (uint32_t)record_submit_bytes(&submit)), "submit", NULL);
    ring_publish(&rig->end);
}

int32_t engine_rig_take(struct engine_rig *rig)
{
    struct ring_cell cell;
    struct error err;
    int32_t num_ended = 0;
    int r;
    while ((r = ring_pop(&rig->end, &cell, &err)) > 0) {
        if (cell.kind == RECORD_FAILED)
            must(-1, "a request failed", NULL);
        num_ended += cell.kind == RECORD_DONE;
    }
    must(r, "complete ring", &err);
    ring_release(&rig->end);
    return num_ended;
}
