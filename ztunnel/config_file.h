/* SPDX-License-Identifier: Apache-2.0 */
/* The part of the mesh's proxy configuration that ztunnel reads, from PROXY_CONFIG or the mesh config file. */
#ifndef GAUZE_ZTUNNEL_CONFIG_FILE_H
#define GAUZE_ZTUNNEL_CONFIG_FILE_H

#include "ztunnel/config.h"

enum { CONFIG_FILE_BYTES_MAX = 1024 * 1024 };

/* NULL strings are absent. */
struct config_file {
	char *discovery_address;
	char *admin_port, *stats_port, *concurrency; /* scalars as written */
	struct config_map metadata;		     /* ISTIO_META_ removed; sorted */
};

/*
 * Parses YAML or JSON over what *f holds: later calls override, metadata is merged. `top` NULL: the document is the proxy
 * config; else it is below that key, which may be absent. ERR_SYNTAX with the line in why, ERR_NOMEM. On failure *f is
 * valid but may be half changed.
 */
int must_check config_file_parse(struct config_file *f, struct str text, const char *top,
				 char why[CONFIG_ERROR_MAX]);
void config_file_fini(struct config_file *f);

/* Sets or replaces, keeping the order. 0 or ERR_NOMEM. */
int must_check config_map_put(struct config_map *m, struct str name, struct str value);
void config_map_fini(struct config_map *m);

#endif
