#include "worker/link.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"

enum { EPOCH = 1, GENERATION = 2 };

static const struct ring_geometry submit_ring = { 16, 4096 }, complete_ring = { 4, 1 << 16 };
static const struct record_bounds bounds = { .vocab_size = 100, .max_model_len = 64 };
static const int32_t prompt[3] = { 1, 2, 3 };

static struct ring_end frontend;
static struct link link_end;
static int bell;
static struct error err;

static struct control_message message_of(struct ring_geometry in, struct ring_geometry out)
{
    return (struct control_message){ .kind = CONTROL_FRONTEND_LINK,
                                     .epoch = EPOCH,
                                     .generation = GENERATION,
                                     .submit_cells = in.num_cells,
                                     .submit_bulk = in.bulk_bytes,
                                     .complete_cells = out.num_cells,
                                     .complete_bulk = out.bulk_bytes };
}

static void make(enum segment_kind kind, struct ring_geometry g, int fds[2])
{
    struct segment_header header = ring_segment_header(kind, g, EPOCH, GENERATION);
    ck_assert_int_eq(segment_create(&header, &fds[0], &fds[1], &err), 0);
}

static struct segment map(int fd, bool writable, enum segment_kind kind, struct ring_geometry g)
{
    const struct segment_header header = ring_segment_header(kind, g, EPOCH, GENERATION);
    struct segment segment;
    ck_assert_int_eq(segment_map(&segment, fd, writable, &header, &err), 0);
    return segment;
}

static int submit_fds[2], complete_fds[2];

static void setup(void)
{
    const struct control_message message = message_of(submit_ring, complete_ring);
    make(SEGMENT_SUBMIT, submit_ring, submit_fds);
    make(SEGMENT_COMPLETE, complete_ring, complete_fds);
    ck_assert_int_eq(doorbell_create(&bell), 0);
    ring_end_init(&frontend, map(submit_fds[0], true, SEGMENT_SUBMIT, submit_ring), submit_ring,
                  map(complete_fds[1], false, SEGMENT_COMPLETE, complete_ring), complete_ring,
                  EPOCH, GENERATION);
    const int fds[] = { submit_fds[1], complete_fds[0], bell };
    ck_assert_msg(link_open(&link_end, &message, fds, 3, &err) == 0, "%s", err.message);
}

static void teardown(void)
{
    link_close(&link_end);
    ring_end_finish(&frontend);
    for (int i = 0; i < 2; i++) {
        close(submit_fds[i]);
        close(complete_fds[i]);
    }
}

static void push(struct ring_cell cell, const void *bulk, size_t len)
{
    ck_assert_int_eq(ring_push(&frontend, &cell, bulk, (uint32_t)len), 0);
    ring_publish(&frontend);
}

static void push_submit(uint64_t id, const int32_t *ids)
{
    const struct record_params params = { .max_tokens = 5,
                                          .num_choices = 1,
                                          .top_p = 1,
                                          .typical_p = 1,
                                          .repetition_penalty = 1,
                                          .num_logprobs = -1,
                                          .num_prompt_logprobs = -1 };
    const struct record_submit submit = {
        .params = &params, .prompt = ids, .num_prompt = 3, .num_choices = 1
    };
    _Alignas(8) char bulk[512];
    record_submit_encode(&submit, bulk);
    push((struct ring_cell){ .kind = RECORD_SUBMIT, .id = id }, bulk, record_submit_bytes(&submit));
}

START_TEST(a_submit_and_a_cancel_are_taken_in_order)
{
    struct link_message message;
    push_submit(7, prompt);
    push((struct ring_cell){ .kind = RECORD_CANCEL, .id = 7 }, NULL, 0);

    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 1);
    ck_assert_int_eq(message.kind, RECORD_SUBMIT);
    ck_assert_uint_eq(message.id, 7);
    ck_assert_uint_eq(message.submit.num_prompt, 3);
    ck_assert_int_eq(message.submit.prompt[2], 3);
    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 1);
    ck_assert_int_eq(message.kind, RECORD_CANCEL);
    ck_assert_int_eq(message.choice, -1);
    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 0);
}
END_TEST

START_TEST(a_cancel_may_name_a_choice)
{
    struct link_message message;
    push(
        (struct ring_cell){
            .kind = RECORD_CANCEL, .flags = RECORD_FLAG_CHOICE, .choice = 2, .id = 7 },
        NULL, 0);

    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 1);
    ck_assert_int_eq(message.kind, RECORD_CANCEL);
    ck_assert_uint_eq(message.id, 7);
    ck_assert_int_eq(message.choice, 2);
}
END_TEST

