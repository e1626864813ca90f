/*
 * write.h - reading, rounding and writing all tensors with several threads
 */
#ifndef CONVERT_WRITE_H
#define CONVERT_WRITE_H

#include "convert/convert.h"
#include "convert/source.h"

/* Every tensor into its place of the file, whose data begins at `data_begin`. Returns as
 * convert_run(). */
int convert_write(const struct convert_source *source, const struct convert_options *options,
                  int fd, uint64_t data_begin, struct error *err);

/* Only those that are made rather than read: what reading the header back may look at. */
int convert_write_made(const struct convert_source *source, int fd, uint64_t data_begin,
                       struct error *err);

/* Bytes of the tensors as they are read. */
uint64_t convert_source_bytes(const struct convert_source *source);

#endif
