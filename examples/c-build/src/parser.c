#include "parser.h"

#include "lexer.h"

enum { DEEPEST = 200 };

struct parser {
	struct lexer lexer;
	struct arena *arena;
	struct error *error;
	int depth; /* of parentheses and signs: the stack has an end */
};

static struct node *parse_sum(struct parser *parser);

static struct node *fail(struct parser *parser, const char *message)
{
	error_set(parser->error, parser->lexer.token.column, "%s", message);
	return NULL;
}

static bool next(struct parser *parser)
{
	return lexer_next(&parser->lexer, parser->error);
}

static struct node *binary(struct parser *parser, struct node *left, struct node *right, struct token sign)
{
	struct node *node = ast_node(parser->arena, NODE_BINARY, sign.column);
	node->sign = *sign.start;
	ast_add(node, left);
	ast_add(node, right);
	return node;
}

static struct node *parse_call(struct parser *parser, struct node *call)
{
	call->kind = NODE_CALL;
	if (!next(parser))
		return NULL;
	while (!lexer_at(&parser->lexer, ')')) {
		if (call->count == MOST_ARGUMENTS)
			return fail(parser, "too many arguments");
		struct node *argument = parse_sum(parser);
		if (!argument)
			return NULL;
		ast_add(call, argument);
		if (lexer_at(&parser->lexer, ')'))
			break;
		if (!lexer_at(&parser->lexer, ','))
			return fail(parser, "expected `,` or `)`");
		if (!next(parser))
			return NULL;
	}
	return next(parser) ? call : NULL;
}

static struct node *parse_value(struct parser *parser)
{
	struct token token = parser->lexer.token;
	if (token.kind == TOKEN_NUMBER) {
		struct node *node = ast_node(parser->arena, NODE_NUMBER, token.column);
		node->number = token.number;
		return next(parser) ? node : NULL;
	}
	if (token.kind == TOKEN_NAME) {
		struct node *node = ast_node(parser->arena, NODE_NAME, token.column);
		node->name = arena_text(parser->arena, token.start, token.length);
		if (!next(parser))
			return NULL;
		return lexer_at(&parser->lexer, '(') ? parse_call(parser, node) : node;
	}
	if (!lexer_at(&parser->lexer, '('))
		return fail(parser, "expected a value");
	if (!next(parser))
		return NULL;
	struct node *inner = parse_sum(parser);
	if (!inner)
		return NULL;
	if (!lexer_at(&parser->lexer, ')'))
		return fail(parser, "expected `)`");
	return next(parser) ? inner : NULL;
}

static struct node *parse_sign(struct parser *parser)
{
	if (++parser->depth > DEEPEST)
		return fail(parser, "nested too deeply");
	struct node *node;
	struct token sign = parser->lexer.token;
	if (lexer_at(&parser->lexer, '-')) {
		struct node *inner = next(parser) ? parse_sign(parser) : NULL;
		if (!inner)
			return NULL;
		node = ast_node(parser->arena, NODE_NEGATE, sign.column);
		ast_add(node, inner);
	} else {
		node = parse_value(parser);
		sign = parser->lexer.token;
		if (node && lexer_at(&parser->lexer, '^')) {
			struct node *right = next(parser) ? parse_sign(parser) : NULL;
			node = right ? binary(parser, node, right, sign) : NULL;
		}
	}
	parser->depth--;
	return node;
}

static struct node *parse_product(struct parser *parser)
{
	struct node *left = parse_sign(parser);
	while (left && (lexer_at(&parser->lexer, '*') || lexer_at(&parser->lexer, '/') ||
			lexer_at(&parser->lexer, '%'))) {
		struct token sign = parser->lexer.token;
		struct node *right = next(parser) ? parse_sign(parser) : NULL;
		left = right ? binary(parser, left, right, sign) : NULL;
	}
	return left;
}

static struct node *parse_sum(struct parser *parser)
{
	struct node *left = parse_product(parser);
	while (left && (lexer_at(&parser->lexer, '+') || lexer_at(&parser->lexer, '-'))) {
		struct token sign = parser->lexer.token;
		struct node *right = next(parser) ? parse_product(parser) : NULL;
		left = right ? binary(parser, left, right, sign) : NULL;
	}
	return left;
}

const struct node *parse(const char *text, struct arena *arena, struct error *error)
{
	struct parser parser = { .arena = arena, .error = error };
	if (!lexer_start(&parser.lexer, text, error))
		return NULL;
	struct node *line = parse_sum(&parser);
	if (line && line->kind == NODE_NAME && lexer_at(&parser.lexer, '=')) {
		struct node *value = next(&parser) ? parse_sum(&parser) : NULL;
		if (!value)
			return NULL;
		line->kind = NODE_ASSIGN;
		ast_add(line, value);
	}
	if (line && parser.lexer.token.kind != TOKEN_END)
		return fail(&parser, "expected an operator");
	return line;
}
