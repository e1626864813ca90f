#include "tests/gpu/fixed_routing.h"

#include <stdlib.h>

enum { MAX_ROUTERS = 64, MAX_POSITIONS = 128, SPARE = 64, MAX_EXPERTS = 64 };
enum { ROUTER_FLOATS = (MAX_POSITIONS + SPARE) * MAX_EXPERTS };

int __real_backend_open(const char *name, const struct backend **ret_backend, struct error *err);
int __wrap_backend_open(const char *name, const struct backend **ret_backend, struct error *err);

static struct {
    enum fixed_routing routing;
    struct backend real, table;
    float *routers[MAX_ROUTERS]; /* of the device: logits of all positions */
    int32_t num_routers, next, position, rows;
    float kept[MAX_ROUTERS][ROUTER_FLOATS];
} own;

static int32_t rows_of_list[MAX_POSITIONS];

static void begin(struct device *device)
{
    own.position += own.rows;
    own.rows = own.next = 0;
    own.real.begin(device);
}

static float *router_of(struct device *device, int32_t index)
{
    if (index == own.num_routers) {
        own.routers[own.num_routers++] =
            own.real.alloc(device, ROUTER_FLOATS * sizeof(*own.routers[0]));
        if (own.routers[index] == NULL)
            abort();
        if (own.routing == ROUTING_GIVEN)
            own.real.upload(device, own.routers[index], own.kept[index], sizeof(own.kept[0]));
    }
    return own.routers[index];
}

static void route(struct device *device, const struct moe_plan *plan, const float *logits,
                  const struct moe_routing *routing, int32_t rows)
{
    if (own.next == MAX_ROUTERS || plan->num_experts > MAX_EXPERTS ||
        own.position + rows > MAX_POSITIONS)
        abort();
    float *at = router_of(device, own.next++) + own.position * plan->num_experts;
    for (int32_t r = 0; r < rows; r++)
        rows_of_list[r] = r;
    if (own.routing == ROUTING_KEPT)
        own.real.gather_rows(device, at, logits, rows_of_list, rows, plan->num_experts);
    own.real.moe_route(device, plan, own.routing == ROUTING_GIVEN ? at : logits, routing, rows);
    own.rows = rows;
}

void fixed_routing_set(enum fixed_routing routing)
{
    own.routing = routing;
    own.num_routers = own.next = own.position = own.rows = 0;
}

bool fixed_routing_finish(struct device *device)
{
    const bool had_some = own.num_routers > 0;
    for (int32_t i = 0; i < own.num_routers; i++) {
        if (own.routing == ROUTING_KEPT)
            own.real.download(device, own.kept[i], own.routers[i], sizeof(own.kept[0]));
        own.real.free(device, own.routers[i]);
    }
    fixed_routing_set(ROUTING_OWN);
    return had_some;
}

int __wrap_backend_open(const char *name, const struct backend **ret_backend, struct error *err)
{
    const struct backend *found;
    const int r = __real_backend_open(name, &found, err);
    if (r < 0)
        return r;
    own.real = own.table = *found;
    if (own.routing != ROUTING_OWN) {
        own.table.begin = begin;
        own.table.moe_route = route;
    }
    *ret_backend = &own.table;
    return 0;
}
