/* An expression as a tree. Its memory belongs to an arena. */
#ifndef AST_H
#define AST_H

#include "arena.h"

enum node_kind { NODE_NUMBER, NODE_NAME, NODE_NEGATE, NODE_BINARY, NODE_CALL, NODE_ASSIGN };

enum { MOST_ARGUMENTS = 4 };

struct node {
	enum node_kind kind;
	size_t column;
	double number;    /* NODE_NUMBER */
	const char *name; /* NODE_NAME, NODE_CALL, NODE_ASSIGN */
	char sign;        /* NODE_BINARY */
	size_t count;     /* how many of `parts` are in use */
	const struct node *parts[MOST_ARGUMENTS];
};

struct node *ast_node(struct arena *arena, enum node_kind kind, size_t column);
void ast_add(struct node *node, const struct node *part);

#endif
