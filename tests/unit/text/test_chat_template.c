#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/runner.h"
#include "tests/unit/text/chat_template_grid.h"
#include "text/jinja/jinja_ast.h"

static struct error err;
static struct strbuf out;

static void setup(void)
{
    setenv("TZ", "UTC", 1);
    tzset();
    err = (struct error){ 0 };
    out = (struct strbuf){ 0 };
}

static void teardown(void)
{
    strbuf_finish(&out);
}

/* Compile and render; `out` holds the text. */
static int render_len(const char *source, size_t len, const json_t *context)
{
    struct chat_template *template;
    strbuf_reset(&out);
    err = (struct error){ 0 };
    int r = chat_template_create(source, len, &template, &err);
    if (r == 0) {
        r = chat_template_render(template, context, grid_wall_us, &out, &err);
        chat_template_destroy(template);
    }
    ck_assert_int_eq(r, err.code);
    return r;
}

static int render(const char *source)
{
    json_t *context = json_object();
    const int r = render_len(source, strlen(source), context);
    json_decref(context);
    return r;
}

static void assert_text(const char *source, const char *wanted)
{
    ck_assert_msg(render(source) == 0, "%s: %s", source, err.message);
    ck_assert_str_eq(out.data == NULL ? "" : out.data, wanted);
}

START_TEST(one_line_templates_give_what_jinja2_gives)
{
    json_t *golden = grid_load(GRID_GOLDEN_DIR "chat_template/cases.json");
    const json_t *context = json_object_get(golden, "context");
    const json_t *cases = json_object_get(golden, "cases");

    ck_assert_uint_gt(json_array_size(cases), 1000);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *source = json_array_get(json_array_get(cases, i), 0);
        const json_t *wanted = json_array_get(json_array_get(cases, i), 1);
        const int r = render_len(json_string_value(source), json_string_length(source), context);
        if (json_is_null(wanted)) {
            ck_assert_msg(r < 0, "%s gives '%s', an error is wanted", json_string_value(source),
                          out.data);
            ck_assert_msg(err.message[0] != '\0', "%s: no message", json_string_value(source));
            continue;
        }
        ck_assert_msg(r == 0, "%s: %s", json_string_value(source), err.message);
        ck_assert_msg(out.len == json_string_length(wanted) &&
                          memcmp(out.len > 0 ? out.data : "", json_string_value(wanted), out.len) ==
                              0,
                      "%s gives '%s', wanted '%s'", json_string_value(source), out.data,
                      json_string_value(wanted));
    }
    json_decref(golden);
}
END_TEST

START_TEST(own_templates_give_what_jinja2_gives_over_the_grid)
{
    json_t *golden = grid_load(GRID_GOLDEN_DIR "chat_template/own.json");
    const char *name;
    json_t *row;
    char path[4096], *source;
    size_t len;

    ck_assert_uint_gt(json_object_size(golden), 10);
    json_object_foreach(golden, name, row)
    {
        snprintf(path, sizeof(path), "%stemplates/%s", GRID_GOLDEN_DIR, name);
        ck_assert_int_eq(file_read(path, 1 << 20, &source, &len, &err), 0);
        grid_assert_hashes(name, source, len, json_string_value(json_object_get(row, "hashes")));
        free(source);
    }
    json_decref(golden);
}
END_TEST

START_TEST(own_templates_give_the_recorded_text)
{
    json_t *golden = grid_load(GRID_GOLDEN_DIR "chat_template/own.json");
    json_t *grid = grid_load(GRID_GOLDEN_DIR "chat_template/grid.json");
    const json_t *contexts = json_object_get(grid, "contexts");
    json_t *context = NULL, *row;
    const char *name;
    char path[4096], *source;
    size_t len;

    for (size_t i = 0; i < json_array_size(contexts) && context == NULL; i++)
        if (strcmp(json_string_value(json_array_get(json_array_get(contexts, i), 0)),
                   "tool_calls/tools/True/False") == 0)
            context = grid_context(grid, i);
    ck_assert_ptr_nonnull(context);
    json_object_foreach(golden, name, row)
    {
        const json_t *wanted = json_object_get(row, "text");
        snprintf(path, sizeof(path), "%stemplates/%s", GRID_GOLDEN_DIR, name);
        ck_assert_int_eq(file_read(path, 1 << 20, &source, &len, &err), 0);
        const int r = render_len(source, len, context);
        ck_assert_int_eq(r == 0, json_is_string(wanted));
        if (r == 0)
            ck_assert_str_eq(out.data, json_string_value(wanted));
        free(source);
    }
    json_decref(context);
    json_decref(grid);
    json_decref(golden);
}
END_TEST

