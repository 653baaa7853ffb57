/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Policies: bytes become a tree of matches and a connection; the built policy must answer as a plain reading of contract
 * section 3.7 does, which is written here a second time, over the tree itself.
 */
#include <stddef.h>
#include <stdint.h>

#include "shared/base/cursor.h"
#include "shared/base/spiffe.h"
#include "shared/state/authz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LISTS_MAX = 3, ITEMS_MAX = 3 };

/* Enough room for the deepest tree that the counts below allow. */
struct tree {
	struct policy_rule rules[LISTS_MAX];
	struct policy_clause clauses[LISTS_MAX][LISTS_MAX];
	struct policy_match matches[LISTS_MAX][LISTS_MAX][LISTS_MAX];
	struct string_match strings[2 * 2 * ITEMS_MAX * LISTS_MAX * LISTS_MAX * LISTS_MAX];
	struct cidr cidrs[2 * 2 * ITEMS_MAX * LISTS_MAX * LISTS_MAX * LISTS_MAX];
	uint16_t ports[2 * ITEMS_MAX * LISTS_MAX * LISTS_MAX * LISTS_MAX];
	struct service_account_match accounts[2 * ITEMS_MAX * LISTS_MAX * LISTS_MAX * LISTS_MAX];
	size_t strings_used, cidrs_used, ports_used, accounts_used;
};

static uint16_t count(struct cursor *c, uint16_t max)
{
	return cursor_u8(c) % (max + 1U);
}

/* Few words, so that equal ones meet. */
static struct str word(struct cursor *c)
{
	static const char *const words[] = {"", "a", "b", "ab", "td/ns/a/sa/b", "td/", "/b", "td"};

	return str_of(words[cursor_u8(c) % ARRAY_SIZE(words)]);
}

static struct ip address(struct cursor *c)
{
	struct ip ip = {.len = cursor_u8(c) % 3 == 0 ? 16 : 4};

	ip.b[0] = 10;
	ip.b[ip.len - 1] = cursor_u8(c) & 3;
	return ip;
}

static uint16_t strings(struct tree *t, struct cursor *c, const struct string_match **out)
{
	uint16_t n = count(c, ITEMS_MAX);

	*out = &t->strings[t->strings_used];
	for (uint16_t i = 0; i < n; i++) {
		enum string_match_kind kind = cursor_u8(c) % (STRING_PRESENCE + 1);
		t->strings[t->strings_used++] = (struct string_match){kind, word(c)};
	}
	return n;
}

static uint16_t cidrs(struct tree *t, struct cursor *c, const struct cidr **out)
{
	uint16_t n = count(c, ITEMS_MAX);

	*out = &t->cidrs[t->cidrs_used];
	for (uint16_t i = 0; i < n; i++) {
		struct ip ip = address(c);
		t->cidrs[t->cidrs_used++] = (struct cidr){ip, cursor_u8(c) % 140};
	}
	return n;
}

static void match(struct tree *t, struct cursor *c, struct policy_match *m)
{
	for (int n = 0; n < 2; n++) {
		m->namespaces_count[n] = strings(t, c, &m->namespaces[n]);
		m->principals_count[n] = strings(t, c, &m->principals[n]);
		m->source_ips_count[n] = cidrs(t, c, &m->source_ips[n]);
		m->destination_ips_count[n] = cidrs(t, c, &m->destination_ips[n]);
		m->destination_ports[n] = &t->ports[t->ports_used];
		m->destination_ports_count[n] = count(c, ITEMS_MAX);
		for (uint16_t i = 0; i < m->destination_ports_count[n]; i++)
			t->ports[t->ports_used++] = cursor_u8(c) & 3;
		m->service_accounts[n] = &t->accounts[t->accounts_used];
		m->service_accounts_count[n] = count(c, ITEMS_MAX);
		for (uint16_t i = 0; i < m->service_accounts_count[n]; i++) {
			struct str ns = word(c);
			t->accounts[t->accounts_used++] =
				(struct service_account_match){ns, word(c)};
		}
	}
}

static uint32_t grow(struct tree *t, struct cursor *c)
{
	uint32_t rules = count(c, LISTS_MAX);

	for (uint32_t r = 0; r < rules; r++) {
		t->rules[r] = (struct policy_rule){t->clauses[r], count(c, LISTS_MAX)};
		for (uint32_t k = 0; k < t->rules[r].clauses_count; k++) {
			t->clauses[r][k] =
				(struct policy_clause){t->matches[r][k], count(c, LISTS_MAX)};
			for (uint32_t m = 0; m < t->clauses[r][k].matches_count; m++)
				match(t, c, &t->matches[r][k][m]);
		}
	}
	return rules;
}

