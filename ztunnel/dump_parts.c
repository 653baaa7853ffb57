/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the dump that are about us: version, configuration, certificates. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shared/control/certs.h"
#include "ztunnel/config_vars.h"
#include "ztunnel/dump.h"
#include "ztunnel/revision.h"

#ifdef __OPTIMIZE__
#define BUILD_PROFILE "release"
#else
#define BUILD_PROFILE "debug"
#endif

cJSON *dump_version(const struct app *app)
{
	cJSON *o = cJSON_CreateObject();
	cJSON_AddStringToObject(o, "buildProfile", BUILD_PROFILE);
	cJSON_AddStringToObject(o, "buildStatus",
				strstr(GAUZE_REVISION, "-dirty") ? "Modified" : "Clean");
	cJSON_AddStringToObject(o, "cryptoProvider", "wolfssl");
	cJSON_AddStringToObject(o, "gitRevision", GAUZE_REVISION);
	cJSON_AddStringToObject(o, "istioVersion", app->config->istio_version);
	/* The key is the original's; we are built by a C compiler. */
	cJSON_AddStringToObject(o, "rustVersion", "none");
	cJSON_AddStringToObject(o, "version", GAUZE_VERSION);
	return o;
}

/* POOL_MAX_STREAMS -> poolMaxStreams */
static void camel(const char *name, char out[64])
{
	size_t n = 0;
	bool up = false;
	for (; *name && n < 63; name++) {
		if (*name == '_')
			up = true;
		else {
			out[n++] = (char)(*name >= 'A' && *name <= 'Z' && !up ? *name + 32 : *name);
			up = false;
		}
	}
	out[n] = 0;
}

static void add_var(cJSON *o, const struct config *c, const struct config_var *v)
{
	const void *field = (const char *)c + v->offset;
	char key[64], text[32];
	const char *z;
	camel(v->name, key);
	switch (v->kind) {
	case CONFIG_BOOL: cJSON_AddBoolToObject(o, key, *(const bool *)field); break;
	case CONFIG_NUMBER: cJSON_AddNumberToObject(o, key, *(const uint32_t *)field); break;
	case CONFIG_DURATION:
		snprintf(text, sizeof(text), "%lums", (unsigned long)*(const uint64_t *)field);
		cJSON_AddStringToObject(o, key, text);
		break;
	case CONFIG_TEXT:
	case CONFIG_TEXT_OPT:
		z = *(char *const *)field;
		if (z)
			cJSON_AddStringToObject(o, key, z);
		else
			cJSON_AddNullToObject(o, key);
		break;
	case CONFIG_RULE: break;
	}
}

static void add_rules(cJSON *o, const struct config *c)
{
	static const char *const orig_src[] = {"auto", "true", "false"};
	cJSON_AddStringToObject(o, "proxyMode", c->mode == CONFIG_SHARED ? "shared" : "dedicated");
	cJSON_AddStringToObject(o, "clusterId", c->cluster_id);
	cJSON_AddStringToObject(o, "xdsAddress", c->xds_address);
	cJSON_AddStringToObject(o, "caAddress", c->ca_address);
	cJSON_AddNumberToObject(o, "packetMark", c->packet_mark);
	cJSON_AddStringToObject(o, "enableOrigSrc", orig_src[c->orig_src]);
	cJSON_AddNumberToObject(o, "userTimeoutMs", c->keepalive.user_timeout_ms);
	cJSON_AddNumberToObject(o, "connectionTerminationDeadlineMs", (double)c->drain_deadline_ms);
	cJSON_AddNumberToObject(o, "numWorkerThreads", c->workers);
	cJSON_AddBoolToObject(o, "dnsProxy", c->dns_proxy);
	cJSON_AddBoolToObject(o, "pqcOnly", c->pqc_only);
	cJSON_AddBoolToObject(o, "logJson", c->log_json);
	cJSON_AddNumberToObject(o, "adminPort", c->admin_port);
	cJSON_AddNumberToObject(o, "statsPort", c->stats_port);
	cJSON *metadata = cJSON_AddObjectToObject(o, "proxyMetadata");
	for (size_t i = 0; i < c->proxy_metadata.count; i++)
		cJSON_AddStringToObject(metadata, c->proxy_metadata.v[i].name,
					c->proxy_metadata.v[i].value);
}

