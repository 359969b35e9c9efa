/* calc: calculates each line of its input, or its arguments. */
#include "calc.h"

#include <stdio.h>

static bool print_line(const char *line, struct symbols *symbols)
{
	char text[64];
	struct error error = { 0 };
	if (!calc_line(line, symbols, text, sizeof text, &error)) {
		fprintf(stderr, "calc: %zu: %s\n", error.column, error.message);
		return false;
	}
	if (text[0])
		puts(text);
	return true;
}

int main(int count, char **arguments)
{
	struct symbols symbols = { 0 };
	bool good = true;
	char line[4096];
	for (int at = 1; at < count; at++)
		good &= print_line(arguments[at], &symbols);
	while (count < 2 && fgets(line, sizeof line, stdin))
		good &= print_line(line, &symbols);
	symbols_free(&symbols);
	return good ? 0 : 1;
}
