/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway.h"

#include <stdlib.h>

#include "shared/base/err.h"

/* Names of up to this many bytes are joined on the stack. */
enum { NAME_MAX_BYTES = 1024 };

int gateway_new(const struct gateway_spec *spec, struct gateway **out)
{
	if (spec->kind == GATEWAY_ADDRESS ? spec->ip.len == 0 : spec->hostname.n == 0)
		return ERR_SYNTAX;
	struct gateway *g = calloc(1, sizeof(*g));
	if (!g)
		return ERR_NOMEM;
	g->refs = 1;
	g->kind = spec->kind;
	g->hbone_port = spec->hbone_port;
	if (spec->kind == GATEWAY_ADDRESS) {
		g->ip = spec->ip;
		g->name = rstr_intern(spec->network);
	} else {
		int err = key_intern(spec->ns, spec->hostname, &g->name);
		if (err) {
			free(g);
			return err;
		}
	}
	if (!g->name) {
		free(g);
		return ERR_NOMEM;
	}
	*out = g;
	return 0;
}

void gateway_put(struct gateway *g)
{
	if (!g || __atomic_sub_fetch(&g->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	rstr_put(g->name);
	free(g);
}

bool gateway_eq(const struct gateway *a, const struct gateway *b)
{
	if (a == b)
		return true;
	if (!a || !b)
		return false;
	return a->kind == b->kind && a->hbone_port == b->hbone_port && a->name == b->name &&
	       (a->kind != GATEWAY_ADDRESS || ip_eq(&a->ip, &b->ip));
}

int key_intern(struct str ns, struct str name, struct rstr **out)
{
	char joined[NAME_MAX_BYTES];

	if (ns.n + name.n + 1 > sizeof(joined))
		return ERR_TOO_LARGE;
	if (ns.n)
		memcpy(joined, ns.p, ns.n);
	joined[ns.n] = '/';
	if (name.n)
		memcpy(joined + ns.n + 1, name.p, name.n);
	struct rstr *s = rstr_intern((struct str){joined, ns.n + 1 + name.n});
	if (!s)
		return ERR_NOMEM;
	*out = s;
	return 0;
}

static int pair_order(const void *a, const void *b)
{
	const struct port_pair *x = a, *y = b;

	return x->service < y->service ? -1 : x->service > y->service;
}

/* A portmap is the rstr that holds its pairs: equal maps are one object without a table of their own. */
static struct rstr *as_rstr(const struct portmap *m)
{
	return (struct rstr *)(uintptr_t)m;
}

static const struct port_pair *pairs_of(const struct portmap *m)
{
	_Static_assert(offsetof(struct rstr, text) % _Alignof(struct port_pair) == 0,
		       "the text of an rstr is aligned for pairs");
	return m ? (const struct port_pair *)(const void *)as_rstr(m)->text : NULL;
}

int portmap_new(const struct port_pair *pairs, size_t count, struct portmap **out)
{
	if (count == 0) {
		*out = NULL;
		return 0;
	}
	struct port_pair *sorted = calloc(count, sizeof(*sorted));
	if (!sorted)
		return ERR_NOMEM;
	/* Insertion, stable, a later pair replacing an earlier one of its service port; maps are short. */
	size_t n = 0;
	for (size_t i = 0; i < count; i++) {
		size_t at = n;
		while (at > 0 && sorted[at - 1].service > pairs[i].service)
			at--;
		if (at > 0 && sorted[at - 1].service == pairs[i].service) {
			sorted[at - 1] = pairs[i];
			continue;
		}
		memmove(&sorted[at + 1], &sorted[at], (n - at) * sizeof(*sorted));
		sorted[at] = pairs[i];
		n++;
	}
	struct rstr *s = rstr_intern((struct str){(const char *)sorted, n * sizeof(*sorted)});
	free(sorted);
	if (!s)
		return ERR_NOMEM;
	*out = (struct portmap *)s;
	return 0;
}

struct portmap *portmap_get(struct portmap *m)
{
	if (m)
		rstr_get(as_rstr(m));
	return m;
}

void portmap_put(struct portmap *m)
{
	rstr_put(as_rstr(m));
}

size_t portmap_count(const struct portmap *m)
{
	return m ? as_rstr(m)->len / sizeof(struct port_pair) : 0;
}

const struct port_pair *portmap_at(const struct portmap *m, size_t i)
{
	return &pairs_of(m)[i];
}

const struct port_pair *portmap_find(const struct portmap *m, uint16_t service_port)
{
	const struct port_pair key = {.service = service_port};

	if (!m)
		return NULL;
	return bsearch(&key, pairs_of(m), portmap_count(m), sizeof(key), pair_order);
}
