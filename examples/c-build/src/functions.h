/* The functions that an expression may call. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include <stddef.h>

struct function {
	const char *name;
	size_t arguments;
	double (*call)(const double *arguments);
};

/* NULL where there is none of this name. */
const struct function *function_named(const char *name);

#endif
