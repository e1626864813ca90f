#include "law1.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/records/stats.h"

enum {
    FIRST_SEED = 99,  /* of world_ask() */
    FIRST_OTHER = 64, /* ids of requests that are not compared */
    MAX_PESTS = 60,   /* at once */
    BLOCK = 16,
    MAX_IDLE = 1000, /* steps in a row without work: what is missing never comes */
};

struct law1_faults law1_faults;

/* The batch that is being answered. */
static struct {
    const struct law1_case *c;
    struct law1_answer *answers;
    uint64_t chance;
    int32_t first, num, num_submitted;
    bool is_open[LAW1_NUM_REQUESTS]; /* by request: asked for and not answered */
    int32_t last_seen[LAW1_NUM_REQUESTS][LAW1_MAX_CHOICES]; /* tokens when the pests last went */
    int32_t num_pests;                                      /* that run */
    uint32_t num_sent;                                      /* of them, ever */
    bool are_pests_out;
    int32_t credits[LAW1_NUM_REQUESTS][LAW1_MAX_CHOICES]; /* preemptions */
    uint64_t num_preempted;                               /* in engines that are gone */
} run;

static uint32_t chance_below(uint64_t *state, uint32_t end)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % end);
}

/* --- requests ----------------------------------------------------------------------------- */

static int32_t request_of(int32_t nth)
{
    return (run.first + nth) % LAW1_NUM_REQUESTS;
}

/* One in 20 goes beyond a span of attention where the model can. */
static uint32_t long_prompt(const struct law1_case *c, unsigned i)
{
    const int32_t room = law1_models[c->model].max_len - LAW1_MAX_TOKENS;
    return i % 20 == 11 && room > BACKEND_SPAN ? BACKEND_SPAN - 4 + world_mix(i) % 30 : 0;
}

/* Policies but LAW1_TINY_POOL's and LAW1_FEW_SEATS' do not look at priorities. */
static void ask(const struct law1_case *c, unsigned i, struct world_asked *a)
{
    world_ask(a, i);
    const uint32_t num_long = long_prompt(c, i);
    if (i % 8 != 1 && a->submit.num_prompt > 70)
        a->submit.num_prompt = 1 + a->submit.num_prompt % 70;
    if (num_long > 0) {
        for (unsigned t = 0; t < num_long; t++)
            a->prompt[t] = (int32_t)(world_mix(1000 * i + t) % (unsigned)(world.vocab_size - 24));
        a->submit.num_prompt = num_long;
        a->params.num_prompt_logprobs = -1;
    }
    const uint32_t more = world_mix(i + 77) % (1 + LAW1_MAX_TOKENS - LAW1_MIN_TOKENS);
    a->params.max_tokens = LAW1_MIN_TOKENS + more;
    a->params.min_tokens = (a->params.flags & RECORD_IGNORE_EOS) != 0 ? 0 : LAW1_MIN_TOKENS;
    a->params.seed_low += law1_faults.seed_shift;
    a->params.priority = 1;
    if (a->submit.num_prompt > LAW1_MAX_SCORES)
        a->params.num_prompt_logprobs = -1;
}

/* A choice whose DONE an engine took along: its tokens say it, too. */
static void end_choice(const struct world_asked *a, struct law1_choice *choice)
{
    const int32_t last = choice->num_tokens > 0 ? choice->tokens[choice->num_tokens - 1] : -1;
    if (choice->reason != 0 || last < 0)
        return;
    if (record_is_eos(&a->submit, last) || record_is_stop(&a->submit, last)) {
        choice->reason = RECORD_FINISH_EOS;
        choice->stop_id = last;
    } else if (choice->num_tokens == (int32_t)a->params.max_tokens) {
        choice->reason = RECORD_FINISH_LENGTH;
        choice->stop_id = -1;
    }
}

