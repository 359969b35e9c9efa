#include "calc.h"

#include "eval.h"
#include "format.h"
#include "parser.h"

#include <string.h>

bool calc_line(const char *line, struct symbols *symbols, char *text, size_t size, struct error *error)
{
	struct arena arena = { 0 };
	double value = 0;
	text[0] = '\0';
	const char *first = line + strspn(line, " \t\r\n");
	if (*first == '\0' || *first == '#')
		return true;
	const struct node *node = parse(line, &arena, error);
	bool calculated = node && eval(node, symbols, &value, error);
	if (calculated)
		format_number(value, text, size);
	arena_free(&arena);
	return calculated;
}
