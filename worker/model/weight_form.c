#include "worker/model/weight_form.h"

#include <errno.h>
#include <stdlib.h>

#include "worker/model/tensor_place.h"

enum { PANEL_ROWS = 32 };

/* --- one target ------------------------------------------------------------------------------ */

static struct loader_part *parts_of(const struct weight_plan *plan,
                                    const struct weight_target *target)
{
    return plan->parts + target->first_part;
}

static int32_t cols_of(const struct weight_plan *plan, const struct weight_target *target)
{
    return family_dim(plan->arch, target->row->cols);
}

static const struct safetensors_dtype *stored_type(const struct loader_part *part)
{
    return part->tensor->info->dtype;
}

/* Can the matrix be kept in the blocks that its parts are stored in? Heads cannot, nor columns cut
 * within a block. */
static bool keeps_blocks(const struct weight_plan *plan, const struct weight_target *target)
{
    const struct loader_part *parts = parts_of(plan, target);
    const enum dim blocks = target->row->blocks;
    const int32_t block = dtype_block(stored_type(&parts[0])->dtype);
    bool keeps =
        (blocks == DIM_NONE || blocks == DIM_EXPERTS) && cols_of(plan, target) % block == 0;
    for (int32_t i = 0; i < target->num_parts; i++)
        keeps = keeps && !parts[i].turned && parts[i].tensor_col % block == 0;
    return keeps;
}

/* Can quantized parts be kept so? Their columns need the same groups. */
static bool keeps_scales(const struct weight_plan *plan, const struct weight_target *target)
{
    const struct loader_part *parts = parts_of(plan, target);
    const int32_t cols = cols_of(plan, target);
    bool keeps = !parts[0].turned;
    for (int32_t i = 1; keeps && i < target->num_parts; i++)
        keeps = !parts[i].turned && quant_groups_are_equal(&parts[0], &parts[i], cols);
    return keeps;
}

static bool keeps_type(const struct weight_plan *plan, const struct weight_target *target)
{
    const enum dtype dtype = stored_type(parts_of(plan, target))->dtype;
    if (dtype_is_scaled(dtype))
        return keeps_scales(plan, target);
    return !dtype_is_quant(dtype) || keeps_blocks(plan, target);
}

/* What is not kept as it is becomes f16, or f32 where that alone holds it. */
static enum dtype plain_dtype(const struct safetensors_dtype *dtype)
{
    if (dtype_is_scaled(dtype->dtype))
        return DTYPE_F32;
    return dtype->block != NULL ? DTYPE_F16 : dtype->dtype;
}

static enum dtype kept_dtype(const struct weight_plan *plan, const struct weight_target *target)
{
    const struct loader_part *parts = parts_of(plan, target);
    const struct safetensors_dtype *first = stored_type(&parts[0]);
    bool equal = true, plain_equal = true;
    for (int32_t i = 1; i < target->num_parts; i++) {
        const struct safetensors_dtype *other = stored_type(&parts[i]);
        equal = equal && other->dtype == first->dtype;
        plain_equal = plain_equal && plain_dtype(other) == plain_dtype(first);
    }
    if (equal && keeps_type(plan, target))
        return first->dtype;
    return plain_equal ? plain_dtype(first) : DTYPE_F32;
}

static void form_target(const struct weight_plan *plan, struct weight_target *target,
                        const char *quantization)
{
    const enum dtype made =
        requant_dtype(quantization, plan->whole, target->row, target->layer, cols_of(plan, target));
    target->is_made = made != DTYPE_F32 && weight_plan_is_plain(plan, target);
    target->dtype = target->is_made ? made : kept_dtype(plan, target);
}

/* --- targets of one field ----------------------------------------------------------------------
 */

/* Does b, whose outputs lie behind those of a, become one matrix with it? */
static bool agree(const struct weight_plan *plan, const struct weight_target *a,
                  const struct weight_target *b)
{
    if (a->dtype != b->dtype || a->is_made != b->is_made)
        return false;
    return !dtype_is_scaled(a->dtype) || a->is_made ||
           quant_groups_are_equal(parts_of(plan, a), parts_of(plan, b), cols_of(plan, a));
}

static void merge(struct weight_target *into, const struct weight_target *more)
{
    into->num_parts += more->num_parts;
    into->num += more->num;
}

/* Can they be joined, each a matrix of its own? All outputs must be there, one behind the other. */
static bool can_join(const struct weight_plan *plan, const struct weight_target *targets,
                     int32_t num)
{
    const struct weight_row *row = targets[0].row;
    int32_t at = 0;
    for (int32_t i = 0; i < num; i++) {
        if (targets[i].first != at || (row->blocks != DIM_NONE && targets[i].num % PANEL_ROWS != 0))
            return false;
        at += targets[i].num;
    }
    return at == family_dim(plan->arch, row->total);
}

/* Neighbours that agree become one. Returns how many are left. */
static int32_t merge_equals(const struct weight_plan *plan, struct weight_target *targets,
                            int32_t num)
{
    int32_t kept = 0;
    for (int32_t i = 1; i < num; i++) {
        if (agree(plan, &targets[kept], &targets[i]))
            merge(&targets[kept], &targets[i]);
        else
            targets[++kept] = targets[i];
    }
    return kept + 1;
}

