/* Numbers as people write them. */
#ifndef FORMAT_H
#define FORMAT_H

#include <stddef.h>

/* The shortest text that reads as the same number. */
void format_number(double number, char *text, size_t size);

#endif
