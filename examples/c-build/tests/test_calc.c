/* Lines with the results they must have; errors begin with their column. */
#include "calc.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *line;
	const char *expected;
} cases[] = {
	{ "1 + 2 * 3", "7" },
	{ "(1 + 2) * 3", "9" },
	{ "2 ^ 3 ^ 2", "512" },
	{ "-2 ^ 2", "-4" },
	{ "2 ^ -1", "0.5" },
	{ "7 % 4 - 10 / 4", "0.5" },
	{ "0.1 + 0.2", "0.30000000000000004" },
	{ "width = 6 * 7", "42" },
	{ "width / 2", "21" },
	{ "max(width, 50) - min(1, 2)", "49" },
	{ "hypot(3, 4) + sqrt(16) + abs(-1) + floor(1.9)", "11" },
	{ "sqrt(-1)", "undefined" },
	{ "", "" },
	{ "  # nothing but a comment", "" },
	{ "1 + # half a sum", "5: expected a value" },
	{ "1 2", "3: expected an operator" },
	{ "(1", "3: expected `)`" },
	{ "1 / (2 - 2)", "3: division by zero" },
	{ "height", "1: no variable `height`" },
	{ "cube(2)", "1: no function `cube`" },
	{ "max(1)", "1: `max` takes 2, not 1" },
	{ "max(1, 2, 3, 4, 5)", "17: too many arguments" },
	{ "1 $ 2", "3: unexpected `$`" },
};

static int check(const char *line, const char *expected, struct symbols *symbols)
{
	char text[64], found[160];
	struct error error = { 0 };
	if (calc_line(line, symbols, text, sizeof text, &error))
		snprintf(found, sizeof found, "%s", text);
	else
		snprintf(found, sizeof found, "%zu: %s", error.column, error.message);
	if (strcmp(found, expected) == 0)
		return 0;
	printf("%s\n  expected %s\n  found    %s\n", line, expected, found);
	return 1;
}

/* As many variables as make the table grow a few times. */
static int check_many_variables(struct symbols *symbols)
{
	int failed = 0;
	char line[32], expected[16];
	for (int number = 0; number < 1000; number++) {
		snprintf(line, sizeof line, "v%d = %d", number, number);
		snprintf(expected, sizeof expected, "%d", number);
		failed += check(line, expected, symbols);
	}
	return failed + check("v0 + v500 + v999", "1499", symbols);
}

static int check_deep_nesting(struct symbols *symbols)
{
	char line[3000];
	memset(line, '(', sizeof line);
	line[sizeof line - 1] = '\0';
	return check(line, "201: nested too deeply", symbols);
}

int main(void)
{
	struct symbols symbols = { 0 };
	int count = (int)(sizeof cases / sizeof cases[0]), failed = 0;
	for (int at = 0; at < count; at++)
		failed += check(cases[at].line, cases[at].expected, &symbols);
	failed += check_many_variables(&symbols);
	failed += check_deep_nesting(&symbols);
	symbols_free(&symbols);
	printf("%d lines calculated, %d wrong\n", count + 1002, failed);
	return failed ? 1 : 0;
}
