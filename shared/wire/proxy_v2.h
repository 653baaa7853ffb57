/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY protocol header, version 2 (HAProxy's proxy-protocol.txt, section 2.2), that tells an application
 * behind a tunnel who called (contract section 6.1, item 9).
 */
#ifndef GAUZE_WIRE_PROXY_V2_H
#define GAUZE_WIRE_PROXY_V2_H

#include "shared/base/addr.h"
#include "shared/base/spiffe.h"

enum {
	PROXY_V2_TLV_IDENTITY = 0xd0,
	/* Signature and fixed part, two IPv6 addresses with ports, one identity. */
	PROXY_V2_BYTES_MAX = 16 + 36 + 3 + SPIFFE_TEXT_MAX,
};

/*
 * Command PROXY over a stream, from source to destination, with the peer's identity in TLV 0xD0 unless it is
 * empty. Addresses of different families are sent as unspecified (none at all). *len is what was written. 0, or
 * ERR_TOO_LARGE for an identity beyond SPIFFE_TEXT_MAX.
 */
int must_check proxy_v2_build(const struct addr *source, const struct addr *destination,
			      struct str identity, uint8_t out[PROXY_V2_BYTES_MAX], size_t *len);

#endif
