#include "functions.h"

#include <math.h>
#include <string.h>

static double call_abs(const double *a) { return fabs(a[0]); }
static double call_floor(const double *a) { return floor(a[0]); }
static double call_hypot(const double *a) { return hypot(a[0], a[1]); }
static double call_max(const double *a) { return fmax(a[0], a[1]); }
static double call_min(const double *a) { return fmin(a[0], a[1]); }
static double call_sqrt(const double *a) { return sqrt(a[0]); }

static const struct function functions[] = {
	{ "abs", 1, call_abs }, { "floor", 1, call_floor }, { "hypot", 2, call_hypot },
	{ "max", 2, call_max }, { "min", 2, call_min },     { "sqrt", 1, call_sqrt },
};

const struct function *function_named(const char *name)
{
	for (size_t at = 0; at < sizeof functions / sizeof functions[0]; at++)
		if (strcmp(functions[at].name, name) == 0)
			return &functions[at];
	return NULL;
}
