/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the operator said: contract section 11. Environment over PROXY_CONFIG over the mesh config file over the default.
 * Read once at start and never changed; any thread may read it.
 */
#ifndef GAUZE_ZTUNNEL_CONFIG_H
#define GAUZE_ZTUNNEL_CONFIG_H

#include <stdio.h>

#include "shared/base/addr.h"
#include "shared/io/socket.h"

enum config_mode { CONFIG_SHARED, CONFIG_DEDICATED };
enum config_orig_src { CONFIG_ORIG_SRC_AUTO, CONFIG_ORIG_SRC_ON, CONFIG_ORIG_SRC_OFF };

/* Ports that are not configurable (contract section 1.1). */
enum {
	CONFIG_PORT_OUTBOUND = 15001,
	CONFIG_PORT_INBOUND_PLAINTEXT = 15006,
	CONFIG_PORT_INBOUND_HBONE = 15008,
	CONFIG_PORT_SOCKS5 = 15080,
	CONFIG_PORT_READINESS = 15021,
};

struct config_pair {
	char *name, *value;
};

struct config_map {
	struct config_pair *v; /* sorted by name */
	size_t count;
};

enum { CONFIG_ERROR_MAX = 512 };

/* Strings are never NULL unless said; they belong to the config. */
struct config {
	bool enable_proxy;
	enum config_mode mode;
	char *own_namespace, *own_name,
		*own_service_account; /* PROXY_WORKLOAD_INFO; NULL in shared mode */
	char *network, *node_name, *cluster_id, *cluster_domain, *trust_domain;
	char *pod_name, *pod_namespace, *service_account, *instance_ip;

	char *xds_address; /* "" = off */
	char *xds_root_ca, *alt_xds_hostname;
	bool xds_on_demand;
	struct config_map xds_headers;
	char *ca_address, *ca_root_ca, *alt_ca_hostname;
	struct config_map ca_headers;
	bool fake_ca;
	char *auth_token;      /* literal; NULL when there is none or it is a file */
	char *auth_token_path; /* NULL when there is none or it is a literal */
	uint64_t secret_ttl_ms;
	char *local_xds_path, *local_xds; /* NULL when unset; at most one is set */
	char *dev_ca_dir, *cert_dir;	  /* cert_dir NULL when unset */

	char *inpod_uds;
	bool inpod_port_reuse;
	uint32_t packet_mark; /* 0 = none */
	enum config_orig_src orig_src;
	struct socket_keepalive keepalive; /* with user timeout, ready for socket_set_keepalive() */
	uint64_t keepalive_idle_ms, keepalive_interval_ms, user_timeout_ms; /* as given */
	uint32_t h2_stream_window, h2_connection_window, h2_frame_size;
	uint32_t pool_max_streams;
	uint64_t pool_unused_ms;
	uint64_t drain_deadline_ms;
	uint32_t workers;

	bool ipv6;
	bool ipv6_localhost; /* [::1] can be bound in our own namespace */
	bool dns_proxy;
	struct addr dns_addr;
	char *preferred_service_namespace;
	bool socks5, localhost_app_tunnel, response_baggage;
	char *crl_path; /* NULL when unset */
	bool tls12, pqc_only;
	bool authz_info_log;
	char *log_filter; /* RUST_LOG */
	bool log_json;
	char *istio_version;
	uint16_t admin_port, stats_port;

	char *io_backend; /* GAUZE_IO: "uring", "epoll", NULL = choose */
	uint32_t pod_connections_max, connections_max;

	struct config_map proxy_metadata; /* keys without ISTIO_META_ */
	struct config_map json_metadata;  /* ISTIO_METAJSON_<K>: K -> JSON text, unchecked */
};

/* What config_load() looks at; tests bring their own. */
struct config_source {
	char *const *environ;  /* "NAME=value", NULL at the end */
	const char *mesh_path; /* mesh config file; NULL: ./etc/istio/config/mesh */
	uint32_t host_cores;   /* 0: ask the system */
};

/*
 * 0, or a negative code and a sentence in error that names the variable and its value. *out is freed by config_free().
 */
int must_check config_load(const struct config_source *source, struct config **out,
			   char error[CONFIG_ERROR_MAX]);
/* NULL is allowed. */
void config_free(struct config *c);
/* The table of variables with kind, default and meaning, for `ztunnel help`. */
void config_print_help(FILE *to);
/* The value of that key, or NULL. */
const char *config_map_get(const struct config_map *m, const char *name);

#endif
