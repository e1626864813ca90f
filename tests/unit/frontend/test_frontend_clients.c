/* Clients that leave, are slow, or say nothing; and the end of the server. */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frontend_rig.h"
#include "proto/records/stats.h"
#include "shm/doorbell.h"

static void setup_impatient(void)
{
    begin((const char *const[]){ "--slow-client-timeout=1", "--sse-keep-alive-interval=1",
                                 "--body-timeout=1", "--keep-alive-timeout=2", "--log-level=error",
                                 NULL });
    http_rig_engine_up(&rig);
}

/* --- clients that leave ------------------------------------------------------------------- */

START_TEST(close_before_the_first_token_cancels)
{
    static const char *const bodies[] = { STREAMED, FOLDED };
    wait_ready();
    for (size_t i = 0; i < 2; i++) {
        const int fd = start_chat(bodies[i]);
        const uint64_t id = http_rig_take_submit(&rig);
        close(fd);
        http_rig_expect_cancel(&rig, id);
    }
    http_rig_wait_stat(&rig, STAT_DISCONNECTS_QUEUED, 2);
    http_rig_wait_stat(&rig, STAT_INFLIGHT, 0);
}
END_TEST

START_TEST(reset_before_the_first_token_cancels)
{
    const struct linger hard = { .l_onoff = 1 };
    const struct chat chat = begin_chat(STREAMED);
    accept_chat(&chat);
    setsockopt(chat.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(chat.fd);
    http_rig_expect_cancel(&rig, chat.id);
}
END_TEST

START_TEST(half_close_counts_as_gone)
{
    const struct chat chat = begin_chat(FOLDED);
    shutdown(chat.fd, SHUT_WR);
    http_rig_expect_cancel(&rig, chat.id);
    strbuf_reset(&in);
    read_chat(&chat, NULL); /* nothing but the end */
    ck_assert_int_eq((int)in.len, 0);
    close(chat.fd);
}
END_TEST

START_TEST(close_in_the_middle_of_a_stream_cancels)
{
    const struct chat chat = begin_stream("Paris");
    close(chat.fd);
    http_rig_expect_cancel(&rig, chat.id);
    http_rig_wait_stat(&rig, STAT_DISCONNECTS_DECODE, 1);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 200);
}
END_TEST

START_TEST(close_with_a_pipelined_request_behind_cancels)
{
    const struct chat chat = begin_chat(STREAMED);
    http_rig_send(chat.fd, "GET /version HTTP/1.1\r\nhost: x\r\n\r\n", 34);
    close(chat.fd);
    http_rig_expect_cancel(&rig, chat.id);
}
END_TEST

START_TEST(tokens_of_a_cancelled_request_are_dropped)
{
    struct chat chat = begin_chat(STREAMED);
    close(chat.fd);
    http_rig_expect_cancel(&rig, chat.id);
    accept_chat(&chat);
    say_chat(&chat, "too late");
    end_chat(&chat);
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 200);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
    static const char two[] = "GET /version HTTP/1.1\r\nhost: x\r\n\r\n"
                              "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    const int fd = http_rig_connect(&rig);
    http_rig_send(fd, two, sizeof(two) - 1);
    http_rig_read_until(fd, &in, NULL);
    const char *version = strstr(in.data, "\"version\":"), *live = strstr(in.data, "\"status\":");
    ck_assert(version != NULL && live != NULL && version < live);
    close(fd);
}
END_TEST

/* --- slow clients ------------------------------------------------------------------------- */

START_TEST(silent_stream_gets_comments)
{
    const struct chat chat = begin_chat(STREAMED);
    accept_chat(&chat);
    read_chat(&chat, ": keep-alive\n\n");
    ck_assert(http_rig_stat(&rig, STAT_KEEPALIVES) >= 1);
    close(chat.fd);
}
END_TEST

