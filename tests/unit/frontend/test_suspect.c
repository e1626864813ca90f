#include <errno.h>

#include "base/clock.h"
#include "frontend/session/suspect.h"
#include "session_fixture.h"

static uint32_t bulk[4096];

/* The engine takes a SUBMIT: its id, and whether it is marked as a suspect. */
static uint64_t take(bool *ret_is_suspect)
{
    static const struct record_bounds bounds = { RIG_VOCAB, 1024 };
    struct record_submit told;
    struct ring_cell cell;
    struct error err = { 0 };
    ck_assert_int_eq(rig_take(&rig, &cell, bulk, sizeof(bulk)), RECORD_SUBMIT);
    ck_assert_msg(record_submit_decode(bulk, cell.bulk_len, &bounds, &told, &err) == 0, "%s",
                  err.message);
    *ret_is_suspect = (told.params->flags & RECORD_SUSPECT) != 0;
    return cell.id;
}

static void crash(const uint64_t *ids, uint32_t num_ids)
{
    rig_engine_crash(&rig, 0, ids, num_ids);
    rig_engine_up(&rig, 0, 64, 1 << 16);
}

static int submit_again(struct error *err)
{
    struct session_request *request = NULL;
    return session_submit(rig.session, &ask.submit, &request, err);
}

/* Two requests, the second of which is in every step that ends an engine. */
static void make_suspects(uint64_t ids[2])
{
    bool is_suspect;
    for (int i = 0; i < 2; i++) {
        ask.params.top_k = i; /* or they were alike */
        rig_submit(&rig, &ask);
        ids[i] = take(&is_suspect);
        ck_assert(!is_suspect);
    }
    for (int death = 1; death <= 2; death++) {
        crash(ids, 2);
        for (int i = 0; i < 2; i++) {
            ck_assert_uint_eq(take(&is_suspect), ids[i]);
            ck_assert(is_suspect == (death == 2));
        }
    }
}

START_TEST(who_took_part_in_two_deaths_is_marked_and_the_third_alone_convicts)
{
    uint64_t ids[2];
    bool is_suspect;
    uint8_t digest[32];
    struct error err;
    make_suspects(ids);
    ck_assert(!session_take_conviction(rig.session, digest));
    crash(&ids[1], 1);
    ck_assert_str_eq(rig_events(&rig), "failed worker_failed\nflush\n");
    ck_assert_uint_eq(take(&is_suspect), ids[0]); /* the innocent one goes on */
    ck_assert_uint_eq(session_num_requests(rig.session), 1);
    ck_assert(session_take_conviction(rig.session, digest));
    ck_assert(!session_take_conviction(rig.session, digest));

    ask.params.seed_low = 99; /* a retry */
    ck_assert_int_eq(submit_again(&err), -EPERM);
    ask.params.top_k = 0;
    ck_assert_int_eq(submit_again(&err), 0);
}
END_TEST

START_TEST(company_in_the_third_death_convicts_nobody)
{
    uint64_t ids[2];
    make_suspects(ids);
    crash(ids, 2);
    ck_assert_str_eq(rig_events(&rig), "");
    ck_assert_uint_eq(session_num_requests(rig.session), 2);
}
END_TEST

/* The younger of two steps that a device had is only named, or was sent as well. */
static void crash_behind(uint64_t older, uint64_t younger, uint64_t sent)
{
    struct status_page *page = rig.engine_page[0];
    status_step_open(page, 2);
    status_step_add(page, 2, younger, RIG_GENERATION);
    status_step_add(page, 2, older, RIG_GENERATION);
    status_step_close(page, 2);
    page->step_sent = sent;
    crash(&older, 1);
}

