#include "shm/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

_Static_assert(sizeof(struct status_page) % 64 == 0, "layout is shared between processes");

struct segment_header status_segment_header(void)
{
    return (struct segment_header){ .kind = SEGMENT_STATUS, .size = sizeof(struct status_page) };
}

const char *status_state_name(enum status_state state)
{
    static const char *const names[] = { "starting", "loading", "ready",
                                         "draining", "down",    "failed" };
    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void status_beat(struct status_page *page)
{
    atomic_store_explicit(&page->heartbeat_us, (uint64_t)clock_now_us(), memory_order_relaxed);
}

/* One writer, so a load and a store do; a locked add would cost for nothing. */
void status_add(struct status_page *page, int word, uint64_t n)
{
    const uint64_t old = atomic_load_explicit(&page->words[word], memory_order_relaxed);
    atomic_store_explicit(&page->words[word], old + n, memory_order_relaxed);
}

void status_set(struct status_page *page, int word, uint64_t value)
{
    atomic_store_explicit(&page->words[word], value, memory_order_relaxed);
}

uint64_t status_get(const struct status_page *page, int word)
{
    return atomic_load_explicit((_Atomic uint64_t *)&page->words[word], memory_order_relaxed);
}

void status_set_texts(struct status_page *page, const char *text, const char *error)
{
    const uint32_t seq = atomic_load_explicit(&page->text_seq, memory_order_relaxed);
    atomic_store_explicit(&page->text_seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* readers that see new bytes see an odd number */
    if (text != NULL)
        snprintf(page->text, sizeof(page->text), "%s", text);
    if (error != NULL)
        snprintf(page->error, sizeof(page->error), "%s", error);
    atomic_store_explicit(&page->text_seq, seq + 2, memory_order_release);
}

static bool copy_texts(const struct status_page *page, char *text, char *error)
{
    _Atomic uint32_t *seq = (_Atomic uint32_t *)&page->text_seq;
    const uint32_t before = atomic_load_explicit(seq, memory_order_acquire);
    if (before % 2 != 0)
        return false;
    memcpy(text, page->text, STATUS_TEXT_BYTES);
    memcpy(error, page->error, STATUS_ERROR_BYTES);
    atomic_thread_fence(memory_order_acquire); /* pairs with the writer's fence */
    return atomic_load_explicit(seq, memory_order_relaxed) == before;
}

bool status_get_texts(const struct status_page *page, char text[STATUS_TEXT_BYTES],
                      char error[STATUS_ERROR_BYTES])
{
    bool whole = false;
    for (int attempt = 0; attempt < 3 && !whole; attempt++)
        whole = copy_texts(page, text, error);
    text[STATUS_TEXT_BYTES - 1] = '\0';
    error[STATUS_ERROR_BYTES - 1] = '\0';
    return whole;
}

void status_step_open(struct status_page *page, uint64_t number)
{
    struct status_step *step = &page->steps[number % STATUS_STEPS];
    atomic_store_explicit(&step->number, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* whoever sees new requests sees no number */
    step->num_requests = 0;
}

void status_step_add(struct status_page *page, uint64_t number, uint64_t id, uint64_t generation)
{
    struct status_step *step = &page->steps[number % STATUS_STEPS];
    if (step->num_requests < STATUS_STEP_REQUESTS)
        step->requests[step->num_requests++] =
            (struct status_request){ .id = id, .generation = generation };
}

void status_step_close(struct status_page *page, uint64_t number)
{
    struct status_step *step = &page->steps[number % STATUS_STEPS];
    atomic_store_explicit(&step->number, number, memory_order_release);
}

const struct status_step *status_find_step(const struct status_page *page, uint64_t number)
{
    const struct status_step *step = &page->steps[number % STATUS_STEPS];
    _Atomic uint64_t *word = (_Atomic uint64_t *)&step->number;
    if (number == 0 || atomic_load_explicit(word, memory_order_acquire) != number ||
        step->num_requests > STATUS_STEP_REQUESTS)
        return NULL;
    return step;
}

int status_sent_steps(const struct status_page *page,
                      const struct status_step *ret_steps[STATUS_MAX_SENT])
{
    const uint64_t finished =
        atomic_load_explicit((_Atomic uint64_t *)&page->step, memory_order_relaxed);
    const uint64_t sent =
        atomic_load_explicit((_Atomic uint64_t *)&page->step_sent, memory_order_acquire);
    int num = 0;
    for (uint64_t n = finished + 1; n == finished + 1 || (n == finished + 2 && n == sent); n++) {
        const struct status_step *step = status_find_step(page, n);
        if (step != NULL)
            ret_steps[num++] = step;
    }
    return num;
}

static const char *find_fact(const char *text, const char *key, size_t *ret_len)
{
    const size_t key_len = strlen(key);
    for (const char *line = text; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        const size_t len = end != NULL ? (size_t)(end - line) : strlen(line);
        if (len > key_len && memcmp(line, key, key_len) == 0 && line[key_len] == '=') {
            *ret_len = len - key_len - 1;
            return line + key_len + 1;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return NULL;
}

bool status_fact_int(const char *text, const char *key, int64_t *ret_value)
{
    size_t len;
    char *end;
    const char *value = find_fact(text, key, &len);
    if (value == NULL || len == 0)
        return false;
    const long long number = strtoll(value, &end, 10);
    if (end != value + len)
        return false;
    *ret_value = number;
    return true;
}

bool status_fact_text(const char *text, const char *key, char *out, size_t size)
{
    size_t len;
    const char *value = find_fact(text, key, &len);
    if (value == NULL || len >= size)
        return false;
    memcpy(out, value, len);
    out[len] = '\0';
    return true;
}
