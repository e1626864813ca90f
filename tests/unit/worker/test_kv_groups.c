/* Layers into groups and parts of equal size, and the pages that a window needs. */
#include "worker/model/kv_groups.h"

#include "tests/unit/runner.h"

enum { MAX_LAYERS = 80 };

static struct kv_groups kv;
static struct kv_place places[MAX_LAYERS];
static int32_t windows[MAX_LAYERS];

/* Each `period`-th layer sees all, the others 1024 positions; 0: none does, 1: all do. */
static int32_t cut(int32_t num_layers, int32_t period)
{
    for (int32_t l = 0; l < num_layers; l++)
        windows[l] = period > 0 && (l + 1) % period == 0 ? 0 : 1024;
    return kv_groups_cut(windows, num_layers, 16, &kv, places);
}

START_TEST(parts_of_published_models)
{
    static const struct {
        const char *name;
        int32_t num_layers, period, per_part, num_parts;
    } cases[] = {
        { "Llama 3 8B", 32, 1, 32, 1 },  { "Mistral 7B v0.1", 32, 0, 32, 1 },
        { "Gemma 2 2B", 26, 2, 13, 2 },  { "Gemma 2 27B", 46, 2, 23, 2 },
        { "Gemma 3 270M", 18, 6, 3, 6 }, { "Gemma 3 1B", 26, 6, 4, 7 },
        { "Gemma 3 12B", 48, 6, 8, 6 },  { "Gemma 3 27B", 62, 6, 11, 6 },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        ck_assert_msg(cut(cases[i].num_layers, cases[i].period) == cases[i].per_part, "%s",
                      cases[i].name);
        ck_assert_msg(kv.num_parts == cases[i].num_parts, "%s", cases[i].name);
        ck_assert_int_eq(kv.num_groups, cases[i].period > 1 ? 2 : 1);
    }
}
END_TEST

/* Of `num_layers`, `num_full` anywhere; every layer has a place of its own in a part of its group.
 */
static void check_cut(int32_t num_layers, int32_t num_full)
{
    bool is_taken[KV_MAX_PARTS][MAX_LAYERS] = { { false } };
    for (int32_t l = 0; l < num_layers; l++)
        windows[l] = l * 7 % num_layers < num_full ? 0 : 64;
    const int32_t per_part = kv_groups_cut(windows, num_layers, 16, &kv, places);
    ck_assert_int_le(kv.num_parts, KV_MAX_PARTS);
    ck_assert_int_le(kv.num_parts * per_part, num_layers + num_layers / 2);
    for (int32_t l = 0; l < num_layers; l++) {
        const struct kv_place at = places[l];
        ck_assert(at.layer >= 0 && at.layer < per_part && !is_taken[at.part][at.layer]);
        is_taken[at.part][at.layer] = true;
        for (int32_t g = 0; g < kv.num_groups; g++) {
            const int32_t nth = at.part - kv.groups[g].first_part;
            if (nth >= 0 && nth < kv.groups[g].num_parts)
                ck_assert_int_eq(kv.groups[g].window, windows[l]);
        }
    }
}

START_TEST(every_layer_has_a_place_and_little_is_padding)
{
    for (int32_t num_layers = 4; num_layers <= MAX_LAYERS; num_layers += 7)
        for (int32_t num_full = 0; num_full <= num_layers; num_full++)
            if (num_layers % 7 != 0) /* 7 and the number have no common factor */
                check_cut(num_layers, num_full);
}
END_TEST

START_TEST(a_row_reads_its_window_and_no_page_before)
{
    kv = (struct kv_groups){
        .block_size = 4, .num_groups = 2, .num_parts = 2, .groups = { { 0, 0, 1 }, { 1, 1, 1 } }
    };
    for (int32_t window = 1; window < 30; window++)
        for (int32_t pos = 0; pos < 100; pos++) {
            const int32_t low = pos - window + 1 > 0 ? pos - window + 1 : 0;
            kv.groups[1].window = window;
            ck_assert_int_eq(kv_first_page(&kv, 0, pos), 0);
            ck_assert_int_eq(kv_first_page(&kv, 1, pos), low / 4);
        }
}
END_TEST

/* What is seen from `end` on, a chunk that runs and one that is planned. */
START_TEST(most_pages_is_what_two_chunks_and_a_window_touch_at_worst)
{
    kv = (struct kv_groups){
        .block_size = 4, .num_groups = 1, .num_parts = 3, .groups = { { 1, 0, 3 } }
    };
    for (int32_t window = 1; window < 20; window++)
        for (int32_t chunk = 1; chunk < 12; chunk++) {
            int32_t most = 0;
            kv.groups[0].window = window;
            for (int32_t end = 0; end + 2 * chunk <= 200; end++) {
                const int32_t num = kv_pages(&kv, end + 2 * chunk) - kv_first_page(&kv, 0, end);
                most = num > most ? num : most;
            }
            ck_assert_int_eq(kv_most_pages(&kv, 0, chunk, 200), most);
            ck_assert_int_eq(kv_most_blocks(&kv, chunk, 200), 3 * most);
            ck_assert_int_eq(kv_most_pages(&kv, 0, chunk, 5), most < 2 ? most : 2);
        }
}
END_TEST

START_TEST(a_chunk_is_as_large_as_the_pool_has_room_for)
{
    cut(26, 6); /* one part for all, six with a window of 1024 */
    const int32_t len = 32768;
    const int64_t least = kv_most_blocks(&kv, 1, len);
    ck_assert_int_eq(least, 2048 + 6 * 65);
    ck_assert_int_eq(kv_fitting_chunk(&kv, (int32_t)least, 2048, len), 1);
    ck_assert_int_eq(kv_fitting_chunk(&kv, (int32_t)least - 1, 2048, len), 1);
    ck_assert_int_eq(kv_fitting_chunk(&kv, 1 << 20, 2048, len), 2048);
    for (int32_t chunk = 1; chunk < 2048; chunk += 91) {
        const int32_t blocks = (int32_t)kv_most_blocks(&kv, chunk, len);
        const int32_t fitting = kv_fitting_chunk(&kv, blocks, 2048, len);
        ck_assert_int_ge(fitting, chunk);
        ck_assert_int_le(kv_most_blocks(&kv, fitting, len), blocks);
        ck_assert_int_gt(kv_most_blocks(&kv, fitting + 1, len), blocks);
    }
    cut(26, 1); /* no windows: chunks take no room */
    ck_assert_int_eq(kv_fitting_chunk(&kv, 1, 2048, len), 2048);
    ck_assert(!kv_forgets(&kv));
    cut(26, 0);
    ck_assert(kv_forgets(&kv));
}
END_TEST

RUN_SUITE("kv_groups", parts_of_published_models, every_layer_has_a_place_and_little_is_padding,
          a_row_reads_its_window_and_no_page_before,
          most_pages_is_what_two_chunks_and_a_window_touch_at_worst,
          a_chunk_is_as_large_as_the_pool_has_room_for)
