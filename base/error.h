/*
 * error.h - one sentence about what went wrong, beside a negative errno
 *
 * A function that can fail for a reason of the outside world takes a `struct error *`
 * last, fills it through error_set() and returns the same negative errno. The sentence
 * names the file or field, what was found and what was wanted. Nobody below the role
 * functions prints it.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum { ERROR_MESSAGE_BYTES = 480 };

struct error {
    int code;                          /* negative errno, as returned */
    char message[ERROR_MESSAGE_BYTES]; /* one sentence, no newline */
    char param[64];                    /* request field or option it is about, or "" */
};

/* Exit codes of the program, docs/operations.md. */
enum exit_code {
    EXIT_CODE_OK = 0,
    EXIT_CODE_USAGE = 1,
    EXIT_CODE_MODEL = 2,
    EXIT_CODE_MEMORY = 3,
    EXIT_CODE_DEVICE = 4,
    EXIT_CODE_PORT = 5,
    EXIT_CODE_RESTARTS = 6,
};

/* Fill in *err (which may be NULL) and return `code`, so that a failing path is one statement.
 * The sentence is cut at the end of the buffer, never inside a UTF-8 character; control
 * characters become '?'. */
__attribute__((format(printf, 3, 4))) int error_set(struct error *err, int code, const char *format,
                                                    ...);

/* The same with the name of the field or option the sentence is about. */
__attribute__((format(printf, 4, 5))) int
error_set_param(struct error *err, int code, const char *param, const char *format, ...);

#endif
