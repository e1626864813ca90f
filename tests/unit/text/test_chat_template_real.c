/*
 * Published templates are not part of the repository: this test looks for them in
 * $TOKENRING_SHARED/templates, else in ../shared/templates beside the source, and compares with
 * the recorded hashes. It exits with 77 where they are absent.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/text/chat_template_grid.h"

static char folder[4096];

START_TEST(published_templates_give_what_jinja2_gives_over_the_grid)
{
    json_t *golden = grid_load(GRID_GOLDEN_DIR "chat_template/real.json");
    int num_found = 0;
    const char *name;
    json_t *hashes;

    json_object_foreach(golden, name, hashes)
    {
        char path[8192], *source;
        struct error err = { 0 };
        size_t len;
        snprintf(path, sizeof(path), "%s/%s", folder, name);
        if (file_read(path, 1 << 20, &source, &len, &err) < 0)
            continue;
        grid_assert_hashes(name, source, len, json_string_value(hashes));
        free(source);
        num_found++;
    }
    ck_assert_int_gt(num_found, 0);
    json_decref(golden);
}
END_TEST

int main(void)
{
    const char *shared = getenv("TOKENRING_SHARED");
    if (shared != NULL)
        snprintf(folder, sizeof(folder), "%s/templates", shared);
    else
        snprintf(folder, sizeof(folder), "%s/../shared/templates", SOURCE_ROOT);
    if (access(folder, R_OK) != 0) {
        printf("no published templates in %s\n", folder);
        return 77;
    }
    setenv("TZ", "UTC", 1);

    Suite *suite = suite_create("chat_template_real");
    TCase *tc = tcase_create("chat_template_real");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, published_templates_give_what_jinja2_gives_over_the_grid);
    suite_add_tcase(suite, tc);

    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
