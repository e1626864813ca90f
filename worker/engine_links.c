#include "worker/engine_links.h"

#include "base/clock.h"
#include "worker/publish.h"

enum { FULL_US = 10 * 1000 * 1000 };

struct link *engine_links_of(struct engine *engine, const struct request *request)
{
    return &engine->links[request->frontend];
}

void engine_connect(struct engine *engine, uint32_t frontend, struct link *link)
{
    engine_disconnect(engine, frontend);
    struct link *place = &engine->links[frontend];
    *place = *link;
    TAILQ_INIT(&place->unpublished); /* an empty list's head points into itself */
    *link = (struct link){ 0 };
}

void engine_disconnect(struct engine *engine, uint32_t frontend)
{
    struct request *request = TAILQ_FIRST(&engine->scheduler.requests.active), *next;
    if (!engine->links[frontend].is_up)
        return;
    for (; request != NULL; request = next) {
        next = TAILQ_NEXT(request, in_active);
        if (request->frontend == (int32_t)frontend)
            publish_drop(&engine->links[frontend], &engine->scheduler, request);
    }
    link_close(&engine->links[frontend]);
}

void engine_links_give_up(struct engine *engine, uint32_t frontend, const char *text)
{
    engine_disconnect(engine, frontend);
    if (engine->options.report != NULL)
        engine->options.report(engine->options.context, frontend, text);
}

static void publish_link(struct engine *engine, uint32_t frontend, int64_t now)
{
    struct link *link = &engine->links[frontend];
    int32_t num_ended = 0;
    const bool room = publish_all(link, &engine->scheduler, &num_ended);
    meter_note_ends(&engine->meter, num_ended, now);
    if (room || link->end.tail != link->last_tail) /* it reads, if slowly */
        link->read_us = now;
    link->last_tail = link->end.tail;
    engine->is_blocked |= !room || ring_room(&link->end) == 0;
    if (link->end.corrupt)
        engine_links_give_up(engine, frontend, "the heads of its complete ring are impossible");
    else if (now - link->read_us > FULL_US)
        engine_links_give_up(engine, frontend, "its complete ring was full for 10 s");
}

void engine_links_publish(struct engine *engine)
{
    const int64_t now = clock_now_us();
    engine->is_blocked = false;
    for (uint32_t i = 0; i < CONTROL_MAX_FRONTENDS; i++)
        if (engine->links[i].is_up)
            publish_link(engine, i, now);
}
