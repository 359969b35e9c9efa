#include "symbols.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a */
static size_t hash(const char *name)
{
	uint32_t hash = 2166136261u;
	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return hash;
}

/* The slot of the name, or the free one where it belongs. There always is a free one. */
static struct symbol *find(const struct symbols *symbols, const char *name)
{
	size_t at = hash(name) & (symbols->size - 1);
	while (symbols->slots[at].name && strcmp(symbols->slots[at].name, name) != 0)
		at = (at + 1) & (symbols->size - 1);
	return &symbols->slots[at];
}

static bool grow(struct symbols *symbols)
{
	size_t size = symbols->size ? 2 * symbols->size : 8;
	struct symbols grown = { calloc(size, sizeof(struct symbol)), size, symbols->count };
	if (!grown.slots)
		return false;
	for (size_t at = 0; at < symbols->size; at++)
		if (symbols->slots[at].name)
			*find(&grown, symbols->slots[at].name) = symbols->slots[at];
	free(symbols->slots);
	*symbols = grown;
	return true;
}

bool symbols_get(const struct symbols *symbols, const char *name, double *value)
{
	if (!symbols->size)
		return false;
	const struct symbol *symbol = find(symbols, name);
	if (!symbol->name)
		return false;
	*value = symbol->value;
	return true;
}

bool symbols_set(struct symbols *symbols, const char *name, double value)
{
	/* A quarter stays free, so that a search ends soon. */
	if (4 * (symbols->count + 1) > 3 * symbols->size && !grow(symbols))
		return false;
	struct symbol *symbol = find(symbols, name);
	if (!symbol->name) {
		char *copy = malloc(strlen(name) + 1);
		if (!copy)
			return false;
		symbol->name = strcpy(copy, name);
		symbols->count++;
	}
	symbol->value = value;
	return true;
}

void symbols_free(struct symbols *symbols)
{
	for (size_t at = 0; at < symbols->size; at++)
		free(symbols->slots[at].name);
	free(symbols->slots);
	*symbols = (struct symbols){ 0 };
}
