/* SPDX-License-Identifier: Apache-2.0 */
#include "policy.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/hash.h"

enum { POLICY_MAGIC = 0x504f4c49, ALIGN = sizeof(void *) };

/*
 * The tree is copied twice by the same code: first with no memory, to learn its size, then into one block. `hash` takes in
 * every value that is copied, with its place in the tree.
 */
struct copier {
	char *p; /* NULL while measuring */
	size_t used;
	uint64_t hash;
	uint32_t dropped;
};

static void *take(struct copier *c, size_t count, size_t size)
{
	size_t at = (c->used + ALIGN - 1) / ALIGN * ALIGN;

	c->used = at + count * size;
	return c->p ? c->p + at : NULL;
}

static void mix(struct copier *c, const void *bytes, size_t n)
{
	struct {
		uint64_t before, own, n;
	} all = {c->hash, hash_bytes(bytes, n), n};

	c->hash = hash_bytes(&all, sizeof(all));
}

static void mix_number(struct copier *c, uint64_t v)
{
	mix(c, &v, sizeof(v));
}

static struct str copy_str(struct copier *c, struct str s)
{
	char *to = take(c, s.n, 1);

	if (to && s.n)
		memcpy(to, s.p, s.n);
	mix(c, s.n ? s.p : "", s.n);
	return (struct str){to, s.n};
}

static uint16_t copy_strings(struct copier *c, const struct string_match *from, uint16_t count,
			     const struct string_match **out)
{
	struct string_match *to = take(c, count, sizeof(*to));
	uint16_t n = 0;

	mix_number(c, count);
	for (uint16_t i = 0; i < count; i++) {
		if (from[i].kind <= STRING_UNSET || from[i].kind > STRING_PRESENCE) {
			c->dropped++;
			continue;
		}
		mix_number(c, from[i].kind);
		struct str text = copy_str(c, from[i].text);
		if (to)
			to[n] = (struct string_match){from[i].kind, text};
		n++;
	}
	*out = to;
	return n;
}

static uint16_t copy_cidrs(struct copier *c, const struct cidr *from, uint16_t count,
			   const struct cidr **out)
{
	struct cidr *to = take(c, count, sizeof(*to));
	uint16_t n = 0;

	mix_number(c, count);
	for (uint16_t i = 0; i < count; i++) {
		if (from[i].ip.len == 0 || from[i].prefix > from[i].ip.len * 8) {
			c->dropped++;
			continue;
		}
		mix(c, from[i].ip.b, from[i].ip.len);
		mix_number(c, from[i].prefix);
		if (to)
			to[n] = from[i];
		n++;
	}
	*out = to;
	return n;
}

static uint16_t copy_ports(struct copier *c, const uint16_t *from, uint16_t count,
			   const uint16_t **out)
{
	uint16_t *to = take(c, count, sizeof(*to));

	mix_number(c, count);
	for (uint16_t i = 0; i < count; i++) {
		mix_number(c, from[i]);
		if (to)
			to[i] = from[i];
	}
	*out = to;
	return count;
}

static uint16_t copy_accounts(struct copier *c, const struct service_account_match *from,
			      uint16_t count, const struct service_account_match **out)
{
	struct service_account_match *to = take(c, count, sizeof(*to));

	mix_number(c, count);
	for (uint16_t i = 0; i < count; i++) {
		struct str ns = copy_str(c, from[i].ns);
		struct str sa = copy_str(c, from[i].service_account);
		if (to)
			to[i] = (struct service_account_match){ns, sa};
	}
	*out = to;
	return count;
}

static struct policy_match copy_match(struct copier *c, const struct policy_match *from)
{
	struct policy_match m = {0};

