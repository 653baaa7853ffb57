/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/revocation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/control/file_watch.h"
#include "shared/control/read_file.h"
#include "shared/io/worker.h"
#include "shared/obs/log.h"
#include "shared/wire/crl.h"
#include "ztunnel/app.h"

LOG_SCOPE(scope, "ztunnel::tls::crl");

enum { REVOCATION_DEBOUNCE_MS = 2000 };

struct revocation {
	struct app *app;
	struct file_watch *watch;
	struct task changed;
};

struct crl_mail {
	struct mail mail;
	struct app_worker *aw;
};

/* 0; -ENOENT is an empty set. */
static int load(const char *path, struct crl_set **out)
{
	struct str text;
	int err = read_file_at(AT_FDCWD, path, CRL_FILE_MAX, &text);

	if (err == -ENOENT)
		return crl_set_parse(STR(""), out);
	if (err)
		return err;
	err = crl_set_parse(text, out);
	free((char *)text.p);
	return err;
}

static void deliver(struct mail *mail, struct worker *at)
{
	struct crl_mail *m = container_of(mail, struct crl_mail, mail);

	(void)at;
	m->aw->app->proxy->revoke(m->aw);
	free(m);
}

static void changed(struct task *task)
{
	struct revocation *r = container_of(task, struct revocation, changed);
	struct app *app = r->app;
	struct crl_set *set;
	int err = load(app->config->crl_path, &set);

	if (err) {
		log_warn(&scope, "CRL %s is not usable (%s): the list before stays",
			 app->config->crl_path, err_text(err));
		return;
	}
	log_info(&scope, "CRL %s loaded: %zu certificates are revoked", app->config->crl_path,
		 crl_set_count(set));
	crl_store_swap(app->crl, set);
	crl_set_put(set);
	for (uint32_t i = 0; i < app->workers_count; i++) {
		struct crl_mail *m = calloc(1, sizeof(*m));

		if (!m) {
			log_error(&scope,
				  "out of memory: live tunnels of worker %u are not re-checked", i);
			continue;
		}
		m->aw = &app->workers[i];
		m->mail.deliver = deliver;
		worker_post(m->aw->w, &m->mail);
	}
}

int revocation_start(struct app *app, struct revocation **out)
{
	struct revocation *r;
	struct crl_set *set;
	int err;

	*out = NULL;
	if (!app->config->crl_path)
		return 0;
	err = load(app->config->crl_path, &set);
	if (err) {
		log_warn(&scope, "CRL %s is not usable (%s): revocation is not checked",
			 app->config->crl_path, err_text(err));
		return err == ERR_NOMEM ? err : 0;
	}
	r = calloc(1, sizeof(*r));
	app->crl = crl_store_new();
	if (!r || !app->crl) {
		crl_set_put(set);
		free(r);
		return ERR_NOMEM;
	}
	crl_store_swap(app->crl, set);
	crl_set_put(set);
	r->app = app;
	task_init(&r->changed, changed);
	err = file_watch_new(app->control, app->config->crl_path, REVOCATION_DEBOUNCE_MS,
			     &r->changed, &r->watch);
	if (err)
		log_warn(&scope, "CRL %s cannot be watched (%s): changes need a restart",
			 app->config->crl_path, err_text(err));
	*out = r;
	return 0;
}

void revocation_stop(struct revocation *r)
{
	if (!r)
		return;
	file_watch_free(r->watch);
	task_cancel(&r->changed);
	crl_store_put(r->app->crl);
	r->app->crl = NULL;
	free(r);
}
