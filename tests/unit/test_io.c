/* SPDX-License-Identifier: Apache-2.0 */
/* The table of objects that events name. */
#include "io_rig.h"

#include "shared/base/limits.h"

static struct worker *start(void)
{
	struct worker_config config = {
		.name = "test", .io_backend = "epoll", .buf_limits = rig_limits};
	struct worker *w;

	assert_int_equal(worker_new(&config, &w), 0);
	return w;
}

static void late_events_find_nothing(void **state)
{
	struct worker *w = start();
	struct io *io = w->io;
	uint32_t a, b, c;
	int obj[3];

	(void)state;
	assert_int_equal(io_slot_add(io, &obj[0], IO_CONN, &a), 0);
	assert_int_equal(io_slot_add(io, &obj[1], IO_CONN, &b), 0);
	assert_true(a != b);
	uint64_t tag = io_tag(io, a, 3);

	assert_int_equal(io_tag_kind(tag), 3);
	assert_ptr_equal(io_tag_find(io, tag), &obj[0]);
	assert_ptr_equal(io_tag_find(io, io_tag(io, a, 5)), &obj[0]);
	io_slot_del(io, a);
	assert_null(io_tag_find(io, tag));
	/* The slot is used anew, and the old tag is still stale. */
	assert_int_equal(io_slot_add(io, &obj[2], IO_CONN, &c), 0);
	assert_int_equal(c, a);
	assert_null(io_tag_find(io, tag));
	assert_ptr_equal(io_tag_find(io, io_tag(io, c, 3)), &obj[2]);
	assert_null(io_tag_find(io, UINT64_MAX));
	assert_int_equal(io->stats.stale, 3);
	io_slot_del(io, b);
	io_slot_del(io, c);
	worker_free(w);
}

static void table_is_bounded(void **state)
{
	struct worker *w = start();
	uint32_t slot, n = 0;
	int obj, err;

	(void)state;
	while ((err = io_slot_add(w->io, &obj, IO_FREE, &slot)) == 0) {
		assert_int_equal(slot, n);
		n++;
	}
	assert_int_equal(err, ERR_LIMIT);
	assert_int_equal(n, LIMIT_WORKER_CONNS);
	/* What a connection meets then: it is refused and reset, and the descriptor is gone. */
	struct addr at, peer;

	assert_int_equal(addr_parse(STR("127.0.0.1:0"), &at), 0);
	int l = rig_listen_at(&at, 1);

	assert_int_equal(socket_local(l, &at), 0);
	int fd = peer_connect(&at);
	int got = accept4(l, NULL, NULL, SOCK_CLOEXEC);

	assert_int_equal(socket_local(fd, &peer), 0);
	assert_null(conn_accept(w, got, &peer, NULL));
	assert_int_equal(w->io->stats.conns_refused, 1);
	char c;

	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
	close(fd);
	close(l);
	for (uint32_t i = 0; i < n; i++)
		io_slot_del(w->io, i);
	worker_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(late_events_find_nothing),
		cmocka_unit_test(table_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
