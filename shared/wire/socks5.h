/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's side of a SOCKS5 negotiation (RFC 1928; what is supported: contract section 7). Bytes in, bytes
 * out: socks5_feed() what came, send socks5_output(), until the state says what to do.
 */
#ifndef GAUZE_WIRE_SOCKS5_H
#define GAUZE_WIRE_SOCKS5_H

#include "shared/base/addr.h"

enum socks5_state {
	SOCKS5_GREETING, /* waits for version and methods */
	SOCKS5_REQUEST,	 /* waits for the request */
	SOCKS5_READY,	 /* the target is known: the caller resolves it and calls socks5_reply() */
	SOCKS5_DONE,	 /* replied with success: what follows is the application's */
	SOCKS5_FAILED,	 /* replied with an error: send the output, then close */
};

/* RFC 1928 section 6, as far as we say them. */
enum socks5_code {
	SOCKS5_OK = 0,
	SOCKS5_GENERAL = 1,
	SOCKS5_HOST_UNREACHABLE = 4,
	SOCKS5_NOT_SUPPORTED = 7,
};

enum { SOCKS5_HOST_MAX = 255, SOCKS5_INPUT_MAX = 262, SOCKS5_OUTPUT_MAX = 12 };

struct socks5 {
	enum socks5_state state;
	struct addr target;	      /* READY; ip.len is 0 when a name was given */
	struct str host;	      /* READY: the name, a view into `in`; else empty */
	uint8_t in[SOCKS5_INPUT_MAX]; /* of the message being read */
	uint16_t in_len;
	uint8_t out[SOCKS5_OUTPUT_MAX];
	uint8_t out_len;
};

void socks5_init(struct socks5 *s);
/*
 * Takes bytes until the target is known or the peer broke the protocol; *used is how many (what follows was sent
 * early and belongs to the application). 0; or ERR_SYNTAX or ERR_UNSUPPORTED, once, when the state turns to
 * FAILED with its reply in the output.
 */
int must_check socks5_feed(struct socks5 *s, const void *bytes, size_t n, size_t *used);
/* In READY: queues the reply, with the bound address 0.0.0.0:0, and turns to DONE or FAILED. */
void socks5_reply(struct socks5 *s, enum socks5_code code);
/* What has to be sent; socks5_sent() when it was taken. */
static inline struct str socks5_output(const struct socks5 *s)
{
	return (struct str){(const char *)s->out, s->out_len};
}
static inline void socks5_sent(struct socks5 *s)
{
	s->out_len = 0;
}

#endif
