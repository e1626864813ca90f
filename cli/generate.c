#include "cli/generate.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "frontend/session/attach.h"
#include "frontend/session/chat_prompt.h"
#include "frontend/session/model_card.h"
#include "frontend/session/session.h"
#include "shm/channel.h"
#include "shm/doorbell.h"
#include "supervisor/supervised.h"

enum { MAX_PROMPT_BYTES = 16 << 20, DRAIN_CELLS = 4096 };

struct generate {
    struct settings settings;
    struct model_card *card;
    struct tokenizer_scratch *scratch;
    struct session *session;
    struct supervised seat;
    bool engine_is_up, answer_is_over, terminal;
    int exit_code;
    json_t *messages; /* of the chat so far */
    struct strbuf answer;
    int64_t submitted_us, first_us;
    enum answer_finish finish;
    struct answer_usage usage;
};

/* --- control --- */

/* Take one message; false when the supervisor is gone or wants an end. */
static bool take_control(struct generate *g)
{
    struct control_message message;
    int fds[CHANNEL_FDS_MAX];
    size_t num_fds;
    struct error err;
    const int n = channel_receive(g->seat.control, &message, sizeof(message), fds, &num_fds);

    if (n == -EAGAIN)
        return true;
    if (n != (int)sizeof(message) || message.kind == CONTROL_STOP)
        return false;
    if (message.kind == CONTROL_ENGINE_LINK) {
        if (attach_engine(g->session, &message, fds, num_fds, &err) < 0) {
            g->exit_code = supervised_fail(&g->seat, EXIT_CODE_DEVICE, err.message);
            return false;
        }
        g->engine_is_up = true;
        return true;
    }
    if (message.kind == CONTROL_ENGINE_DOWN) {
        g->engine_is_up = false;
        session_engine_down(g->session, message.engine,
                            &(struct session_death){ .for_good = message.failed,
                                                     .model_changed = message.model_changed,
                                                     .is_attributable = message.attributable },
                            NULL);
    }
    for (size_t i = 0; i < num_fds; i++)
        close(fds[i]);
    return true;
}

/* Wait for the supervisor or the engine; false at the end of everything. */
static bool wait_and_drain(struct generate *g)
{
    struct pollfd fds[] = { { .fd = g->seat.control, .events = POLLIN },
                            { .fd = g->seat.doorbell, .events = POLLIN } };
    if (session_prepare_sleep(g->session))
        (void)poll(fds, 2, 1000);
    session_end_sleep(g->session);
    doorbell_clear(g->seat.doorbell);
    if ((fds[0].revents & POLLIN) != 0 && !take_control(g))
        return false;
    if ((fds[0].revents & (POLLHUP | POLLERR)) != 0 && (fds[0].revents & POLLIN) == 0)
        return false;
    while (session_drain(g->session, DRAIN_CELLS, NULL) == DRAIN_CELLS)
        ;
    session_tick(g->session, clock_now_us(), NULL);
    return true;
}

/* --- one answer --- */

