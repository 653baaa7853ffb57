/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Error codes. A fallible function returns 0, or a negative value that is either -errno (-1 .. -999) or one of
 * the codes of err.def (-1000 and below). The same codes serve as the reason why a flow or a link ended.
 */
#ifndef GAUZE_BASE_ERR_H
#define GAUZE_BASE_ERR_H

#include "base.h"

/* Response flags of contract section 9, as they appear in metrics and decide `failed`. */
enum err_flag {
	ERR_FLAG_NONE,
	ERR_FLAG_DENY,
	ERR_FLAG_CONNECT,
	ERR_FLAG_TLS_FAILURE,
	ERR_FLAG_H2_HANDSHAKE_FAILURE,
	ERR_FLAG_NETWORK_POLICY,
	ERR_FLAG_IDENTITY_ERROR,
	ERR_FLAG_CERT_REVOKED,
	ERR_FLAG_COUNT
};

enum err {
	ERR_OK = 0,
	ERR_BASE = -1000,
#define ERR(name, flag, h2code, text) ERR_##name,
	ERR_BEFORE_FIRST = ERR_BASE - 1000,
#include "err.def"
#undef ERR
	ERR_END
};

/* Text for logs and peers; never NULL. For -errno the system's text. */
const char *err_text(int code);
/* Symbolic name: "POLICY_DENIED", "ECONNRESET". */
const char *err_name(int code);
/* The response flag that a flow ended by `code` carries; -errno maps to CONNECT, 0 to NONE. */
enum err_flag err_flag(int code);
/* "-", "DENY", "CONNECT", ... */
const char *err_flag_text(enum err_flag flag);
/* HTTP/2 error code (RFC 9113 section 7) for resetting a stream that ended by `code`. */
uint32_t err_h2(int code);

#endif
