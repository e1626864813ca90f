#include "text/added_tokens.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

enum { SEVERAL = -1, NONE = -2 };

int added_tokens_init(struct added_tokens *added)
{
    *added = (struct added_tokens){ .only_byte = NONE, .cap_nodes = 64, .num_nodes = 1 };
    added->nodes = calloc((size_t)added->cap_nodes, sizeof(*added->nodes));
    return added->nodes != NULL ? 0 : -ENOMEM;
}

void added_tokens_finish(struct added_tokens *added)
{
    free(added->tokens);
    free(added->nodes);
    *added = (struct added_tokens){ .only_byte = NONE };
}

static int32_t new_node(struct added_tokens *added, uint8_t byte)
{
    if (added->num_nodes == added->cap_nodes) {
        const int32_t cap = added->cap_nodes * 2;
        void *bigger =
            cap > 0 ? reallocarray(added->nodes, (size_t)cap, sizeof(*added->nodes)) : NULL;
        if (bigger == NULL)
            return -1;
        added->nodes = bigger;
        added->cap_nodes = cap;
    }
    added->nodes[added->num_nodes] = (struct added_tokens_node){ .token = -1, .byte = byte };
    return added->num_nodes++;
}

static int32_t find_child(const struct added_tokens *added, int32_t node, uint8_t byte)
{
    int32_t child = added->nodes[node].child;
    while (child > 0 && added->nodes[child].byte != byte)
        child = added->nodes[child].sibling;
    return child;
}

static int32_t child_for(struct added_tokens *added, int32_t node, uint8_t byte)
{
    int32_t child = find_child(added, node, byte);
    if (child > 0)
        return child;
    child = new_node(added, byte);
    if (child > 0) {
        added->nodes[child].sibling = added->nodes[node].child;
        added->nodes[node].child = child;
    }
    return child;
}

static int32_t root_for(struct added_tokens *added, uint8_t byte)
{
    if (added->roots[byte] > 0)
        return added->roots[byte];
    const int32_t root = new_node(added, byte);
    if (root > 0) {
        added->roots[byte] = root;
        added->only_byte = added->only_byte == NONE ? byte : SEVERAL;
    }
    return root;
}

static int new_token(struct added_tokens *added, struct added_token token)
{
    if (added->num_tokens == added->cap_tokens) {
        const int32_t cap = added->cap_tokens > 0 ? added->cap_tokens * 2 : 16;
        void *bigger = reallocarray(added->tokens, (size_t)cap, sizeof(*added->tokens));
        if (bigger == NULL)
            return -ENOMEM;
        added->tokens = bigger;
        added->cap_tokens = cap;
    }
    added->tokens[added->num_tokens++] = token;
    return 0;
}

int added_tokens_add(struct added_tokens *added, const char *text, size_t len,
                     struct added_token token)
{
    int32_t node = root_for(added, (uint8_t)text[0]);
    for (size_t i = 1; node > 0 && i < len; i++)
        node = child_for(added, node, (uint8_t)text[i]);
    if (node <= 0 || new_token(added, token) < 0)
        return -ENOMEM;
    added->nodes[node].token = added->num_tokens - 1;
    added->strips = added->strips || token.lstrip || token.rstrip;
    return 0;
}

void added_tokens_begin(struct added_tokens_cursor *cursor, const struct added_tokens *added,
                        const char *text, size_t len, bool parse_special)
{
    *cursor = (struct added_tokens_cursor){
        .added = added, .text = text, .len = len, .parse_special = parse_special, .next.id = -1
    };
}

static bool is_mark(const struct added_tokens_cursor *c, size_t at)
{
    return c->mark != NULL && c->len - at >= c->mark_len &&
           memcmp(c->text + at, c->mark, c->mark_len) == 0;
}

