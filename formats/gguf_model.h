/*
 * gguf_model.h - a GGUF model in the words of the files beside a safetensors checkpoint
 *
 * GGUF and Hugging Face name the same facts differently. What is read here comes out as the
 * text of a config.json, a tokenizer.json and so on, and tensors get their Hugging Face names, so
 * that whoever reads a model has one way to do it. What the metadata leave to be implied by the
 * architecture is written out.
 *
 * Source: llama.cpp's convert_hf_to_gguf.py and its loader, read as data; HF's configurations.
 */
#ifndef FORMATS_GGUF_MODEL_H
#define FORMATS_GGUF_MODEL_H

#include <jansson.h>

#include "formats/gguf.h"

struct gguf_arch;

/* The row of general.architecture. Returns 0, -EINVAL, or -ENOTSUP for one that has none. */
int gguf_arch_find(const struct gguf *gguf, const struct gguf_arch **ret_arch, struct error *err);

/*
 * The text of a config.json, malloc'ed. Whether its sizes make sense is for the reader of that
 * text to say.
 *
 * Returns 0; -EINVAL for a key that is missing or of another type; -ENOTSUP; -ENOMEM; the errno of
 * reading (some facts lie in tensors).
 */
int gguf_config_json(const struct gguf_files *files, char **ret_text, size_t *ret_len,
                     struct error *err);

enum { GGUF_NAME_BYTES = 128 };

/* What a tensor is called in a safetensors checkpoint. */
struct gguf_name {
    char text[GGUF_NAME_BYTES]; /* where is_stacked with a %d, the number of the expert */
    bool is_stacked;            /* experts behind each other, the last dimension counts them */
    /* Rows of q or k, or a bias of them: row 2 i + j of a head is what HF has as row
     * j head_dim / 2 + i. */
    bool is_interleaved;
    bool is_key;     /* of k: as many heads as there are of KV */
    bool is_row;     /* a matrix of one row, which GGUF has as a vector */
    bool holds_one;  /* a norm that HF stores as its distance from 1 */
    bool is_ignored; /* says nothing that gguf_config_json() has not said */
};

/* False for a name that the architecture does not have. */
bool gguf_name_map(const struct gguf_arch *arch, const char *name, struct gguf_name *ret_name);

/* The architecture that a model_type of config.json is in GGUF; NULL when there is none. */
const struct gguf_arch *gguf_arch_named(const char *model_type);

/*
 * The other way: what the tensor of a safetensors checkpoint is called in GGUF (`ret_text`), and
 * what gguf_name_map() says of that name; *ret_part is the expert of a stacked one. False for a
 * name that the architecture does not have.
 */
bool gguf_name_invert(const struct gguf_arch *arch, const char *name, struct gguf_name *ret_name,
                      char ret_text[GGUF_NAME_BYTES], int32_t *ret_part);

/*
 * The text of a tokenizer.json, malloc'ed. Returns 0; -EINVAL for arrays that are missing, of other
 * lengths or hold what is no text; -ENOTSUP for a tokenizer or pre-tokenizer without a row;
 * -ENOMEM.
 */
int gguf_tokenizer_json(const struct gguf *gguf, char **ret_text, size_t *ret_len,
                        struct error *err);

/* What tokenizer_config.json would hold: bos_token, eos_token, chat_template; and what
 * generation_config.json would: eos_token_id. Return 0, -EINVAL, -ENOMEM. */
int gguf_tokenizer_config(const struct gguf *gguf, json_t **ret_config, struct error *err);
int gguf_generation_config(const struct gguf *gguf, json_t **ret_config, struct error *err);

#endif
