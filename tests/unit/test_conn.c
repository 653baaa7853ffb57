/* SPDX-License-Identifier: Apache-2.0 */
#include "io_rig.h"

static void echo(void **state)
{
	struct rig r;
	char out[16];

	rig_start(&r, *state);
	r.echo = true;
	int fd = peer_connect(&r.at);

	assert_int_equal(send(fd, "hello", 5, 0), 5);
	assert_int_equal(peer_read(&r, fd, out, 5), 0);
	assert_memory_equal(out, "hello", 5);
	assert_int_equal(r.accepted, 1);
	assert_true(r.users[0].c->ep.open);
	assert_int_equal(send(fd, "world!", 6, 0), 6);
	assert_int_equal(peer_read(&r, fd, out, 6), 0);
	assert_memory_equal(out, "world!", 6);
	close(fd);
	UNTIL(&r, r.users[0].c->ep.eof);
	assert_int_equal(r.users[0].c->ep.error, 0);
	rig_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(echo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
