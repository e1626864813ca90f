/*
 * seat.h - a frontend's seat without HTTP: what `generate` and `bench` share
 *
 * The supervisor starts the process, hands it the ring ends of the engine, and ends everybody once
 * the command says that it is finished. One thread.
 */
#ifndef CLI_SEAT_H
#define CLI_SEAT_H

#include "frontend/session/model_card.h"
#include "frontend/session/session.h"
#include "supervisor/supervised.h"

struct seat {
    struct settings settings;
    struct supervised child;
    struct model_card *card;
    struct session *session;
    bool engine_is_up;
    int exit_code; /* not 0 once a sentence was handed to the supervisor */
};

/*
 * Take HELLO, open the model's card and a session, say READY and wait for the engine. `command`
 * is the bit of the subcommand. Takes over `fds`.
 *
 * Returns 0, or the exit code: then the sentence is said already.
 */
int seat_open(struct seat *seat, int control_fd, const struct control_message *hello,
              const int *fds, size_t num_fds, enum settings_command command);

/* Wait for the supervisor or the engine, and take what they say; false when everything ends. */
bool seat_wait(struct seat *seat);

/* Hand over the sentence; the role ends with its exit code. */
void seat_fail(struct seat *seat, int exit_code, const char *sentence);

/* Say that the command is done, and wait until the supervisor ends everybody. */
void seat_finish(struct seat *seat);

void seat_close(struct seat *seat);

#endif
