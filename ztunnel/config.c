/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/base/err.h"
#include "ztunnel/config_file.h"
#include "ztunnel/config_parse.h"
#include "ztunnel/config_vars.h"

enum { DEFAULT_MARK = 1337, DEFAULT_DRAIN_MS = 5000, PROXY_THREADS_MIN = 2 };

struct load {
	const struct config_source *source;
	struct config *c;
	struct config_file file;
	char *error;
};

static int printf_like(3, 4) fail(struct load *l, int rc, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(l->error, CONFIG_ERROR_MAX, fmt, ap);
	va_end(ap);
	return rc;
}

static int bad_value(struct load *l, const char *name, const char *value, const char *expects)
{
	return fail(l, ERR_SYNTAX, "%s=%.200s: expected %s", name, value, expects);
}

static const char *env(const struct load *l, const char *name)
{
	size_t n = strlen(name);
	for (char *const *e = l->source->environ; *e; e++)
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			return *e + n + 1;
	return NULL;
}

static int set(struct load *l, char **slot, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return fail(l, ERR_NOMEM, "out of memory");
	free(*slot);
	*slot = copy;
	return 0;
}

static int load_table(struct load *l)
{
	for (size_t i = 0; i < config_vars_count; i++) {
		const struct config_var *v = &config_vars[i];
		const char *value = env(l, v->name);
		int rc;
		if (v->kind == CONFIG_RULE)
			continue;
		if (!value)
			value = v->fallback;
		if (!value)
			continue;
		rc = config_var_set(v, value, l->c);
		if (rc)
			return bad_value(l, v->name, value, config_var_expects(v));
	}
	return 0;
}

