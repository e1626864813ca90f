#include "frontend/raw_head.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct seen {
    int num_lengths, num_codings;
};

static bool is_field(const char *line, size_t len, const char *name)
{
    const size_t n = strlen(name);
    return len > n && strncasecmp(line, name, n) == 0 && line[n] == ':';
}

static const char *take_line(const char *line, size_t len, struct seen *seen)
{
    seen->num_lengths += is_field(line, len, "content-length");
    seen->num_codings += is_field(line, len, "transfer-encoding");
    if (line[0] == ' ' || line[0] == '\t')
        return "A header is continued on another line.";
    if (seen->num_lengths > 1)
        return "The request has two Content-Length headers.";
    if (seen->num_codings > 1)
        return "The request has two Transfer-Encoding headers.";
    if (seen->num_lengths > 0 && seen->num_codings > 0)
        return "The request has both a Content-Length and a Transfer-Encoding.";
    return NULL;
}

const char *raw_head_fault(const char *bytes, size_t len)
{
    struct seen seen = { 0 };
    const char *fault = NULL, *end;
    for (size_t at = 0; fault == NULL && at < len; at = (size_t)(end - bytes) + 1) {
        end = memchr(bytes + at, '\n', len - at);
        if (end == NULL)
            break;
        const size_t line_len = (size_t)(end - bytes) - at;
        if (line_len == 0 || end[-1] != '\r')
            return "A line of the request's head ends in LF alone.";
        if (line_len == 1)
            break;
        fault = take_line(bytes + at, line_len - 1, &seen);
    }
    return fault;
}
