#include "cli/seat.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "frontend/session/attach.h"
#include "shm/channel.h"
#include "shm/doorbell.h"

enum { DRAIN_CELLS = 4096 };

void seat_fail(struct seat *seat, int exit_code, const char *sentence)
{
    seat->exit_code = supervised_fail(&seat->child, exit_code, sentence);
}

/* Take one message; false when the supervisor is gone or wants an end. */
static bool take_control(struct seat *seat)
{
    struct control_message message;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    struct error err;
    const int n = channel_receive(seat->child.control, &message, sizeof(message), fds, &num_fds);

    if (n == -EAGAIN)
        return true;
    if (n != (int)sizeof(message) || message.kind == CONTROL_STOP)
        return false;
    if (message.kind == CONTROL_ENGINE_LINK) {
        if (attach_engine(seat->session, &message, fds, num_fds, &err) < 0) {
            seat_fail(seat, EXIT_CODE_DEVICE, err.message);
            return false;
        }
        seat->engine_is_up = true;
        return true;
    }
    if (message.kind == CONTROL_ENGINE_DOWN) {
        seat->engine_is_up = false;
        session_engine_down(seat->session, message.engine,
                            &(struct session_death){ .for_good = message.failed,
                                                     .model_changed = message.model_changed,
                                                     .is_attributable = message.attributable },
                            NULL);
    }
    for (size_t i = 0; i < num_fds; i++)
        close(fds[i]);
    return true;
}

bool seat_wait(struct seat *seat)
{
    struct pollfd fds[] = { { .fd = seat->child.control, .events = POLLIN },
                            { .fd = seat->child.doorbell, .events = POLLIN } };
    if (session_prepare_sleep(seat->session))
        (void)poll(fds, 2, 1000);
    session_end_sleep(seat->session);
    doorbell_clear(seat->child.doorbell);
    if ((fds[0].revents & POLLIN) != 0 && !take_control(seat))
        return false;
    if ((fds[0].revents & (POLLHUP | POLLERR)) != 0 && (fds[0].revents & POLLIN) == 0)
        return false;
    while (session_drain(seat->session, DRAIN_CELLS, NULL) == DRAIN_CELLS)
        ;
    session_tick(seat->session, clock_now_us(), NULL);
    return true;
}

static int open_model(struct seat *seat, struct error *err)
{
    const struct settings *settings = &seat->settings;
    const struct model_card_options options = { .directory = settings->model,
                                                .names = &settings->served_model_name,
                                                .chat_template = settings->chat_template,
                                                .generation_config = settings->generation_config };
    int r = model_card_open(&options, &seat->card, err);
    if (r < 0)
        return r;
    const struct session_options session = { .tokenizer = seat->card->tokenizer,
                                             .status = seat->child.page };
    r = session_create(&session, &seat->session);
    return r < 0 ? error_set(err, r, "no memory for the session") : 0;
}

int seat_open(struct seat *seat, int control_fd, const struct control_message *hello,
              const int *fds, size_t num_fds, enum settings_command command)
{
    struct error err;
    *seat = (struct seat){ 0 };
    if (supervised_open(&seat->child, control_fd, hello, fds, num_fds, command, &seat->settings,
                        &err) < 0) {
        seat_fail(seat, EXIT_CODE_USAGE, err.message);
        return seat->exit_code;
    }
    if (open_model(seat, &err) < 0) {
        seat_fail(seat, EXIT_CODE_MODEL, err.message);
        return seat->exit_code;
    }
    supervised_tell(&seat->child, CONTROL_READY);
    while (!seat->engine_is_up && seat->exit_code == 0)
        if (!seat_wait(seat))
            return seat->exit_code != 0 ? seat->exit_code : EXIT_CODE_DEVICE;
    return seat->exit_code;
}

void seat_finish(struct seat *seat)
{
    supervised_tell(&seat->child, CONTROL_FINISHED);
    while (take_control(seat))
        (void)poll(&(struct pollfd){ .fd = seat->child.control, .events = POLLIN }, 1, 1000);
}

void seat_close(struct seat *seat)
{
    session_destroy(seat->session);
    model_card_close(seat->card);
    seat->session = NULL;
    seat->card = NULL;
}
