/* SPDX-License-Identifier: Apache-2.0 */
/* The waypoint program. This build holds its command line only; it says so instead of proxying. */
#include <stdio.h>
#include <string.h>

static const char usage[] = "usage: waypoint version | help\n"
			    "This build does not proxy layer 7 traffic yet.\n";

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
		printf("waypoint %s\n", GAUZE_VERSION);
		return 0;
	}
	if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 ||
	    strcmp(command, "-h") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	fputs("waypoint: error: proxying is not part of this build\n", stderr);
	fputs(usage, stderr);
	return 1;
}
