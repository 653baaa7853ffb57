/* SPDX-License-Identifier: Apache-2.0 */
#include "dump_state.h"

#include <stdio.h>
#include <stdlib.h>

#include "dump_private.h"

/* Objects of one kind, to be sorted. */
struct list {
	void **v;
	size_t count, cap;
	bool no_memory;
};

static bool list_add(struct list *l, void *object)
{
	if (l->count == l->cap) {
		size_t cap = l->cap ? l->cap * 2 : 64;
		void **bigger = reallocarray(l->v, cap, sizeof(*bigger));
		if (!bigger) {
			l->no_memory = true;
			return false;
		}
		l->v = bigger;
		l->cap = cap;
	}
	l->v[l->count++] = object;
	return true;
}

static bool add_workload(void *arg, struct workload *w)
{
	return list_add(arg, w);
}

static bool add_service(void *arg, struct service *s)
{
	return list_add(arg, s);
}

static bool add_policy(void *arg, struct policy *p)
{
	return list_add(arg, p);
}

static bool add_staged(void *arg, struct rstr *service_key, const struct endpoint_set *set)
{
	(void)service_key;
	return list_add(arg, (void *)(uintptr_t)set);
}

static int by_uid(const void *a, const void *b)
{
	const struct workload *x = *(void *const *)a, *y = *(void *const *)b;

	return strcmp(x->uid->text, y->uid->text);
}

static int by_hostname(const void *a, const void *b)
{
	const struct service *x = *(void *const *)a, *y = *(void *const *)b;
	int order = strcmp(x->hostname->text, y->hostname->text);

	return order ? order : strcmp(x->ns->text, y->ns->text);
}

static int by_key(const void *a, const void *b)
{
	const struct policy *x = *(void *const *)a, *y = *(void *const *)b;

	return strcmp(x->key->text, y->key->text);
}

static int by_service_key(const void *a, const void *b)
{
	const struct endpoint_set *x = *(void *const *)a, *y = *(void *const *)b;

	return strcmp(x->service_key->text, y->service_key->text);
}

static void sort(struct list *l, int (*order)(const void *, const void *))
{
	if (l->count > 0)
		qsort(l->v, l->count, sizeof(*l->v), order);
}

/* Frees the list; the value too, when something did not fit into memory. */
static cJSON *finish(struct list *l, cJSON *value, bool ok)
{
	ok = ok && value && !l->no_memory;
	free(l->v);
	if (!ok)
		cJSON_Delete(value);
	return ok ? value : NULL;
}

cJSON *dump_workloads(const struct world *w)
{
	cJSON *out = cJSON_CreateArray();
	struct list l = {0};
	bool ok = out != NULL;

	world_each_workload(w, add_workload, &l);
	sort(&l, by_uid);
	for (size_t i = 0; i < l.count && ok; i++)
		ok = json_append(out, dump_workload(l.v[i]));
	return finish(&l, out, ok);
}

cJSON *dump_services(const struct world *w)
{
	cJSON *out = cJSON_CreateArray();
	struct list l = {0};
	bool ok = out != NULL;

	world_each_service(w, add_service, &l);
	sort(&l, by_hostname);
	for (size_t i = 0; i < l.count && ok; i++)
		ok = json_append(out, dump_service(l.v[i]));
	return finish(&l, out, ok);
}

cJSON *dump_policies(const struct world *w)
{
	cJSON *out = cJSON_CreateArray();
	struct list l = {0};
	bool ok = out != NULL;

	world_each_policy(w, add_policy, &l);
	sort(&l, by_key);
	for (size_t i = 0; i < l.count && ok; i++)
		ok = json_append(out, dump_policy(l.v[i]));
	return finish(&l, out, ok);
}

cJSON *dump_staged_services(const struct world *w)
{
	cJSON *out = cJSON_CreateObject();
	struct list l = {0};
	bool ok = out != NULL;

	world_each_staged(w, add_staged, &l);
	sort(&l, by_service_key);
	for (size_t i = 0; i < l.count && ok; i++) {
		const struct endpoint_set *set = l.v[i];
		ok = json_add(out, set->service_key->text, dump_endpoints(NULL, set));
	}
	return finish(&l, out, ok);
}

/* ---- small steps ---- */

bool json_append(cJSON *array, cJSON *item)
{
	if (item && cJSON_AddItemToArray(array, item))
		return true;
	cJSON_Delete(item);
	return false;
}

bool json_add(cJSON *object, const char *key, cJSON *item)
{
	if (item && cJSON_AddItemToObject(object, key, item))
		return true;
	cJSON_Delete(item);
	return false;
}

bool json_text(cJSON *object, const char *key, const struct rstr *s)
{
	return cJSON_AddStringToObject(object, key, rstr_z(s)) != NULL;
}

bool json_text_if(cJSON *object, const char *key, const struct rstr *s)
{
	return rstr_str(s).n == 0 || json_text(object, key, s);
}

bool json_enum(cJSON *object, const char *key, const char *const names[], int value)
{
	return cJSON_AddStringToObject(object, key, names[value]) != NULL;
}

bool json_number(cJSON *object, const char *key, uint32_t value)
{
	return cJSON_AddNumberToObject(object, key, value) != NULL;
}

static int pair_text_order(const void *a, const void *b)
{
	char x[8], y[8];

	snprintf(x, sizeof(x), "%u", ((const struct port_pair *)a)->service);
	snprintf(y, sizeof(y), "%u", ((const struct port_pair *)b)->service);
	return strcmp(x, y);
}

cJSON *dump_ports(const struct portmap *m)
{
	size_t count = portmap_count(m);
	struct port_pair *v = calloc(count + 1, sizeof(*v));
	cJSON *out = v ? cJSON_CreateObject() : NULL;
	bool ok = out != NULL;

	for (size_t i = 0; i < count && ok; i++)
		v[i] = *portmap_at(m, i);
	/* As text, since that is what keys are. */
	if (ok)
		qsort(v, count, sizeof(*v), pair_text_order);
	for (size_t i = 0; i < count && ok; i++) {
		char key[8];
		snprintf(key, sizeof(key), "%u", v[i].service);
		ok = json_number(out, key, v[i].target);
	}
	free(v);
	if (!ok)
		cJSON_Delete(out);
	return ok ? out : NULL;
}

cJSON *dump_network_ip(const struct rstr *network, const struct ip *ip)
{
	char text[ADDR_TEXT_MAX], whole[512];

	snprintf(whole, sizeof(whole), "%s/%s", rstr_z(network), ip_text(ip, text));
	return cJSON_CreateString(whole);
}

cJSON *dump_cidr(const struct cidr *c)
{
	char text[ADDR_TEXT_MAX], whole[ADDR_TEXT_MAX + 8];

	snprintf(whole, sizeof(whole), "%s/%u", ip_text(&c->ip, text), c->prefix);
	return cJSON_CreateString(whole);
}

cJSON *dump_gateway(const struct gateway *g)
{
	cJSON *out = cJSON_CreateObject();
	cJSON *destination = g->kind == GATEWAY_ADDRESS ? dump_network_ip(g->name, &g->ip)
							: cJSON_CreateString(g->name->text);
	bool ok = json_add(out, "destination", destination) &&
		  json_number(out, "hboneMtlsPort", g->hbone_port);

	if (!ok)
		cJSON_Delete(out);
	return ok ? out : NULL;
}
