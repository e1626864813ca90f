#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frontend/session/model_card.h"
#include "tests/unit/runner.h"

#define RINGLET SOURCE_ROOT "/models/ringlet"

static char directory[] = "/tmp/tokenring-card-XXXXXX";
static struct model_card *card;
static struct error err;

/* A directory with Ringlet's tokenizer and whatever else the test writes. */
static void setup(void)
{
    char path[256];
    strcpy(directory + strlen(directory) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/tokenizer.json", directory);
    ck_assert_int_eq(symlink(RINGLET "/tokenizer.json", path), 0);
    card = NULL;
    err = (struct error){ 0 };
}

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void teardown(void)
{
    static const char *const names[] = { "tokenizer.json", "tokenizer_config.json",
                                         "generation_config.json", "chat_template.jinja" };
    char path[256];
    model_card_close(card);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        unlink(path);
    }
    rmdir(directory);
}

static int open_with(const char *where, const char *template, const char *generation_config)
{
    const struct model_card_options options = { .directory = where,
                                                .chat_template = template,
                                                .generation_config = generation_config };
    return model_card_open(&options, &card, &err);
}

START_TEST(ringlet_is_read_whole)
{
    ck_assert_msg(open_with(RINGLET, NULL, "auto") == 0, "%s", err.message);
    ck_assert_str_eq(card->names[0], "ringlet");
    ck_assert_str_eq(card->architecture, "LlamaForCausalLM");
    ck_assert_ptr_nonnull(card->template);
    ck_assert(card->sampling.temperature == 0); /* "do_sample": false */
    ck_assert_int_eq((int)card->num_eos_ids, 2);
    ck_assert_int_eq(card->eos_ids[0], 1021);
    ck_assert_int_eq(card->eos_ids[1], 1019);
    ck_assert_str_eq(card->eos_text, "<|im_end|>");
    ck_assert_str_eq(card->bos_text, ""); /* null there */
}
END_TEST

START_TEST(generation_config_can_be_left_out)
{
    ck_assert_int_eq(open_with(RINGLET, NULL, "vllm"), 0);
    ck_assert(card->sampling.temperature == 1);
    ck_assert_int_eq((int)card->num_eos_ids, 2); /* ends of text are no matter of taste */
}
END_TEST

START_TEST(defaults_come_from_generation_config_within_their_range)
{
    write_file("generation_config.json",
               "{\"temperature\":0.6,\"top_p\":7,\"top_k\":20,\"repetition_penalty\":1.05,"
               "\"do_sample\":true,\"eos_token_id\":1021}");
    ck_assert_msg(open_with(directory, NULL, "auto") == 0, "%s", err.message);
    ck_assert(card->sampling.temperature == 0.6);
    ck_assert(card->sampling.top_p == 1); /* 7 is none */
    ck_assert_int_eq(card->sampling.top_k, 20);
    ck_assert(card->sampling.repetition_penalty == 1.05);
    ck_assert_ptr_null(card->template);
}
END_TEST

START_TEST(named_templates_have_one_called_default)
{
    write_file("tokenizer_config.json",
               "{\"eos_token\":{\"content\":\"<|endoftext|>\"},\"chat_template\":["
               "{\"name\":\"rag\",\"template\":\"{% broken\"},"
               "{\"name\":\"default\",\"template\":\"{{ messages[0].content }}\"}]}");
    ck_assert_msg(open_with(directory, NULL, "auto") == 0, "%s", err.message);
    ck_assert_ptr_nonnull(card->template);
    ck_assert_str_eq(card->eos_text, "<|endoftext|>");
}
END_TEST

START_TEST(template_of_the_operator_wins)
{
    ck_assert_int_eq(open_with(RINGLET, "{% if messages %}x{% endif %}", "auto"), 0);
    ck_assert(!chat_template_uses(card->template, "tools"));
    model_card_close(card);
    card = NULL;
    ck_assert_int_eq(open_with(RINGLET, "/nonexistent.jinja", "auto"), -ENOENT);
    ck_assert_ptr_nonnull(strstr(err.message, "/nonexistent.jinja"));
}
END_TEST

START_TEST(broken_files_are_named)
{
    write_file("generation_config.json", "{\"temperature\":");
    ck_assert_int_lt(open_with(directory, NULL, "auto"), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "generation_config.json"));
    write_file("generation_config.json", "{}");
    write_file("tokenizer_config.json", "{\"chat_template\":\"{% if %}\"}");
    ck_assert_int_lt(open_with(directory, NULL, "auto"), 0);
    ck_assert_ptr_nonnull(strstr(err.message, "chat template"));
    ck_assert_int_eq(open_with("/nonexistent", NULL, "auto"), -ENOENT);
}
END_TEST

START_TEST(names_are_found_exactly_and_default_is_the_first)
{
    const struct option_list names = { .num = 2, .items = { { "org/model", 9 }, { "other", 5 } } };
    const struct model_card_options options = { .directory = RINGLET, .names = &names };
    ck_assert_int_eq(model_card_open(&options, &card, &err), 0);
    ck_assert_str_eq(model_card_find_name(card, "", 0), "org/model");
    ck_assert_str_eq(model_card_find_name(card, "default", 7), "org/model");
    ck_assert_str_eq(model_card_find_name(card, "other", 5), "other");
    ck_assert_ptr_null(model_card_find_name(card, "othe", 4));
    ck_assert_ptr_null(model_card_find_name(card, "Other", 5));
    ck_assert_ptr_null(model_card_find_name(card, "other\0x", 7));
}
END_TEST

START_TEST(special_tokens_are_matched_where_they_begin)
{
    ck_assert_int_eq(open_with(RINGLET, NULL, "auto"), 0);
    ck_assert_int_eq((int)model_card_match_special(card, "<|im_end|>x", 11), 10);
    ck_assert_int_eq((int)model_card_match_special(card, "<|im_start|>", 12), 12);
    ck_assert_int_eq((int)model_card_match_special(card, "<|im_end|", 9), 0);
    ck_assert_int_eq((int)model_card_match_special(card, "x<|im_end|>", 11), 0);
    ck_assert_int_eq((int)model_card_match_special(card, "", 0), 0);
}
END_TEST

RUN_SUITE_AROUND("model_card", setup, teardown, ringlet_is_read_whole,
                 generation_config_can_be_left_out,
                 defaults_come_from_generation_config_within_their_range,
                 named_templates_have_one_called_default, template_of_the_operator_wins,
                 broken_files_are_named, names_are_found_exactly_and_default_is_the_first,
                 special_tokens_are_matched_where_they_begin)