/* Parts say where they lie in the field: let them say where in their own matrix. */
static void move_parts(const struct weight_plan *plan, const struct weight_target *target)
{
    const struct weight_row *row = target->row;
    const bool many = row->blocks != DIM_NONE;
    const int32_t from = many ? block_stride(family_dim(plan->arch, row->total)) : INT32_MAX;
    const int32_t to = many ? block_stride(target->num) : 0;
    struct loader_part *parts = parts_of(plan, target);
    for (int32_t i = 0; i < target->num_parts; i++)
        parts[i].first_row =
            parts[i].first_row / from * to + parts[i].first_row % from - target->first;
}

static void join(const struct weight_plan *plan, struct weight_target *targets, int32_t num)
{
    for (int32_t i = 0; i < num; i++) {
        targets[i].is_joined = i > 0;
        move_parts(plan, &targets[i]);
    }
}

/* One matrix or vector of them all, whatever they are. */
static void merge_all(const struct weight_plan *plan, struct weight_target *targets, int32_t num)
{
    for (int32_t i = 1; i < num; i++)
        merge(&targets[0], &targets[i]);
    targets[0].first = 0;
    targets[0].num = family_dim(plan->arch, targets[0].row->total);
}

/* Returns how many of a field's targets are left. */
static int32_t settle_field(const struct weight_plan *plan, struct weight_target *targets,
                            int32_t num, const char *quantization)
{
    bool is_one = true;
    if (!row_is_matrix(targets[0].row)) {
        merge_all(plan, targets, num);
        return 1;
    }
    for (int32_t i = 0; i < num; i++) {
        form_target(plan, &targets[i], quantization);
        is_one = is_one && agree(plan, &targets[0], &targets[i]);
    }
    if (!is_one && can_join(plan, targets, num)) {
        num = merge_equals(plan, targets, num);
        join(plan, targets, num);
        return num;
    }
    merge_all(plan, targets, num);
    if (!is_one) {
        targets[0].is_made = false;
        targets[0].dtype = kept_dtype(plan, &targets[0]);
    }
    return 1;
}

void weight_form_settle(struct weight_plan *plan, const char *quantization)
{
    struct weight_target *targets = plan->targets;
    int32_t kept = 0;
    for (int32_t from = 0, to; from < plan->num_targets; from = to) {
        for (to = from + 1; to < plan->num_targets && targets[to].field == targets[from].field;)
            to++;
        const int32_t num = settle_field(plan, &targets[from], to - from, quantization);
        for (int32_t i = 0; i < num; i++)
            targets[kept++] = targets[from + i];
    }
    plan->num_targets = kept;
}

/* --- objects -----------------------------------------------------------------------------------
 */

bool weight_form_is_widened(const struct weight_plan *plan, const struct weight_target *target)
{
    const struct loader_part *parts = parts_of(plan, target);
    for (int32_t i = 0; !dtype_is_scaled(target->dtype) && i < target->num_parts; i++)
        if (parts[i].tensor->info->quant != NULL)
            return true;
    return false;
}

/* Of parts that stay quantized: the groups that all share, with scales and zeros as any of them
 * needs; the parts refer to them. */
static int share_groups(const struct weight_plan *plan, struct weight_target *target)
{
    struct quant_groups *groups = &target->groups;
    struct loader_part *parts = parts_of(plan, target);
    const int r = quant_groups_init(&parts[0], cols_of(plan, target), groups);
    for (int32_t i = 0; r == 0 && i < target->num_parts; i++) {
        const struct quant_tensor *tensor = parts[i].tensor->info->quant;
        parts[i].groups = groups;
        groups->scaling.has_zeros = groups->scaling.has_zeros || tensor->zeros.info != NULL;
        groups->scaling.rounds_inputs = groups->scaling.rounds_inputs && tensor->rounds_inputs;
        if (tensor->scale_dtype != groups->scaling.scales)
            groups->scaling.scales = DTYPE_F32;
    }
    return r;
}

/* One scale a row. */
static int scale_by_row(const struct weight_plan *plan, struct weight_target *target)
{
    target->groups.of_cols = calloc((size_t)cols_of(plan, target), sizeof(int32_t));
    if (target->groups.of_cols == NULL)
        return -ENOMEM;
    target->groups.scaling = requant_scaling(target->groups.of_cols);
    return 0;
}

int weight_form_object(const struct weight_plan *plan, struct weight_target *target,
                       struct store_object *ret_object)
{
    const struct weight_row *row = target->row;
    const bool many = row->blocks != DIM_NONE;
    int r = 0;
    *ret_object = (struct store_object){ .rows = target->num };
    if (!row_is_matrix(row))
        return 0;
    *ret_object = (struct store_object){
        .dtype = target->dtype,
        .rows =
            many ? family_dim(plan->arch, row->blocks) * block_stride(target->num) : target->num,
        .cols = cols_of(plan, target),
        .is_joined = target->is_joined,
    };
    if (dtype_is_scaled(target->dtype))
        r = (target->is_made ? scale_by_row : share_groups)(plan, target);
    ret_object->scaling = target->groups.scaling;
    if (many) /* each has few rows of x: it lies as those like best */
        ret_object->scaling.rounds_inputs = false;
    return r;
}
