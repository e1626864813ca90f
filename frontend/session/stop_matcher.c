#include "frontend/session/stop_matcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 0 };
#define NONE UINT32_MAX

struct node {
    uint32_t first_child; /* NONE: a leaf */
    uint32_t next_sibling;
    uint32_t failure; /* longest proper suffix that is in the trie */
    uint32_t stop;    /* longest string that is a suffix of this node, or NONE */
    uint16_t depth;
    uint16_t held; /* of the longest suffix that can still grow into a string */
    uint8_t byte;
};

struct stop_matcher {
    struct node *nodes; /* children lie behind their parents */
    uint32_t num_nodes, num_stops;
    uint32_t root_children[256]; /* ROOT where there is none */
    struct {
        const char *text;
        size_t len;
    } stops[STOP_MATCHER_MAX_STRINGS];
    char *texts;
};

static uint32_t find_child(const struct stop_matcher *matcher, uint32_t node, uint8_t byte)
{
    uint32_t child = matcher->nodes[node].first_child;
    while (child != NONE && matcher->nodes[child].byte != byte)
        child = matcher->nodes[child].next_sibling;
    return child;
}

static uint32_t step(const struct stop_matcher *matcher, uint32_t node, uint8_t byte)
{
    while (node != ROOT) {
        const uint32_t child = find_child(matcher, node, byte);
        if (child != NONE)
            return child;
        node = matcher->nodes[node].failure;
    }
    return matcher->root_children[byte];
}

static uint32_t add_child(struct stop_matcher *matcher, uint32_t parent, uint8_t byte)
{
    const uint32_t child = matcher->num_nodes++;
    matcher->nodes[child] = (struct node){
        .first_child = NONE,
        .next_sibling = matcher->nodes[parent].first_child,
        .stop = NONE,
        .depth = (uint16_t)(matcher->nodes[parent].depth + 1),
        .byte = byte,
    };
    matcher->nodes[parent].first_child = child;
    return child;
}

static void add_string(struct stop_matcher *matcher, uint32_t stop)
{
    uint32_t node = ROOT;
    for (size_t i = 0; i < matcher->stops[stop].len; i++) {
        const uint8_t byte = (uint8_t)matcher->stops[stop].text[i];
        const uint32_t child = find_child(matcher, node, byte);
        node = child != NONE ? child : add_child(matcher, node, byte);
    }
    if (matcher->nodes[node].stop == NONE) /* the first of equal strings */
        matcher->nodes[node].stop = stop;
}

/* What follows from the failure link, which points to a node that is complete already. */
static void complete_node(struct stop_matcher *matcher, uint32_t index)
{
    struct node *node = &matcher->nodes[index];
    const struct node *failure = &matcher->nodes[node->failure];
    if (node->stop == NONE)
        node->stop = failure->stop;
    node->held = node->first_child != NONE ? node->depth : failure->held;
}

/* Failure links, breadth first: a node's is at a smaller depth. `queue` is [num_nodes]. */
static void link_failures(struct stop_matcher *matcher, uint32_t *queue)
{
    uint32_t head = 0, tail = 0;
    for (uint32_t c = matcher->nodes[ROOT].first_child; c != NONE;
         c = matcher->nodes[c].next_sibling) {
        matcher->root_children[matcher->nodes[c].byte] = c;
        matcher->nodes[c].failure = ROOT;
        queue[tail++] = c;
    }
    while (head < tail) {
        const uint32_t parent = queue[head++];
        complete_node(matcher, parent);
        for (uint32_t c = matcher->nodes[parent].first_child; c != NONE;
             c = matcher->nodes[c].next_sibling) {
            matcher->nodes[c].failure =
                step(matcher, matcher->nodes[parent].failure, matcher->nodes[c].byte);
            queue[tail++] = c;
        }
    }
}

static int copy_strings(struct stop_matcher *matcher, const char *const *stops, const size_t *lens,
                        uint32_t num_stops, size_t total)
{
    matcher->texts = malloc(total);
    if (matcher->texts == NULL)
        return -ENOMEM;
    char *at = matcher->texts;
    for (uint32_t i = 0; i < num_stops; i++) {
        memcpy(at, stops[i], lens[i]);
        matcher->stops[i].text = at;
        matcher->stops[i].len = lens[i];
        at += lens[i];
    }
    matcher->num_stops = num_stops;
    return 0;
}

static int build(struct stop_matcher *matcher, size_t total)
{
    uint32_t *queue = malloc((total + 1) * sizeof(*queue));
    matcher->nodes = malloc((total + 1) * sizeof(*matcher->nodes));
    if (matcher->nodes == NULL || queue == NULL) {
        free(queue);
        return -ENOMEM;
    }
    matcher->nodes[ROOT] = (struct node){ .first_child = NONE, .next_sibling = NONE, .stop = NONE };
    matcher->num_nodes = 1;
    for (uint32_t i = 0; i < matcher->num_stops; i++)
        add_string(matcher, i);
    link_failures(matcher, queue);
    free(queue);
    return 0;
}

int stop_matcher_create(const char *const *stops, const size_t *lens, uint32_t num_stops,
                        struct stop_matcher **ret_matcher)
{
    size_t total = 0;
    if (num_stops == 0 || num_stops > STOP_MATCHER_MAX_STRINGS)
        return -EINVAL;
    for (uint32_t i = 0; i < num_stops; i++) {
        if (lens[i] == 0 || lens[i] > STOP_MATCHER_MAX_BYTES)
            return -EINVAL;
        total += lens[i];
    }
    struct stop_matcher *matcher = calloc(1, sizeof(*matcher));
    if (matcher == NULL || copy_strings(matcher, stops, lens, num_stops, total) < 0 ||
        build(matcher, total) < 0) {
        stop_matcher_destroy(matcher);
        return -ENOMEM;
    }
    *ret_matcher = matcher;
    return 0;
}

void stop_matcher_destroy(struct stop_matcher *matcher)
{
    if (matcher == NULL)
        return;
    free(matcher->nodes);
    free(matcher->texts);
    free(matcher);
}

bool stop_matcher_feed(const struct stop_matcher *matcher, stop_matcher_state *state,
                       const char *text, size_t len, struct stop_match *ret_match)
{
    uint32_t node = *state;
    bool found = false;
    for (size_t i = 0; i < len; i++) {
        node = step(matcher, node, (uint8_t)text[i]);
        const uint32_t stop = matcher->nodes[node].stop;
        if (stop == NONE)
            continue;
        /* Begins at i + 1 - stop_len; compared without the lengths going below zero. */
        const size_t stop_len = matcher->stops[stop].len;
        if (found && i + 1 + ret_match->stop_len >= ret_match->end + stop_len)
            continue;
        *ret_match = (struct stop_match){ .stop = stop, .end = i + 1, .stop_len = stop_len };
        found = true;
    }
    *state = node;
    return found;
}

size_t stop_matcher_held(const struct stop_matcher *matcher, stop_matcher_state state)
{
    return matcher->nodes[state].held;
}

const char *stop_matcher_text(const struct stop_matcher *matcher, uint32_t stop, size_t *ret_len)
{
    *ret_len = matcher->stops[stop].len;
    return matcher->stops[stop].text;
}
