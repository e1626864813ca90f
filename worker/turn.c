#include "worker/turn.h"

static const struct request *next_suspect(const struct scheduler *s)
{
    const struct request *request, *first = NULL;
    TAILQ_FOREACH(request, &s->requests.active, in_active)
    {
        if (!request->is_suspect)
            continue;
        if (request->age > s->last_suspect_age)
            return request;
        if (first == NULL)
            first = request;
    }
    return first;
}

void turn_choose(struct scheduler *s)
{
    s->alone = s->requests.num_suspects == 0 || s->alone != NULL ? NULL : next_suspect(s);
    if (s->alone != NULL)
        s->last_suspect_age = s->alone->age;
}

bool turn_is_of(const struct scheduler *s, const struct request *request)
{
    return s->alone == NULL ? !request->is_suspect : request == s->alone;
}
