#include "frontend/session/model_card.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/utf8.h"
#include "frontend/session/model_files.h"

enum { MAX_TEMPLATE_BYTES = 1024 * 1024 };

/* --- where the model is ------------------------------------------------------------------- */

static bool has_file(const char *directory, const char *name)
{
    char path[PATH_MAX];
    const int n = snprintf(path, sizeof(path), "%s/%s", directory, name);
    return n < (int)sizeof(path) && access(path, R_OK) == 0;
}

/* Beside the executable: installed, or in the tree it was built in. */
static int find_embedded(char *out, size_t size, struct error *err)
{
    static const char *const places[] = { "../share/tokenring/ringlet", "../models/ringlet",
                                          "../../models/ringlet", "../../../models/ringlet" };
    char program[PATH_MAX];
    const ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash != NULL)
        *slash = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (snprintf(out, size, "%s/%s", program, places[i]) < (int)size &&
            has_file(out, "tokenizer.json"))
            return 0;
    return error_set(err, -ENOENT,
                     "the embedded model is not beside the executable in %s; name a "
                     "model directory",
                     program);
}

static int find_directory(struct model_card *card, const char *directory, struct error *err)
{
    if (directory == NULL)
        return find_embedded(card->directory, sizeof(card->directory), err);
    if (snprintf(card->directory, sizeof(card->directory), "%s", directory) >=
        (int)sizeof(card->directory))
        return error_set(err, -ENAMETOOLONG, "the model directory's name is too long");
    return 0;
}

/* --- names -------------------------------------------------------------------------------- */

static int add_name(struct model_card *card, const char *name, size_t len)
{
    char **names = realloc(card->names, (card->num_names + 1) * sizeof(*names));
    if (names == NULL)
        return -ENOMEM;
    card->names = names;
    names[card->num_names] = strndup(name, len);
    if (names[card->num_names] == NULL)
        return -ENOMEM;
    card->num_names++;
    return 0;
}

static int default_names(struct model_card *card, const struct model_card_options *options)
{
    char clean[PATH_MAX];
    snprintf(clean, sizeof(clean), "%s", card->directory);
    for (size_t n = strlen(clean); n > 1 && clean[n - 1] == '/'; n--)
        clean[n - 1] = '\0';
    const char *slash = strrchr(clean, '/');
    const char *last = slash != NULL ? slash + 1 : clean;
    const int r = add_name(card, last, strlen(last));
    if (r < 0 || options->directory == NULL || strcmp(last, options->directory) == 0)
        return r;
    return add_name(card, options->directory, strlen(options->directory));
}

static int set_names(struct model_card *card, const struct model_card_options *options,
                     struct error *err)
{
    const int32_t num = options->names != NULL ? options->names->num : 0;
    int r = 0;
    for (int32_t i = 0; r == 0 && i < num; i++) {
        const size_t len = options->names->items[i].len;
        const char *text = options->names->items[i].text;
        if (len == 0 || len > MODEL_CARD_NAME_BYTES || utf8_valid_prefix(text, len) != len)
            return error_set_param(err, -EINVAL, "served_model_name",
                                   "--served-model-name: a name of %zu bytes, 1 to %d bytes of "
                                   "UTF-8 are wanted",
                                   len, MODEL_CARD_NAME_BYTES);
        r = add_name(card, text, len);
    }
    if (r == 0 && num == 0)
        r = default_names(card, options);
    return r < 0 ? error_set(err, r, "no memory for model names") : 0;
}

const char *model_card_find_name(const struct model_card *card, const char *name, size_t len)
{
    if (len == 0 || (len == 7 && memcmp(name, "default", 7) == 0))
        return card->names[0];
    for (size_t i = 0; i < card->num_names; i++)
        if (strlen(card->names[i]) == len && memcmp(card->names[i], name, len) == 0)
            return card->names[i];
    return NULL;
}

/* --- special tokens ----------------------------------------------------------------------- */

