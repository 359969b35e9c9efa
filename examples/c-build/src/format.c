#include "format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

void format_number(double number, char *text, size_t size)
{
	if (isnan(number)) {
		snprintf(text, size, "undefined");
		return;
	}
	/* Seventeen digits are always enough; fifteen read better where they will do. */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, size, "%.*g", digits, number == 0 ? 0.0 : number);
		if (strtod(text, NULL) == number)
			return;
	}
}
