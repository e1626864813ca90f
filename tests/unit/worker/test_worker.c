/* The role as a process of its own, with this test as its supervisor and its frontend. */
#include <string.h>
#include <unistd.h>

#include "shm/channel.h"
#include "shm/doorbell.h"
#include "tests/unit/runner.h"
#include "worker_rig.h"

START_TEST(it_loads_tells_its_facts_answers_and_stops)
{
    char text[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES], value[64];
    int64_t number;
    spawn(ringlet);
    await_ready();

    ck_assert_uint_eq(atomic_load((_Atomic uint64_t *)&page()->state), STATUS_READY);
    ck_assert(status_get_texts(page(), text, words));
    ck_assert(status_fact_int(text, "max_model_len", &number) && number == 2048);
    ck_assert(status_fact_int(text, "vocab_size", &number) && number == 1024);
    /* 4 layers, K and V, 4 heads, 16 positions, 32 dimensions, 2 bytes */
    ck_assert(status_fact_int(text, "num_blocks", &number) &&
              number == (8 << 20) / (4 * 2 * 4 * 16 * 32 * 2));
    ck_assert(status_fact_int(text, "threads", &number) && number == 2);
    ck_assert(status_fact_int(text, "max_num_queued_reqs", &number) && number == 4 * 256);
    ck_assert(status_fact_int(text, "max_num_batched_tokens", &number) && number >= 64);
    ck_assert(status_fact_text(text, "kv_dtype", value, sizeof(value)));
    ck_assert_str_eq(value, "f16");
    ck_assert(status_fact_text(text, "backend", value, sizeof(value)));
    ck_assert_str_eq(value, "cpu");
    ck_assert(status_fact_text(text, "identity", value, sizeof(value)));
    ck_assert_uint_eq(strspn(value, "0123456789abcdef"), 16);
    ck_assert_uint_gt(atomic_load((_Atomic uint64_t *)&page()->load_done_bytes), 4000000);

    join();
    push_submit(11, 3);
    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);
    ck_assert_int_eq(next_cell().kind, RECORD_STARTED);
    for (uint32_t pos = 1; pos <= 3; pos++) {
        const struct ring_cell cell = next_cell();
        ck_assert_int_eq(cell.kind, RECORD_TOKENS);
        ck_assert_uint_eq(cell.pos, pos);
    }
    ck_assert_int_eq(next_cell().kind, RECORD_DONE);
    ck_assert_uint_ge(atomic_load((_Atomic uint64_t *)&page()->step), 3);

    tell(CONTROL_STOP);
    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_ends_when_the_supervisor_is_gone)
{
    spawn(ringlet);
    await_ready();

    close(child.control);

    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_stops_while_it_loads)
{
    spawn(ringlet);
    tell(CONTROL_STOP);
    ck_assert_int_eq(exit_code(), EXIT_CODE_OK);
}
END_TEST

START_TEST(it_drops_a_frontend_that_is_down_and_takes_the_next)
{
    spawn(ringlet);
    await_ready();
    join();
    push_submit(11, 2000);
    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);

    const struct control_message down = { .kind = CONTROL_FRONTEND_DOWN, .peer = 2 };
    ck_assert_int_eq(channel_send(child.control, &down, sizeof(down), NULL, 0), 0);
    ring_end_finish(&child.end);
    join();
    push_submit(11, 1);

    ck_assert_int_eq(next_cell().kind, RECORD_ACCEPTED);
    ck_assert_int_eq(next_cell().kind, RECORD_STARTED);
    ck_assert_int_eq(next_cell().kind, RECORD_TOKENS);
    ck_assert_int_eq(next_cell().kind, RECORD_DONE);
}
END_TEST

START_TEST(it_reports_a_frontend_that_breaks_a_rule)
{
    const struct ring_cell wrong = { .kind = 99, .id = 1 };
    spawn(ringlet);
    await_ready();
    join();
    ck_assert_int_eq(ring_push(&child.end, &wrong, NULL, 0), 0);
    if (ring_publish(&child.end))
        doorbell_ring(child.worker_doorbell);

    const struct control_message report = next_message();

    ck_assert_int_eq(report.kind, CONTROL_REPORT);
    ck_assert_int_eq(report.peer_role, CONTROL_ROLE_FRONTEND);
    ck_assert_uint_eq(report.peer, 2);
    ck_assert_ptr_nonnull(strstr(report.text, "99"));
}
END_TEST

static const struct {
    const char *options[8];
    int exit_code;
    const char *word;
} failures[] = {
    { { "--model", "/nowhere", NULL }, EXIT_CODE_MODEL, "/nowhere" },
    { { "--model", RINGLET, "--max-model-len", "4096", NULL }, EXIT_CODE_USAGE, "max_model_len" },
    { { "--model", RINGLET, "--kv-cache-memory", "1M", NULL },
      EXIT_CODE_MEMORY,
      "--kv-cache-memory" },
    { { "--model", RINGLET, "--kv-cache-memory", "900000G", NULL }, EXIT_CODE_MEMORY, "free" },
};

START_TEST(a_failed_start_is_told_in_a_sentence_and_an_exit_code)
{
    spawn(failures[_i].options);

    const struct control_message message = next_message();

    ck_assert_int_eq(message.kind, CONTROL_FAILED);
    ck_assert_int_eq(message.exit_code, failures[_i].exit_code);
    ck_assert_msg(strstr(message.text, failures[_i].word) != NULL, "%s", message.text);
    ck_assert_int_eq(exit_code(), failures[_i].exit_code);
}
END_TEST

RUN_ROWS("worker", NULL, forget, 120, ONCE(it_loads_tells_its_facts_answers_and_stops),
         ONCE(it_ends_when_the_supervisor_is_gone), ONCE(it_stops_while_it_loads),
         ONCE(it_drops_a_frontend_that_is_down_and_takes_the_next),
         ONCE(it_reports_a_frontend_that_breaks_a_rule),
         TIMES(a_failed_start_is_told_in_a_sentence_and_an_exit_code,
               sizeof(failures) / sizeof(failures[0])))
