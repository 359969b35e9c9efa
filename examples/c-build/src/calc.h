/* One line after the other: what the program and its test use. */
#ifndef CALC_H
#define CALC_H

#include "error.h"
#include "symbols.h"

#include <stddef.h>

/* Calculates a line and writes the result into `text`, which is empty for an empty line. */
bool calc_line(const char *line, struct symbols *symbols, char *text, size_t size, struct error *error);

#endif
