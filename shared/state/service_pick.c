/* SPDX-License-Identifier: Apache-2.0 */
#include "service_pick.h"

/* Whether a client of that namespace may resolve and reach the service. */
static bool visible(const struct service *s, struct str client_ns)
{
	return s->visibility != VISIBILITY_NAMESPACE || !client_ns.p ||
	       str_eq(rstr_str(s->ns), client_ns);
}

void service_pick_offer(struct service_pick *p, struct service *s, uint8_t prefix)
{
	if (!visible(s, p->client_ns))
		return;
	uint32_t rank = (uint32_t)prefix << 8;
	if (p->client_ns.p && str_eq(rstr_str(s->ns), p->client_ns))
		rank |= 1U << 16;
	if (s->canonical)
		rank |= 2;
	else if (p->preferred_ns.p && str_eq(rstr_str(s->ns), p->preferred_ns))
		rank |= 1;
	/* Of one namespace the later counts: it replaced the earlier one. */
	if (p->best && (rank < p->rank || (rank == p->rank && s->ns != p->best->ns)))
		return;
	p->best = s;
	p->rank = rank;
}
