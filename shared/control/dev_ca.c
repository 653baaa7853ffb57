/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "dev_ca.h"

#include "read_file.h"
#include "shared/base/err.h"
#include "shared/wire/x509.h"
#include "shared/wire/x509_issue.h"

#define ROOT_CERT "root-cert.pem"
#define ROOT_KEY "root-key.pem"

enum {
	MAGIC = 0x64636131,
	ROOT_DAYS = 3650,
	DAY_S = 24 * 3600,
	BACKDATE_MAX_S = 60, /* clocks of neighbours may differ a little */
	FILE_BYTES_MAX = 64 * 1024,
};

struct dev_ca {
	struct certs_source source;
	uint32_t magic;
	uint32_t lifetime_s;
	struct x509_key *key;
	char *root_pem;
	struct str root_der;
};

printf_like(3, 4) static int fail(char why[DEV_CA_WHY_MAX], int rc, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, DEV_CA_WHY_MAX, fmt, ap);
	va_end(ap);
	return rc;
}

/* ---- the folder ---- */

static int make_folders(const char *dir)
{
	char path[4096];

	if (strlen(dir) >= sizeof(path) || dir[0] == '\0')
		return -ENAMETOOLONG;
	strcpy(path, dir);
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return -errno;
		*p = '/';
	}
	return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

/* The folder's descriptor, or a negative code. */
static int open_folder(const char *dir, char why[DEV_CA_WHY_MAX])
{
	struct stat st;

	int rc = make_folders(dir);
	if (rc != 0)
		return fail(why, rc, "cannot make the folder %s: %s", dir, err_text(rc));
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		rc = fail(why, -errno, "cannot open %s: %s", dir, strerror(errno));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	if ((st.st_mode & 077) == 0)
		return fd;
	if (st.st_uid != geteuid() || fchmod(fd, 0700) != 0) {
		close(fd);
		return fail(why, -EPERM, "%s is open to others and not ours to close", dir);
	}
	return fd;
}

/* A file that is there is whole: it is written under another name first. */
static int write_file(int folder, const char *name, struct str text)
{
	char temporary[64];
	int rc = 0;

	snprintf(temporary, sizeof(temporary), ".%s.new", name);
	(void)unlinkat(folder, temporary, 0); /* what a crash left; we hold the lock */
	int fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			0600);
	if (fd < 0)
		return -errno;
	if (write(fd, text.p, text.n) != (ssize_t)text.n)
		rc = -EIO;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	close(fd);
	if (rc == 0 && renameat(folder, temporary, folder, name) != 0)
		rc = -errno;
	if (rc != 0)
		(void)unlinkat(folder, temporary, 0);
	return rc;
}

/* ---- root ---- */

static int make_root(int folder)
{
	int64_t now = (int64_t)time(NULL);
	struct x509_request r = {.organization = "gauze development CA",
				 .not_before = now - DAY_S,
				 .not_after = now + (int64_t)ROOT_DAYS * DAY_S,
				 .ca = true};
	struct x509_key *key = NULL;
	struct str der = {NULL, 0};

	int rc = x509_key_new(&key);
	if (rc != 0)
		return rc;
	rc = x509_issue(&r, key, NULL, (struct str){NULL, 0}, &der);
	char *key_pem = rc == 0 ? x509_key_pem(key) : NULL;
	char *pem = key_pem ? x509_to_pem(der) : NULL;
	if (rc == 0 && !pem)
		rc = ERR_NOMEM;
	/* The certificate last: once it is there, so is the key. */
	if (rc == 0)
		rc = write_file(folder, ROOT_KEY, str_of(key_pem));
	if (rc == 0)
		rc = write_file(folder, ROOT_CERT, str_of(pem));
	free(pem);
	x509_secret_free(key_pem);
	free((char *)der.p);
	x509_key_free(key);
	return rc;
}

