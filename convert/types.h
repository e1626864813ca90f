/*
 * types.h - which type each tensor gets: as formats/block_choice.h says
 *
 * What a matrix does and where it stands is read from its name and the shapes beside it. Vectors,
 * and what chooses experts, stay F32.
 */
#ifndef CONVERT_TYPES_H
#define CONVERT_TYPES_H

#include "convert/convert.h"
#include "convert/source.h"

/* Sets `to` of all tensors; notes those that get another than the choice's for their widths' sake.
 */
void convert_types(struct convert_source *source, const struct convert_options *options);

#endif
