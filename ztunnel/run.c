/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shared/base/epoch.h"
#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/control/readiness.h"
#include "shared/obs/log.h"
#include "shared/obs/metrics.h"
#include "shared/state/world.h"
#include "ztunnel/capability.h"
#include "ztunnel/drain.h"
#include "ztunnel/identity_source.h"
#include "ztunnel/names.h"
#include "ztunnel/pod_metrics.h"
#include "ztunnel/pods.h"
#include "ztunnel/proxy.h"
#include "ztunnel/revocation.h"
#include "ztunnel/servers.h"
#include "ztunnel/state_source.h"
#include "ztunnel/worker_metrics.h"
#include "ztunnel/workers.h"
#include "ztunnel/zds_client.h"

LOG_SCOPE(scope, "ztunnel::app");

enum { CONTROL_SLOTS = 64, CONTROL_SLABS = 1 };

static const char task_state[] = "state manager", task_proxy[] = "proxy",
		  task_pods[] = "workload proxy manager";

struct run {
	struct app app;
	struct readiness readiness;
	struct revocation *revocation;
	struct identity_source *identities;
	struct state_source *state;
	struct task fatal;
};

static void fatal(struct task *task)
{
	(void)task;
	/* Contract section 2: no drain; the agent's view and ours differ beyond repair. */
	log_error(&scope, "the CNI agent broke the protocol: ending");
	log_stop();
	_exit(1);
}

/* What a flow needs at most, twice over: its two descriptors. Never more than there are. */
static void fit_descriptors(struct config *c)
{
	uint64_t nofile = capability_raise_nofile();
	uint64_t fits = nofile > LIMIT_FDS_RESERVED ? (nofile - LIMIT_FDS_RESERVED) / 2 : 1;
	if (c->connections_max > fits) {
		log_info(&scope, "%lu descriptors: at most %lu connections", (unsigned long)nofile,
			 (unsigned long)fits);
		c->connections_max = (uint32_t)fits;
	}
}

static int check_kernel(struct run *r)
{
	char error[CAPABILITY_ERROR_MAX];
	int rc = capability_check(r->app.config, error);
	if (rc)
		log_error(&scope, "%s", error);
	return rc;
}

/*
 * There is no client for a control plane yet: what was asked for and cannot be had is refused, what is only a default is
 * left out and said.
 */
static int check_sources(struct run *r)
{
	const struct config *c = r->app.config;
	bool local = c->local_xds || c->local_xds_path;
	if (*c->xds_address && getenv("XDS_ADDRESS")) {
		log_error(
			&scope,
			"XDS_ADDRESS=%s: this build takes its state from LOCAL_XDS_PATH or LOCAL_XDS only",
			c->xds_address);
		return ERR_UNSUPPORTED;
	}
	if (!local && *c->xds_address) {
		log_error(
			&scope,
			"no state: set LOCAL_XDS_PATH or LOCAL_XDS (or XDS_ADDRESS= for an empty mesh)");
		return ERR_UNSUPPORTED;
	}
	if (!c->enable_proxy) {
		log_error(
			&scope,
			"ENABLE_PROXY=false: this build has no DNS proxy, so nothing is left to do");
		return ERR_UNSUPPORTED;
	}
	if (c->dns_proxy)
		log_info(&scope, "DNS capture is not served by this build");
	return 0;
}

static int start_control(struct run *r)
{
	struct app *app = &r->app;
	struct worker_config config = {
		.name = "ztunnel",
		.io_backend = app->config->io_backend,
		.buf_limits = {.slots_max = CONTROL_SLOTS,
			       .bytes_max = LIMIT_METRICS_TEXT_BYTES * 2ULL,
			       .slabs_cached = CONTROL_SLABS},
	};
	app->epoch = epoch_new(app->config->workers + 1);
	if (!app->epoch)
		return ERR_NOMEM;
	config.epoch = app->epoch;
	int rc = worker_new(&config, &app->control);
	if (rc)
		return rc;
	app->control->user = app;
	app->started_ns = app->control->now_ns;
	app->control->metrics = metrics_shard_new();
	return app->control->metrics ? 0 : ERR_NOMEM;
}

static int start_world(struct run *r)
{
	struct app *app = &r->app;
	struct world_config config = {.network = str_of(app->config->network),
				      .node_name = str_of(app->config->node_name)};
	app->world = world_new(&config, app->epoch);
	if (!app->world)
		return ERR_NOMEM;
	int rc = revocation_start(app, &r->revocation);
	return rc ? rc : identity_source_start(app, &r->identities);
}

