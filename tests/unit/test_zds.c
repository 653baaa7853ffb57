/* SPDX-License-Identifier: Apache-2.0 */
/* Contract section 2, row by row, and the manager's cases of section 13. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/zds.pb-c.h"
#include "shared/base/err.h"
#include "ztunnel/zds_session.h"

/* ---- pods that only remember ---- */

enum { PODS_MAX = 8 };
static struct fake {
	struct {
		char uid[32], ns[32];
		ino_t ino;
		bool running, kept;
		int starts, stops;
	} pods[PODS_MAX];
	int count;
	bool fail;
	int fds_held;
} fake;

static int find(const char *uid)
{
	for (int i = 0; i < fake.count; i++)
		if (strcmp(fake.pods[i].uid, uid) == 0)
			return i;
	assert_true(fake.count < PODS_MAX);
	snprintf(fake.pods[fake.count].uid, 32, "%s", uid);
	return fake.count++;
}

static bool running(const char *uid)
{
	return fake.pods[find(uid)].running;
}

static int starts(const char *uid)
{
	return fake.pods[find(uid)].starts;
}

static void stop(int i)
{
	fake.pods[i].stops += fake.pods[i].running;
	fake.pods[i].running = false;
}

static int fake_add(void *arg, const struct zds_request *r, int fd, char error[ZDS_ERROR_MAX])
{
	struct stat st;
	int i = find(r->uid);
	assert_ptr_equal(arg, &fake);
	assert_int_equal(fstat(fd, &st), 0);
	if (fake.pods[i].running && fake.pods[i].ino == st.st_ino) {
		close(fd);
		return 0;
	}
	stop(i);
	if (fake.fail) {
		snprintf(error, ZDS_ERROR_MAX, "bind: Address already in use");
		return -EADDRINUSE;
	}
	fake.pods[i].running = true;
	fake.pods[i].starts++;
	fake.pods[i].ino = st.st_ino;
	snprintf(fake.pods[i].ns, sizeof(fake.pods[i].ns), "%s", r->ns);
	close(fd);
	return 0;
}

static void fake_del(void *arg, const char *uid)
{
	(void)arg;
	stop(find(uid));
}

static void fake_keep(void *arg, const char *uid, bool kept)
{
	(void)arg;
	fake.pods[find(uid)].kept = kept;
}

static void fake_keep_none(void *arg)
{
	(void)arg;
	for (int i = 0; i < fake.count; i++)
		fake.pods[i].kept = false;
}

static void fake_reconcile(void *arg)
{
	(void)arg;
	for (int i = 0; i < fake.count; i++)
		if (!fake.pods[i].kept)
			stop(i);
}

static const struct zds_pods ops = {.arg = &fake,
				    .add = fake_add,
				    .del = fake_del,
				    .keep = fake_keep,
				    .keep_none = fake_keep_none,
				    .reconcile = fake_reconcile};

/* ---- packets ---- */

static struct zds_session *z;
static struct zds_reply reply;
static int netns[2]; /* two files stand for two namespaces */

