#include "shm/status.h"

#include <pthread.h>
#include <string.h>

#include "tests/unit/runner.h"

static struct status_page page;

START_TEST(facts_are_read_by_key)
{
    char text[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES], name[16];
    int64_t number = 0;
    status_set_texts(&page, "max_model_len=2048\nisa=avx512\nempty=\n", "it broke");
    ck_assert(status_get_texts(&page, text, words));
    ck_assert_str_eq(words, "it broke");
    ck_assert(status_fact_int(text, "max_model_len", &number));
    ck_assert_int_eq(number, 2048);
    ck_assert(!status_fact_int(text, "isa", &number));
    ck_assert(!status_fact_int(text, "max_model", &number));
    ck_assert(!status_fact_int(text, "empty", &number));
    ck_assert(status_fact_text(text, "isa", name, sizeof(name)));
    ck_assert_str_eq(name, "avx512");
    ck_assert(!status_fact_text(text, "isa", name, 3));
}
END_TEST

static void *write_texts(void *unused)
{
    (void)unused;
    char text[2][1000];
    for (int i = 0; i < 2; i++) {
        memset(text[i], 'a' + i, sizeof(text[i]) - 1);
        text[i][999] = '\0';
    }
    for (int i = 0; i < 200000; i++)
        status_set_texts(&page, text[i % 2], NULL);
    return NULL;
}

START_TEST(a_reader_beside_the_writer_never_sees_half_a_text)
{
    char text[STATUS_TEXT_BYTES], words[STATUS_ERROR_BYTES];
    pthread_t writer;
    status_set_texts(&page, "", "");
    ck_assert_int_eq(pthread_create(&writer, NULL, write_texts, NULL), 0);
    for (int i = 0; i < 100000; i++)
        if (status_get_texts(&page, text, words))
            ck_assert(text[0] == text[998] || text[0] == '\0');
    pthread_join(writer, NULL);
}
END_TEST

START_TEST(a_step_tells_its_requests_once_it_is_whole)
{
    ck_assert_ptr_null(status_find_step(&page, 0));
    ck_assert_ptr_null(status_find_step(&page, 7));
    for (uint64_t step = 7; step < 10; step++) {
        status_step_open(&page, step);
        status_step_add(&page, step, 100 + step, 5);
        status_step_add(&page, step, 200 + step, 6);
        ck_assert_ptr_null(status_find_step(&page, step));
        status_step_close(&page, step);
    }
    for (uint64_t step = 7; step < 10; step++) { /* three at a time */
        const struct status_step *found = status_find_step(&page, step);
        ck_assert_ptr_nonnull(found);
        ck_assert_uint_eq(found->num_requests, 2);
        ck_assert_uint_eq(found->requests[1].id, 200 + step);
        ck_assert_uint_eq(found->requests[1].generation, 6);
    }
    status_step_open(&page, 10);
    ck_assert_ptr_null(status_find_step(&page, 7));
    ck_assert_ptr_null(status_find_step(&page, 10));
    ck_assert_ptr_nonnull(status_find_step(&page, 9));
}
END_TEST

START_TEST(a_step_holds_no_more_requests_than_it_has_room_for)
{
    status_step_open(&page, 1);
    for (uint64_t i = 0; i < STATUS_STEP_REQUESTS + 10; i++)
        status_step_add(&page, 1, i, 1);
    status_step_close(&page, 1);
    ck_assert_uint_eq(status_find_step(&page, 1)->num_requests, STATUS_STEP_REQUESTS);
    page.steps[1].num_requests = STATUS_STEP_REQUESTS + 1;
    ck_assert_ptr_null(status_find_step(&page, 1));
}
END_TEST

RUN_SUITE("status", a_step_tells_its_requests_once_it_is_whole,
          a_step_holds_no_more_requests_than_it_has_room_for, facts_are_read_by_key,
          a_reader_beside_the_writer_never_sees_half_a_text)