static int start_names(struct run *r)
{
	r->app.names = names_start(r->app.config->ipv6);
	return r->app.names ? 0 : ERR_NOMEM;
}

static int start_workers(struct run *r)
{
	return workers_start(&r->app);
}

static int start_pods(struct run *r)
{
	r->app.pods = pods_new(&r->app);
	if (!r->app.pods)
		return ERR_NOMEM;
	pod_metrics_register(&r->app);
	worker_metrics_register(&r->app);
	metrics_process_init(STR("ztunnel"), str_of(r->app.config->istio_version));
	return 0;
}

static int start_servers(struct run *r)
{
	char error[SERVERS_ERROR_MAX];
	int rc = servers_start(&r->app, &r->app.servers, error);
	if (rc)
		log_error(&scope, "%s", error);
	return rc;
}

static int start_drain(struct run *r)
{
	return drain_new(&r->app, &r->app.drain);
}

static int start_state(struct run *r)
{
	int rc = state_source_start(&r->app, &r->state);
	if (!rc)
		readiness_set(r->app.readiness, task_state, true);
	return rc;
}

static int add_own_pod(struct run *r, enum pod_kind kind, const char *uid, const char *name,
		       const char *ns, const char *sa)
{
	char error[POD_ERROR_MAX];
	struct pod_spec spec = {.kind = kind,
				.uid = str_of(uid),
				.name = str_of(name),
				.ns = str_of(ns),
				.sa = str_of(sa),
				.netns_fd = -1};
	int rc = pods_add(r->app.pods, &spec, error);
	if (rc)
		log_error(&scope, "%s listeners: %s",
			  kind == POD_SELF ? "ztunnel's own" : "dedicated", error);
	return rc;
}

/* Contract section 12: after the state, the self listener and the agent, or the one proxy of dedicated mode. */
static int start_proxies(struct run *r)
{
	const struct config *c = r->app.config;
	int rc = 0;
	if (c->mode == CONFIG_DEDICATED) {
		rc = add_own_pod(r, POD_DEDICATED, c->own_name, c->own_name, c->own_namespace,
				 c->own_service_account);
		readiness_set(r->app.readiness, task_proxy, rc == 0);
		return rc;
	}
	if (*c->pod_name && *c->pod_namespace && *c->service_account)
		rc = add_own_pod(r, POD_SELF, "ztunnel", c->pod_name, c->pod_namespace,
				 c->service_account);
	if (rc)
		return rc;
	task_init(&r->fatal, fatal);
	r->app.zds = zds_client_new(&r->app, &r->fatal);
	return r->app.zds ? 0 : ERR_NOMEM;
}

/* What is missing was never built. */
static void unwind(struct run *r)
{
	struct app *app = &r->app;
	zds_client_free(app->zds);
	state_source_stop(r->state);
	/* It posts to the workers. */
	names_stop(app->names);
	workers_stop(app);
	drain_free(app->drain);
	if (app->pods && pods_live(app->pods) == 0)
		pods_free(app->pods);
	servers_free(app->servers);
	identity_source_stop(r->identities);
	revocation_stop(r->revocation);
	if (app->world)
		world_free(app->world);
	worker_free(app->control);
	if (app->epoch)
		epoch_free(app->epoch);
}

int run_proxy(struct config *config)
{
	static const struct {
		const char *what;
		int (*start)(struct run *r);
	} steps[] = {
		{"kernel", check_kernel},   {"configuration", check_sources},
		{"control", start_control}, {"signals", start_drain},
		{"state", start_world},	    {"names", start_names},
		{"workers", start_workers}, {"pods", start_pods},
		{"servers", start_servers}, {"static configuration", start_state},
		{"proxies", start_proxies},
	};
	struct run r = {.app = {.config = config, .proxy = &proxy_ops}};
	int rc = 0;
	r.app.readiness = &r.readiness;
	readiness_init(&r.readiness);
	readiness_set(&r.readiness, task_state, false);
	if (config->enable_proxy)
		readiness_set(&r.readiness, config->mode == CONFIG_SHARED ? task_pods : task_proxy,
			      false);
	fit_descriptors(config);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !rc; i++) {
		rc = steps[i].start(&r);
		if (rc)
			log_error(&scope, "cannot start: %s: %s", steps[i].what, err_text(rc));
	}
	if (rc) {
		/* Half of it runs: nothing has been promised to anybody, so the kernel cleans up. */
		log_stop();
		_exit(1);
	}
	log_info(&scope, "ztunnel " GAUZE_VERSION " started");
	worker_run(r.app.control);
	unwind(&r);
	return 0;
}
