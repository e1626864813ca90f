/*
 * chat_template_grid.h - the recorded grid of conversations and the hashes of what jinja2 renders
 */
#ifndef TESTS_UNIT_TEXT_CHAT_TEMPLATE_GRID_H
#define TESTS_UNIT_TEXT_CHAT_TEMPLATE_GRID_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "text/chat_template.h"

#define GRID_GOLDEN_DIR SOURCE_ROOT "/tests/golden/"

/* jinja_reference.py stands at the same time. */
static const int64_t grid_wall_us = (int64_t)1753700000 * 1000000;

static inline json_t *grid_load(const char *path)
{
    const struct json_limits limits = {
        .depth = 60, .values = 8000000, .keys_per_object = 100000, .number_chars = 400
    };
    json_t *value = NULL;
    struct error err = { 0 };
    const int r = json_read_file(path, 16 << 20, &limits, &value, &err);
    ck_assert_msg(r == 0, "%s", err.message);
    return value;
}

static inline uint64_t grid_hash(const char *text, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)text[i]) * 0x100000001b3u;
    return hash;
}

/* The variables of one row of the grid: names become conversations and tools. */
static inline json_t *grid_context(const json_t *grid, size_t row)
{
    const json_t *contexts = json_object_get(grid, "contexts");
    const json_t *compact = json_array_get(json_array_get(contexts, row), 1);
    json_t *context = json_copy((json_t *)compact);
    const char *name = json_string_value(json_object_get(compact, "messages"));
    json_object_set(context, "messages",
                    json_object_get(json_object_get(grid, "conversations"), name));
    if (json_is_string(json_object_get(compact, "tools")))
        json_object_set(context, "tools", json_object_get(grid, "tools"));
    return context;
}

/* Every row of the grid against the list of hashes, "-" where an error is wanted. */
static inline void grid_assert_hashes(const char *name, const char *source, size_t len,
                                      const char *hashes)
{
    json_t *grid = grid_load(GRID_GOLDEN_DIR "chat_template/grid.json");
    const size_t num = json_array_size(json_object_get(grid, "contexts"));
    struct chat_template *template;
    struct error err = { 0 };
    struct strbuf out = { 0 };

    ck_assert_uint_gt(num, 400);
    ck_assert_msg(chat_template_create(source, len, &template, &err) == 0, "%s: %s", name,
                  err.message);
    for (size_t row = 0; row < num; row++) {
        json_t *context = grid_context(grid, row);
        char found[20] = "-";
        strbuf_reset(&out);
        if (chat_template_render(template, context, grid_wall_us, &out, &err) == 0)
            snprintf(found, sizeof(found), "%016llx",
                     (unsigned long long)grid_hash(out.data, out.len));
        const size_t width = strcspn(hashes, ",");
        ck_assert_msg(width == strlen(found) && memcmp(found, hashes, width) == 0,
                      "%s, row %zu: %.16s is wanted, not %s: %s", name, row, hashes, found,
                      found[0] == '-' ? err.message : out.data);
        hashes += width + (hashes[width] == ',');
        json_decref(context);
    }
    ck_assert_str_eq(hashes, "");
    chat_template_destroy(template);
    strbuf_finish(&out);
    json_decref(grid);
}

#endif