START_TEST(ringlets_template_gives_what_jinja2_gives_over_the_grid)
{
    json_t *config = grid_load(SOURCE_ROOT "/models/ringlet/tokenizer_config.json");
    json_t *golden = grid_load(GRID_GOLDEN_DIR "chat_template/ringlet.json");
    const json_t *source = json_object_get(config, "chat_template");

    grid_assert_hashes("ringlet", json_string_value(source), json_string_length(source),
                       json_string_value(golden));
    json_decref(golden);
    json_decref(config);
}
END_TEST

START_TEST(raised_text_is_the_message)
{
    ck_assert_int_eq(render("{{ raise_exception('Roles must alternate!') }}"), -EINVAL);
    ck_assert_str_eq(err.message, "Roles must alternate!");
    ck_assert_str_eq(err.param, "raise");
    ck_assert_int_eq(render("\n\n{{ x.y }}"), -EINVAL);
    ck_assert_str_eq(err.message, "chat template, line 3: 'x' is undefined");
    ck_assert_str_eq(err.param, "");
}
END_TEST

START_TEST(output_is_unchanged_on_failure)
{
    struct chat_template *template;
    struct strbuf text = { 0 };
    json_t *context = json_object();
    const char *source = "printed {{ raise_exception('x') }}";

    strbuf_append_text(&text, "before");
    ck_assert_int_eq(chat_template_create(source, strlen(source), &template, &err), 0);
    ck_assert_int_eq(chat_template_render(template, context, 0, &text, &err), -EINVAL);
    ck_assert_str_eq(text.data, "before");
    chat_template_destroy(template);
    strbuf_finish(&text);
    json_decref(context);
}
END_TEST

START_TEST(text_is_appended_to_what_is_there)
{
    struct chat_template *template;
    struct strbuf text = { 0 };
    json_t *context = json_pack("{s:s%}", "x", "a\0b", (size_t)3);

    strbuf_append_text(&text, "before ");
    ck_assert_int_eq(chat_template_create("{{ x }}", 7, &template, &err), 0);
    ck_assert_int_eq(chat_template_render(template, context, 0, &text, &err), 0);
    ck_assert_uint_eq(text.len, 10);
    ck_assert_int_eq(memcmp(text.data, "before a\0b", 10), 0);
    chat_template_destroy(template);
    strbuf_finish(&text);
    json_decref(context);
}
END_TEST

