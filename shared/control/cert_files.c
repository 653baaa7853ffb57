/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert_files.h"

#include "certs.h"
#include "read_file.h"
#include "shared/base/err.h"
#include "shared/base/spiffe.h"
#include "shared/wire/x509_issue.h"

enum { MAGIC = 0x63667331, FILES = 3 };

static const char *const names[FILES] = {"cert-chain.pem", "key.pem", "root-cert.pem"};

/* What tells a file from the one that was read. */
struct mark {
	struct timespec changed;
	ino_t inode;
	off_t size;
};

/* An identity that was fetched, and the files it came from. */
struct known {
	struct list link;
	struct mark mark[FILES];
	size_t len;
	char identity[];
};

struct cert_files {
	struct certs_source source;
	uint32_t magic;
	struct worker *w;
	int dir;
	char *path; /* of dir, for messages */
	struct task look;
	struct timer timer;
	struct list known;
};

/* "td/ns/sa/file", or "file" for what all share. False: no such path. */
static bool file_path(struct str identity, const char *name, char out[SPIFFE_TEXT_MAX + 32])
{
	struct spiffe id;

	if (spiffe_parse(identity, &id) != 0)
		return false;
	const struct str part[] = {id.trust_domain, id.ns, id.sa};
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		if (str_eq(part[i], STR(".")) || str_eq(part[i], STR("..")))
			return false;
	snprintf(out, SPIFFE_TEXT_MAX + 32, STR_FMT "/" STR_FMT "/" STR_FMT "/%s", STR_ARG(part[0]),
		 STR_ARG(part[1]), STR_ARG(part[2]), name);
	return true;
}

/* Where the i-th file of that identity is: its own, or for roots the shared one. */
static bool locate(const struct cert_files *c, struct str identity, int i,
		   char out[SPIFFE_TEXT_MAX + 32])
{
	if (!file_path(identity, names[i], out))
		return false;
	if (i == FILES - 1 && faccessat(c->dir, out, F_OK, 0) != 0)
		strcpy(out, names[i]);
	return true;
}

static struct mark mark_of(const struct cert_files *c, struct str identity, int i)
{
	char path[SPIFFE_TEXT_MAX + 32];
	struct stat st;

	if (!locate(c, identity, i, path) || fstatat(c->dir, path, &st, 0) != 0)
		return (struct mark){.size = -1};
	return (struct mark){st.st_mtim, st.st_ino, st.st_size};
}

static bool same(const struct mark *a, const struct mark *b)
{
	return a->inode == b->inode && a->size == b->size &&
	       a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec;
}

/* ---- changes ---- */

static struct str identity_of(const struct known *k)
{
	return (struct str){k->identity, k->len};
}

static void remember(struct cert_files *c, struct str identity)
{
	struct known *k = NULL;

	list_for_each(l, &c->known)
		if (str_eq(identity_of(list_entry(l, struct known, link)), identity))
			k = list_entry(l, struct known, link);
	if (!k) {
		k = calloc(1, sizeof(*k) + identity.n);
		if (!k)
			return; /* then it is renewed at half of its lifetime only */
		memcpy(k->identity, identity.p, identity.n);
		k->len = identity.n;
		list_add_tail(&c->known, &k->link);
	}
	for (int i = 0; i < FILES; i++)
		k->mark[i] = mark_of(c, identity, i);
	if (!timer_armed(&c->timer))
		timer_arm(&c->w->timers, &c->timer, CERT_FILES_LOOK_MS);
}

static void look(struct task *task)
{
	struct cert_files *c = container_of(task, struct cert_files, look);

	list_for_each(l, &c->known) {
		struct known *k = list_entry(l, struct known, link);
		bool changed = false;
		for (int i = 0; i < FILES; i++) {
			struct mark m = mark_of(c, identity_of(k), i);
			changed = changed || !same(&m, &k->mark[i]);
			k->mark[i] = m;
		}
		if (changed && c->source.certs)
			certs_refresh(c->source.certs, identity_of(k));
	}
	timer_arm(&c->w->timers, &c->timer, CERT_FILES_LOOK_MS);
}

/* ---- the source ---- */

static void fetch(struct certs_source *s, struct certs_fetch *f)
{
	struct cert_files *c = container_of(s, struct cert_files, source);
	struct str text[FILES] = {{NULL, 0}};
	char path[SPIFFE_TEXT_MAX + 32], why[CERTS_WHY_MAX];
	int rc = 0;

	MAGIC_CHECK(c, MAGIC);
	/* Before reading: a change in between is then seen as one. */
	remember(c, f->identity);
	for (int i = 0; i < FILES && rc == 0; i++) {
		if (!locate(c, f->identity, i, path)) {
			rc = ERR_SYNTAX;
			snprintf(path, sizeof(path), "the identity");
		} else {
			rc = read_file_at(c->dir, path, CERT_FILES_BYTES_MAX, &text[i]);
		}
	}
	if (rc == 0) {
		certs_fetch_done(f, text[0], text[1], text[2]);
	} else {
		snprintf(why, sizeof(why), "%.100s/%.100s: %s", c->path, path, err_text(rc));
		certs_fetch_failed(f, ERR_CERT_FETCH, why);
	}
	for (int i = 0; i < FILES; i++)
		x509_secret_free((char *)text[i].p);
}

/* Every fetch ends at once. */
static void cancel(struct certs_source *s, struct certs_fetch *f)
{
	(void)s;
	(void)f;
}

static void cert_files_free(struct certs_source *s)
{
	struct cert_files *c = container_of(s, struct cert_files, source);

	MAGIC_CHECK(c, MAGIC);
	timer_disarm(&c->w->timers, &c->timer);
	task_cancel(&c->look);
	while (!list_empty(&c->known)) {
		struct known *k = list_first(&c->known, struct known, link);
		list_del(&k->link);
		free(k);
	}
	close(c->dir);
	free(c->path);
	c->magic = 0;
	free(c);
}

int cert_files_new(struct worker *w, const char *dir, struct certs_source **out,
		   char why[CERT_FILES_WHY_MAX])
{
	static const struct certs_source_ops ops = {fetch, cancel, cert_files_free};
	struct cert_files *c = calloc(1, sizeof(*c));
	int rc;

	if (!c) {
		snprintf(why, CERT_FILES_WHY_MAX, "out of memory");
		return ERR_NOMEM;
	}
	c->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0) {
		rc = -errno;
		snprintf(why, CERT_FILES_WHY_MAX, "cannot open %.180s: %s", dir, err_text(rc));
		free(c);
		return rc;
	}
	c->path = strdup(dir);
	if (!c->path) {
		snprintf(why, CERT_FILES_WHY_MAX, "out of memory");
		close(c->dir);
		free(c);
		return ERR_NOMEM;
	}
	c->source.ops = &ops;
	c->magic = MAGIC;
	c->w = w;
	list_init(&c->known);
	task_init(&c->look, look);
	timer_init(&c->timer, &c->look);
	*out = &c->source;
	return 0;
}
