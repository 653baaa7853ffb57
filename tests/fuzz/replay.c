/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target once over each file of the folders named, without a fuzzing engine. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_BYTES_MAX = 1024 * 1024 };

static int replay_file(const char *path)
{
	uint8_t *bytes = malloc(INPUT_BYTES_MAX);
	FILE *file = fopen(path, "rb");
	uint8_t *exact;
	size_t len;

	if (!bytes || !file) {
		fprintf(stderr, "cannot read %s\n", path);
		exit(1);
	}
	len = fread(bytes, 1, INPUT_BYTES_MAX, file);
	fclose(file);
	/* the exact size, so that a sanitizer sees a read past the end */
	exact = malloc(len ? len : 1);
	if (!exact)
		exit(1);
	for (size_t i = 0; i < len; i++)
		exact[i] = bytes[i];
	free(bytes);
	LLVMFuzzerTestOneInput(exact, len);
	free(exact);
	return 1;
}

static int replay_folder(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[4096];
	int count = 0;

	if (!dir) {
		fprintf(stderr, "cannot open %s\n", path);
		exit(1);
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		count += replay_file(name);
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	int count = 0;

	for (int i = 1; i < argc; i++)
		count += replay_folder(argv[i]);
	printf("%d inputs\n", count);
	return count > 0 ? 0 : 1;
}