START_TEST(nothing_is_taken_that_cannot_be_answered)
{
    struct link_message message;
    struct ring_cell cell;
    for (uint64_t id = 1; id <= 5; id++)
        push_submit(id, prompt);
    for (uint64_t id = 1; id <= 4; id++) {
        ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 1);
        link_push_accepted(&link_end, id, 0);
    }
    link_publish(&link_end);
    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 0);

    ck_assert_int_eq(ring_pop(&frontend, &cell, &err), 1);
    ck_assert_int_eq(cell.kind, RECORD_ACCEPTED);
    ring_release(&frontend);

    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), 1);
    ck_assert_uint_eq(message.id, 5);
}
END_TEST

static const struct {
    struct ring_cell cell;
    uint32_t len;
    const char *word;
} wrong[] = {
    { { .kind = RECORD_TOKENS, .id = 1 }, 0, "kind 18" },
    { { .kind = 0, .id = 1 }, 0, "kind 0" },
    { { .kind = RECORD_CANCEL, .flags = 1, .id = 1 }, 0, "flags 1" },
    { { .kind = RECORD_CANCEL, .id = 1 }, 8, "8 bytes" },
    { { .kind = RECORD_SUBMIT, .flags = RECORD_FLAG_CHOICE, .id = 1 }, 16, "flags 2" },
    { { .kind = RECORD_SUBMIT, .id = 1 }, 0, "SUBMIT" },
    { { .kind = RECORD_SUBMIT, .id = 1 }, 16, "SUBMIT" },
};

START_TEST(what_is_no_submit_and_no_cancel_ends_the_link)
{
    static const char zeros[16];
    struct link_message message;
    push(wrong[_i].cell, zeros, wrong[_i].len);
    push_submit(7, prompt);

    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), -EPROTO);
    ck_assert_msg(strstr(err.message, wrong[_i].word) != NULL, "%s", err.message);
    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), -EPROTO);
}
END_TEST

START_TEST(a_token_outside_the_vocabulary_ends_the_link)
{
    static const int32_t ids[3] = { 1, 100, 3 };
    struct link_message message;
    push_submit(7, ids);

    ck_assert_int_eq(link_take(&link_end, &bounds, &message, &err), -EPROTO);
    ck_assert_ptr_nonnull(strstr(err.message, "100"));
}
END_TEST

START_TEST(sizes_that_are_no_rings_are_refused)
{
    static const struct ring_geometry odd = { 15, 4096 }, small = { 16, 4096 }, none = { 0, 4096 };
    const struct control_message messages[] = { message_of(odd, complete_ring),
                                                message_of(none, complete_ring),
                                                message_of(submit_ring, small),
                                                message_of(submit_ring, submit_ring) };
    const int fds[] = { submit_fds[1], complete_fds[0], bell };
    for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        struct link link = { 0 };
        ck_assert_int_eq(link_open(&link, &messages[i], fds, 3, &err), -EPROTO);
        ck_assert(!link.is_up);
    }
}
END_TEST

START_TEST(segments_of_another_epoch_are_refused)
{
    struct control_message message = message_of(submit_ring, complete_ring);
    const int fds[] = { submit_fds[1], complete_fds[0], bell };
    struct link link = { 0 };
    message.epoch++;

    ck_assert_int_eq(link_open(&link, &message, fds, 3, &err), -EPROTO);
    ck_assert_int_eq(link_open(&link, &message, fds, 2, &err), -EPROTO);
    ck_assert(!link.is_up);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("link");
    TCase *tc = tcase_create("link");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_submit_and_a_cancel_are_taken_in_order);
    tcase_add_test(tc, a_cancel_may_name_a_choice);
    tcase_add_test(tc, nothing_is_taken_that_cannot_be_answered);
    tcase_add_loop_test(tc, what_is_no_submit_and_no_cancel_ends_the_link, 0,
                        (int)(sizeof(wrong) / sizeof(wrong[0])));
    tcase_add_test(tc, a_token_outside_the_vocabulary_ends_the_link);
    tcase_add_test(tc, sizes_that_are_no_rings_are_refused);
    tcase_add_test(tc, segments_of_another_epoch_are_refused);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
