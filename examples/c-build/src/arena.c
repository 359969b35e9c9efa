#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
	struct block *before;
	size_t used;
	size_t size;
	union {
		double number; /* the strictest alignment that we need */
		void *pointer;
	} data[];
};

static const size_t unit = sizeof(((struct block *)0)->data[0]);

static struct block *add_block(struct arena *arena, size_t units)
{
	size_t size = units > 256 ? units : 256;
	struct block *block = malloc(sizeof *block + size * unit);
	if (!block) {
		fputs("calc: out of memory\n", stderr);
		exit(70);
	}
	block->before = arena->last;
	block->used = 0;
	block->size = size;
	arena->last = block;
	return block;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	size_t units = (size + unit - 1) / unit;
	struct block *block = arena->last;
	if (!block || block->size - block->used < units)
		block = add_block(arena, units);
	void *start = &block->data[block->used];
	block->used += units;
	return start;
}

char *arena_text(struct arena *arena, const char *text, size_t length)
{
	char *copy = arena_alloc(arena, length + 1);
	memcpy(copy, text, length);
	copy[length] = '\0';
	return copy;
}

void arena_free(struct arena *arena)
{
	while (arena->last) {
		struct block *before = arena->last->before;
		free(arena->last);
		arena->last = before;
	}
}
