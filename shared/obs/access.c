/* SPDX-License-Identifier: Apache-2.0 */
#include "shared/obs/access.h"

#include "shared/base/err.h"
#include "shared/obs/log.h"

LOG_SCOPE(scope, "access");

static void put_known(struct log_line *l, const char *key, struct str value)
{
	if (value.n > 0)
		log_str(l, key, value);
}

static void put_direction(struct log_line *l, enum access_direction direction)
{
	log_str(l, "direction", direction == ACCESS_OUTBOUND ? STR("outbound") : STR("inbound"));
}

static void put_facts(struct log_line *l, const struct access_facts *f)
{
	log_addr(l, "src.addr", &f->src.addr);
	put_known(l, "src.workload", f->src.workload);
	put_known(l, "src.namespace", f->src.ns);
	if (f->mutual_tls)
		put_known(l, "src.identity", f->src.identity);
	put_known(l, "src.cluster", f->src.cluster);

	log_addr(l, "dst.addr", &f->dst.addr);
	if (f->hbone_addr.n > 0)
		log_bare(l, "dst.hbone_addr", f->hbone_addr);
	put_known(l, "dst.service", f->service);
	put_known(l, "dst.workload", f->dst.workload);
	put_known(l, "dst.namespace", f->dst.ns);
	if (f->mutual_tls)
		put_known(l, "dst.identity", f->dst.identity);
	put_known(l, "dst.cluster", f->dst.cluster);
	put_direction(l, f->direction);
}

void access_opened(const struct access_facts *f)
{
	struct log_line line;
	if (!log_begin(&line, &scope, LOG_DEBUG, "connection opened"))
		return;
	put_facts(&line, f);
	log_end(&line);
}

void access_complete(const struct access_facts *f)
{
	struct log_line line;
	if (!log_begin(&line, &scope, f->error ? LOG_ERROR : LOG_INFO, "connection complete"))
		return;
	put_facts(&line, f);
	/* Metrics name bytes from the server's side; a line names them from the side that writes it. */
	bool out = f->direction == ACCESS_OUTBOUND;
	char duration[32];
	struct sbuf text;
	sbuf_init_fixed(&text, duration, sizeof(duration));
	sbuf_printf(&text, "%llums", (unsigned long long)f->duration_ms);
	log_u64(&line, "bytes_sent", out ? f->received_bytes : f->sent_bytes);
	log_u64(&line, "bytes_recv", out ? f->sent_bytes : f->received_bytes);
	log_str(&line, "duration", sbuf_str(&text));
	if (f->error)
		log_str(&line, "error",
			f->error_text.n ? f->error_text : str_of(err_text(f->error)));
	log_end(&line);
}

void access_failed(enum access_direction direction, const struct addr *src, const struct addr *dst,
		   struct str error_text)
{
	struct log_line line;
	if (!log_begin(&line, &scope, LOG_WARN, "connection failed"))
		return;
	log_addr(&line, "src.addr", src);
	log_addr(&line, "dst.addr", dst);
	put_direction(&line, direction);
	log_str(&line, "error", error_text);
	log_end(&line);
}
