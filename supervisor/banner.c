#include "supervisor/banner.h"

#include <inttypes.h>
#include <string.h>

#include "shm/status.h"

static void fact(const char *facts, const char *key, char *out, size_t size)
{
    if (!status_fact_text(facts, key, out, size))
        snprintf(out, size, "?");
}

static double mebibytes(const char *facts, const char *key)
{
    int64_t bytes = 0;
    (void)status_fact_int(facts, key, &bytes);
    return (double)bytes / (1024 * 1024);
}

void banner_url(const struct settings *settings, char *out, size_t size)
{
    const char *host = settings->host;
    const bool any = strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    const bool v6 = !any && strchr(host, ':') != NULL;
    snprintf(out, size, "%s://%s%s%s:%" PRId64, settings->ssl_certfile != NULL ? "https" : "http",
             v6 ? "[" : "", any ? "127.0.0.1" : host, v6 ? "]" : "", settings->port);
}

/* "  loaded   0.99 GB in 0.52 s, 1.9 GB/s from the page cache" */
static void print_load(const char *facts, FILE *out)
{
    static const struct {
        const char *name, *words;
    } origins[] = { { "direct", "by direct reads" }, { "buffered", "through the page cache" } };
    char from[16];
    int64_t bytes = 0, us = 0;
    if (!status_fact_text(facts, "load_from", from, sizeof(from)) ||
        !status_fact_int(facts, "load_bytes", &bytes) || !status_fact_int(facts, "load_us", &us))
        return;
    for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++)
        if (us > 0 && strcmp(from, origins[i].name) == 0)
            fprintf(out, "  loaded   %.2f GB in %.2f s, %.1f GB/s %s\n", (double)bytes / 1e9,
                    (double)us / 1e6, (double)bytes / (double)us / 1e3, origins[i].words);
}

void banner_print(const struct settings *settings, const char *facts, int64_t load_us, FILE *out)
{
    char url[320], type[64], dtype[16], isa[96], kv_dtype[16], context[32], threads[16],
        backend[16];
    int64_t kv_tokens = 0;
    const char *name = settings->served_model_name.items[0].text;
    const int name_len = (int)settings->served_model_name.items[0].len;

    banner_url(settings, url, sizeof(url));
    fact(facts, "model_type", type, sizeof(type));
    fact(facts, "dtype", dtype, sizeof(dtype));
    fact(facts, "backend", backend, sizeof(backend));
    fact(facts, "isa", isa, sizeof(isa));
    fact(facts, "threads", threads, sizeof(threads));
    fact(facts, "kv_dtype", kv_dtype, sizeof(kv_dtype));
    fact(facts, "max_model_len", context, sizeof(context));
    (void)status_fact_int(facts, "kv_tokens", &kv_tokens);

    fprintf(out, "\nTokenring %s is ready after %.2f s\n", TOKENRING_VERSION,
            (double)load_us / 1e6);
    fprintf(out, "  model    %.*s (%s, %s, %.1f MiB) on %s, %s, %s threads\n", name_len, name, type,
            dtype, mebibytes(facts, "weight_bytes"), backend, isa, threads);
    print_load(facts, out);
    fprintf(out, "  context  %s tokens\n", context);
    fprintf(out, "  kv cache %.1f MiB of %s, %" PRId64 " tokens\n", mebibytes(facts, "kv_bytes"),
            kv_dtype, kv_tokens);
    fprintf(out, "  address  %s\n\n", url);
    fprintf(out,
            "  curl -N%s %s/v1/chat/completions -H 'content-type: application/json'%s \\\n"
            "    -d '{\"model\":\"%.*s\",\"stream\":true,\"messages\":[{\"role\":\"user\","
            "\"content\":\"What is the capital of France?\"}]}'\n\n",
            settings->ssl_certfile != NULL ? "k" : "", url,
            settings->api_key.num > 0 || settings->api_key_file != NULL
                ? " -H \"authorization: Bearer $TOKENRING_API_KEY\""
                : "",
            name_len, name);
    fflush(out);
}
