/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "read_file.h"

#include "shared/base/err.h"

static int read_all(int fd, size_t max, struct str *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return ERR_TOO_LARGE;
	size_t cap = (size_t)st.st_size, n = 0;
	char *bytes = malloc(cap + 1);
	if (!bytes)
		return ERR_NOMEM;
	while (n < cap) {
		ssize_t got = read(fd, bytes + n, cap - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int rc = -errno;
			wipe(bytes, n); /* it may have been a key */
			free(bytes);
			return rc;
		}
		if (got == 0)
			break; /* it was cut meanwhile */
		n += (size_t)got;
	}
	bytes[n] = '\0';
	*out = (struct str){bytes, n};
	return 0;
}

int read_file_at(int dir, const char *name, size_t max, struct str *out)
{
	/* A pipe must not make us wait. */
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	int rc = read_all(fd, max, out);
	close(fd);
	return rc;
}
