#include "worker/model/quant_groups.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int32_t group_of(const struct quant_tensor *t, int32_t col)
{
    return t->groups != NULL ? t->groups[col] : col / t->group_cols;
}

int quant_groups_init(const struct loader_part *part, int32_t cols, struct quant_groups *ret_groups)
{
    const struct quant_tensor *t = part->tensor->info->quant;
    const size_t num_all = (size_t)t->num_groups;
    struct quant_groups groups = { 0 };
    int32_t *own = malloc(num_all * sizeof(*own)); /* of each of the tensor's: -1, or its number */
    groups.of_cols = malloc((size_t)cols * sizeof(*groups.of_cols));
    groups.ids = malloc(num_all * sizeof(*groups.ids));
    if (own == NULL || groups.of_cols == NULL || groups.ids == NULL) {
        free(own);
        quant_groups_finish(&groups);
        return -ENOMEM;
    }
    memset(own, 0xff, num_all * sizeof(*own));
    for (int32_t k = 0; k < cols; k++)
        own[group_of(t, part->tensor_col + k)] = 0;
    int32_t num = 0;
    for (int32_t g = 0; g < t->num_groups; g++)
        if (own[g] >= 0) {
            groups.ids[num] = g;
            own[g] = num++;
        }
    for (int32_t k = 0; k < cols; k++)
        groups.of_cols[k] = own[group_of(t, part->tensor_col + k)];
    free(own);
    groups.scaling = (struct scaling){ .scales = t->scale_dtype,
                                       .has_zeros = t->zeros.info != NULL,
                                       .rounds_inputs = t->rounds_inputs,
                                       .num_groups = num,
                                       .groups = groups.of_cols };
    *ret_groups = groups;
    return 0;
}

void quant_groups_finish(struct quant_groups *groups)
{
    free(groups->of_cols);
    free(groups->ids);
    *groups = (struct quant_groups){ 0 };
}

bool quant_groups_are_equal(const struct loader_part *a, const struct loader_part *b, int32_t cols)
{
    const struct quant_tensor *t = a->tensor->info->quant, *u = b->tensor->info->quant;
    if (a->tensor_col != b->tensor_col || t->num_groups != u->num_groups)
        return false;
    if (t->groups != NULL && u->groups != NULL)
        return memcmp(t->groups + a->tensor_col, u->groups + b->tensor_col,
                      (size_t)cols * sizeof(t->groups[0])) == 0;
    return t->groups == NULL && u->groups == NULL && t->group_cols == u->group_cols;
}
