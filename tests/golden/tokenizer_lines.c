/*
 * tokenizer_lines.c - encodes and decodes texts for another program to compare
 *
 *     tokenizer_lines MODEL_DIR
 *
 * Reads a JSON object {"text": text, "special": bool, "add": bool} from each line of standard
 * input and answers with a line {"ids": [...], "text": what they decode to}.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lines.h"
#include "text/tokenizer.h"

static struct tokenizer *tokenizer;
static struct tokenizer_scratch *scratch;

static void answer(const json_t *line)
{
    const json_t *text = json_object_get(line, "text");
    const unsigned flags =
        (json_is_true(json_object_get(line, "special")) ? TOKENIZER_PARSE_SPECIAL : 0) |
        (json_is_true(json_object_get(line, "add")) ? TOKENIZER_ADD_SPECIAL : 0);
    struct token_ids ids = { 0 };
    struct strbuf back = { 0 }, out = { 0 };
    int r = tokenizer_encode(tokenizer, scratch, json_string_value(text), json_string_length(text),
                             flags, 0, &ids);
    if (r == 0)
        r = tokenizer_decode(tokenizer, ids.ids, ids.num, true, &back);
    strbuf_append_text(&out, "{\"ids\": [");
    for (size_t i = 0; i < ids.num; i++)
        strbuf_printf(&out, i > 0 ? ", %d" : "%d", ids.ids[i]);
    strbuf_append_text(&out, "], \"text\": ");
    strbuf_append_json_string(&out, back.data != NULL ? back.data : "", back.len);
    strbuf_append_text(&out, "}");
    puts(r == 0 ? out.data : "null");
    fflush(stdout);
    token_ids_finish(&ids);
    strbuf_finish(&back);
    strbuf_finish(&out);
}

int main(int argc, char **argv)
{
    struct error err;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL_DIR\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (tokenizer_open(argv[1], &tokenizer, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return EXIT_FAILURE;
    }
    if (tokenizer_scratch_create(tokenizer, &scratch) < 0)
        return EXIT_FAILURE;
    const int status = lines_answer(answer);
    tokenizer_scratch_destroy(scratch);
    tokenizer_close(tokenizer);
    return status;
}