/* Without what earlier engines have answered. */
static void submit(int32_t i)
{
    struct world_asked a;
    ask(run.c, (unsigned)i, &a);
    struct law1_answer *answer = &run.answers[i];
    uint32_t num = 0;
    for (uint32_t c = 0; c < a.params.num_choices; c++) {
        struct law1_choice *choice = &answer->choices[c];
        end_choice(&a, choice);
        if (choice->reason != 0)
            continue;
        a.submit.choices[num].index = c;
        a.submit.choices[num].ids = choice->tokens;
        a.submit.choices[num++].num_ids = (uint32_t)choice->num_tokens;
    }
    a.submit.num_choices = num;
    run.is_open[i] = num > 0;
    if (num > 0)
        seat_submit(&world.seat, (uint64_t)i, &a.submit);
}

/* --- logits ------------------------------------------------------------------------------- */

static uint64_t hash_of(const float *logits, int32_t num)
{
    uint64_t hash = 0x9E3779B97F4A7C15u;
    for (int32_t i = 0; i < num; i++) {
        uint32_t bits;
        memcpy(&bits, &logits[i], sizeof(bits));
        hash = (hash ^ bits) * 0xD6E8FEB86659FD93u;
        hash ^= hash >> 32;
    }
    return hash;
}

static void watch(const struct sample_row *rows, int32_t num, float *logits, int32_t num_vocab)
{
    for (int32_t r = 0; r < num; r++) {
        float *row = logits + (size_t)r * (size_t)num_vocab;
        const uint64_t i = rows[r].seed - FIRST_SEED;
        if (law1_faults.sees_batch && num > 1)
            row[0] = nextafterf(row[0], INFINITY);
        if (rows[r].forced_id >= 0 || i >= LAW1_NUM_REQUESTS ||
            rows[r].output_pos >= LAW1_MAX_TOKENS)
            continue;
        run.answers[i].choices[rows[r].choice].logits[rows[r].output_pos] = hash_of(row, num_vocab);
    }
}

/* --- what came ---------------------------------------------------------------------------- */

static void harvest_choice(const struct seat_choice *from, struct law1_choice *to)
{
    ck_assert_int_le(from->num_tokens, LAW1_MAX_TOKENS);
    for (int32_t k = from->num_before; k < from->num_tokens; k++)
        to->tokens[k] = from->tokens[k];
    for (int32_t k = from->num_before; k < from->num_logprobs && k < from->num_tokens; k++)
        memcpy(to->logprobs[k], from->logprobs[k], sizeof(to->logprobs[k]));
    to->num_tokens = from->num_tokens;
    if (from->is_done) {
        to->reason = (int32_t)from->done.reason;
        to->stop_id = from->done.stop_id;
    }
}

static void harvest(int32_t i)
{
    const struct seat_answer *from = &world.seat.answers[i];
    struct law1_answer *to = &run.answers[i];
    ck_assert_int_eq(from->failure, 0);
    ck_assert_int_le(from->next_score, LAW1_MAX_SCORES);
    if (from->next_score > 1) {
        memcpy(to->scores, from->scores, sizeof(to->scores));
        to->num_scores = from->next_score;
    }
    struct world_asked a;
    ask(run.c, (unsigned)i, &a);
    for (uint32_t c = 0; c < a.params.num_choices; c++)
        if (to->choices[c].reason == 0)
            harvest_choice(&from->choices[c], &to->choices[c]);
    run.is_open[i] = !seat_is_finished(&world.seat, (uint64_t)i);
}

/* --- the engine --------------------------------------------------------------------------- */

/* As many blocks as the requests take; where nobody is to lack any, also those of the requests
 * that come before, and what lies behind windows stays. */
static int32_t num_blocks_of(const struct law1_case *c)
{
    const struct kv_groups kv = world_kv(law1_models[c->model].dir);
    const bool is_tiny = c->pest == LAW1_TINY_POOL;
    int64_t num = 0;
    struct world_asked a;
    for (int32_t k = 0; k < c->num; k++) {
        ask(c, (unsigned)((c->first + k) % LAW1_NUM_REQUESTS), &a);
        const int32_t len = (int32_t)(a.submit.num_prompt + a.params.max_tokens);
        num += (int64_t)a.params.num_choices *
               (is_tiny ? kv_most_blocks(&kv, c->chunk, len) : kv.num_parts * kv_pages(&kv, len));
    }
    return (int32_t)(is_tiny ? num : 2 * num + BLOCK);
}

