/*
 * lines.h - programs that answer questions line by line, for another program to compare
 */
#ifndef TESTS_GOLDEN_LINES_H
#define TESTS_GOLDEN_LINES_H

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

/* Hand each line of standard input, a JSON value, to `answer`. Returns an exit status. */
static inline int lines_answer(void (*answer)(const json_t *line))
{
    char *text = NULL;
    size_t cap = 0;
    int status = EXIT_SUCCESS;
    for (ssize_t len; status == EXIT_SUCCESS && (len = getline(&text, &cap, stdin)) > 0;) {
        json_error_t problem;
        json_t *line = json_loadb(text, (size_t)len, JSON_ALLOW_NUL, &problem);
        if (line == NULL) {
            fprintf(stderr, "a line is not JSON: %s\n", problem.text);
            status = EXIT_FAILURE;
        } else {
            answer(line);
        }
        json_decref(line);
    }
    free(text);
    return status;
}

#endif