/* ---- the second reading ---- */

/* How many usable entries a list has, and how many of them hit. */
struct score {
	int usable, hits;
};

static struct score score_strings(const struct string_match *v, int n, struct str text,
				  bool possible)
{
	struct score s = {0, 0};

	for (int i = 0; i < n; i++) {
		bool hit = false;
		if (v[i].kind == STRING_UNSET)
			continue;
		s.usable++;
		if (v[i].kind == STRING_PRESENCE)
			hit = text.n != 0;
		else if (text.n >= v[i].text.n) {
			const char *from =
				v[i].kind == STRING_SUFFIX ? text.p + text.n - v[i].text.n : text.p;
			hit = memcmp(from, v[i].text.p, v[i].text.n) == 0 &&
			      (v[i].kind != STRING_EXACT || text.n == v[i].text.n);
		}
		s.hits += hit && possible;
	}
	return s;
}

static struct score score_cidrs(const struct cidr *v, int n, const struct ip *ip)
{
	struct score s = {0, 0};

	for (int i = 0; i < n; i++) {
		if (v[i].prefix > v[i].ip.len * 8)
			continue;
		s.usable++;
		bool same = v[i].ip.len == ip->len;
		for (int bit = 0; same && bit < v[i].prefix; bit++)
			same = !((v[i].ip.b[bit / 8] ^ ip->b[bit / 8]) & (0x80 >> (bit % 8)));
		s.hits += same;
	}
	return s;
}

static bool plain_match(const struct policy_match *m, const struct authz_facts *f,
			const struct spiffe *id, bool known)
{
	struct str principal = known ? (struct str){f->identity.p + 9, f->identity.n - 9} : STR("");
	struct str ns = known ? id->ns : STR("");
	int usable = 0;
	bool holds = true;

	for (int n = 0; n < 2; n++) {
		struct score ports = {m->destination_ports_count[n], 0};
		struct score accounts = {m->service_accounts_count[n], 0};
		for (int i = 0; i < ports.usable; i++)
			ports.hits += m->destination_ports[n][i] == f->dst.port;
		for (int i = 0; i < accounts.usable && known; i++)
			accounts.hits += str_eq(m->service_accounts[n][i].ns, id->ns) &&
					 str_eq(m->service_accounts[n][i].service_account, id->sa);
		const struct score all[] = {
			ports,
			accounts,
			score_strings(m->namespaces[n], m->namespaces_count[n], ns, true),
			score_strings(m->principals[n], m->principals_count[n], principal, known),
			score_cidrs(m->source_ips[n], m->source_ips_count[n], &f->src.ip),
			score_cidrs(m->destination_ips[n], m->destination_ips_count[n], &f->dst.ip),
		};
		for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
			usable += all[i].usable;
			if (n == 0)
				holds = holds && (all[i].usable == 0 || all[i].hits > 0);
			else
				holds = holds && all[i].hits == 0;
		}
	}
	return usable > 0 && holds;
}

static bool plain_reading(const struct policy_spec *p, const struct authz_facts *f)
{
	struct spiffe id = {0};
	bool known = f->identity.n > 0 && spiffe_parse(f->identity, &id) == 0;

	for (uint32_t r = 0; r < p->rules_count; r++) {
		bool all = true;
		for (uint32_t k = 0; k < p->rules[r].clauses_count; k++) {
			const struct policy_clause *c = &p->rules[r].clauses[k];
			bool any = c->matches_count == 0;
			for (uint32_t m = 0; m < c->matches_count; m++)
				any = any || plain_match(&c->matches[m], f, &id, known);
			all = all && any;
		}
		if (all)
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const identities[] = {"", "spiffe://td/ns/a/sa/b",
						 "spiffe://td/ns/ab/sa/a", "nonsense"};
	static struct tree tree;
	struct cursor c = cursor_read(data, size);
	struct authz_facts facts = {.identity = str_of(identities[cursor_u8(&c) % 4])};
	struct policy *p, *again;

	tree = (struct tree){0};
	facts.src.ip = address(&c);
	facts.dst.ip = address(&c);
	facts.dst.port = cursor_u8(&c) & 3;
	struct policy_spec spec = {
		.key = STR("n/p"), .name = STR("p"), .ns = STR("n"), .rules = tree.rules};
	spec.rules_count = grow(&tree, &c);
	int err = policy_new(&spec, &p);
	CHECK(err == 0);
	CHECK(policy_matches(p, &facts) == plain_reading(&spec, &facts));
	err = policy_new(&spec, &again);
	CHECK(err == 0 && policy_eq(p, again));
	policy_put(p);
	policy_put(again);
	rstr_sweep();
	return 0;
}
