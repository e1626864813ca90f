#include "worker/wait_queue.h"

static const double rate_weight = 0.3;

void wait_queue_init(struct wait_queue *queue, enum wait_policy policy)
{
    *queue = (struct wait_queue){ .policy = policy };
    for (int32_t i = 0; i < WAIT_MAX_TENANTS; i++)
        TAILQ_INIT(&queue->tenants[i].requests);
}

void wait_queue_tell_time(struct wait_queue *queue, int64_t now_us)
{
    const double seconds = (double)(now_us - queue->since_us) / 1e6;
    queue->now_us = now_us;
    if (seconds < 1)
        return;
    queue->per_second += rate_weight * (queue->served_since / seconds - queue->per_second);
    queue->served_since = 0;
    queue->since_us = now_us;
}

/* --- tenants ------------------------------------------------------------------------------ */

static int32_t account_of(const struct wait_queue *queue, const struct request *request)
{
    return queue->policy == WAIT_FAIR ? (int32_t)(request->params.tenant % WAIT_MAX_TENANTS) : 0;
}

static bool is_present(const struct wait_tenant *tenant)
{
    return tenant->num_waiting + tenant->num_running > 0;
}

/* The least that a present tenant was served, and how many there are. */
static double least_served(const struct wait_queue *queue, int32_t *ret_num_present)
{
    double least = queue->floor;
    *ret_num_present = 0;
    for (int32_t i = 0; i < queue->num_tenants; i++) {
        const struct wait_tenant *tenant = &queue->tenants[i];
        if (!is_present(tenant))
            continue;
        least = *ret_num_present == 0 || tenant->served < least ? tenant->served : least;
        ++*ret_num_present;
    }
    return least;
}

static void arrive(const struct wait_queue *queue, struct wait_tenant *tenant)
{
    int32_t num_present;
    const double least = least_served(queue, &num_present);
    const double credit = WAIT_CREDIT_SECONDS * queue->per_second / (num_present + 1);
    if (tenant->served < least - credit)
        tenant->served = least - credit;
}

static void note_absence(struct wait_queue *queue, const struct wait_tenant *tenant)
{
    if (!is_present(tenant))
        queue->floor = tenant->served;
}

void wait_queue_note_running(struct wait_queue *queue, const struct request *request,
                             int32_t change)
{
    struct wait_tenant *tenant = &queue->tenants[account_of(queue, request)];
    tenant->num_running += change;
    note_absence(queue, tenant);
}

void wait_queue_charge(struct wait_queue *queue, const struct request *request, int32_t num_tokens)
{
    queue->tenants[account_of(queue, request)].served += num_tokens;
    queue->served_since += num_tokens;
}

double wait_queue_served(const struct wait_queue *queue, const struct request *request)
{
    return queue->policy == WAIT_FAIR ? queue->tenants[account_of(queue, request)].served : 0;
}

/* --- requests ----------------------------------------------------------------------------- */

void wait_queue_add(struct wait_queue *queue, struct request *request)
{
    const int32_t account = account_of(queue, request);
    struct wait_tenant *tenant = &queue->tenants[account];
    struct request *before = TAILQ_LAST(&tenant->requests, request_list);
    request->rank = queue->policy == WAIT_PRIORITY ? request->params.priority : 0;
    queue->num_tenants = account < queue->num_tenants ? queue->num_tenants : account + 1;
    if (!is_present(tenant))
        arrive(queue, tenant);
    while (before != NULL && before->rank > request->rank)
        before = TAILQ_PREV(before, request_list, in_waiting);
    if (before != NULL)
        TAILQ_INSERT_AFTER(&tenant->requests, before, request, in_waiting);
    else
        TAILQ_INSERT_HEAD(&tenant->requests, request, in_waiting);
    tenant->num_waiting++;
}

void wait_queue_remove(struct wait_queue *queue, struct request *request)
{
    struct wait_tenant *tenant = &queue->tenants[account_of(queue, request)];
    TAILQ_REMOVE(&tenant->requests, request, in_waiting);
    tenant->num_waiting--;
    note_absence(queue, tenant);
}

void wait_queue_rewind(struct wait_queue *queue)
{
    for (int32_t i = 0; i < queue->num_tenants; i++)
        queue->tenants[i].next = TAILQ_FIRST(&queue->tenants[i].requests);
}

static bool goes_before(const struct wait_tenant *a, const struct wait_tenant *b)
{
    return a->served < b->served || (a->served <= b->served && a->next->age < b->next->age);
}

struct request *wait_queue_next(struct wait_queue *queue)
{
    struct wait_tenant *first = NULL;
    for (int32_t i = 0; i < queue->num_tenants; i++) {
        struct wait_tenant *tenant = &queue->tenants[i];
        if (tenant->next != NULL && (first == NULL || goes_before(tenant, first)))
            first = tenant;
    }
    if (first == NULL)
        return NULL;
    struct request *request = first->next;
    first->next = TAILQ_NEXT(request, in_waiting);
    return request;
}
