/*
 * world.h - Ringlet, an engine and a frontend's seat in this process, for tests
 *
 * One world at a time. Every request of the mixture has an id below WORLD_NUM_REQUESTS; together
 * they use every parameter, and prompts of 1 to 180 tokens.
 */
#ifndef TESTS_UNIT_WORKER_WORLD_H
#define TESTS_UNIT_WORKER_WORLD_H

#include "seat.h"

enum {
    WORLD_NUM_REQUESTS = 32,
    WORLD_MAX_LEN = 256,
    WORLD_VOCAB = 1024,
    WORLD_SEAT = 3, /* the seat's number as a frontend */
};

struct world_setup {
    int32_t budget, num_seqs, num_blocks, num_threads;
    enum dtype kv_dtype;
    uint32_t complete_cells;
    int32_t bad_top_k;     /* rows with this top_k get logits that are no numbers; 0: none */
    bool without_prefixes; /* no prefix cache */
};

struct world {
    const struct backend *backend;
    struct device *device;
    struct model *model;
    struct engine *engine;
    struct status_page *page;
    int doorbell;
    struct seat seat;
    int num_reports;
};

extern struct world world;
extern const struct world_setup world_usual;

void world_open(const struct world_setup *setup);
void world_close(void);

/* A request of the mixture, to be changed before it is submitted; pointers go into itself. */
struct world_asked {
    struct record_params params;
    int32_t prompt[WORLD_MAX_LEN];
    int32_t eos_ids[1];
    struct record_bias biases[2];
    struct record_submit submit;
};

void world_ask(struct world_asked *asked, unsigned i);
void world_submit(unsigned i);

/* Step until the answers [first, end) are there. */
void world_run(unsigned first, unsigned end);

#endif