static void on_event(void *owner, const struct answer_event *event)
{
    struct generate *g = owner;
    switch (event->kind) {
    case ANSWER_TEXT:
        if (g->first_us == 0)
            g->first_us = clock_now_us();
        strbuf_append(&g->answer, event->text, event->text_len);
        if (!g->settings.json) {
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
        g->exit_code =
            supervised_fail(&g->seat, EXIT_CODE_DEVICE, record_failure_name(event->failure));
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
    const struct settings *s = &g->settings;
    const struct model_card_sampling *model = &g->card->sampling;
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

    if (!session_get_limits(g->session, &limits))
        return error_set(err, -ENOTCONN, "the engine is not there");
    if (ids->num == 0)
        return error_set(err, -EINVAL, "--prompt: it has no tokens");
    if ((int64_t)ids->num >= limits.max_model_len)
        return error_set(err, -EINVAL,
                         "--prompt: %zu tokens, the model's maximum context length is %d", ids->num,
                         limits.max_model_len);
    const int64_t room = limits.max_model_len - (int64_t)ids->num;
    const int64_t asked = g->settings.max_tokens;
    const struct record_params params =
        make_params(g, (uint32_t)(asked == 0 || asked > room ? room : asked));
    const struct session_prompt prompt = { ids->ids, (uint32_t)ids->num };
    for (int32_t i = 0; i < g->settings.stop.num; i++) {
        stops[i] = g->settings.stop.items[i].text;
        stop_lens[i] = g->settings.stop.items[i].len;
    }
    const struct session_submit what = {
        .prompts = &prompt,
        .num_prompts = 1,
        .params = &params,
        .eos_ids = g->card->eos_ids,
        .num_eos_ids = g->card->num_eos_ids,
        .stops = stops,
        .stop_lens = stop_lens,
        .num_stops = (uint32_t)g->settings.stop.num,
        .callback = on_event,
        .owner = g,
        .request_id = "generate",
    };
    g->submitted_us = clock_now_us();
    return session_submit(g->session, &what, &request, err);
}

static int encode(struct generate *g, const char *text, size_t len, struct token_ids *ids,
                  struct error *err)
{
    if (g->messages == NULL) {
        const unsigned flags = TOKENIZER_ADD_SPECIAL | TOKENIZER_PARSE_SPECIAL;
        const int r = tokenizer_encode(g->card->tokenizer, g->scratch, text, len, flags, 0, ids);
        return r < 0 ? error_set(err, r, "--prompt: no memory for its tokens") : 0;
    }
    json_t *message = json_pack("{s:s, s:o}", "role", "user", "content", json_stringn(text, len));
    if (message == NULL || json_array_append_new(g->messages, message) < 0)
        return error_set(err, -EINVAL, "--prompt: it is not valid UTF-8");
    const struct chat_prompt_options options = { .messages = g->messages,
                                                 .add_generation_prompt = true,
                                                 .wall_us = clock_wall_us() };
    return chat_prompt_encode(g->card, g->scratch, &options, false, SIZE_MAX, ids, err);
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
        g->exit_code = supervised_fail(&g->seat, EXIT_CODE_USAGE, err.message);
        return r;
    }
    while (!g->answer_is_over)
        if (!wait_and_drain(g))
            return -ECANCELED;
    if (g->exit_code != 0)
        return -EIO;
    if (g->settings.json)
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
    fprintf(stderr, "Chat with %s; an empty line or Ctrl-D ends.\n", g->card->names[0]);
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
    const char *prompt = g->settings.prompt;
    const bool talk = prompt == NULL && isatty(STDIN_FILENO) != 0;
    struct strbuf text = { .limit = MAX_PROMPT_BYTES };
    int r;

    if ((talk || g->settings.chat) && (g->messages = json_array()) == NULL)
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

static int open_model(struct generate *g, struct status_page *page, struct error *err)
{
    const struct model_card_options options = { .directory = g->settings.model,
                                                .names = &g->settings.served_model_name,
                                                .chat_template = g->settings.chat_template,
                                                .generation_config =
                                                    g->settings.generation_config };
    int r = model_card_open(&options, &g->card, err);
    if (r < 0)
        return r;
    const struct session_options session = { .tokenizer = g->card->tokenizer, .status = page };
    r = session_create(&session, &g->session);
    if (r == 0)
        r = tokenizer_scratch_create(g->card->tokenizer, &g->scratch);
    return r < 0 ? error_set(err, r, "no memory for the tokenizer") : 0;
}

static void close_model(struct generate *g)
{
    json_decref(g->messages);
    strbuf_finish(&g->answer);
    session_destroy(g->session);
    tokenizer_scratch_destroy(g->scratch);
    model_card_close(g->card);
}

int generate_main(int control_fd, const struct control_message *hello, const int *fds,
                  size_t num_fds)
{
    static struct generate g;
    struct error err;

    g = (struct generate){ 0 };
    if (supervised_open(&g.seat, control_fd, hello, fds, num_fds, SETTINGS_GENERATE, &g.settings,
                        &err) < 0)
        return supervised_fail(&g.seat, EXIT_CODE_USAGE, err.message);
    if (open_model(&g, g.seat.page, &err) < 0) {
        const int code = supervised_fail(&g.seat, EXIT_CODE_MODEL, err.message);
        close_model(&g);
        return code;
    }
    supervised_tell(&g.seat, CONTROL_READY);
    while (!g.engine_is_up && g.exit_code == 0)
        if (!wait_and_drain(&g))
            return EXIT_CODE_DEVICE;
    const int r = run(&g);
    if (r == 0)
        supervised_tell(&g.seat, CONTROL_FINISHED);
    while (r == 0 && take_control(&g)) /* the supervisor ends everybody */
        (void)poll(&(struct pollfd){ .fd = control_fd, .events = POLLIN }, 1, 1000);
    close_model(&g);
    return g.exit_code;
}
