/*
 * index.h - the page at /, for whoever opens the printed address
 */
#ifndef FRONTEND_INDEX_H
#define FRONTEND_INDEX_H

#include "base/strbuf.h"

struct index_facts {
    const char *model, *state;
    const char *address; /* host:port the browser used, or "localhost:8000" */
    const char *scheme;  /* "http", "https" */
};

void index_write_html(const struct index_facts *facts, struct strbuf *out);
void index_write_json(const struct index_facts *facts, struct strbuf *out);

#endif
