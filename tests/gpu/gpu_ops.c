/*
 * gpu_ops WANTED GOT [--seeds N] [--only NAME] [--deterministic] - every operation of two backends
 *
 * Both are "cpu", "cpu:scalar" or "cuda[:N]". Prints a line per operation: how far the worst
 * element is off, as a share of what is allowed. Exit code 1 when one is too far, 77 when a device
 * is not there.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/cases.h"

struct options {
    int32_t seeds;
    const char *only;
    bool deterministic;
};

static double scale_of(const struct side *side)
{
    double sum = 0.0;
    size_t num = 0;
    for (size_t i = 0; i < side->num_kept; i++)
        if (isfinite(side->kept[i])) {
            sum += (double)side->kept[i] * (double)side->kept[i];
            num++;
        }
    return num > 0 ? sqrt(sum / (double)num) : 0.0;
}

/* How far the worst element is off, 1 is just allowed; *ret_at says which. */
static double compare(const struct side *wanted, const struct side *got, double tolerance,
                      size_t *ret_at)
{
    const double scale = scale_of(wanted);
    double worst = 0.0;
    *ret_at = 0;
    if (wanted->num_kept != got->num_kept)
        return INFINITY;
    for (size_t i = 0; i < wanted->num_kept; i++) {
        const double w = (double)wanted->kept[i], g = (double)got->kept[i];
        const double allowed = tolerance * (fabs(w) + scale) + 1e-30;
        double off = w == g || (isnan(w) && isnan(g)) ? 0.0 : fabs(w - g) / allowed;
        off = isnan(off) ? INFINITY : off;
        if (off > worst) {
            worst = off;
            *ret_at = i;
        }
    }
    return worst;
}

static double run_variant(const struct gpu_case *c, struct side sides[2], int32_t variant,
                          uint64_t seed)
{
    size_t at;
    for (int k = 0; k < 2; k++) {
        side_begin_case(&sides[k], seed);
        c->run(&sides[k], variant);
        side_end_case(&sides[k]);
    }
    const double off = compare(&sides[0], &sides[1], c->tolerance, &at);
    if (off > 1.0)
        printf("  %s, variant %d, seed %llu: element %zu of %zu is %.7g, wanted %.7g\n", c->name,
               variant, (unsigned long long)seed, at, sides[1].num_kept,
               at < sides[1].num_kept ? (double)sides[1].kept[at] : NAN,
               at < sides[0].num_kept ? (double)sides[0].kept[at] : NAN);
    return off;
}

static bool run_case(const struct gpu_case *c, struct side sides[2], const struct options *o)
{
    double worst = 0.0;
    size_t num = 0;
    for (int32_t variant = 0; variant < c->num_variants; variant++)
        for (int32_t seed = 1; seed <= o->seeds; seed++) {
            const double off = run_variant(c, sides, variant, (uint64_t)seed * 1000 + variant);
            worst = off > worst ? off : worst;
            num += sides[0].num_kept;
        }
    printf("%-20s %10zu values, worst %.3g of what is allowed%s\n", c->name, num, worst,
           worst > 1.0 ? "  WRONG" : "");
    fflush(stdout);
    return worst <= 1.0;
}

static bool run_all(struct side sides[2], const struct options *o)
{
    const struct gpu_case *const tables[] = { cases_rows,   cases_experts, cases_attention,
                                              cases_sample, cases_edges,   cases_joined,
                                              cases_law,    cases_codes };
    bool good = true;
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
        for (const struct gpu_case *c = tables[t]; c->name != NULL; c++)
            if (o->only == NULL || strcmp(o->only, c->name) == 0)
                good &= run_case(c, sides, o);
    return good;
}

int main(int argc, char **argv)
{
    struct options o = { .seeds = 3 };
    struct side sides[2];
    struct error err;
    if (argc < 3) {
        fprintf(stderr, "usage: gpu_ops WANTED GOT [--seeds N] [--only NAME] [--deterministic]\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--deterministic") == 0)
            o.deterministic = true;
        else if (strcmp(argv[i], "--seeds") == 0 && i + 1 < argc)
            o.seeds = (int32_t)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            o.only = argv[++i];
    }
    for (int k = 0; k < 2; k++) {
        const int r = side_open(&sides[k], argv[1 + k], o.deterministic, &err);
        if (r < 0) {
            fprintf(stderr, "%s: %s\n", argv[1 + k], err.message);
            return r == -ENODEV || r == -ENOENT || r == -ENOTSUP ? 77 : 2;
        }
    }
    sides[0].is_oracle = true;
    for (int k = 0; k < 2; k++)
        sides[k].has_products =
            strstr(sides[1].backend->device_isa(sides[1].device), "FP8 products") != NULL;
    printf("%s against %s\n", sides[1].backend->device_isa(sides[1].device),
           sides[0].backend->device_isa(sides[0].device));
    const bool good = run_all(sides, &o);
    side_close(&sides[0]);
    side_close(&sides[1]);
    return good ? 0 : 1;
}