static void open_engine(const struct law1_case *c)
{
    const struct law1_model *model = &law1_models[c->model];
    struct world_setup setup = {
        .dir = model->dir,
        .max_len = model->max_len,
        .budget = c->chunk,
        .num_seqs = c->num_seqs,
        .num_blocks = num_blocks_of(c),
        .num_threads = c->num_threads,
        .num_ranks = c->num_ranks,
        .kv_dtype = c->kv_dtype,
        .complete_cells = c->is_read_slowly ? 8 : 4096,
        .policy = c->pest != LAW1_NO_PEST ? WAIT_PRIORITY : WAIT_FAIR,
        .without_prefixes = c->start == LAW1_OFF,
        .without_overlap = !c->plans_ahead,
    };
    if (c->is_watched)
        setup.spy.before = watch;
    world_open(&setup);
}

static void close_engine(void)
{
    run.num_preempted += status_get(world.page, stat_word(STAT_PREEMPTIONS));
    world_close();
}

/* The engine dies, and a new one gets what was not answered. */
static void restart(void)
{
    for (int32_t k = 0; k < run.num_submitted; k++)
        if (run.is_open[request_of(k)])
            harvest(request_of(k));
    close_engine();
    open_engine(run.c);
    run.num_pests = 0;
    run.are_pests_out = false;
    for (int32_t k = 0; k < run.num_submitted; k++)
        if (run.is_open[request_of(k)])
            submit(request_of(k));
}

/* --- prefixes ----------------------------------------------------------------------------- */

static void run_others(int32_t num)
{
    int idle = 0;
    for (int32_t k = 0; k < num;) {
        const int r = engine_step(world.engine);
        ck_assert_int_ge(r, 0);
        idle = seat_take(&world.seat) > 0 || r > 0 ? 0 : idle + 1;
        ck_assert_int_lt(idle, MAX_IDLE);
        while (k < num && seat_is_finished(&world.seat, (uint64_t)(FIRST_OTHER + k)))
            k++;
    }
}

/* The requests' prompts, or as much as begins like them, are computed before they come. */
static void fill_prefixes(const struct law1_case *c)
{
    struct world_asked a;
    if (c->start < LAW1_PARTIAL)
        return;
    for (int32_t k = 0; k < c->num; k++) {
        ask(c, (unsigned)((c->first + k) % LAW1_NUM_REQUESTS), &a);
        const uint32_t at = a.submit.num_prompt / 2;
        if (c->start == LAW1_PARTIAL)
            a.prompt[at] = (a.prompt[at] + 1) % (world.vocab_size - 24);
        a.params.max_tokens = a.params.num_choices = a.submit.num_choices = 1;
        a.params.min_tokens = 0;
        a.params.num_logprobs = a.params.num_prompt_logprobs = -1;
        a.params.seed_low = 0;
        seat_submit(&world.seat, (uint64_t)(FIRST_OTHER + k), &a.submit);
    }
    run_others(c->num);
}

/* Whoever has seen the prompt before finds all its whole blocks but the last token's. */
static void assert_found(const struct law1_case *c)
{
    const bool is_plain = c->pest == LAW1_NO_PEST && c->num_restarts == 0;
    struct world_asked a;
    for (int32_t k = 0; k < c->num && is_plain; k++) {
        const int32_t i = (c->first + k) % LAW1_NUM_REQUESTS;
        ask(c, (unsigned)i, &a);
        const uint32_t num = a.submit.num_prompt, cached = world.seat.answers[i].cached_tokens;
        const bool is_scored = a.params.num_prompt_logprobs >= 0;
        if (c->start == LAW1_OFF || is_scored)
            ck_assert_uint_eq(cached, 0);
        else if (c->start == LAW1_WHOLE)
            ck_assert_uint_eq(cached, (num - 1) / BLOCK * BLOCK);
        else if (c->start == LAW1_PARTIAL)
            ck_assert_uint_eq(cached, num / 2 / BLOCK * BLOCK);
    }
}

