/* SPDX-License-Identifier: Apache-2.0 */
#include "authz.h"

#include <stdio.h>

#include "shared/base/rcumap.h"
#include "shared/base/spiffe.h"
#include "world_private.h"

/* A connection as policies see it: the identity taken apart once. */
struct subject {
	const struct authz_facts *facts;
	struct str principal; /* without "spiffe://" */
	struct spiffe id;     /* empty without an identity */
	bool known;
};

static void subject_of(const struct authz_facts *facts, struct subject *s)
{
	*s = (struct subject){.facts = facts};
	s->known = facts->identity.n > 0 && spiffe_parse(facts->identity, &s->id) == 0;
	if (s->known)
		s->principal = (struct str){facts->identity.p + STR("spiffe://").n,
					    facts->identity.n - STR("spiffe://").n};
}

static bool text_matches(const struct string_match *m, struct str text)
{
	switch (m->kind) {
	case STRING_EXACT: return str_eq(text, m->text);
	case STRING_PREFIX: return str_starts(text, m->text);
	case STRING_SUFFIX: return str_ends(text, m->text);
	case STRING_PRESENCE: return text.n > 0;
	case STRING_UNSET: break;
	}
	return false;
}

static bool any_text(const struct string_match *v, uint16_t count, struct str text)
{
	for (uint16_t i = 0; i < count; i++)
		if (text_matches(&v[i], text))
			return true;
	return false;
}

static bool any_cidr(const struct cidr *v, uint16_t count, const struct ip *ip)
{
	for (uint16_t i = 0; i < count; i++)
		if (cidr_has(&v[i], ip))
			return true;
	return false;
}

static bool any_port(const uint16_t *v, uint16_t count, uint16_t port)
{
	for (uint16_t i = 0; i < count; i++)
		if (v[i] == port)
			return true;
	return false;
}

static bool any_account(const struct service_account_match *v, uint16_t count,
			const struct subject *s)
{
	for (uint16_t i = 0; i < count && s->known; i++)
		if (str_eq(v[i].ns, s->id.ns) && str_eq(v[i].service_account, s->id.sa))
			return true;
	return false;
}

