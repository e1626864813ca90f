/*
 * jinja_run.h - the bounds of one rendering: memory, steps, nesting, and the failure that ends it
 *
 * Failure is sticky: the first one is kept with its sentence, later ones change nothing, and
 * every function that works under a run returns something harmless once it has failed. So an
 * expression is evaluated straight on and only loops ask jinja_run_ok().
 */
#ifndef TEXT_JINJA_RUN_H
#define TEXT_JINJA_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/strbuf.h"

enum {
    JINJA_MAX_STEPS = 10000000,           /* evaluations and units of linear work, per rendering */
    JINJA_MAX_NESTING = 2500,             /* of evaluation, iteration and walks over values */
    JINJA_MAX_MACRO_DEPTH = 100,          /* macro calls inside each other */
    JINJA_MAX_MEMORY = 256 * 1024 * 1024, /* bytes of values in one rendering */
    JINJA_MAX_OUTPUT = 16 * 1024 * 1024,  /* bytes of text, plus four times the input */
    JINJA_MAX_RANGE = 100000,             /* numbers in a range() */
    JINJA_BYTES_PER_STEP = 64,            /* of text read or compared */
};

struct jinja_scope;
struct jinja_template;
struct jinja_value;

struct jinja_run {
    struct arena arena; /* of all values; limited */
    int64_t steps_left;
    int nesting, macro_depth;
    int status; /* 0, or the negative errno that ended the rendering */
    struct error *err;
    uint32_t line; /* of the statement or expression being evaluated */
    uint64_t seed; /* of the hashes of dict keys */
    int64_t wall_us;
    const struct jinja_template *template;
    struct strbuf *out;          /* where text goes: the result, or a macro's or block's own */
    struct jinja_scope *scope;   /* innermost */
    struct jinja_value *globals; /* [num_names], what the context or the language gives a name */
    size_t max_output;           /* bytes of any one buffer */
    size_t input_bytes;          /* of the strings that came from JSON */
};

static inline bool jinja_run_ok(const struct jinja_run *run)
{
    return run->status == 0;
}

/* End the rendering with a sentence, which is put behind the line. The first caller wins. */
__attribute__((format(printf, 3, 4))) void jinja_run_fail(struct jinja_run *run, int code,
                                                          const char *format, ...);

/* The same for raise_exception(): the template's own words, err->param is "raise". */
void jinja_run_raise(struct jinja_run *run, const char *text, size_t len);

/* Count one step and the linear work over `bytes`; false once the rendering has failed. */
bool jinja_run_charge(struct jinja_run *run, size_t bytes);

/* Go one level deeper, or fail; each true answer is paired with jinja_run_leave(). */
bool jinja_run_enter(struct jinja_run *run);
void jinja_run_leave(struct jinja_run *run);

/* Zeroed memory that lives as long as the rendering, or NULL and the run has failed. */
void *jinja_run_alloc(struct jinja_run *run, size_t num, size_t size);

/* `old` with room for more than `num` elements: *cap grows by doubling. NULL: failed. */
void *jinja_run_grow(struct jinja_run *run, void *old, size_t num, size_t *cap, size_t size);

#endif