/* --- pests -------------------------------------------------------------------------------- */

static void submit_pest(int32_t nth, int32_t num_tokens)
{
    struct world_asked a;
    run.num_sent++; /* each is another, and finds nothing */
    world_ask(&a, 2);
    for (int32_t t = 0; t < num_tokens; t++)
        a.prompt[t] = (int32_t)(world_mix(500000 + 1000 * run.num_sent + (unsigned)t) %
                                (unsigned)(world.vocab_size - 24));
    a.submit.num_prompt = (uint32_t)num_tokens;
    a.submit.num_biases = 0;
    a.params = (struct record_params){ .max_tokens = 1,
                                       .num_choices = 1,
                                       .top_p = 1,
                                       .typical_p = 1,
                                       .repetition_penalty = 1,
                                       .num_logprobs = -1,
                                       .num_prompt_logprobs = -1,
                                       .cache_low = 5 };
    seat_submit(&world.seat, (uint64_t)(FIRST_OTHER + nth), &a.submit);
}

/* The longest that takes at most `num` blocks when it starts. */
static int32_t longest_in(int64_t num, int64_t *ret_taken)
{
    const struct scheduler_limits *limits = &world.limits;
    const int32_t chunk = kv_fitting_chunk(&limits->kv, limits->num_blocks,
                                           limits->max_num_batched_tokens, limits->max_model_len);
    int32_t pages = WORLD_MAX_LEN / BLOCK;
    while (pages > 0 && kv_most_blocks(&limits->kv, chunk, pages * BLOCK - 1) > num)
        pages--;
    *ret_taken = kv_most_blocks(&limits->kv, chunk, pages * BLOCK - 1);
    return pages * BLOCK - 1;
}

/* So many that nobody else can run. */
static void submit_pests(void)
{
    const bool is_tiny = run.c->pest == LAW1_TINY_POOL;
    int64_t left = world.limits.num_blocks, taken = 0;
    int32_t num = 0;
    while (is_tiny ? left >= world.limits.kv.num_parts : num < run.c->num_seqs) {
        ck_assert_int_lt(num, MAX_PESTS);
        submit_pest(num, is_tiny ? longest_in(left, &taken) : 1 + num % 3);
        left -= taken;
        num++;
    }
    run.num_pests = num;
}

static bool are_pests_gone(void)
{
    for (int32_t k = 0; k < run.num_pests; k++)
        if (!seat_is_finished(&world.seat, (uint64_t)(FIRST_OTHER + k)))
            return false;
    run.num_pests = 0;
    return true;
}

/* A token since the last pests went: the choice runs, unless it is at its end. */
static bool has_run(int32_t i, int32_t c)
{
    const struct seat_choice *choice = &world.seat.answers[i].choices[c];
    return run.is_open[i] && !choice->is_done && choice->num_tokens > run.last_seen[i][c] &&
           choice->num_tokens > choice->num_before;
}

static bool wants_pests(void)
{
    for (int32_t k = 0; k < run.num_submitted; k++)
        for (int32_t c = 0; c < LAW1_MAX_CHOICES; c++)
            if (has_run(request_of(k), c) && run.credits[request_of(k)][c] < LAW1_NUM_PREEMPTIONS)
                return true;
    return false;
}

/* Who ran, and has not ended now that pests have come and gone, has lost its place to them. */
static void give_credits(void)
{
    for (int32_t k = 0; k < run.num_submitted; k++)
        for (int32_t c = 0; c < LAW1_MAX_CHOICES; c++)
            if (has_run(request_of(k), c)) {
                const int32_t i = request_of(k);
                run.last_seen[i][c] = world.seat.answers[i].choices[c].num_tokens;
                run.credits[i][c]++;
            }
}

static void pester(void)
{
    if (run.c->pest == LAW1_NO_PEST || !are_pests_gone())
        return;
    if (run.are_pests_out) /* gone since the last look */
        give_credits();
    run.are_pests_out = wants_pests();
    if (run.are_pests_out)
        submit_pests();
}

