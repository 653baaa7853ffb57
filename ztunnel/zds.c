/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/zds.h"

#include <stdio.h>

#include "proto/zds.pb-c.h"
#include "shared/base/err.h"

/* Tags and lengths around the text of an ack take a few bytes each. */
enum { ACK_TEXT_MAX = ZDS_PACKET_MAX - 1 - 16 };

static int refuse(int rc, char why[ZDS_WHY_MAX], const char *text)
{
	snprintf(why, ZDS_WHY_MAX, "%s", text);
	return rc;
}

/* The length of the UTF-8 character at p, 0 when there is none (RFC 3629; overlong forms are caught by `least`). */
static size_t utf8_char(const unsigned char *p)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least;
	} forms[] = {
		{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
	for (size_t n = 0; n < ARRAY_SIZE(forms); n++) {
		uint32_t v = p[0] & (unsigned char)~forms[n].mask;
		if ((p[0] & forms[n].mask) != forms[n].lead)
			continue;
		for (size_t i = 1; i <= n; i++) {
			if ((p[i] & 0xc0) != 0x80)
				return 0;
			v = v << 6 | (p[i] & 0x3f);
		}
		return v >= forms[n].least && v <= 0x10ffff && (v < 0xd800 || v > 0xdfff) ? n + 1
											  : 0;
	}
	return 0;
}

static bool is_utf8(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	while (*p) {
		size_t n = utf8_char(p);
		if (!n)
			return false;
		p += n;
	}
	return true;
}

static int take(Istio__Workload__Zds__WorkloadRequest *m, struct zds_request *r)
{
	switch (m->payload_case) {
	case ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_ADD:
		r->kind = ZDS_ADD;
		r->uid = m->add->uid;
		r->has_info = m->add->workload_info != NULL;
		if (r->has_info) {
			r->name = m->add->workload_info->name;
			r->ns = m->add->workload_info->namespace_;
			r->service_account = m->add->workload_info->service_account;
		}
		return 0;
	case ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_KEEP:
		r->kind = ZDS_KEEP;
		r->uid = m->keep->uid;
		return 0;
	case ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_DEL:
		r->kind = ZDS_DEL;
		r->uid = m->del->uid;
		return 0;
	case ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_SNAPSHOT_SENT:
		r->kind = ZDS_SNAPSHOT;
		return 0;
	default: return ERR_SYNTAX;
	}
}

int zds_decode(const void *bytes, size_t len, size_t fd_count, bool truncated,
	       struct zds_request *out, char why[ZDS_WHY_MAX])
{
	struct zds_request r = {0};
	if (truncated)
		return refuse(ERR_TRUNCATED, why, "packet or descriptors truncated");
	Istio__Workload__Zds__WorkloadRequest *m =
		istio__workload__zds__workload_request__unpack(NULL, len, bytes);
	if (!m)
		return refuse(ERR_SYNTAX, why, "not a workload request");
	r.message = m;
	const char *wrong = NULL;
	if (take(m, &r))
		wrong = "request without payload";
	else if (fd_count > 1)
		wrong = "more than one descriptor";
	else if (r.kind == ZDS_ADD && fd_count == 0)
		wrong = "add workload without a network namespace descriptor";
	else if (r.kind != ZDS_ADD && fd_count != 0)
		wrong = "a descriptor with a message that has none";
	else if ((r.uid && !is_utf8(r.uid)) ||
		 (r.has_info && !(is_utf8(r.name) && is_utf8(r.ns) && is_utf8(r.service_account))))
		wrong = "text that is not UTF-8";
	if (wrong) {
		zds_request_fini(&r);
		return refuse(ERR_SYNTAX, why, wrong);
	}
	*out = r;
	return 0;
}

void zds_request_fini(struct zds_request *r)
{
	istio__workload__zds__workload_request__free_unpacked(r->message, NULL);
	r->message = NULL;
}

size_t zds_encode_hello(uint8_t out[ZDS_PACKET_MAX])
{
	Istio__Workload__Zds__ZdsHello hello = ISTIO__WORKLOAD__ZDS__ZDS_HELLO__INIT;
	hello.version = ISTIO__WORKLOAD__ZDS__VERSION__V1;
	return istio__workload__zds__zds_hello__pack(&hello, out);
}

size_t zds_encode_ack(const char *error, uint8_t out[ZDS_PACKET_MAX])
{
	Istio__Workload__Zds__WorkloadResponse response =
		ISTIO__WORKLOAD__ZDS__WORKLOAD_RESPONSE__INIT;
	Istio__Workload__Zds__Ack ack = ISTIO__WORKLOAD__ZDS__ACK__INIT;
	char text[ACK_TEXT_MAX + 1];
	size_t n = 0;
	/* What does not belong into a proto3 string would fail the reader, so it is replaced. */
	for (const unsigned char *p = (const unsigned char *)error; *p;) {
		size_t c = utf8_char(p);
		if (n + MAX(c, (size_t)1) > ACK_TEXT_MAX)
			break;
		if (c)
			memcpy(text + n, p, c);
		else
			text[n] = '?';
		n += c ? c : 1;
		p += c ? c : 1;
	}
	text[n] = 0;
	ack.error = text;
	response.payload_case = ISTIO__WORKLOAD__ZDS__WORKLOAD_RESPONSE__PAYLOAD_ACK;
	response.ack = &ack;
	CHECK(istio__workload__zds__workload_response__get_packed_size(&response) < ZDS_PACKET_MAX);
	return istio__workload__zds__workload_response__pack(&response, out);
}
