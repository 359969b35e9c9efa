#include "error.h"

#include <stdarg.h>
#include <stdio.h>

bool error_set(struct error *error, size_t column, const char *format, ...)
{
	if (!error->set) {
		va_list arguments;
		va_start(arguments, format);
		vsnprintf(error->message, sizeof error->message, format, arguments);
		va_end(arguments);
		error->set = true;
		error->column = column;
	}
	return false;
}