/* Whom pests leave first runs for three tokens at a time: beside the last of them, and in the two
 * steps that are planned when the next ones come. A restart may take the place of a preemption, and
 * those who come back while pests with windows, which give back blocks, are still at it run for
 * longer. */
static int32_t least_preemptions(const struct law1_case *c, int32_t num_tokens)
{
    const struct kv_groups kv = world_kv(law1_models[c->model].dir);
    const int32_t room = (num_tokens - 1) / 3;
    int32_t num = (room < LAW1_NUM_PREEMPTIONS ? room : LAW1_NUM_PREEMPTIONS) - c->num_restarts;
    for (int32_t g = 0; g < kv.num_groups; g++)
        if (kv.groups[g].window > 0 && num > LAW1_NUM_PREEMPTIONS - 2)
            num = LAW1_NUM_PREEMPTIONS - 2;
    return num;
}

static void assert_preempted(const struct law1_case *c)
{
    uint64_t num = 0;
    struct world_asked a;
    for (int32_t k = 0; k < c->num && c->pest != LAW1_NO_PEST; k++) {
        const int32_t i = (c->first + k) % LAW1_NUM_REQUESTS;
        ask(c, (unsigned)i, &a);
        for (uint32_t n = 0; n < a.params.num_choices; n++) {
            const int32_t least = least_preemptions(c, run.answers[i].choices[n].num_tokens);
            ck_assert_msg(run.credits[i][n] >= least,
                          "request %d choice %u was preempted %d times only, with %s", i, n,
                          run.credits[i][n], law1_describe(c));
            num += (uint64_t)least;
        }
    }
    ck_assert_uint_ge(run.num_preempted, num);
}

/* --- a batch ------------------------------------------------------------------------------ */

static bool take_all(void)
{
    bool any_open = run.num_submitted < run.num;
    for (int32_t k = 0; k < run.num_submitted; k++) {
        const int32_t i = request_of(k);
        if (run.is_open[i] && seat_is_finished(&world.seat, (uint64_t)i))
            harvest(i);
        any_open |= run.is_open[i];
    }
    return any_open;
}

static void submit_some(void)
{
    while (run.num_submitted < run.num) {
        submit(request_of(run.num_submitted++));
        if (run.c->is_staggered && chance_below(&run.chance, 3) > 0)
            return;
    }
}

static void run_batch(int32_t first, int32_t num)
{
    int idle = 0;
    int32_t restarts = run.c->num_restarts;
    uint32_t until = 1 + chance_below(&run.chance, 25);
    run.first = first;
    run.num = num;
    run.num_submitted = 0;
    do {
        submit_some();
        const int r = engine_step(world.engine);
        ck_assert_int_ge(r, 0);
        if (!run.c->is_read_slowly || chance_below(&run.chance, 4) == 0)
            idle = seat_take(&world.seat) > 0 || r > 0 ? 0 : idle + 1;
        ck_assert_msg(idle < MAX_IDLE, "%s stands still: %s", law1_models[run.c->model].dir,
                      law1_describe(run.c));
        pester();
        if (restarts > 0 && --until == 0) {
            restart();
            restarts--;
            until = 1 + chance_below(&run.chance, 25);
        }
    } while (take_all());
}

void law1_answer(const struct law1_case *c, struct law1_answer *ret_answers)
{
    memset(&run, 0, sizeof(run));
    memset(ret_answers, 0, LAW1_NUM_REQUESTS * sizeof(*ret_answers));
    run.c = c;
    run.answers = ret_answers;
    run.chance = c->seed;
    open_engine(c);
    fill_prefixes(c);
    for (int32_t at = 0; at < c->num; at += c->batch)
        run_batch(c->first + at, c->num - at < c->batch ? c->num - at : c->batch);
    assert_found(c);
    while (run.num_pests > 0 && !are_pests_gone())
        run_others(run.num_pests);
    ck_assert(engine_is_empty(world.engine));
    close_engine();
    assert_preempted(c);
}
