/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/dump.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/control/dump_state.h"
#include "shared/control/http_server.h"
#include "ztunnel/pods.h"
#include "ztunnel/zds_client.h"

/* One connection as a worker saw it. */
struct entry {
	struct rstr *uid;
	struct pod_flow flow;
	char *original_host; /* own copy */
};

struct dump_job;

struct share {
	struct mail mail;
	struct dump_job *job;
	struct app_worker *aw;
	struct entry *entries;
	size_t count;
};

struct dump_job {
	struct app *app;
	struct http_exchange *x;
	uint32_t waiting;
	struct share shares[]; /* one per worker */
};

/* ---- on the worker ---- */

static size_t flows_of(const struct app_worker *aw)
{
	size_t n = 0;
	list_for_each(pos, &aw->pods) {
		const struct pod_worker *pw = list_entry(pos, struct pod_worker, link);
		list_for_each(flow, &pw->flows)
			n++;
	}
	return n;
}

static void collect_pod(struct share *s, const struct pod_worker *pw)
{
	list_for_each(pos, &pw->flows) {
		const struct pod_flow *f = list_entry(pos, struct pod_flow, link);
		struct entry *e = &s->entries[s->count++];
		e->uid = rstr_get(pw->pod->uid);
		e->flow = *f;
		e->original_host = f->original_host ? strdup(f->original_host) : NULL;
	}
}

static void deliver_share(struct mail *mail, struct worker *at);

static void deliver_collect(struct mail *mail, struct worker *at)
{
	struct share *s = container_of(mail, struct share, mail);
	CHECK(at == s->aw->w);
	/* Without memory the dump shows fewer connections, which beats showing nothing. */
	s->entries = calloc(flows_of(s->aw) + 1, sizeof(*s->entries));
	list_for_each(pos, &s->aw->pods)
		if (s->entries)
			collect_pod(s, list_entry(pos, struct pod_worker, link));
	mail->deliver = deliver_share;
	worker_post(s->job->app->control, mail);
}

/* ---- workloadState ---- */

static void add_addr(cJSON *to, const char *key, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];
	if (a->ip.len)
		cJSON_AddStringToObject(to, key, addr_text(a, text));
	else
		cJSON_AddNullToObject(to, key);
}

static cJSON *entry_json(const struct entry *e)
{
	static const char *const protocols[] = {[POD_FLOW_TCP] = "TCP",
						[POD_FLOW_HBONE] = "HBONE",
						[POD_FLOW_DOUBLE_HBONE] = "DOUBLEHBONE"};
	cJSON *o = cJSON_CreateObject();
	add_addr(o, "actualDst", &e->flow.actual_dst);
	if (e->original_host)
		cJSON_AddStringToObject(o, "originalDst", e->original_host);
	else
		add_addr(o, "originalDst", &e->flow.original_dst);
	cJSON_AddStringToObject(o, "protocol", protocols[e->flow.protocol]);
	add_addr(o, "src", &e->flow.src);
	return o;
}

static cJSON *pod_json(const char *state, const char *name, const char *ns, const char *sa)
{
	cJSON *o = cJSON_CreateObject(), *info = cJSON_CreateObject();
	cJSON_AddStringToObject(info, "name", name);
	cJSON_AddStringToObject(info, "namespace", ns);
	cJSON_AddStringToObject(info, "serviceAccount", sa);
	cJSON_AddItemToObject(o, "info", info);
	cJSON_AddStringToObject(o, "state", state);
	return o;
}

static int by_key(const void *a, const void *b)
{
	const cJSON *const *x = a, *const *y = b;
	return strcmp((*x)->string, (*y)->string);
}

/* Object keys are sorted, as everywhere in the dump. */
static void sort_keys(cJSON *o)
{
	size_t n = (size_t)cJSON_GetArraySize(o), i = 0;
	cJSON **v = calloc(n + 1, sizeof(cJSON *));
	if (!v || n < 2) {
		free(v);
		return;
	}
	while (o->child)
		v[i++] = cJSON_DetachItemViaPointer(o, o->child);
	qsort(v, n, sizeof(cJSON *), by_key);
	/* The items still own their names; this form takes them as they are. */
	for (i = 0; i < n; i++)
		cJSON_AddItemToArray(o, v[i]);
	free(v);
}

static void add_pod(void *arg, struct pod *pod)
{
	cJSON *o;
	if (pod->kind == POD_SELF)
		return;
	o = pod_json("Up", pod->name->text, pod->ns->text, pod->sa->text);
	cJSON_AddItemToObject(arg, pod->uid->text, o);
}

static void add_pending(void *arg, const struct zds_request *r)
{
	if (!cJSON_GetObjectItemCaseSensitive(arg, r->uid))
		cJSON_AddItemToObject(arg, r->uid,
				      pod_json("Pending", r->name, r->ns, r->service_account));
}