START_TEST(what_is_left_out_is_refused_by_name_and_line)
{
    static const char *const rows[][2] = {
        { "\n{% include 'x' %}", "chat template, line 2: tag 'include' is not supported" },
        { "{% block b %}{% endblock %}", "chat template, line 1: tag 'block' is not supported" },
        { "{{ 'a'|urlize }}", "chat template, line 1: filter 'urlize' is not supported" },
        { "\n\n{{ 1|mystery }}", "chat template, line 3: filter 'mystery' is not supported" },
        { "{{ 1 is mystery }}", "chat template, line 1: test 'mystery' is not supported" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        ck_assert_int_eq(render(rows[i][0]), -ENOTSUP);
        ck_assert_str_eq(err.message, rows[i][1]);
    }
}
END_TEST

START_TEST(unknown_filter_behind_a_condition_fails_when_reached)
{
    assert_text("{% if false %}{{ 1|mystery }}{% endif %}ok", "ok");
    ck_assert_int_eq(render("{% if true %}{{ 1|mystery }}{% endif %}"), -EINVAL);
}
END_TEST

START_TEST(source_must_be_utf8_and_of_limited_size)
{
    char *large = malloc(JINJA_MAX_SOURCE + 1);
    json_t *context = json_object();

    memset(large, 'x', JINJA_MAX_SOURCE + 1);
    ck_assert_int_eq(render_len(large, JINJA_MAX_SOURCE + 1, context), -EINVAL);
    ck_assert_int_eq(render_len(large, JINJA_MAX_SOURCE, context), 0);
    ck_assert_uint_eq(out.len, JINJA_MAX_SOURCE);
    ck_assert_int_eq(render_len("a\xff", 2, context), -EINVAL);
    json_decref(context);
    free(large);
}
END_TEST

/* begin * n + middle + end * n */
static char *nested(const char *begin, const char *middle, const char *end, int n)
{
    struct strbuf text = { 0 };
    for (int i = 0; i < n; i++)
        strbuf_append_text(&text, begin);
    strbuf_append_text(&text, middle);
    for (int i = 0; i < n; i++)
        strbuf_append_text(&text, end);
    return text.data;
}

START_TEST(nesting_is_bounded_while_compiling)
{
    static const char *const rows[][3] = {
        { "{% if 1 %}", "x", "{% endif %}" },
        { "{{ ", "1", " }}" },
        { "(", "", ")" },
        { "[", "", "]" },
        { "{'a':", "1", "}" },
        { "not ", "x", "" },
        { "-", "1", "" },
        { "a.", "a", "" },
        { "x+", "x", "" },
        { "f(", "x", ")" },
        { "x if x else ", "x", "" },
        { "x|e|", "e", "" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const bool statement = rows[i][0][0] == '{' && rows[i][0][1] != '\'';
        char *inner = nested(rows[i][0], rows[i][1], rows[i][2], 20000);
        char *source = NULL;
        ck_assert_int_gt(asprintf(&source, statement ? "%s" : "{{ %s }}", inner), 0);
        const int r = render(source);
        ck_assert_msg(r == -ENOTSUP || r == -EINVAL, "%s: %d", rows[i][0], r);
        free(source);
        free(inner);
    }
}
END_TEST

START_TEST(long_chains_of_elif_are_not_deep)
{
    char *source = nested("{% elif x %}a", "{% else %}b{% endif %}", "", 20000);
    char *whole = NULL;
    ck_assert_int_gt(asprintf(&whole, "{%% if x %%}c%s", source), 0);
    assert_text(whole, "b");
    free(whole);
    free(source);
}
END_TEST

START_TEST(every_bound_ends_a_hostile_template)
{
    static const char *const rows[] = {
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 1000000000 }}",
        "{{ ('x' * 16000000) * 2 }}",
        "{{ [0] * 100000000 }}",
        "{{ range(1000000000000)|list }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(x) %}{{ f([x, x]) }}{% endmacro %}{{ f(1) }}",
        "{% set n = namespace(x=1) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}{{ "
        "n.x }}",
        "{% set n = namespace(x=1) %}{% for i in range(9999) %}{% set n.x = [n.x] %}{% endfor %}"
        "{{ n.x == n.x }}{{ n.x|tojson }}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor "
        "%}",
        "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor "
        "%}",
        "{% set n = namespace(x=[1]) %}{% for i in range(9999) %}{% set n.x = n.x|map('string') %}"
        "{% endfor %}{{ n.x|list }}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
        "{% for i in [[]] recursive %}{{ loop([[]]) }}{% endfor %}",
        "{% set x = 'a' * 8000000 %}{% for i in range(9999) %}{{ x.count('a') }}{% endfor %}",
        "{% set x = 'ab' * 4000000 %}{{ x.rfind('a' * 200000) }}{{ x.rsplit('b' + 'a' * 99999 + "
        "'b') }}"
        "{% for i in range(9999) %}{{ x.rfind('a' * 200000) }}{% endfor %}",
        "{{ '%1000000000d' % 1 }}",
        "{{ 'a'.ljust(1000000000) }}",
        "{{ '{:1000000000}'.format(1) }}",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const int r = render(rows[i]);
        ck_assert_msg(r == -E2BIG || r == -EINVAL, "%s: %d %s", rows[i], r, err.message);
    }
}
END_TEST

START_TEST(building_a_text_piece_by_piece_takes_linear_memory)
{
    ck_assert_int_eq(render("{% set n = namespace(s='') %}{% for i in range(20000) %}"
                            "{% set n.s = n.s + 'a piece of text that is not short at all' %}"
                            "{% endfor %}{{ n.s|length }}"),
                     0);
    ck_assert_str_eq(out.data, "800000");
}
END_TEST

START_TEST(output_may_be_four_times_a_large_input)
{
    char *large = nested("x", "", "", 8 << 20);
    json_t *context = json_pack("{s:s}", "x", large);
    const char *source = "{{ x }}{{ x }}{{ x }}{{ x }}";

    ck_assert_int_eq(render_len(source, strlen(source), context), 0);
    ck_assert_uint_eq(out.len, (size_t)32 << 20);
    json_decref(context);
    free(large);
}
END_TEST

