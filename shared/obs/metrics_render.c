/* SPDX-License-Identifier: Apache-2.0 */
/* The text of a scrape: OpenMetrics, as contract section 9 describes it. */
#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/obs/metrics_private.h"

struct metrics_emit {
	struct sbuf *out;
	const struct family *family;
	size_t samples;
};

/* Of each family; guarded by metrics_lock(). */
static struct {
	metrics_collect_fn *fn;
	void *arg;
} collectors[METRIC_COUNT];

/* The sum over all shards of one combination of label values. */
struct merged {
	const struct label_values *values;
	uint64_t cell[METRIC_CELLS_MAX];
};

struct merge {
	struct merged *v;
	size_t count, cap;
	uint32_t *slot; /* open addressing: index into v plus one */
	size_t slots;
};

/* ---- text ---- */

/* Header lines go out with a family's first sample, so that a family without samples leaves no trace. */
static void begin_family(struct metrics_emit *e)
{
	static const char *const types[] = {
		[METRIC_COUNTER] = "counter",
		[METRIC_COUNTER_NS] = "counter",
		[METRIC_GAUGE] = "gauge",
		[METRIC_HISTOGRAM] = "histogram",
	};
	const struct family *f = e->family;
	if (e->samples++ > 0)
		return;
	sbuf_printf(e->out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
		    types[f->kind]);
	if (f->unit[0])
		sbuf_printf(e->out, "# UNIT %s %s\n", f->name, f->unit);
}

static void put_value_text(struct sbuf *out, struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '\\' || c == '"')
			sbuf_putc(out, '\\');
		if (c == '\n')
			sbuf_putz(out, "\\n");
		else
			sbuf_putc(out, c);
	}
}

static void put_pair(struct sbuf *out, bool *any, const char *name, struct str value)
{
	sbuf_putc(out, *any ? ',' : '{');
	*any = true;
	sbuf_putz(out, name);
	sbuf_putz(out, "=\"");
	put_value_text(out, value);
	sbuf_putc(out, '"');
}

/* The name, its suffix and the labels, with `le` first when it is given. */
static void put_name(struct metrics_emit *e, const char *suffix, const char *le,
		     const struct str *labels)
{
	const struct family *f = e->family;
	bool any = false;
	sbuf_putz(e->out, f->name);
	sbuf_putz(e->out, suffix);
	if (le)
		put_pair(e->out, &any, "le", str_of(le));
	for (uint8_t i = 0; i < f->labels_count; i++)
		put_pair(e->out, &any, f->labels[i], labels[i]);
	sbuf_putz(e->out, any ? "} " : " ");
}

/* Seconds, exactly, with at least one digit behind the point and no more than are needed. */
static void put_seconds(struct sbuf *out, uint64_t ns)
{
	char digits[10];
	uint64_t rest = ns % NS_PER_S;
	sbuf_u64(out, ns / NS_PER_S);
	digits[0] = '.';
	for (int i = 9; i > 0; i--, rest /= 10)
		digits[i] = (char)('0' + rest % 10);
	size_t n = sizeof(digits);
	while (n > 2 && digits[n - 1] == '0')
		n--;
	sbuf_put(out, (struct str){digits, n});
}

