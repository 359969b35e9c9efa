/* Text in, tokens out, one at a time. */
#ifndef LEXER_H
#define LEXER_H

#include "error.h"

enum token_kind { TOKEN_END, TOKEN_NUMBER, TOKEN_NAME, TOKEN_SIGN };

struct token {
	enum token_kind kind;
	size_t column;
	double number;     /* of TOKEN_NUMBER */
	const char *start; /* of TOKEN_NAME and TOKEN_SIGN, within the text */
	size_t length;
};

struct lexer {
	const char *text;
	const char *at;
	struct token token; /* the one to look at */
};

/* Both leave the next token in `token`; false where there is none but an error. */
bool lexer_start(struct lexer *lexer, const char *text, struct error *error);
bool lexer_next(struct lexer *lexer, struct error *error);
/* Whether the token to look at is this sign. */
bool lexer_at(const struct lexer *lexer, char sign);

#endif
