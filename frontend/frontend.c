#include "frontend/frontend.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/log.h"
#include "frontend/dispatch.h"
#include "frontend/drain.h"
#include "frontend/generation.h"
#include "frontend/links.h"
#include "frontend/reload.h"
#include "frontend/session/model_files.h"
#include "frontend/state.h"
#include "frontend/stream.h"
#include "shm/doorbell.h"

enum {
    CELLS_PER_TURN = 4096,
    MAX_WAIT_MS = 1000,
    SIDE_LIMIT_BYTES = 256 * 1024 * 1024,
    SPARE_FDS = 64,
};

/* What went wrong and the exit code it means; nothing failed while `exit_code` is 0. */
struct failure {
    struct error err;
    int exit_code;
    bool is_changed; /* the model is not the one that was loaded at first */
};

static int fail(struct failure *failure, int exit_code, int code)
{
    failure->exit_code = exit_code;
    return code;
}

/* --- parts -------------------------------------------------------------------------------- */

/* A successor goes on for clients and an engine that know the model of the first. */
static int check_same_files(struct frontend *frontend, struct failure *failure)
{
    struct supervised *child = &frontend->child;
    char text[32];
    uint64_t hash = 0;
    const int r = model_files_hash(frontend->card->directory, &hash, &failure->err);
    if (r < 0)
        return r;
    snprintf(text, sizeof(text), "files=%016" PRIx64, hash);
    if (child->kept_text[0] == '\0')
        return supervised_keep(child, text, -1);
    return strcmp(text, child->kept_text) == 0
               ? 0
               : error_set(&failure->err, -ESTALE,
                           "%.300s: its files are not those that were loaded at first",
                           frontend->card->directory);
}

static int open_model(struct frontend *frontend, struct failure *failure)
{
    const struct settings *settings = &frontend->settings;
    const struct model_card_options options = {
        .directory = settings->model,
        .names = &settings->served_model_name,
        .chat_template = settings->chat_template,
        .generation_config = settings->generation_config,
    };
    int r = model_card_open(&options, &frontend->card, &failure->err);
    if (r == 0)
        r = check_same_files(frontend, failure);
    failure->is_changed = r == -ESTALE;
    if (r == 0)
        r = tokenizer_scratch_create(frontend->card->tokenizer, &frontend->scratch);
    if (r == 0)
        r = tokenizer_scratch_create(frontend->card->tokenizer, &frontend->side_scratch);
    if (r == -ENOMEM)
        return fail(failure, EXIT_CODE_MEMORY, r);
    return r < 0 ? fail(failure, EXIT_CODE_MODEL, r) : 0;
}

static int open_keys(struct frontend *frontend, struct failure *failure)
{
    const struct settings *settings = &frontend->settings;
    frontend->cors = (struct cors){
        .origins = &settings->allowed_origins,
        .methods = &settings->allowed_methods,
        .headers = &settings->allowed_headers,
        .credentials = settings->allow_credentials,
    };
    const struct account_limits limits = {
        .concurrent = settings->max_concurrent_requests_per_key,
        .requests_per_minute = settings->max_requests_per_minute_per_key,
        .tokens_per_minute = settings->max_tokens_per_minute_per_key,
    };
    frontend->accounts = account_book_create(frontend->own, frontend->peers, CONTROL_MAX_FRONTENDS);
    if (frontend->accounts == NULL)
        return fail(failure, EXIT_CODE_MEMORY,
                    error_set(&failure->err, -ENOMEM, "no memory for the accounts of keys"));
    const int r = auth_create(&settings->api_key, settings->api_key_file, &limits, &frontend->auth,
                              &failure->err);
    return r < 0 ? fail(failure, EXIT_CODE_USAGE, r) : 0;
}

static int open_tls(struct frontend *frontend, const struct control_message *hello, void **ret_tls,
                    struct failure *failure)
{
    memcpy(frontend->tls_ticket_key, hello->tls_ticket_key, sizeof(frontend->tls_ticket_key));
    frontend->tls_keys_set = hello->tls_keys_set != 0;
    const int r = reload_open_tls(frontend, ret_tls, &failure->err);
    return r < 0 ? fail(failure, EXIT_CODE_USAGE, r) : 0;
}

static int open_session(struct frontend *frontend, const struct control_message *hello,
                        struct failure *failure)
{
    const struct session_options options = { .tokenizer = frontend->card->tokenizer,
                                             .status = frontend->own,
                                             .salt = hello->salt,
                                             .hold_us = (int64_t)(frontend->settings.recovery_hold *
                                                                  1e6) };
    const int r = session_create(&options, &frontend->session);
    return r < 0 ? fail(failure, EXIT_CODE_MEMORY,
                        error_set(&failure->err, r, "the session cannot be made: %s", strerror(-r)))
                 : 0;
}

/* --- the loop's work ---------------------------------------------------------------------- */

static void receive(struct frontend *frontend)
{
    (void)session_drain(frontend->session, CELLS_PER_TURN, generation_flush);
}

static void on_doorbell(void *data)
{
    struct frontend *frontend = data;
    doorbell_clear(frontend->child.doorbell);
    receive(frontend);
}

static void on_receive_soon(void *data)
{
    receive(data);
}

