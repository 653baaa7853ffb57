/* SPDX-License-Identifier: Apache-2.0 */
/* The command line (contract section 11, end). */
#include <stdio.h>

#include "shared/base/err.h"
#include "shared/control/static_file.h"
#include "shared/obs/log.h"
#include "ztunnel/config.h"
#include "ztunnel/drain.h"
#include "ztunnel/revision.h"
#include "ztunnel/run.h"

extern char **environ;

static int help(FILE *to)
{
	fputs("usage: ztunnel [proxy [ztunnel]]   run (the default)\n"
	      "       ztunnel check FILE           validate a file for LOCAL_XDS_PATH\n"
	      "       ztunnel version\n"
	      "       ztunnel help\n"
	      "\n"
	      "Settings come from the environment:\n",
	      to);
	config_print_help(to);
	return 0;
}

static int proxy(void)
{
	struct config_source source = {.environ = environ};
	struct config *config;
	char error[CONFIG_ERROR_MAX];
	drain_block_signals();
	if (config_load(&source, &config, error)) {
		fprintf(stderr, "ztunnel: %s\n", error);
		return 1;
	}
	if (log_init(config->log_filter, config->log_json, 1) || log_start()) {
		fprintf(stderr, "ztunnel: RUST_LOG=%s: not a log filter\n", config->log_filter);
		config_free(config);
		return 1;
	}
	int status = run_proxy(config);
	log_stop();
	config_free(config);
	return status;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "proxy";
	if (strcmp(command, "proxy") == 0)
		return proxy();
	if (strcmp(command, "version") == 0) {
		puts("ztunnel " GAUZE_VERSION " (" GAUZE_REVISION ")");
		return 0;
	}
	if (strcmp(command, "help") == 0)
		return help(stdout);
	if (strcmp(command, "check") == 0 && argc == 3)
		return static_check(argv[2], stdout) ? 0 : 1;
	if (strcmp(command, "check") == 0)
		fputs("ztunnel check: give it one FILE\n", stderr);
	else
		fprintf(stderr, "ztunnel: unknown command \"%s\"; try `ztunnel help`\n", command);
	return 1;
}