START_TEST(client_that_never_reads_is_cut)
{
    const int small = 4096;
    uint32_t pos = 0;
    struct ring_cell cell;
    wait_ready();
    const int fd = http_rig_connect(&rig);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    http_rig_post(fd, "/v1/completions",
                  "{\"prompt\":\"x\",\"stream\":true,\"max_tokens\":2000,\"n\":60}");
    const uint64_t id = http_rig_take_submit(&rig);
    http_rig_accept(&rig, id);
    for (uint32_t i = 0; i < 60; i++) /* far more than the sockets take */
        for (pos = 0; pos < 1000; pos++) {
            cell = (struct ring_cell){
                .kind = RECORD_TOKENS, .choice = (uint8_t)i, .id = id, .pos = pos + 1, .count = 1
            };
            cell.tokens[0] = 70;
            while (ring_push(&rig.engine, &cell, NULL, 0) != 0)
                usleep(200);
            (void)ring_publish(&rig.engine);
            if (pos % 16 == 0)
                doorbell_ring(rig.doorbell);
        }
    http_rig_expect_cancel(&rig, id);
    http_rig_wait_stat(&rig, STAT_CONNECTIONS_KICKED, 1);
    close(fd);
}
END_TEST

START_TEST(body_that_never_comes_whole_is_cut)
{
    static const char head[] = "POST " CHAT " HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    const int fd = http_rig_connect(&rig);
    http_rig_send(fd, head, sizeof(head) - 1);
    http_rig_read_until(fd, &in, NULL);
    close(fd);
}
END_TEST

START_TEST(idle_connection_is_closed)
{
    const int fd = http_rig_connect(&rig);
    http_rig_read_until(fd, &in, NULL);
    ck_assert_int_eq((int)in.len, 0);
    close(fd);
}
END_TEST

/* --- the end ------------------------------------------------------------------------------ */

START_TEST(drain_refuses_new_work_and_finishes_old)
{
    wait_ready();
    strbuf_reset(&in);
    const int idle = http_rig_connect(&rig);
    http_rig_send(idle, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", 32);
    http_rig_read_until(idle, &in, "\"status\"");
    struct chat chat = begin_chat(STREAMED);
    accept_chat(&chat);
    read_chat(&chat, ": ok");
    http_rig_tell(&rig, CONTROL_DRAIN);
    http_rig_read_until(idle, &in, NULL); /* an idle connection is closed at once */
    strbuf_reset(&in);
    ck_assert_int_eq(ask("POST " CHAT " HTTP/1.1\r\n", FOLDED), 503);
    expect_error("draining");
    ck_assert_int_eq(ask("GET /readyz HTTP/1.1\r\n", NULL), 503);
    ck_assert_int_eq(ask("GET /livez HTTP/1.1\r\n", NULL), 200);
    strbuf_reset(&in);
    say_chat(&chat, "Paris");
    end_chat(&chat);
    read_chat(&chat, "data: [DONE]\n\n");
    http_rig_expect(&rig, CONTROL_DRAINED);
    http_rig_tell(&rig, CONTROL_STOP);
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
    close(chat.fd);
    close(idle);
}
END_TEST

START_TEST(stop_ends_every_stream_in_words)
{
    const struct chat chat = begin_chat(STREAMED);
    accept_chat(&chat);
    read_chat(&chat, ": ok");
    http_rig_tell(&rig, CONTROL_STOP);
    read_chat(&chat, "data: [DONE]\n\n");
    ck_assert(holds("\"code\":\"draining\""));
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
    close(chat.fd);
}
END_TEST

START_TEST(frontend_ends_with_its_supervisor)
{
    wait_ready();
    shutdown(rig.control, SHUT_RDWR);
    ck_assert_int_eq(http_rig_wait_exit(&rig), 0);
}
END_TEST

int main(void)
{
    const struct frontend_case cases[] = {
        { "pipelining", setup_loading,
          (const TTest *const[]){ pipelined_requests_are_answered_in_order, NULL } },
        { "leaving", setup,
          (const TTest *const[]){ close_before_the_first_token_cancels,
                                  reset_before_the_first_token_cancels, half_close_counts_as_gone,
                                  close_in_the_middle_of_a_stream_cancels,
                                  close_with_a_pipelined_request_behind_cancels,
                                  tokens_of_a_cancelled_request_are_dropped, NULL } },
        { "slow", setup_impatient,
          (const TTest *const[]){ silent_stream_gets_comments, client_that_never_reads_is_cut,
                                  body_that_never_comes_whole_is_cut, idle_connection_is_closed,
                                  NULL } },
        { "end", setup,
          (const TTest *const[]){ drain_refuses_new_work_and_finishes_old,
                                  stop_ends_every_stream_in_words,
                                  frontend_ends_with_its_supervisor, NULL } },
    };
    return run_cases("frontend_clients", cases, sizeof(cases) / sizeof(cases[0]));
}
