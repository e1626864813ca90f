/*
 * control.h - what the supervisor and its children say on the control socket
 *
 * Fixed structs over shm/channel.h, descriptors in the order stated. The supervisor opens with
 * HELLO. A child that cannot go on sends FAILED with its exit code and sentence, and exits with
 * that code; the supervisor prints the first such sentence once.
 */
#ifndef PROTO_RECORDS_CONTROL_H
#define PROTO_RECORDS_CONTROL_H

#include <stdbool.h>
#include <stdint.h>

enum control_kind {
    /* supervisor -> any child */
    CONTROL_HELLO = 1, /* fds: options memory file, own status page (write), own doorbell,
                          supervisor's status page (read), then listeners (frontend), or the
                          weights of its rank if they are kept (worker: num_weights 1). `text`:
                          what its predecessor sent in KEEP */
    CONTROL_DRAIN,     /* finish what you have: frontends stop taking new work */
    CONTROL_RELOAD,    /* frontends read keys, limits and certificates again */
    CONTROL_STOP,      /* end within a second; frontends cut their streams with an error event */

    /* supervisor -> frontend */
    CONTROL_ENGINE_LINK, /* fds: submit (write), complete (read), engine's doorbell,
                            engine's status page (read). The engine of `epoch` takes requests. */
    CONTROL_ENGINE_DOWN, /* it died; `failed` when it will not come back (`model_changed`: because
                            its files are others now), `attributable` when it died by what it
                            was computing */
    CONTROL_PEER_STATUS, /* fds: status page (read) of the process `peer_role`, `peer`; it replaces
                            the page of that seat's earlier process. For health and metrics. */

    /* supervisor -> worker (rank 0) */
    CONTROL_FRONTEND_LINK, /* fds: submit (read), complete (write), frontend's doorbell */
    CONTROL_FRONTEND_DOWN, /* cancel all its requests, drop its ring */

    /* supervisor -> each rank of an engine of several, before anything but HELLO */
    CONTROL_RANKS, /* fds: the segment of each rank, the own one (write), the others' (read) */

    /* child -> supervisor */
    CONTROL_READY,     /* frontend: listening; worker: model loaded, facts on the status page */
    CONTROL_KEEP,      /* worker, before READY: for its successors: text and, as fds, the weights;
                          without fds: what was kept is of no use. Frontend: text alone */
    CONTROL_FAILED,    /* exit_code, text; model_changed */
    CONTROL_REPORT,    /* peer_role, peer: its memory broke a rule, text says which */
    CONTROL_DRAINED,   /* frontend: no request left */
    CONTROL_CONVICTED, /* frontend: `digest` ended its engines. Also supervisor -> frontend */
    CONTROL_FINISHED,  /* generate, bench: exit_code of the command */
};

enum control_role {
    CONTROL_ROLE_SUPERVISOR,
    CONTROL_ROLE_FRONTEND,
    CONTROL_ROLE_WORKER,
    CONTROL_ROLE_GENERATE, /* sits in frontend 0's seat, and its end ends everything */
    CONTROL_ROLE_BENCH,    /* likewise */
};

/* A command in frontend 0's seat rather than a part of a server. */
static inline bool control_role_is_command(uint32_t role)
{
    return role == CONTROL_ROLE_GENERATE || role == CONTROL_ROLE_BENCH;
}

enum { CONTROL_MAX_LISTENERS = 8, CONTROL_MAX_FRONTENDS = 64 };

struct control_message {
    uint32_t kind;
    uint32_t role;  /* HELLO: what the child is */
    uint32_t index; /* HELLO: its number among its role */
    uint32_t engine;
    uint32_t rank;
    uint32_t peer_role;
    uint32_t peer; /* frontend's or engine's number in LINK, DOWN, PEER_STATUS, REPORT */
    uint32_t failed, attributable, model_changed;
    uint64_t epoch;
    uint64_t generation;
    uint32_t submit_cells, submit_bulk, complete_cells, complete_bulk; /* of the link */
    uint32_t options_bytes;
    uint32_t num_listeners, num_weights;
    int32_t exit_code;
    uint32_t tls_keys_set; /* HELLO */
    uint8_t tls_ticket_key[80];
    uint8_t salt[16];
    uint8_t digest[32]; /* CONVICTED */
    char text[512];
};

#endif
