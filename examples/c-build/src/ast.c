#include "ast.h"

#include <assert.h>
#include <string.h>

struct node *ast_node(struct arena *arena, enum node_kind kind, size_t column)
{
	struct node *node = arena_alloc(arena, sizeof *node);
	memset(node, 0, sizeof *node);
	node->kind = kind;
	node->column = column;
	return node;
}

void ast_add(struct node *node, const struct node *part)
{
	assert(node->count < MOST_ARGUMENTS);
	node->parts[node->count++] = part;
}