/* Of one kind: the positive list is empty or hits, and the negated one does not hit. */
#define KIND_HOLDS(m, field, any, ...)                                                             \
	(((m)->field##_count[0] == 0 || any((m)->field[0], (m)->field##_count[0], __VA_ARGS__)) && \
	 !any((m)->field[1], (m)->field##_count[1], __VA_ARGS__))

/* Without an identity no principal matches, whatever the form. */
static bool any_principal(const struct string_match *v, uint16_t count, const struct subject *s)
{
	return s->known && any_text(v, count, s->principal);
}

static bool match_is_empty(const struct policy_match *m)
{
	unsigned int n = 0;

	for (int i = 0; i < 2; i++)
		n |= m->namespaces_count[i] | m->principals_count[i] | m->source_ips_count[i] |
		     m->destination_ips_count[i] | m->destination_ports_count[i] |
		     m->service_accounts_count[i];
	return n == 0;
}

static bool match_holds(const struct policy_match *m, const struct subject *s)
{
	const struct authz_facts *f = s->facts;

	return !match_is_empty(m) && KIND_HOLDS(m, destination_ports, any_port, f->dst.port) &&
	       KIND_HOLDS(m, namespaces, any_text, s->id.ns) &&
	       KIND_HOLDS(m, service_accounts, any_account, s) &&
	       KIND_HOLDS(m, principals, any_principal, s) &&
	       KIND_HOLDS(m, source_ips, any_cidr, &f->src.ip) &&
	       KIND_HOLDS(m, destination_ips, any_cidr, &f->dst.ip);
}

static bool clause_holds(const struct policy_clause *c, const struct subject *s)
{
	for (uint32_t i = 0; i < c->matches_count; i++)
		if (match_holds(&c->matches[i], s))
			return true;
	return c->matches_count == 0;
}

static bool rule_holds(const struct policy_rule *r, const struct subject *s)
{
	for (uint32_t i = 0; i < r->clauses_count; i++)
		if (!clause_holds(&r->clauses[i], s))
			return false;
	return true;
}

static bool policy_holds(const struct policy *p, const struct subject *s)
{
	for (uint32_t i = 0; i < p->rules_count; i++)
		if (rule_holds(&p->rules[i], s))
			return true;
	return false;
}

bool policy_matches(const struct policy *p, const struct authz_facts *facts)
{
	struct subject s;

	subject_of(facts, &s);
	return policy_holds(p, &s);
}

/* What the policies looked at so far amount to. */
struct tally {
	struct subject subject;
	struct authz_result *result;
	const struct policy *deny, *allow; /* the first enforced ones that match */
	bool allow_exists, dry_allow_exists, dry_allow_matches;
};

static void weigh(struct tally *t, const struct policy *p)
{
	bool enforced_allow = p->action == POLICY_ALLOW && !p->dry_run;

	t->allow_exists |= enforced_allow;
	t->dry_allow_exists |= p->action == POLICY_ALLOW && p->dry_run;
	/* Once a DENY or an ALLOW was found, others of that kind change nothing. */
	if (!p->dry_run && (p->action == POLICY_DENY ? t->deny : t->allow))
		return;
	if (!policy_holds(p, &t->subject))
		return;
	if (!p->dry_run) {
		*(p->action == POLICY_DENY ? &t->deny : &t->allow) = p;
		return;
	}
	t->dry_allow_matches |= p->action == POLICY_ALLOW;
	if (t->result->dry_run_count < AUTHZ_DRY_RUN_MAX)
		t->result->dry_run[t->result->dry_run_count] = p;
	t->result->dry_run_count++;
}

static void weigh_all(struct tally *t, const struct world *world, struct str place)
{
	struct multi_cursor c;
	const struct policy *p;

	multi_find(&world->policies_of, place, &c);
	while ((p = multi_next(&c)) != NULL)
		weigh(t, p);
}

bool authz_check(const struct world *world, const struct workload *local,
		 const struct authz_facts *facts, struct authz_result *result)
{
	const struct rstr *ns = local->ns;
	struct tally t = {.result = result};

	*result = (struct authz_result){0};
	subject_of(facts, &t.subject);
	weigh_all(&t, world, key_pointer(&ns));
	weigh_all(&t, world, (struct str){"", 0});
	for (size_t i = 0; i < local->policies_count; i++) {
		const struct rstr *key = workload_policies(local)[i];
		const struct policy *p = rcumap_get(world->policies, key_pointer(&key));
		if (p)
			weigh(&t, p);
		else
			result->unknown_policies++;
	}
	result->dry_run_none_allowed = !t.deny && !t.allow_exists && t.dry_allow_exists &&
				       !t.dry_allow_matches;
	if (t.deny) {
		result->why = AUTHZ_DENIED_BY;
		result->policy = t.deny;
	} else if (t.allow) {
		result->why = AUTHZ_ALLOWED_BY;
		result->policy = t.allow;
	} else {
		result->why = t.allow_exists ? AUTHZ_NONE_ALLOWED : AUTHZ_NO_ALLOW_POLICY;
	}
	result->allowed = result->why == AUTHZ_NO_ALLOW_POLICY || result->why == AUTHZ_ALLOWED_BY;
	return result->allowed;
}

const char *authz_text(const struct authz_result *result, char out[AUTHZ_TEXT_MAX])
{
	static const char *const text[] = {
		[AUTHZ_NO_ALLOW_POLICY] = "no allow policies, allow",
		[AUTHZ_ALLOWED_BY] = "allowed by: ",
		[AUTHZ_DENIED_BY] = "explicitly denied by: ",
		[AUTHZ_NONE_ALLOWED] = "allow policies exist, but none allowed",
	};
	const struct policy *p = result->policy;

	snprintf(out, AUTHZ_TEXT_MAX, "%s%s%s%s", text[result->why], p ? p->ns->text : "",
		 p ? "/" : "", p ? p->name->text : "");
	return out;
}
