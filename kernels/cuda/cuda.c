/* The backend's table, and the one symbol of the module. */
#include "kernels/cuda/record.h"
#include "kernels/cuda/store.h"
#include "kernels/module.h"

static const struct backend cuda_backend = {
    .abi = BACKEND_ABI,
    .name = "cuda",
    .probe = runtime_probe,
    .device_open = device_open,
    .device_close = device_close,
    .device_isa = device_isa,
    .device_threads = device_threads,
    .device_join = device_join,
    .memory_left = device_memory_left,
    .memory_uses = device_memory_uses,
    .alloc = device_alloc,
    .free = device_free,
    .upload = device_upload,
    .download = device_download,
    .weight_alloc = weight_alloc,
    .weight_load = weight_load,
    .weight_free = weight_free,
    .weight_bytes = weight_bytes,
    .store_create = store_create,
    .store_attach = store_attach,
    .store_weight = store_weight,
    .store_vector = store_vector,
    .store_seal = store_seal,
    .store_close = store_close,
    .kv_alloc = kv_alloc,
    .kv_free = kv_free,
    .queues = true,
    .begin = device_begin,
    .submit = device_submit,
    .wait = device_wait,
    .wait_for = device_wait_for,
    .graph_rows = device_graph_rows,
    .capture = device_capture,
    .move_ids = record_move_ids,
    .embed = record_embed,
    .add_rms_norm = record_rms_norm,
    .add_layer_norm = record_layer_norm,
    .linear = record_linear,
    .rope_kv_write = record_rope,
    .attention = record_attention,
    .qk_squares = record_squares,
    .activate = record_activate,
    .soft_cap = record_soft_cap,
    .gather_rows = record_gather,
    .copy_blocks = record_copy_blocks,
    .all_reduce = record_all_reduce,
    .all_gather = record_all_gather,
    .sample = record_sample,
    .moe_route = record_route,
    .moe_route_tokens = record_route_tokens,
    .moe_linear = record_moe_linear,
    .moe_combine = record_combine,
    .heads_linear = record_heads,
    .latent_write = record_latent,
    .inl_dynamics = record_inl,
    .add_silu = record_add_silu,
    .clamp = record_clamp,
    .mu_clamp = record_mu_clamp,
};

__attribute__((visibility("default"))) module_function tokenring_backend;

const struct backend *tokenring_backend(void)
{
    return &cuda_backend;
}
