/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/identity_source.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/control/cert_files.h"
#include "shared/control/certs.h"
#include "shared/control/dev_ca.h"
#include "shared/obs/log.h"
#include "shared/state/world.h"
#include "shared/wire/tls_ctx.h"

LOG_SCOPE(scope, "ztunnel::identity");

struct identity_source {
	struct app *app;
};

/* Contract section 8: prefetched are workloads of this very node that speak HBONE, in shared mode. */
static void local_workload(void *arg, const struct workload *w)
{
	struct app *app = arg;
	const struct config *c = app->config;
	if (c->mode == CONFIG_SHARED && *c->node_name &&
	    str_eq(rstr_str(w->node), str_of(c->node_name)) &&
	    (w->protocol == WORKLOAD_HBONE || w->native_tunnel))
		certs_prefetch(app->certs, rstr_str(w->identity));
}

static void identity_unused(void *arg, const struct workload *last)
{
	struct app *app = arg;
	certs_forget(app->certs, rstr_str(last->identity));
}

static int make_source(struct app *app, struct certs_source **out)
{
	const struct config *c = app->config;
	char why[DEV_CA_WHY_MAX];
	_Static_assert(sizeof(why) >= CERT_FILES_WHY_MAX, "either reason fits");
	int rc;
	if (c->cert_dir) {
		rc = cert_files_new(app->control, c->cert_dir, out, why);
		if (rc)
			log_error(&scope, "GAUZE_CERT_DIR: %s", why);
		return rc;
	}
	_Static_assert(sizeof(why) >= CERT_FILES_WHY_MAX, "either source may say why");
	if (c->cert_dir) {
		rc = cert_files_new(app->control, c->cert_dir, out, why);
		if (rc)
			log_error(&scope, "GAUZE_CERT_DIR: %s", why);
		else
			log_info(&scope, "certificates come from %s", c->cert_dir);
		return rc;
	}
	if (!c->fake_ca) {
		log_error(
			&scope,
			"no certificates: set FAKE_CA=true or GAUZE_CERT_DIR; a certificate authority over the network (CA_ADDRESS) is not supported by this build");
		return ERR_UNSUPPORTED;
	}
	rc = dev_ca_new(c->dev_ca_dir, (uint32_t)(c->secret_ttl_ms / 1000), out, why);
	if (rc)
		log_error(&scope, "development CA: %s", why);
	else
		log_warn(
			&scope,
			"development CA in use (FAKE_CA=true): whoever reads %s can be anybody in the mesh",
			c->dev_ca_dir);
	return rc;
}

int identity_source_start(struct app *app, struct identity_source **out)
{
	struct tls_options tls = {.tls12 = app->config->tls12, .pqc_only = app->config->pqc_only};
	struct certs_config config = {.control = app->control, .crl = app->crl, .tls = &tls};
	struct identity_source *s = calloc(1, sizeof(*s));
	struct world_hooks hooks = {app, local_workload, identity_unused};
	int rc = s ? make_source(app, &config.source) : ERR_NOMEM;
	if (!rc)
		rc = certs_new(&config, &app->certs);
	if (rc) {
		free(s);
		return rc;
	}
	s->app = app;
	world_set_hooks(app->world, &hooks);
	*out = s;
	return 0;
}

void identity_source_stop(struct identity_source *s)
{
	if (!s)
		return;
	certs_free(s->app->certs);
	free(s);
}