static int compare_specials(const void *a, const void *b)
{
    const struct model_card_special *x = a, *y = b;
    const int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

static int collect_specials(struct model_card *card, struct error *err)
{
    const int32_t num_ids = tokenizer_num_ids(card->tokenizer);
    size_t num = 0;
    for (int32_t id = 0; id < num_ids; id++)
        num += tokenizer_is_special(card->tokenizer, id);
    card->specials = calloc(num > 0 ? num : 1, sizeof(*card->specials));
    if (card->specials == NULL)
        return error_set(err, -ENOMEM, "no memory for %zu special tokens", num);
    for (int32_t id = 0; id < num_ids; id++) {
        struct model_card_special special;
        if (!tokenizer_is_special(card->tokenizer, id))
            continue;
        special.text = tokenizer_bytes(card->tokenizer, id, &special.len);
        if (special.text == NULL || special.len == 0)
            continue;
        card->special_begins[(unsigned char)special.text[0]] = true;
        card->specials[card->num_specials++] = special;
    }
    qsort(card->specials, card->num_specials, sizeof(*card->specials), compare_specials);
    return 0;
}

/* The byte at `at`, or -1 for a text that ends before. */
static int byte_at(const struct model_card_special *special, size_t at)
{
    return special->len > at ? (unsigned char)special->text[at] : -1;
}

/* First of the sorted run [low, high), whose first `at` bytes agree, with a byte >= `c` there. */
static size_t lower_bound(const struct model_card *card, size_t at, int c, size_t low, size_t high)
{
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (byte_at(&card->specials[middle], at) < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t model_card_match_special(const struct model_card *card, const char *text, size_t len)
{
    size_t low = 0, high = card->num_specials, longest = 0;
    if (len == 0 || !card->special_begins[(unsigned char)text[0]])
        return 0;
    for (size_t at = 0; at < len && low < high; at++) {
        const int c = (unsigned char)text[at];
        low = lower_bound(card, at, c, low, high);
        high = lower_bound(card, at, c + 1, low, high);
        if (low < high && card->specials[low].len == at + 1)
            longest = at + 1;
    }
    return longest;
}

/* --- chat template ------------------------------------------------------------------------ */

/* tokenizer_config.json holds one text, or a list of named ones of which "default" is for chat. */
static const json_t *template_of(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template");
    const json_t *entry;
    size_t i;
    if (json_is_string(value))
        return value;
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_object_get(entry, "template");
    }
    return NULL;
}

static int compile(struct model_card *card, const char *source, size_t len, const char *where,
                   struct error *err)
{
    struct error why = { 0 };
    const int r = chat_template_create(source, len, &card->template, &why);
    if (r < 0)
        return error_set(err, r, "%s: chat template: %s", where, why.message);
    card->template_knows_developer = memmem(source, len, "developer", 9) != NULL;
    return 0;
}

static int compile_file(struct model_card *card, const char *path, struct error *err)
{
    char *text;
    size_t len;
    int r = file_read(path, MAX_TEMPLATE_BYTES, &text, &len, err);
    if (r < 0)
        return r;
    r = compile(card, text, len, path, err);
    free(text);
    return r;
}

static int open_template(struct model_card *card, const char *given, const json_t *config,
                         struct error *err)
{
    char path[PATH_MAX];
    if (given != NULL && access(given, R_OK) == 0)
        return compile_file(card, given, err);
    if (given != NULL && strstr(given, "{") != NULL)
        return compile(card, given, strlen(given), "--chat-template", err);
    if (given != NULL)
        return error_set(err, -ENOENT,
                         "--chat-template %.80s: neither a readable file nor a "
                         "template",
                         given);
    if (has_file(card->directory, "chat_template.jinja") &&
        snprintf(path, sizeof(path), "%s/chat_template.jinja", card->directory) < (int)sizeof(path))
        return compile_file(card, path, err);
    const json_t *text = template_of(config);
    if (!json_is_string(text))
        return 0;
    return compile(card, json_string_value(text), json_string_length(text), "tokenizer_config.json",
                   err);
}

/* "eos_token" is a text, or an object with "content". */
static const char *token_text(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

static void copy_token(char *out, size_t size, const char *text)
{
    if (text != NULL && strlen(text) < size)
        snprintf(out, size, "%s", text);
}

/* --- ends of text and sampling ------------------------------------------------------------ */

static void add_eos(struct model_card *card, int64_t id)
{
    if (id < 0 || id >= tokenizer_num_ids(card->tokenizer) ||
        card->num_eos_ids == MODEL_CARD_MAX_EOS)
        return;
    for (uint32_t i = 0; i < card->num_eos_ids; i++)
        if (card->eos_ids[i] == id)
            return;
    card->eos_ids[card->num_eos_ids++] = (int32_t)id;
}

static void add_eos_value(struct model_card *card, const json_t *value)
{
    const json_t *entry;
    size_t i;
    int64_t id;
    if (json_get_int64(value, &id))
        add_eos(card, id);
    json_array_foreach(value, i, entry) if (json_get_int64(entry, &id)) add_eos(card, id);
}

/* The tokenizer's own, those of both configs, and the words with which chat turns end. */
static void collect_eos(struct model_card *card, const json_t *generation, const json_t *config)
{
    static const char *const turn_ends[] = { "<|im_end|>", "<|eot_id|>", "<|eom_id|>",
                                             "<end_of_turn>", "<|end|>" };
    if (card->eos_text[0] != '\0')
        add_eos(card, tokenizer_find(card->tokenizer, card->eos_text, strlen(card->eos_text)));
    add_eos_value(card, json_object_get(generation, "eos_token_id"));
    add_eos_value(card, json_object_get(config, "eos_token_id"));
    for (size_t i = 0; i < sizeof(turn_ends) / sizeof(turn_ends[0]); i++) {
        const int32_t id = tokenizer_find(card->tokenizer, turn_ends[i], strlen(turn_ends[i]));
        if (id >= 0 && tokenizer_is_special(card->tokenizer, id))
            add_eos(card, id);
    }
}

static void take_real(const json_t *config, const char *key, double min, double max, double *value)
{
    const json_t *given = json_object_get(config, key);
    const double real = json_number_value(given);
    if (json_is_number(given) && real >= min && real <= max)
        *value = real;
}

static void set_sampling(struct model_card *card, const json_t *generation)
{
    struct model_card_sampling *s = &card->sampling;
    int64_t top_k;
    *s = (struct model_card_sampling){
        .temperature = 1, .top_p = 1, .min_p = 0, .repetition_penalty = 1, .top_k = 0
    };
    take_real(generation, "temperature", 0, 2, &s->temperature);
    take_real(generation, "top_p", 1e-6, 1, &s->top_p);
    take_real(generation, "min_p", 0, 1, &s->min_p);
    take_real(generation, "repetition_penalty", 1e-3, 10, &s->repetition_penalty);
    if (json_get_int64(json_object_get(generation, "top_k"), &top_k) && top_k > 0 &&
        top_k < INT32_MAX)
        s->top_k = (int32_t)top_k;
    if (json_is_false(json_object_get(generation, "do_sample")))
        s->temperature = 0;
}

/* --- the whole ---------------------------------------------------------------------------- */

static void take_facts(struct model_card *card, const struct model_files *configs, bool defaults)
{
    const json_t *architectures = json_object_get(configs->model, "architectures");
    copy_token(card->architecture, sizeof(card->architecture),
               json_string_value(json_array_get(architectures, 0)));
    copy_token(card->bos_text, sizeof(card->bos_text), token_text(configs->tokenizer, "bos_token"));
    copy_token(card->eos_text, sizeof(card->eos_text), token_text(configs->tokenizer, "eos_token"));
    collect_eos(card, configs->generation, configs->model);
    set_sampling(card, defaults ? configs->generation : NULL);
}

static int fill(struct model_card *card, const struct model_card_options *options,
                struct error *err)
{
    struct model_files configs = { 0 };
    const bool defaults =
        options->generation_config == NULL || strcmp(options->generation_config, "auto") == 0;
    int r = find_directory(card, options->directory, err);
    if (r == 0)
        r = set_names(card, options, err);
    if (r == 0)
        r = model_files_read(card->directory, &configs, err);
    if (r == 0)
        r = model_files_tokenizer(card->directory, &card->tokenizer, err);
    if (r == 0)
        r = collect_specials(card, err);
    if (r == 0)
        r = open_template(card, options->chat_template, configs.tokenizer, err);
    if (r == 0)
        take_facts(card, &configs, defaults);
    model_files_finish(&configs);
    return r;
}

int model_card_open(const struct model_card_options *options, struct model_card **ret_card,
                    struct error *err)
{
    struct model_card *card = calloc(1, sizeof(*card));
    if (card == NULL)
        return error_set(err, -ENOMEM, "no memory for the model card");
    const int r = fill(card, options, err);
    if (r < 0) {
        model_card_close(card);
        return r;
    }
    *ret_card = card;
    return 0;
}

void model_card_close(struct model_card *card)
{
    if (card == NULL)
        return;
    for (size_t i = 0; i < card->num_names; i++)
        free(card->names[i]);
    free(card->names);
    free(card->specials);
    if (card->template != NULL)
        chat_template_destroy(card->template);
    if (card->tokenizer != NULL)
        tokenizer_close(card->tokenizer);
    free(card);
}
