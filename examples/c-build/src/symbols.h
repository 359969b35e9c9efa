/* Variables: a hash table with open addressing. */
#ifndef SYMBOLS_H
#define SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>

struct symbol {
	char *name; /* NULL: free */
	double value;
};

struct symbols {
	struct symbol *slots;
	size_t size; /* a power of two, or 0 before the first */
	size_t count;
};

bool symbols_get(const struct symbols *symbols, const char *name, double *value);
/* False where memory has come to an end; then nothing has changed. */
bool symbols_set(struct symbols *symbols, const char *name, double value);
void symbols_free(struct symbols *symbols);

#endif
