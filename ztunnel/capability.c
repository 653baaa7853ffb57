/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/capability.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "shared/io/socket.h"

static int missing(int rc, char error[CAPABILITY_ERROR_MAX], const char *what,
		   const char *capability)
{
	snprintf(error, CAPABILITY_ERROR_MAX, "%s: %s (missing capability: %s)", what, err_text(rc),
		 capability);
	return rc;
}

int capability_check(const struct config *c, char error[CAPABILITY_ERROR_MAX])
{
	/* The mark of pods' sockets is tested even where none is configured: a pod would be lost without it. */
	uint32_t mark = c->packet_mark ? c->packet_mark : 1337;
	int rc = socket_netns_init();
	if (rc && c->mode == CONFIG_SHARED)
		return missing(rc, error, "entering a network namespace", "CAP_SYS_ADMIN");
	if (c->mode == CONFIG_DEDICATED && !c->packet_mark)
		return 0;
	int fd = socket_open(NULL, AF_INET, SOCK_STREAM, mark);
	if (fd < 0)
		return missing(fd, error, "setting SO_MARK on a socket", "CAP_NET_ADMIN");
	close(fd);
	return 0;
}

uint64_t capability_raise_nofile(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1024;
	if (limit.rlim_cur < limit.rlim_max) {
		struct rlimit raised = {limit.rlim_max, limit.rlim_max};
		if (setrlimit(RLIMIT_NOFILE, &raised) == 0)
			return raised.rlim_cur;
	}
	return limit.rlim_cur;
}