static int fds_open(void)
{
	int n = 0;
	for (int fd = 3; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static char ack_text[ZDS_PACKET_MAX];
static const char *ack_error(void)
{
	Istio__Workload__Zds__WorkloadResponse *m =
		istio__workload__zds__workload_response__unpack(NULL, reply.len, reply.packet);
	assert_non_null(m);
	assert_int_equal(m->payload_case, ISTIO__WORKLOAD__ZDS__WORKLOAD_RESPONSE__PAYLOAD_ACK);
	snprintf(ack_text, sizeof(ack_text), "%s", m->ack->error);
	istio__workload__zds__workload_response__free_unpacked(m, NULL);
	assert_true(reply.len < ZDS_PACKET_MAX);
	return ack_text;
}

static void send_request(Istio__Workload__Zds__WorkloadRequest *m, size_t fd_count, int which)
{
	uint8_t packet[ZDS_PACKET_MAX];
	int fds[ZDS_FDS_MAX];
	size_t n = istio__workload__zds__workload_request__pack(m, packet);
	for (size_t i = 0; i < fd_count; i++)
		fds[i] = dup(netns[which]);
	zds_session_packet(z, packet, n, fds, fd_count, false, &reply);
	assert_string_equal(ack_error(), reply.error);
}

static void do_add(const char *uid, bool info, size_t fd_count, int which)
{
	Istio__Workload__Zds__WorkloadRequest m = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__INIT;
	Istio__Workload__Zds__AddWorkload a = ISTIO__WORKLOAD__ZDS__ADD_WORKLOAD__INIT;
	Istio__Workload__Zds__WorkloadInfo i = ISTIO__WORKLOAD__ZDS__WORKLOAD_INFO__INIT;
	i.name = (char *)"name";
	i.namespace_ = (char *)"ns";
	i.service_account = (char *)"sa";
	a.uid = (char *)uid;
	a.workload_info = info ? &i : NULL;
	m.payload_case = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_ADD;
	m.add = &a;
	send_request(&m, fd_count, which);
}

static void do_keep(const char *uid)
{
	Istio__Workload__Zds__WorkloadRequest m = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__INIT;
	Istio__Workload__Zds__KeepWorkload k = ISTIO__WORKLOAD__ZDS__KEEP_WORKLOAD__INIT;
	k.uid = (char *)uid;
	m.payload_case = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_KEEP;
	m.keep = &k;
	send_request(&m, 0, 0);
}

static void do_del(const char *uid, size_t fd_count)
{
	Istio__Workload__Zds__WorkloadRequest m = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__INIT;
	Istio__Workload__Zds__DelWorkload d = ISTIO__WORKLOAD__ZDS__DEL_WORKLOAD__INIT;
	d.uid = (char *)uid;
	m.payload_case = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_DEL;
	m.del = &d;
	send_request(&m, fd_count, 0);
}

static void do_snapshot(void)
{
	Istio__Workload__Zds__WorkloadRequest m = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__INIT;
	Istio__Workload__Zds__SnapshotSent s = ISTIO__WORKLOAD__ZDS__SNAPSHOT_SENT__INIT;
	m.payload_case = ISTIO__WORKLOAD__ZDS__WORKLOAD_REQUEST__PAYLOAD_SNAPSHOT_SENT;
	m.snapshot_sent = &s;
	send_request(&m, 0, 0);
}

static void good(void)
{
	assert_int_equal(reply.verdict, ZDS_GO_ON);
	assert_string_equal(reply.error, "");
	/* An empty ack is one empty submessage. */
	assert_int_equal(reply.len, 2);
}

static void bad(enum zds_verdict verdict, const char *text)
{
	assert_int_equal(reply.verdict, verdict);
	if (!strstr(reply.error, text))
		fail_msg("\"%s\" lacks \"%s\"", reply.error, text);
}

static int fds_before;

static int setup(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		char path[] = "/tmp/gauze-zds-XXXXXX";
		netns[i] = mkstemp(path);
		unlink(path);
	}
	memset(&fake, 0, sizeof(fake));
	fds_before = fds_open();
	z = zds_session_new(&ops);
	zds_session_connected(z);
	return z ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	zds_session_free(z);
	int leaked = fds_open() - fds_before;
	close(netns[0]);
	close(netns[1]);
	return leaked;
}

/* ---- the cases ---- */

static void hello_is_v1(void **state)
{
	(void)state;
	uint8_t out[ZDS_PACKET_MAX];
	assert_int_equal(zds_encode_hello(out), 2);
	assert_memory_equal(out, "\x08\x01", 2);
}

static void del_uid_is_field_2(void **state)
{
	(void)state;
	struct zds_request r;
	char why[ZDS_WHY_MAX];
	assert_int_equal(zds_decode("\x12\x05\x12\x03uid", 7, 0, false, &r, why), 0);
	assert_int_equal(r.kind, ZDS_DEL);
	assert_string_equal(r.uid, "uid");
	zds_request_fini(&r);
}

static void add_workload_starts_a_proxy(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	good();
	assert_true(running("u"));
	assert_string_equal(fake.pods[0].ns, "ns");
	assert_false(zds_session_ready(z));
	do_snapshot();
	good();
	assert_true(running("u"));
	assert_true(zds_session_ready(z));
}

static void idempotency_add_workload_starts_only_one_proxy(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	do_add("u", true, 1, 0);
	good();
	assert_int_equal(starts("u"), 1);
}

static void idempotency_add_workload_fails(void **state)
{
	(void)state;
	fake.fail = true;
	do_add("u", true, 1, 0);
	bad(ZDS_GO_ON, "failure to start proxy : bind");
	assert_int_equal(zds_session_pending(z), 1);
	do_snapshot();
	good();
	assert_false(zds_session_ready(z));
	fake.fail = false;
	do_add("u", true, 1, 0);
	good();
	assert_int_equal(zds_session_pending(z), 0);
	assert_true(zds_session_ready(z));
}

static void workload_added_while_pending(void **state)
{
	(void)state;
	do_snapshot();
	assert_true(zds_session_ready(z));
	fake.fail = true;
	do_add("u", true, 1, 0);
	/* Contract section 14: readiness stays until the next good message. */
	assert_true(zds_session_ready(z));
	do_add("u", true, 1, 1);
	bad(ZDS_GO_ON, "failure to start proxy");
	assert_int_equal(zds_session_pending(z), 1);
	do_del("other", 0);
	good();
	assert_false(zds_session_ready(z));
	zds_session_retry(z);
	assert_int_equal(zds_session_pending(z), 1);
	fake.fail = false;
	zds_session_retry(z);
	assert_int_equal(zds_session_pending(z), 0);
	assert_int_equal(starts("u"), 1);
	assert_true(zds_session_ready(z));
}

static void idempotency_add_workload_fails_and_then_deleted(void **state)
{
	(void)state;
	do_snapshot();
	fake.fail = true;
	do_add("u", true, 1, 0);
	do_del("u", 0);
	good();
	assert_int_equal(zds_session_pending(z), 0);
	fake.fail = false;
	zds_session_retry(z);
	assert_int_equal(starts("u"), 0);
	assert_true(zds_session_ready(z));
}

static void del_workload_before_snapshot_removes_from_snapshot_and_pending(void **state)
{
	(void)state;
	fake.fail = true;
	do_add("p", true, 1, 0);
	fake.fail = false;
	do_add("u", true, 1, 0);
	do_del("p", 0);
	do_del("u", 0);
	good();
	assert_true(running("u"));
	assert_int_equal(zds_session_pending(z), 0);
	do_snapshot();
	assert_false(running("u"));
	assert_true(zds_session_ready(z));
}

static void add_delete_add_workload_starts_only_one_proxy(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	do_del("u", 0);
	do_add("u", true, 1, 0);
	do_snapshot();
	assert_true(running("u"));
	assert_int_equal(starts("u"), 1);
}

static void proxy_added_then_kept_with_new_snapshot(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	do_add("gone", true, 1, 0);
	do_snapshot();
	zds_session_disconnected(z);
	assert_false(zds_session_ready(z));
	assert_true(zds_session_was_ready(z));
	assert_true(running("u"));
	zds_session_connected(z);
	do_keep("u");
	good();
	do_keep("never seen");
	good();
	do_snapshot();
	assert_true(running("u"));
	assert_int_equal(starts("u"), 1);
	assert_false(running("gone"));
	assert_true(zds_session_ready(z));
}

static void add_with_different_netns_keeps_latest_proxy(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	do_add("u", true, 1, 1);
	good();
	do_snapshot();
	assert_true(running("u"));
	assert_int_equal(starts("u"), 2);
	assert_int_equal(fake.pods[0].stops, 1);
}

static void del_after_snapshot_is_immediate(void **state)
{
	(void)state;
	do_add("u", true, 1, 0);
	do_snapshot();
	do_del("u", 0);
	good();
	assert_false(running("u"));
	do_del("unknown", 0);
	good();
}

static void no_workload_info_rejected(void **state)
{
	(void)state;
	do_add("u", false, 1, 0);
	bad(ZDS_FATAL, "workload_info");
	assert_false(running("u"));
}

static void order_violations_are_fatal(void **state)
{
	(void)state;
	do_snapshot();
	do_keep("u");
	bad(ZDS_FATAL, "keep");
	do_snapshot();
	bad(ZDS_FATAL, "snapshot");
}

static void new_connection_clears_pending(void **state)
{
	(void)state;
	fake.fail = true;
	do_add("u", true, 1, 0);
	zds_session_disconnected(z);
	zds_session_connected(z);
	assert_int_equal(zds_session_pending(z), 0);
	do_snapshot();
	assert_true(zds_session_ready(z));
}

static void descriptors_out_of_place(void **state)
{
	(void)state;
	do_add("u", true, 0, 0);
	bad(ZDS_RECONNECT, "failure to read message : ");
	do_add("u", true, 2, 0);
	bad(ZDS_RECONNECT, "failure to read message : ");
	do_del("u", 1);
	bad(ZDS_RECONNECT, "failure to read message : ");
	assert_int_equal(fake.count, 0);
}

static void packets_that_cannot_be_read(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		bool truncated;
	} cases[] = {
		{"", 0, false},				 /* no payload */
		{"\x08\x01", 2, false},			 /* a varint where a message belongs */
		{"\x12\x05\x12\x03ui", 6, false},	 /* ends too early */
		{"\x12\x05\x12\x03uid", 7, true},	 /* the kernel cut something */
		{"\x12\x05\x12\x03u\xff\x80", 7, false}, /* not UTF-8 */
		{"\x22\x00", 2, false},			 /* a payload we do not know */
		{"\xff\xff\xff\xff\xff\xff\xff\xff", 8, false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = dup(netns[0]);
		zds_session_packet(z, cases[i].bytes, cases[i].len, &fd, 1, cases[i].truncated,
				   &reply);
		bad(ZDS_RECONNECT, "failure to read message : ");
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	}
}

static void long_errors_are_cut(void **state)
{
	(void)state;
	char text[4000];
	uint8_t out[ZDS_PACKET_MAX];
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	assert_in_range(zds_encode_ack(text, out), 900, ZDS_PACKET_MAX - 1);
	/* Two-byte characters at odd offsets: the cut falls between them. */
	for (size_t i = 1; i + 2 < sizeof(text); i += 2)
		memcpy(text + i, "\xc3\xa9", 2);
	reply.len = zds_encode_ack(text, reply.packet);
	const char *cut = ack_error();
	assert_int_equal((unsigned char)cut[strlen(cut) - 1], 0xa9);
	reply.len = zds_encode_ack("x\xff\xc0\xafy", reply.packet);
	assert_string_equal(ack_error(), "x???y");
}

int main(void)
{
#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(hello_is_v1),
		CASE(del_uid_is_field_2),
		CASE(add_workload_starts_a_proxy),
		CASE(idempotency_add_workload_starts_only_one_proxy),
		CASE(idempotency_add_workload_fails),
		CASE(workload_added_while_pending),
		CASE(idempotency_add_workload_fails_and_then_deleted),
		CASE(del_workload_before_snapshot_removes_from_snapshot_and_pending),
		CASE(add_delete_add_workload_starts_only_one_proxy),
		CASE(proxy_added_then_kept_with_new_snapshot),
		CASE(add_with_different_netns_keeps_latest_proxy),
		CASE(del_after_snapshot_is_immediate),
		CASE(no_workload_info_rejected),
		CASE(order_violations_are_fatal),
		CASE(new_connection_clears_pending),
		CASE(descriptors_out_of_place),
		CASE(packets_that_cannot_be_read),
		CASE(long_errors_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
