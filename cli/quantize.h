/*
 * quantize.h - `tokenring quantize IN OUT --type TYPE`: a model's weights in another type
 */
#ifndef CLI_QUANTIZE_H
#define CLI_QUANTIZE_H

/* The command with the arguments behind its name. Returns the exit code. */
int quantize_main(int argc, char **argv);

#endif