static void on_second(void *data)
{
    struct frontend *frontend = data;
    const uint64_t dropped = log_num_dropped();
    session_tick(frontend->session, clock_now_us(), generation_flush);
    stream_keep_alive(frontend);
    generation_expire_queued(frontend, clock_now_us());
    reload_keys(frontend);
    stat_add(frontend->own->words, STAT_LOG_DROPPED, dropped - frontend->log_dropped);
    frontend->log_dropped = dropped;
}

static int open_loop(struct frontend *frontend, struct failure *failure)
{
    int r = loop_create(&frontend->loop);
    if (r == 0)
        r = loop_watch(frontend->loop, frontend->child.doorbell, on_doorbell, frontend, NULL);
    if (r == 0)
        r = loop_watch(frontend->loop, frontend->child.control, links_receive, frontend, NULL);
    if (r == 0)
        r = loop_deferred_create(frontend->loop, on_receive_soon, frontend,
                                 &frontend->receive_soon);
    if (r == 0)
        r = loop_every_second(frontend->loop, on_second, frontend);
    if (r == 0)
        r = side_create(frontend->loop, SIDE_LIMIT_BYTES, &frontend->side);
    return r < 0 ? fail(failure, EXIT_CODE_MEMORY,
                        error_set(&failure->err, r, "the event loop cannot be made: %s",
                                  strerror(-r)))
                 : 0;
}

/* So many that accept() never meets the limit of descriptors. */
static uint32_t most_connections(int64_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return (uint32_t)wanted;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur != RLIM_INFINITY && (rlim_t)wanted + SPARE_FDS > limit.rlim_cur)
        return limit.rlim_cur > SPARE_FDS + 1 ? (uint32_t)(limit.rlim_cur - SPARE_FDS) : 1;
    return (uint32_t)wanted;
}

static int open_server(struct frontend *frontend, void *tls, struct failure *failure)
{
    const struct settings *settings = &frontend->settings;
    const struct server_options options = {
        .listeners = frontend->child.listeners,
        .num_listeners = frontend->child.num_listeners,
        .tls = tls,
        .http2 = settings->http2,
        .max_body_bytes = (size_t)settings->max_body_size,
        .max_connections = most_connections(settings->max_connections),
        .max_connections_per_address = (uint32_t)settings->max_connections_per_address,
        .body_timeout = settings->body_timeout,
        .keep_alive_timeout = settings->keep_alive_timeout,
        .slow_client_timeout = settings->slow_client_timeout,
        .log_requests = settings->log_requests,
        .most_memory_bytes = (size_t)settings->max_frontend_memory,
        .stats = frontend->own->words,
        .handle = dispatch_request,
        .data = frontend,
    };
    const int r = server_create(frontend->loop, &options, &frontend->server, &failure->err);
    return r < 0 ? fail(failure, EXIT_CODE_MEMORY, r) : 0;
}

/* --- start and run ------------------------------------------------------------------------ */

static void log_request(const char *line)
{
    log_event(LOG_LEVEL_INFO, "%s", line);
}

static int open_child(struct frontend *frontend, int control_fd,
                      const struct control_message *hello, const int *fds, size_t num_fds,
                      struct failure *failure)
{
    const int r = supervised_open(&frontend->child, control_fd, hello, fds, num_fds, SETTINGS_SERVE,
                                  &frontend->settings, &failure->err);
    if (r < 0)
        return fail(failure, r == -ENOMEM ? EXIT_CODE_MEMORY : EXIT_CODE_USAGE, r);
    frontend->own = frontend->child.page;
    frontend->supervisor = frontend->child.supervisor;
    frontend->index = hello->index;
    frontend->obeys_priority = strcmp(frontend->settings.scheduling_policy, "priority") == 0;
    atomic_store(&frontend->own->state, STATUS_LOADING);
    return 0;
}

static int start(struct frontend *frontend, const struct control_message *hello,
                 struct failure *failure)
{
    void *tls = NULL;
    int r = open_model(frontend, failure);
    if (r == 0)
        r = open_keys(frontend, failure);
    if (r == 0)
        r = open_tls(frontend, hello, &tls, failure);
    if (r == 0)
        r = open_session(frontend, hello, failure);
    if (r == 0)
        r = open_loop(frontend, failure);
    if (r == 0)
        r = open_server(frontend, tls, failure);
    return r;
}

static void run(struct frontend *frontend)
{
    do {
        status_beat(frontend->own);
        links_report(frontend);
        if (!session_prepare_sleep(frontend->session))
            loop_defer(frontend->receive_soon);
        loop_turn(frontend->loop, MAX_WAIT_MS);
        session_end_sleep(frontend->session);
    } while (drain_continue(frontend));
}

int frontend_main(int control_fd, const struct control_message *hello, const int *fds,
                  size_t num_fds)
{
    static struct frontend frontend; /* large, and there is one in a process */
    struct failure failure = { 0 };

    signal(SIGPIPE, SIG_IGN);
    json_object_seed(0);
    frontend.created = clock_wall_us() / 1000000;
    frontend.started_us = clock_now_us();
    if (open_child(&frontend, control_fd, hello, fds, num_fds, &failure) < 0 ||
        start(&frontend, hello, &failure) < 0)
        return (failure.is_changed ? supervised_fail_changed : supervised_fail)(
            &frontend.child, failure.exit_code, failure.err.message);
    atomic_store(&frontend.own->state, STATUS_READY);
    if (frontend.settings.log_requests)
        session_set_log(frontend.session, log_request);
    supervised_tell(&frontend.child, CONTROL_READY);
    run(&frontend);
    return EXIT_CODE_OK;
}
