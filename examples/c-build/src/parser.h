/* Tokens in, tree out.
 *
 *   line    = [ name "=" ] sum
 *   sum     = product { ("+" | "-") product }
 *   product = sign { ("*" | "/" | "%") sign }
 *   sign    = { "-" } power
 *   power   = value [ "^" sign ]               to the right: 2^3^2 is 2^9
 *   value   = number | name | name "(" [ sum { "," sum } ] ")" | "(" sum ")"
 */
#ifndef PARSER_H
#define PARSER_H

#include "ast.h"
#include "error.h"

/* NULL where the text is no expression; then the error says why. */
const struct node *parse(const char *text, struct arena *arena, struct error *error);

#endif
