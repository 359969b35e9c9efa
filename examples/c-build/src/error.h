/* What went wrong and where, kept until somebody prints it. */
#ifndef ERROR_H
#define ERROR_H

#include <stdbool.h>
#include <stddef.h>

struct error {
	bool set;
	size_t column; /* from 1 */
	char message[96];
};

/* Keeps the first error only: the others follow from it. Always returns false. */
bool error_set(struct error *error, size_t column, const char *format, ...);

#endif
