#include "base/json.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/utf8.h"

enum { MAX_DEPTH = 64 };

const struct json_limits json_limits_request = {
    .depth = MAX_DEPTH, .values = 1000000, .keys_per_object = 1024, .number_chars = 64
};
const struct json_limits json_limits_file = {
    .depth = MAX_DEPTH, .values = 8000000, .keys_per_object = 2000000, .number_chars = 64
};

/* The scan's view: it knows brackets, strings and runs of other characters, no grammar. */
struct scan {
    const char *text;
    size_t len, at;
    uint32_t depth, values;
    uint32_t keys[MAX_DEPTH + 1];
    const struct json_limits *limits;
};

static size_t skip_string(const struct scan *s, size_t at)
{
    for (at++; at < s->len && s->text[at] != '"'; at++)
        if (s->text[at] == '\\')
            at++;
    return at + 1;
}

static size_t skip_word(const struct scan *s, size_t at)
{
    while (at < s->len && (isalnum((unsigned char)s->text[at]) || strchr("+-.", s->text[at])) &&
           s->text[at] != '\0')
        at++;
    return at;
}

static int count_value(struct scan *s, struct error *err)
{
    if (++s->values > s->limits->values)
        return error_set(err, -EINVAL, "JSON holds more than %u values", s->limits->values);
    return 0;
}

static int open_container(struct scan *s, struct error *err)
{
    if (++s->depth > s->limits->depth)
        return error_set(err, -EINVAL, "JSON is nested deeper than %u levels at byte %zu",
                         s->limits->depth, s->at);
    s->keys[s->depth] = 0;
    s->at++;
    return count_value(s, err);
}

static int scan_word(struct scan *s, struct error *err)
{
    const size_t end = skip_word(s, s->at);
    if (end - s->at > s->limits->number_chars)
        return error_set(err, -EINVAL, "JSON number of more than %u characters at byte %zu",
                         s->limits->number_chars, s->at);
    s->at = end > s->at ? end : s->at + 1; /* a stray byte is the parser's to refuse */
    return count_value(s, err);
}

static int scan_one(struct scan *s, struct error *err)
{
    switch (s->text[s->at]) {
    case '{':
    case '[':
        return open_container(s, err);
    case '}':
    case ']':
        s->depth -= s->depth > 0;
        s->at++;
        return 0;
    case ':':
        s->at++;
        if (++s->keys[s->depth] > s->limits->keys_per_object)
            return error_set(err, -EINVAL, "JSON object with more than %u keys at byte %zu",
                             s->limits->keys_per_object, s->at);
        return 0;
    case '"':
        s->at = skip_string(s, s->at);
        return count_value(s, err);
    case ' ':
    case '\t':
    case '\r':
    case '\n':
    case ',':
        s->at++;
        return 0;
    default:
        return scan_word(s, err);
    }
}

static int scan(const char *text, size_t len, const struct json_limits *limits, struct error *err)
{
    struct scan s = { .text = text, .len = len, .limits = limits };
    int r = 0;
    while (r == 0 && s.at < s.len)
        r = scan_one(&s, err);
    return r;
}

int json_read(const char *text, size_t len, const struct json_limits *limits, json_t **ret_value,
              struct error *err)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_error_t problem;

    const size_t valid = utf8_valid_prefix(text, len);
    if (valid != len)
        return error_set_param(err, -EINVAL, "utf8", "JSON is not valid UTF-8 at byte %zu", valid);
    int r = scan(text, len, limits, err);
    if (r < 0)
        return r;
    json_t *value = json_loadb(text, len, flags, &problem);
    if (value == NULL) {
        const bool memory = json_error_code(&problem) == json_error_out_of_memory;
        const bool escape = json_error_code(&problem) == json_error_invalid_utf8 ||
                            strstr(problem.text, "Unicode") != NULL;
        return error_set_param(err, memory ? -ENOMEM : -EINVAL, escape ? "utf8" : "",
                               "JSON cannot be read at byte %d: %.120s", problem.position,
                               problem.text);
    }
    *ret_value = value;
    return 0;
}

static int read_all(int fd, char *data, size_t len)
{
    for (size_t at = 0; at < len;) {
        const ssize_t n = read(fd, data + at, len - at);
        if (n == 0)
            return -EIO; /* the file became shorter */
        if (n < 0 && errno != EINTR)
            return -errno;
        at += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int read_open_file(int fd, const char *path, size_t max_bytes, char **ret_data,
                          size_t *ret_len, struct error *err)
{
    struct stat info;
    if (fstat(fd, &info) < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return error_set(err, -EINVAL, "%s: not a regular file", path);
    if ((uint64_t)info.st_size > max_bytes)
        return error_set(err, -EFBIG, "%s: %lld bytes, at most %zu are read", path,
                         (long long)info.st_size, max_bytes);
    const size_t len = (size_t)info.st_size;
    char *data = malloc(len + 1);
    if (data == NULL)
        return error_set(err, -ENOMEM, "%s: no memory for %zu bytes", path, len);
    const int r = read_all(fd, data, len);
    if (r < 0) {
        free(data);
        return error_set(err, r, "%s: %s", path, strerror(-r));
    }
    data[len] = '\0';
    *ret_data = data;
    *ret_len = len;
    return 0;
}

int file_read(const char *path, size_t max_bytes, char **ret_data, size_t *ret_len,
              struct error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    const int r = read_open_file(fd, path, max_bytes, ret_data, ret_len, err);
    close(fd);
    return r;
}

int json_read_file(const char *path, size_t max_bytes, const struct json_limits *limits,
                   json_t **ret_value, struct error *err)
{
    char *data;
    size_t len;
    int r = file_read(path, max_bytes, &data, &len, err);
    if (r < 0)
        return r;
    struct error why = { 0 };
    r = json_read(data, len, limits, ret_value, &why);
    free(data);
    return r < 0 ? error_set(err, r, "%s: %s", path, why.message) : 0;
}

bool json_get_int64(const json_t *value, int64_t *ret_value)
{
    if (json_is_integer(value)) {
        *ret_value = json_integer_value(value);
        return true;
    }
    if (!json_is_real(value))
        return false;
    const double real = json_real_value(value);
    if (!(fabs(real) < 9007199254740992.0) || floor(real) != real)
        return false;
    *ret_value = (int64_t)real;
    return true;
}
