#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "stress.h"
#include "tests/unit/runner.h"
#include "text/normalizer.h"
#include "text/unicode.h"

enum { NUM_ROWS = 12, NUM_NORMALIZED = 2000 };

static const struct normalizer nfc = { .stages = { { .type = NORMALIZER_NFC } }, .num_stages = 1 };
static struct normalizer_work work;

static void setup(void)
{
    ck_assert_int_eq(unicode_load(), 0);
}

static void teardown(void)
{
    normalizer_work_finish(&work);
}

static void expect(const char *text, size_t len, const char *want, size_t want_len, int number)
{
    const char *found;
    size_t found_len;
    ck_assert_int_eq(normalizer_run(&nfc, &work, text, len, &found, &found_len), 0);
    ck_assert_msg(found_len == want_len && memcmp(found, want, want_len) == 0, "text %d", number);
}

START_TEST(nfc_is_that_of_hf_tokenizers)
{
    json_t *golden = golden_load(GOLDEN_DIR "texts.json");
    const json_t *texts = json_object_get(golden, "texts"), *wants = json_object_get(golden, "nfc");

    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i), *want = json_array_get(wants, i);
        expect(json_string_value(text), json_string_length(text), json_string_value(want),
               json_string_length(want), (int)i);
    }
    json_decref(golden);
}
END_TEST

static uint32_t wanted(const uint8_t *base64, size_t i)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t value = 0;
    for (size_t byte = 0; byte < 4; byte++) {
        const size_t bit = 8 * (4 * i + byte), at = bit / 6;
        const uint32_t high = (uint32_t)(strchr(alphabet, base64[at]) - alphabet);
        const uint32_t low = (uint32_t)(strchr(alphabet, base64[at + 1]) - alphabet);
        value |= ((high << 6 | low) >> (4 - bit % 6) & 0xFF) << 8 * byte;
    }
    return value;
}

START_TEST(other_normalizers_are_those_of_hf_tokenizers)
{
    json_t *rows = golden_load(STRESS_DIR "normalizers.json");
    const json_t *row = json_array_get(rows, (size_t)_i);
    const json_t *hashes = json_object_get(row, "hashes");
    struct normalizer normalizer = { 0 };
    struct stress stress;
    struct error err = { 0 };
    struct strbuf text = { 0 };
    stress_open(&stress);
    ck_assert_uint_eq(json_array_size(rows), NUM_ROWS);
    ck_assert_msg(normalizer_read(&normalizer, row, &err) == 0, "%s", err.message);

    for (size_t seed = 0; seed < NUM_NORMALIZED; seed++) {
        const char *found;
        size_t len;
        stress_text(&stress, seed, &text);
        ck_assert_int_eq(normalizer_run(&normalizer, &work, text.data, text.len, &found, &len), 0);
        const uint32_t hash = stress_fold(stress_hash(STRESS_HASH_START, found, len));
        ck_assert_msg(hash == wanted((const uint8_t *)json_string_value(hashes), seed),
                      "row %d, seed %zu", _i, seed);
    }
    normalizer_finish(&normalizer);
    strbuf_finish(&text);
    json_decref(rows);
    json_decref(stress.root);
}
END_TEST

/* utf8proc over the whole text, without segments and without our ordering. */
START_TEST(nfc_by_segments_is_nfc_of_the_whole)
{
    json_t *golden = golden_load(GOLDEN_DIR "texts.json");
    struct strbuf text = { 0 };

    for (int seed = 0; seed < 5000; seed++) {
        utf8proc_uint8_t *want = NULL;
        golden_seeded_text(golden, (uint64_t)seed, &text);
        const utf8proc_ssize_t len =
            utf8proc_map((const utf8proc_uint8_t *)text.data, (utf8proc_ssize_t)text.len, &want,
                         UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        ck_assert_int_ge(len, 0);
        expect(text.data, text.len, (const char *)want, (size_t)len, seed);
        free(want);
    }
    strbuf_finish(&text);
    json_decref(golden);
}
END_TEST

START_TEST(every_character_alone_has_the_nfc_of_utf8proc)
{
    for (uint32_t c = 1; c < 0x110000; c++) {
        char text[5] = { 0 };
        const size_t len = (size_t)utf8_encode(c, text);
        if (len == 0)
            continue;
        utf8proc_uint8_t *want = utf8proc_NFC((const utf8proc_uint8_t *)text);
        expect(text, len, (const char *)want, strlen((const char *)want), (int)c);
        free(want);
    }
}
END_TEST

START_TEST(normal_text_is_handed_back_as_it_stands)
{
    const char text[] = "Caf\xC3\xA9 \xE4\xB8\xAD\xE6\x96\x87 \xED\x95\x9C\xF0\x9F\x98\x80";
    const char *found;
    size_t len;

    ck_assert_int_eq(normalizer_run(&nfc, &work, text, sizeof(text) - 1, &found, &len), 0);
    ck_assert_ptr_eq(found, text);
    ck_assert_uint_eq(len, sizeof(text) - 1);
}
END_TEST

/* Ordered by exchanging neighbours this would take hours; the timeout of the test says so. */
START_TEST(million_marks_are_ordered_by_class)
{
    enum { PAIRS = 250000 };
    char *text = malloc(4 * PAIRS), *want = malloc(4 * PAIRS);
    ck_assert(text != NULL && want != NULL);
    for (size_t i = 0; i < PAIRS; i++) {
        memcpy(text + 4 * i, "\xCC\x81\xCC\xA3", 4); /* U+0301 (230), U+0323 (220) */
        memcpy(want + 2 * i, "\xCC\xA3", 2);
        memcpy(want + 2 * PAIRS + 2 * i, "\xCC\x81", 2);
    }

    expect(text, 4 * PAIRS, want, 4 * PAIRS, 0);
    free(text);
    free(want);
}
END_TEST

RUN_ROWS("normalizer", setup, teardown, 30, ONCE(nfc_is_that_of_hf_tokenizers),
         TIMES(other_normalizers_are_those_of_hf_tokenizers, NUM_ROWS),
         ONCE(nfc_by_segments_is_nfc_of_the_whole),
         ONCE(every_character_alone_has_the_nfc_of_utf8proc),
         ONCE(normal_text_is_handed_back_as_it_stands), ONCE(million_marks_are_ordered_by_class))