static void add_entry(cJSON *state, const struct entry *e)
{
	cJSON *pod = cJSON_GetObjectItemCaseSensitive(state, e->uid->text), *connections;
	if (!pod)
		return;
	connections = cJSON_GetObjectItemCaseSensitive(pod, "connections");
	if (!connections) {
		connections = cJSON_CreateObject();
		cJSON_AddItemToObject(connections, "inbound", cJSON_CreateArray());
		cJSON_AddItemToObject(connections, "outbound", cJSON_CreateArray());
		/* Before "info" in the order of keys. */
		cJSON_AddItemToObject(pod, "connections", connections);
		sort_keys(pod);
	}
	cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(
				     connections, e->flow.inbound ? "inbound" : "outbound"),
			     entry_json(e));
}

static cJSON *workload_state(struct dump_job *job)
{
	cJSON *state = cJSON_CreateObject();
	pods_each(job->app->pods, add_pod, state);
	if (job->app->zds)
		zds_session_each_pending(zds_client_session(job->app->zds), add_pending, state);
	for (uint32_t i = 0; i < job->app->workers_count; i++)
		for (size_t k = 0; k < job->shares[i].count; k++)
			add_entry(state, &job->shares[i].entries[k]);
	sort_keys(state);
	return state;
}

/* ---- the whole ---- */

static void job_free(struct dump_job *job)
{
	for (uint32_t i = 0; i < job->app->workers_count; i++) {
		struct share *s = &job->shares[i];
		for (size_t k = 0; k < s->count; k++) {
			rstr_put(s->entries[k].uid);
			free(s->entries[k].original_host);
		}
		free(s->entries);
	}
	free(job);
}

static void add_state(struct app *app, cJSON *dump)
{
	cJSON *workloads = dump_workloads(app->world), *services = dump_services(app->world);
	cJSON *policies = dump_policies(app->world), *file = cJSON_CreateObject();
	/* What the file said is the whole state as long as nothing else brings any. */
	if (app->config->local_xds || app->config->local_xds_path) {
		cJSON_AddItemReferenceToObject(file, "policies", policies);
		cJSON_AddItemReferenceToObject(file, "services", services);
		cJSON_AddItemReferenceToObject(file, "workloads", workloads);
	}
	cJSON_AddItemToObject(dump, "policies", policies);
	cJSON_AddItemToObject(dump, "services", services);
	cJSON_AddItemToObject(dump, "stagedServices", dump_staged_services(app->world));
	cJSON_AddItemToObject(dump, "staticConfig", file);
	cJSON_AddItemToObject(dump, "workloads", workloads);
}

static void finish(struct dump_job *job)
{
	struct app *app = job->app;
	cJSON *dump = cJSON_CreateObject();
	cJSON_AddItemToObject(dump, "certificates", dump_certificates(app));
	cJSON_AddItemToObject(dump, "config", dump_config(app->config));
	add_state(app, dump);
	cJSON_AddItemToObject(dump, "version", dump_version(app));
	if (app->config->mode == CONFIG_SHARED)
		cJSON_AddItemToObject(dump, "workloadState", workload_state(job));
	sort_keys(dump);
	char *text = cJSON_Print(dump);
	cJSON_Delete(dump);
	if (text)
		http_respond(job->x, &(struct http_response){.status = 200,
							     .content_type = "application/json",
							     .body = str_of(text)});
	else
		http_respond(job->x, &(struct http_response){.status = 503,
							     .body = str_of(err_text(ERR_NOMEM))});
	cJSON_free(text);
	job_free(job);
}

static void deliver_share(struct mail *mail, struct worker *at)
{
	struct dump_job *job = container_of(mail, struct share, mail)->job;
	CHECK(at == job->app->control && job->waiting > 0);
	if (--job->waiting == 0)
		finish(job);
}

void dump_answer(struct app *app, struct http_exchange *x)
{
	struct dump_job *job =
		calloc(1, sizeof(*job) + app->workers_count * sizeof(job->shares[0]));
	if (!job) {
		http_respond(x, &(struct http_response){.status = 503});
		return;
	}
	job->app = app;
	job->x = x;
	job->waiting = app->workers_count;
	for (uint32_t i = 0; i < app->workers_count; i++) {
		struct share *s = &job->shares[i];
		s->job = job;
		s->aw = &app->workers[i];
		s->mail.deliver = deliver_collect;
	}
	/* Posted last: answers may not change what the loop above still fills. */
	for (uint32_t i = 0; i < app->workers_count; i++)
		worker_post(app->workers[i].w, &job->shares[i].mail);
}