START_TEST(clock_is_the_callers)
{
    assert_text("{{ strftime_now('%d %b %Y %H:%M:%S %f') }}", "28 Jul 2025 10:53:20 000000");
}
END_TEST

START_TEST(detects_templates_that_take_parts)
{
    static const struct {
        const char *source;
        bool wanted;
    } rows[] = {
        { "{% for m in messages %}{{ m.content }}{% endfor %}", false },
        { "{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}",
          true },
        { "{% for m in messages %}{% for c in m['content'] %}{{ c.text }}{% endfor %}{% endfor %}",
          true },
        { "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% endif %}{% endfor "
          "%}",
          false },
        { "{% set content = messages[0].content %}{% for c in content %}{% endfor %}", true },
        { "{% set a = messages[0].content %}{% set b = a %}{% for c in b|list %}{% endfor %}",
          true },
        { "{% set b = a %}{% set a = messages[0].content %}{% for c in b %}{% endfor %}", true },
        { "{{ messages[0].content[0].text }}", true },
        { "{{ messages[0]['content'][0]['text'] }}", true },
        { "{{ messages[0].content[0] }}", false },
        { "{{ messages[0].content.split('x')[0].strip() }}", false },
        { "{% macro r(c) %}{% for i in c %}{{ i }}{% endfor %}{% endmacro %}{{ r(m.content) }}",
          true },
        { "{% macro r(c, d) %}{% for i in d %}{{ i }}{% endfor %}{% endmacro %}{{ r(m.content, 1) "
          "}}",
          false },
        { "{% for t in tools %}{% for p in t.parameters %}{% endfor %}{% endfor %}", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct chat_template *template;
        ck_assert_int_eq(
            chat_template_create(rows[i].source, strlen(rows[i].source), &template, &err), 0);
        ck_assert_msg(chat_template_wants_parts(template) == rows[i].wanted, "%s", rows[i].source);
        chat_template_destroy(template);
    }
}
END_TEST

START_TEST(knows_which_variables_are_mentioned)
{
    const char *source = "{% set y = 1 %}{{ tools }}{{ a.enable_thinking }}{{ f(k=1) }}";
    struct chat_template *template;

    ck_assert_int_eq(chat_template_create(source, strlen(source), &template, &err), 0);
    ck_assert(chat_template_uses(template, "tools"));
    ck_assert(chat_template_uses(template, "f"));
    ck_assert(!chat_template_uses(template, "enable_thinking"));
    ck_assert(!chat_template_uses(template, "y"));
    ck_assert(!chat_template_uses(template, "k"));
    ck_assert(!chat_template_uses(template, "loop"));
    chat_template_destroy(template);
}
END_TEST

START_TEST(context_that_is_no_object_is_refused)
{
    json_t *context = json_array();
    ck_assert_int_eq(render_len("x", 1, context), -EINVAL);
    json_decref(context);
    chat_template_destroy(NULL);
}
END_TEST

RUN_ROWS("chat_template", setup, teardown, 120, ONCE(one_line_templates_give_what_jinja2_gives),
         ONCE(own_templates_give_what_jinja2_gives_over_the_grid),
         ONCE(own_templates_give_the_recorded_text),
         ONCE(ringlets_template_gives_what_jinja2_gives_over_the_grid),
         ONCE(raised_text_is_the_message), ONCE(output_is_unchanged_on_failure),
         ONCE(text_is_appended_to_what_is_there),
         ONCE(what_is_left_out_is_refused_by_name_and_line),
         ONCE(unknown_filter_behind_a_condition_fails_when_reached),
         ONCE(source_must_be_utf8_and_of_limited_size), ONCE(nesting_is_bounded_while_compiling),
         ONCE(long_chains_of_elif_are_not_deep), ONCE(every_bound_ends_a_hostile_template),
         ONCE(building_a_text_piece_by_piece_takes_linear_memory),
         ONCE(output_may_be_four_times_a_large_input), ONCE(clock_is_the_callers),
         ONCE(detects_templates_that_take_parts), ONCE(knows_which_variables_are_mentioned),
         ONCE(context_that_is_no_object_is_refused))