	for (int n = 0; n < 2; n++) {
		m.namespaces_count[n] = copy_strings(c, from->namespaces[n],
						     from->namespaces_count[n], &m.namespaces[n]);
		m.principals_count[n] = copy_strings(c, from->principals[n],
						     from->principals_count[n], &m.principals[n]);
		m.source_ips_count[n] = copy_cidrs(c, from->source_ips[n],
						   from->source_ips_count[n], &m.source_ips[n]);
		m.destination_ips_count[n] = copy_cidrs(c, from->destination_ips[n],
							from->destination_ips_count[n],
							&m.destination_ips[n]);
		m.destination_ports_count[n] = copy_ports(c, from->destination_ports[n],
							  from->destination_ports_count[n],
							  &m.destination_ports[n]);
		m.service_accounts_count[n] = copy_accounts(c, from->service_accounts[n],
							    from->service_accounts_count[n],
							    &m.service_accounts[n]);
	}
	return m;
}

static const struct policy_match *copy_matches(struct copier *c, const struct policy_clause *from)
{
	struct policy_match *to = take(c, from->matches_count, sizeof(*to));

	mix_number(c, from->matches_count);
	for (uint32_t i = 0; i < from->matches_count; i++) {
		struct policy_match m = copy_match(c, &from->matches[i]);
		if (to)
			to[i] = m;
	}
	return to;
}

static const struct policy_clause *copy_clauses(struct copier *c, const struct policy_rule *from)
{
	struct policy_clause *to = take(c, from->clauses_count, sizeof(*to));

	mix_number(c, from->clauses_count);
	for (uint32_t i = 0; i < from->clauses_count; i++) {
		const struct policy_match *matches = copy_matches(c, &from->clauses[i]);
		if (to)
			to[i] = (struct policy_clause){matches, from->clauses[i].matches_count};
	}
	return to;
}

static const struct policy_rule *copy_rules(struct copier *c, const struct policy_spec *spec)
{
	struct policy_rule *to = take(c, spec->rules_count, sizeof(*to));

	mix_number(c, spec->rules_count);
	for (uint32_t i = 0; i < spec->rules_count; i++) {
		const struct policy_clause *clauses = copy_clauses(c, &spec->rules[i]);
		if (to)
			to[i] = (struct policy_rule){clauses, spec->rules[i].clauses_count};
	}
	return to;
}

int policy_new(const struct policy_spec *spec, struct policy **out)
{
	struct copier measure = {.used = sizeof(struct policy)};

	if (spec->name.n == 0 || spec->key.n == 0)
		return ERR_SYNTAX;
	copy_rules(&measure, spec);
	struct policy *p = calloc(1, measure.used);
	if (!p)
		return ERR_NOMEM;
	struct copier c = {.p = (char *)p, .used = sizeof(*p)};
	p->magic = POLICY_MAGIC;
	p->refs = 1;
	p->rules = copy_rules(&c, spec);
	CHECK(c.used == measure.used);
	p->rules_count = spec->rules_count;
	p->dropped = c.dropped;
	p->hash = c.hash;
	p->scope = spec->scope;
	p->action = spec->action;
	p->dry_run = spec->dry_run;
	p->key = rstr_intern(spec->key);
	p->name = rstr_intern(spec->name);
	p->ns = rstr_intern(spec->ns);
	if (!p->key || !p->name || !p->ns) {
		policy_put(p);
		return ERR_NOMEM;
	}
	*out = p;
	return 0;
}

void policy_put(struct policy *p)
{
	if (!p)
		return;
	MAGIC_CHECK(p, POLICY_MAGIC);
	if (__atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL) != 0)
		return;
	rstr_put(p->key);
	rstr_put(p->name);
	rstr_put(p->ns);
	p->magic = 0;
	free(p);
}

bool policy_eq(const struct policy *a, const struct policy *b)
{
	/* The hash is keyed by a secret of this process: two policies that differ cannot be made to share it. */
	return a->key == b->key && a->name == b->name && a->ns == b->ns && a->scope == b->scope &&
	       a->action == b->action && a->dry_run == b->dry_run &&
	       a->rules_count == b->rules_count && a->hash == b->hash;
}
