/*
 * tiny_model.h - directories of small random models whose widths are multiples of 256
 */
#ifndef TESTS_UNIT_CONVERT_TINY_MODEL_H
#define TESTS_UNIT_CONVERT_TINY_MODEL_H

enum { TINY_VOCAB = 96 };

/* config.json and model.safetensors (bf16) of a family: "qwen3", "gemma", "phi3". */
void tiny_model_write(const char *folder, const char *model_type);

#endif
