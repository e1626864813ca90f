#include "frontend/links.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "frontend/drain.h"
#include "frontend/generation.h"
#include "frontend/reload.h"
#include "frontend/session/attach.h"
#include "frontend/state.h"
#include "shm/channel.h"

/* --- fingerprint -------------------------------------------------------------------------- */

/* Facts on which a request's tokens depend. */
static const char *const fingerprint_facts[] = {
    "identity", "dtype", "quantization", "kv_dtype", "isa", "deterministic",
};

static void set_fingerprint(struct frontend *frontend)
{
    char value[256], backend[24] = "cpu";
    int64_t ranks = 1;
    uint32_t hash = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < sizeof(fingerprint_facts) / sizeof(fingerprint_facts[0]); i++) {
        value[0] = '\0';
        (void)status_fact_text(frontend->facts, fingerprint_facts[i], value, sizeof(value));
        for (const char *c = value;; c++) {
            hash = (hash ^ (unsigned char)*c) * 16777619u;
            if (*c == '\0')
                break;
        }
    }
    (void)status_fact_text(frontend->facts, "backend", backend, sizeof(backend));
    (void)status_fact_int(frontend->facts, "tensor_parallel", &ranks);
    snprintf(frontend->backend, sizeof(frontend->backend), "%s", backend);
    snprintf(frontend->fingerprint, sizeof(frontend->fingerprint),
             "tokenring-" TOKENRING_VERSION "-%s-tp%lld-%08x", backend, (long long)ranks, hash);
}

static void take_facts(struct frontend *frontend, const struct status_page *page)
{
    char last_words[STATUS_ERROR_BYTES];
    if (status_get_texts(page, frontend->facts, last_words))
        set_fingerprint(frontend);
}

/* Why is my temperature not 1? */
static void log_sampling(const struct frontend *frontend)
{
    const struct model_card_sampling *s = &frontend->card->sampling;
    log_event(LOG_LEVEL_INFO,
              "serving model=%s temperature=%g top_p=%g top_k=%d min_p=%g repetition_penalty=%g "
              "eos_ids=%u chat_template=%s",
              frontend->card->names[0], s->temperature, s->top_p, s->top_k, s->min_p,
              s->repetition_penalty, frontend->card->num_eos_ids,
              frontend->card->template != NULL ? "yes" : "none");
}

/* --- engines ------------------------------------------------------------------------------ */

static void drop_engine(struct frontend_engine *engine)
{
    segment_unmap(&engine->mapping);
    engine->mapping = (struct segment){ 0 };
    engine->page = NULL;
}

/* A mapping of the engine's page of our own, for probes and metrics, beside the session's. */
static int map_page(const int *fds, size_t num_fds, struct segment *ret_mapping, struct error *err)
{
    enum { LINK_PAGE = 3 };
    const struct segment_header header = status_segment_header();
    if (num_fds <= LINK_PAGE)
        return error_set(err, -EPROTO, "engine link: only %zu descriptors", num_fds);
    return segment_map(ret_mapping, fds[LINK_PAGE], false, &header, err);
}

/* The descriptors are used up. */
static void engine_link(struct frontend *frontend, const struct control_message *message,
                        const int *fds, size_t num_fds)
{
    struct segment page = { 0 };
    struct error err = { 0 };
    const bool known = message->engine < FRONTEND_MAX_ENGINES;
    const int mapped = map_page(fds, num_fds, &page, &err);
    int r = attach_engine(frontend->session, message, fds, num_fds, &err);

    if (r == 0 && (mapped < 0 || !known)) {
        session_engine_down(frontend->session, message->engine, &(struct session_death){ 0 },
                            generation_flush);
        r = -EPROTO;
    }
    if (r < 0) {
        log_event(LOG_LEVEL_ERROR, "engine %u cannot be used: %s", message->engine, err.message);
        segment_unmap(&page);
        return;
    }
    struct frontend_engine *engine = &frontend->engines[message->engine];
    drop_engine(engine);
    *engine =
        (struct frontend_engine){ .page = page.base, .mapping = page, .epoch = message->epoch };
    take_facts(frontend, engine->page);
    atomic_store(&frontend->own->epoch, message->epoch);
    if (!frontend->was_ready)
        log_sampling(frontend);
    frontend->was_ready = true;
    log_event(LOG_LEVEL_DEBUG, "engine %u takes requests epoch=%llu", message->engine,
              (unsigned long long)message->epoch);
}

