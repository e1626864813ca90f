/*
 * llama_peer - llama.cpp's tokens for a file, to compare with
 *
 *     cc -I PREFIX/include llama_peer.c -L PREFIX/lib -lllama -lggml -lggml-base
 *     llama_peer MODEL.gguf f32|f16 [POSITIONS]
 *
 * The second is the type of keys and values, the third the length of the context (1024). Each line
 * of stdin is a command, each answer a line of ids:
 *
 *     text TEXT              its tokens (\n stands for a line feed), control tokens recognised
 *     best ID...             behind each prefix the likeliest token
 *     greedy NUM ID...       NUM likeliest tokens behind it, each fed to the next
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"

enum { MAX_TOKENS = 4096, MAX_LINE = 1 << 20 };

static struct llama_model *model;
static struct llama_context *context;
static int32_t num_vocab;

static void be_quiet(enum ggml_log_level level, const char *text, void *unused)
{
    (void)unused;
    if (level == GGML_LOG_LEVEL_ERROR)
        fputs(text, stderr);
}

static void fail(const char *what)
{
    fprintf(stderr, "llama_peer: %s\n", what);
    exit(1);
}

static llama_token best_of(const float *logits)
{
    llama_token best = 0;
    for (int32_t i = 1; i < num_vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* Run ids[0..num) from position `begin` on. */
static void run(const llama_token *ids, int32_t num, int32_t begin)
{
    struct llama_batch batch = llama_batch_init(num, 0, 1);
    batch.n_tokens = num;
    for (int32_t i = 0; i < num; i++) {
        batch.token[i] = ids[i];
        batch.pos[i] = begin + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch) != 0)
        fail("llama_decode failed");
    llama_batch_free(batch);
}

static int32_t read_ids(char *text, llama_token *ids)
{
    int32_t num = 0;
    for (char *end; num < MAX_TOKENS; text = end) {
        const long id = strtol(text, &end, 10);
        if (end == text)
            break;
        if (id < 0 || id >= num_vocab)
            fail("an id is none of the vocabulary");
        ids[num++] = (llama_token)id;
    }
    return num;
}

static void print_best(const llama_token *ids, int32_t num)
{
    llama_memory_clear(llama_get_memory(context), true);
    run(ids, num, 0);
    for (int32_t i = 0; i < num; i++)
        printf("%s%d", i > 0 ? " " : "", best_of(llama_get_logits_ith(context, i)));
    printf("\n");
}

static void print_greedy(int32_t wanted, const llama_token *ids, int32_t num)
{
    llama_memory_clear(llama_get_memory(context), true);
    run(ids, num, 0);
    llama_token next = best_of(llama_get_logits_ith(context, num - 1));
    for (int32_t i = 0; i < wanted; i++) {
        printf("%s%d", i > 0 ? " " : "", next);
        run(&next, 1, num + i);
        next = best_of(llama_get_logits_ith(context, 0));
    }
    printf("\n");
}

static void print_tokens(char *text, llama_token *ids)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        const int is_feed = from[0] == '\\' && from[1] == 'n';
        *to++ = is_feed ? '\n' : *from;
        from += is_feed;
    }
    const int32_t num = llama_tokenize(llama_model_get_vocab(model), text, (int32_t)(to - text),
                                       ids, MAX_TOKENS, true, true);
    for (int32_t i = 0; i < num; i++)
        printf("%s%d", i > 0 ? " " : "", ids[i]);
    printf("\n");
}

static void answer(char *line)
{
    static llama_token ids[MAX_TOKENS];
    line[strcspn(line, "\n")] = '\0';
    if (strncmp(line, "text ", 5) == 0) {
        print_tokens(line + 5, ids);
    } else if (strncmp(line, "best ", 5) == 0) {
        print_best(ids, read_ids(line + 5, ids));
    } else if (strncmp(line, "greedy ", 7) == 0) {
        char *rest;
        const long wanted = strtol(line + 7, &rest, 10);
        print_greedy((int32_t)wanted, ids, read_ids(rest, ids));
    } else {
        fail("a line is none of text, best and greedy");
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[MAX_LINE];
    if (argc < 3 || argc > 4)
        fail("wanted: llama_peer MODEL.gguf f32|f16 [POSITIONS]");
    llama_log_set(be_quiet, NULL);
    llama_backend_init();
    model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == NULL)
        fail("the model cannot be loaded");
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch =
        argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : 1024;
    params.type_k = params.type_v = strcmp(argv[2], "f32") == 0 ? GGML_TYPE_F32 : GGML_TYPE_F16;
    params.n_threads = params.n_threads_batch = 1;
    context = llama_init_from_model(model, params);
    if (context == NULL)
        fail("no context");
    num_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    while (fgets(line, sizeof(line), stdin) != NULL)
        answer(line);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
