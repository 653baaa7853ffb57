/* SPDX-License-Identifier: Apache-2.0 */
/* PROXY_CONFIG and the mesh config file: any text, alone and below a key. */
#include <stdlib.h>

#include "ztunnel/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const tops[] = {NULL, "defaultConfig"};
	for (size_t i = 0; i < ARRAY_SIZE(tops); i++) {
		struct config_file f = {0};
		char why[CONFIG_ERROR_MAX] = "";
		int rc =
			config_file_parse(&f, (struct str){(const char *)data, size}, tops[i], why);
		CHECK(rc == 0 || why[0]);
		for (size_t k = 1; k < f.metadata.count; k++)
			CHECK(strcmp(f.metadata.v[k - 1].name, f.metadata.v[k].name) < 0);
		config_file_fini(&f);
	}
	return 0;
}