/* Longest token at `at`, or NULL; `ret_marked`: a mark lies behind its first character. */
static const struct added_token *match_at(const struct added_tokens_cursor *c, size_t at,
                                          size_t *ret_end, bool *ret_marked)
{
    const struct added_tokens *added = c->added;
    const struct added_token *found = NULL;
    bool marked = false;
    int32_t node = added->roots[(uint8_t)c->text[at]];
    size_t first;
    unicode_decode(c->text + at, c->text + c->len, &first);
    first += at;
    while (node > 0) {
        at++;
        if (added->nodes[node].token >= 0) {
            found = &added->tokens[added->nodes[node].token];
            *ret_end = at;
            *ret_marked = marked || (at == first && is_mark(c, at));
        }
        for (; is_mark(c, at); at += c->mark_len)
            marked = true;
        node = at < c->len ? find_child(added, node, (uint8_t)c->text[at]) : 0;
    }
    return found;
}

/* Next place from `at` on whose byte begins a token, or len. */
static size_t next_candidate(const struct added_tokens_cursor *c, size_t at)
{
    const struct added_tokens *added = c->added;
    if (added->only_byte >= 0) {
        const char *found = memchr(c->text + at, added->only_byte, c->len - at);
        return found != NULL ? (size_t)(found - c->text) : c->len;
    }
    while (at < c->len && added->roots[(uint8_t)c->text[at]] == 0)
        at++;
    return at;
}

static unsigned class_before(const struct added_tokens_cursor *c, size_t at)
{
    size_t n;
    do
        at--;
    while (at > 0 && ((uint8_t)c->text[at] & 0xC0) == 0x80);
    return unicode_class_at(c->text + at, c->text + c->len, &n);
}

static bool inside_word(const struct added_tokens_cursor *c, size_t start, size_t end)
{
    size_t n;
    return (start > 0 && (class_before(c, start) & UNICODE_WORD) != 0) ||
           (end < c->len &&
            (unicode_class_at(c->text + end, c->text + c->len, &n) & UNICODE_WORD) != 0);
}

static size_t skip_space_back(const struct added_tokens_cursor *c, size_t start)
{
    while (start > c->done && (class_before(c, start) & UNICODE_SPACE) != 0)
        do
            start--;
        while (start > c->done && ((uint8_t)c->text[start] & 0xC0) == 0x80);
    return start;
}

/* Tokens that are white space themselves may match all along a run that one of them has
 * swallowed; the run is measured once. */
static size_t skip_space(struct added_tokens_cursor *c, size_t end)
{
    size_t n, at = end;
    if (end >= c->space_from && end < c->space_to)
        return c->space_to;
    while (at < c->len &&
           (unicode_class_at(c->text + at, c->text + c->len, &n) & UNICODE_SPACE) != 0)
        at += n;
    c->space_from = end;
    c->space_to = at;
    return at;
}

static const struct added_token *find_token(struct added_tokens_cursor *c, size_t *ret_start,
                                            size_t *ret_end)
{
    while ((c->at = next_candidate(c, c->at)) < c->len) {
        const size_t start = c->at;
        size_t end = 0;
        bool marked = false;
        const struct added_token *token = match_at(c, start, &end, &marked);
        c->at = token != NULL ? end : start + 1;
        if (token == NULL || (token->special && (marked || !c->parse_special)) ||
            (token->single_word && inside_word(c, start, end)))
            continue;
        *ret_start = token->lstrip ? skip_space_back(c, start) : start;
        *ret_end = token->rstrip ? skip_space(c, end) : end;
        return token;
    }
    return NULL;
}

static bool hand_out(struct added_tokens_cursor *c, size_t end, int32_t id,
                     struct added_tokens_segment *ret)
{
    *ret = (struct added_tokens_segment){ c->done, end > c->done ? end - c->done : 0, id };
    c->done = end;
    return true;
}

bool added_tokens_next(struct added_tokens_cursor *c, struct added_tokens_segment *ret)
{
    size_t start = 0, end = 0;
    if (c->next.id >= 0) {
        const int32_t id = c->next.id;
        c->next.id = -1;
        return hand_out(c, c->next.end, id, ret);
    }
    const struct added_token *token = find_token(c, &start, &end);
    if (token == NULL)
        return c->done < c->len && hand_out(c, c->len, -1, ret);
    if (start <= c->done)
        return hand_out(c, end, token->id, ret);
    c->next.id = token->id;
    c->next.end = end;
    return hand_out(c, start, -1, ret);
}
