/* SPDX-License-Identifier: Apache-2.0 */
#include "ztunnel/config_vars.h"

#include <stdlib.h>

#include "shared/base/err.h"
#include "shared/base/limits.h"
#include "ztunnel/config_parse.h"

/* clang-format off */
#define AT(field) offsetof(struct config, field)
/* A number as text, since the table's defaults are what the operator would write. */
#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

#define ROW_BOOL(name, field, fallback, meaning) {name, CONFIG_BOOL, AT(field), NULL, fallback, meaning, 0}
#define ROW_NUMBER(name, field, max, fallback, meaning) {name, CONFIG_NUMBER, AT(field), NULL, fallback, meaning, max}
#define ROW_TEXT(name, field, fallback, meaning) {name, CONFIG_TEXT, AT(field), NULL, fallback, meaning, 0}
#define ROW_OPT(name, field, meaning) {name, CONFIG_TEXT_OPT, AT(field), NULL, NULL, meaning, 0}
#define ROW_TIME(name, field, fallback, meaning) {name, CONFIG_DURATION, AT(field), NULL, fallback, meaning, 0}
#define ROW_RULE(name, kind, fallback, meaning) {name, CONFIG_RULE, 0, kind, fallback, meaning, 0}

const struct config_var config_vars[] = {
	ROW_BOOL("ENABLE_PROXY", enable_proxy, "true", "run proxies"),
	ROW_RULE("PROXY_MODE", "shared|dedicated", "shared", "pods over ZDS, or one proxy in our own namespace"),
	ROW_RULE("PROXY_WORKLOAD_INFO", "ns/name/sa", NULL, "dedicated mode: the workload we are"),
	ROW_TEXT("NETWORK", network, "", "network id"),
	ROW_TEXT("NODE_NAME", node_name, "", "node; unset: every workload counts as local"),
	ROW_RULE("CLUSTER_ID", "text", "Kubernetes", "cluster id; ISTIO_META_CLUSTER_ID goes first"),
	ROW_TEXT("CLUSTER_DOMAIN", cluster_domain, "cluster.local", "domain of service names"),
	ROW_TEXT("TRUST_DOMAIN", trust_domain, "cluster.local", "trust domain of the self listener"),
	ROW_TEXT("POD_NAME", pod_name, "", "our own pod"),
	ROW_TEXT("POD_NAMESPACE", pod_namespace, "", "our own namespace"),
	ROW_TEXT("SERVICE_ACCOUNT", service_account, "", "our own service account"),
	ROW_TEXT("INSTANCE_IP", instance_ip, "1.1.1.1", "our own address, for the node id"),
	ROW_RULE("XDS_ADDRESS", "address", "the mesh's istiod", "control plane; empty: none"),
	ROW_TEXT("XDS_ROOT_CA", xds_root_ca, "./var/run/secrets/istio/root-cert.pem", "root: a file, SYSTEM, or PEM"),
	ROW_OPT("ALT_XDS_HOSTNAME", alt_xds_hostname, "second accepted name of the control plane"),
	ROW_BOOL("XDS_ON_DEMAND", xds_on_demand, "false", "fetch workloads when needed"),
	ROW_RULE("XDS_HEADER_*", "text", NULL, "header of each control plane request"),
	ROW_RULE("CA_ADDRESS", "address", "the mesh's istiod", "certificate authority; empty: none"),
	ROW_TEXT("CA_ROOT_CA", ca_root_ca, "./var/run/secrets/istio/root-cert.pem", "root: a file, SYSTEM, or PEM"),
	ROW_OPT("ALT_CA_HOSTNAME", alt_ca_hostname, "second accepted name of the authority"),
	ROW_RULE("CA_HEADER_*", "text", NULL, "header of each request to the authority"),
	ROW_BOOL("FAKE_CA", fake_ca, "false", "sign with the development CA of GAUZE_DEV_CA_DIR"),
	ROW_RULE("AUTH_TOKEN", "file or text", "./var/run/secrets/tokens/istio-token if it exists", "bearer token"),
	ROW_TIME("SECRET_TTL", secret_ttl_ms, "24h", "lifetime asked for certificates"),
	ROW_OPT("LOCAL_XDS_PATH", local_xds_path, "file with workloads, services and policies; watched"),
	ROW_OPT("LOCAL_XDS", local_xds, "the same, inline"),
	ROW_TEXT("INPOD_UDS", inpod_uds, "/var/run/ztunnel/ztunnel.sock", "socket of the CNI agent"),
	ROW_BOOL("INPOD_PORT_REUSE", inpod_port_reuse, "true", "SO_REUSEPORT on listeners"),
	ROW_RULE("PACKET_MARK", "number", "1337 shared, none dedicated", "SO_MARK of sockets in pods"),
	ROW_RULE("ENABLE_ORIG_SRC", "true|false", "try", "preserve source addresses"),
	ROW_TIME("KEEPALIVE_TIME", keepalive_idle_ms, "180s", "TCP keepalive: idle time"),
	ROW_TIME("KEEPALIVE_INTERVAL", keepalive_interval_ms, "180s", "TCP keepalive: between probes"),
	ROW_NUMBER("KEEPALIVE_RETRIES", keepalive.count, 127, "9", "TCP keepalive: probes"),
	ROW_BOOL("KEEPALIVE_ENABLED", keepalive.enabled, "true", "TCP keepalive"),
	ROW_RULE("USER_TIMEOUT_ENABLED", "true|false", "on, with GAUZE_USER_TIMEOUT",
		 "true: TCP_USER_TIMEOUT of time + retries x interval; false: none"),
	ROW_NUMBER("HTTP2_STREAM_WINDOW_SIZE", h2_stream_window, 0x7fffffff, "4194304", "largest stream window"),
	ROW_NUMBER("HTTP2_CONNECTION_WINDOW_SIZE", h2_connection_window, 0x7fffffff, "16777216", "largest connection window"),
	ROW_NUMBER("HTTP2_FRAME_SIZE", h2_frame_size, 0xffffff, "1048576", "SETTINGS_MAX_FRAME_SIZE"),
	ROW_NUMBER("POOL_MAX_STREAMS_PER_CONNECTION", pool_max_streams, 0x7fffffff, "100", "streams of a pooled tunnel"),
	ROW_TIME("POOL_UNUSED_RELEASE_TIMEOUT", pool_unused_ms, "5m", "idle time of a pooled tunnel"),
	ROW_RULE("CONNECTION_TERMINATION_DEADLINE", "duration", "from the grace period, else 5s", "how long a drain may take"),
	ROW_RULE("TERMINATION_GRACE_PERIOD_SECONDS", "seconds", NULL, "the pod's grace period"),
	ROW_RULE("ZTUNNEL_WORKER_THREADS", "number|N%", "by the CPU limit", "data workers; 0: one per core"),
	ROW_RULE("ZTUNNEL_CPU_LIMIT", "number", NULL, "cores of this node or container"),
	ROW_RULE("ZTUNNEL_RESOURCE_CPU_LIMIT", "quantity", NULL, "CPU limit of the container"),
	ROW_RULE("ZTUNNEL_RESOURCE_CPU_REQUEST", "quantity", NULL, "CPU request of the container"),
	ROW_BOOL("IPV6_ENABLED", ipv6, "true", "false: bind IPv4 only"),
	ROW_RULE("ISTIO_META_DNS_CAPTURE", "text", "true", "anything but true: no DNS proxy"),
	ROW_RULE("ISTIO_META_DNS_PROXY_ADDR", "ip:port", "localhost:15053", "address of the DNS proxy in pods"),
	ROW_TEXT("PREFERED_SERVICE_NAMESPACE", preferred_service_namespace, "", "DNS: namespace that wins"),
	ROW_BOOL("UNSTABLE_ENABLE_SOCKS5", socks5, "false", "SOCKS5 on 15080 in pods"),
	ROW_BOOL("LOCALHOST_APP_TUNNEL", localhost_app_tunnel, "true", "PROXY application tunnels from loopback"),
	ROW_BOOL("ENABLE_RESPONSE_BAGGAGE", response_baggage, "true", "send and read baggage of responses"),
	ROW_OPT("CRL_PATH", crl_path, "revocation lists, PEM or DER; watched"),
	ROW_BOOL("TLS12_ENABLED", tls12, "false", "accept TLS 1.2 too"),
	ROW_RULE("COMPLIANCE_POLICY", "pqc", "none", "pqc: only X25519MLKEM768"),
	ROW_BOOL("AUTHZ_POLICY_INFO_LOGGING", authz_info_log, "false", "log policy decisions at info"),
	ROW_TEXT("RUST_LOG", log_filter, "info", "level, or list of scope=level"),
	ROW_RULE("LOG_FORMAT", "json|plain", "plain", "format of log lines"),
	ROW_RULE("ISTIO_META_*", "text", NULL, "proxy metadata"),
	ROW_RULE("ISTIO_METAJSON_*", "JSON", NULL, "node metadata"),
	ROW_RULE("ISTIO_META_ISTIO_VERSION", "text", "unknown", "version shown in metrics"),
	ROW_RULE("KUBERNETES_SERVICE_HOST", "text", NULL, "set: istiod is at istiod.istio-system.svc:15012"),
	ROW_RULE("PROXY_CONFIG", "YAML", NULL,
		 "discoveryAddress, proxyAdminPort, statsPort, concurrency, proxyMetadata"),
	ROW_RULE("GAUZE_IO", "uring|epoll", "uring, else epoll", "kernel interface"),
	ROW_TEXT("GAUZE_DEV_CA_DIR", dev_ca_dir, "/var/lib/gauze/dev-ca", "keys of the development CA"),
	ROW_OPT("GAUZE_CERT_DIR", cert_dir, "certificates from files, one folder per identity"),
	ROW_TIME("GAUZE_USER_TIMEOUT", user_timeout_ms, "10m", "TCP_USER_TIMEOUT unless USER_TIMEOUT_ENABLED is set"),
	ROW_NUMBER("GAUZE_POD_CONNECTIONS", pod_connections_max, 0x7fffffff, TEXT(LIMIT_POD_FLOWS), "connections and streams of one pod"),
	ROW_NUMBER("GAUZE_CONNECTIONS", connections_max, 0x7fffffff, TEXT(LIMIT_PROCESS_FLOWS), "the same over all pods; less where descriptors are scarce"),
};
/* clang-format on */
const size_t config_vars_count = ARRAY_SIZE(config_vars);