static int read_root(int folder, const char *dir, struct dev_ca *ca, char why[DEV_CA_WHY_MAX])
{
	struct str pem, key, rest;
	struct x509 x;

	int rc = read_file_at(folder, ROOT_CERT, FILE_BYTES_MAX, &pem);
	if (rc != 0)
		return fail(why, rc, "%s/" ROOT_CERT ": %s", dir, err_text(rc));
	ca->root_pem = (char *)pem.p;
	rest = pem;
	rc = x509_pem_next(&rest, X509_BLOCK_CERT, &ca->root_der);
	if (rc == 0)
		rc = x509_parse(ca->root_der, &x);
	if (rc != 0)
		return fail(why, rc, "%s/" ROOT_CERT ": not a certificate", dir);
	bool usable = x.may_sign && x.not_after > (int64_t)time(NULL);
	x509_fini(&x);
	if (!usable)
		return fail(why, ERR_TLS_CONFIG, "%s/" ROOT_CERT ": not a CA, or expired", dir);
	rc = read_file_at(folder, ROOT_KEY, FILE_BYTES_MAX, &key);
	if (rc != 0)
		return fail(why, rc, "%s/" ROOT_KEY ": %s", dir, err_text(rc));
	rc = x509_key_read(key, &ca->key);
	x509_secret_free((char *)key.p);
	if (rc != 0)
		return fail(why, rc, "%s/" ROOT_KEY ": not a P-256 key", dir);
	if (!x509_key_matches(ca->key, ca->root_der))
		return fail(why, ERR_TLS_CONFIG, "%s: key and certificate do not belong together",
			    dir);
	return 0;
}

static int load(const char *dir, struct dev_ca *ca, char why[DEV_CA_WHY_MAX])
{
	int folder = open_folder(dir, why);
	if (folder < 0)
		return folder;
	int lock = openat(folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int rc = 0;
	if (lock < 0 || flock(lock, LOCK_EX) != 0)
		rc = fail(why, -errno, "cannot lock %s: %s", dir, strerror(errno));
	if (rc == 0 && faccessat(folder, ROOT_CERT, F_OK, 0) != 0) {
		rc = make_root(folder);
		if (rc != 0)
			fail(why, rc, "cannot make a CA in %s: %s", dir, err_text(rc));
	}
	if (lock >= 0)
		close(lock); /* and unlocks */
	if (rc == 0)
		rc = read_root(folder, dir, ca, why);
	close(folder);
	return rc;
}

/* ---- certificates ---- */

static int issue(const struct dev_ca *ca, struct str identity, struct str *leaf,
		 struct x509_key **key)
{
	int64_t now = (int64_t)time(NULL);
	struct x509_request r = {.uris = &identity,
				 .uri_count = 1,
				 .not_before =
					 now - MIN(ca->lifetime_s / 10, (uint32_t)BACKDATE_MAX_S),
				 .not_after = now + ca->lifetime_s,
				 .serves = true,
				 .calls = true};

	int rc = x509_key_new(key);
	if (rc != 0)
		return rc;
	rc = x509_issue(&r, *key, ca->key, ca->root_der, leaf);
	if (rc != 0)
		x509_key_free(*key);
	return rc;
}

static void fetch(struct certs_source *s, struct certs_fetch *f)
{
	struct dev_ca *ca = container_of(s, struct dev_ca, source);
	struct x509_key *key = NULL;
	struct str leaf = {NULL, 0};

	MAGIC_CHECK(ca, MAGIC);
	int rc = issue(ca, f->identity, &leaf, &key);
	if (rc != 0) {
		certs_fetch_failed(f, rc, "the development CA could not issue a certificate");
		return;
	}
	char *pem = x509_to_pem(leaf), *key_pem = x509_key_pem(key);
	if (pem && key_pem)
		certs_fetch_done(f, str_of(pem), str_of(key_pem), str_of(ca->root_pem));
	else
		certs_fetch_failed(f, ERR_NOMEM, "out of memory");
	free(pem);
	x509_secret_free(key_pem);
	x509_key_free(key);
	free((char *)leaf.p);
}

/* Every fetch ends at once. */
static void cancel(struct certs_source *s, struct certs_fetch *f)
{
	(void)s;
	(void)f;
}

static void dev_ca_free(struct certs_source *s)
{
	struct dev_ca *ca = container_of(s, struct dev_ca, source);

	MAGIC_CHECK(ca, MAGIC);
	x509_key_free(ca->key);
	free(ca->root_pem);
	free((char *)ca->root_der.p);
	ca->magic = 0;
	free(ca);
}

int dev_ca_new(const char *dir, uint32_t lifetime_s, struct certs_source **out,
	       char why[DEV_CA_WHY_MAX])
{
	static const struct certs_source_ops ops = {fetch, cancel, dev_ca_free};
	struct dev_ca *ca = calloc(1, sizeof(*ca));

	if (!ca)
		return fail(why, ERR_NOMEM, "out of memory");
	ca->source.ops = &ops;
	ca->magic = MAGIC;
	ca->lifetime_s = MAX(lifetime_s, 1U);
	int rc = load(dir, ca, why);
	if (rc != 0) {
		dev_ca_free(&ca->source);
		return rc;
	}
	*out = &ca->source;
	return 0;
}
