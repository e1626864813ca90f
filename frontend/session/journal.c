#include "frontend/session/journal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "frontend/session/suspect.h"

/* ------------------------------------------------------------------ making and encoding */

static uint32_t num_choices(const struct journal *journal)
{
    return journal->submit.params->num_choices;
}

/* Encode `source`, check the bytes as an engine will, and let the journal point into them. */
static int encode(struct journal *journal, const struct record_submit *source,
                  const struct record_bounds *bounds, struct error *err)
{
    struct record_submit checked;
    const size_t num_bytes = record_submit_bytes(source);
    void *bytes = malloc(num_bytes);
    if (bytes == NULL)
        return error_set(err, -ENOMEM, "no memory for a submission of %zu bytes", num_bytes);
    record_submit_encode(source, bytes);
    if (record_submit_decode(bytes, num_bytes, bounds, &checked, err) < 0) {
        free(bytes);
        if (err != NULL)
            err->code = -EINVAL; /* the fault of who asked, not of a peer */
        return -EINVAL;
    }
    free(journal->bytes);
    journal->bytes = bytes;
    journal->num_bytes = num_bytes;
    journal->submit = checked;
    return 0;
}

static int encode_first(struct journal *journal, const struct session_submit *submit,
                        const struct record_bounds *bounds, struct error *err)
{
    const struct session_prompt *prompt = &submit->prompts[journal->index];
    struct record_params params = *submit->params;
    if (params.max_tokens == 0)
        params.max_tokens = 1;
    if (params.num_choices == 0 || params.num_choices > RECORD_MAX_CHOICES)
        return error_set_param(err, -EINVAL, "n", "n is %u, must be in [1, %d]", params.num_choices,
                               RECORD_MAX_CHOICES);
    struct record_submit source = { .params = &params,
                                    .prompt = prompt->ids,
                                    .num_prompt = prompt->num_ids,
                                    .num_choices = params.num_choices,
                                    .biases = submit->biases,
                                    .num_biases = submit->num_biases,
                                    .eos_ids = submit->eos_ids,
                                    .num_eos_ids = submit->num_eos_ids,
                                    .stop_ids = submit->stop_ids,
                                    .num_stop_ids = submit->num_stop_ids,
                                    .allowed_ids = submit->allowed_ids,
                                    .num_allowed_ids = submit->num_allowed_ids,
                                    .bad_words = submit->bad_words,
                                    .bad_words_len = submit->bad_words_len };
    for (uint32_t i = 0; i < params.num_choices; i++)
        source.choices[i].index = i;
    return encode(journal, &source, bounds, err);
}

int journal_create(const struct session_submit *submit, uint32_t index,
                   const struct record_bounds *bounds, struct journal **ret_journal,
                   struct error *err)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    if (journal == NULL)
        return error_set(err, -ENOMEM, "no memory for a request");
    journal->index = index;
    journal->wants_output = submit->params->max_tokens > 0;
    int r = encode_first(journal, submit, bounds, err);
    if (r < 0)
        goto fail;
    journal->num_live = journal->num_at_engine = num_choices(journal);
    journal->choices = calloc(num_choices(journal), sizeof(*journal->choices));
    if (journal->choices == NULL) {
        r = error_set(err, -ENOMEM, "no memory for %u choices", num_choices(journal));
        goto fail;
    }
    *ret_journal = journal;
    return 0;

fail:
    journal_destroy(journal);
    return r;
}

void journal_destroy(struct journal *journal)
{
    if (journal == NULL)
        return;
    for (uint32_t i = 0; journal->choices != NULL && i < num_choices(journal); i++) {
        free(journal->choices[i].tokens);
        free(journal->choices[i].logprobs);
        held_text_finish(&journal->choices[i].text);
    }
    free(journal->choices);
    free(journal->prompt_logprobs);
    free(journal->bytes);
    free(journal);
}

static bool is_live(const struct journal_choice *choice)
{
    return !choice->is_finished && choice->finish == 0;
}

bool journal_end_choices(struct journal *journal)
{
    bool any = false;
    for (uint32_t i = 0; i < num_choices(journal); i++) {
        struct journal_choice *choice = &journal->choices[i];
        const bool is_full = choice->num_accepted == journal->submit.params->max_tokens;
        if (!is_live(choice) || (!choice->has_ended && !is_full))
            continue;
        choice->finish = choice->has_ended ? RECORD_FINISH_EOS : RECORD_FINISH_LENGTH;
        journal->num_at_engine--;
        any = true;
    }
    return any;
}

bool journal_needs_engine(const struct journal *journal)
{
    for (uint32_t i = 0; i < num_choices(journal); i++)
        if (is_live(&journal->choices[i]))
            return true;
    return false;
}

