#include "eval.h"

#include "functions.h"

#include <math.h>

static bool eval_binary(const struct node *node, const double *parts, double *value, struct error *error)
{
	double left = parts[0], right = parts[1];
	switch (node->sign) {
	case '+': *value = left + right; return true;
	case '-': *value = left - right; return true;
	case '*': *value = left * right; return true;
	case '^': *value = pow(left, right); return true;
	}
	if (right == 0)
		return error_set(error, node->column, "division by zero");
	*value = node->sign == '/' ? left / right : fmod(left, right);
	return true;
}

static bool eval_call(const struct node *node, const double *parts, double *value, struct error *error)
{
	const struct function *function = function_named(node->name);
	if (!function)
		return error_set(error, node->column, "no function `%s`", node->name);
	if (function->arguments != node->count)
		return error_set(error, node->column, "`%s` takes %zu, not %zu", node->name,
				 function->arguments, node->count);
	*value = function->call(parts);
	return true;
}

bool eval(const struct node *node, struct symbols *symbols, double *value, struct error *error)
{
	double parts[MOST_ARGUMENTS] = { 0 };
	for (size_t at = 0; at < node->count; at++)
		if (!eval(node->parts[at], symbols, &parts[at], error))
			return false;
	switch (node->kind) {
	case NODE_NUMBER:
		*value = node->number;
		return true;
	case NODE_NAME:
		return symbols_get(symbols, node->name, value) ||
		       error_set(error, node->column, "no variable `%s`", node->name);
	case NODE_NEGATE:
		*value = -parts[0];
		return true;
	case NODE_BINARY:
		return eval_binary(node, parts, value, error);
	case NODE_CALL:
		return eval_call(node, parts, value, error);
	case NODE_ASSIGN:
		*value = parts[0];
		return symbols_set(symbols, node->name, parts[0]) ||
		       error_set(error, node->column, "out of memory");
	}
	return error_set(error, node->column, "unknown node");
}
