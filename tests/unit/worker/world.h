/*
 * world.h - a model, an engine and a frontend's seat in this process, for tests
 *
 * One world at a time. Every request of the mixture has an id below WORLD_NUM_REQUESTS; together
 * they use every parameter, and prompts of 1 to 180 tokens.
 */
#ifndef TESTS_UNIT_WORKER_WORLD_H
#define TESTS_UNIT_WORKER_WORLD_H

#include "crew.h"
#include "seat.h"
#include "spy.h"

enum {
    WORLD_NUM_REQUESTS = 32,
    WORLD_MAX_LEN = 256,
    WORLD_MAX_PROMPT = 320,
    WORLD_SEAT = 3, /* the seat's number as a frontend */
};

struct world_setup {
    const struct backend *backend; /* of all ranks; NULL: the CPU's */
    const char *libraries;         /* device_options; steps of a device of its own repeat */
    const char *dir;               /* of the model; NULL: Ringlet */
    int32_t max_len;               /* 0: WORLD_MAX_LEN */
    int32_t budget, num_seqs, num_blocks, num_threads;
    int32_t num_ranks; /* 0 is 1; the others are threads: crew.h */
    bool followers_are_processes;
    int64_t deadline_us; /* device_options */
    enum dtype kv_dtype;
    uint32_t complete_cells;
    enum wait_policy policy;
    bool without_prefixes; /* no prefix cache */
    bool without_overlap;  /* steps are planned one after another */
    struct spy spy;        /* on the leader */
};

struct world {
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct engine *engine;
    struct status_page *page;
    int doorbell;
    struct seat seat;
    struct crew crew;
    int32_t vocab_size;
    int num_reports;
    struct device_options device_options;
    struct model_options model_options;
    struct scheduler_limits limits;
};

extern struct world world;
extern const struct world_setup world_usual;

/* How a model's KV cache is cut. */
struct kv_groups world_kv(const char *dir);

void world_open(const struct world_setup *setup);
void world_close(void);

/* A request of the mixture, to be changed before it is submitted; pointers go into itself. */
struct world_asked {
    struct record_params params;
    int32_t prompt[WORLD_MAX_PROMPT];
    int32_t eos_ids[1];
    struct record_bias biases[2];
    struct record_submit submit;
};

/* A number that looks like chance. */
unsigned world_mix(unsigned x);

void world_ask(struct world_asked *asked, unsigned i);
void world_submit(unsigned i);

/* Step until the answers [first, end) are there. */
void world_run(unsigned first, unsigned end);

#endif
