/* SPDX-License-Identifier: Apache-2.0 */
#include "err.h"

struct entry {
	const char *name;
	const char *text;
	uint32_t h2;
	enum err_flag flag;
};

enum { FIRST = ERR_BEFORE_FIRST + 1, H2_CONNECT_ERROR = 0xa };

static const struct entry table[] = {
#define ERR(id, response_flag, h2code, words) \
	[ERR_##id - FIRST] = {#id, words, h2code, ERR_FLAG_##response_flag},
#include "err.def"
#undef ERR
};

static const char *const flag_names[ERR_FLAG_COUNT] = {
	[ERR_FLAG_NONE] = "-",
	[ERR_FLAG_DENY] = "DENY",
	[ERR_FLAG_CONNECT] = "CONNECT",
	[ERR_FLAG_TLS_FAILURE] = "TLS_FAILURE",
	[ERR_FLAG_H2_HANDSHAKE_FAILURE] = "H2_HANDSHAKE_FAILURE",
	[ERR_FLAG_NETWORK_POLICY] = "NETWORK_POLICY",
	[ERR_FLAG_IDENTITY_ERROR] = "IDENTITY_ERROR",
	[ERR_FLAG_CERT_REVOKED] = "CERT_REVOKED",
};

static const struct entry *find(int code)
{
	return code >= FIRST && code < ERR_END ? &table[code - FIRST] : NULL;
}

/* -errno, and nothing else that is negative */
static bool is_errno(int code)
{
	return code < 0 && code > ERR_BASE;
}

const char *err_text(int code)
{
	const struct entry *e = find(code);
	if (e)
		return e->text;
	if (code == 0)
		return "no error";
	const char *text = is_errno(code) ? strerrordesc_np(-code) : NULL;
	return text ? text : "unknown error";
}

const char *err_name(int code)
{
	const struct entry *e = find(code);
	if (e)
		return e->name;
	if (code == 0)
		return "OK";
	const char *name = is_errno(code) ? strerrorname_np(-code) : NULL;
	return name ? name : "UNKNOWN";
}

enum err_flag err_flag(int code)
{
	const struct entry *e = find(code);
	if (e)
		return e->flag;
	return code == 0 ? ERR_FLAG_NONE : ERR_FLAG_CONNECT;
}

const char *err_flag_text(enum err_flag flag)
{
	return (unsigned int)flag < ERR_FLAG_COUNT ? flag_names[flag] : "-";
}

uint32_t err_h2(int code)
{
	const struct entry *e = find(code);
	if (e)
		return e->h2;
	return code == 0 ? 0 : H2_CONNECT_ERROR;
}
