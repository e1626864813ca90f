#include <string.h>

#include "frontend/route.h"
#include "tests/unit/runner.h"

static const struct route *find(const char *path)
{
    return route_find(path, strlen(path));
}

START_TEST(paths_match_exactly)
{
    ck_assert_str_eq(find("/v1/chat/completions")->path, "/v1/chat/completions");
    ck_assert_ptr_null(find("/v1/chat/completions/foo"));
    ck_assert_ptr_null(find("/v1/chat/completion"));
    ck_assert_ptr_null(find("/v1/chat"));
    ck_assert_ptr_null(find("/v2/chat/completions"));
    ck_assert_ptr_null(find(""));
}
END_TEST

START_TEST(trailing_slash_is_the_same_path)
{
    for (size_t i = 0; i < route_num; i++) {
        char path[128];
        const size_t len = strlen(route_table[i].path);
        memcpy(path, route_table[i].path, len);
        path[len] = '/';
        if (!route_table[i].prefix && len > 1)
            ck_assert_ptr_eq(route_find(path, len + 1), &route_table[i]);
    }
    ck_assert_str_eq(find("/")->path, "/");
}
END_TEST

START_TEST(model_ids_may_hold_slashes)
{
    ck_assert_str_eq(find("/v1/models/org/model")->path, "/v1/models/");
    ck_assert_str_eq(find("/v1/models/m")->path, "/v1/models/");
    ck_assert_str_eq(find("/v1/models")->path, "/v1/models");
    ck_assert_str_eq(find("/v1/models/")->path, "/v1/models");
}
END_TEST

START_TEST(rows_are_found_by_their_own_path)
{
    for (size_t i = 0; i < route_num; i++)
        if (!route_table[i].prefix)
            ck_assert_ptr_eq(find(route_table[i].path), &route_table[i]);
}
END_TEST

START_TEST(head_works_wherever_get_does)
{
    for (size_t i = 0; i < route_num; i++)
        ck_assert_int_eq(route_allows(&route_table[i], HTTP_HEAD),
                         route_allows(&route_table[i], HTTP_GET));
    ck_assert(!route_allows(find("/v1/chat/completions"), HTTP_GET));
    ck_assert(!route_allows(find("/livez"), HTTP_POST));
    ck_assert(!route_allows(find("/livez"), HTTP_OTHER));
}
END_TEST

START_TEST(allow_names_the_methods)
{
    char text[64];
    route_allow_text(find("/v1/chat/completions"), text, sizeof(text));
    ck_assert_str_eq(text, "POST, OPTIONS");
    route_allow_text(find("/livez"), text, sizeof(text));
    ck_assert_str_eq(text, "GET, HEAD, OPTIONS");
}
END_TEST

/* Default deny: only what is listed here is open where keys are set. */
START_TEST(every_route_needs_a_key_but_probes_version_and_metrics)
{
    static const char *const open[] = { "/health",   "/readyz",         "/health/ready",
                                        "/ping",     "/livez",          "/health/live",
                                        "/startupz", "/health/startup", "/version" };
    size_t num_open = 0;
    for (size_t i = 0; i < route_num; i++)
        num_open += route_table[i].access == ROUTE_OPEN;
    ck_assert_int_eq((int)num_open, (int)(sizeof(open) / sizeof(open[0])));
    for (size_t i = 0; i < num_open; i++)
        ck_assert_int_eq(find(open[i])->access, ROUTE_OPEN);
    ck_assert_int_eq(find("/metrics")->access, ROUTE_METRICS);
}
END_TEST

RUN_SUITE("route", paths_match_exactly, trailing_slash_is_the_same_path, model_ids_may_hold_slashes,
          rows_are_found_by_their_own_path, head_works_wherever_get_does, allow_names_the_methods,
          every_route_needs_a_key_but_probes_version_and_metrics)
