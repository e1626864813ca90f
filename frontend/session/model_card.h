/*
 * model_card.h - what serving a model needs beside its weights
 *
 * Tokenizer, chat template, ids that end a text, sampling defaults and served names of a model
 * directory: tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json,
 * config.json; or of a GGUF file. Read once; immutable then, any thread.
 */
#ifndef FRONTEND_SESSION_MODEL_CARD_H
#define FRONTEND_SESSION_MODEL_CARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/option.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

enum { MODEL_CARD_MAX_EOS = 64, MODEL_CARD_NAME_BYTES = 256 };

/* How the model wants to be sampled where a request is silent. */
struct model_card_sampling {
    double temperature, top_p, min_p, repetition_penalty;
    int32_t top_k;
};

struct model_card_special {
    const char *text; /* the literal of a special token, len bytes */
    size_t len;
};

struct model_card {
    struct tokenizer *tokenizer;
    struct chat_template *template;      /* NULL: the model has none */
    bool template_knows_developer;       /* its text names that role */
    struct model_card_special *specials; /* [num_specials], sorted by bytes */
    size_t num_specials;
    bool special_begins[256]; /* some special token begins with this byte */
    int32_t eos_ids[MODEL_CARD_MAX_EOS];
    uint32_t num_eos_ids;
    struct model_card_sampling sampling;
    char bos_text[64], eos_text[64]; /* for templates that name them; "" where there is none */
    char **names;                    /* [num_names], the first is canonical */
    size_t num_names;
    char architecture[64]; /* config.json's first, or "" */
    char directory[4096];  /* or the GGUF file */
};

struct model_card_options {
    const char *directory;           /* or a GGUF file; NULL: the embedded model */
    const struct option_list *names; /* served names, may be empty or NULL */
    const char *chat_template;       /* file or text that replaces the model's, or NULL */
    const char *generation_config;   /* "auto", "none", "vllm" */
};

/*
 * Returns 0; the errno of a file that cannot be read; -EINVAL or -ENOTSUP with what a file holds
 * and what was wanted; -ENOMEM.
 */
int model_card_open(const struct model_card_options *options, struct model_card **ret_card,
                    struct error *err);
void model_card_close(struct model_card *card);

/* The served name that `name` means, or NULL. "" and "default" mean the first. */
const char *model_card_find_name(const struct model_card *card, const char *name, size_t len);

/* Does a special token's literal begin at text[0]? Its length, the longest; 0: none. */
size_t model_card_match_special(const struct model_card *card, const char *text, size_t len);

#endif