static int set_text(char **slot, const char *value)
{
	char *copy = strdup(value);
	if (!copy)
		return ERR_NOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

int config_var_set(const struct config_var *v, const char *value, struct config *c)
{
	void *field = (char *)c + v->offset;
	uint64_t number;
	int rc = 0;
	switch (v->kind) {
	case CONFIG_BOOL: return config_parse_bool(value, field);
	case CONFIG_DURATION: return config_parse_duration(value, field);
	case CONFIG_TEXT: return set_text(field, value);
	case CONFIG_TEXT_OPT: return *value ? set_text(field, value) : 0;
	case CONFIG_NUMBER:
		rc = config_parse_uint(value, v->max, &number);
		if (!rc)
			*(uint32_t *)field = (uint32_t)number;
		return rc;
	case CONFIG_RULE: break;
	}
	return rc;
}

const char *config_var_expects(const struct config_var *v)
{
	switch (v->kind) {
	case CONFIG_BOOL: return "true or false";
	case CONFIG_DURATION: return "a duration like 10s or 5m";
	case CONFIG_NUMBER: return "a number in range";
	case CONFIG_TEXT:
	case CONFIG_TEXT_OPT: return "a text";
	case CONFIG_RULE: break;
	}
	return v->kind_text;
}

void config_print_help(FILE *to)
{
	static const char *const kinds[] = {"true|false", "number", "text", "text", "duration", ""};
	for (size_t i = 0; i < config_vars_count; i++) {
		const struct config_var *v = &config_vars[i];
		fprintf(to, "  %s=%s\n      %s", v->name,
			v->kind_text ? v->kind_text : kinds[v->kind], v->meaning);
		if (v->fallback && *v->fallback)
			fprintf(to, " (default: %s)", v->fallback);
		fputc('\n', to);
	}
}
