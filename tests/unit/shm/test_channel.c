#include "shm/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shm/doorbell.h"
#include "tests/unit/runner.h"

START_TEST(messages_keep_their_borders_and_carry_descriptors)
{
    int ends[2], fds[CHANNEL_FDS_MAX], bell;
    size_t num_fds;
    char buffer[64];
    ck_assert_int_eq(channel_create(ends), 0);
    ck_assert_int_eq(doorbell_create(&bell), 0);
    ck_assert_int_eq(channel_send(ends[0], "one", 3, &bell, 1), 0);
    ck_assert_int_eq(channel_send(ends[0], "three", 5, NULL, 0), 0);

    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), 3);
    ck_assert_uint_eq(num_fds, 1);
    ck_assert(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
    doorbell_ring(fds[0]);
    uint64_t count;
    ck_assert_int_eq(read(bell, &count, 8), 8);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), 5);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), -EAGAIN);
    close(ends[0]);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), 0);
}
END_TEST

START_TEST(the_last_words_of_a_peer_that_read_nothing_arrive)
{
    int ends[2], fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    char buffer[64];
    ck_assert_int_eq(channel_create(ends), 0);
    ck_assert_int_eq(channel_send(ends[1], "unread", 6, NULL, 0), 0);
    ck_assert_int_eq(channel_send(ends[0], "last words", 10, NULL, 0), 0);
    close(ends[0]);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), 10);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), 0);
    close(ends[1]);
}
END_TEST

START_TEST(a_message_too_long_is_refused_and_its_descriptors_closed)
{
    int ends[2], fds[CHANNEL_FDS_MAX], bell;
    size_t num_fds;
    char buffer[8];
    ck_assert_int_eq(channel_create(ends), 0);
    ck_assert_int_eq(doorbell_create(&bell), 0);
    ck_assert_int_eq(channel_send(ends[0], "longer than eight", 17, &bell, 1), 0);
    const int next = dup(0);
    close(next);
    ck_assert_int_eq(channel_receive(ends[1], buffer, sizeof(buffer), fds, &num_fds), -EPROTO);
    ck_assert_uint_eq(num_fds, 0);
    ck_assert_int_eq(dup(0), next);
}
END_TEST

START_TEST(a_doorbell_rung_often_is_cleared_once)
{
    int bell;
    uint64_t count;
    ck_assert_int_eq(doorbell_create(&bell), 0);
    for (int i = 0; i < 10; i++)
        doorbell_ring(bell);
    doorbell_clear(bell);
    ck_assert_int_eq(read(bell, &count, 8), -1);
    ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

RUN_SUITE("channel", messages_keep_their_borders_and_carry_descriptors,
          the_last_words_of_a_peer_that_read_nothing_arrive,
          a_message_too_long_is_refused_and_its_descriptors_closed,
          a_doorbell_rung_often_is_cleared_once)