int journal_encode(struct journal *journal, const struct record_bounds *bounds, struct error *err)
{
    struct record_submit source = journal->submit;
    struct record_params params = *journal->submit.params;
    bool has_output = false;
    params.flags |= RECORD_RESUMED;
    if (journal->num_deaths >= SUSPECT_DEATHS)
        params.flags |= RECORD_SUSPECT;
    source.params = &params;
    source.num_choices = 0;
    for (uint32_t i = 0; i < num_choices(journal); i++) {
        struct journal_choice *choice = &journal->choices[i];
        if (!is_live(choice))
            continue;
        has_output |= choice->num_accepted > 0;
        if (choice->num_logprobs > choice->num_accepted)
            choice->num_logprobs = choice->num_accepted; /* they come again with their tokens */
        source.choices[source.num_choices].index = i;
        source.choices[source.num_choices].ids = choice->tokens;
        source.choices[source.num_choices].num_ids = choice->num_accepted;
        source.num_choices++;
    }
    const int r = encode(journal, &source, bounds, err);
    if (r < 0)
        return r;
    if (!has_output)
        journal->num_prompt_logprobs = 0; /* the new engine scores the prompt from its beginning */
    journal->num_at_engine = source.num_choices;
    journal->stage = JOURNAL_SUBMITTED;
    return 0;
}

/* ------------------------------------------------------------------ the digest */

static bool hash(const uint8_t salt[16], const void *bytes, size_t len, uint8_t *ret_digest)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    const bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) &&
                      EVP_DigestUpdate(context, salt, 16) &&
                      EVP_DigestUpdate(context, bytes, len) &&
                      EVP_DigestFinal_ex(context, ret_digest, NULL);
    EVP_MD_CTX_free(context);
    return good;
}

