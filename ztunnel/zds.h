/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of ZDS, the protocol by which the CNI agent tells about pods (contract section 2). Pure: no socket. One
 * protobuf message per packet; the pod's network namespace comes along as a descriptor.
 */
#ifndef GAUZE_ZTUNNEL_ZDS_H
#define GAUZE_ZTUNNEL_ZDS_H

#include "shared/base/base.h"

/* Either side reads into this much, and takes a longer packet for an error. */
enum { ZDS_PACKET_MAX = 1024, ZDS_WHY_MAX = 128 };

enum zds_kind { ZDS_ADD, ZDS_KEEP, ZDS_DEL, ZDS_SNAPSHOT };

struct zds_request {
	enum zds_kind kind;
	const char *uid; /* all but ZDS_SNAPSHOT */
	bool has_info;	 /* ZDS_ADD: the three names were there */
	const char *name, *ns, *service_account;
	void *message; /* owns the strings */
};

/*
 * Decodes one packet that came with fd_count descriptors; truncated: bytes or descriptors were lost on receipt. 0, or
 * ERR_SYNTAX, ERR_TRUNCATED, ERR_NOMEM with the sentence in why. zds_request_fini() after success.
 */
int must_check zds_decode(const void *bytes, size_t len, size_t fd_count, bool truncated,
			  struct zds_request *out, char why[ZDS_WHY_MAX]);
void zds_request_fini(struct zds_request *r);

/* Both return the length, which is below ZDS_PACKET_MAX: an error text that is too long is cut at a character. */
size_t zds_encode_hello(uint8_t out[ZDS_PACKET_MAX]);
size_t zds_encode_ack(const char *error, uint8_t out[ZDS_PACKET_MAX]);

#endif
