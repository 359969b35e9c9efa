/* A tree and variables in, a number out. */
#ifndef EVAL_H
#define EVAL_H

#include "ast.h"
#include "error.h"
#include "symbols.h"

bool eval(const struct node *node, struct symbols *symbols, double *value, struct error *error);

#endif