static int read_whole(const char *path, char **out, size_t *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	size_t n = 0;
	ssize_t got;
	if (fd < 0)
		return -errno;
	text = malloc(CONFIG_FILE_BYTES_MAX + 1);
	if (!text) {
		close(fd);
		return ERR_NOMEM;
	}
	while (n < CONFIG_FILE_BYTES_MAX + 1 &&
	       (got = read(fd, text + n, CONFIG_FILE_BYTES_MAX + 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	*out = text;
	*len = n;
	return 0;
}

/* PROXY_CONFIG over the mesh config file; then ISTIO_META_* over their proxyMetadata. */
static int load_files(struct load *l)
{
	const char *path = l->source->mesh_path ? l->source->mesh_path : "./etc/istio/config/mesh";
	const char *inline_text = env(l, "PROXY_CONFIG");
	char why[CONFIG_ERROR_MAX] = "out of memory", *text = NULL;
	size_t len = 0;
	int rc = read_whole(path, &text, &len);
	if (rc == 0) {
		rc = config_file_parse(&l->file, (struct str){text, len}, "defaultConfig", why);
		free(text);
		if (rc)
			return fail(l, rc, "%s: %.400s", path, why);
	} else if (rc != -ENOENT && rc != -ENOTDIR) {
		return fail(l, rc, "%s: %s", path, err_text(rc));
	}
	if (inline_text) {
		rc = config_file_parse(&l->file, str_of(inline_text), NULL, why);
		if (rc)
			return fail(l, rc, "PROXY_CONFIG: %.400s", why);
	}
	l->c->proxy_metadata = l->file.metadata;
	l->file.metadata = (struct config_map){0};
	return 0;
}

/* RFC 9110 section 5.6.2, lower-cased; value: printable ASCII and tabs. */
static bool header_is_valid(const char *name, size_t n, const char *value)
{
	for (size_t i = 0; i < n; i++) {
		char ch = name[i];
		if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') ||
		      (ch && strchr("!#$%&'*+-.^_`|~", ch))))
			return false;
	}
	for (; *value; value++)
		if (*value != '\t' && (*value < 0x20 || *value > 0x7e))
			return false;
	return n > 0;
}

static int load_header(struct load *l, struct config_map *to, const char *entry, size_t prefix)
{
	const char *eq = strchr(entry, '=');
	char name[128];
	size_t n = (size_t)(eq - entry) - prefix;
	if (n >= sizeof(name))
		return fail(l, ERR_SYNTAX, "%.100s...: name too long", entry);
	for (size_t i = 0; i < n; i++) {
		char ch = entry[prefix + i];
		name[i] = (char)(ch >= 'A' && ch <= 'Z' ? ch + 32 : ch);
	}
	if (!header_is_valid(name, n, eq + 1))
		return fail(l, ERR_SYNTAX, "%.*s: not a valid header name or value",
			    (int)(eq - entry), entry);
	return config_map_put(to, (struct str){name, n}, str_of(eq + 1));
}

static int load_families(struct load *l)
{
	const struct {
		struct str prefix;
		struct config_map *to;
		bool header;
	} families[] = {
		{STR("XDS_HEADER_"), &l->c->xds_headers, true},
		{STR("CA_HEADER_"), &l->c->ca_headers, true},
		{STR("ISTIO_META_"), &l->c->proxy_metadata, false},
		{STR("ISTIO_METAJSON_"), &l->c->json_metadata, false},
	};
	for (char *const *e = l->source->environ; *e; e++) {
		const char *eq = strchr(*e, '=');
		for (size_t i = 0; eq && i < ARRAY_SIZE(families); i++) {
			size_t n = families[i].prefix.n;
			int rc;
			if (!str_starts(str_of(*e), families[i].prefix) || eq <= *e + n)
				continue;
			if (families[i].header)
				rc = load_header(l, families[i].to, *e, n);
			else
				rc = config_map_put(families[i].to,
						    (struct str){*e + n, (size_t)(eq - *e) - n},
						    str_of(eq + 1));
			if (rc)
				return rc == ERR_NOMEM ? fail(l, rc, "out of memory") : rc;
		}
	}
	return 0;
}

static int load_mode(struct load *l)
{
	struct config *c = l->c;
	const char *mode = env(l, "PROXY_MODE"), *info = env(l, "PROXY_WORKLOAD_INFO");
	const char *mark = env(l, "PACKET_MARK"), *orig = env(l, "ENABLE_ORIG_SRC");
	uint64_t number;
	bool on;
	if (mode && strcmp(mode, "dedicated") == 0)
		c->mode = CONFIG_DEDICATED;
	else if (mode && strcmp(mode, "shared") != 0)
		return bad_value(l, "PROXY_MODE", mode, "shared or dedicated");
	if (c->mode == CONFIG_DEDICATED) {
		char *parts[3] = {0}, extra = 0;
		if (!info)
			return fail(l, ERR_SYNTAX,
				    "PROXY_WORKLOAD_INFO is required with PROXY_MODE=dedicated");
		int n = sscanf(info, "%m[^/]/%m[^/]/%m[^/]%c", &parts[0], &parts[1], &parts[2],
			       &extra);
		c->own_namespace = parts[0];
		c->own_name = parts[1];
		c->own_service_account = parts[2];
		if (n != 3)
			return bad_value(l, "PROXY_WORKLOAD_INFO", info,
					 "namespace/name/serviceaccount");
	}
	c->packet_mark = c->mode == CONFIG_SHARED ? DEFAULT_MARK : 0;
	if (mark) {
		if (config_parse_uint(mark, UINT32_MAX, &number))
			return bad_value(l, "PACKET_MARK", mark, "a number");
		c->packet_mark = (uint32_t)number;
	}
	if (orig) {
		if (config_parse_bool(orig, &on))
			return bad_value(l, "ENABLE_ORIG_SRC", orig, "true or false");
		c->orig_src = on ? CONFIG_ORIG_SRC_ON : CONFIG_ORIG_SRC_OFF;
	}
	return 0;
}

static int load_address(struct load *l, const char *name, const char *text, char **slot)
{
	char full[512];
	if (!*text)
		return set(l, slot, "");
	if (strpbrk(text, " \t\r\n") || strlen(text) > 400)
		return bad_value(l, name, text, "an address like https://host:port");
	snprintf(full, sizeof(full), "%s%s", strstr(text, "://") ? "" : "https://", text);
	return set(l, slot, full);
}

/* Contract section 3.1; the authority does not follow discoveryAddress (section 11). */
static int load_control_plane(struct load *l)
{
	struct config *c = l->c;
	const char *istiod = env(l, "KUBERNETES_SERVICE_HOST")
				     ? "https://istiod.istio-system.svc:15012"
				     : "https://localhost:15012";
	const char *xds = env(l, "XDS_ADDRESS"), *ca = env(l, "CA_ADDRESS");
	const char *token = env(l, "AUTH_TOKEN");
	int rc;
	if (!xds)
		xds = l->file.discovery_address ? l->file.discovery_address : istiod;
	rc = load_address(l, "XDS_ADDRESS", xds, &c->xds_address);
	if (!rc)
		rc = load_address(l, "CA_ADDRESS", ca ? ca : istiod, &c->ca_address);
	if (rc)
		return rc;
	if (c->local_xds && c->local_xds_path)
		return fail(l, ERR_SYNTAX, "LOCAL_XDS and LOCAL_XDS_PATH cannot both be set");
	if (!token) {
		token = "./var/run/secrets/tokens/istio-token";
		return access(token, F_OK) == 0 ? set(l, &c->auth_token_path, token) : 0;
	}
	if (access(token, F_OK) == 0)
		return set(l, &c->auth_token_path, token);
	return set(l, &c->auth_token, token);
}

static int load_port(struct load *l, const char *name, const char *text, uint16_t fallback,
		     uint16_t *out)
{
	uint64_t v = fallback;
	if (text && (config_parse_uint(text, UINT16_MAX, &v) || v == 0))
		return bad_value(l, name, text, "a port");
	*out = (uint16_t)v;
	return 0;
}

static int load_dns(struct load *l)
{
	struct config *c = l->c;
	const char *capture = config_map_get(&c->proxy_metadata, "DNS_CAPTURE");
	const char *at = config_map_get(&c->proxy_metadata, "DNS_PROXY_ADDR");
	char ip_port[64];
	c->dns_proxy = !capture || strcasecmp(capture, "true") == 0;
	if (!at)
		at = "localhost:15053";
	snprintf(ip_port, sizeof(ip_port), "%s%.40s",
		 strncmp(at, "localhost:", 10) == 0 ? "127.0.0.1:" : "",
		 strncmp(at, "localhost:", 10) == 0 ? at + 10 : at);
	if (addr_parse(str_of(ip_port), &c->dns_addr))
		return bad_value(l, "ISTIO_META_DNS_PROXY_ADDR", at, "localhost:port or ip:port");
	if (c->xds_on_demand && c->dns_proxy)
		return fail(l, ERR_SYNTAX,
			    "XDS_ON_DEMAND=true: needs ISTIO_META_DNS_CAPTURE=false");
	if (!c->enable_proxy && !c->dns_proxy)
		return fail(
			l, ERR_SYNTAX,
			"ENABLE_PROXY=false: with the DNS proxy off too, nothing is left to do");
	return 0;
}

static int load_keepalive(struct load *l)
{
	struct config *c = l->c;
	const char *user = env(l, "USER_TIMEOUT_ENABLED");
	uint64_t timeout_ms = c->user_timeout_ms;
	bool on = true;
	/* The kernel counts whole seconds, and no more than 32767 of them. */
	if (c->keepalive_idle_ms < 1000 || c->keepalive_idle_ms > 32767000)
		return fail(l, ERR_SYNTAX, "KEEPALIVE_TIME: expected 1s to 32767s");
	if (c->keepalive_interval_ms < 1000 || c->keepalive_interval_ms > 32767000)
		return fail(l, ERR_SYNTAX, "KEEPALIVE_INTERVAL: expected 1s to 32767s");
	c->keepalive.idle_s = (uint32_t)(c->keepalive_idle_ms / 1000);
	c->keepalive.interval_s = (uint32_t)(c->keepalive_interval_ms / 1000);
	if (user) {
		if (config_parse_bool(user, &on))
			return bad_value(l, "USER_TIMEOUT_ENABLED", user, "true or false");
		timeout_ms = c->keepalive_idle_ms + c->keepalive.count * c->keepalive_interval_ms;
	}
	c->keepalive.user_timeout_ms = on ? (uint32_t)MIN(timeout_ms, (uint64_t)INT32_MAX) : 0;
	return 0;
}

static int load_drain(struct load *l)
{
	const char *deadline = env(l, "CONNECTION_TERMINATION_DEADLINE");
	const char *grace = env(l, "TERMINATION_GRACE_PERIOD_SECONDS");
	uint64_t seconds;
	l->c->drain_deadline_ms = DEFAULT_DRAIN_MS;
	if (grace) {
		if (config_parse_uint(grace, UINT32_MAX, &seconds))
			return bad_value(l, "TERMINATION_GRACE_PERIOD_SECONDS", grace, "seconds");
		seconds = seconds > 10 ? seconds - 5 : seconds > 2 ? seconds - 1 : 1;
		l->c->drain_deadline_ms = seconds * 1000;
	}
	if (deadline && config_parse_duration(deadline, &l->c->drain_deadline_ms))
		return bad_value(l, "CONNECTION_TERMINATION_DEADLINE", deadline,
				 "a duration like 10s");
	return 0;
}

/* In whole cores, rounded up; 0 when unset. */
static int load_quantity(struct load *l, const char *name, uint32_t *cores)
{
	const char *text = env(l, name);
	uint64_t milli;
	*cores = 0;
	if (!text)
		return 0;
	if (config_parse_cpu(text, &milli) || milli > 1024 * 1000)
		return bad_value(l, name, text, "a quantity of CPU like 2 or 500m");
	*cores = (uint32_t)((milli + 999) / 1000);
	return 0;
}

static int load_workers(struct load *l)
{
	const char *threads = env(l, "ZTUNNEL_WORKER_THREADS"),
		   *given = env(l, "ZTUNNEL_CPU_LIMIT");
	const char *concurrency = l->file.concurrency;
	uint32_t limit, request, cores = l->source->host_cores;
	uint64_t number = 0;
	int rc = load_quantity(l, "ZTUNNEL_RESOURCE_CPU_LIMIT", &limit);
	if (!rc)
		rc = load_quantity(l, "ZTUNNEL_RESOURCE_CPU_REQUEST", &request);
	if (rc)
		return rc;
	if (!cores)
		cores = (uint32_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
	if (given && (config_parse_uint(given, 1024, &number) || number == 0))
		return bad_value(l, "ZTUNNEL_CPU_LIMIT", given, "a number of cores");
	if (number)
		cores = (uint32_t)number;
	if (limit)
		cores = limit;
	if (threads) {
		if (config_parse_workers(threads, cores, &l->c->workers))
			return bad_value(l, "ZTUNNEL_WORKER_THREADS", threads,
					 "a number or a percentage from 1% to 100%");
	} else if (concurrency) {
		if (config_parse_uint(concurrency, 1024, &number))
			return bad_value(l, "concurrency", concurrency, "a number");
		l->c->workers = number ? (uint32_t)number : cores;
	} else if (limit) {
		l->c->workers = MAX(limit, request);
	} else {
		l->c->workers = MAX(MAX((cores + 3) / 4, request), (uint32_t)PROXY_THREADS_MIN);
	}
	return 0;
}

static int load_choices(struct load *l)
{
	struct config *c = l->c;
	const char *io = env(l, "GAUZE_IO"), *policy = env(l, "COMPLIANCE_POLICY");
	const char *format = env(l, "LOG_FORMAT"), *cluster = env(l, "CLUSTER_ID");
	const char *meta = config_map_get(&c->proxy_metadata, "CLUSTER_ID");
	const char *version = config_map_get(&c->proxy_metadata, "ISTIO_VERSION");
	int rc;
	if (io && *io) {
		if (strcmp(io, "uring") != 0 && strcmp(io, "epoll") != 0)
			return bad_value(l, "GAUZE_IO", io, "uring or epoll");
		rc = set(l, &c->io_backend, io);
		if (rc)
			return rc;
	}
	/* Others promise what we cannot keep, so they are refused rather than ignored. */
	if (policy && *policy && strcmp(policy, "pqc") != 0)
		return bad_value(l, "COMPLIANCE_POLICY", policy, "pqc");
	c->pqc_only = policy && *policy;
	c->log_json = format && strcmp(format, "json") == 0;
	if (c->h2_frame_size < 16384)
		return fail(l, ERR_SYNTAX, "HTTP2_FRAME_SIZE=%u: expected 16384 to 16777215",
			    c->h2_frame_size);
	if (c->pool_max_streams == 0)
		return fail(l, ERR_SYNTAX, "POOL_MAX_STREAMS_PER_CONNECTION=0: expected 1 or more");
	rc = set(l, &c->cluster_id, meta ? meta : cluster ? cluster : "Kubernetes");
	if (!rc)
		rc = set(l, &c->istio_version, version ? version : "unknown");
	return rc;
}

static bool localhost_has_ipv6(void)
{
	char ch = '0';
	int fd = open("/proc/sys/net/ipv6/conf/lo/disable_ipv6", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	if (read(fd, &ch, 1) != 1)
		ch = '0';
	close(fd);
	return ch != '1';
}

int config_load(const struct config_source *source, struct config **out,
		char error[CONFIG_ERROR_MAX])
{
	static int (*const steps[])(struct load *) = {
		load_table, load_files, load_families,	load_mode,    load_control_plane,
		load_dns,   load_drain, load_keepalive, load_workers, load_choices,
	};
	struct load l = {.source = source, .c = calloc(1, sizeof(*l.c)), .error = error};
	int rc = l.c ? 0 : fail(&l, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !rc; i++)
		rc = steps[i](&l);
	if (!rc)
		rc = load_port(&l, "proxyAdminPort", l.file.admin_port, 15000, &l.c->admin_port);
	if (!rc)
		rc = load_port(&l, "statsPort", l.file.stats_port, 15020, &l.c->stats_port);
	if (!rc)
		l.c->ipv6_localhost = l.c->ipv6 && localhost_has_ipv6();
	config_file_fini(&l.file);
	if (rc) {
		config_free(l.c);
		return rc;
	}
	*out = l.c;
	return 0;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	char *texts[] = {
		c->own_namespace,
		c->own_name,
		c->own_service_account,
		c->network,
		c->node_name,
		c->cluster_id,
		c->cluster_domain,
		c->trust_domain,
		c->pod_name,
		c->pod_namespace,
		c->service_account,
		c->instance_ip,
		c->xds_address,
		c->xds_root_ca,
		c->alt_xds_hostname,
		c->ca_address,
		c->ca_root_ca,
		c->alt_ca_hostname,
		c->auth_token_path,
		c->local_xds_path,
		c->local_xds,
		c->dev_ca_dir,
		c->cert_dir,
		c->inpod_uds,
		c->preferred_service_namespace,
		c->crl_path,
		c->log_filter,
		c->istio_version,
		c->io_backend,
	};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
	if (c->auth_token)
		wipe(c->auth_token, strlen(c->auth_token));
	free(c->auth_token);
	config_map_fini(&c->xds_headers);
	config_map_fini(&c->ca_headers);
	config_map_fini(&c->proxy_metadata);
	config_map_fini(&c->json_metadata);
	free(c);
}