int journal_digest(const struct journal *journal, const uint8_t salt[16],
                   uint8_t ret_digest[JOURNAL_DIGEST_BYTES])
{
    struct record_submit asked = journal->submit;
    struct record_params params = *journal->submit.params;
    params.flags &= ~(uint32_t)(RECORD_RESUMED | RECORD_SUSPECT);
    params.seed_low = params.seed_high = params.deadline_low = params.deadline_high = 0;
    asked.params = &params;
    asked.num_choices = 0;
    const size_t num_bytes = record_submit_bytes(&asked);
    void *bytes = malloc(num_bytes);
    if (bytes == NULL)
        return -ENOMEM;
    record_submit_encode(&asked, bytes);
    const bool good = hash(salt, bytes, num_bytes, ret_digest);
    free(bytes);
    return good ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------ checks */

bool journal_is_end(const struct journal *journal, int32_t id)
{
    return record_is_eos(&journal->submit, id) || record_is_stop(&journal->submit, id);
}

static bool is_value(float logprob)
{
    return isfinite(logprob) || (isinf(logprob) && logprob < 0);
}

/* One position: the own token's entry, then `k` alternatives, of which -1 fills the absent. */
static int check_position(const struct record_logprob *entries, int32_t k, int32_t vocab_size,
                          struct error *err)
{
    for (int32_t i = 0; i <= k; i++) {
        const bool absent = i > 0 && entries[i].token_id == -1;
        if (!absent && (entries[i].token_id < 0 || entries[i].token_id >= vocab_size))
            return error_set(err, -EPROTO, "LOGPROBS: token %d, the vocabulary has %d",
                             entries[i].token_id, vocab_size);
        if (!absent && !is_value(entries[i].logprob))
            return error_set(err, -EPROTO, "LOGPROBS: token %d has log-probability %g",
                             entries[i].token_id, (double)entries[i].logprob);
    }
    return 0;
}

/* How many positions `len` bytes are, when each has 1 + k entries. */
static int count_positions(size_t len, int32_t k, uint32_t *ret_num, struct error *err)
{
    const size_t each = (1 + (size_t)k) * sizeof(struct record_logprob);
    if (k < 0)
        return error_set(err, -EPROTO, "LOGPROBS: none were asked for");
    if (len == 0 || len % each != 0)
        return error_set(err, -EPROTO, "LOGPROBS: %zu bytes, must be a multiple of %zu", len, each);
    *ret_num = (uint32_t)(len / each);
    return 0;
}

static int check_position_order(const char *kind, uint32_t pos, uint32_t wanted, struct error *err)
{
    if (pos > wanted)
        return error_set(err, -EPROTO, "%s: position %u, expected %u", kind, pos, wanted);
    return pos == wanted;
}

static int check_token(const struct journal *journal, const struct journal_choice *choice,
                       uint32_t pos, int32_t id, int32_t vocab_size, struct error *err)
{
    const int32_t k = journal->submit.params->num_logprobs;
    if (id < 0 || id >= vocab_size)
        return error_set(err, -EPROTO, "TOKENS: token %d, the vocabulary has %d", id, vocab_size);
    if (k < 0)
        return 0;
    if (pos > choice->num_logprobs)
        return record_is_eos(&journal->submit,
                             id) /* its entry is not shown, so it may be missing */
                   ? 0
                   : error_set(err, -EPROTO, "TOKENS: position %u without its LOGPROBS", pos);
    const struct record_logprob *own = &choice->logprobs[(size_t)(pos - 1) * (1 + (size_t)k)];
    if (own->token_id != id)
        return error_set(err, -EPROTO, "TOKENS: token %d at position %u, LOGPROBS told of %d", id,
                         pos, own->token_id);
    return 0;
}

static int check_tokens(const struct journal *journal, const struct journal_choice *choice,
                        const int32_t *ids, uint32_t num_ids, int32_t vocab_size, struct error *err)
{
    const uint32_t max_tokens = journal->submit.params->max_tokens;
    if (num_ids > max_tokens - choice->num_accepted)
        return error_set(err, -EPROTO, "TOKENS: %u behind position %u, max_tokens is %u", num_ids,
                         choice->num_accepted, max_tokens);
    bool ended = choice->has_ended || choice->finish != 0;
    for (uint32_t i = 0; i < num_ids; i++) {
        if (ended)
            return error_set(err, -EPROTO, "TOKENS: position %u behind the end of the choice",
                             choice->num_accepted + i + 1);
        const int r =
            check_token(journal, choice, choice->num_accepted + i + 1, ids[i], vocab_size, err);
        if (r < 0)
            return r;
        ended = journal_is_end(journal, ids[i]);
    }
    return 0;
}

/* ------------------------------------------------------------------ accepting */

/* Room for `need` elements of `size` bytes, growing by half at least. */
static int grow(void **array, uint32_t *cap, uint64_t need, size_t size)
{
    if (need <= *cap)
        return 0;
    uint64_t wanted = *cap + (uint64_t)*cap / 2;
    if (wanted < need)
        wanted = need;
    if (wanted < 16)
        wanted = 16;
    if (wanted > UINT32_MAX || wanted > SIZE_MAX / size)
        return -ENOMEM;
    void *grown = realloc(*array, (size_t)wanted * size);
    if (grown == NULL)
        return -ENOMEM;
    *array = grown;
    *cap = (uint32_t)wanted;
    return 0;
}

int journal_accept_tokens(struct journal *journal, uint32_t index, uint32_t pos, const int32_t *ids,
                          uint32_t num_ids, int32_t vocab_size, struct error *err)
{
    struct journal_choice *choice = &journal->choices[index];
    int r = check_position_order("TOKENS", pos, choice->num_accepted + 1, err);
    if (r <= 0)
        return r;
    r = check_tokens(journal, choice, ids, num_ids, vocab_size, err);
    if (r < 0)
        return r;
    void *tokens = choice->tokens;
    r = grow(&tokens, &choice->cap_tokens, (uint64_t)choice->num_accepted + num_ids,
             sizeof(*choice->tokens));
    choice->tokens = tokens;
    if (r < 0)
        return r;
    memcpy(choice->tokens + choice->num_accepted, ids, num_ids * sizeof(*ids));
    choice->num_accepted += num_ids;
    choice->has_ended = journal_is_end(journal, ids[num_ids - 1]);
    return 1;
}

int journal_accept_logprobs(struct journal *journal, uint32_t index, uint32_t pos,
                            const struct record_logprob *logprobs, size_t len, int32_t vocab_size,
                            struct error *err)
{
    struct journal_choice *choice = &journal->choices[index];
    const int32_t k = journal->submit.params->num_logprobs;
    const uint32_t max_tokens = journal->submit.params->max_tokens;
    uint32_t num_positions = 0;
    int r = count_positions(len, k, &num_positions, err);
    if (r < 0)
        return r;
    r = check_position_order("LOGPROBS", pos, choice->num_logprobs + 1, err);
    if (r <= 0)
        return r;
    if (num_positions > max_tokens - choice->num_logprobs)
        return error_set(err, -EPROTO, "LOGPROBS: %u behind position %u, max_tokens is %u",
                         num_positions, choice->num_logprobs, max_tokens);
    const size_t each = 1 + (size_t)k;
    for (uint32_t i = 0; i < num_positions; i++)
        if ((r = check_position(logprobs + i * each, k, vocab_size, err)) < 0)
            return r;
    void *kept = choice->logprobs;
    r = grow(&kept, &choice->cap_logprobs, (uint64_t)choice->num_logprobs + num_positions,
             each * sizeof(*logprobs));
    choice->logprobs = kept;
    if (r < 0)
        return r;
    memcpy(choice->logprobs + choice->num_logprobs * each, logprobs, len);
    choice->num_logprobs += num_positions;
    return 1;
}

/* Nothing precedes position 0, so its entry says nothing and may be left out. */
static const struct record_logprob no_entry = { .token_id = -1 };

static int check_prompt_entries(const struct journal *journal, uint32_t pos,
                                const struct record_logprob *logprobs, uint32_t num_positions,
                                int32_t vocab_size, struct error *err)
{
    const int32_t k = journal->submit.params->num_prompt_logprobs;
    for (uint32_t i = pos == 0; i < num_positions; i++) {
        const struct record_logprob *entries = logprobs + i * (1 + (size_t)k);
        const int32_t id = journal->submit.prompt[pos + i];
        const int r = check_position(entries, k, vocab_size, err);
        if (r < 0)
            return r;
        if (entries->token_id != id)
            return error_set(err, -EPROTO, "LOGPROBS: token %d at prompt position %u, which is %d",
                             entries->token_id, pos + i, id);
    }
    return 0;
}

static int alloc_prompt_logprobs(struct journal *journal)
{
    const size_t each = 1 + (size_t)journal->submit.params->num_prompt_logprobs;
    if (journal->prompt_logprobs != NULL)
        return 0;
    journal->prompt_logprobs = calloc(journal->submit.num_prompt, each * sizeof(no_entry));
    return journal->prompt_logprobs == NULL ? -ENOMEM : 0;
}

int journal_accept_prompt_logprobs(struct journal *journal, uint32_t pos,
                                   const struct record_logprob *logprobs, size_t len,
                                   int32_t vocab_size, struct error *err)
{
    const int32_t k = journal->submit.params->num_prompt_logprobs;
    uint32_t num_positions = 0;
    int r = count_positions(len, k, &num_positions, err);
    if (r < 0)
        return r;
    const uint32_t have = journal->num_prompt_logprobs;
    r = have == 0 && pos == 1 ? 1 : check_position_order("LOGPROBS of the prompt", pos, have, err);
    if (r <= 0)
        return r;
    if (pos > journal->submit.num_prompt || num_positions > journal->submit.num_prompt - pos)
        return error_set(err, -EPROTO, "LOGPROBS: %u from prompt position %u, the prompt has %u",
                         num_positions, pos, journal->submit.num_prompt);
    r = check_prompt_entries(journal, pos, logprobs, num_positions, vocab_size, err);
    if (r == 0)
        r = alloc_prompt_logprobs(journal);
    if (r < 0)
        return r;
    memcpy(journal->prompt_logprobs + pos * (1 + (size_t)k), logprobs, len);
    journal->prompt_logprobs[0] = no_entry;
    journal->num_prompt_logprobs = pos + num_positions;
    return 1;
}

bool journal_has_prompt_logprobs(const struct journal *journal)
{
    return journal->submit.params->num_prompt_logprobs < 0 || journal->submit.num_prompt == 1 ||
           journal->num_prompt_logprobs == journal->submit.num_prompt;
}

static int check_done(const struct journal *journal, const struct journal_choice *choice,
                      const struct record_done *done, struct error *err)
{
    const uint32_t num_prompt = journal->submit.num_prompt;
    if (done->reason != RECORD_FINISH_EOS && done->reason != RECORD_FINISH_LENGTH)
        return error_set(err, -EPROTO, "DONE: reason %u is not known", done->reason);
    if (done->prompt_tokens != num_prompt || done->cached_tokens > num_prompt)
        return error_set(err, -EPROTO, "DONE: %u prompt tokens, %u cached, the prompt has %u",
                         done->prompt_tokens, done->cached_tokens, num_prompt);
    if (done->output_tokens != choice->num_accepted)
        return error_set(err, -EPROTO, "DONE: %u output tokens, %u came", done->output_tokens,
                         choice->num_accepted);
    if (done->reason == RECORD_FINISH_EOS && !choice->has_ended)
        return error_set(err, -EPROTO, "DONE: end of text, but the last token does not end it");
    return 0;
}

int journal_accept_done(struct journal *journal, uint32_t index, const struct record_done *done,
                        struct error *err)
{
    struct journal_choice *choice = &journal->choices[index];
    if (choice->finish != 0)
        return 0;
    const int r = choice->is_finished ? 0 : check_done(journal, choice, done, err);
    if (r < 0)
        return r;
    choice->finish = choice->has_ended ? RECORD_FINISH_EOS : RECORD_FINISH_LENGTH;
    journal->num_at_engine--;
    return 1;
}
