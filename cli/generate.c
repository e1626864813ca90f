#include "cli/generate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/seat.h"
#include "frontend/session/chat_prompt.h"

enum { MAX_PROMPT_BYTES = 16 << 20 };

struct generate {
    struct seat seat;
    struct tokenizer_scratch *scratch;
    bool answer_is_over;
    json_t *messages; /* of the chat so far */
    struct strbuf answer;
    int64_t submitted_us, first_us;
    enum answer_finish finish;
    struct answer_usage usage;
};

/* --- one answer --- */

static void on_event(void *owner, const struct answer_event *event)
{
    struct generate *g = owner;
    switch (event->kind) {
    case ANSWER_TEXT:
        if (g->first_us == 0)
            g->first_us = clock_now_us();
        strbuf_append(&g->answer, event->text, event->text_len);
        if (!g->seat.settings.json) {
            fwrite(event->text, 1, event->text_len, stdout);
            fflush(stdout);
        }
        break;
    case ANSWER_FINISHED:
        g->finish = event->finish;
        break;
    case ANSWER_END:
        g->usage = event->usage;
        g->answer_is_over = true;
        break;
    case ANSWER_FAILED:
        g->answer_is_over = true;
        seat_fail(&g->seat, EXIT_CODE_DEVICE, record_failure_name(event->failure));
        break;
    default:
        break;
    }
}

static double choose(double asked, double model)
{
    return asked >= 0 ? asked : model;
}