cJSON *dump_config(const struct config *c)
{
	cJSON *o = cJSON_CreateObject();
	for (size_t i = 0; i < config_vars_count; i++)
		/* What the file says is shown as state. */
		if (strcmp(config_vars[i].name, "LOCAL_XDS") != 0)
			add_var(o, c, &config_vars[i]);
	add_rules(o, c);
	return o;
}

/* ---- certificates ---- */

static void add_time(cJSON *o, const char *key, int64_t unix_s)
{
	char text[32];
	time_t t = unix_s;
	struct tm tm;
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
	cJSON_AddStringToObject(o, key, text);
}

/* RFC 4648 section 4 */
static char *base64(const char *text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(text), at = 0;
	char *out = malloc((n + 2) / 3 * 4 + 1);
	for (size_t i = 0; out && i < n; i += 3) {
		uint32_t v = (uint32_t)(unsigned char)text[i] << 16;
		v |= i + 1 < n ? (uint32_t)(unsigned char)text[i + 1] << 8 : 0;
		v |= i + 2 < n ? (unsigned char)text[i + 2] : 0;
		out[at++] = digits[v >> 18];
		out[at++] = digits[v >> 12 & 63];
		out[at++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
		out[at++] = i + 2 < n ? digits[v & 63] : '=';
	}
	if (out)
		out[at] = 0;
	return out;
}

static void add_cert(void *arg, const struct certs_cert *cert)
{
	cJSON *o = cJSON_CreateObject();
	char *pem = base64(cert->pem);
	add_time(o, "expirationTime", cert->not_after);
	cJSON_AddStringToObject(o, "pem", pem ? pem : "");
	cJSON_AddStringToObject(o, "serialNumber", cert->serial);
	add_time(o, "validFrom", cert->not_before);
	cJSON_AddItemToArray(arg, o);
	free(pem);
}

static void add_identity(void *arg, const struct certs_info *info)
{
	char identity[600], state[400];
	cJSON *o = cJSON_CreateObject(), *chain = cJSON_CreateArray(), *roots = cJSON_CreateArray();
	snprintf(identity, sizeof(identity), STR_FMT, STR_ARG(info->identity));
	switch (info->state) {
	case CERTS_AVAILABLE: snprintf(state, sizeof(state), "Available"); break;
	case CERTS_INITIALIZING: snprintf(state, sizeof(state), "Initializing"); break;
	case CERTS_UNAVAILABLE:
		snprintf(state, sizeof(state), "Unavailable: %s",
			 info->error ? info->error : "unknown");
		break;
	}
	certs_each_cert(info->chain_pem, add_cert, chain);
	certs_each_cert(info->roots_pem, add_cert, roots);
	cJSON_AddItemToObject(o, "certChain", chain);
	cJSON_AddStringToObject(o, "identity", identity);
	cJSON_AddItemToObject(o, "rootCerts", roots);
	cJSON_AddStringToObject(o, "state", state);
	cJSON_AddItemToArray(arg, o);
}

static const char *identity_of(const cJSON *o)
{
	return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, "identity"));
}

static int by_identity(const void *a, const void *b)
{
	return strcmp(identity_of(*(cJSON *const *)a), identity_of(*(cJSON *const *)b));
}

cJSON *dump_certificates(struct app *app)
{
	cJSON *all = cJSON_CreateArray();
	if (!app->certs)
		return all;
	certs_each(app->certs, add_identity, all);
	size_t n = (size_t)cJSON_GetArraySize(all), i = 0;
	cJSON **v = calloc(n + 1, sizeof(cJSON *));
	if (!v)
		return all;
	while (all->child)
		v[i++] = cJSON_DetachItemViaPointer(all, all->child);
	qsort(v, n, sizeof(cJSON *), by_identity);
	for (i = 0; i < n; i++)
		cJSON_AddItemToArray(all, v[i]);
	free(v);
	return all;
}
