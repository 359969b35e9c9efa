#include "lexer.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

bool lexer_start(struct lexer *lexer, const char *text, struct error *error)
{
	lexer->text = text;
	lexer->at = text;
	return lexer_next(lexer, error);
}

bool lexer_next(struct lexer *lexer, struct error *error)
{
	while (isspace((unsigned char)*lexer->at))
		lexer->at++;
	const char *start = lexer->at;
	unsigned char first = (unsigned char)*start;
	struct token token = { .column = (size_t)(start - lexer->text) + 1, .start = start };
	if (first == '\0' || first == '#') {
		token.kind = TOKEN_END;
	} else if (isdigit(first) || (first == '.' && isdigit((unsigned char)start[1]))) {
		char *end;
		token.kind = TOKEN_NUMBER;
		token.number = strtod(start, &end);
		lexer->at = end;
	} else if (isalpha(first) || first == '_') {
		token.kind = TOKEN_NAME;
		while (isalnum((unsigned char)*lexer->at) || *lexer->at == '_')
			lexer->at++;
	} else if (strchr("+-*/%^(),=", first)) {
		token.kind = TOKEN_SIGN;
		lexer->at++;
	} else {
		return error_set(error, token.column, "unexpected `%c`", first);
	}
	token.length = (size_t)(lexer->at - start);
	lexer->token = token;
	return true;
}

bool lexer_at(const struct lexer *lexer, char sign)
{
	return lexer->token.kind == TOKEN_SIGN && *lexer->token.start == sign;
}