START_TEST(the_step_behind_the_one_that_ran_is_blamed_if_it_was_sent)
{
    for (uint64_t sent = 1; sent <= 2; sent++) {
        uint64_t ids[2];
        bool is_suspect;
        for (int i = 0; i < 2; i++) {
            rig_submit(&rig, &ask);
            ids[i] = take(&is_suspect);
        }
        for (int death = 1; death <= 2; death++) {
            crash_behind(ids[0], ids[1], sent);
            for (uint64_t left = session_num_requests(rig.session); left > 0; left--) {
                const uint64_t id = take(&is_suspect);
                if (id == ids[0])
                    ck_assert(is_suspect == (death == 2)); /* once for each death */
                if (id == ids[1])
                    ck_assert(is_suspect == (death == 2 && sent == 2));
            }
        }
    }
}
END_TEST

START_TEST(a_kill_from_outside_blames_nobody)
{
    bool is_suspect;
    rig_submit(&rig, &ask);
    const uint64_t id = take(&is_suspect);
    for (int i = 0; i < 10; i++) {
        status_step_open(rig.engine_page[0], 1);
        status_step_add(rig.engine_page[0], 1, id, RIG_GENERATION);
        status_step_close(rig.engine_page[0], 1);
        rig_engine_down(&rig, 0);
        rig_engine_up(&rig, 0, 64, 1 << 16);
        take(&is_suspect);
        ck_assert(!is_suspect);
    }
}
END_TEST

START_TEST(steps_of_others_and_steps_that_ended_blame_nobody)
{
    bool is_suspect;
    rig_submit(&rig, &ask);
    const uint64_t id = take(&is_suspect);
    for (int i = 0; i < 4; i++) {
        struct status_page *page = rig.engine_page[0];
        status_step_open(page, 1);
        status_step_add(page, 1, id, RIG_GENERATION + (i < 2)); /* of a frontend's predecessor */
        status_step_close(page, 1);
        page->step = i < 2 ? 0 : 1; /* finished */
        const uint64_t none[1] = { 0 };
        if (i < 2)
            session_engine_down(rig.session, 0, &(struct session_death){ .is_attributable = true },
                                NULL);
        else
            rig_engine_crash(&rig, 0, none, 0);
        if (i < 2)
            rig_engine_down(&rig, 0);
        rig_engine_up(&rig, 0, 64, 1 << 16);
        take(&is_suspect);
        ck_assert(!is_suspect);
    }
}
END_TEST

START_TEST(what_others_convicted_is_refused_for_ten_minutes)
{
    struct rig other;
    struct rig_ask same;
    uint64_t ids[2];
    uint8_t digest[32];
    struct session_request *request = NULL;
    struct error err;
    make_suspects(ids);
    crash(&ids[1], 1);
    ck_assert(session_take_conviction(rig.session, digest));

    rig_start(&other, 64, 1 << 16);
    rig_ask_init(&same, &other);
    same.params.top_k = 1;
    rig_submit(&other, &same);
    session_convict(other.session, digest, clock_now_us());
    ck_assert_int_eq(session_submit(other.session, &same.submit, &request, &err), -EPERM);
    rig_finish(&other);

    rig_start(&other, 64, 1 << 16);
    rig_ask_init(&same, &other);
    same.params.top_k = 1;
    session_convict(other.session, digest, clock_now_us() - 601 * 1000000ll);
    rig_submit(&other, &same);
    rig_finish(&other);
}
END_TEST

START_TEST(the_oldest_conviction_makes_room)
{
    struct suspect_list list = { 0 };
    for (uint32_t i = 0; i < SUSPECT_MAX_CONVICTED + 1; i++)
        suspect_refuse(&list, (uint8_t[32]){ (uint8_t)i }, 1);
    ck_assert_uint_eq(list.entries[0].digest[0], SUSPECT_MAX_CONVICTED);
    ck_assert_uint_eq(list.entries[1].digest[0], 1);
}
END_TEST

RUN_SUITE_AROUND("suspect", setup, teardown,
                 who_took_part_in_two_deaths_is_marked_and_the_third_alone_convicts,
                 company_in_the_third_death_convicts_nobody,
                 the_step_behind_the_one_that_ran_is_blamed_if_it_was_sent,
                 a_kill_from_outside_blames_nobody,
                 steps_of_others_and_steps_that_ended_blame_nobody,
                 what_others_convicted_is_refused_for_ten_minutes, the_oldest_conviction_makes_room)
