/* Memory that is given back all at once. */
#ifndef ARENA_H
#define ARENA_H

#include <stddef.h>

struct block;

struct arena {
	struct block *last;
};

/* Never NULL: the program ends when memory does. */
void *arena_alloc(struct arena *arena, size_t size);
/* A copy of the text, with a zero at its end. */
char *arena_text(struct arena *arena, const char *text, size_t length);
void arena_free(struct arena *arena);

#endif
