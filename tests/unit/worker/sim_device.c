#include "sim_device.h"

#include <string.h>

uint64_t sim_device_hash(uint64_t before, int32_t token)
{
    const uint64_t h = (before ^ (uint64_t)(token + 1)) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

int32_t sim_device_token(uint64_t hash, int32_t choice)
{
    return (int32_t)((hash + 31 * (uint64_t)choice) % SIM_VOCAB);
}

static const int32_t *find_drawn(const struct sim_list *list, const struct sequence *sequence)
{
    for (int32_t i = 0; i < list->plan->num_rows; i++)
        if (list->rows[i].row.sequence == sequence)
            return &list->drawn[i];
    ck_abort_msg("a token is missing that no step draws");
}

/* The blocks that the row reads and writes, as a batch has them. */
static void tell_blocks(struct sim_row *told, int32_t g)
{
    const struct kv_groups *kv = &sim.s.limits.kv;
    const struct plan_row *row = &told->row;
    const struct block_table *table = &row->sequence->tables[g];
    const int32_t end = kv_pages(kv, row->first_pos + row->num_tokens);
    const int32_t first = kv_first_page(kv, g, row->first_pos);
    MUST(first >= table->first && end <= table->num);
    for (int32_t part = 0; part < kv->groups[g].num_parts; part++) {
        int32_t *blocks = told->blocks[kv->groups[g].first_part + part];
        memset(blocks, -1, sizeof(told->blocks[0]));
        memcpy(blocks + first, block_table_ids(table, part) + first,
               (size_t)(end - first) * sizeof(*blocks));
    }
}

/* What the device is told of a plan. The list before may be in the air. */
static void launch(const struct plan *plan)
{
    const struct sim_list *before = &sim.lists[sim.newest];
    struct sim_list *list = &sim.lists[sim.newest = !sim.newest];
    MUST(!list->is_in_air);
    list->plan = plan;
    list->is_in_air = true;
    list->has_run = false;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        const struct plan_row *row = &plan->rows[i];
        const struct sequence *q = row->sequence;
        const int32_t end = row->first_pos + row->num_tokens;
        struct sim_row *told = &list->rows[i];
        *told = (struct sim_row){ .row = *row, .num_known = q->num_tokens, .choice = q->choice };
        for (int32_t g = 0; g < sim.s.limits.kv.num_groups; g++)
            tell_blocks(told, g);
        MUST(end <= q->num_tokens + 1);
        if (end > q->num_tokens) {
            told->last_token = find_drawn(before, q);
            MUST(before->is_in_air);
            sim.num_ahead++;
        }
    }
}

static int32_t token_at(const struct sim_row *row, int32_t pos)
{
    return pos < row->num_known ? row->row.sequence->tokens[pos] : *row->last_token;
}

/* Write the position's hash, or read it if some row sees it. */
static void compute_position(const struct sim_row *told, int32_t g, int32_t pos, uint64_t hash)
{
    const struct kv_group *group = &sim.s.limits.kv.groups[g];
    if (group->window > 0 && pos <= told->row.first_pos - group->window)
        return;
    for (int32_t part = group->first_part; part < group->first_part + group->num_parts; part++) {
        const int32_t block = told->blocks[part][pos / SIM_BLOCK];
        MUST(block >= 0);
        uint64_t *place = &sim.kv[block][pos % SIM_BLOCK];
        if (pos >= told->row.first_pos)
            *place = hash + (uint64_t)part;
        MUST(*place == hash + (uint64_t)part);
    }
}

static int32_t compute_row(const struct sim_row *told)
{
    const struct plan_row *row = &told->row;
    uint64_t hash = 0;
    for (int32_t pos = 0; pos < row->first_pos + row->num_tokens; pos++) {
        hash = sim_device_hash(hash, token_at(told, pos));
        for (int32_t g = 0; g < sim.s.limits.kv.num_groups; g++)
            compute_position(told, g, pos, hash);
    }
    return sim_device_token(hash, told->choice);
}

void sim_device_run(struct sim_list *list)
{
    const struct plan_copies *copies = &list->plan->copies;
    if (list->has_run)
        return;
    for (int32_t i = copies->num - 1; i >= 0; i--) /* a device promises no order */
        memcpy(sim.kv[copies->to[i]], sim.kv[copies->from[i]], sizeof(sim.kv[0]));
    for (int32_t i = 0; i < list->plan->num_rows; i++)
        list->drawn[i] = compute_row(&list->rows[i]);
    list->has_run = true;
}

static void finish_row(const struct sim_row *told, int32_t drawn)
{
    const struct plan_row *row = &told->row;
    struct sequence *q = row->sequence;
    if (sim.fails > 0 && sim_draw(sim.fails) == 0) {
        sim_drop(row->request);
        return;
    }
    if (row->num_scores > 0) {
        ck_assert_int_eq(row->first_score, q->request->next_score);
        q->num_scores += row->num_scores;
        q->request->next_score += row->num_scores;
        ck_assert_int_le(q->num_scores, SEQUENCE_WINDOW);
    }
    if (row->samples)
        sequence_append(q, drawn);
    else if (q->request->params.max_tokens == 0 &&
             row->first_pos + row->num_tokens == q->num_tokens)
        q->finish = RECORD_FINISH_LENGTH;
    scheduler_filled(&sim.s, q, row->first_pos + row->num_tokens);
    if (q->finish != 0)
        scheduler_finish(&sim.s, q);
}

static void take_results(struct sim_list *list)
{
    const struct plan *plan = list->plan;
    list->is_in_air = false;
    for (int32_t i = 0; i < plan->num_rows; i++) {
        if (scheduler_end_row(&sim.s, &list->rows[i].row))
            finish_row(&list->rows[i], list->drawn[i]);
        else
            sim.num_wasted++;
    }
    sim.num_preempted += plan->num_preempted;
    sim.num_copied += plan->copies.num;
    sim.num_hit += plan->num_hit;
}

void sim_execute(const struct plan *plan)
{
    launch(plan);
    sim_device_run(&sim.lists[sim.newest]);
    take_results(&sim.lists[sim.newest]);
}

/* The one in the air, if there is one, has run at the latest before the next does. */
void sim_device_follow(const struct plan *plan)
{
    struct sim_list *before = &sim.lists[sim.newest];
    launch(plan);
    if (before->is_in_air)
        sim_device_run(before);
    if (sim_draw(2) == 0)
        sim_device_run(&sim.lists[sim.newest]);
    if (before->is_in_air)
        take_results(before);
}

void sim_device_land(void)
{
    struct sim_list *list = &sim.lists[sim.newest];
    if (!list->is_in_air)
        return;
    sim_device_run(list);
    take_results(list);
}