static void engine_down(struct frontend *frontend, const struct control_message *message)
{
    if (message->engine >= FRONTEND_MAX_ENGINES)
        return;
    struct frontend_engine *engine = &frontend->engines[message->engine];
    drop_engine(engine);
    engine->failed = message->failed != 0;
    const struct session_death death = { .for_good = engine->failed,
                                         .model_changed = message->model_changed != 0,
                                         .is_attributable = message->attributable != 0 };
    session_engine_down(frontend->session, message->engine, &death, generation_flush);
    log_event(LOG_LEVEL_WARN, "engine %u is down%s", message->engine,
              engine->failed ? " for good" : "");
}

/* Where the page of another process is kept; NULL for one that is not watched. */
static struct segment *page_place(struct frontend *frontend, const struct control_message *message)
{
    if (message->peer_role == CONTROL_ROLE_WORKER)
        return &frontend->worker_page;
    if (message->peer >= CONTROL_MAX_FRONTENDS || message->peer == frontend->index)
        return NULL;
    return &frontend->peers[message->peer];
}

static void peer_status(struct frontend *frontend, const struct control_message *message,
                        const int *fds, size_t num_fds)
{
    const struct segment_header header = status_segment_header();
    struct segment mapping = { 0 };
    struct error err = { 0 };
    struct segment *place = page_place(frontend, message);
    if (place == NULL || num_fds != 1)
        return;
    segment_unmap(place);
    *place = (struct segment){ 0 };
    if (place == &frontend->worker_page)
        frontend->worker_since_us = clock_now_us();
    if (segment_map(&mapping, fds[0], false, &header, &err) == 0)
        *place = mapping;
    else
        log_event(LOG_LEVEL_WARN, "process %u of role %u cannot be watched: %s", message->peer,
                  message->peer_role, err.message);
}

/* --- messages ----------------------------------------------------------------------------- */

static void close_all(const int *fds, size_t num_fds)
{
    for (size_t i = 0; i < num_fds; i++)
        close(fds[i]);
}

static void take(struct frontend *frontend, const struct control_message *message, const int *fds,
                 size_t num_fds)
{
    switch (message->kind) {
    case CONTROL_ENGINE_LINK:
        engine_link(frontend, message, fds, num_fds);
        return;
    case CONTROL_ENGINE_DOWN:
        engine_down(frontend, message);
        break;
    case CONTROL_PEER_STATUS:
        peer_status(frontend, message, fds, num_fds);
        break;
    case CONTROL_CONVICTED:
        session_convict(frontend->session, message->digest, clock_now_us());
        break;
    case CONTROL_RELOAD:
        reload_all(frontend);
        break;
    case CONTROL_DRAIN:
        drain_begin(frontend);
        break;
    case CONTROL_STOP:
        drain_stop(frontend);
        break;
    default:
        log_event(LOG_LEVEL_WARN, "the supervisor sent a message of unknown kind %u",
                  message->kind);
    }
    close_all(fds, num_fds);
}

void links_receive(void *data)
{
    struct frontend *frontend = data;
    struct control_message message;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    for (;;) {
        const int n =
            channel_receive(frontend->child.control, &message, sizeof(message), fds, &num_fds);
        if (n == -EAGAIN)
            return;
        if (n <= 0)
            _exit(EXIT_CODE_OK); /* the supervisor is gone, or not itself */
        if (n == (int)sizeof(message))
            take(frontend, &message, fds, num_fds);
        else
            close_all(fds, num_fds);
    }
}

/* A request that ended its engines: nobody takes the like of it. */
static void report_convictions(struct frontend *frontend)
{
    struct control_message message = { .kind = CONTROL_CONVICTED };
    while (session_take_conviction(frontend->session, message.digest)) {
        log_event(LOG_LEVEL_ERROR, "a request ended the engine three times; its like is refused "
                                   "for 10 minutes");
        (void)channel_send(frontend->child.control, &message, sizeof(message), NULL, 0);
    }
}

void links_report(struct frontend *frontend)
{
    char sentence[256];
    report_convictions(frontend);
    const int32_t engine = session_take_report(frontend->session, sentence, sizeof(sentence));
    if (engine < 0)
        return;
    log_event(LOG_LEVEL_ERROR, "engine %d broke a rule: %s", engine, sentence);
    supervised_report(&frontend->child, CONTROL_ROLE_WORKER, (uint32_t)engine, sentence);
}