static void put_i64(struct sbuf *out, int64_t v)
{
	if (v < 0)
		sbuf_putc(out, '-');
	sbuf_u64(out, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

static void put_histogram(struct metrics_emit *e, const struct str *labels, const uint64_t *cell)
{
	const struct family *f = e->family;
	char text[32];
	struct sbuf le;
	uint64_t count = 0;
	for (uint8_t i = 0; i <= f->bounds_count; i++)
		count += cell[i];
	put_name(e, "_sum", NULL, labels);
	put_seconds(e->out, cell[f->bounds_count + 1]);
	sbuf_putc(e->out, '\n');
	put_name(e, "_count", NULL, labels);
	sbuf_u64(e->out, count);
	sbuf_putc(e->out, '\n');
	count = 0;
	for (uint8_t i = 0; i <= f->bounds_count; i++) {
		sbuf_init_fixed(&le, text, sizeof(text));
		if (i < f->bounds_count)
			put_seconds(&le, f->bounds_ns[i]);
		else
			sbuf_putz(&le, "+Inf");
		put_name(e, "_bucket", text, labels);
		count += cell[i];
		sbuf_u64(e->out, count);
		sbuf_putc(e->out, '\n');
	}
}

static void put_sample(struct metrics_emit *e, const struct str *labels, const uint64_t *cell)
{
	begin_family(e);
	switch (e->family->kind) {
	case METRIC_COUNTER:
		put_name(e, "_total", NULL, labels);
		sbuf_u64(e->out, cell[0]);
		break;
	case METRIC_COUNTER_NS:
		put_name(e, "_total", NULL, labels);
		put_seconds(e->out, cell[0]);
		break;
	case METRIC_GAUGE:
		put_name(e, "", NULL, labels);
		put_i64(e->out, (int64_t)cell[0]);
		break;
	case METRIC_HISTOGRAM: put_histogram(e, labels, cell); return;
	}
	sbuf_putc(e->out, '\n');
}

/* ---- merging the shards ---- */

static int merge_grow(struct merge *m)
{
	if (m->count < m->cap)
		return 0;
	size_t cap = m->cap ? m->cap * 2 : 64, slots = cap * 2;
	struct merged *v = realloc(m->v, cap * sizeof(*v));
	if (!v)
		return ERR_NOMEM;
	m->v = v;
	uint32_t *slot = calloc(slots, sizeof(*slot));
	if (!slot)
		return ERR_NOMEM;
	for (size_t i = 0; i < m->count; i++) {
		size_t at = m->v[i].values->hash & (slots - 1);
		while (slot[at])
			at = (at + 1) & (slots - 1);
		slot[at] = (uint32_t)i + 1;
	}
	free(m->slot);
	m->slot = slot;
	m->slots = slots;
	m->cap = cap;
	return 0;
}

static bool same_values(const struct label_values *a, const struct label_values *b)
{
	return a->hash == b->hash && a->len == b->len && memcmp(a->packed, b->packed, a->len) == 0;
}

static int merge_add(struct merge *m, const struct family *f, const struct series *s)
{
	int rc = merge_grow(m);
	if (rc)
		return rc;
	size_t at = s->values->hash & (m->slots - 1);
	while (m->slot[at] && !same_values(m->v[m->slot[at] - 1].values, s->values))
		at = (at + 1) & (m->slots - 1);
	if (!m->slot[at]) {
		m->v[m->count] = (struct merged){.values = s->values};
		m->slot[at] = (uint32_t)++m->count;
	}
	struct merged *sum = &m->v[m->slot[at] - 1];
	for (uint32_t c = 0; c < family_cells(f); c++)
		sum->cell[c] += __atomic_load_n(&s->cell[c], __ATOMIC_RELAXED);
	return 0;
}

static bool untouched(const struct family *f, const struct series *s)
{
	uint64_t any = 0;
	for (uint32_t c = 0; c < family_cells(f); c++)
		any |= __atomic_load_n(&s->cell[c], __ATOMIC_RELAXED);
	return any == 0;
}

static void unpack(const struct label_values *v, struct str *labels, size_t n)
{
	const char *p = v->packed;
	for (size_t i = 0; i < n; i++) {
		uint16_t k;
		memcpy(&k, p, sizeof(k));
		labels[i] = (struct str){p + sizeof(k), k};
		p += sizeof(k) + k;
	}
}

static int render_series(struct metrics_emit *e, enum metric id)
{
	const struct family *f = e->family;
	struct merge m = {0};
	struct str labels[TRAFFIC_LABELS];
	int rc = 0;
	for (size_t i = 0; i < LIMIT_THREADS && rc == 0; i++) {
		struct metrics_shard *shard = metrics_shard_at(i);
		if (!shard)
			continue;
		/* Acquire, here and along the list: pairs with series_make(). */
		const struct series *s = __atomic_load_n(&shard->series[id], __ATOMIC_ACQUIRE);
		for (; s && rc == 0; s = __atomic_load_n(&s->next, __ATOMIC_ACQUIRE))
			if (s != shard->overflow[id] || !untouched(f, s))
				rc = merge_add(&m, f, s);
	}
	for (size_t i = 0; i < m.count && rc == 0; i++) {
		unpack(m.v[i].values, labels, f->labels_count);
		put_sample(e, labels, m.v[i].cell);
	}
	free(m.v);
	free(m.slot);
	return rc;
}

static void render_plain(struct metrics_emit *e, enum metric id)
{
	uint64_t sum[METRIC_CELLS_MAX] = {0};
	for (size_t i = 0; i < LIMIT_THREADS; i++) {
		struct metrics_shard *shard = metrics_shard_at(i);
		for (uint32_t c = 0; shard && c < family_cells(e->family); c++)
			sum[c] += __atomic_load_n(&shard->plain[id][c], __ATOMIC_RELAXED);
	}
	put_sample(e, NULL, sum);
}

static int render_family(struct sbuf *out, enum metric id)
{
	struct metrics_emit e = {.out = out, .family = &metric_families[id]};
	if (collectors[id].fn)
		collectors[id].fn(collectors[id].arg, &e);
	else if (e.family->labels_count == 0)
		render_plain(&e, id);
	/* A labelled family may have both. */
	return e.family->labels_count > 0 ? render_series(&e, id) : 0;
}

/* ---- interface ---- */

void metrics_collect(enum metric id, metrics_collect_fn *fn, void *arg)
{
	metrics_lock();
	collectors[id].fn = fn;
	collectors[id].arg = arg;
	metrics_unlock();
}

void metrics_emit(struct metrics_emit *out, const struct str *labels, size_t n, int64_t value)
{
	CHECK(n == out->family->labels_count && out->family->kind != METRIC_HISTOGRAM);
	struct str shown[TRAFFIC_LABELS];
	for (size_t i = 0; i < n; i++)
		shown[i] = labels[i].n ? labels[i] : STR("unknown");
	put_sample(out, shown, &(uint64_t){(uint64_t)value});
}

int metrics_render(struct sbuf *out)
{
	int rc = 0;
	metrics_lock();
	series_scrape_begin();
	for (int id = 0; id < METRIC_COUNT && rc == 0; id++)
		rc = render_family(out, (enum metric)id);
	series_scrape_end();
	metrics_unlock();
	sbuf_putz(out, "# EOF\n");
	return rc ? rc : sbuf_error(out);
}

const char *metrics_content_type(struct str accept)
{
	static const char open[] = "application/openmetrics-text";
	if (accept.n > 0 && memmem(accept.p, accept.n, open, sizeof(open) - 1))
		return "application/openmetrics-text;charset=utf-8;version=1.0.0";
	return "text/plain; charset=utf-8";
}
