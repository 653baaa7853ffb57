/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/wire/baggage.h"

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "shared/wire/text.h"

static bool can_say(struct str value)
{
	return value.n > 0 && text_is_visible(value) && !memchr(value.p, ',', value.n);
}

static void put_pair(struct sbuf *out, size_t start, struct str key, struct str value)
{
	if (!can_say(value))
		return;
	if (out->n > start)
		sbuf_putc(out, ',');
	sbuf_put(out, key);
	sbuf_putc(out, '=');
	sbuf_put(out, value);
}

void baggage_format(const struct baggage *b, struct str workload_type, struct sbuf *out)
{
	size_t start = out->n;
	char key[80];
	struct sbuf name;
	sbuf_init_fixed(&name, key, sizeof(key));
	sbuf_printf(&name, "k8s." STR_FMT ".name", STR_ARG(workload_type));

	put_pair(out, start, STR("k8s.cluster.name"), b->cluster);
	put_pair(out, start, STR("k8s.namespace.name"), b->namespace);
	if (!sbuf_error(&name))
		put_pair(out, start, sbuf_str(&name), b->workload);
	put_pair(out, start, STR("service.name"), b->service);
	put_pair(out, start, STR("service.version"), b->revision);
	put_pair(out, start, STR("cloud.region"), b->region);
	put_pair(out, start, STR("cloud.availability_zone"), b->zone);
}

static struct str *field_of(struct baggage *b, struct str key)
{
	static const struct {
		struct str key;
		size_t field;
	} keys[] = {
		{STR_INIT("k8s.cluster.name"), offsetof(struct baggage, cluster)},
		{STR_INIT("k8s.namespace.name"), offsetof(struct baggage, namespace)},
		{STR_INIT("k8s.deployment.name"), offsetof(struct baggage, workload)},
		{STR_INIT("k8s.cronjob.name"), offsetof(struct baggage, workload)},
		{STR_INIT("k8s.pod.name"), offsetof(struct baggage, workload)},
		{STR_INIT("k8s.job.name"), offsetof(struct baggage, workload)},
		{STR_INIT("service.name"), offsetof(struct baggage, service)},
		{STR_INIT("service.version"), offsetof(struct baggage, revision)},
		{STR_INIT("cloud.region"), offsetof(struct baggage, region)},
		{STR_INIT("cloud.availability_zone"), offsetof(struct baggage, zone)},
	};
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (str_eq(key, keys[i].key))
			return (struct str *)((char *)b + keys[i].field);
	return NULL;
}

int baggage_parse(struct str value, struct baggage *b)
{
	if (value.n > LIMIT_BAGGAGE_BYTES)
		return ERR_TOO_LARGE;
	if (!text_is_visible(value))
		return ERR_SYNTAX;
	while (value.n > 0) {
		struct str pair = text_trim(text_split(&value, ','));
		if (!memchr(pair.p, '=', pair.n))
			continue;
		struct str *field = field_of(b, text_trim(text_split(&pair, '=')));
		/* A second '=' ends the value: so does the original. */
		if (field)
			*field = text_trim(text_split(&pair, '='));
	}
	return 0;
}

struct baggage baggage_from_headers(const struct header *v, size_t n)
{
	struct baggage b = {0};
	for (size_t i = 0; i < n; i++)
		if (str_eq(v[i].name, STR("baggage")) && baggage_parse(v[i].value, &b))
			return (struct baggage){0};
	return b;
}
