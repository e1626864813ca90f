#include <jansson.h>
#include <string.h>

#include "frontend/index.h"
#include "tests/unit/runner.h"

static const struct index_facts facts = {
    .model = "a<b>&\"c\"", .state = "ready", .address = "localhost:8000", .scheme = "http"
};
static struct strbuf out;

static void setup(void)
{
    out = (struct strbuf){ 0 };
}

static void teardown(void)
{
    strbuf_finish(&out);
}

START_TEST(page_names_model_and_state_and_escapes_them)
{
    index_write_html(&facts, &out);
    ck_assert_ptr_nonnull(strstr(out.data, "<b>a&lt;b&gt;&amp;&quot;c&quot;</b>"));
    ck_assert_ptr_nonnull(strstr(out.data, "<b>ready</b>"));
    ck_assert_ptr_nonnull(strstr(out.data, "<b>" TOKENRING_VERSION "</b>"));
    ck_assert_ptr_null(strstr(out.data, "a<b>&"));
}
END_TEST

START_TEST(curl_line_has_the_address_and_the_model_as_json)
{
    index_write_html(&facts, &out);
    ck_assert_ptr_nonnull(strstr(out.data, "curl http://localhost:8000/v1/chat/completions"));
    ck_assert_ptr_nonnull(
        strstr(out.data, "\"model\":&quot;a&lt;b&gt;&amp;\\&quot;c\\&quot;&quot;"));
}
END_TEST

START_TEST(page_asks_nothing_of_other_hosts)
{
    index_write_html(&facts, &out);
    ck_assert_ptr_null(strstr(out.data, "https://"));
    ck_assert_ptr_null(strstr(out.data, "<script"));
    ck_assert_ptr_null(strstr(out.data, "src="));
}
END_TEST

START_TEST(json_says_the_same)
{
    index_write_json(&facts, &out);
    json_t *value = json_loadb(out.data, out.len, 0, NULL);
    ck_assert_ptr_nonnull(value);
    ck_assert_str_eq(json_string_value(json_object_get(value, "model")), facts.model);
    ck_assert_str_eq(json_string_value(json_object_get(value, "state")), "ready");
    ck_assert_str_eq(json_string_value(json_object_get(value, "version")), TOKENRING_VERSION);
    ck_assert(json_array_size(json_object_get(value, "links")) > 3);
    json_decref(value);
}
END_TEST

RUN_SUITE_AROUND("index", setup, teardown, page_names_model_and_state_and_escapes_them,
                 curl_line_has_the_address_and_the_model_as_json, page_asks_nothing_of_other_hosts,
                 json_says_the_same)
