#include <check.h>
#include <string.h>

#include "frontend/raw_head.h"
#include "tests/unit/runner.h"

static const char *fault_of(const char *text)
{
    return raw_head_fault(text, strlen(text));
}

START_TEST(ordinary_heads_pass)
{
    static const char *const heads[] = {
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        ("POST / HTTP/1.1\r\nx-content-length: 5\r\ncontent-length-x: 5\r\n"
         "content-length: 0\r\n\r\n"),
        "",
    };
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        ck_assert_msg(fault_of(heads[i]) == NULL, "%s: %s", heads[i], fault_of(heads[i]));
}
END_TEST

START_TEST(what_stands_behind_the_head_is_no_part_of_it)
{
    ck_assert_ptr_null(fault_of("POST / HTTP/1.1\r\ncontent-length: 40\r\n\r\n"
                                "content-length: 5\r\ncontent-length: 6\n"));
}
END_TEST

START_TEST(two_framings_are_named)
{
    static const char *const rows[][2] = {
        { "POST / HTTP/1.1\r\ncontent-length: 5\r\nhost: x\r\nCONTENT-LENGTH: 5\r\n\r\n",
          "two Content" },
        { "POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", "both" },
        { "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "both" },
        { "POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
          "two Transfer" },
        { "POST / HTTP/1.1\nhost: x\r\n\r\n", "LF alone" },
        { "POST / HTTP/1.1\r\nhost: x\n\r\n", "LF alone" },
        { "POST / HTTP/1.1\r\nhost: x\r\n\n", "LF alone" },
        { "POST / HTTP/1.1\r\nhost: x\r\n\tcontent-length: 5\r\n\r\n", "continued" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *fault = fault_of(rows[i][0]);
        ck_assert_msg(fault != NULL && strstr(fault, rows[i][1]) != NULL, "%s: %s", rows[i][0],
                      fault == NULL ? "no fault" : fault);
    }
}
END_TEST

START_TEST(every_cut_is_read_within_its_bytes)
{
    static const char head[] =
        "POST / HTTP/1.1\r\ncontent-length: 5\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
    for (size_t len = 0; len < sizeof(head); len++) {
        char copy[sizeof(head)];
        memcpy(copy, head, len);
        (void)raw_head_fault(copy, len); /* a sanitizer watches */
    }
}
END_TEST

RUN_SUITE("raw_head", ordinary_heads_pass, what_stands_behind_the_head_is_no_part_of_it,
          two_framings_are_named, every_cut_is_read_within_its_bytes)
