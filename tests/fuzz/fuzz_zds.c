/* SPDX-License-Identifier: Apache-2.0 */
/* Packets of the CNI agent, any number in a row: each input is a list of (flags, length, packet). */
#include <fcntl.h>
#include <stddef.h>
#include <unistd.h>

#include "shared/base/cursor.h"
#include "shared/base/err.h"
#include "ztunnel/zds_session.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool fails;

static int add(void *arg, const struct zds_request *r, int netns_fd, char error[ZDS_ERROR_MAX])
{
	(void)arg;
	CHECK(r->uid && r->name && r->ns && r->service_account);
	if (fails) {
		error[0] = 0;
		return ERR_LIMIT;
	}
	close(netns_fd);
	return 0;
}

static void del(void *arg, const char *uid)
{
	(void)arg;
	CHECK(uid);
}

static void keep(void *arg, const char *uid, bool kept)
{
	(void)arg;
	(void)kept;
	CHECK(uid);
}

static void nothing(void *arg)
{
	(void)arg;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct zds_pods pods = {
		.add = add, .del = del, .keep = keep, .keep_none = nothing, .reconcile = nothing};
	struct zds_session *z = zds_session_new(&pods);
	struct cursor c = cursor_read(data, size);
	static struct zds_reply reply;
	if (!z)
		return 0;
	zds_session_connected(z);
	while (cursor_left(&c) > 0) {
		uint8_t flags = cursor_u8(&c);
		size_t len = MIN((size_t)cursor_u16(&c), cursor_left(&c));
		struct str packet = cursor_bytes(&c, len);
		int fds[3];
		size_t fd_count = flags & 3;
		for (size_t i = 0; i < fd_count; i++)
			fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
		fails = flags & 4;
		zds_session_packet(z, packet.p, packet.n, fds, fd_count, flags & 8, &reply);
		CHECK(reply.len > 0 && reply.len < ZDS_PACKET_MAX);
		if (flags & 16)
			zds_session_retry(z);
		if (reply.verdict == ZDS_RECONNECT) {
			zds_session_disconnected(z);
			zds_session_connected(z);
		}
	}
	zds_session_free(z);
	return 0;
}