static struct record_params make_params(const struct generate *g, uint32_t max_tokens)
{
    const struct settings *s = &g->seat.settings;
    const struct model_card_sampling *model = &g->seat.card->sampling;
    uint64_t seed = (uint64_t)s->seed;
    if (s->seed < 0 && getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
        seed = (uint64_t)clock_now_us();
    return (struct record_params){
        .max_tokens = max_tokens,
        .num_choices = 1,
        .seed_low = (uint32_t)seed,
        .seed_high = (uint32_t)(seed >> 32),
        .temperature = (float)choose(s->temperature, model->temperature),
        .top_p = (float)choose(s->top_p, model->top_p),
        .min_p = (float)choose(s->min_p, model->min_p),
        .typical_p = 1,
        .top_k = s->top_k >= 0 ? (int32_t)s->top_k : model->top_k,
        .repetition_penalty = (float)model->repetition_penalty,
        .num_logprobs = -1,
        .num_prompt_logprobs = -1,
    };
}

static int submit(struct generate *g, const struct token_ids *ids, struct error *err)
{
    struct session_limits limits;
    const char *stops[OPTION_LIST_MAX];
    size_t stop_lens[OPTION_LIST_MAX];
    struct session_request *request;

    if (!session_get_limits(g->seat.session, &limits))
        return error_set(err, -ENOTCONN, "the engine is not there");
    if (ids->num == 0)
        return error_set(err, -EINVAL, "--prompt: it has no tokens");
    if ((int64_t)ids->num >= limits.max_model_len)
        return error_set(err, -EINVAL,
                         "--prompt: %zu tokens, the model's maximum context length is %d", ids->num,
                         limits.max_model_len);
    const int64_t room = limits.max_model_len - (int64_t)ids->num;
    const int64_t asked = g->seat.settings.max_tokens;
    const struct record_params params =
        make_params(g, (uint32_t)(asked == 0 || asked > room ? room : asked));
    const struct session_prompt prompt = { ids->ids, (uint32_t)ids->num };
    for (int32_t i = 0; i < g->seat.settings.stop.num; i++) {
        stops[i] = g->seat.settings.stop.items[i].text;
        stop_lens[i] = g->seat.settings.stop.items[i].len;
    }
    const struct session_submit what = {
        .prompts = &prompt,
        .num_prompts = 1,
        .params = &params,
        .eos_ids = g->seat.card->eos_ids,
        .num_eos_ids = g->seat.card->num_eos_ids,
        .stops = stops,
        .stop_lens = stop_lens,
        .num_stops = (uint32_t)g->seat.settings.stop.num,
        .callback = on_event,
        .owner = g,
        .request_id = "generate",
    };
    g->submitted_us = clock_now_us();
    return session_submit(g->seat.session, &what, &request, err);
}

static int encode(struct generate *g, const char *text, size_t len, struct token_ids *ids,
                  struct error *err)
{
    if (g->messages == NULL) {
        const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
        const int r =
            tokenizer_encode(g->seat.card->tokenizer, g->scratch, text, len, flags, 0, ids);
        return r < 0 ? error_set(err, r, "--prompt: no memory for its tokens") : 0;
    }
    json_t *message = json_pack("{s:s, s:o}", "role", "user", "content", json_stringn(text, len));
    if (message == NULL || json_array_append_new(g->messages, message) < 0)
        return error_set(err, -EINVAL, "--prompt: it is not valid UTF-8");
    const struct chat_prompt_options options = { .messages = g->messages,
                                                 .add_generation_prompt = true,
                                                 .wall_us = clock_wall_us() };
    return chat_prompt_encode(g->seat.card, g->scratch, &options, false, SIZE_MAX, ids, err);
}

static void print_json(const struct generate *g)
{
    struct strbuf out = { 0 };
    strbuf_append_text(&out, "{\"text\":");
    strbuf_append_json_string(&out, g->answer.data != NULL ? g->answer.data : "", g->answer.len);
    strbuf_printf(
        &out, ",\"finish_reason\":\"%s\",\"prompt_tokens\":%llu,\"completion_tokens\":%llu}\n",
        g->finish == ANSWER_FINISH_STOP ? "stop" : "length",
        (unsigned long long)g->usage.prompt_tokens, (unsigned long long)g->usage.completion_tokens);
    if (!out.failed)
        fwrite(out.data, 1, out.len, stdout);
    strbuf_finish(&out);
}

static void print_rates(const struct generate *g)
{
    const int64_t end = clock_now_us();
    const double ttft = (double)(g->first_us - g->submitted_us) / 1e6;
    const double rest = (double)(end - g->first_us) / 1e6;
    const double tokens = (double)g->usage.completion_tokens;
    fprintf(stderr, "%llu prompt tokens, %.0f tokens, first after %.3f s, then %.1f tokens/s\n",
            (unsigned long long)g->usage.prompt_tokens, tokens, g->first_us != 0 ? ttft : 0.0,
            tokens > 1 && rest > 0 ? (tokens - 1) / rest : 0.0);
}

/* Returns 0 when the answer is printed, a negative errno when everything has to end. */
static int answer(struct generate *g, const char *text, size_t len)
{
    struct token_ids ids = { 0 };
    struct error err;

    strbuf_reset(&g->answer);
    g->answer_is_over = false;
    g->first_us = 0;
    int r = encode(g, text, len, &ids, &err);
    if (r == 0)
        r = submit(g, &ids, &err);
    token_ids_finish(&ids);
    if (r < 0) {
        seat_fail(&g->seat, EXIT_CODE_USAGE, err.message);
        return r;
    }
    while (!g->answer_is_over)
        if (!seat_wait(&g->seat))
            return -ECANCELED;
    if (g->seat.exit_code != 0)
        return -EIO;
    if (g->seat.settings.json)
        print_json(g);
    else
        fputc('\n', stdout);
    fflush(stdout);
    print_rates(g);
    return 0;
}

/* --- prompts --- */

static int read_pipe(struct strbuf *text)
{
    char part[65536];
    ssize_t n;
    while ((n = read(STDIN_FILENO, part, sizeof(part))) > 0)
        strbuf_append(text, part, (size_t)n);
    return n < 0 || text->failed ? -EIO : 0;
}

static int chat(struct generate *g)
{
    char *line = NULL;
    size_t cap = 0;
    int r = 0;
    fprintf(stderr, "Chat with %s; an empty line or Ctrl-D ends.\n", g->seat.card->names[0]);
    while (r == 0) {
        fputs("> ", stderr);
        ssize_t len = getline(&line, &cap, stdin);
        if (len <= 1)
            break;
        r = answer(g, line, (size_t)len - (line[len - 1] == '\n'));
        json_t *reply =
            json_pack("{s:s, s:o}", "role", "assistant", "content",
                      json_stringn(g->answer.data != NULL ? g->answer.data : "", g->answer.len));
        if (reply == NULL || json_array_append_new(g->messages, reply) < 0)
            r = -ENOMEM;
    }
    free(line);
    return r;
}

static int run(struct generate *g)
{
    const char *prompt = g->seat.settings.prompt;
    const bool talk = prompt == NULL && isatty(STDIN_FILENO) != 0;
    struct strbuf text = { .limit = MAX_PROMPT_BYTES };
    int r;

    if ((talk || g->seat.settings.chat) && (g->messages = json_array()) == NULL)
        return -ENOMEM;
    if (talk)
        return chat(g);
    if (prompt != NULL)
        return answer(g, prompt, strlen(prompt));
    r = read_pipe(&text);
    if (r == 0)
        r = answer(g, text.data != NULL ? text.data : "", text.len);
    strbuf_finish(&text);
    return r;
}

/* --- the role --- */

static void close_all(struct generate *g)
{
    json_decref(g->messages);
    strbuf_finish(&g->answer);
    tokenizer_scratch_destroy(g->scratch);
    seat_close(&g->seat);
}

int generate_main(int control_fd, const struct control_message *hello, const int *fds,
                  size_t num_fds)
{
    static struct generate g;
    g = (struct generate){ 0 };
    int r = seat_open(&g.seat, control_fd, hello, fds, num_fds, SETTINGS_GENERATE);
    if (r == 0 && tokenizer_scratch_create(g.seat.card->tokenizer, &g.scratch) < 0)
        seat_fail(&g.seat, EXIT_CODE_MODEL, "no memory for the tokenizer");
    if (r == 0 && g.seat.exit_code == 0 && run(&g) == 0)
        seat_finish(&g.seat);
    r = r != 0 ? r : g.seat.exit_code;
    close_all(&g);
    return r;
}
