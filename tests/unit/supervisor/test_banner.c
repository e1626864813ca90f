#include "supervisor/banner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/runner.h"

static struct settings settings;

static void name_model(const char *name)
{
    (void)settings_begin(&settings, SETTINGS_SERVE);
    settings.served_model_name.items[0].text = name;
    settings.served_model_name.items[0].len = strlen(name);
    settings.served_model_name.num = 1;
}

START_TEST(the_url_is_one_that_a_client_can_use)
{
    static const char *const hosts[][2] = { { "127.0.0.1", "http://127.0.0.1:8000" },
                                            { "0.0.0.0", "http://127.0.0.1:8000" },
                                            { "::", "http://127.0.0.1:8000" },
                                            { "::1", "http://[::1]:8000" } };
    char url[128];
    name_model("m");
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        settings.host = hosts[i][0];
        banner_url(&settings, url, sizeof(url));
        ck_assert_str_eq(url, hosts[i][1]);
    }
    settings.ssl_certfile = "cert.pem";
    banner_url(&settings, url, sizeof(url));
    ck_assert_str_eq(url, "https://[::1]:8000");
}
END_TEST

START_TEST(it_tells_model_context_cache_address_and_a_line_to_try)
{
    char *text = NULL;
    size_t len = 0;
    name_model("ringlet");
    FILE *out = open_memstream(&text, &len);
    banner_print(
        &settings,
        "max_model_len=2048\nnum_blocks=1000\nkv_tokens=16000\nkv_bytes=33554432\n"
        "kv_dtype=f16\nweight_bytes=5242880\nbackend=cpu\nisa=avx512\nthreads=2\nmodel_type=llama\n"
        "dtype=bf16\nload_us=500000\nload_bytes=990000000\nload_from=direct\n",
        120000, out);
    fclose(out);
    static const char *const wanted[] = { "ringlet",
                                          "llama",
                                          "bf16",
                                          "5.0 MiB",
                                          "2048 tokens",
                                          "32.0 MiB of f16",
                                          "16000 tokens",
                                          "curl -N http://127.0.0.1:8000/v1/chat/completions",
                                          "0.12 s",
                                          "0.99 GB in 0.50 s, 2.0 GB/s by direct reads",
                                          "on cpu, avx512, 2 threads" };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "%s lacks %s", text, wanted[i]);
    free(text);
}
END_TEST

RUN_SUITE("banner", the_url_is_one_that_a_client_can_use,
          it_tells_model_context_cache_address_and_a_line_to_try)
